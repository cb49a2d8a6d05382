"""The files of a job: found, opened and fingerprinted, in the order of sending."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os.path import relpath

from backfill.pipeline.file import Pipeline
from backfill.rows import Chunk, Position
from backfill.sources import (
    Fingerprint,
    SourceFile,
    expand,
    fingerprint,
    open_source,
    partitions_of,
)
from backfill.sources.layout import require_columns

KINDS = ("customers", "events", "deletions")
"""The order in which kinds are sent, with a barrier between them."""


@dataclass(frozen=True, slots=True)
class Input:
    """One file of a job, opened.

    Args:
        part: The number that the journal knows it by.
        source: The index of its `[[source]]`, from 0.
        name: The file relative to the pipeline file.
        file: The opened file.
        fingerprint: What its content is.
    """

    part: int
    source: int
    name: str
    file: SourceFile
    fingerprint: Fingerprint


def open_inputs(pipeline: Pipeline) -> list[Input]:
    """Open every file of a pipeline, in the order of sending: kinds, sources, files.

    Parts are numbered from 1 in this order; a journal may know them by other numbers.

    Raises:
        UsageError: A pattern names no file, or a file cannot be used: not what it claims to be,
            empty, a column missing.
    """
    inputs: list[Input] = []
    for kind in KINDS:
        for index, settings in enumerate(pipeline.sources):
            if settings.kind != kind:
                continue
            for path in expand(settings.files, pipeline.folder):
                name = relpath(path, pipeline.folder)
                file = open_source(
                    path,
                    delimiter=settings.delimiter,
                    encoding=settings.encoding,
                    partitions=partitions_of(path, pipeline.folder),
                )
                columns = file.columns()
                if columns is not None and settings.transform is None:
                    require_columns(settings, columns, name)
                inputs.append(Input(len(inputs) + 1, index, name, file, fingerprint(path)))
    return inputs


def columns_of(inputs: Iterable[Input]) -> dict[str, tuple[str, ...]]:
    """The columns of each file by its name; none where each row has its own."""
    return {each.name: each.file.columns() or () for each in inputs}


def of_kind(inputs: Sequence[Input], pipeline: Pipeline, kind: str) -> Iterator[Input]:
    """The files of one kind of source."""
    return (each for each in inputs if pipeline.sources[each.source].kind == kind)


def chunks_of(
    inputs: Sequence[Input],
    starts: Mapping[int, Position] | None = None,
    rows: Mapping[int, int] | None = None,
) -> Iterator[tuple[Input, Chunk]]:
    """The chunks of these files, one after the other.

    Args:
        inputs: The files.
        starts: Where reading goes on, by part; where it is left out, at the first row.
        rows: How many rows of each part are wanted; None: all. Chunks are whole: the last one
            may go beyond.
    """
    for each in inputs:
        start = (starts or {}).get(each.part, Position())
        if rows is None:
            yield from ((each, chunk) for chunk in each.file.chunks(start))
            continue
        if start.row > rows.get(each.part, 0):
            continue
        for chunk in each.file.chunks(start):
            yield each, chunk
            if chunk.end.row > rows.get(each.part, 0):
                break
