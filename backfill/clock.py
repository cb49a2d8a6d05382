"""The one place where the real clock and the real die are taken from."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

_STEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Clock:
    """What a run knows of time; `since_start_s` counts from when it was made.

    Args:
        now_s: A monotonic clock, in seconds; no change of the date moves it. The real one stands
            still while the machine sleeps: turns are not missed meanwhile, and an outage grows no
            longer behind a closed lid.
        unix_s: The time now, as unix seconds.
        sleep: Does nothing for so many seconds; not in an event loop.
        jitter: A random number from 0 up to, not including, 1, for the length of waits.
    """

    now_s: Callable[[], float] = time.monotonic  # noqa: TID251 - the clock that others take
    unix_s: Callable[[], float] = time.time  # noqa: TID251
    sleep: Callable[[float], None] = time.sleep  # noqa: TID251
    jitter: Callable[[], float] = random.random
    _started_s: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_started_s", self.now_s())

    def interrupted_by(self, check: Callable[[], None]) -> "Clock":
        """The same clock, whose waits end by what `check` raises; it is asked every second."""

        def sleep(wait_s: float) -> None:
            check()
            while wait_s > 0:
                self.sleep(min(wait_s, _STEP_S))
                wait_s -= _STEP_S
                check()

        return replace(self, sleep=sleep)

    def since_start_s(self) -> float:
        """Seconds since this clock was made."""
        return self.now_s() - self._started_s
