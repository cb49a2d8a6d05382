"""The account of a call: what became of every row of its job, from the journal and the plan.

Nothing here touches the disk: the figures are in memory, so that there is an account also where
the journal could not be written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from backfill.clock import Clock
from backfill.delivery.outcome import Meter
from backfill.engine.options import Tally
from backfill.errors import BackfillError, ExitCode, first_of
from backfill.job import (
    Job,
    counts_of,
    deletes_refused,
    held_at_last,
    pending_of,
    rows_read,
    stored_plan,
)
from backfill.journal import Counts, Journal, Totals
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import Plan
from backfill.report.course import COURSE_FILE, Course
from backfill.report.status_file import State, Status, this_process
from backfill.report.summary import RunSummary, SourceSummary, Summary
from backfill.report.wording import PAUSES, timestamp, utc_text


@dataclass(slots=True)
class Account:
    """What is known of one call of the program; it fills as the call goes on.

    Args:
        job: The files and the journal.
        command: run, retry or sync.
        started_s: When the call began, as unix seconds.
        run_id: The call's number in the journal.
        before: What had become of the rows when it began.
        cost_before: What the job had cost by then.
        course: How fast all calls went.
        plan: What the plan pass found; None until it has ended.
        meter: What the delivery does; None until something is sent.
        tally: The rows that this call has settled.
        turned_back: Whether the call ended before it sent anything, and its files are no part of
            the job.
    """

    job: Job
    command: str
    started_s: float
    run_id: int
    before: Counts
    cost_before: Totals
    course: Course
    plan: Plan | None = None
    meter: Meter | None = None
    tally: Tally = field(default_factory=Tally)
    turned_back: bool = False

    def rows(self) -> int:
        """How many rows the job has as far as is known, those of earlier nights included."""
        return sum(rows_read(self.job, self.plan).values())


def begin(job: Job, command: str, clock: Clock) -> Account:
    """Begin a call: what the journal knows now was there before it."""
    journal, started_s = job.journal, clock.unix_s() - clock.since_start_s()
    journal.meta["command"] = command
    # The job's start is that of its first call, however many follow.
    journal.meta.setdefault("started_at", utc_text(started_s))
    before, cost = total_of(counts_of(job).values()), journal.totals()
    run_id = journal.runs.start(utc_text(started_s))
    course = Course.load(job.folder / COURSE_FILE) if run_id > 1 else Course()
    _count_lost_time(journal, course, run_id)
    return Account(job, command, started_s, run_id, before, cost, course)


def turn_back(account: Account, clock: Clock) -> Account:
    """The account of a call that ends before it sent anything: the journal forgets its files."""
    job = account.job
    job.journal.roll_back()
    begun = begin(job, account.command, clock)
    tally = Tally(held=held_at_last(job.journal))
    return replace(begun, plan=stored_plan(job), tally=tally, turned_back=True)


def of_last_call(job: Job) -> Account:
    """The account of a job that does not run; what is noted in its journal is not kept."""
    runs = job.journal.runs.all()
    run_id = runs[-1].id if runs else 0
    course = Course.load(job.folder / COURSE_FILE)
    _count_lost_time(job.journal, course, run_id + 1)
    tally = Tally(held=held_at_last(job.journal))
    return Account(
        job, "", 0.0, run_id, Counts(), Totals(), course, plan=stored_plan(job), tally=tally
    )


def _count_lost_time(journal: Journal, course: Course, run_id: int) -> None:
    """A killed run could not say how long it took; its course can."""
    before = [run for run in journal.runs.all() if run.id < run_id]
    if before and before[-1].finished_at is None:
        lost_s = course.ended_s(before[-1].id)
        journal.meta["seconds"] = round(float(journal.meta.get("seconds", 0.0)) + lost_s, 3)


def summarize(
    account: Account, error: BackfillError | None, *, now_s: float, call_s: float
) -> Summary:
    """What became of every row of the job so far.

    Args:
        account: What is known.
        error: What stopped the call; None: it ran to its end.
        now_s: The time now, as unix seconds.
        call_s: How long the call has taken.
    """
    job, journal = account.job, account.job.journal
    rows = rows_read(job, account.plan)
    pending = pending_of(journal, rows)
    by_source = counts_of(job)
    counts, cost = total_of(by_source.values()), journal.totals()
    sources = [
        _source_summary(account, index, by_source.get(index, Counts()), rows, pending)
        for index in range(len(job.pipeline.sources))
    ]
    # Deletions that a sync made up have no row in any file, so no law of rows counts them.
    not_deleted, left = deletes_refused(job), sum(pending.values())
    # Rounded once: the report, made again from the journal, must show the same rate.
    seconds = round(float(journal.meta.get("seconds", 0.0)) + call_s, 3)
    is_whole = account.plan is not None and job.limit is None
    return Summary(
        job=job.pipeline.name,
        exit=exit_of(counts.rejected + not_deleted, error),
        complete=is_whole and not account.turned_back and not left,
        rows_read=sum(rows.values()),
        delivered=counts.delivered,
        rejected=counts.rejected,
        merged=counts.merged,
        skipped=sum(counts.skipped.values()),
        pending=left,
        held=sum(each.held for each in sources),
        deletes=counts.deletes,
        deletes_refused=not_deleted,
        requests=cost.requests,
        attempts=cost.attempts,
        bytes_sent=cost.bytes_sent,
        seconds=seconds,
        rows_per_second=_per_second(counts.rows(), seconds),
        started_at=str(journal.meta.get("started_at", utc_text(account.started_s))),
        finished_at=utc_text(now_s),
        sources=sources,
        rejections_by_reason=dict(counts.reasons),
        this_run=_run_summary(account, counts, cost, call_s),
    )


def _source_summary(
    account: Account,
    index: int,
    counts: Counts,
    rows: Mapping[int, int],
    pending: Mapping[int, int],
) -> SourceSummary:
    mine = [part for part in account.job.journal.parts() if part.source == index]
    return SourceSummary(
        kind=account.job.pipeline.sources[index].kind,
        files=[part.path for part in mine],
        rows_read=sum(rows[part.id] for part in mine),
        delivered=counts.delivered,
        rejected=counts.rejected,
        merged=counts.merged,
        skipped=sum(counts.skipped.values()),
        pending=sum(pending[part.id] for part in mine),
        held=account.tally.held.get(index, 0),
        deletes=counts.deletes,
        skipped_by_reason=dict(counts.skipped),
    )


def _run_summary(account: Account, now: Counts, cost: Totals, call_s: float) -> RunSummary:
    """What this call did: the job's figures, less those when it began."""
    before, cost_before = account.before, account.cost_before
    return RunSummary(
        delivered=now.delivered - before.delivered,
        rejected=now.rejected - before.rejected,
        merged=now.merged - before.merged,
        skipped=sum(now.skipped.values()) - sum(before.skipped.values()),
        deletes=now.deletes - before.deletes,
        requests=cost.requests - cost_before.requests,
        attempts=cost.attempts - cost_before.attempts,
        bytes_sent=cost.bytes_sent - cost_before.bytes_sent,
        seconds=round(call_s, 3),
        rows_per_second=_per_second(account.tally.rows, call_s),
    )


def without_account(
    pipeline: Pipeline, last: Summary | None, error: BackfillError, clock: Clock
) -> Summary:
    """The summary of a call that ended before it looked into the journal.

    Args:
        pipeline: The settings.
        last: The summary that the call before it left, if there is one.
        error: What stopped it.
        clock: The time; it was made when the call began.
    """
    call_s, at = round(clock.since_start_s(), 3), utc_text(clock.unix_s())
    # Zeros would contradict what earlier calls delivered.
    known = last or replace(
        Summary.empty(pipeline.name, error.exit_code, at),
        seconds=call_s,
        sources=[SourceSummary(kind=each.kind, files=[]) for each in pipeline.sources],
    )
    this_run = RunSummary(seconds=call_s)
    return replace(known, exit=error.exit_code, complete=False, finished_at=at, this_run=this_run)


def check(account: Account, summary: Summary, *, must_be_whole: bool) -> None:
    """Hold the journal's counters, the settled rows and the summary against each other.

    Args:
        account: What is known.
        summary: What it comes to.
        must_be_whole: Whether all rows must be settled, but those held back.

    Raises:
        BackfillError: They contradict each other: a bug of ours.
    """
    account.job.journal.check_law(rows_read(account.job, account.plan))
    summary.check_law()
    is_whole = account.plan is not None and account.job.limit is None
    # Held rows are the only ones that a whole run may leave behind.
    if must_be_whole and is_whole and summary.pending != summary.held:
        raise BackfillError(
            f"the run has ended, and {summary.pending - summary.held} rows are not settled"
        )


def status_of(
    account: Account, state: State, exit_code: int | None = None, *, clock: Clock
) -> Status:
    """Where the job stands, for other processes: they never open the journal."""
    # From the counters in memory: a query for each look would slow the sender down.
    now, rows = total_of(counts_of(account.job).values()), account.tally.rows
    pause = _pause_text(account.meter, clock) if state == "running" else ""
    return Status(
        job=account.job.pipeline.name,
        state="paused" if pause else state,
        **this_process(),
        started_at=utc_text(account.started_s),
        updated_at=utc_text(clock.unix_s()),
        rows_total=account.rows() if account.plan else None,
        rows_read=now.rows(),
        delivered=now.delivered,
        rejected=now.rejected,
        merged=now.merged,
        skipped=sum(now.skipped.values()),
        rows_per_second=_per_second(rows, clock.since_start_s()),
        pause=pause,
        exit=exit_code,
    )


def _pause_text(meter: Meter | None, clock: Clock) -> str:
    """Why nothing is sent just now, and until when; empty: something is."""
    pause = meter.pause if meter else None
    wait_s = pause.until_s - clock.now_s() if pause else 0.0
    if pause is None or wait_s <= 0:
        return ""
    return f"{PAUSES[pause.reason]}, until {timestamp(utc_text(clock.unix_s() + wait_s))}"


def exit_of(refused: int, *errors: BackfillError | None) -> ExitCode:
    """The exit code of a call.

    Args:
        refused: How many rows are rejected, and deletions refused.
        errors: What went wrong, if anything did.
    """
    codes = [ExitCode.REJECTIONS if refused else ExitCode.DELIVERED]
    return first_of([*codes, *(each.exit_code for each in errors if each)])


def total_of(counts: Iterable[Counts]) -> Counts:
    """All counts together."""
    everything = Counts()
    for each in counts:
        everything.add(each)
    return everything


def _per_second(rows: int, seconds: float) -> float:
    return round(rows / seconds, 1) if seconds > 0 else 0.0
