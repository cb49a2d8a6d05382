"""The nouns of reading: a chunk of rows, and a row that is not sent with all its reasons."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

Rows = npt.NDArray[np.int64]
"""Row numbers in a file, counted from 1, the header excluded."""

Values = Literal["text", "json", "typed"]
"""How the cells of a chunk are written: all text (CSV), each a JSON fragment (JSON Lines), or
typed by the file itself (Parquet)."""


class Reason(NamedTuple):
    """Why a row is not sent: a code of the closed list, the field it is about, a sentence.

    The sentence never repeats a value of the row: it may reach a log.
    """

    code: str
    field: str
    message: str


def reasons_to_json(reasons: tuple[Reason, ...]) -> str:
    """Reasons as they are kept, for us alone."""
    return json.dumps(reasons)


def reasons_from_json(text: str) -> tuple[Reason, ...]:
    """The opposite of `reasons_to_json`."""
    return tuple(map(Reason._make, json.loads(text)))


class JsonCells(Mapping[str, Any]):
    """The cells of a row as JSON, read when somebody asks for one: few rejected rows ever are.

    Args:
        text: An object, just as orjson writes what it says.
    """

    __slots__ = ("_read", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._read: dict[str, Any] | None = None

    def _cells(self) -> dict[str, Any]:
        if self._read is None:
            self._read = orjson.loads(self.text)
        return self._read

    def __getitem__(self, name: str) -> Any:
        return self._cells()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells())

    def __len__(self) -> int:
        return len(self._cells())

    def __repr__(self) -> str:
        return repr(self._cells())


@dataclass(slots=True)  # not frozen: each takes a third of the time, and all of a file may be such
class Rejection:
    """A row that will not be sent, or was refused, with all its reasons.

    Args:
        row: The row's number in its file, from 1.
        line: The physical line at which it begins, where the format has lines.
        reasons: Every reason, at least one.
        cells: The row as read, by column; every value can be written as JSON.
        raw: The row's own text, where it could not be split into cells.
    """

    row: int
    line: int | None
    reasons: tuple[Reason, ...]
    cells: Mapping[str, Any] = field(default_factory=dict)
    raw: str | None = None

    def to_json(self) -> str:
        """All but the row's number, under which it is kept, for us alone; one line.

        The standard library's JSON is exact where orjson is not: integers of any length, NaN, and
        the lone surrogates that stand for bytes that are not UTF-8. orjson refuses these, but for
        NaN, which it writes as null: so its nulls are counted. It takes a fifth of the time.
        """
        cells = self.cells
        try:
            if isinstance(cells, JsonCells) and self.raw is None:
                line = "null" if self.line is None else self.line
                return f"[{line},{_reasons_text(self.reasons)},{cells.text}{_NO_RAW}"
            cells = cells if isinstance(cells, dict) else dict(cells)
            said = orjson.dumps([self.line, _reasons_fragment(self.reasons), cells, self.raw])
            if said.count(_NULL) == [self.line, self.raw, *cells.values()].count(None):
                return said.decode()
        except orjson.JSONEncodeError:
            pass
        return json.dumps([self.line, self.reasons, cells, self.raw])

    @classmethod
    def from_json(cls, row: int, text: str) -> "Rejection":
        """The opposite of `to_json`, also of what earlier versions kept."""
        # Nearly all are of one form, and their cells can stay text. Between strings there is only
        # one such place; inside of one, what stands before it is no JSON.
        head, _, cells = text.partition("]],{")
        line_text, _, why = head.partition(",[[")
        if cells.endswith("}" + _NO_RAW) and why:
            with suppress(ValueError):
                found = None if line_text == "[null" else int(line_text[1:])
                return cls(row, found, _reasons_of(why), JsonCells("{" + cells[: -len(_NO_RAW)]))
        # Only the standard library puts a space behind a comma, and it alone reads all it writes.
        is_exact = text[text.index(",") + 1] == " "
        line, reasons, cells, raw = json.loads(text) if is_exact else orjson.loads(text)
        return cls(row, line, tuple(map(Reason._make, reasons)), cells, raw)


def by_code(rejections: Iterable[Rejection]) -> Counter[str]:
    """How many rejected rows have each code; a row with two codes counts in both."""
    counts: Counter[str] = Counter()
    for reasons, count in Counter(each.reasons for each in rejections).items():
        # Each once: two fields with one fault are one row with that reason.
        counts.update(dict.fromkeys((each.code for each in reasons), count))
    return counts


_NULL = b"null"
_NO_RAW = ",null]"


@lru_cache(maxsize=1024)
def _reasons_text(reasons: tuple[Reason, ...]) -> str:
    return orjson.dumps([list(each) for each in reasons]).decode()


@lru_cache(maxsize=1024)
def _reasons_of(text: str) -> tuple[Reason, ...]:
    """Reasons as orjson wrote them, without the brackets around.

    Raises:
        ValueError: They are none.
    """
    return tuple(map(Reason._make, orjson.loads(f"[[{text}]]")))


@lru_cache(maxsize=1024)  # many rows are rejected for the same
def _reasons_fragment(reasons: tuple[Reason, ...]) -> orjson.Fragment:
    return orjson.Fragment(_reasons_text(reasons))


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading can go on: the next row's number, its line, and the format's own offset."""

    row: int = 1
    line: int = 1
    offset: int = 0


START = Position()
NO_LINE = 0
"""The line of a position that is none: between two rows that were read together."""


@dataclass(frozen=True, slots=True)
class SparseCells:
    """Cells of columns that few rows of a chunk have: as columns, they would be mostly nulls.

    Args:
        names: The k columns.
        columns: int64 (m,), which of them each cell stands in.
        places: int64 (m,), which row of the batch it stands in, counted from 0; ascending.
        cells: string (m,), never null.
    """

    names: tuple[str, ...]
    columns: Rows
    places: Rows
    cells: pa.StringArray

    def column(self, name: str, count: int) -> pa.StringArray | None:
        """A column of `count` cells by its name, mostly nulls; None: no row has one."""
        if name not in self.names:
            return None
        here = np.flatnonzero(self.columns == self.names.index(name))
        found = np.full(count, -1)
        found[self.places[here]] = here
        return self.cells.take(pa.array(found, mask=found < 0))

    def only(self, places: Rows) -> "SparseCells":
        """Those of some rows, ascending, which are numbered anew."""
        here = np.flatnonzero(np.isin(self.places, places))
        new = np.searchsorted(places, self.places[here])
        return SparseCells(self.names, self.columns[here], new, self.cells.take(pa.array(here)))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that were read together.

    It covers every row from `first_row` up to, not including, `end.row`: those of good shape are
    in `batch`, the others are rejections.

    Args:
        first_row: The number of the first row that the chunk covers.
        batch: The rows of good shape, in the source's own columns.
        rows: The row number of each row of `batch`, ascending.
        lines: The line at which each row of `batch` begins; None where the format has no lines.
        rejections: The rows of bad shape.
        end: Where the next chunk begins.
        values: How the cells are written.
        sparse: Further columns of the rows of `batch`; None: there are none.
    """

    first_row: int
    batch: pa.RecordBatch
    rows: Rows
    lines: Rows | None
    rejections: tuple[Rejection, ...]
    end: Position
    values: Values
    sparse: SparseCells | None = None

    def spread(self) -> "Chunk":
        """The same chunk with every column in its batch."""
        if self.sparse is None:
            return self
        columns = [self.sparse.column(name, len(self.rows)) for name in self.sparse.names]
        names = [*self.batch.schema.names, *self.sparse.names]
        batch = pa.RecordBatch.from_arrays([*self.batch.columns, *columns], names=names)
        return replace(self, batch=batch, sparse=None)

    def only(self, wanted: npt.NDArray[np.bool_]) -> "Chunk":
        """Some rows of good shape; the chunk covers as many as before."""
        places = np.flatnonzero(wanted)
        lines = None if self.lines is None else self.lines[places]
        batch = self.batch.take(pa.array(places))
        sparse = None if self.sparse is None else self.sparse.only(places)
        return replace(self, batch=batch, rows=self.rows[places], lines=lines, sparse=sparse)

    def halves(self) -> "tuple[Chunk, Chunk] | None":
        """The same rows in two chunks; None: there is but one. No reader can begin between them."""
        middle = (self.first_row + self.end.row) // 2
        if middle == self.first_row:
            return None
        above = self.rows >= middle
        left = tuple(each for each in self.rejections if each.row < middle)
        right = self.rejections[len(left) :]
        return (
            replace(
                self.only(~above), end=replace(self.end, row=middle, line=NO_LINE), rejections=left
            ),
            replace(self.only(above), first_row=middle, rejections=right),
        )


# The closed list of reasons. The codes stand in `_reason` of the rejected rows and in the summary;
# the README's table is made from here. A sentence never repeats a value of the row.

SENTENCES: dict[str, str] = {
    # the row's shape, found while reading
    "too_few_fields": "the row has fewer cells than the header",
    "too_many_fields": "the row has more cells than the header",
    "quote_out_of_place": (
        "a quote stands inside a cell, or text follows a closing quote; see quote and escape"
    ),
    "unclosed_quote": "a quote is opened and not closed; the next line was read as a new row",
    "invalid_utf8": "the text is not valid in the declared encoding",
    "nul_byte": "the text holds a NUL character",
    "row_too_long": "the row is longer than 1 MiB; its first 64 kB are kept",
    "header_again": "the row repeats the header",
    "footer": "the line tells how many rows there are, or where they end, and is none itself",
    "invalid_json": "the text is not valid JSON",
    "not_an_object": "the line is JSON, but not an object",
    "duplicate_key": "the object has a key twice",
    # who and what
    "identifier_missing": "the identifier is missing",
    "identifier_not_text": "the identifier is an object, a list, true or false",
    "identifier_too_long": "an id may have 150 bytes, an e-mail address 254",
    "identifier_not_an_email": "the identifier is not an e-mail address",
    "merged_into_itself": "the row would merge a person into that person",
    "identifier_conflict": "another identifier column names a different person",
    "identifier_shape_v1": (
        "API v1 would read this id as an e-mail address, a cio_id or a path; use v2"
    ),
    "unknown_person": (
        'no customers source names this person, and unknown_people = "reject"; once one does,'
        " `backfill retry` sends the row"
    ),
    "name_missing": "the event name is missing",
    "name_too_long": "the event name is longer than 100 bytes",
    "key_missing": "the key columns are empty",
    # values
    "member_missing": "the value does not have the member that the settings name",
    "required_missing": "a required value is missing",
    "not_an_integer": "the value is not a whole number",
    "not_a_number": "the value is not a number",
    "not_finite": "NaN and infinity cannot be sent",
    "not_a_boolean": "the value is not true or false, yes or no, 1 or 0; see true_values",
    "not_json": "the value is not valid JSON",
    "value_too_long": "the value is longer than 1000 bytes",
    "attribute_name_too_long": "the attribute name is longer than 150 bytes",
    "too_many_attributes": "the person, object or relationship has more than 300 attributes",
    "too_large": "the operation is larger than the API accepts",
    "too_large_merged": "the merged rows are larger than the API accepts",
    # timestamps
    "timestamp_missing": "the timestamp is missing: the service would use the current time",
    "timestamp_unreadable": "the timestamp does not match the column's format",
    "timestamp_no_zone": "the timestamp has no time zone; set timezone",
    "timestamp_zone_unknown": "the name of the zone means nothing by itself; set zones",
    "timestamp_ambiguous": (
        'clocks showed this local time twice; set ambiguous = "earlier" or "later"'
    ),
    "timestamp_nonexistent": (
        'clocks skipped this local time; set nonexistent = "forward" or "backward"'
    ),
    "timestamp_out_of_range": "the timestamp is outside the years 1 to 9999",
    "timestamp_too_early": (
        "the event is older than earliest, or than 1970, for which the service would take now"
    ),
    "timestamp_too_late": "the event is later than latest, or than any that the service takes",
    # what the API said
    "refused": "the API refused the operation",
    "unknown_outcome": "the API's answers to this operation were not understood",
}


def reason(code: str, field: str = "", message: str = "") -> Reason:
    """The reason with this code.

    Args:
        code: One of the list.
        field: The column or attribute it is about; empty: the whole row.
        message: Another sentence than the list's, such as the API's own.

    >>> reason("name_missing", "event").message
    'event: the event name is missing'
    """
    sentence = message or SENTENCES[code]
    return Reason(code, field, f"{field}: {sentence}" if field else sentence)
