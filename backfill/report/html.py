"""The report as one HTML file: it needs no network, fits any screen, and prints.

Its own policy forbids the browser to load anything and to run any script but the one in it, so
that a name from a file can do no harm even if it were taken for markup.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backfill.errors import MEANINGS, ExitCode
from backfill.files import write_atomically
from backfill.report.content import Content
from backfill.report.course import Course, bins, slowest_s
from backfill.report.summary import RunSummary, Summary
from backfill.report.verified import VERIFIED
from backfill.report.wording import (
    PAUSES,
    counted,
    duration,
    elapsed,
    latency,
    printable,
    size,
    timestamp,
    titled,
)

if TYPE_CHECKING:  # see `template`
    from jinja2 import Template

REPORT_FILE = "report.html"

ACCOUNTS = {
    "delivered": "accepted by Customer.io",
    "merged": "sent with another row of the same person, object or relationship",
    "skipped": "left out on purpose",
    "rejected": "not sent or refused, each with a reason",
    "pending": "still to be sent",
}

_TABLE_ROWS = 40
_RUNS_SHOWN = 50
_SHARES = (50, 95, 99)
"""The percentiles of the latency that are told."""

_COURSE_MIN_S = 1.0
"""A shorter course makes no curve."""


@dataclass(frozen=True, slots=True)
class Headline:
    """How it ended, at a glance.

    Args:
        tone: good, some or bad, for the style sheet.
        word: In a word.
        sentence: In one sentence, up to what became of the rows that were not delivered.
        others: The rest of the sentence.
        job: Where the sentence is about the last sync: the same of the job, as a sentence.
    """

    tone: str
    word: str
    sentence: str
    others: str = "."
    job: str = ""


def write_report(folder: Path, content: Content) -> Path:
    """Put the report into a job's directory, and name it.

    Raises:
        OSError: The disk is full, or the directory cannot be written to.
    """
    path = folder / REPORT_FILE
    write_atomically(path, render(content))
    return path


def render(content: Content) -> bytes:
    """The report as UTF-8."""
    from backfill.report import charts  # noqa: PLC0415  # late, as Jinja

    script = _asset("report.js")
    page = template().render(
        _named(content),
        charts=charts,
        style=_asset("report.css"),
        script=script,
        script_digest=_digest(script),
    )
    return page.encode("utf-8", "replace")  # the name of a file need not be text


@cache
def template() -> "Template":
    """The page, compiled once: that takes longer than to fill it.

    What many jobs have none of is included from files of its own, which are then not compiled.
    """
    # Late: a run that has not ended needs none of it.
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    home = Environment(
        autoescape=True,
        loader=PackageLoader("backfill.report"),
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    home.filters |= {"n": "{:,}".format, "size": size, "duration": duration, "timestamp": timestamp}
    return home.get_template("report.html.j2")


def _harmless(value: Any) -> Any:
    """Text as a page shows it, whatever a file holds; what is markup already is our own."""
    return printable(value) if type(value) is str else value


def outcome_of(content: Content) -> Headline:
    """What happened, in a word and in one sentence."""
    summary, place = content.summary, content.destination
    tone, word = _verdict(content)
    if content.is_night:
        job = f"The job so far: {_delivered(summary, summary.rows_read, place)}{_time(content)}"
        return Headline(tone, word, *_night(content), job=f"{job}.")
    if not summary.delivered:
        return Headline(tone, word, f"Nothing has been delivered to {place} yet")
    sentence = f"{_delivered(summary, summary.rows_read, place)}{_time(content)}"
    return Headline(tone, word, sentence, _others(summary))


def _delivered(account: Summary | RunSummary, rows: int, place: str) -> str:
    if account.delivered == rows:
        all_of_them = "The only row was" if rows == 1 else f"All {rows:,} rows were"
        return f"{all_of_them} delivered to {place}"
    return f"{account.delivered:,} of {counted(rows, 'row')} were delivered to {place}"


def _time(content: Content) -> str:
    """How long all runs took."""
    said = f" in {duration(content.summary.seconds)}"
    if content.calls and (runs := content.calls[-1].number) > 1:
        said += f", over {runs} runs"
    return said


def _night(content: Content) -> tuple[str, str]:
    """What the last run of a job that syncs did, in one sentence, and what of its other rows."""
    run, place = content.summary.this_run, content.destination
    last = f"The last {content.command}"
    if not content.ended:
        return f"{last} had delivered {counted(run.delivered, 'row')} to {place}", "."
    if not run.sources:
        return f"{last} sent nothing", "."
    took = f" in {duration(run.seconds)}"
    return f"{last}: {_delivered(run, run.rows_read, place)}{took}", _others(run)


def _verdict(content: Content) -> tuple[str, str]:
    summary = content.summary
    if not content.ended:
        return "bad", "Killed"
    if summary.exit == ExitCode.GUARD and not summary.this_run.attempts:
        return "bad", "Refused" if summary.delivered or content.is_night else "Not started"
    if summary.exit == ExitCode.DIFFERS and summary.complete:
        return "bad", "Differences found"
    if summary.exit not in (ExitCode.DELIVERED, ExitCode.REJECTIONS):
        return "bad", "Stopped early"
    if summary.pending > summary.held:
        return "bad", "Unfinished"
    if summary.pending:
        return "some", "Done so far"
    if not summary.complete:
        return "some", "Partly done"
    return ("some", "Done, with rejections") if summary.rejected else ("good", "Complete")


def _others(account: Summary | RunSummary) -> str:
    """What is to be said of the rows that were not delivered."""
    held = sum(each.held for each in account.sources)
    reasons = sum((Counter(each.skipped_by_reason) for each in account.sources), Counter[str]())
    unchanged = reasons["unchanged"]
    said = [
        (
            account.merged,
            "went out merged into another row",
        ),
        (unchanged, "were delivered before and have not changed"),
        (account.skipped - unchanged, "were skipped on purpose"),
        (account.rejected, "were rejected"),
        (held, "are held until they are 72 hours old"),
        (account.pending - held, "are still to be sent"),
    ]
    parts = [f"{count:,} {_agreeing(words, count)}" for count, words in said if count]
    if not parts:
        return "."
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"; {listed}."


def _agreeing(words: str, count: int) -> str:
    """A verb in the singular where it is about one row."""
    if count != 1:
        return words
    verb, _, rest = words.partition(" ")
    rest = rest.replace("they are", "it is")
    return f"{ {'were': 'was', 'are': 'is'}.get(verb, verb) } {rest}"


def _named(content: Content) -> dict[str, Any]:
    """What the template calls by name."""
    from backfill.report import charts, scales  # noqa: PLC0415

    summary = content.summary
    told = summary.this_run if content.is_night and content.ended else summary
    by_kind = {
        kind: sum(each.delivered for each in told.sources if each.kind == kind)
        for kind in dict.fromkeys(each.kind for each in summary.sources)
    }
    curve = content.course.seconds() >= _COURSE_MIN_S
    days = content.history.days
    return {
        "content": content,
        "summary": summary,
        "outcome": outcome_of(content),
        "told": told,
        "by_kind": by_kind,
        "titles": titled([each.kind for each in summary.sources]),
        "accounts": ACCOUNTS,
        "parts": [charts.Piece(name, getattr(summary, name)) for name in ACCOUNTS],
        "curve": curve,
        "latency": curve and any(each.latency_s for each in content.course.steps),
        "shares": _latencies(content.course),
        "bins": bins(content.course, _TABLE_ROWS) if curve else [],
        "elapsed": elapsed,
        "days": days,
        "pieces": _pieces(days) if days else [],
        "names": list(days.by_name) if days else [],
        "totals": {name: sum(each.values()) for name, each in days.by_name.items()} if days else {},
        "pauses": PAUSES,
        "pauses_count": sum(count for count, _ in content.course.waited.values()),
        "dates": (scales.long_day(days.first), scales.long_day(days.last)) if days else (),
        "verified": VERIFIED,
        "calls": content.calls[-_RUNS_SHOWN:],
        "exits": {int(code): words for code, words in MEANINGS.items()},
    }


def _latencies(course: Course) -> Mapping[str, str]:
    """How long answers took at most, for shares of them; empty where there were none."""
    found = {share: slowest_s(course.latencies, share / 100) for share in _SHARES}
    return {f"p{share}": latency(each) for share, each in found.items() if each is not None}


def _pieces(days: Any) -> Sequence[tuple[str, Any]]:
    """The history as lines of a table: what each piece is called, and its events by name."""
    from backfill.report import charts  # noqa: PLC0415

    parts, pieces = charts.in_pieces(days, _TABLE_ROWS)
    return [(parts.label(start), counted) for start, counted in pieces.items()]


def _asset(name: str) -> Any:
    from markupsafe import Markup  # noqa: PLC0415

    text = (files("backfill.report") / "templates" / name).read_text("utf-8")
    return Markup(text)  # noqa: S704  # our own file


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
