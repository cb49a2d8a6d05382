"""A run: plan what is in the files, ask the guards, send, and account for every row.

Started again it goes on where it stopped, also after a crash.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from backfill.clock import Clock
from backfill.delivery.credentials import Credentials, find_credentials
from backfill.delivery.destination import check_rate, destination, how_to_reach
from backfill.delivery.outcome import Delivery, Meter
from backfill.delivery.pacing import AskedRate, Time, turns_file
from backfill.delivery.region import Region, check_region
from backfill.delivery.track_delivery import open_delivery
from backfill.engine import accounting, results
from backfill.engine.accounting import Account
from backfill.engine.extracts import Extracts, is_settled
from backfill.engine.options import (
    Observer,
    Options,
    PlannedRun,
    Silent,
    StartedRun,
    Stop,
    with_workers,
)
from backfill.engine.send import Sender, Work
from backfill.errors import BackfillError, InterruptedRunError, UnavailableError, as_ours
from backfill.job import (
    Job,
    adopt_plan,
    bind_settings,
    bind_workspace,
    commit_plan,
    doubt_of,
    folder_of,
    rows_read,
)
from backfill.journal import Journal, forget
from backfill.pipeline.file import Pipeline
from backfill.planning.guards import Guard, refuse
from backfill.planning.plan import Plan
from backfill.planning.progress import Progress
from backfill.report.summary import SUMMARY_FILE, Summary
from backfill.report.verified import VERIFIED_FILE, Verification
from backfill.retrying import START_PATIENCE_S
from backfill.sources.extraction import Extracted
from backfill.sources.inputs import open_inputs
from backfill.sync import catch_up
from backfill.sync.snapshot import SNAPSHOT_FILES

if TYPE_CHECKING:  # few runs need them
    from backfill.engine.import_segment import ImportSegment
    from backfill.sync.differences import Differences

Result = TypeVar("Result")

CANARY = "canary"  # in the journal: who was sent first by a run that is not done

UNANSWERED_AFTER_S = 2.0
"""When it is said that nobody has answered it yet."""

GROWING = "growing"  # in the journal: the job was synced once


class Service(Delivery, Protocol):
    """A delivery that knows which workspace it delivers to."""

    async def region(self) -> Region:
        """Ask which workspace the credentials open; as patient as `deliver`."""

    def share(self, path: Path) -> None:
        """From now on keep to the rate together with all processes that share this file."""


Connect = Callable[..., AbstractAsyncContextManager[Service]]
"""Opens a delivery; the arguments are those of `open_delivery`."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A part of the work that is sent before all else, and looked at.

    Args:
        start: Gives what is sent; called once, when the journal has committed the plan.
        check: Called in a thread of its own once it is settled: what was found of it, and why the
            rest must not be sent; None: it may be.
    """

    start: Callable[[], Work]
    check: Callable[[], tuple[Verification, BackfillError | None]]


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """What was found before anything is sent, and how to go on from there.

    Args:
        guards: Why nothing must be sent, in order of harm; empty: it may be.
        start: Gives what is sent; called once, when the journal has committed the plan.
        complete: Called once, when all of it is settled and committed; it may raise GuardError.
        differences: In a sync: how the exports differ from what was delivered.
        notes: What else people should know before it starts, as sentences.
        trial: What is sent and looked at first; None: nothing is.
    """

    guards: Sequence[Guard]
    start: Callable[[], Work]
    complete: Callable[[], None]
    differences: "Differences | None" = None
    notes: Sequence[str] = ()
    trial: Trial | None = None


@dataclass(frozen=True, slots=True)
class RunMode:
    """What a run is for; `run`, `retry` and `sync` have one each.

    Args:
        command: The command that it is.
        bind: Gives a job its files, numbered as the journal knows them; True: files may have grown.
        prepare: Looks at a planned job before anything is sent; the float is the time now, as unix
            seconds, by which an event is recent or not.
        only_rejected: Only rejected rows are sent; whatever else is pending stays so.
        replaces_rows: The exports take the place of earlier ones, but not before it sends.
        growing: Files may still be written to: now, and in every later run of the same job.
    """

    command: str
    bind: Callable[[Job, bool], Job]
    prepare: Callable[[Job, Plan, float], PreparedRun]
    only_rejected: bool = False
    replaces_rows: bool = False
    growing: bool = False


def execute(
    mode: RunMode,
    pipeline: Pipeline,
    options: Options | None = None,
    observer: Observer | None = None,
    stop: Stop | None = None,
) -> Summary:
    """Run a job in this mode; the other arguments, result and errors are those of `run`."""
    watching = observer or Silent(), stop or Stop()
    with with_workers(pipeline, options or Options(), watching[1]) as asked:
        return _outside_any_loop(lambda: run_job(mode, pipeline, asked, *watching))


async def run_job(
    mode: RunMode,
    pipeline: Pipeline,
    options: Options,
    observer: Observer,
    stop: Stop,
    *,
    clock: Clock | None = None,
    connect: Connect = open_delivery,
) -> Summary:
    """The same in an event loop, with a clock and a delivery of the caller's choice."""
    folder = folder_of(pipeline, options.state_dir)
    waiting = (clock or Clock()).interrupted_by(stop.check)
    run = _Run(mode, pipeline, folder, options, observer, stop, waiting, connect)
    return await run.run()


def _outside_any_loop(make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine to its end, also where an event loop is running (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(make())).result()


@dataclass(frozen=True, slots=True)
class _Run:
    """What one run is asked to do, and with what; nothing in here changes."""

    mode: RunMode
    pipeline: Pipeline
    folder: Path
    options: Options
    observer: Observer
    stop: Stop
    clock: Clock
    connect: Connect

    async def run(self) -> Summary:
        """Do all of it; whatever happens, there is an account of it."""
        rejected_file = None
        try:
            with self._deadline():
                closed = await self._closed()
            rejected_file = closed.rejected_file
        finally:
            self.observer.ended(rejected_file)
        if closed.error is not None:
            raise closed.error
        return closed.summary

    async def _closed(self) -> results.Closed:
        """The account, once the journal is closed."""
        closed = None
        try:
            with self._journal() as journal:
                # Closed inside: what the account says must be in the journal before its lock is let
                # go.
                closed = await self._with_extracts(journal)
        except Exception as failure:  # noqa: BLE001 - whoever stopped it is told with a summary
            error = as_ours(failure)
            return results.close_anyway(
                error, closed, self.pipeline, clock=self.clock, folder=self.folder
            )
        return closed

    def _growing(self, journal: Journal) -> bool:
        """Whether files may still be written to; a retry after a sync reads what the sync read."""
        if self.mode.growing:
            journal.meta[GROWING] = True
        return bool(journal.meta.get(GROWING))

    async def _with_extracts(self, journal: Journal) -> results.Closed:
        """Do it, and leave no extract behind that no call will go by."""
        with Extracts(self.pipeline, journal, self.folder) as extracts:
            closed = await self._accounted_for(journal, extracts)
            extracts.ended(closed.error)
        return closed

    def _extract(self, extracts: Extracts) -> Mapping[int, Path]:
        def told(more: Extracted) -> None:
            self.stop.check()
            self.observer.extracted(more)
            results.show_extracting(self.pipeline, self.folder, self.clock)

        only_known, anew = self.mode.only_rejected, self.options.restart
        return extracts.files(self.options.env, told, only_known=only_known, anew=anew)

    async def _accounted_for(self, journal: Journal, extracts: Extracts) -> results.Closed:
        """Plan and send, and close the account while the journal is open."""
        # Asked before `bind` numbers the files: afterwards every job has parts.
        begun_before = bool(journal.parts())
        url, credentials = self._destination()
        files = await asyncio.to_thread(self._extract, extracts)
        inputs = open_inputs(self.pipeline, files, growing=self._growing(journal), clock=self.clock)
        here = self.folder, self.options.limit
        job = Job(self.pipeline, inputs, journal, *here, workers=self.options.chunk_workers)
        accounting.note_killed(job)
        job = self.mode.bind(job, self.options.append)
        account = accounting.begin(job, self.mode.command, self.clock)
        results.show_status(account, "planning", self.clock)
        error = None
        try:
            bind_settings(job, accept_changes=self.options.accept_changes)
            await self._plan_and_send(account, extracts, url, credentials)
        except Exception as failure:  # noqa: BLE001 - also a bug of ours leaves rows to account for
            error = as_ours(failure)
            if begun_before and self.mode.replaces_rows and account.meter is None:
                account = accounting.turn_back(account, self.clock)
        if is_settled(account, held_too=self.mode.replaces_rows):
            extracts.settled()
        whole = not self.mode.only_rejected
        return results.close(account, error, self.clock, must_be_whole=whole)

    async def _plan_and_send(
        self, account: Account, extracts: Extracts, url: str, credentials: Credentials
    ) -> None:
        """Find the workspace, plan, ask the guards and the observer, send."""
        async with self._delivery(url, credentials) as delivery:
            await self._bind_workspace(account.job, delivery, url, credentials)
            # In a thread: the plan pass may take an hour, and Ctrl-C and the deadline live in the
            # loop.
            plan = await asyncio.to_thread(self._plan, account.job)
            account.planned(plan)
            # Taken after the plan pass: events that were held an hour ago may be old enough by now.
            now_s = self.clock.unix_s()
            prepared = await asyncio.to_thread(self.mode.prepare, account.job, plan, now_s)
            self._ask(account, plan, prepared)
            extracts.adopt()
            await self._send(account, plan, prepared, delivery)

    async def _bind_workspace(
        self, job: Job, delivery: Service, url: str, credentials: Credentials
    ) -> None:
        region = await self._unless_stopped(self._region(delivery, url))
        check_region(self.pipeline.destination.region, region, url)
        workspace = region.workspace(credentials.site_id)
        # Before the plan: a rehearsal's journal must not be spent on another workspace's rows.
        bind_workspace(job.journal, workspace)
        delivery.share(turns_file(f"{region.region}-{workspace}"))
        job.journal.meta["url"] = url

    def _plan(self, job: Job) -> Plan:
        def progress(more: Progress) -> None:
            self.stop.check()
            self.observer.checked(more)

        catch_up.before_another_plan(job)
        return adopt_plan(job, now_s=self.clock.unix_s(), progress=progress)

    def _ask(self, account: Account, plan: Plan, prepared: PreparedRun) -> None:
        """Ask whether to start.

        Raises:
            GuardError: A guard refuses.
            InterruptedRunError: The observer does.
        """
        done = account.done_before
        left = done.rejected if self.mode.only_rejected else (account.rows or 0) - done.rows()
        planned = PlannedRun(plan, prepared.guards, left, prepared.differences, prepared.notes)
        # The screen shows the plan and its guards first, so that whoever is refused sees why.
        wanted = self.observer.planned(planned)
        refuse(prepared.guards)
        self.stop.check()
        if not wanted:
            raise InterruptedRunError(
                "nothing was sent", next_step="run the command again when ready"
            )

    async def _send(
        self, account: Account, plan: Plan, prepared: PreparedRun, delivery: Service
    ) -> None:
        """Send all of it, and watch how it goes."""
        meter = account.meter = delivery.meter
        # Durable before the first request: a resume must decide by the same plan as this run.
        commit_plan(account.job, plan)
        if self.pipeline.import_.undo:
            from backfill.engine.new_people import note_new_people  # noqa: PLC0415 - few ask

            await note_new_people(account.job, plan, self.options, self.clock, self.stop)
        trial = prepared.trial
        work = trial.start() if trial else prepared.start()
        await asyncio.to_thread(self.options.keeper.before_sending, work.journal)
        self.observer.sending(self._started(account, plan, prepared, meter))
        async with results.watched(account, meter, self.clock) as status:
            if trial:
                await self._send_work(plan, work, delivery, status)
                await self._check_trial(account, trial)
                work = prepared.start()
            await self._send_work(plan, work, delivery, status)
        # Only now: what a sync remembers of tonight must never be ahead of what was delivered.
        await asyncio.to_thread(prepared.complete)
        if account.job.limit is None and not self.mode.only_rejected:
            account.job.journal.forget_loss()
            account.job.journal.meta.pop(CANARY, None)

    async def _send_work(
        self, plan: Plan, work: Work, delivery: Service, status: results.StatusWriter
    ) -> None:
        """Send some work, until it is done or the run is to stop."""

        def committed() -> None:
            status.committed()
            self.options.keeper.committed(work.journal)

        sender = Sender(
            work,
            self.pipeline.rejected_max,
            delivery,
            tally=status.account.tally,
            now_s=self.clock.now_s,
            committed=committed,
            segment=_segment(status.account.job, plan),
        )
        loop = asyncio.get_running_loop()

        def stop(why: BackfillError) -> None:
            self.observer.stopping(why)
            # A signal's handler and the deadline may be in another thread than the loop.
            loop.call_soon_threadsafe(sender.stop, why)

        with self.stop.heard_by(stop):
            await sender.send()

    async def _check_trial(self, account: Account, trial: Trial) -> None:
        """Look at what was sent by way of trial; go on only if nothing is wrong with it."""
        found, wrong = await asyncio.to_thread(trial.check)
        account.verification = found
        if wrong is not None:
            raise wrong

    def _started(
        self, account: Account, plan: Plan, prepared: PreparedRun, meter: Meter
    ) -> StartedRun:
        done, doubt, tally = account.done_before, doubt_of(account.job, plan), account.tally
        if self.mode.only_rejected:
            return StartedRun(done.rejected, 0, 0, 0, doubt, tally, meter)
        deletes = prepared.differences.deletes if prepared.differences else 0
        # Of a sync: the rows of its own files, not those of earlier nights.
        rows, settled = rows_read(account.job, plan), account.job.settled()
        begun = sum(each.settled_count() for each in settled.values())
        rejected = done.rejected if begun == done.rows() else 0
        total = sum(rows[part] for part in settled) + deletes
        return StartedRun(total, begun, rejected, plan.requests, doubt, tally, meter)

    # -- the world outside

    def _journal(self) -> Journal:
        if self.options.restart:
            self._destination()  # whoever has no credentials keeps the record of what was sent
            # What earlier nights remember belongs to the journal that is forgotten.
            others = (*SNAPSHOT_FILES, SUMMARY_FILE, VERIFIED_FILE)
            forget(self.folder, others, wait_s=self.options.wait_s, sleep=self.clock.sleep)
        return Journal.open(self.folder, wait_s=self.options.wait_s, sleep=self.clock.sleep)

    def _destination(self) -> tuple[str, Credentials]:
        settings = self.pipeline.destination
        url = destination(region=settings.region or "us", url=self.options.url or settings.url)
        check_rate(self._rate, url)
        file = self.pipeline.folder / settings.credentials if settings.credentials else None
        return url, find_credentials(self.options.env, file, url)

    @property
    def _rate(self) -> float:
        rate = self.options.rate
        return self.pipeline.destination.rate if rate is None else rate

    @property
    def _asked_rate(self) -> float | AskedRate:
        """The rate by the clock; one that is asked for on the command line holds all day."""
        schedule = self.pipeline.destination.schedule
        if self.options.rate is not None or not schedule.windows:
            return self._rate
        return lambda: schedule.at(self.clock.unix_s())

    def _delivery(self, url: str, credentials: Credentials) -> AbstractAsyncContextManager[Service]:
        settings = self.pipeline.destination
        return self.connect(
            url,
            credentials,
            Time(self.clock.now_s, asyncio.sleep, self.clock.jitter),
            rate=self._asked_rate,
            concurrency=self.options.concurrency or settings.concurrency,
            outage_max_s=settings.outage_max,
            elsewhere=self.options.elsewhere,
        )

    async def _region(self, delivery: Service, url: str) -> Region:
        """Which workspace it is; before anything was sent there is little to wait for."""
        loop = asyncio.get_running_loop()
        # Half a minute without a word looks like a program that hangs.
        late = loop.call_later(UNANSWERED_AFTER_S, self.observer.unanswered, url)
        try:
            return await asyncio.wait_for(delivery.region(), START_PATIENCE_S)
        except TimeoutError:
            seen = delivery.meter.last_failure or "no answer"
            raise UnavailableError(
                f"the destination could not be reached for {START_PATIENCE_S:.0f} s (last seen:"
                f" {seen}); nothing was sent",
                next_step=f"{how_to_reach(url)}, then run the same command again",
            ) from None
        finally:
            late.cancel()

    async def _unless_stopped(self, waiting: Coroutine[Any, Any, Result]) -> Result:
        """Wait for something that may be given up at once when the run is to stop."""
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(waiting)

        def give_up(_: BackfillError) -> None:
            loop.call_soon_threadsafe(task.cancel)

        self.stop.listen(give_up)
        try:
            return await task
        except asyncio.CancelledError:
            self.stop.check()
            raise

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        """Stop when the time is up; it counts from the run's start."""
        if self.options.stop_after_s is None:
            yield
            return
        why = UnavailableError(
            "the time limit is reached",
            next_step="run the same command again to resume",
        )
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self.options.stop_after_s, self.stop, why)
        try:
            yield
        finally:
            timer.cancel()


def _segment(job: Job, plan: Plan) -> "ImportSegment | None":
    """What fills the segment of an import, where it has one."""
    if job.pipeline.import_.segment is None:
        return None
    from backfill.engine.import_segment import ImportSegment  # noqa: PLC0415  # few have one

    return ImportSegment(job, plan, job.pipeline.import_.segment)
