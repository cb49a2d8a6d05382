"""Rejected rows again: mended in `rejected.csv`, judged as before, sent with their right ids."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.identity import person_key
from backfill.encoding.json_text import Mask, as_mask, canonical_json
from backfill.encoding.members import Members
from backfill.engine.options import Observer, Options, Stop
from backfill.engine.prepare import MergedRow, PreparedChunk, RowPlace
from backfill.engine.run import execute
from backfill.errors import UsageError
from backfill.job import Job, bind_files
from backfill.journal import Journal, Settlement
from backfill.judge.chunk_judge import (
    JudgedChunk,
    chunks_of,
    operations_of,
    stage_of,
    unknown_person,
)
from backfill.operations.encode import Subjects, event_ids
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import EventsSource
from backfill.planning.guards import Guard
from backfill.planning.merged_people import merge
from backfill.planning.plan import Plan
from backfill.planning.row_decisions import RowDecision, RowDecisions
from backfill.planning.source_stats import RECENT_S
from backfill.rejected.reader import Mended, MendedRow, read_mended
from backfill.rejected.writer import REJECTED_FILE, VANISHED, RejectedRow
from backfill.report.summary import Summary
from backfill.rows import Chunk, Position, Reason, Rows, Values
from backfill.sources import SourceFile
from backfill.sources.inputs import Input, columns_of, of_kind
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
            "a retry goes on with what a run has rejected; --restart would forget it",
            next_step="leave --restart out, or start over with: backfill run PIPELINE --restart",
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

    def bind(self, job: Job, *, append: bool) -> Job:
        """Every file as it was; what became of people so far is remembered first."""
        catch_up.catch_up(job.journal, job.pipeline, job.folder)
        return replace(job, inputs=bind_files(job.inputs, job.journal, append=append))

    def guards(self, job: Job, plan: Plan, now_s: float) -> list[Guard]:
        """Mended events may be recent, too."""
        work = self.work(job, plan, now_s)
        return list(work.refusals())

    def work(self, job: Job, plan: Plan, now_s: float) -> "MendedRows":
        """The mended rows."""
        path = self._file or job.folder / REJECTED_FILE
        if not path.exists():
            raise UsageError(
                f"{path}: there are no rejected rows to send again",
                next_step="run the pipeline first: it writes the rows that it rejects",
            )
        return MendedRows(job, plan, path, now_s)

    def completed(self, job: Job, plan: Plan) -> None:
        """There is nothing to remember: whoever was sent is in doubt, and compared anew."""


class MendedRows:
    """The work of a retry: mended rows, each as its source would have brought it.

    Args:
        job: The files and the journal.
        plan: How moments are read; which rows are occurrences of the same event.
        path: The mended file.
        now_s: How old an event is.
    """

    def __init__(self, job: Job, plan: Plan, path: Path, now_s: float) -> None:
        self.journal: Journal = job.journal
        self._job = job
        self._now_s = now_s
        self._marks = RowDecisions(job.plan_folder(plan.key).decisions)
        self._inputs = {each.name: each for each in job.inputs}
        self._stage = stage_of(job.pipeline, plan.found.readings, plan.now_s)
        self._answered: dict[RowPlace, tuple[Reason, ...] | None] = {}
        self._mended = self._read(path)

    @property
    def rows(self) -> int:
        """How many rows can be tried again."""
        return self._mended.ready

    def refusals(self) -> Iterator[Guard]:
        """Mended events that can trigger campaigns."""
        for source, staged in self._staged("events"):
            recent = _recent(staged.judged.subjects, self._now_s)
            refuses = isinstance(source, EventsSource) and source.recent_events == "refuse"
            if refuses and recent.any():
                yield Guard(
                    "recent_events",
                    f"{int(recent.sum()):,} mended events of {staged.place.name} are younger than"
                    " 72 h and can trigger campaigns",
                    'set recent_events = "send", "skip" or "hold"',
                )

    def prepared(self, kind: str) -> Generator[PreparedChunk]:
        """The mended rows of one kind."""
        if kind == "customers":
            yield from self._people()
            return
        for source, staged in self._staged(kind):
            prepared = PreparedChunk(staged.place, staged.chunk)
            prepared.rejections = list(staged.judged.rejections)
            subjects, by_v1 = staged.judged.subjects, staged.judged.by_v1
            stays = np.ones(len(subjects), np.bool_)
            if isinstance(source, EventsSource):
                stays = self._known(source, staged, prepared)
                if source.recent_events != "send":
                    stays &= ~_recent(subjects, self._now_s)
            subjects, by_v1 = subjects.take(stays), by_v1[stays]
            ids = self._ids(source, staged, subjects) if isinstance(source, EventsSource) else None
            api = self._job.pipeline.destination.api
            prepared.operations = operations_of(source, api, staged, subjects, by_v1, ids)
            yield prepared

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

    def _staged(self, kind: str) -> Iterator[tuple[Any, JudgedChunk]]:
        """The mended rows of one kind, judged, a file's neighbours together."""
        for place, rows in self._grouped(kind):
            chunk = _chunk(place, sorted(rows, key=lambda each: each.row))
            yield self._job.pipeline.sources[place.source], self._stage((place, chunk))

    def _grouped(self, kind: str) -> Iterator[tuple[Input, list[MendedRow]]]:
        wanted = {each.name for each in of_kind(self._job.inputs, self._job.pipeline, kind)}
        mine = (each for each in self._mended.rows() if each.source in wanted)
        for name, rows in groupby(mine, key=lambda each: each.source):
            some: list[MendedRow] = []
            for row in rows:
                some.append(row)
                if len(some) == CHUNK_ROWS:
                    yield self._inputs[name], some
                    some = []
            if some:
                yield self._inputs[name], some

    # Events

    def _ids(self, source: EventsSource, staged: JudgedChunk, subjects: Subjects) -> pa.StringArray:
        marked = self._marks.of(staged.place.part, subjects.rows)
        occurrences = None
        if marked is not None:
            occurrences = np.where(marked["kind"] == RowDecision.OCCURRENCE, marked["value"], 0)
        return event_ids(source, self._job.pipeline.namespace, subjects, occurrences)

    def _known(self, source: EventsSource, staged: JudgedChunk, prepared: PreparedChunk) -> Mask:
        """Which events are about people whom customers sources name; the others stay rejected."""
        subjects = staged.judged.subjects
        if self._job.pipeline.unknown_people(source) != "reject" or not len(subjects):
            return np.ones(len(subjects), np.bool_)
        kind = source.identifier.type
        wanted = pc.unique(person_key(kind, subjects.person))
        named: set[str] = set()
        for staged_people in self._customers():
            people = person_key(kind, staged_people.judged.named)
            named.update(people.filter(pc.is_in(people, value_set=wanted)).to_pylist())
        known = pc.is_in(person_key(kind, subjects.person), value_set=pa.array(named, pa.string()))
        stays = as_mask(known)
        for row in subjects.rows[~stays].tolist():
            prepared.rejections.append(unknown_person(self._job.pipeline, staged, row))
        return stays

    # People

    def _people(self) -> Generator[PreparedChunk]:
        """Each mended person once, with all that the accepted rows of the source say of them.

        A mended row may be older than one that was delivered: what the later row says still wins.
        """
        mended: dict[str, _Person] = {}
        order = {each.part: place for place, each in enumerate(self._job.inputs)}
        for source, staged in self._staged("customers"):
            if staged.judged.rejections:
                yield PreparedChunk(
                    staged.place, staged.chunk, rejections=[*staged.judged.rejections]
                )
            kind, subjects = source.identifier.type, staged.judged.subjects
            for at, key in enumerate(person_key(kind, subjects.person).to_pylist()):
                person = mended.setdefault(f"{kind}:{key}", _Person(staged, at))
                person.rows.append((staged.place.part, int(subjects.rows[at]), staged.chunk))
                person.add(order[staged.place.part], subjects, at)
        for staged in self._customers() if mended else ():
            self._add_delivered(staged, mended, order)
        self._doubt(mended)
        yield from (self._person(each) for each in mended.values())

    def _doubt(self, people: Iterable[str]) -> None:
        """What a sync remembers of these people will not be what they were told last."""
        kinds: dict[str, list[str]] = {}
        for each in people:
            kind, _, key = each.partition(":")
            kinds.setdefault(kind, []).append(key)
        with catch_up.open_snapshot(self.journal, self._job.folder) as snapshot:
            for kind, keys in kinds.items():
                snapshot.doubt(kind, keys)

    def _customers(self) -> Iterator[JudgedChunk]:
        inputs = of_kind(self._job.inputs, self._job.pipeline, "customers")
        return map(self._stage, chunks_of(list(inputs), self._job.limit))

    def _add_delivered(
        self, staged: JudgedChunk, mended: Mapping[str, "_Person"], order: Mapping[int, int]
    ) -> None:
        kind = self._job.pipeline.sources[staged.place.source].identifier.type
        subjects, part = staged.judged.subjects, staged.place.part
        wanted = pa.array([each.partition(":")[2] for each in mended], pa.string())
        keys = person_key(kind, subjects.person)
        for at in np.flatnonzero(as_mask(pc.is_in(keys, value_set=wanted))):
            row = int(subjects.rows[at])
            person = mended.get(f"{kind}:{keys[int(at)].as_py()}")
            if person and self.journal.rejection(part, row) is None:
                person.add(order[part], subjects, int(at))

    def _person(self, person: "_Person") -> PreparedChunk:
        """One operation for all mended rows of a person."""
        staged, at = person.first
        subjects = staged.judged.subjects.take(np.array([at]))
        said = pa.array([person.attributes()], pa.string())
        subjects = replace(subjects, members=Members.of_text(said))
        source = self._job.pipeline.sources[staged.place.source]
        api = self._job.pipeline.destination.api
        none = np.zeros(1, np.bool_)
        (part, row, _), *others = person.rows
        prepared = PreparedChunk(staged.place, staged.chunk)
        prepared.operations = operations_of(source, api, staged, subjects, none, None)
        prepared.members = [
            MergedRow((other_part, other_row), (part, row), origin)
            for other_part, other_row, origin in others
        ]
        return prepared


@dataclass(slots=True)
class _Person:
    """A person with mended rows, and what every row says of them."""

    staged: JudgedChunk
    at: int
    rows: list[tuple[int, int, Chunk]] = field(default_factory=list)
    said: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def first(self) -> tuple[JudgedChunk, int]:
        return self.staged, self.at

    def add(self, order: int, subjects: Subjects, at: int) -> None:
        self.said.append((order, int(subjects.rows[at]), subjects.attributes[at].as_py()))

    def attributes(self) -> str:
        merged: dict[str, Any] = {}
        for _, _, members in sorted(self.said):
            merge(merged, orjson.loads(f"{{{members}}}"))
        return canonical_json(merged)[1:-1]


def _recent(subjects: Subjects, now_s: float) -> Mask:
    if subjects.micros is None:
        return np.zeros(len(subjects), np.bool_)
    recent: Mask = subjects.micros.to_numpy() >= (now_s - RECENT_S) * 1e6
    return recent


def _chunk(place: Input, rows: Sequence[MendedRow]) -> Chunk:
    """Mended rows as their source would have read them; typed ones as JSON."""
    kind: Values = "text" if place.file.values == "text" else "json"
    columns = place.file.columns() or tuple(dict.fromkeys(key for row in rows for key in row.cells))
    arrays = [_column(rows, name, place.file) for name in columns]
    numbers: Rows = np.array([row.row for row in rows], np.int64)
    lines = None
    if all(row.line is not None for row in rows):
        lines = np.array([row.line for row in rows], np.int64)
    return Chunk(
        first_row=rows[0].row,
        batch=pa.RecordBatch.from_arrays(arrays, list(columns)),
        rows=numbers,
        lines=lines,
        rejections=(),
        end=Position(rows[-1].row + 1),
        values=kind,
    )


def _column(rows: Sequence[MendedRow], name: str, file: SourceFile) -> pa.Array:
    """One column as its source would have written it; typed numbers are numbers again, also NaN."""
    schema = file.schema()
    if schema is not None and pa.types.is_floating(schema.field(name).type):
        with suppress(ValueError, TypeError):
            cells = [row.cells.get(name) for row in rows]
            return pa.array([None if each is None else float(each) for each in cells], pa.float64())
    return pa.array([_cell(row.cells, name, file) for row in rows], pa.string())


def _cell(cells: Mapping[str, Any], name: str, file: SourceFile) -> str | None:
    """One cell, as text or as a JSON fragment; None where there is none."""
    if name not in cells:
        return None
    value = cells[name]
    if file.values == "text":
        return None if value is None else str(value)
    return canonical_json(value)
