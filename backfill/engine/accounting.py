"""The account of a call: what became of every row of its job, from the journal and the plan.

Nothing here touches the disk: the figures are in memory, so that there is an account also where
the journal could not be written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from backfill.clock import Clock
from backfill.delivery.destination import elsewhere
from backfill.delivery.outcome import Meter
from backfill.engine.options import Tally
from backfill.errors import BackfillError, ExitCode, first_of
from backfill.job import (
    Job,
    counts_of,
    deletes_refused,
    held_at_last,
    of_own_sources,
    pending_of,
    rows_read,
    stored_plan,
)
from backfill.journal import Counts, Totals
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import Plan
from backfill.report.course import COURSE_FILE, Course
from backfill.report.status_file import State, Status, this_process
from backfill.report.summary import RunSummary, SourceSummary, Summary
from backfill.report.verified import LAST_VERIFIED, Verification
from backfill.report.wording import PAUSES, timestamp, utc_text


@dataclass(slots=True)
class Account:
    """What is known of one call of the program; it fills as the call goes on.

    Args:
        job: The files and the journal.
        command: run, retry or sync.
        started_s: When the call began, as unix seconds.
        run_id: The call's number in the journal.
        before: What had become of the job's rows when it began, by source.
        cost_before: What the job had cost by then.
        course: How fast all calls went.
        plan: What the plan pass found; None until it has ended.
        rows: How many rows the job has, those of earlier nights included; None: not known yet.
        meter: What the delivery does; None until something is sent.
        tally: The rows that this call has settled.
        verification: What was read back of it; None: nothing was.
        turned_back: Whether the call ended before it sent anything, and its files are no part of
            the job.
    """

    job: Job
    command: str
    started_s: float
    run_id: int
    before: Mapping[int, Counts]
    cost_before: Totals
    course: Course
    plan: Plan | None = None
    rows: int | None = None
    meter: Meter | None = None
    tally: Tally = field(default_factory=Tally)
    verification: Verification | None = None
    turned_back: bool = False

    @property
    def is_retry(self) -> bool:
        """Whether the rows that it settles were rejected before, and no others are its work."""
        return self.command == "retry"

    def planned(self, plan: Plan | None) -> None:
        """Note what the plan pass has found."""
        self.plan = plan
        self.rows = sum(rows_read(self.job, plan).values()) if plan else None

    @property
    def done_before(self) -> Counts:
        """What had become of the job's rows when it began."""
        return total_of(self.before.values())

    def settled(self) -> dict[int, Counts]:
        """What this call has settled, by source."""
        return of_own_sources(self.job.pipeline, self.tally.counts)

    def so_far(self) -> Counts:
        """What has become of the job's rows by now, without a look at every file of it."""
        now = total_of([*self.before.values(), *self.settled().values()])
        if self.is_retry:
            now.rejected -= self.tally.rows
        return now


def begin(job: Job, command: str, clock: Clock) -> Account:
    """Begin a call: what the journal knows now was there before it."""
    journal, started_s = job.journal, clock.unix_s() - clock.since_start_s()
    journal.meta["command"] = command
    # The job's start is that of its first call, however many follow.
    journal.meta.setdefault("started_at", utc_text(started_s))
    before, cost = counts_of(job), journal.totals()
    run_id = journal.runs.start(utc_text(started_s))
    journal.meta[_BEGUN] = _figures(total_of(before.values()), cost)
    course = Course.load(job.folder / COURSE_FILE) if run_id > 1 else Course()
    # A retry does not look at the rows that are held back: it leaves them as they are.
    tally = Tally(held=held_at_last(journal)) if command == "retry" else Tally()
    return Account(job, command, started_s, run_id, before, cost, course, tally=tally)


_BEGUN = "begun"
"""In the journal's meta: what a call had before it, so that the next one knows what it did if it
is killed."""


def _figures(counts: Counts, cost: Totals) -> dict[str, int]:
    return {
        **{name: getattr(counts, name) for name in ("delivered", "rejected", "merged")},
        "skipped": counts.skipped.total(),
        **{name: getattr(cost, name) for name in ("requests", "attempts", "bytes_sent")},
    }


def note_killed(job: Job) -> None:
    """Note in the journal what the last call did, if it was killed: it could not say so itself.

    To be called before the job takes up its files: what a sync replaces is forgotten then.
    """
    journal = job.journal
    last = next(reversed(journal.runs.all()), None)
    begun = journal.meta.get(_BEGUN)
    if last is None or last.finished_at or last.summary or not begun:
        return
    now = _figures(total_of(counts_of(job).values()), journal.totals())
    # A retry takes rows back from the rejected ones; how many it rejected again nobody knows.
    did: dict[str, Any] = {name: max(now[name] - begun[name], 0) for name in now}
    did["seconds"] = Course.load(job.folder / COURSE_FILE).ended_s(last.id)
    journal.meta["seconds"] = round(float(journal.meta.get("seconds", 0.0)) + did["seconds"], 3)
    told = {"command": journal.meta.get("command", ""), "this_run": did}
    journal.runs.finish(last.id, None, None, told)


def turn_back(account: Account, clock: Clock) -> Account:
    """The account of a call that ends before it sent anything: the journal forgets its files."""
    job = account.job
    job.journal.roll_back()
    note_killed(job)
    begun = begin(job, account.command, clock)
    begun.planned(stored_plan(job))
    return replace(begun, tally=Tally(held=held_at_last(job.journal)), turned_back=True)


def of_last_call(job: Job) -> Account:
    """The account of a job that does not run; what is noted in its journal is not kept."""
    note_killed(job)
    runs = job.journal.runs.all()
    run_id = runs[-1].id if runs else 0
    course = Course.load(job.folder / COURSE_FILE)
    tally = Tally(held=held_at_last(job.journal))
    return Account(
        job,
        "",
        0.0,
        run_id,
        {},
        Totals(),
        course,
        plan=stored_plan(job),
        tally=tally,
        verification=Verification.of(job.journal.meta),
    )


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
    by_source, cost = counts_of(job), journal.totals()
    counts = total_of(by_source.values())
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
        skipped=counts.skipped.total(),
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
        this_run=_run_summary(account, sources, cost, call_s),
        verified=found.figures() if (found := account.verification) else None,
        verification=found,
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
        files=[part.path for part in mine],
        rows_read=sum(rows[part.id] for part in mine),
        pending=sum(pending[part.id] for part in mine),
        held=account.tally.held.get(index, 0),
        **_outcome(account, index, counts),
    )


def _outcome(account: Account, index: int, counts: Counts) -> dict[str, Any]:
    """What became of the settled rows of a source, as `SourceSummary` has it."""
    return {
        "kind": account.job.pipeline.sources[index].kind,
        **{name: getattr(counts, name) for name in ("delivered", "rejected", "merged", "deletes")},
        "skipped": counts.skipped.total(),
        "skipped_by_reason": dict(counts.skipped),
    }


def _run_summary(
    account: Account, sources: Sequence[SourceSummary], cost: Totals, call_s: float
) -> RunSummary:
    """What this call did.

    Args:
        account: What is known.
        sources: What became of the job's rows.
        cost: What the job has cost.
        call_s: How long the call took.
    """
    settled, before = account.settled(), account.cost_before
    mine = [
        _share(account, index, of_job, settled.get(index, Counts()))
        for index, of_job in enumerate(sources)
    ]
    names = ("rows_read", "delivered", "rejected", "merged", "skipped", "pending", "deletes")
    return RunSummary(
        **{name: sum(getattr(each, name) for each in mine) for name in names},
        requests=cost.requests - before.requests,
        attempts=cost.attempts - before.attempts,
        bytes_sent=cost.bytes_sent - before.bytes_sent,
        seconds=round(call_s, 3),
        rows_per_second=_per_second(account.tally.rows, call_s),
        sources=() if account.turned_back else mine,
    )


def _share(account: Account, index: int, of_job: SourceSummary, settled: Counts) -> SourceSummary:
    """What this call did with the rows of one source."""
    left: dict[str, int] = {}
    if not account.is_retry:  # what is pending besides is none of its work
        rows = of_job.rows_read - account.before.get(index, Counts()).rows()
        left = {"rows_read": rows, "pending": of_job.pending, "held": of_job.held}
    files = [each.name for each in account.job.inputs if each.source == index]
    return SourceSummary(
        files=files, **_outcome(account, index, settled) | {"rows_read": settled.rows()} | left
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
    now, run = account.so_far(), total_of(account.settled().values())
    pause = _pause_text(account.meter, clock) if state == "running" else ""
    meta = account.job.journal.meta
    return Status(
        job=account.job.pipeline.name,
        state="paused" if pause else state,
        **this_process(),
        started_at=utc_text(account.started_s),
        updated_at=utc_text(clock.unix_s()),
        rows_total=account.rows,
        rows_read=now.rows(),
        delivered=now.delivered,
        rejected=now.rejected,
        merged=now.merged,
        skipped=now.skipped.total(),
        rows_per_second=_per_second(account.tally.rows, clock.since_start_s()),
        pause=pause,
        exit=exit_code,
        rejected_file=str(meta.get("rejected_file", "")),
        url=elsewhere(str(meta.get("url", "")), account.job.pipeline.destination),
        verified=meta.get(LAST_VERIFIED, {}),
        workers=workers_of(account.meter),
        this_run={
            "rows_read": run.rows(),
            **{name: getattr(run, name) for name in ("delivered", "rejected", "merged")},
            "skipped": run.skipped.total(),
        },
    )


def workers_of(meter: Meter | None) -> list[dict[str, Any]]:
    """What each of the processes that send has done."""
    found = meter.workers.items() if meter else ()
    return [{"address": address, **asdict(figures)} for address, figures in found]


def _pause_text(meter: Meter | None, clock: Clock) -> str:
    """Why nothing is sent just now, and until when; empty: something is."""
    pause = meter.pause if meter else None
    if pause is None or (wait_s := pause.until_s - clock.now_s()) <= 0:
        return ""
    return f"{PAUSES[pause.reason]}, until {timestamp(utc_text(clock.unix_s() + wait_s))}"


def exit_of(refused: int, *errors: BackfillError | None, unsent: int = 0) -> ExitCode:
    """The exit code of a call.

    Args:
        refused: How many rows are rejected, and deletions refused.
        errors: What went wrong, if anything did.
        unsent: How many rows are pending that are not held back: a retry may leave them behind.
    """
    codes = [ExitCode.REJECTIONS if refused else ExitCode.DELIVERED]
    codes += [ExitCode.UNAVAILABLE] if unsent else []
    return first_of([*codes, *(each.exit_code for each in errors if each)])


def total_of(counts: Iterable[Counts]) -> Counts:
    """All counts together."""
    everything = Counts()
    for each in counts:
        everything.add(each)
    return everything


def _per_second(rows: int, seconds: float) -> float:
    return round(rows / seconds, 1) if seconds > 0 else 0.0
