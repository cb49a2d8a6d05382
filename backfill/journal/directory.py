"""The directory that holds a job's state, and the journal's file in it: made, found, removed.

It is private, and no place for tricks with links.
"""

import stat
from collections.abc import Callable
from pathlib import Path

from backfill.errors import StateError
from backfill.files import PRIVATE_DIRECTORY, PRIVATE_FILE
from backfill.journal import schema
from backfill.journal.database import Database
from backfill.journal.lock import JobLock

STATE_FILE = "state.db"


def prepared(directory: Path, *, create: bool) -> Path:
    """Make the directory if need be, and give its path without symbolic links.

    Raises:
        StateError: It is missing and shall not be made, cannot be made, or anyone may write to it.
    """
    try:
        if create:
            _make(directory)
        resolved = directory.resolve(strict=True)
        if not resolved.is_dir():
            raise NotADirectoryError(0, "not a directory")
        mode = resolved.stat().st_mode
    except FileNotFoundError as error:
        raise StateError(
            f"{directory}: no job has state here",
            next_step="check --state-dir, or start the job with: backfill run PIPELINE",
        ) from error
    except OSError as error:
        raise StateError(
            f"{directory}: the state directory cannot be used: {error.strerror}",
            next_step="make it a writable directory, or choose another with --state-dir",
        ) from error
    if mode & stat.S_IWOTH:
        raise StateError(
            f"{directory}: any user of this machine can write here",
            next_step=f"make it private with: chmod 700 {directory}",
        )
    return resolved


def journal_file(directory: Path, *, create: bool) -> Path:
    """The journal's file in a directory that is locked; a new one where there is none.

    Raises:
        StateError: There is none and none shall be made, or it cannot be used or made.
    """
    if (path := _state_file(directory)) is not None:
        return path
    path = directory / STATE_FILE
    if not create:
        raise StateError(
            f"{path}: there is no journal",
            next_step="check --state-dir, or start the job with: backfill run PIPELINE",
        )
    Database.create(path, schema.FORM)
    return path


def forget(
    directory: Path, *, wait_s: float = 0.0, sleep: Callable[[float], None] | None = None
) -> None:
    """Remove a job's journal, if there is one, so that the next run starts from the first row.

    Raises:
        StateError: Another process runs the job, or the directory cannot be written to.
    """
    directory = prepared(directory, create=True)
    lock = JobLock.take(directory, wait_s=wait_s, sleep=sleep)
    try:
        Database.remove(directory / STATE_FILE)
        lock.note(0)
    finally:
        lock.release()


def _state_file(directory: Path) -> Path | None:
    """The journal's file, readable by its owner only; None where there is none.

    Raises:
        StateError: It is a link or no file at all, or has a second name.
    """
    path = directory / STATE_FILE
    try:
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            if stat.S_IMODE(found.st_mode) != PRIVATE_FILE:
                path.chmod(PRIVATE_FILE)
            return path
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path}: the journal cannot be used: {error.strerror}") from error
    raise StateError(
        f"{path}: the journal must be a regular file, not a link",
        next_step="replace it by a copy of the file that it leads to",
    )


def _make(directory: Path) -> None:
    if not directory.exists():
        _make(directory.parent)
        directory.mkdir(PRIVATE_DIRECTORY, exist_ok=True)
