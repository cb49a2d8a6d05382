"""The second pass at work: batches to the API, answers to the journal."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from backfill.delivery.outcome import Delivery, Meter, Outcome, Refusal
from backfill.delivery.turns import ResizableSemaphore
from backfill.engine.prepare import PreparedChunk
from backfill.engine.rules import MergedRow, RowPlace
from backfill.errors import BackfillError, GuardError
from backfill.journal import Journal, Settlement
from backfill.journal.journal import CommitClock
from backfill.judge.row_faults import rejection
from backfill.operations.batches import Batch, Packer
from backfill.pipeline.amounts import Allowance
from backfill.rows import SENTENCES, Chunk, Reason, Rejection, Rows, reason
from backfill.sources.inputs import KINDS

BATCHES_UNDER_WAY_MAX = 64
BATCHES_READY = 4
"""So many more batches than attempts at the same time: the next ones wait, ready to be sent. Each
may have half a megabyte, and keeps the chunk that it was read in."""

CEILING_ROWS_MIN = 1_000
CEILING_BATCHES = 8
"""How far ahead rows may be sent before the journal is asked again: a commit each time, and as
many rows more that a crash leaves in doubt."""

REFUSALS_MAX = 1_000
"""Fewer refusals by the API than this never stop a run, whatever `rejected_max` says."""

DRAIN_S = 30.0
TICK_S = 0.25


class Listener(Protocol):
    """Is told what the send pass has done."""

    def settled(self, rows: int, rejected: int) -> None:
        """So many more rows need nothing more; so many of them were rejected."""

    def committed(self) -> None:
        """The journal has just been written."""


class Work(Protocol):
    """What there is to send, and where its rows are settled: a first run, or rejected rows again.

    `settle` and `rejected` are called from the event loop's thread, `prepared` from another.
    """

    @property
    def journal(self) -> Journal:
        """Where it is settled."""

    def prepared(self, kind: str) -> Generator[PreparedChunk]:
        """The chunks of one kind, ready to be sent, in order."""

    def settle(self, settlement: Settlement) -> None:
        """Take down what became of some rows."""

    def sent(self, prepared: PreparedChunk) -> None:
        """All of a chunk is under way."""

    def is_answered(self, carrier: RowPlace) -> bool:
        """Whether it is settled what became of a row that carries its person."""

    def rejected(self, carrier: RowPlace) -> tuple[Reason, ...] | None:
        """Why such a row was rejected; None if it was delivered."""


class Sender:
    """Sends what there is, and settles every row.

    Customers go first, then events, then deletions: each kind begins when the one before is
    settled.

    Args:
        work: What is sent.
        rejected_max: How many operations the API may refuse.
        delivery: Takes batches to the API.
        meter: What the delivery counts into.
        now_s: A monotonic clock.
        listener: Is told what was done.
    """

    def __init__(
        self,
        work: Work,
        rejected_max: Allowance,
        delivery: Delivery,
        *,
        meter: Meter,
        now_s: Callable[[], float],
        listener: Listener,
    ) -> None:
        self.held: dict[int, int] = {}
        self._work = work
        self._journal = work.journal
        self._delivery = delivery
        self._meter = meter
        self._now_s = now_s
        self._listener = listener
        self._places = ResizableSemaphore(BATCHES_READY)
        self._under_way: set[asyncio.Task[None]] = set()
        self._stopped_by: BackfillError | None = None
        self._taking: asyncio.Future[None] | None = None
        self._clock = CommitClock(now_s())
        self._unsaved_operations = self._unsaved_requests = 0
        self._unanswered = 0
        self._saved_attempts = self._saved_bytes = 0
        self._kind = KINDS[0]
        self._waiting = _Waiting(work)
        self._refusals = _Refusals(rejected_max)

    def stop(self, why: BackfillError) -> None:
        """Take no more rows; what was sent is waited for, then `send` raises `why`."""
        self._stopped_by = self._stopped_by or why
        self._delivery.stop(why)
        if self._taking is not None:  # it may wait for a place that an outage keeps taken
            self._taking.cancel()

    async def send(self) -> None:
        """Send everything.

        Raises:
            BackfillError: What stopped it; all that was answered is settled and committed.
        """
        ticking = asyncio.create_task(self._tick())
        self._taking = asyncio.ensure_future(self._take())
        try:
            await self._taking
        except asyncio.CancelledError:
            self._check()
            raise
        finally:
            ticking.cancel()
            await self._drain()
            if not self._unanswered:
                self._journal.lower_ceilings()
            self._commit()
        self._check()

    async def _take(self) -> None:
        """Take all rows, kind after kind."""
        for kind in KINDS:
            await self._send(kind)

    async def _send(self, kind: str) -> None:
        """Send one kind, and wait until all of it is settled."""
        self._kind = kind
        packer = Packer()
        async with aclosing(self._prepared(kind)) as chunks:
            async for prepared in chunks:
                self._settle_unsent(prepared)
                for operations in prepared.operations:
                    for batch in packer.add(operations):
                        await self._dispatch(batch)
                self._work.sent(prepared)
                self._check()
        for batch in packer.flush():
            await self._dispatch(batch)
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._check()

    async def _prepared(self, kind: str) -> AsyncGenerator[PreparedChunk]:
        """The chunks of one kind; they are read and made ready in threads while others are sent."""
        chunks = self._work.prepared(kind)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as reader:
            try:
                while (made := await loop.run_in_executor(reader, next, chunks, None)) is not None:
                    yield made
            finally:
                # In the thread that reads: it may be in the middle of the next chunk.
                reader.submit(chunks.close)

    async def _dispatch(self, batch: Batch) -> None:
        self._places.resize(min(self._meter.concurrency + BATCHES_READY, BATCHES_UNDER_WAY_MAX))
        await self._places.enter()
        self._check()
        self._allow(batch)
        self._unanswered += 1
        task = asyncio.create_task(self._deliver(batch))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _deliver(self, batch: Batch) -> None:
        try:
            outcome = await self._delivery.deliver(batch)
            if outcome is not None:
                self._settle(batch, outcome)
            self._unanswered -= 1
        except BackfillError as error:
            self.stop(error)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: it must be told
            bug = BackfillError(f"an answer could not be settled ({type(error).__name__})")
            bug.__cause__ = error
            self.stop(bug)
        finally:
            self._places.leave()

    def _allow(self, batch: Batch) -> None:
        """Let the journal know, durably, which rows may have been sent, before they are."""
        granted = True
        step = max(CEILING_ROWS_MIN, CEILING_BATCHES * batch.count)
        for segment in batch.segments:
            operations = segment.operations
            last = int(operations.rows[segment.stop - 1])
            if self._journal.ceiling(operations.part) <= last:
                end = operations.origin.end.row if operations.origin else last + 1
                self._journal.raise_ceiling(operations.part, min(end, last + step))
                granted = False
        if not granted:
            self._commit()

    def _settle(self, batch: Batch, outcome: Outcome) -> None:
        """Note what became of each operation of a batch."""
        refused = {each.index: each for each in outcome.refusals}
        offset = 0
        for segment in batch.segments:
            operations, count = segment.operations, len(segment)
            rows = operations.rows[segment.start : segment.stop]
            here = {at - offset: refused[at] for at in refused if offset <= at < offset + count}
            rejections = [
                rejection(_origin(operations.origin), int(rows[at]), (_reason(each),))
                for at, each in sorted(here.items())
            ]
            self._settle_rows(operations.part, rows, count - len(here), rejections)
            offset += count
        self._unsaved_requests += 1
        too_many = self._refusals.add(batch.count, len(refused))
        if too_many is not None:
            self.stop(too_many)
        self._commit_if_due()

    def _settle_rows(
        self, part: int, rows: Rows, delivered: int, rejections: list[Rejection]
    ) -> None:
        deletes = delivered if self._kind == "deletions" else 0
        self._work.settle(
            Settlement(part, ranges_of(rows), delivered, rejections=rejections, deletes=deletes)
        )
        self._unsaved_operations += len(rows)
        self._listener.settled(len(rows), len(rejections))
        self._settle_members(self._waiting.answered(part, rows))

    def _settle_unsent(self, prepared: PreparedChunk) -> None:
        """Settle the rows of a chunk that are not sent, each with its reason."""
        part, left_out = prepared.place.part, prepared.left_out
        self.held[prepared.place.source] = self.held.get(prepared.place.source, 0) + left_out.held
        if left_out.rejections:
            rows = np.array(sorted(each.row for each in left_out.rejections), np.int64)
            self._settle_rows(part, rows, 0, left_out.rejections)
        for why, rows in left_out.skipped.items():
            self._work.settle(Settlement(part, ranges_of(rows), skipped={why: len(rows)}))
            self._unsaved_operations += len(rows)
            self._listener.settled(len(rows), 0)
        self._settle_members(self._waiting.add(left_out.merged))
        self._commit_if_due()

    def _settle_members(self, members: Iterable[MergedRow]) -> None:
        """Settle rows whose person was answered for: merged, or rejected with their carrier."""
        merged: dict[int, list[int]] = {}
        for member in members:
            part, row = member.place
            reasons = self._work.rejected(member.carrier)
            if reasons is None:
                merged.setdefault(part, []).append(row)
            else:
                refused = [rejection(member.origin, row, reasons)]
                self._settle_rows(part, np.array([row], np.int64), 0, refused)
        for part, rows in merged.items():
            settled = np.array(sorted(rows), np.int64)
            self._work.settle(Settlement(part, ranges_of(settled), merged=len(rows)))
            self._unsaved_operations += len(rows)
            self._listener.settled(len(rows), 0)

    def _check(self) -> None:
        if self._stopped_by is not None:
            raise self._stopped_by

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._commit_if_due()

    def _commit_if_due(self) -> None:
        if self._clock.due(self._now_s(), self._unsaved_operations):
            self._commit()

    def _commit(self) -> None:
        attempts, bytes_sent = self._meter.attempts, self._meter.bytes_sent
        self._journal.commit(
            requests=self._unsaved_requests,
            attempts=attempts - self._saved_attempts,
            bytes_sent=bytes_sent - self._saved_bytes,
        )
        self._saved_attempts, self._saved_bytes = attempts, bytes_sent
        self._unsaved_operations = self._unsaved_requests = 0
        self._clock.committed(self._now_s())
        self._listener.committed()

    async def _drain(self) -> None:
        """Wait for the answers that are under way.

        A batch that waits to be tried again is left to the next start, and so is an answer that
        takes too long; one that waited for its first turn was told to `stop`.
        """
        ends_s = self._now_s() + DRAIN_S
        while self._under_way and self._now_s() < ends_s:
            await asyncio.wait(self._under_way, timeout=TICK_S)
            if not self._meter.in_flight:
                break
        left = list(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _Refusals:
    """Counts what the API refuses, and says when it is too much."""

    def __init__(self, allowed: Allowance) -> None:
        self._allowed = allowed
        self._answered = self._refused = 0

    def add(self, answered: int, refused: int) -> GuardError | None:
        self._answered += answered
        self._refused += refused
        too_many = self._allowed.reached_by(self._refused, self._answered)
        if self._refused <= REFUSALS_MAX or not too_many:
            return None
        return GuardError(
            f"the API refused {self._refused:,} of {self._answered:,} operations: more than"
            " rejected_max",
            next_step="look at the reasons in rejected.csv; if they are as they should be, raise"
            " rejected_max in the pipeline file and start again",
        )


class _Waiting:
    """The rows that wait for the answer to the row that carries their person."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._members: dict[RowPlace, list[MergedRow]] = {}

    def add(self, members: Sequence[MergedRow]) -> Iterator[MergedRow]:
        """Take members; give those whose carrier was answered for already."""
        for member in members:
            if self._work.is_answered(member.carrier):
                yield member
            else:
                self._members.setdefault(member.carrier, []).append(member)

    def answered(self, part: int, rows: Rows) -> list[MergedRow]:
        """The members that waited for any of these rows."""
        if not self._members:
            return []
        found = (self._members.pop((part, row), []) for row in rows.tolist())
        return list(chain.from_iterable(found))


def ranges_of(rows: Rows) -> list[tuple[int, int]]:
    """Ascending rows as ranges, each from its first row up to, not including, its stop."""
    if not len(rows):
        return []
    if int(rows[-1] - rows[0]) == len(rows) - 1:
        return [(int(rows[0]), int(rows[-1]) + 1)]
    cuts: npt.NDArray[np.int64] = np.flatnonzero(np.diff(rows) > 1)
    starts = rows[np.concatenate([[0], cuts + 1])]
    stops = rows[np.concatenate([cuts, [len(rows) - 1]])] + 1
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _reason(refusal: Refusal) -> Reason:
    code = refusal.reason if refusal.reason in SENTENCES else "refused"
    said = f"the API said: {refusal.message}" if refusal.message else ""
    return reason(code, refusal.field.removeprefix("attributes."), said)


def _origin(chunk: Chunk | None) -> Chunk:
    if chunk is None:
        raise ValueError("operations of a run come from a chunk")
    return chunk
