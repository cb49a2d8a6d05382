"""Objects of a store as files: found by name, and pinned to the version that was seen first."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import xxhash

from backfill.clock import Clock
from backfill.errors import SourceChangedError, UsageError
from backfill.pipeline.file import Pipeline
from backfill.pipeline.file_settings import StorageSettings
from backfill.pipeline.source_settings import Source
from backfill.retrying import OUTAGE_MAX_S
from backfill.sources.interface import Fingerprint, LocalFile, Location, Piece, StoredFile
from backfill.sources.read_ahead import BY_ITS_BEGINNING, ReadAhead, ReadingPlan
from backfill.sources.urls import ObjectUrl, folder_of_pattern, matcher, table_refused, tables_of

if TYPE_CHECKING:  # most jobs read files of this machine, and every job asks here
    from backfill.sources.stores import ObjectStore, ObjectVersion


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One version of an object; see `StoredFile` for what it promises.

    Every range that is read names this version, so that no reading can mix two.

    Args:
        path: Where it is.
        store: The store it is in.
        version: The version that was seen first.
        grows: Objects are replaced, never appended to.
    """

    path: ObjectUrl
    store: "ObjectStore"
    version: "ObjectVersion"
    grows: bool = False

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.version.size

    def open(self, plan: ReadingPlan = BY_ITS_BEGINNING) -> Any:
        """A file of Arrow's; `plan` says how it is going to be read.

        What is read from it raises SourceChangedError once there is another version.
        """
        return pa.PythonFile(ReadAhead(self._read, self.size, self.store.threads, plan), "r")

    def check(self) -> None:
        """Make sure that it has not changed since.

        Raises:
            SourceChangedError: It has, or it is gone.
        """
        found = self.store.head(self.path.path)
        if found is None or self.version.is_other(found):
            raise self._changed()

    def guarded(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """What was read of it; each read has been of this version by itself.

        Raises:
            SourceChangedError: It changed while it was read, if only behind what was fetched.
        """
        yield from pieces
        self.check()

    def fingerprint(self, size_limit: int | None = None) -> Fingerprint:
        """Its size, and a digest of where it is and of what the store calls its content.

        Nothing is read. The digest holds the address, since an ETag is unique for one object only:
        Azure's are times. An object that is moved is another file.
        """
        del size_limit
        named = f"{self.path}\n{self.version.identity}"
        return Fingerprint(self.size, xxhash.xxh3_128_hexdigest(named.encode()))

    def _read(self, start: int, stop: int) -> memoryview:
        from backfill.sources.stores import ChangedObjectError  # noqa: PLC0415  # see above

        try:
            return self.store.read(self.path.path, start, stop, self.version, self.path.scheme)
        except ChangedObjectError:
            raise self._changed() from None

    def _changed(self) -> SourceChangedError:
        return SourceChangedError(
            f"{self.path}: was replaced while it was read",
            next_step="wait until nothing writes to it, then run the command again; an object that"
            " rows were sent from must stay as it was: put it back, or --restart",
        )


@dataclass(slots=True)
class Objects:
    """The objects that the settings of a source reach.

    Args:
        storage: Where its stores are, and whether to sign requests.
        clock: What is waited by.
        outage_max_s: How long a store may be silent.
    """

    storage: StorageSettings = field(default_factory=StorageSettings)
    clock: Clock = field(default_factory=Clock)
    outage_max_s: float = OUTAGE_MAX_S
    _stores: dict[tuple[str, str], "ObjectStore"] = field(default_factory=dict)

    @classmethod
    def of(cls, pipeline: Pipeline, source: Source, clock: Clock | None) -> "Objects":
        """Those of one source of a pipeline; a store may be silent as long as the service."""
        storage = source.storage.within(pipeline.storage)
        return cls(storage, clock or Clock(), pipeline.destination.outage_max)

    def stored(self, path: Location) -> StoredFile:
        """The version that a file has now, wherever it is.

        Raises:
            UsageError: There is no such file.
            CredentialsError: It may not be read.
            UnavailableError: The store does not answer.
        """
        return LocalFile.of(path) if isinstance(path, Path) else self.open(path)

    def open(self, url: ObjectUrl) -> StoredObject:
        """The version that an object has now.

        Raises:
            UsageError: There is no such object.
            CredentialsError: It may not be read.
            UnavailableError: The store does not answer.
        """
        if url.is_dir():
            raise UsageError(
                f"{url}: is a folder", next_step=f'name the objects in it, such as "{url}*.parquet"'
            )
        store = self._store(url)
        version = store.head(url.path)
        if version is None:
            raise _missing(url)
        return StoredObject(url, store, version)

    def find(self, pattern: ObjectUrl) -> list[ObjectUrl]:
        """The objects that a name or a glob stands for, in no order.

        Raises:
            UsageError: There is none, or the store cannot be searched.
            CredentialsError: It may not be listed.
            UnavailableError: The store does not answer.
        """
        if not glob.has_magic(pattern.key):
            return [pattern]
        _require_list(pattern)
        # A name may hold the characters of a glob.
        if self._store(pattern).head(pattern.path) is not None:
            return [pattern]
        matches, folder = matcher(pattern.key), folder_of_pattern(pattern.key)
        below = self.below(pattern.beside(folder))
        # An empty object may be a folder that a console made: lists leave the slash behind it out.
        found = [
            each
            for each, size in below.items()
            if matches(each) and (size or self._store(each).head(each.path) is not None)
        ]
        if not found:
            raise _missing(pattern)
        self._refuse_tables(found, below, folder)
        return found

    def _refuse_tables(
        self, found: Sequence[ObjectUrl], below: Iterable[ObjectUrl], folder: str
    ) -> None:
        """Refuse objects in a folder that is a table: deleted rows are in them, too.

        Raises:
            UsageError: With the folder, and what it is.
        """
        keys = [each.key for each in below]
        # The table's own folder may be the one above: Iceberg keeps its rows in data/.
        above = "/".join(folder.split("/")[:-1])
        for mark in ("_delta_log", "metadata", ".hoodie") if folder else ():
            inside = found[0].beside(f"{above}/{mark}".lstrip("/"))
            keys += [key for key, _ in self._store(inside).below(inside.key, first_page=True)]
        for table, what in tables_of(keys).items():
            if any(each.key.startswith(f"{table}/" if table else "") for each in found):
                raise table_refused(found[0].beside(table), what)

    def below(self, folder: ObjectUrl) -> dict[ObjectUrl, int]:
        """Every object below a folder, with its size in bytes, in no order.

        Raises:
            UsageError: The store cannot be searched.
            CredentialsError: It may not be listed.
            UnavailableError: The store does not answer.
        """
        _require_list(folder)
        found = self._store(folder).below(folder.key.rstrip("/"))
        return {folder.beside(path): size for path, size in found}

    def _store(self, url: ObjectUrl) -> "ObjectStore":
        from backfill.sources.stores import connected  # noqa: PLC0415  # see above

        key = url.scheme, url.bucket
        if key not in self._stores:
            self._stores[key] = connected(url, self.storage, self.clock, self.outage_max_s)
        return self._stores[key]


def _require_list(url: ObjectUrl) -> None:
    if url.scheme in ("http", "https"):
        raise UsageError(
            f"{url}: a web server has no list of its files",
            next_step="name each by itself; %2A and %3F stand for * and ? in a name",
        )


def _missing(url: ObjectUrl) -> UsageError:
    what = "no such object" if not glob.has_magic(url.key) else "no object has such a name"
    return UsageError(f"{url}: {what}", next_step="check the bucket, the name and [storage]")
