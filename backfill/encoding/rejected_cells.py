"""Rows that are not sent, as they were read: every cell as JSON can say it, without loss."""

import re
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import json_text as kernels
from backfill.encoding.typed_json import (
    UNITS_PER_SECOND,
    checked,
    encode_typed,
    is_text,
    plain,
    takeable,
    unsendable,
)
from backfill.rows import (
    NO_REJECTIONS,
    Chunk,
    Reason,
    Rejection,
    Rejections,
    Rows,
    Values,
    alike,
)

_MANY_DIGITS = 16
_SECONDS_MAX = 62_135_596_800  # from the year 1 to 1970


def row_cells(chunk: Chunk, places: Rows) -> list[dict[str, Any]]:
    """Rows with every cell as JSON can say it, so that they can be read again without loss.

    A column at a time: where half of the rows are rejected, a call for each cell takes longer than
    all else.

    Args:
        chunk: The rows as they were read.
        places: The places of n of them in it, int64 (n,).

    Returns:
        n of them, each by column.
    """
    names = chunk.batch.schema.names
    some = [takeable(column).take(pa.array(places)) for column in chunk.batch.columns]
    if chunk.values != "json":
        cells = [_cells(column, chunk.values) for column in some]
        return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]
    found: list[dict[str, Any]] = [{} for _ in places]
    for name, column in zip(names, some, strict=True):
        # An absent key is never a null; objects may have many keys, and each of them few.
        there = np.flatnonzero(kernels.as_mask(pc.is_valid(column))).tolist()
        for place, cell in zip(there, _cells(column.drop_null(), "json"), strict=True):
            found[place][name] = cell
    if chunk.sparse is not None:
        row_at = dict(zip(places.tolist(), found, strict=True))
        wanted = np.unique(places)
        sparse = chunk.sparse.only(wanted)
        cells_of = zip(wanted[sparse.places], sparse.columns, sparse.cells.to_pylist(), strict=True)
        for place, column, text in cells_of:
            row_at[place][sparse.names[column]] = _document(text)
    return found


def row_tails(chunk: Chunk, places: Rows) -> pa.StringArray:
    """The same as JSON, as `Rejection.tail` has it: kernels write it, and hardly anybody reads it.

    Args:
        chunk: The rows as they were read.
        places: The places of n of them in it, int64 (n,).

    Returns:
        string (n,).
    """
    names = chunk.batch.schema.names
    # Each object has its own keys; of two columns with one name, an object keeps the last.
    if chunk.values == "json" or len({*names}) < len(names) or not names:
        cells = row_cells(chunk, places)
        return pa.array([Rejection(0, None, (), each).tail() for each in cells], pa.string())
    parts: list[str | pa.StringArray] = []
    for name, column in zip(names, chunk.batch.columns, strict=True):
        parts.append(f"{',' if parts else '{'}{orjson.dumps(name).decode()}:")
        parts.append(_cell_texts(plain(takeable(column).take(pa.array(places)))))
    return pc.binary_join_element_wise(*parts, "},null", "")


def _cell_texts(column: pa.Array) -> pa.StringArray:
    """The JSON of each of n cells, a plain column, just as orjson writes what `_cells` gives."""
    written = _written(column)
    # What JSON cannot say is said another way: cell by cell, as are numbers of many digits.
    if written is None or written.null_count > column.null_count:
        cells = _cells(column, "typed")
        return pa.array([orjson.dumps(each).decode() for each in cells], pa.string())
    return pc.fill_null(written, kernels.NULL_FRAGMENT)


def _written(column: pa.Array) -> pa.StringArray | None:
    """The same by kernels, null where a cell is or has no JSON; None where they do not know it."""
    type_ = column.type
    if pa.types.is_string(type_):
        return kernels.strings(checked(column).text).fragments()
    if pa.types.is_temporal(type_) and not pa.types.is_interval(type_):
        return kernels.strings(_timestamps(column)).fragments()
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_):
        return encode_typed(column).text
    if not (pa.types.is_floating(type_) or pa.types.is_decimal(type_)):
        return None
    found = encode_typed(column).text
    may_have_many = _may_have_many_digits(found)
    if pa.types.is_floating(type_) and not may_have_many and not _is_written_otherwise(found):
        return found
    every = f"[{','.join(pc.fill_null(found, kernels.NULL_FRAGMENT).to_pylist())}]"
    if not len(found) or (may_have_many and re.search(kernels.MANY_DIGITS, every)):
        return None
    texts = orjson.dumps(orjson.loads(every))[1:-1].decode().split(",")
    return pc.if_else(pc.is_valid(found), pa.array(texts), pa.scalar(None, pa.string()))


def _may_have_many_digits(numbers: pa.StringArray) -> bool:
    """Whether `MANY_DIGITS` can be in any of them: that takes longer to search for."""
    longest = pc.max(pc.binary_length(numbers)).as_py() or 0
    has_exponents: bool = pc.any(pc.match_substring(numbers, "e")).as_py()
    return longest >= _MANY_DIGITS or has_exponents


def _is_written_otherwise(numbers: pa.StringArray) -> bool:
    """Whether orjson may write any of these doubles otherwise; they have no exponents.

    It writes those next to zero with one, and zero without a sign.
    """
    is_small = pc.match_substring(numbers, "0.00000")
    found: bool | None = pc.any(pc.or_(is_small, pc.equal(numbers, "-0"))).as_py()
    return bool(found)


def _timestamps(column: pa.Array) -> pa.StringArray:
    """Timestamps, dates and times as Arrow writes them."""
    if pa.types.is_timestamp(column.type) and column.type.tz == "UTC":
        bounds = pc.min_max(column.view(pa.int64())).as_py().values()
        a_second = UNITS_PER_SECOND[column.type.unit]
        # Beyond some ten thousand years Arrow writes those with a zone otherwise.
        if max(abs(each or 0) for each in bounds) < _SECONDS_MAX * a_second:
            # It takes thirty times as long where there is a zone (26.0), also for this one.
            texts = pc.cast(pc.cast(column, pa.timestamp(column.type.unit)), pa.string())
            return pc.binary_join_element_wise(texts, "Z", "")
    return pc.cast(column, pa.string())


def _cells(column: pa.Array, kind: Values) -> list[Any]:
    column = plain(column)
    if is_text(column.type):
        texts = _texts(column)
        if kind != "json":
            return texts
        return [None if each is None else _document(each) for each in texts]
    if pa.types.is_temporal(column.type) and not pa.types.is_interval(column.type):
        return cast("list[Any]", _timestamps(column).to_pylist())
    written = pa.nulls(len(column), pa.string())
    if not unsendable(column.type):
        written = encode_typed(column).fragments()
    found = _documents(_texts(written), is_nested=pa.types.is_nested(column.type))
    unsaid = pc.and_(pc.is_valid(column), pc.is_null(written))
    for place in np.flatnonzero(kernels.as_mask(unsaid)).tolist():
        found[place] = str(column[place])
    return found


def _documents(texts: list[str | None], *, is_nested: bool) -> list[Any]:
    """JSON values: in one go, which takes a tenth of the time, where orjson reads them exactly."""
    every = f"[{','.join(each or kernels.NULL_FRAGMENT for each in texts)}]"
    if is_nested or re.search(kernels.MANY_DIGITS, every):
        return [None if each is None else _document(each) for each in texts]
    return cast("list[Any]", orjson.loads(every))


def _texts(column: pa.Array) -> list[str | None]:
    """The texts of a column; bytes that are not UTF-8 as escapes."""
    try:
        # Arrow makes all of them at once; `to_pylist` makes a scalar of each first.
        texts = column.cast(pa.string()).to_numpy(zero_copy_only=False)
        return cast("list[str | None]", texts.tolist())
    except pa.ArrowException:
        return [
            None if each is None else each.decode(errors="backslashreplace")
            for each in column.cast(pa.binary()).to_pylist()
        ]


def _document(text: str) -> Any:
    """One JSON value; its text where it cannot be written again."""
    try:
        value = kernels.load_json(text)
        kernels.canonical_json(value)
    except ValueError:
        return text
    return value


def rejections(origin: Chunk, rows: Rows, reasons: Iterable[tuple[Reason, ...]]) -> Rejections:
    """Rows of a chunk that will not be sent, or were refused.

    Args:
        origin: The chunk as it was read.
        rows: The numbers of the n rows, int64 (n,).
        reasons: Those of each, n.
    """
    return rejected(origin, rows, *alike(reasons)) if len(rows) else NO_REJECTIONS


def rejected(
    origin: Chunk,
    rows: Rows,
    ways: tuple[tuple[Reason, ...], ...],
    way_of: npt.NDArray[np.integer[Any]],
) -> Rejections:
    """The same where the different reasons are known.

    Args:
        origin: The chunk as it was read.
        rows: The numbers of the n rows, int64 (n,).
        ways: The different reasons.
        way_of: Which of them each row has, integers (n,).
    """
    order = np.argsort(rows, kind="stable")
    rows, way_of = rows[order], way_of[order]
    places: Rows = np.searchsorted(origin.rows, rows)
    lines = np.zeros(len(rows), np.int64) if origin.lines is None else origin.lines[places]
    return Rejections(rows, lines, ways, way_of.astype(np.int32), row_tails(origin, places))
