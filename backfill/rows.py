"""The nouns of reading: a chunk of rows, and a row that is not sent with all its reasons."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

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

    def tail(self) -> str:
        """Its cells and its text as JSON, with a comma between: how it is kept, on one line.

        The standard library's JSON is exact where orjson is not: integers of any length, NaN, and
        the lone surrogates that stand for bytes that are not UTF-8. orjson refuses these, but for
        NaN, which it writes as null: so its nulls are counted. It takes a fifth of the time.
        """
        cells = self.cells
        if isinstance(cells, JsonCells) and self.raw is None:
            return cells.text + _NO_RAW
        cells = cells if isinstance(cells, dict) else dict(cells)
        with suppress(orjson.JSONEncodeError):
            said = orjson.dumps([cells, self.raw])
            if said.count(_NULL) == [self.raw, *cells.values()].count(None):
                return said[1:-1].decode()
        return _EXACT + json.dumps([cells, self.raw])[1:-1]

    @classmethod
    def of_tail(
        cls, row: int, line: int | None, reasons: tuple[Reason, ...], tail: str
    ) -> "Rejection":
        """The opposite of `tail`."""
        if tail.endswith(_NO_RAW) and not tail.startswith(_EXACT):
            return cls(row, line, reasons, JsonCells(tail[: -len(_NO_RAW)]))
        read = json.loads if tail.startswith(_EXACT) else orjson.loads
        return cls(row, line, reasons, *read(f"[{tail}]"))


_NULL = b"null"
_NO_RAW = ",null"
_EXACT = " "
"""Before a tail that only the standard library reads as it was."""


def alike(
    reasons: Iterable[tuple[Reason, ...]],
) -> tuple[tuple[tuple[Reason, ...], ...], npt.NDArray[np.int32]]:
    """The different ones among the reasons of n rows; and which of them each row has, int32 (n,).

    Rows fail in few ways, and alike.
    """
    ways: dict[tuple[Reason, ...], int] = {}
    way_of = np.array([ways.setdefault(each, len(ways)) for each in reasons], np.int32)
    return tuple(ways), way_of


@dataclass(frozen=True, slots=True, eq=False)
class Rejections(Sequence[Rejection]):
    """Rejected rows of one file, in columns: all of its rows may be such.

    One that is asked for by itself is made then.

    Args:
        rows: Their numbers, int64 (n,), ascending.
        lines: At which line each begins, int64 (n,); 0: the format has none.
        ways: The different reasons of rows.
        way_of: Which of them each row has, int32 (n,).
        tails: string (n,), their cells as `Rejection.tail` has them.
    """

    rows: Rows
    lines: Rows
    ways: tuple[tuple[Reason, ...], ...]
    way_of: npt.NDArray[np.int32]
    tails: pa.StringArray

    @classmethod
    def of(cls, some: Iterable[Rejection]) -> "Rejections":
        """These rows, in their order."""
        if isinstance(some, cls):
            return some
        every = sorted(some, key=attrgetter("row"))
        if not every:
            return NO_REJECTIONS
        return cls(
            np.array([each.row for each in every], np.int64),
            np.array([each.line or 0 for each in every], np.int64),
            *alike(each.reasons for each in every),
            pa.array([each.tail() for each in every], pa.string()),
        )

    @classmethod
    def together(cls, some: Iterable["Rejections"]) -> "Rejections":
        """All of these as one, each row once; of two with one number the first."""
        every = [each for each in some if len(each)]
        if len(every) < 2:  # noqa: PLR2004 - one alone is what it is
            return every[0] if every else NO_REJECTIONS
        ways, new = alike(why for each in every for why in each.ways)
        begins = np.cumsum([0, *(len(each.ways) for each in every)])
        way_of = [new[each.way_of + begin] for each, begin in zip(every, begins, strict=False)]
        made = cls(
            np.concatenate([each.rows for each in every]),
            np.concatenate([each.lines for each in every]),
            ways,
            np.concatenate(way_of),
            pa.concat_arrays([each.tails for each in every]),
        )
        if (np.diff(made.rows) > 0).all():
            return made
        return made.take(np.unique(made.rows, return_index=True)[1])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Rejection]:
        numbers = zip(self.rows.tolist(), self.lines.tolist(), self.way_of.tolist(), strict=True)
        tails: list[str] = self.tails.to_pylist()
        for (row, line, way), tail in zip(numbers, tails, strict=True):
            yield Rejection.of_tail(row, line or None, self.ways[way], tail)

    @overload
    def __getitem__(self, at: int) -> Rejection: ...

    @overload
    def __getitem__(self, at: slice) -> "Rejections": ...

    def __getitem__(self, at: int | slice) -> "Rejection | Rejections":
        if isinstance(at, slice):
            of_rows = (self.rows[at], self.lines[at], self.ways, self.way_of[at])
            return Rejections(*of_rows, self.tails[at])
        of_row = int(self.rows[at]), int(self.lines[at]) or None, self.ways[self.way_of[at]]
        return Rejection.of_tail(*of_row, self.tails[at].as_py())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]

    def take(self, places: Rows | npt.NDArray[np.bool_]) -> "Rejections":
        """Some of them: by their places, int64 (m,), ascending, or those that are true, bool (n,).

        The texts of all others are let go of.
        """
        places = np.flatnonzero(places) if places.dtype == np.bool_ else places
        of_rows = (self.rows[places], self.lines[places], self.ways, self.way_of[places])
        return Rejections(*of_rows, self.tails.take(pa.array(places)))

    def by_code(self) -> Counter[str]:
        """How many of them have each code; a row with two codes counts in both."""
        counts: Counter[str] = Counter()
        found = self._in_use()
        for reasons, count in zip(found.ways, np.bincount(found.way_of).tolist(), strict=True):
            # Each once: two fields with one fault are one row with that reason.
            counts.update(dict.fromkeys((each.code for each in reasons), count))
        return counts

    def _in_use(self) -> "Rejections":
        """The same with the reasons that there are, each once, in the order in which they occur."""
        different, new = alike(self.ways)
        way_of, first = new[self.way_of], np.full(len(different), len(self))
        first[way_of[::-1]] = np.arange(len(self))[::-1]
        order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(self))]
        number = np.zeros(len(different), np.int32)
        number[order] = np.arange(len(order))
        ways = tuple(different[way] for way in order.tolist())
        return replace(self, ways=ways, way_of=number[way_of])

    def pieces(self, bytes_max: int, rows_max: int) -> Iterator["Rejections"]:
        """The same in pieces: none with much more text, or further from its first row to its last.

        Args:
            bytes_max: So much text has each; of a row that has more by itself, all.
            rows_max: The last row's number is less than so much behind the first's.
        """
        ends, at = np.cumsum(pc.binary_length(self.tails).to_numpy()), 0
        while at < len(self):
            by_bytes = np.searchsorted(ends, (ends[at - 1] if at else 0) + bytes_max, "right")
            by_rows = np.searchsorted(self.rows, self.rows[at] + rows_max)
            stop = max(int(min(by_bytes, by_rows)), at + 1)
            yield self[at:stop]
            at = stop

    def to_text(self) -> str:
        """How they are kept, for us alone: a line for all of them, and one for the cells of each.

        JSON has no line end in it.
        """
        found = self._in_use()
        ways = [[[*why] for why in reasons] for reasons in found.ways]
        numbers: list[npt.NDArray[Any]] = [found.rows, found.lines, found.way_of]
        try:
            said = orjson.dumps([*numbers, ways], option=orjson.OPT_SERIALIZE_NUMPY).decode()
        except orjson.JSONEncodeError:  # an answer of the API may hold lone surrogates
            said = json.dumps([*(each.tolist() for each in numbers), ways])
        return "\n".join([said, *self.tails.to_pylist()])

    @classmethod
    def of_text(cls, text: str, *, cells: bool = True) -> "Rejections":
        """The opposite of `to_text`; where `cells` is false, null for them: it takes a sixth."""
        head, _, tails = text.partition("\n")
        try:
            rows, lines, way_of, ways = orjson.loads(head)
        except orjson.JSONDecodeError:
            rows, lines, way_of, ways = json.loads(head)
        return cls(
            np.array(rows, np.int64),
            np.array(lines, np.int64),
            tuple(tuple(map(Reason._make, why)) for why in ways),
            np.array(way_of, np.int32),
            pc.split_pattern(pa.array([tails]), "\n").values
            if cells and rows
            else pa.nulls(len(rows), pa.string()),
        )


NO_REJECTIONS = Rejections(
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    (),
    np.empty(0, np.int32),
    pa.array([], pa.string()),
)


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
