"""How workers are had: processes of this machine, or those of a cluster, looked at first."""

import logging
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backfill.cluster import worker
from backfill.cluster.parcels import IN_MEMORY, FolderShelf, MemoryShelf, Shelf, Taken
from backfill.cluster.worker import VERSION
from backfill.errors import UnavailableError, UsageError
from backfill.pipeline.destination_settings import bucket_objection
from backfill.pipeline.file_settings import StorageSettings

try:
    import dask
    from distributed import Client, LocalCluster
    from distributed.security import Security

    from backfill.cluster.workers import FEW_ROWS, Crew, ProcessWorkers
except ModuleNotFoundError as error:
    raise UsageError(
        f"--workers and --cluster need Dask: {error.name} is not installed",
        next_step="pip install 'backfill[cluster]'",
    ) from error

CONNECT_S = 10.0
WORKER_BYTES_MIN = 400_000_000
_LOG = logging.getLogger("distributed")
_SILENT = logging.CRITICAL + 1
"""What Dask logs of a task may hold what the task was given."""

DASK_CONFIG = {
    # A lease whose worker died comes back at once: it is counted here.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    # A worker that stands still has its lease given to another.
    "distributed.scheduler.worker-ttl": "10s",
    # Who was killed is started anew. So long after it was lost Dask would end it, though it may be
    # starting once more; who does not come back is replaced by `Crew.present`.
    "distributed.deploy.lost-worker-timeout": "10000h",
    # What they serve by HTTP has no key to it.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # Dask's MALLOC_TRIM_THRESHOLD_ has every large table fetched from the system anew: with it the
    # same work took twice the time.
    "distributed.nanny.pre-spawn-environ": {
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    },
    # Nobody looks at what it would measure of itself, many times a second in each process.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.cycle": "10s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.pause": False,
    "distributed.admin.large-graph-warning-threshold": "1GB",
}


def affordable(memory_bytes: int | None = None) -> int:
    """How many workers the cores and the memory of this machine allow, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if memory_bytes is None:
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return max(1, min(cores or 1, memory_bytes // WORKER_BYTES_MIN))


@contextmanager
def local_workers(
    count: int,
    check: Callable[[], None],
    shelf: Shelf | None = None,
    few: int = FEW_ROWS,
    whole: Collection[int] = (),
) -> Iterator[ProcessWorkers]:
    """Processes of this machine.

    Args:
        count: How many.
        check: Raises what is to stop the run.
        shelf: Where chunks are laid down for them; None: in memory.
        few: So many rows are worth the start.
        whole: The sources, by index, whose chunks must stay as they are.
    """
    lies = shelf or _shelf_in_memory()

    def start() -> Crew:
        # Encrypted and with keys of its own: whoever may speak to a scheduler may run code as us,
        # and every user of this machine can reach its port.
        security = Security.temporary()
        _LOG.setLevel(_SILENT)
        try:
            cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                silence_logs=_SILENT,
                security=security,
                preload=["backfill.cluster.worker"],
            )
            client = Client(cluster, set_as_default=False)
        except (OSError, RuntimeError) as failure:
            raise UsageError(
                f"--workers {count}: they could not be started: {type(failure).__name__}",
                next_step="ask for fewer, or leave it out: one process does the same",
            ) from failure
        return Crew(client, lies, count, Taken(in_memory=lies.name is None), cluster)

    workers = ProcessWorkers(start, check, few, whole=whole)
    # Some of it Dask looks up only when a worker is lost.
    with dask.config.set(DASK_CONFIG):
        try:
            yield workers
        finally:
            workers.close()
            lies.clear()


@contextmanager
def cluster_workers(
    address: str,
    check: Callable[[], None],
    shelf: Shelf,
    folders: Collection[Path],
    whole: Collection[int] = (),
) -> Iterator[ProcessWorkers]:
    """The workers of a Dask cluster.

    Args:
        address: Its scheduler.
        check: Raises what is to stop the run.
        shelf: Where chunks are laid down, so that all of them and this process see them.
        folders: What else they have to read.
        whole: The sources, by index, whose chunks must stay as they are.

    Raises:
        UsageError: The address is none, or a worker cannot do its work.
        UnavailableError: Nobody is there.
    """
    try:
        client = _client_of(address)
        try:
            there = _probed(client, shelf, folders)
            crew = Crew(client, shelf, there, Taken(in_memory=False))
            yield ProcessWorkers(lambda: crew, check, few=0, whole=whole)
        finally:
            client.close()
    finally:
        shelf.clear()


def _client_of(address: str) -> Client:
    _LOG.setLevel(_SILENT)
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"--cluster: {address!r} is no address of a Dask scheduler",
            next_step="write it as tcp://HOST:8786 or tls://HOST:8786",
        ) from error
    except (OSError, TimeoutError) as error:
        raise UnavailableError(
            f"no Dask scheduler answers at {address}",
            next_step="start it (`dask scheduler`), then run the same command again",
        ) from error


def _probed(client: Any, shelf: Shelf, folders: Collection[Path]) -> int:
    """How many workers there are, all of which can do their work."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except TimeoutError as error:
        raise UnavailableError(
            "the cluster has no workers",
            next_step="start some (`dask worker ADDRESS`), then run the same command again",
        ) from error
    seen = sorted(str(each.absolute()) for each in folders)
    answers = client.run(worker.probe, tuple(seen), shelf.name, on_error="return")
    for name, answer in sorted(answers.items()):
        if isinstance(answer, BaseException):
            raise UsageError(
                f"worker {name} cannot run backfill {VERSION}: {type(answer).__name__}",
                next_step="install the same version everywhere",
            )
        version, wrong = answer
        if version != VERSION:
            raise UsageError(
                f"worker {name} has backfill {version}, and this is backfill {VERSION}",
                next_step="install the same version everywhere",
            )
        if wrong:
            raise UsageError(
                f"worker {name} {wrong}",
                next_step="choose folders that every worker sees under the same path: --scratch,"
                " --state-dir, and that of the pipeline file",
            )
    return len(answers)


def _shelf_in_memory() -> Shelf:
    if not IN_MEMORY:
        raise UsageError(
            "this system has no files in memory for workers to find their rows in",
            next_step="add --scratch DIR: a folder that only you can read",
        )
    return MemoryShelf()


def _shelf(scratch: str, storage: StorageSettings) -> Shelf:
    """The shelf that `--scratch` asks for."""
    if "://" in scratch:
        if why := bucket_objection(scratch):
            raise UsageError(
                f"--scratch: the URL {why}",
                next_step="write it as s3://BUCKET/FOLDER, or name a folder",
            )
        from backfill.cluster.bucket_shelf import BucketShelf  # noqa: PLC0415 - few have one

        return BucketShelf.made_in(scratch, storage)
    try:
        return FolderShelf.made_in(Path(scratch))
    except OSError as failure:
        raise UsageError(
            f"--scratch {scratch}: {failure.strerror}", next_step="choose a folder to write to"
        ) from failure


@contextmanager
def opened_workers(
    count: int | str,
    address: str | None,
    scratch: str | None,
    storage: StorageSettings,
    *,
    folders: Collection[Path],
    check: Callable[[], None],
    whole: Collection[int] = (),
) -> Iterator[ProcessWorkers]:
    """The workers that a command asks for.

    Args:
        count: How many processes of this machine, or "auto".
        address: Whose workers instead.
        scratch: Where they find their work: a folder, or the URL of one in a bucket.
        storage: Where that bucket is.
        folders: What else they have to read.
        check: Raises what is to stop the run.
        whole: The sources, by index, whose chunks must stay as they are.

    Raises:
        UsageError: They cannot be had so.
        UnavailableError: Nobody answers there.
    """
    if address is None:
        # Whoever says how many wants them; else they are started where it is worth it.
        many, few = (affordable(), FEW_ROWS) if count == "auto" else (int(count), 1)
        shelf = None if scratch is None else _shelf(scratch, storage)
        with local_workers(many, check, shelf, few, whole) as workers:
            yield workers
        return
    if count != 1:
        raise UsageError(
            "--workers and --cluster exclude each other",
            next_step="--workers N starts processes here, --cluster ADDRESS uses others'",
        )
    if scratch is None:
        raise UsageError(
            "--cluster needs a folder in which its workers find the rows",
            next_step="add --scratch DIR, a folder that this process and all workers see, or"
            " --scratch s3://BUCKET/FOLDER",
        )
    with cluster_workers(address, check, _shelf(scratch, storage), folders, whole) as workers:
        yield workers
