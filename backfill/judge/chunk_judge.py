"""What both passes do with a chunk: the user's transform, then the judge."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from os import cpu_count
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from backfill.encoding.json_text import Mask
from backfill.instants import Reading
from backfill.judge.judge import Judge, Judged
from backfill.judge.row_faults import rejection
from backfill.judge.transform import Transform
from backfill.operations.encode import Api, Operations, Subjects, encode, event_ids
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import EventsSource, Source
from backfill.rows import Chunk, Position, Rejection, Rows, reason
from backfill.sources.inputs import Input

THREADS = min(cpu_count() or 1, 4)
"""The kernels release the interpreter lock; beyond a few threads reading cannot keep up."""

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class JudgedChunk:
    """A chunk of a file, judged.

    Args:
        place: The file.
        chunk: The rows as they were read.
        seen: The rows as the judge saw them: behind the transform, where there is one.
        judged: What the judge says of them.
        dropped: The rows that the transform left out.
    """

    place: Input
    chunk: Chunk
    seen: Chunk
    judged: Judged
    dropped: Rows


class ChunkJudge:
    """Judges the chunks of every source of a pipeline; safe to call from several threads.

    Args:
        pipeline: The settings.
        transforms: The users' functions, by source.
        readings: How moments are written, by source and attribute.
        now_s: The plan's start.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        transforms: Mapping[int, Transform],
        readings: Mapping[int, Mapping[str, Reading]],
        now_s: float,
    ) -> None:
        api = pipeline.destination.api
        self._transforms = transforms
        self.judges = [
            Judge(source, api, readings[index], now_s)
            for index, source in enumerate(pipeline.sources)
        ]

    def __call__(self, given: tuple[Input, Chunk]) -> JudgedChunk:
        """Judge one chunk of a file.

        Raises:
            UsageError: Its columns cannot be used with the settings, or the transform failed.
        """
        place, chunk = given
        transform = self._transforms.get(place.source)
        judge = self.judges[place.source]
        if transform is None:
            judged = judge.judge(chunk, place.name)
            return JudgedChunk(place, chunk, chunk, judged, np.empty(0, np.int64))
        made = transform.apply(chunk, place.name)
        judged = judge.judge(made.chunk, place.name, chunk)
        return JudgedChunk(place, chunk, made.chunk, judged, made.dropped)


def operations_of(
    source: Source,
    api: Api,
    staged: JudgedChunk,
    subjects: Subjects,
    by_v1: Mask,
    ids: pa.StringArray | None,
) -> tuple[Operations, ...]:
    """The operations of a chunk: those for the pipeline's API, then those that only v1 takes."""
    made = []
    for chosen, where in ((api, ~by_v1), ("v1", by_v1)):
        some = subjects.take(where)
        if len(some):
            some_ids = None if ids is None else ids.filter(pa.array(where))
            operations = encode(source, chosen, some, some_ids)
            made.append(replace(operations, part=staged.place.part, origin=staged.chunk))
    return tuple(made)


def first_operations(pipeline: Pipeline, staged: JudgedChunk, count: int) -> list[str]:
    """The first operations of a chunk, as they would be sent."""
    source = pipeline.sources[staged.place.source]
    subjects = staged.judged.subjects
    first = subjects.take(np.arange(min(count, len(subjects))))
    ids = None
    if isinstance(source, EventsSource):
        ids = event_ids(source, pipeline.namespace, first)
    operations = encode(source, pipeline.destination.api, first, ids)
    return [bytes(operations.json(at, at + 1)).decode() for at in range(len(first))]


def unknown_person(pipeline: Pipeline, staged: JudgedChunk, row: int) -> Rejection:
    """The rejection of an event about somebody whom no customers source names."""
    column = pipeline.sources[staged.place.source].identifier.column
    return rejection(staged.chunk, row, (reason("unknown_person", column),))


def chunk_key(staged: JudgedChunk) -> str:
    """Which rows a chunk covers, as a text."""
    return f"{staged.place.part}:{staged.chunk.first_row}:{staged.chunk.end.row}"


def digest_of(subjects: Subjects) -> str:
    """What the accepted rows of a chunk say, as a short text."""
    digest = xxhash.xxh3_128(subjects.rows.tobytes())
    for column in (subjects.person, subjects.attributes, subjects.name):
        if column is not None:  # its buffers may hold anything behind the last row
            digest.update(pc.binary_length(column).to_numpy().tobytes())
            digest.update(b"".join(column.cast(pa.binary()).to_pylist()))
    if subjects.micros is not None:
        digest.update(subjects.micros.to_numpy().tobytes())
    return digest.hexdigest()


def stage_of(
    pipeline: Pipeline, readings: Mapping[int, Mapping[str, Reading]], now_s: float
) -> ChunkJudge:
    """The stage of a pipeline, its transforms loaded anew.

    Raises:
        UsageError: A transform cannot be loaded.
    """
    return ChunkJudge(pipeline, transforms_of(pipeline), readings, now_s)


def transforms_of(pipeline: Pipeline) -> dict[int, Transform]:
    """The users' functions, by source.

    Raises:
        UsageError: One cannot be loaded.
    """
    return {
        index: Transform(source.transform, pipeline.folder)
        for index, source in enumerate(pipeline.sources)
        if source.transform
    }


def chunks_of(
    inputs: Sequence[Input],
    limit: int | None,
    starts: Mapping[int, Position] | None = None,
) -> Iterator[tuple[Input, Chunk]]:
    """The chunks of these files, one after the other.

    Args:
        inputs: The files, those of one source next to each other.
        limit: Only so many rows of each source.
        starts: Where reading goes on, by part; where it is left out, at the first row.
    """
    read: dict[int, int] = {}
    for each in inputs:
        start = (starts or {}).get(each.part, Position())
        before = read.get(each.source, 0)
        last = start.row
        for chunk in each.file.chunks(start):
            if limit is None:
                yield each, chunk
                continue
            kept = chunk.until(limit - before + 1)
            last = kept.end.row
            if kept.end.row > kept.first_row:
                yield each, kept
            if before + last - 1 >= limit:
                break
        read[each.source] = before + last - 1


def in_order(
    work: Callable[[Given], Made], given: Iterable[Given], pool: Executor, ahead: int
) -> Iterator[Made]:
    """The results of `work` on each item, in order, while `ahead` more are in the making."""
    pending: deque[Future[Made]] = deque()
    for item in given:
        pending.append(pool.submit(work, item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
