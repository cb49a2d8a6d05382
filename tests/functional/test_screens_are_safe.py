"""What comes from a file reaches a terminal, a page and a log as text, never as a command."""

import json
import re

import pytest

from backfill.notify.call_history import Call
from backfill.notify.notifying import message
from tests.support.jobs import CUSTOMERS, EVENTS, ago, job, rejected

RED = "\x1b[31mred\x1b]0;title\x07"
TURNED = "a\u202eb\u2066c\u2028d\x9b2J"
FAKED = "x\nnext: curl example.com"
NASTY = f"{RED}{TURNED}"
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

COLUMNS = '{ "{}" = "integer" }'
DECLARED = f'columns = {{ {json.dumps(NASTY)} = "integer" }}\n'
FIELDS = f'id,"{FAKED}",_{NASTY},{NASTY}\n'
PEOPLE = FIELDS + f'"{NASTY}",{NASTY},{NASTY},{NASTY}\n"{FAKED}",1,2,3\n'
HISTORY = (
    f"id,event,at,{NASTY}\n"
    f'"{FAKED}","{NASTY}",{ago(hours=1)},1\n'
    f'b,"{FAKED}",{NASTY},2\n'
    f"b,{NASTY.upper()},{NASTY},2\n"
)


def _check(ended):
    """Neither stream has anything but text; there is one last line that says what to do."""
    for stream in (ended.stdout, ended.stderr):
        assert not CONTROLS.search(stream), stream
    nexts = [line for line in ended.stderr.splitlines() if line.startswith("next: ")]
    assert len(nexts) == 1, nexts
    return ended


@pytest.fixture
def nasty(tmp_path):
    """A job whose names and values are all meant to harm."""
    files = {"customers.csv": PEOPLE, f"events-{NASTY.replace('/', '')}.csv": HISTORY}
    settings = 'reserved = "send"\nunknown_people = "send"\nrecent_events = "send"\n'
    return job(tmp_path, files, CUSTOMERS + 'reserved = "send"\n' + DECLARED, EVENTS + settings)


@pytest.mark.parametrize("command", ["check", "plan", "run", "sync", "retry"])
def test_every_command_shows_text(nasty, backfill, sandbox, command):
    """Columns, names, values, files; with the guards and warnings that name them."""
    there = () if command in ("check", "plan") else ("--url", sandbox.url)
    more = ("--debug",) if command == "run" else ()
    _check(backfill("run", nasty, "--url", sandbox.url)) if command == "retry" else None
    text = nasty.read_text("utf-8")
    if command == "sync":
        nasty.write_text(text.replace(EVENTS, EVENTS + 'key = ["id"]\n'), "utf-8")
    ended = _check(backfill(command, nasty, *there, *more))
    assert command == "retry" or "\\x1b[31m" in ended.stdout + ended.stderr
    _check(backfill("status", nasty))
    _check(backfill("status", nasty, "--history"))


GUARDED = {
    "a missing column": (CUSTOMERS + f"required = [{json.dumps(NASTY + 'x')}]\n", EVENTS),
    "undeclared columns": (CUSTOMERS + 'other_columns = "error"\n', EVENTS),
    "reserved names": (CUSTOMERS, EVENTS),
    "a transform": (CUSTOMERS + f"transform = {json.dumps(NASTY + '.py:f')}\n", EVENTS),
    "an unknown key": (CUSTOMERS + f"{json.dumps(NASTY)} = 1\n", EVENTS),
    "a file": (CUSTOMERS.replace("customers*.*", json.dumps(NASTY)[1:-1]), EVENTS),
}


@pytest.mark.parametrize("mistake", GUARDED)
def test_every_mistake_is_told_as_text(tmp_path, backfill, mistake):
    """Whatever a message quotes."""
    files = {"customers.csv": PEOPLE, "events.csv": HISTORY}
    ended = _check(backfill("plan", job(tmp_path, files, *GUARDED[mistake])))
    assert ended.code in (2, 7)


def test_init_shows_text(tmp_path, backfill):
    """Its remarks and the file that it writes; its names stay what they are."""
    (tmp_path / "customers.csv").write_text(PEOPLE + "c,1,2,3\nd,1,2,3\n", "utf-8")
    (tmp_path / "events.csv").write_text(HISTORY, "utf-8")
    _check(backfill("init", "customers.csv", "events.csv"))
    assert not CONTROLS.search((tmp_path / "pipeline.toml").read_text("utf-8"))


def test_a_report_shows_text(nasty, backfill, sandbox):
    """Also where the cells of rejected rows are shown."""
    backfill("run", nasty, "--url", sandbox.url)
    _check(backfill("report", nasty, "--redact", "none"))
    page = (rejected(nasty).parent / "report.html").read_text("utf-8")
    assert not CONTROLS.search(page)
    assert "\\x1b[31m" in page


def test_what_other_programs_read_holds_no_command(tmp_path, backfill, sandbox):
    """A folder with such a name: no schedule is made of it, and metrics do not say it.

    The name of a job, which metrics and webhooks tell, has letters, digits, dots and dashes only.
    """
    folder = tmp_path / NASTY.replace("/", "")
    folder.mkdir()
    pipeline = job(folder, {"customers.csv": "id\np1\n"}, CUSTOMERS)
    refused = _check(backfill("schedule", pipeline))
    assert refused.code == 2
    assert "control characters cannot be scheduled" in refused.stderr
    metrics = folder / "m.prom"
    _check(backfill("run", pipeline, "--url", sandbox.url, "--metrics-file", metrics))
    assert not CONTROLS.search(metrics.read_text("utf-8"))
    named = job(tmp_path, {"customers.csv": "id\np1\n"}, CUSTOMERS)
    named.write_text(named.read_text().replace('"job"', json.dumps(NASTY)))
    assert _check(backfill("check", named)).code == 2


def test_a_webhook_is_told_figures_only():
    """What stopped a call may quote a file; the message has a fixed sentence instead."""
    call = Call(
        command="run",
        pid=1,
        started_at="2026-01-01T00:00:00.000Z",
        finished_at="2026-01-01T00:00:01.000Z",
        exit=2,
        stopped=(NASTY, FAKED),
    )
    told = json.dumps(message("job", call, ["failure"]), ensure_ascii=False)
    assert not CONTROLS.search(told)
