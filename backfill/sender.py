"""The second pass at work: batches to the API, answers to the journal."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from backfill.batches import Batch, Packer
from backfill.delivery.interface import Delivery, Outcome, Refusal
from backfill.delivery.meter import Meter
from backfill.errors import BackfillError, GuardError
from backfill.findings import rejection
from backfill.inputs import KINDS, Input, of_kind
from backfill.job import Job
from backfill.journal import CommitClock, Settlement
from backfill.pipeline import Allowance
from backfill.reasons import SENTENCES, reason
from backfill.rows import Chunk, Reason, Rejection, Rows
from backfill.sending import Member, Prepared
from backfill.stage import THREADS, chunks_of, in_order

BATCHES_UNDER_WAY_MAX = 64
CEILING_STEP_ROWS = 4_096
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


class Sender:
    """Sends what a plan found, and settles every row.

    Customers go first, then events, then deletions: each kind begins when the one before is
    settled.

    Args:
        job: The settings, the files and the journal.
        prepare: Makes a chunk ready; called in threads.
        delivery: Takes batches to the API.
        meter: What the delivery counts into.
        now_s: A monotonic clock.
        listener: Is told what was done.
    """

    def __init__(
        self,
        job: Job,
        prepare: Callable[[tuple[Input, Chunk]], Prepared],
        delivery: Delivery,
        *,
        meter: Meter,
        now_s: Callable[[], float],
        listener: Listener,
    ) -> None:
        self.held: dict[int, int] = {}
        self._pipeline = job.pipeline
        self._inputs = job.inputs
        self._journal = job.journal
        self._limit = job.limit
        self._prepare = prepare
        self._delivery = delivery
        self._meter = meter
        self._now_s = now_s
        self._listener = listener
        self._slots = asyncio.Semaphore(BATCHES_UNDER_WAY_MAX)
        self._under_way: set[asyncio.Task[None]] = set()
        self._stopped_by: BackfillError | None = None
        self._clock = CommitClock(now_s())
        self._unsaved_operations = self._unsaved_requests = 0
        self._saved_attempts = self._saved_bytes = 0
        self._deletions = {each.part for each in of_kind(job.inputs, job.pipeline, "deletions")}
        self._people = _Carriers(job)
        self._refusals = _Refusals(job.pipeline.rejected_max)

    def stop(self, why: BackfillError) -> None:
        """Take no more rows; what is under way is waited for, then `send` raises `why`."""
        self._stopped_by = self._stopped_by or why

    async def send(self) -> None:
        """Send everything.

        Raises:
            BackfillError: What stopped it; all that was answered is settled and committed.
        """
        ticking = asyncio.create_task(self._tick())
        try:
            for kind in KINDS:
                await self._send(list(of_kind(self._inputs, self._pipeline, kind)))
        finally:
            ticking.cancel()
            await self._drain()
            self._commit()
        self._check()

    async def _send(self, inputs: Sequence[Input]) -> None:
        """Send one kind, and wait until all of it is settled."""
        packer = Packer()
        async for prepared in self._prepared(inputs):
            self._settle_unsent(prepared)
            for operations in prepared.operations:
                for batch in packer.add(operations):
                    await self._dispatch(batch)
            self._journal.remember_position(prepared.input.part, prepared.chunk.end)
            self._check()
        for batch in packer.flush():
            await self._dispatch(batch)
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._check()

    async def _prepared(self, inputs: Sequence[Input]) -> AsyncIterator[Prepared]:
        """The chunks of these files, made ready in threads while others are sent."""
        starts = {}
        for each in inputs:
            position = self._journal.position(each.part)
            if position is not None:
                starts[each.part] = position
        chunks = chunks_of(inputs, self._limit, starts)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(THREADS) as pool, ThreadPoolExecutor(1) as reader:
            made = in_order(self._prepare, chunks, pool, THREADS)
            while (prepared := await loop.run_in_executor(reader, next, made, None)) is not None:
                yield prepared

    async def _dispatch(self, batch: Batch) -> None:
        await self._slots.acquire()
        self._check()
        self._allow(batch)
        task = asyncio.create_task(self._deliver(batch))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _deliver(self, batch: Batch) -> None:
        try:
            outcome = await self._delivery.deliver(batch)
            self._settle(batch, outcome)
        except BackfillError as error:
            self.stop(error)
        finally:
            self._slots.release()

    def _allow(self, batch: Batch) -> None:
        """Let the journal know, durably, which rows may have been sent, before they are."""
        granted = True
        for segment in batch.segments:
            operations = segment.operations
            last = int(operations.rows[segment.stop - 1])
            if self._journal.ceiling(operations.part) <= last:
                end = operations.origin.end.row if operations.origin else last + 1
                self._journal.raise_ceiling(operations.part, min(end, last + CEILING_STEP_ROWS))
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
        deletes = delivered if part in self._deletions else 0
        self._journal.settle(
            Settlement(part, ranges_of(rows), delivered, rejections=rejections, deletes=deletes)
        )
        self._unsaved_operations += len(rows)
        self._listener.settled(len(rows), len(rejections))
        released = self._people.answered(part, rows, rejections)
        self._settle_members(released)

    def _settle_unsent(self, prepared: Prepared) -> None:
        """Settle the rows of a chunk that are not sent, each with its reason."""
        part = prepared.input.part
        self.held[prepared.input.source] = self.held.get(prepared.input.source, 0) + prepared.held
        if prepared.rejections:
            rows = np.array(sorted(each.row for each in prepared.rejections), np.int64)
            self._settle_rows(part, rows, 0, prepared.rejections)
        for why, rows in prepared.skipped.items():
            self._journal.settle(Settlement(part, ranges_of(rows), skipped={why: len(rows)}))
            self._unsaved_operations += len(rows)
            self._listener.settled(len(rows), 0)
        self._settle_members((part, each) for each in self._people.wait(part, prepared.members))
        self._commit_if_due()

    def _settle_members(self, members: Iterable[tuple[int, Member]]) -> None:
        """Settle rows whose person was answered for: merged, or rejected with their carrier."""
        merged: dict[int, list[int]] = {}
        for part, member in members:
            reasons = self._people.reasons(member.carrier)
            if reasons is None:
                merged.setdefault(part, []).append(member.row)
            else:
                refused = [rejection(member.origin, member.row, reasons)]
                self._settle_rows(part, np.array([member.row], np.int64), 0, refused)
        for part, rows in merged.items():
            settled = np.array(sorted(rows), np.int64)
            self._journal.settle(Settlement(part, ranges_of(settled), merged=len(rows)))
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
        """Wait for what is under way; what takes too long is left to the next start."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=DRAIN_S)
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


class _Carriers:
    """Knows which rows wait for the answer to the row that carries their person."""

    def __init__(self, job: Job) -> None:
        self._journal = job.journal
        self._customers = {each.part for each in of_kind(job.inputs, job.pipeline, "customers")}
        self._refused = {
            (part, each.row): each.reasons
            for part, each in job.journal.rejections()
            if part in self._customers
        }
        self._waiting: dict[tuple[int, int], list[tuple[int, Member]]] = {}

    def reasons(self, carrier: tuple[int, int]) -> tuple[Reason, ...] | None:
        """Why a carrier was rejected; None if it was delivered."""
        return self._refused.get(carrier)

    def wait(self, part: int, members: Sequence[Member]) -> Iterator[Member]:
        """Take members; give those whose carrier was answered for already."""
        for member in members:
            carried_by, row = member.carrier
            if self._journal.settled(carried_by).contains(np.array([row]))[0]:
                yield member
            else:
                self._waiting.setdefault(member.carrier, []).append((part, member))

    def answered(
        self, part: int, rows: Rows, rejections: Sequence[Rejection]
    ) -> list[tuple[int, Member]]:
        """The members that waited for any of these rows."""
        if part in self._customers:
            self._refused.update({(part, each.row): each.reasons for each in rejections})
        if not self._waiting:
            return []
        found = (self._waiting.pop((part, row), []) for row in rows.tolist())
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
