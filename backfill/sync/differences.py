"""Tonight's people against the snapshot: who is new, changed, as before, or gone."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from backfill.encoding.json_text import Mask
from backfill.files import write_atomically
from backfill.job import Job
from backfill.operations.subjects import kind_of_type, removal_columns
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import KINDS
from backfill.planning import people
from backfill.planning.folder import PlanFolder
from backfill.planning.plan import Plan
from backfill.planning.rejection_log import read_rejections
from backfill.planning.row_decisions import RowTable
from backfill.report.wording import counted_of
from backfill.rows import Reason, Rows, reasons_from_json
from backfill.sync.catch_up import CARRIERS, CHANGED_FILE, open_snapshot
from backfill.sync.snapshot import BATCH_ROWS, Snapshot

ROWS_FOLDER = "rows"
REFUSED_FILE = "refused.parquet"
_FIGURES_FILE = "figures.json"

# Nobody is `unchanged` while it is in doubt what they were told: null equals nothing. A row that
# says it changed in the future may change again without saying so: it always counts as changed. Of
# events that are known by their ids it counts that they were delivered, not what they say.
_DIFFERING = """
CREATE OR REPLACE TEMP TABLE differing AS
SELECT coalesce(tonight.type, person.type) AS type,
    coalesce(tonight.identifier, person.identifier) AS identifier,
    tonight.part, tonight.row, tonight.high, tonight.low, tonight.moved, person.reasons,
    CASE
        WHEN tonight.row IS NULL THEN 'missing'
        WHEN tonight.high = refused_high AND tonight.low = refused_low THEN 'refused'
        WHEN person.type IS NULL THEN 'new'
        WHEN tonight.moved > tonight.until THEN 'changed'
        WHEN person.high = tonight.high AND person.low = tonight.low THEN 'unchanged'
        WHEN tonight.by_id AND person.high IS NOT NULL THEN 'unchanged'
        ELSE 'changed'
    END AS status
FROM (FROM carriers LEFT JOIN compared_part USING (part)) AS tonight
FULL OUTER JOIN person ON person.type = tonight.type AND person.identifier = tonight.identifier
WHERE CASE
    WHEN tonight.row IS NULL THEN person.type <> 'event'
    WHEN tonight.by_id THEN person.high IS NULL
    WHEN tonight.moved < tonight.since
        THEN coalesce(tonight.high = refused_high AND tonight.low = refused_low, false)
    WHEN tonight.until IS NOT NULL THEN true
    ELSE NOT coalesce(person.high = tonight.high AND person.low = tonight.low, false)
END
"""
_VANISHED = """
UPDATE differing SET status = 'vanished'
WHERE status = 'missing' AND type <> 'event' AND NOT EXISTS (
    FROM (
        FROM named
        UNION ALL
        SELECT people.type, people.identifier FROM people SEMI JOIN left_out USING (part, row)
    ) AS there
    WHERE there.type = differing.type AND there.identifier = differing.identifier
)
"""

_VANISHED_OF_TYPE = """
SELECT type, identifier FROM differing WHERE status = 'vanished' AND type = ? ORDER BY identifier
"""
_CHANGED = """
SELECT type, identifier, part, row, high, low, moved FROM differing
WHERE status IN ('new', 'changed')
"""
_STATUSES = "SELECT type, status, count(*) FROM differing WHERE type <> 'event' GROUP BY ALL"
_KNOWN = "SELECT type, count(*) FROM person WHERE type <> 'event' GROUP BY ALL"
_EVENTS = "SELECT count(*) FROM differing WHERE type = 'event' AND status IN ('new', 'changed')"
_UNCHANGED = "SELECT part, row FROM differing WHERE status = 'unchanged'"
_REFUSED = "SELECT part, row, reasons FROM differing WHERE status = 'refused'"

_PARTS = """
CREATE OR REPLACE TEMP TABLE compared_part
    (part INTEGER, since BIGINT, until BIGINT, by_id BOOLEAN)
"""
_FORGET = "DELETE FROM person WHERE moved < ? AND refused_high IS NULL"
_UNCHANGED_FILE = "unchanged.parquet"


class RowChange(IntEnum):
    """What a sync knows of a row; it looks at no other row. The smaller one counts."""

    CHANGED = 1  # new, or other than what was delivered
    REFUSED_BEFORE = 2  # as it was when the API refused it
    UNCHANGED = 3  # within the cursor's window, and delivered before
    REJECTED = 4  # for what it is, and to be listed again


_CHANGE_FILES = {
    RowChange.CHANGED: CHANGED_FILE,
    RowChange.REFUSED_BEFORE: REFUSED_FILE,
    RowChange.UNCHANGED: _UNCHANGED_FILE,
}
LEDGER_US = 2 * 86_400_000_000
"""What a cursor has read is remembered so much longer than its window looks back."""


@dataclass(frozen=True, slots=True)
class KindDifferences:
    """How the people, objects or relationships of tonight differ from what was delivered.

    Args:
        known: How many of them the snapshot holds.
        statuses: How many are new, changed, refused (with what was refused before), vanished,
            missing (not among tonight's good rows, and not vanished either).
        deletes: How many of those that vanished are to be deleted.
    """

    known: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    deletes: int = 0

    @property
    def vanished(self) -> int:
        """How many were delivered before and are named by no row tonight."""
        return self.statuses.get("vanished", 0)

    @property
    def new(self) -> int:
        """How many the service was never told of."""
        return self.statuses.get("new", 0)

    @property
    def sent(self) -> int:
        """How many are new, or other than they were delivered."""
        return self.new + self.statuses.get("changed", 0)

    @property
    def as_before(self) -> int:
        """How many are as they were delivered, or lie before a cursor's window."""
        others = ("changed", "refused", "vanished", "missing")
        return self.known - sum(self.statuses.get(each, 0) for each in others)

    def text(self, kind: str) -> str:
        """The difference in a line."""
        changed, refused = (self.statuses.get(each, 0) for each in ("changed", "refused"))
        text = f"{self.new:,} new, {changed:,} changed, {self.as_before:,} unchanged"
        again = f", {refused:,} refused before" if refused else ""
        deleted = f" ({self.deletes:,} to be deleted)" if self.deletes else ""
        line = f"{text}{again}, {counted_of(kind, self.vanished)} vanished{deleted}"
        return line if kind == "customers" else f"{kind}: {line}"


@dataclass(frozen=True, slots=True)
class Differences:
    """How tonight differs from what was delivered.

    Args:
        kinds: How each kind of profiles does, in the order of sending.
        vanished_files: What vanished, by its type.
        events: How many events are to be sent, of those that are compared with what was delivered.
    """

    kinds: Mapping[str, KindDifferences]
    vanished_files: Mapping[str, str] = field(default_factory=dict)
    events: int = 0

    def of(self, kind: str) -> KindDifferences:
        """How one kind differs."""
        return self.kinds.get(kind, KindDifferences())

    @property
    def deletes(self) -> int:
        """How many people and relationships are to be deleted because they vanished."""
        return sum(each.deletes for each in self.kinds.values())


def compare(job: Job, plan: Plan, windows: Mapping[int, int | None]) -> Differences:
    """Compare a plan's people with the snapshot; what comes out stays in the plan's folder.

    Args:
        job: The job.
        plan: Tonight's plan.
        windows: Since when rows count, for the parts that a cursor reads: unix microseconds, or
            None for all of them.

    Raises:
        StateError: The snapshot cannot be used.
    """
    folder = job.plan_folder(plan.key)
    made = folder.diff
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700)
    with open_snapshot(job.journal, job.folder) as snapshot:
        snapshot.see(people.files(folder.path), CARRIERS)
        _open_windows(snapshot, windows, plan.now_s)
        for part in _compared_by_id(job):
            snapshot.run("INSERT INTO compared_part VALUES (?, NULL, NULL, true)", [part])
        snapshot.run(_DIFFERING)
        snapshot.run(_VANISHED)
        found = Differences(
            _by_kind(job.pipeline, snapshot),
            vanished_files=_write_vanished(snapshot, made),
            events=snapshot.run(_EVENTS)[0][0],
        )
        _write_changed(snapshot, folder)
    write_atomically(made / _FIGURES_FILE, orjson.dumps(found))
    return found


def load_differences(job: Job, plan: Plan) -> Differences:
    """What `compare` found for a plan before."""
    path = job.plan_folder(plan.key).diff / _FIGURES_FILE
    return TypeAdapter(Differences).validate_json(path.read_bytes())


def _by_kind(pipeline: Pipeline, snapshot: Snapshot) -> Mapping[str, KindDifferences]:
    """How each kind differs that the pipeline has, or that was delivered before."""
    known: Counter[str] = Counter()
    statuses: dict[str, Counter[str]] = {}
    for type_, count in snapshot.run(_KNOWN):
        known[kind_of_type(type_)] += count
    for type_, status, count in snapshot.run(_STATUSES):
        statuses.setdefault(kind_of_type(type_), Counter())[status] += count
    there = {each.kind for each in pipeline.sources if each.is_profile} | {*known}
    return {
        kind: KindDifferences(known[kind], dict(statuses.get(kind, {})))
        for kind in KINDS
        if kind in there
    }


def _compared_by_id(job: Job) -> Iterator[int]:
    """The parts with events of which those are sent whose id was not delivered."""
    for each in job.inputs:
        source = job.pipeline.sources[each.source]
        if source.kind == "events" and source.sync_mode == "diff":
            yield each.part


def _open_windows(snapshot: Snapshot, windows: Mapping[int, int | None], now_s: float) -> None:
    """Let the comparison see the cursors' windows; forget what no window will hold again."""
    snapshot.run(_PARTS)
    for part, since in windows.items():
        until = int(now_s * 1_000_000)
        snapshot.run("INSERT INTO compared_part VALUES (?, ?, ?, false)", [part, since, until])
    known = [since for since in windows.values() if since is not None]
    if known and len(known) == len(windows):
        snapshot.run(_FORGET, [min(known) - LEDGER_US])


def _write_vanished(snapshot: Snapshot, made: Path) -> dict[str, str]:
    """Whatever vanished as rows of a file, one for each type of it."""
    written: dict[str, str] = {}
    for (type_,) in snapshot.run("SELECT DISTINCT type FROM differing WHERE status = 'vanished'"):
        written[type_] = f"vanished-{type_.replace(' ', '-')}.parquet"
        first = 1
        texts = ["type", "identifier", *removal_columns(type_, pa.array([], pa.string()))]
        schema = pa.schema([*((each, pa.string()) for each in texts), ("row", pa.int64())])
        with pq.ParquetWriter(made / written[type_], schema) as file:
            for batch in snapshot.batches(_VANISHED_OF_TYPE, [type_]):
                rows = pa.array(np.arange(first, first + len(batch)))
                parts = removal_columns(type_, batch.column("identifier")).values()
                columns = [*batch.columns, *parts, rows]
                file.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
                first += len(batch)
    return written


def _write_changed(snapshot: Snapshot, folder: PlanFolder) -> None:
    """Whoever is sent: for the send pass by row, for the snapshot's update by person.

    The rejected rows are marked as well: of all others the send pass need not look at any.
    """
    made = folder.diff
    changes = RowTable(made / ROWS_FOLDER)
    snapshot.copy(_CHANGED, made / CHANGED_FILE)
    snapshot.copy(_REFUSED, made / REFUSED_FILE)
    snapshot.copy(_UNCHANGED, made / _UNCHANGED_FILE)
    for kind, name in _CHANGE_FILES.items():
        for batch in pq.ParquetFile(made / name).iter_batches(BATCH_ROWS, columns=["part", "row"]):
            parts, rows = (column.to_numpy() for column in batch.columns)
            changes.add(kind, parts, rows)
    for part, some in read_rejections(folder.rejections[0]):
        changes.add(RowChange.REJECTED, np.full(len(some), part, np.int32), some.rows)
    changes.flush()


class Changes:
    """What has changed in some parts.

    Args:
        folder: Where the comparison was left.
        parts: The parts that were compared, with the reason why all their other rows are skipped.
    """

    def __init__(self, folder: Path, parts: Mapping[int, str]) -> None:
        self._folder = folder
        self._parts = parts
        self._rows = RowTable(folder / ROWS_FOLDER)

    def concern(self, part: int) -> bool:
        """Whether rows of this part were compared."""
        return part in self._parts

    def noted(self, part: int, rows: Rows) -> Mask:
        """Of which of n rows, int64 (n,), ascending, anything was noted; bool (n,).

        All others are skipped.
        """
        known = self._rows.of(part, rows)
        return np.zeros(len(rows), np.bool_) if known is None else known["kind"] > 0

    def of(self, parts: npt.NDArray[np.int32], rows: Rows) -> npt.NDArray[np.uint8]:
        """What is known of n accepted rows.

        Args:
            parts: The part of each, int32 (n,).
            rows: The number of each, int64 (n,), in any order.

        Returns:
            A RowChange for each, uint8 (n,); 0: nothing was noted.
        """
        kinds = np.zeros(len(rows), np.uint8)
        for part in np.unique(parts).tolist():
            here = parts == part
            distinct, places = np.unique(rows[here], return_inverse=True)
            known = self._rows.of(part, distinct)
            if known is not None:
                kinds[here] = known["kind"][places]
        return kinds

    def why_skipped(self, part: int) -> str:
        """Why the rows of a part are skipped of which nothing was noted."""
        return self._parts[part]

    def why_refused(self, part: int, row: int) -> tuple[Reason, ...]:
        """Why the API refused before what this row says again."""
        return reasons_from_json(self._refused[part, row])

    @cached_property
    def _refused(self) -> Mapping[tuple[int, int], str]:
        columns = pq.read_table(self._folder / REFUSED_FILE).to_pydict()
        places = zip(columns["part"], columns["row"], strict=True)
        return dict(zip(places, columns["reasons"], strict=True))


def changes_of(job: Job, plan: Plan, parts: Mapping[int, str]) -> Changes:
    """Which rows of the compared parts are sent, and why all others are skipped."""
    return Changes(job.plan_folder(plan.key).diff, parts)
