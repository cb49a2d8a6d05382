"""The right to use a job's state in a bucket: one object, the lock, which says who has it.

Each write of it names the version that it replaces (RFC 9110, If-Match and If-None-Match), so of
two that write at the same time the store refuses one. The lock also names the files that are the
job's state now: whoever was taken over can write no file that anybody would believe.

A holder writes it every 10 s. One that was silent for 60 s is taken over; one whose writes do not
get through stops sending well before that.
"""

import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from pydantic import ConfigDict, NonNegativeInt, TypeAdapter

from backfill.clock import Clock
from backfill.errors import BackfillError, StateError
from backfill.sources.stores import NoConditionsError, ObjectStore, Revision, StoredBytes
from backfill.sources.urls import no_such_bucket

LOCK, STATE, PROBE = "lock", "state", ".probe-"
"""What the lock and the folder of the state are called in the job's, and how the name of a scratch
object begins."""

_POLLS = 30
"""So often the lock is looked at in the time after which it is taken over."""

_SECOND_S = 1.0
"""Stores tell when an object was written to the second."""

_TRIES = 5
"""A write whose answer was lost is found in the lock, and the next one replaces it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a holder is heard of.

    Args:
        beat_s: It writes the lock so often.
        stop_s: It stops sending when no write got through for so long.
        takeover_s: Another takes over when it was silent for so long.
    """

    beat_s: float = 10.0
    stop_s: float = 45.0
    takeover_s: float = 60.0


@dataclass(frozen=True, slots=True)
class StoredAs:
    """Where the content of a file is.

    Args:
        key: The object's path in its bucket.
        size: Bytes.
        digest: XXH3 of its content, 128 bits in hex.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: str
    size: NonNegativeInt
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the lock says.

    Args:
        generation: How many holders there were, this one included.
        token: The holder, by a random name.
        beat: How often it has written the lock.
        held: Whether it still has it.
        sending: Whether rows may have been sent that the journal in the bucket does not know of.
        commits: How many commits the job's journal had seen, as far as the holder has told.
        pid: The holder's process.
        host: Its machine.
        since: When it took the lock, by its own clock, ISO 8601 in UTC.
        at: When it wrote this.
        files: The files that are the job's state, by their path in the job's folder.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    generation: NonNegativeInt = 0
    token: str = ""
    beat: int = 0
    held: bool = False
    sending: bool = False
    commits: NonNegativeInt = 0
    pid: int = 0
    host: str = ""
    since: str = ""
    at: str = ""
    files: Mapping[str, StoredAs] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes, name: str) -> "Head":
        """What a lock's bytes say.

        Raises:
            StateError: They are not ours.
        """
        try:
            head = TypeAdapter(cls).validate_json(content, strict=True)
            datetime.fromisoformat(head.at).astimezone(UTC)  # whoever looks reckons with it
        except (ValueError, OverflowError):
            raise StateError(
                f"{name}: this object is not a lock of backfill",
                next_step="choose another place for the state, or move that object away",
            ) from None
        return head

    def to_json(self) -> bytes:
        """The lock's bytes."""
        return json.dumps(asdict(self), indent=1).encode()

    @property
    def noted(self) -> int:
        """How far the job's journal had come; one commit more where nobody can say how far."""
        return self.commits + self.sending

    @property
    def holder(self) -> str:
        """Who it is, for people."""
        return f"process {self.pid} on {self.host} since {self.since}"


class Lease:
    """A lock that is ours, until it is released or taken over. Any thread may write it.

    `head` is what it says now; `found` what it said before it was ours.

    Args:
        store: The bucket.
        path: The lock's path in it.
        head: What it says.
        revision: Its version.
        found: What its last holder wrote.
        clock: The time.
    """

    def __init__(
        self,
        store: ObjectStore,
        path: str,
        head: Head,
        revision: Revision,
        found: Head,
        clock: Clock,
    ) -> None:
        self.head = head
        self.found = found
        self._store = store
        self._path = path
        self._revision = revision
        self._clock = clock
        self._heard_s = clock.now_s()
        self._lock = Lock()

    @property
    def name(self) -> str:
        """The lock's address, for people."""
        return f"{self._store.name}/{self._path}"

    def silent_s(self) -> float:
        """How long ago the last write was begun that got through."""
        return self._clock.now_s() - self._heard_s

    def write(self, **changes: Any) -> None:
        """Say that we are there, and what has changed.

        Raises:
            StateError: The lock is not ours any more.
            CredentialsError: It may not be written.
            UnavailableError: The store does not answer.
        """
        with self._lock:
            for _ in range(_TRIES):
                began_s = self._clock.now_s()
                at = _utc(self._clock)
                head = replace(self.head, beat=self.head.beat + 1, at=at, **changes)
                made = self._store.put_if(self._path, head.to_json(), self._revision)
                if made is None:
                    self._revision = self._ours().revision
                    continue
                self.head, self._revision, self._heard_s = head, made, began_s
                return
            raise self._taken(None)

    def _ours(self) -> StoredBytes:
        """The lock as it is, after a write was refused.

        Raises:
            StateError: Another one has it.
        """
        found = self._store.get(self._path)
        head = Head.parse(found.content, self.name) if found else None
        if found is None or head is None or head.token != self.head.token:
            raise self._taken(head)
        return found

    def _taken(self, by: Head | None) -> StateError:
        who = f"taken over by {by.holder}" if by else "removed"
        return StateError(
            f"{self.name}: the lock was {who}: nothing more is sent",
            next_step="wait until that run has ended, then run this command again: it resumes"
            " from there",
        )


def take(
    store: ObjectStore,
    base: str,
    *,
    clock: Clock,
    pace: Pace,
    wait_s: float = 0.0,
    anew: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Lease:
    """Take a job's lock: at once if it is free, or when its holder was silent for too long.

    Args:
        store: The bucket.
        base: The job's folder in it.
        clock: The time; its `sleep` may be interrupted.
        pace: After how long a silent holder is taken over.
        wait_s: How long to wait for a holder that lives.
        anew: Whatever state is there is to be forgotten.
        say: Is told whom is waited for.

    Raises:
        StateError: Another run has it, the object is no lock or was removed, or the store cannot
            keep one.
        UsageError: There is no such bucket.
        CredentialsError: It may not be read or written.
        UnavailableError: The store does not answer.
    """
    path = f"{base}/{LOCK}"
    try:
        store_now = _probe(store, f"{base}/{PROBE}{secrets.token_hex(8)}")
        found = store.get(path)
        # Whoever removes a lock to be rid of it removes what names the job's files.
        if found is None and not anew and any(size for _, size in store.below(f"{base}/{STATE}")):
            raise StateError(
                f"{store.name}/{base}: the job's state is here, but its lock was removed, which"
                " names the files that count",
                next_step="restore that object from a backup or an older version, or start over"
                " with --restart: events keep their ids, so what was sent before counts once",
            )
        silent_s, gives_up_s = 0.0, clock.now_s() + wait_s
        if found is not None:
            silent_s = max((store_now - found.modified).total_seconds() - _SECOND_S, 0.0)
        while True:
            if found is not None:
                found = _when_free(store, path, found, silent_s, clock, pace, gives_up_s, say)
            lease = _claim(store, path, found, clock)
            if lease is not None:
                break
            # Somebody else was faster.
            found, silent_s = store.get(path), 0.0
            if clock.now_s() >= gives_up_s:
                name = f"{store.name}/{path}"
                raise _held(name, Head.parse(found.content, name) if found else Head())
    except FileNotFoundError:
        raise no_such_bucket(store.name) from None
    if lease.found.held:
        say(f"{lease.name}: taken over from {lease.found.holder}, which has fallen silent")
    return lease


def _when_free(  # noqa: PLR0913, PLR0917 - a step of `take`
    store: ObjectStore,
    path: str,
    found: StoredBytes,
    silent_s: float,
    clock: Clock,
    pace: Pace,
    gives_up_s: float,
    say: Callable[[str], None],
) -> StoredBytes | None:
    """The lock once nobody has it, or its holder was silent for too long.

    The time that passes here is measured here: the clock of another machine says nothing.
    """
    name = f"{store.name}/{path}"
    heard_s = clock.now_s() - silent_s
    head = Head.parse(found.content, name)
    if head.held and silent_s <= pace.takeover_s:
        say(
            f"{name}: held by {head.holder}, which was heard {silent_s:.0f} s ago; taken over if"
            f" it stays silent for {pace.takeover_s:.0f} s"
        )
    while head.held and clock.now_s() - heard_s <= pace.takeover_s:
        clock.sleep(pace.takeover_s / _POLLS)
        now = store.get(path)
        if now is None:
            return None
        if now.revision == found.revision:
            continue
        # It was written, so its holder lives, or did just now.
        if clock.now_s() >= gives_up_s:
            raise _held(name, Head.parse(now.content, name))
        found, heard_s = now, clock.now_s()
        head = Head.parse(found.content, name)
    return found


def _claim(store: ObjectStore, path: str, found: StoredBytes | None, clock: Clock) -> Lease | None:
    """Write one's own name into the lock; None: it is not as it was found."""
    before = Head.parse(found.content, f"{store.name}/{path}") if found else Head()
    now = _utc(clock)
    head = replace(
        before,
        generation=before.generation + 1,
        token=secrets.token_hex(8),
        beat=1,
        held=True,
        pid=os.getpid(),
        host=socket.gethostname(),
        since=now,
        at=now,
    )
    made = store.put_if(path, head.to_json(), found.revision if found else None)
    if made is None:
        again = store.get(path)
        name = f"{store.name}/{path}"
        if again is None or Head.parse(again.content, name).token != head.token:
            return None
        made = again.revision  # it was written, and the answer was lost
    return Lease(store, path, head, made, before, clock)


def _held(name: str, by: Head) -> StateError:
    return StateError(
        f"{name}: the job is being run by {by.holder}",
        next_step="wait until it has finished, or stop it; then run this command again",
    )


def _probe(store: ObjectStore, path: str) -> datetime:
    """Make sure that a store keeps to conditions, on a scratch object; give the time by its clock.

    Raises:
        StateError: It writes what it should refuse.
    """
    found = None
    try:
        first = store.put_if(path, b"1", None)
        again = store.put_if(path, b"2", None)
        second = store.put_if(path, b"3", first) if first and first.condition() else None
        stale = store.put_if(path, b"4", first) if second else None
        if second and not again and not stale:
            found = store.get(path)
    except NoConditionsError:
        pass
    finally:
        with suppress(BackfillError):  # who may write need not be allowed to delete
            store.remove(path)
    if found is None or found.content != b"3":
        raise StateError(
            f"{store.name}: the store ignores the conditions of a write (If-None-Match, If-Match):"
            " two runs at once could not be told apart",
            next_step="keep the state in a store that supports conditional writes, or on a disk"
            " with --state-dir DIR",
        )
    return found.modified


def _utc(clock: Clock) -> str:
    return datetime.fromtimestamp(clock.unix_s(), UTC).isoformat(timespec="seconds")
