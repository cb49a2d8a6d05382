"""What `run` and `retry` told people, in any order and cut short, is what a sync starts from."""

import signal

import pytest

from tests.support.jobs import AGED, job, rejected
from tests.support.programs import until

MANY = [f"p{n}" for n in range(60)]


def export(**odd):
    """Everybody is 1 year old, but those who are named."""
    ages = dict.fromkeys(MANY, "1") | odd
    return {"customers.csv": "id,age\n" + "".join(f"{who},{age}\n" for who, age in ages.items())}


@pytest.fixture
def put(tmp_path):
    """Puts tonight's export in place; gives the pipeline file."""
    return lambda **odd: job(tmp_path, export(**odd), '[destination]\napi = "v1"', AGED)


def test_a_run_cut_short_a_retry_and_the_rest(put, start_sending, send, sandbox):
    """Only whom the retry told something that the source does not say is told once more."""
    pipeline = put(p0="old")
    sandbox.misbehave({"kind": "latency", "seconds": 0.1, "method": "POST"})
    command = start_sending(pipeline, "--concurrency", "4")
    until(lambda: sandbox.stats()["operations"] > 5)
    command.signal(signal.SIGTERM)
    assert command.ended().code == 143
    sandbox.misbehave()
    fixed = rejected(pipeline)
    fixed.write_text(fixed.read_text("utf-8-sig").replace("old", "77"), "utf-8-sig")
    assert send(pipeline, command="retry").summary["pending"] > 0
    assert send(pipeline).code == 0
    assert sandbox.people()["p0"]["attributes"] == {"age": 77}

    assert send(pipeline, command="sync").summary["this_run"]["requests"] == 0
    done = send(put(p0="2", p1="3"), command="sync")
    assert (done.code, done.summary["delivered"]) == (0, 2)
    assert send(put(p0="2", p1="3"), command="sync").summary["delivered"] == 0
    found = {name: each["attributes"]["age"] for name, each in sandbox.people().items()}
    assert found == dict.fromkeys(MANY, 1) | {"p0": 2, "p1": 3}


def test_an_unfinished_sync_a_retry_and_a_sync(put, start_sending, send, sandbox):
    """The retry goes by what the unfinished one has rejected; the next sync does the rest."""
    send(put())
    sandbox.misbehave({"kind": "latency", "seconds": 0.1, "method": "POST"})
    others = dict.fromkeys(MANY, "2") | {"p0": "old"}
    pipeline = put(**others)
    command = start_sending(pipeline, "--concurrency", "4", command="sync")
    until(lambda: sandbox.stats()["operations"] > len(MANY) + 5)
    command.signal(signal.SIGTERM)
    assert command.ended().code == 143
    sandbox.misbehave()
    fixed = rejected(pipeline)
    fixed.write_text(fixed.read_text("utf-8-sig").replace("old", "77"), "utf-8-sig")
    send(pipeline, command="retry")
    assert sandbox.people()["p0"]["attributes"] == {"age": 77}
    there = sum(each["attributes"]["age"] == 2 for each in sandbox.people().values())

    done = send(put(**others | {"p0": "2"}), command="sync")
    assert (done.code, done.summary["delivered"]) == (0, len(MANY) - there)
    assert {each["attributes"]["age"] for each in sandbox.people().values()} == {2}
