"""The files of a job: found, opened and fingerprinted, in the order of sending."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

import pyarrow as pa

from backfill.encoding.column_names import can_be_made, is_made
from backfill.errors import UsageError
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import Source
from backfill.rows import Chunk, Position
from backfill.sources.globs import expand, holds_no_data, is_pattern
from backfill.sources.interface import FileFormat, Fingerprint, SourceFile, fingerprint
from backfill.sources.layout import named_columns, partitions_of, require_columns
from backfill.sources.opening import open_source
from backfill.sources.text_file import EmptyFileError

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
        notes: What people should know about how it is read, or about files beside it.
    """

    part: int
    source: int
    name: str
    file: SourceFile
    fingerprint: Fingerprint
    notes: tuple[str, ...] = ()


def open_inputs(pipeline: Pipeline, *, growing: bool = False) -> list[Input]:
    """Open every file of a pipeline, in the order of sending: kinds, sources, files.

    Parts are numbered from 1 in this order; a journal may know them by other numbers.

    Args:
        pipeline: The settings.
        growing: Whether files that a sync takes up as they grow may still be written to, so that
            a last line without a line end waits where the settings do not say otherwise.

    Raises:
        UsageError: A pattern names no file, or a file cannot be used: not what it claims to be,
            empty, a column missing.
    """
    inputs: list[Input] = []
    for kind in KINDS:
        for index, settings in enumerate(pipeline.sources):
            if settings.kind == kind:
                grows = growing and settings.sync_mode == "files"
                for each in _open_files(settings, pipeline.folder, growing=grows):
                    name, file, notes = each
                    mark = fingerprint(file.path, file.size_limit)
                    inputs.append(Input(len(inputs) + 1, index, name, file, mark, notes))
    return inputs


def _open_files(
    settings: Source, folder: Path, *, growing: bool
) -> Iterator[tuple[str, SourceFile, tuple[str, ...]]]:
    """The files of one source, each with its name and notes.

    Parts of an export that had no rows, and what its program left beside them, are passed over
    where a pattern named them: nobody means them.
    """
    how = format_of_settings(settings, growing=growing)
    paths = expand(settings.files, folder)
    patterns = any(is_pattern(each, folder) for each in settings.files)
    skipped: list[str] = []
    opened: list[tuple[str, SourceFile]] = []
    for path in paths:
        name = relpath(path, folder)
        if patterns and len(paths) > 1 and holds_no_data(path):
            skipped.append(f"{name} is no file of rows and is left out")
            continue
        try:
            file = open_source(path, how, partitions=partitions_of(path, folder))
        except EmptyFileError:
            if not patterns or len(paths) == 1:
                raise
            skipped.append(f"{name} is empty and is left out")
            continue
        opened.append((name, file))
    if not opened:
        raise UsageError(
            f"{', '.join(settings.files)}: there are no rows in {folder}",
            next_step="export the files again",
        )
    _require_columns(settings, opened)
    for place, (name, file) in enumerate(opened):
        own = tuple(f"{name}: {note}" for note in file.notes)
        yield name, file, own if place else (*skipped, *own)


def format_of_settings(settings: Source, *, growing: bool = False) -> FileFormat:
    """How the files of a source are written, by what its settings say.

    Args:
        settings: The source.
        growing: What `last_line` is where it is left out.
    """
    return FileFormat(
        name=settings.format,
        encoding=settings.encoding,
        delimiter=settings.delimiter,
        quote=settings.quote,
        escape=settings.escape,
        skip_lines=settings.skip_lines,
        header=settings.header,
        trim=settings.trim,
        last_line=settings.last_line or ("wait" if growing else "send"),
    )


def _require_columns(settings: Source, opened: Sequence[tuple[str, SourceFile]]) -> None:
    """Hold every header against the settings; a transform may make the columns later.

    Raises:
        UsageError: A column that the settings name is missing.
    """
    if settings.transform is not None:
        return
    wanted = [name for _, name in named_columns(settings) if is_made(name)]
    for name, file in opened:
        columns = file.columns()
        if columns is None:  # what objects have is known once all are read
            continue
        schema = file.schema() or pa.schema([(each, pa.string()) for each in columns])
        made = [each for each in wanted if can_be_made(each, schema)]
        require_columns(settings, [*columns, *made], name, file.line_of)


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
