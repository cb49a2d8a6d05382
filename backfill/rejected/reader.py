"""`rejected.csv`, read back after people fixed it.

Each cell is what it was when the row was read, unless somebody edited it. Rows may be left out
(they stay rejected) and stand in any order; the file may be saved by any spreadsheet: with commas,
semicolons or tabs, in UTF-8, UTF-16 or Windows-1252. A row of a bad shape is fixed by filling in
its cells, or, from JSON Lines, by fixing its text.
"""

import csv
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from backfill.encoding.json_text import canonical_json
from backfill.errors import GuardError, UsageError
from backfill.rejected.edits import is_edited, typed
from backfill.rejected.safe_cells import read_back, shown, shown_raw
from backfill.rejected.writer import OWN_COLUMNS, RejectedRow, is_bound, read_bindings
from backfill.rows import Chunk, Position, Rejection, Rows, Values
from backfill.sources import SourceFile
from backfill.sources.detection import delimiter_of, text_evidence

Find = Callable[[str, int], RejectedRow | None]
"""Gives the rejection of a row of a file, as the journal has it; None if it is not rejected."""

_CELL_CHARS_MAX = 1 << 24
_HEAD_CHARS = 1 << 16
_BLOCK_BYTES = 1 << 20
_CODE_PAGE = "cp1252"
_ROWS_NAMED = 20


@dataclass(frozen=True, slots=True)
class FixedRow:
    """A rejected row that can be tried again.

    Args:
        part: The journal's number of its file.
        source: The file, relative to the pipeline file.
        row: Its number in that file.
        line: The line at which it begins there.
        cells: Its cells as they are now, those that nobody edited as they were read; an edited
            one has the type that it had, if it can.
    """

    part: int
    source: str
    row: int
    line: int | None
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FixedFile:
    """What a fixed file holds.

    Args:
        ready: How many rows can be tried again.
        settled: How many are not rejected any more, since an earlier retry delivered them.
        unfixed: How many are of a bad shape still: nobody filled in their cells.
        stale: The rows, as file and row, that have been replaced since the file was written.
        rows: Reads the rows that can be tried again, of these files or of all, in the order in
            which they stand.
    """

    ready: int
    settled: int
    unfixed: int
    stale: Sequence[str]
    rows: Callable[..., Iterator[FixedRow]]


def read_fixed(
    path: Path,
    find: Find,
    columns: Mapping[str, Sequence[str]],
    identifiers: Mapping[str, Sequence[str]],
) -> FixedFile:
    """Look through a fixed file.

    Args:
        path: The file.
        find: Gives the row as it was rejected.
        columns: The columns of each file of the job by its name; none where each row has its own.
        identifiers: The columns of each file that say who and what a row is about.

    Raises:
        UsageError: The file cannot be read, or a line of it is none of the job's rows.
        GuardError: Rows are now about other people than before.
    """
    file = _FixedFileReader(path, find, columns)
    seen: set[tuple[str, int]] = set()
    moved: list[str] = []
    stale: list[str] = []
    ready = settled = unfixed = 0
    for line in file.lines():
        if (line.source, line.row) in seen:
            raise file.bad(line.number, f"row {line.row} of {line.source} appears twice here")
        seen.add((line.source, line.row))
        rejected = find(line.source, line.row)
        if rejected is None:
            settled += 1
            continue
        if file.is_stale(rejected):
            stale.append(f"{line.source} row {line.row}")
            continue
        cells = file.cells(line, rejected.rejection)
        ready += bool(cells)
        unfixed += not cells
        named = identifiers.get(line.source, ())
        if any(_is_about_another(rejected.rejection, cells, each) for each in named):
            moved.append(f"{line.source} row {line.row}")
    if moved:
        raise _moved(path, moved)
    return FixedFile(ready, settled, unfixed, stale, file.rows)


@dataclass(frozen=True, slots=True)
class _FixedLine:
    """A line of the file: which row it is, and the cells that stand there."""

    number: int
    source: str
    row: int
    cells: Mapping[str, str]


class _FixedFileReader:
    def __init__(self, path: Path, find: Find, columns: Mapping[str, Sequence[str]]) -> None:
        self.path = path
        self._find = find
        self._columns = columns
        self._encoding = _encoding_of(path)
        self._delimiter = ","
        self._written_of = read_bindings(path)

    def is_stale(self, rejected: RejectedRow) -> bool:
        """Whether another row has taken the place of the one that the line was written for."""
        rejection = rejected.rejection
        bound = self._written_of.get((rejected.source, rejection.row))
        return bound is not None and not is_bound(bound, rejection)

    def rows(self, files: Container[str] | None = None) -> Iterator[FixedRow]:
        for line in self.lines():
            if files is not None and line.source not in files:
                continue
            rejected = self._find(line.source, line.row)
            # Corrected by an earlier retry, or a line of another night: sent once, or not at all.
            if rejected is None or self.is_stale(rejected):
                continue
            if cells := self.cells(line, rejected.rejection):
                yield FixedRow(rejected.part, line.source, line.row, rejected.rejection.line, cells)

    def lines(self) -> Iterator[_FixedLine]:
        # Python stops at 131,072 characters, and a rejected row may have a longer cell.
        csv.field_size_limit(_CELL_CHARS_MAX)
        number = 1
        try:
            with self.path.open(encoding=self._encoding, newline="") as file:
                self._delimiter = delimiter_of(file.read(_HEAD_CHARS), column="_source").value
                file.seek(0)
                # Strict: behind a quote that was left open all further rows would be one cell.
                reader = csv.reader(file, delimiter=self._delimiter, strict=True)
                header = self._header(next(reader, []))
                for fields in reader:
                    number = reader.line_num
                    if any(fields):
                        yield self._line(number, header, fields)
        except csv.Error as error:
            raise self.bad(number + 1, f"is not CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self.path}: is neither UTF-8 nor UTF-16 nor Windows-1252",
                next_step="save it as CSV in UTF-8",
            ) from error

    def cells(self, line: _FixedLine, rejection: Rejection) -> dict[str, Any]:
        """The row's cells now; none if it is of a bad shape still."""
        if rejection.raw is not None:
            return self._spread(line, rejection.raw)
        cells = dict(rejection.cells)
        for name, text in line.cells.items():
            before = cells.get(name)
            if self._is_edited(shown(before), text):
                self._require_column(line, name)
                cells[name] = typed(read_back(text), before)
        return cells

    def bad(self, line: int, what: str) -> UsageError:
        """The file has a line that cannot be used."""
        return UsageError(
            f"{self.path} line {line}: {what}",
            next_step="fix the line or remove it; _source and _row must stay as they were",
        )

    def _spread(self, line: _FixedLine, raw: str) -> dict[str, Any]:
        """The cells that were filled in for a row that had none."""
        filled = {
            name: read_back(text)
            for name, text in line.cells.items()
            if text and self._is_edited(shown_raw(raw), text)
        }
        if len(filled) == 1 and not self._columns.get(line.source):
            return self._parsed(line, next(iter(filled.values())))
        columns = self._columns.get(line.source) or ()
        if len(filled) == 1 and len(columns) > 1:
            raise self.bad(
                line.number,
                "the row could not be split into cells, and only one is filled in: put each of"
                " its values into the column where it belongs",
            )
        for name in filled:
            self._require_column(line, name)
        blank = dict.fromkeys(columns) if filled else {}
        return blank | filled

    def _parsed(self, line: _FixedLine, text: str) -> dict[str, Any]:
        """The cells of a line of JSON that was fixed in place."""
        try:
            cells = orjson.loads(text)
        except orjson.JSONDecodeError:
            cells = None
        if not isinstance(cells, dict):
            raise self.bad(line.number, "the row's text is still not a JSON object")
        return cells

    def _is_edited(self, before: str, now: str) -> bool:
        """Whether a cell says something else, be it with our guard and pictures or without."""
        code_page = _CODE_PAGE if self._encoding == _CODE_PAGE else None
        return all(
            is_edited(one, other, code_page=code_page, comma=self._delimiter == ";")
            for one, other in ((before, now), (read_back(before), read_back(now)))
        )

    def _require_column(self, line: _FixedLine, name: str) -> None:
        columns = self._columns.get(line.source)
        if columns and name not in columns:
            raise self.bad(line.number, f"{line.source} has no column {name}; leave it empty")

    def _header(self, fields: list[str]) -> list[str]:
        names = [read_back(each) for each in fields]
        if missing := [each for each in ("_source", "_row") if each not in names]:
            raise UsageError(
                f"{self.path}: has no column {' and no '.join(missing)}",
                next_step="edit the rejected.csv that backfill wrote, and keep its header",
            )
        # Of two columns with one name nobody could say which cell was meant.
        if len(set(names)) < len(names):
            raise self.bad(1, "two columns have the same name")
        return names

    def _line(self, number: int, header: Sequence[str], fields: Sequence[str]) -> _FixedLine:
        if any(fields[len(header) :]):
            raise self.bad(number, "has more cells than the header")
        cells = dict(zip(header, fields, strict=False))
        source, row = read_back(cells.get("_source", "")), cells.get("_row", "")
        # `isdigit` alone takes the digits of any script, and `int` reads them.
        if source not in self._columns or not (row.isascii() and row.isdigit()):
            raise self.bad(number, "_source and _row do not name a row of this job")
        own = {name: text for name, text in cells.items() if name not in OWN_COLUMNS}
        return _FixedLine(number, source, int(row), own)


def _encoding_of(path: Path) -> str:
    """The codec of a file that a spreadsheet may have saved: as its bytes prove, else cp1252."""
    try:
        with path.open("rb") as file:
            evidence = text_evidence(iter(lambda: file.read(_BLOCK_BYTES), b""))
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}",
            next_step="name the rejected.csv that you edited",
        ) from error
    # We write a BOM. All ASCII without one may come from a code page that lost other letters.
    is_utf8 = 0 < evidence.lines == evidence.utf8
    return evidence.bom or ("utf-8" if is_utf8 else _CODE_PAGE)


def chunk_of(file: SourceFile, rows: Sequence[FixedRow]) -> Chunk:
    """FixedFile rows of a file, ascending, as it would have brought them; typed ones as JSON."""
    # As text a 7 and a "7" would be the same; a typed file has both.
    kind: Values = "text" if file.values == "text" else "json"
    columns = file.columns() or tuple(dict.fromkeys(key for row in rows for key in row.cells))
    arrays = [_column(rows, name, file) for name in columns]
    numbers: Rows = np.array([row.row for row in rows], np.int64)
    lines = None
    if all(row.line is not None for row in rows):
        lines = np.array([row.line for row in rows], np.int64)
    return Chunk(
        first_row=rows[0].row,
        batch=pa.RecordBatch.from_arrays(arrays, list(columns)),
        rows=numbers,
        lines=lines,
        rejections=(),
        end=Position(rows[-1].row + 1),
        values=kind,
    )


def _column(rows: Sequence[FixedRow], name: str, file: SourceFile) -> pa.Array:
    """One column as its source would have written it; typed numbers are numbers again, also NaN."""
    schema = file.schema()
    if schema is not None and pa.types.is_floating(schema.field(name).type):
        with suppress(ValueError, TypeError):
            cells = [row.cells.get(name) for row in rows]
            return pa.array([None if each is None else float(each) for each in cells], pa.float64())
    return pa.array([_cell(row.cells, name, file) for row in rows], pa.string())


def _cell(cells: Mapping[str, Any], name: str, file: SourceFile) -> str | None:
    """One cell, as text or as a JSON fragment; None where there is none."""
    if name not in cells:
        return None
    value = cells[name]
    if file.values == "text":
        return None if value is None else str(value)
    return canonical_json(value)


def _is_about_another(rejection: Rejection, cells: Mapping[str, Any], identifier: str) -> bool:
    """Whether a row names another person now; a missing or wrong identifier may be fixed."""
    before = rejection.cells.get(identifier)
    if before in (None, "") or not cells or cells[identifier] == before:
        return False
    return all(reason.field != identifier for reason in rejection.reasons)


def some_of(rows: Sequence[str]) -> str:
    """The first of many rows, and how many more there are."""
    more = f" and {len(rows) - _ROWS_NAMED} more" if len(rows) > _ROWS_NAMED else ""
    return ", ".join(rows[:_ROWS_NAMED]) + more


def _moved(path: Path, moved: Sequence[str]) -> GuardError:
    return GuardError(
        f"{path}: the identifier is not what it was: {some_of(moved)}",
        next_step="put the identifiers back, or move these rows to a source file of their own",
    )
