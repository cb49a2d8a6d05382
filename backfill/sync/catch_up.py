"""Keeps the snapshot in step with the journal, across any number of crashes.

    begin       a plan's people are on the disk, and the journal says so: now they may be told
    catch_up    what became of them, as the journal has it, goes into the snapshot

The journal commits first. Whoever was to be told something and is not settled is in doubt, as far
as rows may have been sent (the journal's dispatch ceilings): such people are sent again whatever
the snapshot said. It is brought up to date in one transaction, and as often as need be.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.json_text import Mask, as_mask
from backfill.job import PLANS_FOLDER, Job, check_plan
from backfill.journal import Journal, Ranges
from backfill.pipeline.file import Pipeline
from backfill.planning import people
from backfill.planning.folder import PlanFolder
from backfill.planning.people import PEOPLE_FILE
from backfill.planning.plan import Plan, inputs_key
from backfill.rows import Rows, reasons_to_json
from backfill.sources.inputs import UnusedMemory
from backfill.sync.snapshot import (
    BATCH_ROWS,
    OUTCOMES,
    SNAPSHOT_FILE,
    Snapshot,
    connected,
    see,
)

if TYPE_CHECKING:  # DuckDB loads slowly, and where nobody has to be remembered it is not needed
    from duckdb import DuckDBPyConnection

CHANGED_FILE = "changed.parquet"

_DISPATCHING, _REMEMBERED, _STEP = "dispatching", "remembered", "snapshot"
_DOUBTED = "snapshot_doubted"
_OUTCOMES_FILE = ".outcomes.parquet"


_TYPES = "SELECT DISTINCT type FROM person WHERE type <> 'event'"
_TOLD = """
SELECT identifier FROM person WHERE type = ? AND (high IS NOT NULL OR refused_high IS NULL)
"""

CARRIERS = """carriers AS
    SELECT people.type, people.identifier, people.part, people.row,
        CASE WHEN known.type IS NULL THEN coalesce(merged.high, people.high) END AS high,
        CASE WHEN known.type IS NULL THEN coalesce(merged.low, people.low) END AS low,
        coalesce(latest.moved, people.moved) AS moved
    FROM people LEFT JOIN merged USING (part, row)
    LEFT JOIN (
        SELECT type, identifier, max(moved) AS moved
        FROM people
        SEMI JOIN (SELECT part, row FROM merged UNION ALL FROM left_out) USING (part, row)
        GROUP BY type, identifier
    ) AS latest ON latest.type = people.type AND latest.identifier = people.identifier
    LEFT JOIN (SELECT DISTINCT type, identifier FROM people WHERE settled) AS known
        ON known.type = people.type AND known.identifier = people.identifier
    WHERE NOT people.settled AND NOT EXISTS (
        FROM left_out WHERE left_out.part = people.part AND left_out.row = people.row
    )
"""
"""The people of a plan: the row that carries each, and what all its person's rows say. Where some
of them were settled before the plan, the others say only a part: then nobody knows it all."""


def begin(job: Job, plan: Plan, *, diff: bool) -> None:
    """Say durably, before anything is sent, whose people may be told something from now on.

    Args:
        job: The job.
        plan: The plan that it goes by.
        diff: Only those are sent who differ from the snapshot.
    """
    meta = job.journal.meta
    if not _concerns(job.pipeline) or (not diff and meta.get(_REMEMBERED) == plan.key):
        return
    begun = meta.get(_DISPATCHING, {})
    if (begun.get("plan"), begun.get("diff")) == (plan.key, diff):
        return
    catch_up(job.journal, job.pipeline, job.folder)
    before = {
        part: [each.low_watermark, list(each.above())] for part, each in job.settled().items()
    }
    run = _last_run(job.journal)
    meta[_DISPATCHING] = {"plan": plan.key, "diff": diff, "before": before, "run": run}
    job.journal.commit()


def before_another_plan(job: Job) -> None:
    """Catch up with an unfinished plan while its files are there, if it will be replaced.

    Raises:
        StateError: Its files are damaged.
    """
    check_plan(job)
    if job.journal.meta.get("plan_for") != inputs_key(job.pipeline, job.inputs):
        catch_up(job.journal, job.pipeline, job.folder)


def is_unfinished(journal: Journal, *, diff: bool) -> bool:
    """Whether a plan was begun, and its people are not in the snapshot yet."""
    begun = journal.meta.get(_DISPATCHING)
    return begun is not None and begun["diff"] == diff


def catch_up(journal: Journal, pipeline: Pipeline, folder: Path, *, done: bool = False) -> None:
    """Bring into the snapshot what became of the people of the plan that was begun last.

    Args:
        journal: What became of each row.
        pipeline: The settings.
        folder: The job's state directory.
        done: The plan was carried out to its end.

    Raises:
        StateError: The snapshot cannot be used.
    """
    begun = journal.meta.get(_DISPATCHING)
    if begun is None:
        return
    plan = folder / PLANS_FOLDER / str(begun["plan"])
    UnusedMemory(from_bytes=0).give_back()  # of the sender's; the database takes its own
    with open_snapshot(journal, folder) as snapshot:
        if not (plan / PEOPLE_FILE).exists():
            snapshot.doubt_everybody()
        else:
            outcomes = plan / _OUTCOMES_FILE
            _Outcomes(journal, pipeline, folder, begun["before"]).write(
                plan, outcomes, diff=begun["diff"]
            )
            last = _last_run(journal)
            snapshot.update(outcomes, journal.totals().commits, (begun.get("run", last), last))
            outcomes.unlink()
        journal.meta[_STEP] = snapshot.number
    del journal.meta[_DISPATCHING]
    if done:
        journal.meta.pop(_DOUBTED, None)
    journal.meta[_REMEMBERED] = begun["plan"] if done and not begun["diff"] else None
    journal.commit()


def _last_run(journal: Journal) -> int:
    """The number of the run that began last."""
    return next((each.id for each in reversed(journal.runs.all())), 0)


@contextmanager
def open_snapshot(journal: Journal, folder: Path) -> Iterator[Snapshot]:
    """Open a job's snapshot; where it is not in step with the journal everybody is in doubt.

    A later one than the journal speaks of is believed while a plan is unfinished: the program was
    killed between the two commits.
    """
    with Snapshot(folder) as snapshot:
        known = journal.meta.get(_STEP)
        ahead = _DISPATCHING in journal.meta and (snapshot.number or 0) > (known or 0)
        if journal.lost_commits or not (snapshot.number == known or ahead):
            snapshot.doubt_everybody()
            journal.meta[_STEP] = snapshot.number
            journal.meta[_DOUBTED] = True
        yield snapshot


def notes(journal: Journal) -> list[str]:
    """What people should know before a sync by a snapshot that was not believed."""
    if not journal.meta.get(_DOUBTED):
        return []
    note = (
        f"{SNAPSHOT_FILE} or the journal is not as the last run left it (removed, or restored from"
        " a backup): everyone is sent once more, and people who are not in it are not noticed when"
        " they leave the export"
    )
    return [note]


def known_people(journal: Journal, folder: Path) -> Iterator[tuple[str, pa.StringArray]]:
    """Whom the workspace may have been told of, with the type of their identifiers, some by some.

    Raises:
        StateError: The snapshot cannot be used.
    """
    with open_snapshot(journal, folder) as snapshot:
        for (type_,) in snapshot.run(_TYPES):
            for batch in snapshot.batches(_TOLD, [type_]):
                yield type_, batch.column(0)


class _Refused:
    """Why rows were refused: 12 bytes for each, since half of ten million rows may be.

    Args:
        journal: What became of each row.
        parts: The parts to look at.
    """

    def __init__(self, journal: Journal, parts: Iterable[int]) -> None:
        self._places: dict[int, tuple[Rows, npt.NDArray[np.int32]]] = {}
        texts: dict[str, int] = {}  # rows are refused for few reasons
        for part in parts:
            rows, why = [], []
            for at, some in journal.rejected(after=(part, 0), cells=False):
                if at != part:
                    break
                known = [texts.setdefault(reasons_to_json(way), len(texts)) for way in some.ways]
                rows.append(some.rows)
                why.append(np.array(known, np.int32)[some.way_of])
            if rows:
                self._places[part] = np.concatenate(rows), np.concatenate(why)
        self._texts = pa.array(list(texts), pa.string())

    def reasons(self, parts: npt.NDArray[np.int32], rows: Rows) -> pa.StringArray:
        """The reasons of each of n rows as JSON, null where it was not refused.

        Args:
            parts: The part of each, int32 (n,).
            rows: Its number, int64 (n,).
        """
        found = np.full(len(rows), -1, np.int32)
        for part, (refused, why) in self._places.items():
            at = np.minimum(np.searchsorted(refused, rows), len(refused) - 1)
            here = (parts == part) & (refused[at] == rows)
            found[here] = why[at[here]]
        return self._texts.take(pa.array(found, mask=found < 0))


class _Outcomes:
    """What became of people, as the journal has it.

    Args:
        journal: What became of each row.
        pipeline: Its settings.
        folder: The job's state directory.
        before: The rows that were settled when the plan was begun, by part. What became of them
            stands in the snapshot, and a retry may have told their people something else since.
    """

    def __init__(
        self, journal: Journal, pipeline: Pipeline, folder: Path, before: Mapping[str, Any]
    ) -> None:
        self._journal = journal
        self._before = {int(part): Ranges(low, above) for part, (low, above) in before.items()}
        self._folder = folder
        self._made = [part for part in journal.parts() if part.source >= len(pipeline.sources)]
        self._refused = _Refused(
            journal,
            [
                part.id
                for part in journal.parts()
                if part in self._made or people.is_remembered(pipeline.sources[part.source])
            ],
        )

    def write(self, plan: Path, path: Path, *, diff: bool) -> None:
        """Write down what became of all people whom a plan concerns."""
        import pyarrow.parquet as pq  # noqa: PLC0415  # see `people.PeopleFiles`

        with (
            connected(temp_directory=str(plan / "scratch")) as plans,
            pq.ParquetWriter(path, OUTCOMES, compression="lz4") as outcomes,
        ):
            see(plans, people.files(plan), CARRIERS)
            if diff:
                see(plans, {"changed": PlanFolder(plan).diff / CHANGED_FILE})
            for batch in _batches(plans, "FROM changed" if diff else "FROM carriers"):
                outcomes.write_batch(self._told(batch))
            for batch in _batches(plans, "FROM deleted"):
                outcomes.write_batch(self._deleted(batch))
            for part in self._made:
                see(plans, {"vanished": self._folder / part.path})
                for batch in _batches(plans, "FROM vanished"):
                    at = pa.repeat(pa.scalar(part.id, pa.int32()), len(batch))
                    outcomes.write_batch(self._deleted(batch.append_column("part", at)))

    def _told(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        settled, may_be_sent = self._standing(batch)
        reasons = self._reasons(batch, settled)
        refused = as_mask(pc.is_valid(reasons))
        outcome = np.where(refused, "refused", np.where(settled, "delivered", "doubt"))
        return _outcomes(batch, settled | may_be_sent, outcome, reasons)

    def _deleted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A deletion that the API refused changed nothing."""
        settled, may_be_sent = self._standing(batch)
        reasons = self._reasons(batch, settled)
        refused = as_mask(pc.is_valid(reasons))
        outcome = np.where(settled, "deleted", "undecided")
        return _outcomes(batch, (settled & ~refused) | may_be_sent, outcome, reasons)

    def _reasons(self, batch: pa.RecordBatch, settled: Mask) -> pa.StringArray:
        """Why the API refused what rows say; null where it did not."""
        parts, rows = (batch.column(name).to_numpy() for name in ("part", "row"))
        return pc.if_else(pa.array(settled), self._refused.reasons(parts, rows), None)

    def _standing(self, batch: pa.RecordBatch) -> tuple[Mask, Mask]:
        """Which rows were settled since, and which others may have been sent all the same."""
        parts, rows = (batch.column(name).to_numpy() for name in ("part", "row"))
        settled, below = np.zeros((2, len(rows)), np.bool_)
        for part in np.unique(parts).tolist():
            here = parts == part
            settled[here] = self._journal.settled(part).contains(rows[here])
            below[here] = rows[here] < self._journal.ceiling(part)
        below &= ~settled
        for part, before in self._before.items():
            settled[parts == part] &= ~before.contains(rows[parts == part])
        return settled, below


def _batches(plans: "DuckDBPyConnection", query: str) -> Iterator[pa.RecordBatch]:
    return iter(plans.sql(query).to_arrow_reader(BATCH_ROWS))


def _outcomes(
    batch: pa.RecordBatch, wanted: Mask, outcome: npt.NDArray[np.str_], reasons: pa.StringArray
) -> pa.RecordBatch:
    nothing = pa.nulls(len(batch), pa.uint64())
    names = batch.schema.names
    high, low = (batch.column(each) if each in names else nothing for each in ("high", "low"))
    columns = [batch.column("type"), batch.column("identifier"), high, low, pa.array(outcome)]
    moved = batch.column("moved") if "moved" in names else pa.nulls(len(batch), pa.int64())
    made = pa.RecordBatch.from_arrays([*columns, reasons, moved], schema=OUTCOMES)
    return made.filter(pa.array(wanted))


def _concerns(pipeline: Pipeline) -> bool:
    return any(not each.removes and people.is_remembered(each) for each in pipeline.sources)
