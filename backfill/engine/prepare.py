"""A chunk on its way to the API: what of it is sent, what is settled without being sent."""

from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from backfill.encoding.json_text import Mask
from backfill.errors import UsageError
from backfill.job import Job
from backfill.journal import Ranges, Settlement
from backfill.judge.chunk_judge import (
    THREADS,
    ChunkJudge,
    JudgedChunk,
    chunk_key,
    chunks_of,
    digest_of,
    in_order,
    operations_of,
    unknown_person,
)
from backfill.judge.row_faults import rejection
from backfill.operations.encode import Operations, Subjects, event_ids
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import EventsSource
from backfill.planning.merged_people import MergedPeople
from backfill.planning.plan import Plan
from backfill.planning.row_decisions import SKIPPED, Decided, RowDecision, RowDecisions
from backfill.planning.source_stats import RECENT_S
from backfill.rows import START, Chunk, Reason, Rejection, Rows, reason
from backfill.sources.inputs import Input, of_kind
from backfill.sync.differences import Changes, RowChange

RowPlace = tuple[int, int]
"""A row of a job: its part and its number."""


@dataclass(frozen=True, slots=True)
class MergedRow:
    """A row whose person another row carries.

    Args:
        place: Its part and number.
        carrier: The part and row that carry the person.
        origin: The chunk it was read in.
    """

    place: RowPlace
    carrier: RowPlace
    origin: Chunk


@dataclass(slots=True)
class PreparedChunk:
    """A chunk, ready to be sent.

    Args:
        place: The file.
        chunk: The rows as they were read.
        operations: What is sent.
        rejections: The rows that are not, for what they are.
        skipped: The rows that are left out, by reason.
        members: The rows that go out with another one.
        held: How many rows wait until they are old enough.
    """

    place: Input
    chunk: Chunk
    operations: tuple[Operations, ...] = ()
    rejections: list[Rejection] = field(default_factory=list)
    skipped: dict[str, Rows] = field(default_factory=dict)
    members: list[MergedRow] = field(default_factory=list)
    held: int = 0

    def skip(self, why: str, rows: Rows) -> None:
        """Leave out more rows for a reason."""
        before = self.skipped.get(why)
        self.skipped[why] = rows if before is None else np.union1d(before, rows)


@dataclass(frozen=True, slots=True)
class PlanDecisions:
    """What was decided about single rows before anything is sent.

    Args:
        marks: What the plan pass decided.
        merged: The people who stand in several rows.
        changes: In a sync: who differs from what was delivered; None: everybody is sent.
    """

    marks: RowDecisions
    merged: MergedPeople
    changes: Changes | None = None


class ChunkPreparer:
    """Prepares chunks; safe to call from several threads.

    Args:
        pipeline: The settings.
        plan: What the plan pass found.
        stage: The judges.
        decided: What was decided about single rows.
        settled: The rows that were settled before this run, by part; never changed meanwhile.
        now_s: The run's start: how old an event is.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: Plan,
        stage: ChunkJudge,
        decided: PlanDecisions,
        settled: Mapping[int, Ranges],
        now_s: float,
    ) -> None:
        self._pipeline = pipeline
        self._plan = plan
        self._stage = stage
        self._marks, self._merged = decided.marks, decided.merged
        self._changes = decided.changes
        self._settled = settled
        self._now_s = now_s

    def __call__(self, given: tuple[Input, Chunk]) -> PreparedChunk:
        """Judge a chunk, leave out what is settled or not to be sent, and encode the rest.

        Raises:
            UsageError: The transform does not give what it gave in the plan pass.
        """
        place, whole = given
        done = self._settled[place.part]
        chunk, as_before = self._set_aside(place, whole, done)
        staged = self._stage((place, chunk))
        self._check_agreement(staged)
        prepared = PreparedChunk(staged.place, staged.chunk)
        if self._changes is not None and len(as_before):
            prepared.skip(self._changes.why_skipped(place.part), as_before)
        prepared.rejections = _unsettled(staged.judged.rejections, done)
        dropped = staged.dropped[~done.contains(staged.dropped)]
        if len(dropped):
            prepared.skipped["transform"] = dropped
        subjects, by_v1 = staged.judged.subjects, staged.judged.by_v1
        new = ~done.contains(subjects.rows)
        subjects, by_v1 = subjects.take(new), by_v1[new]
        marked = self._marks.of(staged.place.part, subjects.rows)
        occurrences = None
        if self._changes is not None and self._changes.concern(staged.place.part):
            stays = self._changed(staged, self._changes, marked, subjects, prepared)
            marked = None if marked is None else marked[stays]
            subjects, by_v1 = subjects.take(stays), by_v1[stays]
        if marked is not None:
            stays = self._apply(staged, marked, subjects, prepared)
            marked, subjects, by_v1 = marked[stays], subjects.take(stays), by_v1[stays]
            subjects, stays = self._merge(staged, marked, subjects, prepared)
            marked, by_v1 = marked[stays], by_v1[stays]
            occurrences = np.where(marked["kind"] == RowDecision.OCCURRENCE, marked["value"], 0)
        stays = self._old_enough(staged, subjects, prepared)
        subjects, by_v1 = subjects.take(stays), by_v1[stays]
        occurrences = None if occurrences is None else occurrences[stays]
        prepared.operations = self._encode(staged, subjects, by_v1, occurrences)
        return prepared

    def _set_aside(self, place: Input, chunk: Chunk, done: Ranges) -> tuple[Chunk, Rows]:
        """In a sync: leave out the rows of which nothing was noted, before anybody judges them."""
        changes, source = self._changes, self._pipeline.sources[place.source]
        if changes is None or not changes.concern(place.part) or source.transform:
            return chunk, chunk.rows[:0]
        noted = changes.noted(place.part, chunk.rows)
        marked = self._marks.of(place.part, chunk.rows)
        if marked is not None:
            noted |= marked["kind"] > 0
        new = ~done.contains(chunk.rows)
        return chunk.only(noted & new), chunk.rows[new & ~noted]

    def _check_agreement(self, staged: JudgedChunk) -> None:
        planned = self._plan.found.chunks.get(chunk_key(staged))
        if planned is not None and planned != digest_of(staged.judged.subjects):
            raise UsageError(
                f"{staged.place.name}: the transform gave other rows"
                f" {staged.chunk.first_row} to {staged.chunk.end.row - 1} than in the plan pass",
                next_step="make it depend on nothing but the frame that it is given",
            )

    def _changed(
        self,
        staged: JudgedChunk,
        changes: Changes,
        marked: Decided | None,
        subjects: Subjects,
        prepared: PreparedChunk,
    ) -> Mask:
        """Leave out people who are as they were; say which rows stay.

        The rows of a person share one fate: that of the row that carries them.
        """
        rows, parts = subjects.rows, np.full(len(subjects), staged.place.part, np.int32)
        concerned = np.ones(len(subjects), np.bool_)
        members = ~concerned
        if marked is not None:
            members = marked["kind"] == RowDecision.MERGED
            concerned = members | np.isin(marked["kind"], (0, RowDecision.CARRIER))
            rows = np.where(members, marked["value"], rows)
            parts = np.where(members, marked["other"], parts)
        kinds = changes.of(parts, rows)
        unchanged = concerned & np.isin(kinds, (0, RowChange.UNCHANGED))
        otherwise = changes.why_skipped(staged.place.part)
        for kind, skipped_as in ((0, otherwise), (RowChange.UNCHANGED, "unchanged")):
            if (skipped := concerned & (kinds == kind)).any():
                prepared.skip(skipped_as, subjects.rows[skipped])
        refused = concerned & ~members & (kinds == RowChange.REFUSED_BEFORE)
        for row in subjects.rows[refused].tolist():
            why = changes.why_refused(staged.place.part, row)
            prepared.rejections.append(rejection(staged.chunk, row, why))
        stays: Mask = ~(unchanged | refused)
        return stays

    def _apply(
        self, staged: JudgedChunk, marked: Decided, subjects: Subjects, prepared: PreparedChunk
    ) -> Mask:
        """Note the rows that are not sent by themselves; say which ones are."""
        kinds = marked["kind"]
        for mark, why in SKIPPED.items():
            if (kinds == mark).any():
                prepared.skipped[why] = subjects.rows[kinds == mark]
        for row in subjects.rows[kinds == RowDecision.UNKNOWN_PERSON].tolist():
            prepared.rejections.append(unknown_person(self._pipeline, staged, row))
        members = kinds == RowDecision.MERGED
        for row, mark in zip(subjects.rows[members].tolist(), marked[members], strict=True):
            carrier = int(mark["other"]), int(mark["value"])
            place = staged.place.part, row
            prepared.members.append(MergedRow(place, carrier, staged.chunk))
        gone = (*SKIPPED, RowDecision.UNKNOWN_PERSON, RowDecision.MERGED)
        return ~np.isin(kinds, gone)

    def _merge(
        self, staged: JudgedChunk, marked: Decided, subjects: Subjects, prepared: PreparedChunk
    ) -> tuple[Subjects, Mask]:
        """Give carrying rows all that their person has; reject those whom the API cannot take."""
        stays = np.ones(len(subjects), np.bool_)
        carriers = marked["kind"] == RowDecision.CARRIER
        if not carriers.any():
            return subjects, stays
        source = self._pipeline.sources[staged.place.source]
        api, part = self._pipeline.destination.api, staged.place.part
        subjects, stays = self._merged.put_together(source, api, part, subjects, carriers)
        for row in subjects.rows[~stays].tolist():
            prepared.rejections.append(rejection(staged.chunk, row, (reason("too_large_merged"),)))
        return subjects.take(stays), stays

    def _old_enough(self, staged: JudgedChunk, subjects: Subjects, prepared: PreparedChunk) -> Mask:
        """Leave out recent events where they are skipped or held."""
        source = self._pipeline.sources[staged.place.source]
        everything = np.ones(len(subjects), np.bool_)
        if not isinstance(source, EventsSource) or source.recent_events not in ("skip", "hold"):
            return everything
        micros = everything if subjects.micros is None else subjects.micros.to_numpy()
        old: Mask = micros < (self._now_s - RECENT_S) * 1e6
        if source.recent_events == "hold":
            prepared.held = int((~old).sum())
        elif not old.all():
            prepared.skipped["recent_event"] = subjects.rows[~old]
        return old

    def _encode(
        self,
        staged: JudgedChunk,
        subjects: Subjects,
        by_v1: Mask,
        occurrences: npt.NDArray[np.int64] | None,
    ) -> tuple[Operations, ...]:
        source = self._pipeline.sources[staged.place.source]
        ids = None
        if isinstance(source, EventsSource):
            ids = event_ids(source, self._pipeline.namespace, subjects, occurrences)
        api = self._pipeline.destination.api
        return operations_of(source, api, staged, subjects, by_v1, ids)


def _unsettled(rejections: tuple[Rejection, ...], done: Ranges) -> list[Rejection]:
    if not rejections:
        return []
    rows = np.array([each.row for each in rejections], np.int64)
    return [
        each for each, is_done in zip(rejections, done.contains(rows), strict=True) if not is_done
    ]


class SourceRows:
    """The work of a run: every row that was not settled before.

    Args:
        job: The files and the journal.
        prepare: Makes a chunk ready; called in threads.
    """

    def __init__(self, job: Job, prepare: ChunkPreparer) -> None:
        self.journal = job.journal
        self._job = job
        self._prepare = prepare
        self._customers = {each.part for each in of_kind(job.inputs, job.pipeline, "customers")}
        self._rejected = {
            (part, each.row): each.reasons
            for part, each in job.journal.rejections()
            if part in self._customers
        }

    def prepared(self, kind: str) -> Generator[PreparedChunk]:
        """The chunks of one kind, from where each file was left."""
        inputs = list(of_kind(self._job.inputs, self._job.pipeline, kind))
        starts = {each.part: self.journal.position(each.part) or START for each in inputs}
        with ThreadPoolExecutor(THREADS) as pool:
            chunks = chunks_of(inputs, self._job.limit, starts)
            yield from in_order(self._prepare, chunks, pool, THREADS)

    def settle(self, settlement: Settlement) -> None:
        """Take down what became of some rows."""
        self.journal.settle(settlement)
        if settlement.part in self._customers:
            for each in settlement.rejections:
                self._rejected[settlement.part, each.row] = each.reasons

    def sent(self, prepared: PreparedChunk) -> None:
        """Reading can go on behind this chunk, once all of it is settled."""
        # Under a limit the last chunk is cut, and reading cannot go on from its end.
        if self._job.limit is None:
            self.journal.remember_position(prepared.place.part, prepared.chunk.end)

    def is_answered(self, carrier: RowPlace) -> bool:
        """Whether it is settled what became of a row that carries its person."""
        part, row = carrier
        return bool(self.journal.settled(part).contains(np.array([row]))[0])

    def rejected(self, carrier: RowPlace) -> tuple[Reason, ...] | None:
        """Why such a row was rejected; None if it was delivered."""
        return self._rejected.get(carrier)
