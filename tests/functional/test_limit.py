"""`--limit N` cuts what is sent, and nothing else: what a whole run decides, it decides alike."""

import pytest

from backfill.commands.report import report
from backfill.pipeline.file import Pipeline
from tests.support.jobs import CUSTOMERS, DELETIONS, EVENTS, HEADER, job, numbered, people, rejected

EVENTS_OF_ALL = HEADER + "".join(f"{who},seen,2024-01-01T00:00:00Z,{who}\n" for who in "cab")
GUARDED = {
    "somebody is in customers and in deletions": (
        {"customers.csv": people("a", "b", "gone"), "gone.csv": "id\nc\ngone\n"},
        (CUSTOMERS, DELETIONS),
        "are in customers, too: 1, gone.csv row 2",
    ),
    "two people have an address": (
        {"customers.csv": "id,email\na,a@x.io\nb,b@x.io\nc,a@x.io\n"},
        (CUSTOMERS,),
        "shared_emails",
    ),
    "an event is there twice": (
        {"events.csv": numbered(3) + numbered(1).removeprefix(HEADER)},
        (EVENTS,),
        "identical_rows",
    ),
    "nobody proves day or month": (
        {"events.csv": HEADER + "a,seen,2024-01-01T00:00:00Z,1\n" + "b,seen,01/02/2024,2\n" * 40},
        (EVENTS.replace(', timezone = "UTC", format = "iso8601"', ', timezone = "UTC"'),),
        "format",
    ),
}


@pytest.mark.parametrize(("files", "tables", "said"), GUARDED.values(), ids=GUARDED)
def test_guards_look_at_the_whole_source(tmp_path, send, sandbox, files, tables, said):
    """What lies behind the limit refuses all the same."""
    pipeline = job(tmp_path, files, *tables)
    whole, limited = send(pipeline), send(pipeline, "--limit", "1")
    assert (whole.code, limited.code) == (7, 7), limited.stderr
    assert said in " ".join(limited.stderr.split())
    assert limited.summary["this_run"]["requests"] == sandbox.stats()["operations"] == 0


def test_people_behind_the_limit_are_known(tmp_path, send, sandbox):
    """Events about them are not rejected, for good, for what was not looked at."""
    files = {"customers.csv": people(*"abc"), "events.csv": EVENTS_OF_ALL}
    pipeline = job(tmp_path, files, CUSTOMERS, EVENTS + 'unknown_people = "reject"\n')
    first = send(pipeline, "--limit", "1")
    assert (first.code, first.summary["rejected"], first.summary["delivered"]) == (0, 0, 2)
    assert send(pipeline).summary["delivered"] == 6
    assert len(sandbox.events()) == 3


def test_a_limited_run_settles_as_a_whole_run_would(tmp_path, send, sandbox):
    """A person is sent once with all that the whole source says; copies keep their numbers."""
    text = "id,email,plan\na,a@x.io,free\nb,b@x.io,\na,,gold\n"
    copies = HEADER + "a,seen,2024-01-01T00:00:00Z,1\n" * 4
    files = {"customers.csv": text, "events.csv": copies}
    tables = CUSTOMERS, EVENTS + 'identical_rows = "keep"\n'
    pipeline = job(tmp_path, files, *tables)
    limited = send(pipeline, "--limit", "2")
    assert limited.code == 0, limited.stderr
    assert (limited.summary["rows_read"], limited.summary["pending"]) == (4, 0)
    assert not limited.summary["complete"]
    assert sandbox.people()["a"]["attributes"] == {"email": "a@x.io", "plan": "gold"}
    summary, _ = report(Pipeline.load(pipeline))
    assert (summary.rows_read, summary.pending) == (4, 0)
    rest = send(pipeline)
    assert (rest.summary["this_run"]["delivered"], rest.summary["merged"]) == (2, 1)
    assert rest.summary["complete"]
    assert sandbox.stats()["events"] == sandbox.stats()["event_arrivals"] == 4


def test_a_row_whose_person_lies_behind_the_limit_waits(tmp_path, send, sandbox):
    """It goes out with the row that carries its person, in the run that sends that."""
    one = CUSTOMERS.replace("customers*.*", "one.csv")
    two = CUSTOMERS.replace("customers*.*", "two.csv")
    files = {"one.csv": people("a", "b"), "two.csv": "id,plan\nb,gold\n"}
    pipeline = job(tmp_path, files, one, two)
    limited = send(pipeline, "--limit", "1")
    assert (limited.code, limited.summary["delivered"], limited.summary["pending"]) == (0, 1, 1)
    assert set(sandbox.people()) == {"a"}
    assert send(pipeline).summary["merged"] == 1
    assert sandbox.people()["b"]["attributes"]["plan"] == "gold"


def test_a_transform_sees_whole_chunks(tmp_path, send):
    """It may make something else of rows without their neighbours: plan and send must agree."""
    (tmp_path / "t.py").write_text(
        "def clean(frame):\n    return frame.assign(rows=str(len(frame)))\n"
    )
    pipeline = job(
        tmp_path, {"customers.csv": people(*"abcd")}, CUSTOMERS + 'transform = "t.py:clean"\n'
    )
    assert send(pipeline, "--limit", "2").summary["delivered"] == 2
    assert send(pipeline).summary["this_run"]["delivered"] == 2


def test_rejected_rows_behind_the_limit_are_no_part_of_it(tmp_path, send):
    """They are reported by the run that comes to them."""
    bad = HEADER + "a,seen,2024-01-01T00:00:00Z,1\na,seen,never,2\n"
    pipeline = job(tmp_path, {"events.csv": bad}, EVENTS)
    first = send(pipeline, "--limit", "1")
    assert (first.code, first.summary["rejected"], rejected(pipeline).exists()) == (0, 0, False)
    assert send(pipeline).code == 3
    assert "never" in rejected(pipeline).read_text("utf-8-sig")


def test_a_limited_sync_is_no_night(tmp_path, send, sandbox):
    """Its rows do not become the usual count, and who was left out is sent on the next night."""
    pipeline = job(tmp_path, {"customers.csv": people(*"abcdefgh")}, CUSTOMERS)
    limited = send(pipeline, "--limit", "2", command="sync")
    assert (limited.code, limited.summary["delivered"]) == (0, 2)
    whole = send(pipeline, command="sync")
    assert whole.code == 0, whole.stderr
    assert whole.summary["this_run"]["delivered"] == 6
    assert len(sandbox.people()) == 8
    (tmp_path / "customers.csv").write_text(people(*"ab"))
    refused = send(pipeline, "--limit", "1", command="sync")
    assert refused.code == 7
    assert "rows_change_max" in refused.next_step


def test_a_run_after_a_limited_one_is_remembered(tmp_path, send):
    """Both go by one plan: whom the second delivers, a sync knows too."""
    pipeline = job(tmp_path, {"customers.csv": people(*"abcd")}, CUSTOMERS)
    send(pipeline, "--limit", "2")
    send(pipeline)
    assert send(pipeline, command="sync").summary["this_run"]["requests"] == 0
