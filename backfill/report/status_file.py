"""Where a job stands, as a small file that other processes read while it runs.

The journal belongs to the process that runs the job; nobody else opens it. A process number alone
does not say whether that process is still there: once it has ended, another may get its number.
Where the system tells when a process began (Linux, in /proc), that has to agree.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypedDict

import orjson

from backfill.errors import StateError
from backfill.files import write_atomically

STATUS_FILE = "status.json"

State = Literal["extracting", "planning", "running", "paused", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a job stands.

    Args:
        job: The pipeline's name.
        state: What it does now; `ended` says nothing of how.
        pid: The process that runs it, or ran it last.
        rows_total: How many rows there are, once that is known.
        rows_read: Rows read so far.
        delivered: Rows accepted with 2xx.
        rejected: Rows not sent, or refused.
        merged: Rows that were sent as part of another.
        skipped: Rows left out on purpose.
        rows_per_second: Rows settled in a second, lately.
        pause: Why it waits, where it does.
        started_at: When this call began, ISO 8601 in UTC.
        updated_at: When this was written, ISO 8601 in UTC.
        exit: The exit code, once it has ended.
        began_ticks: When that process began, by the system's own count.
        rejected_file: The name of the file that holds the rejected rows now; empty: there are none.
        url: Where it sends, if that is elsewhere than the pipeline file says.
        alive: Whether its process is there, where it is another machine's; None: the system knows.
        this_run: What this call has done: the rows that it has settled as `rows_read`, delivered,
            rejected, merged and skipped. All other counts are the job's.
        workers: Of each process that sends, its address, how many requests it has sent and has in
            hand, and whether it is heard of; empty: the one that runs the job sends.
        verified: When the job was verified last, `at`, and what was found; empty: never.
    """

    job: str
    state: State
    pid: int
    started_at: str
    updated_at: str
    rows_total: int | None = None
    rows_read: int = 0
    delivered: int = 0
    rejected: int = 0
    merged: int = 0
    skipped: int = 0
    rows_per_second: float = 0.0
    pause: str = ""
    exit: int | None = None
    began_ticks: int | None = None
    rejected_file: str = ""
    url: str = ""
    alive: bool | None = None
    this_run: Mapping[str, int] = field(default_factory=dict)
    workers: Sequence[Mapping[str, Any]] = field(default_factory=list)
    verified: Mapping[str, Any] = field(default_factory=dict)

    def is_alive(self) -> bool:
        """Whether its process is still there; a killed one cannot say that it ended."""
        if self.state == "ended":
            return False
        if self.alive is not None:
            return self.alive
        return is_there(self.pid, self.began_ticks)


def write_status(path: Path, status: Status, *, lasting: bool = True) -> None:
    """Replace the file.

    Args:
        path: Where it is.
        status: What it says.
        lasting: Whether it must survive a power cut.

    Raises:
        OSError: The disk is full, or the directory cannot be written to.
    """
    content = orjson.dumps(status, option=orjson.OPT_APPEND_NEWLINE)
    write_atomically(path, content, lasting=lasting)


def read_status(path: Path) -> Status | None:
    """Where a job stands; None if it never said.

    Raises:
        StateError: The file is not one of ours.
    """
    try:
        return Status(**orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StateError(
            f"{path}: cannot be read", next_step="remove it; the next run writes it again"
        ) from error


_STATE, _BEGAN = 0, 19
"""Places in /proc/PID/stat behind the process's name: proc(5)."""


class Process(TypedDict):
    """A process as it is written down: its number, and `began_ticks` of it."""

    pid: int
    began_ticks: int | None


def this_process() -> Process:
    """The one that asks."""
    return {"pid": os.getpid(), "began_ticks": _began_ticks_once(os.getpid())}


@lru_cache(1)
def _began_ticks_once(own_pid: int) -> int | None:
    """`began_ticks` of a process that is there while it asks; after a fork it is another one."""
    return began_ticks(own_pid)


def began_ticks(pid: int) -> int | None:
    """When a process began, in ticks since the system did.

    0 for one that has ended and whose parent did not notice; None where the system does not tell.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return 0 if fields[_STATE] == "Z" else int(fields[_BEGAN])


def is_there(pid: int, began: int | None) -> bool:
    """Whether the process of this number is there, and the one that began then.

    Args:
        pid: Its number.
        began: `began_ticks`, when it asked about itself.
    """
    found = began_ticks(pid)
    if began is not None and found is not None:
        return found == began
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's, but there
    return True
