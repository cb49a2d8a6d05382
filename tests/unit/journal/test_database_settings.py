"""SQLite is told what kind of file system it is on."""

import os

import pytest

from backfill.journal.database import LOCAL, NETWORK, file_system, is_network, storage_for

MOUNTS = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
28 21 0:24 / /proc rw,nosuid - proc proc rw
55 21 0:45 / /mnt/with\\040space rw,relatime shared:9 master:2 - nfs4 server:/export rw,vers=4.2
60 21 0:50 / /mnt/remote rw - fuse.sshfs me@there:/ rw
70 21 8:1 / /mnt/stick rw - fuseblk /dev/sda1 rw
broken line
"""


@pytest.mark.parametrize(
    ("major", "minor", "kind", "network"),
    [
        (254, 0, "ext4", False),
        (0, 45, "nfs4", True),
        (0, 50, "fuse.sshfs", True),
        (8, 1, "fuseblk", False),
        (9, 9, "", False),
    ],
)
def test_the_table_of_mounts_tells_the_file_system(major, minor, kind, network):
    """A directory's device number leads to its file system; an unknown one counts as local."""
    assert file_system(MOUNTS, os.makedev(major, minor)) == kind
    assert is_network(kind) is network


def test_any_directory_has_a_storage(tmp_path):
    """Whatever this machine's disks are, one of the two settings is chosen."""
    assert storage_for(tmp_path) in (LOCAL, NETWORK)
