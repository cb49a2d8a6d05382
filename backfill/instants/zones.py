"""Local clocks -> instants, by the rules of an IANA zone, for a whole column.

pandas and Arrow can localise too, but pandas raises on 9999-12-31 (a popular "for ever") and
before version 3 knew no rule after 2037, and Arrow needs the system's own zone files.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from difflib import get_close_matches
from enum import IntEnum
from functools import lru_cache
from typing import Any, Literal, Protocol, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Column: TypeAlias = "pa.Array[Any]"
Cells = npt.NDArray[np.uint8]
"""The bytes of n values of one length m, as an (n, m) array."""

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

EARLIEST_US = -62_135_596_800 * SECOND_US
"""0001-01-01T00:00:00Z."""
LATEST_US = 253_402_300_800 * SECOND_US - 1
"""9999-12-31T23:59:59.999999Z."""
SERVICE_SECONDS_MAX = 100_000_000_000
"""The service takes unix seconds from 0 to below this; for others it takes now, without a word
(Track docs; the official Ruby client)."""
PLAUSIBLE_US = (
    int(np.datetime64("1990-01-01", "us").astype(np.int64)),
    int(np.datetime64("2100-01-01", "us").astype(np.int64)),
)
"""A number is taken for an instant only from 1990 up to, not including, 2100."""

Failures = npt.NDArray[np.uint8]
"""A `Failure` for each value."""

Ambiguous = Literal["reject", "earlier", "later"]
"""What to make of a local time that the clock showed twice: which of its two instants."""

Nonexistent = Literal["reject", "forward", "backward"]
"""What to make of a local time that the clock skipped: `forward` is the first instant after the
gap, `backward` the last microsecond before it (as `shift_forward`, `shift_backward` in pandas)."""

_DAY_S = 86_400

_SAID = re.compile(
    r"(?P<name>utc?|gmt|z)?(?:(?P<sign>[+-])(?P<hour>\d\d?)(?::?(?P<minute>\d\d))?)?"
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_FIRST_S = int((datetime(1, 1, 3, tzinfo=UTC) - _EPOCH).total_seconds())

_LAST_S = int((datetime(9999, 12, 29, tzinfo=UTC) - _EPOCH).total_seconds())


class Failure(IntEnum):
    """Why a value is no instant; `code` is the reason that a rejected row carries."""

    NONE = 0
    UNREADABLE = 1
    NO_ZONE = 2
    AMBIGUOUS = 3
    NONEXISTENT = 4
    OUT_OF_RANGE = 5
    ZONE_UNKNOWN = 6

    @property
    def code(self) -> str:
        """The code of the closed list, for instance `timestamp_no_zone`."""
        return f"timestamp_{self.name.lower()}"


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """What n values of one shape say.

    Args:
        local_us: int64 of length n: calendar and clock as written, in microseconds since
            1970-01-01T00:00, floored.
        offset_us: int64 of length n: how far that clock is ahead of UTC; None where the text
            carries no offset.
        failures: uint8 of length n: a `Failure` each; the times of a failed value mean nothing.
        zone: The name of a zone in the text, the same in every value, in lower case: an IANA name
            or an abbreviation; empty where there is none, or an offset beside it.
    """

    local_us: Ints
    offset_us: Ints | None
    failures: Failures
    zone: str = ""

    @property
    def utc_us(self) -> Ints:
        """int64 of length n: the instants, where clocks without an offset are taken as UTC."""
        return self.local_us if self.offset_us is None else self.local_us - self.offset_us

    @property
    def has_zone(self) -> bool:
        """Whether the text says where its clock stands."""
        return self.offset_us is not None or bool(self.zone)


def outside(micros: Ints) -> Bools:
    """Which of n instants, in microseconds since 1970, lie outside the years 0001 to 9999."""
    return (micros < EARLIEST_US) | (micros > LATEST_US)


def implausible(micros: "Ints | npt.NDArray[np.float64]") -> Bools:
    """Which of n instants, in microseconds since 1970, no number is taken for.

    Milliseconds read as seconds lie beyond the year 20,000, seconds read as milliseconds in 1970.
    """
    first_us, after_us = PLAUSIBLE_US
    return (micros < first_us) | (micros >= after_us)


class Format(Protocol):
    """A way to write timestamps; hashable, so that what was read once is found again."""

    @property
    def name(self) -> str:
        """What a pipeline file calls it."""

    def read(self, cells: Cells, shape: str) -> LocalTimes | None:
        """What n values of one shape say; None if no value of that shape can be meant.

        Args:
            cells: The bytes of the values, as an (n, m) array.
            shape: The m characters that they have in common (see `reading`).
        """


def localise(
    local_us: Ints, zone: str, ambiguous: Ambiguous, nonexistent: Nonexistent
) -> tuple[Ints, Failures]:
    """The instants of n clocks in `zone`, and a `Failure` for each.

    Args:
        local_us: int64 of length n: microseconds since 1970-01-01T00:00 on the local clock, years
            0001 to 9999.
        zone: An IANA name, or an offset such as +05:30.
        ambiguous: The policy for times shown twice.
        nonexistent: The policy for times skipped.

    Returns:
        int64 of length n: microseconds since 1970 in UTC; uint8 of length n.
    """
    failures = np.zeros(len(local_us), dtype=np.uint8)
    if zone == "UTC" or not len(local_us):
        return local_us, failures
    fixed = _fixed(zone)
    if fixed is not None:  # no table of years for a clock that never changes
        return local_us - fixed // timedelta(microseconds=1), failures
    table = _table(zone, local_us)
    later = table.at_local(local_us)
    earlier = np.maximum(later - 1, 0)
    twice = (later > 0) & (local_us < table.local_end[earlier])
    # Beyond the end of its own period and before the next begins: the clock never showed it.
    skipped = local_us >= table.local_end[later]
    failures[twice & (ambiguous == "reject")] = Failure.AMBIGUOUS
    failures[skipped & (nonexistent == "reject")] = Failure.NONEXISTENT
    period = np.where(twice & (ambiguous == "earlier"), earlier, later)
    utc_us = local_us - table.offset[period]
    if skipped.any():
        after_gap = table.start[later[skipped] + 1]
        utc_us[skipped] = after_gap - (1 if nonexistent == "backward" else 0)
    return utc_us, failures


def to_local(utc_us: Ints, zone: str) -> Ints:
    """What the clocks of `zone` showed at n instants, in microseconds since 1970 there.

    Args:
        utc_us: int64 of length n: microseconds since 1970 in UTC.
        zone: An IANA name, or an offset such as +05:30.
    """
    if zone == "UTC" or not len(utc_us):
        return utc_us
    table = _table(zone, utc_us)
    period = np.maximum(np.searchsorted(table.start, utc_us, side="right") - 1, 0)
    return utc_us + table.offset[period]


def check_zone(zone: str) -> None:
    """Raise ValueError, with close matches, unless `zone` is an IANA name."""
    names = zone_names()
    if zone in names:
        return
    lowered = _by_lower_case()
    cities = {name.rsplit("/")[-1].lower(): name for name in sorted(names)}
    word = zone.strip().lower().replace(" ", "_")
    # The city first: people know Berlin, and write CET/Berlin or Germany/Berlin.
    close = [lowered[word]] if word in lowered else []
    close += [cities[near] for near in get_close_matches(word.rsplit("/")[-1], cities, n=3)]
    close += [lowered[near] for near in get_close_matches(word, lowered, n=3)]
    hint = f"close: {', '.join(dict.fromkeys(close))}" if close else "an example: Europe/Berlin"
    raise ValueError(f"{zone!r} is not a time zone of the IANA list; {hint}")


def meaning_of(text: str, declared: Mapping[str, str]) -> str | None:
    """What a zone as it is written in a cell means: an IANA name or an offset; None: nothing sure.

    Abbreviations mean something only where they are declared: CST is a zone of America, of China
    and of Cuba.

    >>> meaning_of("europe/paris", {}), meaning_of("GMT-3", {}), meaning_of("PST", {})
    ('Europe/Paris', '-03:00', None)

    Args:
        text: The zone.
        declared: The setting `zones`: what names mean, whatever their case.
    """
    word = text.strip().lower()
    for name, meant in declared.items():
        if name.strip().lower() == word:
            return meant
    # A name with a slash is one of the IANA list or none; only those without may be offsets.
    if "/" in word:
        return _by_lower_case().get(word.replace(" ", "_"))
    said = _SAID.fullmatch(word)
    if said is None or not word:
        return None
    if not said["sign"]:
        return "UTC"
    return f"{said['sign']}{int(said['hour']):02}:{said['minute'] or '00'}"


def check_meaning(zone: str) -> None:
    """Raise ValueError, with close matches, unless `zone` is an IANA name or an offset."""
    if _fixed(zone) is None:
        check_zone(zone)


@dataclass(frozen=True, slots=True)
class _Table:
    """n periods of constant offset, ascending: period i begins at the instant `start[i]`.

    All are int64 of length n, in microseconds. `local_start` and `local_end` are what its clock
    shows when it begins and ends. Two periods overlap there when the clock was set back, and leave
    a gap when it was set forward.
    """

    start: Ints
    offset: Ints
    local_start: Ints
    local_end: Ints

    def at_local(self, local_us: Ints) -> Ints:
        """For each local time, the index of the last period begun by then, on its own clock."""
        return np.maximum(np.searchsorted(self.local_start, local_us, side="right") - 1, 0)


def _table(zone: str, times_us: Ints) -> _Table:
    """The periods around these times: their years, and the years beside them."""
    years = times_us.view("datetime64[us]").astype("datetime64[Y]").view(np.int64) + 1970
    present = np.unique(years)
    # The years beside them: New Year's Eve in one zone is New Year in another.
    wanted = np.unique(np.concatenate([present - 1, present, present + 1]))
    # Kept by zone and years: all chunks of an export share a few tables.
    return _table_of_years(zone, tuple(wanted[(wanted >= 1) & (wanted <= 9999)].tolist()))  # noqa: PLR2004


@lru_cache(maxsize=64)
def _table_of_years(zone: str, years: tuple[int, ...]) -> _Table:
    periods: list[tuple[int, int]] = []
    for year in years:
        for start_s, offset_s in _periods(zone, year):
            if not periods or periods[-1][1] != offset_s:  # a new year alone is no new period
                periods.append((start_s, offset_s))
    start, offset = (
        np.array(part, dtype=np.int64) * SECOND_US for part in zip(*periods, strict=True)
    )
    forever = np.iinfo(np.int64).max
    return _Table(start, offset, start + offset, np.append(start[1:] + offset[:-1], forever))


@lru_cache(maxsize=20_000)
def _periods(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    """The year's first second with its offset, then each change with the offset that it brings.

    Offsets are asked for once a day and a change is then narrowed down to the second. No zone
    changes twice within a day and back (a test asks the zone files).
    """
    info = _info(zone)
    start_s = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    days = (datetime(year, 12, 31, tzinfo=UTC) - datetime(year, 1, 1, tzinfo=UTC)).days + 1
    periods = [(start_s, _offset_s(info, start_s))]
    # Asked from the zone's own rules, so that years beyond the compiled table are right as well.
    for day in range(1, days + 1):
        end_s = start_s + day * _DAY_S
        if _offset_s(info, end_s) != periods[-1][1]:
            periods.append(_change(info, end_s - _DAY_S, end_s))
    return tuple(periods)


def _change(info: tzinfo, before_s: int, after_s: int) -> tuple[int, int]:
    """The first second between two instants that has the offset of the second one."""
    offset_s = _offset_s(info, after_s)
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if _offset_s(info, middle_s) == offset_s:
            after_s = middle_s
        else:
            before_s = middle_s
    return after_s, offset_s


def _offset_s(info: tzinfo, instant_s: int) -> int:
    """The offset at an instant; in the first and last days of the calendar, that beside them."""
    instant = _EPOCH + timedelta(seconds=min(max(instant_s, _FIRST_S), _LAST_S))
    offset = instant.astimezone(info).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def _info(zone: str) -> tzinfo:
    """The rules of a zone: an IANA name, or the +05:30 of a typed file; ValueError otherwise."""
    fixed = _fixed(zone)
    if fixed is not None:
        return timezone(fixed)
    check_zone(zone)
    return ZoneInfo(zone)


def _fixed(zone: str) -> timedelta | None:
    """How far an offset such as +05:30 is ahead of UTC; None for a name."""
    said = re.fullmatch(r"([+-])([01]\d|2[0-3]):([0-5]\d)", zone)
    if said is None:
        return None
    ahead = timedelta(hours=int(said[2]), minutes=int(said[3]))
    return -ahead if said[1] == "-" else ahead


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """The IANA names; "localtime", where a machine has it, means something else on the next."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


@lru_cache(maxsize=1)
def _by_lower_case() -> dict[str, str]:
    return {name.lower(): name for name in zone_names()}
