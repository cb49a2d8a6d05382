"""Turns, the pace that adapts, and how many attempts at once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.delivery.outcome import Meter
from backfill.delivery.pacing import (
    AdaptiveRate,
    Pacer,
    RateLimitedTransport,
    ResizableSemaphore,
    Time,
    concurrency,
)
from backfill.delivery.verdicts import Answer
from tests.support.deliveries import worst_second
from tests.support.virtual_time import in_no_time

rates = st.integers(1, 2_000)
naps = st.lists(
    st.floats(0, 0.01) | st.floats(0, 2) | st.just(0.0) | st.just(3_600.0), max_size=300
)


def turns(pacer: Pacer, rate: float, naps: list[float]) -> list[float]:
    """When turns were taken by someone who asks again too late, or not at all for an hour."""
    now_s, taken = 1_000.0, []
    for nap in naps:
        while wait_s := pacer.take(now_s, rate):
            now_s += wait_s
        taken.append(now_s)
        now_s += nap
    return taken


@given(rates, naps, st.integers(0, 400))
def test_no_second_has_more_than_the_rate_and_a_tenth(rate, naps, at_once):
    """However turns are asked for, late, in bursts or after an hour's sleep, the bound holds."""
    times = turns(Pacer(), rate, [*naps, *[0.0] * at_once])

    assert worst_second(times) <= max(rate * 1.1, 1)


@pytest.mark.parametrize("rate", [1, 7, 100, 1_000])
def test_the_rate_is_reached(rate):
    """Whoever asks all the time gets the whole rate."""
    times = turns(Pacer(), rate, [0.0] * (rate * 20))

    assert rate * 20 / (times[-1] - times[0] + 1 / rate) == pytest.approx(rate, rel=0.01)


def test_small_delays_are_made_up_for():
    """A sleep that is a little too long does not lower the rate: the burst is there for it."""
    times = turns(Pacer(), 100, [0.013, 0.0] * 1_000)

    assert 2_000 / (times[-1] - times[0]) == pytest.approx(100, rel=0.01)


def test_a_pause_holds_everybody():
    """Nobody has a turn before a pause ends; a shorter one does not end it."""
    pacer = Pacer()
    pacer.pause(10.0)
    pacer.pause(5.0)

    assert pacer.take(0.0, 0) == 10.0
    assert pacer.is_paused(9.0)
    assert pacer.take(10.0, 0) == 0.0
    assert not pacer.is_paused(10.0)


def test_no_limit():
    """Rate 0 gives every turn at once."""
    pacer = Pacer()

    assert [pacer.take(0.0, 0) for _ in range(100)] == [0.0] * 100


def test_a_throttle_cuts_once_a_second_and_comes_back():
    """Each throttle cuts to 70 %, at most once a second; 2 % of the rate come back a second."""
    tempo = AdaptiveRate(100)
    assert tempo.rate(0.0) == 100

    for _ in range(10):
        tempo.throttled(0.5)
    assert tempo.rate(0.5) == pytest.approx(70)

    tempo.throttled(1.5)
    assert tempo.rate(1.5) == pytest.approx(72 * 0.7)
    assert tempo.rate(11.5) == pytest.approx(72 * 0.7 + 20)
    assert tempo.rate(1_000.0) == 100


def test_the_rate_never_dies():
    """However often the service throttles, a little is always tried."""
    tempo = AdaptiveRate(100)
    for second in range(100):
        tempo.throttled(float(second) * 1.01)

    assert tempo.rate(101.0) >= 5


def latencies(tempo: AdaptiveRate, seconds: range, latency_s: float) -> None:
    """Ten answers a second."""
    for second in seconds:
        for tenth in range(10):
            spread_s = 0.004 * (tenth - 5)
            tempo.answered(second + tenth / 10, latency_s + spread_s)


def test_unusual_latency_cuts():
    """When answers take far longer than they used to, the service is near its limit."""
    tempo = AdaptiveRate(100)
    latencies(tempo, range(30), 0.1)
    assert tempo.rate(30.0) == 100

    latencies(tempo, range(30, 33), 0.5)
    assert tempo.rate(33.0) < 80


def test_the_mean_latency_is_that_of_one_second():
    """From the first on; nothing of the seconds before is left in it."""
    for seconds in (2, 5):
        tempo = AdaptiveRate(100)
        latencies(tempo, range(seconds), 0.1)
        assert tempo.latency_s == pytest.approx(0.1, abs=0.01)


def test_noise_does_not_cut():
    """The usual spread, and a delay of a few milliseconds, are no signal."""
    tempo = AdaptiveRate(100)
    latencies(tempo, range(30), 0.001)
    latencies(tempo, range(30, 40), 0.03)

    assert tempo.rate(40.0) == 100


def test_a_new_distance_becomes_usual():
    """A longer way to the service, once it is the usual one, costs nothing any more."""
    tempo = AdaptiveRate(100)
    latencies(tempo, range(30), 0.05)
    latencies(tempo, range(30, 150), 0.3)

    assert tempo.rate(150.0) == 100


@pytest.mark.parametrize(
    ("rate", "latency_s", "expected"),
    [(100, 0.0, 4), (100, 0.1, 20), (1_000, 1.0, 64), (1, 1.0, 4), (0, 1.0, 16)],
)
def test_concurrency(rate, latency_s, expected):
    """Twice what the rate needs at this latency, from 4 to 64."""
    assert concurrency(rate, latency_s) == expected


@given(st.lists(st.integers(1, 8), max_size=20), st.integers(1, 30))
def test_places_follow_their_size(sizes, visitors):
    """However often the size changes, no more than the largest are inside, and all get in."""

    async def visit(places: ResizableSemaphore, inside: list[int]) -> None:
        await places.enter()
        inside.append(inside[-1] + 1)
        await asyncio.sleep(1)
        inside.append(inside[-1] - 1)
        places.leave()

    async def go() -> None:
        places, inside = ResizableSemaphore(4), [0]
        async with asyncio.TaskGroup() as group:
            for _ in range(visitors):
                group.create_task(visit(places, inside))
            for size in sizes:
                await asyncio.sleep(0.3)
                places.resize(size)
        assert max(inside) <= max([4, *sizes])
        assert inside.count(0) >= 1
        assert inside[-1] == 0

        size, now_inside = places.count, 0
        for _ in range(size):
            await asyncio.wait_for(places.enter(), 1)
            now_inside += 1
        assert now_inside == size

    in_no_time(go())


class Answering:
    """A service that takes what comes, and notes when."""

    def __init__(self):
        self.times = []

    async def attempt(self, batch, *, fresh=False):
        """Answer at once."""
        del batch, fresh
        self.times.append(asyncio.get_running_loop().time())
        return Answer(200, {}, b"{}")


def sent_by(rate, attempts):
    """When so many attempts were made at a rate by the clock, and the pauses that were told."""

    async def send():
        service, loop, pauses = Answering(), asyncio.get_running_loop(), []
        began_s = loop.time()
        paced = RateLimitedTransport(
            service,
            rate=lambda: rate(loop.time() - began_s),
            concurrency_max=4,
            time=Time(loop.time, asyncio.sleep, lambda: 0.5),
            meter=Meter(pauses.append),
        )
        await asyncio.gather(*(paced.attempt(None) for _ in range(attempts)))
        return [each - began_s for each in service.times], pauses

    return in_no_time(send())


def test_the_rate_follows_the_clock():
    """At once, down and up again; nobody waits for a turn at a rate that has ended."""
    times, _ = sent_by(lambda now_s: (10.0 if 60 <= now_s < 120 else 100.0, 0.0), 10_000)
    by_minute = [
        sum(minute * 60 <= each < minute * 60 + 60 for each in times) for minute in range(3)
    ]
    assert by_minute[0] == pytest.approx(6_000, abs=20)
    assert by_minute[1] == pytest.approx(600, abs=10)
    assert by_minute[2] == 10_000 - by_minute[0] - by_minute[1]
    assert worst_second([each for each in times if 60 <= each < 120]) <= 11


def test_nothing_is_sent_in_a_pause_by_the_clock():
    """It is told once, and ends when it ends."""
    times, pauses = sent_by(
        lambda now_s: (0.0, 4_000 - now_s) if 1 <= now_s < 4_000 else (50.0, 0.0), 100
    )
    assert not [each for each in times if 1.1 < each < 4_000]
    assert times[-1] == pytest.approx(4_001, abs=1)
    assert [(each.reason, round(each.until_s - 1_000)) for each in pauses] == [("window", 4_000)]


def test_a_rate_that_the_service_cut_is_not_raised_by_the_clock():
    """It comes back by and by; what it was never asked to be, it is at once."""
    tempo = AdaptiveRate(100)
    tempo.rate(0.0)
    tempo.ask(50)
    assert tempo.rate(0.0) == 50
    tempo.ask(100)
    assert tempo.rate(0.0) == 100
    tempo.throttled(0.0)
    assert tempo.rate(0.0) == pytest.approx(70)
    tempo.ask(20)
    assert tempo.rate(0.0) == 20
    tempo.ask(100)
    assert tempo.rate(0.0) == 100  # 20 was the whole of what was asked for
