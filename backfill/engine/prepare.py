"""From 2 to 3: what of a judged chunk is sent, and what is settled without being sent.

One rule for each reason why an accepted row is not sent by itself, all in one list: `run`, `sync`
and `retry` go by the same. A rule looks at the accepted rows of a chunk and gives those that stay,
and what becomes of the others; it changes nothing.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa

from backfill.encoding.json_text import Mask
from backfill.encoding.rejected_cells import rejections
from backfill.errors import UsageError
from backfill.job import Job
from backfill.journal import Ranges, Settlement
from backfill.judge.chunk_judge import ChunkJudge, JudgedChunk, unknown_people
from backfill.judge.shape import shapes_of
from backfill.operations.encode import Accepted, Api, Operations, event_ids, operations_of
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import EventsSource, Source
from backfill.planning.merged_people import MergedPeople, put_together
from backfill.planning.plan import Plan
from backfill.planning.row_decisions import (
    SKIPPED,
    Decided,
    RowDecision,
    RowDecisions,
    occurrences,
)
from backfill.rows import NO_LINE, NO_REJECTIONS, START, Chunk, Reason, Rejections, Rows, reason
from backfill.sources.inputs import Input, chunks_of, of_kind

if TYPE_CHECKING:  # of a sync alone, with what it reads its people by
    from backfill.sync.differences import Changes

RowPlace = tuple[int, int]
"""A row of a job: its part and its number."""


@dataclass(frozen=True, slots=True)
class MergedRows:
    """Rows whose people are carried by other rows; all of those are rows of one part.

    Args:
        part: Their part.
        rows: Their numbers, int64 (n,), ascending.
        carrier_part: The part of the rows that carry them.
        carriers: The row that carries each, int64 (n,).
        origin: The chunk they were read in.
    """

    part: int
    rows: Rows
    carrier_part: int
    carriers: Rows
    origin: Chunk

    def only(self, wanted: Mask) -> "MergedRows":
        """Some of them; bool (n,)."""
        return replace(self, rows=self.rows[wanted], carriers=self.carriers[wanted])


@dataclass(slots=True)
class LeftOut:
    """The rows of a chunk that make no operation of their own, with what becomes of each.

    Args:
        skipped: int64, the rows that are skipped, ascending, by reason.
        rejections: The rows that are rejected.
        merged: The rows that go out with another one.
        held: How many rows wait until they are old enough.
    """

    skipped: dict[str, Rows] = field(default_factory=dict)
    rejections: Rejections = field(default_factory=lambda: NO_REJECTIONS)
    merged: list[MergedRows] = field(default_factory=list)
    held: int = 0

    def add(self, more: "LeftOut") -> None:
        """Take what another rule leaves out."""
        for why, rows in more.skipped.items():
            before = self.skipped.get(why)
            self.skipped[why] = rows if before is None else np.union1d(before, rows)
        self.rejections = Rejections.together([self.rejections, more.rejections])
        self.merged += more.merged
        self.held += more.held


@dataclass(frozen=True, slots=True)
class Case:
    """What the rules know of a chunk besides its accepted rows.

    Args:
        judged: The chunk.
        source: Its settings.
        api: The pipeline's API.
        settled: The rows of its part that need nothing more.
        now_s: The run's start, as unix seconds: how old an event is.
        said_of: Gives all that the rows of merged people say together, for the rows of a part that
            carry them (int64); None: more than the API takes.
        changes: In a sync: which rows differ from what was delivered; None: all are sent.
    """

    judged: JudgedChunk
    source: Source
    api: Api
    settled: Ranges
    now_s: float
    said_of: Callable[[int, Rows], Sequence[str | None]]
    changes: "Changes | None" = None

    @property
    def part(self) -> int:
        """The chunk's part."""
        return self.judged.place.part


Rule: TypeAlias = Callable[[Accepted, Case], tuple[Accepted, LeftOut]]
"""Gives the rows that stay, and what becomes of the others."""


def settled(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Rows that need nothing more."""
    return accepted.take(~case.settled.contains(accepted.rows)), LeftOut()


def rejected(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Rows that the judge did not accept."""
    found = case.judged.rejections
    if not found:
        return accepted, LeftOut()
    # The judge sees whole chunks, also those of which a part was settled before a crash.
    return accepted, LeftOut(rejections=found.take(~case.settled.contains(found.rows)))


def dropped(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Rows that `where` or the transform left out."""
    new = {why: rows[~case.settled.contains(rows)] for why, rows in case.judged.dropped.items()}
    return accepted, LeftOut(skipped={why: rows for why, rows in new.items() if len(rows)})


def unchanged(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """In a sync: people and events that are as they were delivered, or refused, before.

    The rows of a person share one fate: that of the row that carries them.
    """
    changes = case.changes
    if changes is None or not changes.concern(case.part):
        return accepted, LeftOut()
    from backfill.sync.differences import RowChange  # noqa: PLC0415  # see above

    rows, parts = accepted.rows, np.full(len(accepted), case.part, np.int32)
    # What one night remembers of a merged person stands at the row that carries the others.
    compared = np.ones(len(accepted), np.bool_)
    carried = ~compared
    if (decided := accepted.decided) is not None:
        carried = decided["kind"] == RowDecision.MERGED
        compared = carried | np.isin(decided["kind"], (0, RowDecision.CARRIER))
        # `other` is the carrier's part and `value` its row: see `planning.row_decisions`.
        rows = np.where(carried, decided["value"], rows)
        parts = np.where(carried, decided["other"], parts)
    kinds = changes.of(parts, rows)
    left_out = LeftOut()
    for kind, why in ((0, changes.why_skipped(case.part)), (RowChange.UNCHANGED, "unchanged")):
        if (skipped := compared & (kinds == kind)).any():
            left_out.add(LeftOut(skipped={why: accepted.rows[skipped]}))
    refused = compared & ~carried & (kinds == RowChange.REFUSED_BEFORE)
    rows_refused = accepted.rows[refused]
    why_refused = [changes.why_refused(case.part, row) for row in rows_refused.tolist()]
    left_out.rejections = rejections(case.judged.chunk, rows_refused, why_refused)
    gone = (compared & np.isin(kinds, (0, RowChange.UNCHANGED))) | refused
    return accepted.take(~gone), left_out


def repeated(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Rows that repeat another one; people who have somebody else's e-mail address."""
    del case
    if accepted.decided is None:
        return accepted, LeftOut()
    kinds = accepted.decided["kind"]
    skipped = {
        why: accepted.rows[kinds == mark] for mark, why in SKIPPED.items() if (kinds == mark).any()
    }
    return accepted.take(~np.isin(kinds, tuple(SKIPPED))), LeftOut(skipped=skipped)


def unknown(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Events about people whom no customers source names."""
    if accepted.decided is None:
        return accepted, LeftOut()
    gone = accepted.decided["kind"] == RowDecision.UNKNOWN_PERSON
    strangers = unknown_people(case.source, case.judged.chunk, accepted.rows[gone])
    return accepted.take(~gone), LeftOut(rejections=strangers)


def merged(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Rows whose person another row carries."""
    if accepted.decided is None:
        return accepted, LeftOut()
    gone = accepted.decided["kind"] == RowDecision.MERGED
    rows, decided = accepted.rows[gone], accepted.decided[gone]
    carried = []
    for carrier_part in np.unique(decided["other"]).tolist():
        here = decided["other"] == carrier_part
        carriers = decided["value"][here]
        carried.append(MergedRows(case.part, rows[here], carrier_part, carriers, case.judged.chunk))
    return accepted.take(~gone), LeftOut(merged=carried)


def too_large(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """People who are too much for the API once carrying rows say all that their person's rows say.

    The rows that stay say it.
    """
    if accepted.decided is None:
        return accepted, LeftOut()
    carriers = accepted.decided["kind"] == RowDecision.CARRIER
    if not carriers.any():
        return accepted, LeftOut()
    said = case.said_of(case.part, accepted.rows[carriers])
    accepted, fits = put_together(case.source, case.api, accepted, carriers, said)
    too_much, why = accepted.rows[~fits], (reason("too_large_merged"),)
    refused = rejections(case.judged.chunk, too_much, [why] * len(too_much))
    return accepted.take(fits), LeftOut(rejections=refused)


def recent(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Events that can trigger campaigns, where they are skipped or held."""
    source = case.source
    if not isinstance(source, EventsSource) or source.recent_events not in ("skip", "hold"):
        return accepted, LeftOut()
    young = accepted.recent(case.now_s)
    left_out = LeftOut()
    if source.recent_events == "hold":
        left_out.held = int(young.sum())
    elif young.any():
        left_out.skipped = {"recent_event": accepted.rows[young]}
    return accepted.take(~young), left_out


RULES: tuple[Rule, ...] = (
    settled,
    rejected,
    dropped,
    unchanged,
    repeated,
    unknown,
    merged,
    too_large,
    recent,
)
"""In this order: whoever is left out by one is asked by none of those behind it."""


def leave_out(
    accepted: Accepted, case: Case, rules: Iterable[Rule] = RULES
) -> tuple[Accepted, LeftOut]:
    """The rows that are sent, and what becomes of the others."""
    left_out = LeftOut()
    for rule in rules:
        accepted, more = rule(accepted, case)
        left_out.add(more)
    return accepted, left_out


def not_noted(
    chunk: Chunk, place: Input, changes: "Changes", settled: Ranges, decided: Decided | None
) -> tuple[Chunk, LeftOut]:
    """What `unchanged` would leave out, told from the row numbers alone: nobody need judge it.

    Args:
        chunk: The rows as they were read.
        place: Their file.
        changes: What differs from what was delivered.
        settled: The rows that need nothing more.
        decided: What the plan pass decided about each row of the chunk.

    Returns:
        The rows that have to be judged, and those that are skipped.
    """
    noted = changes.noted(place.part, chunk.rows)
    if decided is not None:
        noted |= decided["kind"] > 0
    new = ~settled.contains(chunk.rows)
    rows = chunk.rows[new & ~noted]
    why = changes.why_skipped(place.part)
    return chunk.only(noted & new), LeftOut(skipped={why: rows} if len(rows) else {})


# Preparing chunks by the rules


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
        said_of: What merged people have, as `backfill.engine.prepare.Case` has it.
        changes: In a sync: which rows differ from what was delivered.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settled: Mapping[int, Ranges],
        now_s: float,
        said_of: Callable[[int, Rows], Sequence[str | None]],
        changes: "Changes | None" = None,
    ) -> None:
        self._pipeline = pipeline
        self.settled = settled
        self._now_s = now_s
        self._said_of = said_of
        self._changes = changes

    def changes_in(self, place: Input) -> "Changes | None":
        """What differs from what was delivered in a file that can be asked row by row."""
        changes, source = self._changes, self._pipeline.sources[place.source]
        # A transform may make something else of rows without their neighbours.
        if changes is None or not changes.concern(place.part) or source.transform:
            return None
        return changes

    def __call__(self, judged: JudgedChunk, decided: Decided | None) -> PreparedChunk:
        """Leave out what is not to be sent, and encode the rest.

        Args:
            judged: The chunk.
            decided: What was decided about each accepted row, n; None: nothing about any.
        """
        source, api = self._pipeline.sources[judged.place.source], self._pipeline.destination.api
        accepted, ids, left_out = self.kept(judged, decided)
        operations = operations_of(
            source, api, accepted, ids, part=judged.place.part, origin=judged.chunk
        )
        return PreparedChunk(judged.place, judged.chunk, operations, left_out)

    def kept(
        self, judged: JudgedChunk, decided: Decided | None
    ) -> tuple[Accepted, pa.StringArray | None, LeftOut]:
        """The rows that are sent, the ids of events, and what becomes of all other rows.

        Args:
            judged: The chunk.
            decided: What was decided about each accepted row, n; None: nothing about any.
        """
        source = self._pipeline.sources[judged.place.source]
        api, part = self._pipeline.destination.api, judged.place.part
        settled = self.settled.get(part, Ranges())
        case = Case(judged, source, api, settled, self._now_s, self._said_of, self._changes)
        # The rules come before encoding: a row that is not sent costs no bytes.
        accepted, left_out = leave_out(replace(judged.accepted, decided=decided), case)
        ids = None
        if isinstance(source, EventsSource):
            # From the plan pass, so that an id does not depend on which rows are left to send.
            numbers = occurrences(accepted.decided)
            ids = event_ids(source, self._pipeline.namespace, accepted, numbers)
        return accepted, ids, left_out


@dataclass(frozen=True)
class ReadPreparer:
    """From a chunk as it was read to one that is ready to be sent; it keeps nothing.

    Args:
        judge: Judges it as the plan pass did.
        prepare: Goes by the rules.
        marks: What was decided about single rows.
        planned: What a transform made of each chunk in the plan pass, as a digest.
    """

    judge: ChunkJudge
    prepare: ChunkPreparer
    marks: RowDecisions
    planned: Mapping[str, str]

    def __call__(self, given: tuple[Input, Chunk]) -> PreparedChunk:
        """What is sent of a chunk, and what becomes of the rest."""
        return self.each([given])[0]

    def each(self, given: Sequence[tuple[Input, Chunk]]) -> list[PreparedChunk]:
        """The same of several; see `ChunkJudge.each`."""
        left = [(place, *self._not_noted(place, whole)) for place, whole in given]
        judged = map(self.checked, self.judge.each([(place, chunk) for place, chunk, _ in left]))
        return [self._prepared(*some) for some in zip(judged, (it for *_, it in left), strict=True)]

    def _prepared(self, judged: JudgedChunk, before: LeftOut) -> PreparedChunk:
        prepared = self.prepare(judged, self.marks.of(judged.place.part, judged.accepted.rows))
        prepared.left_out.add(before)
        return prepared

    def _not_noted(self, place: Input, chunk: Chunk) -> tuple[Chunk, LeftOut]:
        """In a sync: leave out rows that are as before, without judging them."""
        changes = self.prepare.changes_in(place)
        if changes is None:
            return chunk, LeftOut()
        decided = self.marks.of(place.part, chunk.rows)
        return not_noted(chunk, place, changes, self.prepare.settled[place.part], decided)

    def checked(self, judged: JudgedChunk) -> JudgedChunk:
        """The chunk, if the plan pass has judged it so."""
        planned = self.planned.get(judged.key)
        # Only chunks that went through a transform are noted; files themselves have fingerprints.
        if planned is not None and planned != judged.accepted.digest():
            raise UsageError(
                f"{judged.place.name}: the transform gave other rows"
                f" {judged.chunk.first_row} to {judged.chunk.end.row - 1} than in the plan pass",
                next_step="make it depend on nothing but the frame that it is given",
            )
        return judged


class SourceRows:
    """The work of a run: every row that was not settled before.

    Args:
        job: The files and the journal.
        plan: What the plan pass found and decided.
        now_s: The run's start, as unix seconds.
        changes: In a sync: which rows differ from what was delivered; None: all are sent.
    """

    def __init__(
        self, job: Job, plan: Plan, now_s: float, changes: "Changes | None" = None
    ) -> None:
        self.journal = job.journal
        self._job = job
        self._plan = plan
        self._changes = changes
        self._rows = job.rows_to_send(plan)
        folder = job.plan_folder(plan.key)
        said_of = MergedPeople(folder.merged).rows
        self._prepare = ReadPreparer(
            ChunkJudge(job.pipeline, shapes_of(job.pipeline), plan.found.readings, plan.now_s),
            ChunkPreparer(job.pipeline, job.closed(plan), now_s, said_of, changes),
            # Files, read a chunk at a time: decisions about all rows would not fit in memory.
            RowDecisions(folder.decisions),
            plan.found.chunks,
        )

    def prepared(self, kind: str) -> Generator[PreparedChunk]:
        """The chunks of one kind, from where each file was left.

        Raises:
            UsageError: A transform does not give what it gave in the plan pass.
        """
        inputs = list(of_kind(self._job.inputs, self._job.pipeline, kind))
        starts = {each.part: self.journal.position(each.part) or START for each in inputs}
        if self._job.limit is None and set(starts.values()) <= {START}:
            made = self._job.workers.read(self._prepare, inputs, small=True)
        else:  # read in this thread
            rows = self._rows if self._job.limit is not None else None
            made = self._job.workers.map(self._prepare, chunks_of(inputs, starts, rows))
        with closing(made) as prepared:
            yield from prepared

    def settle(self, settlement: Settlement) -> None:
        """Note in the journal what became of some rows."""
        self.journal.settle(settlement)

    def taken(self, prepared: PreparedChunk) -> None:
        """Reading can go on behind this chunk, once all of it is settled."""
        part, end = prepared.place.part, prepared.chunk.end
        if end.line != NO_LINE and (self._job.limit is None or end.row - 1 <= self._rows[part]):
            self.journal.remember_position(part, end)

    def fates(self, part: int, rows: Rows) -> Mapping[int, tuple[Reason, ...]]:
        """Why rows that carry people were rejected, be it by an earlier run; empty: delivered.

        Rows without an answer yet are left out.
        """
        # Settled and not rejected is delivered: a carrier is never skipped or merged itself.
        answered = rows[self.journal.settled(part).contains(rows)]
        rejected = self.journal.rejections_among(part, answered)
        delivered: dict[int, tuple[Reason, ...]] = dict.fromkeys(answered.tolist(), ())
        return delivered | {row: each.reasons for row, each in rejected.items()}
