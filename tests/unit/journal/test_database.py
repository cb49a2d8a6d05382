"""A state that is not as we left it is refused: never read wrongly, never reset."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import apsw
import pytest

from backfill.errors import BackfillError, StateError
from backfill.journal import LOCAL, NETWORK, Journal, Ranges, Settlement, database, forget
from backfill.journal.directory import own_folder
from backfill.rows import Reason, Rejection
from tests.support.journals import committed, work
from tests.support.power import Disk


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


def test_a_broken_page_is_found_before_anything_is_sent(tmp_path):
    """The file is looked through when it is opened, not when the rejected rows are needed."""
    with Journal.open(tmp_path / "job") as journal:
        journal.add_part("people.csv", source=0, size=1, digest="d")
        reasons = (Reason("invalid", "email", "It is none."),)
        rejections = [Rejection(row, row, reasons, {"a": f"row {row}."}) for row in range(1, 1000)]
        journal.settle(Settlement(1, [(1, 1000)], rejections=rejections))
        journal.commit()
    path = tmp_path / "job" / "state.db"
    image = bytearray(path.read_bytes())
    page = image.index(b"row 500.") // 4096 * 4096
    image[page : page + 8] = bytes(8)
    path.write_bytes(image)
    with pytest.raises(StateError, match=r"(?s)damaged: .*page"):
        Journal.open(tmp_path / "job")


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
    with pytest.raises(StateError, match="not a backfill journal"):
        Journal.open(directory)
    assert path.read_bytes() == image


def test_a_journal_of_a_newer_program_is_refused(directory):
    """Its tables may mean something else."""
    newer = apsw.Connection(str(directory / "state.db"))
    newer.pragma("user_version", 3)
    newer.close()
    with pytest.raises(StateError, match="format 3, this version reads 2") as caught:
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


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(directory, mode):
    """Another user could put a journal of his own there."""
    directory.chmod(mode)
    with pytest.raises(StateError, match=f"others can write here .mode 0{mode:o}") as caught:
        Journal.open(directory)
    assert f"chmod 700 {directory}" in caught.value.next_step


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(directory):
    """Its owner could put a journal of his own there, whatever its mode."""
    os.chown(directory, 65534, -1)
    with pytest.raises(StateError, match="belongs to another user") as caught:
        Journal.open(directory)
    assert "--state-dir" in caught.value.next_step


@pytest.mark.parametrize("leads_to", ["a folder", "nothing", "a file"])
def test_a_folder_of_the_job_is_never_one_that_a_link_leads_to(directory, tmp_path, leads_to):
    """Whatever stands in its place, it is neither filled nor emptied."""
    elsewhere = tmp_path / "elsewhere"
    if leads_to == "a folder":
        elsewhere.mkdir()
    elif leads_to == "a file":
        elsewhere.write_text("precious")
    (directory / "plan").symlink_to(elsewhere)
    with pytest.raises(StateError, match="plan: is a link or a file") as caught:
        own_folder(directory / "plan")
    assert "move it away" in caught.value.next_step


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


def test_a_folder_in_place_of_the_journal_is_refused(directory):
    """Nobody knows whose it is: it is not removed."""
    path = directory / "state.db"
    path.unlink()
    path.mkdir()
    with pytest.raises(StateError, match="must be a file") as caught:
        Journal.open(directory)
    assert "move the folder away" in caught.value.next_step


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


@pytest.mark.parametrize("copied", [False, True])
def test_a_state_that_is_deleted_or_replaced_meanwhile_stops_the_run(directory, copied):
    """A commit into a file that nobody will find again is no commit."""
    path, gone = directory / "state.db", directory / "gone.db"
    with Journal.open(directory) as journal:
        path.rename(gone)
        if copied:
            shutil.copy(gone, path)
        journal.settle(Settlement(1, [(9_000, 9_001)], delivered=1))
        with pytest.raises(StateError, match="deleted or replaced"):
            journal.commit()
        with pytest.raises(StateError, match="deleted or replaced"):
            journal.commit()


def test_a_failed_sync_is_the_last_thing_that_is_asked_of_a_disk(directory):
    """It may have forgotten what it was told, and would say so only once."""
    path = directory.resolve() / "state.db"
    reasons = (Reason("invalid", "email", "It is none."),)
    rejected = Settlement(1, [(9_000, 9_001)], rejections=[Rejection(9_000, 1, reasons)])
    disk = Disk({str(path): path.read_bytes()})
    with Journal.open(directory, storage=replace(LOCAL, vfs=disk.name)) as journal:
        journal.meta["first"] = 1
        journal.commit()
        disk.failing = True
        journal.meta["second"] = 2
        with pytest.raises(StateError, match="cannot be written"):
            journal.commit()
        told = len(disk.events)
        for use in (journal.commit, lambda: journal.settle(rejected), journal.runs.all):
            with pytest.raises(StateError, match="cannot be written"):
                use()
    assert len(disk.events) == told


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM settled WHERE part = 1",
        "DELETE FROM part WHERE id = 1",
        "DELETE FROM part WHERE id = 3",
        "DELETE FROM total",
    ],
)
def test_missing_rows_are_missed(directory, statement):
    """The tables are held against each other; here, each row by itself is as it was written."""
    thief = apsw.Connection(str(directory / "state.db"))
    thief.pragma("foreign_keys", "OFF")
    thief.execute(statement)
    thief.close()
    with pytest.raises(StateError, match="missing"):
        Journal.open(directory)


def test_an_older_page_is_told_from_a_newer_one(directory):
    """The low watermark went on, the ranges above it did not: each row is right by itself."""
    with Journal.open(directory) as journal:
        low = journal.settled(1).low_watermark
        start, stop = next(iter(journal.settled(1).above()))
        journal.settle(Settlement(1, [(low, start)], delivered=start - low))
        journal.commit()
    thief = apsw.Connection(str(directory / "state.db"))
    row = database.seal((1, start // Ranges.window_rows, f"[[{start},{stop}]]"))
    thief.execute("REPLACE INTO settled VALUES (?, ?, ?, ?)", row)
    thief.close()
    with pytest.raises(StateError, match="do not follow"):
        Journal.open(directory)


def test_nobody_else_reads_or_writes_a_journal_in_use(directory):
    """Not even a program that knows nothing of the lock: the database is locked as well."""
    with Journal.open(directory):
        other = apsw.Connection(str(directory / "state.db"))
        with pytest.raises(apsw.BusyError):
            other.execute("SELECT * FROM part")
        other.close()


def test_a_journal_that_another_program_has_open_is_in_use(directory):
    """The user is told so, and nothing waits."""
    other = apsw.Connection(str(directory / "state.db"))
    other.pragma("locking_mode", "EXCLUSIVE")
    other.execute("SELECT * FROM part").fetchall()
    with pytest.raises(StateError, match="in use by another process") as caught:
        Journal.open(directory)
    assert caught.value.next_step
    other.close()
    Journal.open(directory).close()


def test_a_bug_of_ours_is_not_blamed_on_the_file(directory):
    """A journal that was closed is not a damaged one."""
    journal = Journal.open(directory)
    journal.close()
    with pytest.raises(BackfillError) as caught:
        journal.rejection(1, 1)
    assert caught.value.exit_code == 1


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
        journal.roll_back()
        assert journal.lost_commits == 2
        journal.meta["more"] = 3
        journal.commit()
    for lost in (2, 0):  # a call that sent nothing hides it from nobody
        with Journal.open(directory) as journal:
            assert journal.lost_commits == lost
            journal.forget_loss()
            journal.commit()


def test_a_forgotten_job_starts_anew(directory):
    """After `forget` nothing is known, even if a crash on the way left the old log behind."""
    log = directory / "state.db-wal"
    with Journal.open(directory, storage=LOCAL) as journal:
        journal.meta["more"] = 1
        journal.commit()
        left = log.read_bytes()
    forget(directory)
    forget(directory / "that was never there")
    with pytest.raises(StateError, match="there is no journal"):
        Journal.open(directory, create=False)
    log.write_bytes(left)
    with Journal.open(directory, storage=LOCAL) as journal:
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
from threading import Event
from backfill.errors import StateError
from backfill.journal import Journal, Storage
from tests.support.journals import work

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
    command = [sys.executable, "-m", "tests.support.kills", str(tmp_path), "1"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_rejections_are_read_in_one_thread_while_another_settles_rows(tmp_path):
    """A retry reads what it sends next while the answers to what it has sent come in."""
    why = (Reason("invalid", "email", "It is none."),)
    count = 2_000
    with Journal.open(tmp_path / "job", storage=LOCAL) as journal, ThreadPoolExecutor(1) as reader:
        part = journal.add_part("people.csv", source=0, size=1, digest="d").id
        cells = {"notes": "x" * 2000}
        rejections = [Rejection(row, row, why, cells) for row in range(1, count + 1)]
        journal.settle(Settlement(part, [(1, count + 1)], rejections=rejections))
        reading = Event()

        def read() -> list[Rejection | None]:
            found = [journal.rejection(part, 1)]
            reading.set()
            return found + [journal.rejection(part, row) for row in [*range(2, count + 1)] * 5]

        made = reader.submit(read)
        assert reading.wait(60)
        while not made.done():
            for each in rejections[:50]:
                journal.reject_again(part, each)
            journal.commit(requests=1)

        assert made.result()[:count] == rejections
