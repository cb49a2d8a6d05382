"""Python values -> values that the API reads as they were meant, for calls made by hand.

What it would misread is refused with a `ValueError` that names the key, never the value.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from math import floor, isfinite
from numbers import Integral, Real
from typing import Any
from uuid import UUID

from backfill.encoding.identity import IDENTIFIER_BYTES_MAX
from backfill.instants import SERVICE_SECONDS_MAX

NAME_BYTES_MAX = 100
INTEGER_MAX = 2**53
"""Whole numbers beyond it are sent as text: many readers of JSON round them."""
NESTING_MAX = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII)

TimestampValue = datetime | date | int | float


def plain(value: Any, key: str = "", depth: int = 0) -> Any:
    """The value as JSON knows it; containers, too, all the way down.

    Aware timestamps and dates (their midnight in UTC) become unix seconds; decimals a number where
    nothing is lost, else text; UUIDs text; sets, tuples and lists a list.

    Raises:
        ValueError: A naive moment, NaN, infinity, a nesting without end, or another type.
    """
    match value:
        # Before the numbers: True is an int to Python.
        case None | bool():
            return value
        # Before text: members of a StrEnum are text, too.
        case Enum():
            return plain(value.value, key, depth)
        case str():
            return _text(value, key)
        case date():
            return seconds(value, key)
        case UUID():
            return str(value)
        case Decimal() | Integral() | Real():
            return _number(value, key)
        case _:
            return _container(value, key, depth)


def seconds(moment: date, key: str) -> int:
    """An aware datetime, or the midnight of a date in UTC, in unix seconds, rounded down.

    Raises:
        ValueError: The datetime has no zone.
    """
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if moment.utcoffset() is None:
        raise ValueError(f"{key}: the timestamp has no time zone; add one, such as tzinfo=UTC")
    return (moment - _EPOCH) // timedelta(seconds=1)


def unix_time(moment: object, key: str) -> int:
    """When something happened, in whole unix seconds, rounded down.

    Raises:
        ValueError: It has no zone, is before 1970, is in milliseconds, or is no moment at all.
            The service would take "now" for it and say nothing.
    """
    if isinstance(moment, date):
        unix_s: float = seconds(moment, key)
    elif isinstance(moment, int | float) and not isinstance(moment, bool):
        unix_s = moment
    else:
        raise ValueError(  # noqa: TRY004  # one promise for all values
            f"{key}: not a timestamp; give an aware datetime or unix seconds"
        )
    # The service takes "now" for what it cannot be, and says nothing.
    if not 0 <= unix_s < SERVICE_SECONDS_MAX:
        raise ValueError(f"{key}: not a unix time in seconds")
    return floor(unix_s)


def identifier(value: object, key: str) -> str:
    """An identifier as text.

    Raises:
        ValueError: It is empty, a dot segment, too long, or neither text nor a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, str | Integral | UUID):
        raise ValueError(f"{key}: not an identifier")  # noqa: TRY004  # one promise for all values
    text = _text(str(value), key)
    if not text.strip() or text in (".", ".."):
        raise ValueError(f"{key}: empty, or a path of dots")
    # The API tells the type of an identifier in a path by its shape.
    bytes_max = IDENTIFIER_BYTES_MAX["email" if "@" in text else "id"]
    if len(text.encode()) > bytes_max:
        raise ValueError(f"{key}: longer than {bytes_max} bytes")
    return text


def event_name(value: object) -> str:
    """The name of an event.

    Raises:
        ValueError: It is empty or too long.
    """
    if not isinstance(value, str) or not 0 < len(_text(value, "name").encode()) <= NAME_BYTES_MAX:
        raise ValueError(f"name: an event's name is text of 1 to {NAME_BYTES_MAX} bytes")
    if not value.strip():
        raise ValueError("name: blank")
    return value


def event_id(value: object) -> str:
    """The id of an event.

    Raises:
        ValueError: It is no ULID. Events that share an id, a customer's say, are one event.
    """
    if not isinstance(value, str) or not _ULID.fullmatch(value.upper()):
        raise ValueError("id: an event's id is a ULID; leave it out to have one made")
    return value


def _text(value: str, key: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{key}: half of a surrogate pair, which no text can hold") from None
    return value


def _number(value: Any, key: str) -> int | float | str:
    """A number that every reader of JSON reads as it was written, else its digits as text."""
    if isinstance(value, Integral):
        return int(value) if abs(int(value)) <= INTEGER_MAX else str(int(value))
    if not isfinite(value):
        raise ValueError(f"{key}: NaN and infinity are no JSON numbers")
    if not isinstance(value, Decimal):
        return float(value)
    if value == value.to_integral_value():
        return _number(int(value), key)
    # Only where the double says the same digits.
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def _container(value: Any, key: str, depth: int) -> Any:
    # A value that holds itself would never end.
    if depth >= NESTING_MAX:
        raise ValueError(f"{key.partition('.')[0]}: nested deeper than {NESTING_MAX} levels")
    match value:
        case Mapping():
            return {
                _key(name, key): plain(each, f"{key}.{name}" if key else str(name), depth + 1)
                for name, each in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [plain(each, f"{key}[{i}]", depth + 1) for i, each in enumerate(value)]
        case _:
            raise ValueError(f"{key}: a {type(value).__name__} cannot be sent")


def _key(name: Any, key: str) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{key}: every name in it must be text, and not empty")
    return _text(name, key)
