"""What a bucket tells of its jobs to whoever only looks: no lock is taken, no journal is opened."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from backfill.clock import Clock
from backfill.files import PRIVATE_DIRECTORY, write_atomically
from backfill.pipeline.file_settings import StorageSettings
from backfill.remote_state.keeper import PATIENCE_S
from backfill.remote_state.lease import LOCK, Head, Pace
from backfill.report.status_file import STATUS_FILE
from backfill.report.summary import SUMMARY_FILE
from backfill.sources.stores import ObjectStore, connected
from backfill.sources.urls import ObjectUrl


@contextmanager
def jobs_there(
    url: str,
    storage: StorageSettings | None,
    name: str | None,
    history: str,
    *,
    clock: Clock | None = None,
) -> Iterator[list[Path]]:
    """What the jobs below a URL say of themselves, in folders that go with the body.

    Args:
        url: Where jobs keep their state.
        storage: Where its store is; None: the environment says it.
        name: Only this job; None: all of them.
        history: The folder of a job that holds its history.
        clock: The time.

    Yields:
        A folder for each job, with its status, its summary and its history. They say, too, whether
        the process that runs the job is alive: this machine cannot ask another's.

    Raises:
        StateError: A lock is none of ours.
        CredentialsError: The bucket may not be read.
        UnavailableError: The store does not answer.
    """
    clock = clock or Clock()
    place = ObjectUrl.parse(f"{url}/")
    store = connected(place, storage or StorageSettings(), clock, PATIENCE_S)
    found = {key for key, _ in store.below(f"{place.path}{name or ''}".rstrip("/"))}
    jobs = [name] if name else _jobs(found, place.path)
    with tempfile.TemporaryDirectory(prefix="backfill-") as work:
        folders = []
        for job in jobs:
            if (lock := store.get(f"{place.path}{job}/{LOCK}")) is None:
                continue
            head = Head.parse(lock.content, f"{place}{job}/{LOCK}")
            folders.append(Path(work).resolve() / job)
            _bring(store, found, f"{place.path}{job}/", folders[-1], history)
            _mark(folders[-1], history, alive=_is_alive(head, clock))
        yield folders


def _jobs(found: set[str], base: str) -> list[str]:
    """The names of the jobs that have a lock in a folder."""
    paths = [PurePosixPath(key.removeprefix(base)).parts for key in found]
    return sorted(each[0] for each in paths if len(each) == 2 and each[1] == LOCK)  # noqa: PLR2004


def _bring(store: ObjectStore, found: set[str], base: str, folder: Path, history: str) -> None:
    """Bring the small files that a status is made of."""
    (folder / history).mkdir(PRIVATE_DIRECTORY, parents=True)
    for key in found:
        path = PurePosixPath(key.removeprefix(base))
        wanted = (STATUS_FILE, SUMMARY_FILE, f"{history}/{path.name}")
        if key not in [f"{base}{each}" for each in wanted]:
            continue
        # One that is gone was forgotten just now by the job that runs.
        if (got := store.get(key)) is not None:
            write_atomically(folder / path, got.content, lasting=False)


def _is_alive(head: Head, clock: Clock) -> bool:
    """Whether whoever has the lock was heard lately, by its own clock and ours."""
    if not head.held:
        return False
    heard_s = datetime.fromisoformat(head.at).astimezone(UTC).timestamp()
    return clock.unix_s() - heard_s <= Pace().takeover_s


def _mark(folder: Path, history: str, *, alive: bool) -> None:
    """Say in a status and in the last call whether their process is alive."""
    calls = sorted((folder / history).glob("*.json"))
    for path in (folder / STATUS_FILE, *calls):
        try:
            told: Any = orjson.loads(path.read_bytes())
        except (OSError, ValueError):
            continue  # whoever reads it says so
        if isinstance(told, dict):
            told["alive"] = alive and (path.parent == folder or path == calls[-1])
            write_atomically(path, orjson.dumps(told), lasting=False)
