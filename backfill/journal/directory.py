"""The directory that holds a job's state, and the journal's file in it: made, found, removed.

It is private, and no place for tricks with links.
"""

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from backfill.errors import StateError, not_ours
from backfill.files import PRIVATE_DIRECTORY, PRIVATE_FILE, strange_entry
from backfill.journal import schema
from backfill.journal.database import Database
from backfill.journal.lock import JobLock

STATE_FILE = "state.db"


def prepared(directory: Path, *, create: bool) -> Path:
    """Make the directory if need be, and give its path without symbolic links.

    Raises:
        StateError: It is missing and shall not be made, cannot be made, is another user's, others
            may write to it, or something stands in it that cannot be ours.
    """
    try:
        if create:
            _make(directory)
        resolved = directory.resolve(strict=True)
        if not resolved.is_dir():
            raise NotADirectoryError(0, "not a directory")
        found = resolved.stat()
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
    # Whoever can write here can put a journal in place, or a link that leads us elsewhere.
    if found.st_uid != os.geteuid():
        raise StateError(
            f"{directory}: belongs to another user (uid {found.st_uid})",
            next_step="run the command as that user, or choose another directory with --state-dir",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateError(
            f"{directory}: others can write here (mode {stat.S_IMODE(found.st_mode):04o})",
            next_step=f"make it private with: chmod 700 {directory}",
        )
    if strange := strange_entry(resolved):
        raise not_ours(*strange)
    return resolved


def own_folder(path: Path) -> Path:
    """A folder in a job's directory, made where there is none.

    What is removed or written below it is ours: a link in its place is never followed.

    Raises:
        StateError: It is a link or a file, or cannot be made.
    """
    try:
        with suppress(FileExistsError):
            path.mkdir(PRIVATE_DIRECTORY)
        found = path.lstat()
    except OSError as error:
        raise StateError(f"{path}: cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise StateError(
            f"{path}: is a link or a file in the place of a folder",
            next_step="move it away, then run the same command again",
        )
    return path


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
    directory: Path,
    others: Iterable[str] = (),
    *,
    wait_s: float = 0.0,
    sleep: Callable[[float], None] | None = None,
) -> None:
    """Remove a job's journal, if there is one, so that the next run starts from the first row.

    Args:
        directory: The job's.
        others: Files beside the journal that go with it.
        wait_s: As for `JobLock.take`.
        sleep: As for `JobLock.take`.

    Raises:
        StateError: Another process runs the job, or the directory cannot be written to.
    """
    directory = prepared(directory, create=True)
    lock = JobLock.take(directory, wait_s=wait_s, sleep=sleep)
    try:
        Database.remove(directory / STATE_FILE)
        for name in others:  # under the same lock: the next process may write them at once
            (directory / name).unlink(missing_ok=True)
        lock.note(0)
    except OSError as error:
        raise StateError(
            f"{error.filename}: cannot be removed: {error.strerror}",
            next_step="move it away, then run the same command again",
        ) from error
    finally:
        lock.release()


def _state_file(directory: Path) -> Path | None:
    """The journal's file, readable by its owner only; None where there is none.

    Raises:
        StateError: It is a folder.
    """
    path = directory / STATE_FILE
    try:
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            if stat.S_IMODE(found.st_mode) != PRIVATE_FILE:
                path.chmod(PRIVATE_FILE)
            return path
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path}: the journal cannot be used: {error.strerror}") from error
    raise StateError(
        f"{path}: the journal must be a file",
        next_step="move the folder away, then run the same command again",
    )


def _make(directory: Path) -> None:
    if not directory.exists():
        _make(directory.parent)
        directory.mkdir(PRIVATE_DIRECTORY, exist_ok=True)
