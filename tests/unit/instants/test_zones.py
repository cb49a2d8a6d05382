"""Local clocks become instants as an independent library says, in every zone of the world."""

import datetime as dt
import struct
from functools import cache
from importlib import resources
from itertools import pairwise
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whenever import Instant, PlainDateTime, RepeatedTime, SkippedTime

from backfill.instants import Reading, read, validate_reading
from backfill.instants.zones import zone_names
from tests.support.examples import examples

ZONES = sorted(zone_names())
DAY = dt.timedelta(days=1)
GAP = "2024-03-10T02:30:00"
OVERLAP = "2024-11-03T01:30:00"


def read_local(locals_, zone, **policies):
    """Local clocks, written as ISO 8601, read in a zone: microseconds or reasons."""
    column = pa.array([local.isoformat() for local in locals_])
    instants = read(column, Reading("iso8601", timezone=zone, **policies))
    pairs = zip(instants.micros.to_pylist(), instants.failures.to_pylist(), strict=True)
    return [failure if micros is None else micros for micros, failure in pairs]


def micros(zoned):
    """The unix microseconds of one of the library's timestamps."""
    return zoned.timestamp() * 10**6 + zoned.nanosecond // 1000


@cache
def changes(zone, year):
    """The local clock on the days of a year on which the zone's offset changes."""
    info = ZoneInfo(zone)
    days = [dt.datetime(year, 1, 1, tzinfo=dt.UTC) + day * DAY for day in range(366)]
    offsets = [day.astimezone(info).utcoffset() for day in days]
    return [
        day.astimezone(info).replace(tzinfo=None)
        for day, before, after in zip(days, offsets, offsets[1:], strict=False)
        if before != after
    ]


@st.composite
def clocks(draw):
    """A zone, and local clocks near its changes of a year, or anywhere in that year."""
    zone, year = draw(st.sampled_from(ZONES)), draw(st.integers(1840, 2200))
    near = [dt.datetime(year, 1, 1), dt.datetime(year, 7, 1), *changes(zone, year)]  # noqa: DTZ001
    shift = st.timedeltas(-2 * DAY, 2 * DAY)
    minutes = st.integers(-60 * 30, 60 * 30).map(lambda count: dt.timedelta(minutes=count))
    shifts = draw(st.lists(shift | minutes, min_size=1, max_size=30))
    return zone, [base + each for base in near for each in shifts]


def expected(local, zone):
    """What the library says: the instant, or both of a repeated clock, or that it was skipped."""
    plain = PlainDateTime(local)
    try:
        return micros(plain.assume_tz(zone, disambiguation="raise"))
    except RepeatedTime:
        return tuple(micros(plain.assume_tz(zone, disambiguation=d)) for d in ("earlier", "later"))
    except SkippedTime:
        return None


@settings(max_examples=examples(120), deadline=None)
@given(clocks())
def test_every_zone_and_policy_agrees_with_an_independent_library(drawn):
    """One instant, two or none: the policies choose among them as they say."""
    zone, locals_ = drawn
    says = [expected(local, zone) for local in locals_]

    strict = read_local(locals_, zone)
    early = read_local(locals_, zone, ambiguous="earlier", nonexistent="backward")
    late = read_local(locals_, zone, ambiguous="later", nonexistent="forward")

    for local, said, *got in zip(locals_, says, strict, early, late, strict=True):
        if said is None:
            assert got[0] == "timestamp_nonexistent"
            assert got[2] - got[1] == 1
            assert shown(got[1], zone) < PlainDateTime(local) < shown(got[2], zone)
        elif isinstance(said, tuple):
            assert got == ["timestamp_ambiguous", *said]
        else:
            assert got == [said, said, said]


def shown(instant_us, zone):
    """The local clock at an instant, to the second."""
    return Instant.from_timestamp(instant_us // 10**6).to_tz(zone).to_plain()


def test_a_skipped_clock_is_read_at_the_edges_of_the_gap():
    """Forward is the first instant after the gap, backward the last microsecond before it."""
    change_us = 1_710_054_000_000_000  # 2024-03-10T07:00:00Z
    local = [dt.datetime.fromisoformat(GAP)]
    zone = "America/New_York"

    assert read_local(local, zone) == ["timestamp_nonexistent"]
    assert read_local(local, zone, nonexistent="forward") == [change_us]
    assert read_local(local, zone, nonexistent="backward") == [change_us - 1]
    assert read_local(local, zone, ambiguous="later") == ["timestamp_nonexistent"]


def test_a_repeated_clock_is_read_as_one_of_its_two_instants():
    """Earlier is before the clock was set back, later after it."""
    first_us = 1_730_611_800_000_000  # 2024-11-03T05:30:00Z
    local = [dt.datetime.fromisoformat(OVERLAP)]
    zone = "America/New_York"

    assert read_local(local, zone) == ["timestamp_ambiguous"]
    assert read_local(local, zone, ambiguous="earlier") == [first_us]
    assert read_local(local, zone, ambiguous="later") == [first_us + 3600 * 10**6]
    assert read_local(local, zone, nonexistent="forward") == ["timestamp_ambiguous"]


def test_the_repeated_hour_begins_and_ends_to_the_microsecond():
    """Its first microsecond is shown twice, and the one that follows its last is not."""
    first, after = map(dt.datetime.fromisoformat, ("2024-11-03T01:00", "2024-11-03T02:00"))
    tick = dt.timedelta(microseconds=1)
    around = [first - tick, first, after - tick, after]

    said = read_local(around, "America/New_York")

    assert said[1:3] == ["timestamp_ambiguous"] * 2
    assert said[3] - said[0] == 2 * 3600 * 10**6 + 1


def test_an_offset_in_the_text_settles_a_repeated_clock():
    """Policies are only for text that leaves the question open."""
    reading = Reading("iso8601", timezone="America/New_York")
    instants = read(pa.array([f"{OVERLAP}-04:00", f"{OVERLAP}-05:00"]), reading)

    earlier, later = instants.micros.to_pylist()
    assert later - earlier == 3600 * 10**6


@pytest.mark.parametrize(
    ("zone", "local"),
    [
        ("Pacific/Apia", "2011-12-30T12:00:00"),  # a day that Samoa skipped
        ("Asia/Manila", "1844-12-31T12:00:00"),
        ("Pacific/Tongatapu", "1961-01-01T00:20:00"),  # the change is still in 1960 by UTC
        ("Europe/Lisbon", "1911-12-31T23:40:00"),  # and here already in 1912
        ("America/Sao_Paulo", "2018-11-04T00:00:00"),  # midnight itself was skipped
    ],
)
def test_skipped_days_and_midnights_do_not_exist(zone, local):
    """A gap can be a whole day long, or begin at midnight."""
    assert read_local([dt.datetime.fromisoformat(local)], zone) == ["timestamp_nonexistent"]


def test_a_clock_set_back_on_new_years_night_was_shown_twice():
    """The change can lie in the next year by UTC."""
    local = [dt.datetime(1943, 12, 31, 23, 30)]  # noqa: DTZ001

    assert read_local(local, "America/Phoenix") == ["timestamp_ambiguous"]


def test_far_apart_years_are_read_in_one_column():
    """Rules are looked up for the years that occur, also beyond the last written rule."""
    zone = "Europe/Berlin"
    years = (1, 1890, 2024, 2500, 9999)
    locals_ = [dt.datetime(year, month, 1, 12) for year in years for month in (1, 7)]  # noqa: DTZ001

    assert read_local(locals_, zone) == [expected(local, zone) for local in locals_]


def test_an_unknown_zone_is_a_value_error():
    """A reading that nobody validated is refused when it is used."""
    with pytest.raises(ValueError, match="'Mars/Base' is not a time zone"):
        read_local([dt.datetime.fromisoformat(GAP)], "Mars/Base")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Dublin", "Africa/Casablanca", "EST"])
def test_every_listed_zone_is_valid(zone):
    """Zones with odd rules are zones like any other."""
    validate_reading(Reading("iso8601", timezone=zone))
    local = dt.datetime(2024, 1, 15, 12)  # noqa: DTZ001  # as clocks show
    assert read_local([local], zone) == [expected(local, zone)]


def test_no_zone_changes_twice_within_two_days():
    """Offsets are looked up day by day, so a change and its reversal must lie further apart."""
    for zone in ZONES:
        times = change_times(zone)
        closest = min((after - before for before, after in pairwise(times)), default=10**6)
        assert closest > 2 * 86_400, zone


def change_times(zone):
    """The unix seconds at which a zone's offset changes, from the zone file (RFC 9636)."""
    content = resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes()
    marks, leaps, times, kinds, letters = counts(content)
    content = content[44 + times * 5 + kinds * 6 + letters + leaps * 8 + marks :]
    _, _, times, kinds, _ = counts(content)
    instants = struct.unpack_from(f">{times}q", content, 44)
    chosen = content[44 + times * 8 : 44 + times * 9]
    offsets = [
        struct.unpack_from(">l", content, 44 + times * 9 + kind * 6)[0] for kind in range(kinds)
    ]
    before = [offsets[0], *(offsets[kind] for kind in chosen)]
    return [
        instant
        for instant, kind, offset in zip(instants, chosen, before, strict=False)
        if offsets[kind] != offset
    ]


def counts(content):
    """The figures in the header of a zone file, the two kinds of marks added up."""
    ut, std, leaps, times, kinds, letters = struct.unpack_from(">6l", content, 20)
    return ut + std, leaps, times, kinds, letters
