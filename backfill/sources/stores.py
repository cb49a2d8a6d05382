"""Object stores: how they are reached, how long they are waited for, what is in them.

`obstore` is imported when the first object is named. Its error texts never leave this module: they
quote addresses, and these may be signed.
"""

import os
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from backfill.clock import Clock
from backfill.errors import BackfillError, CredentialsError, UnavailableError, UsageError
from backfill.pipeline.file_settings import StorageSettings
from backfill.retrying import (
    OUTAGE_MAX_S,
    START_PATIENCE_S,
    CircuitBreaker,
    RetryBudget,
    backoff_s,
    retry_cost,
    throttle_s,
)
from backfill.sources.urls import ObjectUrl, no_such_bucket, without_folders

_THREADS = 8
_CLIENT = {"connect_timeout": "10s", "read_timeout": "30s", "timeout": "300s"}
"""A whole range has five minutes, since a slow line is no fault; silence has half a minute."""

_THROTTLES = (429, 503)
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{2,60})</Code>")
_NO_CREDENTIALS = re.compile(r"token request|169\.254\.|metadata|credential", re.IGNORECASE)

_PROVIDERS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "s3": ("obstore.auth.boto3", "Boto3CredentialProvider", ("AWS_ACCESS_KEY_ID",)),
    "gs": (
        "obstore.auth.google",
        "GoogleCredentialProvider",
        ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY"),
    ),
    "az": (
        "obstore.auth.azure",
        "AzureCredentialProvider",
        (
            "AZURE_STORAGE_ACCOUNT_KEY",
            "AZURE_STORAGE_SAS_KEY",
            "AZURE_STORAGE_SAS_TOKEN",
            "AZURE_STORAGE_TOKEN",
        ),
    ),
}
"""What knows profiles and single sign-on, by scheme, and the variables that make it needless."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """Which version of an object is meant.

    Args:
        size: Its size in bytes.
        tag: Its ETag without quotes; empty: the store gives none.
        number: Its version or generation; empty: the store gives none.
        modified: When it was written.
    """

    size: int
    tag: str
    number: str
    modified: datetime

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> "ObjectVersion":
        """What a store says of an object.

        ETags are compared without their quotes: Azure and a fake of Google's leave them out in
        lists. Of a weak one the mark stays.
        """
        tag = str(meta["e_tag"] or "").replace('"', "")
        return cls(meta["size"], tag, str(meta["version"] or ""), meta["last_modified"])

    @property
    def identity(self) -> str:
        """What is another text if the bytes are other ones."""
        return self.tag or self.number or self.modified.isoformat()

    def is_other(self, found: "ObjectVersion") -> bool:
        """Whether an answer is about other bytes."""
        if self.size != found.size or self.tag != found.tag:
            return True
        if self.number and found.number and self.number != found.number:
            return True
        return not (self.tag or self.number) and self.modified != found.modified

    def conditions(self, scheme: str) -> dict[str, object]:
        """What makes a store refuse to give bytes of another version.

        A weak ETag never matches (RFC 9110, 13.1.1). Of a version by number Amazon and Azure ask
        for one more permission, and their ETags are enough; Google compares no ETags here.
        """
        if scheme == "gs" and self.number:
            return {"version": self.number}
        if self.tag and not self.tag.startswith("W/"):
            return {"if_match": f'"{self.tag}"'}
        return {"if_unmodified_since": self.modified}


@dataclass(frozen=True, slots=True)
class Revision:
    """What a conditional write names: the version that it replaces.

    Args:
        tag: Its ETag as the store wrote it; empty: the store gives none.
        number: Its version or generation; empty: the store gives none.
    """

    tag: str
    number: str

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> "Revision":
        """What a store says of an object that was read or written."""
        return cls(str(meta["e_tag"] or ""), str(meta["version"] or ""))

    def condition(self) -> dict[str, str]:
        """The same as `obstore.put` takes it: Google goes by the number, all others by the tag."""
        named = {"e_tag": self.tag, "version": self.number}
        return {key: value for key, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """A small object that was read as a whole.

    Args:
        content: Its bytes.
        revision: Which version they are.
        modified: When it was written, by the store's clock.
    """

    content: bytes
    revision: Revision
    modified: datetime


class NoConditionsError(Exception):
    """The store does not know conditional writes."""


class ChangedObjectError(Exception):
    """The store has no object of this version any more."""


@dataclass(slots=True)
class ObjectStore:
    """One bucket, as patient as deliveries are: pauses, retries, and an end of them.

    Args:
        connection: The store of `obstore`.
        name: How people know it.
        clock: What it waits by.
        outage_max_s: How long nothing may have had success.
    """

    connection: Any
    name: str
    clock: Clock
    outage_max_s: float = OUTAGE_MAX_S
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, "store")
    )
    health: CircuitBreaker = field(default_factory=CircuitBreaker)
    _budget: RetryBudget = field(default_factory=RetryBudget)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def head(self, path: str) -> ObjectVersion | None:
        """The version that an object has now; None: there is no such object.

        Raises:
            CredentialsError: It may not be read.
            UnavailableError: The store does not answer.
        """
        import obstore  # noqa: PLC0415  # an extra, and slow to load

        try:
            return ObjectVersion.of(self.patiently(lambda: obstore.head(self.connection, path)))
        except FileNotFoundError:
            return None

    def read(
        self, path: str, start: int, stop: int, version: ObjectVersion, scheme: str
    ) -> memoryview:
        """The bytes from `start` up to, not including, `stop` of this version.

        Raises:
            ChangedObjectError: The object is gone, or another one.
            CredentialsError: It may not be read.
            UnavailableError: The store does not answer.
        """
        import obstore  # noqa: PLC0415
        from obstore.exceptions import PreconditionError  # noqa: PLC0415

        options: Any = {"range": (start, stop), **version.conditions(scheme)}

        def request() -> memoryview:
            answer = obstore.get(self.connection, path, options=options)
            # Some stores give what they have whatever the condition.
            if version.is_other(ObjectVersion.of(answer.meta)):
                raise ChangedObjectError
            data = memoryview(answer.bytes())
            if len(data) != stop - start:
                raise ConnectionError("the answer is cut off")
            return data

        try:
            return self.patiently(request)
        except (FileNotFoundError, PreconditionError):
            raise ChangedObjectError from None

    def below(self, prefix: str, *, first_page: bool = False) -> list[tuple[str, int]]:
        """The path and size of every object below a folder, or of some of them, in no order.

        Raises:
            UsageError: There is no such bucket.
            CredentialsError: It may not be listed.
            UnavailableError: The store does not answer.
        """
        import obstore  # noqa: PLC0415

        def request() -> list[tuple[str, int]]:
            pages = obstore.list(self.connection, prefix or None)
            wanted = islice(pages, 1) if first_page else pages
            return [(each["path"], each["size"]) for page in wanted for each in page]

        return without_folders(self.patiently(request), prefix)

    def get(self, path: str) -> StoredBytes | None:
        """A small object as a whole; None: there is no such object.

        Raises:
            CredentialsError: It may not be read.
            UnavailableError: The store does not answer.
        """
        import obstore  # noqa: PLC0415

        def request() -> StoredBytes:
            answer = obstore.get(self.connection, path)
            meta: Any = answer.meta
            return StoredBytes(bytes(answer.bytes()), Revision.of(meta), meta["last_modified"])

        try:
            return self.patiently(request)
        except FileNotFoundError:
            return None

    def put(self, path: str, content: bytes | Path) -> None:
        """Write an object, or the file of that path, whatever is there.

        Raises:
            FileNotFoundError: There is no such bucket.
            CredentialsError: It may not be written.
            UnavailableError: The store does not answer.
        """
        import obstore  # noqa: PLC0415

        self.patiently(lambda: obstore.put(self.connection, path, content))

    def put_if(self, path: str, content: bytes, replaced: Revision | None) -> Revision | None:
        """Write a small object only in place of one version of it.

        Args:
            path: What it is called.
            content: Its bytes.
            replaced: The version; None: there must be none.

        Returns:
            The new version; None: refused. An answer that was lost looks the same: then the
            object holds `content`.

        Raises:
            FileNotFoundError: There is no such bucket.
            NoConditionsError: The store does not know what a condition is.
            CredentialsError: It may not be written.
            UnavailableError: The store does not answer.
        """
        import obstore  # noqa: PLC0415
        from obstore.exceptions import AlreadyExistsError, PreconditionError  # noqa: PLC0415

        mode: Any = replaced.condition() if replaced else "create"

        def request() -> Any:
            try:
                return obstore.put(self.connection, path, content, mode=mode)
            except Exception as error:
                if isinstance(error, NotImplementedError) or "status code: 501" in str(error):
                    raise NoConditionsError from None
                raise

        try:
            made: Any = self.patiently(request)
        except (AlreadyExistsError, PreconditionError):
            return None
        return Revision.of(made)

    def remove(self, path: str) -> None:
        """Delete an object, if it is there.

        Raises:
            CredentialsError: It may not be deleted.
            UnavailableError: The store does not answer.
        """
        import obstore  # noqa: PLC0415

        with suppress(FileNotFoundError):
            self.patiently(lambda: obstore.delete(self.connection, path))

    def patiently(self, request: Callable[[], Answer]) -> Answer:
        """Ask until there is an answer.

        Raises:
            FileNotFoundError, AlreadyExistsError, PreconditionError, ChangedObjectError,
                NoConditionsError: As the request did.
            CredentialsError: The store refuses.
            UnavailableError: It has not answered for too long.
        """
        failures = throttles = 0
        since_s = self.clock.now_s()
        while True:
            try:
                answer = request()
            except Exception as error:  # noqa: BLE001 - each is looked at
                status = self._what_failed(error)
            else:
                with self._lock:
                    self.health.succeeded()
                    self._budget.earn()
                return answer
            failures += 1
            throttles += status in _THROTTLES
            self.clock.sleep(self._wait_s(status, failures, throttles, since_s))

    def _wait_s(self, status: int, failures: int, throttles: int, since_s: float) -> float:
        """How long to wait before a request is tried again.

        Raises:
            UnavailableError: It, or any other, has been tried for too long.
        """
        jitter, now_s = self.clock.jitter(), self.clock.now_s()
        with self._lock:
            self.health.failed(now_s)
            cost = retry_cost(throttled=status in _THROTTLES, timed_out=False)
            if self.health.is_out(now_s) or not self._budget.allows(cost):
                wait_s = self.health.probe_s(jitter)
            elif cost:
                wait_s = backoff_s(failures, jitter)
            else:
                wait_s = throttle_s(throttles, jitter)
            self._budget.spend(cost)
            failing_s = max(self.health.failing_for_s(now_s), now_s - since_s)
            most_s = self.outage_max_s
            if not self.health.successes:
                most_s = min(START_PATIENCE_S, most_s)
        if failing_s + wait_s > most_s:
            raise UnavailableError(
                f"{self.name}: could not be reached for {failing_s:.0f} s"
                + (f" (HTTP status {status})" if status else ""),
                next_step="check the network and `endpoint`, then run the same command again",
            )
        return wait_s

    def _what_failed(self, error: Exception) -> int:
        """The HTTP status of a failure that may pass; 0: there was none.

        Raises:
            FileNotFoundError, AlreadyExistsError, PreconditionError, ChangedObjectError: As they
                are.
            BackfillError: It will not pass by itself.
        """
        from obstore import exceptions  # noqa: PLC0415

        passed_on = (
            BackfillError,
            NoConditionsError,
            ChangedObjectError,
            FileNotFoundError,
            exceptions.AlreadyExistsError,
            exceptions.PreconditionError,
        )
        if isinstance(error, passed_on):
            raise error
        text = str(error)
        found = _STATUS.search(text)
        status = int(found[1]) if found else 0
        if isinstance(error, exceptions.PermissionDeniedError):
            status = status or 403
        if isinstance(error, exceptions.UnauthenticatedError):
            status = status or 401
        if isinstance(error, (exceptions.InvalidPathError, ValueError)):
            raise UsageError(
                f"{self.name}: the name of an object cannot be asked for",
                next_step="names with empty or dotted folders cannot be read: copy it to another",
            ) from None
        if status >= 500 or status in (408, 409, 429):  # noqa: PLR2004 - RFC 9110
            return status  # 409: Amazon's, where two write one object at once
        never_worked = not self.health.successes and _NO_CREDENTIALS.search(text)
        if not status and not never_worked:
            if isinstance(error, exceptions.NotSupportedError) or "NotPartial" in text:
                raise UsageError(
                    f"{self.name}: the server gives whole files only, and no ranges of them",
                    next_step="download the file, and name the copy",
                ) from None
            return 0
        if status == 404:  # noqa: PLR2004 - of a list; an object that is missing was told above
            raise no_such_bucket(self.name)
        code = _CODE.search(text)
        why = f"HTTP status {status}" if status else "no credentials were found"
        raise CredentialsError(
            f"{self.name}: access was refused: {why}{' ' + code[1] if code else ''}",
            next_step="check the credentials in the environment, their permissions, and `region`"
            " under [storage]; `anonymous = true` reads what is public",
        ) from None


def connected(
    url: ObjectUrl, storage: StorageSettings, clock: Clock, outage_max_s: float
) -> ObjectStore:
    """The store that an object is in.

    Args:
        url: The object, or a folder.
        storage: Where the store is, and whether to sign requests.
        clock: What it waits by.
        outage_max_s: How long nothing may have had success.

    Raises:
        UsageError: `obstore` is not installed, or the settings cannot be used.
    """
    try:
        connection = _connection(url, storage)
    except ImportError:
        raise UsageError(
            f"{url}: object stores need the package obstore, which is not installed",
            next_step="install it: pip install 'backfill[cloud]'",
        ) from None
    except BackfillError:
        raise
    except Exception:  # noqa: BLE001 - obstore's own, and its text may quote the environment
        raise UsageError(
            f"{url}: the store cannot be reached with these settings",
            next_step="check [storage] and the store's variables in the environment"
            + ("; AZURE_STORAGE_ACCOUNT_NAME names the account" if url.scheme == "az" else ""),
        ) from None
    return ObjectStore(connection, f"{url.scheme}://{url.bucket}", clock, outage_max_s)


def _connection(url: ObjectUrl, storage: StorageSettings) -> Any:
    from obstore import store  # noqa: PLC0415  # an extra, and slow to load

    # obstore takes the endpoint of the environment by itself.
    address = storage.endpoint or os.environ.get("AWS_ENDPOINT_URL") or f"{url.scheme}://"
    plain = address.startswith("http://") or url.scheme == "http"
    # Pauses are ours, so that a stop of the run ends them.
    more: dict[str, Any] = {
        "client_options": {**_CLIENT, "allow_http": plain},
        "retry_config": {"max_retries": 0},
    }
    if url.scheme in ("http", "https"):
        return store.HTTPStore(f"{url.scheme}://{url.bucket}", **more)
    config: dict[str, Any] = {}
    if storage.endpoint:
        config["base_url" if url.scheme == "gs" else "endpoint"] = storage.endpoint
    if storage.region and url.scheme == "s3":
        config["region"] = storage.region
    if storage.anonymous:
        config["skip_signature"] = True
    else:
        more["credential_provider"] = _credentials(url.scheme)
    makers: dict[str, Any] = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}
    return makers[url.scheme](url.bucket, config=config, **more)


def _credentials(scheme: str) -> Any:
    """What knows profiles and single sign-on, where the cloud's own package is installed."""
    module, name, enough = _PROVIDERS[scheme]
    if any(os.environ.get(each) for each in enough):
        return None
    try:
        return getattr(import_module(module), name)()
    except Exception:  # noqa: BLE001 - it is not installed, or knows nobody: obstore's chain is next
        return None
