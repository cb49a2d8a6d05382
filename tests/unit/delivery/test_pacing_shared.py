"""Several processes keep to one rate, whatever becomes of each."""

import os
import signal
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.delivery.pacing import BUSY_S, FUTURE_MAX_S, Pacer, SharedPacer, next_turn, turns_file
from tests.support.deliveries import worst_second

RATE, TURNS, PROCESSES = 3_000, 600, 8
TAKERS = f"""
import os, sys
from pathlib import Path
from backfill.delivery.pacing import BUSY_S, Pacer, SharedPacer

shared, folder = map(Path, sys.argv[1:])
begin, all_there = os.pipe()
for number in range({PROCESSES}):
    if os.fork() == 0:
        os.close(all_there)
        os.read(begin, 1)
        pacer, now_s, taken = SharedPacer(Pacer(), shared), 1_000.0, []
        for _ in range({TURNS}):
            while wait_s := pacer.take(now_s, {RATE}):
                if wait_s == BUSY_S:
                    os.sched_yield()
                else:
                    now_s += wait_s
            taken.append(now_s)
        (folder / str(number)).write_text(" ".join(map(str, taken)))
        os._exit(0)
os.close(all_there)
for _ in range({PROCESSES}):
    os.wait()
"""
"""Each waits by a clock of its own, which takes no time: all ask as often as they can."""

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    """A file that processes share."""
    return turns_file("environment-7", tmp_path / "turns")


def test_eight_processes_take_turns_as_one(path, tmp_path):
    """In no second do they take more than the rate and a tenth together; the rate is reached."""
    command = [sys.executable, "-c", TAKERS, str(path), str(tmp_path)]
    subprocess.run(command, check=True)

    told = [(tmp_path / str(number)).read_text() for number in range(PROCESSES)]
    times = sorted(float(each) for line in told for each in line.split())
    assert len(times) == PROCESSES * TURNS
    assert len(times) / (times[-1] - times[0]) == pytest.approx(RATE, rel=0.1)
    assert worst_second(times) <= RATE * 1.1


def test_a_killed_holder_lets_go(path):
    """While somebody looks at the file nobody waits for the lock; a kill frees it."""
    pacer = SharedPacer(Pacer(), path)
    assert pacer.take(1_000.0, 1.0) == 0.0
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        assert pacer.take(1_001.0, 1.0) == BUSY_S
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    assert pacer.take(1_001.0, 1.0) == 0.0


def test_what_one_has_taken_another_waits_for(path):
    """Two pacers of one file are one pacer; a pause is each one's own."""
    one, other = SharedPacer(Pacer(), path), SharedPacer(Pacer(), path)
    assert one.take(1_000.0, 10.0) == 0.0
    assert other.take(1_000.0, 10.0) == pytest.approx(0.1)
    assert other.take(1_000.1, 10.0) == 0.0

    one.pause(1_005.0)

    assert one.is_paused(1_004.0)
    assert not other.is_paused(1_004.0)
    assert one.take(1_004.0, 10.0) == pytest.approx(1.0)
    assert other.take(1_004.0, 10.0) == 0.0


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\0",
        b"no moment at all",
        struct.pack("<d", float("nan")),
        struct.pack("<d", float("inf")),
        struct.pack("<d", 1_000 + FUTURE_MAX_S + 1),  # of before the machine was started anew
        struct.pack("<d", -1e300),
    ],
)
def test_a_file_that_cannot_be_true_heals(path, record):
    """Nobody waits for it, and the next one finds a true one."""
    path.parent.mkdir()
    path.write_bytes(record)

    assert SharedPacer(Pacer(), path).take(1_000.0, 1.0) == 0.0
    assert SharedPacer(Pacer(), path).take(1_000.0, 1.0) == pytest.approx(1.0)


@given(st.binary(max_size=16), st.floats(0, 1e9))
def test_any_bytes_are_a_moment_of_this_minute_or_none(record, now_s):
    """No content makes anybody wait for longer than a minute."""
    assert next_turn(record, now_s) - now_s <= FUTURE_MAX_S


@given(st.binary(max_size=9))
def test_a_process_keeps_its_own_rate_whatever_the_file_says(tmp_path_factory, record):
    """A file that somebody spoils again and again does not set a process free."""
    path = turns_file("environment-7", tmp_path_factory.mktemp("turns"))
    path.parent.chmod(0o700)
    pacer = SharedPacer(Pacer(), path)
    path.write_bytes(record)
    now_s = 1_000.0 + pacer.take(1_000.0, 1.0)
    assert pacer.take(now_s, 1.0) in (0.0, 1.0)
    path.write_bytes(record)

    assert pacer.take(now_s, 1.0) >= 0.99


def test_a_folder_of_somebody_elses_is_not_used(path):
    """Others could slow us down there, or have us write elsewhere: each keeps its own rate."""
    path.parent.mkdir()
    path.parent.chmod(0o777)

    assert SharedPacer(Pacer(), path).take(1_000.0, 1.0) == 0.0
    assert SharedPacer(Pacer(), path).take(1_000.0, 1.0) == 0.0
    assert not path.exists()


def test_a_link_is_not_followed(path, tmp_path):
    """Nothing is written to where it leads."""
    path.parent.mkdir(mode=0o700)
    target = tmp_path / "target"
    target.write_bytes(b"theirs")
    path.symlink_to(target)

    assert SharedPacer(Pacer(), path).take(1_000.0, 1.0) == 0.0
    assert target.read_bytes() == b"theirs"


def test_the_file_is_private_and_may_be_removed(path):
    """Whoever cleans up temporary files does no harm."""
    pacer = SharedPacer(Pacer(), path)
    pacer.take(1_000.0, 1.0)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.unlink()

    assert pacer.take(1_000.0, 1.0) == pytest.approx(1.0)
    assert pacer.take(1_001.0, 1.0) == 0.0
    assert path.exists()


def test_no_limit_is_not_shared(path):
    """Rate 0 touches no file."""
    assert SharedPacer(Pacer(), path).take(1_000.0, 0.0) == 0.0
    assert not path.exists()


def test_the_usual_place_is_the_users_own():
    """The same for every process of a user."""
    assert str(os.getuid()) in str(turns_file("environment-7"))
