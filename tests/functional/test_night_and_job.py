"""A night and its job are two accounts, wherever either of them is told."""

import json

import pytest

from tests.support.jobs import AGED, EVENTS, ago, job, rejected

KEYED = EVENTS + 'key = ["n"]\nunknown_people = "send"\n'
VISITS = KEYED.replace("events*.*", "visits.csv") + '[source.sync]\nmode = "diff"\n'
HEADER = "id,event,at,n\n"
NAMES = ("rows_read", "delivered", "rejected", "merged", "skipped", "pending")


def people(count, age):
    """So many people, one of whom is no good."""
    good = "".join(f"p{n},{age if n < 5 else 30}\n" for n in range(count))
    return f"id,age\n{good}bad,old\n"


def events(name, first, stop):
    """Events by number."""
    rows = (f"p1,{name},2024-01-02T00:00:00Z,{name}{n}\n" for n in range(first, stop))
    return HEADER + "".join(rows)


@pytest.fixture
def night(tmp_path, send, backfill, sandbox):
    """One night's exports: people are replaced, a file of events joins, visits grow."""

    def synced(number, count=40, *, shown=False):
        files = {
            "customers.csv": people(count, number),
            f"events-{number}.csv": events("seen", 30 * number, 30 * number + 30),
            "visits.csv": events("visited", 0, 20 + 5 * number),
        }
        pipeline = job(tmp_path, files, AGED, KEYED, VISITS)
        if shown:
            return backfill("sync", pipeline, "--url", sandbox.url)
        return send(pipeline, command="sync")

    return synced


def test_a_night_has_its_own_figures_by_source(night):
    """They obey the law; the job's count each file once, as it was read last."""
    night(1)
    done = night(2)
    run = done.summary["this_run"]

    assert [tuple(each[name] for name in NAMES) for each in run["sources"]] == [
        (41, 5, 1, 0, 35, 0),
        (30, 30, 0, 0, 0, 0),
        (30, 5, 0, 0, 25, 0),
    ]
    assert [each["files"] for each in run["sources"]] == [
        ["customers.csv"],
        ["events-2.csv"],
        ["visits.csv"],
    ]
    assert run["sources"][2]["skipped_by_reason"] == {"unchanged": 25}
    assert tuple(run[name] for name in NAMES) == (101, 40, 1, 0, 60, 0)
    assert tuple(done.summary[name] for name in NAMES) == (131, 70, 1, 0, 60, 0)
    assert done.summary["sources"][1]["files"] == ["events-1.csv", "events-2.csv"]


def test_the_console_shows_the_night_and_the_job(night):
    """Sources as of this run, one line for each account below."""
    first = night(1, shown=True)
    assert "all rows" in first.stdout
    assert "this run" not in first.stdout
    lines = [line.split() for line in night(2, shown=True).stdout.splitlines()]

    assert ["customers", "41", "5", "0", "35", "1", "0"] in lines
    assert ["this", "run", "101", "40", "0", "60", "1", "0"] in lines
    assert ["the", "job", "131", "70", "0", "60", "1", "0"] in lines
    assert ["this", "run:", "2", "requests,"] in [line[:4] for line in lines]


def test_the_report_tells_the_night_first(night, tmp_path):
    """And the job after it, each with its table; made again it says the same."""
    night(1)
    night(2)
    page = (tmp_path / ".backfill/job/report.html").read_text()

    assert "The last sync: 40 of 101 rows were delivered to the sandbox at 127.0.0.1" in page
    assert "60 were delivered before and have not changed and 1 was rejected." in page
    assert "The job so far: 70 of 131 rows were delivered to the sandbox" in page
    assert "<dt>people delivered</dt><dd>5</dd>" in page
    assert "<dt>events delivered</dt><dd>35</dd>" in page
    assert 'aria-label="Rows of the last sync by source"' in page
    assert "<td>2</td><td>sync</td>" in page


def test_a_quiet_night_is_told_as_such(night, tmp_path):
    """Nothing is new: nobody reads that people were never delivered."""
    night(1)
    done = night(1, shown=True)
    assert "this run 66 0 0 65 1 0" in " ".join(done.stdout.split())
    page = (tmp_path / ".backfill/job/report.html").read_text()
    assert "The last sync: 0 of 66 rows were delivered" in page
    assert "65 were delivered before and have not changed" in page


def test_a_refused_night_is_no_early_stop(night, tmp_path, backfill):
    """It sent nothing; what the nights before delivered stands."""
    night(1)
    refused = night(2, count=6)
    assert refused.code == 7
    assert refused.summary["this_run"]["sources"] == []
    answer = "if the export is complete, set rows_change_max = 34 under [source.sync]"
    for told in (("status",), ("status", "--history")):
        shown = backfill(*told, tmp_path / "pipeline.toml")
        assert answer in shown.next_step
        assert "resume" not in shown.stderr
    assert " refused " in backfill("status").stdout
    page = (tmp_path / ".backfill/job/report.html").read_text()
    assert ">Refused</span>" in page
    assert "The last sync sent nothing" in page
    assert "The job so far: 95 of 96 rows were delivered" in page


def test_the_status_tells_them_apart(night, tmp_path, backfill):
    """On the disk and on the screen; the history has a line a night, with its own rows."""
    night(1)
    night(2)
    lines = [line.split() for line in backfill("status").stdout.splitlines()]
    assert lines[1][:6] == ["job", "finished", "131", "70", "1", "0"]
    assert lines[2][:5] == ["this", "run", "101", "40", "1"]
    rows = [line.split() for line in backfill("status", "--history").stdout.splitlines()]
    assert [each[2:8] for each in rows[2:4]] == [
        ["sync", "3", "96", "95", "1", "0"],
        ["sync", "3", "101", "40", "1", "60"],
    ]
    status = json.loads((tmp_path / ".backfill/job/status.json").read_bytes())
    assert (status["rows_read"], status["delivered"]) == (131, 70)
    assert status["this_run"] == {
        "rows_read": 101,
        "delivered": 40,
        "rejected": 1,
        "merged": 0,
        "skipped": 60,
    }


def test_a_retry_counts_the_rows_that_it_tried(night, send, tmp_path):
    """Delivered and rejected again; no figure is below zero."""
    night(1)
    pipeline = tmp_path / "pipeline.toml"
    first = send(pipeline, command="retry").summary["this_run"]
    assert tuple(first[name] for name in NAMES) == (1, 0, 1, 0, 0, 0)
    fixed = rejected(pipeline)
    fixed.write_text(fixed.read_text("utf-8-sig").replace("old", "77"), "utf-8-sig")
    done = send(pipeline, command="retry")
    assert tuple(done.summary["this_run"][name] for name in NAMES) == (1, 1, 0, 0, 0, 0)
    assert (done.summary["rejected"], done.summary["delivered"]) == (0, 96)


def test_a_night_without_new_files_is_not_warned_of(tmp_path, backfill, sandbox):
    """Most nights of some exports are so; a header alone is another matter."""
    for count, warned in ((5, False), (5, False), (0, True)):
        name = "events-1.csv" if count else "events-2.csv"
        pipeline = job(tmp_path, {name: events("seen", 0, count)}, KEYED)
        done = backfill("sync", pipeline, "--url", sandbox.url)
        assert (done.code, "has no rows" in done.stderr) == (0, warned)


def test_a_sync_of_events_alone_says_how_many_are_new(tmp_path, backfill, sandbox):
    """Nothing is said of people, of whom there are none."""
    pipeline = job(tmp_path, {"visits.csv": events("visited", 0, 20)}, VISITS)
    backfill("sync", pipeline, "--url", sandbox.url)
    (tmp_path / "visits.csv").write_text(events("visited", 0, 23))
    done = backfill("sync", pipeline, "--url", sandbox.url)
    assert "sync: 3 new events of 23" in done.stderr
    assert "people" not in done.stderr


def test_what_is_held_is_sent_by_the_command_that_held_it(tmp_path, backfill, sandbox):
    """A sync goes on as a sync."""
    rows = HEADER + f"p1,visited,{ago(hours=1)},1\n"
    held = VISITS.replace("[source.sync]", 'recent_events = "hold"\n[source.sync]')
    pipeline = job(tmp_path, {"visits.csv": rows}, held)
    done = backfill("sync", pipeline, "--url", sandbox.url)
    assert "when the held rows are old enough: backfill sync " in done.next_step
