"""The three calls of the library, from scripts and notebooks: also under a running event loop."""

import asyncio
import threading

import pytest

from backfill import Options, Pipeline, plan, run
from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job, people

BAD = "b,seen,never,3\n"


@pytest.fixture
def pipeline(tmp_path, sandbox):
    """A job of two people and three events, one of them ugly, toward the sandbox."""
    events = HEADER + "a,seen,2024-01-01,1\na,left,2024-01-02,2\n" + BAD
    there = f'[destination]\nurl = "{sandbox.url}"\n'
    return job(
        tmp_path,
        {"customers.csv": people("a", "b"), "events.csv": events},
        there,
        CUSTOMERS,
        EVENTS,
    )


def test_a_notebook_has_a_loop_that_runs_already(pipeline, sandbox):
    """plan() and run() are called in a coroutine, as in a cell, and give what they always give."""

    async def cell():
        loaded = Pipeline.load(pipeline)
        return plan(loaded), run(loaded)

    planned, summary = asyncio.run(cell())

    assert planned.plan.rows_read == 5
    assert planned.exit == summary.exit == 3
    assert (summary.delivered, summary.rejected) == (4, 1)
    assert sandbox.stats()["events"] == 2


def test_progress_is_told_in_plain_lines(pipeline, capsys):
    """`progress=print` shows whole lines, without control characters; nothing prints by itself."""
    planned = plan(Pipeline.load(pipeline), progress=print)
    summary = run(Pipeline.load(pipeline), progress=print)

    said = capsys.readouterr()
    assert said.err == ""
    assert "\r" not in said.out
    assert "\x1b" not in said.out
    lines = said.out.splitlines()
    assert lines[0] == "plan: 5 rows checked, 1 rejected"
    assert lines[-1].startswith("send: 5/5 rows, 2 requests, ")
    assert planned.plan.rows_read == summary.rows_read == 5


def test_without_progress_nothing_is_said(pipeline, capsys, tmp_path):
    """A library that nobody asked is silent, and leaves no thread behind; a path may be a text."""
    before = threading.active_count()
    run(Pipeline.load(str(pipeline)), Options(state_dir=str(tmp_path / "state")))

    assert (tmp_path / "state/job/report.html").exists()

    assert capsys.readouterr() == ("", "")
    assert threading.active_count() == before
