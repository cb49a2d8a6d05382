"""How long to wait before a retry, and whether a service works.

Decisions only: no I/O, no clock, no dice. `jitter` is a random number from 0 up to, not including,
1; `now_s` a monotonic clock's.
"""

BACKOFF_BASE_S, BACKOFF_MAX_S = 0.5, 30.0
THROTTLE_BASE_S = 1.0
PROBE_BASE_S, PROBE_MAX_S = 1.0, 30.0
PROBING_AFTER_S = 30.0
OUTAGE_MAX_S = 900.0
START_PATIENCE_S = 30.0
"""How long the first success may take: before it nothing is lost, and nothing may be there."""

TOKENS, TIMEOUT_COST, RETRY_COST = 500, 10, 5
_DOUBLINGS_MAX = 16


def backoff_s(failures: int, jitter: float) -> float:
    """How long to wait after so many failures: anything up to a doubling bound of 30 s.

    >>> backoff_s(3, jitter=0.5)
    1.0
    """
    # Full jitter: what failed together must not come back together.
    return jitter * _doubled(BACKOFF_BASE_S, failures - 1, BACKOFF_MAX_S) if failures else 0.0


def throttle_s(throttles: int, jitter: float) -> float:
    """How long all wait after a 429 without a hint: 1 s and more, up to 30 s."""
    return _doubled(THROTTLE_BASE_S, throttles - 1, BACKOFF_MAX_S / 2) * (1 + jitter)


def _doubled(base_s: float, times: int, max_s: float) -> float:
    # A night of failures, doubled each time, would be no float.
    return float(min(base_s * 2 ** min(times, _DOUBLINGS_MAX), max_s))


def retry_cost(*, throttled: bool, timed_out: bool) -> int:
    """What a retry takes from the budget: nothing after a throttle, whose price is the pause."""
    if throttled:
        return 0
    return TIMEOUT_COST if timed_out else RETRY_COST


class RetryBudget:
    """Tokens that retries cost and successes earn, so that retries never become the traffic.

    The figures are those of the AWS SDKs. An RPC without tokens fails; ours can wait, so that it
    goes on as a probe.
    """

    def __init__(self) -> None:
        self.tokens = TOKENS

    def allows(self, cost: int) -> bool:
        """Whether there are tokens for it."""
        return self.tokens >= cost

    def spend(self, cost: int) -> None:
        """Pay for a retry."""
        self.tokens = max(self.tokens - cost, 0)

    def earn(self) -> None:
        """A request had success."""
        self.tokens = min(self.tokens + 1, TOKENS)


class CircuitBreaker:
    """Whether the service works, from what became of the attempts.

    Failing since the first failure after the last success; after 30 s of it, one probe at a time.
    """

    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0
        self.throttles = 0
        self._failing_since_s: float | None = None
        self._probes = 0

    def succeeded(self) -> None:
        """The service took a request, or refused it with reasons."""
        self.successes += 1
        self.throttles = self._probes = 0
        self._failing_since_s = None

    def failed(self, now_s: float) -> None:
        """An attempt had no success."""
        self.failures += 1
        if self._failing_since_s is None:
            self._failing_since_s = now_s

    def failing_for_s(self, now_s: float) -> float:
        """How long nothing has had success, though it was tried."""
        return 0.0 if self._failing_since_s is None else now_s - self._failing_since_s

    def is_out(self, now_s: float) -> bool:
        """Whether only single probes make sense."""
        return self.failing_for_s(now_s) >= PROBING_AFTER_S

    def probe_s(self, jitter: float) -> float:
        """How long to wait before the next probe: 1 s to 30 s, longer from probe to probe."""
        self._probes += 1
        bound_s = _doubled(PROBE_BASE_S, self._probes, PROBE_MAX_S)
        # Never less than a second: the service is down, and may be starting.
        return max(PROBE_BASE_S, bound_s * jitter)
