"""One process at a time: a locked file that says who holds it.

The lock is the kernel's (`flock`), so it goes with the process however that ends; the text in
the file is for the reader of an error message. It holds through symbolic links to the directory,
since both names lead to the same file.

The file also notes how far the journal had come, so that one that went back is found out: a copy
from a backup, or a database without its log.
"""

import fcntl
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from backfill.errors import StateError
from backfill.files import PRIVATE_FILE

_OPEN_OR_CREATE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_FILE = "lock"
_PAUSE_S = 0.2
_RECORD_BYTES = 512


class JobLock:
    """The right to use a job's state, held until `release` or the end of the process.

    `noted` is the number that was noted last, by us or by the holder before us; 0 if none was.

    Args:
        descriptor: The open and locked file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self.noted = _noted(os.pread(descriptor, _RECORD_BYTES, 0))
        self._holder: dict[str, str | int] = {"pid": os.getpid(), "host": socket.gethostname()}
        self.note(self.noted)
        # The file system's own idea of now.
        since = datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
        self._holder["since"] = since.isoformat(timespec="seconds")
        self.note(self.noted)

    @classmethod
    def take(
        cls,
        directory: Path,
        *,
        wait_s: float = 0.0,
        sleep: Callable[[float], None] | None = None,
    ) -> "JobLock":
        """Lock `directory/lock`, waiting up to `wait_s` seconds if a `sleep` is given.

        Raises:
            StateError: Another process holds it (it is named), or the file cannot be used.
        """
        path = directory / _LOCK_FILE
        waited_s = 0.0
        while (descriptor := _try(path)) is None:
            if sleep is None or waited_s >= wait_s:
                raise _held(path)
            sleep(_PAUSE_S)
            waited_s += _PAUSE_S
        return cls(descriptor)

    def note(self, number: int) -> None:
        """Remember a number for the next holder: not through a power cut, but through a kill."""
        if self._descriptor is not None:
            self.noted = number
            record = json.dumps({**self._holder, "commits": number}).encode()
            with suppress(OSError):  # on a full disk the lock holds as well without it
                # Always as long, in one write: a kill leaves the old note or the new one.
                os.pwrite(self._descriptor, record.ljust(_RECORD_BYTES), 0)

    def release(self) -> None:
        """Let the next process in; harmless when repeated."""
        if self._descriptor is not None:
            # The file stays: removing it would let two processes lock two files of one name.
            os.close(self._descriptor)
            self._descriptor = None


def noted_in(directory: Path) -> int:
    """The number that was noted last in a directory, whoever holds its lock; 0 if none was."""
    try:
        return _noted((directory / _LOCK_FILE).read_bytes())
    except OSError:
        return 0


def leave_note(directory: Path, number: int) -> None:
    """Note a number for the next holder, in a directory that nobody has yet.

    Raises:
        StateError: Somebody has, or the file cannot be used.
    """
    lock = JobLock.take(directory)
    lock.note(number)
    lock.release()


def _try(path: Path) -> int | None:
    try:
        descriptor = os.open(path, _OPEN_OR_CREATE, PRIVATE_FILE)
    except OSError as error:
        raise StateError(
            f"{path}: the lock cannot be opened: {error.strerror}",
            next_step="make the directory writable, or choose another with --state-dir",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _noted(record: bytes) -> int:
    try:
        return int(json.loads(record)["commits"])
    except (ValueError, KeyError, TypeError):
        return 0  # nobody held it yet, or the power failed


def _held(path: Path) -> StateError:
    try:
        holder = json.loads(path.read_bytes())
        who = "process {pid} on {host} since {since}".format_map(holder)
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"  # it is just starting and has not written its name yet
    return StateError(
        f"{path.parent}: the job is being run by {who}",
        next_step="wait until it has finished, or stop it; then run this command again",
    )
