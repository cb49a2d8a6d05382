"""Files by name and by content: globs, partition folders, fingerprints, and what has changed."""

import difflib
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

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
                next_step="start again once nothing writes to it; --restart forgets what was read, "
                "--append keeps it where only rows were added",
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


def expand(patterns: Sequence[str], base: Path) -> list[Path]:
    """The files that the patterns name: pattern by pattern, each sorted, each file once.

    Args:
        patterns: Names or globs, relative to `base` or absolute; `**` stands for any folders.
        base: The folder of the pipeline file.

    Raises:
        UsageError: A pattern names no file.
    """
    files: dict[Path, Path] = {}
    for pattern in patterns:
        found = _matches(pattern, base)
        if not found:
            raise UsageError(f"{pattern}: no such file in {base}", next_step=_near(pattern, base))
        for path in found:
            files.setdefault(path.resolve(), path)
    return list(files.values())


def _matches(pattern: str, base: Path) -> list[Path]:
    literal = base / pattern
    if literal.exists():  # a name may hold the characters of a glob
        return [literal]
    # Path.glob takes no absolute pattern.
    found = glob.glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207
    return sorted(path for name in found if not (path := base / name).is_dir())


def _near(pattern: str, base: Path) -> str:
    folder = (base / pattern).parent
    if glob.has_magic(str(folder)) or not folder.is_dir():
        return f"Check the folder: {folder}."
    names = sorted(path.name for path in folder.iterdir())
    near = difflib.get_close_matches(Path(pattern).name, names, n=3, cutoff=0.5)
    if not near:
        return f"Check the name; the folder has {len(names)} others."
    return f"Did you mean {' or '.join(near)}?"


def partitions_of(path: Path, base: Path) -> dict[str, str]:
    """The columns that the names of the folders declare: `day=2024-01-31/x.parquet`.

    As Hive writes them: percent-encoded, always text. Only folders below `base` count.

    >>> partitions_of(Path("in/day=2024-01-31/shop=A%2FB/x.parquet"), Path("in"))
    {'day': '2024-01-31', 'shop': 'A/B'}
    """
    return dict(_partitions(Path(os.path.relpath(path, base)).parent.parts))


def _partitions(folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    for folder in folders:
        name, equals, value = folder.partition("=")
        if name and equals:
            yield unquote(name), unquote(value)
