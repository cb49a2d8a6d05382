"""A run that is stopped, by a person, a clock or a limit, goes on later as if nothing had been."""

import re
import signal

import pytest

from tests.support.checker import check_law
from tests.support.jobs import EVENTS, job, numbered
from tests.support.programs import until
from tests.support.workspaces import workspace

SLOW = {"kind": "latency", "seconds": 0.1, "method": "POST"}
ROWS = 300


@pytest.fixture
def large(tmp_path):
    """A job of many requests: v1 takes one for each row."""
    return job(tmp_path, {"events.csv": numbered(ROWS)}, '[destination]\napi = "v1"', EVENTS)


def _is_sending(sandbox):
    return sandbox.stats()["operations"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_what_is_under_way_arrive(large, start_sending, send, sandbox, number, code):
    """What was sent is settled, the rest is pending, and the next start sends it once."""
    sandbox.misbehave(SLOW)
    command = start_sending(large, "--concurrency", "4")
    until(lambda: _is_sending(sandbox))
    command.signal(number)
    stopped = command.ended()

    assert stopped.code == code
    check_law(stopped.summary)
    assert stopped.summary["delivered"] == sandbox.stats()["events"]
    assert stopped.summary["pending"] > 0
    assert not stopped.summary["complete"]
    assert "run the same command again" in stopped.next_step
    done = send(large)
    assert done.code == 0
    assert done.summary["delivered"] == ROWS
    assert sandbox.stats()["event_arrivals"] == sandbox.stats()["events"] == ROWS


def test_what_was_not_sent_before_a_signal_stays(large, start, send, sandbox):
    """No request begins after it, and the next start is in no doubt about what waited its turn."""
    sandbox.misbehave({"kind": "latency", "seconds": 0.5, "method": "POST"})
    concurrency, rate = 3, 20
    slowly = ("--concurrency", str(concurrency), "--rate", str(rate), "--json")
    command = start("run", large, "--url", sandbox.url, *slowly)
    until(lambda: _is_sending(sandbox))
    begun = sandbox.stats()["requests"]
    command.signal(signal.SIGINT)
    stopped = command.ended()

    assert stopped.code == 130
    check_law(stopped.summary)
    assert sandbox.stats()["requests"] <= begun + concurrency
    assert stopped.summary["delivered"] == sandbox.stats()["events"]
    sandbox.misbehave()
    done = send(large)
    assert done.code == 0
    assert "may be sent twice" not in done.stderr
    assert sandbox.stats()["event_arrivals"] == ROWS


def test_a_second_signal_stops_at_once(large, start_sending, send, sandbox):
    """Nobody waits for an answer that does not come; the rows are in doubt and sent again."""
    sandbox.misbehave({"kind": "hang", "seconds": 600, "method": "POST"})
    command = start_sending(large)
    until(lambda: sandbox.fired()[0])
    command.signal(signal.SIGINT)
    until(lambda: "press again to stop at once" in command.stderr())
    command.signal(signal.SIGINT)
    stopped = command.ended()

    assert stopped.code == 130
    assert stopped.summary["exit"] == 130
    sandbox.misbehave()
    done = send(large)
    assert done.code == 0
    assert "may be sent twice" in done.stderr
    assert sandbox.stats()["events"] == ROWS


def test_a_signal_while_planning_stops_as_well(large, start_sending, sandbox):
    """Nothing was sent, and nothing is settled."""
    sandbox.misbehave({"kind": "hang", "seconds": 600, "method": "GET"})
    command = start_sending(large)
    until(lambda: sandbox.fired()[0])
    command.signal(signal.SIGTERM)
    stopped = command.ended()

    assert stopped.code == 143
    check_law(stopped.summary)
    assert stopped.summary["delivered"] == 0


def test_the_time_that_is_given_is_kept(large, send, sandbox):
    """--for drains and ends with 75; without it the run goes on and ends well."""
    sandbox.misbehave(SLOW)

    stopped = send(large, "--for", "1s", "--concurrency", "4")

    assert stopped.code == 75
    assert 0 < stopped.summary["pending"] < ROWS
    assert "run the same command again" in stopped.next_step
    sandbox.misbehave()
    done = send(large)
    assert done.code == 0
    assert sandbox.stats()["event_arrivals"] == sandbox.stats()["events"] == ROWS


def test_until_a_time_of_day_that_is_far_away(tmp_path, send):
    """A run that is done before its time ends as ever."""
    pipeline = job(tmp_path, {"events.csv": numbered(5)}, EVENTS)

    assert send(pipeline, "--until", "00:00", "--for", "20h").code == 0


def test_a_limit_is_the_first_rows_of_each_source(tmp_path, send, sandbox):
    """The rest is unread and no part of the law; later runs go on from there."""
    more = EVENTS.replace("events*.*", "more.csv")
    files = {"events.csv": numbered(30), "more.csv": numbered(30, first=100)}
    pipeline = job(tmp_path, files, EVENTS, more)

    first = send(pipeline, "--limit", "10")

    assert first.code == 0
    assert first.summary["rows_read"] == first.summary["delivered"] == 20
    assert not first.summary["complete"]
    found = {each["attributes"]["n"] for each in sandbox.events()}
    assert found == {str(n) for n in (*range(10), *range(100, 110))}
    second = send(pipeline, "--limit", "25")
    assert second.summary["this_run"]["delivered"] == 30
    rest = send(pipeline)
    assert rest.code == 0
    assert rest.summary["complete"]
    assert rest.summary["delivered"] == 60
    assert sandbox.stats()["event_arrivals"] == sandbox.stats()["events"] == 60


def test_a_smaller_limit_than_before_sends_nothing(tmp_path, send):
    """What was sent stays in the accounts."""
    pipeline = job(tmp_path, {"events.csv": numbered(30)}, EVENTS)
    send(pipeline, "--limit", "20")

    done = send(pipeline, "--limit", "5")

    assert done.code == 0
    assert done.summary["rows_read"] == done.summary["delivered"] == 20


def test_a_start_after_a_kill_says_how_many_rows_are_in_doubt(large, start_sending, send, sandbox):
    """The number is an upper bound of what arrives twice; the start after it knows of no doubt."""
    sandbox.misbehave(SLOW)
    command = start_sending(large, "--concurrency", "4")
    until(lambda: _is_sending(sandbox))
    command.kill()

    resumed = send(large)

    said = re.search(r"up to ([\d,]+) rows may be sent twice", resumed.stderr)
    assert said
    assert sandbox.stats()["duplicate_events"] <= int(said[1].replace(",", ""))
    assert sandbox.stats()["events"] == resumed.summary["delivered"] == ROWS
    assert "sent twice" not in send(large).stderr


def test_an_outage_is_waited_for_and_rejects_no_row(tmp_path, large, start_sending, send):
    """The service goes away and comes back: with --for 75 meanwhile, without it the run waits."""
    with workspace(data=tmp_path / "data") as before:
        before.misbehave(SLOW)
        first = start_sending(large, "--url", before.url, "--concurrency", "4")
        until(lambda: _is_sending(before))
    port = before.url.rpartition(":")[2]
    first.signal(signal.SIGKILL)
    first.ended()

    gone = send(large, "--url", before.url, "--for", "1s")
    assert gone.code == 75
    assert gone.summary["rejected"] == 0
    waiting = start_sending(large, "--url", before.url)
    with workspace(port=int(port), data=tmp_path / "data") as after:
        done = waiting.ended()

        assert done.code == 0
        check_law(done.summary)
        assert done.summary["delivered"] == after.stats()["events"] == ROWS
