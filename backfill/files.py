"""Files that are either as they were or as they should be, never in between.

A file is written beside its target, forced to the disk and moved over it; then the directory is
forced to the disk, since a rename alone may be forgotten in a power cut.
"""

import os
import re
import secrets
import stat
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700

_KEY_PARTS_MAX = 100
_LONG_KEY = re.compile(rb"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){%d}" % _KEY_PARTS_MAX)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_atomically(
    path: Path,
    content: bytes | Callable[[BinaryIO], None],
    *,
    mode: int = PRIVATE_FILE,
    lasting: bool = True,
) -> None:
    """Put a file in place, whole and durable, by default readable by its owner only.

    A reader sees the old file or the new one. When this returns, the new one survives a power
    cut; when it raises, the old one is untouched. A symbolic link at `path` is replaced, never
    followed.

    Args:
        path: Where the file should be; its directory exists.
        content: The bytes, or a function that writes them to a file open for writing.
        mode: Who may read it, whatever the umask says.
        lasting: Whether it must survive a power cut; one that is replaced again soon need not.

    Raises:
        OSError: The disk is full, or the directory cannot be written to.
    """
    # The name is fresh each time, so that what a killed process left behind is in nobody's way.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with os.fdopen(os.open(temporary, _NEW_FILE, PRIVATE_FILE), "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            if mode != PRIVATE_FILE:
                os.fchmod(file.fileno(), mode)
            if lasting:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if lasting:
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut: what was created, renamed or removed.

    Raises:
        OSError: The directory cannot be read, or the disk reports an error.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def strange_entry(directory: Path) -> tuple[Path, str] | None:
    """The first entry below a job's directory that is no plain file or folder of its owner's.

    Some of it is written in place, so a link would lead a write elsewhere, and so would a second
    name of a file; whoever opens a pipe waits for ever.

    Returns:
        The entry, and what is wrong with it; None: there is none.
    """
    owner = directory.stat().st_uid
    for folder, folders, names in os.walk(directory):  # which follows no link
        for name in (*folders, *names):
            path = Path(folder, name)
            with suppress(FileNotFoundError):  # gone meanwhile: a job that runs replaces files
                if why := _objection(path.lstat(), owner):
                    return path, why
    return None


def _objection(found: os.stat_result, owner: int) -> str:
    """Why what was found can be nothing of the job's, which has this owner; empty: it can."""
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return "is neither a file nor a folder"
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        return "has a second name (a hard link), which would change with it"
    if found.st_uid != owner:
        return f"belongs to another user (uid {found.st_uid})"
    return ""


def make_lasting(folder: Path) -> None:
    """Make all files below a folder durable and readable by their owner only.

    Then the folder can be moved into place as a whole: a power cut leaves all of it or nothing.

    Raises:
        OSError: The disk is full, or reports an error.
    """
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue  # what it leads to is not ours to change
        if path.is_dir():
            sync_directory(path)
            continue
        path.chmod(PRIVATE_FILE)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def parse_toml(content: bytes) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ValueError: It is not TOML; the message may quote the file.
    """
    # tomllib takes memory and time with the square of the parts of a key: gigabytes for 40 kB.
    if _LONG_KEY.search(content):
        raise ValueError(f"a key has more than {_KEY_PARTS_MAX} parts")
    try:
        # Editors on Windows begin UTF-8 files with a byte order mark, which is no TOML.
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("its lists or tables are nested too deeply") from None
