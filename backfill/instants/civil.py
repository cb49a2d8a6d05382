"""Calendar and clock: digits of a known layout -> microseconds on the local clock."""

import re

import numpy as np

from backfill.instants import calendar_words
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

_OFFSET = (
    # One digit alone is an hour only behind UTC or GMT: elsewhere +2 may be anything.
    r"(?P<sign>[+-])(?P<zone_hour>00|(?<=[ct][+-])0)"
    r"(?::?(?P<zone_minute>00)(?::?(?P<zone_second>00))?)?(?!0)"
)
_ABBREVIATION = r"(?!(?:[ap]m|utc?|gmt|z)(?![a-z]))[a-z]{2,5}(?![a-z/_])"
_IANA = r"[a-z]+(?:[/_-][a-z]+)*/[a-z]+(?:[_-][a-z]+)*"
_REMARK = rf"(?:\x20?\([^()]+\)|\x20?\[(?:{_IANA}|utc|gmt|z)\]|\x20(?:utc|gmt|{_ABBREVIATION}))?"
ZONE = (
    rf"(?P<zone>(?:(?:utc?|gmt)?{_OFFSET}|z|utc?|gmt){_REMARK}"
    rf"|(?P<bracket>\[)?(?P<zone_name>{_IANA}|{_ABBREVIATION})(?(bracket)\]))"
)
"""A zone in the text, as a regular expression over shapes: an offset (+01:00, GMT-3), Z, UTC or
GMT, and what may be said about it behind ([Europe/Paris], (CET)); or a name alone. What a name
means is asked later: EST is one thing in New York and another in Sydney."""

PIVOT = 69
"""POSIX: two-digit years from 69 are 19xx, those below are 20xx."""
_THURSDAY = 3
"""The weekday of 1970-01-01, Monday being 0."""


def number(cells: Cells, span: tuple[int, int]) -> Ints:
    """The n numbers (int64) in columns `span`, at most 18, of an (n, m) array of digits."""
    start, end = span
    total = np.zeros(len(cells), dtype=np.int64)
    for column in range(start, end):
        total = total * 10 + (cells[:, column] - ord("0"))
    return total


class Fields:
    """The parts of n values that share one shape, by the names of the groups that matched it.

    Args:
        cells: The bytes of the values, as an (n, m) array.
        match: A match of the m characters that the shape has.
    """

    def __init__(self, cells: Cells, match: re.Match[str]) -> None:
        self._cells = cells
        self._match = match
        self._words = match.groupdict()

    def word(self, name: str) -> str:
        """The letters of a part, in lower case; the same in every value. Empty if absent."""
        return (self._words.get(name) or "").encode("latin-1").decode(errors="replace")

    def has(self, name: str) -> bool:
        """Whether the shape has that part."""
        return bool(self._words.get(name))

    def number(self, name: str, *, digits: int = 18) -> Ints:
        """The number (int64 of length n) in the first `digits` of a part; 0 if it is absent."""
        start, end = self._match.span(name) if self.has(name) else (0, 0)
        return number(self._cells, (start, min(end, start + digits)))

    def literal(self, name: str, digit: str) -> Bools:
        """Which of the n values have `digit` where the format itself has it."""
        return np.asarray(self._cells[:, self._match.start(name)] == ord(digit))


def local_times(fields: Fields, pivot: int = PIVOT) -> LocalTimes | None:
    """Read date, clock and zone; an impossible one (30 February, 25:00, :60) is unreadable.

    Args:
        fields: The parts of n values.
        pivot: Two-digit years from here on are 19xx.

    Returns:
        n local times; None where a word among the parts is no month or weekday.
    """
    if fields.has("month_name") and calendar_words.month_of(fields.word("month_name")) is None:
        return None
    if fields.has("weekday") and not calendar_words.weekdays_of(fields.word("weekday")):
        return None
    year = _year(fields, pivot)
    days, possible = _days(fields, year)
    clock_us, on_the_clock = _clock(fields)
    failures = np.where(possible & on_the_clock, Failure.NONE, Failure.UNREADABLE).astype(np.uint8)
    failures[(year == 0) & (failures == Failure.NONE)] = Failure.OUT_OF_RANGE
    local_us = days * DAY_US + clock_us
    if not fields.has("zone") or fields.has("zone_name"):
        return LocalTimes(local_us, None, failures, fields.word("zone_name"))
    offset_us, known = _offset(fields)
    failures[~known] = Failure.UNREADABLE
    return LocalTimes(local_us, offset_us, failures)


def _year(fields: Fields, pivot: int) -> Ints:
    if not fields.has("short_year"):
        return fields.number("year")
    short = fields.number("short_year")
    return short + np.where(short < pivot, 2000, 1900)


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
        # The date decides; a weekday can only contradict it ("so" is Sunday here, Saturday there).
        meant = calendar_words.weekdays_of(fields.word("weekday"))
        possible &= np.isin((days + _THURSDAY) % 7, [*meant])
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
    month = calendar_words.month_of(fields.word("month_name"))
    return np.full_like(fields.number("day"), month)


def _clock(fields: Fields) -> tuple[Ints, Bools]:
    """Microseconds since midnight, and which of them a clock can show."""
    hour, minute, second = (fields.number(name) for name in ("hour", "minute", "second"))
    possible = (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004
    if fields.has("half"):
        hour12 = fields.number("hour12")
        possible &= (hour12 >= 1) & (hour12 <= 12)  # noqa: PLR2004
        hour = hour12 % 12 + (12 if fields.word("half").startswith("p") else 0)
    clock_us = hour * HOUR_US + minute * MINUTE_US + second * SECOND_US + _fraction_us(fields)
    # ISO 8601 (2004, and again 2019): 24:00 is the end of the day, the next one's midnight.
    return clock_us, possible | (clock_us == DAY_US) & (hour == 24)  # noqa: PLR2004


def _fraction_us(fields: Fields) -> Ints:
    missing_digits = max(0, 6 - len(fields.word("fraction")))
    return fields.number("fraction", digits=6) * int(10**missing_digits)


def _offset(fields: Fields) -> tuple[Ints, Bools]:
    """The offset from UTC in microseconds, and which offsets are possible."""
    hour, minute, second = (fields.number(f"zone_{name}") for name in ("hour", "minute", "second"))
    sign = -1 if fields.word("sign") == "-" else 1
    offset_us = sign * (hour * HOUR_US + minute * MINUTE_US + second * SECOND_US)
    return offset_us, (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004
