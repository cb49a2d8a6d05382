"""What was delivered, made again from the sources by the same rooms as in a run.

Read, judged, left out by the rules: what stays is what was sent, to the byte. Of it those rows
count that the journal has settled and not rejected. They are put into Parquet files, from which
people come back one by one: memory is flat, however many there are.

A sample is a share of all people by a hash of their identifiers: the same people every time, in
every file.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backfill.encoding import identity
from backfill.encoding.json_text import Mask, as_mask
from backfill.engine.prepare import ChunkPreparer
from backfill.instants import seconds
from backfill.job import Job
from backfill.judge.chunk_judge import THREADS, ChunkJudge, in_order
from backfill.judge.shape import shapes_of
from backfill.operations.encode import Accepted
from backfill.pipeline.source_settings import EventsSource, Source
from backfill.planning.merged_people import MergedPeople
from backfill.planning.plan import Plan
from backfill.planning.row_decisions import RowDecisions
from backfill.rows import Chunk, Rows
from backfill.sources.inputs import Input, chunks_of, of_kind
from backfill.sync.differences import Changes

_NEVER_RECENT_S = 1e12
"""A time, as unix seconds, at which no event is younger than 72 hours."""

_OBJECT = "object"
"""A column of the file of relationships that vanished; people have none."""

Draws = npt.NDArray[np.uint64]
"""The hash by which the person of each row is drawn; shape (n,), n rows."""

Wanted = Callable[[Draws], Mask]
"""Says whose rows are wanted."""


def everybody(draws: Draws) -> Mask:
    """All are wanted."""
    return np.ones(len(draws), np.bool_)


def drawn_up_to(threshold: int) -> Wanted:
    """Those are wanted who are drawn up to a threshold."""
    return lambda draws: draws <= np.uint64(threshold)


def those(some: Draws) -> Wanted:
    """These are wanted."""
    return lambda draws: np.isin(draws, some)


_PERSON = [
    ("type", pa.string()),
    ("identifier", pa.string()),
    ("key", pa.string()),
    ("part", pa.int32()),
    ("row", pa.int64()),
]
PEOPLE = pa.schema(
    [*_PERSON, ("attributes", pa.string()), ("high", pa.uint64()), ("low", pa.uint64())]
)
DELETED = pa.schema([*_PERSON, ("merged", pa.bool_())])
REMADE = pa.schema(_PERSON)
OLDER = pa.schema([*_PERSON, ("name", pa.string()), ("corrected", pa.bool_())])
EVENTS = pa.schema(
    [
        *_PERSON,
        ("attributes", pa.string()),
        ("id", pa.string()),
        ("kind", pa.string()),
        ("name", pa.string()),
        ("second", pa.int64()),
        ("corrected", pa.bool_()),
    ]
)
"""`key` is the identifier as people are told apart by it; `attributes` JSON members without
braces, `high` and `low` their hash as a sync's snapshot has it; `merged` says that a merge took the
person away. Events that name one of those make the person anew: they come behind merges."""


@dataclass(frozen=True, slots=True)
class SentRows:
    """Rows of one chunk that were delivered.

    Args:
        source: Their settings.
        part: Their part.
        accepted: The rows, n.
        ids: string, length n, the events' ids; None where they are no events.
        draws: uint64, length n, the hash by which the person of each is drawn.
        corrected: bool, length n, the rows that were sent otherwise by a retry; None: not asked.
    """

    source: Source
    part: int
    accepted: Accepted
    ids: pa.StringArray | None
    draws: Draws
    corrected: Mask | None = None

    def only(self, wanted: Mask) -> "SentRows":
        """Some of them; bool (n,)."""
        ids = None if self.ids is None else self.ids.filter(pa.array(wanted))
        accepted, draws = self.accepted.take(wanted), self.draws[wanted]
        corrected = None if self.corrected is None else self.corrected[wanted]
        return SentRows(self.source, self.part, accepted, ids, draws, corrected)


class Delivered:
    """Gives what a job has delivered, as often as it is asked.

    Args:
        job: The files and the journal.
        plan: The plan that it went by.
        began_s: When the job began, as unix seconds: what was recent then may have been skipped,
            and is left out.
        changes: In a sync: which rows differ from what was delivered; None: all count.
        check: Is called with each chunk, and may raise.
    """

    def __init__(
        self,
        job: Job,
        plan: Plan,
        began_s: float,
        changes: Changes | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._job = job
        self._check = check
        folder = job.plan_folder(plan.key)
        self._decisions = RowDecisions(folder.decisions)
        shapes = shapes_of(job.pipeline)
        self._judge = ChunkJudge(job.pipeline, shapes, plan.found.readings, plan.now_s)
        said_of = MergedPeople(folder.merged).rows
        self._prepare = ChunkPreparer(job.pipeline, {}, _NEVER_RECENT_S, said_of, changes)
        self._prepare_skipping = ChunkPreparer(job.pipeline, {}, began_s, said_of, changes)

    def rows(self, kind: str, wanted: Wanted = everybody) -> Iterator[SentRows]:
        """The delivered rows of one kind whose people are wanted."""
        for made in self.sendable(kind):
            chosen = self._is_delivered(made) & wanted(made.draws)
            if chosen.any():
                some = made.only(chosen)
                rows = some.accepted.rows
                again = self._job.journal.corrected(made.part, int(rows[0]), int(rows[-1]))
                yield replace(some, corrected=np.isin(rows, again))

    def sendable(self, kind: str) -> Iterator[SentRows]:
        """The rows of one kind that a run sends, whatever has become of them."""
        inputs = list(of_kind(self._job.inputs, self._job.pipeline, kind))
        with ThreadPoolExecutor(THREADS) as pool:
            for made in in_order(self._made, chunks_of(inputs), pool, THREADS):
                self._check()
                yield made

    def vanished(self, wanted: Wanted) -> Iterator[pa.RecordBatch]:
        """Whom the last sync has deleted because no row names them any more, as `DELETED`."""
        for part, file in self._vanished_files():
            if _OBJECT in file.schema_arrow.names:
                continue
            for batch in file.iter_batches(columns=["type", "identifier", "row"]):
                rows = batch.column(2).to_numpy()
                chosen = self._settled_rows(part, rows)
                for type_ in pc.unique(batch.column(0)).to_pylist():
                    here = as_mask(pc.equal(batch.column(0), type_))
                    chosen[here] &= wanted(identity.people(type_, batch.column(1))[:, 0])[here]
                names = [batch.column(0), batch.column(1), batch.column(1)]
                places = [pa.array(np.full(len(rows), part, np.int32)), batch.column(2)]
                gone = [*names, *places, pa.repeat(False, len(rows))]
                made = pa.RecordBatch.from_arrays(gone, schema=DELETED)
                yield made.filter(pa.array(chosen))

    def removed_relationships(self) -> int:
        """How many relationships the last sync has removed because no row names them any more."""
        return sum(
            int(self._settled_rows(part, batch.column(0).to_numpy()).sum())
            for part, file in self._vanished_files()
            if _OBJECT in file.schema_arrow.names
            for batch in file.iter_batches(columns=["row"])
        )

    def _vanished_files(self) -> Iterator[tuple[int, pq.ParquetFile]]:
        """What the last sync deletes or removes, with its part; of earlier ones nothing is left."""
        own = len(self._job.pipeline.sources)
        for part in self._job.journal.parts():
            path = self._job.folder / part.path
            # Sources behind those of the pipeline file are a sync's own: they delete what vanished.
            if part.source >= own and path.exists():
                yield part.id, pq.ParquetFile(path)

    def _made(self, given: tuple[Input, Chunk]) -> SentRows:
        """What a run would send of a chunk if nothing were settled; called in threads."""
        place, _ = given
        source = self._job.pipeline.sources[place.source]
        judged = self._judge(given)
        decided = self._decisions.of(place.part, judged.accepted.rows)
        # What was recent then may have been skipped; what was held back is settled by now, or not.
        skips = isinstance(source, EventsSource) and source.recent_events == "skip"
        prepare = self._prepare_skipping if skips else self._prepare
        accepted, ids, _ = prepare.kept(judged, decided)
        draws = identity.people(source.identifier.type, accepted.person)[:, 0]
        return SentRows(source, place.part, accepted, ids, draws)

    def _is_delivered(self, made: SentRows) -> Mask:
        return self._settled_rows(made.part, made.accepted.rows)

    def _settled_rows(self, part: int, rows: Rows) -> Mask:
        """Which rows are settled and not rejected; the journal is asked in one thread alone."""
        settled = self._job.journal.settled(part).contains(rows)
        if len(rows) and settled.any():
            settled &= ~np.isin(rows, self._rejected(part, int(rows[0]), int(rows[-1])))
        return settled

    def _rejected(self, part: int, first: int, last: int) -> Rows:
        found = []
        for at, some in self._job.journal.rejected(after=(part, first - 1)):
            if at != part or some.rows[0] > last:
                break
            found.append(some.rows)
        return np.concatenate(found) if found else np.empty(0, np.int64)


def sample_of(delivered: Delivered, kind: str, count: int) -> tuple[Wanted, int]:
    """Draw so many people.

    Args:
        delivered: What was delivered.
        kind: The kind of source whose people are drawn.
        count: How many are wanted.

    Returns:
        Who is drawn, and how many people there are; 0: there are no more than are wanted, or
        nobody counts them.
    """
    lowest: Draws = np.empty(0, np.uint64)
    everyone = 0
    for rows in delivered.rows(kind):
        # A customers row that stays carries its person: each is counted once.
        everyone += len(rows.draws)
        # The lowest hashes are the same sample each time, in whatever order rows come.
        lowest = np.unique(np.concatenate([lowest, rows.draws]))[: count + 1]
    if len(lowest) <= count:
        return everybody, 0
    # People of events stand in many rows.
    return drawn_up_to(int(lowest[count - 1])), everyone if kind == "customers" else 0


def first_people(delivered: Delivered, kind: str, count: int) -> Draws:
    """The first people whom a run sends; uint64, at most `count`."""
    found: Draws = np.empty(0, np.uint64)
    for rows in delivered.sendable(kind):
        # In the order in which they are sent, not in that of their hashes.
        _, places = np.unique(both := np.concatenate([found, rows.draws]), return_index=True)
        found = both[np.sort(places)][:count]
        if len(found) == count:
            break
    return found


@dataclass(slots=True)
class Collected:
    """What was delivered and is to be read back, in files.

    Args:
        folder: Where the files are.
        people: How many people the first file has.
        deleted: How many the second has.
        merged: How many of those a merge took away.
        events: How many recent events the third has.
        in_segments: How many older events the fourth has, of names that a segment tells of.
        older: All others that are too old to be read back, by name.
        removed: How many relationships a sync has removed.
        whole: Whether it is all that was delivered.
    """

    folder: Path
    people: int = 0
    deleted: int = 0
    merged: int = 0
    events: int = 0
    in_segments: int = 0
    older: Counter[str] = field(default_factory=Counter)
    removed: int = 0
    whole: bool = False

    @property
    def all_events(self) -> int:
        """How many events were delivered, as far as the sources tell."""
        return self.events + self.in_segments + self.older.total()

    @property
    def files(self) -> Mapping[str, Path]:
        """The files, by what queries call them."""
        names = ("sent_people", "sent_deletions", "sent_events", "sent_older", "sent_remade")
        return {name: self.folder / f"{name}.parquet" for name in names}


def collect(
    delivered: Delivered,
    folder: Path,
    wanted: Wanted,
    since_s: float,
    in_segments: Collection[str] = (),
) -> Collected:
    """Write down what is to be read back.

    Args:
        delivered: What was delivered.
        folder: Where the files are made.
        wanted: Whose rows are wanted.
        since_s: Events before it, as unix seconds, cannot be read back.
        in_segments: Names of events of which older ones are wanted all the same; all others are
            counted only.
    """
    whole = wanted is everybody
    made = Collected(folder, removed=delivered.removed_relationships(), whole=whole)
    files = made.files
    with pq.ParquetWriter(files["sent_people"], PEOPLE, compression="lz4") as file:
        for rows in delivered.rows("customers", wanted):
            file.write_batch(_people(rows))
            made.people += len(rows.draws)
    gone = _collect_gone(made, delivered, wanted)
    told_of = pa.array(list(in_segments), pa.string())
    with (
        pq.ParquetWriter(files["sent_events"], EVENTS, compression="lz4") as recent_file,
        pq.ParquetWriter(files["sent_older"], OLDER, compression="lz4") as older_file,
        pq.ParquetWriter(files["sent_remade"], REMADE, compression="lz4") as remade_file,
    ):
        for rows in delivered.rows("events", wanted):
            if (remade := np.isin(rows.draws, gone)).any():
                some = rows.only(remade)
                remade_file.write_batch(pa.RecordBatch.from_arrays(_persons(some), schema=REMADE))
            at_s = _seconds(rows.accepted)
            recent = at_s >= since_s
            if recent.any():
                some = rows.only(recent)
                recent_file.write_batch(_events(some, at_s[recent]))
                made.events += len(some.draws)
            told = ~recent & as_mask(pc.is_in(rows.accepted.name, value_set=told_of))
            told &= isinstance(rows.source, EventsSource) and rows.source.type == "event"
            if told.any():
                older = _older(rows.only(told))
                older_file.write_batch(older)
                made.in_segments += len(older)
            names: pa.StringArray = rows.accepted.name
            made.older.update(_counted(names.filter(pa.array(~recent & ~told))))
    return made


def _collect_gone(made: Collected, delivered: Delivered, wanted: Wanted) -> Draws:
    """Write down who was merged away or deleted; give the draws of those who were merged away."""
    gone: Draws = np.empty(0, np.uint64)
    with pq.ParquetWriter(made.files["sent_deletions"], DELETED, compression="lz4") as file:
        for kind in ("merges", "deletions"):  # whom a merge takes away is gone, too
            for rows in delivered.rows(kind, wanted):
                file.write_batch(_deleted(rows))
                made.deleted += len(rows.draws)
                if kind == "merges":
                    gone = np.append(gone, rows.draws)
        made.merged = len(gone)
        for batch in delivered.vanished(wanted):
            file.write_batch(batch)
            made.deleted += len(batch)
    return gone


def _persons(rows: SentRows) -> list[pa.Array]:
    accepted, type_ = rows.accepted, rows.source.identifier.type
    count = len(accepted)
    return [
        pa.repeat(type_, count),
        accepted.person,
        identity.person_key(type_, accepted.person),
        pa.array(np.full(count, rows.part, np.int32)),
        pa.array(accepted.rows),
    ]


def _deleted(rows: SentRows) -> pa.RecordBatch:
    merged = pa.repeat(rows.source.kind == "merges", len(rows.draws))
    return pa.RecordBatch.from_arrays([*_persons(rows), merged], schema=DELETED)


def _people(rows: SentRows) -> pa.RecordBatch:
    text = rows.accepted.attributes
    content = identity.hashes(text.cast(pa.binary()).to_pylist())
    halves = [pa.array(content[:, 0]), pa.array(content[:, 1])]
    return pa.RecordBatch.from_arrays([*_persons(rows), text, *halves], schema=PEOPLE)


def _events(rows: SentRows, at_s: npt.NDArray[np.int64]) -> pa.RecordBatch:
    accepted, source = rows.accepted, rows.source
    kind = source.type if isinstance(source, EventsSource) else ""
    columns = [*_persons(rows), accepted.attributes, rows.ids, pa.repeat(kind, len(accepted))]
    columns += [accepted.name, pa.array(at_s), _corrected(rows)]
    return pa.RecordBatch.from_arrays(columns, schema=EVENTS)


def _older(rows: SentRows) -> pa.RecordBatch:
    columns = [*_persons(rows), rows.accepted.name, _corrected(rows)]
    return pa.RecordBatch.from_arrays(columns, schema=OLDER)


def _corrected(rows: SentRows) -> pa.BooleanArray:
    found = np.zeros(len(rows.draws), np.bool_) if rows.corrected is None else rows.corrected
    return pa.array(found)


def _seconds(accepted: Accepted) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = seconds(accepted.micros).to_numpy()
    return found


def _counted(names: pa.StringArray) -> dict[str, int]:
    found = names.value_counts()
    return dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True))
