"""A sync that ends before it sends anything leaves the job as it was."""

import json
import signal

import pytest

from tests.support.jobs import AGED, EVENTS, job, rejected
from tests.support.programs import until

KEYED = EVENTS + 'key = ["n"]\nunknown_people = "send"\n'
TABLES = ('[destination]\napi = "v1"', AGED, KEYED)
HEADER = "id,age\n"
MANY = [f"p{n}" for n in range(60)]
BAD = "p60,old\n"
LATE = "id,event,at,n\np1,seen,2024-01-02T00:00:00Z,2\n"


def ages(age, *ids):
    """Rows of people of one age."""
    return "".join(f"{each},{age}\n" for each in ids)


@pytest.fixture
def night(tmp_path, send):
    """Put files in place and sync."""

    def synced(files, *more):
        return send(job(tmp_path, files, *TABLES), *more, command="sync")

    return synced


@pytest.fixture
def known(tmp_path, backfill):
    """What others are told of the job: status, summary, rejected rows."""

    def told():
        status = json.loads(backfill("status", "--json").stdout)["jobs"][0]
        told = {key: status[key] for key in ("rows_total", "delivered", "rejected", "pending")}
        return told, rejected(tmp_path / "pipeline.toml").read_text("utf-8-sig")

    return told


WHOLE = {
    "customers.csv": HEADER + ages(1, *MANY) + BAD,
    "events-1.csv": "id,event,at,n\np1,seen,2024-01-01T00:00:00Z,1\n",
}
CUT = {"customers.csv": HEADER + ages(2, *MANY[:9]), "events-2.csv": LATE}


def test_a_refused_night_changes_nothing(night, known, send, sandbox, tmp_path):
    """Neither what status says, nor the rejected rows; they can still be fixed and sent."""
    assert night(WHOLE).code == 3
    before = known()
    for _ in range(2):
        refused = night(CUT)
        assert refused.code == 7
        assert (refused.summary["this_run"]["requests"], refused.summary["complete"]) == (0, False)
        assert known() == before
    (tmp_path / "events-2.csv").unlink()
    fixed = rejected(tmp_path / "pipeline.toml")
    fixed.write_text(fixed.read_text("utf-8-sig").replace("old", "77"), "utf-8-sig")
    pipeline = job(tmp_path, WHOLE, *TABLES)
    assert send(pipeline, command="retry").code == 0
    assert sandbox.people()["p60"]["attributes"] == {"age": 77}
    assert send(pipeline).summary["this_run"]["requests"] == 0


def test_the_next_good_night_sends_what_is_due(night, sandbox):
    """No more and no less than if the refused one had not been."""
    night(WHOLE)
    assert night(CUT).code == 7
    changed = ages(1, *MANY[1:]) + ages(3, "p0", "new") + BAD
    done = night({"customers.csv": HEADER + changed})
    assert done.code == 3
    customers, events = done.summary["sources"]
    assert (customers["delivered"], customers["skipped_by_reason"]) == (2, {"unchanged": 59})
    assert events["delivered"] == 1 + 1
    assert done.summary["this_run"]["delivered"] == 2 + 1
    assert sandbox.people()["p0"]["attributes"] == {"age": 3}


def test_a_refusal_in_the_middle_of_an_unfinished_sync(
    night, known, start_sending, sandbox, tmp_path
):
    """What the unfinished one did is not forgotten, and what it did not do is still to do."""
    night(WHOLE)
    sandbox.misbehave({"kind": "latency", "seconds": 0.1, "method": "POST"})
    other = HEADER + ages(2, *MANY) + BAD
    command = start_sending(
        job(tmp_path, {"customers.csv": other}, *TABLES), "--concurrency", "4", command="sync"
    )
    until(lambda: sandbox.stats()["operations"] > len(MANY) + 5)
    command.signal(signal.SIGTERM)
    assert command.ended().code == 143
    sandbox.misbehave()
    before, there = known(), sandbox.people()
    assert before[0]["pending"] > 0
    assert night(CUT).code == 7
    assert known() == before
    assert sandbox.people() == there
    done = night({"customers.csv": other})
    told = sum(each["attributes"].get("age") == 2 for each in there.values())
    assert done.code == 3
    assert done.summary["sources"][0]["delivered"] == len(MANY) - told
    assert {each["attributes"]["age"] for each in sandbox.people().values()} == {2}


def test_a_night_without_a_workspace_changes_nothing(night, known):
    """Whatever ends it: nothing is taken up before it can be sent."""
    night(WHOLE)
    before = known()
    ended = night(CUT, "--url", "http://127.0.0.1:9", "--for", "1s")
    assert ended.code == 75
    assert known() == before


def test_a_refused_first_night_says_what_waits(send, tmp_path):
    """There is nothing before it that could be told instead."""
    recent = "id,event,at,n\np1,seen,2998-01-01T00:00:00Z,1\n"
    files = {"customers.csv": HEADER + ages(1, "p1"), "events-1.csv": recent}
    refused = send(job(tmp_path, files, *TABLES, 'latest = "2999-01-01"'), command="sync")
    assert refused.code == 7
    assert (refused.summary["rows_read"], refused.summary["pending"]) == (2, 2)
