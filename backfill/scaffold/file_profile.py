"""Looks at whole files: how they are written, and what is in each of their columns."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

from backfill.encoding.cell_json import names_of
from backfill.encoding.column_names import members_in, with_made
from backfill.errors import UsageError
from backfill.pipeline.file_settings import FormatName, Query
from backfill.pipeline.mistakes import TODO
from backfill.planning.progress import OnProgress, Progress
from backfill.rows import Chunk
from backfill.scaffold import names
from backfill.scaffold.column_profile import ColumnProfile
from backfill.scaffold.questions import Ask, Question, nobody
from backfill.sources import FileFormat, SourceFile, expand, open_source, partitions_of
from backfill.sources.detection import Detected, Table, encoding_of, table_in, text_evidence
from backfill.sources.globs import natural_key
from backfill.sources.inputs import name_of
from backfill.sources.interface import CHUNK_ROWS_MAX, Location, StoredFile
from backfill.sources.json_framing import layout_of as json_layout
from backfill.sources.objects import Objects
from backfill.sources.opening import told_format
from backfill.sources.text_file import raw_blocks
from backfill.sources.urls import ObjectUrl

_HEAD_BYTES = 1 << 16
_PARQUET = b"PAR1"
_READ_AS = "latin-1"
"""Text in an unknown encoding is looked at as this one, which takes every byte."""
_MARKERS = ("_SUCCESS", "_committed", "_started")
"""Files beside parts of a table that hold no rows."""


@dataclass(slots=True)
class FileProfile:
    """What files of one shape hold: one source of the pipeline.

    Args:
        format: `csv`, `jsonl`, `json` or `parquet`.
        written: How they are written, as far as they are text.
        folders: The columns that come from the names of folders.
        paths: The files.
        files: The names and patterns of the files, as the pipeline file has them.
        rows: How many rows there are.
        rows_malformed: How many of them have a bad shape.
        malformed: The same by reason.
        columns: What is in each column.
        members: What is in the members of objects whose names say whom a row is about, what
            happened or when.
        query: What gives the rows, where they come from a database.
    """

    format: str
    written: "TextFormat"
    folders: tuple[str, ...]
    paths: list[Location] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    rows: int = 0
    rows_malformed: int = 0
    malformed: Counter[str] = field(default_factory=Counter)
    columns: dict[str, ColumnProfile] = field(default_factory=dict)
    members: dict[str, ColumnProfile] = field(default_factory=dict)
    query: Query | None = None

    @property
    def every(self) -> dict[str, ColumnProfile]:
        """The columns, and the members of their objects."""
        return self.columns | self.members

    @property
    def name(self) -> str:
        """What its files are about, as far as their names say."""
        return names.subject(self.paths[0].name)

    @property
    def file_names(self) -> list[str]:
        """The names of its files, which a pattern does not tell."""
        return [each.name for each in self.paths]

    def is_readable(self, column: str) -> bool:
        """Whether the name of a column is what the file says, whatever its encoding is."""
        encoding = self.written.encoding
        return column.isascii() or encoding is None or encoding.value != TODO


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How a file is written, as far as it is text.

    Args:
        encoding: Its encoding; TODO where nothing proves it; None where it is no text.
        delimiter: What separates the cells; None where nothing does.
        skip_lines: How many lines stand above its header.
        header: What its columns are called here, where its first line is no header.
        format: The format, where its name tells none, or another; None: its name tells it.
    """

    encoding: Detected | None = None
    delimiter: Detected | None = None
    skip_lines: int = 0
    header: tuple[str, ...] = ()
    format: Detected | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """The same for files that are written alike."""
        found = (self.encoding, self.delimiter, self.format)
        return self.skip_lines, self.header, *(each and each.value for each in found)

    @property
    def settings(self) -> FileFormat:
        """How it is read."""
        return FileFormat(
            name=cast("FormatName | None", self.format.value if self.format else None),
            delimiter=self.delimiter.value if self.delimiter else None,
            encoding=self.read_as,
            skip_lines=self.skip_lines,
            header=self.header or None,
        )

    @property
    def read_as(self) -> str:
        """The encoding that it is looked at in."""
        if self.encoding is None:
            return "utf-8"
        return _READ_AS if self.encoding.value == TODO else self.encoding.value


def text_formats(
    given: Sequence[Location],
    ask: Ask = nobody,
    encoding: str | None = None,
    objects: Objects | None = None,
) -> dict[Location, TextFormat]:
    """How each of the files is written, told from all of its bytes.

    Args:
        given: Files, or folders of files; of this machine, or of a store.
        ask: Asks a person which encoding a text is in, where nothing proves it.
        encoding: The encoding of such texts; None: a person is asked.
        objects: What opens the files; None: as the environment says.

    Raises:
        UsageError: A file is missing, or cannot be read.
    """
    objects = objects or Objects()
    paths = dict.fromkeys(each for path in given for each in _files(path, objects))
    return {path: _text_format(objects.stored(path), ask, encoding) for path in paths}


def look_at(
    formats: Mapping[Location, TextFormat],
    given: Sequence[Location],
    folder: Path,
    progress: OnProgress,
    objects: Objects | None = None,
) -> list[FileProfile]:
    """Look at every row of these files; those of one shape belong together.

    Args:
        formats: The files, and how they are written.
        given: The files and folders that they stand for.
        folder: Where the pipeline file is to be: names are relative to it.
        progress: Told of rows.
        objects: What opens the files; None: as the environment says.

    Raises:
        UsageError: A file cannot be read.
    """
    objects = objects or Objects()
    looks: dict[tuple[object, ...], FileProfile] = {}
    for path, how in formats.items():
        partitions = partitions_of(path, folder)
        source = open_source(objects.stored(path), how.settings, partitions=partitions)
        # Who wants no mail is told by the names of files alone (Mailchimp): those stay apart.
        wanted = not names.says_unsubscribed(path.name)
        shape = (source.kind, source.columns() or names.subject(path.name), how.key, wanted)
        new = FileProfile(source.kind, how, tuple(partitions))
        look = looks.setdefault(shape, new)
        look.paths.append(path)
        read_into(look, source, progress)
    for look in looks.values():
        if look.paths == sorted(look.paths, key=str):  # as shells order them, _10 before _2
            look.paths.sort(key=natural_key)
        look.files = _patterns(look.paths, given, folder, objects)
    return list(looks.values())


def passed_over(given: Sequence[Location], objects: Objects | None = None) -> list[Location]:
    """The files in these folders that are of no known format: nobody looks at them."""
    found = (each for path in given if path.is_dir() for each in _inside(path, objects))
    return [each for each in found if not _is_known(each) and not each.name.startswith(_MARKERS)]


def _inside(folder: Location, objects: Objects | None = None) -> list[Location]:
    """All files below a folder that hold anything, in natural order; no hidden ones."""
    found: Iterable[Location]
    if isinstance(folder, ObjectUrl):
        sizes = (objects or Objects()).below(folder)
        found = [each for each, size in sizes.items() if size and not _is_hidden(each, folder)]
    else:
        files = (each for each in folder.rglob("*") if each.is_file() and each.stat().st_size)
        found = [each for each in files if not _is_hidden(each, folder)]
    return sorted(found, key=natural_key)


def _is_hidden(path: Location, folder: Location) -> bool:
    if isinstance(path, Path) and isinstance(folder, Path):
        return any(part.startswith(".") for part in path.relative_to(folder).parts)
    return "/." in str(path).removeprefix(str(folder).rstrip("/"))


def _files(path: Location, objects: Objects) -> list[Location]:
    """The files that a name stands for."""
    if isinstance(path, ObjectUrl):
        if not path.is_dir():
            return list(objects.find(path))
    elif not path.exists():
        raise UsageError(f"{path}: no such file", next_step="name existing files")
    elif not path.is_dir():
        return [path]
    inside = [each for each in _inside(path, objects) if _is_known(each)]
    if not inside:
        raise UsageError(
            f"{path}: has no file of a known format",
            next_step="name files of CSV, JSON Lines or Parquet",
        )
    return inside


def _patterns(
    paths: Sequence[Location], given: Sequence[Location], folder: Path, objects: Objects
) -> list[str]:
    """What names these files and no others: a pattern where there is one, else each by itself."""
    tops = [each for each in given if each.is_dir()]
    of_a_top = {each: top for top in tops for each in paths if each not in given and _in(each, top)}
    found = [name_of(each, folder) for each in paths if each not in of_a_top]
    for top in tops:
        if own := [each for each in paths if of_a_top.get(each) == top]:
            found += _patterns_below(own, top, folder, objects)
    return list(dict.fromkeys(found))


def _in(path: Location, top: Location) -> bool:
    if isinstance(path, Path):
        return top in path.parents
    return str(path).startswith(f"{str(top).rstrip('/')}/")


def _patterns_below(
    own: Sequence[Location], top: Location, folder: Path, objects: Objects
) -> list[str]:
    suffixes = list(dict.fromkeys(_suffixes(each) for each in own))
    wanted = {_real(each) for each in own}
    for where in dict.fromkeys(_folders_of(own, top, folder) if len(own) > 1 else ()):
        for begin in dict.fromkeys(("", _begin([each.name for each in own]))):
            patterns = [f"{where}**/{begin}*{each}" for each in suffixes]
            # A pattern is proposed only if it finds these files and no others.
            if {_real(each) for each in expand(patterns, folder, objects)} == wanted:
                return patterns
    return [name_of(each, folder) for each in own]


def _folders_of(own: Sequence[Location], top: Location, folder: Path) -> Iterator[str]:
    """Where patterns for these files may begin: at the folder that was named, and nearest them."""
    nearest = os.path.commonpath([str(each).removesuffix(each.name).rstrip("/") for each in own])
    if isinstance(top, ObjectUrl):
        yield str(top)
        yield nearest.replace(":/", "://", 1) + "/"  # a path has no empty folder
        return
    for below in (str(top), nearest or "."):
        where = os.path.relpath(below, folder)
        yield "" if where == "." else f"{where}/"


def _real(path: Location) -> Location:
    return path.resolve() if isinstance(path, Path) else path


def _begin(names_: Sequence[str]) -> str:
    """The letters that all names begin with."""
    alike = [len(set(letters)) == 1 for letters in zip(*names_, strict=False)]
    same = names_[0][: (*alike, False).index(False)]
    return re.sub(r"[\W\d_]+$", "", same)


def _is_known(path: Location) -> bool:
    """Whether the name of a file tells a format that can be read."""
    try:
        return told_format(path) is not None
    except UsageError:
        return False


def _suffixes(path: Location) -> str:
    last = path.suffixes[-1]
    return "".join(path.suffixes[-2:]) if last.lower() in (".gz", ".zst") else last


def _text_format(stored: StoredFile, ask: Ask, encoding: str | None) -> TextFormat:
    path = stored.path
    told = told_format(path)
    begin = next(raw_blocks(stored), b"")[:_HEAD_BYTES]
    # By content as well: a Parquet file without a suffix is no text in any encoding.
    if told == "parquet" or begin.startswith(_PARQUET):
        return TextFormat(format=None if told else Detected("parquet", "it begins as Parquet does"))
    written = _decided(path, encoding_of(text_evidence(raw_blocks(stored))), ask, encoding)
    head = begin.decode(TextFormat(written).read_as, "replace")
    table = table_in(head, usual="\t" if told == "tsv" else ",")
    found = _format_in(head, told, table)
    if found is None and told is None:
        raise UsageError(
            f"{path}: neither the name nor the content tells the format",
            next_step="give it a name that does, such as one that ends in .csv",
        )
    if told in ("csv", "tsv") or (found and found.value == "csv"):
        header = tuple(f"column_{number}" for number in range(1, table.nameless + 1))
        return TextFormat(written, table.delimiter, table.above, header, found)
    return TextFormat(written, format=found)


def _format_in(head: str, told: str | None, table: Table) -> Detected | None:
    """The format that a text's content tells, where its name tells none or another one."""
    is_json = head.lstrip().startswith(("{", "[")) and told in (None, "jsonl")
    layout = json_layout(head.encode(errors="replace")) if is_json else None
    if layout == "array":
        return Detected("json", "it is a JSON array")
    if told is not None:
        return None
    if layout is not None:
        lines = layout == "lines"
        return Detected("jsonl" if lines else "json", "it holds JSON objects")
    return Detected("csv", "it holds a table") if table.is_sure else None


def _decided(path: Location, found: Detected, ask: Ask, encoding: str | None) -> Detected:
    """The encoding that the bytes prove, else the one that a person names."""
    if found.value != TODO:
        return found
    if encoding is not None:
        return Detected(encoding, "as you said")
    names_ = tuple(each.partition(":")[0] for each in found.choices)
    text = f"{path}: which encoding is it in? {found.why}"
    answer = ask(Question(text, choices=names_))
    return Detected(answer, "your answer") if answer else found


_JOINED_BYTES_MAX = 64_000_000


def read_into(look: FileProfile, source: SourceFile, progress: OnProgress) -> None:
    """Look at every row of a file, and add to what is known of its shape."""
    types = source.schema()
    typed = {} if types is None else {each.name: each.type for each in types}
    for name in source.columns() or ():
        if name == TODO:
            continue
        in_text = name in look.folders or name not in typed
        look.columns.setdefault(name, ColumnProfile(name, None if in_text else typed[name]))
    for chunk in _joined(source.chunks()):
        look.rows += chunk.end.row - chunk.first_row
        look.rows_malformed += len(chunk.rejections)
        for rejection in chunk.rejections:
            look.malformed.update({reason.code for reason in rejection.reasons})
        for name in names_of(chunk):
            if name == TODO:  # in the pipeline file it would stand for what is open
                continue
            look.columns.setdefault(name, ColumnProfile(name)).add(chunk)
        _read_members(chunk, look)
        progress(Progress(chunk.end.row - chunk.first_row))


def _joined(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The same rows in fewer chunks of text, as far as they fit into memory.

    A wide file has few rows in a chunk, and to look at a column of few takes as long as of many.
    """
    waiting: list[Chunk] = []
    rows = size_bytes = 0
    for chunk in chunks:
        first = waiting[0] if waiting else chunk
        rows += len(chunk.rows)
        size_bytes += (own_bytes := chunk.batch.nbytes)  # a call for each of its columns
        fits = (
            rows <= CHUNK_ROWS_MAX
            and size_bytes <= _JOINED_BYTES_MAX
            and first.values == chunk.values == "text"
            and first.batch.schema == chunk.batch.schema
        )
        # A look at a column costs the same for ten rows as for a thousand.
        if waiting and not fits:
            yield _as_one(waiting)
            waiting, rows, size_bytes = [], len(chunk.rows), own_bytes
        waiting.append(chunk)
    if waiting:
        yield _as_one(waiting)


def _as_one(chunks: Sequence[Chunk]) -> Chunk:
    """Neighbouring chunks of one file as one."""
    lines = [each.lines for each in chunks if each.lines is not None]
    return replace(
        chunks[0],
        batch=pa.concat_batches([each.batch for each in chunks]),
        rows=np.concatenate([each.rows for each in chunks]),
        lines=np.concatenate(lines) if len(lines) == len(chunks) else None,
        rejections=tuple(chain.from_iterable(each.rejections for each in chunks)),
        end=chunks[-1].end,
    )


def _read_members(chunk: Chunk, look: FileProfile) -> None:
    here = set(chunk.batch.schema.names)
    nested = [name for name, each in look.columns.items() if each.is_nested and name in here]
    for name in (each for column in nested for each in members_in(chunk, column)):
        if name not in look.columns and _is_telling(name, look):
            look.members.setdefault(name, ColumnProfile(name))
    every = with_made(chunk, look.members)
    for name, member in look.members.items():
        if name in every.batch.schema.names:
            member.add(every)


def _is_telling(name: str, look: FileProfile) -> bool:
    """Whether the name of a member says whom a row is about, what happened or when."""
    label = names.label(name)
    says = (names.says_person, names.says_email, names.says_event, names.says_occurred)
    # The object may be nothing but a wrapper around the value, whatever that is.
    return label in look.columns or any(each(label) for each in (*says, names.says_event_key))
