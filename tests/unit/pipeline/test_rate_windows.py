"""The rate by the clock: windows hold as clocks show, over midnight and where clocks change."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from backfill.pipeline.destination_settings import Destination
from backfill.pipeline.rate_windows import RateSchedule, RateWindow

BERLIN = "Europe/Berlin"
ZONES = (
    "UTC",
    BERLIN,
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/St_Johns",
)
START_S = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def window(first, to, rate=20.0, zone=BERLIN):
    """A window."""
    return RateWindow.model_validate({"from": first, "to": to, "timezone": zone, "rate": rate})


def unix_s(text, zone=BERLIN, fold=0):
    """A time as a clock shows it."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def shown(schedule, text, fold=0):
    """The rate at a time."""
    return schedule.at(unix_s(text, fold=fold))[0]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2026-11-27T07:59:59", 100),
        ("2026-11-27T08:00:00", 20),
        ("2026-11-27T19:59:59", 20),
        ("2026-11-27T20:00:00", 100),
    ],
)
def test_the_default_holds_outside(text, rate):
    """A window begins with its first second, and has ended with its last one."""
    assert shown(RateSchedule(100, [window("08:00", "20:00")]), text) == rate


def test_a_window_may_last_over_midnight():
    """Or until it, or all day."""
    over = RateSchedule(100, [window("22:00", "06:00")])
    assert [
        shown(over, f"2026-11-27T{clock}") for clock in ("21:59", "23:00", "05:59", "06:00")
    ] == [*(100, 20, 20, 100)]
    assert shown(RateSchedule(100, [window("22:00", "00:00")]), "2026-11-27T23:59") == 20
    assert shown(RateSchedule(100, [window("22:00", "24:00")]), "2026-11-28T00:00") == 100
    assert shown(RateSchedule(100, [window("00:00", "24:00")]), "2026-11-27T00:00") == 20


def test_a_skipped_hour_is_in_no_window_and_one_shown_twice_is_in_it_twice():
    """Clocks of Berlin jump over 02:30 on 29 March 2026, and show it twice on 25 October."""
    schedule = RateSchedule(100, [window("02:30", "03:30")])
    assert [shown(schedule, f"2026-03-29T{clock}") for clock in ("01:59", "03:00", "03:30")] == [
        *(100, 20, 100)
    ]
    assert [shown(schedule, "2026-10-25T02:45", fold) for fold in (0, 1)] == [20, 20]
    assert [shown(schedule, "2026-10-25T02:15", fold) for fold in (0, 1)] == [100, 100]


def test_a_rate_of_nothing_is_a_pause_until_its_end():
    """Also where another pause follows; no limit is another thing, and only outside."""
    schedule = RateSchedule(0, [window("08:00", "12:00", 0), window("12:00", "13:00", 0)])
    assert schedule.at(unix_s("2026-11-27T11:00")) == (0.0, 2 * 3600)
    assert schedule.at(unix_s("2026-11-27T13:00")) == (0.0, 0.0)


def test_the_end_of_a_plan_is_told_through_the_windows():
    """2 h at 100, 12 h at 20, the rest at 100; a pause takes time and sends nothing."""
    schedule = RateSchedule(100, [window("08:00", "20:00")])
    begin = unix_s("2026-11-27T06:00")
    requests = 2 * 3600 * 100 + 12 * 3600 * 20 + 3600 * 100
    assert schedule.ends_s(requests, begin) == pytest.approx(unix_s("2026-11-27T21:00"))
    paused = RateSchedule(100, [window("08:00", "20:00", 0)])
    assert paused.ends_s(3 * 3600 * 100, begin) == pytest.approx(unix_s("2026-11-27T21:00"))
    assert RateSchedule(100, [window("00:00", "24:00", 0)]).ends_s(1, begin) is None
    assert RateSchedule(0).ends_s(10**9, begin) == begin


@pytest.mark.parametrize(
    ("windows", "overlap"),
    [
        ([window("08:00", "12:00"), window("12:00", "20:00")], False),
        ([window("08:00", "12:01"), window("12:00", "20:00")], True),
        ([window("22:00", "06:00"), window("05:00", "07:00")], True),
        ([window("22:00", "06:00"), window("06:00", "22:00")], False),
        ([window("00:00", "24:00"), window("12:00", "13:00")], True),
        # An hour or two apart, as the year goes; never three.
        ([window("08:00", "09:00"), window("07:30", "07:45", zone="UTC")], True),
        ([window("08:00", "09:00"), window("05:00", "06:00", zone="UTC")], False),
        ([window("00:30", "01:00"), window("22:45", "23:30", zone="UTC")], True),
    ],
)
def test_windows_that_overlap_are_refused(windows, overlap):
    """Nobody could say which one holds; also across zones, in any season."""
    tables = [each.model_dump(by_alias=True) for each in windows]
    if not overlap:
        assert len(Destination.model_validate({"window": tables}).windows) == 2
        return
    with pytest.raises(ValidationError, match="overlap"):
        Destination.model_validate({"window": tables})


@pytest.mark.parametrize(
    "table",
    [
        {"from": "8:00"},
        {"from": "08:00:00"},
        {"to": "25:00"},
        {"to": "08:00"},
        {"timezone": "Berlin"},
        {"timezone": "+02:00"},
        {"rate": -1},
        {"rate": float("inf")},
    ],
)
def test_a_window_that_cannot_be_is_refused(table):
    """Whatever is wrong with it."""
    whole = {"from": "08:00", "to": "20:00", "timezone": BERLIN, "rate": 20}
    with pytest.raises(ValidationError):
        RateWindow.model_validate({**whole, **table})


clocks = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
windows = (
    st.tuples(clocks, clocks, st.sampled_from([0.0, 5.0, 50.0]), st.sampled_from(ZONES))
    .filter(lambda each: each[0] != each[1])
    .map(lambda each: window(*each))
)


@settings(max_examples=25, deadline=None)
@given(windows, st.integers(0, 365 * 24 * 60))
def test_between_two_changes_the_rate_stays_as_it_is(some, minute):
    """Held against the clock, minute by minute; some clocks change by half an hour."""
    schedule, at_s = RateSchedule(100, [some]), START_S + 60 * minute
    change_s = schedule.next_change(at_s)
    assert at_s < change_s <= at_s + 86_400
    every = range(int(at_s), int(change_s), 60)
    assert len({some.holds_at(each) for each in every}) == 1
    for each in (every[0], every[-1]):
        clock = datetime.fromtimestamp(each, ZoneInfo(some.timezone)).strftime("%H:%M")
        inside = some.from_ <= clock < some.to
        if some.from_ > some.to:
            inside = clock >= some.from_ or clock < some.to
        assert some.holds_at(each) == inside


@settings(max_examples=25, deadline=None)
@given(windows, st.integers(0, 365 * 24), st.integers(0, 500_000))
def test_what_is_sent_until_the_end_is_all_there_is(some, hour, requests):
    """The rate, summed up over the time, is the number of requests."""
    schedule, at_s = RateSchedule(7, [some]), float(START_S + 3600 * hour)
    ends_s = schedule.ends_s(requests, at_s)
    assume(ends_s is not None)
    sent = 0.0
    while at_s < ends_s:
        rate, pause_s = schedule.at(at_s)
        until_s = min(schedule.next_change(at_s), ends_s)
        sent += 0 if pause_s else rate * (until_s - at_s)
        at_s = until_s
    assert sent == pytest.approx(requests, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(windows, windows)
def test_two_windows_overlap_where_both_hold_at_some_time(one, other):
    """Told without looking at every minute of the year, and for all of them."""
    hours = range(START_S, START_S + 370 * 86_400, 3_600)
    both = any(one.holds_at(each) and other.holds_at(each) for each in hours)
    assert one.overlaps(other) or not both
