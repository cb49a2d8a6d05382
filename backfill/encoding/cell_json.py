"""Cells as a source holds them -> JSON, by the declared type or by what they are.

Three kinds of cells reach the same kernels (`values`): text, JSON fragments, and the typed columns
of a file that knows its types.
"""

from calendar import timegm
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import json_text as kernels
from backfill.encoding.json_text import Encoded
from backfill.encoding.optional_imports import with_pandas
from backfill.instants import Reading, WrittenValues
from backfill.pipeline.columns import Column
from backfill.rows import Chunk, Values

NULL_FRAGMENT = "null"

_SAMPLED = 1_000
"""So many values tell whether a column repeats itself."""


def plain(column: pa.Array) -> pa.Array:
    """A column without its dictionary, and with the type that the kernels know."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        return column.cast(pa.string())
    return column.cast(pa.binary()) if _is_bytes(column.type) else column


def encode(
    column: pa.Array, kind: Values, declared: Column | None, reading: Reading | None, decimal: str
) -> Encoded:
    """One column as JSON.

    Args:
        column: The cells; null where there is nothing.
        kind: How they are written.
        declared: The declared type; None: each value is what it is.
        reading: How moments are written, where the type is timestamp or date.
        decimal: The decimal mark of written numbers.
    """
    if declared is None:
        return {"text": kernels.strings, "json": _as_found, "typed": _typed}[kind](column)
    if declared.type in ("timestamp", "date"):
        if reading is None:
            raise ValueError("a column of timestamps needs a reading")
        return timestamps(column, kind, reading)
    if kind == "typed" and declared.type == "json" and not _is_text(column.type):
        return _typed(column)
    if kind == "json" and declared.type == "json":
        return kernels.documents(_without_null(column))
    written_here = kind != "typed" or _is_text(column.type)
    return _declared(text_of(column, kind), declared.type, decimal if written_here else ".")


def _declared(text: Encoded, type_: str, decimal: str) -> Encoded:
    take: Callable[[pa.StringArray], Encoded] = {
        "string": kernels.strings,
        "integer": kernels.integers,
        "number": lambda column: kernels.numbers(column, decimal),
        "boolean": kernels.booleans,
        "json": kernels.documents,
    }[type_]
    few = type_ != "string" and _stand_for_many(text.text)
    encoded = _each_once(text.text, take) if few else take(text.text)
    return replace(encoded, failures=text.failures | encoded.failures)


def _stand_for_many(column: pa.Array) -> bool:
    """Whether the column's first values make it likely that few values fill it."""
    first = column[:_SAMPLED]
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
    written, reading = moment_cells(column, kind, reading)
    return kernels.moments(WrittenValues(written, zones), reading)


def moment_cells(column: pa.Array, kind: Values, reading: Reading) -> tuple[pa.Array, Reading]:
    """The cells of a column of moments as `backfill.instants` takes them.

    A row that was typed when it was first read, and comes back as text to be sent again, holds
    its moment in ISO 8601.
    """
    written = column if kind == "typed" else text_of(column, kind).text
    if reading.format == "native" and pa.types.is_string(written.type):
        reading = replace(reading, format="iso8601")
    return written, reading


def text_of(column: pa.Array, kind: Values) -> Encoded:
    """The cells as text, not yet JSON: what a CSV of the same values would hold."""
    if kind == "text":
        return Encoded(column)
    if kind == "json":
        return Encoded(_fragment_text(column))
    if _is_text(column.type):
        return _checked(column)
    encoded = _typed(column)
    return Encoded(_unquoted(encoded), failures=encoded.failures)


def _unquoted(encoded: Encoded) -> pa.StringArray:
    """Numbers that were written as strings, as text again."""
    return encoded.text if encoded.quoted else pc.utf8_trim(encoded.text, '"')


def _checked(column: pa.Array) -> Encoded:
    """Text whose bytes nobody looked at yet: what is not UTF-8 or holds NUL is a failure."""
    failures = {}
    try:
        text = column.cast(pa.string())
        text.validate(full=True)
    except pa.ArrowInvalid:
        decoded = [_decoded(each) for each in column.cast(pa.binary()).to_pylist()]
        text = pa.array(decoded, pa.string())
        failures["invalid_utf8"] = kernels.as_mask(pc.xor(pc.is_null(text), pc.is_null(column)))
    if (kernels.characters(text) == 0).any():
        holds_nul = kernels.as_mask(pc.match_substring(text, "\x00"))
        failures["nul_byte"] = holds_nul
        text = pc.if_else(pa.array(holds_nul), pa.scalar(None, pa.string()), text)
    return Encoded(text, failures=failures)


def _decoded(text: bytes | None) -> str | None:
    try:
        return None if text is None else text.decode()
    except UnicodeDecodeError:
        return None


# JSON fragments ---------------------------------------------------------------------------------


def _without_null(column: pa.StringArray) -> pa.StringArray:
    return kernels.null_where(column, [NULL_FRAGMENT])


def _fragment_text(column: pa.StringArray) -> pa.StringArray:
    """JSON fragments as text: a string's own characters, anything else as it is written."""
    column = _without_null(column)
    is_string = pc.starts_with(column, '"')
    inner = pc.utf8_slice_codeunits(column, 1, -1)
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
    is_number = pc.match_substring_regex(column, "^[-0-9]")
    is_whole = pc.match_substring_regex(column, "^-?[0-9]+$")
    is_nested = pc.match_substring_regex(column, r"^[\[{]")
    nothing = pa.scalar(None, pa.string())

    def only(where: pa.Array) -> pa.StringArray:
        return pc.if_else(where, column, nothing)

    found = kernels.strings(_fragment_text(only(is_string)))
    real = _reals(only(pc.and_not(is_number, is_whole)))
    whole = kernels.integers(only(is_whole))
    nested = kernels.documents(only(is_nested))
    rest = pc.if_else(pc.or_(pc.or_(is_string, is_number), is_nested), nothing, column)
    text = pc.coalesce(found.fragments(), real.text, whole.text, nested.text, rest)
    size = pc.coalesce(found.size_bytes, pc.binary_length(text))
    return Encoded(text, size_bytes=size, failures=real.failures | nested.failures)


def _reals(column: pa.StringArray) -> Encoded:
    """JSON numbers with a point or an exponent; digits that no double holds stay text."""
    many = kernels.as_mask(pc.match_substring_regex(column, kernels.MANY_DIGITS))
    if not many.any():
        return kernels.numbers(column)
    few = kernels.numbers(pc.if_else(pa.array(many), None, column))
    exact = kernels.documents(pc.if_else(pa.array(many), column, None))
    failures = {"not_finite": exact.failures["not_json"]} if exact.failures else {}
    return Encoded(pc.coalesce(few.text, exact.text), failures=few.failures | failures)


# Typed columns ----------------------------------------------------------------------------------


def refusal_of(type_: pa.DataType) -> str | None:
    """Why a typed column cannot be sent without a declaration; None where it can.

    A timestamp without a zone is no instant, and bytes and durations have no JSON of their own.
    """
    if pa.types.is_dictionary(type_):
        return refusal_of(type_.value_type)
    if _is_naive(type_):
        return (
            'it holds timestamps without a time zone: declare { type = "timestamp", timezone = … }'
        )
    if _is_bytes(type_):
        return 'it holds bytes: declare it "string" if they are text, or leave it out'
    if pa.types.is_duration(type_) or pa.types.is_interval(type_):
        return "it holds durations, which have no JSON: turn them into numbers in a transform"
    if pa.types.is_nested(type_):
        inner = [type_.field(place).type for place in range(type_.num_fields)]
        if any(map(_is_naive, inner)):
            return (
                'it holds timestamps without a zone inside: declared "json" they are sent as text,'
                " as in 2024-01-31T10:00:00; a transform can make instants of them"
            )
        return next((said for each in inner if (said := refusal_of(each))), None)
    return None


def _is_naive(type_: pa.DataType) -> bool:
    """Whether a type is of days or clocks that no zone makes instants."""
    return bool(pa.types.is_date(type_) or (pa.types.is_timestamp(type_) and type_.tz is None))


def _is_bytes(type_: pa.DataType) -> bool:
    checks = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return any(check(type_) for check in checks)


def _is_text(type_: pa.DataType) -> bool:
    """Whether a column holds text, or bytes that may be text."""
    return bool(pa.types.is_string(type_)) or _is_bytes(type_)


def _typed(column: pa.Array) -> Encoded:
    type_ = column.type
    if pa.types.is_string(type_):
        text = _checked(column)
        found = kernels.strings(text.text)
        return Encoded(found.text, found.quoted, found.size_bytes, text.failures)
    if pa.types.is_integer(type_):
        return Encoded(_integers(column))
    if pa.types.is_floating(type_):
        return kernels.floats(pc.cast(column, pa.float64()))
    if pa.types.is_decimal(type_):
        return kernels.decimals(column)
    if pa.types.is_timestamp(type_):
        return kernels.moments(column, Reading(format="native"))
    if pa.types.is_nested(type_):
        return _nested(column)
    if pa.types.is_time(type_):
        return kernels.strings(pc.cast(column, pa.string()))
    is_boolean = pa.types.is_boolean(type_)
    return Encoded(
        pc.if_else(column, "true", "false") if is_boolean else pc.cast(column, pa.string())
    )


def _integers(column: pa.Array) -> pa.StringArray:
    bounds = pc.min_max(column).as_py()
    text = pc.cast(column, pa.string())
    largest = max(abs(bounds["min"] or 0), abs(bounds["max"] or 0))
    return text if largest <= kernels.INTEGER_MAX else kernels.integers(text).text


def _nested(column: pa.Array) -> Encoded:
    if "[ns" in str(column.type):
        with_pandas()  # Python's own moments have no nanoseconds
    failed = np.zeros(len(column), np.bool_)
    written: list[str | None] = []
    for place, each in enumerate(column):
        try:
            value = _plain_value(each.as_py(), column.type)
            written.append(None if value is None else kernels.canonical_json(value))
        except ValueError:
            failed[place] = True
            written.append(None)
    text = pa.array(written, pa.string())
    failures = {"not_finite": failed} if failed.any() else {}
    return Encoded(text, size_bytes=pc.binary_length(text), failures=failures)


def _plain_value(value: Any, type_: pa.DataType) -> Any:
    """One nested value as JSON can say it; maps become objects, instants unix seconds."""
    if value is None:
        return None
    if pa.types.is_map(type_):
        return {str(key): _plain_value(each, type_.item_type) for key, each in value}
    if pa.types.is_struct(type_):
        fields = (type_.field(place) for place in range(type_.num_fields))
        return {each.name: _plain_value(value[each.name], each.type) for each in fields}
    if pa.types.is_nested(type_):
        return [_plain_value(each, type_.value_type) for each in value]
    if isinstance(value, datetime):
        # Without a zone nobody has said where its clock stands: text claims no instant. With one,
        # in whole numbers: a float of it may be rounded up.
        return value.isoformat() if value.tzinfo is None else timegm(value.utctimetuple())
    if isinstance(value, Decimal):
        return orjson.Fragment(kernels.decimal_json(value))
    if isinstance(value, date | time | UUID):
        return str(value)
    return value


# A row as it was read ---------------------------------------------------------------------------


def row_cells(chunk: Chunk, places: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Rows with every cell as JSON can say it, so that they can be read again without loss.

    A column at a time: where half of the rows are rejected, a call for each cell takes longer than
    all else.

    Args:
        chunk: The rows as they were read.
        places: The places of n of them in it, int64 (n,).

    Returns:
        n of them, each by column.
    """
    found: list[dict[str, Any]] = [{} for _ in places]
    for name, column in zip(chunk.batch.schema.names, chunk.batch.columns, strict=True):
        some = column.take(pa.array(places))
        cells = _cells(some, chunk.values)
        if chunk.values == "json" and some.null_count:  # an absent key is never a null
            for place in np.flatnonzero(kernels.as_mask(pc.is_valid(some))).tolist():
                found[place][name] = cells[place]
            continue
        for row, cell in zip(found, cells, strict=True):
            row[name] = cell
    return found


def _cells(column: pa.Array, kind: Values) -> list[Any]:
    column = plain(column)
    if _is_text(column.type):
        written: Callable[[str], Any] = _document if kind == "json" else str
        return [
            None if each is None else written(each.decode(errors="backslashreplace"))
            for each in column.cast(pa.binary()).to_pylist()
        ]
    if pa.types.is_temporal(column.type):
        return cast("list[Any]", pc.cast(column, pa.string()).to_pylist())
    return [
        None if not value.is_valid else str(value.as_py()) if text is None else _document(text)
        for value, text in zip(column, _typed(column).fragments().to_pylist(), strict=True)
    ]


def _document(text: str) -> Any:
    """One JSON value; its text where it cannot be written again."""
    try:
        value = kernels.load_json(text)
        kernels.canonical_json(value)
    except ValueError:
        return text
    return value
