"""Rows that run beyond what was read so far: read to their end without holding them."""

import re
from collections import deque
from collections.abc import Iterable

from backfill.sources.frame import BOM, Dialect, Frame, Width, lone_frame
from backfill.sources.interface import BLOCK_BYTES, OPEN_BYTES_MAX, RAW_BYTES_MAX, ROW_BYTES_MAX

_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")
_FILE_END = re.compile(rb"\r?\Z")


class Blocks:
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


def run_on(
    head: bytes, code: str, line_count: int, blocks: Blocks, width: Width
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


class LongRow:
    """A row of more than `ROW_BYTES_MAX`, read to its end; no more than its open cell is held.

    Args:
        head: What was read of the row; nothing in it breaks the grammar.
        blocks: What follows; what turns out to be no part of the row is given back.
        dialect: The characters with a meaning.
    """

    def __init__(self, head: bytes, blocks: Blocks, dialect: Dialect) -> None:
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
