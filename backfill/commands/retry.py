"""Rejected rows again: mended in `rejected.csv`, judged as before, sent with their right ids."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.identity import person_key
from backfill.encoding.json_text import as_mask
from backfill.engine.options import Observer, Options, Stop
from backfill.engine.prepare import ChunkPreparer, PreparedChunk
from backfill.engine.rules import RowPlace
from backfill.engine.run import execute
from backfill.errors import UsageError
from backfill.job import Job, bind_files
from backfill.journal import Journal, Settlement
from backfill.judge.chunk_judge import ChunkJudge, JudgedChunk
from backfill.judge.transform import transforms_of
from backfill.operations.encode import Accepted
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import EventsSource
from backfill.planning.guards import Guard
from backfill.planning.merged_people import members_of, merge
from backfill.planning.plan import Plan
from backfill.planning.row_decisions import (
    Decided,
    RowDecision,
    RowDecisions,
    occurrences,
    unmarked,
)
from backfill.rejected.reader import Mended, chunk_of, read_mended
from backfill.rejected.writer import REJECTED_FILE, VANISHED, RejectedRow
from backfill.report.summary import Summary
from backfill.rows import Reason, Rows
from backfill.sources.inputs import Input, chunks_of, columns_of, of_kind
from backfill.sync import catch_up

CHUNK_ROWS = 10_000


def retry(
    pipeline: Pipeline,
    file: Path | None = None,
    options: Options | None = None,
    observer: Observer | None = None,
    stop: Stop | None = None,
) -> Summary:
    """Send the rejected rows of a job again.

    Args:
        pipeline: The settings.
        file: The mended file; None: the job's `rejected.csv`.
        options: How it is done.
        observer: Is told how it goes on.
        stop: Asks it to stop.

    Returns:
        What became of every row of the job.

    Raises:
        BackfillError: What stopped it; as for `backfill.engine.run.run`.
    """
    if options and options.restart:
        raise UsageError(
            "a retry needs the rows that a run rejected; --restart would forget them",
            next_step="drop --restart, or start over with: backfill run PIPELINE --restart",
        )
    return execute(_Retry(file), pipeline, options, observer, stop)


class _Retry:
    """The errand: send rejected rows again."""

    command = "retry"
    may_leave_rows = True
    replaces_rows = False
    tonight = None

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._rows: MendedRows | None = None

    def bind(self, job: Job, *, append: bool) -> Job:
        """Every file as it was; what became of people so far is remembered first."""
        catch_up.catch_up(job.journal, job.pipeline, job.folder)
        return replace(job, inputs=bind_files(job.inputs, job.journal, append=append))

    def guards(self, job: Job, plan: Plan, now_s: float) -> list[Guard]:
        """Mended events may be recent, too."""
        path = self._file or job.folder / REJECTED_FILE
        if not path.exists():
            raise UsageError(
                f"{path}: no such file; there are no rejected rows to retry",
                next_step="run the pipeline first: it writes the rows it rejects",
            )
        self._rows = MendedRows(job, plan, path, now_s)
        return list(self._rows.refusals())

    def work(self, job: Job, plan: Plan, now_s: float) -> "MendedRows":
        """The mended rows, as `guards` has read them."""
        del job, plan, now_s
        if self._rows is None:
            raise ValueError("guards come first")
        return self._rows

    def completed(self, job: Job, plan: Plan) -> None:
        """There is nothing to remember: whoever was sent is in doubt, and compared anew."""


class MendedRows:
    """The work of a retry: mended rows, each as its source would have brought it.

    What a rule skips or holds stays rejected, for the reason that it has.

    Args:
        job: The files and the journal.
        plan: How timestamps are read; which rows are occurrences of the same event.
        path: The mended file.
        now_s: How old an event is.
    """

    def __init__(self, job: Job, plan: Plan, path: Path, now_s: float) -> None:
        self.journal: Journal = job.journal
        self._job = job
        self._now_s = now_s
        self._marks = RowDecisions(job.plan_folder(plan.key).decisions)
        self._inputs = {each.name: each for each in job.inputs}
        transforms = transforms_of(job.pipeline)
        self._judge = ChunkJudge(job.pipeline, transforms, plan.found.readings, plan.now_s)
        self._prepare = ChunkPreparer(job.pipeline, {}, now_s, self._said_of)
        self._people: dict[RowPlace, _Person] = {}
        self._answered: dict[RowPlace, tuple[Reason, ...] | None] = {}
        self._mended = self._read(path)

    def refusals(self) -> Iterator[Guard]:
        """Mended events that can trigger campaigns."""
        for name, count in self._events.recent.items():
            yield Guard(
                "recent_events",
                f"{count:,} corrected events of {name} are younger than 72 h and can trigger"
                " campaigns",
                'set recent_events = "send", "skip" or "hold"',
            )

    def prepared(self, kind: str) -> Generator[PreparedChunk]:
        """The mended rows of one kind."""
        chunks = self._judged(self._of_kind(kind))
        decided: Iterable[tuple[JudgedChunk, Decided | None]]
        if kind == "customers":
            decided = self._by_person([*chunks])
        elif kind == "events":
            decided = ((each, self._of_events(each)) for each in chunks)
        else:
            decided = ((each, None) for each in chunks)
        for judged, marked in decided:
            prepared = self._prepare(judged, marked)
            left_out = replace(prepared.left_out, skipped={}, held=0)
            yield replace(prepared, left_out=left_out)

    def settle(self, settlement: Settlement) -> None:
        """Take down what became of rows that were rejected before."""
        part = settlement.part
        again = {each.row: each for each in settlement.rejections}
        for start, stop in settlement.ranges:
            for row in range(start, stop):
                if row in again:
                    self.journal.reject_again(part, again[row])
                else:
                    merged, deletes = bool(settlement.merged), bool(settlement.deletes)
                    self.journal.deliver_rejected(part, row, merged=merged, deletes=deletes)
                reasons = again[row].reasons if row in again else None
                self._answered[part, row] = reasons

    def sent(self, prepared: PreparedChunk) -> None:
        """There is nothing to remember: a mended file is read from its beginning."""

    def is_answered(self, carrier: RowPlace) -> bool:
        """Whether a row that carries its person was answered for in this retry."""
        return carrier in self._answered

    def rejected(self, carrier: RowPlace) -> tuple[Reason, ...] | None:
        """Why such a row was rejected again; None if it was delivered."""
        return self._answered.get(carrier)

    # Reading the mended rows

    def _read(self, path: Path) -> Mended:
        parts = {each.part: each for each in self._inputs.values()}
        sources = self._job.pipeline.sources

        def find(name: str, row: int) -> RejectedRow | None:
            place = self._inputs.get(name)
            found = place and self.journal.rejection(place.part, row)
            return RejectedRow(place.part, name, found) if place and found else None

        columns = columns_of(parts.values())
        columns[VANISHED] = ()  # such lines stay as they are: a sync tries them again
        identifiers = {each.name: sources[each.source].identifier.column for each in parts.values()}
        return read_mended(path, find, columns, identifiers)

    def _of_kind(self, kind: str) -> list[Input]:
        return list(of_kind(self._job.inputs, self._job.pipeline, kind))

    def _judged(self, inputs: Iterable[Input]) -> Iterator[JudgedChunk]:
        """The mended rows of these files, judged, a file's neighbours together."""
        names = {each.name for each in inputs}
        if not names:
            return
        for name, rows in groupby(self._mended.rows(names), key=lambda each: each.source):
            while some := [*islice(rows, CHUNK_ROWS)]:
                place = self._inputs[name]
                yield self._judge(
                    (place, chunk_of(place.file, sorted(some, key=lambda each: each.row)))
                )

    def _customers(self) -> Iterator[JudgedChunk]:
        """The customers as their sources have them."""
        return map(self._judge, chunks_of(self._of_kind("customers")))

    # Events

    def _of_events(self, judged: JudgedChunk) -> Decided:
        """Which of the accepted rows have a number among identical ones, or are about nobody."""
        accepted = judged.accepted
        decided = unmarked(accepted.rows)
        numbers = occurrences(self._marks.of(judged.place.part, accepted.rows))
        if numbers is not None:
            decided["kind"][numbers > 0] = RowDecision.OCCURRENCE
            decided["value"] = numbers
        source = self._job.pipeline.sources[judged.place.source]
        if isinstance(source, EventsSource) and self._rejects_unknown(source):
            type_ = source.identifier.type
            known = pa.array(self._known[type_], pa.string())
            is_known = pc.is_in(person_key(type_, accepted.person), value_set=known)
            decided["kind"][~as_mask(is_known)] = RowDecision.UNKNOWN_PERSON
        return decided

    def _rejects_unknown(self, source: EventsSource) -> bool:
        return self._job.pipeline.unknown_people(source) == "reject"

    @cached_property
    def _events(self) -> "_EventsLook":
        """What must be known of mended events before the first one is sent."""
        recent: Counter[str] = Counter()
        people: dict[str, set[str]] = {}
        sources = self._job.pipeline.sources
        for judged in self._judged(self._of_kind("events")):
            source, accepted = sources[judged.place.source], judged.accepted
            if not isinstance(source, EventsSource):
                continue
            if source.recent_events == "refuse":
                recent[judged.place.name] += int(accepted.recent(self._now_s).sum())
            if self._rejects_unknown(source):
                keys = person_key(source.identifier.type, accepted.person).to_pylist()
                people.setdefault(source.identifier.type, set()).update(keys)
        return _EventsLook(+recent, people)

    @cached_property
    def _known(self) -> Mapping[str, set[str]]:
        """Of the people whom mended events are about, those who are known, by identifier type."""
        wanted = self._events.people
        known: dict[str, set[str]] = {type_: set() for type_ in wanted}

        def find(type_: str, people: pa.StringArray) -> None:
            if type_ in known:
                found = pc.is_in(people, value_set=pa.array(wanted[type_], pa.string()))
                known[type_].update(people.filter(found).to_pylist())

        for judged in self._customers() if wanted else ():
            type_ = self._job.pipeline.sources[judged.place.source].identifier.type
            find(type_, person_key(type_, judged.named))
        if known != wanted:  # perhaps the workspace was told of them on another night
            for told, people in catch_up.known_people(self.journal, self._job.folder):
                find(told, people)
        return known

    # People

    def _by_person(self, chunks: Sequence[JudgedChunk]) -> Iterator[tuple[JudgedChunk, Decided]]:
        """Each mended person once, with all that the accepted rows of the source say of them.

        The first mended row carries the others. It may be older than one that was delivered: what
        the later row says still wins.
        """
        people: dict[str, _Person] = {}
        decided = [self._group(judged, people) for judged in chunks]
        if people:
            for judged in self._customers():
                self._add_delivered(judged, people)
            self._doubt(people)
        self._people = {each.carrier: each for each in people.values()}
        return zip(chunks, decided, strict=True)

    def _group(self, judged: JudgedChunk, people: dict[str, "_Person"]) -> Decided:
        """Add a chunk of mended rows to the people they are about; say which row carries each."""
        accepted, part = judged.accepted, judged.place.part
        type_ = self._job.pipeline.sources[judged.place.source].identifier.type
        decided = unmarked(accepted.rows)
        for at, key in enumerate(person_key(type_, accepted.person).to_pylist()):
            place = part, int(accepted.rows[at])
            person = people.setdefault(f"{type_}:{key}", _Person(place))
            person.add(self._order[part], accepted, at)
            decided["other"][at], decided["value"][at] = person.carrier
            decided["kind"][at] = (
                RowDecision.CARRIER if person.carrier == place else RowDecision.MERGED
            )
        return decided

    @cached_property
    def _order(self) -> Mapping[int, int]:
        """The order of the files, by part."""
        return {each.part: place for place, each in enumerate(self._job.inputs)}

    def _add_delivered(self, judged: JudgedChunk, people: Mapping[str, "_Person"]) -> None:
        """Add what the rows of a source say of mended people, those left out that are rejected."""
        type_ = self._job.pipeline.sources[judged.place.source].identifier.type
        accepted, part = judged.accepted, judged.place.part
        wanted = pa.array([each.partition(":")[2] for each in people], pa.string())
        keys = person_key(type_, accepted.person)
        for at in np.flatnonzero(as_mask(pc.is_in(keys, value_set=wanted))).tolist():
            person = people.get(f"{type_}:{keys[at].as_py()}")
            if person and self.journal.rejection(part, int(accepted.rows[at])) is None:
                person.add(self._order[part], accepted, at)

    def _doubt(self, people: Iterable[str]) -> None:
        """What a sync remembers of these people will not be what they were told last."""
        kinds: dict[str, list[str]] = {}
        for each in people:
            kind, _, key = each.partition(":")
            kinds.setdefault(kind, []).append(key)
        with catch_up.open_snapshot(self.journal, self._job.folder) as snapshot:
            for kind, keys in kinds.items():
                snapshot.doubt(kind, keys)

    def _said_of(self, part: int, rows: Rows) -> list[str | None]:
        """All that the rows of mended people say together, for the rows that carry them."""
        return [self._people[part, row].attributes() for row in rows.tolist()]


@dataclass(frozen=True, slots=True)
class _EventsLook:
    """What mended events show before the first one is sent.

    Args:
        recent: How many can trigger campaigns, by file, where that is refused.
        people: Whom they are about, by type of identifier, where unknown people are rejected.
    """

    recent: Mapping[str, int]
    people: Mapping[str, set[str]]


@dataclass(slots=True)
class _Person:
    """A person with mended rows, and what every row says of them.

    Args:
        carrier: The row that carries them: the first of the mended ones.
        said: The order of its file, the row, and its attributes as JSON members, for each row.
    """

    carrier: RowPlace
    said: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, order: int, accepted: Accepted, at: int) -> None:
        self.said.append((order, int(accepted.rows[at]), accepted.attributes[at].as_py()))

    def attributes(self) -> str | None:
        """What all rows say together, later ones winning; None: more than the API takes."""
        merged: dict[str, Any] = {}
        for _, _, members in sorted(self.said):
            merge(merged, orjson.loads(f"{{{members}}}"))
        return members_of(merged)
