"""Looks at whole files: how they are written, and what is in each of their columns."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from backfill.errors import UsageError
from backfill.planning.progress import OnProgress, Progress
from backfill.scaffold import names
from backfill.scaffold.column_profile import ColumnProfile
from backfill.sources import FileFormat, SourceFile, open_source, partitions_of
from backfill.sources.detection import Detected, delimiter_of, encoding_of, text_evidence

_FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_HEAD_BYTES = 1 << 16


@dataclass(slots=True)
class FileProfile:
    """What files of one shape hold: one source of the pipeline.

    Args:
        files: The files or patterns, as the pipeline file names them.
        format: `csv`, `jsonl` or `parquet`.
        encoding: How the text is encoded; None where it is no text.
        delimiter: What parts the cells; None where there is none.
        folders: The columns that come from the names of folders.
        rows: How many rows there are.
        rows_malformed: How many of them have a bad shape.
        malformed: The same by reason.
        columns: What is in each column.
    """

    files: list[str]
    format: str
    encoding: Detected | None
    delimiter: Detected | None
    folders: tuple[str, ...]
    rows: int = 0
    rows_malformed: int = 0
    malformed: Counter[str] = field(default_factory=Counter)
    columns: dict[str, ColumnProfile] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its files are about, as far as their names say."""
        return names.subject(self.files[0])


def look_at(given: Sequence[Path], folder: Path, progress: OnProgress) -> list[FileProfile]:
    """Look at every row of these files; those of one shape belong together.

    Args:
        given: Files, or folders of files.
        folder: Where the pipeline file is to be: names are relative to it.
        progress: Told of rows.

    Raises:
        UsageError: A file is missing, or cannot be read.
    """
    looks: dict[tuple[object, ...], FileProfile] = {}
    for path, pattern in _files(given, folder):
        encoding, delimiter = _written(path)
        source = open_source(
            path,
            FileFormat(
                delimiter=delimiter.value if delimiter else None,
                encoding=encoding.value if encoding else "utf-8",
            ),
            partitions=partitions_of(path, folder),
        )
        shape = (
            source.kind,
            source.columns() or names.subject(path.name),
            encoding and encoding.value,
            delimiter and delimiter.value,
        )
        new = FileProfile([], source.kind, encoding, delimiter, tuple(partitions_of(path, folder)))
        look = looks.setdefault(shape, new)
        if pattern not in look.files:
            look.files.append(pattern)
        _read(source, look, progress)
    return list(looks.values())


def _files(given: Sequence[Path], folder: Path) -> list[tuple[Path, str]]:
    """The files, each with the pattern that names it in the pipeline file."""
    found: list[tuple[Path, str]] = []
    for path in given:
        if not path.exists():
            raise UsageError(f"{path}: no such file", next_step="name existing files")
        if not path.is_dir():
            found.append((path, os.path.relpath(path, folder)))
            continue
        inside = sorted(each for each in path.rglob("*") if _format(each) in _FORMATS)
        if not inside:
            raise UsageError(
                f"{path}: has no file of a known format",
                next_step=f"name files that end in {', '.join(_FORMATS)}",
            )
        pattern = os.path.relpath(path, folder)
        found += [(each, f"{pattern}/**/*{_suffixes(each)}") for each in inside]
    return found


def _format(path: Path) -> str:
    suffixes = [each.lower() for each in path.suffixes if each.lower() not in (".gz", ".zst")]
    return suffixes[-1] if suffixes else ""


def _suffixes(path: Path) -> str:
    last = path.suffixes[-1]
    return "".join(path.suffixes[-2:]) if last.lower() in (".gz", ".zst") else last


def _written(path: Path) -> tuple[Detected | None, Detected | None]:
    """The encoding and the delimiter of a text file."""
    if _format(path) not in _FORMATS or _format(path) == ".parquet" or not path.stat().st_size:
        return None, None
    with pa.input_stream(str(path), compression="detect") as stream:
        encoding = encoding_of(text_evidence(stream))
    if _format(path) not in (".csv", ".tsv"):
        return encoding, None
    with pa.input_stream(str(path), compression="detect") as stream:
        head = stream.read(_HEAD_BYTES).decode(encoding.value, "replace")
    usual = "\t" if _format(path) == ".tsv" else ","
    return encoding, delimiter_of(head, usual=usual)


def _read(source: SourceFile, look: FileProfile, progress: OnProgress) -> None:
    types = source.schema()
    typed = {} if types is None else {each.name: each.type for each in types}
    for name in source.columns() or ():
        in_text = name in look.folders or name not in typed
        look.columns.setdefault(name, ColumnProfile(name, None if in_text else typed[name]))
    for chunk in source.chunks():
        look.rows += chunk.end.row - chunk.first_row
        look.rows_malformed += len(chunk.rejections)
        for rejection in chunk.rejections:
            look.malformed.update({reason.code for reason in rejection.reasons})
        for name in chunk.batch.schema.names:
            look.columns.setdefault(name, ColumnProfile(name)).add(chunk)
        progress(Progress(chunk.end.row - chunk.first_row))
