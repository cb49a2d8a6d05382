"""The pacer and the breaker do what plain models say, also through sleep and long silence."""

from bisect import bisect_right

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backfill.delivery.pacing import TICK_S, Pacer
from backfill.retrying import PROBE_BASE_S, PROBE_MAX_S, PROBING_AFTER_S, CircuitBreaker

SECONDS = st.sampled_from([0.0, 0.001, 0.01, 0.3, 1.0, 29.0, 31.0, 3_600.0, 864_000.0])


class Turns(RuleBasedStateMachine):
    """A pacer beside the list of all turns that it ever gave."""

    def __init__(self):
        super().__init__()
        self.pacer, self.now_s = Pacer(), 1_000.0
        self.rate, self.given = 40.0, []
        self.paused_until_s = 0.0

    @rule(seconds=SECONDS)
    def time_goes_by(self, seconds):
        """A moment, a nap, a laptop closed for days."""
        self.now_s += seconds

    @rule(times=st.integers(1, 120))
    def ask(self, times):
        """Somebody wants turns, and asks without waiting."""
        for _ in range(times):
            wait_s = self.pacer.take(self.now_s, self.rate)
            if wait_s == 0.0:
                self.given.append(self.now_s)
                assert self.now_s >= self.paused_until_s - TICK_S

    @rule()
    def wait_as_told(self):
        """Whoever waits as long as was said gets a turn."""
        while wait_s := self.pacer.take(self.now_s, self.rate):
            self.now_s += wait_s
        self.given.append(self.now_s)

    @rule(seconds=SECONDS)
    def pause(self, seconds):
        """The service asks for patience."""
        self.pacer.pause(self.now_s + seconds)
        self.paused_until_s = max(self.paused_until_s, self.now_s + seconds)

    @rule(seconds=SECONDS)
    def others_took_turns(self, seconds):
        """Another process has used what would have been ours."""
        self.pacer.wait_for(self.now_s + min(seconds, 60.0))

    @invariant()
    def no_second_has_more_than_the_rate_and_its_burst(self):
        """Counted back from the last turn; every second ends at some turn."""
        if self.given:
            last_s = self.given[-1]
            before = bisect_right(self.given, last_s - 1.0 + 1e-4)
            assert len(self.given) - before <= self.rate * 1.1


class Breaker(RuleBasedStateMachine):
    """The service's health beside the timestamps of all successes and failures."""

    def __init__(self):
        super().__init__()
        self.health, self.now_s = CircuitBreaker(), 1_000.0
        self.first_failure_s, self.successes = None, 0

    @rule(seconds=SECONDS)
    def time_goes_by(self, seconds):
        """Also without any attempt."""
        self.now_s += seconds

    @rule()
    def succeed(self):
        """An attempt was accepted: all is forgotten."""
        self.health.succeeded()
        self.first_failure_s = None
        self.successes += 1

    @rule()
    def fail(self):
        """An attempt was not."""
        self.health.failed(self.now_s)
        if self.first_failure_s is None:
            self.first_failure_s = self.now_s

    @rule(jitter=st.floats(0, 1, exclude_max=True))
    def probe(self, jitter):
        """Whatever came before, a probe is never far."""
        assert PROBE_BASE_S <= self.health.probe_s(jitter) <= PROBE_MAX_S

    @invariant()
    def it_is_out_after_a_while_of_failures_only(self):
        """Neither before, nor for mere silence."""
        since_s = self.first_failure_s
        failing_s = 0.0 if since_s is None else self.now_s - since_s
        assert self.health.failing_for_s(self.now_s) == failing_s
        assert self.health.is_out(self.now_s) == (failing_s >= PROBING_AFTER_S)
        assert self.health.successes == self.successes


TestTurns, TestBreaker = Turns.TestCase, Breaker.TestCase
TestTurns.settings = TestBreaker.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
