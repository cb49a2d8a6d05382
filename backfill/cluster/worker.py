"""What a worker does: one chunk at a time, with nothing kept but how to do it.

Dask imports this module in the workers that `--workers` starts (a preload:
https://docs.dask.org/en/stable/customize-initialization.html).
"""

import gc
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any, cast

from backfill.cluster.parcels import Label, MemoryShelf, Parcel, opened, shelf_at
from backfill.errors import BackfillError, StateError, UsageError, as_ours
from backfill.rows import Chunk
from backfill.sources.inputs import Input, UnusedMemory
from backfill.sources.interface import FilePiece, SourceFile

VERSION = version("backfill")
OPERATION = "backfill_attempts"
"""What a worker is asked for at the beginning of a connection on which it is to send."""

_MEMORY = UnusedMemory()
_RESULTS: deque[Parcel] = deque()
Work = Callable[[tuple[Input, Chunk]], Any]


def dask_setup(worker: Any) -> None:
    """Leave it to the driver what Ctrl-C means: a terminal tells all of its processes.

    When the driver ends, however it does, its workers end by themselves: Dask's own processes
    watch a pipe to it.
    """
    worker.handlers[OPERATION] = send_for
    gc.set_threshold(200_000)  # as in the driver: columns leave no cycles behind
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


async def send_for(comm: Any) -> None:
    """Make attempts for the driver at the other end."""
    from backfill.cluster.attempts import serve  # noqa: PLC0415 - a check sends nothing

    await serve(comm)


def _offer_to_send() -> None:
    """Be ready to send where nobody has told Dask at its start: in a cluster."""
    from distributed import get_worker  # noqa: PLC0415 - whoever asks for a worker may lack Dask

    with suppress(ValueError):  # in no worker, but in a test
        get_worker().handlers.setdefault(OPERATION, send_for)


def without_file(place: Input) -> Input:
    """A file as a worker has to know it, which reads nothing of it."""
    return replace(place, file=cast("SourceFile", None))


def work_on(driver: str, work: Label, given: Label, kept: int | str) -> Label | bytes:
    """Do some work on a chunk, or on the chunks of a piece; both lie in parcels of these labels.

    Nothing is raised: Dask would log it with all that belongs to it, and a log holds no data.

    Args:
        driver: The driver's version.
        work: What is done.
        given: With what.
        kept: Results stay in this process, where the driver is on the same machine, until so many
            more were made; else the shelf that they are left on.

    Returns:
        Where that lies which was made, or the error that came instead; or, packed, the error for
        which it lies nowhere.
    """
    _offer_to_send()
    try:
        _require(driver)
        _MEMORY.give_back()
        place, rows = cast("tuple[Input, Chunk | FilePiece]", opened(Label(*given)))
        do = _work(Label(*work))
        known: Mapping[str, Any] = {"place": place, "rows": rows}
        made: Any = [do((place, each)) for each in chunks_in(rows)]
    except Exception as error:  # noqa: BLE001 - the driver raises it
        ours = as_ours(error)
        ours.__cause__ = ours.__context__ = None
        made, known = ours, {}
    try:
        return _kept(made, known, kept)
    except (OSError, BackfillError) as error:
        return pickle.dumps(no_room(error))


def _kept(made: Any, known: Mapping[str, Any], kept: int | str) -> Label:
    """A result that the driver finds on a shelf, or in this process while that lives."""
    if isinstance(kept, str):
        parcel = shelf_at(kept).put(made, known)
        parcel.close()
        return parcel.label
    _RESULTS.append(MemoryShelf().put(made, known))
    while len(_RESULTS) > kept:
        _RESULTS.popleft().remove()
    return _RESULTS[-1].label


def no_room(error: OSError | BackfillError) -> BackfillError:
    """Why something cannot be laid down, as the error of a run."""
    if isinstance(error, BackfillError):  # a bucket says it by itself
        return error
    return StateError(
        f"there is no room for what workers are given and make: {error.strerror}",
        next_step="free memory or disk space, or choose another folder with --scratch",
    )


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


def probe(
    folders: tuple[str, ...], scratch: str | None, dask_worker: Any = None
) -> tuple[str, str]:
    """Look whether a worker can do its work, and offer that it sends, too.

    Args:
        folders: What it has to read.
        scratch: The shelf where it has to write; None: nowhere.
        dask_worker: The worker; Dask gives it by this name.

    Returns:
        Its version of backfill, and what is in its way; empty: nothing.
    """
    if dask_worker is not None:
        dask_worker.handlers[OPERATION] = send_for
    for folder in folders:
        if not os.access(folder, os.R_OK):
            return VERSION, f"cannot read {folder}"
    if scratch is not None:
        try:
            shelf_at(scratch).put(VERSION).remove()
        except OSError as error:
            return VERSION, f"cannot write to {scratch}: {error.strerror}"
        except BackfillError as error:
            return VERSION, f"cannot write to --scratch: {error}"
    return VERSION, ""
