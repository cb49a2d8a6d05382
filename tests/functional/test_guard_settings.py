"""Every guard refuses with 7 before anything is sent, names its setting, and the setting answers.

A guard never keeps anybody from looking: `check` and `plan` report it and go on.
"""

from typing import NamedTuple

import pytest

from tests.support.jobs import (
    CUSTOMERS,
    DELETIONS,
    EVENTS,
    HEADER,
    ago,
    job,
    numbered,
    people,
    rejected,
)

AT = "2024-01-01T00:00:00Z"
UNPROVED = EVENTS.replace(', format = "iso8601"', "")

RECENT = {"events.csv": f"{HEADER}p1,seen,{ago(hours=1)},1\np1,seen,{AT},2\n"}
TWINS = {"events.csv": f"{HEADER}p1,seen,{AT},1\np1,seen,{AT},1\np2,seen,{AT},1\n"}
REPEATED = {"events.csv": f"id,event,at,n,m\np1,a,{AT},1,1\np1,a,{AT},1,2\np1,a,{AT},2,1\n"}
UNKNOWN = {"events.csv": numbered(3), "customers.csv": people("p0", "p1")}
SHARED = {"customers.csv": "id,email\np1,A@x.com\np2,a@x.com\np3,b@x.com\n"}
RESERVED = {"events.csv": f"id,event,at,recipient\np1,seen,{AT},a@x.com\np2,seen,{AT},\n"}
STEERING = {"customers.csv": "id,_update\np1,true\n"}
TWO_WAYS = {"events.csv": f"{HEADER}p1,seen,01/02/2024 10:00,1\np1,seen,03/04/2024 10:00,2\n"}
GONE = {"gone.csv": "id\np1\np2\np3\n"}
BOTH = {"gone.csv": "id\np1\n", "customers.csv": people("p1", "p2")}

KEYED = EVENTS + 'key = ["n"]\n'
FEW = DELETIONS + "deletes_max = 2\n"


class Case(NamedTuple):
    """A guard, an answer to it, and how many rows are then delivered and skipped."""

    files: dict[str, str]
    tables: list[str]
    setting: str
    answer: str
    delivered: int
    skipped: int = 0


CASES = [
    Case(RECENT, [EVENTS], "recent_events", '"send"', 2),
    Case(RECENT, [EVENTS], "recent_events", '"skip"', 1, 1),
    Case(RECENT, [EVENTS], "recent_events", '"hold"', 1),
    Case(TWINS, [EVENTS], "identical_rows", '"keep"', 3),
    Case(TWINS, [EVENTS], "identical_rows", '"collapse"', 2, 1),
    Case(REPEATED, [KEYED], "repeated_keys", '"first"', 2, 1),
    Case(UNKNOWN, [CUSTOMERS, EVENTS], "unknown_people", '"send"', 5),
    Case(UNKNOWN, [CUSTOMERS, EVENTS], "unknown_people", '"reject"', 4),
    Case(SHARED, [CUSTOMERS], "shared_emails", '"first"', 2, 1),
    Case(SHARED, [CUSTOMERS], "shared_emails", '"send"', 3),
    Case(RESERVED, [EVENTS], "reserved", '"drop"', 2),
    Case(RESERVED, [EVENTS], "reserved", '"send"', 2),
    Case(STEERING, [CUSTOMERS], "reserved", "'drop'", 1),
    Case(GONE, [FEW], "deletes_max", "3", 3),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.setting}={case.answer}")
def test_a_guard_and_its_answer(tmp_path, send, look, sandbox, case):
    """7 and nothing sent, which `check` says, too; with the setting the rows end as it says."""
    pipeline = job(tmp_path, case.files, *case.tables)

    refused = send(pipeline, "--yes")

    assert refused.code == 7
    assert refused.summary["this_run"]["attempts"] == 0
    assert f"set {case.setting} = " in refused.next_step
    assert sandbox.stats()["operations"] == 0
    looked = look(pipeline)
    assert looked.code == 7
    assert [each["code"] for each in looked.summary["guards"]] == [case.setting]

    *others, last = case.tables
    done = send(job(tmp_path, case.files, *others, _with(last, case.setting, case.answer)))
    assert done.code in (0, 3)
    assert done.summary["delivered"] == case.delivered
    assert done.summary["skipped"] == case.skipped
    assert done.summary["held"] == done.summary["pending"]
    assert sandbox.stats()["operations"] == case.delivered


def _with(table, setting, answer):
    """The table with a setting, in place of the former one."""
    lines = [each for each in table.splitlines() if not each.startswith(f"{setting} =")]
    return "\n".join([*lines, f"{setting} = {answer}\n"])


def test_timestamps_that_can_be_read_in_two_ways(tmp_path, send, sandbox):
    """Both readings are shown; a declared format answers."""
    pipeline = job(tmp_path, TWO_WAYS, UNPROVED)

    refused = send(pipeline)

    assert refused.code == 7
    assert "2024-01-02" in refused.stderr
    assert "2024-02-01" in refused.stderr
    assert 'set format = "…"' in refused.next_step
    assert sandbox.stats()["operations"] == 0
    declared = EVENTS.replace("iso8601", "%d/%m/%Y %H:%M")
    assert send(job(tmp_path, TWO_WAYS, declared)).code == 0
    assert {each["timestamp"] for each in sandbox.events()} == {1706781600, 1712138400}


def test_people_who_are_customers_and_deletions(tmp_path, send, sandbox):
    """No setting answers it: the files have to say what is meant."""
    refused = send(job(tmp_path, BOTH, CUSTOMERS, DELETIONS))

    assert refused.code == 7
    assert "take them out" in refused.next_step
    assert sandbox.stats()["operations"] == 0
    (tmp_path / "customers.csv").write_text(people("p2"))
    assert send(tmp_path / "pipeline.toml", "--restart").code == 0


def test_all_guards_are_named_at_once(tmp_path, send):
    """Nobody has to start five times to be refused five times."""
    twice = f"p1,seen,{AT},x\n" * 2
    events = f"id,event,at,recipient\np1,seen,{ago(hours=1)},x\n{twice}"
    files = {"events.csv": events, "customers.csv": people("p2")}

    refused = send(job(tmp_path, files, CUSTOMERS, EVENTS))

    assert refused.code == 7
    for setting in ("recent_events", "reserved", "unknown_people", "identical_rows"):
        assert f"set {setting} = " in refused.next_step


def test_too_many_refusals_stop_the_run(tmp_path, send, sandbox):
    """More than rejected_max, and than a thousand: 7; a higher limit goes on from there."""
    pipeline = job(tmp_path, {"events.csv": numbered(6_000)}, EVENTS)
    sandbox.misbehave({"kind": "refuse_items", "item_rate": 0.5})

    refused = send(pipeline)

    assert refused.code == 7
    assert "rejected_max" in refused.next_step
    assert refused.summary["rejected"] > 1_000
    sandbox.misbehave()
    text = pipeline.read_text()
    pipeline.write_text(text.replace("\n", '\nrejected_max = "90%"\n', 1))
    done = send(pipeline)
    assert done.code == 3
    assert done.summary["delivered"] == sandbox.stats()["events"]


def test_fewer_than_a_thousand_refusals_never_stop_a_run(tmp_path, send, sandbox):
    """A small file may be refused as a whole."""
    pipeline = job(tmp_path, {"events.csv": numbered(900)}, EVENTS)
    sandbox.misbehave({"kind": "refuse_items", "item_rate": 1.0})

    done = send(pipeline)

    assert done.code == 3
    assert done.summary["rejected"] == 900


def test_a_changed_identifier_is_no_fixing(tmp_path, send, sandbox):
    """`retry` sends rows about the same people; another identifier is 7, with the list."""
    files = {"customers.csv": "id,age\np1,old\np2,7\n"}
    pipeline = job(tmp_path, files, CUSTOMERS + '[source.columns]\nage = "integer"\n')
    send(pipeline)
    path = rejected(pipeline)
    path.write_text(path.read_text("utf-8-sig").replace("p1,old", "p9,70"), "utf-8-sig")

    refused = send(pipeline, command="retry")

    assert refused.code == 7
    assert "customers.csv row 1" in refused.stderr
    assert sandbox.stats()["people"] == 1


def test_fixed_events_may_be_recent_as_well(tmp_path, send, sandbox):
    """The guard stands before `retry` too."""
    pipeline = job(tmp_path, {"events.csv": f"{HEADER}p1,seen,soon,1\n"}, EVENTS)
    send(pipeline)
    path = rejected(pipeline)
    path.write_text(path.read_text("utf-8-sig").replace("soon", ago(hours=1)), "utf-8-sig")

    refused = send(pipeline, command="retry")

    assert refused.code == 7
    assert "set recent_events" in refused.next_step
    assert sandbox.stats()["operations"] == 0
    with pipeline.open("a") as file:
        file.write('recent_events = "send"\n')
    assert send(pipeline, command="retry").code == 0
    assert sandbox.stats()["events"] == 1
