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
from collections.abc import Iterable, Iterator

from backfill.sources.frame import BOM, Dialect, Frame, Scan, Width, lone_frame
from backfill.sources.interface import BLOCK_BYTES, OPEN_BYTES_MAX, RAW_BYTES_MAX, ROW_BYTES_MAX

_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")
_FILE_END = re.compile(rb"\r?\Z")


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
    rest = b""
    final = False
    while not final:
        block = source.take()
        final = not block
        scan = Scan(rest + block, dialect, final=final and not waits)
        frame, size = scan.frame(width)
        yield frame
        rest = scan.data[size:]
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
                self._pass(
                    len(self.text) - self.text.endswith((b"\r", self.escape or b"\r")), width
                )
                at = 0
                if not self._read_on():
                    return self._end(_FILE_END.search(self.text), "row_too_long", width)
            elif found[0] == self.quote:
                opening = found.start()
                closed, code = self._close(opening)
                if code:
                    code = "row_too_long" if self.length + opening > ROW_BYTES_MAX else code
                    return self._end(self._line_end(opening), code, width)
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

    def _line_end(self, at: int) -> re.Match[bytes] | None:
        """The end of the line that the place `at` stands in."""
        while (found := _LINE_END.search(self.text, at)) is None and self._read_on():
            pass
        return found or _FILE_END.search(self.text)

    def _read_on(self) -> bool:
        block = self.blocks.take()
        self.text += block
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
