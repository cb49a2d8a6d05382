"""A delivery that works, without a network: it answers as it was told, and counts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from backfill.delivery.outcome import Meter, Outcome, Refusal
from backfill.delivery.region import Region
from backfill.errors import BackfillError
from backfill.operations.batches import Batch

Operation = dict[str, Any]


def nothing(*_: object) -> None:
    """Do nothing."""


@dataclass(slots=True)
class FakeDelivery:
    """Takes batches, and keeps what came in the order in which it came.

    Batches count from 1 in the order of their dispatch.

    Args:
        latency_s: How long an answer takes; by batch, or for all.
        refuses: Says of an operation why the API refuses it; empty: it takes it.
        about: Which field the refusals name, as the API names it.
        hangs: The batches that are never answered.
        waits: The batches that wait to be tried again, and are not in flight meanwhile.
        fails: The batches that end the run, with the error.
        on_dispatch: Called with the number and the batch before it is answered.
        on_answer: Called with the number once it was answered.
        concurrency: How many attempts may be under way.
        workspace: The environment id that the key opens.
    """

    latency_s: Mapping[int, float] | float = 0.0
    refuses: Callable[[Operation], str] = lambda _: ""
    about: str = ""
    hangs: Collection[int] = ()
    waits: Collection[int] = ()
    fails: Mapping[int, Exception] = field(default_factory=dict)
    on_dispatch: Callable[[int, Batch], None] = nothing
    on_answer: Callable[[int], None] = nothing
    concurrency: int = 4
    workspace: int = 1
    meter: Meter = field(default_factory=Meter)
    batches: list[list[Operation]] = field(default_factory=list)
    log: list[tuple[str, int]] = field(default_factory=list)
    stopped_by: BackfillError | None = None

    def __post_init__(self) -> None:
        self.meter.concurrency = self.concurrency

    @property
    def operations(self) -> list[Operation]:
        """All operations that were dispatched, in order."""
        return [each for batch in self.batches for each in batch]

    async def deliver(self, batch: Batch) -> Outcome | None:
        """Answer as told; None: stopped before it was sent."""
        if self.stopped_by is not None:
            return None
        body = batch.body()
        self.batches.append(_operations(batch, body))
        number = len(self.batches)
        self.log.append(("dispatched", number))
        self.on_dispatch(number, batch)
        self.meter.attempts += 1
        self.meter.bytes_sent += len(body)
        if number in self.waits:
            await asyncio.Event().wait()
        self.meter.in_flight += 1
        try:
            await self._answer(number)
        finally:
            self.meter.in_flight -= 1
        if number in self.fails:
            raise self.fails[number]
        self.log.append(("answered", number))
        # Whoever listens may stop the run: the answer is there all the same.
        self.on_answer(number)
        refusals = [
            Refusal(at, "invalid", self.about, why)
            for at, each in enumerate(self.batches[number - 1])
            if (why := self.refuses(each))
        ]
        return Outcome(tuple(refusals), 1)

    async def _answer(self, number: int) -> None:
        if number in self.hangs:
            await asyncio.Event().wait()
        latency_s = self.latency_s
        await asyncio.sleep(
            latency_s if isinstance(latency_s, float | int) else latency_s.get(number, 0.0)
        )

    def stop(self, why: BackfillError) -> None:
        """Send nothing more; what was sent is answered."""
        self.stopped_by = self.stopped_by or why

    async def region(self) -> Region:
        """The workspace."""
        return Region("us", self.workspace)

    def share(self, path: Path) -> None:
        """Nobody else sends."""

    @asynccontextmanager
    async def connect(self, *_: object, **__: object) -> AsyncIterator["FakeDelivery"]:
        """Open it, as `open_delivery` does; a run in which it was stopped is over."""
        self.stopped_by = None
        yield self


def _operations(batch: Batch, body: bytes) -> list[Operation]:
    """The operations of a batch; of v1 the body, with the method and the path."""
    if not batch.single:
        return list(orjson.loads(body)["batch"])
    return [{"method": batch.method, "path": batch.path, **(orjson.loads(body) if body else {})}]
