"""The run: plan what is in the files, ask the guards, send, settle, report.

Started again it goes on where it stopped, also after a crash.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from backfill.delivery.credentials import Credentials, find_credentials
from backfill.delivery.destination import check_rate, destination, is_loopback
from backfill.delivery.region import Region, check_region
from backfill.delivery.sharing import turns_file
from backfill.delivery.track_delivery import TrackDelivery, open_delivery
from backfill.engine.accounting import Account
from backfill.engine.clock import Clock
from backfill.engine.options import Observer, Options, Silent, Stop
from backfill.engine.prepare import SourceRows
from backfill.engine.send import Sender, Work
from backfill.errors import BackfillError, InterruptedRunError, UnavailableError
from backfill.job import (
    Job,
    adopt_plan,
    bind_files,
    bind_settings,
    bind_workspace,
    commit_plan,
    doubt_of,
    folder_of,
)
from backfill.journal import Journal, forget
from backfill.pipeline.file import Pipeline
from backfill.planning import guards
from backfill.planning.plan import Plan
from backfill.planning.progress import Progress
from backfill.report.summary import SUMMARY_FILE, Summary
from backfill.sources.inputs import open_inputs
from backfill.sync import catch_up
from backfill.sync.differences import Differences
from backfill.sync.snapshot import Snapshot

Result = TypeVar("Result")

START_PATIENCE_S = 30.0
"""How long the first look-up may take, repeats included."""

UNANSWERED_AFTER_S = 2.0
"""When it is said that nobody has answered it yet."""


class RunMode(Protocol):
    """What a run is for: sending what was not sent, or what was rejected."""

    @property
    def command(self) -> str:
        """The command that it is."""

    @property
    def may_leave_rows(self) -> bool:
        """Whether rows may stay unsent that it is not about."""

    @property
    def replaces_rows(self) -> bool:
        """Whether tonight's files take the place of earlier ones: but not before it sends."""

    @property
    def tonight(self) -> Differences | None:
        """How tonight differs from what was delivered, once `guards` has compared it."""

    def bind(self, job: Job, *, append: bool) -> Job:
        """The same job, its files numbered as the journal knows them."""

    def guards(self, job: Job, plan: Plan, now_s: float) -> list[guards.Guard]:
        """Why nothing must be sent, in order of harm."""

    def work(self, job: Job, plan: Plan, now_s: float) -> Work:
        """What is sent."""

    def completed(self, job: Job, plan: Plan) -> None:
        """All of it was sent, and the journal has committed what became of it."""


class FullRun:
    """The errand of `run`."""

    command = "run"
    may_leave_rows = False
    replaces_rows = False
    tonight: Differences | None = None

    def bind(self, job: Job, *, append: bool) -> Job:
        """Every file as it was; where rows may have been added, with them."""
        return replace(job, inputs=bind_files(job.inputs, job.journal, append=append))

    def guards(self, job: Job, plan: Plan, now_s: float) -> list[guards.Guard]:
        """What the plan pass found."""
        return guards.refusals(job.pipeline, plan, now_s)

    def work(self, job: Job, plan: Plan, now_s: float) -> Work:
        """Every row that is not settled."""
        catch_up.begin(job, plan, diff=False)
        return SourceRows(job, plan, now_s)

    def completed(self, job: Job, plan: Plan) -> None:
        """Remember what people were told."""
        del plan
        catch_up.catch_up(job.journal, job.pipeline, job.folder, done=job.limit is None)


def execute(
    errand: RunMode,
    pipeline: Pipeline,
    options: Options | None = None,
    observer: Observer | None = None,
    stop: Stop | None = None,
) -> Summary:
    """Do an errand; arguments, result and errors are those of `run`."""
    every = options or Options(), observer or Silent(), stop or Stop()
    return _outside_any_loop(lambda: _Run(errand, pipeline, *every).run())


def _outside_any_loop(make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine to its end, also where an event loop is running (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(make())).result()


class _Run:
    """One run."""

    def __init__(
        self,
        errand: RunMode,
        pipeline: Pipeline,
        options: Options,
        observer: Observer,
        stop: Stop,
    ) -> None:
        self._errand = errand
        self._pipeline = pipeline
        self._options = options
        self._observer = observer
        self._stop = stop
        self._clock = Clock()
        self._folder = folder_of(pipeline, options.state_dir)
        self._account = Account(pipeline, self._folder, self._clock)
        self._sends = False

    async def run(self) -> Summary:
        """Do all of it; whatever happens, the account is closed."""
        deadline = self._deadline(asyncio.get_running_loop())
        try:
            with self._journal() as journal:
                begun_before = bool(journal.parts())
                try:
                    await self._send(journal)
                except BackfillError as error:
                    if begun_before and self._errand.replaces_rows and not self._sends:
                        self._account.turn_back()
                    error.summary = self._account.close(error)
                    raise
                return self._account.close(None, may_leave_rows=self._errand.may_leave_rows)
        except BackfillError as error:
            error.summary = error.summary or self._account.close(error)
            raise
        finally:
            if deadline is not None:
                deadline.cancel()
            self._observer.ended()

    def _journal(self) -> Journal:
        if self._options.restart:
            forget(self._folder, wait_s=self._options.wait_s, sleep=self._sleep)
            Snapshot.remove(self._folder)
            (self._folder / SUMMARY_FILE).unlink(missing_ok=True)
        return Journal.open(self._folder, wait_s=self._options.wait_s, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        """Pause while another process runs the job."""
        self._stop.check()
        self._clock.sleep(seconds)

    async def _send(self, journal: Journal) -> None:
        url, credentials = self._destination()
        inputs = open_inputs(self._pipeline)
        job = Job(self._pipeline, inputs, journal, self._folder, self._options.limit)
        job = self._errand.bind(job, append=self._options.append)
        self._account.open(job, self._errand.command)
        self._observer.opened(self._account)
        bind_settings(job, accept_changes=self._options.accept_changes)
        async with self._delivery(url, credentials) as delivery:
            region = await self._unless_stopped(self._region(delivery, url))
            check_region(self._pipeline.destination.region, region, url)
            workspace = region.workspace(credentials.site_id)
            bind_workspace(journal, workspace)
            delivery.share(turns_file(f"{region.region}-{workspace}"))
            journal.meta["url"] = url
            plan = await asyncio.to_thread(self._plan, job)
            self._account.planned(plan)
            now_s = self._clock.unix_s()
            found = await asyncio.to_thread(self._errand.guards, job, plan, now_s)
            wanted = self._observer.planned(plan, found, self._errand.tonight)
            guards.refuse(found)
            self._stop.check()
            if not wanted:
                raise InterruptedRunError(
                    "nothing was sent", next_step="run the command again when ready"
                )
            await self._deliver(job, plan, delivery)

    async def _region(self, delivery: TrackDelivery, url: str) -> Region:
        """Which workspace it is; before anything was sent there is little to wait for."""
        loop = asyncio.get_running_loop()
        late = loop.call_later(UNANSWERED_AFTER_S, self._observer.unanswered, url)
        try:
            return await asyncio.wait_for(delivery.region(), START_PATIENCE_S)
        except TimeoutError:
            raise UnavailableError(
                f"the destination could not be reached for {START_PATIENCE_S:.0f} s; nothing was"
                " sent",
                next_step=f"{_reach(url)}, then run the same command again",
            ) from None
        finally:
            late.cancel()

    async def _unless_stopped(self, waiting: Coroutine[Any, Any, Result]) -> Result:
        """Wait for something that may be given up at once when the run is to stop."""
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(waiting)

        def give_up(_: BackfillError) -> None:
            loop.call_soon_threadsafe(task.cancel)

        self._stop.listen(give_up)
        try:
            return await task
        except asyncio.CancelledError:
            self._stop.check()
            raise

    def _destination(self) -> tuple[str, Credentials]:
        settings = self._pipeline.destination
        url = destination(region=settings.region or "us", url=self._options.url or settings.url)
        check_rate(self._rate, url)
        file = self._pipeline.folder / settings.credentials if settings.credentials else None
        return url, find_credentials(self._options.env, file, url)

    @property
    def _rate(self) -> float:
        rate = self._options.rate
        return self._pipeline.destination.rate if rate is None else rate

    def _delivery(
        self, url: str, credentials: Credentials
    ) -> AbstractAsyncContextManager[TrackDelivery]:
        concurrency = self._options.concurrency or self._pipeline.destination.concurrency
        return open_delivery(
            url,
            credentials,
            self._clock.time(),
            rate=self._rate,
            concurrency=concurrency,
            outage_max_s=self._pipeline.destination.outage_max,
        )

    def _plan(self, job: Job) -> Plan:
        def progress(looked: Progress) -> None:
            self._stop.check()
            self._observer.planning(looked)

        catch_up.before_another_plan(job)
        return adopt_plan(job, now_s=self._clock.unix_s(), progress=progress)

    async def _deliver(self, job: Job, plan: Plan, delivery: TrackDelivery) -> None:
        self._sends = True
        commit_plan(job, plan)
        work = self._errand.work(job, plan, self._clock.unix_s())
        sender = Sender(
            work,
            self._pipeline.rejected_max,
            delivery,
            meter=delivery.meter,
            now_s=self._clock.now_s,
            listener=self._account.listener(self._observer),
        )
        self._account.sending(sender.held)
        self._observer.sending(self._account, delivery.meter, doubt_of(job, plan))
        loop = asyncio.get_running_loop()

        def stop(why: BackfillError) -> None:
            self._observer.stopping(why)
            loop.call_soon_threadsafe(sender.stop, why)

        self._stop.listen(stop)
        async with self._account.watching(delivery.meter):
            await sender.send()
        await asyncio.to_thread(self._errand.completed, job, plan)

    def _deadline(self, loop: asyncio.AbstractEventLoop) -> asyncio.TimerHandle | None:
        """Stop when the time is up; it counts from the run's start."""
        if self._options.stop_after_s is None:
            return None
        why = UnavailableError(
            "the time limit is reached",
            next_step="run the same command again to resume",
        )
        return loop.call_later(self._options.stop_after_s, self._stop, why)


def _reach(url: str) -> str:
    """What to do where nobody answers."""
    if is_loopback(url):
        return "start the sandbox with `backfill sandbox`, or correct `url`"
    return "check the network and `url`"
