"""Whole runs of small jobs in virtual time, over a delivery that does as it is told."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backfill.commands.run import RUN
from backfill.delivery.outcome import Meter
from backfill.engine.options import Options, PlannedRun, Silent, StartedRun, Stop
from backfill.engine.run import RunMode, run_job
from backfill.errors import BackfillError, ExitCode, InterruptedRunError
from backfill.journal import Journal
from backfill.pipeline.file import Pipeline
from backfill.planning.progress import Progress
from backfill.report.summary import Summary
from tests.support.fake_delivery import FakeDelivery
from tests.support.virtual_time import in_no_time, virtual_clock

URL = "http://127.0.0.1:1"


@dataclass(slots=True)
class Noting(Silent):
    """An observer that notes what it is told, and agrees to start or not."""

    agrees: bool = True
    told: list[str] = field(default_factory=list)
    plan: PlannedRun | None = None
    started: StartedRun | None = None
    rejected_file: Path | None = None

    def unanswered(self, url: str) -> None:
        """Note it."""
        self.told.append(f"unanswered {url}")

    def checked(self, more: Progress) -> None:
        """Note it, once."""
        del more
        if "checked" not in self.told:
            self.told.append("checked")

    def planned(self, run: PlannedRun) -> bool:
        """Note it."""
        self.told.append("planned")
        self.plan = run
        return self.agrees

    def sending(self, run: StartedRun) -> None:
        """Note it."""
        self.told.append("sending")
        self.started = run

    def stopping(self, why: BackfillError) -> None:
        """Note it."""
        self.told.append(f"stopping: {why.what}")

    def ended(self, rejected_file: Path | None) -> None:
        """Note it."""
        self.told.append("ended")
        self.rejected_file = rejected_file


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended.

    Args:
        summary: What became of every row.
        error: What stopped it; None: nothing did.
        seconds: How long it took, in virtual time.
        observer: What was told meanwhile.
    """

    summary: Summary
    error: BackfillError | None
    seconds: float
    observer: Noting

    @property
    def exit(self) -> ExitCode:
        """The exit code."""
        return self.error.exit_code if self.error else ExitCode(self.summary.exit)


def run_in_no_time(
    pipeline: Path,
    delivery: FakeDelivery,
    mode: RunMode = RUN,
    *,
    stop: Stop | None = None,
    observer: Noting | None = None,
    **options: Any,
) -> Ran:
    """Run a job whose every second is virtual.

    Args:
        pipeline: The pipeline file.
        delivery: What it sends to.
        mode: What is done; a run.
        stop: Asks it to stop.
        observer: Is told of it.
        options: Fields of `Options`.
    """
    noting = observer or Noting()

    async def go() -> tuple[Summary, BackfillError | None, float]:
        began_s, error = asyncio.get_running_loop().time(), None
        delivery.meter = Meter(concurrency=delivery.concurrency)
        asked = Options(url=URL, env={}, **options)
        given = Pipeline.load(pipeline), asked, noting, stop or Stop()
        try:
            clock = virtual_clock()
            summary = await run_job(mode, *given, clock=clock, connect=delivery.connect)
        except BackfillError as stopped:
            summary, error = stopped.summary, stopped
        return summary, error, asyncio.get_running_loop().time() - began_s

    summary, error, seconds = in_no_time(go())
    return Ran(summary, error, seconds, noting)


def ctrl_c(stop: Stop) -> Callable[..., None]:
    """Asks a run to stop, whenever it is called."""

    def ask(*_: object) -> None:
        stop(InterruptedRunError("interrupted"))

    return ask


def journal_of(pipeline: Path, name: str = "job") -> Journal:
    """The journal of a job that does not run."""
    return Journal.open(pipeline.parent / ".backfill" / name)
