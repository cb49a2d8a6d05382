"""The history of a job remembers every call, also those that were killed or overlapped."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from backfill.errors import StateError
from backfill.notify.call_history import (
    Call,
    as_far_as_known,
    before,
    read_history,
    write_call,
)
from backfill.report.status_file import Status
from backfill.report.wording import utc_text


def call(second: int, **more) -> Call:
    """A call that began so many seconds after 1970."""
    return Call(
        **{
            "command": "run",
            "pid": 1,
            "started_at": utc_text(second, "milliseconds"),
            "stopped": [],
            **more,
        }
    )


@pytest.fixture(scope="module")
def dead():
    """The number of a process that is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def test_calls_come_back_in_their_order(tmp_path):
    """Whatever the order in which they were written."""
    calls = [call(second, exit=0, summary={"rows_read": second}) for second in (1, 2, 10)]
    for each in reversed(calls):
        write_call(tmp_path, each, keep=9)
    assert read_history(tmp_path) == calls


def test_a_call_is_one_entry_from_its_beginning_to_its_end(tmp_path):
    """What it said first is replaced by what it says last."""
    first = call(1)
    last = replace(first, finished_at=utc_text(2, "milliseconds"), exit=3, stopped=["a", "b"])
    write_call(tmp_path, first, keep=9)
    write_call(tmp_path, last, keep=9)
    assert read_history(tmp_path) == [last]


def test_only_the_last_calls_are_kept(tmp_path):
    """As many as `keep_runs` says."""
    for second in range(5):
        write_call(tmp_path, call(second), keep=2)
    assert [each.started_at for each in read_history(tmp_path)] == [
        utc_text(3, "milliseconds"),
        utc_text(4, "milliseconds"),
    ]


def test_a_history_that_never_began_is_empty(tmp_path):
    """A missing folder is no error."""
    assert read_history(tmp_path / "none") == []


def test_a_file_of_somebody_else_is_named(tmp_path):
    """It is not skipped: what is remembered would seem to be all there was."""
    write_call(tmp_path, call(1), keep=9)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"{")
    with pytest.raises(StateError, match=path.name):
        read_history(tmp_path)


def test_the_call_before_is_the_one_that_ended_last(dead):
    """An overlapping start ends before the call that it overlapped."""
    long = call(1, pid=dead, finished_at=utc_text(100, "milliseconds"), exit=0)
    refused = call(50, pid=dead, finished_at=utc_text(51, "milliseconds"), exit=6)
    assert before([long, refused], call(200)) == long


def test_a_killed_call_counts_and_a_running_one_does_not(dead):
    """Only the former is over."""
    killed, running = call(1, pid=dead), call(2, pid=os.getpid())
    assert before([killed, running], call(3, pid=dead + 1)) == killed
    assert not killed.is_alive()
    assert running.is_alive()


def test_a_process_with_our_own_number_is_gone():
    """In a container every call may be process 1, and the one before was killed with it."""
    killed = call(1, pid=os.getpid())
    assert before([killed], call(2, pid=os.getpid())) == killed


def test_a_killed_call_is_told_as_far_as_its_status_knew():
    """Rows and time are its own; a status of another process says nothing of it."""
    killed = call(100, pid=7, began_ticks=5)
    status = Status(
        job="job",
        state="running",
        pid=7,
        began_ticks=5,
        started_at=utc_text(100),
        updated_at=utc_text(130),
        rows_total=1000,
        rows_read=700,
        delivered=600,
        rejected=100,
        this_run={"rows_read": 70, "delivered": 60, "rejected": 10, "merged": 0, "skipped": 0},
    )

    known = as_far_as_known(killed, status)

    assert known.summary["this_run"] == {**status.this_run, "seconds": 30.0}
    assert (known.summary["rows_read"], known.summary["delivered"]) == (1000, 600)
    assert as_far_as_known(killed, replace(status, began_ticks=6)) == killed
    assert as_far_as_known(killed, replace(status, updated_at=utc_text(90))) == killed
    assert as_far_as_known(killed, None) == killed
    ended = replace(killed, finished_at=utc_text(140), summary={"rows_read": 1})
    assert as_far_as_known(ended, status) == ended


def test_a_call_is_not_before_itself():
    """Its own entry is there from its beginning."""
    assert before([call(1, pid=os.getpid())], call(1, pid=os.getpid())) is None
