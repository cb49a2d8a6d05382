"""Typed columns -> JSON: every type that can stand in a Parquet file, or a word why it cannot.

What wraps values (dictionaries, runs, extensions, large and viewed forms) is taken off first; a
nested value is put together from the values of its leaves, each as exact as in a column of its own.

Types: https://arrow.apache.org/docs/format/CanonicalExtensions.html and
https://arrow.apache.org/docs/python/api/datatypes.html
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import json_text as kernels
from backfill.encoding.json_text import Encoded
from backfill.instants import Reading, characters

_UUID_BYTES = 16
_UUID_DASHES = (8, 13, 18, 23)
UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_JSON_EXTENSIONS = {"arrow.json", "arrow.uuid", "arrow.bool8"}


def plain_type(type_: pa.DataType) -> pa.DataType:
    """What a type's values are, without what wraps them."""
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return plain_type(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType) and type_.extension_name in _JSON_EXTENSIONS:
        return pa.bool_() if type_.extension_name == "arrow.bool8" else pa.string()
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_decimal32(type_) or pa.types.is_decimal64(type_):
        return pa.decimal128(type_.precision, type_.scale)
    return pa.binary() if is_bytes(type_) else type_


def plain(column: pa.Array) -> pa.Array:
    """A column of length n as one of `plain_type`: n values that the kernels know."""
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return plain(column.dictionary_decode())
    if pa.types.is_run_end_encoded(type_):
        return plain(pc.run_end_decode(column))
    if isinstance(type_, pa.BaseExtensionType):
        match type_.extension_name:
            case "arrow.uuid":
                return _uuid_text(column.storage)
            case "arrow.json":
                return plain(column.storage)
            case "arrow.bool8":
                return pc.not_equal(column.storage, 0)
        return column
    wanted = plain_type(type_)
    return column if wanted.equals(type_) else column.cast(wanted)


def takeable(column: pa.Array) -> pa.Array:
    """The column in a form of which Arrow can take some values; mostly itself."""
    type_ = column.type
    if pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_):
        return _lists(column)
    return pc.run_end_decode(column) if pa.types.is_run_end_encoded(type_) else column


def _lists(column: pa.Array) -> pa.LargeListArray:
    """Lists of a fixed size, and views, as lists; Arrow's own cast loses values of views (26.0)."""
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    offsets = pa.array(np.concatenate(([0], np.cumsum(sizes))))
    return pa.LargeListArray.from_arrays(offsets, plain(column.flatten()), mask=column.is_null())


def _uuid_text(column: pa.FixedSizeBinaryArray) -> pa.StringArray:
    """UUIDs of 16 bytes as their text: 3f2b8c1e-9d4a-4f6b-8a7c-1e2d3c4b5a69."""
    count = len(column)
    # The bytes of nulls may be anything; with zeros in their place each value has its 16.
    data = b"".join(pc.fill_null(column, bytes(_UUID_BYTES)).to_pylist())
    digits = np.frombuffer(data.hex().encode(), np.uint8).reshape(count, 2 * _UUID_BYTES)
    text = np.insert(digits, [at - place for place, at in enumerate(_UUID_DASHES)], ord("-"), 1)
    offsets = np.arange(count + 1, dtype=np.int32) * text.shape[1]
    found = pa.StringArray.from_buffers(
        count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text))
    )
    return pc.if_else(column.is_valid(), found, pa.scalar(None, pa.string()))


def refusal_of(type_: pa.DataType) -> str | None:
    """Why a typed column cannot be sent without a declaration; None where it can.

    A timestamp without a zone is no instant, and bytes and durations have no JSON of their own.
    """
    type_ = plain_type(type_)
    if _is_naive(type_):
        return (
            'it holds timestamps without a time zone: declare { type = "timestamp", timezone = … }'
        )
    if is_bytes(type_):
        return 'it holds bytes: declare it "string" if they are text, or leave it out'
    if unknown := unsendable(type_):
        return unknown
    if not pa.types.is_nested(type_):
        return None
    inner = list(_inner(type_))
    if any(_is_naive(plain_type(each)) for each in inner):
        return (
            'it holds timestamps without a zone inside: declared "json" they are sent as text,'
            " as in 2024-01-31T10:00:00; a transform can make instants of them"
        )
    return next((said for each in inner if (said := refusal_of(each))), None)


def unsendable(type_: pa.DataType) -> str | None:
    """Why a type has no JSON at all, however it is declared, at any depth; None where it has."""
    type_ = plain_type(type_)
    if pa.types.is_duration(type_) or pa.types.is_interval(type_):
        return "it holds durations, which have no JSON: turn them into numbers in a transform"
    if isinstance(type_, pa.BaseExtensionType):
        return f"it is of the extension type {type_.extension_name}, which is not known here"
    if pa.types.is_union(type_):
        return "it holds values of several types: turn them into one in a transform"
    return next((said for each in _inner(type_) if (said := unsendable(each))), None)


def _inner(type_: pa.DataType) -> Iterator[pa.DataType]:
    """The types directly inside a nested one."""
    if pa.types.is_nested(type_):
        yield from (type_.field(place).type for place in range(type_.num_fields))


def _is_naive(type_: pa.DataType) -> bool:
    """Whether a type is of days or clocks that no zone makes instants."""
    return bool(pa.types.is_date(type_) or (pa.types.is_timestamp(type_) and type_.tz is None))


def is_bytes(type_: pa.DataType) -> bool:
    """Whether a type is of bytes, which may be text."""
    checks = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return any(check(type_) for check in checks)


def is_json(type_: pa.DataType | None) -> bool:
    """Whether a type is of texts that are JSON: such a column is sent as what they say."""
    return isinstance(type_, pa.BaseExtensionType) and type_.extension_name == "arrow.json"


def is_text(type_: pa.DataType) -> bool:
    """Whether a plain column holds text, or bytes that may be text."""
    return bool(pa.types.is_string(type_)) or is_bytes(type_)


def checked(column: pa.Array) -> Encoded:
    """Text whose bytes nobody looked at yet: what is not UTF-8 or holds NUL is a failure.

    Args:
        column: Strings or bytes of length n.

    Returns:
        n texts, not yet JSON; null where there is none, or it failed.
    """
    failures = {}
    try:
        text = column.cast(pa.string())
        text.validate(full=True)
    except pa.ArrowInvalid:
        # Arrow says that some value is bad, not which: that costs a look at each, which is rare.
        decoded = [_decoded(each) for each in column.cast(pa.binary()).to_pylist()]
        text = pa.array(decoded, pa.string())
        failures["invalid_utf8"] = kernels.as_mask(pc.xor(pc.is_null(text), pc.is_null(column)))
    if (characters(text) == 0).any():
        holds_nul = kernels.as_mask(pc.match_substring(text, "\x00"))
        failures["nul_byte"] = holds_nul
        text = pc.if_else(pa.array(holds_nul), pa.scalar(None, pa.string()), text)
    return Encoded(text, failures=failures)


def _decoded(text: bytes | None) -> str | None:
    try:
        return None if text is None else text.decode()
    except UnicodeDecodeError:
        return None


def encode_typed(column: pa.Array) -> Encoded:
    """A plain column of length n as the JSON of what its values are."""
    type_ = column.type
    if pa.types.is_string(type_):
        text = checked(column)
        found = kernels.strings(text.text)
        return Encoded(found.text, found.quoted, found.size_bytes, text.failures)
    if pa.types.is_integer(type_):
        return Encoded(_integers(column))
    if pa.types.is_floating(type_):
        return kernels.floats(_doubles(column))
    if pa.types.is_decimal(type_):
        return kernels.decimals(column)
    if pa.types.is_timestamp(type_):
        return kernels.timestamps(column, Reading(format="native"))
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


def _doubles(column: pa.Array) -> pa.DoubleArray:
    """Floats as the doubles that are written with the same digits.

    The fewest digits that tell a float from its neighbours are what was meant: 19.99, and not the
    19.989999771118164 that its bits are as a double.
    """
    if pa.types.is_float64(column.type):
        return column
    if pa.types.is_float16(column.type):
        halves = pc.fill_null(column, np.float16(0)).to_numpy(zero_copy_only=False)
        text = pa.array(halves.astype(str).tolist(), pa.string())
        column = pc.if_else(column.is_valid(), text, pa.scalar(None, pa.string()))
    return pc.cast(pc.cast(column, pa.string()), pa.float64())


# Nested values ----------------------------------------------------------------------------------


class _Unwritable:
    """In place of a value that JSON cannot say; by the code of the reason."""

    def __init__(self, code: str) -> None:
        self.code = code


def _nested(column: pa.Array) -> Encoded:
    """Structs, lists and maps as JSON; dictionaries and lists of Python on the way."""
    failures: dict[str, kernels.Mask] = {}
    written: list[str | None] = []
    for place, value in enumerate(_values(column)):
        try:
            written.append(None if value is None else kernels.canonical_json(value))
        except ValueError:
            code = next(_unwritable(value), "not_finite")
            failures.setdefault(code, np.zeros(len(column), np.bool_))[place] = True
            written.append(None)
    text = pa.array(written, pa.string())
    return Encoded(text, size_bytes=pc.binary_length(text), failures=failures)


def _unwritable(value: Any) -> Iterator[str]:
    """The codes of what JSON cannot say in a value."""
    if isinstance(value, _Unwritable):
        yield value.code
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _unwritable(each)


def _values(column: pa.Array) -> list[Any]:
    """A column of n values of any depth as n values that JSON can say; None where there is none.

    Maps become objects, instants unix seconds, numbers beyond a double text.
    """
    if is_json(column.type):
        return [None if each is None else _document(each) for each in plain(column).to_pylist()]
    column = plain(column)
    type_ = column.type
    if pa.types.is_struct(type_):
        names = [type_.field(place).name for place in range(type_.num_fields)]
        fields = [_values(each) for each in column.flatten()]
        rows = zip(*fields, strict=True) if fields else iter([()] * len(column))
        valid = column.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if there else None
            for row, there in zip(rows, valid, strict=True)
        ]
    if pa.types.is_map(type_):
        keys = _key_texts(plain(_behind(column, column.keys)))
        pairs = list(zip(keys, _values(_behind(column, column.items)), strict=True))
        return [None if each is None else dict(each) for each in _cut(column, pairs)]
    if pa.types.is_nested(type_):
        if not (pa.types.is_list(type_) or pa.types.is_large_list(type_)):
            column = _lists(column)
        return _cut(column, _values(_behind(column, column.values)))
    return _leaves(column)


def _document(text: str) -> Any:
    try:
        return kernels.load_json(text)
    except ValueError:
        return _Unwritable("not_json")


def _key_texts(column: pa.Array) -> list[str]:
    """The keys of maps, a plain column, as texts; an object has no others."""
    if is_text(column.type):
        text = checked(column).text
    else:
        text = pc.utf8_trim(encode_typed(column).text, '"')
    return [each or "" for each in text.to_pylist()]


def _behind(column: pa.Array, inside: pa.Array) -> pa.Array:
    """Those of the values inside lists that belong to a column, which may be a slice."""
    first, last = column.offsets[0].as_py(), column.offsets[-1].as_py()
    return inside.slice(first, last - first)


def _cut(column: pa.Array, values: list[Any]) -> list[Any]:
    """The values of a column of lists, list by list; None where the list is null."""
    offsets = column.offsets.to_numpy()
    starts = (offsets - offsets[0]).tolist() if len(offsets) else []
    valid = column.is_valid().to_pylist()
    bounds = zip(starts, starts[1:], valid, strict=False)
    return [values[start:stop] if there else None for start, stop, there in bounds]


def _leaves(column: pa.Array) -> list[Any]:
    """A plain column of n values that are not nested, each as JSON can say it."""
    type_ = column.type
    failures: dict[str, kernels.Mask] = {}
    if is_text(type_):
        text = checked(column)
        column, failures = text.text, text.failures
    elif pa.types.is_timestamp(type_) and type_.tz is not None:
        units = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
        seconds = pa.array(units // UNITS_PER_SECOND[type_.unit])
        column = pc.if_else(column.is_valid(), seconds, None)
    elif pa.types.is_timestamp(type_):
        # Nobody has said where its clock stands: text claims no instant.
        text = pc.replace_substring(pc.cast(column, pa.string()), " ", "T")
        text = pc.replace_substring_regex(text, r"\.0+$", "")
        column = pc.replace_substring_regex(text, r"(\.[0-9]*[1-9])0+$", r"\1")
    elif pa.types.is_floating(type_):
        column = _doubles(column)
    elif pa.types.is_temporal(type_):
        column = pc.cast(column, pa.string())
    found: list[Any] = column.to_pylist()
    for code, mask in failures.items():
        for place in np.flatnonzero(mask).tolist():
            found[place] = _Unwritable(code)
    if pa.types.is_decimal(type_):
        return [
            None if each is None else orjson.Fragment(kernels.decimal_json(each)) for each in found
        ]
    return found
