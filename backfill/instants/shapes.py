"""Text columns, taken apart by shape.

The shape of a value is its text with every digit as 0 and every letter in lower case:
`2024-01-31T10:00Z` has the shape `0000-00-00t00:00z`. A column has few of them, so a format is
matched against each shape once, in Python, and the digits of all its values are read at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.instants.local_times import Bools, Cells, Column, Format, Ints, LocalTimes


@dataclass(frozen=True, slots=True)
class Group:
    """The values of one shape.

    Args:
        shape: m characters, one a byte (Latin-1): positions in it are columns of `cells`.
        rows: int64 of length n: where the values stand in the column, ascending, from 0.
        cells: Their bytes, as an (n, m) array, in the same order.
    """

    shape: str
    rows: Ints
    cells: Cells
    _said: dict[Format, LocalTimes | None] = field(default_factory=dict, repr=False)

    def read(self, form: Format) -> LocalTimes | None:
        """What the n values say in a format; None if it takes no value of this shape.

        It is read once: the judge asks for a column, and the proof of its format asks too.
        """
        if form not in self._said:
            self._said[form] = form.read(self.cells, self.shape)
        return self._said[form]


class WrittenValues:
    """A column of n written timestamps, taken apart once for all who read it.

    Args:
        column: Text, numbers, timestamps or dates.
        zones: The zone of each row, as n texts, where a column beside it has them.
    """

    def __init__(self, column: Column, zones: pa.StringArray | None = None) -> None:
        self.column = column
        self.zones = zones

    @cached_property
    def text(self) -> pa.StringArray:
        """The values as trimmed text, as they are written (length of the column)."""
        return as_text(self.column)

    @cached_property
    def groups(self) -> list[Group]:
        """The values that are not null, by shape."""
        return list(groups(folded(self.text)))


_SPACES = "[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]"
"""Browsers write a narrow one before AM and PM (CLDR 42)."""
_INVISIBLE = "[\u200e\u200f\ufeff]"
"""Marks of direction, which old browsers put between the parts of a date; a BOM."""


def folded(text: pa.StringArray) -> pa.StringArray:
    """Text in one spelling, for shapes: every space a plain one, letters beyond ASCII lower case.

    Column by column, and only where it holds more than ASCII; the length stays.
    """
    if pc.all(pc.string_is_ascii(text)).as_py() is not False:
        return text
    # Beyond ASCII one letter may be written in two ways: shapes are compared byte by byte.
    lowered = pc.utf8_lower(pc.utf8_normalize(text, "NFC"))
    plain = pc.replace_substring_regex(lowered, _SPACES, " ")
    return strings(pc.ascii_trim_whitespace(pc.replace_substring_regex(plain, _INVISIBLE, "")))


_CLASSES = np.arange(256, dtype=np.uint8)
_CLASSES[ord("0") : ord("9") + 1] = ord("0")
_CLASSES[ord("A") : ord("Z") + 1] += ord("a") - ord("A")
_SHAPE_OF_BYTE = _CLASSES.tobytes()


def as_text(column: Column) -> pa.StringArray:
    """Numbers and text as trimmed text; nulls stay null, other types become empty text.

    A float is written with the fewest digits that give the same float, without an exponent, so
    that a number reads the same from a typed file and from a text file.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_text(column.cast(kind.value_type))
    if pa.types.is_floating(kind):
        return _plain(column)
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return strings(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return strings(pc.ascii_trim_whitespace(strings(column)))
    return pa.array(np.full(len(column), ""), pa.string(), mask=is_null(column))


def strings(column: Column) -> pa.StringArray:
    """The column cast to strings."""
    return cast("pa.StringArray", column.cast(pa.string()))


def is_null(column: Column) -> Bools:
    """Which values are null."""
    if not column.null_count:
        return np.zeros(len(column), np.bool_)
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)


def groups(text: pa.StringArray) -> Iterator[Group]:
    """The values that are not null, by shape; a value's shape is compared exactly, not hashed."""
    rows = np.arange(len(text), dtype=np.int64)
    if text.null_count:
        rows = np.flatnonzero(~is_null(text))
        text = strings(text.drop_null())
    if not len(text):
        return
    alone = _all_alike(text, rows)
    if alone is not None:
        yield alone
        return
    names, codes = _shapes(text)
    if len(names) > 1:
        order = np.argsort(codes, kind="stable")
        rows, text = rows[order], strings(text.take(order))
        ends = np.cumsum(np.bincount(codes))
    else:
        ends = np.array([len(text)])
    content, at = _bytes(text)
    start = 0
    for name, end in zip(names, ends.tolist(), strict=True):
        cells = content[at : at + len(name) * (end - start)].reshape(end - start, len(name))
        yield Group(name, rows[start:end], cells)
        start, at = end, at + cells.size


def _all_alike(text: pa.StringArray, rows: Ints) -> Group | None:
    """The only group where all values have one shape, as in most files; None where not."""
    content, at = _bytes(text)
    length = len(text[0].as_py().encode())
    if not (pc.binary_length(text).to_numpy() == length).all():
        return None
    cells = content[at : at + length * len(text)].reshape(len(text), length)
    shapes = np.frombuffer(cells.tobytes().translate(_SHAPE_OF_BYTE), np.uint8).reshape(cells.shape)
    if not (shapes == shapes[0]).all():
        return None
    return Group(shapes[0].tobytes().decode("latin-1"), rows, cells)


def _shapes(text: pa.StringArray) -> tuple[list[str], Ints]:
    """The distinct shapes, and which of them each value has."""
    _, offsets, content = text.buffers()
    translated = content.to_pybytes().translate(_SHAPE_OF_BYTE) if content else b""
    shapes = pa.Array.from_buffers(
        pa.binary(), len(text), [None, offsets, pa.py_buffer(translated)], offset=text.offset
    ).dictionary_encode()
    names = [(name or b"").decode("latin-1") for name in shapes.dictionary.to_pylist()]
    return names, shapes.indices.to_numpy()


def _bytes(text: pa.StringArray) -> tuple[Cells, int]:
    """The bytes behind a text column without nulls, and where its first value begins."""
    _, offsets, content = text.buffers()
    starts = np.frombuffer(memoryview(cast("pa.Buffer", offsets)), dtype=np.int32)
    cells = np.frombuffer(memoryview(content) if content else b"", dtype=np.uint8)
    return cells, int(starts[text.offset])


def _plain(column: Column) -> pa.StringArray:
    """Floats as text; those that Arrow writes with an exponent are written out."""
    text = strings(column)
    exponent = pc.match_substring(text, "e").fill_null(False).to_numpy(zero_copy_only=False)
    if not exponent.any():
        return text
    floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)[exponent]
    plain = pa.array([np.format_float_positional(number, trim="-") for number in floats])
    return strings(pc.replace_with_mask(text, pa.array(exponent), plain))
