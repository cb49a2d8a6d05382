"""The screens of looking around: check, plan, status and the demo."""

import re
import signal
import socket

import httpx
import pytest

from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, ago, job
from tests.support.programs import until
from tests.support.workspaces import free_port

PEOPLE = "id,Email,created_at\na,a@example.com,yesterday\n,b@example.com,today\n"


@pytest.fixture
def pipeline(tmp_path):
    """A job with something of everything."""
    events = (
        f"a,Signed Up,2024-01-01T00:00:00Z,1\na,signed up,{ago(hours=1)},2\n"
        "x,bought,2024-01-02T00:00:00Z,3\na,bought,never,4\n"
    )
    return job(
        tmp_path, {"customers.csv": PEOPLE, "events.csv": HEADER + events}, CUSTOMERS, EVENTS
    )


def test_a_plan_says_what_would_happen(pipeline, backfill):
    """Rows and requests, names and dates, rejections, guards, warnings, dates, time, samples."""
    ended = backfill("plan", pipeline)

    assert ended.code == 7
    text = " ".join(ended.stdout.split())
    assert "job: 6 rows in 2 files, nothing was sent" in text
    assert "1 timestamp_unreadable" in text
    assert "source 2 (events) has events younger than 72 h, which can trigger campaigns: 1" in text
    assert 'set recent_events = "send", "skip" or "hold"' in text
    assert "source 2 (events) names people whom no customers source names" in text
    assert "'Email' is not 'email'" in text
    assert "created_at is not declared as a timestamp" in text
    assert "differ only by case: Signed Up / signed up" in text
    assert "iso8601 in UTC: declared" in text
    assert "at 100 requests/s" in text
    assert '"type": "person"' in text
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert ended.next_step.startswith("set recent_events")


def test_a_plan_for_programs_has_all_of_it(pipeline, backfill):
    """The same as JSON: guards by code, in order of harm."""
    plan = backfill("plan", pipeline, "--json", "--rate", "10").summary

    assert plan["job"] == "job"
    assert plan["rows_read"] == 6
    assert [each["code"] for each in plan["guards"]] == ["recent_events", "unknown_people"]
    assert [each["code"] for each in plan["warnings"]] == [
        "created_at_text",
        "nearly_named",
        "names_by_case",
        "names_with_spaces",
    ]
    assert plan["seconds_at_rate"] == plan["requests"] / 10
    assert [each["kind"] for each in plan["sources"]] == ["customers", "events"]
    assert plan["samples"][0]["action"] == "identify"
    assert plan["rejections_by_reason"] == {"identifier_missing": 1, "timestamp_unreadable": 1}


@pytest.mark.parametrize("columns", [40, 60])
def test_every_screen_fits_a_narrow_terminal(pipeline, sandbox, in_terminal, columns):
    """Sentences are wrapped, and tables become sentences; only what is to be pasted stays whole."""
    settings = pipeline.read_text("utf-8")
    settings += 'unknown_people = "send"\nrecent_events = "send"\n'
    pipeline.write_text(settings, "utf-8")
    for command in (("plan",), ("check",), ("run", "--url", sandbox.url), ("status",)):
        shown = in_terminal(command[0], pipeline.name, *command[1:], columns=columns)
        lines = [each for each in shown.frames if not each.startswith(("next: ", "Report: "))]
        assert max(map(len, lines)) <= columns, command


def test_check_is_short(pipeline, backfill):
    """Rows, reasons and guards; where the rows are; then: plan."""
    ended = backfill("check", pipeline)

    assert ended.code == 7
    assert "identifier_missing" in ended.stdout
    assert "A run would be refused" in ended.stdout
    assert "Sample requests" not in ended.stdout
    assert "backfill plan" in ended.next_step


def test_status_knows_nothing_before_the_first_run(backfill):
    """An empty folder is no mistake."""
    ended = backfill("status", "--json")

    assert ended.code == 0
    assert ended.summary == {"jobs": []}
    assert "backfill run PIPELINE" in ended.next_step


def test_status_shows_how_jobs_ended(tmp_path, backfill, send):
    """One line a job, from whichever side it is asked."""
    pipeline = job(tmp_path, {"events.csv": HEADER + "a,seen,2024-01-01,1\nb,seen,x,2\n"}, EVENTS)
    send(pipeline)

    for arguments in ((), (pipeline,), ("--state-dir", tmp_path / ".backfill")):
        ended = backfill("status", *arguments)
        assert ended.code == 0
        line = ended.stdout.splitlines()[1].split()
        assert line[:6] == ["job", "finished", "2", "1", "1", "0"]
        assert "retry" in ended.next_step
    [found] = backfill("status", "--json").summary["jobs"]
    assert found["state"] == "finished"
    assert found["summary"]["rejected"] == 1


def test_status_tells_why_nothing_moves(tmp_path, backfill, start_sending, sandbox):
    """Paused, why, and until when; a killed job is not paused any more."""
    pipeline = job(tmp_path, {"events.csv": HEADER + "a,seen,2024-01-01,1\n"}, EVENTS)
    sandbox.misbehave({"kind": "status", "status": 429, "retry_after": "30", "method": "POST"})
    command = start_sending(pipeline)
    until(lambda: "paused" in backfill("status").stdout)
    shown = backfill("status").stdout
    [found] = backfill("status", "--json").summary["jobs"]
    command.kill()

    line, why = shown.splitlines()[1:]
    assert line.split()[:2] == ["job", "paused"]
    assert re.fullmatch(r"  job: too many requests \(429\), until \S+ \S+ UTC", why)
    assert found["pause"] in why
    assert "paused" not in backfill("status").stdout


def test_the_demo_needs_nothing(tmp_path, backfill):
    """Files, pipeline and workspace are its own; keys that are set are not used."""
    keys = {"CUSTOMERIO_SITE_ID": "real", "CUSTOMERIO_API_KEY": "real"}

    for _ in range(2):
        ended = backfill("demo", env=keys)
        assert ended.code == 0, ended.stderr
        assert "acme-history: done, 27 rows rejected" in ended.stdout
        assert "The sandbox holds 560 people and 3,988 events." in ended.stdout
    assert (tmp_path / ".backfill/demo/acme-history/rejected.csv").exists()
    assert "rejected.csv" in ended.next_step


def test_the_demo_tells_programs_its_summary(tmp_path, backfill):
    """Its exit is 0 although rows are rejected: that is what it shows."""
    ended = backfill("demo", "--json", "--state-dir", tmp_path / "elsewhere")

    assert ended.code == ended.summary["exit"] == 0
    assert ended.summary["rejected"] == 27
    assert (tmp_path / "elsewhere/acme-history/rejected.csv").exists()


def test_the_demo_can_be_looked_at(start):
    """--keep leaves the sandbox open until Ctrl-C, and shows everything once."""
    command = start("demo", "--keep")
    until(lambda: "until Ctrl-C" in command.stderr())
    [address] = re.findall(r"http://127\.0\.0\.1:\d+", command.stderr())
    held = httpx.get(f"{address}/sandbox/stats").json()
    command.signal(signal.SIGINT)
    ended = command.ended()

    assert held["people"] == 560
    assert ended.code == 0
    assert ended.stdout.count("acme-history: done") == 1


def test_a_sandbox_ends_with_ctrl_c(start):
    """Its end is told as every end is."""
    port = free_port()
    command = start("sandbox", "--port", port)
    until(lambda: _listens(port))
    command.signal(signal.SIGINT)
    ended = command.ended()

    assert ended.code == 130
    assert ended.next_step == "run the same command again"


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
