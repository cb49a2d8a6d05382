"""The course of a job: bounded, and true however much is merged."""

import itertools
from collections import Counter
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.delivery.outcome import latency_step
from backfill.report.course import (
    PAUSES_MAX,
    STEPS_MAX,
    Course,
    Recorder,
    Step,
    Wait,
    bins,
    offsets,
    slowest_s,
)


def recorded(course, run, count, *, rows=10, width_s=0.25):
    """A run of so many notes."""
    recorder = Recorder(course, run, 1.0, 0, 0)
    for number in range(1, count + 1):
        recorder.note(1.0 + number * width_s, rows * number, number, 0.1)
    return course


@pytest.mark.parametrize("count", [1, STEPS_MAX, STEPS_MAX + 1, 20 * STEPS_MAX])
def test_a_long_run_is_told_in_longer_steps(count):
    """However long it is there are 600 steps at most; not a row and not a second is lost."""
    course = recorded(Course(), 1, count)

    assert len(course.steps) <= STEPS_MAX
    assert sum(each.rows for each in course.steps) == 10 * count
    assert sum(each.attempts for each in course.steps) == count
    assert course.seconds() == pytest.approx(count / 4)
    assert all(each.latency_s == pytest.approx(0.1) for each in course.steps)


def test_a_thousand_runs_keep_the_latest():
    """A nightly job is told by its last 600 runs."""
    course = Course()
    for run in range(1, 1001):
        recorded(course, run, 3)

    assert len(course.steps) == STEPS_MAX
    assert course.steps[-1].run == 1000


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0.001, 1000), st.integers(0, 10**6)), min_size=1, max_size=30),
        max_size=5,
    ),
    st.integers(1, 200),
)
def test_pieces_hold_every_row(runs, count):
    """Put into pieces of equal length, the course has the same rows, end to end."""
    course = Course()
    for run, notes in enumerate(runs, start=1):
        at_s, rows = 2.0, 0
        recorder = Recorder(course, run, at_s, rows, 0)
        for seconds, more in notes:
            at_s, rows = at_s + seconds, rows + more
            recorder.note(at_s, rows, rows, 0.1)
    found = bins(course, count)

    assert len(found) <= count
    told = sum(each.rows_per_second * (each.until_s - each.from_s) for each in found)
    assert told == pytest.approx(sum(each.rows for each in course.steps))
    assert all(a.until_s == b.from_s for a, b in itertools.pairwise(found))


def test_later_runs_begin_where_earlier_ones_ended():
    """The hours between two runs are left out."""
    course = recorded(recorded(Course(), 1, 8), 2, 4)

    assert offsets(course) == {1: -1.0, 2: 1.0}


def test_pauses_that_go_on_are_one():
    """Probe after probe of one outage is one pause; another reason begins another."""
    course = Course()
    recorder = Recorder(course, 1, 0.0, 0, 0)
    for at_s in (1.0, 3.0, 5.0):
        recorder.paused("outage", at_s, 2.0)
    recorder.paused("throttled", 7.0, 1.0)

    assert course.waits == [Wait(1, "outage", 1.0, 7.0), Wait(1, "throttled", 7.0, 8.0)]
    assert course.waited == {"outage": (1, 6.0), "throttled": (1, 1.0)}


def test_of_many_pauses_the_longest_are_kept_and_all_are_counted():
    """A service that throttles for hours fills no disk."""
    course = Course()
    recorder = Recorder(course, 1, 0.0, 0, 0)
    for number in range(1000):
        recorder.paused("throttled", 100.0 * number, 1 + number % 50)

    assert len(course.waits) == PAUSES_MAX
    assert min(each.seconds for each in course.waits) > 40
    assert course.waited["throttled"][0] == 1000


def test_a_course_is_read_as_it_was_kept(tmp_path):
    """Steps, pauses and counts."""
    course = recorded(Course(), 1, 700)
    course.wait(Wait(1, "hint", 2.0, 3.0))
    course.save(tmp_path / "course.json")

    assert Course.load(tmp_path / "course.json") == course
    assert (tmp_path / "course.json").stat().st_size < 50_000


@pytest.mark.parametrize(
    "kept", [b"", b"{}", b"[1]", b'{"form": 1, "width_s": []}', b'{"form": 9}']
)
def test_what_is_no_course_is_none(tmp_path, kept):
    """A report without curves is better than none."""
    (tmp_path / "course.json").write_bytes(kept)

    assert Course.load(tmp_path / "course.json") == Course()
    assert Course.load(tmp_path / "missing.json") == Course()


def test_time_that_stands_still_makes_no_step():
    """Two notes at the same moment would divide by nothing."""
    course = Course()
    recorder = Recorder(course, 1, 1.0, 0, 0)
    recorder.note(1.0, 10, 1, 0.1)
    recorder.note(2.0, 20, 2, 0.1)

    assert course.steps == [Step(1, 1.0, 2.0, 20, 2, 0.1)]


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1]))
def test_a_percentile_is_that_of_the_answers(latencies, share):
    """As exact as the steps are: the latency that so many answers did not exceed."""
    counted = Counter(map(latency_step, latencies))
    exact = sorted(latencies)[max(ceil(share * len(latencies)), 1) - 1]

    assert exact <= slowest_s(counted, share) * (1 + 1e-9)
    assert slowest_s(counted, share) <= exact * 1.05 * (1 + 1e-9)


def test_without_answers_there_is_no_percentile():
    """A run that never sent has none."""
    assert slowest_s({}, 0.5) is None


def test_how_long_answers_took_is_kept_over_runs(tmp_path):
    """The file brings back what it was given."""
    course = recorded(Course(), 1, 3)
    course.latencies = Counter({10: 3, 70: 1})
    course.save(tmp_path / "course.json")

    assert Course.load(tmp_path / "course.json") == course


def test_before_the_first_answer_no_latency_is_drawn():
    """An attempt that waits for its answer has not taken 0 ms."""
    course = Course()
    recorder = Recorder(course, 1, 0.0, 0, 0)
    recorder.note(1.0, 0, 4, 0.0)
    recorder.note(2.0, 10, 8, 0.3)

    assert [each.latency_s for each in bins(course, 2)] == [None, 0.3]
    assert [each.latency_s for each in bins(course, 1)] == [0.3]
