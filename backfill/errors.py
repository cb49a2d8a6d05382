"""What stops a run, as a tree. Each class carries its exit code; each error its next step.

A row's failure is a value (`backfill.rows.Rejection`); only a run's failure is an exception.

    BackfillError            1   a bug of ours, when nothing below fits
    ├── UsageError           2   pipeline file, header, empty file, glob without match
    ├── CredentialsError     4   the workspace does not know the key, or it is in another region
    ├── SourceChangedError   5   the bytes are not those that the journal speaks of
    ├── StateError           6   state locked, corrupt, or disk full
    ├── GuardError           7   refused for the user's protection; the message names the setting
    ├── DiffersError         8   what was read back is not what was sent
    ├── UnavailableError    75   the service cannot be reached, or the time is up
    └── InterruptedRunError 130  Ctrl-C (143: SIGTERM)
"""

import errno
import os
import traceback
from collections.abc import Iterable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any


class ExitCode(IntEnum):
    """What the process says when it ends. Part of the contract with users."""

    DELIVERED = 0
    BUG = 1
    USAGE = 2
    REJECTIONS = 3
    CREDENTIALS = 4
    SOURCE_CHANGED = 5
    STATE = 6
    GUARD = 7
    DIFFERS = 8
    UNAVAILABLE = 75
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: Mapping[int, str] = {
    ExitCode.DELIVERED: "all delivered",
    ExitCode.BUG: "a bug in backfill",
    ExitCode.USAGE: "the command, the pipeline file or a source cannot be used as it is",
    ExitCode.REJECTIONS: "done, some rows rejected",
    ExitCode.CREDENTIALS: "the credentials or the region were refused",
    ExitCode.SOURCE_CHANGED: "the source changed (--restart or --append)",
    ExitCode.STATE: "the state is locked or damaged, or the disk is full",
    ExitCode.GUARD: "a guard refused to send (its message names the setting)",
    ExitCode.DIFFERS: "verified, and something differs (verified.csv lists it)",
    ExitCode.UNAVAILABLE: "the service is unavailable or the time is up; run it again to resume",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C); run it again to resume",
    ExitCode.TERMINATED: "stopped by the system; run it again to resume",
}
"""What each code means, without a word out of anybody's data: for README, report, webhook and
the files of `schedule`."""

RESUMABLE = (ExitCode.UNAVAILABLE, ExitCode.INTERRUPTED, ExitCode.TERMINATED)
"""Starting the same command again, later, goes on where these stopped."""

# The graver the earlier: a bug, then what makes the account unreliable, then what the user
# can change, then what time will.
_PRECEDENCE = (1, 6, 4, 5, 2, 7, 130, 143, 75, 8, 3, 0)


def first_of(codes: Iterable[int]) -> ExitCode:
    """The code that wins when a run ends with several reasons.

    >>> first_of([3, 75]).name
    'UNAVAILABLE'
    """
    return ExitCode(min(codes, key=_PRECEDENCE.index))


class BackfillError(Exception):
    """Something stopped the run.

    Args:
        what: What happened and where (file, row, column, key), without personal data.
        next_step: What the user can do about it, as one sentence.

    `summary` says how far a run came that this stopped (`backfill.report.Summary`).
    """

    exit_code = ExitCode.BUG

    def __init__(self, what: str, *, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step
        self.summary: Any = None


class UsageError(BackfillError):
    """The command, the pipeline file or a source cannot be used as it is."""

    exit_code = ExitCode.USAGE


class CredentialsError(BackfillError):
    """The service does not accept the credentials, or the region is another one."""

    exit_code = ExitCode.CREDENTIALS


class SourceChangedError(BackfillError):
    """A source is not the one that the journal's positions were taken from."""

    exit_code = ExitCode.SOURCE_CHANGED


class StateError(BackfillError):
    """The job's state cannot be used: locked by another process, corrupt, or the disk is full."""

    exit_code = ExitCode.STATE


class GuardError(BackfillError):
    """Sending was refused for the user's protection; `next_step` names the setting that answers."""

    exit_code = ExitCode.GUARD


class DiffersError(BackfillError):
    """What was read back from the workspace is not what was sent."""

    exit_code = ExitCode.DIFFERS


class UnavailableError(BackfillError):
    """The service did not answer for too long, or the time limit is reached."""

    exit_code = ExitCode.UNAVAILABLE


class InterruptedRunError(BackfillError):
    """The user or the system asked the run to stop; everything settled so far is kept."""

    def __init__(self, what: str, *, next_step: str = "", terminated: bool = False) -> None:
        super().__init__(what, next_step=next_step)
        self.exit_code = ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def as_ours(error: BaseException) -> BackfillError:
    """Any error as one of ours: a disk's, a file's, else a bug; `__cause__` keeps the other one."""
    if isinstance(error, BackfillError):
        return error
    ours = _explained(error)
    ours.__cause__ = error
    return ours


def unwritten(folder: Path, failure: OSError) -> StateError:
    """What it means that a result cannot be written."""
    return StateError(
        f"{folder}: the report cannot be written: {failure.strerror}",
        next_step=f"{what_helps(folder, failure.errno)}, then run the same command again",
    )


def not_ours(path: Path, why: str) -> StateError:
    """What it means that an entry of a state folder cannot be the job's."""
    return StateError(
        f"{path}: {why}",
        next_step="move it away, or put a copy of the file in its place, then run the same command"
        " again",
    )


def what_helps(place: Path, code: int | None) -> str:
    """What to do about a place on disk that cannot be written to.

    Args:
        place: A file or a folder of a job.
        code: The error number of the system; None: unknown.

    >>> what_helps(Path("/"), errno.EROFS)
    'make the folder writable, or choose another with --state-dir'
    """
    if code in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "make the folder writable, or choose another with --state-dir"
    if code == errno.ENOENT or not place.parent.is_dir():
        return "leave the state folder in place while a job runs: it was removed"
    return "free disk space" if code in (errno.ENOSPC, errno.EDQUOT) else "check the disk"


def _explained(error: BaseException) -> BackfillError:
    if isinstance(error, OSError) and error.errno in _DISK:
        return StateError(
            f"{error.filename or 'the disk'}: {error.strerror}",
            next_step=f"{what_helps(Path(error.filename or '.'), error.errno)}, then run the same"
            " command again to resume",
        )
    if isinstance(error, OSError) and error.filename is not None:
        return UsageError(
            f"{error.filename}: {error.strerror}", next_step="fix that, then run the command again"
        )
    return BackfillError(
        f"a bug in backfill: {type(error).__name__}{_place(error)}",
        next_step="start the same command with --debug, and report what it prints (look it over:"
        " a traceback may quote your data)",
    )


def _place(error: BaseException) -> str:
    """Where in our own code it happened; the message may hold what a file says, and stays out."""
    here = str(Path(__file__).parent)
    frames = [each for each in traceback.extract_tb(error.__traceback__) if here in each.filename]
    if not frames:
        return ""
    return f" at {os.path.relpath(frames[-1].filename, here)} line {frames[-1].lineno}"
