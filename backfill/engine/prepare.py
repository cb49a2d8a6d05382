"""A chunk on its way to the API: what of it is sent, what is settled without being sent."""

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from backfill.engine.rules import Case, LeftOut, RowPlace, leave_out, not_noted
from backfill.errors import UsageError
from backfill.job import Job
from backfill.journal import Ranges, Settlement
from backfill.judge.chunk_judge import ChunkJudge, JudgedChunk
from backfill.judge.threads import THREADS, in_order
from backfill.judge.transform import transforms_of
from backfill.operations.encode import Operations, event_ids, operations_of
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import EventsSource
from backfill.planning.merged_people import MergedPeople
from backfill.planning.plan import Plan
from backfill.planning.row_decisions import Decided, RowDecisions, occurrences
from backfill.rows import START, Chunk, Reason, Rows
from backfill.sources.inputs import Input, chunks_of, of_kind
from backfill.sync.differences import Changes


@dataclass(frozen=True, slots=True)
class PreparedChunk:
    """A chunk, ready to be sent.

    Args:
        place: The file.
        chunk: The rows as they were read.
        operations: What is sent.
        left_out: What becomes of all other rows.
    """

    place: Input
    chunk: Chunk
    operations: tuple[Operations, ...]
    left_out: LeftOut


class ChunkPreparer:
    """Prepares judged chunks by the rules; safe to call from several threads.

    Args:
        pipeline: The settings.
        settled: The rows that need nothing more, by part; never changed meanwhile.
        now_s: The run's start, as unix seconds: how old an event is.
        said_of: What merged people have, as `backfill.engine.rules.Case` has it.
        changes: In a sync: which rows differ from what was delivered.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settled: Mapping[int, Ranges],
        now_s: float,
        said_of: Callable[[int, Rows], Sequence[str | None]],
        changes: Changes | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._settled = settled
        self._now_s = now_s
        self._said_of = said_of
        self._changes = changes

    def __call__(self, judged: JudgedChunk, decided: Decided | None) -> PreparedChunk:
        """Leave out what is not to be sent, and encode the rest.

        Args:
            judged: The chunk.
            decided: What was decided about each accepted row, n; None: nothing about any.
        """
        source = self._pipeline.sources[judged.place.source]
        api, part = self._pipeline.destination.api, judged.place.part
        settled = self._settled.get(part, Ranges())
        case = Case(judged, source, api, settled, self._now_s, self._said_of, self._changes)
        accepted, left_out = leave_out(replace(judged.accepted, decided=decided), case)
        ids = None
        if isinstance(source, EventsSource):
            numbers = occurrences(accepted.decided)
            ids = event_ids(source, self._pipeline.namespace, accepted, numbers)
        operations = operations_of(source, api, accepted, ids, part=part, origin=judged.chunk)
        return PreparedChunk(judged.place, judged.chunk, operations, left_out)


class SourceRows:
    """The work of a run: every row that was not settled before.

    Args:
        job: The files and the journal.
        plan: What the plan pass found and decided.
        now_s: The run's start, as unix seconds.
        changes: In a sync: which rows differ from what was delivered; None: all are sent.
    """

    def __init__(self, job: Job, plan: Plan, now_s: float, changes: Changes | None = None) -> None:
        self.journal = job.journal
        self._job = job
        self._plan = plan
        self._changes = changes
        self._closed = job.closed(plan)
        self._rows = job.rows_to_send(plan)
        folder = job.plan_folder(plan.key)
        self._marks = RowDecisions(folder.decisions)
        transforms = transforms_of(job.pipeline)
        self._judge = ChunkJudge(job.pipeline, transforms, plan.found.readings, plan.now_s)
        said_of = MergedPeople(folder.merged).rows
        self._prepare = ChunkPreparer(job.pipeline, self._closed, now_s, said_of, changes)
        self._customers = {each.part for each in of_kind(job.inputs, job.pipeline, "customers")}
        self._rejected = {
            (part, each.row) for part, each in job.journal.rejections() if part in self._customers
        }

    def prepared(self, kind: str) -> Generator[PreparedChunk]:
        """The chunks of one kind, from where each file was left.

        Raises:
            UsageError: A transform does not give what it gave in the plan pass.
        """
        inputs = list(of_kind(self._job.inputs, self._job.pipeline, kind))
        starts = {each.part: self.journal.position(each.part) or START for each in inputs}
        with ThreadPoolExecutor(THREADS) as pool:
            chunks = chunks_of(inputs, starts, self._rows if self._job.limit is not None else None)
            yield from in_order(self._prepared, chunks, pool, THREADS)

    def _prepared(self, given: tuple[Input, Chunk]) -> PreparedChunk:
        """One chunk; called in threads."""
        place, whole = given
        chunk, before = self._not_noted(place, whole)
        judged = self._judge((place, chunk))
        self._check_agreement(judged)
        prepared = self._prepare(judged, self._marks.of(place.part, judged.accepted.rows))
        prepared.left_out.add(before)
        return prepared

    def _not_noted(self, place: Input, chunk: Chunk) -> tuple[Chunk, LeftOut]:
        """In a sync: leave out rows that are as before, without judging them."""
        changes, source = self._changes, self._job.pipeline.sources[place.source]
        # A transform may make something else of rows without their neighbours.
        if changes is None or not changes.concern(place.part) or source.transform:
            return chunk, LeftOut()
        decided = self._marks.of(place.part, chunk.rows)
        return not_noted(chunk, place, changes, self._closed[place.part], decided)

    def _check_agreement(self, judged: JudgedChunk) -> None:
        planned = self._plan.found.chunks.get(judged.key)
        if planned is not None and planned != judged.accepted.digest():
            raise UsageError(
                f"{judged.place.name}: the transform gave other rows"
                f" {judged.chunk.first_row} to {judged.chunk.end.row - 1} than in the plan pass",
                next_step="make it depend on nothing but the frame that it is given",
            )

    def settle(self, settlement: Settlement) -> None:
        """Note in the journal what became of some rows."""
        self.journal.settle(settlement)
        if settlement.part in self._customers:
            self._rejected |= {(settlement.part, each.row) for each in settlement.rejections}

    def taken(self, prepared: PreparedChunk) -> None:
        """Reading can go on behind this chunk, once all of it is settled."""
        part, end = prepared.place.part, prepared.chunk.end
        if self._job.limit is None or end.row - 1 <= self._rows[part]:
            self.journal.remember_position(part, end)

    def fate(self, carrier: RowPlace) -> tuple[Reason, ...] | None:
        """Why a row that carries its person was rejected, be it by an earlier run.

        Empty: it was delivered; None: there is no answer yet.
        """
        part, row = carrier
        if not self.journal.settled(part).contains(np.array([row]))[0]:
            return None
        if carrier not in self._rejected:
            return ()
        kept = self.journal.rejection(part, row)
        return kept.reasons if kept else ()
