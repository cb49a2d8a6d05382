"""A job's files: from a bucket into a folder of this machine, and back.

    <name>/lock                             who has it, and which files are the job's state
    <name>/state/<generation>.<n>/…         those files: journal, plan, the sync's memory, extracts
    <name>/rejected.csv, report.html, …     the results, as they lie in a folder on a disk

State is never overwritten: what changed goes to a new place, and is believed once the lock names
it. Results are for people, who may also put a corrected `rejected.csv` in place.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import xxhash

from backfill.errors import BackfillError, CredentialsError, StateError, UnavailableError
from backfill.files import PRIVATE_DIRECTORY, PRIVATE_FILE
from backfill.journal.directory import STATE_FILE
from backfill.remote_state.lease import LOCK, PROBE, STATE, Lease, StoredAs
from backfill.sources.stores import ChangedObjectError, ObjectStore
from backfill.sources.urls import ObjectUrl

_STATE_NAMES = (STATE_FILE, "snapshot.duckdb", "plan/", "extracts/", "new_people/")
"""How the paths begin that are no results; the databases have companions."""
_RESULT_FOLDERS = ("history/", "undo/")
"""All other results lie in the job's folder itself; what others keep below it is not brought."""
_NAME_BYTES_MAX = 255
_RANGE_BYTES = 16 << 20
"""A request takes no longer than its time limit, however large the file is."""
_LOOKS = 5
"""So often a result that changes while it is read is read anew."""

_Signature = tuple[int, int, int]


@dataclass(slots=True)
class Mirror:
    """The files of one job here and there.

    Args:
        store: The bucket.
        place: The job's folder in it.
        folder: The job's folder here.

    `refused` is why a result that is out of date is still there.
    """

    store: ObjectStore
    place: ObjectUrl
    folder: Path
    refused: CredentialsError | None = field(default=None, init=False)
    _sent: dict[str, _Signature] = field(default_factory=dict)
    _places: int = 0

    def download(self, files: Mapping[str, StoredAs]) -> None:
        """Bring everything here: the state that the lock names, and the results.

        Raises:
            StateError: A file of the state is gone, or is not as it was written.
            CredentialsError: It may not be read.
            UnavailableError: The store does not answer, or a result never holds still.
        """
        self.folder.mkdir(PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        # Whoever may write to the bucket may not write anywhere on this machine.
        for strange in (path for path in files if not _is_plain(path)):
            raise self._damaged(strange)
        results = [path for path in self.results() if _is_plain(path) and path not in files]
        fetched = [self.store.threads.submit(self._fetch_result, path) for path in results]
        for path, stored in files.items():
            fetched.append(self.store.threads.submit(self._fetch_state, path, stored.key))
        # Whoever hears of a failure removes the folder: nobody may still be writing to it.
        if wait(fetched, return_when=FIRST_EXCEPTION).not_done:
            for each in fetched:
                each.cancel()
            wait(fetched)
        for each in fetched:
            if not each.cancelled():
                each.result()
        for path, stored in files.items():
            if _digest(self.folder / path) != stored.digest:
                raise self._damaged(path)
        self._sent = {path: _signature(self.folder / path) for path in self._here()}

    def results(self) -> Iterator[str]:
        """The results that are in the bucket, by their path in the job's folder."""
        for key, _ in self.store.below(self.place.path):
            path = key.removeprefix(f"{self.place.path}/")
            if path == LOCK or path.startswith((f"{STATE}/", PROBE)):
                continue
            if "/" not in path or path.startswith((*_RESULT_FOLDERS, *_STATE_NAMES)):
                yield path

    def upload(self, lease: Lease, journal: bytes | None = None) -> dict[str, StoredAs]:
        """Write everything that changed here since it was last written; nobody may write to it.

        Args:
            lease: The lock; it still names what was written before.
            journal: The journal as it was at a commit, while its own file is in use.

        Returns:
            The files that are the state now, for the lock to name.
        """
        here = {path: _signature(self.folder / path) for path in self._here()}
        if journal is not None:
            here = {path: each for path, each in here.items() if not path.startswith(STATE_FILE)}
        changed = [path for path, seen in here.items() if self._sent.get(path) != seen]
        files = {path: each for path, each in lease.head.files.items() if path in here}
        place = self._new_place(lease)
        sent = self.store.threads.map(lambda path: self._send(path, place), changed)
        files |= {path: stored for path, stored in sent if stored is not None}
        for path in self._sent.keys() - here.keys():
            if not is_state(path):
                self._remove_result(path)
        self._sent = here
        return files if journal is None else files | self._send_journal(place, journal)

    def upload_journal(self, lease: Lease, journal: bytes) -> dict[str, StoredAs]:
        """Write the journal alone, as it was at a commit; what `upload` returns."""
        return {**lease.head.files, **self._send_journal(self._new_place(lease), journal)}

    def _send_journal(self, place: str, journal: bytes) -> dict[str, StoredAs]:
        key = f"{place}/{STATE_FILE}"
        self.store.put(key, journal)
        return {STATE_FILE: StoredAs(key, len(journal), xxhash.xxh3_128_hexdigest(journal))}

    def _send(self, path: str, place: str) -> tuple[str, StoredAs | None]:
        local = self.folder / path
        if not is_state(path):
            self.store.put(f"{self.place.path}/{path}", local)
            return path, None
        stored = StoredAs(f"{place}/{path}", local.stat().st_size, _digest(local))
        self.store.put(stored.key, local)
        return path, stored

    def upload_result(self, path: str) -> None:
        """Write one result, if it is there."""
        with suppress(FileNotFoundError):
            self.store.put(f"{self.place.path}/{path}", (self.folder / path).read_bytes())

    def _remove_result(self, path: str) -> None:
        try:
            self.store.remove(f"{self.place.path}/{path}")
        except CredentialsError:
            # The state weighs more: this is told when it has been written.
            self.refused = CredentialsError(
                f"{self.place}/{path}: is out of date, and these credentials may not delete it",
                next_step="delete it, and allow them to delete objects there",
            )

    def remove(self, replaced: Mapping[str, StoredAs], files: Mapping[str, StoredAs]) -> None:
        """Remove what the lock named before, and does not now."""
        named = {each.key for each in files.values()}
        with suppress(BackfillError):
            for each in replaced.values():
                if each.key not in named:
                    self.store.remove(each.key)

    def clean(self, files: Mapping[str, StoredAs]) -> None:
        """Remove what the lock names no more; what may not be removed costs nothing but room."""
        named = {each.key for each in files.values()}
        with suppress(BackfillError):
            for key, _ in self.store.below(f"{self.place.path}/{STATE}"):
                if key not in named:
                    self.store.remove(key)

    def _new_place(self, lease: Lease) -> str:
        self._places += 1
        return f"{self.place.path}/{STATE}/{lease.head.generation}.{self._places}"

    def _here(self) -> Iterator[str]:
        for folder, folders, names in os.walk(self.folder):
            # What was being extracted when it was cut short is extracted anew.
            folders[:] = [each for each in folders if not each.endswith(".part")]
            for name in names:
                path = Path(folder, name).relative_to(self.folder).as_posix()
                if path != LOCK and not name.endswith(".tmp"):
                    yield path

    def _fetch_state(self, path: str, key: str) -> None:
        try:
            if not self._fetch(path, key):
                raise self._damaged(path)
        except ChangedObjectError:
            raise self._damaged(path) from None

    def _fetch_result(self, path: str) -> None:
        """Whoever was taken over may write one more status, and people a corrected file."""
        for _ in range(_LOOKS):
            try:
                self._fetch(path, f"{self.place.path}/{path}")
            except ChangedObjectError:
                (self.folder / path).unlink(missing_ok=True)
            else:
                return
        raise UnavailableError(
            f"{self.place}/{path}: changed each time while it was read",
            next_step="run the same command again once nobody writes it",
        )

    def _fetch(self, path: str, key: str) -> bool:
        """Bring one object; returns whether it is there.

        Raises:
            ChangedObjectError: It changed while it was read; part of it may be here.
        """
        target = self.folder / path
        version = self.store.head(key)
        if version is None:  # gone by now, or a folder that a console made
            return False
        try:
            target.parent.mkdir(PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise StateError(
                f"{self.place}/{path}: one object lies below another, and no file can",
                next_step="remove the one that backfill did not write",
            ) from None
        with os.fdopen(descriptor, "wb") as file:
            for start in range(0, version.size, _RANGE_BYTES):
                stop = min(start + _RANGE_BYTES, version.size)
                file.write(self.store.read(key, start, stop, version, self.place.scheme))
        return True

    def _damaged(self, path: str) -> StateError:
        return StateError(
            f"{self.place}: {path} is gone, or not as it was written",
            next_step="run the same command again; if it stays so, restore the folder from a"
            " backup, or start over with --restart: events keep their ids, so what was sent before"
            " counts once",
        )


def is_state(path: str) -> bool:
    """Whether a file of a job's folder decides what is sent; all others are results."""
    return path.startswith(_STATE_NAMES)


def _is_plain(path: str) -> bool:
    """Whether a name leads nowhere but into the job's folder, and can be that of a file."""
    parts = PurePosixPath(path).parts
    is_short = all(len(each.encode()) <= _NAME_BYTES_MAX for each in parts)
    return bool(parts) and not path.startswith("/") and ".." not in parts and is_short


def _signature(path: Path) -> _Signature:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _digest(path: Path) -> str:
    made = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            made.update(block)
    return made.hexdigest()
