"""Rejected rows again: fixed in `rejected.csv`, judged as before, sent with their right ids."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.commands.state_home import at_hand
from backfill.encoding.identity import person_key
from backfill.encoding.json_text import as_mask
from backfill.engine.import_segment import join_later
from backfill.engine.options import Observer, Options, Stop
from backfill.engine.prepare import ChunkPreparer, PreparedChunk, RowPlace
from backfill.engine.run import PreparedRun, RunMode, execute
from backfill.errors import UsageError
from backfill.job import Job, bind_files
from backfill.journal import Journal, Settlement
from backfill.judge.chunk_judge import ChunkJudge, JudgedChunk
from backfill.judge.shape import shapes_of
from backfill.operations.encode import Accepted
from backfill.operations.subjects import Merge, Subject, chained, merged, subjects
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import (
    KINDS,
    EventsSource,
    ProfileSource,
    RelationshipsSource,
    Source,
)
from backfill.planning import people
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
from backfill.rejected.reader import FixedFile, chunk_of, read_fixed, some_of
from backfill.rejected.writer import REJECTED_FILE, VANISHED, RejectedRow
from backfill.report.summary import Summary
from backfill.report.wording import counted
from backfill.rows import Reason, Rows
from backfill.sources.inputs import chunks_of, columns_of, of_kind
from backfill.sources.layout import identifiers_of
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
        file: The fixed file; None: the job's `rejected.csv`.
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
            next_step="drop --restart; to start over, give it to `backfill run` instead",
        )
    if options and options.canary is not None:
        raise UsageError(
            "--canary is for `run` and `sync`: a retry sends the rows of its file alone",
            next_step="drop --canary",
        )
    stop = stop or Stop()
    with at_hand(pipeline, options, stop) as here:
        return execute(retry_mode(file), pipeline, here, observer, stop)


def retry_mode(file: Path | None) -> RunMode:
    """Send the rejected rows again, from this file; None: the job's `rejected.csv`."""
    return RunMode("retry", _bind, partial(_prepare, file), only_rejected=True)


def _bind(job: Job, append: bool) -> Job:
    """Every file as it was; what became of people so far is remembered first."""
    catch_up.catch_up(job.journal, job.pipeline, job.folder)
    limit = job.limit or job.journal.meta.get("limit")  # what is beyond it is none of its work
    return replace(job, inputs=bind_files(job.inputs, job.journal, append=append), limit=limit)


def _prepare(file: Path | None, job: Job, plan: Plan, now_s: float) -> PreparedRun:
    """Read the fixed rows, and look at their events before the first one is sent."""
    if not (path := file or job.folder / REJECTED_FILE).exists():
        raise UsageError(
            f"{path}: no such file; there are no rejected rows to retry",
            next_step="run the pipeline first: it writes the rows it rejects",
        )
    lines = _fixed_lines(job, plan, path)
    found = _look(lines, plan, now_s)

    def start() -> FixedRows:
        join_later(job, _named_by(lines, lines.judged("customers")))
        return FixedRows(lines, plan, found.known, now_s)

    # Nothing is left to do at the end: whoever was sent is in doubt, and compared anew by a sync.
    guards = [*_refusals(job.pipeline, found), *_chained(lines)]
    return PreparedRun(guards, start, lambda: None, notes=list(_notes(path, lines.fixed)))


def _notes(path: Path, found: FixedFile) -> Iterator[str]:
    """Which lines of a fixed file are not sent, and why."""
    if found.stale:
        yield (
            f"{path.name}: not sent, since another row stands there now:"
            f" {some_of(found.stale)}; look for them in the newest rejected file"
        )
    if found.settled:
        yield (
            f"{path.name}: {counted(found.settled, 'line')} of rows that are not rejected any more:"
            " a change there is not sent, only one in a source file is"
        )
    if found.unfixed:
        yield f"{path.name}: {counted(found.unfixed, 'line')} not filled in, and not sent"


# Reading the fixed rows


@dataclass(frozen=True, slots=True)
class _FixedLines:
    """The rows of a fixed file, as their sources would have brought them.

    Args:
        job: The files and the journal.
        fixed: The lines that can be tried again.
        judge: Judges them as the plan did.
    """

    job: Job
    fixed: FixedFile
    judge: ChunkJudge

    def judged(self, kind: str) -> Iterator[JudgedChunk]:
        """The fixed rows of one kind, judged, those of a file that stand together at once."""
        places = {each.name: each for each in of_kind(self.job.inputs, self.job.pipeline, kind)}
        rows = self.fixed.rows(set(places)) if places else iter(())
        for name, some in groupby(rows, key=lambda each: each.source):
            while chunk := sorted(islice(some, CHUNK_ROWS), key=lambda each: each.row):
                place = places[name]
                yield self.judge((place, chunk_of(place.file, chunk)))

    def sourced(self, kind: str) -> Iterator[JudgedChunk]:
        """The rows of one kind as their sources have them."""
        inputs = list(of_kind(self.job.inputs, self.job.pipeline, kind))
        return map(self.judge, chunks_of(inputs))

    def source_of(self, judged: JudgedChunk) -> Source:
        """The settings that a chunk was judged by."""
        return self.job.pipeline.sources[judged.place.source]


def _fixed_lines(job: Job, plan: Plan, path: Path) -> _FixedLines:
    """Read a fixed file.

    Raises:
        UsageError: It cannot be read, or a line of it is none of the job's rows.
        GuardError: Rows are now about other people than before.
    """
    inputs, sources = {each.name: each for each in job.inputs}, job.pipeline.sources

    def find(name: str, row: int) -> RejectedRow | None:
        found = (place := inputs.get(name)) and job.journal.rejection(place.part, row)
        return RejectedRow(place.part, name, found) if place and found else None

    columns = columns_of(inputs.values())
    columns[VANISHED] = ()  # such lines stay as they are: a sync tries them again
    identifiers = {
        each.name: [one.column for _, one in identifiers_of(sources[each.source])]
        for each in inputs.values()
    }
    fixed = read_fixed(path, find, columns, identifiers)
    judge = ChunkJudge(job.pipeline, shapes_of(job.pipeline), plan.found.readings, plan.now_s)
    return _FixedLines(job, fixed, judge)


# Looking at rows that name people before the first one is sent


@dataclass(frozen=True, slots=True)
class _FoundInRows:
    """What fixed events and relationships show.

    Args:
        recent: How many are recent, by the index of their source.
        unknown: How many people they are about whom no customers source names, by the same.
        known: Those of their people who are named, by type of identifier.
    """

    recent: Mapping[int, int]
    unknown: Mapping[int, int]
    known: Mapping[str, pa.StringArray]


def _look(lines: _FixedLines, plan: Plan, now_s: float) -> _FoundInRows:
    """What must be known of fixed rows before anything is sent.

    They are judged once more when they are sent, as by a run: however many there are, only their
    people are kept meanwhile.
    """
    pipeline = lines.job.pipeline
    recent: Counter[int] = Counter()
    named: dict[int, set[str]] = {}
    for judged in chain(lines.judged("relationships"), lines.judged("events")):
        index, accepted = judged.place.source, judged.accepted
        source = pipeline.sources[index]
        if not isinstance(source, EventsSource | RelationshipsSource):
            continue
        recent[index] += int(accepted.recent(now_s).sum())
        if pipeline.unknown_people(source) != "send":
            keys = person_key(source.identifier.type, accepted.person).to_pylist()
            named.setdefault(index, set()).update(keys)
    wanted: dict[str, set[str]] = {}
    for index, some in named.items():
        wanted.setdefault(pipeline.sources[index].identifier.type, set()).update(some)
    known = _known(lines, plan, wanted)
    unknown = {
        index: len(some - known[pipeline.sources[index].identifier.type])
        for index, some in named.items()
    }
    arrays = {type_: pa.array(sorted(some), pa.string()) for type_, some in known.items()}
    return _FoundInRows(recent, unknown, arrays)


def _known(
    lines: _FixedLines, plan: Plan, wanted: Mapping[str, set[str]]
) -> Mapping[str, set[str]]:
    """Which of these people somebody names: a customers row, a fixed one, or an earlier night.

    Args:
        lines: The fixed rows.
        plan: What the plan pass found in the sources.
        wanted: The people, by type of identifier.
    """
    known: dict[str, set[str]] = {type_: set() for type_ in wanted}

    def keep(named: Iterable[tuple[str, pa.StringArray]]) -> None:
        for type_, some in named:
            if known.get(type_) != wanted.get(type_):
                values = pa.array(wanted[type_], pa.string())
                known[type_].update(some.filter(pc.is_in(some, value_set=values)).to_pylist())

    job = lines.job
    if wanted:
        keep(people.named(job.plan_folder(plan.key).path))
        keep(_named_by(lines, lines.judged("customers")))
    if known != wanted:  # perhaps the workspace was told of them on another night
        keep(catch_up.known_people(job.journal, job.folder))
    return known


def _named_by(
    lines: _FixedLines, chunks: Iterable[JudgedChunk]
) -> Iterator[tuple[str, pa.StringArray]]:
    for judged in chunks:
        type_ = lines.source_of(judged).identifier.type
        yield type_, person_key(type_, judged.named)


def _refusals(pipeline: Pipeline, found: _FoundInRows) -> Iterator[Guard]:
    """What a run would refuse, too: fixed rows are sent as new ones are."""
    for index, source in enumerate(pipeline.sources):
        if not isinstance(source, EventsSource | RelationshipsSource):
            continue
        of_source = f"source {index + 1} ({source.kind})"
        refuses = isinstance(source, EventsSource) and source.recent_events == "refuse"
        if (count := found.recent.get(index, 0)) and refuses:
            yield Guard(
                "recent_events",
                f"{count:,} corrected events of {of_source} are younger than 72 h and can trigger"
                " campaigns",
                'set recent_events = "send", "skip" or "hold"',
            )
        refuses = pipeline.unknown_people(source) == "refuse"
        if (count := found.unknown.get(index, 0)) and refuses:
            yield Guard(
                "unknown_people",
                f"corrected rows of {of_source} name people whom no customers source names, and"
                f" who would become empty profiles: {count:,}",
                'set unknown_people = "reject" or "send"',
            )


def _chained(lines: _FixedLines) -> Iterator[Guard]:
    """What a run would refuse of merges: fixed ones are held against all others."""

    def merges(kind: Iterable[JudgedChunk], *, fixed: bool) -> Iterator[Merge]:
        for judged in kind:
            found, part = merged(lines.source_of(judged), judged.accepted), judged.place.part
            for row, each in zip(judged.accepted.rows.tolist(), found, strict=True):
                if fixed or lines.job.journal.rejection(part, row) is None:
                    yield each

    some = list(merges(lines.judged("merges"), fixed=True))
    if some and (count := chained(some, merges(lines.sourced("merges"), fixed=False))):
        yield Guard(
            "merges_chained",
            f"corrected merges name people whom other merges name, too: {count:,}",
            "name in each row the person who stays in the end (no setting answers this guard)",
        )


# Sending


class FixedRows:
    """The work of a retry: fixed rows, each as its source would have brought it.

    What a rule skips or holds stays rejected, for the reason that it has.

    Args:
        lines: The fixed rows.
        plan: Which rows are occurrences of the same event.
        known: The people who are known, as `_FoundInRows` has them.
        now_s: The run's start, as unix seconds: how old an event is.
    """

    def __init__(
        self, lines: _FixedLines, plan: Plan, known: Mapping[str, pa.StringArray], now_s: float
    ) -> None:
        self.journal: Journal = lines.job.journal
        self._lines = lines
        self._job = lines.job
        self._known = known
        self._now_s = now_s
        self._decisions = RowDecisions(lines.job.plan_folder(plan.key).decisions)
        self._order = {each.part: place for place, each in enumerate(lines.job.inputs)}
        self._fates: dict[RowPlace, tuple[Reason, ...]] = {}

    def prepared(self, kind: str) -> Generator[PreparedChunk]:
        """The fixed rows of one kind."""
        chunks = self._lines.judged(kind)
        decided: Iterable[tuple[JudgedChunk, Decided | None]]
        persons: Mapping[RowPlace, _Profile] = {}
        # What several rows say together is sent with the first: all of them are at hand.
        if issubclass(KINDS[kind], ProfileSource):
            decided, persons = self._by_subject(kind, [*chunks])
        else:
            decided = ((each, self._of_rows(each)) for each in chunks)

        def said_of(part: int, rows: Rows) -> list[str | None]:
            return [persons[part, row].attributes() for row in rows.tolist()]

        prepare = ChunkPreparer(self._job.pipeline, {}, self._now_s, said_of)
        for judged, marked in decided:
            prepared = prepare(judged, marked)
            left_out = replace(prepared.left_out, skipped={}, held=0)
            yield replace(prepared, left_out=left_out)

    def settle(self, settlement: Settlement) -> None:
        """Note in the journal what became of rows that were rejected before."""
        part = settlement.part
        again = {each.row: each for each in settlement.rejections}
        merged, deletes = bool(settlement.merged), bool(settlement.deletes)
        for start, stop in settlement.ranges:
            for row in range(start, stop):
                if row in again:
                    self.journal.reject_again(part, again[row])
                else:
                    self.journal.deliver_rejected(part, row, merged=merged, deletes=deletes)
                self._fates[part, row] = again[row].reasons if row in again else ()

    def taken(self, prepared: PreparedChunk) -> None:
        """There is nothing to remember: a fixed file is read from its beginning."""

    def fates(self, part: int, rows: Rows) -> Mapping[int, tuple[Reason, ...]]:
        """Why rows that carry people were rejected again; empty: delivered.

        Rows without an answer in this retry yet are left out.
        """
        return {row: self._fates[part, row] for row in rows.tolist() if (part, row) in self._fates}

    def _of_rows(self, judged: JudgedChunk) -> Decided:
        """Which of the accepted rows have a number among identical ones, or are about nobody."""
        accepted = judged.accepted
        decided = unmarked(accepted.rows)
        numbers = occurrences(self._decisions.of(judged.place.part, accepted.rows))
        if numbers is not None:
            decided["kind"][numbers > 0] = RowDecision.OCCURRENCE
            decided["value"] = numbers
        source = self._lines.source_of(judged)
        if not isinstance(source, EventsSource | RelationshipsSource):
            return decided
        type_, policy = source.identifier.type, self._job.pipeline.unknown_people(source)
        if type_ in self._known and policy != "send":
            is_known = pc.is_in(person_key(type_, accepted.person), value_set=self._known[type_])
            decided["kind"][~as_mask(is_known)] = RowDecision.UNKNOWN_PERSON
        return decided

    # Profiles

    def _by_subject(
        self, kind: str, chunks: Sequence[JudgedChunk]
    ) -> tuple[Iterator[tuple[JudgedChunk, Decided]], Mapping[RowPlace, "_Profile"]]:
        """Each fixed person, object or relationship once, with all that accepted rows say of it.

        The first fixed row carries the others. It may be older than one that was delivered: what
        the later row says still wins.

        Returns:
            The chunks with what was decided about their rows, and the profiles by the rows that
            carry them.
        """
        persons: dict[Subject, _Profile] = {}
        decided = [self._group(judged, persons) for judged in chunks]
        if persons:
            for judged in self._lines.sourced(kind):
                self._add_delivered(judged, persons)
            self._doubt(persons)
        carried = {each.carrier: each for each in persons.values()}
        return zip(chunks, decided, strict=True), carried

    def _group(self, judged: JudgedChunk, persons: dict[Subject, "_Profile"]) -> Decided:
        """Add a chunk of fixed rows to what they are about; say which row carries each."""
        accepted, part, source = judged.accepted, judged.place.part, self._lines.source_of(judged)
        decided = self._of_rows(judged)
        type_, keys = subjects(source, accepted)
        for at, key in enumerate(keys.to_pylist() if source.is_profile else ()):
            if decided["kind"][at]:  # about nobody
                continue
            place = part, int(accepted.rows[at])
            person = persons.setdefault((type_, key), _Profile(place))
            person.add(self._order[part], accepted, at)
            decided["other"][at], decided["value"][at] = person.carrier
            decided["kind"][at] = (
                RowDecision.CARRIER if person.carrier == place else RowDecision.MERGED
            )
        return decided

    def _add_delivered(self, judged: JudgedChunk, persons: Mapping[Subject, "_Profile"]) -> None:
        """Add what the rows of a source say of fixed profiles, those left out that are rejected."""
        accepted, part, source = judged.accepted, judged.place.part, self._lines.source_of(judged)
        if not source.is_profile:
            return
        type_, keys = subjects(source, accepted)
        wanted = pa.array([key for _, key in persons], pa.string())
        for at in np.flatnonzero(as_mask(pc.is_in(keys, value_set=wanted))).tolist():
            person = persons.get((type_, keys[at].as_py()))
            if person and self.journal.rejection(part, int(accepted.rows[at])) is None:
                person.add(self._order[part], accepted, at)

    def _doubt(self, persons: Iterable[Subject]) -> None:
        """What a sync remembers of these profiles will not be what they were told last."""
        types: dict[str, list[str]] = {}
        for type_, key in persons:
            types.setdefault(type_, []).append(key)
        with catch_up.open_snapshot(self.journal, self._job.folder) as snapshot:
            for type_, keys in types.items():
                snapshot.doubt(type_, keys)


@dataclass(slots=True)
class _Profile:
    """A person, object or relationship with fixed rows, and what every row says of it.

    Args:
        carrier: The row that carries it: the first of the fixed ones.
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
