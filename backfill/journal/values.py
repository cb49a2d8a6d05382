"""What goes into the journal and what comes out of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backfill.journal.ranges import Range
from backfill.rows import Rejection


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
        for rejection in settlement.rejections:
            self.reject(rejection)

    def reject(self, rejection: Rejection) -> None:
        """Count one rejected row."""
        self.rejected += 1
        self.reasons.update(codes(rejection))

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
        summary: What it reported.
    """

    id: int
    started_at: str
    finished_at: str | None = None
    exit: int | None = None
    summary: Mapping[str, Any] | None = None


def codes(rejection: Rejection) -> set[str]:
    """The different codes among a rejection's reasons."""
    return {reason.code for reason in rejection.reasons}
