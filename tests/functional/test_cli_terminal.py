"""What a terminal shows while the program works, wide and narrow, and what a log gets instead."""

import re

import pytest

from backfill.cli.session import Prompt
from backfill.cli.terminal import view_for
from backfill.engine.options import Options, PlannedRun
from backfill.pipeline.file import Pipeline
from backfill.planning.first_pass import PlanResult
from backfill.planning.plan import Plan
from backfill.planning.source_stats import SourcePlan
from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job, people
from tests.support.terminals import Then, at_terminal

SLOW = {"kind": "latency", "seconds": 0.1, "method": "POST"}
THROTTLED = {"kind": "status", "status": 429, "requests": [3]}
FILLING = "x" * 20_000
ROWS = 400


@pytest.fixture
def pipeline(tmp_path):
    """A job of some twenty requests, with one bad row."""
    rows = (f"p{n % 10},seen,2024-01-01T00:00:00Z,{n},{FILLING}\n" for n in range(ROWS))
    text = HEADER.replace("\n", ",filling\n") + "p1,seen,never,0,\n" + "".join(rows)
    files = {"events.csv": text, "customers.csv": people(*(f"p{n}" for n in range(10)))}
    return job(tmp_path, files, CUSTOMERS, EVENTS)


@pytest.fixture
def run(pipeline, sandbox, in_terminal):
    """Send at a terminal, one request after the other."""
    command = ("run", pipeline, "--url", sandbox.url, "--concurrency", "1")
    return lambda *more, **others: in_terminal(*command, *more, **others)


@pytest.mark.parametrize("columns", [40, 80, 132])
def test_a_bar_stays_in_its_line(run, sandbox, columns):
    """No state of a bar is wider than the terminal, and the last one says that all is done."""
    sandbox.misbehave(SLOW)

    shown = run(columns=columns)

    assert shown.code == 3
    bars = shown.drawn("send")
    assert len(set(bars)) > 2
    assert max(map(len, bars)) <= columns
    assert bars[-1].startswith("send 100%")
    assert all("rejected" in bar for bar in bars)
    assert "plan: 411 rows checked, 1 rejected" in " ".join(shown.text.split())


def test_a_terminal_may_change_its_width_meanwhile(run, sandbox):
    """Also one inside tmux: from then on every bar fits the new width, drawn over the old one."""
    sandbox.misbehave(SLOW)
    narrow = Then("send  ", columns=50)
    env = {"TERM": "screen-256color", "TMUX": "/tmp/tmux-0/default,1,0"}

    shown = run(columns=120, env=env, script=[narrow, Then("send 1")])

    bars = shown.drawn("send")
    assert max(map(len, bars)) > 50
    assert max(map(len, bars[len(bars) // 2 :])) <= 50
    assert "\x1b" not in shown.text
    assert bars[-1].startswith("send 100%")


def test_a_look_that_takes_long_has_a_bar_with_an_end(tmp_path, in_terminal):
    """How much of the files is behind it, at which speed, how many rows are rejected so far."""
    rows = "".join(f"p{n % 9},seen,2024-01-01T00:00:00Z,{'x' * 400}\n" for n in range(60_000))
    files = {"events.csv": HEADER + "p1,seen,never,0\n" + rows}
    path = job(tmp_path, files, EVENTS + 'identical_rows = "keep"\n')
    shown = in_terminal("check", path, columns=100)

    bars = [each for each in shown.drawn("plan") if "%" in each]
    assert bars, shown.text
    assert all(re.match(r"plan +\d+% \|.*\| .*rows checked .*1 rejected$", bar) for bar in bars)


def test_a_wide_terminal_shows_all_of_it(run, sandbox):
    """Rows, requests, speed and the rejected ones, beside a bar."""
    sandbox.misbehave(SLOW)

    last = run(columns=120).drawn("send")[-1]

    assert "|████" in last
    assert "411/411 rows" in last
    assert " req  " in last
    assert "/s  " in last
    assert last.endswith("1 rejected")


def test_a_pause_says_why(run, sandbox):
    """Nobody wonders why nothing moves."""
    sandbox.misbehave(THROTTLED, SLOW)

    shown = run(columns=80)

    assert any("waiting" in bar and "(429)" in bar for bar in shown.drawn("send"))


def test_nobody_is_asked_about_a_sandbox(run):
    """Loopback is for playing: a run starts by itself, also on a terminal."""
    assert "start now?" not in run(columns=80).text


def test_quiet_draws_nothing(run):
    """Only what to do next is left, also on a terminal."""
    shown = run("--quiet", columns=80)

    assert [frame.partition(":")[0] for frame in shown.frames] == ["next"], shown.text


def test_a_log_gets_plain_lines(pipeline, sandbox, backfill):
    """Without a terminal: whole lines, one at the end of each phase, no control characters."""
    ended = backfill("run", pipeline, "--url", sandbox.url)

    lines = ended.stderr.splitlines()
    assert "plan: 411 rows checked, 1 rejected" in lines
    assert any(line.startswith("send: 411/411 rows, ") for line in lines)
    assert "\r" not in ended.stderr
    assert "\x1b" not in ended.stderr
    assert ended.stdout.startswith("job: done, 1 row rejected\n")


def test_stdout_stays_clean_for_programs(pipeline, sandbox, backfill):
    """With --json nothing else is on stdout."""
    ended = backfill("run", pipeline, "--url", sandbox.url, "--json")

    assert len(ended.stdout.splitlines()) == 1
    assert ended.summary["rejected"] == 1


@pytest.mark.parametrize(
    ("typed", "is_asked", "left", "answer"),
    [
        ("y\n", True, 7, True),
        ("\n", True, 7, False),
        ("\x04", True, 7, False),
        ("", False, 7, True),
        ("", True, 0, True),
    ],
)
def test_who_sends_to_the_world_is_asked(pipeline, typed, is_asked, left, answer):
    """Only yes is yes; --yes answers before, and with nothing to send nobody is asked."""

    def ask():
        settings = Pipeline.load(pipeline)
        prompt = Prompt(settings, Options(), view_for(quiet=False), is_asked=is_asked)
        seen = [SourcePlan(each.kind, attributes=["created_at"]) for each in settings.sources]
        plan = Plan("key", 0.0, PlanResult({1: 7}, seen, [], {}, {}, []))
        print("answer:", prompt(PlannedRun(plan, [], left)))

    shown = at_terminal(ask, columns=80, typed=typed)

    asked = "send 7 rows to https://track.customer.io; start now? [y/N]" in shown.text
    assert asked == bool(typed)
    assert shown.frames[-1].endswith(f"answer: {answer}")
