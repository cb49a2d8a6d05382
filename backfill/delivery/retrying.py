"""When to try again, and when to stop trying. Decisions only: no I/O, no clock, no dice.

`jitter` is a random number from 0 up to, not including, 1; `now_s` a monotonic clock's.
"""

from backfill.delivery.verdicts import Halve, RetryKind, Settled, unknown_outcome

BACKOFF_BASE_S, BACKOFF_MAX_S = 0.5, 30.0
THROTTLE_BASE_S = 1.0
PROBE_BASE_S, PROBE_MAX_S = 1.0, 30.0
PROBING_AFTER_S = 30.0
OUTAGE_MAX_S = 900.0
TOKENS, TIMEOUT_COST, RETRY_COST = 500, 10, 5
DOUBTS_MAX = 6
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


def retry_cost(kind: RetryKind, *, timed_out: bool) -> int:
    """What the retry takes from the budget: nothing after a throttle, whose price is the pause."""
    if kind == "throttled":
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


class BatchRetryState:
    """What the attempts of one batch have shown, and when they have shown enough.

    An attempt that failed while most others had success is a doubt about the batch itself. After
    enough doubts it is halved, to find the operation that the service cannot take; a single one
    is refused: at once where its answers cannot be read, after the length of an outage where the
    service fails on it. Failures that others share never count, also in an outage that lets some
    requests through.
    """

    def __init__(self, count: int, *, outage_max_s: float) -> None:
        self.count = count
        self._outage_max_s = outage_max_s
        self._doubts = 0
        self._successes = self._failures = 0
        self._since_s: float | None = None
        self._hurried = False
        self.failures = 0

    def may_hurry(self) -> bool:
        """Whether to try again at once: the first time that a connection was dropped.

        Servers close kept connections just as a request sets out; that is nobody's failure.
        """
        first, self._hurried = not self._hurried, True
        return first

    def failed(
        self, kind: RetryKind, now_s: float, health: CircuitBreaker
    ) -> Settled | Halve | None:
        """Count a failure that the health does not know of yet; the conclusion, if there is one."""
        self.failures += 1
        first = self._since_s is None
        self._since_s = now_s if self._since_s is None else self._since_s
        succeeded = health.successes - self._successes
        failed_too = health.failures - self._failures - 1  # but for this batch's last attempt
        # The first failure is compared with nothing: others may fail a moment later.
        if kind != "throttled" and not first and succeeded > failed_too:
            self._doubts += 1
        self._successes, self._failures = health.successes, health.failures
        if self._doubts < DOUBTS_MAX:
            return None
        if self.count > 1:
            return Halve()
        # What cannot be read never gets clearer; a service that fails may recover.
        if kind == "unknown" or now_s - self._since_s >= self._outage_max_s:
            return unknown_outcome("no attempt got a clear answer while others were accepted")
        return None
