"""The pass over the source that a plan is made by."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backfill import identity
from backfill.batches import Fill
from backfill.encoding.values import Mask, as_mask
from backfill.inputs import Input
from backfill.instants import Reading
from backfill.journal import Ranges
from backfill.judging.schema import Judged
from backfill.judging.stage import (
    THREADS,
    Stage,
    Staged,
    chunk_key,
    chunks_of,
    digest_of,
    first_operations,
    in_order,
    transforms_of,
    unknown_person,
)
from backfill.operations import (
    Subjects,
    event_contents,
    event_keys,
    sizes,
)
from backfill.pipeline import EventsSource, Pipeline, Source
from backfill.planning import people
from backfill.planning.marks import SKIPPED, Former, Mark, Marked
from backfill.planning.merged import MergedPeople
from backfill.planning.overfull import overfull
from backfill.planning.people import PEOPLE_FILE, PeopleFiles
from backfill.planning.progress import Looked, Progress, Way
from backfill.planning.proof import Decision, Readings, prove
from backfill.planning.repeats import RECORD, Hashes, Records, records
from backfill.planning.spool import rejection_line
from backfill.planning.tally import Sight, SourcePlan, sight_of
from backfill.planning.together import Found, Together
from backfill.rows import Rows

SAMPLES_MAX = 3

REJECTIONS_FILES = ("rejections.jsonl", "rejections-again.jsonl", "rejections-overfull.jsonl")
"""What each look at the rows rejects, each in the order of files and rows."""


@dataclass(slots=True)
class Finding:
    """What a pass found; the plan without its key.

    Args:
        rows: How many rows each part has.
        sources: What was found, by source.
        decisions: How each column of moments is read.
        readings: The same, for the judge.
        both: How many people stand in customers and in deletions.
        chunks: For sources with a transform: what it made of each chunk, as a digest.
        samples: The first operations, as JSON.
    """

    rows: dict[int, int]
    sources: list[SourcePlan]
    decisions: list[Decision]
    readings: dict[int, dict[str, Reading]]
    both: int
    chunks: dict[str, str]
    samples: list[str]


def _no_records() -> Records:
    return np.empty(0, RECORD)


@dataclass(slots=True)
class _Look:
    """What one chunk shows; worked out in a thread.

    Args:
        staged: The chunk.
        batched: The bytes of each operation that travels in batches.
        alone: The bytes of each that travels by itself.
        shown: Who stands in it, by file.
        people: Whom its rows are about; of events only what has to be known.
        named: The same, those of rejected rows included.
        emails: The e-mail addresses of its people.
        events: Its events.
        sight: What they show.
    """

    staged: Staged
    batched: Rows
    alone: Rows
    shown: Mapping[str, pa.RecordBatch]
    people: Records = field(default_factory=_no_records)
    named: Records = field(default_factory=_no_records)
    emails: Records | None = None
    events: Records = field(default_factory=_no_records)
    sight: Sight = field(default_factory=Sight)


Told = Callable[[], Iterable[tuple[str, pa.StringArray]]]


@dataclass(frozen=True, slots=True)
class Before:
    """What became of rows before this pass.

    Args:
        settled: The rows that were settled, by part.
        former: The plan that they were settled by; None where there is none.
        told: Whom the workspace was told of before, with the type of their identifiers.
    """

    settled: Mapping[int, Ranges]
    former: Former | None = None
    told: Told = tuple

    def standing(self, part: int, rows: Rows) -> tuple[Mask, npt.NDArray[np.int32]]:
        """Which rows of a part are settled, and their ranks among rows that belong together."""
        ranges = self.settled.get(part)
        settled = np.zeros(len(rows), np.bool_) if ranges is None else ranges.contains(rows)
        if self.former is not None:
            return settled, self.former.ranks(part, rows)
        return settled, (~settled).astype(np.int32)


class Pass:
    """One pass over the source.

    Args:
        pipeline: The settings.
        inputs: The opened files.
        folder: The plan's directory, for what the send pass needs.
        before: What became of rows before.
        limit: Only so many rows of each source.
        now_s: The time now, as unix seconds.
        progress: Told of what was looked at.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inputs: Sequence[Input],
        folder: Path,
        before: Before,
        limit: int | None,
        now_s: float,
        progress: Progress,
    ) -> None:
        self._pipeline = pipeline
        self._inputs = inputs
        self._before = before
        self._limit = limit
        self._progress = progress
        self._way = Way(inputs if limit is None else ())
        self._now_s = now_s
        self._readings: Mapping[int, Readings] = {}
        self._rows: dict[int, int] = {}
        self._chunks: dict[str, str] = {}
        self._samples: dict[int, list[str]] = {}
        self._together = Together(pipeline, folder)
        self._merged = MergedPeople(folder / "merged")
        self._people = PeopleFiles(folder)
        self._rejections = [folder / name for name in REJECTIONS_FILES]
        self._transforms = transforms_of(pipeline)
        self._fills = [Fill() for _ in pipeline.sources]
        self._sources = [
            SourcePlan(source.kind, [each.name for each in inputs if each.source == index])
            for index, source in enumerate(pipeline.sources)
        ]

    def make(self) -> Finding:
        """Read everything once, and once more what belongs together.

        Raises:
            UsageError: A file, a column or a transform cannot be used.
        """
        readings, decisions = prove(
            self._pipeline, self._inputs, self._transforms, self._limit, self._progress
        )
        self._readings = readings
        stage = Stage(self._pipeline, self._transforms, readings, self._now_s)
        chunks = chunks_of(self._inputs, self._limit)
        with (
            ThreadPoolExecutor(THREADS) as pool,
            self._rejections[0].open("wb") as rejections,
            self._rejections[1].open("wb") as rejections_again,
            self._people,
        ):
            for look in in_order(lambda given: self._look(stage(given)), chunks, pool, THREADS):
                self._take(look, rejections)
            for fill, source in zip(self._fills, self._sources, strict=True):
                source.requests += fill.bytes > 0
            self._together.add_told(identity.people(*some) for some in self._before.told())
            found = self._together.resolve()
            self._account(found)
            self._look_again(stage, found.parts, rejections_again)
            compared = people.compared(self._pipeline, self._inputs)
            heavy = self._people.resolve(self._together.marks, self._merged, compared)
        if heavy:
            self._refuse_overfull(stage, found.parts, heavy)
        for judge, source in zip(stage.judges, self._sources, strict=True):
            source.reserved = sorted(judge.reserved)
            source.attributes = sorted(judge.attributes)
            source.long = sorted(judge.long)
            source.odd_moments = sorted(judge.odd_moments)
        samples = _some_of_each(list(self._samples.values()))
        return Finding(
            self._rows, self._sources, decisions, readings, found.both, self._chunks, samples
        )

    def _look(self, staged: Staged) -> _Look:
        source = self._pipeline.sources[staged.place.source]
        subjects = staged.judged.subjects
        rows = self._records(staged, subjects.rows)
        look = _Look(staged, *self._sizes(source, staged.judged), self._shown(staged))
        if isinstance(source, EventsSource):
            look.sight = sight_of(subjects, self._now_s)
            look.events = rows(*self._events(source, subjects))
            look.people = self._actors(source, staged)
        else:
            hashes = identity.people(source.identifier.type, subjects.person)
            look.people = rows(hashes)
            look.named = self._named(staged, hashes)
            look.emails = self._emails(staged, hashes)
        return look

    def _sizes(self, source: Source, judged: Judged) -> tuple[Rows, Rows]:
        """The bytes of the operations that travel in batches, and of those that go alone."""
        alone = judged.by_v1 | (self._pipeline.destination.api == "v1")
        return (
            sizes(source, "v2", judged.subjects.take(~alone)),
            sizes(source, "v1", judged.subjects.take(alone)),
        )

    def _named(self, staged: Staged, people: Hashes) -> Records:
        """Everybody whom a row is about, rejected ones included."""
        judged, source = staged.judged, self._pipeline.sources[staged.place.source]
        if len(judged.named) != len(people):
            people = identity.people(source.identifier.type, pc.unique(judged.named))
        return self._records(staged, np.zeros(len(people), np.int64))(people)

    def _emails(self, staged: Staged, people: Hashes) -> Records | None:
        """The e-mail addresses, with the people who have them."""
        emails = staged.judged.emails
        if emails is None:
            return None
        has = as_mask(pc.is_valid(emails))
        addresses = identity.hashes(emails.drop_null().cast(pa.binary()).to_pylist())
        return self._records(staged, staged.judged.subjects.rows[has])(addresses, people[has])

    def _shown(self, staged: Staged) -> Mapping[str, pa.RecordBatch]:
        """Who stands in a chunk, for the memory of a sync."""
        source, place = self._pipeline.sources[staged.place.source], staged.place
        settled, _ = self._before.standing(place.part, staged.judged.subjects.rows)
        readings = self._readings[place.source]
        if isinstance(source, EventsSource) and source.sync_mode == "cursor":
            hashes = self._events(source, staged.judged.subjects)
            return people.events(source, staged, settled, readings, hashes)
        if source.kind == "customers":
            return people.customers(source, staged, settled, readings)
        return {} if source.kind == "events" else people.deletions(source, staged)

    def _events(self, source: EventsSource, subjects: Subjects) -> tuple[Hashes, Hashes]:
        """What makes each event itself, and what makes two alike in every field."""
        namespace = self._pipeline.namespace
        alike = identity.hashes(event_contents(source, namespace, replace(subjects, key=None)))
        if subjects.key is None:
            return alike, alike
        return identity.hashes(event_keys(source, namespace, subjects)), alike

    def _actors(self, source: EventsSource, staged: Staged) -> Records:
        """Whom the events are about: each row where unknown people are rejected, else each once."""
        person, rows = staged.judged.subjects.person, staged.judged.subjects.rows
        if not self._pipeline.has_customers:
            person, rows = person[:0], rows[:0]  # nobody is unknown
        elif self._pipeline.unknown_people(source) != "reject":
            person = pc.unique(person)
            rows = rows[: len(person)]
        return self._records(staged, rows)(identity.people(source.identifier.type, person))

    def _records(self, staged: Staged, rows: Rows) -> Callable[..., Records]:
        """Makes records of some rows of a chunk."""
        settled, rank = self._before.standing(staged.place.part, rows)

        def made(hashes: Hashes, content: Hashes | None = None) -> Records:
            return records(
                hashes,
                rows,
                content=content,
                part=staged.place.part,
                source=staged.place.source,
                settled=settled,
                rank=rank,
            )

        return made

    def _take(self, look: _Look, rejections: BinaryIO) -> None:
        staged, chunk = look.staged, look.staged.chunk
        index, part = staged.place.source, staged.place.part
        source = self._sources[index]
        self._rows[part] = chunk.end.row - 1
        source.rows_read += chunk.end.row - chunk.first_row
        source.reject(staged.judged.rejections)
        source.nameless += people.nameless(self._pipeline.sources[index], staged)
        self._people.add(look.shown)
        if (said := look.shown.get(PEOPLE_FILE)) is not None:
            source.moved(said.column("moved"))
        if len(staged.dropped):
            source.skipped["transform"] += len(staged.dropped)
        source.see(look.sight)
        source.send(look.batched)
        source.send(look.alone)
        source.requests += len(look.alone)
        source.requests += sum(1 for _ in self._fills[index].stops(look.batched))
        if source.kind == "customers":
            self._together.add_people(look.people, look.named, look.emails)
        elif source.kind == "events":
            self._together.add_events(look.events, look.people)
        else:
            self._together.add_deletions(look.people)
        if index in self._transforms:
            self._chunks[chunk_key(staged)] = digest_of(staged.judged.subjects)
        if index not in self._samples and len(staged.judged.subjects):
            self._samples[index] = first_operations(self._pipeline, staged, SAMPLES_MAX)
        rejections.writelines(rejection_line(part, each) for each in staged.judged.rejections)
        rows, rejected = chunk.end.row - chunk.first_row, len(staged.judged.rejections)
        self._progress(Looked(rows, rejected, self._way.share(part, chunk.end)))

    def _account(self, found: Found) -> None:
        for index, source in enumerate(self._sources):
            source.merged = found.merged[index]
            source.identical = found.identical[index]
            source.repeated_keys = found.repeated_keys[index]
            source.shared_emails = found.shared_emails[index]
            source.unknown_people = found.unknown_people[index]
            source.rejected += found.unknown_rows[index]
            if found.unknown_rows[index]:
                source.reasons["unknown_person"] += found.unknown_rows[index]
            source.skipped.update(
                {SKIPPED[mark]: count for (at, mark), count in found.skipped.items() if at == index}
            )

    def _look_again(self, stage: Stage, parts: set[int], rejections: BinaryIO) -> None:
        """Read once more the files with merged people or unknown ones, for what they say."""
        again = [each for each in self._inputs if each.part in parts]
        for given in chunks_of(again, self._limit):
            staged = stage(given)
            subjects, part = staged.judged.subjects, staged.place.part
            marked = self._together.marks.of(part, subjects.rows)
            if marked is None:
                continue
            self._keep_people(part, subjects, marked)
            for at in np.flatnonzero(marked["kind"] == Mark.UNKNOWN_PERSON):
                unknown = unknown_person(self._pipeline, staged, int(subjects.rows[at]))
                rejections.write(rejection_line(part, unknown))

    def _refuse_overfull(self, stage: Stage, parts: set[int], heavy: set[tuple[int, int]]) -> None:
        """Reject people whose rows together are more than the API takes."""
        chunks = chunks_of([each for each in self._inputs if each.part in parts], self._limit)
        marks, merged = self._together.marks, self._merged
        with self._rejections[2].open("wb") as rejections:
            for staged, mark, rejected in overfull(
                self._pipeline, stage, marks, merged, heavy, chunks
            ):
                source = self._sources[staged.place.source]
                source.reject([rejected])
                source.merged -= mark == Mark.MERGED
                source.operations -= mark == Mark.CARRIER
                rejections.write(rejection_line(staged.place.part, rejected))

    def _keep_people(self, part: int, subjects: Subjects, marked: Marked) -> None:
        """Keep what the rows of merged people say, with the rows that carry them."""
        is_member = marked["kind"] == Mark.MERGED
        carriers = np.where(is_member, marked["value"], subjects.rows)
        parts = np.where(is_member, marked["other"], part)
        concerned = is_member | (marked["kind"] == Mark.CARRIER)
        for carrying in np.unique(parts[concerned]).tolist():
            here = concerned & (parts == carrying)
            said = subjects.attributes.filter(pa.array(here)).to_pylist()
            self._merged.add(carrying, carriers[here].tolist(), said)


def _some_of_each(samples: list[list[str]]) -> list[str]:
    """The first of each source, then the second, until there are enough."""
    in_turn = [each[rank] for rank in range(SAMPLES_MAX) for each in samples if rank < len(each)]
    return in_turn[:SAMPLES_MAX]
