"""What a report shows, as plain values; whatever must not be shown never gets here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backfill.report.charts import Days
from backfill.report.course import Course
from backfill.report.summary import Summary
from backfill.report.verified import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCall:
    """One run, retry or sync of the job.

    Args:
        number: Its number, from 1.
        command: Which it was; empty: an earlier version did not note it.
        started_at: When it began, ISO 8601 in UTC.
        finished_at: When it ended; None: it never said so.
        exit: Its exit code.
        delivered: Rows that it delivered.
        rejected: Rows that it rejected.
        requests: Requests that it made.
        seconds: How long it took.
    """

    number: int
    started_at: str
    command: str = ""
    finished_at: str | None = None
    exit: int | None = None
    delivered: int = 0
    rejected: int = 0
    requests: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ShownExample:
    """One rejected row.

    Args:
        file: Its file.
        row: Its number there.
        line: Its line, where the format has lines.
        fields: What its reasons are about.
        message: What the API said; only where it may be shown.
        cells: The cells in question; only where they may be shown.
    """

    file: str
    row: int
    line: int | None
    fields: str
    message: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RejectedFor:
    """The rows that were rejected for one reason.

    Args:
        code: The reason's code.
        sentence: What it means.
        rows: How many rows.
        examples: The first of them.
    """

    code: str
    sentence: str
    rows: int
    examples: Sequence[ShownExample]


@dataclass(frozen=True, slots=True)
class ShownTimestamps:
    """How one column of timestamps was read.

    Args:
        source: Which source it belongs to.
        column: The column.
        format: The format, and the zone where one was declared.
        evidence: What speaks for it.
    """

    source: str
    column: str
    format: str
    evidence: str


@dataclass(frozen=True, slots=True)
class History:
    """The events by the time when they happened.

    Args:
        days: By name and day, those that passed the checks; None: there are none.
        planned: How many they are.
        delivered: How many events were delivered.
    """

    days: Days | None
    planned: int
    delivered: int


@dataclass(frozen=True, slots=True)
class ShownSettings:
    """Settings that belong together: a title, and each with its value as text."""

    title: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """All of a report.

    Args:
        summary: What became of every row.
        is_night: Whether the job is one that syncs, and has run before: then the last run has an
            account of its own, and the job's is that of the files as they were read last.
        command: What the last run was: run, retry or sync.
        ended: Whether the last run said how it ended; a killed one did not.
        stopped: What stopped the last run; empty: nothing did, or it cannot be said.
        destination: Where it was sent.
        next_step: What to do next, as a sentence.
        next_command: The command to do it with; empty: there is nothing to do.
        rejected_file: Where the rejected rows are; empty: there are none.
        calls: Every run and retry, the first one first.
        course: How fast it went.
        history: What happened when.
        rejected: The rejected rows by reason, the most frequent first.
        timestamps: How timestamps were read.
        settings: The settings, without secrets.
        versions: What it was made with.
        made_at: When the report was made, ISO 8601 in UTC.
        redact: What is left out.
        verification: What was found when the job was read back last; None: it never was.
        workers: Of each process that sent in the last call, its address and how many requests it
            has sent; empty: the one that ran the job sent.
    """

    summary: Summary
    is_night: bool
    ended: bool
    stopped: str
    destination: str
    next_step: str
    next_command: str
    rejected_file: str
    calls: Sequence[ShownCall]
    course: Course
    history: History
    rejected: Sequence[RejectedFor]
    timestamps: Sequence[ShownTimestamps]
    settings: Sequence[ShownSettings]
    versions: Mapping[str, str]
    made_at: str
    redact: str
    verification: Verification | None = None
    workers: Sequence[Mapping[str, Any]] = ()
    command: str = "sync"
