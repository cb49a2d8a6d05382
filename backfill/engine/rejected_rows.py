"""A job's rejected rows, out of the journal into the files that people mend."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from backfill.errors import StateError
from backfill.job import Job, source_parts
from backfill.rejected.writer import RejectedRow, vanished_row, write_rejected
from backfill.sources.inputs import columns_of


def write_rejections(job: Job, *, turned_back: bool) -> Path | None:
    """Write all rejected rows of a job; where there are none, remove the files.

    Args:
        job: The job.
        turned_back: Whether tonight's files are no part of it: nothing of them was sent.

    Returns:
        The CSV that was written; None if no row is rejected.

    Raises:
        OSError: The disk is full, or the directory cannot be written to.
    """
    columns, meta = columns_of(job.inputs), job.journal.meta
    known: list[str] = meta.get("header", [])
    if not turned_back:  # a sync knows only tonight's files: the head keeps those of all nights
        known = meta["header"] = list(dict.fromkeys(chain(known, *columns.values())))
    return write_rejected(job.folder, lambda: _rows(job), columns, known)


def unwritten(folder: Path, failure: OSError) -> StateError:
    """What it means that a job's report cannot be written."""
    return StateError(
        f"{folder}: the report cannot be written: {failure.strerror}",
        next_step="free disk space or fix the permissions, then run the same command again",
    )


def _rows(job: Job) -> Iterator[RejectedRow]:
    names = {part.id: part.path for part in source_parts(job)}
    for part, each in job.journal.rejections():
        if part in names:
            yield RejectedRow(part, names[part], each)
        else:
            yield vanished_row(part, each)
