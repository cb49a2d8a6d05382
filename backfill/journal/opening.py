"""Where a journal begins and ends: its file is made here, and removed."""

from collections.abc import Callable
from pathlib import Path

from backfill.errors import StateError
from backfill.journal import schema
from backfill.journal.database import Database
from backfill.journal.directory import STATE_FILE, prepared, state_file
from backfill.journal.lock import JobLock


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


def journal_file(directory: Path, *, create: bool) -> Path:
    """The journal's file in a directory that is locked; a new one where there is none.

    Raises:
        StateError: There is none and none shall be made, or it cannot be used or made.
    """
    if (path := state_file(directory)) is not None:
        return path
    path = directory / STATE_FILE
    if not create:
        raise StateError(
            f"{path}: there is no journal",
            next_step="Check --state-dir, or start the job with: backfill run PIPELINE.",
        )
    Database.create(path, schema.FORM)
    return path
