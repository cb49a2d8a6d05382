"""State in a bucket: pods without a disk go on where others were killed; one runs, never two."""

import os
import random
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backfill import Pipeline
from backfill.commands.report import report
from backfill.commands.run import run
from backfill.engine.options import Options
from tests.support import stores
from tests.support.checker import check
from tests.support.jobs import AGES, EVENTS, job, numbered
from tests.support.programs import until
from tests.support.worlds import invent

ENV = stores.ENVIRONMENT
PACE = (0.25, 1.2, 1.6)
"""Beats, the end of sending and takeover, in seconds: a fortieth of what users have."""


@pytest.fixture(scope="module")
def s3():
    """A store for all tests of this file."""
    with stores.s3() as place:
        yield place


@pytest.fixture
def bucket(s3, request):
    """A folder of it where nothing is yet."""
    return s3.below(f"{request.node.name}/".replace("[", "-").replace("]", ""))


def elsewhere(place) -> tuple[str, str]:
    """The lines of a pipeline file: at its top, and its storage."""
    return f'state = "{place.base}jobs"', f"[storage]\n{place.settings}\n"


def test_a_job_goes_on_from_another_machine(tmp_path, bucket, send, sandbox):
    """No disk is shared: what the first machine sent is not sent again by the second."""
    top, storage = elsewhere(bucket)
    machines = [tmp_path / "first", tmp_path / "second"]
    for each in machines:
        each.mkdir()
        job(each, {"events.csv": numbered(20)}, storage, EVENTS, top=top)

    first = send(machines[0] / "pipeline.toml", env=ENV, pace=PACE)
    second = send(machines[1] / "pipeline.toml", env=ENV, pace=PACE)

    assert (first.code, second.code) == (0, 0)
    assert first.summary["delivered"] == second.summary["delivered"] == 20
    assert second.summary["this_run"]["delivered"] == 0
    assert len(sandbox.events()) == 20
    assert not list(tmp_path.rglob(".backfill"))


def test_the_folder_may_have_any_name_that_a_console_takes(tmp_path, bucket, send, backfill):
    """Spaces and letters of any language; what cannot be asked for is refused with its reason."""
    top, storage = elsewhere(bucket)
    files = {"events.csv": numbered(2)}
    path = job(tmp_path, files, storage, EVENTS, top=top.replace("jobs", "Aufträge der Nacht/"))
    for _ in range(2):
        ended = send(path, env=ENV, pace=PACE)
        assert ended.code == 0, ended.stderr
    assert bucket.get("Aufträge der Nacht/job/summary.json")

    for folder, why in (
        ("a?b", "has a ?"),
        ("a#b", "a #"),
        ("a/../b", "dotted"),
        ("a//b", "empty"),
    ):
        refused = backfill("check", job(tmp_path, files, EVENTS, top=top.replace("jobs", folder)))
        assert (refused.code, why in refused.stderr) == (2, True), refused.stderr


def test_folders_that_a_console_made_do_not_hinder_a_job(tmp_path, bucket, send, sandbox):
    """An object without bytes whose name ends with a slash: for the job, and for each folder."""
    top, storage = elsewhere(bucket)
    pipeline = job(tmp_path, {"events.csv": numbered(20)}, storage, EVENTS, top=top)
    name = "jobs/job/"

    def mark(*folders: str) -> None:
        for each in folders:
            bucket.put(f"{name}{each}", b"")

    mark("", "state/", "plan/")
    first = send(pipeline, env=ENV, pace=PACE)
    mark("history/", "state/1.1/")
    second = send(pipeline, env=ENV, pace=PACE)

    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    assert second.summary["this_run"]["delivered"] == 0
    assert len(sandbox.events()) == 20


KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("SEED", "7"))
ROWS_A_KILL = 1_500
FILLING_BYTES = 2_000
LATENCY_S = 0.1


def test_pods_that_are_killed_again_and_again(
    tmp_path, bucket, start_sending, sandbox, record_property
):
    """SIGKILL at any moment, an empty disk at each start: nothing lost, nothing twice."""
    world = invent(
        tmp_path, SEED, people=100, events=KILLS * ROWS_A_KILL, filling_bytes=FILLING_BYTES
    )
    top, storage = elsewhere(bucket)
    text = world.pipeline.read_text("utf-8")
    world.pipeline.write_text(f"{top}\n{text}\n{storage}", "utf-8")
    sandbox.misbehave({"kind": "latency", "seconds": LATENCY_S, "method": "POST"}, seed=SEED)

    def started():
        disk = tmp_path / "disk"
        shutil.rmtree(disk, ignore_errors=True)
        disk.mkdir()
        env = {**ENV, "TMPDIR": str(disk)}
        return start_sending(world.pipeline, "--concurrency", "2", env=env, pace=PACE)

    said, kills = _killed(started, sandbox, random.Random(SEED))
    while (done := started().ended(120)).code == 75:
        said.append(done.stderr)
    said.append(done.stderr)

    left = Path(tmp_path / "results")
    left.mkdir()
    with_rejections = done.summary["rejected"] > 0
    for name in ["rejected.jsonl"] * with_rejections:
        (left / name).write_bytes(bucket.get(f"jobs/world-{SEED}/{name}"))
    arrived = check(world, sandbox, done.summary, left, forgetful=True)
    announced = [_may_repeat(each) for each in said]
    sent_twice = arrived["event duplicate"] + arrived["identify applied"] - len(world.people)
    record_property("kills of pods", len(kills))
    record_property("kills of pods with rows in flight", sum(map(bool, announced)))
    record_property("rows sent twice after the kill of a pod", sent_twice)
    assert sent_twice <= sum(announced)
    assert sum(map(bool, announced)) > KILLS / 2, "too few kills while rows were in flight"
    assert all("taken over from" in said[at] for at in kills)


def _killed(started, sandbox, dice):
    """Runs that are killed; gives what each has said, and how many there were at each kill."""
    said: list[str] = []
    kills: list[int] = []
    while len(kills) < KILLS:
        wanted = sandbox.stats()["requests"] + dice.randrange(1, 12)
        command = started()
        until(lambda n=wanted, its=command: sandbox.stats()["requests"] >= n or not its.state)
        time.sleep(dice.uniform(0.0, LATENCY_S))
        ended = command.kill()
        said.append(ended.stderr)
        if ended.code == -9:
            kills.append(len(said))
        else:  # on a full machine the lock may be written too late: then a run stops by itself
            assert (ended.code, "could not be written for" in ended.stderr) == (75, True), ended
    return said, kills


def _may_repeat(said):
    """How many rows a start told of that may be sent twice."""
    found = re.search(r"up to ([\d,]+) rows may be sent twice", said)
    return int(found[1].replace(",", "")) if found else 0


def test_python_asks_for_a_bucket_as_the_command_line_does(tmp_path, bucket, sandbox, monkeypatch):
    """`state_dir` takes a URL; restarted, the job forgets what lies there."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    file = job(tmp_path, {"events.csv": numbered(20)}, elsewhere(bucket)[1], EVENTS)
    pipeline = Pipeline.load(file)
    options = Options(state_dir=f"{bucket.base}jobs", url=sandbox.url, rate=0.0)

    sent = [run(pipeline, each) for each in (options, options, replace(options, restart=True))]
    summary, path = report(pipeline, options.state_dir)

    assert [each.this_run.delivered for each in sent] == [20, 0, 20]
    assert summary.delivered == 20
    assert not path.exists(), "the folder is gone with the call"
    assert b"<html" in bucket.get("jobs/job/report.html")
    assert not (tmp_path / ".backfill").exists()


@pytest.mark.parametrize(
    "place",
    [
        *("https://acme.example/jobs", "s3://", "s3://user:key@acme/jobs"),
        *("S3://acme/jobs", "file:///jobs", "sftp://acme/jobs"),
    ],
)
def test_a_place_that_keeps_nothing_is_refused(tmp_path, backfill, place):
    """2, by the key that says it, or by the option; a secret in it is not repeated."""
    pipeline = job(tmp_path, {"events.csv": numbered(2)}, EVENTS, top=f'state = "{place}"')
    by_file = backfill("check", pipeline)
    pipeline = job(tmp_path, {"events.csv": numbered(2)}, EVENTS)
    by_option = backfill("check", pipeline, "--state-dir", place)

    for ended in (by_file, by_option):
        assert ended.code == 2, ended.stderr
        assert "is no bucket" in ended.stderr
        assert "user:key" not in ended.stderr
    assert "state: " in by_file.stderr
    assert "--state-dir: " in by_option.stderr


def machine(tmp_path, bucket, name: str, files, *tables: str) -> Path:
    """A folder of its own with the same pipeline; gives the pipeline file."""
    folder = tmp_path / name
    folder.mkdir()
    top, storage = elsewhere(bucket)
    return job(folder, files, storage, *tables, top=top)


def test_status_report_retry_and_sync_work_from_another_machine(
    tmp_path, bucket, send, backfill, sandbox
):
    """Rejected rows are corrected in the bucket; what a night knows, the next one knows."""
    files = {"customers.csv": "id,age\na,1\nb,old\n"}
    here = machine(tmp_path, bucket, "here", files, AGES)
    there = machine(tmp_path, bucket, "there", files, AGES)
    first = send(here, env=ENV, pace=PACE)
    assert first.code == 3
    address = f"{bucket.base}jobs/job/rejected.csv"
    assert f"fix the rows in {address}, then: backfill retry" in first.next_step

    told = backfill("status", there, "--json", cwd=there.parent, env=ENV).summary
    listed = backfill(
        "status",
        "--state-dir",
        f"{bucket.base}jobs",
        cwd=tmp_path,
        env={**ENV, "AWS_ENDPOINT_URL": bucket.settings.split('"')[1]},
    )
    history = backfill("status", there, "--history", cwd=there.parent, env=ENV)
    report = backfill("report", there, "--json", cwd=there.parent, env=ENV, pace=PACE).summary
    fixed = bucket.get("jobs/job/rejected.csv").replace(b"old", b"2")
    bucket.put("jobs/job/rejected.csv", fixed)
    retried = send(there, address, env=ENV, pace=PACE, command="retry")
    (there.parent / "customers.csv").write_text("id,age\na,1\nb,2\nc,3\n")
    synced = send(there, env=ENV, pace=PACE, command="sync")

    assert [each["state"] for each in told["jobs"]] == ["finished"]
    assert told["jobs"][0]["rejected"] == 1
    assert "job  finished" in listed.stdout
    assert "run" in history.stdout
    assert Path(report["report"]).read_text("utf-8").count("<html") == 1
    assert retried.code == 0, retried.stderr
    # Whoever a retry has sent is sent once more by the next sync, wherever the state is.
    assert (synced.summary["this_run"]["delivered"], synced.summary["skipped"]) == (2, 1)
    assert sandbox.people().keys() == {"a", "b", "c"}
    assert "backfill-" not in first.stderr + first.stdout + retried.stderr + synced.stderr


def test_whom_a_job_created_is_told_on_another_machine(tmp_path, bucket, send, backfill, sandbox):
    """Who was looked for lies in the bucket; the pipeline that deletes them comes here."""
    table = '[[source]]\nkind = "customers"\nfiles = ["customers.csv"]\n'
    table += 'identifier = { email = "email" }\n'
    top, storage = elsewhere(bucket)
    files = {"customers.csv": "email,n\na@x.com,1\nb@x.com,2\n"}
    here, there = (tmp_path / each for each in ("here", "there"))
    for each in (here, there):
        each.mkdir()
        job(each, files, f"{storage}[import]\nundo = true\n", table, top=top)
    assert send(here / "pipeline.toml", env=ENV, pace=PACE).code == 0

    told = backfill("report", there / "pipeline.toml", "--undo", "--json", env=ENV, pace=PACE)

    undo = there / ".backfill/job/undo/undo.toml"
    assert told.code == 0, told.stderr
    assert (told.summary["people"], told.summary["undo"]) == (2, str(undo))
    assert "undo.toml" in told.next_step
    assert "backfill-" not in told.stderr + told.stdout
    assert send(undo).code == 0
    assert sandbox.people() == {}


@pytest.mark.sends_together("only one of them sends")
def test_of_two_starts_one_wins_and_a_look_shows_which(
    tmp_path, bucket, start_sending, backfill, sandbox
):
    """The other one exits with 6 and names the first, which is shown as running meanwhile."""
    sandbox.misbehave({"kind": "status", "status": 429, "retry_after": "1", "method": "POST"})
    files = {"events.csv": numbered(20)}
    machines = [machine(tmp_path, bucket, each, files, EVENTS) for each in ("a", "b")]
    commands = [start_sending(each, env=ENV, pace=PACE) for each in machines]
    until(lambda: sandbox.stats()["requests"] > 1)
    shown = until(lambda: _running(backfill, machines[0]))
    sandbox.misbehave()
    ended = sorted((each.ended() for each in commands), key=lambda each: each.code)

    assert [each.code for each in ended] == [0, 6]
    assert "the job is being run by process" in ended[1].stderr
    assert shown["rows_total"] == 20
    assert len(sandbox.events()) == 20


def _running(backfill, pipeline):
    told = backfill("status", pipeline, "--json", cwd=pipeline.parent, env=ENV).summary["jobs"]
    return next((each for each in told if each["state"] in ("running", "paused")), None)


@pytest.mark.sends_together("only one of them sends")
def test_one_of_five_takes_over_from_a_killed_pod(tmp_path, bucket, start_sending, sandbox):
    """They wait until it was silent for long enough; then one goes on, and four exit with 6."""
    sandbox.misbehave({"kind": "latency", "seconds": 1.0, "method": "POST"})
    files = {"events.csv": numbered(20)}
    machines = [machine(tmp_path, bucket, f"pod-{n}", files, EVENTS) for n in range(6)]
    disk = {**ENV, "TMPDIR": str(tmp_path)}  # a killed pod tidies nothing up
    first = start_sending(machines[0], env=disk, pace=PACE)
    until(lambda: sandbox.stats()["requests"] > 1)
    killed_s = time.monotonic()
    first.kill()

    five = [start_sending(each, env=ENV, pace=PACE) for each in machines[1:]]
    ended = sorted((each.ended() for each in five), key=lambda each: each.code)

    assert [each.code for each in ended] == [0, 6, 6, 6, 6], [each.stderr for each in ended]
    assert "taken over from process" in ended[0].stderr
    assert "up to 20 rows may be sent twice" in ended[0].stderr
    assert time.monotonic() - killed_s > PACE[2]
    assert len(sandbox.events()) == 20


@pytest.mark.sends_together("one goes on where the other was stopped")
def test_whoever_is_taken_over_stops_sending(tmp_path, bucket, start_sending, sandbox):
    """A pod that slept too long wakes up, finds its lock taken, and exits with 6."""
    sandbox.misbehave({"kind": "latency", "seconds": 0.5, "method": "POST"})
    files = {"events.csv": numbered(20_000)}
    machines = [machine(tmp_path, bucket, each, files, EVENTS) for each in ("a", "b")]
    asleep = start_sending(machines[0], "--concurrency", "1", env=ENV, pace=PACE)
    until(lambda: sandbox.stats()["requests"] > 2)
    asleep.signal(signal.SIGSTOP)
    other = start_sending(machines[1], env=ENV, pace=PACE)
    until(lambda: "taken over from" in other.stderr())
    asleep.signal(signal.SIGCONT)
    stopped, done = asleep.ended(), other.ended()

    assert (stopped.code, done.code) == (6, 0), stopped.stderr + done.stderr
    assert "the lock was taken over by process" in stopped.stderr
    assert len(sandbox.events()) == 20_000
    assert done.summary["delivered"] == 20_000


def test_a_store_that_is_out_for_too_long_stops_the_run(tmp_path, bucket, start_sending, sandbox):
    """75, before anybody else may take over; the next start goes on, and says what may repeat."""
    sandbox.misbehave({"kind": "latency", "seconds": 0.6, "method": "POST"})
    files = {"events.csv": numbered(20_000)}
    with stores.between(bucket) as (proxy, seen):
        there = machine(tmp_path, seen, "there", files, EVENTS)
        run = start_sending(there, "--concurrency", "1", env=ENV, pace=PACE)
        until(lambda: sandbox.stats()["requests"] > 2)
        proxy.fault = lambda _: stores.SLOW_DOWN
        stopped = run.ended()
        proxy.fault = None
        done = start_sending(there, env=ENV, pace=PACE).ended()

    assert (stopped.code, done.code) == (75, 0), stopped.stderr + done.stderr
    assert "and after 2 s another run may take over: nothing more is sent" in stopped.stderr
    assert 0 < stopped.summary["delivered"] < 20_000
    assert "may be sent twice" in done.stderr
    assert len(sandbox.events()) == 20_000
