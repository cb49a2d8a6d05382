"""What becomes of operations while a request is carried out."""

from collections.abc import Sequence
from typing import NamedTuple

from backfill.sandbox.identities import Person
from backfill.sandbox.operation import Operation


class Effect(NamedTuple):
    """What became of an operation.

    Args:
        outcome: `applied`, `duplicate`, `ignored` (nobody to do it to), `failed`, `skipped` (an
            identify older than the person's latest change) or `rejected`.
        person: Whom it was about.
        note: What went wrong in part.
        payload: What is kept in the place of the operation's own payload.
        links: Relationships that it changed, each as the last columns of the store's `links`:
            added, object, the person's number, anonymous id, attributes as JSON text.
    """

    outcome: str
    person: Person | None = None
    note: str | None = None
    payload: str | None = None
    links: tuple[tuple[bool, str, int | None, str | None, str | None], ...] = ()


class OperationBatch:
    """The operations of one request on their way.

    Args:
        operations: What was asked for, in order.
        request: The request's number.
        now_s: When it arrived, in unix seconds.
        first: The arrival number of the first operation.
    """

    def __init__(
        self, operations: Sequence[Operation], request: int, now_s: float, first: int
    ) -> None:
        self.operations = operations
        self.request = request
        self.now_s = now_s
        self.first = first
        self.effects: list[Effect] = []
        self.written = 0

    @property
    def arrival(self) -> int:
        """The number of the operation that is being carried out."""
        return self.first + len(self.effects)
