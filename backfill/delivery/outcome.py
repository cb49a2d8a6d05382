"""What the engine sees of a delivery: what became of a batch, and counters while it goes on."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, log
from typing import Literal, Protocol

from backfill.errors import BackfillError
from backfill.operations.batches import Batch

PauseReason = Literal["throttled", "hint", "outage", "budget", "credentials", "window"]
NO_ANSWER = 0
"""The place of attempts without an answer among the statuses."""

_FINEST_S = 1e-4
_STEP = 1.05
"""Latencies are counted in steps of 5 %: a percentile is as exact as that, whatever came."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One operation of a batch that will not be accepted, however often it is sent.

    Args:
        index: The operation's place in the batch, from 0.
        reason: The API's code ("invalid", …), or one of ours: "too_large", "unknown_outcome".
        field: The field that the API names, or "".
        message: The API's sentence, in one line.
    """

    index: int
    reason: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch: every operation that is not among the refusals was delivered.

    Args:
        refusals: At most one an operation, in the order of the batch.
        attempts: How many requests it took, halves included.
    """

    refusals: tuple[Refusal, ...]
    attempts: int


class Delivery(Protocol):
    """Takes batches to the API.

    An implementation MUST account for every operation of the batch, MUST be safe to call from
    many tasks, MUST start no attempt once it is cancelled, MUST refuse no operation because of an
    outage, a throttle or a revoked key, and MUST raise nothing but `CredentialsError`,
    `UnavailableError`, `UsageError`, what it was stopped with, and `asyncio.CancelledError`.
    """

    @property
    def meter(self) -> "Meter":
        """What it does, counted from its opening; to be read at any time."""

    async def deliver(self, batch: Batch) -> Outcome | None:
        """Send a batch until all that can be accepted is; None: stopped before any of it was."""

    def stop(self, why: BackfillError) -> None:
        """Begin no attempt any more: a batch that needs another one raises `why`."""


def latency_step(latency_s: float) -> int:
    """The number of the step that a latency belongs to."""
    return max(ceil(log(max(latency_s, _FINEST_S) / _FINEST_S, _STEP)), 0)


def longest_s(step: int) -> float:
    """The longest latency of a step, in seconds."""
    return _FINEST_S * float(_STEP**step)


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing, or next to nothing, is sent until `until_s` of the delivery's clock, and why."""

    reason: PauseReason
    until_s: float


@dataclass(slots=True)
class WorkerFigures:
    """What one of several processes that send has done.

    Args:
        requests: Requests that it has sent.
        in_flight: Those that it has in hand.
        is_there: Whether it is heard of.
    """

    requests: int = 0
    in_flight: int = 0
    is_there: bool = True


def _nobody(_: Pause) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Meter:
    """The counters of one delivery, from its opening.

    Args:
        on_pause: Called at the beginning of each pause.
        attempts: Requests begun.
        answers: Whole answers by status; attempts without one under `NO_ANSWER`.
        bytes_sent: Bytes of request bodies, repeats included.
        in_flight: Attempts under way.
        rate: Requests per second allowed now; 0 for no limit.
        concurrency: Attempts allowed at the same time now.
        latency_s: The recent mean, in seconds.
        latencies: How many good answers took how long, by `latency_step`.
        pause: The latest pause.
        last_failure: What was seen when an attempt failed last; empty: none did.
        workers: The processes that send, by address; empty: this one does.
    """

    on_pause: Callable[[Pause], None] = _nobody
    attempts: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    bytes_sent: int = 0
    in_flight: int = 0
    rate: float = 0.0
    concurrency: int = 0
    latency_s: float = 0.0
    latencies: Counter[int] = field(default_factory=Counter)
    pause: Pause | None = None
    last_failure: str = ""
    workers: dict[str, WorkerFigures] = field(default_factory=dict)

    def paused(self, reason: PauseReason, until_s: float) -> None:
        """A pause begins, or lasts longer than was known."""
        before, self.pause = self.pause, Pause(reason, until_s)
        if before is None or before.reason != reason or until_s > before.until_s + 1:
            self.on_pause(self.pause)
