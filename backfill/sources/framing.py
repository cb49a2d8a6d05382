"""Where the rows of delimited text begin and end, found for a whole block at once.

The grammar, byte by byte: a row ends at LF, CR LF or CR outside quotes; an empty line is no row; a
field is quoted if it begins with a quote, and then ends at the first quote that is not doubled,
which a delimiter or line end follows. A byte-order mark where a row would begin is part of no row.
What breaks these rules spoils a row:

- a quote elsewhere, or text after the quote that ends a field (`quote_out_of_place`), and a quote
  that is not closed within `OPEN_BYTES_MAX`, or in a later line and not at the end of a field
  (`unclosed_quote`): the row ends with the line where the quote stands that began the trouble;
- more than `ROW_BYTES_MAX` (`row_too_long`): the row is taken whole, to the line end outside its
  quotes, so that no row is ever made of the text inside a cell.

Whether a place is inside quotes follows from the number of quotes before it, odd or even, as long
as no row is spoiled. So a block is read in two ways, or *phases*: as if its quotes began with an
opening or with a closing one; after a spoiled row the phase is that of the quotes seen so far.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backfill.rows import Position, Rows
from backfill.sources.interface import (
    BLOCK_BYTES,
    OPEN_BYTES_MAX,
    RAW_BYTES_MAX,
    ROW_BYTES_MAX,
    Bytes,
    Dialect,
    without_escapes,
)

Flags = npt.NDArray[np.bool_]
Width = Callable[[bytes], int]
"""How many bytes of the file a piece of the text, in whole characters, stands for."""
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}".encode()
_LF, _CR = b"\n\r"
_NO_BYTE = 256  # where nothing is quoted, no byte is a quote
_NEVER = np.iinfo(np.int64).max
_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")
_FILE_END = re.compile(rb"\r?\Z")


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
        # By places, not by flags: `take` needs two thirds of the time where few are wanted.
        self.quotes: Rows = self.marks.take(np.flatnonzero(self.kinds == self.quote))
        is_end = (self.kinds == _LF) | (self.kinds == _CR)
        self.line_ends: Rows = self.marks.take(np.flatnonzero(is_end))
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
            # Each quote turns inside into outside, and back; of a doubled one that is nothing.
            inside = np.logical_xor.accumulate(quote)
            outside = np.flatnonzero(~(quote | inside))
            marks, kinds = marks.take(outside), kinds.take(outside)
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
        opens, closes = self.quotes[phase::2], self.quotes[1 - phase :: 2]
        misplaced = opens[~self._may_open(opens)]
        unclosed, codes = self._unclosed(opens, closes, phase)
        trouble = np.concatenate((misplaced, unclosed))
        codes = ["quote_out_of_place"] * len(misplaced) + codes
        order = np.argsort(trouble, kind="stable")
        return _Phase(
            self.line_ends[inside == phase], trouble[order], [codes[index] for index in order]
        )

    def _may_open(self, quotes: Rows) -> Flags:
        """Whether each quote follows what an opening or doubled quote may follow."""
        found: Flags = (quotes == 0) | self._separates(self.bytes[quotes - 1])
        if len(self.boms):
            # In text that was put together from files, a mark stands before a row's first quote.
            before = quotes - len(BOM)
            begins = (before == 0) | np.isin(self.bytes[before - 1], (_LF, _CR))
            found |= begins & np.isin(before, self.boms)
        return found

    def _separates(self, beside: Bytes) -> Flags:
        """Whether these bytes may stand beside a quote, outside of the field or doubling it."""
        found: Flags = (beside == self.quote) | (beside == self.delimiter)
        found |= (beside == _LF) | (beside == _CR)
        return found

    def _unclosed(self, opens: Rows, closes: Rows, phase: int) -> tuple[Rows, list[str]]:
        """The quotes whose field does not end, or not where a field may; and why.

        Args:
            opens: Every other quote, int64 (n,): those that open a field, as this phase reads them.
            closes: The others, int64; one fewer, one more or as many.
            phase: 1: the first one closes a field that began before.
        """
        # One that closes right before one that opens: both are one character of a field.
        after = opens[1 - phase :]
        before = closes[: len(after)]
        doubled = after - before == 1
        if doubled.any():
            opens = np.concatenate((opens[: 1 - phase], after[~doubled]))
            closes = np.concatenate((before[~doubled], closes[len(after) :]))
        closes = closes[phase:]
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


def frames(
    blocks: Iterable[bytes], dialect: Dialect, width: Width = len, *, waits: bool = False
) -> Iterator[Frame]:
    """Cut text into frames; the rows do not depend on how it is cut into blocks.

    Args:
        blocks: The text, from the beginning of a row to the end of the file, none of them empty.
        dialect: The characters with a meaning.
        width: How many bytes of the file a piece of the text stands for.
        waits: Whether more text is to come some day: a row that is not whole is not given then.
    """
    source = _Blocks(blocks)
    rest, final = b"", False
    while not final:
        block = source.take()
        final = not block
        text, blanks = dialect.tightened(rest + block, final=final)
        scan = Scan(text, dialect, final=final and not waits)
        frame, size = scan.frame(width)
        yield frame
        rest = scan.data[size:] + blanks
        if scan.open_row is not None:
            line_count = len(scan.line_ends) - frame.line_count
            frame, rest = _run_on(rest, scan.open_row[1], line_count, source, width)
            yield frame
        elif len(rest.removesuffix(b"\r")) > ROW_BYTES_MAX and not (final and waits):
            yield _LongRow(rest, source, dialect).frame(width)
            rest = b""


class _Blocks:
    """The blocks of a text, some of which are given back to be read again."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._returned: deque[bytes] = deque()

    def take(self) -> bytes:
        """The next block; empty at the end."""
        return self._returned.popleft() if self._returned else next(self._blocks, b"")

    def give_back(self, text: bytes) -> None:
        """Have this read again, before all else."""
        pieces = [text[at : at + BLOCK_BYTES] for at in range(0, len(text), BLOCK_BYTES)]
        self._returned.extendleft(reversed(pieces))


def _run_on(
    head: bytes, code: str, line_count: int, blocks: _Blocks, width: Width
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
        block = blocks.take()
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
    return lone_frame(raw, code, covered, lines), piece[found.end() :]


class _LongRow:
    """A row of more than `ROW_BYTES_MAX`, read to its end; no more than its open cell is held.

    Args:
        head: What was read of the row; nothing in it breaks the grammar.
        blocks: What follows; what turns out to be no part of the row is given back.
        dialect: The characters with a meaning.
    """

    def __init__(self, head: bytes, blocks: _Blocks, dialect: Dialect) -> None:
        self.text = head
        self.blocks = blocks
        self.quote = dialect.quote
        self.escape = dialect.escape
        self.beside_quote = {dialect.delimiter, b"\n", b"\r", b""}
        escaped = re.escape(dialect.escape) + rb"(?s:.)|" if dialect.escape else b""
        quote = b"|" + re.escape(dialect.quote) if dialect.quote else b""
        self.outside = re.compile(escaped + rb"\r\n|\n|\r(?=[^\n])" + quote)
        self.quotes = re.compile(escaped + quote[1:])
        self.raw = self.last = b""
        self.length = self.line_count = self.covered = 0

    def frame(self, width: Width) -> Frame:
        """The row by itself, as spoiled."""
        at = 0
        while True:
            found = self.outside.search(self.text, at)
            if found is None:
                kept = self.text.endswith((b"\r", self.escape or b"\r"))
                self._pass(len(self.text) - kept, width)
                at = 0
                if not self._read_on():
                    return self._end(_FILE_END.search(self.text), "row_too_long", width)
            elif found[0] == self.quote:
                opening = found.start()
                closed, code = self._close(opening)
                if code:
                    code = "row_too_long" if self.length + opening > ROW_BYTES_MAX else code
                    return self._end(self._line_end(opening, width), code, width)
                at = closed
            elif self.escape and found[0].startswith(self.escape):
                at = found.end()
            else:
                return self._end(found, "row_too_long", width)

    def _close(self, opening: int) -> tuple[int, str]:
        """Where the cell that a quote opens has ended, or why it does not end."""
        before = self.text[opening - 1 : opening] if opening else self.last
        begins = not self.length and self.text[:opening] == BOM
        if before not in self.beside_quote and not begins:
            return 0, "quote_out_of_place"
        at = opening + 1
        while True:
            found = self.quotes.search(self.text, at)
            end = found.end() if found else len(self.text)
            if end - opening > OPEN_BYTES_MAX:
                return 0, "unclosed_quote"
            if found is None or end == len(self.text):
                at = found.start() if found else end - self.text.endswith(self.escape or BOM)
                if self._read_on():
                    continue
            if found is None:
                return 0, "unclosed_quote"
            after = self.text[end : end + 1]
            if found[0] != self.quote:
                at = end
            elif after == self.quote:
                at = end + 1
            elif after in self.beside_quote:
                return end, ""
            else:
                spilled = _LINE_END.search(self.text, opening, end)
                return 0, "unclosed_quote" if spilled else "quote_out_of_place"

    def _line_end(self, at: int, width: Width) -> re.Match[bytes] | None:
        """The end of the line that `at` stands in; what was searched is let go of."""
        reads = True
        while (found := _LINE_END.search(self.text, at)) is None and reads:
            self._pass(len(self.text) - self.text.endswith(b"\r"), width)
            at, reads = 0, self._read_on()
        return found or _FILE_END.search(self.text)

    def _read_on(self) -> bool:
        self.text += (block := self.blocks.take())
        return bool(block)

    def _pass(self, end: int, width: Width) -> None:
        """Let go of the text up to `end`, which is known to belong to the row."""
        passed, self.text = self.text[:end], self.text[end:]
        self.raw += passed[: RAW_BYTES_MAX + 1 - len(self.raw)]
        self.last = passed[-1:] or self.last
        self.length += len(passed)
        self.line_count += len(_LINE_END.findall(passed + b"x"))
        self.covered += width(passed)

    def _end(self, found: re.Match[bytes] | None, code: str, width: Width) -> Frame:
        """The row that ends where a line end was found; what follows is given back."""
        stop, end = found.span() if found else (len(self.text), len(self.text))
        line_end = self.text[stop:end]
        self._pass(stop, width)
        self.blocks.give_back(self.text[len(line_end) :])
        lines = self.line_count + bool(line_end)
        return lone_frame(self.raw, code, self.covered + width(line_end), lines)
