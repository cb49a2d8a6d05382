"""Which content a file has: its fingerprint, and whether it changed while it was read."""

import stat
from dataclasses import dataclass
from pathlib import Path

import xxhash

from backfill.errors import SourceChangedError, UsageError

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file's content is: its size in bytes and its XXH3-128 as hex.

    Of the bytes on disk, compressed or not. It finds changes, not forgeries.
    """

    size: int
    digest: str


def fingerprint(path: Path, size_limit: int | None = None) -> Fingerprint:
    """The fingerprint of a file, or of its first `size_limit` bytes.

    Where the file is shorter than `size_limit`, `size` says so.

    Raises:
        UsageError: It is no regular file, or cannot be read.
    """
    Version.of(path)
    digest = xxhash.xxh3_128()
    size = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_next_bytes(size, size_limit)):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise unreadable(path, error) from error
    return Fingerprint(size, digest.hexdigest())


def _next_bytes(size: int, size_limit: int | None) -> int:
    return _BLOCK_BYTES if size_limit is None else min(_BLOCK_BYTES, size_limit - size)


@dataclass(frozen=True, slots=True)
class Version:
    """Which version of a file is being read, as far as the file system tells without reading it."""

    path: Path
    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "Version":
        """The version on disk now.

        Raises:
            UsageError: There is no such file, or it is no regular file.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(
                f"{path}: is {_kind_of(found.st_mode)}, not a file",
                next_step="name a regular file: it is read more than once, also after a crash",
            )
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)

    def check(self) -> None:
        """Make sure that the file has not changed since.

        Raises:
            SourceChangedError: It has, or it is gone.
        """
        try:
            unchanged = Version.of(self.path) == self
        except UsageError:
            unchanged = False
        if not unchanged:
            raise SourceChangedError(
                f"{self.path}: changed while it was read",
                next_step="wait until nothing writes to it, then run the command again",
            )


def _kind_of(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"


def unreadable(path: Path, error: OSError) -> UsageError:
    """The error of the operating system as one of ours."""
    return UsageError(
        f"{path}: cannot be read: {error.strerror or error}",
        next_step="check the name and the permissions of the file",
    )
