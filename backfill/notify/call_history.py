"""The history of a job: every call that sent, as small files that other processes can read.

A file for each call, so that calls which overlap never write over one another. It begins as a
call that has not ended, which is what a killed one stays.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from backfill.errors import ExitCode, StateError
from backfill.files import write_atomically
from backfill.report.status_file import Status, is_there
from backfill.report.wording import unix_of

HISTORY_FOLDER = "history"
"""Beside the journal; it outlives `--restart`."""

SUCCESSES = (ExitCode.DELIVERED, ExitCode.REJECTIONS)
"""How a call ends that did all it could."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the program on a job.

    Args:
        command: run, retry or sync.
        pid: Its process.
        started_at: When it began, ISO 8601 in UTC with milliseconds.
        finished_at: When it ended; empty: it has not, or was killed.
        exit: Its exit code; None: as above.
        stopped: What stopped it, and what to do about it.
        notified: What became of its notification: sent, or why not; empty: there was none to send.
        succeeded_at: When a call last succeeded, this one included; empty: none ever did.
        summary: What became of the rows, as `Summary` has it; of a killed call, what its status
            said last.
        began_ticks: When that process began, by the system's own count.
        alive: Whether that process is there, where it is another machine's; None: the system knows.
    """

    command: str
    pid: int
    started_at: str
    finished_at: str = ""
    exit: int | None = None
    stopped: Sequence[str] = ()
    notified: str = ""
    succeeded_at: str = ""
    summary: Mapping[str, Any] | None = None
    began_ticks: int | None = None
    alive: bool | None = None

    @property
    def name(self) -> str:
        """Its file's name; the names of calls sort as they began."""
        return f"{self.started_at.replace(':', '')}-{self.pid}.json"

    @property
    def succeeded(self) -> bool:
        """Whether it did all it could."""
        return self.exit in SUCCESSES

    def is_alive(self) -> bool:
        """Whether it still runs; a killed one cannot say that it ended."""
        if self.finished_at:
            return False
        if self.alive is not None:
            return self.alive
        return is_there(self.pid, self.began_ticks)


def write_call(folder: Path, call: Call, *, keep: int) -> None:
    """Write down how a call stands, in place of what was written of it before.

    Args:
        folder: The history's; it exists.
        call: The call.
        keep: Forget all but the last so many calls.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.
    """
    content = orjson.dumps(asdict(call), option=orjson.OPT_APPEND_NEWLINE)
    write_atomically(folder / call.name, content)
    # After the write: a full disk forgets nothing.
    for path in _files(folder)[:-keep]:
        path.unlink(missing_ok=True)


def read_history(folder: Path) -> list[Call]:
    """The calls that are remembered, the first one first.

    Raises:
        StateError: A file in the folder is not one of ours.
    """
    found = (_read(path) for path in _files(folder))
    return [call for call in found if call is not None]


def last_call(folder: Path) -> Call | None:
    """The call that began last; None: nothing is known of any.

    Args:
        folder: The history's.
    """
    files = _files(folder)
    with suppress(StateError):
        return _read(files[-1]) if files else None
    return None


def sends_by(folder: Path) -> str:
    """The command that sends new rows of a job: its last one that was no retry, else `run`.

    Args:
        folder: The history's.
    """
    with suppress(StateError):
        commands = (each.command for each in reversed(read_history(folder)))
        return next((each for each in commands if each != "retry"), "run")
    return "run"


def as_far_as_known(call: Call, status: Status | None) -> Call:
    """A call that has not ended, or never will, with what the job's status said of it last.

    Args:
        call: The call; one that has ended has said all itself.
        status: The job's status.
    """
    process = (call.pid, call.began_ticks)
    if status is None or call.summary is not None or process != (status.pid, status.began_ticks):
        return call
    took_s = unix_of(status.updated_at) - unix_of(call.started_at)
    if took_s < -1:  # whole seconds against milliseconds; else it is an older process' number
        return call
    this_run = {**status.this_run, "seconds": round(max(took_s, 0.0), 3)}
    counts = ("delivered", "rejected", "merged", "skipped")
    of_job = {name: getattr(status, name) for name in counts}
    rows = status.rows_read if status.rows_total is None else status.rows_total
    return replace(call, summary={"rows_read": rows, **of_job, "this_run": this_run})


def before(calls: Sequence[Call], now: Call) -> Call | None:
    """The call that ended last before this one ends; None if there was none.

    A killed call ended, too; nobody knows when.
    """
    ended = [
        each
        for each in calls
        # A process that has our number is gone: in a container, every call may have number 1.
        if each.name != now.name and (each.pid == now.pid or not each.is_alive())
    ]
    return max(ended, key=lambda each: each.finished_at or each.started_at, default=None)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.json"))


def _read(path: Path) -> Call | None:
    try:
        return Call(**orjson.loads(path.read_bytes()))
    except FileNotFoundError:  # forgotten just now by a call that ended
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StateError(
            f"{path}: cannot be read", next_step="remove it; it only records a call that has ended"
        ) from error
