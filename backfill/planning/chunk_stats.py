"""What one chunk shows the plan pass; worked out in threads, so that it is only added up after."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import identity
from backfill.encoding.json_text import Mask, as_mask
from backfill.instants import Evidence
from backfill.journal import Ranges
from backfill.judge.chunk_judge import ChunkJudge, JudgedChunk
from backfill.operations.encode import Accepted, event_contents, event_keys, sizes
from backfill.operations.subjects import object_type, required, subject_type, subjects
from backfill.pipeline.column_settings import is_consent
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import (
    EventsSource,
    MergesSource,
    RelationshipsSource,
    Source,
)
from backfill.planning import consent, people
from backfill.planning.duplicate_filter import EventHashes, event_hashes
from backfill.planning.hash_groups import RECORD, Hashes, Records, make_records
from backfill.planning.proof import EvidenceCollector, Readings
from backfill.planning.row_decisions import EarlierDecisions
from backfill.planning.source_stats import EventStats, sight_of
from backfill.rows import Chunk, Position, Rejections, Rows
from backfill.sources.inputs import Input
from backfill.sources.layout import AttributeNames

SAMPLES_MAX = 3
"""So many rows of a source are shown as they would be sent."""

KnownPeople = Callable[[], Iterable[tuple[str, pa.StringArray]]]
"""Gives a type of identifier and the identifiers of some people, batch by batch."""


@dataclass(frozen=True, slots=True)
class Before:
    """What became of rows before this pass.

    Args:
        settled: The rows that were settled, by part.
        former: The plan that they were settled by; None where there is none.
        known_people: Gives the people who were sent before.
    """

    settled: Mapping[int, Ranges]
    former: EarlierDecisions | None = None
    known_people: KnownPeople = tuple

    def standing(self, part: int, rows: Rows) -> tuple[Mask, npt.NDArray[np.int32]]:
        """Which rows of a part are settled, and their ranks among rows that belong together."""
        ranges = self.settled.get(part)
        settled = np.zeros(len(rows), np.bool_) if ranges is None else ranges.contains(rows)
        if self.former is not None:
            return settled, self.former.ranks(part, rows)
        # Settled rows first: what was delivered is the original, and the others are its repeats.
        return settled, (~settled).astype(np.int32)


def _no_records() -> Records:
    return np.empty(0, RECORD)


@dataclass(slots=True)
class ChunkStats:
    """What one chunk shows, without the chunk: all of it is small, wherever it was worked out.

    Args:
        place: The file.
        key: Which rows the chunk covers, as a text.
        first_row: The first of them.
        end: Where the next chunk begins.
        rows: The rows that are accepted, int64 (n,).
        rejections: Those that are not.
        nameless: How many of them do not say who they are about.
        dropped: How many rows were left out before, by why.
        names: What the attributes are called, and what of it people should know.
        digest: Of a source with a transform: what it made of the chunk; else empty.
        first: The first accepted rows.
        batched: The bytes of each operation that travels in batches.
        alone: The bytes of each that travels by itself.
        shown: Who stands in it, by file.
        people: What its rows are about, where they are no events.
        named: The same, those of rejected rows included.
        actors: Whom events and relationships are about, as far as it has to be known.
        targets: What else its rows name: objects, or people who are to take others in.
        emails: The e-mail addresses of its people.
        events: A number for each of its events, the same for those that are alike.
        sight: What its events show.
        consent: How many people each attribute of consent is `true` for, and `false`.
    """

    place: Input
    key: str
    first_row: int
    end: Position
    rows: Rows
    rejections: Rejections
    nameless: int
    dropped: Mapping[str, int]
    names: AttributeNames
    digest: str
    first: Accepted
    batched: Rows
    alone: Rows
    shown: Mapping[str, pa.RecordBatch]
    people: Records = field(default_factory=_no_records)
    named: Records = field(default_factory=_no_records)
    actors: Records = field(default_factory=_no_records)
    targets: Records = field(default_factory=_no_records)
    emails: Records | None = None
    events: EventHashes | None = None
    sight: EventStats = field(default_factory=EventStats)
    consent: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class ChunkReader:
    """Looks at a chunk and keeps nothing of it, so that anybody can: threads, other processes.

    Args:
        judge: Judges it.
        stats: What it shows.
        evidence: What it proves.
    """

    def __init__(
        self, judge: ChunkJudge, stats: "StatsCollector", evidence: EvidenceCollector
    ) -> None:
        self._judge = judge
        self._stats = stats
        self._evidence = evidence

    def __call__(self, given: tuple[Input, Chunk]) -> tuple[ChunkStats, list[Evidence]]:
        """What a chunk shows and proves."""
        return self.each([given])[0]

    def each(self, given: Sequence[tuple[Input, Chunk]]) -> list[tuple[ChunkStats, list[Evidence]]]:
        """What each of several chunks shows and proves; see `ChunkJudge.each`."""
        return [(self._stats(judged), self._evidence(judged)) for judged in self._judge.each(given)]


class StatsCollector:
    """Looks at judged chunks; safe to call from several threads.

    Args:
        pipeline: The settings.
        readings: How timestamps are written, by source.
        before: What became of rows before.
        now_s: The time now, as unix seconds.
    """

    def __init__(
        self, pipeline: Pipeline, readings: Mapping[int, Readings], before: Before, now_s: float
    ) -> None:
        self._pipeline = pipeline
        self._readings = readings
        # Nobody asks it who was sent before, and not all that tells it can go to another process.
        self._before = replace(before, known_people=tuple)
        self._now_s = now_s
        self._has_merges = pipeline.has("merges")

    def __call__(self, judged: JudgedChunk) -> ChunkStats:
        """What a chunk shows."""
        source = self._pipeline.sources[judged.place.source]
        accepted = judged.accepted
        look = self._stats(source, judged)
        if isinstance(source, EventsSource):
            names = pc.dictionary_encode(accepted.name)
            look.sight = sight_of(accepted, names, self._now_s)
            look.events = event_hashes(source.identifier.type, accepted, names)
            look.actors = self._actors(source, judged)
            return look
        hashes = identity.people(*subjects(source, accepted))
        records = self._records(judged, accepted.rows)
        if isinstance(source, MergesSource):
            primaries = identity.people(source.primary.type, required(accepted.target))
            look.people, look.targets = records(hashes, primaries), records(primaries)
            return look
        look.people, look.named = records(hashes), self._named(judged, hashes)
        look.emails = self._emails(judged, hashes)
        if source.kind == "customers" and any(
            map(is_consent, (*judged.names.all, *source.constants()))
        ):
            look.consent = consent.counted(accepted)
        if isinstance(source, RelationshipsSource) and source.is_profile:
            look.actors = self._actors(source, judged)
            objects = pc.unique(required(accepted.target))
            hashed = identity.people(object_type(source), objects)
            look.targets = self._records(judged, accepted.rows[: len(objects)])(hashed)
        return look

    def _stats(self, source: Source, judged: JudgedChunk) -> ChunkStats:
        """What a chunk of any kind shows."""
        accepted, chunk = judged.accepted, judged.chunk
        return ChunkStats(
            judged.place,
            judged.key,
            chunk.first_row,
            chunk.end,
            accepted.rows,
            judged.rejections,
            people.nameless(source, judged),
            {why: len(rows) for why, rows in judged.dropped.items()},
            judged.names | oddities(source, accepted),
            # Somebody else's code: the send pass checks that it gives the same again.
            accepted.digest() if source.transform else "",
            accepted.take(np.arange(min(SAMPLES_MAX, len(accepted)))),
            *self._sizes(source, judged),
            self._shown(judged),
        )

    def events(self, judged: JudgedChunk) -> Records:
        """The events of a chunk, by what makes each itself, with all that each says."""
        source, accepted = self._pipeline.sources[judged.place.source], judged.accepted
        if not isinstance(source, EventsSource):
            return _no_records()
        return self._records(judged, accepted.rows)(*self._hashes(source, accepted))

    def _sizes(self, source: Source, judged: JudgedChunk) -> tuple[Rows, Rows]:
        """The bytes of the operations that travel in batches, and of those that go alone."""
        alone = np.full(len(judged.accepted), self._pipeline.destination.api == "v1")
        if judged.accepted.by_v1 is not None:
            alone |= judged.accepted.by_v1
        if not alone.any():  # nearly always; to take no rows takes as long as to take a few
            return sizes(source, "v2", judged.accepted), np.empty(0, np.int64)
        return (
            sizes(source, "v2", judged.accepted.take(~alone)),
            sizes(source, "v1", judged.accepted.take(alone)),
        )

    def _named(self, judged: JudgedChunk, people: Hashes) -> Records:
        """Everybody whom a row is about, rejected ones included."""
        source = self._pipeline.sources[judged.place.source]
        if len(judged.named) != len(people):
            people = identity.people(subject_type(source), pc.unique(judged.named))
        return self._records(judged, np.zeros(len(people), np.int64))(people)

    def _emails(self, judged: JudgedChunk, people: Hashes) -> Records | None:
        """The e-mail addresses, with the people who have them."""
        emails = judged.accepted.email
        if emails is None:
            return None
        has = as_mask(pc.is_valid(emails))
        addresses = identity.hashes(emails.drop_null().cast(pa.binary()).to_pylist())
        return self._records(judged, judged.accepted.rows[has])(addresses, people[has])

    def _shown(self, judged: JudgedChunk) -> Mapping[str, pa.RecordBatch]:
        """Who stands in a chunk, for the memory of a sync."""
        source, place = self._pipeline.sources[judged.place.source], judged.place
        settled, _ = self._before.standing(place.part, judged.accepted.rows)
        readings = self._readings[place.source]
        if isinstance(source, EventsSource) and source.sync_mode != "files":
            hashes = self._hashes(source, judged.accepted, by_id=source.sync_mode == "diff")
            return people.events(source, judged, settled, readings, hashes)
        if source.is_profile:
            return people.profiles(source, judged, settled, readings)
        forgets = source.removes and people.is_remembered(source)
        return people.removals(source, judged) if forgets else {}

    def _hashes(
        self, source: EventsSource, accepted: Accepted, *, by_id: bool = False
    ) -> tuple[Hashes, Hashes]:
        """What makes each of n events itself, and what makes two alike in every field.

        Args:
            source: Their settings.
            accepted: The n events.
            by_id: Whether their ids make them themselves, which hold the timestamp too: not only
                their keys.

        Returns:
            Two of uint64 (n, 2).
        """
        namespace = self._pipeline.namespace
        # Without the key: rows alike in every field are identical, whatever makes events the same.
        alike = identity.hashes(event_contents(source, namespace, replace(accepted, key=None)))
        if accepted.key is None:
            return alike, alike
        if by_id:
            return identity.hashes(event_contents(source, namespace, accepted)), alike
        return identity.hashes(event_keys(source, namespace, accepted)), alike

    def _actors(self, source: EventsSource | RelationshipsSource, judged: JudgedChunk) -> Records:
        """Whom the rows are about: each row where unknown people are rejected, else each once."""
        person, rows = judged.accepted.person, judged.accepted.rows
        # No records are made: an empty column costs less than a branch in all that follows.
        if not self._has_merges and not self._pipeline.has_customers:
            person, rows = person[:0], rows[:0]  # nobody is unknown, and nobody merged away
        elif self._pipeline.unknown_people(source) != "reject":
            person = pc.unique(person)
            rows = rows[: len(person)]
        return self._records(judged, rows)(identity.people(source.identifier.type, person))

    def _records(self, judged: JudgedChunk, rows: Rows) -> Callable[..., Records]:
        """Makes records of some rows of a chunk."""
        settled, rank = self._before.standing(judged.place.part, rows)

        def made(hashes: Hashes, content: Hashes | None = None) -> Records:
            return make_records(
                hashes,
                rows,
                content=content,
                part=judged.place.part,
                source=judged.place.source,
                settled=settled,
                rank=rank,
            )

        return made


def oddities(source: Source, accepted: Accepted) -> AttributeNames:
    """What among the identifiers of accepted rows people should know of; they are sent as they are.

    The plan's business alone: to look for it once more while sending would cost a hundredth of it.
    """
    found = AttributeNames(**identity.oddities(accepted.person, source.identifier.column))
    if source.target is None:
        return found
    return found | AttributeNames(
        **identity.oddities(required(accepted.target), source.target.column)
    )
