"""Chunks of files -> the same, judged in threads: the user's transform first, then the judge."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from os import cpu_count
from types import MappingProxyType
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import pyarrow as pa

from backfill.encoding.rejected_cells import rejected
from backfill.errors import UsageError
from backfill.instants import Reading, WrittenValues
from backfill.judge.judge import Judge
from backfill.judge.shape import Shape
from backfill.operations.encode import Accepted
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import EventsSource, Source
from backfill.rows import START, Chunk, Rejections, Rows, reason
from backfill.sources.inputs import Input, chunks_of
from backfill.sources.layout import AttributeNames

THREADS = min(cpu_count() or 1, 4)
"""The kernels release the interpreter lock; beyond a few threads reading cannot keep up."""

Given = TypeVar("Given")
Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)

_NOTHING: Mapping[str, Rows] = MappingProxyType({})

_SMALL_BYTES = 1 << 16
_TOGETHER_BYTES_MAX = 1 << 20
_REJECTION_BYTES = 1 << 8
_TOGETHER_MAX = 64
"""So many small chunks are judged as one: more would save little, and read far ahead."""


@dataclass(frozen=True, slots=True)
class JudgedChunk:
    """A chunk of a file, judged.

    Args:
        place: The file.
        chunk: The rows as they were read.
        seen: The rows as the judge saw them: behind the transform, where there is one.
        dropped: int64, the rows that were left out before, by why: `where`, `transform`.
        accepted: The rows that are good.
        rejections: Those that are not, the ones of bad shape included, in the order of the rows.
        named: string, everybody whom a row is about, rejected ones included; once for each row.
        names: What the attributes are called.
        written: The timestamps of events as they are written; None where JSON holds them.
    """

    place: Input
    chunk: Chunk
    seen: Chunk
    dropped: Mapping[str, Rows]
    accepted: Accepted
    rejections: Rejections
    named: pa.StringArray
    names: AttributeNames
    written: WrittenValues | None

    @property
    def key(self) -> str:
        """Which rows it covers, as a text."""
        return f"{self.place.part}:{self.chunk.first_row}:{self.chunk.end.row}"


class ChunkJudge:
    """Judges the chunks of every source of a pipeline; safe to call from several threads.

    Args:
        pipeline: The settings.
        shapes: What is done with chunks before they are judged, by source.
        readings: How timestamps are written, by source and attribute.
        now_s: The plan's start.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        shapes: Mapping[int, Shape],
        readings: Mapping[int, Mapping[str, Reading]],
        now_s: float,
    ) -> None:
        api = pipeline.destination.api
        self._sources = pipeline.sources
        self._shapes = shapes
        self._judges = [
            Judge(source, api, readings[index], now_s)
            for index, source in enumerate(pipeline.sources)
        ]

    def __call__(self, given: tuple[Input, Chunk]) -> JudgedChunk:
        """Judge one chunk of a file.

        Raises:
            UsageError: Its columns cannot be used with the settings, or the transform failed.
        """
        place, chunk = given
        shape = self._shapes.get(place.source)
        # Most sources need no shaping: their chunks are judged as they were read.
        seen, dropped = chunk, _NOTHING
        if shape is not None:
            made = shape.apply(chunk, place.name)
            seen, dropped = made.chunk, made.dropped
        judged = self._judges[place.source].judge(seen, place.name, chunk)
        return JudgedChunk(
            place,
            chunk,
            seen,
            dropped,
            judged.accepted,
            judged.rejections,
            judged.named,
            judged.names,
            judged.written,
        )

    def each(self, given: Sequence[tuple[Input, Chunk]]) -> list[JudgedChunk]:
        """Judge several chunks of one source, with the same columns.

        Those of events are judged as one: a kernel's call costs as much for ten rows as for
        thousands. What a chunk of people is said to be called depends on all of its rows, and a
        transform may make something else of rows with other neighbours.

        Raises:
            UsageError: See `__call__`.
        """
        source = given[0][0].source
        is_one = isinstance(self._sources[source], EventsSource) and source not in self._shapes
        if len(given) > 1 and is_one:
            try:
                whole = self((given[0][0], _as_one([chunk for _, chunk in given])))
            except (UsageError, pa.ArrowException):
                # Whose fault it is, each tells by itself. Dictionaries of small numbers, as of
                # pandas' categories, may not fit into one.
                pass
            else:
                return list(_parted(whole, given))
        return [self(each) for each in given]


def _as_one(chunks: Sequence[Chunk]) -> Chunk:
    """The rows of good shape of several chunks, numbered from 0."""
    batch = pa.concat_batches([chunk.batch for chunk in chunks])
    rows = np.arange(batch.num_rows)
    return Chunk(0, batch, rows, None, (), replace(START, row=len(rows)), chunks[0].values)


def _parted(whole: JudgedChunk, given: Sequence[tuple[Input, Chunk]]) -> Iterator[JudgedChunk]:
    """What was judged as one, as if each chunk had been judged by itself.

    But for `named` and `names`, which stay those of all: of events nobody asks for them by row.

    Args:
        whole: The rows of all chunks, without a transform.
        given: The chunks, with their files.
    """
    ends = np.cumsum([0, *(len(chunk.rows) for _, chunk in given)])
    good = np.searchsorted(whole.accepted.rows, ends).tolist()
    bad = np.searchsorted(whole.rejections.rows, ends).tolist()
    bounds = (pairwise(each) for each in (ends.tolist(), good, bad))
    for (place, chunk), (begin, end), of_good, of_bad in zip(given, *bounds, strict=True):
        accepted = whole.accepted.take(np.arange(*of_good))
        accepted = replace(accepted, rows=chunk.rows[accepted.rows - begin])
        rejections = _of_chunk(whole.rejections[slice(*of_bad)], chunk, begin)
        written = whole.written and whole.written.part(begin, end)
        yield replace(
            whole,
            place=place,
            chunk=chunk,
            seen=chunk,
            accepted=accepted,
            rejections=Rejections.together([Rejections.of(chunk.rejections), rejections]),
            written=written,
        )


def _of_chunk(rejections: Rejections, chunk: Chunk, begin: int) -> Rejections:
    """Rejections of rows that were numbered from `begin` on, by their numbers in their file."""
    places = rejections.rows - begin
    lines = rejections.lines if chunk.lines is None else chunk.lines[places]
    return replace(rejections, rows=chunk.rows[places], lines=lines)


def unknown_people(source: Source, origin: Chunk, rows: Rows) -> Rejections:
    """The rejections of events, int64 (n,), about people whom no customers source names."""
    why = (reason("unknown_person", source.identifier.column),)
    return rejected(origin, rows, (why,), np.zeros(len(rows), np.int64))


class Pending(Protocol[Made_co]):
    """What is in the making."""

    def result(self) -> Made_co:
        """Wait for it."""


class Pool(Protocol):
    """Who does some work beside others: an executor, as far as it matters here."""

    def submit(self, work: Callable[[Given], Made], given: Given, /) -> Pending[Made]:
        """Have it done."""


def in_order(
    work: Callable[[Given], Made], given: Iterable[Given], pool: Pool, ahead: int
) -> Iterator[Made]:
    """The results of `work` on each item, in order, while `ahead` more are in the making."""
    pending: deque[Pending[Made]] = deque()
    for item in given:
        # Bounded by `ahead`: a reader faster than the pool must not fill memory with chunks.
        pending.append(pool.submit(work, item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@runtime_checkable
class ChunkWork(Protocol[Made_co]):
    """Work on a chunk that can be done for several small ones at a time, for less."""

    def __call__(self, given: tuple[Input, Chunk], /) -> Made_co:
        """What is made of a chunk."""

    def each(self, given: Sequence[tuple[Input, Chunk]], /) -> Sequence[Made_co]:
        """The same of several of one source that have the same columns."""


def gathered(chunks: Iterable[tuple[Input, Chunk]]) -> Iterator[list[tuple[Input, Chunk]]]:
    """The chunks in their order: small ones that can be judged as one together, others alone."""
    some: list[tuple[Input, Chunk]] = []
    size = 0
    for place, chunk in chunks:
        more = _held_bytes(chunk)
        is_full = len(some) == _TOGETHER_MAX or size + more > _TOGETHER_BYTES_MAX
        if some and (is_full or not _alike(some[0], (place, chunk))):
            yield some
            some, size = [], 0
        some.append((place, chunk))
        size += more
        if more > _SMALL_BYTES:  # it is worth its calls, and waits for no other one
            yield some
            some, size = [], 0
    if some:
        yield some


def _held_bytes(chunk: Chunk) -> int:
    """About what a chunk holds, its rows of bad shape too: a long file may have no others."""
    bad = sum(_REJECTION_BYTES + len(each.raw or "") for each in chunk.rejections)
    return int(chunk.batch.nbytes + chunk.rows.nbytes + bad)


def _alike(one: tuple[Input, Chunk], other: tuple[Input, Chunk]) -> bool:
    """Whether two chunks are of one source, and have the same columns, all in their batch."""
    chunks = one[1], other[1]
    return (
        one[0].source == other[0].source
        and chunks[0].values == chunks[1].values
        and all(each.values != "json" and each.sparse is None for each in chunks)
        # The metadata, too: it tells which columns were made of others.
        and bool(chunks[0].batch.schema.equals(chunks[1].batch.schema, check_metadata=True))
    )


class ChunkWorkers(Protocol):
    """Who works on chunks: threads of this process, or other processes.

    Whoever it is, the results are the same, and in the same order.
    """

    def map(
        self,
        work: Callable[[tuple[Input, Chunk]], Made],
        chunks: Iterable[tuple[Input, Chunk]],
        ahead: int = THREADS,
    ) -> Generator[Made]:
        """The results of `work` on each chunk, in order.

        Args:
            work: Depends on nothing but the chunk, and changes nothing.
            chunks: Read by the caller's thread as results are taken.
            ahead: How many more are in the making, where threads work on them.
        """

    def read(
        self,
        work: Callable[[tuple[Input, Chunk]], Made],
        inputs: Sequence[Input],
        ahead: int = THREADS,
        *,
        small: bool = False,
    ) -> Generator[Made]:
        """The same of all chunks of these files, which whoever works on them may read.

        Args:
            work: Depends on nothing but the chunk, and changes nothing.
            inputs: The files.
            ahead: How many more are in the making, where threads work on them.
            small: Whether results are about as large as the rows: see `SourceFile.pieces`.
        """


class Threads:
    """Threads of this process work on chunks: the kernels let go of the interpreter lock."""

    def map(
        self,
        work: Callable[[tuple[Input, Chunk]], Made],
        chunks: Iterable[tuple[Input, Chunk]],
        ahead: int = THREADS,
    ) -> Generator[Made]:
        """See `ChunkWorkers.map`."""

        def made(some: list[tuple[Input, Chunk]]) -> Sequence[Made]:
            return work.each(some) if isinstance(work, ChunkWork) else [*map(work, some)]

        with ThreadPoolExecutor(THREADS) as pool:
            for each in in_order(made, gathered(chunks), pool, ahead):
                yield from each

    def read(
        self,
        work: Callable[[tuple[Input, Chunk]], Made],
        inputs: Sequence[Input],
        ahead: int = THREADS,
        *,
        small: bool = False,
    ) -> Generator[Made]:
        """See `ChunkWorkers.read`."""
        del small
        return self.map(work, chunks_of(inputs), ahead)


IN_THREADS: ChunkWorkers = Threads()


def read_ahead(items: Iterator[Given]) -> Iterator[Given]:
    """The items, none of them None; the next is read in another thread while one is looked at."""
    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(next, items, None)
        # One ahead, not more: that already hides reading behind the work on the item before.
        while (item := pending.result()) is not None:
            pending = reader.submit(next, items, None)
            yield item
