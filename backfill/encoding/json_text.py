"""Cells -> JSON, a column at a time: every value is written once, and always the same way.

Whatever a cell was read from (text, a JSON fragment, a typed column), the same value becomes the
same bytes: that is what makes an event's id the same from CSV and from Parquet.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.instants import Reading, WrittenValues, characters, read, seconds

Mask = npt.NDArray[np.bool_]

Parts = list[str | pa.StringArray]
"""What each row's text is put together from: text that all share, columns of their own."""

AT_ONCE_MAX = 12
"""Joining more parts at once costs more than joining them by groups, and the groups again: the
processor's nearest cache cannot follow so many columns."""

INTEGER_MAX = 2**53
"""Beyond it readers of JSON round; such an integer is sent as a string."""

NULL_FRAGMENT = "null"

ANY = "*"
"""Among the texts that mean true or false: all that nothing else takes."""

_TRUE = pa.array(["true", "t", "yes", "y", "1", "on"])
_FALSE = pa.array(["false", "f", "no", "n", "0", "off"])
_INTEGER = r"^[+-]?[0-9]+(\.0*)?$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
MANY_DIGITS = r"[0-9.]{16}|[eE][+-]?[0-9]{3}"
_DIGITS_OF_A_DOUBLE = 15
_EXPONENTS_FROM = 1e9  # safely below where Arrow begins to write whole doubles as 1e+10
_QUOTE, _BACKSLASH, _FIRST_PRINTABLE, _ASCII_MAX = 34, 92, 32, 127


def join(parts: Parts) -> pa.StringArray:
    """The parts of each row behind one another; a null adds nothing."""
    merged: Parts = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    # By groups, and the groups again: see AT_ONCE_MAX.
    while len(merged) > AT_ONCE_MAX:
        starts = range(0, len(merged), AT_ONCE_MAX)
        merged = [_at_once(merged[start : start + AT_ONCE_MAX]) for start in starts]
    return _at_once(merged)


def _at_once(parts: Parts) -> pa.StringArray:
    return pc.binary_join_element_wise(*parts, "", null_handling="replace")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A column as JSON.

    Args:
        text: The JSON of each value without its quotes; null where there is nothing to send.
        quoted: Whether quotes go around each text.
        size_bytes: What counts against the limit of a value: its bytes before escaping.
        failures: Which rows could not be taken, by reason code.
    """

    text: pa.StringArray
    quoted: bool = False
    size_bytes: pa.Array | None = None
    failures: dict[str, Mask] = field(default_factory=dict)

    def fragments(self) -> pa.StringArray:
        """The JSON of each value, quotes included; null where there is nothing to send."""
        if not self.quoted:
            return self.text
        return pc.binary_join_element_wise('"', self.text, '"', "")


def as_mask(array: pa.Array) -> Mask:
    """A boolean column as a mask; null is false."""
    return cast("Mask", filled(array, False).to_numpy(zero_copy_only=False))


def filled(array: pa.Array, value: str | int | bool) -> pa.Array:
    """The same with a value in the place of nulls: a call that small files need not pay for."""
    return pc.fill_null(array, value) if array.null_count else array


def strings(column: pa.StringArray) -> Encoded:
    """Text as JSON strings."""
    return Encoded(escaped(column), quoted=True, size_bytes=pc.binary_length(column))


def escaped(column: pa.StringArray) -> pa.StringArray:
    """Text with what JSON escapes escaped; the quotes around it are not added.

    The column's bytes are looked at once; only a column that needs it is rewritten.
    """
    if not _holds_escapes(column):
        return column
    needing = as_mask(pc.match_substring_regex(column, r'[\x00-\x1f"\\]'))
    rewritten = [
        orjson.dumps(each)[1:-1].decode() for each in column.filter(pa.array(needing)).to_pylist()
    ]
    return pc.replace_with_mask(column, pa.array(needing), pa.array(rewritten, pa.string()))


def cut(encoded: Encoded, texts: pa.StringArray, over: Mask, size_max: int) -> Encoded:
    """JSON strings of which those that are too long are cut, never in the middle of a character.

    Args:
        encoded: n JSON strings.
        texts: The n texts that they are of.
        over: Which of them are too long, bool of length n.
        size_max: How many bytes of UTF-8 the text of one may have.
    """
    kept = [
        each.encode()[:size_max].decode(errors="ignore")
        for each in texts.filter(pa.array(over)).to_pylist()
    ]
    short = pc.replace_with_mask(texts, pa.array(over), pa.array(kept, pa.string()))
    return replace(strings(short), failures=encoded.failures)


def _holds_escapes(column: pa.StringArray) -> bool:
    used = characters(column)
    low, quote, backslash = used < _FIRST_PRINTABLE, used == _QUOTE, used == _BACKSLASH
    return bool(low.any() or quote.any() or backslash.any())


def without_blanks(column: pa.StringArray) -> pa.StringArray:
    """N texts without the blanks around them; null where there is nothing else.

    In a column of anything but text an empty cell can mean nothing but that there is no value.
    """
    trimmed = pc.ascii_trim_whitespace(column)
    if characters(trimmed).max(initial=0) > _ASCII_MAX:  # there are more blanks than ASCII has
        trimmed = pc.utf8_trim_whitespace(trimmed)
    if pc.min(pc.binary_length(trimmed)).as_py() == 0:
        return null_where(trimmed, [""])
    return trimmed


def integers(column: pa.StringArray) -> Encoded:
    """Text as whole numbers; `42.0` is one, `42.5` is a failure. Any number of digits is kept."""
    trimmed = without_blanks(column)
    fits = pc.match_substring_regex(trimmed, _INTEGER)
    failures = _failures("not_an_integer", fits)
    digits = pc.replace_substring_regex(_where(fits, trimmed), r"^\+|\.0*$", "")
    return Encoded(_shortest(digits), size_bytes=pc.binary_length(digits), failures=failures)


def _shortest(digits: pa.StringArray) -> pa.StringArray:
    """Digits in their shortest form; those beyond 2**53 as JSON strings."""
    if (pc.max(pc.binary_length(digits)).as_py() or 0) <= len(str(INTEGER_MAX)) - 1:
        return pc.cast(pc.cast(digits, pa.int64()), pa.string())
    return pa.array([None if each is None else _whole(each) for each in digits.to_pylist()])


def _whole(digits: str) -> str:
    number = digits.lstrip("-").lstrip("0") or "0"
    written = f"-{number}" if digits.startswith("-") and number != "0" else number
    return written if _is_exact(number) else f'"{written}"'


def _is_exact(number: str) -> bool:
    """Whether every reader of JSON keeps these digits."""
    most = len(str(INTEGER_MAX))
    return len(number) < most or (len(number) == most and int(number) <= INTEGER_MAX)


def numbers(column: pa.StringArray, decimal: str = ".", thousands: str = "") -> Encoded:
    """Text as numbers, each in the shortest form that reads back as the same double.

    A number with more digits than a double holds is a string, with all of them.

    Args:
        column: n texts; null where there is nothing.
        decimal: The decimal mark.
        thousands: What may group the digits before it by threes; empty: nothing.
    """
    trimmed = without_blanks(column)
    if thousands:
        trimmed = _ungrouped(trimmed, decimal, thousands)
    if decimal == ",":
        dotted = pc.match_substring(trimmed, ".")
        trimmed = pc.replace_substring(_where(pc.invert(dotted), trimmed, ""), ",", ".")
    if (pc.max(pc.binary_length(trimmed)).as_py() or 0) > _DIGITS_OF_A_DOUBLE:
        many = as_mask(pc.match_substring_regex(trimmed, MANY_DIGITS))
        if many.any() and (many := many & ~_are_shortest(trimmed)).any():
            return _with_exact(trimmed, many)
    read = _read_at_once(trimmed)
    if read is not None:
        return floats(read)
    fits = pc.match_substring_regex(trimmed, _NUMBER)
    encoded = floats(pc.cast(_where(fits, trimmed), pa.float64()))
    return Encoded(encoded.text, failures=_failures("not_a_number", fits) | encoded.failures)


def _are_shortest(column: pa.StringArray) -> Mask:
    """Whether each of n texts is just how a double is written, as programs write most of them."""
    fits = pc.match_substring_regex(column, _NUMBER)
    read = pc.cast(_where(fits, column), pa.float64())
    return as_mask(pc.equal(pc.cast(read, pa.string()), column))


def _ungrouped(column: pa.StringArray, decimal: str, thousands: str) -> pa.StringArray:
    """Numbers without what groups their digits; any other text as it is, which is no number.

    Groups have three digits: else `1,5` would become fifteen where a comma is said to group.
    """
    mark, point = re.escape(thousands), re.escape(decimal)
    if thousands == " ":
        mark = "[ \u00a0\u202f]"  # what is typeset between the groups is no plain space
    grouped = pc.match_substring_regex(
        column, rf"^[+-]?[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+(?:{point}[0-9]*)?$"
    )
    bare = pc.replace_substring_regex(column, mark, "")
    return pc.if_else(pc.fill_null(grouped, False), bare, column)


def _with_exact(column: pa.StringArray, many: Mask) -> Encoded:
    """Numbers of which some may have more digits than a double: those one by one.

    Args:
        column: n texts, with a point as decimal mark.
        many: Which of them those are, bool of length n.
    """
    short = pc.if_else(pa.array(many), pa.scalar(None, pa.string()), column)
    fits = pc.match_substring_regex(short, _NUMBER)
    few = floats(pc.cast(_where(fits, short), pa.float64()))
    few = replace(few, failures=_failures("not_a_number", fits) | few.failures)
    written: list[str | None] = [None] * len(column)
    failures = {code: failed.copy() for code, failed in few.failures.items()}
    for place in np.flatnonzero(many).tolist():
        code, written[place] = _exact_number(column[place].as_py())
        if code:
            failures.setdefault(code, np.zeros(len(column), np.bool_))[place] = True
    text = pc.coalesce(few.text, pa.array(written, pa.string()))
    return Encoded(text, failures=failures)


def _exact_number(text: str) -> tuple[str, str | None]:
    """One number as JSON; or the code of the reason why it is none."""
    if not re.search(_NUMBER, text):
        return "not_a_number", None
    try:
        found = _exact_float(text)
    except (ArithmeticError, ValueError):
        return "not_finite", None
    if isinstance(found, str):
        return "", f'"{found}"'
    return "", floats(pa.array([found])).text[0].as_py()


def _read_at_once(column: pa.StringArray) -> pa.DoubleArray | None:
    """The numbers of a column that holds nothing else; None where any needs a closer look."""
    try:
        read = pc.cast(column, pa.float64())
    except pa.ArrowInvalid:
        return None
    # Arrow also takes "inf" and "nan"; whatever else it takes, `_NUMBER` does.
    return read if pc.all(pc.is_finite(read)).as_py() is not False else None


def floats(column: pa.DoubleArray) -> Encoded:
    """Doubles as numbers; NaN and infinity are failures."""
    finite = pc.is_finite(column)
    column = _where(finite, column)
    text = pc.cast(column, pa.string())
    largest = pc.max(pc.abs(column)).as_py() or 0
    if largest >= _EXPONENTS_FROM:
        text = pc.coalesce(_whole_doubles(column), text)
    return Encoded(text, failures=_failures("not_finite", finite))


def _whole_doubles(column: pa.DoubleArray) -> pa.StringArray:
    """The digits of large whole numbers, as an integer column writes them; null elsewhere."""
    size = pc.abs(column)
    # A small one has its digits anyway: by way of an integer, -0 would lose its sign here alone.
    exact = pc.and_(
        pc.less_equal(size, float(INTEGER_MAX)), pc.greater_equal(size, _EXPONENTS_FROM)
    )
    whole = pc.and_(exact, pc.equal(column, pc.trunc(column)))
    return pc.cast(pc.cast(pc.if_else(whole, column, None), pa.int64()), pa.string())


def booleans(
    column: pa.StringArray,
    true_values: Sequence[str] = (),
    false_values: Sequence[str] = (),
    *,
    invert: bool = False,
) -> Encoded:
    """Text as true or false: true/false, t/f, yes/no, y/n, on/off, 1/0, in any case.

    Args:
        column: n texts.
        true_values: What means true besides, before all else; "*": every other text.
        false_values: The same for false.
        invert: Whether what means true is sent as false.
    """
    folded = pc.utf8_lower(without_blanks(column))
    own_true, own_false = (
        pc.is_in(folded, value_set=pa.array([each.strip().lower() for each in own], pa.string()))
        for own in (true_values, false_values)
    )
    true = pc.or_(own_true, pc.and_not(pc.is_in(folded, value_set=_TRUE), own_false))
    false = pc.or_(own_false, pc.and_not(pc.is_in(folded, value_set=_FALSE), own_true))
    # What nobody names is refused, unless a star takes it: nobody is unsubscribed by a guess.
    if ANY in true_values:
        true = pc.invert(false)
    valid = pc.or_(pc.or_(true, false), pc.is_null(folded))
    if ANY in false_values:
        valid = pa.repeat(True, len(column))
    answer = pc.if_else(pc.is_null(folded), None, pc.invert(true) if invert else true)
    return Encoded(
        pc.cast(_where(valid, answer), pa.string()), failures=_failures("not_a_boolean", valid)
    )


def documents(column: pa.StringArray) -> Encoded:
    """Text that holds JSON, written anew with sorted keys."""
    column = without_blanks(column)
    failed = np.zeros(len(column), np.bool_)
    text: list[str | None] = []
    for place, each in enumerate(column.to_pylist()):
        try:
            text.append(None if each is None else _one_form(each))
        except ValueError:
            failed[place] = True
            text.append(None)
    encoded = pa.array(text, pa.string())
    failures = {"not_json": failed} if failed.any() else {}
    return Encoded(encoded, size_bytes=pc.binary_length(encoded), failures=failures)


def _one_form(text: str) -> str:
    """A document written anew.

    Raises:
        ValueError: It is no JSON, or holds what JSON cannot say.
    """
    if re.search(MANY_DIGITS, text):
        return canonical_json(load_json(text))
    # No number in it is beyond what every reader keeps: nothing has to be looked at.
    try:
        return orjson.dumps(orjson.loads(text), option=_CANONICAL).decode()
    except TypeError as error:  # nested deeper than any reader follows
        raise ValueError("cannot be written as JSON") from error


def instants(
    column: pa.Array | WrittenValues, reading: Reading
) -> tuple[pa.Int64Array, dict[str, Mask]]:
    """Written timestamps as unix microseconds, and which could not be read, by reason code."""
    found = read(column, reading)
    codes = pc.unique(found.failures.drop_null()).to_pylist()
    return found.micros, {code: as_mask(pc.equal(found.failures, code)) for code in codes}


def timestamps(column: pa.Array | WrittenValues, reading: Reading) -> Encoded:
    """Written timestamps as unix seconds."""
    micros, failures = instants(column, reading)
    return Encoded(pc.cast(seconds(micros), pa.string()), failures=failures)


def load_json(text: str) -> Any:
    """One JSON value; numbers with more digits than a double holds stay as they are written.

    Raises:
        ValueError: It is not JSON.
    """
    if not re.search(MANY_DIGITS, text):
        return orjson.loads(text)
    try:
        return json.loads(
            text, parse_int=_exact_int, parse_float=_exact_float, parse_constant=_refuse_constant
        )
    except (ArithmeticError, RecursionError) as error:
        raise ValueError("beyond what can be read") from error


def _exact_int(digits: str) -> int | str:
    return int(digits) if _is_exact(digits.lstrip("-")) else digits


def _exact_float(digits: str) -> float | str:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("out of range")
    return number if Decimal(repr(number)) == Decimal(digits) else digits


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def canonical_json(value: Any) -> str:
    """One value as compact JSON with sorted keys; integers beyond 2**53 as strings.

    Raises:
        ValueError: It holds what JSON cannot say (NaN, infinity, half a character), or is nested
            deeper than any reader follows.
    """
    try:
        return orjson.dumps(_within_limits(value), option=_CANONICAL).decode()
    except (TypeError, RecursionError) as error:
        raise ValueError("cannot be written as JSON") from error


_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


def _within_limits(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _within_limits(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_within_limits(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > INTEGER_MAX:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    return value


def null_where(column: pa.StringArray, texts: Sequence[str]) -> pa.StringArray:
    """The column with null where it holds one of `texts`."""
    if not texts:
        return column
    listed = pc.is_in(column, value_set=pa.array(texts, pa.string()))
    return pc.if_else(listed, pa.scalar(None, pa.string()), column)


def _where(kept: pa.Array, column: pa.Array, other: str | None = None) -> pa.Array:
    """The column where `kept` is true; `other`, or null, elsewhere."""
    return pc.if_else(pc.fill_null(kept, True), column, pa.scalar(other, column.type))


def _failures(code: str, fits: pa.Array) -> dict[str, Mask]:
    failed = ~cast("Mask", filled(fits, True).to_numpy(zero_copy_only=False))
    return {code: failed} if failed.any() else {}


def decimals(column: pa.Array) -> Encoded:
    """Exact decimals as numbers where a double holds all their digits, else as strings."""
    if column.type.precision <= _DIGITS_OF_A_DOUBLE:
        # By way of text: Arrow's own cast makes 19.990000000000002 of 19.99.
        return floats(pc.cast(pc.cast(column, pa.string()), pa.float64()))
    over = Decimal(10**_DIGITS_OF_A_DOUBLE).scaleb(-column.type.scale)
    few = pc.less(pc.abs(column), pa.scalar(over, column.type))
    read = floats(pc.cast(pc.cast(_where(few, column), pa.string()), pa.float64()))
    if pc.all(few).as_py() is not False:
        return read
    many = pc.if_else(few, pa.scalar(None, column.type), column)
    return Encoded(pc.coalesce(read.text, _each(many, decimal_json)))


def decimal_json(value: Decimal) -> str:
    """One exact decimal: a number where a double holds all its digits, else a string."""
    # Formatting keeps every digit; normalize() would round to the 28 of the default context.
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if "." not in text:
        return _whole(text)
    if len(text.lstrip("-0.").replace(".", "")) > _DIGITS_OF_A_DOUBLE:
        return f'"{text}"'
    return cast("str", pc.cast(pa.scalar(float(text)), pa.string()).as_py())


def _each(column: pa.Array, write: Callable[[Any], str]) -> pa.StringArray:
    """The rare column that no kernel takes: every distinct value by itself."""
    encoded = column.dictionary_encode()
    written = [None if each is None else write(each) for each in encoded.dictionary.to_pylist()]
    return pa.array(written, pa.string()).take(encoded.indices)
