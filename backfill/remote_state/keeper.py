"""A command with its state in a bucket: brought here, kept up to date there, and let go of.

While the command runs, one thread watches the time. Requests go through two others, so that a
store that hangs is noticed: one writes the lock every 10 s, the other the journal.

A store that does not answer stops nothing at first, for the journal here is durable. When the lock
could not be written for 45 s, sending stops: after 60 s another may go on.
"""

import glob
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from backfill.clock import Clock
from backfill.engine.options import Options, Stop
from backfill.errors import (
    BackfillError,
    StateError,
    UnavailableError,
    UsageError,
    as_ours,
    first_of,
)
from backfill.job import STANDS_FOR
from backfill.journal import Journal
from backfill.journal.lock import leave_note, noted_in
from backfill.pipeline.file import Pipeline
from backfill.pipeline.file_settings import StorageSettings
from backfill.remote_state.lease import Lease, Pace, take
from backfill.remote_state.mirror import Mirror
from backfill.report.status_file import STATUS_FILE
from backfill.report.summary import SUMMARY_FILE, Summary
from backfill.sources.stores import ObjectStore, connected
from backfill.sources.urls import ObjectUrl, is_url, matcher

PATIENCE_S = 30.0
"""How long a store may fail at the start, before the first row, and at the end."""

_SNAPSHOT_SHARE = 10
"""A journal that takes long to write is written less often: a tenth of the time goes into it."""

_TICK_S = 1.0

_WRITTEN = ("rejected.csv", "rejected.jsonl", "undo/id.csv", "state/1.1/plan/k/people.parquet")
"""Files of a job as some pattern of names may find them."""

Say = Callable[[str], None]
Connect = Callable[[ObjectUrl, StorageSettings, Clock, float], ObjectStore]


class BucketKeeper:
    """Keeps a bucket up to date with a job that runs here.

    `lost` is why the lock may not be ours any more; `is_here` whether the folder holds the state.

    Args:
        lease: The job's lock.
        mirror: Its files.
        clock: The time.
        pace: How often the lock is written, and when sending stops.
        stop: Asks the run to stop.
        pool: Where requests are made.
    """

    def __init__(
        self,
        lease: Lease,
        mirror: Mirror,
        clock: Clock,
        pace: Pace,
        stop: Stop,
        pool: Executor,
    ) -> None:
        self._lease = lease
        self._mirror = mirror
        self._clock = clock
        self._pace = pace
        self._stop = stop
        self._image: bytes | None = None
        self._next_image_s = 0.0
        self._beating: Future[None] | None = None
        self._writing: Future[None] | None = None
        self._pool = pool
        self.lost: BackfillError | None = None
        self.is_here = False

    # What a run tells

    def before_sending(self, journal: Journal) -> None:
        """Write all of it, and say that rows may be sent from now on."""
        self._check()
        journal.commit()
        files = self._mirror.upload(self._lease, journal.image())
        self._lease.write(files=files, sending=True, commits=self._commits())
        self._mirror.clean(files)
        self._next_image_s = self._clock.now_s() + self._pace.beat_s

    def committed(self, journal: Journal) -> None:
        """Take a copy of the journal where one is due; it is written in a thread."""
        self._check()
        now_s = self._clock.now_s()
        if now_s >= self._next_image_s and self._image is None:
            self._image = journal.image()
            self._next_image_s = now_s + self._pace.beat_s

    def _check(self) -> None:
        if self.lost is not None:
            raise self.lost

    # What is done beside it

    def tick(self) -> None:
        """Do what is due, in threads; stop the run where the lock is not ours, or may not be."""
        silent_s = self._lease.silent_s()
        if silent_s >= self._pace.stop_s:
            self._lose(
                UnavailableError(
                    f"{self._lease.name}: could not be written for {silent_s:.0f} s, and after"
                    f" {self._pace.takeover_s:.0f} s another run may take over: nothing more is"
                    " sent",
                    next_step="check the network and the store, then run the same command again:"
                    " it resumes",
                )
            )
        if self._image is not None and _is_over(self._writing):
            self._writing = self._pool.submit(self._guarded, self._write_journal)
        if silent_s >= self._pace.beat_s and _is_over(self._beating):
            self._beating = self._pool.submit(self._guarded, self._beat)

    def _beat(self) -> None:
        self._lease.write(commits=self._commits())
        # After the lock, so that whoever was taken over tells nothing more.
        self._mirror.upload_result(STATUS_FILE)

    def _write_journal(self) -> None:
        image, began_s = self._image, self._clock.now_s()
        if image is None:
            return
        try:
            replaced = self._lease.head.files
            files = self._mirror.upload_journal(self._lease, image)
            self._lease.write(files=files, commits=self._commits())
            self._mirror.remove(replaced, files)
            self._mirror.upload_result(STATUS_FILE)
        finally:
            ended_s = self._clock.now_s()
            rest_s = (ended_s - began_s) * (_SNAPSHOT_SHARE - 1)
            self._next_image_s = max(self._next_image_s, ended_s + rest_s)
            self._image = None

    def _guarded(self, request: Callable[[], None]) -> None:
        try:
            request()
        except UnavailableError:
            pass  # how long that may go on, `tick` says
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread
            self._lose(as_ours(error))

    def _lose(self, why: BackfillError) -> None:
        if self.lost is None:
            self.lost = why
            self._stop(why)

    def _commits(self) -> int:
        return noted_in(self._mirror.folder)

    # At the end

    def let_go(self) -> None:
        """Write what changed, and let the next one in.

        Raises:
            BackfillError: The lock is not ours any more, or the store does not answer.
        """
        self._pool.shutdown()
        if isinstance(self.lost, StateError):
            raise self.lost
        if not self.is_here:
            self._lease.write(held=False)
            return
        # First: whoever was taken over must not write over the results of who did it.
        self._lease.write(commits=self._commits())
        files = self._mirror.upload(self._lease)
        self._lease.write(files=files, held=False, sending=False, commits=self._commits())
        self._mirror.clean(files)
        if self._mirror.refused:
            raise self._mirror.refused


@contextmanager
def brought_here(  # noqa: PLR0913 - all but four are keywords
    url: str,
    pipeline: Pipeline,
    options: Options,
    stop: Stop,
    *,
    say: Say = lambda _: None,
    clock: Clock | None = None,
    pace: Pace | None = None,
    connect: Connect = connected,
) -> Iterator[Options]:
    """Bring a job's state here, and take it back however the body ends.

    Args:
        url: Where jobs keep their state.
        pipeline: The settings.
        options: How the command was asked for.
        stop: Asks it to stop; it is asked, too, when the lock is lost.
        say: Shows a sentence.
        clock: The time.
        pace: How often the lock is written, and when it is taken over.
        connect: Opens a store; the arguments are those of `connected`.

    Yields:
        The same options, with a folder of this machine for the state.

    Raises:
        StateError: Another run has the job, or the state cannot be used.
        UsageError: There is no such bucket, `obstore` is not installed, or a source would read what
            the job writes.
        CredentialsError: The bucket may not be read or written.
        UnavailableError: The store does not answer.
    """
    clock, pace = clock or Clock(), pace or Pace()
    place = ObjectUrl.parse(f"{url}/{pipeline.name}")
    _refuse_own_files(pipeline, place)
    store = connect(place, pipeline.storage, clock, min(PATIENCE_S, pace.takeover_s / 2))
    lease = take(
        store,
        place.path,
        clock=clock.interrupted_by(stop.check),
        pace=pace,
        wait_s=options.wait_s,
        anew=options.restart,
        say=say,
    )
    with tempfile.TemporaryDirectory(prefix="backfill-") as work:
        folder = Path(work).resolve() / pipeline.name
        mirror = Mirror(store, place, folder)
        keeper = BucketKeeper(lease, mirror, clock, pace, stop, ThreadPoolExecutor(2, "state"))
        with _ended(keeper, folder), _watched(keeper, pace):
            mirror.download({} if options.restart else lease.found.files)
            leave_note(folder, 0 if options.restart else lease.found.noted)
            # What people have to say for the same job; the pipeline file may say it already.
            (folder.parent / STANDS_FOR).write_text(url if options.state_dir else "")
            keeper.is_here = True
            yield replace(options, state_dir=folder.parent, keeper=keeper)


def _refuse_own_files(pipeline: Pipeline, place: ObjectUrl) -> None:
    """Refuse patterns that find a job's own files: `rejected.csv` would be sent the next night."""
    written = [place.beside(f"{place.path}/{each}") for each in _WRITTEN]
    for number, source in enumerate(pipeline.sources, 1):
        for pattern in filter(glob.has_magic, filter(is_url, source.files)):
            asked = ObjectUrl.parse(pattern)
            if (asked.scheme, asked.bucket) != (place.scheme, place.bucket):
                continue
            if own := next(filter(matcher(asked.key), written), None):
                raise UsageError(
                    f"source {number}: {pattern} finds the job's own files, such as {own}",
                    next_step="keep the state in a folder that no source reads, or let `files` say"
                    " the folder",
                )


@contextmanager
def _watched(keeper: BucketKeeper, pace: Pace) -> Iterator[None]:
    """Let the keeper do what is due while the body runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(min(_TICK_S, pace.beat_s / 4)):
            keeper.tick()

    thread = threading.Thread(target=watch, name="state", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _ended(keeper: BucketKeeper, folder: Path) -> Iterator[None]:
    """Let go of the state at the end of the body; what weighs more of its failure and ours wins."""
    error: BaseException | None = None
    try:
        yield
    except BaseException as failure:
        error = failure
        raise
    finally:
        try:
            keeper.let_go()
        except BackfillError as failure:
            if failure is not error and not _weighs_more(error, failure):
                last = Summary.load(folder / SUMMARY_FILE)
                failure.summary = last and replace(last, exit=failure.exit_code)
                raise failure from error


def _weighs_more(error: BaseException | None, failure: BackfillError) -> bool:
    """Whether what stopped the command decides its exit code, and not how its state was kept."""
    if error is None:
        return False
    ours = as_ours(error).exit_code
    return ours != failure.exit_code and first_of((ours, failure.exit_code)) == ours


def _is_over(work: Future[None] | None) -> bool:
    return work is None or work.done()
