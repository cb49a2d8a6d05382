"""Rejected rows, fixed in rejected.csv and sent again."""

import csv
import io

import pytest

from tests.support.checker import reported_in
from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, ago, job, numbered, rejected

AT = "2024-01-01T00:00:00Z"
TYPED = CUSTOMERS + '[source.columns]\nage = "integer"\n'


def _fix(pipeline, **fixed):
    """Change cells of the rejected rows: each name's new text, by `_row`."""
    path = rejected(pipeline)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        rows = [*reader]
    for name, texts in fixed.items():
        for row in rows:
            row[name] = texts.get(int(row["_row"]), row[name])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, reader.fieldnames)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), "utf-8-sig")


def test_fixed_events_arrive_with_their_right_ids(tmp_path, send, sandbox):
    """The id is that of the fixed row: a source file that says the same makes no second event."""
    rows = f"p1,seen,yesterday,1\np2,,{AT},2\np3,seen,{AT},3\n"
    pipeline = job(tmp_path, {"events.csv": HEADER + rows}, EVENTS)
    assert send(pipeline).summary["rejected"] == 2
    _fix(pipeline, at={1: AT}, event={2: "left"})

    done = send(pipeline, command="retry")

    assert done.code == 0
    assert (done.summary["delivered"], done.summary["rejected"]) == (3, 0)
    assert reported_in(tmp_path / ".backfill/job") == {}
    right = f"p1,seen,{AT},1\np2,left,{AT},2\np3,seen,{AT},3\n"
    send(job(tmp_path, {"events.csv": HEADER + right}, EVENTS, name="right"))
    assert sandbox.stats()["events"] == 3
    assert sandbox.stats()["duplicate_events"] == 3


def test_rows_that_are_left_after_a_retry_are_told(tmp_path, send, backfill, sandbox):
    """The run was cut short: not every row is accounted for, and another run sends the rest."""
    rows = "p1,seen,yesterday,1\n" + numbered(9).partition("\n")[2]
    pipeline = job(tmp_path, {"events.csv": HEADER + rows}, '[destination]\napi = "v1"', EVENTS)
    sandbox.misbehave({"kind": "latency", "seconds": 0.3, "method": "POST"})
    assert send(pipeline, "--concurrency", "1", "--for", "1s").code == 75
    sandbox.misbehave()
    _fix(pipeline, at={1: AT})

    done = send(pipeline, "--concurrency", "9", command="retry")

    assert (done.code, done.summary["complete"]) == (75, False)
    assert (done.summary["rejected"], done.summary["pending"] > 0) == (0, True)
    left = f"{done.summary['pending']} rows of the job still to be sent"
    run = f"backfill run {pipeline} --url {sandbox.url} --rate 0 --concurrency 9"
    assert done.stderr.splitlines()[-1] == f"next: {left}: {run}"
    assert "accounted for" not in done.stdout
    assert f"resume: backfill run {pipeline}" in backfill("status", pipeline).stderr
    again = send(pipeline)
    assert (again.code, again.summary["pending"]) == (0, 0)


def test_a_retry_keeps_the_limit_of_the_run_before_it(tmp_path, send):
    """What is beyond it is no part of the account, and nobody has cut it short."""
    rows = f"p1,seen,yesterday,1\np2,seen,{AT},2\n"
    pipeline = job(tmp_path, {"events.csv": HEADER + rows}, EVENTS)
    assert send(pipeline, "--limit", "1").code == 3
    _fix(pipeline, at={1: AT})

    done = send(pipeline, command="retry")

    assert (done.code, done.summary["pending"], done.summary["complete"]) == (0, 0, False)
    assert send(pipeline).summary["delivered"] == 2


def test_rows_that_are_held_are_no_work_of_a_retry(tmp_path, send):
    """They wait until they are old enough, and are told as that."""
    rows = f"p1,seen,yesterday,1\np2,seen,{ago(hours=1)},2\n"
    held = f'{EVENTS}recent_events = "hold"\n'
    pipeline = job(tmp_path, {"events.csv": HEADER + rows}, held)
    assert send(pipeline).code == 3
    _fix(pipeline, at={1: AT})

    done = send(pipeline, command="retry")

    assert (done.code, done.summary["held"], done.summary["pending"]) == (0, 1, 1)


def test_a_second_retry_sends_nothing(tmp_path, send, sandbox):
    """There is nothing left to send."""
    pipeline = job(tmp_path, {"events.csv": f"{HEADER}p1,seen,soon,1\np1,seen,never,2\n"}, EVENTS)
    send(pipeline)
    _fix(pipeline, at={1: AT})
    first = send(pipeline, command="retry")
    assert first.code == 3
    before = sandbox.stats()

    second = send(pipeline, command="retry")

    assert second.code == 3
    assert second.summary["this_run"]["requests"] == 0
    assert second.summary["rejected"] == 1
    assert sandbox.stats()["operations"] == before["operations"] == 1


def test_what_is_fixed_badly_stays_rejected_with_its_new_reason(tmp_path, send):
    """The report says what is wrong now."""
    pipeline = job(tmp_path, {"customers.csv": "id,plan,age\n1,a,old\n2,b,7\n"}, TYPED)
    send(pipeline)
    _fix(pipeline, age={1: "NULL"}, plan={1: "x" * 1001})

    done = send(pipeline, command="retry")

    assert done.code == 3
    reported = reported_in(tmp_path / ".backfill/job")
    assert reported == {("customers.csv", 1): {"not_an_integer", "value_too_long"}}


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_an_old_row_does_not_overwrite_what_a_later_one_said(tmp_path, send, sandbox, api):
    """The fixed first row fills what later rows left open, and nothing else."""
    files = {"customers.csv": "id,plan,city,age\n1,gold,Rome,old\n1,silver,,8\n"}
    pipeline = job(tmp_path, files, f'[destination]\napi = "{api}"', TYPED)
    send(pipeline)
    _fix(pipeline, age={1: "7"})

    done = send(pipeline, command="retry")

    assert done.code == 0
    assert sandbox.people()["1"]["attributes"] == {"plan": "silver", "city": "Rome", "age": 8}


def test_several_fixed_rows_of_a_person_are_one_identify(tmp_path, send, sandbox):
    """In file order, whatever the order of the fixed file."""
    files = {"customers.csv": "id,plan,age\n1,gold,x\n1,silver,y\n2,gold,1\n"}
    pipeline = job(tmp_path, files, TYPED)
    send(pipeline)
    _fix(pipeline, age={1: "7", 2: "8"})

    done = send(pipeline, command="retry")

    assert done.code == 0
    assert (done.summary["delivered"], done.summary["merged"]) == (2, 1)
    assert sandbox.people()["1"]["attributes"] == {"plan": "silver", "age": 8}
    assert sandbox.stats()["operations"] == 2


def test_rows_of_a_bad_shape_are_fixed_by_filling_in_their_cells(tmp_path, send, sandbox):
    """The raw text stands in the first column, to be spread over the others."""
    pipeline = job(tmp_path, {"events.csv": f"{HEADER}p1,seen\np2,seen,{AT},2\n"}, EVENTS)
    send(pipeline)
    _fix(pipeline, id={1: "p1"}, event={1: "seen"}, at={1: AT}, n={1: "1"})

    done = send(pipeline, command="retry")

    assert done.code == 0
    assert {each["person"] for each in sandbox.events()} == {"p1", "p2"}


def test_what_the_api_refused_can_be_sent_again(tmp_path, send, sandbox):
    """Without any fixing, once the cause is gone."""
    pipeline = job(tmp_path, {"events.csv": numbered(10)}, EVENTS)
    sandbox.misbehave({"kind": "refuse_items", "items": [2, 7]})
    send(pipeline)
    sandbox.misbehave()

    done = send(pipeline, command="retry")

    assert done.code == 0
    assert sandbox.stats()["events"] == done.summary["delivered"] == 10


def test_a_retry_over_a_bad_line_loses_and_doubles_nothing(tmp_path, send, sandbox):
    """Answers are lost, items are refused: what arrived is delivered, the rest stays rejected."""
    rows = "".join(f"p{n},seen,soon,{n}\n" for n in range(40))
    pipeline = job(tmp_path, {"events.csv": HEADER + rows}, EVENTS)
    send(pipeline)
    _fix(pipeline, at=dict.fromkeys(range(1, 41), AT))
    sandbox.misbehave(
        {"kind": "lost_answer", "requests": [2]},
        {"kind": "refuse_items", "requests": [3], "items": [5]},
    )

    done = send(pipeline, command="retry")

    assert done.code == 3
    assert (done.summary["delivered"], done.summary["rejected"]) == (39, 1)
    assert sandbox.stats()["events"] == 40


def test_rows_of_unknown_people_stay_rejected(tmp_path, send, sandbox):
    """A fixed row is judged like any other."""
    files = {"customers.csv": "id\np1\n", "events.csv": f"{HEADER}p1,seen,soon,1\np2,seen,soon,2\n"}
    pipeline = job(tmp_path, files, CUSTOMERS, EVENTS + 'unknown_people = "reject"\n')
    send(pipeline)
    _fix(pipeline, at={1: AT, 2: AT})

    done = send(pipeline, command="retry")

    assert done.code == 3
    assert done.summary["rejections_by_reason"] == {"unknown_person": 1}
    assert [each["person"] for each in sandbox.events()] == ["p1"]


def test_a_retry_refuses_events_about_unknown_people_as_a_run_does(tmp_path, send, sandbox):
    """Whoever a customers row names is known, also one that is fixed in the same file."""
    files = {
        "customers.csv": "id,age\np1,1\nx,1\ny,1\nz,1\np2,old\n,3\n",
        "events.csv": HEADER + "".join(f"p{n},seen,soon,{n}\n" for n in (1, 2, 3, 4)),
    }
    pipeline = job(tmp_path, files, TYPED, EVENTS)
    send(pipeline)
    events, people = dict.fromkeys((1, 2, 3, 4), AT), {5: "2", 6: "3"}
    _fix(pipeline, at=events, id={6: "p3"}, age=people)
    before = sandbox.stats()["operations"]

    refused = send(pipeline, command="retry")

    assert refused.code == 7
    assert "empty profiles: 1" in refused.stderr
    assert "unknown_people" in refused.next_step
    assert sandbox.stats()["operations"] == before
    pipeline.write_text(pipeline.read_text() + 'unknown_people = "reject"\n')
    done = send(pipeline, command="retry")
    assert (done.code, done.summary["rejections_by_reason"]) == (3, {"unknown_person": 1})
    assert {each["person"] for each in sandbox.events()} == {"p1", "p2", "p3"}


def test_people_of_an_earlier_night_are_known_to_a_retry(tmp_path, send, sandbox):
    """As they are to the sync whose rows it sends again: only strangers stay rejected."""
    tables = CUSTOMERS, EVENTS + 'unknown_people = "reject"\nidentical_rows = "collapse"\n'
    pipeline = job(tmp_path, {"customers.csv": "id\np1\np2\n", "events.csv": HEADER}, *tables)
    assert send(pipeline, command="sync").code == 0
    (tmp_path / "customers.csv").write_text("id\np2\n")
    (tmp_path / "events.csv").write_text(HEADER + "".join(f"p{n},seen,soon,1\n" for n in (1, 2, 3)))
    assert send(pipeline, command="sync").code == 3
    _fix(pipeline, at=dict.fromkeys((1, 2, 3), AT))

    done = send(pipeline, command="retry")

    assert done.code == 3
    assert {each["person"] for each in sandbox.events()} == {"p1", "p2"}
    assert done.summary["rejections_by_reason"] == {"unknown_person": 1}


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("refuse", 7, 2), ("skip", 3, 1), ("hold", 3, 1), ("send", 0, 0)]
)
def test_fixed_events_that_are_recent_are_left_out_as_a_run_would(
    tmp_path, send, sandbox, answer, code, left
):
    """Skipped or held they stay rejected, for the reason that they have."""
    files = {"events.csv": f"{HEADER}p1,seen,soon,1\np1,seen,later,2\n"}
    pipeline = job(tmp_path, files, f'{EVENTS}recent_events = "{answer}"\n')
    send(pipeline)
    _fix(pipeline, at={1: AT, 2: ago(hours=71)})

    done = send(pipeline, command="retry")

    assert (done.code, done.summary["rejected"]) == (code, left)
    assert sandbox.stats()["events"] == 2 - left
    assert set(done.summary["rejections_by_reason"]) == (
        {"timestamp_unreadable"} if left else set()
    )


def test_people_who_are_too_much_for_the_api_stay_rejected(tmp_path, send, sandbox):
    """A retry goes by the rules of a run: what the API does not take is not sent."""
    half = ",".join(["x" * 900] * 20)
    header = ",".join(f"c{n}" for n in range(40))
    rows = f"id,{header}\n1,{half},{',' * 19}\n1,{',' * 19},{half}\n"
    pipeline = job(tmp_path, {"customers.csv": rows}, CUSTOMERS)
    assert send(pipeline).summary["rejections_by_reason"] == {"too_large_merged": 2}

    done = send(pipeline, command="retry")

    assert done.code == 3
    assert done.summary["rejections_by_reason"] == {"too_large_merged": 2}
    assert sandbox.stats()["operations"] == 0


def test_another_file_and_no_file(tmp_path, send):
    """A copy of the file can be fixed elsewhere; without any there is nothing to do: 2."""
    pipeline = job(tmp_path, {"events.csv": f"{HEADER}p1,seen,soon,1\n"}, EVENTS)
    assert send(pipeline, command="retry").code == 2
    send(pipeline)
    _fix(pipeline, at={1: AT})
    fixed = rejected(pipeline).rename(tmp_path / "fixed.csv")

    assert send(pipeline, fixed, command="retry").code == 0


def test_a_retry_never_forgets(tmp_path, send):
    """--restart would forget what there is to retry."""
    pipeline = job(tmp_path, {"events.csv": f"{HEADER}p1,seen,soon,1\n"}, EVENTS)
    send(pipeline)

    assert send(pipeline, "--restart", command="retry").code == 2
    assert rejected(pipeline).exists()


AGED_PLANS = (
    CUSTOMERS + '[source.columns]\nage = "integer"\n[source.sync]\nrows_change_max = "90%"\n'
)


def test_a_correction_of_another_night_is_not_sent(tmp_path, send, sandbox):
    """Another row of that person and number has come: the older one must not overwrite it."""
    night = "id,plan,age\n7,{},{}\n8,gold,old\n9,gold,1\n"
    pipeline = job(tmp_path, {"customers.csv": night.format("gold", "old")}, AGED_PLANS)
    assert send(pipeline, command="sync").code == 3
    _fix(pipeline, age={1: "77", 2: "88"})
    (tmp_path / "customers.csv").write_text(night.format("silver", "x"))
    assert send(pipeline, command="sync").code == 3
    corrected = rejected(pipeline).read_bytes()

    done = send(pipeline, command="retry")

    assert done.code == 3
    assert "customers.csv row 1" in done.stderr
    assert "customers.csv row 2" not in done.stderr  # the same bytes as before: corrected
    assert sandbox.people().keys() == {"8", "9"}
    assert sandbox.people()["8"]["attributes"]["age"] == 88
    assert rejected(pipeline).read_bytes() == corrected
    newest = rejected(pipeline).with_name("rejected.new.csv")
    newest.write_text(newest.read_text("utf-8-sig").replace(",x,", ",78,"), "utf-8-sig")
    assert send(pipeline, newest, command="retry").code == 0
    assert sandbox.people()["7"]["attributes"] == {"plan": "silver", "age": 78}


def test_settings_that_were_corrected_are_tried_on_the_rejected_rows(tmp_path, send):
    """A run does not read them again; it says which command does."""
    pipeline = job(tmp_path, {"customers.csv": "id,age\n1,3\n2,N/A\n3,x\n"}, TYPED)
    send(pipeline)
    text = pipeline.read_text()
    pipeline.write_text(text.replace("identifier =", 'null_values = ["N/A"]\nidentifier ='))

    refused = send(pipeline)
    assert refused.code == 7
    assert "--accept-changes to send the rest with the new settings (with `backfill retry`" in (
        refused.next_step
    )
    run = send(pipeline, "--accept-changes")
    assert (run.code, run.summary["rejected"]) == (3, 2)
    assert run.next_step.startswith("try the rejected rows with the new settings, or fix them in ")
    assert f": backfill retry {pipeline} " in run.next_step
    done = send(pipeline, command="retry")
    assert (done.summary["delivered"], done.summary["rejected"]) == (2, 1)


def test_after_a_retry_all_name_the_same_file(tmp_path, send, backfill, sandbox):
    """The file that was edited stays as it is: what is rejected still stands in another."""
    pipeline = job(tmp_path, {"customers.csv": "id,age\n1,old\n2,older\n"}, TYPED)
    send(pipeline)
    _fix(pipeline, age={1: "10"})
    retried = send(pipeline, command="retry")

    new = tmp_path / ".backfill/job/rejected.new.csv"
    advice = f"backfill retry {pipeline} {new} --url {sandbox.url}"
    assert retried.next_step.startswith("fix the rows in .backfill/job/rejected.new.csv, then: ")
    page = (tmp_path / ".backfill/job/report.html").read_text()
    assert "Fix the rows in rejected.new.csv, then send them again:" in page
    assert f"<pre>{advice}</pre>" in page
    assert "all of them with their cells in <code>rejected.new.csv</code>" in page
    told = backfill("status", "pipeline.toml", cwd=tmp_path)
    assert told.next_step == (
        "fix the rows in .backfill/job/rejected.new.csv, then: backfill retry pipeline.toml"
        f" .backfill/job/rejected.new.csv --url {sandbox.url}"
    )
    new.write_text(new.read_text("utf-8-sig").replace("older", "20"), "utf-8-sig")
    assert send(pipeline, new, command="retry").code == 0


def test_a_second_edit_of_a_delivered_line_is_told_to_change_nothing(tmp_path, send, sandbox):
    """The row was delivered by the first retry: what is edited since goes nowhere."""
    rows = "id,age\n1,old\n2,older\n"
    pipeline = job(tmp_path, {"customers.csv": rows}, TYPED)
    send(pipeline)
    _fix(pipeline, age={1: "10"})
    assert send(pipeline, command="retry").code == 3
    _fix(pipeline, age={1: "11"})

    again = send(pipeline, command="retry")

    assert (
        "1 line of rows that are not rejected any more: a change there is not sent" in again.stderr
    )
    assert sandbox.people()["1"]["attributes"] == {"age": 10}


def test_after_a_night_a_retry_reports_what_it_did(tmp_path, send):
    """Not the job as tonight's export has it, of whom nobody was delivered tonight."""
    pipeline = job(tmp_path, {"customers.csv": "id,age\na,1\nb,old\n"}, TYPED)
    assert send(pipeline, command="sync").code == 3
    assert send(pipeline, command="sync").code == 3
    _fix(pipeline, age={2: "7"})

    assert send(pipeline, command="retry").code == 0

    page = (tmp_path / ".backfill/job/report.html").read_text("utf-8")
    assert "The last retry: The only row was delivered" in page
    assert "<dt>people delivered</dt><dd>1</dd>" in page
