"""The one place where the real clock and the real die are taken from."""

import random
import time


class Clock:
    """Time as it is; `since_start_s` counts from when it was made."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()  # noqa: TID251 - this is the clock that others take

    def now_s(self) -> float:
        """A monotonic clock, in seconds; no change of the date moves it.

        It stands still while the machine sleeps: turns are not missed meanwhile, and an outage
        grows no longer behind a closed lid.
        """
        return time.monotonic()  # noqa: TID251

    def sleep(self, seconds: float) -> None:
        """Do nothing for so long."""
        time.sleep(seconds)  # noqa: TID251

    def since_start_s(self) -> float:
        """Seconds since this clock was made."""
        return self.now_s() - self._started_s

    def unix_s(self) -> float:
        """The time now, as unix seconds."""
        return time.time()  # noqa: TID251

    def jitter(self) -> float:
        """A random number from 0 up to, not including, 1, for the length of waits."""
        return random.random()  # noqa: S311 - it spreads retries, and keeps no secret
