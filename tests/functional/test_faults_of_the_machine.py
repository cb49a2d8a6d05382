"""Disk, clock, memory and files do what they like: the run ends with a sentence, and goes on later.

What the network does is in `test_service_answers.py`, what people do to files between two runs in
`test_changed_sources.py`.
"""

import random
import re
import resource
import shutil
import signal

import pytest

from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job, numbered, people
from tests.support.programs import until

V1 = '[destination]\napi = "v1"'
SLOW = {"kind": "latency", "seconds": 0.05, "method": "POST"}
ROWS = 300


@pytest.fixture
def under_way(tmp_path, start_sending, sandbox):
    """A run of many requests that has begun to send; its pipeline file and command."""
    sandbox.misbehave(SLOW)
    pipeline = job(tmp_path, {"events.csv": numbered(ROWS)}, V1, EVENTS)
    command = start_sending(pipeline, "--concurrency", "2")
    until(lambda: sandbox.stats()["operations"] > 10)
    return pipeline, command


def _everything_arrives_once(sandbox, send, pipeline, *more):
    """The next start brings the rest."""
    sandbox.misbehave()
    done = send(pipeline, *more)
    assert done.code == 0
    assert done.summary["complete"]
    assert sandbox.stats()["events"] == ROWS
    return done


def test_a_state_that_is_deleted_meanwhile_stops_the_run(tmp_path, under_way, send, sandbox):
    """6; what was sent without a memory is sent again under the same ids."""
    pipeline, command = under_way
    (tmp_path / ".backfill/job/state.db").unlink()

    stopped = command.ended()

    assert stopped.code == 6
    assert "deleted or replaced" in stopped.stderr
    _everything_arrives_once(sandbox, send, pipeline)


@pytest.mark.parametrize("name", ["state.db", "state.db-wal"])
def test_a_start_with_an_older_journal_says_what_is_in_doubt(
    tmp_path, under_way, send, sandbox, name
):
    """A journal or a log that was removed between two runs is missed; events keep their ids."""
    _, command = under_way
    until(lambda: sandbox.stats()["operations"] > 30)
    command.kill()
    (tmp_path / ".backfill/job" / name).unlink()

    done = _everything_arrives_once(sandbox, send, under_way[0])

    assert "the journal is older than the last run" in done.stderr
    said = re.search(r"up to ([\d,]+) rows may be sent twice", done.stderr)
    assert sandbox.stats()["duplicate_events"] <= int(said[1].replace(",", ""))


def test_a_finished_job_whose_journal_was_removed_says_so(tmp_path, send, sandbox):
    """All of it is sent again, under the same ids, and not without a word."""
    pipeline = job(tmp_path, {"events.csv": numbered(ROWS)}, V1, EVENTS)
    assert send(pipeline).code == 0
    (tmp_path / ".backfill/job/state.db").unlink()

    again = _everything_arrives_once(sandbox, send, pipeline)

    assert "the journal is older than the last run" in again.stderr
    assert f"up to {ROWS} rows may be sent twice" in again.stderr
    assert "older than the last run" not in send(pipeline).stderr


def test_a_state_folder_that_is_deleted_meanwhile_stops_the_run(tmp_path, under_way, send, sandbox):
    """The same, with nothing left that could be written to."""
    pipeline, command = under_way
    (tmp_path / ".backfill").rename(tmp_path / "gone")  # at once; it may be written to meanwhile
    shutil.rmtree(tmp_path / "gone", ignore_errors=True)

    stopped = command.ended()

    assert stopped.code == 6
    assert "Traceback" not in stopped.stderr
    _everything_arrives_once(sandbox, send, pipeline)


def test_a_disk_that_fills_up_meanwhile_stops_the_run(under_way, send, sandbox):
    """6; the journal stays whole, and the next start goes on from it."""
    pipeline, command = under_way
    resource.prlimit(command.pid, resource.RLIMIT_FSIZE, (4_096, 4_096))

    stopped = command.ended()

    assert stopped.code == 6
    assert "Traceback" not in stopped.stderr
    done = _everything_arrives_once(sandbox, send, pipeline)
    assert done.summary["this_run"]["delivered"] < ROWS


@pytest.mark.parametrize("seed", range(3))
def test_a_state_with_a_wrong_byte_is_refused(tmp_path, under_way, send, sandbox, seed):
    """6, before anything is sent, and never fixed in silence; or the byte was of no account."""
    pipeline, command = under_way
    command.signal(signal.SIGTERM)
    command.ended()
    path = tmp_path / ".backfill/job/state.db"
    content = bytearray(path.read_bytes())
    dice = random.Random(seed)
    for _ in range(20):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    before = sandbox.stats()["operations"]

    refused = send(pipeline)

    assert refused.code == 6
    assert "state.db" in refused.stderr
    assert sandbox.stats()["operations"] == before
    _everything_arrives_once(sandbox, send, pipeline, "--restart")


@pytest.fixture
def between(tmp_path, start_sending, sandbox):
    """A run that has planned and waits for its customers; its events are still to be read."""
    sandbox.misbehave({"kind": "latency", "seconds": 1.5, "requests": [2]})
    files = {"customers.csv": people(*(f"p{n}" for n in range(10))), "events.csv": numbered(ROWS)}
    pipeline = job(tmp_path, files, CUSTOMERS, EVENTS)
    command = start_sending(pipeline)
    until(lambda: sandbox.fired()[0])
    return pipeline, command


def test_a_source_that_grows_meanwhile_stops_the_run(tmp_path, between, send, sandbox):
    """5, with what was read before; --append takes what was added."""
    pipeline, command = between
    with (tmp_path / "events.csv").open("a") as file:
        file.write(numbered(5, first=ROWS).removeprefix(HEADER))

    stopped = command.ended()

    assert stopped.code == 5
    assert "events.csv: changed while it was read" in stopped.stderr
    assert stopped.summary["delivered"] == 10
    assert send(pipeline).code == 5
    assert send(pipeline, "--append").code == 0
    assert sandbox.stats()["events"] == ROWS + 5


@pytest.mark.parametrize("change", ["gone", "emptied", "replaced"])
def test_a_source_that_changes_meanwhile_stops_the_run(tmp_path, between, send, sandbox, change):
    """5, and nothing of it is sent; back as it was, it is read on."""
    pipeline, command = between
    path, kept = tmp_path / "events.csv", tmp_path / "kept"
    path.rename(kept)
    if change != "gone":
        path.write_text("" if change == "emptied" else numbered(ROWS))

    stopped = command.ended()

    assert stopped.code == 5
    assert sandbox.stats()["events"] == 0
    kept.rename(path)
    assert send(pipeline).code == 0
    assert sandbox.stats()["events"] == ROWS


def test_a_damaged_plan_is_refused_and_restart_makes_it_again(tmp_path, under_way, send, sandbox):
    """6, and nothing is sent by a plan that nobody can read."""
    pipeline, command = under_way
    command.kill()
    (path,) = (tmp_path / ".backfill/job/plan").glob("*/plan.json")
    path.write_bytes(path.read_bytes()[:100])

    refused = send(pipeline)

    assert refused.code == 6
    assert "plan.json: the plan is damaged" in refused.stderr
    _everything_arrives_once(sandbox, send, pipeline, "--restart")


def test_a_laptop_that_slept_goes_on(under_way, sandbox):
    """What it had sent is not sent again; `test_track_delivery` sees that no burst follows."""
    _, command = under_way
    command.signal(signal.SIGSTOP)
    until(lambda: command.state == "T")
    sandbox.misbehave()
    command.signal(signal.SIGCONT)

    assert command.ended().code == 0
    assert sandbox.stats()["events"] == sandbox.stats()["event_arrivals"] == ROWS


def test_a_run_without_memory_ends_as_a_killed_one_does(under_way, send, sandbox):
    """Whatever the last word is, the next start brings the rest."""
    pipeline, command = under_way
    before = sandbox.stats()["requests"]
    resource.prlimit(command.pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))
    until(lambda: sandbox.stats()["requests"] > before + 10 or not command.state)
    command.kill()

    done = _everything_arrives_once(sandbox, send, pipeline)
    assert done.summary["this_run"]["delivered"] < ROWS
