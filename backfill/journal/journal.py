"""The journal: the durable memory of what is settled, one SQLite file a job.

A commit is one transaction that holds, for each part, the rows that settled, what became of them,
every rejection among them, and the ceiling up to which rows may be dispatched next. Nothing is
acknowledged before it is on the disk, and nothing can be there by halves.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from backfill.errors import BackfillError
from backfill.journal import schema
from backfill.journal.database import Database, Storage, corrupt, storage_for
from backfill.journal.directory import journal_file, prepared
from backfill.journal.lock import JobLock
from backfill.journal.parts import PartState, Ranges, delete_part, load_parts, save_part
from backfill.journal.rejection_pages import RejectionPages
from backfill.journal.schema import Counts, Part, Settlement, Totals
from backfill.rows import Position, Rejection, Rejections, Rows

_DROPPED = "parts_dropped"
_LOST = "commits_lost"


class Journal:
    """What a job has settled, and how.

    What is told to it is visible at once and durable at the next `commit`; what was not
    committed is forgotten by `close` and by a crash. Every method raises `StateError` when the
    disk or the file fails, and from then on all do. Use it from one thread at a time; only
    rejections may be read in another.

    `meta` is a dictionary of small JSON values that belong to the job as a whole (the workspace,
    the pipeline's digest); a commit keeps it as it is at that moment. `runs` is the history of
    calls. `lost_commits` says how many commits are missing that were made before: not 0 if the
    file was restored from an older copy; what they settled will be sent again. It is kept until
    `forget_loss`, for the calls that end before they send must not hide it from those that do.
    """

    def __init__(self, database: Database, lock: JobLock) -> None:
        self.path = database.path
        self._database = database
        self._lock = lock
        self._noted = lock.noted
        self._rejections = RejectionPages(database)
        self._load()
        self.runs = schema.Runs(database)

    def _load(self) -> None:
        database = self._database
        self._kept_meta = dict(database.rows("SELECT * FROM meta"))
        self.meta: dict[str, Any] = {k: json.loads(v) for k, v in self._kept_meta.items()}
        self._totals = schema.totals_of(database.rows("SELECT * FROM total"))
        if (lost := self._noted - self._totals.commits) > self.lost_commits:
            self.meta[_LOST] = lost
        self._states = load_parts(database, dropped=self.meta.get(_DROPPED, 0))
        if self._states and not self._totals.commits:
            raise corrupt(self.path, "its totals are missing")
        self._dirty: set[int] = set()
        self._rejections.forget()
        ((has_corrected,),) = database.figures(schema.HAS_CORRECTED)
        self._has_corrected = bool(has_corrected)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        create: bool = True,
        wait_s: float = 0.0,
        sleep: Callable[[float], None] | None = None,
        storage: Storage | None = None,
    ) -> Self:
        """Lock a job's state directory and open the journal in it.

        Args:
            directory: The job's own directory, `<state-dir>/<name>`.
            create: Begin a new journal where there is none.
            wait_s: How long to wait for another process that runs the job, given a `sleep`.
            sleep: Pauses for so many seconds.
            storage: SQLite's settings; by default those that fit the file system.

        Raises:
            StateError: Another process runs the job; there is no journal and none shall be made;
                the directory or the file cannot be used, is foreign, newer or corrupt.
        """
        directory = prepared(directory, create=create)
        lock = JobLock.take(directory, wait_s=wait_s, sleep=sleep)
        try:
            path = journal_file(directory, create=create)
            database = Database(path, storage or storage_for(directory), schema.FORM)
            try:
                return cls(database, lock)
            except BaseException:
                database.abandon()
                raise
        except BaseException:
            lock.release()
            raise

    @property
    def lost_commits(self) -> int:
        """How many commits are missing that an earlier call made."""
        return int(self.meta.get(_LOST, 0))

    def forget_loss(self) -> None:
        """Say that all rows that lost commits may have settled are settled again."""
        self.meta.pop(_LOST, None)

    # -- parts

    def parts(self) -> list[Part]:
        """The files of the job, by id."""
        return [state.part for state in self._states.values()]

    def add_part(
        self, path: str, *, source: int, size: int, digest: str, rows: int | None = None
    ) -> Part:
        """Take up one more file; its id is the next number."""
        number = len(self._states) + self.meta.get(_DROPPED, 0) + 1
        part = Part(number, path, source, size, digest, rows)
        self._states[part.id] = PartState(part)
        self._dirty.add(part.id)
        save_part(self._database, self._states[part.id])  # at once, since rejections refer to it
        return part

    def update_part(self, part: Part) -> None:
        """Replace what is known of a file: it was renamed, it grew, its rows were counted."""
        self._state(part.id).part = part

    def drop_part(self, part: int) -> None:
        """Forget a file and all that became of its rows; its id is never given again."""
        del self._states[part]
        self._dirty.discard(part)
        self.meta[_DROPPED] = self.meta.get(_DROPPED, 0) + 1
        delete_part(self._database, part)
        self._rejections.forget(part)

    # -- settling

    def settled(self, part: int) -> Ranges:
        """Which rows of a part are settled, committed or not; to be read only."""
        return self._states[part].ranges

    def settle(self, settlement: Settlement) -> None:
        """Take down what became of some rows.

        Raises:
            BackfillError: A row was settled before, or the figures do not add up to the rows:
                a bug of ours. Nothing can be committed from then on.
        """
        state = self._state(settlement.part)
        newly = state.ranges.settle_all(settlement.ranges)
        state.counts.settle(settlement)
        if newly != settlement.rows():
            raise BackfillError(
                f"{state.part.path}: {newly} rows settled, {settlement.rows()} accounted for"
            )
        if settlement.rejections:
            self._keep_rejections(state, Rejections.of(settlement.rejections))

    def commit(self, *, requests: int = 0, attempts: int = 0, bytes_sent: int = 0) -> int:
        """Make all that was told durable, in one transaction; do nothing if there is nothing.

        Args:
            requests: Requests answered for good since the last commit.
            attempts: Tries of them.
            bytes_sent: The bodies of those tries.

        Returns:
            How many commits the job has seen, this one included.

        Raises:
            BackfillError: The counters contradict the settled rows: a bug of ours.
        """
        meta = {key: json.dumps(value, sort_keys=True) for key, value in self.meta.items()}
        spent = requests or attempts or bytes_sent
        self._rejections.save()
        if not (spent or self._dirty or self._database.pending or meta != self._kept_meta):
            return self._totals.commits
        for part in sorted(self._dirty):
            save_part(self._database, self._states[part])
        self._write_meta(meta)
        totals = self._totals
        totals.requests += requests
        totals.attempts += attempts
        totals.bytes_sent += bytes_sent
        totals.commits += 1
        self._database.put(schema.PUT_TOTAL, [schema.total_row(totals)])
        self._database.commit()
        # After the commit: a note that is lost hides a loss, and never invents one.
        self._lock.note(totals.commits)
        for part in self._dirty:
            self._states[part].committed()
        self._dirty.clear()
        self._kept_meta = meta
        return totals.commits

    def image(self) -> bytes:
        """The journal as a file, as of the last commit; to be asked for right behind it."""
        return self._database.image()

    def roll_back(self) -> None:
        """Forget what was told since the last commit, as if the journal were opened anew."""
        self._database.roll_back()
        self._load()

    # -- dispatching and reading on

    def raise_ceiling(self, part: int, row: int) -> None:
        """Ask that rows below `row` may be dispatched; the next commit grants it."""
        state = self._state(part)
        # Never lowered here: rows below it may be under way.
        state.raised = max(state.raised, row)

    def ceiling(self, part: int) -> int:
        """The committed ceiling: rows at or beyond it MUST NOT be dispatched."""
        return self._states[part].ceiling

    def lower_ceilings(self) -> None:
        """Say that nothing is in flight: the next commit leaves no row in doubt."""
        for part, state in self._states.items():
            if state.raised > state.ranges.low_watermark:
                self._state(part).raised = state.ranges.low_watermark

    def in_doubt(self) -> int:
        """How many rows may have been sent without the journal knowing: at open, after a crash.

        At most so many: a ceiling may lie beyond the end of a file whose rows are not counted.
        """
        return sum(state.in_doubt() for state in self._states.values())

    def remember_position(self, part: int, position: Position) -> None:
        """Offer a place where reading can go on, once every row before it is settled."""
        self._state(part).remember(position)

    def position(self, part: int) -> Position | None:
        """The furthest remembered place before which every row is settled, if any."""
        return self._states[part].resume_from()

    # -- rejections

    def rejected(
        self, *, after: tuple[int, int] = (0, 0), cells: bool = True
    ) -> Iterator[tuple[int, Rejections]]:
        """The rejections behind (part, row) with their part's id, in that order, some at a time.

        Args:
            after: The part and the row.
            cells: Whether with their cells; see `Rejections.of_text`.
        """
        return self._rejections.all(*after, cells=cells)

    def rejections(self) -> Iterator[tuple[int, Rejection]]:
        """Every rejection with its part's id, one by one."""
        return ((part, each) for part, some in self.rejected() for each in some)

    def rejection(self, part: int, row: int) -> Rejection | None:
        """The rejection of one row, if it was rejected."""
        return self._rejections.find(part, row)

    def rejections_among(self, part: int, rows: Rows) -> dict[int, Rejection]:
        """The rejections of those rows, int64 (n,), that were rejected, by row."""
        if not self._states[part].counts.rejected:  # as nearly always: nothing to look for
            return {}
        found = ((row, self.rejection(part, row)) for row in rows.tolist())
        return {row: rejection for row, rejection in found if rejection is not None}

    def reject_again(self, part: int, rejection: Rejection) -> None:
        """Replace the rejection of a row that was fixed, but not enough.

        Raises:
            KeyError: The row is not rejected.
        """
        before = self._rejections.replace(part, rejection)
        counts = self._state(part).counts
        counts.withdraw(before)
        counts.reject([rejection])

    def deliver_rejected(
        self, part: int, row: int, *, merged: bool = False, deletes: int = 0
    ) -> None:
        """Count a rejected row as delivered, or as merged, after it was fixed.

        Args:
            part: The part's id.
            row: The row.
            merged: Whether it was sent as part of its person's first row.
            deletes: 1 if it removed or suppressed a person.

        Raises:
            KeyError: The row is not rejected.
        """
        before = self._rejections.remove(part, row)
        counts = self._state(part).counts
        counts.withdraw(before)
        counts.delivered += not merged
        counts.merged += merged
        counts.deletes += deletes
        if not self._has_corrected:
            self._database.run(schema.MAKE_CORRECTED, [()])
            self._has_corrected = True
        self._database.put(schema.ADD_CORRECTED, [(part, row)])

    def corrected(self, part: int, first: int, last: int) -> Rows:
        """The rows from `first` to `last` that were delivered after they were rejected.

        What was sent of them need not be what the source holds. int64, ascending.
        """
        if not self._has_corrected:
            return np.empty(0, np.int64)
        found = self._database.rows(schema.CORRECTED, (part, first, last))
        return np.array([row for _, row in found], np.int64)

    # -- accounts

    def counts(self) -> dict[int, Counts]:
        """What became of the settled rows, by source."""
        sources: dict[int, Counts] = {}
        for state in self._states.values():
            sources.setdefault(state.part.source, Counts()).add(state.counts)
        return sources

    def totals(self) -> Totals:
        """What the job has cost, as of the last commit."""
        return replace(self._totals)

    def check_law(self, rows_read: Mapping[int, int]) -> int:
        """Hold the counters against the settled rows, and both against what was read.

        Args:
            rows_read: For each part that was read, how many rows were, by the run that came
                furthest.

        Returns:
            How many of those rows are pending.

        Raises:
            BackfillError: They contradict each other; the message names the numbers.
        """
        kept = self._rejections.counts()
        pending = 0
        for part, state in self._states.items():
            state.check_balance()
            if kept.get(part, 0) != state.counts.rejected:
                raise BackfillError(
                    f"{state.part.path}: {state.counts.rejected} rows rejected,"
                    f" {kept.get(part, 0)} rejections kept"
                )
        for part, rows in rows_read.items():
            state = self._states[part]
            if (settled := state.ranges.settled_below(rows + 1)) != state.counts.rows():
                raise BackfillError(
                    f"{state.part.path}: {rows} rows read, {settled} of them settled,"
                    f" {state.counts.rows()} accounted for"
                )
            pending += rows - settled
        return pending

    def close(self) -> None:
        """Forget what was not committed, and let the next process in; harmless when repeated."""
        try:
            self._database.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _state(self, part: int) -> PartState:
        """A part's state, about to change."""
        self._dirty.add(part)
        return self._states[part]

    def _keep_rejections(self, state: PartState, rejections: Rejections) -> None:
        if not state.ranges.contains(rejections.rows).all():
            raise BackfillError(f"{state.part.path}: a rejected row is not among the settled ones")
        self._rejections.add(state.part.id, rejections)

    def _write_meta(self, meta: dict[str, str]) -> None:
        kept = self._kept_meta
        self._database.run(schema.DELETE_META, [(key,) for key in kept.keys() - meta.keys()])
        self._database.put(
            schema.PUT_META, [(key, meta[key]) for key in meta if kept.get(key) != meta[key]]
        )


class CommitClock:
    """Says that a commit is due: after some time, or after some operations.

    Every 250 ms costs 4 % of a thread even where a commit takes 10 ms; what a crash repeats is
    what was in flight plus what settled in that time.

    Args:
        now_s: The time of the last commit, on any monotonic clock.
        interval_s: Commit at least this often, if there is anything to commit.
        operations_max: Commit when this many operations have settled.
    """

    def __init__(
        self, now_s: float, *, interval_s: float = 0.25, operations_max: int = 5_000
    ) -> None:
        self._last_s = now_s
        self._interval_s = interval_s
        self._operations_max = operations_max

    def due(self, now_s: float, operations: int) -> bool:
        """Whether to commit now that so many operations have settled since the last commit."""
        waited = now_s - self._last_s >= self._interval_s
        return operations >= self._operations_max or (operations > 0 and waited)

    def committed(self, now_s: float) -> None:
        """Start counting anew."""
        self._last_s = now_s
