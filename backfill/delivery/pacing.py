"""How fast to send: turns, the rate that adapts, attempts at once, turns shared by processes.

`now_s` is a monotonic clock's. A laptop that slept or a process that was stopped finds its missed
turns lost: they are never made up for.
"""

import asyncio
import fcntl
import os
import stat
import struct
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Protocol

from backfill.delivery.outcome import Meter, PauseReason, latency_step
from backfill.delivery.verdicts import Answer, NoAnswer
from backfill.errors import BackfillError
from backfill.files import PRIVATE_DIRECTORY, PRIVATE_FILE

BUSY_S = 0.001
"""How long to leave a file alone that somebody else is looking at."""

FUTURE_MAX_S = 60.0
_TIME = struct.Struct("<d")
_OPEN_OR_CREATE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

_ERROR_STATUS_MIN = 400
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


class Request(Protocol):
    """What is sent: a batch of operations, or a question to the App API."""

    @property
    def method(self) -> str:
        """The HTTP method."""

    @property
    def path(self) -> str:
        """The path with its query, percent-encoded."""

    def body(self) -> bytes:
        """The body; empty where there is none."""


class Attempts(Protocol):
    """Sends a request once.

    An implementation MUST give an answer or say that there was none, MUST NOT raise for anything
    that a network or a server can do, and MUST be safe to call from many tasks.
    """

    async def attempt(self, batch: Request, *, fresh: bool = False) -> Answer | NoAnswer | None:
        """Send a request once; `fresh` asks for a new connection.

        None: its turn has lapsed, and it needs another one: it was not sent, or nobody can tell.
        """


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


AskedRate = Callable[[], tuple[float, float]]
"""Gives the rate that is asked for now, in requests per second, and for how many seconds nothing is
sent; 0: it is not a pause."""

LOOK_AGAIN_S = 60.0
"""No wait for a turn is longer: another rate may be asked for meanwhile."""


class RateLimitedTransport:
    """Attempts at a rate that the service bears, so many at a time.

    Args:
        attempts: What is paced.
        rate: Requests per second at most, 0 for no limit; or what gives it, by the clock.
        concurrency_max: Attempts at the same time; None to follow the rate and the latency.
        time: The clock.
        meter: Where the rate, the latency and the pauses are shown.
        late_s: How long after its turn an attempt may begin, now.
    """

    def __init__(
        self,
        attempts: Attempts,
        *,
        rate: float | AskedRate,
        concurrency_max: int | None,
        time: Time,
        meter: Meter,
        late_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._asked = rate if callable(rate) else (lambda: (rate, 0.0))
        at_first, _ = self._asked()
        self._attempts = attempts
        self._late_s = late_s
        self._tempo = AdaptiveRate(at_first)
        self._pacer: Pacer | SharedPacer = Pacer()
        self._time, self._meter = time, meter
        self._adaptive = concurrency_max is None
        self._places = ResizableSemaphore(concurrency_max or concurrency(at_first, 0.0))
        self._line = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self._holds = 0
        self._sleep: asyncio.Future[None] | None = None
        self._stopped_by: BackfillError | None = None
        meter.rate, meter.concurrency = at_first, self._places.count

    async def attempt(self, batch: Request, *, fresh: bool = False) -> Answer | NoAnswer:
        """Send a request once, when its turn has come.

        Raises:
            BackfillError: What `stop` was called with.
        """
        await self._places.enter()
        try:
            answer = None
            while answer is None:
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
                wait_s = self._wait_s(self._time.now_s())
                if wait_s <= 0:
                    return
                self._sleep = asyncio.ensure_future(self._time.sleep(wait_s))
                await asyncio.wait([self._sleep])  # a stop cancels the sleep, not the sleeper

    def _wait_s(self, now_s: float) -> float:
        """Take a turn: 0 where it was given, else the seconds after which to ask again."""
        asked, pause_s = self._asked()
        if pause_s:
            self._meter.paused("window", now_s + pause_s)
            return min(pause_s, LOOK_AGAIN_S)
        self._tempo.ask(asked)
        rate = self._meter.rate = self._tempo.rate(now_s)
        # The turns of a second and of what comes late from before it are together no more.
        return min(self._pacer.take(now_s, rate / (1 + self._late_s())), LOOK_AGAIN_S)

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

    def ask(self, rate: float) -> None:
        """Take another rate as the one that is asked for."""
        if rate == self._ceiling:
            return
        # What the service has not asked to slow down is as fast as it may be, at once.
        is_free = self._rate >= self._ceiling or not rate
        self._ceiling, self._rate = rate, rate if is_free else min(self._rate, rate)

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


def turns_file(workspace: str, folder: Path | None = None) -> Path:
    """The file that all processes of this user share toward a workspace.

    Args:
        workspace: The workspace's name, fit for a file's.
        folder: Where it is; None: a folder of the user's own among the machine's temporary ones,
            which is the same for a shell and for cron.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"backfill-{os.getuid()}"
    return folder / f"{workspace}.turn"


class SharedPacer:
    """A pacer whose turns are also those of other processes.

    Without the file (a full disk, a folder of somebody else's) each process keeps its own rate.

    Args:
        pacer: This process's own; it holds whatever the file says.
        path: From `turns_file`.
    """

    def __init__(self, pacer: Pacer, path: Path) -> None:
        self._pacer = pacer
        self._path = path

    def take(self, now_s: float, rate: float) -> float:
        """As `Pacer.take`; what is no limit is not shared."""
        if rate <= 0:
            return self._pacer.take(now_s, rate)
        try:
            return self._take_shared(now_s, rate)
        except OSError:
            return self._pacer.take(now_s, rate)

    def pause(self, until_s: float) -> None:
        """As `Pacer.pause`, for this process."""
        self._pacer.pause(until_s)

    def is_paused(self, now_s: float) -> bool:
        """As `Pacer.is_paused`."""
        return self._pacer.is_paused(now_s)

    def _take_shared(self, now_s: float, rate: float) -> float:
        with _opened(self._path) as file:
            try:
                # Never wait for it: that would stop the event loop, and all requests with it.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return BUSY_S
            # One byte more than a record has: a longer file is not ours.
            self._pacer.wait_for(next_turn(os.pread(file, _TIME.size + 1, 0), now_s))
            wait_s = self._pacer.take(now_s, rate)
            if wait_s <= 0:
                os.pwrite(file, _TIME.pack(self._pacer.next_s), 0)
                os.truncate(file, _TIME.size)
            return wait_s


def next_turn(record: bytes, now_s: float) -> float:
    """When the others' next turn is, from what the file holds; what cannot be true is never.

    The clock begins anew with the machine, and then a moment that was written before lies far
    ahead.
    """
    if len(record) != _TIME.size:
        return float("-inf")
    (next_s,) = _TIME.unpack(record)
    return next_s if next_s <= now_s + FUTURE_MAX_S else float("-inf")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The file, opened anew each time: somebody may have cleaned up meanwhile."""
    path.parent.mkdir(PRIVATE_DIRECTORY, exist_ok=True)
    # The folder is among everybody's temporary files: a link or a stranger's is refused.
    found = path.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{path.parent} is accessible to other users")
    descriptor = os.open(path, _OPEN_OR_CREATE, PRIVATE_FILE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
