"""A manual segment that holds the people of an import, filled before the first event.

Campaigns can leave it out (`[import] segment`). The Track API adds a thousand people a request, by
one type of identifier, and only people who exist (v1, `/segments/{id}/add_customers`; v2 has no
such operation). To add somebody twice changes nothing, so that a crash costs no more than requests.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backfill.delivery.outcome import Outcome
from backfill.encoding.json_text import Mask
from backfill.errors import UsageError
from backfill.job import Job
from backfill.journal import Journal
from backfill.operations.batches import IDS_MAX, Batch, Packer
from backfill.operations.encode import Operations
from backfill.planning.people import PEOPLE_FILE
from backfill.planning.plan import Plan

_JOINING = "segment_joining"
"""In the journal's meta: people whom a retry is about to send, by the type of their identifier. The
plan may know nothing of them; who is not delivered is not there to be added."""

AT_ONCE = 8
"""So many requests are answered before it is noted that they were."""

_META = "segment"
_TYPES = ("id", "email", "cio_id")
_ROWS = 65_536


@dataclass(slots=True)
class _Progress:
    """How far a segment is filled.

    Args:
        rows: So many rows of the plan's people were looked at.
        rejected: So many of them were left out, since they were rejected.
        waits: Whether a row was not settled yet: what follows it will be looked at again.
    """

    rows: int = 0
    rejected: int = 0
    waits: bool = False


def join_later(job: Job, people: Iterable[tuple[str, pa.StringArray]]) -> None:
    """Note durably who joins the segment once a retry has sent them, where the import has one.

    Args:
        job: The job.
        people: They, with the type of their identifiers; not read where there is no segment.
    """
    if job.pipeline.import_.segment is None:
        return
    joining = {type_: set(ids) for type_, ids in job.journal.meta.get(_JOINING, {}).items()}
    for type_, ids in people:
        joining.setdefault(type_, set()).update(ids.drop_null().to_pylist())
    job.journal.meta[_JOINING] = {type_: sorted(ids) for type_, ids in joining.items()}
    job.journal.commit()


class ImportSegment:
    """Puts the people of a job's customers sources into a manual segment.

    Args:
        job: The job; its journal remembers how far it is.
        plan: What says who the people are.
        number: The segment.
    """

    def __init__(self, job: Job, plan: Plan, number: int) -> None:
        self._journal: Journal = job.journal
        self._people = job.plan_folder(plan.key).path / PEOPLE_FILE
        self._number = number
        self._for = {"number": number, "plan": plan.key}
        self._progress = _Progress()

    def requests(self) -> Iterator[list[Batch]]:
        """What is sent, some at a time; all of it was answered once the next is asked for."""
        known = self._journal.meta.get(_META, {})
        done = known["rows"] if known.items() >= self._for.items() else 0
        if done and self._rejected(done) != known["rejected"]:
            done = 0  # rows that were rejected then have been delivered since
        waiting: list[Batch] = []
        for type_, ids in self._delivered(done):
            waiting.append(self._request(type_, ids))
            if len(waiting) == AT_ONCE:
                yield waiting
                waiting = []
        if waiting:
            yield waiting
        self._note()
        joining = self._journal.meta.get(_JOINING, {})
        for type_, ids in joining.items():
            for at in range(0, len(ids), IDS_MAX):
                yield [self._request(type_, ids[at : at + IDS_MAX])]
        if joining:
            del self._journal.meta[_JOINING]

    def check(self, outcomes: Iterable[Outcome | None]) -> None:
        """Take the answers to some requests.

        Raises:
            UsageError: The segment cannot be filled.
        """
        for refusal in (each.refusals[0] for each in outcomes if each and each.refusals):
            said = refusal.message or "it does not say why"
            raise UsageError(
                f"the service did not put people into segment {self._number}: {said}; no event was"
                " sent",
                next_step="name a manual segment of this workspace in [import], then run the same"
                " command again",
            )

    def _request(self, type_: str, ids: list[str]) -> Batch:
        path = f"/api/v1/segments/{self._number}/add_customers?id_type={type_}"
        body = orjson.dumps({"ids": ids}).decode() + ","
        column, paths = pa.array([body], pa.string()), pa.array([path], pa.string())
        (batch,) = Packer().add(Operations(np.zeros(1, np.int64), column, paths))
        return batch

    def _note(self) -> None:
        """Remember what need not be looked at again; rows that wait will be."""
        if not self._progress.waits:
            rows, rejected = self._progress.rows, self._progress.rejected
            self._journal.meta[_META] = {**self._for, "rows": rows, "rejected": rejected}

    def _delivered(self, done: int) -> Iterator[tuple[str, list[str]]]:
        """The people who were delivered, at most IDS_MAX of one type at a time."""
        self._progress = _Progress()
        for batch in self._batches():
            self._progress.rows += batch.num_rows
            delivered = self._are_delivered(batch)
            if self._progress.rows <= done:
                continue
            for type_ in _TYPES:
                here = pc.and_(pc.equal(batch.column("type"), type_), pa.array(delivered))
                ids = pc.unique(batch.column("identifier").filter(here)).to_pylist()
                for at in range(0, len(ids), IDS_MAX):
                    yield type_, ids[at : at + IDS_MAX]

    def _rejected(self, rows: int) -> int:
        """How many of the first rows are rejected now."""
        self._progress = _Progress()
        for batch in self._batches():
            self._progress.rows += batch.num_rows
            self._are_delivered(batch)
            if self._progress.rows >= rows:
                break
        return self._progress.rejected

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self._people) as file:
            columns = ["type", "identifier", "part", "row"]
            yield from file.iter_batches(batch_size=_ROWS, columns=columns)

    def _are_delivered(self, batch: pa.RecordBatch) -> Mask:
        """Which of n people are in the workspace, as far as the journal knows; bool (n,)."""
        parts, rows = (batch.column(name).to_numpy() for name in ("part", "row"))
        are_people = np.isin(batch.column("type").to_pylist(), _TYPES)
        found = np.zeros(batch.num_rows, np.bool_)
        for part in np.unique(parts[are_people]).tolist():
            here = np.flatnonzero(are_people & (parts == part))
            settled = self._journal.settled(part).contains(rows[here])
            rejected = np.isin(rows[here], self._rejected_in(part, int(rows[here].max())))
            self._progress.waits |= not settled.all()
            self._progress.rejected += int(rejected.sum())
            found[here] = settled & ~rejected
        return found

    def _rejected_in(self, part: int, last: int) -> list[int]:
        """The rejected rows of a part, up to the last one that is asked for."""
        found = []
        for other, some in self._journal.rejected(after=(part, 0)):
            if other != part or some.rows[0] > last:
                break
            found += some.rows.tolist()
        return found
