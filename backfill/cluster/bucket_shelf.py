"""Parcels that lie in a bucket, for workers that share no disk with the driver.

What another process needs to find one is in its name: the URL and, as a query, the settings of
`[storage]`, none of which is a secret. Who may read and write there, each process knows from its
own environment. An object is read as a whole, into memory.
"""

import errno
import os
import secrets
import tempfile
from contextlib import suppress
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode

from backfill.clock import Clock
from backfill.cluster.parcels import Label, Parcel, Shelf
from backfill.errors import BackfillError, UsageError
from backfill.pipeline.file_settings import StorageSettings
from backfill.sources.stores import ObjectStore, connected
from backfill.sources.urls import ObjectUrl

OUTAGE_MAX_S = 60.0
_STORES_MAX = 4


class BucketShelf(Shelf):
    """A folder in a bucket.

    Args:
        name: Its URL and settings.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._place = name
        self._url, _, self._settings = name.partition("?")

    @classmethod
    def made_in(cls, url: str, storage: StorageSettings) -> "BucketShelf":
        """A shelf of its own below a URL; that one can write there is seen at the first parcel.

        Raises:
            UsageError: It is none, or cannot be used.
        """
        ObjectUrl.parse(url)
        said = urlencode(storage.model_dump(exclude_none=True))
        made = cls(f"{url.rstrip('/')}/backfill-{secrets.token_hex(8)}?{said}")
        _store_of(made._place)
        return made

    def _new(self, token: str) -> Parcel:
        return _ObjectParcel(Label(f"{self._url}/{token}?{self._settings}", token))

    def clear(self) -> None:
        """Remove every object."""
        with suppress(BackfillError):  # it is told where to look for what was left
            store, folder = _store_of(self._place)
            for path, _ in store.below(f"{folder}/"):
                store.remove(path)


class _ObjectParcel(Parcel):
    """A parcel that is written in memory and becomes an object when it is whole."""

    def __init__(self, label: Label) -> None:
        super().__init__(_file_in_memory(), label)

    def is_whole(self) -> None:
        """Write the object.

        Raises:
            UsageError: There is no such bucket.
            CredentialsError: It may not be written.
            UnavailableError: The store does not answer.
        """
        store, path = _store_of(self.label.path)
        size = os.fstat(self._descriptor).st_size
        try:
            store.put(path, os.pread(self._descriptor, size, 0))
        except FileNotFoundError:
            raise UsageError(
                f"{store.name}: there is no such bucket", next_step="name another with --scratch"
            ) from None
        os.truncate(self._descriptor, 0)


def fetched(name: str) -> int:
    """The bytes of an object, as an open file.

    Raises:
        FileNotFoundError: It is not there.
        CredentialsError: It may not be read.
        UnavailableError: The store does not answer.
    """
    store, path = _store_of(name)
    found = store.get(path)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    descriptor = _file_in_memory()
    left = memoryview(found.content)
    while left.nbytes:
        left = left[os.write(descriptor, left) :]
    return descriptor


def remove(name: str) -> None:
    """Have an object removed soon, if that can be done; what is left `clear` removes.

    Whoever lets go of it may be the thread that sends, which waits for no bucket.
    """
    store, path = _store_of(name)
    store.threads.submit(_remove, store, path)


def _remove(store: ObjectStore, path: str) -> None:
    with suppress(BackfillError):
        store.remove(path)


def _file_in_memory() -> int:
    """An open file without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("backfill")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _store_of(name: str) -> tuple[ObjectStore, str]:
    """The store of a shelf or a parcel, and what the store calls it."""
    text, _, settings = name.partition("?")
    url = ObjectUrl.parse(text)
    return _connected(url.scheme, url.bucket, settings), url.path


@lru_cache(_STORES_MAX)
def _connected(scheme: str, bucket: str, settings: str) -> ObjectStore:
    storage = StorageSettings.model_validate(dict(parse_qsl(settings)))
    return connected(ObjectUrl(scheme, bucket, ""), storage, Clock(), OUTAGE_MAX_S)
