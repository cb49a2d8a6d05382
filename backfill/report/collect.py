"""What a report tells of a job: from the journal, the plan, and the course of its runs."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backfill.delivery.destination import elsewhere, is_loopback
from backfill.errors import ExitCode
from backfill.journal import Journal, Run
from backfill.journal.schema import codes
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import Plan
from backfill.planning.proof import Decision
from backfill.rejected.safe_cells import cell_text
from backfill.rejected.writer import REJECTED_FILE
from backfill.report import content
from backfill.report.charts import COLOURS, Days
from backfill.report.course import Course
from backfill.report.redaction import Redact, Redaction, settings_of, versions
from backfill.report.summary import Summary
from backfill.report.verified import VERIFIED_FILE, Verification
from backfill.report.wording import can_be_fixed, titled, utc_text
from backfill.rows import SENTENCES, Rejection

EXAMPLES_MAX = 3
EXAMPLES_AMONG = 5_000
"""Examples are taken from so many rejected rows: a report is made at the end of every run."""

_CELL_CHARS = 120
_FIGURES = ("delivered", "rejected", "requests", "seconds")
_OTHERS = "other names"
_FROM_THE_API = ("refused", "unknown_outcome")


def content_of(  # noqa: PLR0913  # what is known, from five places
    pipeline: Pipeline,
    journal: Journal,
    plan: Plan | None,
    summary: Summary,
    course: Course,
    *,
    now_s: float,
    state_dir: str = "",
    redact: Redact = "values",
) -> content.Content:
    """All that a report shows of a job.

    Args:
        pipeline: The settings.
        journal: What became of the rows, and every run; nothing in it is changed.
        plan: What was found before; None: nothing was.
        summary: What became of the rows, in figures.
        course: How fast it went.
        now_s: The time now, as unix seconds.
        state_dir: Where the state is, if the commands must name it.
        redact: What is left out.
    """
    shown = Redaction(redact)
    calls = journal.runs.all()
    last = calls[-1] if calls else None
    # A killed run has no end in the journal; the report then says so.
    ended = last is None or last.finished_at is not None
    titles = titled([each.kind for each in pipeline.sources])
    was = str(journal.meta.get("command", "run"))
    url = str(journal.meta.get("url", ""))
    command = partial(_command, pipeline, shown, options_of(pipeline, state_dir, url))
    has_rejected = summary.rejected or summary.deletes_refused
    name = str(journal.meta.get("rejected_file") or REJECTED_FILE) if has_rejected else ""
    fixable = journal.path.with_name(name) if name else None
    found = Verification.of(journal.meta)
    next_step, next_command = _next(summary, calls, shown, was, command, fixable)
    return content.Content(
        summary=summary,
        is_night=last is not None and last.id > 1 and _syncs(was, calls),
        command=was,
        ended=ended,
        stopped=_stopped(last, shown),
        destination=_destination(url),
        next_step=next_step,
        next_command=next_command,
        rejected_file=name,
        calls=list(_calls(calls)),
        course=course,
        history=_history(plan, summary, shown),
        rejected=list(_rejected(journal, summary, shown)),
        timestamps=[_timestamps(titles[each.source], each, shown) for each in _decisions(plan)],
        settings=list(settings_of(pipeline, titles, shown)),
        versions=versions(),
        made_at=utc_text(now_s),
        redact=redact,
        verification=found and found.renamed(shown.column),
        workers=journal.meta.get("workers", ()),
    )


# What to do next


def _next(
    summary: Summary,
    calls: Sequence[Run],
    shown: Redaction,
    was: str,
    command: Callable[..., str],
    rejected_file: Path | None,
) -> tuple[str, str]:
    """What to do, and the command to do it with, after the command that was given last."""
    last = calls[-1] if calls else None
    commands = ((call.summary or {}).get("command") for call in reversed(calls))
    sends = next((each for each in commands if each != "retry"), was)
    goes_on, stopped = command("sync" if sends == "sync" else "run"), _stop(last)
    files = [rejected_file] if rejected_file and rejected_file.name != REJECTED_FILE else []
    name = rejected_file.name if rejected_file else ""
    fixable = summary.rejected and can_be_fixed(summary.rejections_by_reason)
    stop = _sentence(shown.text(stopped[1]) or "Fix what stopped it, then:") if stopped else ""
    refused = "The API refused to delete what vanished. The next sync tries again:"
    steps = (
        (last is None, "Nothing was sent yet. To start:", goes_on),
        # What stopped it names its own next step, which is better than a guess from the figures.
        (stop, stop, command(was)),
        (summary.pending > summary.held, "Resume where it stopped:", goes_on),
        (
            summary.exit == ExitCode.DIFFERS,
            f"{VERIFIED_FILE} lists what is missing or differs. To send everything once more:",
            f"{goes_on} --restart",
        ),
        (fixable, f"Fix the rows in {name}, then send them again:", command("retry", *files)),
        (summary.rejected, f"Nothing: {name} lists headers and footers, no rows.", ""),
        (summary.deletes_refused, refused, goes_on),
        (summary.held, "When the held events are 72 hours old, send them:", goes_on),
        (not summary.complete, "Only a part of each source was read. Send the rest:", goes_on),
    )
    found = ((what, with_) for is_so, what, with_ in steps if is_so)
    return next(found, ("Nothing: every row is accounted for.", ""))


def options_of(pipeline: Pipeline, state_dir: str, url: str) -> list[str]:
    """The options without which a command would not find the job, or leave the rehearsal."""
    # Only what differs from the pipeline file is named: a command should be no longer than it must.
    other = elsewhere(url, pipeline.destination)
    return [
        *(["--state-dir", state_dir] if state_dir else []),
        *(["--url", other] if other else []),
    ]


def _command(
    pipeline: Pipeline, shown: Redaction, options: Sequence[str], name: str, *files: Path
) -> str:
    """A command of this job, as it can be pasted into a shell."""
    if shown.redact == "all":
        return f"backfill {name} PIPELINE"
    return shlex.join(["backfill", name, str(pipeline.path), *map(str, files), *options])


def _stop(last: Run | None) -> Sequence[str]:
    """What stopped the last run and what to do then; empty: nothing did."""
    return (last.summary or {}).get("stopped", ()) if last else ()


def _stopped(last: Run | None, shown: Redaction) -> str:
    stopped = _stop(last)
    if not stopped or last is None:
        return ""
    if last.exit == ExitCode.GUARD and not shown.shows_values:
        return "a guard refused to send (backfill plan shows why)"  # its words may quote a cell
    return shown.text(stopped[0]).rstrip(".") + "."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text and text[-1] != ":" else text


def _destination(url: str) -> str:
    # Without a user's name and password, should a url carry them.
    host = urlsplit(url).netloc.rpartition("@")[2]
    if not host:
        return "the workspace"
    if is_loopback(url):
        return f"the sandbox at {host}"
    return "Customer.io" if host.endswith(".customer.io") else host


def _syncs(was: str, runs: Sequence[Run]) -> bool:
    """Whether a job is one that syncs, also where its last run was a retry."""
    return was == "sync" or any((run.summary or {}).get("command") == "sync" for run in runs)


def _calls(runs: Sequence[Run]) -> Iterator[content.ShownCall]:
    """The runs, the first one first; of a killed one, what the next found that it had done."""
    for run in runs:
        told = run.summary or {}
        did: Mapping[str, Any] = told.get("this_run", {})
        yield content.ShownCall(
            number=run.id,
            command=str(told.get("command", "")),
            started_at=run.started_at,
            finished_at=run.finished_at,
            exit=run.exit,
            **{name: did[name] for name in _FIGURES if name in did},
        )


# What was found


def _history(plan: Plan | None, summary: Summary, shown: Redaction) -> content.History:
    """The events by name and day; beyond the colours that there are, names are put together."""
    sources = plan.sources if plan else []
    counts: Counter[str] = sum((each.names for each in sources), Counter())
    together = max((each.days_together for each in sources), default=1)
    kept = [
        # One colour is kept for all others together, unless there are no others.
        name
        for name, _ in counts.most_common(COLOURS if len(counts) == COLOURS else COLOURS - 1)
    ]
    stand_ins = {name: shown.event(name) for name in kept}
    by_name: dict[str, Counter[int]] = {name: Counter() for name in stand_ins.values()}
    for source in sources:
        for name, days in source.name_days.items():
            counted = by_name.setdefault(stand_ins.get(name, _OTHERS), Counter())
            for day, count in days.items():
                counted[day // together * together] += count
    delivered = sum(each.delivered for each in summary.sources if each.kind == "events")
    found = {name: days for name, days in by_name.items() if days}
    return content.History(
        Days(found, together) if found else None,
        sum(counts.values()),
        delivered,
    )


def _rejected(
    journal: Journal, summary: Summary, shown: Redaction
) -> Iterator[content.RejectedFor]:
    """The reasons, each with some rows."""
    names = {part.id: part.path for part in journal.parts()}
    wanted = {code for code, count in summary.rejections_by_reason.items() if count}
    examples: dict[str, list[content.ShownExample]] = {code: [] for code in wanted}
    # As far as examples are found, and no further than EXAMPLES_AMONG: there may be millions.
    for looked_at, (part, each) in enumerate(journal.rejections()):
        for code in codes(each) & wanted:
            examples[code].append(_example(names[part], code, each, shown))
            if len(examples[code]) == EXAMPLES_MAX:
                wanted.discard(code)
        if not wanted or looked_at >= EXAMPLES_AMONG:
            break
    ordered = sorted(summary.rejections_by_reason.items(), key=lambda each: (-each[1], each[0]))
    for code, count in ordered:
        if count:
            yield content.RejectedFor(code, SENTENCES.get(code, ""), count, examples[code])


def _example(file: str, code: str, each: Rejection, shown: Redaction) -> content.ShownExample:
    reasons = [reason for reason in each.reasons if reason.code == code]
    fields = dict.fromkeys(reason.field for reason in reasons if reason.field)
    said, cells = "", {}
    # The API's own sentence may quote a cell.
    if shown.shows_values:
        said = "; ".join(reason.message for reason in reasons if code in _FROM_THE_API)
        cells = {name: _cell(each.cells[name]) for name in fields if name in each.cells}
        if each.raw is not None:
            cells["the row"] = _cell(each.raw)
    return content.ShownExample(
        shown.file(file),
        each.row,
        each.line,
        ", ".join(map(shown.column, fields)),
        said,
        cells,
    )


def _cell(value: Any) -> str:
    text = cell_text(value)
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"


def _decisions(plan: Plan | None) -> Sequence[Decision]:
    return plan.found.decisions if plan else ()


def _timestamps(title: str, each: Decision, shown: Redaction) -> content.ShownTimestamps:
    zone = f" in {each.timezone}" if each.timezone else ""
    if each.declared:
        evidence = "the pipeline file says so"
    elif each.doubt:
        readings = f" ({'; '.join(each.readings)})" if shown.shows_values else ""
        evidence = f"not proved: {each.doubt}{readings}"
    else:
        evidence = (
            f"it fits {each.fits:,} of {each.values:,} values; every other known format fails on"
            " values that it fits"
        )
    return content.ShownTimestamps(
        title, shown.column(each.column), f"{each.format}{zone}", evidence
    )
