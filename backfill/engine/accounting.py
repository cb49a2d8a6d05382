"""The account of a run: what became of every row, from the journal and the plan."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from backfill.delivery.outcome import Meter, Pause
from backfill.engine.clock import Clock
from backfill.engine.recording import recorded, save_course
from backfill.engine.rejected_rows import unwritten, write_rejections
from backfill.engine.send import Listener
from backfill.errors import BackfillError, ExitCode, first_of
from backfill.job import (
    Job,
    counts_of,
    deletes_refused,
    held_at_last,
    named_state_dir,
    pending_of,
    rows_read,
    stored_plan,
)
from backfill.journal import Counts, Journal, Totals
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import Plan
from backfill.report.collect import content_of
from backfill.report.course import COURSE_FILE, Course
from backfill.report.html import write_report
from backfill.report.redaction import Redact
from backfill.report.status_file import STATUS_FILE, State, Status, this_process, write_status
from backfill.report.summary import SUMMARY_FILE, RunSummary, SourceSummary, Summary
from backfill.report.wording import PAUSES, timestamp, utc_text

STATUS_EVERY_S = 0.5
"""The journal is written up to sixty times a second; nobody looks at the status so often."""


class Told(Protocol):
    """Is told of settled rows."""

    def settled(self, rows: int, rejected: int) -> None:
        """So many more rows need nothing more; so many of them were rejected."""


class Account:
    """Knows what became of a job's rows, and writes it down when a run ends.

    Args:
        pipeline: The settings.
        folder: The job's state directory.
        clock: The time.

    `rejected_file` is where the rejected rows were written, once the account is closed.
    """

    def __init__(self, pipeline: Pipeline, folder: Path, clock: Clock) -> None:
        self.rejected_file: Path | None = None
        self._pipeline = pipeline
        self._folder = folder
        self._clock = clock
        self._started_s = clock.unix_s()
        self._job: Job | None = None
        self._plan: Plan | None = None
        self._command = ""
        self._turned_back = False
        self._run_id = 0
        self._held: Mapping[int, int] = {}
        self._course = Course()
        self._settled = 0
        self._pause: Pause | None = None
        self._before, self._before_totals = Counts(), Totals()

    def open(self, job: Job, command: str) -> None:
        """Begin a command: what the journal knows now was there before this run."""
        self._job, self._command = job, command
        job.journal.meta["command"] = command
        job.journal.meta.setdefault("started_at", utc_text(self._started_s))
        self._before = _all(counts_of(job))
        self._before_totals = job.journal.totals()
        self._run_id = job.journal.runs.start(utc_text(self._started_s))
        if self._run_id > 1:
            self._course = Course.load(self._folder / COURSE_FILE)
            self._count_lost_time(job.journal)
        self.show("planning")

    def turn_back(self) -> None:
        """Take back what this call has told the journal: it ends before it sent anything."""
        if self._job is None:
            return
        self._job.journal.roll_back()
        self.open(self._job, self._command)
        self._plan, self._turned_back = stored_plan(self._job), True
        self._held = held_at_last(self._job.journal)

    def _count_lost_time(self, journal: Journal) -> None:
        """A killed run could not say how long it took; its course can."""
        before = [run for run in journal.runs.all() if run.id != self._run_id]
        if before and before[-1].finished_at is None:
            lost_s = self._course.ended_s(before[-1].id)
            journal.meta["seconds"] = round(float(journal.meta.get("seconds", 0.0)) + lost_s, 3)

    def counts(self) -> Counts:
        """What became of the rows that need nothing more."""
        return _all(counts_of(self._job)) if self._job else Counts()

    def rows(self) -> int | None:
        """How many rows there are, those of earlier nights included; None: nobody knows yet."""
        if self._job is None or self._plan is None:
            return None
        return sum(rows_read(self._job, self._plan).values())

    def planned(self, plan: Plan) -> None:
        """The plan says how many rows there are."""
        self._plan = plan

    def sending(self, held: Mapping[int, int]) -> None:
        """Rows begin to be sent; `held` grows as rows are found that must wait."""
        self._held = held

    def watching(self, meter: Meter) -> AbstractAsyncContextManager[None]:
        """Note how fast it goes, and the pauses, for the report."""
        return recorded(
            self._course,
            self._folder / COURSE_FILE,
            self._run_id,
            rows=lambda: self._settled,
            meter=meter,
            clock=self._clock,
            on_pause=self._paused,
        )

    def listener(self, told: Told) -> Listener:
        """Passes on what the send pass does, and keeps the status file up to date."""
        return _Listener(told, self, self._clock)

    def _paused(self, pause: Pause) -> None:
        self._pause = pause
        self.show("running")

    def settled(self, rows: int) -> None:
        """So many more rows were settled, or settled again."""
        self._settled += rows

    def show(self, state: State, exit_code: int | None = None) -> None:
        """Say where the job stands, for other processes: they never open the journal.

        Raises:
            StateError: It cannot be written.
        """
        now = self.counts()
        seconds = self._clock.since_start_s()
        pause = self._pause_text() if state == "running" else ""
        status = Status(
            job=self._pipeline.name,
            state="paused" if pause else state,
            **this_process(),
            started_at=utc_text(self._started_s),
            updated_at=utc_text(self._clock.unix_s()),
            rows_total=self.rows(),
            rows_read=now.rows(),
            delivered=now.delivered,
            rejected=now.rejected,
            merged=now.merged,
            skipped=sum(now.skipped.values()),
            rows_per_second=_per_second(self._settled, seconds),
            pause=pause,
            exit=exit_code,
        )
        try:
            write_status(self._folder / STATUS_FILE, status)
        except OSError as failure:
            raise unwritten(self._folder, failure) from failure

    def _pause_text(self) -> str:
        """Why nothing is sent just now, and until when; empty: something is."""
        wait_s = self._pause.until_s - self._clock.now_s() if self._pause else 0.0
        if self._pause is None or wait_s <= 0:
            return ""
        until = timestamp(utc_text(self._clock.unix_s() + wait_s))
        return f"{PAUSES[self._pause.reason]}, until {until}"

    def close(self, error: BackfillError | None, *, may_leave_rows: bool = False) -> Summary:
        """Check the law, and write the rejected rows and the summary.

        Args:
            error: What stopped the run; None: it ran to its end.
            may_leave_rows: Whether an end without an error may leave rows that are not sent.

        Raises:
            StateError: They cannot be written.
            BackfillError: The accounts do not balance: a bug of ours.
        """
        if self._job is None:
            return self._as_it_was(error)
        journal = self._job.journal
        rows = rows_read(self._job, self._plan)
        journal.check_law(rows)
        pending = pending_of(journal, rows)
        seconds = float(journal.meta.get("seconds", 0.0)) + self._clock.since_start_s()
        journal.meta["seconds"] = round(seconds, 3)
        summary = self._summary(error, rows, pending)
        summary.check_law()
        if error is None and not may_leave_rows:
            self._check_nothing_left(summary)
        try:
            self.rejected_file = write_rejections(self._job, turned_back=self._turned_back)
            summary.write(self._folder / SUMMARY_FILE)
        except OSError as failure:
            raise unwritten(self._folder, failure) from failure
        self.show("ended", summary.exit)
        stopped = {"stopped": [error.what, error.next_step]} if error else {}
        told = summary.as_dict() | stopped
        journal.runs.keep(self._pipeline.keep_runs)
        journal.runs.finish(self._run_id, summary.finished_at, summary.exit, told)
        journal.commit()
        save_course(self._course, self._folder / COURSE_FILE)
        self._report(self._job, summary)
        return summary

    def tell(self, job: Job, redact: Redact) -> tuple[Summary, Path]:
        """Write the report of a job that is not running; what is noted is not kept.

        Returns:
            What became of the rows, and where the report is.

        Raises:
            StateError: The report cannot be written.
        """
        self._job = job
        self._plan = stored_plan(job)
        self._course = Course.load(self._folder / COURSE_FILE)
        last = next(reversed(job.journal.runs.all()), None)
        self._held = held_at_last(job.journal)
        rows = rows_read(job, self._plan)
        self._count_lost_time(job.journal)
        summary = self._summary(None, rows, pending_of(job.journal, rows))
        summary = replace(summary, this_run=RunSummary())
        if last and last.finished_at:
            summary = replace(summary, finished_at=last.finished_at, exit=last.exit or 0)
        return summary, self._report(job, summary, redact)

    def _report(self, job: Job, summary: Summary, redact: Redact = "values") -> Path:
        plan = self._plan or stored_plan(job)
        content = content_of(
            self._pipeline,
            job.journal,
            plan,
            summary,
            self._course,
            now_s=self._clock.unix_s(),
            state_dir=named_state_dir(job),
            redact=redact,
        )
        try:
            return write_report(self._folder, content)
        except OSError as failure:
            raise unwritten(self._folder, failure) from failure

    def _as_it_was(self, error: BackfillError | None) -> Summary:
        """The account of a call that ended before it looked into the journal."""
        nothing = self._summary(error, {}, {})
        last = Summary.load(self._folder / SUMMARY_FILE)
        if last is None:
            return nothing
        return replace(
            last,
            exit=nothing.exit,
            complete=False,
            finished_at=nothing.finished_at,
            this_run=nothing.this_run,
        )

    def _check_nothing_left(self, summary: Summary) -> None:
        """At the end of a run over all rows, none but those held back may be pending."""
        is_whole = self._job is not None and self._job.limit is None and self._plan is not None
        if is_whole and summary.pending != summary.held:
            raise BackfillError(
                f"the run has ended, and {summary.pending - summary.held} rows are not settled"
            )

    def _summary(
        self, error: BackfillError | None, rows: Mapping[int, int], pending: Mapping[int, int]
    ) -> Summary:
        counts = counts_of(self._job) if self._job else {}
        totals = self._job.journal.totals() if self._job else Totals()
        not_deleted = deletes_refused(self._job) if self._job else 0
        meta = self._job.journal.meta if self._job else {}
        sources = [
            self._source(index, counts.get(index, Counts()), rows, pending)
            for index in range(len(self._pipeline.sources))
        ]
        everything = _all(counts)
        seconds = float(meta.get("seconds", self._clock.since_start_s()))
        left = sum(pending.values())
        return Summary(
            job=self._pipeline.name,
            exit=self._exit(error, everything.rejected + not_deleted),
            complete=self._is_complete(left),
            rows_read=sum(rows.values()),
            delivered=everything.delivered,
            rejected=everything.rejected,
            merged=everything.merged,
            skipped=sum(everything.skipped.values()),
            pending=left,
            held=sum(each.held for each in sources),
            deletes=everything.deletes,
            deletes_refused=not_deleted,
            requests=totals.requests,
            attempts=totals.attempts,
            bytes_sent=totals.bytes_sent,
            seconds=round(seconds, 3),
            rows_per_second=_per_second(everything.rows(), seconds),
            started_at=str(meta.get("started_at", utc_text(self._started_s))),
            finished_at=utc_text(self._clock.unix_s()),
            sources=sources,
            rejections_by_reason=dict(everything.reasons),
            this_run=self._this_run(everything, totals),
        )

    def _is_complete(self, pending: int) -> bool:
        """Whether every row of every source, as it is now, was read and is settled."""
        is_whole = self._job is not None and self._job.limit is None and self._plan is not None
        return is_whole and not self._turned_back and not pending

    def _source(
        self, index: int, counts: Counts, rows: Mapping[int, int], pending: Mapping[int, int]
    ) -> SourceSummary:
        parts = self._job.journal.parts() if self._job else []
        mine = [part for part in parts if part.source == index]
        return SourceSummary(
            kind=self._pipeline.sources[index].kind,
            files=[part.path for part in mine],
            rows_read=sum(rows[part.id] for part in mine),
            delivered=counts.delivered,
            rejected=counts.rejected,
            merged=counts.merged,
            skipped=sum(counts.skipped.values()),
            pending=sum(pending[part.id] for part in mine),
            held=self._held.get(index, 0),
            deletes=counts.deletes,
            skipped_by_reason=dict(counts.skipped),
        )

    def _this_run(self, now: Counts, totals: Totals) -> RunSummary:
        before, cost, seconds = self._before, self._before_totals, self._clock.since_start_s()
        return RunSummary(
            delivered=now.delivered - before.delivered,
            rejected=now.rejected - before.rejected,
            merged=now.merged - before.merged,
            skipped=sum(now.skipped.values()) - sum(before.skipped.values()),
            deletes=now.deletes - before.deletes,
            requests=totals.requests - cost.requests,
            attempts=totals.attempts - cost.attempts,
            bytes_sent=totals.bytes_sent - cost.bytes_sent,
            seconds=round(seconds, 3),
            rows_per_second=_per_second(self._settled, seconds),
        )

    @staticmethod
    def _exit(error: BackfillError | None, refused: int) -> ExitCode:
        codes = [ExitCode.REJECTIONS if refused else ExitCode.DELIVERED]
        return first_of([*codes, error.exit_code] if error else codes)


class _Listener:
    def __init__(self, told: Told, account: Account, clock: Clock) -> None:
        self._told, self._account, self._clock = told, account, clock
        self._shown_s = -STATUS_EVERY_S

    def settled(self, rows: int, rejected: int) -> None:
        self._account.settled(rows)
        self._told.settled(rows, rejected)

    def committed(self) -> None:
        now_s = self._clock.since_start_s()
        if now_s >= self._shown_s + STATUS_EVERY_S:
            self._shown_s = now_s
            self._account.show("running")


def _all(counts: Mapping[int, Counts]) -> Counts:
    everything = Counts()
    for each in counts.values():
        everything.add(each)
    return everything


def _per_second(rows: int, seconds: float) -> float:
    return round(rows / seconds, 1) if seconds > 0 else 0.0
