"""Where the ticks of an axis stand, and what they say."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil, floor, log10

from backfill.report.wording import elapsed, short

_EPOCH = date(1970, 1, 1)
_DAY_S = 86_400
_NICE = (1, 2, 5, 10)
_NICE_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
_NICE_DAYS = (1, 2, 7, 14)
_NICE_MONTHS = (1, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 6000, 12_000)
_MONTHS_YEAR = 12
_WEEK_DAYS = 7


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick of an axis: where it stands in the axis's own units, and what it says."""

    at: float
    label: str


def ticks(top: float, count: int, *, whole: bool = False, least: float = 0.0) -> list[Tick]:
    """Ticks from 0 to a round number that is not below `top`, about `count` of them.

    Args:
        top: The greatest value that is shown.
        count: How many steps there should be.
        whole: Only whole numbers: things that are counted.
        least: The last tick is not below this.

    >>> [tick.label for tick in ticks(437, 4)]
    ['0', '200', '400', '600']
    """
    top = max(top, least) or 1.0
    step = nice_step(top / count)
    step = max(step, 1.0) if whole else step
    number = ceil(round(top / step, 9))
    return [Tick(at * step, short(at * step)) for at in range(number + 1)]


def nice_step(rough: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(rough))
    return next(each * power for each in _NICE if each * power >= rough * (1 - 1e-9))


def elapsed_ticks(top_s: float, count: int) -> list[Tick]:
    """Ticks from 0 for an axis of time that ends at `top_s`."""
    rough = top_s / count
    if rough <= 1:
        step = nice_step(rough)
    else:
        step = next((each for each in _NICE_S if each >= rough), 0)
        step = step or nice_step(rough / _DAY_S) * _DAY_S
    return [Tick(at * step, elapsed(at * step)) for at in range(floor(top_s / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Calendar:
    """A way to part time: days as numbers since 1970, each piece from its first day.

    Args:
        start: The first day of the piece that a day lies in.
        after: The first day of the next piece, from the first day of one.
        label: What a piece is called, by its first day.
    """

    start: Callable[[int], int]
    after: Callable[[int], int]
    label: Callable[[int], str]

    def starts(self, first: int, last: int) -> list[int]:
        """The first days of all pieces from that of `first` to that of `last`."""
        found = [self.start(first)]
        while (following := self.after(found[-1])) <= last:
            found.append(following)
        return found


def calendar(first: int, last: int, count: int, together: int = 1) -> Calendar:
    """The finest calendar that makes at most `count` pieces.

    Args:
        first: The first day, as days since 1970.
        last: The last day.
        count: How many pieces at most.
        together: No piece is shorter than this: the days were not told apart.
    """
    days = last - first + 1
    for length in (1, _WEEK_DAYS):
        if days / length + 1 <= count and length >= together:
            return _days(length)
    months = days / 28 + 1
    for length in _NICE_MONTHS:
        if months / length + 1 <= count and length * 28 >= together:
            return _months(length)
    return _months(_NICE_MONTHS[-1])


def day_ticks(first: int, last: int, count: int) -> list[Tick]:
    """Ticks at the beginnings of days, months or years; at most `count`, within the days given."""
    for length in _NICE_DAYS:
        if (last - first) / length <= count:
            return _ticks(_days(length), first, last, _day_and_month)
    months = (last - first) / 30
    length = next((each for each in _NICE_MONTHS if months / each <= count), _NICE_MONTHS[-1])
    label = _month if length < _MONTHS_YEAR else _year
    return _ticks(_months(length), first, last, label)


def day(number: int) -> date:
    """A day since 1970 as a date; beyond the years 1 to 9999 the nearest one."""
    lowest, highest = (date.min - _EPOCH).days, (date.max - _EPOCH).days
    return _EPOCH + timedelta(days=min(max(number, lowest), highest))


def long_day(at: int) -> str:
    """A day since 1970 in words.

    >>> long_day(0)
    '1 January 1970'
    """
    given = day(at)
    return f"{given.day} {given:%B} {given.year}"


def _ticks(parts: Calendar, first: int, last: int, label: Callable[[int], str]) -> list[Tick]:
    return [Tick(at, label(at)) for at in parts.starts(first, last) if at >= first]


def _days(length: int) -> Calendar:
    # Weeks begin on Monday; 1970 began on a Thursday.
    shift = 3 if length % _WEEK_DAYS == 0 else 0
    return Calendar(
        lambda at: at - (at + shift) % length,
        lambda at: at + length,
        (lambda at: f"week of {long_day(at)}") if length == _WEEK_DAYS else long_day,
    )


def _months(length: int) -> Calendar:
    def start(at: int) -> int:
        months = _months_since_0(at)
        return _of_months(months - months % length)

    def after(at: int) -> int:
        months = _months_since_0(at)  # the first piece may begin before the year 1
        return _of_months(months - months % length + length)

    def label(at: int) -> str:
        if length == 1:
            return f"{day(at):%B} {day(at).year}"
        if length == _MONTHS_YEAR:
            return _year(at)
        return f"{_month(at)} to {_month(after(at) - 1)}"

    return Calendar(start, after, label)


def _months_since_0(at: int) -> int:
    given = day(at)
    return given.year * _MONTHS_YEAR + given.month - 1


def _of_months(months: int) -> int:
    year, month = divmod(months, _MONTHS_YEAR)
    if year < 1:
        return (date.min - _EPOCH).days
    if year > date.max.year:
        return (date.max - _EPOCH).days + 1
    return (date(year, month + 1, 1) - _EPOCH).days


def _day_and_month(at: int) -> str:
    given = day(at)
    return f"{given.day} {given:%b}"


def _month(at: int) -> str:
    given = day(at)
    return f"{given:%b} {given.year}"


def _year(at: int) -> str:
    return str(day(at).year)
