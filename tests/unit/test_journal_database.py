"""A state that is not as we left it is refused: never read wrongly, never reset."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from backfill.errors import StateError
from backfill.journal import LOCAL, NETWORK, Journal, Settlement, forget
from tests.journals import committed, work


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A job's directory, with some of everything in its journal, cleanly closed."""
    directory = tmp_path / "job"
    random = Random(5)
    with Journal.open(directory, storage=LOCAL) as journal:
        journal.runs.start("2026-01-01T00:00:00Z")
        for _ in range(20):
            work(journal, random)
            journal.commit(requests=1, attempts=1, bytes_sent=1)
    return directory


def content(directory: Path) -> Any:
    """All that a journal gives back."""
    with Journal.open(directory, create=False, storage=LOCAL) as journal:
        journal.check_law({})
        return committed(journal), journal.runs.all(), journal.lost_commits


def flipped(image: bytes, random: Random) -> bytes:
    """The bytes with one bit turned over, somewhere."""
    changed = bytearray(image)
    changed[random.randrange(len(image))] ^= 1 << random.randrange(8)
    return bytes(changed)


def test_no_flipped_bit_in_the_database_goes_unnoticed(directory):
    """Wherever a bit changes on the disk, the journal is refused or gives back what was there."""
    path = directory / "state.db"
    image, expected, random = path.read_bytes(), content(directory), Random(7)
    refused = 0
    for _ in range(600):
        path.write_bytes(flipped(image, random))
        try:
            assert content(directory) == expected
        except StateError as error:
            refused += bool(error.next_step)
    assert refused > 100


def test_no_flipped_bit_in_the_log_goes_unnoticed(tmp_path, directory):
    """A log that breaks off early leaves an earlier commit, and the journal says how many miss."""
    states = {}
    journal = Journal.open(directory, storage=LOCAL)
    random = Random(8)
    for _ in range(6):
        states[journal.totals().commits] = committed(journal)
        work(journal, random)
        journal.commit()
    last = journal.totals().commits
    states[last] = committed(journal)
    crashed = tmp_path / "crashed"
    shutil.copytree(directory, crashed)
    journal.close()
    images = {path: path.read_bytes() for path in crashed.iterdir()}
    log = crashed / "state.db-wal"

    for _ in range(200):
        for path, image in images.items():
            path.write_bytes(image)
        log.write_bytes(flipped(images[log], random))
        with (
            suppress(StateError),
            Journal.open(crashed, create=False, storage=LOCAL) as found,
        ):
            assert committed(found) == states[last - found.lost_commits]
        for path in crashed.iterdir():
            path.unlink()


@pytest.mark.parametrize("image", [b"", b"not a database", b"SQLite format 3\0" + bytes(4096)])
def test_a_file_that_is_no_journal_is_refused(directory, image):
    """It is neither used nor overwritten."""
    path = directory / "state.db"
    path.write_bytes(image)
    with pytest.raises(StateError):
        Journal.open(directory)
    assert path.read_bytes() == image


def test_a_database_of_another_program_is_refused(directory):
    """Somebody else's data is not ours to change."""
    path = directory / "state.db"
    path.unlink()
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE precious (x)")
    other.close()
    image = path.read_bytes()
    with pytest.raises(StateError, match="not a journal of backfill"):
        Journal.open(directory)
    assert path.read_bytes() == image


def test_a_journal_of_a_newer_program_is_refused(directory):
    """Its tables may mean something else."""
    newer = apsw.Connection(str(directory / "state.db"))
    newer.pragma("user_version", 2)
    newer.close()
    with pytest.raises(StateError, match="form 2, we know form 1") as caught:
        Journal.open(directory)
    assert "version of backfill" in caught.value.next_step


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("state.db", Path.symlink_to),
        ("state.db", Path.hardlink_to),
        ("lock", Path.symlink_to),
    ],
)
def test_a_link_in_place_of_a_file_is_refused(directory, tmp_path, name, link):
    """Nothing outside of the directory is opened, and no file is shared by two jobs."""
    elsewhere = tmp_path / "elsewhere"
    (directory / name).rename(elsewhere)
    link(directory / name, elsewhere)
    with pytest.raises(StateError, match=name):
        Journal.open(directory)


def test_a_directory_that_anyone_may_write_to_is_refused(directory):
    """Another user could put a journal of his own there."""
    directory.chmod(0o777)
    with pytest.raises(StateError, match="any user of this machine") as caught:
        Journal.open(directory)
    assert f"chmod 700 {directory}" in caught.value.next_step


def test_a_journal_that_others_could_read_is_made_private(directory):
    """A copy from a backup may have come back with other rights."""
    (directory / "state.db").chmod(0o644)
    Journal.open(directory).close()
    assert (directory / "state.db").stat().st_mode & 0o777 == 0o600


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    """The state directory is a directory."""
    (tmp_path / "job").write_text("")
    for directory in (tmp_path / "job", tmp_path / "job" / "below"):
        with pytest.raises(StateError, match="cannot be used"):
            Journal.open(directory)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of a user to whom the rights of files apply, and that user's shoes."""
    directory = Path(tempfile.mkdtemp())
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    os.chown(directory, user, -1)
    mine = os.geteuid()
    os.seteuid(user)
    yield directory
    os.seteuid(mine)
    shutil.rmtree(directory)


def test_a_read_only_directory_is_refused(unprivileged):
    """Before anything is sent, the user learns that nothing could be remembered."""
    unprivileged.chmod(0o500)
    with pytest.raises(StateError, match="Permission denied") as caught:
        Journal.open(unprivileged / "job")
    assert "--state-dir" in caught.value.next_step
    with pytest.raises(StateError, match="Permission denied"):
        Journal.open(unprivileged)


@pytest.mark.parametrize("replace", [False, True])
def test_a_state_that_is_deleted_or_replaced_meanwhile_stops_the_run(directory, replace):
    """A commit into a file that nobody will find again is no commit."""
    with Journal.open(directory) as journal:
        path = directory / "state.db"
        path.rename(directory / "gone.db")
        if replace:
            shutil.copy(directory / "gone.db", path)
        journal.settle(Settlement(1, [(9_000, 9_001)], delivered=1))
        with pytest.raises(StateError, match="deleted or replaced"):
            journal.commit()
        with pytest.raises(StateError, match="deleted or replaced"):
            journal.commit()


def test_a_copy_from_a_backup_is_told_from_the_journal(directory):
    """What was committed since the copy was made is missing, and the user can be told so."""
    path = directory / "state.db"
    backup = path.read_bytes()
    with Journal.open(directory) as journal:
        journal.meta["more"] = 1
        journal.commit()
        journal.meta["more"] = 2
        journal.commit()
    path.write_bytes(backup)
    with Journal.open(directory) as journal:
        assert journal.lost_commits == 2
        journal.meta["more"] = 3
        journal.commit()
    with Journal.open(directory) as journal:
        assert journal.lost_commits == 0


def test_a_forgotten_job_starts_anew(directory):
    """After `forget` nothing is known, whatever the journal left behind before."""
    (directory / "state.db-wal").write_bytes(b"the log of the old one")
    forget(directory)
    with pytest.raises(StateError, match="there is no journal"):
        Journal.open(directory, create=False)
    (directory / "state.db-wal").write_bytes(b"left by a crash while forgetting")
    with Journal.open(directory) as journal:
        assert (journal.parts(), journal.totals().commits, journal.lost_commits) == ([], 0, 0)


def test_nobody_forgets_a_job_that_runs(directory):
    """The journal of a live job stays."""
    with Journal.open(directory) as journal:
        with pytest.raises(StateError, match="is being run"):
            forget(directory)
        journal.meta["alive"] = True
        journal.commit()


def test_a_journal_moves_to_a_disk_of_another_kind(directory):
    """A job that began on a local disk goes on in a directory of the network, and back."""
    expected = content(directory)
    with Journal.open(directory, storage=NETWORK) as journal:
        assert committed(journal) == expected[0]
    assert content(directory) == expected


def run_python(script: str, *arguments: object) -> str:
    """What a Python program prints, in a process of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


DISK_FULL = """
import resource, sys
from pathlib import Path
from random import Random
from backfill.errors import StateError
from backfill.journal import Journal, Storage
from tests.journals import work

random = Random(1)
with Journal.open(Path(sys.argv[1]), storage=Storage(*sys.argv[2:])) as journal:
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
    try:
        while True:
            work(journal, random)
            commits = journal.commit()
    except StateError as error:
        print(error.what)
    try:
        journal.commit()
    except StateError as error:
        print(commits)
"""


@pytest.mark.parametrize("storage", [LOCAL, NETWORK], ids=["local", "network"])
def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, storage):
    """The run ends with the free space named; each commit that returned is there afterwards."""
    printed = run_python(DISK_FULL, tmp_path / "job", storage.journal_mode, storage.synchronous)
    message, commits = printed.splitlines()
    assert "cannot be written" in message
    assert re.search(r"\d MB free", message)
    with Journal.open(tmp_path / "job", create=False) as journal:
        journal.check_law({})
        assert journal.totals().commits == int(commits)


FORK = """
import os, sys
from pathlib import Path
from backfill.errors import StateError
from backfill.journal import Journal

journal = Journal.open(Path(sys.argv[1]))
journal.meta["before"] = 1
journal.commit()
child = os.fork()
if child == 0:
    try:
        journal.meta["child"] = 1
        journal.commit()
    except StateError as error:
        print(error.what)
    del journal
    sys.exit(0)
os.waitpid(child, 0)
journal.meta["after"] = 1
journal.commit()
os._exit(0)  # as if it were killed: the log has not moved into the database
"""


def test_a_forked_child_leaves_the_journal_alone(tmp_path):
    """It is refused, and its end neither removes the log nor writes to the database."""
    assert "belongs to the process that opened it" in run_python(FORK, tmp_path / "job")
    with Journal.open(tmp_path / "job", create=False) as journal:
        assert journal.meta == {"before": 1, "after": 1}
        assert journal.lost_commits == 0


def test_a_kill_at_any_write_loses_no_commit(tmp_path):
    """A process that dies at its n-th write to the disk, for each n, leaves what it promised."""
    command = [sys.executable, "-m", "tests.kills", str(tmp_path), "1"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
