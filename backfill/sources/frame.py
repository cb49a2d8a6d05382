"""Rows as places in a piece of text, and one look at a block that finds them all.

See `framing` for the grammar.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backfill.rows import Position, Rows
from backfill.sources.interface import ROW_BYTES_MAX

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Width = Callable[[bytes], int]
"""How many bytes of the file a piece of the text, in whole characters, stands for."""

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}".encode()

_LF, _CR = b"\n\r"
_NO_BYTE = 256  # where nothing is quoted, no byte is a quote
_NEVER = np.iinfo(np.int64).max
_NEUTRAL = ord("x")  # any byte that is neither a quote, a delimiter nor a line end


@dataclass(frozen=True, slots=True)
class Dialect:
    """The characters with a meaning in delimited text, an ASCII byte each.

    Args:
        delimiter: What separates the cells.
        quote: What may enclose a cell; empty: nothing does.
        escape: What makes the next byte an ordinary one; empty: nothing does.
    """

    delimiter: bytes = b","
    quote: bytes = b'"'
    escape: bytes = b""


@dataclass(frozen=True, slots=True)
class Frame:
    """Whole rows that follow each other; blank lines between them belong to no row.

    Every array has a length of n, the number of rows; places are byte offsets in `data`, int64.

    Args:
        data: The text; a last line without a line end got one.
        starts: Where each row begins.
        stops: Where its text ends.
        nexts: Where the line after it begins.
        lines: How many line ends of the frame come before it.
        fields: Its number of fields, unless it is spoiled.
        spoiled: The reason by row, counted from 0, for the rows that break the grammar.
        width: How many bytes of the file the frame covers.
        line_count: How many line ends it covers.
    """

    data: bytes
    starts: Rows
    stops: Rows
    nexts: Rows
    lines: Rows
    fields: Rows
    spoiled: dict[int, str]
    width: int
    line_count: int

    def position(self, row: int, begin: Position, width: Width) -> Position:
        """Where the row counted from 0 begins, or the end of the frame.

        Args:
            row: At most the number of rows.
            begin: Where the frame itself begins.
            width: As for `frames`.
        """
        if row == len(self.starts):
            lines, covered = self.line_count, self.width
        else:
            lines, covered = int(self.lines[row]), width(self.data[: self.starts[row]])
        return Position(begin.row + row, begin.line + lines, begin.offset + covered)


def lone_frame(raw: bytes, code: str, width: int, line_count: int) -> Frame:
    """The frame of one spoiled row.

    Args:
        raw: Its text, or the beginning of it.
        code: Why it is spoiled.
        width: How many bytes of the file it takes, its line end included.
        line_count: How many line ends those hold.
    """
    start = len(BOM) if raw.startswith(BOM) else 0
    first = np.array([start])
    length = np.array([len(raw)])
    nothing = np.zeros(1, np.int64)
    return Frame(raw, first, length, length, nothing, nothing, {0: code}, width, line_count)


def without_escapes(text: Bytes, escape: int) -> Bytes:
    """The text with each escape and the byte behind it made ordinary bytes; of equal length.

    Args:
        text: Bytes of any length.
        escape: The byte that makes the next one ordinary, itself included.
    """
    shown = text.copy()
    at = escapes(text, escape)
    shown[at] = _NEUTRAL
    shown[at[at + 1 < len(text)] + 1] = _NEUTRAL
    return shown


def escapes(text: Bytes, escape: int) -> Rows:
    """Where the escapes stand that are not escaped themselves: every other one of a run."""
    found = np.flatnonzero(text == escape)
    if not len(found):
        return found
    begins = np.concatenate(([True], np.diff(found) > 1))
    first = np.maximum.accumulate(np.where(begins, found, 0))
    alone: Rows = found[(found - first) % 2 == 0]
    return alone


@dataclass(frozen=True, slots=True)
class _Phase:
    """A block as it reads in one phase: its line ends outside quotes, and what spoils a row."""

    line_ends: Rows
    trouble: Rows
    codes: list[str]


class Scan:
    """One look at a block that begins with a row."""

    def __init__(self, data: bytes, dialect: Dialect, *, final: bool) -> None:
        self.length = len(data)
        self.data = data + b"\n" if final and data[-1:] not in {b"\n", b"\r"} else data
        self.final = final
        self.delimiter = dialect.delimiter[0]
        self.quote = dialect.quote[0] if dialect.quote else _NO_BYTE
        self.bytes: Bytes = np.frombuffer(self.data, np.uint8)
        if dialect.escape and dialect.escape in self.data:
            self.bytes = without_escapes(self.bytes, dialect.escape[0])
        self.marks: Rows = np.flatnonzero(self._marked())
        self.kinds: Bytes = self.bytes[self.marks]
        self.quotes: Rows = self.marks[self.kinds == self.quote]
        self.line_ends: Rows = self.marks[(self.kinds == _LF) | (self.kinds == _CR)]
        # Looking for a mark takes a tenth of the time of a scan, asking for ASCII next to none.
        self.boms: Rows = _places(b"" if self.data.isascii() else self.data, BOM)
        self.phases: dict[int, _Phase] = {}
        self.open_row: tuple[int, str] | None = None

    def _marked(self) -> Flags:
        """Which bytes are a delimiter, a quote, or the last of a line end."""
        found: Flags = self.bytes == _LF
        if b"\r" in self.data:
            lone = self.bytes == _CR
            lone[:-1] &= self.bytes[1:] != _LF
            lone[-1] &= self.final  # else the next block may begin with its LF
            found |= lone
        found |= self.bytes == self.delimiter
        if self.quote != _NO_BYTE and self.quote in self.data:
            found |= self.bytes == self.quote
        return found

    def frame(self, width: Width) -> tuple[Frame, int]:
        """The whole rows, and how many bytes of the block they take."""
        spans = self._spoiled()
        marks, kinds = self._outside_quotes(spans)
        last = np.flatnonzero(kinds != self.delimiter)
        ends = marks[last]
        starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
        crlf = (self.bytes[ends] == _LF) & (self.bytes[ends - 1] == _CR) & (ends > starts)
        stops = ends - crlf
        begun = starts
        if len(self.boms):
            starts = starts + len(BOM) * np.isin(starts, self.boms)
        rows = stops > starts
        size = min(int(ends[-1]) + 1, self.length) if len(ends) else 0
        spoiled = begun[rows].searchsorted([span[0] for span in spans])
        frame = Frame(
            data=self.data,
            starts=starts[rows],
            stops=stops[rows],
            nexts=ends[rows] + 1,
            lines=self.line_ends.searchsorted(starts[rows]),
            fields=np.diff(last, prepend=-1)[rows],
            spoiled={int(row): span[2] for row, span in zip(spoiled, spans, strict=True)},
            width=width(self.data[:size]),
            line_count=int(self.line_ends.searchsorted(size)),
        )
        return frame, size

    def _outside_quotes(self, spans: list[tuple[int, int, str]]) -> tuple[Rows, Bytes]:
        """The marks that separate fields and rows: of a spoiled row only its end."""
        marks, kinds = self.marks, self.kinds
        if spans or self.open_row is not None:
            kept = np.ones(len(marks), np.bool_)
            bounds = marks.searchsorted([(start, end - 1) for start, end, _ in spans])
            for first, last in bounds.reshape(-1, 2):
                kept[first:last] = False
            if self.open_row is not None:
                kept[marks.searchsorted(self.open_row[0]) :] = False
            marks, kinds = marks[kept], kinds[kept]
        if len(self.quotes):
            quote = kinds == self.quote
            inside = (np.cumsum(quote, dtype=np.uint8) & 1).astype(np.bool_)  # parity survives 255
            outside = ~(quote | inside)
            marks, kinds = marks[outside], kinds[outside]
        return marks, kinds

    def _spoiled(self) -> list[tuple[int, int, str]]:
        """The spoiled rows: where each begins, where the next row begins, and why.

        A spoiled row whose last line does not end in this block becomes the open row.
        """
        spans: list[tuple[int, int, str]] = []
        at = 0
        while (found := self._first_spoiled(at)) is not None:
            start, trouble, code = found
            line_end = int(self.line_ends.searchsorted(trouble))
            if line_end == len(self.line_ends):
                self.open_row = (start, code)
                break
            at = int(self.line_ends[line_end]) + 1
            spans.append((start, at, code))
        return spans

    def _first_spoiled(self, at: int) -> tuple[int, int, str] | None:
        """The first spoiled row from the row at `at` on.

        Returns:
            Where it begins, a place in its last line, and why; None where all rows are well.
        """
        phase = self._phase(int(self.quotes.searchsorted(at)) & 1)
        number = int(phase.trouble.searchsorted(at))
        troubled = number < len(phase.trouble)
        end = int(phase.trouble[number]) if troubled else len(self.data)
        first, last = phase.line_ends.searchsorted((at, end))
        if end - at > ROW_BYTES_MAX:
            ends = phase.line_ends[first:last]
            starts = np.append(at, ends[:-1] + 1)[: len(ends)]
            long = np.flatnonzero(ends - starts > ROW_BYTES_MAX)
            if len(long):
                return int(starts[long[0]]), int(ends[long[0]]), "row_too_long"
        if not troubled:
            return None
        start = int(phase.line_ends[last - 1]) + 1 if last > first else at
        code = "row_too_long" if end - start > ROW_BYTES_MAX else phase.codes[number]
        return start, end, code

    def _phase(self, number: int) -> _Phase:
        if number not in self.phases:
            self.phases[number] = self._read(number)
        return self.phases[number]

    def _read(self, phase: int) -> _Phase:
        if not len(self.quotes):
            return _Phase(self.line_ends, self.quotes, [])
        inside = self.quotes.searchsorted(self.line_ends) & 1
        opening = (np.arange(len(self.quotes)) & 1) == phase
        misplaced = self.quotes[opening & ~self._may_open()]
        unclosed, codes = self._unclosed(opening, phase)
        trouble = np.concatenate((misplaced, unclosed))
        codes = ["quote_out_of_place"] * len(misplaced) + codes
        order = np.argsort(trouble, kind="stable")
        return _Phase(
            self.line_ends[inside == phase], trouble[order], [codes[index] for index in order]
        )

    def _may_open(self) -> Flags:
        """Whether each quote follows what an opening or doubled quote may follow."""
        found: Flags = (self.quotes == 0) | self._separates(self.bytes[self.quotes - 1])
        if len(self.boms):
            # In text that was put together from files, a mark stands before a row's first quote.
            before = self.quotes - len(BOM)
            begins = (before == 0) | np.isin(self.bytes[before - 1], (_LF, _CR))
            found |= begins & np.isin(before, self.boms)
        return found

    def _separates(self, beside: Bytes) -> Flags:
        """Whether these bytes may stand beside a quote, outside of the field or doubling it."""
        found: Flags = (beside == self.quote) | (beside == self.delimiter)
        found |= (beside == _LF) | (beside == _CR)
        return found

    def _unclosed(self, opening: Flags, phase: int) -> tuple[Rows, list[str]]:
        """The quotes whose field does not end, or not where a field may; and why."""
        doubled = np.diff(self.quotes) == 1
        opens = self.quotes[opening & ~np.concatenate(([False], doubled))]
        closes = self.quotes[~opening & ~np.concatenate((doubled, [False]))]
        if phase and len(closes):  # the first one closes a field that began before
            closes = closes[1:]
        # A row that is still open at the end of a block that is not the last goes on in the next.
        end = _NEVER if self.final else len(self.data)
        closed = np.append(closes, end)[: len(opens)]
        # What follows the last byte is not known yet; the row of such a quote is not whole either.
        followed = self._separates(self.bytes[np.minimum(closed, len(self.data) - 2) + 1])
        bad = (closed == _NEVER) | ~(followed | (closed >= len(self.data) - 1))
        opens, closed = opens[bad], closed[bad]
        lines = self.line_ends.searchsorted(closed) - self.line_ends.searchsorted(opens)
        near = (lines == 0) & (closed != _NEVER)
        return opens, np.where(near, "quote_out_of_place", "unclosed_quote").tolist()


def _places(text: bytes, wanted: bytes) -> Rows:
    """Where each `wanted` begins, ascending."""
    return np.array([each.start() for each in re.finditer(re.escape(wanted), text)], np.int64)
