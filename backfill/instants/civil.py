"""Calendar and clock: digits of a known layout -> microseconds on the local clock."""

import re

import numpy as np

from backfill.instants.local_times import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    SECOND_US,
    Bools,
    Cells,
    Failure,
    Ints,
    LocalTimes,
)

MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

ZONE = (
    r"(?P<zone>z|utc?|gmt|"
    r"(?P<sign>[+-])(?P<zone_hour>00)(?::?(?P<zone_minute>00)(?::?(?P<zone_second>00))?)?(?!0))"
)
"""A zone in the text. No other name: EST is one thing in New York and another in Sydney."""

_CENTURY_TURN = 69
"""POSIX: two-digit years from 69 are 19xx, those below are 20xx."""
_THURSDAY = 3
"""The weekday of 1970-01-01, Monday being 0."""


def number(cells: Cells, span: tuple[int, int]) -> Ints:
    """The whole number written in columns `span` (at most 18 digits) of every row."""
    start, end = span
    total = np.zeros(len(cells), dtype=np.int64)
    for column in range(start, end):
        total = total * 10 + (cells[:, column] - ord("0"))
    return total


class Fields:
    """The parts of values that share one shape, by the names of the groups that matched it."""

    def __init__(self, cells: Cells, match: re.Match[str]) -> None:
        self._cells = cells
        self._match = match
        self._words = match.groupdict()

    def word(self, name: str) -> str:
        """The letters of a part, in lower case; the same in every value. Empty if absent."""
        return self._words.get(name) or ""

    def has(self, name: str) -> bool:
        """Whether the shape has that part."""
        return bool(self._words.get(name))

    def number(self, name: str, *, digits: int = 18) -> Ints:
        """The number in the first `digits` of a part; 0 if it is absent."""
        start, end = self._match.span(name) if self.has(name) else (0, 0)
        return number(self._cells, (start, min(end, start + digits)))

    def literal(self, name: str, digit: str) -> Bools:
        """Which values have `digit` where the format itself has it."""
        return np.asarray(self._cells[:, self._match.start(name)] == ord(digit))


def local_times(fields: Fields) -> LocalTimes:
    """Read date, clock and zone; an impossible one (30 February, 24:00, :60) is unreadable."""
    year = _year(fields)
    days, possible = _days(fields, year)
    clock_us, on_the_clock = _clock(fields)
    failures = np.where(possible & on_the_clock, Failure.NONE, Failure.UNREADABLE).astype(np.uint8)
    failures[(year == 0) & (failures == Failure.NONE)] = Failure.OUT_OF_RANGE
    offset_us, known = _offset(fields)
    if known is not None:
        failures[~known] = Failure.UNREADABLE
    return LocalTimes(days * DAY_US + clock_us, offset_us, failures)


def _year(fields: Fields) -> Ints:
    if not fields.has("short_year"):
        return fields.number("year")
    short = fields.number("short_year")
    return short + np.where(short < _CENTURY_TURN, 2000, 1900)


def _days(fields: Fields, year: Ints) -> tuple[Ints, Bools]:
    """Days since 1970-01-01, and which of them are in the calendar."""
    if fields.has("day_of_year"):
        ordinal = fields.number("day_of_year")
        first, after = _first_days(year * 12, months=12)
        days = first + ordinal - 1
        possible = (ordinal >= 1) & (days < after)
    else:
        month, day = _month(fields), fields.number("day")
        first, after = _first_days(year * 12 + np.clip(month, 1, 12) - 1, months=1)
        days = first + day - 1
        possible = (month >= 1) & (month <= 12) & (day >= 1) & (days < after)  # noqa: PLR2004
    if fields.has("weekday"):
        weekday = [name[:3] for name in WEEKDAYS].index(fields.word("weekday")[:3])
        possible &= (days + _THURSDAY) % 7 == weekday
    return days, possible


def _first_days(month: Ints, *, months: int) -> tuple[Ints, Ints]:
    """The first day of a month (counted from year 0), and the first day `months` later."""
    since_1970 = month - 1970 * 12
    return _day_of(since_1970), _day_of(since_1970 + months)


def _day_of(month: Ints) -> Ints:
    return np.asarray(month.view("datetime64[M]").astype("datetime64[D]").view(np.int64))


def _month(fields: Fields) -> Ints:
    if not fields.has("month_name"):
        return fields.number("month")
    month = [name[:3] for name in MONTHS].index(fields.word("month_name")[:3]) + 1
    return np.full_like(fields.number("day"), month)


def _clock(fields: Fields) -> tuple[Ints, Bools]:
    """Microseconds since midnight, and which of them a clock can show."""
    hour, minute, second = (fields.number(name) for name in ("hour", "minute", "second"))
    possible = (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004
    if fields.has("half"):
        hour12 = fields.number("hour12")
        possible &= (hour12 >= 1) & (hour12 <= 12)  # noqa: PLR2004
        hour = hour12 % 12 + (12 if fields.word("half").startswith("p") else 0)
    clock_us = hour * HOUR_US + minute * MINUTE_US + second * SECOND_US
    return clock_us + _fraction_us(fields), possible


def _fraction_us(fields: Fields) -> Ints:
    missing_digits = max(0, 6 - len(fields.word("fraction")))
    return fields.number("fraction", digits=6) * int(10**missing_digits)


def _offset(fields: Fields) -> tuple[Ints | None, Bools | None]:
    """The offset from UTC in microseconds, and which offsets are possible; None without zone."""
    if not fields.has("zone"):
        return None, None
    hour, minute, second = (fields.number(f"zone_{name}") for name in ("hour", "minute", "second"))
    sign = -1 if fields.word("sign") == "-" else 1
    offset_us = sign * (hour * HOUR_US + minute * MINUTE_US + second * SECOND_US)
    return offset_us, (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004
