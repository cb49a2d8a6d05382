"""What the engine asks of a delivery: take a batch, say which of its operations were refused."""

from dataclasses import dataclass
from typing import Protocol

from backfill.errors import BackfillError
from backfill.operations.batches import Batch


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

    async def deliver(self, batch: Batch) -> Outcome | None:
        """Send a batch until all that can be accepted is; None: stopped before any of it was."""

    def stop(self, why: BackfillError) -> None:
        """Begin no attempt any more: a batch that needs another one raises `why`."""
