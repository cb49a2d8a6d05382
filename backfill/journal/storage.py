"""How SQLite keeps its promise on the file system at hand.

On a local disk: a write-ahead log with `synchronous=FULL`, which in thousands of simulated power
cuts lost no acknowledged commit (`NORMAL` does). Network file systems keep neither its shared
memory nor its order of writes, so there a rollback journal is used, `synchronous=EXTRA`
(https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import os
from dataclasses import dataclass
from pathlib import Path

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
