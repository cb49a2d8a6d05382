"""Where a job stands, for other processes; a process is known by its number and its beginning."""

import os
import subprocess
import sys

import pytest

from backfill.errors import StateError
from backfill.report.status_file import Status, began_ticks, is_there, read_status, write_status

STATUS = Status(
    job="acme",
    state="running",
    pid=os.getpid(),
    started_at="2026-01-01T00:00:00Z",
    updated_at="2026-01-01T00:00:01Z",
    rows_total=10,
    rows_read=5,
    delivered=4,
    rejected=1,
)


def test_what_was_written_is_read(tmp_path):
    """The file holds the whole status, whichever process asks."""
    write_status(tmp_path / "status.json", STATUS)
    assert read_status(tmp_path / "status.json") == STATUS


def test_a_job_that_never_ran_has_no_status(tmp_path):
    """No file, no status."""
    assert read_status(tmp_path / "status.json") is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"job": 1, "more": 2}'])
def test_a_foreign_file_is_refused(tmp_path, content):
    """It says which file to remove."""
    path = tmp_path / "status.json"
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"status\.json"):
        read_status(path)


def test_a_killed_process_is_seen_to_be_gone():
    """It could not say that it ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert STATUS.is_alive()
    assert not Status(
        job="a", state="running", pid=ended.pid, started_at="", updated_at=""
    ).is_alive()


OURS = os.getpid()


def test_this_process_is_there():
    """With or without knowing when it began."""
    assert is_there(OURS, began_ticks(OURS))
    assert is_there(OURS, None)


def test_another_process_of_the_same_number_is_another():
    """The one that wrote the file began earlier, and is gone."""
    began = began_ticks(OURS)
    assert not is_there(OURS, None if began is None else began - 1) or began is None


def test_a_process_that_has_ended_is_gone():
    """Also while its parent has not noticed."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = began_ticks(child.pid)
    assert is_there(child.pid, began)

    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert began is None or not is_there(child.pid, began)
    child.wait()
    assert not is_there(child.pid, began)
