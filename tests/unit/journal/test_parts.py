"""Ranges say the same as a set of numbers would, and remember what changed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backfill.journal import Ranges

LAST = 60


class NarrowRanges(Ranges):
    """Of which a commit keeps few rows together."""

    window_rows = 7


class SettledRows(RuleBasedStateMachine):
    """Ranges beside a set of row numbers, and beside the rows of a table that commits keep."""

    def __init__(self):
        super().__init__()
        self.ranges = NarrowRanges()
        self.rows = set()
        self.table = {}

    @rule(start=st.integers(1, LAST), length=st.integers(0, 12))
    def settle(self, start, length):
        """The rows that were not there before are counted."""
        rows = set(range(start, start + length))
        assert self.ranges.settle(start, start + length) == len(rows - self.rows)
        self.rows |= rows

    @rule(each=st.lists(st.tuples(st.integers(1, LAST), st.integers(0, 4)), max_size=20))
    def settle_all(self, each):
        """Many ranges at once are as one after another, in whatever order they are."""
        rows = set()
        for start, length in each:
            rows |= set(range(start, start + length))
        ranges = [(start, start + length) for start, length in each]
        assert self.ranges.settle_all(ranges) == len(rows - self.rows)
        self.rows |= rows

    @rule()
    def commit(self):
        """What changed is enough to keep a copy."""
        self.table |= self.ranges.take_changes()
        kept = [each for window in sorted(self.table) for each in self.table[window]]
        assert kept == list(self.ranges.above())

    @rule()
    def reopen(self):
        """A copy of low and the ranges above it is all that is needed."""
        self.commit()
        self.ranges = NarrowRanges(self.ranges.low_watermark, self.ranges.above())

    @invariant()
    def they_agree(self):
        """Every question has the answer that the set gives."""
        ranges, rows = self.ranges, self.rows
        everything = np.arange(1, LAST + 20)
        assert ranges.settled_count() == len(rows)
        assert ranges.contains(everything).tolist() == [row in rows for row in everything]
        assert ranges.low_watermark not in rows
        assert set(range(1, ranges.low_watermark)) <= rows
        for stop in (1, 7, LAST + 20):
            gaps = {row for start, end in ranges.gaps(stop) for row in range(start, end)}
            assert gaps == set(range(1, stop)) - rows
            assert ranges.settled_below(stop) == len([row for row in rows if row < stop])

    @invariant()
    def they_are_as_few_as_possible(self):
        """Ranges neither touch nor overlap, nor do they reach down to the low watermark."""
        last = self.ranges.low_watermark
        for start, stop in self.ranges.above():
            assert last < start < stop
            last = stop


TestSettledRows = SettledRows.TestCase


@given(st.permutations(range(40)))
def test_the_order_of_settling_does_not_matter(order):
    """Batches that come back in any order leave one low watermark and nothing above it."""
    ranges = Ranges()
    for batch in order:
        assert ranges.settle(batch * 25 + 1, batch * 25 + 26) == 25
    assert (ranges.low_watermark, list(ranges.above())) == (1001, [])


def test_rows_may_be_asked_for_in_any_order():
    """A chunk's rows need not be sorted."""
    ranges = Ranges(3, [(5, 7), (9, 10)])
    assert ranges.contains(np.array([9, 1, 8, 5, 7, 4])).tolist() == [
        True,
        True,
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (-3, 4), (5, 4)])
def test_what_is_no_range_is_refused(start, stop):
    """Rows count from 1, and a range does not end before it begins."""
    with pytest.raises(ValueError, match="not a range"):
        Ranges().settle(start, stop)
    with pytest.raises(ValueError, match="range"):
        Ranges().settle_all([(1, 2)] * 20 + [(start, stop)])


@pytest.mark.parametrize("above", [[(3, 5)], [(5, 5)], [(5, 7), (7, 9)], [(8, 9), (5, 6)]])
def test_ranges_out_of_order_are_refused(above):
    """Stored ranges that touch or overlap were not written by us."""
    with pytest.raises(ValueError, match="do not follow"):
        Ranges(3, above)
