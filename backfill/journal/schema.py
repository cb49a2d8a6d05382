"""What goes into the journal and comes out of it, the tables of `state.db`, what each row means."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backfill.journal.database import Database, FileForm, Row
from backfill.rows import Rejection, Rejections

Range = tuple[int, int]
"""Rows from the first number up to, not including, the second."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a job.

    Args:
        id: Its number in this job, from 1, in the order in which the files first appeared.
        path: The file, relative to the pipeline file.
        source: The index of its `[[source]]`, from 0.
        size: Its length in bytes.
        digest: What its bytes were, in a form of the caller's choice.
        rows: How many rows it has, once that is known.
    """

    id: int
    path: str
    source: int
    size: int
    digest: str
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """Rows of one part that need nothing more, and what became of each.

    The ranges cover exactly `delivered + merged + skipped + rejections` rows, none of them
    settled before.

    Args:
        part: The part's id.
        ranges: The rows, as [start, stop).
        delivered: Accepted with 2xx.
        merged: Customers rows that were sent as part of their person's first row.
        skipped: Left out on purpose, by reason.
        rejections: Refused by us or by the API; their rows lie within the ranges.
        deletes: How many of the delivered rows removed or suppressed a person.
    """

    part: int
    ranges: Sequence[Range]
    delivered: int = 0
    merged: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    rejections: Sequence[Rejection] = ()
    deletes: int = 0

    def rows(self) -> int:
        """How many rows are accounted for."""
        return self.delivered + self.merged + sum(self.skipped.values()) + len(self.rejections)


@dataclass(slots=True)
class Counts:
    """What became of the settled rows of a part or a source.

    Args:
        delivered: Rows accepted with 2xx.
        merged: Rows sent as part of another.
        rejected: Rows that were not sent, or refused.
        skipped: Rows left out, by reason.
        deletes: How many of the delivered rows removed or suppressed a person.
        reasons: Rejected rows by the code of their reasons; a row with two codes counts in both.
    """

    delivered: int = 0
    merged: int = 0
    rejected: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    deletes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def rows(self) -> int:
        """How many rows are accounted for."""
        return self.delivered + self.merged + self.rejected + sum(self.skipped.values())

    def add(self, other: "Counts") -> None:
        """Add the figures of another part."""
        self.delivered += other.delivered
        self.merged += other.merged
        self.rejected += other.rejected
        self.skipped += other.skipped
        self.deletes += other.deletes
        self.reasons += other.reasons

    def settle(self, settlement: Settlement) -> None:
        """Add what became of some rows."""
        self.delivered += settlement.delivered
        self.merged += settlement.merged
        self.skipped.update(settlement.skipped)
        self.deletes += settlement.deletes
        if settlement.rejections:
            self.reject(settlement.rejections)

    def reject(self, rejections: Sequence[Rejection]) -> None:
        """Count rejected rows."""
        self.rejected += len(rejections)
        self.reasons.update(Rejections.of(rejections).by_code())

    def withdraw(self, rejection: Rejection) -> None:
        """Take back one rejected row."""
        self.rejected -= 1
        self.reasons.subtract(codes(rejection))
        # Without codes that count nothing: the summary would show them as 0.
        self.reasons = +self.reasons


@dataclass(slots=True)
class Totals:
    """What the job has cost so far.

    Args:
        requests: Requests that were answered for good.
        attempts: Tries of them.
        bytes_sent: The bodies of all attempts.
        commits: How often the journal was written; grows by one with each commit.
    """

    requests: int = 0
    attempts: int = 0
    bytes_sent: int = 0
    commits: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One call of the program on this job.

    Args:
        id: Its number, from 1.
        started_at: When it began, as ISO 8601.
        finished_at: When it ended; None while it runs, or if it was killed.
        exit: Its exit code.
        summary: What it reported; of a killed run, what the next one found that it had done.
    """

    id: int
    started_at: str
    finished_at: str | None = None
    exit: int | None = None
    summary: Mapping[str, Any] | None = None


def codes(rejection: Rejection) -> set[str]:
    """The different codes among a rejection's reasons."""
    return {reason.code for reason in rejection.reasons}


FORM = FileForm(
    application_id=0x42464C31,  # "BFL1": whose database it is, also for the `file` command
    version=2,
    schema="""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL)
STRICT, WITHOUT ROWID;

CREATE TABLE part (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    source INTEGER NOT NULL,
    size INTEGER NOT NULL,
    digest TEXT NOT NULL,
    rows INTEGER,
    low INTEGER NOT NULL,
    ceiling INTEGER NOT NULL,
    position TEXT,
    delivered INTEGER NOT NULL,
    merged INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    deletes INTEGER NOT NULL,
    skipped TEXT NOT NULL,
    reasons TEXT NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE settled (
    part INTEGER NOT NULL REFERENCES part,
    window INTEGER NOT NULL,
    ranges TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (part, window)
) STRICT;

CREATE TABLE rejection (
    part INTEGER NOT NULL REFERENCES part,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    count INTEGER NOT NULL,
    content TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (part, first)
) STRICT;

CREATE TABLE total (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    requests INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    bytes_sent INTEGER NOT NULL,
    commits INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    started_at TEXT NOT NULL,
    finished_at TEXT,
    exit INTEGER,
    summary TEXT,
    checksum INTEGER NOT NULL
) STRICT;
""",
)

PUT_META = "REPLACE INTO meta VALUES (?, ?, ?)"
DELETE_META = "DELETE FROM meta WHERE key = ?"
# Not REPLACE: that would look at every child row each time.
PUT_PART = """
INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    path = excluded.path, source = excluded.source, size = excluded.size,
    digest = excluded.digest, rows = excluded.rows, low = excluded.low,
    ceiling = excluded.ceiling, position = excluded.position, delivered = excluded.delivered,
    merged = excluded.merged, rejected = excluded.rejected, deletes = excluded.deletes,
    skipped = excluded.skipped, reasons = excluded.reasons, checksum = excluded.checksum
"""
DELETE_PART = (
    "DELETE FROM settled WHERE part = ?",
    "DELETE FROM rejection WHERE part = ?",
    "DELETE FROM part WHERE id = ?",
)
PUT_SETTLED = "REPLACE INTO settled VALUES (?, ?, ?, ?)"
DELETE_SETTLED = "DELETE FROM settled WHERE part = ? AND window = ?"
PAGE_ROWS = 1 << 12
"""The last row of a page is less than so much behind its first: a row is found in few of them."""
ADD_PAGE = "INSERT INTO rejection VALUES (?, ?, ?, ?, ?, ?)"
PUT_PAGE = "REPLACE INTO rejection VALUES (?, ?, ?, ?, ?, ?)"
DELETE_PAGE = "DELETE FROM rejection WHERE part = ? AND first = ?"
# Made when it is first needed, so that the form of the file is what it was before.
MAKE_CORRECTED = """
CREATE TABLE IF NOT EXISTS corrected (
    part INTEGER NOT NULL,
    row INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (part, row)
) STRICT, WITHOUT ROWID
"""
HAS_CORRECTED = "SELECT count(*) FROM sqlite_master WHERE name = 'corrected'"
ADD_CORRECTED = "REPLACE INTO corrected VALUES (?, ?, ?)"
CORRECTED = "SELECT * FROM corrected WHERE part = ? AND row BETWEEN ? AND ? ORDER BY row"
PUT_TOTAL = "REPLACE INTO total VALUES (?, ?, ?, ?, ?, ?)"
PAGE = "SELECT * FROM rejection WHERE part = ? AND first = ?"
PAGES_BEHIND = """
SELECT * FROM rejection WHERE (part, first) > (?, ?) ORDER BY part, first LIMIT ?
"""
PAGES_AROUND = (
    "SELECT first FROM rejection WHERE part = ? AND first > ? AND first <= ? AND last >= ?"
)
REJECTION_COUNTS = "SELECT part, sum(count) FROM rejection GROUP BY part"
RUNS = "SELECT * FROM run ORDER BY id"
RUN = "SELECT * FROM run WHERE id = ?"
DELETE_RUNS = "DELETE FROM run WHERE id <= (SELECT max(id) FROM run) - ?"
NEXT_RUN = "SELECT coalesce(max(id), 0) + 1 FROM run"
PUT_RUN = "REPLACE INTO run VALUES (?, ?, ?, ?, ?, ?)"


def total_row(totals: Totals) -> Row:
    """The totals as the only row of the table `total`."""
    return 1, totals.requests, totals.attempts, totals.bytes_sent, totals.commits


def totals_of(rows: list[tuple[Any, ...]]) -> Totals:
    """The opposite of `total_row`; all zero before the first commit."""
    return Totals(*rows[0][1:]) if rows else Totals()


def run_row(run: Run) -> Row:
    """A run as a row of the table `run`."""
    summary = None if run.summary is None else json.dumps(run.summary)
    return run.id, run.started_at, run.finished_at, run.exit, summary


def run_of(row: tuple[Any, ...]) -> Run:
    """The opposite of `run_row`."""
    run_id, started_at, finished_at, exit_code, summary = row
    return Run(run_id, started_at, finished_at, exit_code, summary and json.loads(summary))


class Runs:
    """The runs that a journal remembers; like all in it, durable at the journal's next commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, started_at: str) -> int:
        """Take down that a run began, and give its number.

        Args:
            started_at: When, as ISO 8601.
        """
        ((number,),) = self._database.figures(NEXT_RUN)
        self._database.put(PUT_RUN, [run_row(Run(number, started_at))])
        return int(number)

    def finish(
        self,
        number: int,
        finished_at: str | None,
        exit_code: int | None,
        summary: Mapping[str, Any],
    ) -> None:
        """Take down how a run ended.

        Args:
            number: As `start` gave it.
            finished_at: When, as ISO 8601; None: it was killed.
            exit_code: The exit code; None: it was killed.
            summary: What it reported; only JSON values.
        """
        (row,) = self._database.rows(RUN, (number,))
        run = replace(run_of(row), finished_at=finished_at, exit=exit_code, summary=summary)
        self._database.put(PUT_RUN, [run_row(run)])

    def keep(self, count: int) -> None:
        """Forget all but the last so many runs."""
        self._database.run(DELETE_RUNS, [(count,)])

    def all(self) -> list[Run]:
        """Every run, the first one first."""
        return [run_of(row) for row in self._database.rows(RUNS)]
