"""Who comes first, who is one person, and what happens to events that must wait."""

import pytest

from tests.support.checker import reported_in
from tests.support.jobs import CUSTOMERS, DELETIONS, EVENTS, HEADER, ago, job, numbered, people

AT = "2024-01-01T00:00:00Z"
MORE = CUSTOMERS.replace("customers*.*", "more.csv")
AGE = '[source.columns]\nage = "integer"\n'


def test_rows_of_a_person_are_one_identify(tmp_path, send, sandbox):
    """Field by field, later non-null values win, across sources and in file order."""
    files = {
        "customers.csv": "id,email,plan,city\n1,a@x.com,gold,\n2,b@x.com,,Rome\n1,,silver,Bern\n",
        "more.csv": "id,plan,age\n1,,33\n3,,9\n2,gold,\n",
    }

    done = send(job(tmp_path, files, CUSTOMERS, MORE))

    assert done.code == 0
    assert (done.summary["delivered"], done.summary["merged"]) == (3, 3)
    assert {name: each["attributes"] for name, each in sandbox.people().items()} == {
        "1": {"email": "a@x.com", "plan": "silver", "city": "Bern", "age": "33"},
        "2": {"email": "b@x.com", "plan": "gold", "city": "Rome"},
        "3": {"age": "9"},
    }
    assert sandbox.stats()["operations"] == 3


def test_nulls_that_clear_take_part_in_the_merge(tmp_path, send, sandbox):
    """With nulls = "clear" a null is a value that removes the attribute, and a later value wins."""
    files = {"customers.csv": "id,plan,city\n1,gold,Rome\n2,,Rome\n"}
    pipeline = job(tmp_path, files, CUSTOMERS)
    send(pipeline)
    (tmp_path / "customers.csv").write_text("id,plan,city\n1,,Bern\n2,silver,\n")
    cleared = CUSTOMERS + 'nulls = "clear"\n'

    done = send(job(tmp_path, {}, cleared), "--restart")

    assert done.code == 0
    assert sandbox.people()["1"]["attributes"] == {"city": "Bern"}
    assert sandbox.people()["2"]["attributes"] == {"plan": "silver"}


def test_rows_of_a_refused_person_are_rejected_with_it(tmp_path, send, sandbox):
    """What was never delivered must not be called merged."""
    files = {"customers.csv": "id,plan\n1,gold\n2,gold\n1,silver\n", "more.csv": "id,age\n1,9\n"}
    sandbox.misbehave({"kind": "refuse_items", "items": [0]})

    done = send(job(tmp_path, files, CUSTOMERS, MORE))

    assert done.code == 3
    assert done.summary["rejections_by_reason"] == {"refused": 3}
    assert (done.summary["delivered"], done.summary["merged"]) == (1, 0)
    reported = reported_in(tmp_path / ".backfill/job")
    assert reported.keys() == {("customers.csv", 1), ("customers.csv", 3), ("more.csv", 1)}
    assert sandbox.people().keys() == {"2"}


def test_people_come_before_their_events_whatever_the_order_of_the_file(tmp_path, send, sandbox):
    """Customers, then events, then deletions, with a barrier between."""
    files = {
        "customers.csv": people(*(f"p{n}" for n in range(10))),
        "events.csv": numbered(3_000),
        "gone.csv": "id\nq1\nq2\n",
    }
    sandbox.misbehave({"kind": "status", "status": 503, "requests": [2]})

    done = send(job(tmp_path, files, DELETIONS, EVENTS, CUSTOMERS))

    assert done.code == 0
    assert done.summary["deletes"] == 2
    kinds = [each["kind"] for each in sandbox.arrivals()]
    assert kinds == ["identify"] * 10 + ["event"] * 3_000 + ["delete"] * 2


@pytest.mark.parametrize("action", ["delete", "suppress"])
@pytest.mark.parametrize("api", ["v1", "v2"])
def test_people_are_deleted_or_suppressed(tmp_path, send, sandbox, api, action):
    """The people of the file are gone, the others stay."""
    send(job(tmp_path, {"customers.csv": people("p1", "p2", "p3")}, CUSTOMERS, name="before"))
    table = DELETIONS + f'action = "{action}"\n'
    (tmp_path / "gone.csv").write_text("id\np1\np3\n")

    done = send(job(tmp_path, {}, f'[destination]\napi = "{api}"', table))

    assert done.code == 0
    assert done.summary["deletes"] == done.summary["delivered"] == 2
    assert sandbox.people().keys() == {"p2"}
    assert sandbox.breakdown()["kinds"][action] == 2


def test_held_events_are_pending_until_they_are_old_enough(tmp_path, send, sandbox):
    """hold: they stay out, the summary says so, and the run that finds them old sends them."""
    rows = f"p1,seen,{AT},1\np1,seen,{ago(hours=71, minutes=59, seconds=57)},2\n"
    rows += f"p1,seen,{ago(hours=1)},3\n"
    pipeline = job(tmp_path, {"events.csv": HEADER + rows}, EVENTS + 'recent_events = "hold"\n')

    first = send(pipeline)

    assert first.code == 0
    assert not first.summary["complete"]
    assert first.summary["pending"] == first.summary["held"]
    assert "when the held rows are old enough" in first.next_step
    while (later := send(pipeline)).summary["held"] > 1:
        assert later.code == 0
    assert later.summary["delivered"] == 2
    assert sorted(each["attributes"]["n"] for each in sandbox.events()) == ["1", "2"]
    assert sandbox.stats()["event_arrivals"] == 2


def test_held_events_may_be_sent_after_all(tmp_path, send, sandbox):
    """The setting is a guard's, and may change at any time."""
    files = {"events.csv": f"{HEADER}p1,seen,{ago(hours=1)},1\np1,seen,{AT},2\n"}
    send(job(tmp_path, files, EVENTS + 'recent_events = "hold"\n'))

    done = send(job(tmp_path, files, EVENTS + 'recent_events = "send"\n'))

    assert done.code == 0
    assert done.summary["complete"]
    assert sandbox.stats()["event_arrivals"] == 2


def test_events_of_the_future_count_as_recent(tmp_path, send, sandbox):
    """They can trigger campaigns as well; beyond `latest` they are rejected."""
    rows = f"p1,seen,{ago(hours=-5)},1\np1,seen,{ago(days=-2)},2\np1,seen,{AT},3\n"

    done = send(job(tmp_path, {"events.csv": HEADER + rows}, EVENTS + 'recent_events = "skip"\n'))

    assert done.summary["skipped"] == 1
    assert done.summary["rejections_by_reason"] == {"timestamp_too_late": 1}
    assert [each["attributes"]["n"] for each in sandbox.events()] == ["3"]


def test_events_of_unknown_people_are_rejected_row_by_row(tmp_path, send, sandbox):
    """People are known by any customers source; e-mails compare in lower case."""
    by_email = '{ email = "id" }'
    files = {
        "customers.csv": "id\nA@x.com\n",
        "events.csv": f"{HEADER}a@X.com,seen,{AT},1\nb@x.com,seen,{AT},2\n",
    }
    known = EVENTS.replace('{ id = "id" }', by_email) + 'unknown_people = "reject"\n'

    done = send(job(tmp_path, files, CUSTOMERS.replace('{ id = "id" }', by_email), known))

    assert done.summary["rejections_by_reason"] == {"unknown_person": 1}
    assert sandbox.stats()["people"] == 1
    assert sandbox.stats()["events"] == 1


def test_the_first_of_a_shared_address_keeps_it(tmp_path, send, sandbox):
    """shared_emails = "first": the other people with the address are left out whole."""
    files = {"customers.csv": "id,email,plan\n1,a@x.com,gold\n2,A@X.com,gold\n3,c@x.com,gold\n"}

    done = send(job(tmp_path, files, CUSTOMERS + 'shared_emails = "first"\n'))

    assert done.summary["skipped"] == 1
    assert sandbox.people().keys() == {"1", "3"}


def test_large_events_go_to_v1_in_a_run_of_v2(tmp_path, send, sandbox):
    """32 to 100 kB: only v1 takes them; beyond that they are rejected."""
    sizes = {1: 100, 2: 40_000, 3: 99_000, 4: 101_000}
    rows = "".join(f"p{n},seen,{AT},{n},{'x' * size}\n" for n, size in sizes.items())
    header = HEADER.replace("\n", ",filling\n")

    done = send(job(tmp_path, {"events.csv": header + rows}, EVENTS))

    assert done.code == 3
    assert done.summary["rejections_by_reason"] == {"too_large": 1}
    assert done.summary["requests"] == 3
    found = {
        each["attributes"]["n"]: len(each["attributes"]["filling"]) for each in sandbox.events()
    }
    assert found == {"1": 100, "2": 40_000, "3": 99_000}
    assert all(each["id"] for each in sandbox.events())


def test_a_person_with_a_bad_row_is_made_of_the_good_ones(tmp_path, send, sandbox):
    """A rejected row says nothing, also when it is the person's first."""
    files = {"customers.csv": "id,plan,age\n1,gold,old\n1,,8\n1,silver,9\n"}

    done = send(job(tmp_path, files, CUSTOMERS + AGE))

    assert done.code == 3
    assert (done.summary["delivered"], done.summary["merged"]) == (1, 1)
    assert sandbox.people()["1"]["attributes"] == {"plan": "silver", "age": 9}
