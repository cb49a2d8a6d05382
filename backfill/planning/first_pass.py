"""The pass over the source that a plan is made by."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backfill.encoding import identity
from backfill.errors import UsageError
from backfill.instants import Reading
from backfill.judge.chunk_judge import (
    IN_THREADS,
    THREADS,
    ChunkJudge,
    ChunkWorkers,
    in_order,
    unknown_people,
)
from backfill.judge.shape import shapes_of
from backfill.operations.batches import IDS_MAX, Fill
from backfill.operations.encode import Accepted, encode, event_ids
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import CustomersSource, EventsSource
from backfill.planning import consent, people
from backfill.planning.chunk_stats import (
    SAMPLES_MAX,
    Before,
    ChunkReader,
    ChunkStats,
    StatsCollector,
)
from backfill.planning.duplicate_filter import DuplicateFilter
from backfill.planning.folder import PlanFolder
from backfill.planning.grouping import Grouping, Groups, Place
from backfill.planning.hash_groups import Records
from backfill.planning.merged_people import MergedPeople, overfull
from backfill.planning.people import PEOPLE_FILE, PeopleFiles
from backfill.planning.progress import OnProgress, Progress, Way
from backfill.planning.proof import Decision, Proof
from backfill.planning.rejection_log import RejectionLog
from backfill.planning.row_decisions import SKIPPED, RowDecision
from backfill.planning.source_stats import SourcePlan
from backfill.rows import SENTENCES, Chunk, Position
from backfill.sources.inputs import Input, chunks_of
from backfill.sources.layout import AttributeNames, identifiers_of, require_columns

_ROWS_MIN = 1_000
"""So many rows are hardly all bad by themselves: what names their columns is mistaken."""
_DECIDED_BY = {
    "identifier_missing": "identifier",
    "identifier_not_text": "identifier",
    "identifier_not_an_email": "identifier",
    "name_missing": "name",
    "timestamp_missing": "timestamp",
    "timestamp_unreadable": "timestamp",
    "timestamp_no_zone": "timestamp",
    "timestamp_zone_unknown": "timestamp",
    "timestamp_out_of_range": "timestamp",
    "timestamp_too_early": "timestamp or earliest",
    "timestamp_too_late": "timestamp or latest",
    "key_missing": "key",
}
"""The setting that every row of a source hangs on, by the reason for which it is rejected."""

_AHEAD = THREADS + 1
"""One chunk more than there are threads: no thread waits while the next one is read."""


@dataclass(slots=True)
class PlanResult:
    """What a pass found; the plan without its key.

    Args:
        rows: How many rows each part has.
        sources: What was found, by source.
        decisions: How each column of timestamps is read.
        readings: The same, for the judge.
        chunks: For sources with a transform: what it made of each chunk, as a digest.
        samples: The first operations, as JSON.
    """

    rows: dict[int, int]
    sources: list[SourcePlan]
    decisions: list[Decision]
    readings: dict[int, dict[str, Reading]]
    chunks: dict[str, str]
    samples: list[str]


@dataclass(frozen=True, slots=True)
class Task:
    """What a plan is to be made of.

    Args:
        pipeline: The settings.
        inputs: The opened files.
        folder: The plan's directory, for what the send pass needs.
        before: What became of rows before.
        now_s: The time now, as unix seconds.
        progress: Is told what was looked at.
        workers: Who looks at the chunks.
    """

    pipeline: Pipeline
    inputs: Sequence[Input]
    folder: Path
    before: Before
    now_s: float
    progress: OnProgress
    workers: ChunkWorkers = IN_THREADS


def find(task: Task) -> PlanResult:
    """Read everything once, and once more what may belong together.

    Where all rows prove another way of writing timestamps than the first ones did, it begins again.

    Raises:
        UsageError: A file, a column or a transform cannot be used.
    """
    shapes = shapes_of(task.pipeline)
    proof = Proof(task.pipeline, task.inputs, shapes, task.progress)
    readings = proof.begin()
    while True:
        judge = ChunkJudge(task.pipeline, shapes, readings, task.now_s)
        looker = StatsCollector(task.pipeline, readings, task.before, task.now_s)
        with PeopleFiles(task.folder, task.pipeline) as people_files:
            one = Pass(task, judge, looker, people_files)
            one.read(proof)
            # What the first rows proved was right in all rows: the common case costs one reading.
            if proof.readings() == readings:
                return one.finding(proof)
        readings = proof.readings()
        one.forget()


class Pass:
    """One pass over the source.

    Args:
        task: What it works on.
        judge: Judges chunks.
        looker: What a judged chunk shows.
        people_files: Takes who stands in the rows.
    """

    def __init__(
        self, task: Task, judge: ChunkJudge, looker: StatsCollector, people_files: PeopleFiles
    ) -> None:
        pipeline, inputs, folder = task.pipeline, task.inputs, task.folder
        self._pipeline = pipeline
        self._inputs = inputs
        self._folder = folder
        self._known_people = task.before.known_people
        self._now_s = task.now_s
        self._progress = task.progress
        self._workers = task.workers
        self._way = Way(inputs)
        self._judge = judge
        self._looker = looker
        self._people = people_files
        self._ends: dict[int, Position] = {}
        self._overlapping: set[int] = set()
        self._overfull: set[tuple[int, int]] = set()
        self._chunks: dict[str, str] = {}
        self._samples: dict[int, list[str]] = {}
        self._sieve = DuplicateFilter(folder / "sieve")
        self._together = Grouping(pipeline, folder)
        self._merged = MergedPeople(PlanFolder(folder).merged)
        self._rejections = PlanFolder(folder).rejections
        self._fills = [Fill() for _ in pipeline.sources]
        self._sources = [
            _opened(source.kind, [each for each in inputs if each.source == index])
            for index, source in enumerate(pipeline.sources)
        ]
        self._names = [AttributeNames() for _ in pipeline.sources]

    def read(self, proof: Proof) -> None:
        """Read everything once; gather what it proves.

        Raises:
            UsageError: A file, a column or a transform cannot be used.
        """
        look = ChunkReader(self._judge, self._looker, proof.collector())
        with (
            closing(self._workers.read(look, self._inputs, _AHEAD)) as looked,
            RejectionLog.open(self._rejections[0]) as rejections,
        ):
            for seen, evidence in looked:
                proof.add(seen.place.source, evidence)
                self._take(seen, rejections)
        self._require_columns()
        self._require_usable_rows()
        self._note_waiting_rows()
        for fill, source in zip(self._fills, self._sources, strict=True):
            source.requests += fill.bytes > 0
        proof.close()

    def _require_columns(self) -> None:
        """Refuse settings that name what no object of a source has, as a header would be refused.

        Raises:
            UsageError: With the nearest names that there are.
        """
        for settings, names in zip(self._pipeline.sources, self._names, strict=True):
            if names.columns:
                require_columns(settings, sorted(names.columns), ", ".join(settings.files))

    def _require_usable_rows(self) -> None:
        """Refuse settings by which every single row of a source is rejected, for the same reason.

        Raises:
            UsageError: With the reason, and the setting.
        """
        for settings, source in zip(self._pipeline.sources, self._sources, strict=True):
            for code, key in _DECIDED_BY.items():
                if source.reasons[code] == source.rows_read >= _ROWS_MIN:
                    if key == "identifier":
                        key = " or ".join(each for each, _ in identifiers_of(settings))  # noqa: PLW2901
                    raise UsageError(
                        f"{', '.join(settings.files)}: none of {source.rows_read:,} rows can be"
                        f" used ({code}: {SENTENCES[code]})",
                        next_step=f"correct {key} of the {settings.kind} in the pipeline file",
                    )

    def _note_waiting_rows(self) -> None:
        """Say of files that may still be written to where a row at their end is not whole."""
        for each in self._inputs:
            if each.file.size_limit is None:
                continue
            from backfill.sources.delimited import DelimitedSource  # noqa: PLC0415  # few files grow

            if not isinstance(each.file, DelimitedSource):
                continue
            rest = each.file.text.blocks(self._ends.get(each.part, each.file.body).offset)
            if any(block.strip(b"\r\n") for block in rest):
                self._sources[each.source].notes.append(
                    f"{each.name}: a quoted cell at its end is not closed yet, and its row waits;"
                    ' last_line = "send" would reject it'
                )

    def finding(self, proof: Proof) -> PlanResult:
        """Find what belongs together, and look at that once more.

        Raises:
            UsageError: A file or a transform cannot be used any more.
        """
        # In this order: people are told apart only when all of them were seen, and what merged
        # people say is asked for only where people are merged.
        self._compare_events()
        self._together.add_known(identity.people(*some) for some in self._known_people())
        found = self._together.resolve()
        self._account(found)
        self._look_again(found.parts)
        for each in self._inputs:
            if each.part in self._overlapping:
                self._sources[each.source].overlapping.append(each.name)
        compared = people.compared(self._pipeline, self._inputs)
        heavy = self._people.resolve(self._together.marks, self._merged, compared)
        if heavy:
            self._refuse_overfull(found.parts, heavy)
        for names, source in zip(self._names, self._sources, strict=True):
            source.reserved = sorted(names.reserved)
            source.attributes = sorted(names.all)
            source.long = sorted(names.long)
            source.odd_timestamps = sorted(names.odd_timestamps)
            source.implausible = sorted(names.implausible)
            source.null_words = sorted(names.null_words)
            source.text_marks = sorted(names.text_marks)
            source.odd_emails = sorted(names.odd_emails)
            source.created_at_text = bool(names.texts)
        self._note_consent()
        if self._pipeline.import_.segment is not None:
            for source in self._sources:
                source.requests += ceil(source.operations / IDS_MAX) * (source.kind == "customers")
        return PlanResult(
            {part: end.row - 1 for part, end in self._ends.items()},
            self._sources,
            proof.decisions(),
            proof.readings(),
            self._chunks,
            _some_of_each(list(self._samples.values())),
        )

    def _shown(self, places: Mapping[int, Sequence[Place]], source: int) -> list[str]:
        """Where some rows of a source stand, by the names of its files."""
        names_of = {each.part: each.name for each in self._inputs}
        return [f"{names_of[part]} row {row}" for part, row in places.get(source, ())]

    def _note_consent(self) -> None:
        """Note which columns look like consent, and count merged people once."""
        for settings, names, source in zip(
            self._pipeline.sources, self._names, self._sources, strict=True
        ):
            if isinstance(settings, CustomersSource):
                source.consent_columns = consent.ordinary(settings, names)
        if not any(each.consent for each in self._sources):
            return
        sources = {each.part: self._sources[each.source] for each in self._inputs}
        for part, marked in self._together.marks.every():
            carriers = marked["row"][marked["kind"] == RowDecision.CARRIER]
            texts = zip(carriers.tolist(), self._merged.rows(part, carriers), strict=True)
            kept = [said for row, said in texts if (part, row) not in self._overfull]
            consent.add_people(sources[part].consent, kept)

    def forget(self) -> None:
        """Undo what was written and told: everything is looked at anew."""
        shutil.rmtree(self._folder)
        self._folder.mkdir(mode=0o700)
        rejected = sum(each.rejected for each in self._sources)
        self._progress(Progress(-sum(each.rows_read for each in self._sources), -rejected))

    def _compare_events(self) -> None:
        """Compare all that those events say which share with others what makes them alike."""
        with ThreadPoolExecutor(THREADS) as pool:
            suspects = self._suspects(self._sieve.resolve(pool))
            for events in in_order(self._events, suspects, pool, THREADS):
                self._together.add_events(events)
        self._sieve.remove()

    def _suspects(self, parts: set[int]) -> Iterator[tuple[Input, Chunk]]:
        for place, chunk in self._chunks_of(parts):
            wanted = self._sieve.may_repeat(place.part, chunk.rows)
            # Most chunks hold no suspect, and are not judged again.
            if wanted.any():
                # A transform may make something else of rows without their neighbours.
                whole = self._pipeline.sources[place.source].transform
                yield place, chunk if whole else chunk.only(wanted)

    def _events(self, given: tuple[Input, Chunk]) -> Records:
        return self._looker.events(self._judge(given))

    def _take(self, look: ChunkStats, rejections: RejectionLog) -> None:
        index, part = look.place.source, look.place.part
        source, rows = self._sources[index], look.end.row - look.first_row
        # Chunks of a part come in order: the last one's end is how many rows it has.
        self._ends[part] = look.end
        source.rows_read += rows
        source.reject(look.rejections)
        self._names[index] |= look.names
        source.nameless += look.nameless
        self._people.add(look.shown)
        if (said := look.shown.get(PEOPLE_FILE)) is not None:
            source.move_cursor(said.column("moved"), self._now_s)
        for why, left_out in look.dropped.items():
            source.skipped[why] += left_out
        source.see(look.sight)
        for name, said in look.consent.items():
            source.consent.setdefault(name, Counter()).update(said)
        source.send(look.batched)
        source.send(look.alone)
        source.requests += len(look.alone)
        source.requests += sum(1 for _ in self._fills[index].stops(look.batched))
        self._group(look)
        if look.digest:
            self._chunks[look.key] = look.digest
        # Not simply the first chunk: most of its rows may be rejected.
        samples = self._samples.setdefault(index, [])
        if len(samples) < SAMPLES_MAX:
            samples += _operations(self._pipeline, index, look.first)
        rejections.add(part, look.rejections)
        share = self._way.share(part, look.end)
        self._progress(Progress(rows, len(look.rejections), share))

    def _group(self, look: ChunkStats) -> None:
        """Keep what the rows of a chunk may have in common with others."""
        together, source = self._together, self._pipeline.sources[look.place.source]
        if look.events is not None:
            self._sieve.add(look.events, look.place.part, look.rows)
            together.add_actors(look.actors)
        elif source.is_profile:
            together.add_people(look.people, look.named, look.emails)
            together.add_related(look.actors, look.targets)
        elif source.kind == "merges":
            together.add_merges(look.people, look.targets)
        else:
            together.add_removals(look.people)

    def _account(self, found: Groups) -> None:
        for index, source in enumerate(self._sources):
            source.merged = found.merged[index]
            source.identical = found.identical[index]
            source.repeated_keys = found.repeated_keys[index]
            source.shared_emails = found.shared_emails[index]
            source.unknown_people = found.unknown_people[index]
            source.unknown_objects = found.unknown_objects[index]
            source.both, source.both_at = found.both[index], self._shown(found.both_at, index)
            source.chained = found.chained[index]
            source.chained_at = self._shown(found.chained_at, index)
            source.lost_primaries = found.lost_primaries[index]
            source.gone_known = found.gone_known[index]
            source.gone_named = found.gone_named[index]
            source.rejected += found.unknown_rows[index]
            if found.unknown_rows[index]:
                source.reasons["unknown_person"] += found.unknown_rows[index]
            source.skipped.update(
                {SKIPPED[mark]: count for (at, mark), count in found.skipped.items() if at == index}
            )

    def _look_again(self, parts: set[int]) -> None:
        """Read once more the files with merged people or unknown ones, for what they say."""
        with RejectionLog.open(self._rejections[1]) as rejections:
            for place, chunk in self._chunks_of(parts):
                marked = self._together.marks.of(place.part, chunk.rows)
                if marked is None:
                    continue
                self._keep_people(place, chunk, marked["kind"])
                rows = chunk.rows[marked["kind"] == RowDecision.UNKNOWN_PERSON]
                unknown = unknown_people(self._pipeline.sources[place.source], chunk, rows)
                rejections.add(place.part, unknown)

    def _chunks_of(self, parts: set[int]) -> Iterator[tuple[Input, Chunk]]:
        """The rows of these parts once more."""
        for given in chunks_of([each for each in self._inputs if each.part in parts]):
            self._progress(Progress(rows=0))
            yield given

    def _refuse_overfull(self, parts: set[int], heavy: set[tuple[int, int]]) -> None:
        """Reject people whose rows together are more than the API takes."""
        chunks = self._chunks_of(parts)
        marks, merged = self._together.marks, self._merged
        with RejectionLog.open(self._rejections[2]) as rejections:
            for judged, mark, rejected in overfull(
                self._pipeline, self._judge, marks, merged, heavy, chunks
            ):
                source = self._sources[judged.place.source]
                source.reject(rejected)
                # They were counted before anybody knew that they are too much together.
                source.merged -= mark == RowDecision.MERGED
                source.operations -= mark == RowDecision.CARRIER
                self._overfull.add((judged.place.part, int(rejected.rows[0])))
                rejections.add(judged.place.part, rejected)

    def _keep_people(self, place: Input, chunk: Chunk, kinds: npt.NDArray[np.uint8]) -> None:
        """Keep what the rows of merged people say, with the rows that carry them.

        Args:
            place: The file.
            chunk: The rows, n.
            kinds: What was decided about each, uint8 (n,).
        """
        said_before = self._sources[place.source].consent
        taken_back = (RowDecision.SHARED_EMAIL,) if said_before else ()
        part = place.part
        wanted = np.isin(kinds, (RowDecision.MERGED, RowDecision.CARRIER, *taken_back))
        if not wanted.any():
            return
        # A transform may make something else of rows without their neighbours.
        whole = self._pipeline.sources[place.source].transform
        accepted = self._judge((place, chunk if whole else chunk.only(wanted))).accepted
        marked = self._together.marks.of(part, accepted.rows)
        if marked is None:
            return
        if said_before:
            # Each row was counted; who stands in several is counted once, when all are known.
            for name, said in consent.counted(accepted.take(marked["kind"] > 0)).items():
                said_before[name].subtract(said)
        is_member = marked["kind"] == RowDecision.MERGED
        carriers = np.where(is_member, marked["value"], accepted.rows)
        parts = np.where(is_member, marked["other"], part)
        concerned = is_member | (marked["kind"] == RowDecision.CARRIER)
        if (parts != part).any():
            self._overlapping.update(np.unique(parts[is_member]).tolist(), (part,))
        for carrying in np.unique(parts[concerned]).tolist():
            here = concerned & (parts == carrying)
            said = accepted.attributes.filter(pa.array(here)).to_pylist()
            # By the part that carries them: that is how the send pass asks for them.
            self._merged.add(carrying, carriers[here].tolist(), said)


def _operations(pipeline: Pipeline, source: int, accepted: Accepted) -> list[str]:
    """A few rows of a source, as they would be sent."""
    settings, ids = pipeline.sources[source], None
    if isinstance(settings, EventsSource):
        ids = event_ids(settings, pipeline.namespace, accepted)
    operations = encode(settings, pipeline.destination.api, accepted, ids)
    return [bytes(operations.json(at, at + 1)).decode() for at in range(len(accepted))]


def _some_of_each(samples: list[list[str]]) -> list[str]:
    """The first of each source, then the second, until there are enough."""
    in_turn = [each[rank] for rank in range(SAMPLES_MAX) for each in samples if rank < len(each)]
    return in_turn[:SAMPLES_MAX]


def _opened(kind: str, inputs: Sequence[Input]) -> SourcePlan:
    """What is known of a source before a row is read."""
    notes = [note for each in inputs for note in each.notes]
    return SourcePlan(kind, files=[each.name for each in inputs], notes=notes)
