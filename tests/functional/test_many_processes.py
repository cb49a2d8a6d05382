"""`--workers` and `--cluster`: the same result with more processes, and what ends them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backfill.cluster.senders import LEASE_S
from tests.support.checker import check_law
from tests.support.deliveries import worst_second
from tests.support.jobs import EVENTS, HEADER, job, numbered
from tests.support.nights import Nights
from tests.support.programs import children, stat_of, until

ROOT = Path(__file__).parent.parent.parent
ROWS = 9_000
REQUESTS = 400
TWO = ("--workers", "2")


@pytest.fixture
def large(tmp_path):
    """A job of several requests, a few rows of it bad."""
    rows = (f"p{n % 9},seen,{'never' if n % 999 == 5 else '2025-01-01'},{n}\n" for n in range(ROWS))
    return job(tmp_path, {"events.csv": HEADER + "".join(rows)}, EVENTS)


def _live(workers):
    return [pid for pid in workers if stat_of(pid)[0] != "Z"]


def test_workers_send_the_same_events_and_reject_the_same_rows(large, send, sandbox):
    """With the same ids: what came from two processes more is what had come from one."""
    one = send(large)
    rejected = (large.parent / ".backfill/job/rejected.csv").read_bytes()
    two = send(large, *TWO, "--restart")
    assert (one.code, two.code) == (3, 3)
    for figure in ("delivered", "rejected", "rejections_by_reason", "requests", "bytes_sent"):
        assert one.summary[figure] == two.summary[figure]
    assert (large.parent / ".backfill/job/rejected.csv").read_bytes() == rejected
    stats = sandbox.stats()
    assert stats["events"] == one.summary["delivered"]
    assert stats["event_arrivals"] == 2 * stats["events"]


def test_workers_end_with_the_process_that_started_them(large, start, send, sandbox):
    """Killed, it takes them with it; the next start, without any, sends the rest."""
    sandbox.misbehave({"kind": "latency", "seconds": 0.4, "method": "POST"})
    command = start("run", large, "--url", sandbox.url, *TWO, "--concurrency", "1", "--json")
    until(lambda: sandbox.stats()["operations"])
    workers = children(command.pid)
    assert len(workers) == 2
    command.kill()
    until(lambda: not _live(workers), timeout_s=2)
    sandbox.misbehave()
    done = send(large)
    assert done.code == 3
    assert sandbox.stats()["events"] == done.summary["delivered"]


def test_ctrl_c_at_all_processes_ends_the_run_in_order(large, start, send, sandbox):
    """A terminal tells the workers too: it is the driver that stops."""
    sandbox.misbehave({"kind": "latency", "seconds": 0.4, "method": "POST"})
    command = start("run", large, "--url", sandbox.url, *TWO, "--concurrency", "1", "--json")
    until(lambda: sandbox.stats()["operations"])
    workers = children(command.pid)
    assert len(workers) == 2
    for pid in (*workers, command.pid):
        os.kill(pid, signal.SIGINT)
    stopped = command.ended()
    assert stopped.code == 130
    assert "Traceback" not in stopped.stderr
    assert "distributed" not in stopped.stderr
    assert not _live(workers)
    sandbox.misbehave()
    assert send(large).summary["delivered"] == sandbox.stats()["events"]


@pytest.fixture
def many_requests(tmp_path):
    """A job in which each row is a request."""
    return job(tmp_path, {"events.csv": numbered(REQUESTS)}, '[destination]\napi = "v1"', EVENTS)


@pytest.mark.sends_together("what a killed worker had in hand is sent by another")
def test_workers_that_are_killed_while_they_send_lose_nothing(
    many_requests, start_sending, backfill, sandbox
):
    """One, then all at once: others send what is left, each event is there once."""
    sandbox.misbehave({"kind": "latency", "seconds": 0.1, "method": "POST"})
    command = start_sending(many_requests, *TWO, "--concurrency", "10")
    for done, count in ((50, 1), (150, 2)):
        until(lambda done=done: sandbox.stats()["events"] >= done)
        told = backfill("status", many_requests)
        assert len(re.findall(r"worker tls://\S+: \d+ requests, ", told.stdout)) >= 2
        for pid in children(command.pid)[:count]:
            os.kill(pid, signal.SIGKILL)
    ended = command.ended()
    assert ended.code == 0, ended.stderr
    check_law(ended.summary)
    assert ended.summary["delivered"] == sandbox.stats()["events"] == REQUESTS
    assert sandbox.stats()["event_arrivals"] <= REQUESTS + 2 * 10
    said = json.loads((many_requests.parent / ".backfill/job/status.json").read_text())
    assert len(said["workers"]) >= 2
    report = (many_requests.parent / ".backfill/job/report.html").read_text()
    assert all(each["address"] in report for each in said["workers"])
    # Where both were dead the driver sent.
    assert sum(each["requests"] for each in said["workers"]) >= 150


@pytest.mark.sends_together("what a worker had in hand when it was stopped is sent by another")
def test_a_worker_that_stands_still_for_long_breaks_no_limit(many_requests, start, sandbox):
    """Longer than a lease: others send, at the rate; when it goes on it sends nothing of before."""
    command = start(*("run", many_requests, "--url", sandbox.url, *TWO, "--rate", "50", "--json"))
    until(lambda: sandbox.stats()["events"] >= 50)
    stopped = children(command.pid)[0]
    os.kill(stopped, signal.SIGSTOP)
    before = sandbox.stats()["events"]
    until(lambda: sandbox.stats()["events"] >= before + 50 * (LEASE_S + 1))
    os.kill(stopped, signal.SIGCONT)
    ended = command.ended()
    assert ended.code == 0, ended.stderr
    assert ended.summary["delivered"] == sandbox.stats()["events"] == REQUESTS
    assert worst_second([each["received_s"] for each in sandbox.arrivals()]) <= 55


@pytest.mark.parametrize(
    ("seconds", "fault", "code"),
    [
        (0, {}, 143),
        (3, {}, 75),
        (0, {"kind": "unauthorized", "from_request": 60}, 4),
    ],
)
def test_whatever_stops_a_run_drains_its_workers(
    many_requests, start_sending, send, sandbox, seconds, fault, code
):
    """What they have begun is settled; nothing is in doubt, and the next start sends the rest."""
    slow = {"kind": "latency", "seconds": 0.1, "method": "POST"}
    sandbox.misbehave(slow, *([fault] if fault else []))
    stopped = None
    while stopped is None or (seconds and not stopped.summary["delivered"]):
        for_s = ["--for", f"{seconds}s"] if seconds else []
        command = start_sending(many_requests, *TWO, "--concurrency", "4", *for_s)
        if code == 128 + signal.SIGTERM:
            until(lambda: sandbox.stats()["events"] >= 20)
            command.signal(signal.SIGTERM)
        stopped = command.ended()
        assert stopped.code == code, stopped.stderr
        seconds *= 3  # on a busy machine it ends before the workers are there
    check_law(stopped.summary)
    assert 0 < stopped.summary["delivered"] == sandbox.stats()["events"] < REQUESTS
    sandbox.misbehave()
    done = send(many_requests)
    assert done.summary["delivered"] == sandbox.stats()["event_arrivals"] == REQUESTS


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--workers", "0"], 2, "or auto"),
        (["--workers", "many"], 2, "or auto"),
        (["--scratch", "here"], 2, "--workers"),
        (["--cluster", "tcp://127.0.0.1:1"], 2, "--scratch"),
        (["--cluster", "tcp://127.0.0.1:1", "--scratch", "https://b/c"], 2, "s3://BUCKET"),
        (["--cluster", "nowhere://x", "--scratch", "here"], 2, "no address"),
        (["--cluster", "tcp://127.0.0.1:1", "--scratch", "here", *TWO], 2, "exclude"),
    ],
)
def test_workers_that_cannot_be_had(large, backfill, options, code, said):
    """What is asked for wrongly, or does not answer, is said before a row is read."""
    ended = backfill("check", large, *options)
    assert ended.code == code, ended.stderr
    assert said in ended.stderr


def test_nights_of_workers_leave_what_the_source_says(tmp_path, send, sandbox):
    """What a sync remembers was looked at by them, and decides what the next one sends."""
    nights = Nights(tmp_path)
    nights.first()
    assert send(nights.pipeline, *TWO, command="sync").code == 0
    nights.pass_by()
    done = send(nights.pipeline, *TWO, command="sync")
    assert done.code == 0, done.stderr
    assert done.summary["sources"][0]["deletes"] == 5
    nights.check(sandbox)


def test_the_example_runs_a_job_on_a_cluster_of_its_own(tmp_path, clean_env, sandbox):
    """With the outcome that one process has."""
    for name in ("pipelines", "sample_data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    command = [sys.executable, tmp_path / "pipelines/many_machines.py", sandbox.url]
    done = subprocess.run(command, env=clean_env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "rejected" in done.stdout.splitlines()[-1]
    assert sandbox.stats()["events"] > 100
    assert "Traceback" not in done.stderr


def test_the_demo_shows_two_workers(start):
    """With the rejections that it expects."""
    assert start("demo", *TWO, "--quiet").ended().code == 0
