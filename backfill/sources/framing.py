"""Where the rows of delimited text begin and end, found for a whole block at once.

The grammar, byte by byte: a row ends at LF, CR LF or CR outside quotes; an empty line is no row; a
field is quoted if it begins with a quote, and then ends at the first quote that is not doubled,
which a delimiter or line end follows. What breaks these rules spoils a row:

- a quote elsewhere, or text after the quote that ends a field (`quote_out_of_place`), and a quote
  that is not closed within `QUOTED_BYTES_MAX`, or in a later line and not at the end of a field
  (`unclosed_quote`): the row ends with the line where the quote stands that began the trouble;
- no end within `ROW_BYTES_MAX` (`row_too_long`): it ends with the line that reaches so far.

Whether a place is inside quotes follows from the number of quotes before it, odd or even, as long
as no row is spoiled. So a block is read in two ways, or *phases*: as if its quotes began with an
opening or with a closing one; after a spoiled row the phase is that of the quotes seen so far.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backfill.rows import Position, Rows
from backfill.sources.bad_rows import (
    QUOTE_OUT_OF_PLACE,
    QUOTED_BYTES_MAX,
    RAW_BYTES_MAX,
    ROW_BYTES_MAX,
    ROW_TOO_LONG,
    UNCLOSED_QUOTE,
)

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

_LF, _CR, _QUOTE = b'\n\r"'
_NEVER = np.iinfo(np.int64).max
_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")
_FILE_END = re.compile(rb"\r?\Z")


@dataclass(frozen=True, slots=True)
class Frame:
    """Whole rows that follow each other; blank lines between them belong to no row.

    Args:
        data: The text; a last line without a line end got one.
        starts: Where each row begins in `data`.
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

    def position(self, row: int, begin: Position, width: Callable[[bytes], int]) -> Position:
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


def frames(
    blocks: Iterable[bytes], delimiter: bytes, width: Callable[[bytes], int] = len
) -> Iterator[Frame]:
    """Cut text into frames; the rows do not depend on how it is cut into blocks.

    Args:
        blocks: The text, from the beginning of a row to the end of the file, none of them empty.
        delimiter: One ASCII byte.
        width: How many bytes of the file a piece of the text stands for.
    """
    source = iter(blocks)
    rest = b""
    final = False
    while not final:
        block = next(source, b"")
        final = not block
        scan = _Scan(rest + block, delimiter[0], final=final)
        frame, size = scan.frame(width)
        yield frame
        rest = scan.data[size:]
        if scan.open_row is not None:
            line_count = len(scan.line_ends) - frame.line_count
            frame, rest = _run_on(rest, scan.open_row[1], line_count, source, width)
            yield frame


@dataclass(frozen=True, slots=True)
class _Reading:
    """A block as it reads in one phase: its line ends outside quotes, and what spoils a row."""

    line_ends: Rows
    trouble: Rows
    codes: list[str]


class _Scan:
    """One look at a block that begins with a row."""

    def __init__(self, data: bytes, delimiter: int, *, final: bool) -> None:
        self.length = len(data)
        self.data = data + b"\n" if final and data[-1:] not in {b"\n", b"\r"} else data
        self.final = final
        self.delimiter = delimiter
        self.bytes: Bytes = np.frombuffer(self.data, np.uint8)
        self.marks: Rows = np.flatnonzero(self._marked())
        self.kinds: Bytes = self.bytes[self.marks]
        self.quotes: Rows = self.marks[self.kinds == _QUOTE]
        self.line_ends: Rows = self.marks[(self.kinds == _LF) | (self.kinds == _CR)]
        self.readings: dict[int, _Reading] = {}
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
        if b'"' in self.data:
            found |= self.bytes == _QUOTE
        return found

    def frame(self, width: Callable[[bytes], int]) -> tuple[Frame, int]:
        """The whole rows, and how many bytes of the block they take."""
        spans = self._spoiled()
        marks, kinds = self._outside_quotes(spans)
        last = np.flatnonzero(kinds != self.delimiter)
        ends = marks[last]
        starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
        crlf = (self.bytes[ends] == _LF) & (self.bytes[ends - 1] == _CR) & (ends > starts)
        stops = ends - crlf
        rows = stops > starts
        starts = starts[rows]
        size = min(int(ends[-1]) + 1, self.length) if len(ends) else 0
        spoiled = starts.searchsorted([span[0] for span in spans])
        frame = Frame(
            data=self.data,
            starts=starts,
            stops=stops[rows],
            nexts=ends[rows] + 1,
            lines=self.line_ends.searchsorted(starts),
            fields=np.diff(last, prepend=-1)[rows],
            spoiled={int(row): span[2] for row, span in zip(spoiled, spans, strict=True)},
            width=width(self.data[:size]),
            line_count=int(self.line_ends.searchsorted(size)),
        )
        return frame, size

    def _outside_quotes(self, spans: list[tuple[int, int, str]]) -> tuple[Rows, Bytes]:
        """The marks that part fields and rows: of a spoiled row only its end."""
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
            quote = kinds == _QUOTE
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
        """The first spoiled row from the row at `at` on: its start, where the trouble is, why."""
        reading = self._reading(int(self.quotes.searchsorted(at)) & 1)
        number = int(reading.trouble.searchsorted(at))
        troubled = number < len(reading.trouble)
        end = int(reading.trouble[number]) if troubled else len(self.data)
        first, last = reading.line_ends.searchsorted((at, end))
        if end - at > ROW_BYTES_MAX:
            # What opened within the last bytes may still come to be trouble, and comes first then.
            known = end if troubled else self.length - 1 - QUOTED_BYTES_MAX
            ends = np.append(reading.line_ends[first:last], known)
            starts = np.append(at, ends[:-1] + 1)
            long = np.flatnonzero(ends - starts > ROW_BYTES_MAX)
            if len(long):
                start = int(starts[long[0]])
                return start, start + ROW_BYTES_MAX, ROW_TOO_LONG
        if not troubled:
            return None
        start = int(reading.line_ends[last - 1]) + 1 if last > first else at
        return start, end, reading.codes[number]

    def _reading(self, phase: int) -> _Reading:
        if phase not in self.readings:
            self.readings[phase] = self._read(phase)
        return self.readings[phase]

    def _read(self, phase: int) -> _Reading:
        if not len(self.quotes):
            return _Reading(self.line_ends, self.quotes, [])
        inside = self.quotes.searchsorted(self.line_ends) & 1
        opening = (np.arange(len(self.quotes)) & 1) == phase
        misplaced = self.quotes[opening & ~self._may_open()]
        unclosed, codes = self._unclosed(opening, phase)
        trouble = np.concatenate((misplaced, unclosed))
        codes = [QUOTE_OUT_OF_PLACE] * len(misplaced) + codes
        order = np.argsort(trouble, kind="stable")
        return _Reading(
            self.line_ends[inside == phase], trouble[order], [codes[index] for index in order]
        )

    def _may_open(self) -> Flags:
        """Whether each quote follows what an opening or doubled quote may follow."""
        first: Flags = self.quotes == 0
        return first | self._parts(self.bytes[self.quotes - 1])

    def _parts(self, beside: Bytes) -> Flags:
        """Whether these bytes may stand beside a quote, outside of the field or doubling it."""
        found: Flags = (beside == _QUOTE) | (beside == self.delimiter)
        found |= (beside == _LF) | (beside == _CR)
        return found

    def _unclosed(self, opening: Flags, phase: int) -> tuple[Rows, list[str]]:
        """The quotes whose field does not end in time, or not where a field may; and why."""
        doubled = np.diff(self.quotes) == 1
        opens = self.quotes[opening & ~np.concatenate(([False], doubled))]
        closes = self.quotes[~opening & ~np.concatenate((doubled, [False]))]
        if phase and len(closes):  # the first one closes a field that began before
            closes = closes[1:]
        end = _NEVER if self.final else len(self.data)
        closed = np.append(closes, end)[: len(opens)]
        far = closed - opens > QUOTED_BYTES_MAX
        # What follows the last byte is not known yet; the row of such a quote is not whole either.
        followed = self._parts(self.bytes[np.minimum(closed, len(self.data) - 2) + 1])
        bad = far | ~(followed | (closed >= len(self.data) - 1))
        opens, closed = opens[bad], closed[bad]
        lines = self.line_ends.searchsorted(closed) - self.line_ends.searchsorted(opens)
        near = (lines == 0) & ~far[bad]
        return opens, np.where(near, QUOTE_OUT_OF_PLACE, UNCLOSED_QUOTE).tolist()


def _run_on(
    head: bytes, code: str, line_count: int, blocks: Iterator[bytes], width: Callable[[bytes], int]
) -> tuple[Frame, bytes]:
    """Read a spoiled row to the end of its line without holding it: its frame, and what follows.

    Args:
        head: What was read of the row.
        code: Why it is spoiled.
        line_count: The line ends in `head`, none of which ends the row.
        blocks: What follows; taken from as far as needed.
        width: As for `frames`.
    """
    piece = b"\r" if head.endswith(b"\r") else b""  # an LF may follow
    head = head.removesuffix(b"\r")
    raw, covered = head[: RAW_BYTES_MAX + 1], width(head)
    while True:
        block = next(blocks, b"")
        piece += block
        found = _LINE_END.search(piece) or (None if block else _FILE_END.search(piece))
        cut = found.start() if found else len(piece) - piece.endswith(b"\r")
        raw += piece[:cut][: RAW_BYTES_MAX + 1 - len(raw)]
        if found:
            break
        covered += width(piece[:cut])
        piece = piece[cut:]
    covered += width(piece[: found.end()])
    lines = line_count + bool(found.group())  # the file may end without one
    return _alone(raw, code, covered, lines), piece[found.end() :]


def _alone(raw: bytes, code: str, width: int, line_count: int) -> Frame:
    first = np.zeros(1, np.int64)
    length = np.array([len(raw)])
    return Frame(raw, first, length, length, first, first, {0: code}, width, line_count)
