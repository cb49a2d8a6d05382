"""What a sync refuses, each with the setting that answers it, and what it goes on with."""

import csv
import fcntl
import io

import pytest

from tests.support.jobs import EVENTS, job, people, rejected

CUSTOMERS = """
[[source]]
kind = "customers"
files = ["customers*.*"]
identifier = {{ id = "id" }}
[source.sync]
{settings}
"""
MANY = [f"p{n}" for n in range(100)]


@pytest.fixture
def customers(tmp_path):
    """Writes tonight's customers, with lines of [source.sync]; gives the pipeline file."""

    def written(text, settings="", *tables):
        return job(tmp_path, {"customers.csv": text}, CUSTOMERS.format(settings=settings), *tables)

    return written


@pytest.fixture
def sync(send):
    """Sync as a scheduler does."""
    return lambda pipeline, *more: send(pipeline, *more, command="sync")


def refused(done, setting):
    """Nothing was sent, and the setting is named."""
    assert done.code == 7, done.stderr
    assert setting in done.next_step
    assert done.summary["this_run"]["requests"] == 0


def test_tomorrows_export_can_be_looked_at(customers, sync, look):
    """A night drops the file of the one before; a look at the next is about nothing of both."""
    for night in range(4):
        pipeline = customers(people(*(f"p{each}" for each in range(night, 50))))
        for command in ("check", "plan"):
            looked = look(pipeline, command=command)
            assert looked.code == 0, looked.stderr
        sync(pipeline)


def test_an_empty_export(customers, sync):
    """A header alone is no source."""
    refused(sync(customers("id,email\n")), "rows_change_max")
    assert sync(customers("id,email\n", 'rows_change_max = "100%"')).code == 0


def test_an_export_that_grew_too_much(customers, sync):
    """More than half as much again is doubted as well."""
    sync(customers(people(*MANY[:20])))
    refused(sync(customers(people(*MANY[:31]))), "rows_change_max")
    assert sync(customers(people(*MANY[:30]))).code == 0


def test_an_export_after_an_empty_night_and_one_of_one_row(customers, sync):
    """Half a row is nothing to compare with: what half the nights had is no measure."""
    allowed = 'rows_change_max = "100000%"'
    for count in (0, 1, 8):
        assert sync(customers(people(*MANY[:count]), allowed)).code == 0


def test_too_many_vanished(customers, sync, sandbox):
    """Deletions have a limit; what answers it is said with the number."""
    deleting = 'vanished = "delete"'
    sync(customers(people(*MANY), deleting))
    refused(sync(customers(people(*MANY[2:]), deleting)), "deletes_max = 2")
    assert len(sandbox.people()) == 100
    done = sync(customers(people(*MANY[2:]), deleting + "\ndeletes_max = 2"))
    assert (done.code, done.summary["deletes"], len(sandbox.people())) == (0, 2, 98)


def test_vanished_people_are_kept_by_default(customers, sync, sandbox):
    """And known when they come back."""
    sync(customers(people(*MANY)))
    assert sync(customers(people(*MANY[5:]))).summary["deletes"] == 0
    assert len(sandbox.people()) == 100
    assert sync(customers(people(*MANY))).summary["this_run"]["requests"] == 0


def test_what_differs_is_said_before_it_is_sent(customers, sync):
    """In people, and not what the whole export would cost; cautions about new people to these."""
    whole = "id,plan,age\np1,a,1\np2,a,2\np3,a,3\n"
    settings = '[source.columns]\nage = "integer"'
    first = sync(customers(whole, settings))
    assert "sync: 3 new, 0 changed, 0 unchanged, 0 people vanished" in first.stderr
    assert "no created_at" in first.stderr
    tonight = whole.replace("p1,a", "p1,b").replace("p3", "p4")
    done = sync(customers(tonight.replace("p2,a,2", "p2,a,old"), settings))
    assert "sync: 1 new, 1 changed, 0 unchanged, 1 person vanished" in done.stderr
    done = sync(customers(tonight, settings))
    assert "sync: 0 new, 0 changed, 3 unchanged, 1 person vanished" in done.stderr
    assert "no created_at" not in done.stderr


def test_rejected_rows_keep_their_people(customers, sync, sandbox):
    """A row that is no good names somebody all the same: that is nobody who vanished."""
    settings = 'vanished = "delete"\n[source.columns]\nage = "integer"'
    sync(customers("id,age\np1,1\np2,2\n", settings))
    done = sync(customers("id,age\np1,1\np2,old\n", settings))
    assert (done.code, done.summary["deletes"], done.summary["rejected"]) == (3, 0, 1)
    assert set(sandbox.people()) == {"p1", "p2"}
    again = sync(customers("id,age\np1,3\np2,old\n", settings))
    assert (again.code, again.summary["rejected"]) == (3, 1)
    assert sync(customers("id,age\np1,3\np2,2\n", settings)).code == 0


def test_people_left_out_for_a_shared_address_have_not_vanished(tmp_path, sync, sandbox):
    """Their rows are skipped, and name them all the same."""
    settings = 'vanished = "delete"\ndeletes_max = "90%"'
    table = CUSTOMERS.format(settings=settings)
    table = table.replace("[source.sync]", 'shared_emails = "first"\n[source.sync]')
    for address, skipped in (("b", 0), ("a", 2)):
        text = f"id,email\np1,a@x.io\np2,{address}@x.io\n"
        done = sync(job(tmp_path, {"customers.csv": text}, table))
        found = (done.code, done.summary["deletes"], done.summary["skipped"])
        assert found == (0, 0, skipped), done.stderr
    assert set(sandbox.people()) == {"p1", "p2"}


def test_a_row_without_identifier_stops_deletions_only(customers, sync, sandbox):
    """It may be about anybody: all else is sent, and the exit says that somebody was to go."""
    settings = 'vanished = "delete"\ndeletes_max = "90%"'
    sync(customers("id,plan\np1,a\np2,a\np3,a\n", settings))
    done = sync(customers("id,plan\np1,b\n,a\np3,a\n", settings))
    assert (done.code, done.summary["delivered"], done.summary["deletes"]) == (7, 1, 0)
    assert "fix" in done.next_step
    assert sandbox.people()["p1"]["attributes"] == {"plan": "b"}
    assert sync(customers("id,plan\np1,b\np3,a\n", settings)).summary["deletes"] == 1
    assert set(sandbox.people()) == {"p1", "p3"}


def test_a_column_that_vanished(customers, sync):
    """An export without a column would leave it as it is for ever."""
    sync(customers("id,email,plan\np1,a@example.com,gold\n"))
    without = "id,email\np1,a@example.com\n"
    refused(sync(customers(without)), "schema_change")
    assert sync(customers(without, 'schema_change = "accept"')).code == 0
    assert sync(customers(without)).code == 0


def test_what_the_api_refused_is_listed_until_it_changes(customers, sync, sandbox):
    """It is not sent again as it was, and not forgotten either."""
    sandbox.misbehave({"kind": "refuse_items", "items": [1]})
    first = sync(customers("id,plan\np1,a\np2,a\np2,b\n"))
    assert (first.summary["delivered"], first.summary["rejected"]) == (1, 2)
    sandbox.misbehave()
    again = sync(customers("id,plan\np1,a\np2,a\np2,b\n"))
    assert (again.code, again.summary["this_run"]["requests"]) == (3, 0)
    assert again.summary["rejections_by_reason"] == first.summary["rejections_by_reason"]
    assert "p2" not in sandbox.people()
    done = sync(customers("id,plan\np1,a\np2,a\np2,c\n"))
    assert (done.code, done.summary["delivered"], done.summary["merged"]) == (0, 1, 1)
    assert sandbox.people()["p2"]["attributes"] == {"plan": "c"}


def test_what_a_retry_sent_is_compared_anew(customers, sync, send, sandbox, tmp_path):
    """Nobody but the source says what the workspace must hold."""
    settings = '[source.columns]\nage = "integer"'
    sync(customers("id,age\np1,1\np2,2\n", settings))
    pipeline = customers("id,age\np1,1\np2,old\n", settings)
    sync(pipeline)
    fixed = tmp_path / ".backfill/job/rejected.csv"
    fixed.write_text(fixed.read_text("utf-8-sig").replace("old", "77"), "utf-8-sig")
    assert send(pipeline, command="retry").code == 0
    assert sandbox.people()["p2"]["attributes"] == {"age": 77}
    assert sync(customers("id,age\np1,1\np2,2\n", settings)).summary["delivered"] == 1
    assert sandbox.people()["p2"]["attributes"] == {"age": 2}


@pytest.mark.parametrize(
    ("settings", "table", "more", "word"),
    [
        ("", EVENTS, (), "collapse"),
        ('vanished = "delete"', "", ("--limit", "1"), "--limit"),
        ("", CUSTOMERS.format(settings='mode = "files"'), (), "mode"),
    ],
    ids=["events without a key", "a limit", "two modes"],
)
def test_what_cannot_be_synced(customers, sync, tmp_path, settings, table, more, word):
    """Settings that would lose or repeat something end with 2 before anything is read."""
    (tmp_path / "events.csv").write_text("id,event,at,n\n")
    done = sync(customers(people("p1"), settings, table), *more)
    assert done.code == 2, done.stderr
    assert word in done.next_step


def test_two_at_once(customers, sync, start_sending, tmp_path):
    """The second exits 6 at once; with --wait it goes on when the first is done."""
    pipeline = customers(people("p1"))
    sync(pipeline)
    with (tmp_path / ".backfill/job/lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sync(pipeline).code == 6
        waiting = start_sending(pipeline, "--wait", "1m", command="sync")
    assert waiting.ended().code == 0


def test_an_unfinished_file_must_stay(customers, sync, tmp_path):
    """Rows that were never sent cannot be forgotten because their file went."""
    recent = EVENTS + 'key = ["n"]\nrecent_events = "hold"\nlatest = "2999-01-01"\n'
    (tmp_path / "events-1.csv").write_text("id,event,at,n\np1,seen,2998-01-01T00:00:00Z,1\n")
    pipeline = customers(people("p1"), "", recent)
    assert sync(pipeline).summary["held"] == 1
    (tmp_path / "events-1.csv").write_text("id,event,at,n\np1,seen,2020-01-01T00:00:00Z,2\n")
    assert sync(pipeline).code == 5


def test_a_deletion_that_the_api_refuses_is_told_and_tried_again(customers, sync, send, sandbox):
    """There is no row for it in tonight's source: the law holds without it, the exit is 3."""
    settings = 'vanished = "delete"\ndeletes_max = "90%"\nrows_change_max = "90%"'
    sync(customers(people("p1", "p2", "p3"), settings))
    sandbox.misbehave({"kind": "refuse_items", "items": [1]})
    pipeline = customers(people("p3"), settings)
    refused = sync(pipeline)
    assert refused.code == 3
    said = (refused.summary[each] for each in ("rejected", "deletes", "deletes_refused"))
    assert tuple(said) == (0, 1, 1)
    (line,) = csv.DictReader(io.StringIO(rejected(pipeline).read_text("utf-8-sig")))
    told = line["_source"], line["id"], line["_reason"]
    assert told == ("(vanished)", "p2", "refused")
    assert "the next sync tries again" in refused.next_step
    assert "tries again" in (rejected(pipeline).parent / "report.html").read_text()
    sandbox.misbehave()
    assert send(pipeline, command="retry").summary["this_run"]["requests"] == 0
    done = sync(pipeline)
    assert (done.code, done.summary["deletes"], done.summary["deletes_refused"]) == (0, 1, 0)
    assert set(sandbox.people()) == {"p3"}
    assert not rejected(pipeline).exists()
