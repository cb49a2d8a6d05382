"""What framing finds: rows as places in a piece of text, and the characters that separate them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backfill.rows import Position, Rows

Bytes = npt.NDArray[np.uint8]
Width = Callable[[bytes], int]
"""How many bytes of the file a piece of the text, in whole characters, stands for."""

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}".encode()

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
