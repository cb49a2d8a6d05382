"""When to try again, and when to stop trying."""

from hypothesis import given
from hypothesis import strategies as st

from backfill.retrying import TOKENS, CircuitBreaker, RetryBudget, backoff_s, retry_cost, throttle_s

jitters = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), jitters)
def test_backoff_is_bounded(failures, jitter):
    """A wait is anything up to its bound, which doubles from 0.5 s to 30 s."""
    assert 0 <= backoff_s(failures, jitter) <= min(0.5 * 2 ** min(failures - 1, 20), 30)


def test_no_failure_no_backoff():
    """Before the first failure there is nothing to wait for."""
    assert backoff_s(0, 0.9) == 0


@given(st.integers(1, 10_000), jitters)
def test_throttles_pause_at_least_a_second(throttles, jitter):
    """A throttle without a hint holds everybody for 1 s at least, for 30 s at most."""
    assert 1 <= throttle_s(throttles, jitter) <= 30


def test_a_throttle_is_not_paid_for_twice():
    """After a throttle the pause was the price; a timeout costs twice a failure."""
    assert retry_cost(throttled=True, timed_out=False) == 0
    assert retry_cost(throttled=False, timed_out=True) == 2 * retry_cost(
        throttled=False, timed_out=False
    )


@given(st.lists(st.sampled_from(["success", "failure", "timeout"]), max_size=2_000))
def test_retries_stay_below_their_budget(events):
    """Whatever happens, tokens stay in bounds, and retries follow successes."""
    budget, spent, earned = RetryBudget(), 0, 0
    for event in events:
        if event == "success":
            budget.earn()
            earned += 1
        else:
            cost = retry_cost(throttled=False, timed_out=event == "timeout")
            if budget.allows(cost):
                budget.spend(cost)
                spent += cost
        assert 0 <= budget.tokens <= TOKENS
    assert spent <= TOKENS + earned


def test_a_service_that_was_never_tried_has_failed_never():
    """Batches hold their own failures against these."""
    health = CircuitBreaker()
    assert (health.successes, health.failures, health.throttles) == (0, 0, 0)
    assert health.failing_for_s(1_000.0) == 0


def test_an_outage_begins_after_30_s_without_success():
    """Only an unbroken row of failures is an outage; one success ends it."""
    health = CircuitBreaker()
    health.failed(100.0)
    health.failed(129.0)
    assert not health.is_out(129.9)
    assert health.is_out(130.0)
    assert health.failing_for_s(150.0) == 50

    health.succeeded()
    assert not health.is_out(1_000.0)
    assert health.failing_for_s(1_000.0) == 0


def test_idleness_is_no_outage():
    """An hour in which nothing was sent says nothing about the service."""
    health = CircuitBreaker()
    health.succeeded()
    health.failed(3_600.0)

    assert not health.is_out(3_600.0)


@given(jitters)
def test_probes_are_1_to_30_s_apart(jitter):
    """Probes grow rarer, from 1 s to at most 30 s; after a success they begin anew."""
    health = CircuitBreaker()
    waits = [health.probe_s(jitter) for _ in range(50)]
    assert all(1 <= wait_s <= 30 for wait_s in waits)
    assert waits == sorted(waits)

    health.succeeded()
    assert health.probe_s(jitter) <= 2
