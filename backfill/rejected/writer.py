"""The rejected rows as files: `rejected.csv` to be fixed by people, and its lossless twin.

`rejected.csv` is made for spreadsheets: UTF-8 with BOM, one line a row, no cell that could be
taken for a formula. A row of a bad shape has no cells; its text stands, shortened, in the first
column of its file, to be spread over the columns by hand. `rejected.jsonl` holds every row as it
was read. Both are a view of the journal and can be made again at any time.
"""

import codecs
import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from backfill.files import write_atomically
from backfill.rejected.safe_cells import shown, shown_raw
from backfill.rows import Reason, Rejection

REJECTED_FILE = "rejected.csv"
TWIN_FILE = "rejected.jsonl"
OWN_COLUMNS = ("_source", "_row", "_line", "_field", "_reason", "_message")
VANISHED = "(vanished)"
"""The `_source` of people who vanished and whom the API did not delete: nothing can be fixed."""

RAW_COLUMN = "_raw"
"""Where the text of bad rows stands if not one row has any columns."""

_BLOCK_CHARS = 1 << 16
_DIGESTS_FILE = ".rejected.sha256"
_ROW_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A rejection and the file that it comes from.

    Args:
        part: The journal's number of the file.
        source: The file, relative to the pipeline file.
        rejection: The row and its reasons.
    """

    part: int
    source: str
    rejection: Rejection


def vanished_row(part: int, rejection: Rejection) -> RejectedRow:
    """Somebody who vanished and whom the API did not delete, out of a file that a sync made."""
    who = {rejection.cells["type"]: rejection.cells["identifier"]}
    return RejectedRow(part, VANISHED, replace(rejection, cells=who))


def write_rejected(
    folder: Path,
    rows: Callable[[], Iterable[RejectedRow]],
    columns: Mapping[str, Sequence[str]],
    header: Iterable[str],
) -> Path | None:
    """Write the rejected rows of a job; where there are none, remove the files.

    A file that was edited since we wrote it is neither overwritten nor removed: the rows then go
    to `rejected.new.csv`.

    Args:
        folder: The job's directory.
        rows: Gives the rejected rows in order whenever it is called: none has to be held.
        columns: The columns of each file by its name; none where each row has its own.
        header: The columns of all files of the job, in first-seen order.

    Returns:
        The CSV that was written; None if no row is rejected.

    Raises:
        OSError: The disk is full, or the directory cannot be written to.
    """
    written = _Written.load(folder)
    if next(iter(rows()), None) is None:
        written.remove_all()
        (folder / TWIN_FILE).unlink(missing_ok=True)
        return None
    names = dict.fromkeys(header)

    def write_twin(file: BinaryIO) -> None:
        for row in rows():
            if not names.keys() >= row.rejection.cells.keys():
                names.update(dict.fromkeys(row.rejection.cells))
            file.write(twin_line(row))

    twin = folder / TWIN_FILE
    write_atomically(twin, write_twin)
    path = written.place()

    def write(file: BinaryIO, bindings: BinaryIO) -> None:
        digest = hashlib.sha256()
        lines = _Lines(_shown_columns(names), columns)
        # Made from the twin: it says the same, and is read in a third of the time.
        with twin.open("rb") as kept:
            for block in lines.of(map(orjson.loads, kept), bindings):
                digest.update(block)
                file.write(block)
        # Noted before the file is in place: a crash in between must not make it the user's.
        written.note(path.name, digest.hexdigest())

    # In place after the file: a crash in between leaves lines unsent that would have matched,
    # never the other way round.
    write_atomically(
        bindings_file(path),
        lambda bindings: write_atomically(path, lambda file: write(file, bindings)),
    )
    return path


def bindings_file(path: Path) -> Path:
    """Where it is noted which bytes the lines of a CSV of ours were made of."""
    return path.with_name(f".{path.name}.rows")


def read_bindings(path: Path) -> dict[tuple[str, int], str]:
    """The digest of each row, by source and row, of which a CSV was made; empty: not one of ours.

    A correction is bound to the bytes that it corrects: on another night another row may stand at
    the same place.
    """
    try:
        with bindings_file(path).open("rb") as file:
            return {(source, row): digest for source, row, digest in map(orjson.loads, file)}
    except (OSError, ValueError):
        return {}


def is_bound(bound: str, rejection: Rejection) -> bool:
    """Whether a line was made of this row, be it by an earlier version."""
    cells, raw = dict(rejection.cells), rejection.raw
    return bound == row_digest(cells, raw) or bound == _digest(json.dumps([cells, raw]).encode())


def row_digest(cells: dict[str, Any], raw: str | None) -> str:
    """What a rejected row was made of, without the reasons: those may be said anew."""
    return _digest(orjson.dumps([cells, raw]))


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_ROW_DIGEST_BYTES).hexdigest()


def twin_line(row: RejectedRow) -> bytes:
    """A rejected row as a line of `rejected.jsonl`, with everything that is known of it."""
    rejection = row.rejection
    return orjson.dumps(
        {
            "source": row.source,
            "part": row.part,
            "row": rejection.row,
            "line": rejection.line,
            "reasons": _reasons_fragment(rejection.reasons),
            "cells": rejection.cells,
            "raw": rejection.raw,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


@lru_cache(maxsize=1024)  # many rows are rejected for the same
def _reasons_fragment(reasons: tuple[Reason, ...]) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps([each._asdict() for each in reasons]))


def _shown_columns(names: Iterable[str]) -> list[str]:
    """The columns of all files, then those that rows bring with them.

    A column that is named like one of ours is shown in the twin only.
    """
    return [name for name in names if name not in OWN_COLUMNS] or [RAW_COLUMN]


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of a CSV.

    Args:
        names: Its columns, before our own.
        columns: The columns of each file by its name; none where each row has its own.
    """

    names: Sequence[str]
    columns: Mapping[str, Sequence[str]]

    def of(self, rows: Iterable[dict[str, Any]], bindings: BinaryIO) -> Iterator[bytes]:
        """The header and a line for each row of a twin, many at a time.

        Args:
            rows: The lines of the twin, parsed.
            bindings: Takes what each line was made of.
        """
        lines = io.StringIO(newline="")
        writer = csv.writer(lines)
        writer.writerow([*map(shown, self.names), *OWN_COLUMNS])
        yield codecs.BOM_UTF8
        for row in rows:
            writer.writerow([*self._cells(row), *_own_cells(row)])
            said = [row["source"], row["row"], row_digest(row["cells"], row["raw"])]
            bindings.write(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))
            if lines.tell() >= _BLOCK_CHARS:
                yield lines.getvalue().encode()
                lines.seek(0)
                lines.truncate()
        yield lines.getvalue().encode()

    def _cells(self, row: dict[str, Any]) -> list[str]:
        raw, cells = row["raw"], row["cells"]
        if raw is None:
            return [shown(cells.get(name)) for name in self.names]
        first = next(iter(self.columns.get(row["source"]) or self.names), "")
        return [shown_raw(raw) if name == first else "" for name in self.names]


def _own_cells(row: dict[str, Any]) -> list[str | int | None]:
    """The cells behind the source's own: where the row is from, and why it is here."""
    reasons = tuple(tuple(each.values()) for each in row["reasons"])
    return [_source_cell(row["source"]), row["row"], row["line"], *_reason_cells(reasons)]


_source_cell = lru_cache(maxsize=1024)(shown)


@lru_cache(maxsize=1024)  # many rows are rejected for the same
def _reason_cells(reasons: tuple[tuple[str, str, str], ...]) -> tuple[str, ...]:
    codes, fields, messages = zip(*reasons, strict=True)
    # A reason's own semicolons would make it two.
    return tuple(
        shown(";".join(each.replace(";", ",") for each in some))
        for some in (fields, codes, messages)
    )


@dataclass(slots=True)
class _Written:
    """What we wrote, as `sha256sum` lists it: a file with another digest was edited.

    A file may be listed with two digests: before and after it is replaced, both are ours.
    """

    folder: Path
    digests: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "_Written":
        written = cls(folder)
        with suppress(FileNotFoundError):
            # Damaged, it holds the digest of no file: then all of them count as edited.
            for line in (folder / _DIGESTS_FILE).read_text("utf-8", "replace").splitlines():
                digest, _, name = line.partition("  ")
                written.digests.setdefault(name, set()).add(digest)
        return written

    def place(self) -> Path:
        """Where a CSV can be written without harm to a user's work."""
        return next(
            path for path in self._paths() if not path.exists() or self._digest(path) is not None
        )

    def note(self, name: str, digest: str) -> None:
        """Say that a file is about to get this content."""
        before = self._digest(self.folder / name)
        self.digests[name] = {digest} | ({before} if before else set())
        self._save()

    def remove_all(self) -> None:
        """Remove the files that nobody edited."""
        for name in self.digests:
            path = self.folder / name
            if self._digest(path) is not None:
                path.unlink()
                bindings_file(path).unlink(missing_ok=True)
        (self.folder / _DIGESTS_FILE).unlink(missing_ok=True)

    def _digest(self, path: Path) -> str | None:
        """The digest of a file as we wrote it; None if it is not there or was edited."""
        if not path.is_file():
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest if digest in self.digests.get(path.name, ()) else None

    def _paths(self) -> Iterator[Path]:
        """`rejected.csv`, `rejected.new.csv`, `rejected.new2.csv` and so on."""
        yield self.folder / REJECTED_FILE
        stem, suffix = REJECTED_FILE.split(".")
        number = 1
        while True:
            yield self.folder / f"{stem}.new{number if number > 1 else ''}.{suffix}"
            number += 1

    def _save(self) -> None:
        lines = [
            f"{digest}  {name}\n"
            for name, digests in sorted(self.digests.items())
            for digest in sorted(digests)
        ]
        write_atomically(self.folder / _DIGESTS_FILE, "".join(lines).encode())
