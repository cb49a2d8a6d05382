"""The commands that the last line advises: each is run as it stands, and goes where it should."""

import shlex

import pytest

from tests.support.jobs import AGES, CUSTOMERS, EVENTS, ago, job, numbered, people, rejected

AGED = "id,age\na,1\nb,old\n"
REAL_KEYS = {"CUSTOMERIO_SITE_ID": "sandbox", "CUSTOMERIO_API_KEY": "sandbox"}
"""As where somebody rehearses who could send to the real workspace: the url has to be carried."""


def advised(ended) -> list[str]:
    """The arguments of the command in a next step."""
    _, found, command = ended.next_step.partition("backfill ")
    assert found, ended.next_step
    return shlex.split(command)


@pytest.fixture
def follow(backfill):
    """Run what a command has advised, with keys of a real workspace set."""
    return lambda ended: backfill(*advised(ended), env=REAL_KEYS)


def test_each_command_carries_what_was_given_to_the_one_before(tmp_path, backfill, sandbox, follow):
    """check, plan, run, retry: with one state folder, one address, one rate."""
    pipeline = job(tmp_path, {"customers.csv": AGED}, AGES)
    state = ("--state-dir", "my state")
    checked = backfill("check", pipeline, *state)
    assert advised(checked) == ["plan", str(pipeline), *state]
    assert follow(checked).code == 3

    there = ("--url", sandbox.url, "--rate", "50")
    planned = backfill("plan", pipeline, *state, *there)
    assert advised(planned) == ["run", str(pipeline), *state, *there]
    ran = follow(planned)
    assert advised(ran) == ["retry", str(pipeline), *state, *there]

    file = tmp_path / "my state/job/rejected.csv"
    file.write_text(file.read_text("utf-8-sig").replace("old", "2"), "utf-8-sig")
    retried = follow(ran)
    assert (retried.code, len(sandbox.people())) == (0, 2)


def test_what_a_limit_left_is_sent_without_it(tmp_path, backfill, sandbox, follow):
    """All other options hold; the limit would end it at the same row."""
    pipeline = job(tmp_path, {"customers.csv": people(*"abc")}, CUSTOMERS)
    part = backfill("run", pipeline, "--url", sandbox.url, "--limit", "1", "--concurrency", "2")

    assert advised(part) == ["run", str(pipeline), "--url", sandbox.url, "--concurrency", "2"]
    assert follow(part).code == 0
    assert len(sandbox.people()) == 3


def test_held_rows_are_sent_to_where_the_others_went(tmp_path, backfill, sandbox, follow):
    """The command may be run days later: it must be whole."""
    held = f"a,seen,{ago(hours=1)},1\n"
    hold = EVENTS + 'recent_events = "hold"\n'
    pipeline = job(tmp_path, {"events.csv": numbered(1) + held}, hold)
    ended = backfill("run", pipeline, "--url", sandbox.url)

    assert "--url" in advised(ended)
    assert follow(ended).code == 0


def test_status_finds_the_same_job(tmp_path, backfill, sandbox):
    """Its state folder is part of what it advises, and where the rows went."""
    pipeline = job(tmp_path, {"customers.csv": AGED}, AGES)
    backfill("run", pipeline, "--url", sandbox.url, "--state-dir", "mine")
    ended = backfill("status", pipeline, "--state-dir", "mine")

    expected = ["retry", str(pipeline), "--state-dir", "mine", "--url", sandbox.url]
    assert advised(ended) == expected


def test_the_report_names_the_address_that_was_given(tmp_path, backfill, sandbox):
    """Its command is the one that goes on with this job, also to a proxy that is no sandbox."""
    pipeline = job(tmp_path, {"customers.csv": AGED}, AGES)
    backfill("run", pipeline, "--url", sandbox.url)

    page = (rejected(pipeline).parent / "report.html").read_text("utf-8")
    assert f"<pre>backfill retry {pipeline} --url {sandbox.url}</pre>" in page


def test_a_guard_is_said_by_check_and_plan_in_their_exit_code(tmp_path, backfill):
    """7, as the run would; and the warnings of the plan, which a check shows, too."""
    recent = numbered(1) + f"a,seen,{ago(hours=1)},1\n"
    pipeline = job(
        tmp_path, {"events.csv": recent, "customers.csv": people("a")}, CUSTOMERS, EVENTS
    )
    for command in ("check", "plan"):
        ended = backfill(command, pipeline)
        assert ended.code == 7, command
        assert "A run would be refused" in ended.stdout
        assert "has no created_at" in ended.stdout


def test_a_file_that_is_only_a_header_is_refused(tmp_path, backfill, sandbox):
    """Customers without a row: an export that failed, or one that has to be said to be whole."""
    pipeline = job(tmp_path, {"customers.csv": "id,email\n"}, CUSTOMERS)
    for command in ("check", "plan", "run"):
        there = ("--url", sandbox.url) if command == "run" else ()
        ended = backfill(command, pipeline, *there)
        assert ended.code == 7, command
        assert "rows_change_max" in ended.next_step


def test_a_bare_backfill_prints_its_help(backfill):
    """As help, on lines of its own, and not as a mistake."""
    ended = backfill()

    assert ended.stdout.startswith("Usage: backfill")
    assert "\n  check " in ended.stdout
    assert "error" not in ended.stderr
    assert "backfill demo" in ended.next_step
