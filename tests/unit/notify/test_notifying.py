"""What a call is told for, and in which words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import ExitCode
from backfill.notify.call_history import Call
from backfill.notify.notifying import message, notify, occasions
from backfill.pipeline.file import Pipeline

OK, REJECTIONS, GUARD, KILLED = 0, 3, 7, None


def call(code: int | None, **more) -> Call:
    """A call that ended so."""
    return Call(command="sync", pid=1, started_at="2026-11-22T01:00:00.000Z", exit=code, **more)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (OK, OK, ["success"]),
        (OK, REJECTIONS, ["rejections"]),
        (OK, GUARD, ["failure"]),
        (GUARD, GUARD, ["failure"]),
        (GUARD, OK, ["recovery", "success"]),
        (75, REJECTIONS, ["recovery", "rejections"]),
        (KILLED, OK, ["recovery", "success"]),
        (REJECTIONS, OK, ["success"]),
    ],
)
def test_what_is_told_depends_on_this_call_and_the_one_before(before, now, told):
    """A recovery is the first success after a failure, and a killed call failed."""
    assert occasions(call(now), call(before)) == told


def test_the_first_call_recovers_from_nothing():
    """There was no failure before it."""
    assert occasions(call(OK), None) == ["success"]


@given(st.sampled_from(ExitCode), st.none() | st.sampled_from(ExitCode))
def test_every_end_is_told_for_something_in_one_line(code, before):
    """The text names the job and fits a chat."""
    now = call(int(code))
    told = occasions(now, call(int(before)) if before is not None else None)
    text = message("acme", now, told)["text"]
    assert text.startswith("backfill sync acme ")
    assert "\n" not in text
    assert len(text) < 300


def test_a_message_has_figures_and_nothing_out_of_the_error():
    """An error's sentence may name a file that is called after a person."""
    summary = {
        "rows_read": 1204,
        "rejected": 4,
        "pending": 1200,
        "complete": False,
        "this_run": {"delivered": 0, "skipped": 1000, "deletes": 2},
        "rejections_by_reason": {"bad_timestamp": 4},
    }
    now = call(GUARD, stopped=("jane@example.com.csv is odd", "fix it"), summary=summary)
    said = message("acme", now, ["failure"])
    assert said["text"] == (
        "backfill sync acme failed (exit 7): a guard refused to send (its message names the"
        " setting). This run: 0 rows delivered, 1,000 skipped, 0 rejected, 2 people deleted. The"
        " job: 4 rejected, 1,200 pending."
    )
    assert said["rejections_by_reason"] == {"bad_timestamp": 4}
    assert (said["rows_read"], said["pending"], said["exit"]) == (1204, 1200, 7)
    assert "jane" not in json.dumps(said)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["success"], "is done."),
        (["rejections"], "is done, and 3 rows are rejected."),
        (["recovery", "success"], "works again."),
        (["recovery", "rejections"], "works again, is done, and 3 rows are rejected."),
    ],
)
def test_good_news_is_told_in_a_sentence(told, said):
    """Each combination reads as one."""
    text = message("acme", call(OK, summary={"rejected": 3}), told)["text"]
    assert text.startswith(f"backfill sync acme {said} ")


def pipeline(folder, table: str) -> Pipeline:
    """A pipeline that tells somebody."""
    path = folder / "pipeline.toml"
    path.write_text(
        f'name = "acme"\n[notify]\n{table}\n[[source]]\nkind = "customers"\nfiles = ["c.csv"]\n'
        'identifier = { id = "id" }\n'
    )
    return Pipeline.load(path)


def test_nobody_is_told_of_what_is_not_asked_for(tmp_path):
    """By default, success is no news; no connection is made."""
    given_ = pipeline(tmp_path, 'webhook_env = "HOOK"')
    assert notify(given_, call(OK), None, {"HOOK": "http://127.0.0.1:9/"}) == ""


def test_a_webhook_that_the_environment_lacks_is_named(tmp_path):
    """By its variable; there is nothing else to name."""
    given_ = pipeline(tmp_path, 'webhook_env = "HOOK"')
    assert notify(given_, call(GUARD), None, {}) == "HOOK is not set"
