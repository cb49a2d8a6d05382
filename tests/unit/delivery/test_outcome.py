"""What a delivery counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.delivery.outcome import Meter, latency_step, longest_s


@given(st.floats(1e-4, 1e4))
def test_a_latency_is_known_to_five_percent(latency_s):
    """Its step ends at most so much above it, and never below it."""
    assert latency_s <= longest_s(latency_step(latency_s)) * (1 + 1e-9)
    assert longest_s(latency_step(latency_s)) <= latency_s * 1.05 * (1 + 1e-9)


@pytest.mark.parametrize("latency_s", [-1.0, 0.0, 1e-9])
def test_no_latency_is_too_short(latency_s):
    """Clocks have a grain; what they cannot tell belongs to the first step."""
    assert latency_step(latency_s) == 0


def test_a_pause_is_told_when_it_begins_and_when_it_grows():
    """By more than a second: each throttled answer adds a little to it."""
    told = []
    meter = Meter(on_pause=told.append)
    for reason, until_s in (
        ("throttled", 10.0), ("throttled", 10.5), ("throttled", 11.5), ("throttled", 13.0),
        ("outage", 13.0), ("outage", 12.0),
    ):  # fmt: skip
        meter.paused(reason, until_s)

    assert [(each.reason, each.until_s) for each in told] == [
        ("throttled", 10.0),
        ("throttled", 13.0),
        ("outage", 13.0),
    ]
    assert meter.pause.until_s == 12.0
