"""What a worker does: one chunk at a time, with nothing kept but how to do it.

Dask imports this module in the workers that `--workers` starts (a preload:
https://docs.dask.org/en/stable/customize-initialization.html).
"""

import gc
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from backfill.cluster.parcels import Label, Parcel, Shelf, frames, opened
from backfill.errors import UsageError, as_ours
from backfill.rows import Chunk
from backfill.sources.inputs import Input, UnusedMemory
from backfill.sources.interface import FilePiece, SourceFile

VERSION = version("backfill")
_MEMORY = UnusedMemory()
_RESULTS: deque[Parcel] = deque()
Work = Callable[[tuple[Input, Chunk]], Any]


def dask_setup(worker: Any) -> None:
    """Leave it to the driver what Ctrl-C means: a terminal tells all of its processes.

    When the driver ends, however it does, its workers end by themselves: Dask's own processes
    watch a pipe to it.
    """
    del worker
    gc.set_threshold(200_000)  # as in the driver: columns leave no cycles behind
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def without_file(place: Input) -> Input:
    """A file as a worker has to know it, which reads nothing of it."""
    return replace(place, file=cast("SourceFile", None))


def work_on(driver: str, work: Label, given: Label, kept: int) -> bytes | Label:
    """Do some work on a chunk, or on the chunks of a piece; both lie in parcels of these labels.

    Nothing is raised: Dask would log it with all that belongs to it, and a log holds no data.

    Args:
        driver: The driver's version.
        work: What is done.
        given: With what.
        kept: Results stay in this process, where the driver is on the same machine, until so many
            more were made; 0: they are sent.

    Returns:
        What was made, or the error that came instead, as `frames` puts it; or where that is.
    """
    try:
        _require(driver)
        _MEMORY.give_back()
        place, rows = cast("tuple[Input, Chunk | FilePiece]", opened(Label(*given)))
        do = _work(Label(*work))
        made = [do((place, each)) for each in chunks_in(rows)]
    except Exception as error:  # noqa: BLE001 - the driver raises it
        ours = as_ours(error)
        ours.__cause__ = ours.__context__ = None
        return b"".join(frames(ours))
    known = {"place": place, "rows": rows}
    return _kept(made, known, kept) if kept else b"".join(frames(made, known))


def _kept(made: Any, known: Mapping[str, Any], count: int) -> Label:
    """A result that the driver finds in this process's memory, as long as it lives."""
    _RESULTS.append(Shelf().put(made, known))
    while len(_RESULTS) > count:
        _RESULTS.popleft().remove()
    return _RESULTS[-1].label


def chunks_in(rows: Chunk | FilePiece) -> Iterable[Chunk]:
    """The chunks of a piece; a chunk as it is."""
    return (rows,) if isinstance(rows, Chunk) else rows.chunks()


@lru_cache(maxsize=2)
def _work(label: Label) -> Work:
    return cast("Work", opened(label))


def _require(driver: str) -> None:
    if driver != VERSION:
        raise UsageError(
            f"a worker has backfill {VERSION}, and this is backfill {driver}",
            next_step="install the same version everywhere",
        )


def probe(folders: tuple[str, ...], scratch: str | None) -> tuple[str, str]:
    """Look whether a worker can do its work.

    Args:
        folders: What it has to read.
        scratch: Where it has to write; None: nowhere.

    Returns:
        Its version of backfill, and what is in its way; empty: nothing.
    """
    for folder in folders:
        if not os.access(folder, os.R_OK):
            return VERSION, f"cannot read {folder}"
    if scratch is not None:
        mine = Path(scratch) / f"probe-{os.getpid()}"
        try:
            mine.write_bytes(b"")
            mine.unlink()
        except OSError as error:
            return VERSION, f"cannot write to {scratch}: {error.strerror}"
    return VERSION, ""
