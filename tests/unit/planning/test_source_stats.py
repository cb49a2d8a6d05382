"""Chunks are added up as a naive count of their rows would be."""

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from backfill.operations.encode import Accepted, Members
from backfill.planning import source_stats
from backfill.planning.source_stats import SourcePlan, sight_of
from backfill.rows import Rejection, Rejections, reason

NOW_S = 1_750_000_000
DAY_S = 86_400
EVENT = st.tuples(st.sampled_from(["a", "b", "ü"]), st.integers(-10 * DAY_S, NOW_S + DAY_S))


def accepted(events):
    """Accepted events: name and unix seconds."""
    texts = pa.array([name for name, _ in events], pa.string())
    micros = pa.array([moment * 10**6 for _, moment in events], pa.int64())
    members = Members.of_text(texts)
    return Accepted(np.arange(1, len(events) + 1), texts, members, texts, micros)


def sight(events):
    """What a chunk of accepted events shows."""
    some = accepted(events)
    return sight_of(some, some.name.dictionary_encode(), NOW_S)


@given(st.lists(st.lists(EVENT, max_size=6), max_size=4), st.integers(0, 5 * DAY_S))
def test_names_days_and_recent_events_add_up(chunks, later_s):
    """Over any number of chunks."""
    plan = SourcePlan("events")
    for each in chunks:
        plan.see(sight(each))
    events = [event for each in chunks for event in each]
    assert plan.names == Counter(name for name, _ in events)
    assert plan.days == Counter(moment // DAY_S for _, moment in events)
    timestamps = [moment for _, moment in events]
    assert plan.first_s == min(timestamps, default=None)
    assert plan.last_s == max(timestamps, default=None)
    recent = [moment for moment in timestamps if moment >= NOW_S - 72 * 3600]
    assert sum(plan.recent_names.values()) == len(recent)
    since = NOW_S + later_s - 72 * 3600
    surely = sum(moment >= since for moment in recent)
    perhaps = sum(moment >= since - 60 for moment in recent)
    assert surely <= plan.recent_at(NOW_S + later_s) <= perhaps


def test_the_minute_in_which_events_become_old_counts_as_recent():
    """A guard that counts one too many asks once more; one too few lets a campaign start."""
    plan = SourcePlan("events")
    plan.see(sight([("bought", NOW_S - 72 * 3600)]))
    assert plan.recent_at(NOW_S) == 1
    assert plan.recent_at(NOW_S + 1) == 0
    plan.see(sight([("bought", NOW_S)]))
    assert plan.recent_at(NOW_S) == 2


def test_beyond_so_many_names_the_rest_are_counted_together():
    """Memory stays flat where every event has a name of its own."""
    plan = SourcePlan("events")
    events = [(f"n{place}", place) for place in range(source_stats.NAMES_MAX + 50)]
    for start in range(0, len(events), 300):
        plan.see(sight(events[start : start + 300]))
    assert len(plan.names) == source_stats.NAMES_MAX + 1
    assert plan.names[source_stats.OTHER] == 50
    assert sum(plan.names.values()) == len(events)


def test_a_rejected_row_counts_once_by_each_of_its_codes():
    """Two columns with the same fault are one reason."""
    plan = SourcePlan("customers")
    why = (reason("not_a_number", "a"), reason("not_a_number", "b"), reason("not_json", "c"))
    plan.reject(Rejections.of([Rejection(1, None, why), Rejection(2, None, why[:1])]))
    assert (plan.rejected, plan.reasons) == (2, {"not_a_number": 2, "not_json": 1})


@given(st.lists(st.lists(EVENT, max_size=6), max_size=4))
def test_each_name_has_its_own_days(chunks):
    """While there are few of them, every day of every name is told apart."""
    plan = SourcePlan("events")
    for each in chunks:
        plan.see(sight(each))
    events = [event for each in chunks for event in each]
    pairs = Counter((name, moment // DAY_S) for name, moment in events)
    assert plan.days_together == 1
    assert pairs == {
        (name, day): count for name, days in plan.name_days.items() for day, count in days.items()
    }


def test_many_names_on_many_days_are_counted_in_longer_pieces():
    """Memory stays flat: days are put together, and no event is lost."""
    plan = SourcePlan("events")
    for chunk in range(10):
        events = [
            (f"n{name}", DAY_S * (100 * chunk + day)) for name in range(100) for day in range(100)
        ]
        plan.see(sight(events))
    pairs = [count for days in plan.name_days.values() for count in days.values()]
    assert len(pairs) <= source_stats.NAME_DAYS_MAX
    assert plan.days_together == 4
    assert sum(pairs) == 100_000
    assert all(day % 4 == 0 for days in plan.name_days.values() for day in days)
