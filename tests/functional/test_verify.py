"""`verify` reads back what arrived: a clean run is equal, and every silent fault is found."""

import csv
import json
import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from backfill import DiffersError, ExitCode, Options, Pipeline, Stop
from backfill.commands.run import RUN
from backfill.engine.run import execute
from backfill.verification.canary import with_canary
from tests.support.jobs import job

PEOPLE = """
[[source]]
kind = "customers"
files = ["people.csv"]
identifier = { id = "id" }
[source.columns]
age = "integer"
score = "number"
vip = "boolean"
tags = "json"
signed_up = { type = "timestamp", timezone = "UTC", format = "iso8601" }
unsubscribed = "boolean"
"""
EVENTS = """
[[source]]
kind = "events"
files = ["events.csv"]
identifier = { id = "id" }
name = { from = "event" }
timestamp = { from = "at", timezone = "UTC", format = "iso8601" }
recent_events = "send"
[source.columns]
n = "integer"
"""
MERGES = """
[[source]]
kind = "merges"
files = ["merges.csv"]
primary = { id = "keep" }
secondary = { id = "lose" }
"""
COUNT = 12


def people(count=COUNT):
    """Customers with a value of each kind, some of them empty."""
    rows = (
        f"p{n:02},p{n:02}@Example.com,{n},{n / 4},{str(n % 2 == 0).lower()},"
        f'"{{""b"":[{n},null],""a"":""é""}}",2024-01-{n % 28 + 1:02}T00:00:00Z,{n % 3 == 0},'
        f"{'' if n % 4 else 'gold'}\n"
        for n in range(count)
    )
    return "id,email,age,score,vip,tags,signed_up,unsubscribed,plan\n" + "".join(rows)


def events(count=COUNT):
    """For each of them an event of five days ago, and one of years ago."""
    recent = (datetime.now(UTC) - timedelta(days=5)).replace(microsecond=0)
    rows = (
        f"p{n:02},bought,{(recent + timedelta(seconds=n)).isoformat()},{n}\n"
        f"p{n:02},seen,2020-01-01T00:00:{n:02}Z,{n}\n"
        for n in range(count)
    )
    return "id,event,at,n\n" + "".join(rows)


@pytest.fixture
def pipeline(tmp_path):
    """People and their events."""
    return job(tmp_path, {"people.csv": people(), "events.csv": events()}, PEOPLE, EVENTS)


@pytest.fixture
def verify(backfill):
    """Verify a job; gives how it ended, and its summary."""

    def verified(pipeline, *more, lag="1s", **others):
        arguments = ("verify", pipeline, "--lag", lag, "--json", *more)
        ended = backfill(*arguments, cwd=pipeline.parent, **others)
        return ended, json.loads(ended.stdout.splitlines()[-1])

    return verified


def behave(sandbox, **switches):
    """Set switches of the sandbox."""
    httpx.post(f"{sandbox.url}/sandbox/behaviour", json=switches).raise_for_status()


def listed(pipeline):
    """The lines of verified.csv."""
    path = pipeline.parent / ".backfill" / "job" / "verified.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_clean_run_is_equal(pipeline, send, verify):
    """People field by field, recent events too; what is older is said to be unproved."""
    assert send(pipeline).code == 0

    ended, summary = verify(pipeline, "--all")

    assert (ended.code, summary["exit"]) == (0, 0)
    assert summary["verified"] == {
        "checked": 3 * COUNT,
        "equal": 2 * COUNT,
        "missing": 0,
        "differs": 0,
        "unprovable": COUNT,
    }
    assert summary["delivered"] == 3 * COUNT
    assert summary["verification"]["unprovable_by_reason"] == {"older_than_30_days": COUNT}
    assert listed(pipeline) == []
    report = (pipeline.parent / ".backfill" / "job" / "report.html").read_text("utf-8")
    assert "Read back from the workspace" in report
    assert f"{COUNT} cannot be proved" in report


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ({"kind": "drop_attribute", "attribute": "age", "items": [3]}, ("differs", "age", "3", "")),
        (
            {"kind": "change_attribute", "attribute": "plan", "value": "=x", "items": [4]},
            ("differs", "plan", "gold", "'=x"),
        ),
    ],
)
def test_a_silent_fault_about_people_is_found(pipeline, sandbox, send, verify, fault, found):
    """The service had answered 200."""
    sandbox.misbehave({**fault, "path": "/api/v2/batch", "times": 1})
    assert send(pipeline).code == 0

    ended, summary = verify(pipeline, "--all")

    assert (ended.code, summary["exit"]) == (8, 8)
    assert summary["verified"]["differs"] == 1
    (line,) = listed(pipeline)
    assert (line["_found"], line["_field"], line["_sent"], line["_there"]) == found
    assert line["_identifier"] == f"p{fault['items'][0]:02}"
    assert (line["_source"], line["_row"]) == ("people.csv", str(fault["items"][0] + 1))


def test_an_event_that_was_lost_is_found(pipeline, sandbox, send, verify, backfill):
    """The recent one; of the one of years ago it is said that nothing can be proved."""
    lost = {"kind": "lose_event", "path": "/api/v2/batch", "items": [2 * COUNT - 4, 2 * COUNT - 3]}
    sandbox.misbehave(lost)
    assert send(pipeline).code == 0

    ended, summary = verify(pipeline, "--all")

    assert (ended.code, summary["verified"]["missing"]) == (8, 1)
    (line,) = listed(pipeline)
    assert (line["_found"], line["_kind"], line["_identifier"]) == ("missing", "events", "p10")
    assert summary["verified"]["unprovable"] == COUNT
    assert f"--url {sandbox.url} --restart" in ended.stderr
    report = (pipeline.parent / ".backfill" / "job" / "report.html").read_text("utf-8")
    assert "Differences found" in report
    assert "To send everything once more:" in report
    shown = backfill("status", pipeline).stdout
    assert f": {2 * COUNT - 1} equal, 1 missing, {COUNT} not provable" in shown
    assert send(pipeline).code == 0  # another run does not make it forgotten
    assert backfill("status", pipeline, "--json").summary["jobs"][0]["verified"]["missing"] == 1


def test_an_identify_that_was_skipped_is_found(tmp_path, sandbox, send, verify):
    """Nobody is there; where an event has brought the person, nothing of what was said is."""
    pipeline = job(tmp_path, {"people.csv": people()}, PEOPLE)
    sandbox.misbehave({"kind": "skip_identify", "items": [5], "path": "/api/v2/batch"})
    assert send(pipeline).code == 0

    ended, summary = verify(pipeline, "--all")

    assert (ended.code, summary["verified"]["missing"]) == (8, 1)
    assert [(line["_found"], line["_identifier"]) for line in listed(pipeline)] == [
        ("missing", "p05")
    ]


def test_a_canary_goes_on_by_itself(pipeline, sandbox, send, verify):
    """The first people and their events go first; what they are is what the run says of it."""
    ended = send(pipeline, "--canary", "3")

    assert ended.code == 0, ended.stderr
    assert (ended.summary["delivered"], ended.summary["complete"]) == (3 * COUNT, True)
    assert "canary: verified, all 6 as they were sent; 3 cannot be proved" in ended.stderr
    found = ended.summary["verified"]
    assert found == {"checked": 9, "equal": 6, "missing": 0, "differs": 0, "unprovable": 3}
    first = [each["person"] for each in sandbox.arrivals()][:9]
    assert set(first) == {"p00", "p01", "p02"}
    assert verify(pipeline, "--all")[1]["verified"]["equal"] == 2 * COUNT


def test_a_canary_stops_a_run_whose_attributes_are_dropped(pipeline, sandbox):
    """Nobody else is sent; the same run again begins with the same people."""
    sandbox.misbehave({"kind": "drop_attribute", "attribute": "age", "path": "/api/v2/batch"})
    options = Options(url=sandbox.url, env={}, canary=3)
    mode = with_canary(RUN, options, Stop(), print, lag_s=0.0)

    for _ in range(2):
        with pytest.raises(DiffersError) as ended:
            execute(mode, Pipeline.load(pipeline), options)

        summary = ended.value.summary
        assert summary.exit == ExitCode.DIFFERS
        assert summary.verified["differs"] == 3
        assert summary.pending == 3 * (COUNT - 3)
        assert set(sandbox.people()) == {"p00", "p01", "p02"}
        assert {line["_field"] for line in listed(pipeline)} == {"age"}


def test_a_wrong_key_of_the_app_api_stops_a_canary_before_it_is_sent(pipeline, send, sandbox):
    """Nothing could be read back."""
    ended = send(pipeline, "--canary", "3", env={"CUSTOMERIO_APP_API_KEY": "not-the-key"})

    assert (ended.code, "CUSTOMERIO_APP_API_KEY" in ended.stderr) == (4, True)
    assert sandbox.people() == {}
    assert ended.summary["pending"] == 3 * COUNT


def test_the_figures_of_a_night_stay_in_the_report(tmp_path, backfill, verify, sandbox):
    """A verification sends nothing: `this_run` says so, and the report still tells the night."""
    path = job(tmp_path, {}, PEOPLE)
    for count in (COUNT - 2, COUNT):
        (tmp_path / "people.csv").write_text(people(count))
        assert backfill("sync", path, "--url", sandbox.url, "--yes").code == 0
    report = tmp_path / ".backfill" / "job" / "report.html"
    told = re.findall("The last sync: [^<]*", report.read_text("utf-8"))
    assert told
    assert "12 rows" in told[0]

    ended, summary = verify(path, "--all", "--url", sandbox.url)

    assert (ended.code, summary["rows_read"]) == (0, COUNT)
    run = summary["this_run"]
    assert not any(run[each] for each in ("rows_read", "delivered", "requests", "bytes_sent"))
    assert re.findall("The last sync: [^<]*", report.read_text("utf-8")) == told


@pytest.mark.parametrize(
    ("was", "then"), [('name = { from = "event" }', 'name = "else"'), ("2026-11", "2026-12")]
)
def test_settings_that_changed_since_are_no_difference(tmp_path, send, verify, was, then):
    """7: what arrived would be held against what nobody has sent."""
    mark = 'import.property = { import = "2026-11" }'
    path = job(tmp_path, {"events.csv": events()}, EVENTS, top=mark)
    assert send(path).code == 0
    path.write_text(path.read_text().replace(was, then))

    ended, _ = verify(path, "--all")

    assert ended.code == 7, ended.stderr
    assert "put the settings back" in ended.stderr
    path.write_text(path.read_text().replace(then, was))
    assert verify(path, "--all")[0].code == 0


def test_a_canary_that_proves_nothing_says_how_to_go_on(tmp_path, send):
    """Events that nobody can read back stop it, and the file that lists findings has none."""
    rows = "".join(f"p{each},bought,2020-01-01T00:00:00Z,1\n" for each in range(9))
    path = job(tmp_path, {"events.csv": f"id,event,at,n\n{rows}"}, EVENTS)

    ended = send(path, "--canary", "3")

    assert (ended.code, ended.summary["delivered"]) == (8, 3)
    assert "the App API shows events of the last 30 days only" in ended.stderr
    assert "without --canary" in ended.stderr.splitlines()[-1]
    assert "verified.csv" not in ended.stderr


def test_a_canary_of_nobody_is_refused(tmp_path, send, sandbox):
    """Where only people are deleted, all of them would be deleted as if it had proved something."""
    table = '[[source]]\nkind = "deletions"\nfiles = ["gone.csv"]\nidentifier = { id = "id" }\n'

    ended = send(job(tmp_path, {"gone.csv": "id\na\nb\n"}, table), "--canary", "1")

    assert (ended.code, "--canary" in ended.stderr) == (2, True)
    assert sandbox.stats()["requests"] == 0


def test_a_canary_is_no_use_to_a_retry(pipeline, send):
    """It is said before anything is sent."""
    assert send(pipeline).code == 0

    assert send(pipeline, "--canary", "1", command="retry").code == 2


def test_answers_may_lag_behind_within_the_time_that_is_said(pipeline, sandbox, send, verify):
    """What differs is asked for again until then."""
    behave(sandbox, app_lag_s=3)
    try:
        assert send(pipeline).code == 0
        ended, summary = verify(pipeline, "--all", lag="60s")
        assert (ended.code, summary["verified"]["equal"]) == (0, 2 * COUNT)

    finally:
        behave(sandbox, app_lag_s=0)


def test_a_sample_is_the_same_people_every_time(pipeline, send, verify, backfill):
    """And their events; what it means for all is said in words."""
    assert send(pipeline).code == 0

    summary = verify(pipeline, "--sample", "4")[1]
    again = verify(pipeline, "--sample", "4")[1]

    assert summary["verified"] == again["verified"]
    assert summary["verified"]["checked"] == 3 * 4
    assert (summary["verification"]["of_people"], summary["verification"]["at_most"]) == (COUNT, 5)
    plain = backfill("verify", pipeline, "--sample", "4", cwd=pipeline.parent).stdout
    assert "4 of 12 people" in " ".join(plain.split())
    assert "95 % confidence at most 5" in " ".join(plain.split())


def test_what_a_retry_corrected_is_never_called_different(tmp_path, sandbox, send, verify):
    """The files do not say what was sent."""
    pipeline = job(tmp_path, {"people.csv": people(), "events.csv": events()}, PEOPLE, EVENTS)
    refuse = {"kind": "refuse_items", "path": "/api/v2/batch", "items": [1, 2 * COUNT - 2]}
    sandbox.misbehave(refuse)
    assert send(pipeline).code == 3
    sandbox.misbehave()
    path = tmp_path / ".backfill" / "job" / "rejected.csv"
    text = path.read_text("utf-8-sig")
    path.write_text(text.replace("p01@Example.com,1,", "p01@Example.com,111,"), "utf-8")
    assert send(pipeline, command="retry").code == 0

    ended, summary = verify(pipeline, "--all")

    assert ended.code == 0, summary["verification"]
    assert summary["verified"]["checked"] == 3 * COUNT
    assert summary["verification"]["unprovable_by_reason"]["corrected"] == 1
    (line,) = listed(pipeline)
    assert (line["_found"], line["_identifier"], line["_field"]) == ("extra", "p01", "age")


def test_whoever_was_deleted_must_be_gone(tmp_path, sandbox, send, verify):
    """And somebody who is there again is told."""
    gone = '[[source]]\nkind = "deletions"\nfiles = ["gone.csv"]\nidentifier = { id = "id" }\n'
    pipeline = job(tmp_path, {"gone.csv": "id\na\nb\n"}, gone)
    assert send(pipeline).code == 0
    assert verify(pipeline, "--all")[1]["verified"]["equal"] == 2
    event = {"name": "x", "data": {}}
    httpx.post(
        f"{sandbox.url}/api/v1/customers/b/events", json=event, auth=("sandbox", "sandbox")
    ).raise_for_status()

    ended, summary = verify(pipeline, "--all")

    assert (ended.code, summary["verified"]["differs"]) == (8, 1)


def test_what_stands_in_its_way_is_said(pipeline, send, backfill):
    """Nothing delivered, another key, files that have changed."""
    early = backfill("verify", pipeline, cwd=pipeline.parent)
    assert (early.code, "no job" in early.stderr or "backfill run" in early.stderr) == (6, True)
    assert send(pipeline).code == 0

    wrong = backfill(
        "verify", pipeline, cwd=pipeline.parent, env={"CUSTOMERIO_APP_API_KEY": "not-the-key"}
    )
    assert (wrong.code, "CUSTOMERIO_APP_API_KEY" in wrong.stderr) == (4, True)
    assert "not-the-key" not in wrong.stderr + wrong.stdout
    path = pipeline.parent / "people.csv"
    path.write_text(path.read_text("utf-8").replace("gold", "lead"), "utf-8")
    changed = backfill("verify", pipeline, cwd=pipeline.parent)
    assert (changed.code, "put the files back" in changed.stderr) == (5, True)


def test_a_sync_verifies_what_people_were_told_last(tmp_path, sandbox, send, verify):
    """Also those whom a night has skipped as unchanged, and whom it has deleted."""
    source = PEOPLE.partition("[source.c")[0]
    more = '[source.sync]\nvanished = "delete"\ndeletes_max = 1\n'
    pipeline = job(tmp_path, {"people.csv": "id,n\na,1\nb,2\nc,3\n"}, source, more)
    assert send(pipeline, command="sync").code == 0
    (tmp_path / "people.csv").write_text("id,n\na,1\nb,22\nd,4\n", "utf-8")

    night = send(pipeline, "--canary", "1", command="sync")

    assert (night.code, night.summary["verified"]["equal"]) == (0, 1)
    assert sandbox.people().keys() == {"a", "b", "d"}
    found = verify(pipeline, "--all")[1]["verification"]["kinds"]
    assert (found["people"]["equal"], found["deletions"]["equal"]) == (3, 1)
    same = send(pipeline, "--canary", "1", command="sync")
    assert (same.code, same.summary["verified"]["checked"]) == (0, 0)
    assert verify(pipeline, "--all")[1]["verified"]["equal"] == 3


def test_a_canary_of_a_sync_is_read_back_until_it_is_equal(tmp_path, sandbox, send, verify):
    """Its rows are not new any more; and whom an earlier night deleted has lost no event."""
    at = (datetime.now(UTC) - timedelta(days=5)).isoformat(timespec="seconds")
    source = PEOPLE.partition("[source.c")[0]
    more = '[source.sync]\nvanished = "delete"\ndeletes_max = 1\n'
    seen = f'{EVENTS.partition("[source.c")[0]}identical_rows = "collapse"\n'
    seen += 'unknown_people = "send"\n[source.sync]\nmode = "files"\n'
    files = {"people.csv": "id,n\na,1\nb,2\nc,3\n", "events.csv": f"id,event,at\nc,x,{at}\n"}
    pipeline = job(tmp_path, files, source, more, seen)
    assert send(pipeline, command="sync").code == 0
    (tmp_path / "people.csv").write_text("id,n\na,11\nb,22\n", "utf-8")
    lost = {"kind": "drop_attribute", "attribute": "n", "path": "/api/v2/batch", "times": 1}
    sandbox.misbehave(lost)

    first = send(pipeline, "--canary", "1", command="sync")
    second = send(pipeline, "--canary", "1", command="sync")

    assert (first.code, second.code) == (8, 8)
    assert [line["_identifier"] for line in listed(pipeline)] == ["a"]
    for _ in range(2):  # who has looked at it goes on without a canary
        assert send(pipeline, command="sync").code == 0
    summary = verify(pipeline, "--all")[1]
    assert [(line["_kind"], line["_identifier"]) for line in listed(pipeline)] == [
        ("people", "a"),
        ("events", "c"),
    ]
    assert summary["verified"]["missing"] == 0
    assert summary["verification"]["unprovable_by_reason"] == {"perhaps_deleted": 1}


def test_whom_a_corrected_merge_took_away_is_not_missing(tmp_path, sandbox, send, verify):
    """The files do not say who it was; whoever else is not there is missing."""
    files = {"people.csv": "id,n\na,1\nb,2\nc,3\n", "merges.csv": "keep,lose\n,b\n"}
    pipeline = job(tmp_path, files, PEOPLE.partition("[source.c")[0], MERGES)
    assert send(pipeline).code == 3
    path = tmp_path / ".backfill" / "job" / "rejected.csv"
    path.write_text(path.read_text("utf-8-sig").replace(",b,merges", "a,b,merges"), "utf-8")
    assert "a,b,merges" in path.read_text("utf-8").replace(",,", ",")
    assert send(pipeline, command="retry").code == 0
    assert verify(pipeline, "--all")[0].code == 0
    url = f"{sandbox.url}/api/v1/customers/c"
    httpx.delete(url, auth=("sandbox", "sandbox")).raise_for_status()

    ended, summary = verify(pipeline, "--all")

    assert (ended.code, summary["verified"]["missing"]) == (8, 1)


def test_whom_events_make_anew_after_a_merge_is_not_different(tmp_path, sandbox, send, verify):
    """The plan warns of it; whoever is there for another reason differs, and merges have a word."""
    files = {"people.csv": "id,n\na,1\nb,2\nc,3\nd,4\n", "merges.csv": "keep,lose\na,b\na,c\n"}
    files["events.csv"] = "id,event,at,n\nb,seen,2020-01-01T00:00:00Z,1\n"
    pipeline = job(tmp_path, files, PEOPLE.partition("[source.c")[0], MERGES, EVENTS)
    assert send(pipeline).code == 0

    ended, summary = verify(pipeline, "--all")

    assert ended.code == 0, listed(pipeline)
    found = summary["verification"]["kinds"]
    assert (found["merges"]["equal"], found["merges"]["unprovable"]) == (1, 1)
    assert "deletions" not in found
    assert summary["verification"]["unprovable_by_reason"]["remade"] == 1
    write(sandbox, "c", n=1)
    ended, summary = verify(pipeline, "--all")
    assert (ended.code, summary["verification"]["kinds"]["merges"]["differs"]) == (8, 1)


def test_relationships_that_a_sync_removed_are_named_and_not_asked_for(tmp_path, send, verify):
    """They are nobody whom the App API knows; what an earlier night sent is counted, too."""
    kept = """
    [[source]]
    kind = "relationships"
    files = ["of.csv"]
    identifier = { id = "id" }
    object = { type = "1", id = "oid" }
    [source.sync]
    vanished = "delete"
    deletes_max = 1
    """
    files = {"people.csv": "id,n\na,1\nb,2\n", "of.csv": "id,oid\na,x\nb,x\n"}
    pipeline = job(tmp_path, files, PEOPLE.partition("[source.c")[0], kept)
    assert send(pipeline, command="sync").code == 0
    (tmp_path / "of.csv").write_text("id,oid\na,x\n", "utf-8")
    assert send(pipeline, command="sync").code == 0

    ended, summary = verify(pipeline, "--all")

    assert ended.code == 0, ended.stderr
    found = summary["verification"]["kinds"]
    assert (found["people"]["equal"], found["relationships"]["unprovable"]) == (2, 2)


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_people_are_found_by_their_addresses_in_any_case(tmp_path, sandbox, send, verify, api):
    """Whoever they are known by; and whichever API has taken them."""
    mail = {"people.csv": "id,n\nA+b@X.org,1\nc@x.org,2\n"}
    recent = (datetime.now(UTC) - timedelta(days=3)).isoformat(timespec="seconds")
    mail["events.csv"] = f"id,event,at,n\na+B@x.org,a b,{recent},1\na+b@x.org,a b,{recent},2\n"
    tables = [
        each.replace("{ id =", "{ email =") for each in (PEOPLE.partition("[source.c")[0], EVENTS)
    ]
    mark = '[import]\nattribute = { batch = "x" }\nproperty = { batch = "y" }\n'
    pipeline = job(tmp_path, mail, f'[destination]\napi = "{api}"\n', mark, *tables)
    assert send(pipeline).code == 0

    ended, summary = verify(pipeline, "--all")

    assert (ended.code, summary["verified"]["equal"]) == (0, 4)
    sent = [each["attributes"]["batch"] for each in sandbox.events()]
    assert sent == ["y", "y"]


def test_segments_prove_what_is_older(pipeline, sandbox, send, verify):
    """Where one is named after an event, everybody who was sent it must be in it."""
    condition = {"event": {"name": "seen", "at_least": 1}}
    sandbox.misbehave({"kind": "lose_event", "path": "/api/v2/batch", "items": [3]})
    httpx.put(f"{sandbox.url}/sandbox/segments/backfill: seen", json=condition).raise_for_status()
    assert send(pipeline).code == 0

    ended, summary = verify(pipeline, "--all")

    lost = [(line["_found"], line["_identifier"]) for line in listed(pipeline)]
    assert (ended.code, lost) == (8, [("missing", "p01")])
    assert summary["verified"] == {
        "checked": 3 * COUNT,
        "equal": 3 * COUNT - 1,
        "missing": 1,
        "differs": 0,
        "unprovable": 0,
    }


def test_what_others_wrote_between_two_nights_is_not_different(tmp_path, sandbox, send, verify):
    """The last night did not send it; what it has sent itself is held against what is there."""
    source = PEOPLE.partition("[source.c")[0]
    pipeline = job(tmp_path, {"people.csv": "id,plan\na,x\nb,x\nc,x\n"}, source)
    assert send(pipeline, command="sync").code == 0
    write(sandbox, "a", plan="theirs")
    write(sandbox, "b", plan="theirs")
    (tmp_path / "people.csv").write_text("id,plan\na,x\nb,y\nc,x\n", "utf-8")
    sandbox.misbehave({"kind": "skip_identify", "path": "/api/v2/batch"})
    assert send(pipeline, command="sync").code == 0

    ended, summary = verify(pipeline, "--all")

    assert summary["verification"]["unprovable_by_reason"] == {"later_writer": 1}
    found = [(line["_found"], line["_identifier"], line["_there"]) for line in listed(pipeline)]
    assert (ended.code, found) == (8, [("extra", "a", "theirs"), ("differs", "b", "theirs")])


def test_what_others_wrote_while_a_run_was_cut_short_is_not_different(
    tmp_path, sandbox, send, verify
):
    """The call that went on did not send it again."""
    rows = "id,plan\n" + "".join(f"p{n:02},x\n" for n in range(COUNT))
    tables = '[destination]\napi = "v1"\n', PEOPLE.partition("[source.c")[0]
    pipeline = job(tmp_path, {"people.csv": rows}, *tables)
    sandbox.misbehave({"kind": "latency", "seconds": 0.3, "method": "PUT"})
    assert send(pipeline, "--concurrency", "1", "--for", "1s").code == 75
    sandbox.misbehave()
    write(sandbox, "p00", plan="theirs")
    assert send(pipeline).code == 0

    ended, summary = verify(pipeline, "--all")

    assert (ended.code, summary["verified"]["equal"]) == (0, COUNT - 1), listed(pipeline)
    assert summary["verification"]["unprovable_by_reason"] == {"later_writer": 1}


def write(sandbox, person, **attributes):
    """Another system tells the workspace something of somebody."""
    url = f"{sandbox.url}/api/v1/customers/{person}"
    httpx.put(url, json=attributes, auth=("sandbox", "sandbox")).raise_for_status()


def test_where_to_start_keeps_the_place_and_the_workspace(pipeline, sandbox, backfill):
    """A job whose first run was refused has sent nothing yet."""
    path = pipeline.parent / "people.csv"
    path.write_text(path.read_text("utf-8").replace(",plan", ",opt_in"), "utf-8")
    there = ("--state-dir", pipeline.parent / "there", "--url", sandbox.url)
    assert backfill("run", pipeline, *there).code == 7

    ended = backfill("verify", pipeline, *there)

    options = f"--state-dir {pipeline.parent / 'there'} --url {sandbox.url}"
    assert (ended.code, ended.stderr.splitlines()[-1]) == (
        2,
        f"next: start with: backfill run {pipeline} {options}",
    )


@pytest.mark.parametrize(
    ("top", "more"), [("", ("--canary", "1")), ("[import]\nundo = true\n", ())]
)
def test_without_a_key_of_the_app_api_nothing_is_forgotten(tmp_path, backfill, send, top, more):
    """`--restart` would forget what was sent, and then nothing could be sent."""
    source = PEOPLE.partition("[source.c")[0].replace('{ id = "id" }', '{ email = "email" }')
    pipeline = job(tmp_path, {"people.csv": "email\na@x.org\n"}, source, top=top)
    assert send(pipeline).code == 0
    keys = {"CUSTOMERIO_SITE_ID": "s", "CUSTOMERIO_API_KEY": "k"}

    ended = backfill("run", pipeline, "--restart", *more, "--yes", cwd=tmp_path, env=keys)

    assert (ended.code, "CUSTOMERIO_APP_API_KEY" in ended.stderr) == (4, True)
    assert send(pipeline).summary["this_run"]["requests"] == 0
