"""One process at a time runs a job, and the others learn which."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backfill.errors import StateError
from backfill.journal import JobLock, Journal

HOLD = """
import sys
from pathlib import Path
from backfill.journal import JobLock

lock = JobLock.take(Path(sys.argv[1]))
lock.note(7)
print("held", flush=True)
sys.stdin.read()
"""

WINS = 60
RACE = f"""
import os, sys
from pathlib import Path
from backfill.errors import StateError
from backfill.journal import Journal

directory = Path(sys.argv[1])
inside, refused = directory / "inside", directory / "refused"
wins = 0
while wins < {WINS}:
    try:
        journal = Journal.open(directory)
    except StateError as error:
        assert "is being run by" in error.what, error.what
        refused.touch()
        continue
    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
    wins = journal.meta.get("wins", 0)
    if wins < {WINS}:
        refused.unlink(missing_ok=True)
        wins = journal.meta["wins"] = wins + 1
        journal.commit()
        while not refused.exists():
            os.sched_yield()
    inside.unlink()
    journal.close()
"""
"""Whoever is inside stays until another was refused: the last ones come to see that it is over."""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the lock of the directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_process_is_told_who_the_first_is(tmp_path, holder):
    """Its number, its machine, and since when it runs."""
    with pytest.raises(StateError) as caught:
        JobLock.take(tmp_path)
    who, _, since = caught.value.what.rpartition(" since ")
    assert who.endswith(f"is being run by process {holder.pid} on {socket.gethostname()}")
    age = datetime.now(UTC) - datetime.fromisoformat(since)
    assert timedelta() <= age < timedelta(minutes=1)
    assert caught.value.next_step


def test_a_link_to_the_directory_leads_to_the_same_lock(tmp_path, holder):
    """Another name of the directory is no way around."""
    link = tmp_path.with_name(f"{tmp_path.name}-link")
    link.symlink_to(tmp_path)
    with pytest.raises(StateError, match=f"process {holder.pid}"):
        Journal.open(link)


def test_a_killed_process_lets_go(tmp_path, holder):
    """The lock goes with its process; what it noted stays."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock = JobLock.take(tmp_path)
    assert lock.noted == 7
    lock.release()
    lock.release()


def test_a_shorter_note_leaves_nothing_of_the_one_before(tmp_path):
    """What is noted is read back whole, whatever was noted before."""
    lock = JobLock.take(tmp_path)
    for number in (10**18, 3):
        lock.note(number)
        assert json.loads((tmp_path / "lock").read_bytes())["commits"] == number
    lock.release()
    assert JobLock.take(tmp_path).noted == 3


def test_a_note_is_one_write(tmp_path, monkeypatch):
    """A process that is killed between two of them would leave half a note."""
    lock = JobLock.take(tmp_path)
    writes = []
    monkeypatch.setattr(os, "pwrite", lambda *call: writes.append(call))
    monkeypatch.setattr(os, "truncate", lambda *call: writes.append(call))
    lock.note(10**18)
    lock.note(3)
    lock.release()
    assert len(writes) == 2
    assert len({len(record) for _, record, _ in writes}) == 1


def test_a_process_can_wait_its_turn(tmp_path, holder):
    """It looks again now and then, for as long as it was told."""
    pauses = []

    def sleep(pause_s):
        pauses.append(pause_s)
        if len(pauses) == 3:
            holder.kill()
            holder.wait()

    JobLock.take(tmp_path, wait_s=60, sleep=sleep).release()
    assert len(pauses) == 3


def test_waiting_has_an_end(tmp_path, holder):
    """After that time the answer is the same as without waiting."""
    pauses = []
    with pytest.raises(StateError, match=f"process {holder.pid}"):
        JobLock.take(tmp_path, wait_s=2, sleep=pauses.append)
    assert 1.9 < sum(pauses) < 2.5


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff"])
def test_a_holder_that_has_not_written_its_name_is_another_process(tmp_path, text):
    """Between taking the lock and writing to it a moment passes; a broken file may be any age."""
    lock = JobLock.take(tmp_path)
    (tmp_path / "lock").write_bytes(text)
    with pytest.raises(StateError, match="is being run by another process"):
        JobLock.take(tmp_path)
    lock.release()
    assert JobLock.take(tmp_path).noted == 0


def test_of_many_processes_one_at_a_time_is_inside(tmp_path):
    """Whoever wins the race has the journal for itself, and another finds it taken meanwhile."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path / "job")],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    told = [racer.communicate(timeout=60)[1] for racer in racers]
    assert told == [""] * 4
    with Journal.open(tmp_path / "job") as journal:
        assert journal.meta["wins"] == WINS


def test_a_journal_waits_for_the_one_before_as_long_as_it_is_told(tmp_path):
    """Then it is refused as without waiting."""
    pauses: list[float] = []
    with Journal.open(tmp_path / "job"), pytest.raises(StateError):
        Journal.open(tmp_path / "job", wait_s=2, sleep=pauses.append)
    assert sum(pauses) == pytest.approx(2, abs=1)
