"""A job belongs to one process at a time, to one workspace, and to the settings it began with."""

import json
import signal

import pytest

from tests.support.jobs import EVENTS, job, numbered
from tests.support.programs import until
from tests.support.workspaces import workspace


@pytest.mark.sends_together("the second is turned away while the first runs")
def test_a_second_process_is_turned_away(tmp_path, start_sending, send, sandbox):
    """It ends at once with 6 and names the first, which is not disturbed."""
    pipeline = job(tmp_path, {"events.csv": numbered(50)}, EVENTS)
    sandbox.misbehave({"kind": "latency", "seconds": 1.0, "method": "POST"})
    first = start_sending(pipeline)
    until((tmp_path / ".backfill/job/status.json").exists)

    second = send(pipeline)

    assert second.code == 6
    assert f"process {first.pid} " in second.stderr
    done = first.ended()
    assert done.code == 0
    assert done.summary["delivered"] == 50
    assert sandbox.stats()["event_arrivals"] == 50


def test_two_states_send_the_same_events_once(tmp_path, send, sandbox):
    """Another state directory knows nothing, but the ids are the same."""
    pipeline = job(tmp_path, {"events.csv": numbered(50)}, EVENTS)

    send(pipeline, "--state-dir", tmp_path / "one")
    send(pipeline, "--state-dir", tmp_path / "two")

    assert sandbox.stats()["events"] == 50
    assert sandbox.stats()["duplicate_events"] == 50


def test_a_journal_belongs_to_one_workspace(tmp_path, send):
    """A rehearsal elsewhere never makes the real run a no-op: 7, and what to do."""
    pipeline = job(tmp_path, {"events.csv": numbered(5)}, EVENTS)
    assert send(pipeline).code == 0

    with workspace() as other:
        refused = send(pipeline, "--url", other.url)
        assert refused.code == 7
        assert "--state-dir" in refused.next_step
        assert other.stats()["events"] == 0

        assert send(pipeline, "--url", other.url, "--state-dir", tmp_path / "real").code == 0
        assert other.stats()["events"] == 5


def test_settings_are_bound_once_something_was_sent(tmp_path, send, sandbox):
    """Another event name would make other events of the rest: 7, until it is wanted."""
    pipeline = job(tmp_path, {"events.csv": numbered(20)}, EVENTS)
    assert send(pipeline, "--limit", "10").summary["delivered"] == 10
    pipeline.write_text(pipeline.read_text().replace('{ from = "event" }', '"renamed"'))

    refused = send(pipeline)

    assert refused.code == 7
    assert "--accept-changes" in refused.next_step
    assert "--restart" in refused.next_step
    assert sandbox.stats()["events"] == 10
    assert send(pipeline, "--accept-changes").code == 0
    names = [each["name"] for each in sandbox.events()]
    assert names == ["seen"] * 10 + ["renamed"] * 10


@pytest.mark.parametrize(
    "line", ["rate = 7", "concurrency = 3", 'region = "us"', 'url = "http://127.0.0.1:9"']
)
def test_how_fast_and_whereto_are_no_part_of_the_bond(tmp_path, send, line):
    """Settings that change nothing about operations and ids may change at any time."""
    pipeline = job(tmp_path, {"events.csv": numbered(20)}, EVENTS)
    send(pipeline, "--limit", "10")
    with pipeline.open("a") as file:
        file.write(f"[destination]\n{line}\n")

    assert send(pipeline).code == 0


def test_settings_may_change_as_long_as_nothing_was_sent(tmp_path, send):
    """Looking, being refused by a guard, or failing to begin binds nothing."""
    recent = EVENTS + 'earliest = "2024-06-01"\n'
    pipeline = job(tmp_path, {"events.csv": numbered(5)}, recent)
    assert send(pipeline).code == 3
    pipeline.write_text(pipeline.read_text().replace('{ from = "event" }', '"renamed"'))

    assert send(pipeline).code == 3


def test_a_journal_that_is_no_journal_is_refused(tmp_path, send):
    """6, and it is left as it is."""
    pipeline = job(tmp_path, {"events.csv": numbered(5)}, EVENTS)
    send(pipeline)
    journal = tmp_path / ".backfill/job/state.db"
    journal.write_bytes(b"garbage" * 1000)

    refused = send(pipeline)

    assert refused.code == 6
    assert "state.db" in refused.stderr
    assert journal.read_bytes().startswith(b"garbage")


def test_a_killed_run_leaves_a_status_that_says_who_it_was(tmp_path, start_sending, sandbox):
    """What other processes read is replaced as a whole, also when the run is killed."""
    pipeline = job(tmp_path, {"events.csv": numbered(50)}, EVENTS)
    sandbox.misbehave({"kind": "hang", "seconds": 30, "method": "POST"})
    first = start_sending(pipeline)
    until(lambda: "plan:" in first.stderr())
    first.signal(signal.SIGKILL)
    first.ended()

    status = json.loads((tmp_path / ".backfill/job/status.json").read_text())

    assert status["pid"] == first.pid
