"""The second pass at work: batches to the API, answers to the journal."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from backfill.delivery.outcome import Delivery, Meter, Outcome
from backfill.delivery.pacing import ResizableSemaphore
from backfill.encoding.rejected_cells import rejections
from backfill.engine.options import Tally
from backfill.engine.prepare import MergedRows, PreparedChunk
from backfill.errors import BackfillError, GuardError, as_ours
from backfill.journal import Counts, Journal, Settlement
from backfill.journal.journal import CommitClock
from backfill.operations.batches import Batch, Packer
from backfill.pipeline.setting_values import Allowance
from backfill.pipeline.source_settings import KINDS
from backfill.rows import NO_REJECTIONS, SENTENCES, Chunk, Reason, Rejections, Rows, reason

if TYPE_CHECKING:  # few imports have one
    from backfill.engine.import_segment import ImportSegment

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


class Work(Protocol):
    """What there is to send, and where its rows are settled: `run` and `sync`, or `retry`.

    `prepared` is called from a thread of its own, all else from the event loop's.
    """

    @property
    def journal(self) -> Journal:
        """Where it is settled."""

    def prepared(self, kind: str) -> Generator[PreparedChunk]:
        """The chunks of one kind, ready to be sent, in order."""

    def settle(self, settlement: Settlement) -> None:
        """Note in the journal what became of some rows."""

    def taken(self, prepared: PreparedChunk) -> None:
        """All rows of a chunk are settled, under way, or next to be sent."""

    def fates(self, part: int, rows: Rows) -> Mapping[int, tuple[Reason, ...]]:
        """Why rows of a part (int64) that carry people were rejected; empty: delivered.

        Rows without an answer yet are left out.
        """


class Sender:
    """Sends what there is, and settles every row.

    Kinds go in their order, customers first and deletions last: each begins when the one before
    is settled.

    Args:
        work: What is sent.
        rejected_max: How many operations the API may refuse.
        delivery: Takes batches to the API.
        tally: Counts the rows that are settled.
        now_s: A monotonic clock, in seconds.
        committed: Called after each commit that settles rows.
        segment: Is filled with the people, before anything happens to them.
    """

    def __init__(
        self,
        work: Work,
        rejected_max: Allowance,
        delivery: Delivery,
        *,
        tally: Tally,
        now_s: Callable[[], float],
        committed: Callable[[], None] = lambda: None,
        segment: "ImportSegment | None" = None,
    ) -> None:
        self._work = work
        self._segment = segment
        self._delivery = delivery
        self._now_s = now_s
        self._settler = _Settler(work, delivery.meter, tally, now_s, committed)
        self._refusals = _RefusalLimit(rejected_max)
        self._places = ResizableSemaphore(BATCHES_READY)
        self._under_way: set[asyncio.Task[None]] = set()
        self._unanswered = 0
        self._stopped_by: BackfillError | None = None
        self._taking: asyncio.Future[None] | None = None

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
        self._taking = asyncio.ensure_future(self._send_every_kind())
        try:
            await self._taking
        except asyncio.CancelledError:
            self._check()
            raise
        finally:
            ticking.cancel()
            await self._drain()
            self._settler.end(nothing_in_flight=not self._unanswered)
        self._check()

    async def _send_every_kind(self) -> None:
        """Send the batches of each kind, and wait for their answers before the next kind begins."""
        for kind in KINDS:
            async with aclosing(self._batches(kind)) as batches:
                async for batch in batches:
                    await self._dispatch(batch, deletes=kind == "deletions")
            # The barrier: an event must not arrive before the person it is about.
            if self._under_way:
                await asyncio.wait(self._under_way)
            self._check()
            if kind == "customers" and self._segment is not None:
                await self._fill(self._segment)

    async def _fill(self, segment: "ImportSegment") -> None:
        """Fill the segment of the import, some requests at a time."""
        for batches in segment.requests():
            outcomes = await asyncio.gather(*map(self._delivery.deliver, batches))
            self._settler.spent(len(batches))
            segment.check(outcomes)
            self._check()
        self._settler.commit()

    async def _batches(self, kind: str) -> AsyncGenerator[Batch]:
        """The rows of one kind, packed as they are read; rows that are left out are settled."""
        packer = Packer()
        async with aclosing(self._chunks(kind)) as chunks:
            async for chunk in chunks:
                self._settler.leave_out(chunk)
                for batch in packer.add(*chunk.operations):
                    yield batch
                # After the batches were given away: a position that is committed too early would
                # lose the rows that still wait in the packer.
                self._work.taken(chunk)
                self._check()
        for batch in packer.flush():
            yield batch

    async def _chunks(self, kind: str) -> AsyncGenerator[PreparedChunk]:
        """The chunks of one kind; they are read and made ready in threads while others are sent."""
        chunks = self._work.prepared(kind)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as reader:
            try:
                # One thread reads, and stays a step ahead: the next chunk is made while this one is
                # sent.
                while (made := await loop.run_in_executor(reader, next, chunks, None)) is not None:
                    yield made
            finally:
                # In the thread that reads: it may be in the middle of the next chunk.
                reader.submit(chunks.close)

    async def _dispatch(self, batch: Batch, *, deletes: bool) -> None:
        """Begin to deliver a batch, once there is room for one more and the journal knows of it."""
        concurrency = self._delivery.meter.concurrency
        self._places.resize(min(concurrency + BATCHES_READY, BATCHES_UNDER_WAY_MAX))
        # Back-pressure: without it a slow API would let all of the source pile up in memory.
        await self._places.enter()
        self._check()
        self._settler.grant(batch)
        self._unanswered += 1
        task = asyncio.create_task(self._deliver(batch, deletes=deletes))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _deliver(self, batch: Batch, *, deletes: bool) -> None:
        """Deliver a batch and settle its rows; whatever goes wrong stops the run."""
        try:
            outcome = await self._delivery.deliver(batch)
            if outcome is not None:
                self._settler.answer(batch, outcome, deletes=deletes)
            self._unanswered -= 1
            # None of this in `finally`: where delivering failed, the rows may have arrived all the
            # same, and stay in doubt.
            if outcome is not None:
                self._refusals.check(batch.count, len(outcome.refusals))
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: it must be told
            self.stop(as_ours(error))
        finally:
            self._places.leave()

    def _check(self) -> None:
        if self._stopped_by is not None:
            raise self._stopped_by

    async def _tick(self) -> None:
        """Commit what has settled also while nothing more is answered."""
        try:
            while True:
                await asyncio.sleep(TICK_S)
                self._settler.commit_if_due()
        except BackfillError as error:  # nobody awaits this task either
            self.stop(error)

    async def _drain(self) -> None:
        """Wait for the answers that are under way.

        A batch that waits to be tried again is left to the next start, and so is an answer that
        takes too long; one that waited for its first turn was told to `stop`.
        """
        ends_s = self._now_s() + DRAIN_S
        while self._under_way and self._now_s() < ends_s:
            await asyncio.wait(self._under_way, timeout=TICK_S)
            # What is left waits for a turn or a retry: nobody at the other end works on it.
            if not self._delivery.meter.in_flight:
                break
        left = list(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _Settler:
    """Notes in the journal what becomes of rows, and which may be sent, and commits in time.

    Args:
        work: Where it is noted.
        meter: What the delivery counts into.
        tally: Counts the rows that are settled.
        now_s: A monotonic clock, in seconds.
        committed: Called after each commit that settles rows.
    """

    def __init__(
        self,
        work: Work,
        meter: Meter,
        tally: Tally,
        now_s: Callable[[], float],
        committed: Callable[[], None],
    ) -> None:
        self._work = work
        self._sources = {part.id: part.source for part in work.journal.parts()}
        self._committed = committed
        self._journal = work.journal
        self._meter = meter
        self._tally = tally
        self._now_s = now_s
        self._clock = CommitClock(now_s())
        self._waiting = _Waiting(work)
        self._unsaved_rows = self._unsaved_requests = 0
        # A delivery may have sent something before: then its meter does not begin at 0.
        self._saved_attempts, self._saved_bytes = meter.attempts, meter.bytes_sent

    def grant(self, batch: Batch) -> None:
        """Let the journal know, durably, which rows may have been sent, before they are."""
        granted = True
        # Every raise is a commit; so it is raised for some batches at a time.
        step = max(CEILING_ROWS_MIN, CEILING_BATCHES * batch.count)
        for segment in batch.segments:
            operations = segment.operations
            last = int(operations.rows[segment.stop - 1])
            if self._journal.ceiling(operations.part) <= last:
                # Never beyond the chunk that was read: nothing behind it can be sent yet.
                end = operations.origin.end.row if operations.origin else last + 1
                self._journal.raise_ceiling(operations.part, min(end, last + step))
                granted = False
        if not granted:
            self.commit()

    def answer(self, batch: Batch, outcome: Outcome, *, deletes: bool) -> None:
        """Settle the rows of a batch that was answered.

        Args:
            batch: The batch.
            outcome: What became of each of its operations.
            deletes: Whether they delete or suppress people.
        """
        refused = sorted(outcome.refusals, key=attrgetter("index"))
        refused_at = np.array([each.index for each in refused], np.int64)
        offset = 0
        for segment in batch.segments:
            operations, count = segment.operations, len(segment)
            rows = operations.rows[segment.start : segment.stop]
            # The API counts operations through the whole batch; the journal counts rows of a part.
            first, last = np.searchsorted(refused_at, [offset, offset + count])
            rejected = NO_REJECTIONS
            if first < last:
                why = [
                    _reasons(each.reason, each.field, each.message) for each in refused[first:last]
                ]
                places = refused_at[first:last] - offset
                rejected = rejections(_origin(operations.origin), rows[places], why)
            delivered = count - len(rejected)
            self._settle(
                operations.part,
                rows,
                delivered=delivered,
                rejected=rejected,
                deletes=delivered if deletes else 0,
            )
            offset += count
        self._unsaved_requests += 1
        self.commit_if_due()

    def spent(self, requests: int) -> None:
        """Count requests that settle no row."""
        self._unsaved_requests += requests

    def leave_out(self, prepared: PreparedChunk) -> None:
        """Settle the rows of a chunk that are not sent, each with its reason."""
        place, left_out, held = prepared.place, prepared.left_out, self._tally.held
        held[place.source] = held.get(place.source, 0) + left_out.held
        if left_out.rejections:
            rejected = left_out.rejections
            self._settle(place.part, rejected.rows, rejected=rejected)
        for why, rows in left_out.skipped.items():
            self._settle(place.part, rows, skipped={why: len(rows)})
        self._settle_merged(self._waiting.add(left_out.merged))
        self.commit_if_due()

    def _settle(
        self, part: int, rows: Rows, *, rejected: Rejections = NO_REJECTIONS, **counts: Any
    ) -> None:
        """Settle rows of a part, and those that waited for any of them.

        Args:
            part: The part.
            rows: int64, ascending.
            rejected: Those that are rejected.
            counts: What became of the others, as `Settlement` has it.
        """
        settlement = Settlement(part, ranges_of(rows), rejections=rejected, **counts)
        self._work.settle(settlement)
        self._unsaved_rows += len(rows)
        self._tally.rows += len(rows)
        self._tally.rejected += len(rejected)
        self._tally.counts.setdefault(self._sources[part], Counts()).settle(settlement)
        self._settle_merged(self._waiting.answered(part, rows))

    def _settle_merged(self, answered: Iterable[MergedRows]) -> None:
        """Settle rows whose people were answered for: merged, or rejected with their carriers."""
        for each in answered:
            fates = self._work.fates(each.carrier_part, np.unique(each.carriers))
            why = [fates[carrier] for carrier in each.carriers.tolist()]
            refused = np.array(list(map(bool, why)), np.bool_)
            if refused.any():
                reasons = [each for each in why if each]
                rejected = rejections(each.origin, each.rows[refused], reasons)
                self._settle(each.part, each.rows[refused], rejected=rejected)
            if not refused.all():
                rows = each.rows[~refused]
                self._settle(each.part, rows, merged=len(rows))

    def commit_if_due(self) -> None:
        """Commit, if it is time to and there is anything to commit."""
        if self._clock.due(self._now_s(), self._unsaved_rows):
            self.commit()

    def commit(self) -> None:
        """Make all of it durable, with what it has cost since the last time."""
        attempts, bytes_sent = self._meter.attempts, self._meter.bytes_sent
        self._journal.commit(
            requests=self._unsaved_requests,
            attempts=attempts - self._saved_attempts,
            bytes_sent=bytes_sent - self._saved_bytes,
        )
        self._saved_attempts, self._saved_bytes = attempts, bytes_sent
        has_settled = self._unsaved_rows > 0
        self._unsaved_rows = self._unsaved_requests = 0
        self._clock.committed(self._now_s())
        if has_settled:  # else it only lets more rows be sent: nobody has to be told
            self._committed()

    def end(self, *, nothing_in_flight: bool) -> None:
        """Commit for the last time; where everything was answered, no row stays in doubt."""
        if nothing_in_flight:
            self._journal.lower_ceilings()
        self.commit()


class _RefusalLimit:
    """Counts what the API refuses, and stops the run when it is too much."""

    def __init__(self, allowed: Allowance) -> None:
        self._allowed = allowed
        self._answered = self._refused = 0

    def check(self, answered: int, refused: int) -> None:
        """Count one more batch.

        Args:
            answered: How many operations it had.
            refused: How many of them the API refused.

        Raises:
            GuardError: Now they are more than `rejected_max`, and than REFUSALS_MAX.
        """
        self._answered += answered
        self._refused += refused
        too_many = self._allowed.reached_by(self._refused, self._answered)
        # A share means little over few operations: the first ten may all be refused.
        if self._refused <= REFUSALS_MAX or not too_many:
            return
        raise GuardError(
            f"the API refused {self._refused:,} of {self._answered:,} operations: more than"
            " rejected_max",
            next_step="look at the reasons in rejected.csv; if they are as they should be, raise"
            " rejected_max in the pipeline file and start again",
        )


class _Waiting:
    """The merged rows that wait for the answers to the rows that carry their people."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._merged: dict[int, list[MergedRows]] = {}  # by the part of the carriers

    def add(self, merged: Iterable[MergedRows]) -> Iterator[MergedRows]:
        """Take merged rows; give those whose carriers were answered for already."""
        for each in merged:
            self._merged.setdefault(each.carrier_part, []).append(each)
            answered = self._work.fates(each.carrier_part, np.unique(each.carriers))
            yield from self.answered(each.carrier_part, np.array(sorted(answered), np.int64))

    def answered(self, part: int, rows: Rows) -> list[MergedRows]:
        """The merged rows that waited for any of these rows (int64, ascending)."""
        waiting, found, left = self._merged.get(part), [], []
        if not waiting or not len(rows):
            return []
        for each in waiting:
            places = np.minimum(np.searchsorted(rows, each.carriers), len(rows) - 1)
            is_answered = rows[places] == each.carriers
            found.append(each.only(is_answered))
            left.append(each.only(~is_answered))
        self._merged[part] = [each for each in left if len(each.rows)]
        return [each for each in found if len(each.rows)]


def ranges_of(rows: Rows) -> list[tuple[int, int]]:
    """Rows (int64, ascending) as ranges, each from its first row up to, not including, its stop."""
    if not len(rows):
        return []
    if int(rows[-1] - rows[0]) == len(rows) - 1:
        return [(int(rows[0]), int(rows[-1]) + 1)]
    # One range or few, whatever the number of rows: the journal stores a line for each.
    cuts: npt.NDArray[np.int64] = np.flatnonzero(np.diff(rows) > 1)
    starts = rows[np.concatenate([[0], cuts + 1])]
    stops = rows[np.concatenate([cuts, [len(rows) - 1]])] + 1
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


@lru_cache(maxsize=1024)  # an answer says the same of a thousand operations
def _reasons(why: str, field: str, message: str) -> tuple[Reason, ...]:
    code = why if why in SENTENCES else "refused"
    said = f"the API said: {message}" if message else ""
    return (reason(code, field.removeprefix("attributes."), said),)


def _origin(chunk: Chunk | None) -> Chunk:
    if chunk is None:
        raise ValueError("operations of a run come from a chunk")
    return chunk
