"""One exclusive connection to one SQLite file, on which every error is a `StateError`.

Each row ends in a checksum of its other values, since SQLite would not notice a byte that changed
on the disk inside of a value. After any error the connection refuses further use: a disk that
failed to write once may forget what it was told before, and says so only once (Rebello et al.,
USENIX ATC 2020), so nothing is tried again; the next start reads what is really there.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any
from weakref import WeakSet
from zlib import crc32

import apsw

from backfill.errors import BackfillError, StateError, what_helps
from backfill.files import sync_directory, write_atomically

# fmt: off
_NETWORK_TYPES = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "davfs", "fuse", "gfs2", "glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "vboxsf", "virtiofs",
})
# fmt: on
_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Storage:
    """SQLite's settings for one kind of file system.

    Args:
        journal_mode: As the pragma of that name.
        synchronous: As the pragma of that name.
        checkpoint_pages: The log moves into the database once it has so many pages.
        vfs: The SQLite file system by name; None is the operating system's.
    """

    journal_mode: str
    synchronous: str
    checkpoint_pages: int = 1_000
    vfs: str | None = None


LOCAL = Storage("wal", "FULL")
NETWORK = Storage("truncate", "EXTRA")


def storage_for(directory: Path) -> Storage:
    """The settings for the file system that holds a directory; local where nobody can tell."""
    try:
        mounts = _MOUNTS.read_text(errors="replace")
    except OSError:
        return LOCAL
    return NETWORK if is_network(file_system(mounts, directory.stat().st_dev)) else LOCAL


def file_system(mounts: str, device: int) -> str:
    """The type of the file system on a device, "" if unknown.

    Args:
        mounts: The text of `/proc/self/mountinfo`; its format is in proc_pid_mountinfo(5).
        device: As `os.stat_result.st_dev`.
    """
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2:3] == [wanted] and source:
            return source.split()[0]
    return ""


def is_network(file_system_type: str) -> bool:
    """Whether other machines may write to such a file system too.

    `fuse.*` counts, as `sshfs` and `s3fs` are such; `fuseblk` is a local disk.
    """
    return file_system_type.partition(".")[0] in _NETWORK_TYPES


Value = int | str | None
Row = tuple[Value, ...]

_START_OVER = (
    "Restore the state directory from a backup, or start over with --restart: events keep their"
    " ids, so what was sent before counts once."
)
_COMPANIONS = ("-wal", "-journal", "-shm")
_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW | apsw.SQLITE_OPEN_EXRESCODE


@dataclass(frozen=True, slots=True)
class FileForm:
    """Whose database it is, and which tables it has.

    Args:
        application_id: The number that marks our databases.
        version: The number of this form of the tables.
        schema: The statements that make them.
    """

    application_id: int
    version: int
    schema: str


class DamageError(Exception):
    """A row is not as it was written."""


class Database:
    """A file of sealed rows; transactions begin by themselves and end with `commit`.

    Every method raises `StateError`: the file is in use, foreign, newer than this program,
    corrupt, deleted or replaced; the disk is full or fails. Rows may be read in one thread while
    another writes; use it in the process that opened it.

    Args:
        path: An existing database, without a symbolic link in any component.
        storage: SQLite's settings for its file system.
        form: The tables that it must have.
    """

    def __init__(self, path: Path, storage: Storage, form: FileForm) -> None:
        self.path = path
        self._pid = os.getpid()
        self._lock = RLock()  # SQLite's own lets nobody wait: the second thread would get an error
        self._broken: BackfillError | None = None
        self._identity = _identity(path)
        with self._guarded():
            self._connection = apsw.Connection(str(path), flags=_FLAGS, vfs=storage.vfs)
        try:
            with self._guarded():
                self._open(storage, form)
        except StateError:
            self.abandon()
            raise
        _connections.add(self._connection)

    @staticmethod
    def create(path: Path, form: FileForm) -> None:
        """Put an empty database in place, whole or not at all, so that any file there counts.

        Raises:
            StateError: The disk is full or cannot be written to.
        """
        memory = apsw.Connection(":memory:")
        memory.execute(form.schema)
        memory.pragma("application_id", form.application_id)
        memory.pragma("user_version", form.version)
        image = memory.serialize("main")
        memory.close()
        try:
            # A log that outlived its database would be taken for the new one's.
            for suffix in _COMPANIONS:
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            sync_directory(path.parent)
            write_atomically(path, image)
        except OSError as error:
            raise _failed(path, str(error.strerror)) from error

    @staticmethod
    def remove(path: Path) -> None:
        """Delete a database that nobody has open; a crash on the way leaves it whole or gone.

        Raises:
            StateError: The directory cannot be written to.
        """
        try:
            path.unlink(missing_ok=True)
            sync_directory(path.parent)
            for suffix in _COMPANIONS:
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            raise _failed(path, str(error.strerror)) from error

    def _open(self, storage: Storage, form: FileForm) -> None:
        pragma = self._connection.pragma
        # Before the first access: then no shared memory is made and nobody else gets in.
        pragma("locking_mode", "EXCLUSIVE")
        # Whoever put the file there may have put triggers and views into it.
        pragma("trusted_schema", "OFF")
        pragma("foreign_keys", "ON")
        pragma("cell_size_check", "ON")
        if pragma("application_id") != form.application_id:
            raise StateError(
                f"{self.path}: this file is not a backfill journal",
                next_step="move it away, or choose another directory with --state-dir",
            )
        if (found := pragma("user_version")) != form.version:
            raise StateError(
                f"{self.path}: the journal has format {found}, this version reads {form.version}",
                next_step="use the version of backfill that began this job",
            )
        if pragma("journal_mode", storage.journal_mode) != storage.journal_mode:
            raise _failed(self.path, f"no {storage.journal_mode} journal can be used here")
        # After the journal mode: builds may have another default for a log.
        pragma("synchronous", storage.synchronous)
        pragma("wal_autocheckpoint", storage.checkpoint_pages)
        # A read of the whole file: torn pages show before anything is sent, not after.
        if (verdict := pragma("quick_check", 1)) != "ok":
            raise corrupt(self.path, str(verdict))

    def rows(self, query: str, bindings: Row = ()) -> list[tuple[Any, ...]]:
        """Read rows whose last column is their checksum, and give the other columns."""
        with self._guarded():
            return [unseal(row) for row in self._connection.execute(query, bindings)]

    def figures(self, query: str, bindings: Row = ()) -> list[tuple[Any, ...]]:
        """Read what the database computes: rows without a checksum."""
        with self._guarded():
            return self._connection.execute(query, bindings).fetchall()

    @property
    def pending(self) -> bool:
        """Whether there is anything to commit."""
        return self._connection.in_transaction

    def put(self, statement: str, rows: Iterable[Row]) -> None:
        """Run a statement for each row, with the row's checksum as the last binding."""
        self.run(statement, map(seal, rows))

    def run(self, statement: str, bindings: Iterable[Row]) -> None:
        """Run a statement for each set of bindings, in the transaction that is open."""
        with self._guarded():
            self._begin()
            self._connection.executemany(statement, bindings)

    def commit(self) -> None:
        """Make everything since the last commit durable, all of it or nothing."""
        with self._guarded():
            self._begin()
            # SQLite would write on into a file that has no name any more.
            if _identity(self.path) != self._identity:
                raise OSError(0, "the journal was deleted or replaced while it was in use")
            self._connection.execute("COMMIT")

    def image(self) -> bytes:
        """The whole database as a file would hold it; nothing may be pending."""
        with self._guarded():
            if self._connection.in_transaction:
                raise ValueError("an image is taken between two transactions")
            return self._connection.serialize("main")

    def roll_back(self) -> None:
        """Forget everything since the last commit."""
        with self._guarded():
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Forget what was not committed and let go of the file; harmless when repeated."""
        # A forked child must not move its parent's log.
        if os.getpid() != self._pid:
            return
        if self._broken:
            self.abandon()
            return
        with self._guarded():
            self._connection.close()

    def abandon(self) -> None:
        """Let go of the file without writing anything more, not even what is in the log."""
        with suppress(apsw.Error):
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._connection.close(force=True)

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        if os.getpid() != self._pid:
            raise StateError(f"{self.path}: the journal belongs to the process that opened it")
        if self._broken:
            raise type(self._broken)(self._broken.what, next_step=self._broken.next_step)
        try:
            with self._lock:
                yield
        except (apsw.Error, OSError, DamageError, UnicodeDecodeError) as error:
            self._broken = _explained(self.path, error)
            raise self._broken from error


def seal(values: Row) -> Row:
    """Append the checksum."""
    return (*values, _checksum(values))


def unseal(row: Row) -> Row:
    """Check and remove the checksum.

    Raises:
        DamageError: The values are not those that were written.
    """
    values = row[:-1]
    if _checksum(values) != row[-1]:
        raise DamageError("a row's checksum is wrong")
    return values


def _checksum(values: Row) -> int:
    return crc32("\0".join(map(str, values)).encode())


def corrupt(path: Path, detail: str) -> StateError:
    """The error for a file whose content contradicts itself."""
    return StateError(f"{path}: the journal is damaged: {detail}", next_step=_START_OVER)


def _explained(path: Path, error: Exception) -> BackfillError:
    match error:
        case apsw.ConstraintError() | apsw.ConnectionClosedError() | apsw.ThreadingViolationError():
            return BackfillError(f"{path}: {error}")  # a bug of ours, not of the file
        case apsw.BusyError() | apsw.LockedError():
            return StateError(
                f"{path}: the journal is in use by another process",
                next_step="wait until that process has finished, or stop it; then run this"
                " command again",
            )
        case apsw.FullError():
            return _failed(path, str(error), errno.ENOSPC)
        case apsw.ReadOnlyError():
            return _failed(path, str(error), errno.EROFS)
        case apsw.IOError() | apsw.CantOpenError():
            return _failed(path, str(error))
        case OSError():
            return _failed(path, str(error.strerror), error.errno)
        case _:
            return corrupt(path, str(error))


def _failed(path: Path, detail: str, code: int | None = None) -> StateError:
    with suppress(OSError):
        detail += f" ({shutil.disk_usage(path.parent).free / 1e6:,.1f} MB free)"
    return StateError(
        f"{path}: the journal cannot be written: {detail}",
        next_step=f"{what_helps(path, code)}, then run this command again: it resumes from the"
        " last commit",
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _disarm() -> None:
    """In a forked child: the connections go with the child, and must not write when they do."""
    for connection in _connections:
        with suppress(apsw.Error):
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


_connections: WeakSet[apsw.Connection] = WeakSet()
os.register_at_fork(after_in_child=_disarm)
