"""What became of a job: the figures that are kept in `summary.json` and shown at every exit."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter

from backfill.errors import BackfillError
from backfill.files import write_atomically
from backfill.report.verified import Verification
from backfill.report.wording import (
    WIDTH,
    counted,
    counted_of,
    duration,
    size,
    table,
    titled,
    wrapped,
)
from backfill.rows import SENTENCES

SUMMARY_FILE = "summary.json"

_ACCOUNTS = ("delivered", "merged", "skipped", "rejected", "pending")
_REASONS_SHOWN = 12
_THIS_RUN, _THE_JOB = "this run", "the job"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSummary:
    """What became of the rows of one source; the fields are those of `Summary`.

    Args:
        kind: customers, events or deletions.
        files: Its files, relative to the pipeline file.
        skipped_by_reason: The skipped rows, by why they were left out.
    """

    kind: str
    files: Sequence[str]
    rows_read: int = 0
    delivered: int = 0
    rejected: int = 0
    merged: int = 0
    skipped: int = 0
    pending: int = 0
    held: int = 0
    deletes: int = 0
    skipped_by_reason: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What one call of the program did; a job may take many, such as a sync each night.

    The law holds here too: `rows_read` are the rows that were not settled when the call began, in
    a retry those that it has tried again. The fields have the names of `Summary`.

    Args:
        rejected: Rows that it rejected; in a retry those that are rejected again.
        sources: The same by source, with the files that it has read, in the order of the pipeline
            file; empty where the call ended before it looked at any.
    """

    rows_read: int = 0
    delivered: int = 0
    rejected: int = 0
    merged: int = 0
    skipped: int = 0
    pending: int = 0
    deletes: int = 0
    requests: int = 0
    attempts: int = 0
    bytes_sent: int = 0
    seconds: float = 0.0
    rows_per_second: float = 0.0
    sources: Sequence[SourceSummary] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What became of a job. The counts are the job's; `this_run` is the call's.

    Args:
        job: The pipeline's name.
        exit: The exit code of this call.
        complete: Whether every row of every source was read and is settled.
        rows_read: Rows read, those of a bad shape among them; blank lines are no rows.
        delivered: Rows accepted with 2xx.
        rejected: Rows not sent, or refused, each with its reasons in the rejected rows.
        merged: Customers rows that were sent as part of their person's first row.
        skipped: Rows left out on purpose.
        pending: Rows not settled yet; 0 unless the run was cut short or rows are held.
        held: The pending rows that wait until they are 72 hours old.
        deletes: The delivered rows that removed or suppressed a person; in a sync also the people
            whom it deleted because no row names them any more.
        deletes_refused: People who vanished and whom the API did not delete: no rows of a source.
        requests: Requests that were answered for good.
        attempts: Tries of them.
        bytes_sent: The bodies of all attempts.
        seconds: How long all calls took.
        rows_per_second: Rows settled in a second, over all calls.
        started_at: When the job began, ISO 8601 in UTC.
        finished_at: When this call ended, ISO 8601 in UTC.
        sources: The same by source, in the order of the pipeline file.
        rejections_by_reason: Rejected rows by reason code; a row with two codes counts in both.
        this_run: What this call did.
        verified: Where this call read back what was delivered: how much is checked, equal, missing,
            differs, unprovable; the first is the sum of the others. None: it did not.
        verification: The same in full.
    """

    job: str
    exit: int
    complete: bool
    rows_read: int
    delivered: int
    rejected: int
    merged: int
    skipped: int
    pending: int
    held: int
    deletes: int
    deletes_refused: int = 0
    requests: int
    attempts: int
    bytes_sent: int
    seconds: float
    rows_per_second: float
    started_at: str
    finished_at: str
    sources: Sequence[SourceSummary]
    rejections_by_reason: Mapping[str, int]
    this_run: RunSummary
    verified: Mapping[str, int] | None = None
    verification: Verification | None = None

    @classmethod
    def empty(cls, job: str, exit_code: int, at: str) -> "Summary":
        """The summary of a call that never looked at a row.

        Args:
            job: The pipeline's name.
            exit_code: How it ended.
            at: When, ISO 8601 in UTC.
        """
        names = ("rows_read", *_ACCOUNTS, "held", "deletes", "requests", "attempts", "bytes_sent")
        zeros: dict[str, Any] = dict.fromkeys(names, 0)
        return cls(
            job=job,
            exit=exit_code,
            complete=False,
            seconds=0.0,
            rows_per_second=0.0,
            started_at=at,
            finished_at=at,
            sources=(),
            rejections_by_reason={},
            this_run=RunSummary(),
            **zeros,
        )

    @classmethod
    def load(cls, path: Path) -> "Summary | None":
        """The summary that the last call left; None if there is none that can be read."""
        try:
            return TypeAdapter(cls).validate_json(path.read_bytes())
        except (OSError, ValueError):
            return None

    def to_json(self) -> bytes:
        """As one line of JSON."""
        return orjson.dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """As plain values, such as the journal keeps; without what was not verified."""
        # Whoever never verifies has the summary that the contract names, and no keys of null.
        not_there = [name for name in ("verified", "verification") if getattr(self, name) is None]
        return {name: value for name, value in asdict(self).items() if name not in not_there}

    def write(self, path: Path) -> None:
        """Put it into a file, for people and programs.

        Raises:
            OSError: The disk is full, or the directory cannot be written to.
        """
        write_atomically(
            path,
            orjson.dumps(self.as_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        )

    def check_law(self) -> None:
        """Hold the figures against each other.

        Raises:
            BackfillError: Rows are missing or counted twice, a bug of ours; it names the numbers.
        """
        # Of each source, too: two mistakes may cancel each other in a sum.
        accounts: list[tuple[str, Summary | SourceSummary]] = [("the job", self)]
        accounts += [(each.kind, each) for each in self.sources]
        accounts += [(f"{each.kind}, this run", each) for each in self.this_run.sources]
        for where, each in accounts:
            found = sum(getattr(each, name) for name in _ACCOUNTS)
            if found != each.rows_read or not 0 <= each.held <= each.pending:
                raise BackfillError(f"the law does not hold for {where}: {_equation(each)}")
        for name in ("rows_read", "held", *_ACCOUNTS):
            total = sum(getattr(source, name) for source in self.sources)
            if total != getattr(self, name):
                raise BackfillError(
                    f"the sources have {total} rows {name}, the job {getattr(self, name)}"
                )

    @property
    def is_one_run(self) -> bool:
        """Whether the job's figures are those of this call, or nothing else is known of it."""
        run = self.this_run
        return not run.sources or all(
            getattr(run, name) == getattr(self, name) for name in ("rows_read", *_ACCOUNTS)
        )

    def text(self, width: int = WIDTH) -> str:
        """As people read it in a terminal of this width: plain ASCII."""
        parts = [
            wrapped("", f"{self.job}: {self._outcome()}", width),
            _table(self, width),
            self._reasons(width),
            [line for note in self._notes() for line in wrapped("", note, width)],
        ]
        return "\n\n".join("\n".join(part) for part in parts if part) + "\n"

    def _outcome(self) -> str:
        if self.pending > self.held:
            return f"not finished, {_rows(self.pending - self.held)} still to do"
        done = "done" if self.complete else "done so far"
        if self.rejected:
            return f"{done}, {_rows(self.rejected)} rejected"
        return f"{done}, every row accounted for"

    def _reasons(self, width: int) -> list[str]:
        if not self.rejections_by_reason:
            return []
        ordered = sorted(self.rejections_by_reason.items(), key=lambda each: (-each[1], each[0]))
        digits = len(f"{ordered[0][1]:,}")
        codes = max(len(code) for code, _ in ordered[:_REASONS_SHOWN])
        lines = ["Rejected because"]
        for code, count in ordered[:_REASONS_SHOWN]:
            lines += wrapped(
                f"  {count:>{digits},}  {code:<{codes}}  ", SENTENCES.get(code, ""), width
            )
        if rest := ordered[_REASONS_SHOWN:]:
            lines.append(f"  and {counted(len(rest), 'more reason')}; summary.json has all")
        return lines

    def _notes(self) -> list[str]:
        run = self.this_run
        cost = f"{counted(run.requests, 'request')}, {size(run.bytes_sent)}"
        cost = f"{cost}, {duration(run.seconds)}, {run.rows_per_second:,.0f} rows/s"
        lines = [cost if self.is_one_run else f"{_THIS_RUN}: {cost}"]
        if (again := run.attempts - run.requests) > 0:
            lines.append(f"{counted(again, 'attempt')} repeated")
        if self.requests != run.requests:
            total = f"{counted(self.requests, 'request')}, {size(self.bytes_sent)}"
            lines.append(f"{_THE_JOB}: {total}, {duration(self.seconds)}")
        # They are in the same account, but nobody is deleted by them.
        removed = sum(each.deletes for each in self.sources if each.kind == "relationships")
        if self.deletes > removed:
            deleted = counted(self.deletes - removed, "person", "people")
            lines.append(f"{deleted} deleted or suppressed")
        if removed:
            lines.append(f"{counted_of('relationships', removed)} removed")
        if self.deletes_refused:
            people = counted(self.deletes_refused, "person", "people")
            lines.append(f"{people} no longer in the export not deleted: the API refused")
        if self.held:
            lines.append(f"{_rows(self.held)} held until they are 72 hours old")
        return lines


def run_of(told: Mapping[str, Any]) -> RunSummary:
    """What a call did, from a summary as plain values; nothing where there is none."""
    try:
        return TypeAdapter(RunSummary).validate_python(told.get("this_run", {}))
    except ValueError:  # an earlier version kept other figures
        return RunSummary()


def _equation(each: "Summary | SourceSummary") -> str:
    right = " + ".join(f"{getattr(each, name)} {name}" for name in _ACCOUNTS)
    return f"{each.rows_read} rows_read = {right} ({each.held} held)"


def _table(summary: Summary, width: int) -> list[str]:
    """The law as a table: what was read, and what became of it.

    Where the job has more than this call saw to, the sources are shown as of this call, and the
    job stands below: a night and the job are two accounts.
    """
    names = ("rows_read", *_ACCOUNTS)
    accounts: list[Summary | SourceSummary | RunSummary]
    if summary.is_one_run:
        accounts, last = [*summary.sources, summary], ["all rows"]
    else:
        run = summary.this_run
        accounts, last = [*run.sources, run, summary], [_THIS_RUN, _THE_JOB]
    titles = [*titled([each.kind for each in summary.sources]), *last]
    head = ["", "rows read", *_ACCOUNTS]
    lines = [
        [title, *(f"{getattr(each, name):,}" for name in names)]
        for title, each in zip(titles, accounts, strict=True)
    ]
    return table([head, *lines], ruled=len(last), width=width)


def _rows(count: int) -> str:
    return counted(count, "row")
