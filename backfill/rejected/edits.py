"""Whether a cell was edited by a person, or only rewritten by their spreadsheet.

A spreadsheet that opens and saves a CSV changes cells that nobody touched: `007` becomes `7`,
`100000` becomes `1E+05`, the 16th digit of a number becomes 0, `03/04/2024` becomes `3/4/2024`,
`true` becomes `TRUE`, a long text is cut, and in a Windows code page a rare letter becomes another
one. Such a change says nothing. What could be a person's work counts as an edit: zeros that were
added, a date in another order, other separators.
"""

import re
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from typing import Any

import orjson

CELL_CHARS_MAX = 32_767
"""Excel cuts the text of a cell here."""

_DIGITS_KEPT = 15
"""Spreadsheets keep so many digits of a number."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_ADDED_ZERO = re.compile(r"-?0[0-9]")
_TIME = re.compile(r"[0-9]+([-/.: ]+[0-9]+){2,}( ?[AaPp][Mm])?")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_INT64 = range(-(2**63), 2**64)


def is_edited(before: str, now: str, *, code_page: str | None = None, comma: bool = False) -> bool:
    """Whether a cell says something else than before.

    Args:
        before: The cell as we wrote it.
        now: The cell as it is now.
        code_page: What the file was saved in, where that cannot say every character.
        comma: Whether numbers may have been saved with a decimal comma.
    """
    if before == now or (before.lower() in ("true", "false") and before.lower() == now.lower()):
        return False
    if len(now) == CELL_CHARS_MAX and before.startswith(now):
        return False
    if code_page is not None and _as_saved(before, code_page).fullmatch(now):
        return False
    return not (_same_number(before, now, comma=comma) or _same_time(before, now))


def typed(text: str, before: Any) -> Any:
    """An edited cell as a value of the same type as before, if it can be one, else as text.

    An emptied cell is null, also where there was text.

    >>> typed("7", 12), typed("7", "12"), typed('["a"]', []), typed("", "x")
    (7, '7', ['a'], None)
    """
    if text == "":
        return None
    if isinstance(before, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(before, int | float):
        return _number(text)
    if isinstance(before, dict | list):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text


def _number(text: str) -> Any:
    if _INTEGER.fullmatch(text) and int(text) in _INT64:
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _as_saved(text: str, code_page: str) -> re.Pattern[str]:
    """What the text may look like after it was saved: a lost character is a `?`, or any other."""
    lost = (not each.encode(code_page, "ignore") for each in text)
    return re.compile(
        "".join(
            ".{0,2}" if gone else re.escape(each) for each, gone in zip(text, lost, strict=True)
        ),
        re.DOTALL,
    )


def _same_number(before: str, now: str, *, comma: bool) -> bool:
    now = now.replace(",", ".") if comma else now
    if not (_NUMBER.fullmatch(before) and _NUMBER.fullmatch(now)) or _ADDED_ZERO.match(now):
        return False
    exact, kept = Decimal(before), Decimal(now)
    if exact == kept:
        return True
    digits = len(kept.as_tuple().digits)
    if "e" not in now.lower():
        if digits <= _DIGITS_KEPT:
            return False
        digits = _DIGITS_KEPT
    modes = (ROUND_HALF_UP, ROUND_DOWN)
    return any(Context(prec=digits, rounding=mode).plus(exact) == kept for mode in modes)


def _same_time(before: str, now: str) -> bool:
    """Whether two dates or times differ in nothing but leading zeros that were lost."""
    if not (_TIME.fullmatch(before) and _TIME.fullmatch(now)):
        return False
    were, are = re.split("([0-9]+)", before), re.split("([0-9]+)", now)
    return len(were) == len(are) and all(
        one == other
        or (one.isdigit() and one.lstrip("0") == other)
        or one.strip("0") == other == ""
        for one, other in zip(were, are, strict=True)
    )
