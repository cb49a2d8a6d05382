"""Cells as a source holds them -> JSON, by the declared type or by what they are.

Three kinds of cells reach the same kernels (`values`): text, JSON fragments, and the typed columns
of a file that knows its types.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import json_text as kernels
from backfill.encoding.json_text import Encoded
from backfill.encoding.rejected_cells import rejected
from backfill.encoding.typed_json import checked, encode_typed, is_text, plain
from backfill.instants import Reading, WrittenValues, implausible
from backfill.pipeline.column_settings import Column
from backfill.rows import NO_REJECTIONS, Chunk, Reason, Rejections, Values, reason

_SAMPLED = 1_000
"""So many values tell whether a column repeats itself."""


def names_of(chunk: Chunk) -> list[str]:
    """All columns of a chunk; those of its batch first."""
    further = () if chunk.sparse is None else chunk.sparse.names
    return [*chunk.batch.schema.names, *further]


def column_of(chunk: Chunk, name: str) -> pa.Array | None:
    """A column of a chunk, of as many cells as it has rows; None: it has no such column."""
    place: int = chunk.batch.schema.get_field_index(name)  # a list of names takes long to make
    if place >= 0:
        return chunk.batch.column(place)
    return None if chunk.sparse is None else chunk.sparse.column(name, len(chunk.rows))


@dataclass(frozen=True, slots=True)
class Cells:
    """A column as the kernels take it.

    Args:
        column: n cells, plain; null where there is nothing.
        kind: How they are written.
        null_values: Texts that mean nothing. Text has none of them any more.
    """

    column: pa.Array
    kind: Values
    null_values: Sequence[str] = ()

    @classmethod
    def of(cls, chunk: Chunk, name: str, null_values: Sequence[str] = ()) -> "Cells":
        """A column of a chunk; n nulls where it has none, as objects that lack a key do.

        Args:
            chunk: The rows.
            name: The column.
            null_values: Texts that mean nothing.
        """
        if (column := column_of(chunk, name)) is None:
            return cls(pa.nulls(len(chunk.rows), pa.string()), chunk.values, null_values)
        return cls.of_column(column, chunk.values, null_values)

    @classmethod
    def of_column(
        cls, column: pa.Array, values: Values, null_values: Sequence[str] = ()
    ) -> "Cells":
        """A column of a chunk whose cells are written in the way `values`.

        One that a transform made, or a file with types, has a type of its own in any chunk.
        """
        column = plain(column)
        kind = values if pa.types.is_string(column.type) else "typed"
        if kind == "text":
            column = kernels.null_where(column, null_values)
        return cls(column, kind, null_values)

    def text(self) -> Encoded:
        """N texts, not yet JSON: what a CSV of the same values would hold."""
        found = text_of(self.column, self.kind)
        return replace(found, text=kernels.null_where(found.text, self.null_values))

    def timestamps(self, reading: Reading) -> tuple[pa.Array, Reading]:
        """The cells as `backfill.instants` takes them, and how; see `timestamp_cells`."""
        return timestamp_cells(self.column, self.kind, reading)


def encode(  # what a column can be declared as
    column: pa.Array,
    kind: Values,
    declared: Column | None,
    reading: Reading | None,
    decimal: str,
    thousands: str = "",
) -> Encoded:
    """One column as JSON.

    Args:
        column: The cells; null where there is nothing.
        kind: How they are written.
        declared: The declared type; None: each value is what it is.
        reading: How timestamps are written, where the type is timestamp or date.
        decimal: The decimal mark of written numbers.
        thousands: What groups the digits of written numbers; empty: nothing.
    """
    if declared is None:
        return {"text": kernels.strings, "json": _as_found, "typed": encode_typed}[kind](column)
    if declared.type in ("timestamp", "date"):
        if reading is None:
            raise ValueError("a column of timestamps needs a reading")
        return timestamps(column, kind, reading)
    if kind == "typed" and declared.type == "json" and not is_text(column.type):
        return encode_typed(column)
    if kind == "json" and declared.type == "json":
        return kernels.documents(_without_null(column))
    written_here = kind != "typed" or is_text(column.type)
    # A typed file's numbers were never written with anybody's decimal mark.
    marks = (decimal, thousands) if written_here else (".", "")
    return _declared(text_of(column, kind), declared, *marks)


def _declared(text: Encoded, declared: Column, decimal: str, thousands: str) -> Encoded:
    take: Callable[[pa.StringArray], Encoded] = {
        "string": kernels.strings,
        "integer": kernels.integers,
        "number": lambda column: kernels.numbers(column, decimal, thousands),
        "boolean": lambda column: kernels.booleans(
            column, declared.true_values, declared.false_values, invert=declared.invert
        ),
        "json": kernels.documents,
    }[declared.type]
    few = declared.type != "string" and _stand_for_many(text.text)
    encoded = _each_once(text.text, take) if few else take(text.text)
    return replace(encoded, failures=text.failures | encoded.failures)


def _stand_for_many(column: pa.Array) -> bool:
    """Whether the column's first values make it likely that few values fill it."""
    first = column[:_SAMPLED]
    # A guess about cost only: the result is the same either way.
    return len(first) == _SAMPLED and pc.count_distinct(first).as_py() <= _SAMPLED // 8


def _each_once(column: pa.StringArray, take: Callable[[pa.StringArray], Encoded]) -> Encoded:
    """Encode each distinct value once: looking a row's value up costs less than reading it."""
    distinct = column.dictionary_encode()
    encoded, places = take(distinct.dictionary), distinct.indices
    size_bytes = encoded.size_bytes
    return Encoded(
        encoded.text.take(places),
        encoded.quoted,
        None if size_bytes is None else size_bytes.take(places),
        {
            code: kernels.as_mask(pa.array(failed).take(places))
            for code, failed in encoded.failures.items()
        },
    )


def timestamps(
    column: pa.Array, kind: Values, reading: Reading, zones: pa.StringArray | None = None
) -> Encoded:
    """A column of n timestamps as unix seconds.

    Args:
        column: The cells; null where there is nothing.
        kind: How they are written.
        reading: How their timestamps are written.
        zones: The zone of each row, as n texts, where a column beside it has them.
    """
    written, reading = timestamp_cells(column, kind, reading)
    return kernels.timestamps(WrittenValues(written, zones), reading)


def timestamp_cells(column: pa.Array, kind: Values, reading: Reading) -> tuple[pa.Array, Reading]:
    """The cells of a column of timestamps as `backfill.instants` takes them.

    A row that was typed when it was first read, and comes back as text to be sent again, holds
    its moment in ISO 8601.
    """
    written = column if kind == "typed" else kernels.without_blanks(text_of(column, kind).text)
    if reading.format == "native" and pa.types.is_string(written.type):
        reading = replace(reading, format="iso8601")
    return written, reading


def odd_timestamps(encoded: Encoded, reading: Reading | None, now_s: float) -> Iterator[str]:
    """What is odd about n timestamps: fields of `AttributeNames`.

    Args:
        encoded: The timestamps, or what stands in their place.
        reading: How they were read; None: they were taken as they are.
        now_s: The time now, as unix seconds.
    """
    # The service takes unix seconds for a created_at, and nothing else (Track docs).
    is_number = pc.match_substring_regex(encoded.text, r"^-?[0-9]+([.][0-9]+)?$")
    if encoded.quoted:
        is_number = pc.is_null(encoded.text)
    if pc.all(is_number).as_py() is False:  # null: there is no value
        yield "texts"
        return
    ends = pc.min_max(pc.cast(encoded.text, pa.float64()))
    first_s, last_s = ends["min"].as_py(), ends["max"].as_py()
    if first_s is None:
        return
    if reading is not None and (first_s < 0 or last_s > now_s):
        yield "odd_timestamps"
    # A date of birth may lie anywhere; a number far off is rather one of another unit.
    is_count = reading is None or reading.is_number
    if is_count and implausible(np.array([first_s, last_s]) * 1e6).any():
        yield "implausible"


def text_of(column: pa.Array, kind: Values) -> Encoded:
    """The cells as text, not yet JSON: what a CSV of the same values would hold."""
    if kind == "text":
        return Encoded(column)
    if kind == "json":
        return Encoded(_fragment_text(column))
    if is_text(column.type):
        return checked(column)
    encoded = encode_typed(column)
    return Encoded(_unquoted(encoded), failures=encoded.failures)


def _unquoted(encoded: Encoded) -> pa.StringArray:
    """Numbers that were written as strings, as text again."""
    return encoded.text if encoded.quoted else pc.utf8_trim(encoded.text, '"')


def shortened(encoded: Encoded, size_max: int, cells: Cells | None) -> Encoded:
    """An encoded column without values that are too long, or with texts cut to what fits.

    Args:
        encoded: n values as JSON.
        size_max: How many bytes of UTF-8 a value may have.
        cells: The n cells whose texts are cut; None: what is too long is left out. Half of an
            object is none: what is no text stays as long as it is.
    """
    size = encoded.size_bytes
    over = kernels.as_mask(pc.greater(size, size_max)) if size is not None else None
    if over is None or not over.any():
        return encoded
    # What is cut is the text, before it is escaped: half of an escape is no JSON.
    if cells is not None:
        if not encoded.quoted:
            return encoded
        return kernels.cut(encoded, cells.text().text, over, size_max)
    kept = pa.array(~over)
    text = pc.if_else(kept, encoded.text, pa.scalar(None, pa.string()))
    return replace(encoded, text=text, size_bytes=pc.if_else(kept, size, None))


# JSON fragments ---------------------------------------------------------------------------------


def _without_null(column: pa.StringArray) -> pa.StringArray:
    return kernels.null_where(column, [kernels.NULL_FRAGMENT])


def _fragment_text(column: pa.StringArray) -> pa.StringArray:
    """JSON fragments as text: a string's own characters, anything else as it is written."""
    column = _without_null(column)
    is_string = pc.starts_with(column, '"')
    # By bytes, since quotes are one each: characters would have to be counted from behind.
    inner = pc.binary_slice(column.view(pa.binary()), 1, -1).view(pa.string())
    text = pc.if_else(is_string, inner, column)
    escaped = kernels.as_mask(pc.and_(is_string, pc.match_substring(column, "\\")))
    if not escaped.any():
        return text
    read = [orjson.loads(each) for each in column.filter(pa.array(escaped)).to_pylist()]
    return pc.replace_with_mask(text, pa.array(escaped), pa.array(read, pa.string()))


def _as_found(column: pa.StringArray) -> Encoded:
    """JSON fragments as they are, in the one form that each value has."""
    column = _without_null(column)
    is_string = pc.starts_with(column, '"')
    if pc.all(pc.fill_null(is_string, True)).as_py():
        return kernels.strings(_fragment_text(column))
    # By its first characters: the reader has made sure that each is one whole JSON value.
    is_number = pc.match_substring_regex(column, "^[-0-9]")
    is_whole = pc.match_substring_regex(column, "^-?[0-9]+$")
    is_nested = pc.match_substring_regex(column, r"^[\[{]")
    nothing = pa.scalar(None, pa.string())

    def only(where: pa.Array) -> pa.StringArray:
        return pc.if_else(where, column, nothing)

    def quoted(texts: pa.StringArray) -> Encoded:
        return kernels.strings(_fragment_text(texts))

    texts, sizes = [], []
    failures: dict[str, kernels.Mask] = {}
    kinds: tuple[tuple[pa.Array, Callable[[pa.StringArray], Encoded]], ...] = (
        (is_string, quoted),
        (pc.and_not(is_number, is_whole), kernels.numbers),
        (is_whole, kernels.integers),
        (is_nested, kernels.documents),
    )
    for where, write in kinds:
        if pc.any(where).as_py():  # most columns hold values of one kind
            found = write(only(where))
            texts.append(found.fragments())
            sizes += [found.size_bytes] if found.quoted else []
            failures |= found.failures
    other = pc.or_(pc.or_(is_string, is_number), is_nested)
    text = pc.coalesce(*texts, pc.if_else(other, nothing, column))
    size = pc.coalesce(*sizes, pc.binary_length(text))
    return Encoded(text, size_bytes=size, failures=failures)


# What is wrong with rows -----------------------------------------------------------------------


@dataclass(slots=True)
class RowFaults:
    """Each kind of fault that was found, with the rows that have it.

    Args:
        count: How many rows there are.
    """

    count: int
    found: list[tuple[str, str, kernels.Mask]] = field(default_factory=list)

    def add(self, code: str, column: str, mask: kernels.Mask | pa.Array) -> None:
        """Note the rows where `mask` is true; null is false."""
        mask = mask if isinstance(mask, np.ndarray) else kernels.as_mask(mask)
        if mask.any():
            self.found.append((code, column, mask))

    def add_all(self, failures: Mapping[str, kernels.Mask], column: str) -> None:
        """Note what a column's own reading found."""
        self.add_some(failures.items(), column)

    def add_some(self, found: Iterable[tuple[str, kernels.Mask]], column: str) -> None:
        """Note what was found in a column, in this order."""
        for code, mask in found:
            self.add(code, column, mask)

    def bad(self) -> kernels.Mask:
        """The rows that have any fault."""
        return any_of((mask for _, _, mask in self.found), self.count)

    def rejections(self, rows: npt.NDArray[np.int64], origin: Chunk) -> Rejections:
        """The rows that have any fault, each with all its reasons.

        Args:
            rows: The numbers of the n rows that were judged, int64 (n,).
            origin: The chunk as it was read, which the report repeats.
        """
        bad = np.flatnonzero(self.bad())
        if not len(bad):
            return NO_REJECTIONS
        faults = np.array([mask[bad] for _, _, mask in self.found], np.bool_).T
        # Rows fail in few ways, and alike: the sentences are made once for each way.
        ways, way_of = np.unique(faults, axis=0, return_inverse=True)
        reasons = tuple(self._reasons(way) for way in ways)
        return rejected(origin, rows[bad], reasons, way_of.ravel())

    def _reasons(self, has: kernels.Mask) -> tuple[Reason, ...]:
        """The reasons of rows that have these faults; bool, as many as were found."""
        found = [each for each, it_has in zip(self.found, has, strict=True) if it_has]
        return tuple(reason(code, column) for code, column, _ in found)


def any_of(masks: Iterable[kernels.Mask], count: int) -> kernels.Mask:
    """Where any of the masks is true."""
    found = np.zeros(count, np.bool_)
    for mask in masks:
        found |= mask
    return found
