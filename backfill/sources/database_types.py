"""What the types of databases become: exact, and known to whatever reads Parquet here.

What cannot be kept is refused before the first row is read, by the name of its column; a value
that no type can hold, such as an infinite date, stops the reading.

PostgreSQL: https://arrow.apache.org/adbc/current/driver/postgresql.html, and what version 1.13 of
the driver was seen to do: money comes as an integer of cents, oid wraps beyond 2^31, infinite
timestamps wrap to the year -290308, and only `POSTGRESQL:typmod` tells the scale of a numeric.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.typed_json import unsendable
from backfill.errors import UsageError

Convert = Callable[[pa.Array], pa.Array]

JSON = pa.json_(pa.string())
_DECIMAL128_DIGITS_MAX, _DECIMAL_DIGITS_MAX = 38, 76
_EXACT_IN_DOUBLE = 2**53

_MIN_US = -220_000_000_000_000_000
"""Before the first timestamp that PostgreSQL has, 4713 BC."""
_MAX_US = 9_223_372_036_854_775_000
_MIN_DAY, _MAX_DAY = -3_000_000, 2_147_483_000

_AS_TEXT = ("citext", "xml")
"""PostgreSQL sends them as their text; the driver does not know what they are."""
_WRONG = ("money", "oid", "TIME WITH TIME ZONE", "BIT")
"""Types of which a driver gives something else than what they hold."""


@dataclass(frozen=True, slots=True)
class KeptTypes:
    """How the columns of a query are kept.

    Args:
        schema: Their names and types.
        converts: What makes each out of what the driver gives; None: it is so already.
    """

    schema: pa.Schema
    converts: tuple[Convert | None, ...]

    def of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch of n rows as it is kept."""
        columns = [
            convert(column) if convert else column
            for convert, column in zip(self.converts, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def kept_as_given(schema: pa.Schema, types: Mapping[str, str] | None = None) -> KeptTypes:
    """The columns of a driver that is right about its types.

    Args:
        schema: What the driver gives.
        types: What the database calls the types, by column, where it says more than the driver.
    """
    fields, converts = [], []
    for field in schema:
        said = (types or {}).get(field.name, "")
        if said in _WRONG or unsendable(field.type):
            raise _refused(field.name, said or str(field.type))
        convert = _as_json if said == "JSON" else _finite(field.name, field.type)
        fields.append(pa.field(field.name, JSON if said == "JSON" else field.type))
        converts.append(convert)
    return KeptTypes(pa.schema(fields), tuple(converts))


def kept_postgres(schema: pa.Schema) -> KeptTypes:
    """The columns of PostgreSQL's driver.

    Raises:
        UsageError: A column has a type that cannot be kept.
    """
    kept = []
    for field in schema:
        metadata = field.metadata or {}
        type_name = metadata.get(b"POSTGRESQL:type", b"").decode()
        modifier = int(metadata.get(b"POSTGRESQL:typmod", -1))
        kept.append(_postgres(field.name, field.type, type_name, modifier))
    fields = [pa.field(field.name, type_) for field, (type_, _) in zip(schema, kept, strict=True)]
    return KeptTypes(pa.schema(fields), tuple(convert for _, convert in kept))


def _postgres(
    name: str, type_: pa.DataType, type_name: str, modifier: int
) -> tuple[pa.DataType, Convert | None]:
    """What a column is kept as, and what makes it so.

    Args:
        name: Its name.
        type_: What the driver gives.
        type_name: PostgreSQL's name of the type.
        modifier: PostgreSQL's `atttypmod`, which holds the scale of a numeric; -1: there is none.
    """
    if pa.types.is_list(type_):
        inner, convert = _postgres(name, type_.value_type, type_name.removeprefix("_"), -1)
        return (pa.list_(inner), _each(convert)) if convert else (type_, None)
    if type_name == "numeric":
        return _numeric(name, modifier)
    if type_name in _AS_TEXT:
        return pa.string(), lambda column: column.storage.cast(pa.string())
    if type_name in _WRONG or unsendable(type_):
        raise _refused(name, type_name)
    if type_name == "bpchar":  # it is filled up with blanks that mean nothing: cast drops them
        return pa.string(), lambda column: pc.utf8_rtrim(column, " ")
    return type_, _finite(name, type_)


def _numeric(name: str, modifier: int) -> tuple[pa.DataType, Convert]:
    """A numeric as a decimal of its own precision; without one, as a JSON number of its digits."""

    def text(column: pa.Array) -> pa.StringArray:
        found = column.storage
        infinite = pc.is_in(found, pa.array(["nan", "inf", "-inf"]))
        if pc.any(infinite).as_py():
            raise UsageError(
                f"column {name!r} holds NaN or infinity, which is no number",
                next_step=f"write NULLIF({name}, 'NaN') in the query, or leave such rows out",
            )
        return found

    # https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/numeric.c
    precision = (modifier - 4) >> 16 & 0xFFFF
    scale = ((modifier - 4 & 0x7FF) ^ 1024) - 1024
    if modifier >= 0 and 0 <= scale <= precision <= _DECIMAL_DIGITS_MAX:
        is_small = precision <= _DECIMAL128_DIGITS_MAX
        type_ = (pa.decimal128 if is_small else pa.decimal256)(precision, scale)
        return type_, lambda column: text(column).cast(type_)
    return JSON, lambda column: _as_json(text(column))


def _each(convert: Convert) -> Convert:
    """The same for each element of lists."""

    def lists(column: pa.ListArray) -> pa.ListArray:
        return pa.ListArray.from_arrays(
            column.offsets, convert(column.values), mask=column.is_null()
        )

    return lists


def _as_json(column: pa.StringArray) -> pa.Array:
    return pa.ExtensionArray.from_storage(JSON, column)


def _finite(name: str, type_: pa.DataType) -> Convert | None:
    """Refuses infinite dates and timestamps, which come as days that never were."""
    if pa.types.is_date32(type_):
        low, high = _MIN_DAY, _MAX_DAY
    elif pa.types.is_timestamp(type_) and type_.unit == "us":
        low, high = _MIN_US, _MAX_US
    else:
        return None

    def checked(column: pa.Array) -> pa.Array:
        bounds = pc.min_max(column)
        least, most = bounds["min"].value, bounds["max"].value
        if least is not None and (least < low or most > high):
            raise UsageError(
                f"column {name!r} holds an infinite date, or one beyond what can be read",
                next_step=f"write NULLIF({name}, 'infinity') in the query, or leave such rows out",
            )
        return column

    return checked


def _refused(name: str, type_name: str) -> UsageError:
    number = f"extract(epoch from {name})"
    how = (
        f"{number} makes a number of it" if type_name == "interval" else f"{name}::text is one way"
    )
    return UsageError(
        f"column {name!r} is of the type {type_name or 'unknown'}, which cannot be kept as it is",
        next_step=f"convert it in the query ({how}), or leave it out",
    )


def sqlite_type(has: Sequence[Any], bounds: Sequence[int | None]) -> pa.DataType:
    """The type of a column of SQLite, in which each value has one of its own.

    Args:
        has: Whether it holds integers, reals, texts and blobs.
        bounds: The least and the largest integer.

    >>> sqlite_type([1, 1, 0, 0], [0, 7]), sqlite_type([1, 0, 1, 0], [0, 7])
    (DataType(double), DataType(string))
    """
    integers, reals, texts, blobs = map(bool, has)
    if blobs:
        return pa.binary()
    if integers and reals:
        # Beside reals an integer becomes a double: where that would lose digits all are texts.
        fits = all(abs(each or 0) <= _EXACT_IN_DOUBLE for each in bounds)
        texts = texts or not fits
    if texts or not (integers or reals):
        return pa.string()
    return pa.float64() if reals else pa.int64()
