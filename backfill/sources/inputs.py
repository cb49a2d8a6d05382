"""The files of a job: found, opened and fingerprinted, in the order of sending."""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from mmap import PAGESIZE
from os.path import relpath
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import pyarrow as pa

from backfill.clock import Clock
from backfill.encoding.column_names import can_be_made, is_made
from backfill.errors import UsageError
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import KINDS, Source
from backfill.rows import Chunk, Position
from backfill.sources.globs import expand, holds_no_data, is_pattern
from backfill.sources.interface import (
    EmptyFileError,
    FileFormat,
    Fingerprint,
    Location,
    SourceFile,
    StoredFile,
)
from backfill.sources.layout import named_columns, partitions_of, require_columns
from backfill.sources.objects import Objects
from backfill.sources.opening import open_source

Opened = TypeVar("Opened")

_OPENED_AT_ONCE = 16
"""Each object that is opened waits for a few answers of its store."""
_GIVEN_BACK_FROM_BYTES = 240_000_000
_GIVEN_BACK_STEP_BYTES = 20_000_000
_PROCESS_MEMORY = Path("/proc/self/statm")
_NO_EXTRACTS: Mapping[int, Path] = MappingProxyType({})


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
        is_extract: It is what a query or stdin gave: the next time it may have any other bytes.
    """

    part: int
    source: int
    name: str
    file: SourceFile
    fingerprint: Fingerprint
    notes: tuple[str, ...] = ()
    is_extract: bool = False


def open_inputs(
    pipeline: Pipeline,
    extracts: Mapping[int, Path] = _NO_EXTRACTS,
    *,
    growing: bool = False,
    clock: Clock | None = None,
) -> list[Input]:
    """Open every file of a pipeline, in the order of sending: kinds, sources, files.

    Parts are numbered from 1 in this order; a journal may know them by other numbers.

    Args:
        pipeline: The settings.
        extracts: What was extracted for the sources that cannot be read twice, by their index.
        growing: Whether files that a sync takes up as they grow may still be written to, so that
            a last line without a line end waits where the settings do not say otherwise.
        clock: What is waited by where a store does not answer.

    Raises:
        UsageError: A pattern names no file, or a file cannot be used: not what it claims to be,
            empty, a column missing.
        CredentialsError: An object may not be read.
        UnavailableError: A store does not answer.
    """
    inputs: list[Input] = []
    for kind in KINDS:
        for index, settings in enumerate(pipeline.sources):
            if settings.kind == kind:
                grows = growing and settings.sync_mode == "files"
                objects = Objects.of(pipeline, settings, clock)
                if index in extracts:
                    opened = [_open_extract(settings, index, objects.stored(extracts[index]))]
                else:
                    opened = list(_open_files(settings, pipeline.folder, objects, growing=grows))
                for name, file, notes in opened:
                    mark = file.stored.fingerprint(file.size_limit)
                    part, is_extract = len(inputs) + 1, index in extracts
                    inputs.append(Input(part, index, name, file, mark, notes, is_extract))
    return inputs


def extract_name(index: int, source: Source) -> str:
    """What the extract of a source is called where files are named, and in `_source`."""
    return f"query of source {index + 1}" if source.query else "stdin"


def extract_file(folder: Path, index: int, source: Source) -> Path:
    """Where the extract of a source is kept."""
    return folder / f"{index + 1}.{'parquet' if source.query else source.format}"


def _open_extract(
    settings: Source, index: int, stored: StoredFile
) -> tuple[str, SourceFile, tuple[str, ...]]:
    """What was extracted for a source, as a file with its name and notes."""
    name, file = extract_name(index, settings), open_source(stored, format_of_settings(settings))
    _require_columns(settings, [(name, file)])
    return name, file, tuple(f"{name}: {note}" for note in file.notes)


def _open_files(
    settings: Source, folder: Path, objects: Objects, *, growing: bool
) -> Iterator[tuple[str, SourceFile, tuple[str, ...]]]:
    """The files of one source, each with its name and notes.

    Parts of an export that had no rows, and what its program left beside them, are passed over
    where a pattern named them: nobody means them.
    """
    how = format_of_settings(settings, growing=growing)
    paths = expand(settings.files, folder, objects)
    patterns = any(is_pattern(each, folder) for each in settings.files)
    skipped: list[str] = []
    opened: list[tuple[str, SourceFile]] = []
    several = patterns and len(paths) > 1
    skipped += [
        f"{name_of(each, folder)} is no file of rows and is left out"
        for each in paths
        if several and holds_no_data(each)
    ]
    paths = [each for each in paths if not (several and holds_no_data(each))]

    def look(path: Location) -> SourceFile | EmptyFileError:
        try:
            return open_source(objects.stored(path), how, partitions=partitions_of(path, folder))
        except EmptyFileError as error:
            return error

    for path, file in zip(paths, _each(look, paths), strict=True):
        name = name_of(path, folder)
        if not isinstance(file, EmptyFileError):
            opened.append((name, file))
        elif several:
            skipped.append(f"{name} is empty and is left out")
        else:
            raise file
    if not opened:
        raise UsageError(
            f"{', '.join(settings.files)}: there are no rows in {folder}",
            next_step="export the files again",
        )
    _require_columns(settings, opened)
    for place, (name, file) in enumerate(opened):
        own = tuple(f"{name}: {note}" for note in file.notes)
        yield name, file, own if place else (*skipped, *own)


def name_of(path: Location, folder: Path) -> str:
    """What a file is called in journals and reports: by its place beside the pipeline file."""
    return relpath(path, folder) if isinstance(path, Path) else str(path)


def _each(look: Callable[[Location], Opened], paths: Sequence[Location]) -> Iterator[Opened]:
    """What a look at each of these files gives, in their order; of objects several at once."""
    if all(isinstance(each, Path) for each in paths):
        yield from map(look, paths)
        return
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
        yield from pool.map(look, paths)


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
    memory = UnusedMemory()
    memory.give_back()  # what a pass before has left in pieces
    for each in inputs:
        start = (starts or {}).get(each.part, Position())
        last = None if rows is None else rows.get(each.part, 0)
        if last is not None and start.row > last:
            continue
        for chunk in each.file.chunks(start):
            memory.give_back()
            yield each, chunk
            if last is not None and chunk.end.row > last:
                break


class UnusedMemory:
    """Gives memory back that nobody uses, once there is much of it.

    The C library keeps what threads free, and gives some of it back only where it is the end of a
    thread's heap: chunks of wide or long rows leave hundreds of megabytes of holes.

    Args:
        from_bytes: It looks for some once the process has so much.
    """

    def __init__(self, from_bytes: int = _GIVEN_BACK_FROM_BYTES) -> None:
        self._from_bytes = self._next_bytes = from_bytes

    def give_back(self) -> None:
        """Look, and do it; with ordinary rows there is never enough of it."""
        if resident_bytes() < self._next_bytes:
            return
        # Not by Arrow's system pool, which leaves the holes (26.0); other C libraries have no such
        # function.
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)
        # What is in use stays: the next look must not search for holes in vain.
        self._next_bytes = max(self._from_bytes, resident_bytes() + _GIVEN_BACK_STEP_BYTES)


def resident_bytes() -> int:
    """How much memory the process has, in bytes; 0 where the system does not say."""
    try:
        return int(_PROCESS_MEMORY.read_bytes().split()[1]) * PAGESIZE
    except OSError:
        return 0
