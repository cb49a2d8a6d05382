"""One line of JSON Lines: an object as JSON fragments, or the reason why it is none.

A string is written anew in the one shortest way, an object with sorted keys; a number stays as it
is written, unless it has more digits than int64 or double can hold: then it becomes a string.
"""

import json
import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import orjson

from backfill.rows import Reason
from backfill.sources.shapes import (
    DUPLICATE_KEY,
    INVALID_JSON,
    INVALID_UTF8,
    NOT_AN_OBJECT,
    NUL_BYTE,
    reason,
)

DEPTH_MAX = 64
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_SAFE_DIGITS = 15  # any decimal of so many survives in a double
_SAFE_INTEGER_CHARS = 18


def fragments(
    line: bytes, encoding: str, columns: Collection[str] | None
) -> dict[str, str] | Reason:
    """The values of the object in a line, each as JSON, by key.

    Args:
        line: The line, at least one character that is not blank.
        encoding: Its codec.
        columns: The keys that are wanted; all, if None.
    """
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        return reason(INVALID_UTF8, offset=error.start, encoding=encoding)
    found = _object(text)
    if isinstance(found, Reason):
        return found
    return {
        key: orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
        for key, value in found.items()
        if columns is None or key in columns
    }


def _object(text: str) -> Mapping[str, Any] | Reason:
    # orjson is strict where `json` is not (NaN, control characters, halves of surrogate pairs);
    # `json` shows numbers as they are written, and keys that stand twice.
    raw = text.encode()
    if b"\0" in raw or _ESCAPED_NUL.search(raw):
        return reason(NUL_BYTE)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        offset = len(text[: error.pos].encode())
        return reason(INVALID_JSON, offset=offset, problem=error.msg.partition(":")[0])
    if not isinstance(value, dict):
        return reason(NOT_AN_OBJECT)
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX and _too_deep(value):
        return reason(INVALID_JSON, offset=0, problem=f"nested deeper than {DEPTH_MAX} levels")
    try:
        found: dict[str, Any] = _DECODER.decode(text)
    except _DuplicateKeyError:
        return reason(DUPLICATE_KEY)
    return found


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [child for node in level for child in _children(node)]
    return bool(level)


def _children(node: Any) -> list[Any]:
    inner = node.values() if isinstance(node, dict) else node
    return [child for child in inner if isinstance(child, dict | list)]


class _DuplicateKeyError(ValueError):
    """A key stands twice in one object, so one of the values would be lost."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKeyError
    return found


def _integer(digits: str) -> orjson.Fragment:
    if len(digits) <= _SAFE_INTEGER_CHARS or _is_int64(digits):
        return orjson.Fragment(digits)
    return orjson.Fragment(f'"{digits}"')


def _is_int64(digits: str) -> bool:
    # The length first: turning many digits into an integer takes quadratic time.
    return len(digits) <= len("-9223372036854775808") and -(2**63) <= int(digits) < 2**63


def _decimal(digits: str) -> orjson.Fragment:
    if len(digits) <= _SAFE_DIGITS and "e" not in digits and "E" not in digits:
        return orjson.Fragment(digits)
    return orjson.Fragment(digits if _is_double(digits) else f'"{digits}"')


def _is_double(digits: str) -> bool:
    """Whether a double that is written in the shortest way is the same number."""
    shortest = repr(float(digits))
    return shortest not in {"inf", "-inf"} and Decimal(shortest) == Decimal(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_decimal)
