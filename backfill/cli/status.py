"""`backfill status`: where jobs stand, also while one runs, and how calls ended.

No journal is opened: it belongs to the process that runs the job.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.cli.exits import Ending
from backfill.cli.flags import JobOptions, command, flat
from backfill.cli.terminal import lines_width, width
from backfill.errors import ExitCode
from backfill.report.wording import ago, table, timestamp, unix_of

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.notify.call_history import Call
    from backfill.report.status_file import Status

_SETTLED = (ExitCode.DELIVERED, ExitCode.REJECTIONS)
_COUNTS = ("delivered", "rejected", "skipped")
_HEAD = ("started (UTC)", "command", "exit", "rows", *_COUNTS, "seconds", "notified")
_UNKNOWN = "?"


@flat
def status(
    asked: JobOptions,
    pipeline: Annotated[
        Path | None, typer.Argument(metavar="[PIPELINE]", help="Only this pipeline's job.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Show every run, retry and sync on record.")
    ] = False,
) -> Ending:
    """Show where jobs stand, also while one runs."""
    import orjson

    from backfill.clock import Clock

    if history:
        return _history(_folders(pipeline, asked.state_dir))
    jobs = [each for folder in _folders(pipeline, asked.state_dir) if (each := _read(folder))]
    now = Clock().unix_s()
    return Ending(
        ExitCode.DELIVERED,
        _next_step(jobs, partial(command, given=asked), pipeline or Path("PIPELINE")),
        _text(jobs, now) if jobs else "no jobs here yet\n",
        orjson.dumps({"jobs": [_as_json(*each) for each in jobs]}),
    )


Job = tuple["Status", dict[str, Any]]
"""What a job said last, and its summary (empty before its first run ends)."""


def _folders(pipeline: Path | None, state_dir: Path | None) -> list[Path]:
    from backfill.job import folder_of
    from backfill.journal.directory import check_entries
    from backfill.pipeline.file import Pipeline

    if pipeline is None:
        home = state_dir or Path(".backfill")
        folders = sorted(each for each in home.glob("*") if each.is_dir())
    else:
        folders = [folder_of(Pipeline.load(pipeline), state_dir)]
    for each in folders:
        check_entries(each)
    return folders


def _read(folder: Path) -> Job | None:
    import orjson

    from backfill.report.status_file import STATUS_FILE, read_status
    from backfill.report.summary import SUMMARY_FILE

    found = read_status(folder / STATUS_FILE)
    if found is None:
        return None
    try:
        summary = orjson.loads((folder / SUMMARY_FILE).read_bytes())
    except (OSError, ValueError):
        summary = {}
    return found, summary


def _state(found: "Status") -> str:
    """In one word, for people: a killed process cannot say that it ended."""
    if found.is_alive():
        return found.state
    return "finished" if found.exit in _SETTLED else "interrupted"


def _pending(found: "Status") -> int | None:
    return None if found.rows_total is None else found.rows_total - found.rows_read


def _as_json(found: "Status", summary: dict[str, Any]) -> dict[str, Any]:
    return {
        **asdict(found),
        "state": _state(found),
        "pending": _pending(found),
        "summary": summary or None,
    }


def _text(jobs: list[Job], now_s: float) -> str:
    lines = [["", "state", "rows", "delivered", "rejected", "pending", "rows/s", "updated"]]
    for found, _ in jobs:
        pending = _pending(found)
        counts = (found.rows_total, found.delivered, found.rejected, pending)
        shown = ["?" if each is None else f"{each:,}" for each in counts]
        speed = f"{found.rows_per_second:,.0f}"
        lines.append(
            [found.job, _state(found), *shown, speed, ago(now_s - unix_of(found.updated_at))]
        )
    waits = [f"  {found.job}: {found.pause}" for found, _ in jobs if _state(found) == "paused"]
    return "\n".join([*table(lines, width=width()), *waits]) + "\n"


def _next_step(jobs: list[Job], advised: Callable[..., str], pipeline: Path) -> str:
    from backfill.rows import can_be_fixed

    states = {_state(found) for found, _ in jobs}
    if not jobs:
        return "backfill run PIPELINE starts a job; --state-dir DIR looks elsewhere"
    if "interrupted" in states:
        return "run an interrupted job's command again to resume"
    reasons = [summary.get("rejections_by_reason", ()) for found, summary in jobs if found.rejected]
    if any(not each or can_be_fixed(each) for each in reasons):
        return f"fix the rows in a job's rejected.csv, then: {advised('retry', pipeline)}"
    return "nothing to do"


# The history


def _history(folders: Sequence[Path]) -> Ending:
    """How the calls on some jobs ended, a line each, the last one last.

    Args:
        folders: The jobs' state directories.

    Raises:
        StateError: A file of the history is not one of ours.
    """
    import orjson

    from backfill.notify.call_history import HISTORY_FOLDER, read_history

    every = {each.name: read_history(each / HISTORY_FOLDER) for each in folders}
    jobs = {name: calls for name, calls in every.items() if calls}
    told = [{"job": name, "history": list(map(_call_json, calls))} for name, calls in jobs.items()]
    return Ending(
        ExitCode.DELIVERED,
        _next_after(jobs),
        "\n".join(_calls_text(*each) for each in jobs.items()) or "no jobs here yet\n",
        orjson.dumps({"jobs": told}),
    )


def _call_json(call: "Call") -> dict[str, object]:
    return {**asdict(call), "state": _call_state(call)}


def _calls_text(name: str, calls: Sequence["Call"]) -> str:
    lines = table([_HEAD, *map(_cells, calls)], width=lines_width())
    return "\n".join([name, *lines, *_reasons(calls)]) + "\n"


def _cells(call: "Call") -> list[str]:
    """A call in a line: `rows` are the job's, all else is its own."""
    from backfill.notify.notifying import SENT

    told = [_seconds(call), {SENT: "yes", "": ""}.get(call.notified, "failed")]
    ended = _call_state(call) if call.exit is None else str(call.exit)
    if call.summary is None:
        return [_when(call), call.command, ended, *[_UNKNOWN] * 4, *told]
    this = call.summary["this_run"]
    rows = (call.summary["rows_read"], *(this[each] for each in _COUNTS))
    return [_when(call), call.command, ended, *(f"{each:,}" for each in rows), *told]


def _reasons(calls: Sequence["Call"]) -> Iterator[str]:
    """What stopped those that were stopped."""
    for call in calls:
        if call.stopped:
            yield f"  {_when(call)}: {call.stopped[0].splitlines()[0]}"


def _call_state(call: "Call") -> str:
    if call.finished_at:
        return "ended"
    return "running" if call.is_alive() else "killed"


def _when(call: "Call") -> str:
    return timestamp(call.started_at).removesuffix(" UTC")


def _seconds(call: "Call") -> str:
    if not call.finished_at:
        return _UNKNOWN
    return f"{unix_of(call.finished_at) - unix_of(call.started_at):,.1f}"


def _next_after(jobs: Mapping[str, Sequence["Call"]]) -> str:
    """What the last call of a job asks for; the first job that asks for something wins."""
    for last in (calls[-1] for calls in jobs.values()):
        if _call_state(last) == "killed":
            return f"run the {last.command} again to resume"
        if last.stopped:
            return last.stopped[-1]
    return "nothing to do" if jobs else "backfill run PIPELINE starts a job"
