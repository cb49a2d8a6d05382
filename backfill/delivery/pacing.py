"""How fast to send: turns, the pace that adapts, and how many attempts at once. No I/O, no clock.

`now_s` is a monotonic clock's. A laptop that slept or a process that was stopped finds its missed
turns lost: they are never made up for.
"""

from math import ceil, sqrt

BURST_SHARE = 0.05
TICK_S = 1e-6
"""A wait that is shorter than this is over."""
CUT, CUT_EVERY_S = 0.7, 1.0
RECOVERY_PER_S = 0.02
RATE_FLOOR_SHARE = 0.05
WINDOW_S = 1.0
DEVIATIONS = 2.5
NOISE_S = 0.05
"""A delay that is smaller than this says nothing about the service, however unusual."""
CONCURRENCY_MIN, CONCURRENCY_MAX = 4, 64
CONCURRENCY_UNPACED = 16


class Pacer:
    """Gives turns: never more in any second than the rate and a burst of 5 % of it.

    The generic cell rate algorithm, in which a turn is taken when it is used, not reserved ahead:
    whatever the sleeping in between did, the turns that were taken keep the bound. `next_s` is
    when the next turn would be at an even pace.
    """

    def __init__(self) -> None:
        self.next_s = float("-inf")
        self._paused_until_s = float("-inf")

    def take(self, now_s: float, rate: float) -> float:
        """Take a turn: 0 where it was given, else the seconds after which to ask again.

        Args:
            now_s: The time.
            rate: Turns per second; 0 for no limit.
        """
        step_s = 1.0 / rate if rate > 0 else 0.0
        # Whole turns only: below 20 requests/s there is no burst at all.
        early_s = int(rate * BURST_SHARE) * step_s
        wait_s = max(self._paused_until_s, self.next_s - early_s) - now_s
        if wait_s > TICK_S:
            return wait_s
        # From now where turns were missed: after a sleep they are lost, not sent at once.
        self.next_s = max(self.next_s, now_s) + step_s
        return 0.0

    def wait_for(self, next_s: float) -> None:
        """Somebody else took turns: the next one is not before `next_s`."""
        self.next_s = max(self.next_s, next_s)

    def pause(self, until_s: float) -> None:
        """Give no turn before `until_s`; a longer pause stays."""
        self._paused_until_s = max(self._paused_until_s, until_s)

    def is_paused(self, now_s: float) -> bool:
        """Whether a pause lasts."""
        return self._paused_until_s - now_s > TICK_S


class EwmaSpread:
    """Mean and variance of a quantity, exponentially weighted, one value after the other.

    Args:
        weight: The share of the newest value in the mean, from 0 to 1.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self.mean: float | None = None
        self._variance = 0.0

    def add(self, value: float) -> None:
        """Update mean and variance by one more value, in the quantity's own unit."""
        if self.mean is None:
            self.mean = value
            return
        # West's form of the update: sums of squares would cancel for a small spread.
        away = value - self.mean
        self.mean += self._weight * away
        self._variance = (1 - self._weight) * (self._variance + self._weight * away * away)

    def exceeded_by(self, value: float) -> bool:
        """Whether a value lies more than 2.5 standard deviations above the mean.

        Never before there is a mean, and never by less than 50 ms, which is noise.
        """
        if self.mean is None:
            return False
        return value > self.mean + max(DEVIATIONS * sqrt(self._variance), NOISE_S)


class AdaptiveRate:
    """The rate that the service seems to bear: at most the one that was asked for.

    A throttled answer or a second of unusual latency cuts it to 70 %, at most once a second; it
    comes back by 2 % of the asked rate each second.
    """

    def __init__(self, rate: float) -> None:
        self._ceiling = rate
        self._rate = rate
        self._as_of_s: float | None = None
        self._cut_at_s = float("-inf")
        self._usual = EwmaSpread(weight=0.2)
        self._window_ends_s = float("-inf")
        self._window_sum_s, self._window_count = 0.0, 0
        self.latency_s = 0.0

    def rate(self, now_s: float) -> float:
        """Requests per second, now; 0 for no limit."""
        if self._as_of_s is not None and self._rate < self._ceiling:
            # Linear: doubling back would find the limit again by breaking it.
            back = RECOVERY_PER_S * self._ceiling * max(now_s - self._as_of_s, 0.0)
            self._rate = min(self._ceiling, self._rate + back)
        self._as_of_s = now_s
        return self._rate

    def throttled(self, now_s: float) -> None:
        """The service asked for less."""
        # Answers to what was under way before the cut say nothing new.
        if now_s - self._cut_at_s < CUT_EVERY_S:
            return
        self._rate = max(self.rate(now_s) * CUT, self._ceiling * RATE_FLOOR_SHARE)
        self._cut_at_s = now_s

    def answered(self, now_s: float, latency_s: float) -> None:
        """An answer came; a whole second of them is compared with what is usual."""
        if self._window_count and now_s >= self._window_ends_s:
            self._close_window(now_s)
        if not self._window_count:
            self._window_ends_s = now_s + WINDOW_S
        self._window_sum_s += latency_s
        self._window_count += 1
        # Until a window is full, one answer is the best guess there is.
        if self.latency_s == 0.0:
            self.latency_s = latency_s

    def _close_window(self, now_s: float) -> None:
        mean_s = self._window_sum_s / self._window_count
        if self._usual.exceeded_by(mean_s):
            self.throttled(now_s)
        self._usual.add(mean_s)
        self.latency_s = mean_s
        self._window_sum_s, self._window_count = 0.0, 0


def concurrency(rate: float, latency_s: float) -> int:
    """How many attempts at once keep up the rate, with as many again to spare.

    >>> concurrency(rate=100, latency_s=0.1)
    20
    """
    if rate <= 0:
        return CONCURRENCY_UNPACED
    # Little's law: as many are under way as arrive during one latency.
    return min(max(ceil(rate * latency_s * 2), CONCURRENCY_MIN), CONCURRENCY_MAX)
