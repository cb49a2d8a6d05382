"""`backfill status --history`: the calls that sent, and how each ended. No journal is opened."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from backfill.cli.exits import Ending
from backfill.cli.terminal import lines_width
from backfill.errors import ExitCode
from backfill.notify.call_history import HISTORY_FOLDER, Call, read_history
from backfill.notify.notifying import SENT
from backfill.report.wording import table, timestamp, unix_of

_COUNTS = ("delivered", "rejected", "skipped")
_HEAD = ("started (UTC)", "command", "exit", "rows", *_COUNTS, "seconds", "notified")
_UNKNOWN = "?"


def history(folders: Sequence[Path]) -> Ending:
    """How the calls on some jobs ended, a line each, the last one last.

    Args:
        folders: The jobs' state directories.

    Raises:
        StateError: A file of the history is not one of ours.
    """
    every = {each.name: read_history(each / HISTORY_FOLDER) for each in folders}
    jobs = {name: calls for name, calls in every.items() if calls}
    told = [{"job": name, "history": list(map(_as_json, calls))} for name, calls in jobs.items()]
    return Ending(
        ExitCode.DELIVERED,
        _next_step(jobs),
        "\n".join(_text(*each) for each in jobs.items()) or "no job has begun here\n",
        orjson.dumps({"jobs": told}),
    )


def _as_json(call: Call) -> dict[str, object]:
    return {**asdict(call), "state": _state(call)}


def _text(name: str, calls: Sequence[Call]) -> str:
    lines = table([_HEAD, *map(_cells, calls)], width=lines_width())
    return "\n".join([name, *lines, *_reasons(calls)]) + "\n"


def _cells(call: Call) -> list[str]:
    """A call in a line: `rows` are the job's, all else is its own."""
    told = [_seconds(call), {SENT: "yes", "": ""}.get(call.notified, "failed")]
    ended = _state(call) if call.exit is None else str(call.exit)
    if call.summary is None:
        return [_when(call), call.command, ended, *[_UNKNOWN] * 4, *told]
    this = call.summary["this_run"]
    rows = (call.summary["rows_read"], *(this[each] for each in _COUNTS))
    return [_when(call), call.command, ended, *(f"{each:,}" for each in rows), *told]


def _reasons(calls: Sequence[Call]) -> Iterator[str]:
    """What stopped those that were stopped."""
    for call in calls:
        if call.stopped:
            yield f"  {_when(call)}: {call.stopped[0].splitlines()[0]}"


def _state(call: Call) -> str:
    if call.finished_at:
        return "ended"
    return "running" if call.is_alive() else "killed"


def _when(call: Call) -> str:
    return timestamp(call.started_at).removesuffix(" UTC")


def _seconds(call: Call) -> str:
    if not call.finished_at:
        return _UNKNOWN
    return f"{unix_of(call.finished_at) - unix_of(call.started_at):,.1f}"


def _next_step(jobs: Mapping[str, Sequence[Call]]) -> str:
    """What the last call of a job asks for; the first job that asks for something wins."""
    for last in (calls[-1] for calls in jobs.values()):
        if _state(last) == "killed":
            return f"start the {last.command} again: it goes on where it stopped"
        if last.stopped:
            return last.stopped[-1]
    return "nothing to do" if jobs else "backfill run PIPELINE begins a job"
