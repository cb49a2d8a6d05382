"""Looks at whole files: how they are written, and what is in each of their columns."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backfill.errors import UsageError
from backfill.pipeline.mistakes import TODO
from backfill.planning.progress import OnProgress, Progress
from backfill.scaffold import names
from backfill.scaffold.column_profile import ColumnProfile
from backfill.scaffold.questions import Ask, Question, nobody
from backfill.sources import FileFormat, SourceFile, expand, open_source, partitions_of
from backfill.sources.detection import Detected, delimiter_of, encoding_of, text_evidence
from backfill.sources.opening import format_of
from backfill.sources.text_file import raw_blocks

_HEAD_BYTES = 1 << 16
_READ_AS = "latin-1"
"""Text in an unknown encoding is looked at as this one, which takes every byte."""
_MARKERS = ("_SUCCESS", "_committed", "_started")
"""Files beside parts of a table that hold no rows."""


@dataclass(slots=True)
class FileProfile:
    """What files of one shape hold: one source of the pipeline.

    Args:
        format: `csv`, `jsonl` or `parquet`.
        encoding: How the text is encoded; None where it is no text.
        delimiter: What separates the cells; None where nothing does.
        folders: The columns that come from the names of folders.
        paths: The files.
        files: The names and patterns of the files, as the pipeline file has them.
        rows: How many rows there are.
        rows_malformed: How many of them have a bad shape.
        malformed: The same by reason.
        columns: What is in each column.
    """

    format: str
    encoding: Detected | None
    delimiter: Detected | None
    folders: tuple[str, ...]
    paths: list[Path] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    rows: int = 0
    rows_malformed: int = 0
    malformed: Counter[str] = field(default_factory=Counter)
    columns: dict[str, ColumnProfile] = field(default_factory=dict)

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
        return column.isascii() or self.encoding is None or self.encoding.value != TODO


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How a file is written, as far as it is text.

    Args:
        encoding: Its encoding; TODO where nothing proves it; None where it is no text.
        delimiter: What separates the cells; None where nothing does.
    """

    encoding: Detected | None = None
    delimiter: Detected | None = None

    @property
    def read_as(self) -> str:
        """The encoding that it is looked at in."""
        if self.encoding is None:
            return "utf-8"
        return _READ_AS if self.encoding.value == TODO else self.encoding.value


def text_formats(
    given: Sequence[Path], ask: Ask = nobody, encoding: str | None = None
) -> dict[Path, TextFormat]:
    """How each of the files is written, told from all of its bytes.

    Args:
        given: Files, or folders of files.
        ask: Asks a person which encoding a text is in, where nothing proves it.
        encoding: The encoding of such texts; None: a person is asked.

    Raises:
        UsageError: A file is missing, or cannot be read.
    """
    paths = dict.fromkeys(each for path in given for each in _files(path))
    return {path: _text_format(path, ask, encoding) for path in paths}


def look_at(
    formats: Mapping[Path, TextFormat], given: Sequence[Path], folder: Path, progress: OnProgress
) -> list[FileProfile]:
    """Look at every row of these files; those of one shape belong together.

    Args:
        formats: The files, and how they are written.
        given: The files and folders that they stand for.
        folder: Where the pipeline file is to be: names are relative to it.
        progress: Told of rows.

    Raises:
        UsageError: A file cannot be read.
    """
    looks: dict[tuple[object, ...], FileProfile] = {}
    for path, how in formats.items():
        encoding, delimiter = how.encoding, how.delimiter
        partitions = partitions_of(path, folder)
        source = open_source(
            path,
            FileFormat(delimiter=delimiter.value if delimiter else None, encoding=how.read_as),
            partitions=partitions,
        )
        shape = (
            source.kind,
            source.columns() or names.subject(path.name),
            encoding and encoding.value,
            delimiter and delimiter.value,
        )
        new = FileProfile(source.kind, encoding, delimiter, tuple(partitions))
        look = looks.setdefault(shape, new)
        look.paths.append(path)
        _read(source, look, progress)
    for look in looks.values():
        look.files = _patterns(look.paths, given, folder)
    return list(looks.values())


def passed_over(given: Sequence[Path]) -> list[Path]:
    """The files in these folders that are of no known format: nobody looks at them."""
    found = (each for path in given if path.is_dir() for each in _inside(path))
    return [each for each in found if not _is_known(each) and not _is_marker(each)]


def _is_marker(path: Path) -> bool:
    return path.name.startswith(_MARKERS) or not path.stat().st_size


def _inside(folder: Path) -> list[Path]:
    """All files below a folder; hidden ones are none of the user's."""
    found = (each for each in folder.rglob("*") if each.is_file())
    return sorted(
        each for each in found if not any(part[0] == "." for part in each.relative_to(folder).parts)
    )


def _files(path: Path) -> list[Path]:
    """The files that a name stands for."""
    if not path.exists():
        raise UsageError(f"{path}: no such file", next_step="name existing files")
    if not path.is_dir():
        return [path]
    inside = [each for each in _inside(path) if _is_known(each) and each.stat().st_size]
    if not inside:
        raise UsageError(
            f"{path}: has no file of a known format",
            next_step="name files of CSV, JSON Lines or Parquet",
        )
    return inside


def _patterns(paths: Sequence[Path], given: Sequence[Path], folder: Path) -> list[str]:
    """What names these files and no others: a pattern where there is one, else each by itself."""
    found = [os.path.relpath(each, folder) for each in paths if each in given]
    for top in (each for each in given if each.is_dir()):
        own = [each for each in paths if each not in given and top in each.parents]
        if own:
            found += _patterns_below(own, top, folder)
    return list(dict.fromkeys(found))


def _patterns_below(own: Sequence[Path], top: Path, folder: Path) -> list[str]:
    each_by_itself = [os.path.relpath(each, folder) for each in own]
    suffixes = list(dict.fromkeys(_suffixes(each) for each in own))
    wanted = {each.resolve() for each in own}
    nearest = Path(os.path.commonpath([each.parent for each in own]))
    for below in dict.fromkeys((top, nearest) if len(own) > 1 else ()):
        where = "" if (where := os.path.relpath(below, folder)) == "." else f"{where}/"
        for begin in dict.fromkeys(("", _begin([each.name for each in own]))):
            patterns = [f"{where}**/{begin}*{each}" for each in suffixes]
            if {each.resolve() for each in expand(patterns, folder)} == wanted:
                return patterns
    return each_by_itself


def _begin(names_: Sequence[str]) -> str:
    """The letters that all names begin with."""
    alike = [len(set(letters)) == 1 for letters in zip(*names_, strict=False)]
    same = names_[0][: (*alike, False).index(False)]
    return re.sub(r"[\W\d_]+$", "", same)


def _is_known(path: Path) -> bool:
    """Whether the name of a file tells a format that can be read."""
    try:
        return bool(format_of(path))
    except UsageError:
        return False


def _suffixes(path: Path) -> str:
    last = path.suffixes[-1]
    return "".join(path.suffixes[-2:]) if last.lower() in (".gz", ".zst") else last


def _text_format(path: Path, ask: Ask, encoding: str | None) -> TextFormat:
    name = format_of(path)
    if name == "parquet":
        return TextFormat()
    written = _decided(path, encoding_of(text_evidence(raw_blocks(path))), ask, encoding)
    how = TextFormat(written)
    if name not in ("csv", "tsv"):
        return how
    head = next(raw_blocks(path), b"")[:_HEAD_BYTES].decode(how.read_as, "replace")
    return TextFormat(written, delimiter_of(head, usual="\t" if name == "tsv" else ","))


def _decided(path: Path, found: Detected, ask: Ask, encoding: str | None) -> Detected:
    """The encoding that the bytes prove, else the one that a person names."""
    if found.value != TODO:
        return found
    if encoding is not None:
        return Detected(encoding, "as you said")
    names_ = tuple(each.partition(":")[0] for each in found.choices)
    text = f"{path}: which encoding is it in? {found.why}"
    answer = ask(Question(text, choices=names_))
    return Detected(answer, "your answer") if answer else found


def _read(source: SourceFile, look: FileProfile, progress: OnProgress) -> None:
    types = source.schema()
    typed = {} if types is None else {each.name: each.type for each in types}
    for name in source.columns() or ():
        if name == TODO:
            continue
        in_text = name in look.folders or name not in typed
        look.columns.setdefault(name, ColumnProfile(name, None if in_text else typed[name]))
    for chunk in source.chunks():
        look.rows += chunk.end.row - chunk.first_row
        look.rows_malformed += len(chunk.rejections)
        for rejection in chunk.rejections:
            look.malformed.update({reason.code for reason in rejection.reasons})
        for name in chunk.batch.schema.names:
            if name == TODO:  # in the pipeline file it would stand for what is open
                continue
            look.columns.setdefault(name, ColumnProfile(name)).add(chunk)
        progress(Progress(chunk.end.row - chunk.first_row))
