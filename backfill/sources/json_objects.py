"""One line of JSON Lines: an object as JSON fragments, or the reason why it is none.

A string is written anew in the one shortest way, an object with sorted keys; a number stays as it
is written, unless it has more digits than int64 or double can hold: then it becomes a string.
"""

import json
import re
from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import Any, NoReturn

import orjson

from backfill.rows import Reason, reason

DEPTH_MAX = 64
_DIGITS_MAX = 400
_SAFE_DIGITS = 15  # any decimal of so many survives in a double
_SAFE_INTEGER_CHARS = 18
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*+\\u0000")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_STRING = r'"(?:[^"\\]|\\.)*+(?:"|\Z)'
_STRING_OR_BRACKET = re.compile(_STRING + r"|[\[\]{}]", re.DOTALL)
_STRING_OR_CONSTANT = re.compile(_STRING + r"|NaN|-?Infinity", re.DOTALL)


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
        what = f"byte {error.start} of the row is not valid {encoding}"
        return reason("invalid_utf8", message=what)
    found = _object(text)
    if isinstance(found, Reason):
        return found
    return {
        key: orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
        for key, value in found.items()
        if columns is None or key in columns
    }


def _object(text: str) -> dict[str, Any] | Reason:
    if "\0" in text or ("\\u0000" in text and _ESCAPED_NUL.search(text)):
        return reason("nul_byte")
    # Counting is quick, and clears nearly every line; only then the depth is worked out.
    if text.count("{") + text.count("[") > DEPTH_MAX and _depth(text) > DEPTH_MAX:
        return _invalid(text, 0, f"nested deeper than {DEPTH_MAX} levels")
    try:
        found = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        return _invalid(text, error.pos, error.msg)
    except _DuplicateKeyError:
        return reason("duplicate_key")
    except _NoNumberError as error:
        # The parser does not say where it stood; the same word may occur in a string.
        outside = (found for found in _STRING_OR_CONSTANT.finditer(text) if found[0][0] != '"')
        return _invalid(text, next(outside).start(), f"{error} is no number in JSON")
    if not isinstance(found, dict):
        return reason("not_an_object")
    half = _ESCAPED_SURROGATE.search(text) if "\\u" in text else None
    if half and not _writable(found):
        return _invalid(text, half.start(), "half of a surrogate pair")
    return found


def _invalid(text: str, at: int, problem: str) -> Reason:
    offset = len(text[:at].encode())
    return reason("invalid_json", message=f"not valid JSON at byte {offset} of the row: {problem}")


def _depth(text: str) -> int:
    """How deep brackets are nested, at most, outside strings."""
    steps = (
        1 if found[0] in "[{" else -1
        for found in _STRING_OR_BRACKET.findall(text)
        if found[0] != '"'
    )
    return max(accumulate(steps), default=0)


def _writable(found: dict[str, Any]) -> bool:
    """Whether all strings can be written as UTF-8."""
    try:
        orjson.dumps(found)
    except TypeError:
        return False
    return True


class _DuplicateKeyError(ValueError):
    """A key stands twice in one object, so one of the values would be lost."""


class _NoNumberError(ValueError):
    """NaN or an infinity, which JSON does not have."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKeyError
    return found


def _number(digits: str) -> orjson.Fragment:
    return orjson.Fragment(number(digits))


def number(digits: str) -> str:
    """A number as it stands in JSON; one that readers would round, as a string."""
    is_whole = not any(each in digits for each in ".eE")
    # Beyond 64 bits readers round: as text every digit arrives.
    if is_whole:
        exact = len(digits) <= _SAFE_INTEGER_CHARS or _is_int64(digits)
    else:
        exact = len(digits) <= _SAFE_DIGITS and "e" not in digits.lower()
        exact = exact or _is_double(digits)
    return digits if exact else f'"{digits}"'


def _is_int64(digits: str) -> bool:
    # The length first: turning many digits into an integer takes quadratic time.
    return len(digits) <= len("-9223372036854775808") and -(2**63) <= int(digits) < 2**63


def _is_double(digits: str) -> bool:
    """Whether a double that is written in the shortest way is the same number."""
    shortest = repr(float(digits))
    if len(digits) > _DIGITS_MAX or shortest in {"inf", "-inf"}:
        return False
    try:
        return Decimal(shortest) == Decimal(digits)
    except InvalidOperation:  # an exponent that not even Decimal has
        return False


def _refuse(constant: str) -> NoReturn:
    raise _NoNumberError(constant)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_number,
    parse_float=_number,
    parse_constant=_refuse,
)
