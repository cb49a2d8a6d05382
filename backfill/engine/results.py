"""What a call leaves on disk: its status and its course while it sends, its results at the end.

The journal alone decides what is sent. A result that cannot be written costs a message and exit
code 6, and never the account.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

from backfill.clock import Clock
from backfill.delivery.outcome import Meter, Pause
from backfill.engine import accounting
from backfill.engine.accounting import Account, exit_of, status_of, summarize
from backfill.errors import BackfillError, ExitCode, StateError, as_ours, unwritten
from backfill.job import Job, named_state_dir, source_parts, stored_plan
from backfill.pipeline.file import Pipeline
from backfill.rejected.writer import RejectedRows, vanished_rows, write_rejected
from backfill.report.collect import content_of
from backfill.report.course import COURSE_FILE, Recorder
from backfill.report.html import write_report
from backfill.report.redaction import Redact
from backfill.report.status_file import (
    STATUS_FILE,
    State,
    Status,
    read_status,
    this_process,
    write_status,
)
from backfill.report.summary import SUMMARY_FILE, RunSummary, Summary, run_of
from backfill.report.verified import LAST_VERIFIED, Verification
from backfill.report.wording import utc_text
from backfill.sources.inputs import columns_of

NOTED_EVERY_S = 0.5
SHOWN_EVERY_S = 0.1
COURSE_EVERY_S = 2.0
"""A crash takes so much of the report's curves."""

Made = TypeVar("Made")


# While it sends


def show_status(account: Account, state: State, clock: Clock, exit_code: int | None = None) -> None:
    """Say where the job stands, for other processes.

    Raises:
        StateError: It cannot be written.
    """
    folder = account.job.folder
    try:
        write_status(folder / STATUS_FILE, status_of(account, state, exit_code, clock=clock))
    except OSError as failure:
        raise unwritten(folder, failure) from failure


def show_extracting(pipeline: Pipeline, folder: Path, clock: Clock) -> None:
    """Say, once a second, that rows are extracted: of the job nothing more is known by then."""
    last, now = _status_in(folder), utc_text(clock.unix_s())
    process = this_process()
    if last and (last.state, last.pid, last.updated_at) == ("extracting", process["pid"], now):
        return
    began = utc_text(clock.unix_s() - clock.since_start_s())
    known = last or Status(
        job=pipeline.name, state="extracting", **process, started_at=began, updated_at=now
    )
    said = replace(
        known,
        state="extracting",
        **process,
        started_at=began,
        updated_at=now,
        exit=None,
        pause="",
        rows_per_second=0.0,
        this_run={},
    )
    with suppress(OSError):
        write_status(folder / STATUS_FILE, said, lasting=False)


def _status_in(folder: Path) -> Status | None:
    """What a job said last; None where nobody can tell: the next status takes its place."""
    with suppress(StateError):
        return read_status(folder / STATUS_FILE)
    return None


class StatusWriter:
    """Shows where a job stands while it sends.

    Args:
        account: What is known of the call.
        clock: The time.
    """

    def __init__(self, account: Account, clock: Clock) -> None:
        self.account = account
        self._clock = clock
        self._shown_s = -SHOWN_EVERY_S
        self.is_behind = False

    def show(self) -> None:
        """Replace the status file; a disk that does not take it takes no journal, which ends it."""
        self._shown_s, self.is_behind = self._clock.now_s(), False
        with suppress(OSError):
            status = status_of(self.account, "running", clock=self._clock)
            write_status(self.account.job.folder / STATUS_FILE, status, lasting=False)

    def committed(self) -> None:
        """Show what the journal holds now; among many commits a second, soon."""
        # A file costs as much as a commit: at sixty a second, a thirtieth of the time to send.
        self.is_behind = self._clock.now_s() < self._shown_s + SHOWN_EVERY_S
        if not self.is_behind:
            self.show()


@asynccontextmanager
async def watched(account: Account, meter: Meter, clock: Clock) -> AsyncIterator[StatusWriter]:
    """While the body sends, note in the call's course how fast it goes, and show where it stands.

    Args:
        account: What is known of the call.
        meter: What the delivery does.
        clock: The time; its start is the call's.
    """
    course, tally = account.course, account.tally
    before = Counter(course.latencies)
    # Earlier calls of the same job have their own parts of the curve.
    recorder = Recorder(course, account.run_id, clock.since_start_s(), tally.rows, meter.attempts)

    status = StatusWriter(account, clock)

    def paused(pause: Pause) -> None:
        recorder.paused(pause.reason, clock.since_start_s(), pause.until_s - clock.now_s())
        status.show()

    def pausing() -> Pause | None:
        return meter.pause if meter.pause and meter.pause.until_s > clock.now_s() else None

    def note() -> None:
        recorder.note(clock.since_start_s(), tally.rows, meter.attempts, meter.latency_s)
        course.latencies = before + meter.latencies

    async def watch() -> None:
        saved_s, shown = clock.now_s(), None
        while True:
            await asyncio.sleep(min(course.width_s, NOTED_EVERY_S))
            note()
            pause = pausing()
            if status.is_behind or pause != shown:  # there may be nothing to commit for long
                status.show()
            shown = pause
            if clock.now_s() >= saved_s + COURSE_EVERY_S:
                with suppress(OSError):
                    course.save(account.job.folder / COURSE_FILE)
                saved_s = clock.now_s()

    meter.on_pause = paused
    status.show()
    # A task beside the sender: noting must never hold up sending.
    watching = asyncio.create_task(watch())
    try:
        yield status
    finally:
        watching.cancel()
        note()


# At the end


@dataclass(frozen=True, slots=True)
class Closed:
    """How a call ended.

    Args:
        summary: What became of every row.
        rejected_file: The rejected rows; None: there are none, or they cannot be written.
        error: What stopped the call, or what of its results could not be written, whatever weighs
            more; None: nothing. It carries the summary.
    """

    summary: Summary
    rejected_file: Path | None
    error: BackfillError | None


def close(
    account: Account, error: BackfillError | None, clock: Clock, *, must_be_whole: bool
) -> Closed:
    """Check the account, and write all results that can be written.

    Args:
        account: What is known of the call.
        error: What stopped it; None: it ran to its end.
        clock: The time.
        must_be_whole: Whether a call that ran to its end must have settled all rows.
    """
    job = account.job
    call_s = clock.since_start_s()
    summary = summarize(account, error, now_s=clock.unix_s(), call_s=call_s)
    if account.verification is not None:
        account.verification.keep(job.journal.meta)
    # The next call adds its own seconds to these.
    job.journal.meta["seconds"] = summary.seconds
    # Of this call alone: the next one may have others, or none.
    job.journal.meta["workers"] = accounting.workers_of(account.meter)
    errors = [error] if error else []

    def attempt(write: Callable[[], Made]) -> Made | None:
        try:
            return write()
        except OSError as failure:
            errors.append(unwritten(job.folder, failure))
        except Exception as failure:  # noqa: BLE001 - the other results are written all the same
            errors.append(as_ours(failure))
        return None

    whole = must_be_whole and error is None
    # First: figures that contradict each other must not be published without saying so.
    attempt(lambda: accounting.check(account, summary, must_be_whole=whole))
    attempt(lambda: _record_end(account, summary, errors))
    rejected_file = attempt(lambda: write_rejections(job, turned_back=account.turned_back))
    attempt(lambda: account.course.save(job.folder / COURSE_FILE))
    attempt(lambda: _write_report(account, summary, clock.unix_s()))

    def write_end(summary: Summary) -> None:
        attempt(lambda: summary.write(job.folder / SUMMARY_FILE))
        attempt(lambda: _record_end(account, summary, errors))
        attempt(job.journal.commit)
        attempt(lambda: show_status(account, "ended", clock, summary.exit))

    # The exit code stands in files that may themselves be what cannot be written.
    for _ in range(2):  # what cannot be written the first time is told by the others the second
        known, refused = len(errors), summary.rejected + summary.deletes_refused
        # What stopped a call says itself why rows are left.
        is_whole = error is None and job.limit is None
        unsent = summary.pending - summary.held if is_whole else 0
        summary = replace(summary, exit=exit_of(refused, *errors, unsent=unsent))
        write_end(summary)
        if len(errors) == known:
            break
    return Closed(summary, rejected_file, _weightiest(errors, summary))


def close_anyway(
    error: BackfillError,
    closed: Closed | None,
    pipeline: Pipeline,
    *,
    clock: Clock,
    folder: Path,
) -> Closed:
    """The end of a call whose journal could not be opened, or not be closed.

    Args:
        error: Why not.
        closed: The account, if the call came so far; else the summary is that of the call before.
        pipeline: The settings.
        clock: The time.
        folder: The job's state directory.
    """
    status = _status_in(folder)
    if status and status.state == "extracting" and status.pid == this_process()["pid"]:
        with suppress(OSError):
            said = replace(status, state="ended", exit=error.exit_code)
            write_status(folder / STATUS_FILE, said)
    if closed is not None:
        code = exit_of(0, error, closed.error)
        error.summary = replace(closed.summary, exit=code)
    # Nothing was looked at: the last call's figures are the best that is known.
    elif error.summary is None:
        last = Summary.load(folder / SUMMARY_FILE)
        error.summary = accounting.without_account(pipeline, last, error, clock)
    return Closed(error.summary, closed.rejected_file if closed else None, error)


def report_of(job: Job, redact: Redact, *, now_s: float) -> tuple[Summary, Path]:
    """Write the report of a job that does not run.

    Args:
        job: The job.
        redact: What the report leaves out.
        now_s: The time now, as unix seconds.

    Returns:
        What became of the rows, and where the report is.

    Raises:
        StateError: The report cannot be written.
    """
    account = accounting.of_last_call(job)
    summary = _of_last_run(account, now_s)
    last = next(reversed(job.journal.runs.all()), None)
    if last and last.finished_at:
        summary = replace(summary, finished_at=last.finished_at, exit=last.exit or 0)
    try:
        return summary, _write_report(account, summary, now_s, redact)
    except OSError as failure:
        raise unwritten(job.folder, failure) from failure


def _of_last_run(account: Account, now_s: float) -> Summary:
    """The summary of a job that does not run, with what its last run did."""
    last = next(reversed(account.job.journal.runs.all()), None)
    summary = summarize(account, None, now_s=now_s, call_s=0.0)
    return replace(summary, this_run=run_of((last and last.summary) or {}))


def record_verification(job: Job, found: Verification, *, now_s: float) -> Summary:
    """Keep what a verification found, with the job's summary and its report.

    Args:
        job: A job that does not run.
        found: What was found.
        now_s: The time now, as unix seconds.

    Returns:
        What became of the rows, and what was found of them.

    Raises:
        StateError: It cannot be written.
    """
    differs = found.total("missing") + found.total("differs")
    found.keep(job.journal.meta)
    account = replace(accounting.of_last_call(job), verification=found)
    exit_code = ExitCode.DIFFERS if differs else ExitCode.DELIVERED
    told = replace(_of_last_run(account, now_s), exit=exit_code)
    summary = replace(told, this_run=RunSummary())  # the call itself has sent nothing
    try:
        summary.write(job.folder / SUMMARY_FILE)
        _write_report(account, told, now_s)
        if status := _status_in(job.folder):
            said = replace(status, verified=job.journal.meta[LAST_VERIFIED])
            write_status(job.folder / STATUS_FILE, said)
    except OSError as failure:
        raise unwritten(job.folder, failure) from failure
    job.journal.commit()
    return summary


def write_rejections(job: Job, *, turned_back: bool) -> Path | None:
    """Write all rejected rows of a job; where there are none, remove the files.

    Args:
        job: The job.
        turned_back: Whether tonight's files are no part of it: nothing of them was sent.

    Returns:
        The CSV that was written; None if no row is rejected.

    Raises:
        OSError: The disk is full, or the directory cannot be written to.
    """
    columns, meta = columns_of(job.inputs), job.journal.meta
    known: list[str] = meta.get("header", [])
    if not turned_back:  # a sync knows only tonight's files: the head keeps those of all nights
        known = meta["header"] = list(dict.fromkeys(chain(known, *columns.values())))
    path = write_rejected(job.folder, lambda: _rejected_rows(job), columns, known)
    # Beside a file that people have edited there is another, and that one has to be named.
    meta["rejected_file"] = path.name if path else ""
    return path


def _rejected_rows(job: Job) -> Iterator[RejectedRows]:
    names = {part.id: part.path for part in source_parts(job)}
    for part, some in job.journal.rejected():
        if part in names:
            yield RejectedRows(part, names[part], some)
        else:
            yield vanished_rows(part, some)


def _record_end(account: Account, summary: Summary, errors: list[BackfillError]) -> None:
    """Note in the journal how the call ended; its next commit keeps it."""
    job, told = account.job, {"command": account.command, **summary.as_dict()}
    error = _weightiest(errors, summary)
    if error is not None:
        told["stopped"] = [error.what, error.next_step]
    job.journal.runs.keep(job.pipeline.keep_runs)
    job.journal.runs.finish(account.run_id, summary.finished_at, summary.exit, told)


def _write_report(
    account: Account, summary: Summary, now_s: float, redact: Redact = "values"
) -> Path:
    job = account.job
    content = content_of(
        job.pipeline,
        job.journal,
        account.plan or stored_plan(job),
        summary,
        account.course,
        now_s=now_s,
        state_dir=named_state_dir(job),
        redact=redact,
    )
    return write_report(job.folder, content)


def _weightiest(errors: list[BackfillError], summary: Summary) -> BackfillError | None:
    """The error whose exit code wins, the first of several, with the summary."""
    if not errors:
        return None
    code = exit_of(0, *errors)
    error = next(each for each in errors if each.exit_code == code)
    error.summary = summary
    return error
