"""Every attempt takes its turn: the wrapper that holds each one until it may be sent."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backfill.delivery.outcome import Meter, PauseReason, latency_step
from backfill.delivery.pacing import AdaptiveRate, Pacer, concurrency
from backfill.delivery.sharing import SharedPacer
from backfill.delivery.verdicts import Answer, NoAnswer
from backfill.errors import BackfillError
from backfill.operations.batches import Batch

_ERROR_STATUS_MIN = 400


class Attempts(Protocol):
    """Sends a request once.

    An implementation MUST give an answer or say that there was none, MUST NOT raise for anything
    that a network or a server can do, and MUST be safe to call from many tasks.
    """

    async def attempt(self, batch: Batch, *, fresh: bool = False) -> Answer | NoAnswer:
        """Send a batch once; `fresh` asks for a new connection."""


@dataclass(frozen=True, slots=True)
class Time:
    """What waiting needs.

    Args:
        now_s: A monotonic clock, in seconds.
        sleep: Waits for so many of its seconds.
        jitter: A random number from 0 up to, not including, 1, for the length of waits.
    """

    now_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    jitter: Callable[[], float]


class RateLimitedTransport:
    """Attempts at a rate that the service bears, so many at a time.

    Args:
        attempts: What is paced.
        rate: Requests per second at most; 0 for no limit.
        concurrency_max: Attempts at the same time; None to follow the rate and the latency.
        time: The clock.
        meter: Where the rate, the latency and the pauses are shown.
    """

    def __init__(
        self,
        attempts: Attempts,
        *,
        rate: float,
        concurrency_max: int | None,
        time: Time,
        meter: Meter,
    ) -> None:
        self._attempts = attempts
        self._tempo = AdaptiveRate(rate)
        self._pacer: Pacer | SharedPacer = Pacer()
        self._time, self._meter = time, meter
        self._adaptive = concurrency_max is None
        self._places = ResizableSemaphore(concurrency_max or concurrency(rate, 0.0))
        self._line = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self._holds = 0
        self._sleep: asyncio.Future[None] | None = None
        self._stopped_by: BackfillError | None = None
        meter.rate, meter.concurrency = rate, self._places.count

    async def attempt(self, batch: Batch, *, fresh: bool = False) -> Answer | NoAnswer:
        """Send a batch once, when its turn has come.

        Raises:
            BackfillError: What `stop` was called with.
        """
        await self._places.enter()
        try:
            await self._turn()
            began_s = self._time.now_s()
            answer = await self._attempts.attempt(batch, fresh=fresh)
            # Errors come quicker than work is done: they would make the service look fast.
            if isinstance(answer, Answer) and answer.status < _ERROR_STATUS_MIN:
                self._answered(began_s)
            return answer
        finally:
            self._places.leave()

    def share(self, path: Path) -> None:
        """Take turns together with all processes that share this file (`turns_file`)."""
        self._pacer = SharedPacer(Pacer(), path)

    def pause(self, reason: PauseReason, seconds: float) -> None:
        """Give nobody a turn for so long."""
        until_s = self._time.now_s() + seconds
        self._pacer.pause(until_s)
        self._meter.paused(reason, until_s)

    def is_paused(self) -> bool:
        """Whether a pause lasts."""
        return self._pacer.is_paused(self._time.now_s())

    def slow_down(self) -> None:
        """The service asked for less."""
        self._tempo.throttled(self._time.now_s())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Give no turn meanwhile."""
        # Several batches may doubt the key at once.
        self._holds += 1
        self._open.clear()
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self._open.set()

    def stop(self, error: BackfillError) -> None:
        """Give no turn any more: whoever waits for one, or asks later, gets the error."""
        self._stopped_by = self._stopped_by or error
        # Whoever waits at the gate must wake up to be told.
        self._open.set()
        if self._sleep is not None:
            self._sleep.cancel()

    def raise_if_stopped(self) -> None:
        """Raise what `stop` was called with, if it was."""
        if self._stopped_by:
            raise self._stopped_by

    async def _turn(self) -> None:
        # One line: who came first goes first, and only its head watches the clock.
        async with self._line:
            while True:
                self.raise_if_stopped()
                await self._open.wait()
                self.raise_if_stopped()
                now_s = self._time.now_s()
                rate = self._meter.rate = self._tempo.rate(now_s)
                wait_s = self._pacer.take(now_s, rate)
                if wait_s <= 0:
                    return
                self._sleep = asyncio.ensure_future(self._time.sleep(wait_s))
                await asyncio.wait([self._sleep])  # a stop cancels the sleep, not the sleeper

    def _answered(self, began_s: float) -> None:
        now_s = self._time.now_s()
        self._tempo.answered(now_s, now_s - began_s)
        self._meter.latencies[latency_step(now_s - began_s)] += 1
        self._meter.latency_s = self._tempo.latency_s
        # Only where the user has named no number.
        if self._adaptive:
            self._places.resize(concurrency(self._meter.rate, self._tempo.latency_s))
            self._meter.concurrency = self._places.count


class ResizableSemaphore:
    """A semaphore whose size can change while it is in use."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._semaphore = asyncio.Semaphore(count)
        self._surplus = 0

    async def enter(self) -> None:
        """Take a place, when there is one."""
        await self._semaphore.acquire()

    def leave(self) -> None:
        """Give the place back."""
        if self._surplus > 0:
            self._surplus -= 1
        else:
            self._semaphore.release()

    def resize(self, count: int) -> None:
        """Have so many places; those taken beyond it vanish when they are left."""
        self._surplus -= count - self.count
        self.count = count
        while self._surplus < 0:
            self._surplus += 1
            self._semaphore.release()
