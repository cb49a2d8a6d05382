"""The ticks of axes: round, ordered, and around what is shown."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backfill.report.scales import calendar, day, day_ticks, elapsed_ticks, ticks

FIRST, LAST = -719_162, 2_932_896
"""1 January of year 1 and 31 December 9999, as days since 1970."""


@given(st.floats(1e-6, 1e15), st.integers(2, 8), st.booleans())
def test_ticks_reach_beyond_the_greatest_value(top, count, whole):
    """From 0, in equal steps of 1, 2 or 5, and not many more than were asked for."""
    found = [tick.at for tick in ticks(top, count, whole=whole)]

    assert found[0] == 0
    assert found[-1] >= top * (1 - 1e-6)
    assert 2 <= len(found) <= count + 2
    steps = {round((b - a) / found[1], 6) for a, b in pairwise(found)}
    assert steps == {1.0}


def test_ticks_of_counts_are_whole():
    """Half an event is none."""
    assert [tick.label for tick in ticks(1, 4, whole=True)] == ["0", "1"]
    assert [tick.label for tick in ticks(0, 4, whole=True)] == ["0", "1"]


@given(st.floats(0.5, 1e7), st.integers(3, 9))
def test_ticks_of_time_stay_within_the_axis(top_s, count):
    """From 0 to the end, and no more than there is room for."""
    found = [tick.at for tick in elapsed_ticks(top_s, count)]

    assert found[0] == 0
    assert found[-1] <= top_s * (1 + 1e-6)
    assert len(found) <= count + 1


@example(first=-718_798, more=6_356, count=20, together=1)
@given(st.integers(FIRST, LAST), st.integers(0, 40_000), st.integers(20, 200), st.integers(1, 400))
def test_a_calendar_has_every_day_in_one_piece(first, more, count, together):
    """Days, weeks, months or years: as fine as there is room for, each piece after another."""
    last = min(first + more, LAST)
    parts = calendar(first, last, count, together)
    starts = parts.starts(first, last)

    assert len(starts) <= count
    assert starts[0] <= first
    assert all(parts.after(a) == b for a, b in pairwise(starts))
    assert parts.after(starts[-1]) > last
    for at in (first, (first + last) // 2, last):
        assert parts.start(at) == max(start for start in starts if start <= at)
    assert len({parts.label(start) for start in starts}) == len(starts)


@given(st.integers(FIRST, LAST - 1), st.integers(1, 40_000), st.integers(3, 9))
def test_ticks_of_days_stay_within_the_axis(first, more, count):
    """At most so many, in order, at the beginnings of days, months or years."""
    last = min(first + more, LAST)
    found = [tick.at for tick in day_ticks(first, last, count)]

    assert len(found) <= count + 1
    assert found == sorted(set(found))
    assert all(first <= at <= last for at in found)


@pytest.mark.parametrize(
    ("last", "labels"),
    [
        (8, ["1 Jan", "3 Jan", "5 Jan", "7 Jan", "9 Jan"]),
        (300, ["Jan 1970", "Apr 1970", "Jul 1970", "Oct 1970"]),
        (3000, ["1970", "1972", "1974", "1976", "1978"]),
    ],
)
def test_ticks_of_days_are_named_as_long_as_they_are(last, labels):
    """A day by day and month, a month by its year, a year alone."""
    assert [tick.label for tick in day_ticks(0, last, 5)] == labels


def test_days_beyond_the_calendar_are_its_last():
    """A tick behind the year 9999 breaks nothing."""
    assert day(LAST + 1).year == 9999
    assert day(FIRST - 1).year == 1
