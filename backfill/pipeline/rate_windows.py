"""Rates by the clock: `[[destination.window]]`, and what they mean at a time.

A window holds whenever the clock of its zone shows a time in it. So on the days when clocks change
it is shorter or longer, and a time that the clock shows twice is in it twice.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from backfill.instants import Reading, validate_reading
from backfill.pipeline.setting_values import StrictSettings

DAY_S = 86_400
_HOUR_S = 3_600
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")

_COMPARED = datetime(2025, 1, 1, tzinfo=UTC)
_COMPARED_HOURS = 2 * 366 * 24
"""Zones are compared over two years: the rules of most come again each year, of some later."""

LASTS_MAX_S = 400 * DAY_S
"""A plan that would last longer is said to have no end."""


def _seconds(clock: str) -> int:
    """A clock as seconds since midnight."""
    hours, minutes = map(int, clock.split(":"))
    return hours * _HOUR_S + minutes * 60


class RateWindow(StrictSettings):
    """A part of each day in which another rate holds; over midnight where `to` is before `from`."""

    from_: str = Field(alias="from")
    to: str
    timezone: str
    # 0 sends nothing: a pause. Only outside of windows, and on this machine, it is no limit.
    rate: float = Field(ge=0, allow_inf_nan=False)

    @field_validator("from_", "to")
    @classmethod
    def _is_a_clock(cls, value: str) -> str:
        if not _CLOCK.fullmatch(value):
            raise ValueError('give a time of the day such as "08:00", to the minute')
        return value

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        validate_reading(Reading("iso8601", timezone=value))
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            # An offset such as +02:00 is none: the clocks of offices change.
            raise ValueError('give an IANA zone such as "Europe/Berlin", or "UTC"') from None
        return value

    @model_validator(mode="after")
    def _lasts(self) -> "RateWindow":
        if _seconds(self.from_) % DAY_S == _seconds(self.to) and self.to != "24:00":
            raise ValueError('from and to are the same: for a whole day write "00:00" to "24:00"')
        return self

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The seconds of the day that it covers: a first one, and an end that is not in it."""
        first, end = _seconds(self.from_) % DAY_S, _seconds(self.to)
        if first < end:
            return ((first, end),)
        return tuple((a, b) for a, b in ((first, DAY_S), (0, end)) if a < b)

    def holds_at(self, unix_s: float) -> bool:
        """Whether it holds at a time."""
        shown = datetime.fromtimestamp(unix_s, ZoneInfo(self.timezone))
        second = shown.hour * _HOUR_S + shown.minute * 60 + shown.second
        return any(first <= second < end for first, end in self.spans)

    def bounds(self, unix_s: float) -> Iterator[float]:
        """When it may begin or end, within two days of a time; more than those, in no order."""
        zone = ZoneInfo(self.timezone)
        today = datetime.fromtimestamp(unix_s, zone).date()
        for days in range(-1, 3):
            for clock in (self.from_, self.to):
                for fold in (0, 1):
                    yield _instant(today + timedelta(days), _seconds(clock), zone, fold)
        # Where clocks are set, a bound may be skipped: the window changes with the clock itself.
        yield from _clock_changes(unix_s, zone)

    def overlaps(self, other: "RateWindow") -> bool:
        """Whether both hold at some time."""
        return any(
            _have_common(self.spans, [(a + shift, b + shift) for a, b in other.spans])
            for shift in _shifts(self.timezone, other.timezone)
        )


def _instant(day: date, second: int, zone: ZoneInfo, fold: int) -> float:
    day += timedelta(second // DAY_S)
    hours, rest = divmod(second % DAY_S, _HOUR_S)
    shown = datetime(day.year, day.month, day.day, hours, rest // 60, tzinfo=zone, fold=fold)
    return shown.timestamp()


def _clock_changes(unix_s: float, zone: ZoneInfo) -> Iterator[float]:
    """When the clocks of a zone are set, within two days from a time."""

    def offset(at_s: float) -> timedelta | None:
        return datetime.fromtimestamp(at_s, zone).utcoffset()

    hour = unix_s // _HOUR_S * _HOUR_S
    for start in (hour + hours * _HOUR_S for hours in range(49)):
        before, after = start, start + _HOUR_S
        if offset(before) == offset(after):
            continue
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (
                (middle, after) if offset(middle) == offset(before) else (before, middle)
            )
        yield after


def _shifts(zone: str, other: str) -> set[int]:
    """How many seconds the clocks of one zone are ahead of another's, throughout the years."""
    if zone == other:
        return {0}
    ours, theirs = ZoneInfo(zone), ZoneInfo(other)
    hours = (_COMPARED + timedelta(hours=each) for each in range(_COMPARED_HOURS))
    offsets = {(each.astimezone(ours).utcoffset(), each.astimezone(theirs).utcoffset())
               for each in hours}  # fmt: skip
    return {int((a - b).total_seconds()) for a, b in offsets if a is not None and b is not None}


def _have_common(spans: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> bool:
    """Whether spans of a day meet others, which may lie up to two days off."""
    return any(
        first < end_ + days * DAY_S and first_ + days * DAY_S < end
        for first, end in spans
        for first_, end_ in others
        for days in (-2, -1, 0, 1, 2)
    )


def refuse_overlap(windows: Sequence[RateWindow]) -> None:
    """Refuse windows of which nobody could say which one holds.

    Raises:
        ValueError: Two of them overlap.
    """
    for one, other in combinations(windows, 2):
        if one.overlaps(other):
            raise ValueError(
                f"the windows {one.from_} to {one.to} ({one.timezone}) and {other.from_} to"
                f" {other.to} ({other.timezone}) overlap"
            )


@dataclass(frozen=True, slots=True)
class RateSchedule:
    """The rate as a function of time.

    Args:
        rate: Requests per second outside of all windows; 0 for no limit.
        windows: Where another one holds; they do not overlap.
    """

    rate: float
    windows: Sequence[RateWindow] = ()

    def at(self, unix_s: float) -> tuple[float, float]:
        """The rate at a time.

        Returns:
            Requests per second, 0 for no limit; and for how many seconds nothing is sent, 0 where
            it is not a pause.
        """
        holding = next((each for each in self.windows if each.holds_at(unix_s)), None)
        if holding is None or holding.rate:
            return holding.rate if holding else self.rate, 0.0
        ends_s = self.next_change(unix_s)
        # Two days: whoever pauses all day long is asked again.
        while self._pauses_at(ends_s) and ends_s < unix_s + 2 * DAY_S:
            ends_s = self.next_change(ends_s)
        return 0.0, ends_s - unix_s

    def next_change(self, unix_s: float) -> float:
        """The next time at which the rate may be another one; a day on where none comes before."""
        bounds = (each for window in self.windows for each in window.bounds(unix_s))
        return min((each for each in bounds if each > unix_s), default=unix_s + DAY_S)

    def ends_s(self, requests: int, unix_s: float) -> float | None:
        """When so many requests are sent that begin at a time; None: not within a year."""
        left, latest_s = float(requests), unix_s + LASTS_MAX_S
        while unix_s < latest_s:
            rate, pause_s = self.at(unix_s)
            if pause_s:
                unix_s += pause_s
                continue
            change_s = self.next_change(unix_s)
            if not rate or left <= rate * (change_s - unix_s):
                return unix_s + (left / rate if rate else 0.0)
            left -= rate * (change_s - unix_s)
            unix_s = change_s
        return None

    def _pauses_at(self, unix_s: float) -> bool:
        return any(each.holds_at(unix_s) and not each.rate for each in self.windows)
