"""How a run is asked for, watched and stopped."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from backfill.delivery.outcome import Meter
from backfill.errors import BackfillError, UsageError
from backfill.job import Doubt, folder_of
from backfill.journal import Counts, Journal
from backfill.judge.chunk_judge import IN_THREADS, ChunkWorkers
from backfill.pipeline.file import Pipeline
from backfill.planning.guards import Guard
from backfill.planning.plan import Plan
from backfill.planning.progress import Progress
from backfill.sources.extraction import Extracted
from backfill.sources.globs import expand
from backfill.sources.urls import is_url

if TYPE_CHECKING:  # few runs need them
    from backfill.delivery.track_delivery import Elsewhere
    from backfill.sync.differences import Differences


class Keeper(Protocol):
    """Keeps a job's state elsewhere, too; what it raises stops the run."""

    def before_sending(self, journal: Journal) -> None:
        """All of the state is to be kept before the first request; called once, in a thread."""

    def committed(self, journal: Journal) -> None:
        """The journal has just committed what became of rows; called between two requests."""


class StaysHere:
    """The keeper of a state that is on this machine's disk."""

    def before_sending(self, journal: Journal) -> None:
        """It is where it belongs."""

    def committed(self, journal: Journal) -> None:
        """It is where it belongs."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is done; nothing here changes what is sent.

    Args:
        state_dir: Where jobs keep their state, a folder or a URL; None: as the pipeline file says,
            else `.backfill` beside it.
        url: Where requests go instead of the pipeline's destination.
        rate: Requests per second at most, instead of the pipeline's; 0: no limit, loopback only.
        concurrency: Requests at the same time; None: the pipeline's, or by rate and latency.
        limit: Of each source only the first so many rows are sent; guards see all.
        stop_after_s: Drain and stop after so many seconds; None: never.
        restart: Forget what was sent.
        append: Rows and files may have been added.
        wait_s: How long to wait for another process that runs the job.
        canary: So many people are sent and read back first; None: nobody is.
        accept_changes: The settings may have changed since rows were sent.
        env: Where credentials are looked for.
        keeper: Keeps the state elsewhere, too.
        workers: So many processes work on chunks, or as many as cores and memory allow; 1: this
            one alone.
        cluster: The address of a Dask scheduler whose workers work on chunks.
        scratch: A folder in which they find the chunks; None: in the memory of this machine.
        chunk_workers: Who that is, once they are there.
        elsewhere: Has requests sent by them; None: this process sends.
    """

    state_dir: str | Path | None = None
    url: str | None = None
    rate: float | None = None
    concurrency: int | None = None
    limit: int | None = None
    stop_after_s: float | None = None
    restart: bool = False
    append: bool = False
    accept_changes: bool = False
    wait_s: float = 0.0
    canary: int | None = None
    # An argument, so that no test and no notebook has to change the process's own.
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    keeper: Keeper = field(default_factory=StaysHere)
    workers: int | Literal["auto"] = 1
    cluster: str | None = None
    scratch: str | None = None
    chunk_workers: ChunkWorkers = IN_THREADS
    elsewhere: "Elsewhere | None" = None


@dataclass(slots=True)
class Tally:
    """The rows of one run so far; it grows while they are sent, and any thread may read it.

    Args:
        rows: Rows settled.
        rejected: How many of them were rejected.
        held: How many rows of each source wait until they are 72 hours old, by its index.
        counts: What became of the settled rows, by the index of their source; in a retry they were
            rejected before.
    """

    rows: int = 0
    rejected: int = 0
    held: dict[int, int] = field(default_factory=dict)
    counts: dict[int, Counts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that is planned, and has sent nothing yet.

    Args:
        plan: What the plan pass found.
        guards: Why nothing must be sent, in order of harm; empty: it may be.
        rows_left: How many rows are not settled; in a retry: how many are rejected.
        differences: In a sync: how the exports differ from what was delivered.
        notes: What else people should know before it starts, as sentences.
    """

    plan: Plan
    guards: Sequence[Guard]
    rows_left: int
    differences: "Differences | None" = None
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that begins to send.

    Args:
        rows: How many rows there are, those that were settled before among them.
        settled: How many were settled before this run.
        rejected: How many of those were rejected.
        requests: How many requests all rows make, roughly; 0: nobody knows.
        doubt: Which rows may have been sent before, and are sent again.
        tally: The rows that this run settles, from now on.
        meter: What the delivery does, from now on.
    """

    rows: int
    settled: int
    rejected: int
    requests: int
    doubt: Doubt
    tally: Tally
    meter: Meter


class Observer(Protocol):
    """Is told what happens in a run. Every method may be called from another thread than `run`."""

    def unanswered(self, url: str) -> None:
        """The destination was asked which workspace it is, and has not answered yet."""

    def extracted(self, more: Extracted) -> None:
        """More rows of a query, or bytes of stdin, were extracted; called ten times a second."""

    def checked(self, more: Progress) -> None:
        """The plan pass has checked more rows."""

    def planned(self, run: PlannedRun) -> bool:
        """The plan pass has ended; False: do not send."""

    def sending(self, run: StartedRun) -> None:
        """Sending has begun; how far it has come is read from `run.tally` at any time."""

    def verifying(self, text: str) -> None:
        """What was sent by way of trial is read back; called now and then with how far it is."""

    def stopping(self, why: BackfillError) -> None:
        """No more rows are taken; requests under way are waited for."""

    def ended(self, rejected_file: Path | None) -> None:
        """The run has ended, and its rejected rows are there; None: no row is rejected."""


class Silent:
    """The observer of a run that nobody watches: it shows nothing and lets the run start."""

    def unanswered(self, url: str) -> None:
        """Show nothing."""

    def extracted(self, more: Extracted) -> None:
        """Show nothing."""

    def checked(self, more: Progress) -> None:
        """Show nothing."""

    def planned(self, run: PlannedRun) -> bool:
        """Let it start; guards refuse all the same."""
        del run
        return True

    def sending(self, run: StartedRun) -> None:
        """Show nothing."""

    def verifying(self, text: str) -> None:
        """Show nothing."""

    def stopping(self, why: BackfillError) -> None:
        """Show nothing."""

    def ended(self, rejected_file: Path | None) -> None:
        """Show nothing."""


class Stop:
    """Asks a run to stop, from any thread: what is under way is waited for."""

    def __init__(self) -> None:
        self._why: BackfillError | None = None
        self._listeners: list[Callable[[BackfillError], None]] = []

    def __call__(self, why: BackfillError) -> None:
        """Stop for this reason; the first one counts."""
        # A second signal must not replace the reason, and with it the exit code, of the first.
        if self._why is None:
            self._why = why
            for listener in self._listeners:
                listener(why)

    def listen(self, listener: Callable[[BackfillError], None]) -> None:
        """Call `listener` when asked, at once if that was before."""
        self._listeners.append(listener)
        if self._why is not None:
            listener(self._why)

    @contextmanager
    def heard_by(self, listener: Callable[[BackfillError], None]) -> Iterator[None]:
        """Let `listener` listen while the body runs."""
        self.listen(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def check(self) -> None:
        """Raise the reason, if there is one."""
        if self._why is not None:
            raise self._why


@contextmanager
def with_workers(pipeline: Pipeline, options: Options, stop: Stop) -> Iterator[Options]:
    """Have those at hand who work on chunks: threads, unless other processes are asked for.

    Args:
        pipeline: The settings.
        options: How it is done; their `state_dir` is a folder.
        stop: Asks it to stop.

    Yields:
        The same options, with them.

    Raises:
        UsageError: They cannot do it, or are not installed.
        UnavailableError: There is no such cluster.
    """
    if options.workers == 1 and options.cluster is None:
        if options.scratch is not None:
            raise UsageError(
                "--scratch is where workers find their work, and there are none",
                next_step="add --workers N or --cluster ADDRESS, or leave it out",
            )
        yield options
        return
    from backfill.cluster.starting import opened_workers  # noqa: PLC0415 - few ask for any

    state = folder_of(pipeline, options.state_dir)
    # A job that never ran has no folder yet.
    there = next(each for each in (state, *state.absolute().parents) if each.exists())
    asked = options.workers, options.cluster, options.scratch, pipeline.storage
    folders = {there, pipeline.folder}
    if options.cluster is not None:
        folders |= _folders_of(pipeline)
    # What a transform makes of a chunk is held against what it made of it in the plan pass.
    whole = {number for number, each in enumerate(pipeline.sources) if each.transform}
    with opened_workers(*asked, folders=folders, check=stop.check, whole=whole) as workers:
        yield replace(options, chunk_workers=workers, elsewhere=workers.sending)


def _folders_of(pipeline: Pipeline) -> set[Path]:
    """The folders of this machine that hold the sources."""
    files = [name for each in pipeline.sources if not each.is_extracted for name in each.files]
    local = [name for name in files if not is_url(name)]
    return {Path(str(each)).parent for each in expand(local, pipeline.folder)}
