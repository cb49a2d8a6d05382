"""Where the JSON values of a text begin and end: one a line, in an array, or one after another.

Nothing is read here but brackets, commas and strings: whether a value is JSON is asked row by row.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from backfill.rows import Rows
from backfill.sources.framing import BOM, Width
from backfill.sources.interface import OPEN_BYTES_MAX, ROW_BYTES_MAX, escapes

JsonLayout = Literal["lines", "array", "values"]

BLANK = b" \t\r\n"
_BACKSLASH, _QUOTE, _COMMA, _LF = b'\\",\n'
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"{[")] = 1
_STEPS[list(b"}]")] = -1


@dataclass(frozen=True, slots=True)
class Item:
    """One value, or one line that may hold none.

    Args:
        text: Its bytes; of a too long one only so many as show that it is.
        width: How many bytes of the file it takes, with what stands before and behind it.
        lead: How many line ends stand before it.
        ends: How many line ends its width covers.
    """

    text: bytes
    width: int
    lead: int
    ends: int


class BrokenJsonError(ValueError):
    """The text cannot be taken apart from here on; its message says why."""


def layout_of(head: bytes) -> JsonLayout:
    """How the values of a text stand that begins with `head`.

    One a line where each of the first lines begins and ends an object; else as brackets tell.
    """
    begun = head.lstrip(BLANK)
    if begun.startswith(b"["):
        return "array"
    lines = [line.strip(BLANK) for line in head.split(b"\n")]
    if len(lines) > 1 and not head.endswith(b"\n"):
        del lines[-1]  # it may be cut
    each = (line[:1] == b"{" and line[-1:] == b"}" and b"}{" not in line for line in lines if line)
    return "lines" if all(each) else "values"


def whole_lines(blocks: Iterable[bytes], width: Width) -> Iterator[bytes | Item]:
    """The lines of a text: many at once, each with its line end; one that is too long by itself.

    Args:
        blocks: The text from the beginning of a line on.
        width: How many bytes of the file a piece of the text stands for.
    """
    ready = rest = head = b""
    passed = 0
    for block in blocks:
        text = rest + block
        if head:
            # A line that is too long is not held: its beginning is, and how far it goes.
            stop = text.find(b"\n") + 1
            passed += width(text[: stop or None])
            if not stop:
                continue
            yield Item(head, passed, 0, 1)
            head, text = b"", text[stop:]
        stop = text.rfind(b"\n") + 1
        rest = text[stop:]
        if ready and (stop or len(rest) > ROW_BYTES_MAX):
            yield ready
            ready = b""
        if stop:
            ready = text[:stop]
        if len(rest) > ROW_BYTES_MAX:
            if ready:
                yield ready
            head, passed, rest, ready = rest[: ROW_BYTES_MAX + 1], width(rest), b"", b""
    if head:
        yield Item(head, passed, 0, 0)
    elif ready or rest:
        yield ready + rest


def values(blocks: Iterable[bytes], width: Width, *, in_array: bool) -> Iterator[Item]:
    """The values of an array, or those that follow one another.

    Args:
        blocks: The text from the beginning of a value on, or from the comma before it.
        width: How many bytes of the file a piece of the text stands for.
        in_array: Whether it is the inside of an array.

    Raises:
        BrokenJsonError: The array or a value does not end, something follows the array, or a
            bracket closes what was not opened.
    """
    rest = b""
    for block in blocks:
        rest += block
        ends, closing = _ends(rest, in_array=in_array)
        begin = 0
        for end in ends.tolist():
            yield _item(rest[begin:end], width)
            begin = end
        # An array that ended early, or two files put together: rows would be lost silently.
        if closing is not None:
            if rest[closing + 1 :].strip(BLANK) or any(each.strip(BLANK) for each in blocks):
                raise BrokenJsonError("something follows the end of the array")
            return
        rest = rest[begin:]
        # A value that never ends must not fill memory with the rest of the file.
        if len(rest) > OPEN_BYTES_MAX:
            raise BrokenJsonError(f"a value does not end within {OPEN_BYTES_MAX >> 20} MiB")
    if in_array or rest.strip(BLANK):
        raise BrokenJsonError("the array does not end" if in_array else "a value does not end")


def _item(piece: bytes, width: Width) -> Item:
    """A value with the separators around it."""
    begun = piece.lstrip(BLANK + b",")
    text = begun.rstrip(BLANK).removeprefix(BOM)
    lead = piece[: len(piece) - len(begun)].count(b"\n")
    return Item(text[: ROW_BYTES_MAX + 1], width(piece), lead, piece.count(b"\n"))


def _ends(text: bytes, *, in_array: bool) -> tuple[Rows, int | None]:
    """Where values end in a text that begins outside of one.

    Args:
        text: The beginning of the text.
        in_array: Whether commas separate the values, and a bracket ends them all.

    Returns:
        The places behind each whole value, ascending, and where the array ends, if it does.

    Raises:
        BrokenJsonError: A bracket closes what was not opened.
    """
    shown = np.frombuffer(text, np.uint8)
    steps = _STEPS[shown]
    marks = np.flatnonzero((steps != 0) | (shown == _QUOTE) | (shown == _COMMA))
    if b"\\" in text:
        # A quote behind an escape ends no string. Escapes stand in strings only.
        marks = np.setdiff1d(marks, escapes(shown, _BACKSLASH) + 1, assume_unique=True)
    kinds = shown[marks]
    outside: npt.NDArray[np.bool_] = (np.cumsum(kinds == _QUOTE) & 1) == 0
    outside &= kinds != _QUOTE
    marks, kinds = marks[outside], kinds[outside]
    moves = steps[marks]
    depth = np.cumsum(moves, dtype=np.int64)
    over = np.flatnonzero(depth < 0)
    if not in_array:
        if len(over):
            raise BrokenJsonError("a bracket closes what was not opened")
        return marks[(depth == 0) & (moves < 0)] + 1, None
    if not len(over):
        return _commas(text, marks[(depth == 0) & (kinds == _COMMA)]), None
    last = int(marks[over[0]])
    ends = _commas(text, marks[: over[0]][(depth[: over[0]] == 0) & (kinds[: over[0]] == _COMMA)])
    # Behind the last comma one more value may stand before the bracket.
    begin = int(ends[-1]) if len(ends) else 0
    if text[begin:last].strip(BLANK + b","):
        ends = np.append(ends, last)
    return ends, last


def _commas(text: bytes, commas: Rows) -> Rows:
    """The commas that end a value: one that begins the text was left by the value before."""
    return commas[1:] if len(commas) and not text[: commas[0]].strip(BLANK) else commas
