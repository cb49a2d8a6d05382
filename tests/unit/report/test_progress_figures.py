"""How far a run has come, in words that fit the line."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backfill.delivery.outcome import Meter, Pause
from backfill.planning.progress import Progress
from backfill.report.progress_figures import ProgressFigures, has_room, line, sentence
from backfill.report.wording import clock, short

counts = st.integers(0, 10**12)


def _half_way(**more):
    figures = ProgressFigures(
        "send", Meter(attempts=20, rate=10.0), total=1000, requests=40, **more
    )
    figures.seen(0.0)
    figures.rows = 500
    figures.seen(10.0)
    return figures


@given(
    total=st.integers(1, 10**12),
    share=st.floats(0, 1),
    rejected=counts,
    attempts=counts,
    width=st.integers(30, 200),
    pause=st.none() | st.builds(Pause, st.just("throttled"), st.floats(0, 1e4)),
)
def test_the_words_always_fit(total, share, rejected, attempts, width, pause):
    """Whatever the figures, the line is never wider than the terminal."""
    meter = Meter(attempts=attempts, pause=pause)
    figures = ProgressFigures("send", meter, total, rows=int(total * share), rejected=rejected)

    before, behind = line(figures, 5.0, width)

    assert len(f"{before}  {behind}".rstrip()) <= width
    if has_room(before, behind, width):
        assert len(f"{before} |{'#' * 6}| {behind}") <= width


@given(counts)
@example(9_995_000_001)
@example(999_950)
def test_short_numbers_are_short_and_near(count):
    """Five characters at most, and within half a percent."""
    text = short(count)

    assert len(text) <= 5
    unit = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}.get(text[-1], 1)
    assert float(text.rstrip("kMGT").replace(",", "")) * unit == pytest.approx(count, rel=0.006)


def test_the_time_left_is_told_from_the_speed_of_late():
    """500 rows in 10 s: 10 s for the other 500."""
    assert _half_way().left_s(10.0) == 10.0


def test_the_time_left_is_never_shorter_than_the_pacer_allows():
    """20 requests are left at 1 a second, however fast the first ones went."""
    figures = _half_way()
    figures.meter.rate = 1.0

    assert figures.left_s(10.0) == 20.0


def test_a_pause_comes_on_top_and_is_said():
    """What is waited for is part of the time left."""
    figures = _half_way()
    figures.meter.pause = Pause("throttled", 18.0)

    assert figures.left_s(10.0) == 18.0
    assert "waiting 8 s  too many requests (429)" in line(figures, 10.0, 80)[1]
    assert "429" not in line(figures, 18.5, 80)[1]


def test_how_much_is_left_of_a_plan_is_told_from_the_share_behind_it():
    """Nobody knows how many rows a text has; a quarter of its bytes holds about a quarter."""
    figures = ProgressFigures("plan")
    figures.seen(0.0)
    assert line(figures, 0.0, 80) == ("plan", "detecting date formats")
    figures.looked(Progress(rows=250, rejected=3, share=0.25))
    figures.seen(10.0)

    assert figures.left_s(10.0) == 30.0
    assert line(figures, 10.0, 80)[0] == "plan  25%"
    assert line(figures, 10.0, 80)[1] == "250 rows checked  25/s  ETA 0:30  3 rejected"


def test_at_first_there_is_no_guess():
    """Two seconds are looked at before a time is promised."""
    figures = ProgressFigures("send", Meter(), total=1000)
    figures.seen(0.0)
    figures.rows = 1
    figures.seen(1.0)

    assert figures.left_s(1.0) is None


def test_a_narrow_line_keeps_what_matters_most():
    """The share done, the time left and the rejected rows outlive all else."""
    before, behind = line(_half_way(rejected=12), 10.0, 34)

    assert before == "send  50%"
    assert behind == "ETA 0:10  12 rejected"


def test_a_log_has_all_of_it():
    """Exact figures, in one sentence."""
    assert sentence(_half_way(), 10.0) == (
        "send: 500/1,000 rows, 20 requests, 50 rows/s, ETA 0:10, 0 rejected"
    )


def test_the_bar_comes_before_what_matters_less():
    """In 80 columns a bar has room, whatever the figures; beside it, what still has."""
    figures = _half_way(rejected=12_345)
    figures.meter.attempts, figures.meter.in_flight = 123_456, 16

    assert has_room(*line(figures, 10.0, 80), 80)
    assert "16 in flight" in line(figures, 10.0, 132)[1]
    assert "16 in flight" in sentence(figures, 10.0)


def test_clocks():
    """Minutes and seconds, with hours where there are any."""
    assert [clock(each) for each in (0, 59.6, 3599, 3600)] == ["0:00", "1:00", "59:59", "1:00:00"]
