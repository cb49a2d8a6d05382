"""The history and the metrics file tell how every call ended, also those that were killed."""

import json
import stat

from tests.support.jobs import CUSTOMERS, EVENTS, job, numbered, people
from tests.support.programs import until


def history(backfill, pipeline) -> list[dict]:
    """The calls on a job, as `--json` has them."""
    (told,) = backfill("status", pipeline, "--history", "--json").summary["jobs"]
    return told["history"]


def test_every_call_is_in_the_history(tmp_path, backfill, sandbox):
    """What it was, how it ended, and its summary; of a refusal also the reason."""
    pipeline = job(tmp_path, {"customers.csv": people("a", "b") + ",x@y.zz\n"}, CUSTOMERS)
    backfill("run", pipeline, "--url", sandbox.url)
    backfill("retry", pipeline, "--url", sandbox.url)
    (tmp_path / "customers.csv").write_text(people("a"))
    backfill("run", pipeline, "--url", sandbox.url)

    calls = history(backfill, pipeline)

    assert [(each["command"], each["exit"]) for each in calls] == [
        ("run", 3),
        ("retry", 3),
        ("run", 5),
    ]
    assert calls[0]["summary"]["this_run"]["delivered"] == 2
    assert calls[0]["stopped"] == []
    assert "customers.csv" in calls[2]["stopped"][0]
    retry = backfill("status", pipeline).next_step.partition("then: ")[2]
    assert retry == f"backfill retry {pipeline} --url {sandbox.url}"
    shown = backfill("status", pipeline, "--history").stdout.splitlines()
    assert shown[0] == "job"
    assert [line.split()[2:4] for line in shown[2:5]] == [
        ["run", "3"],
        ["retry", "3"],
        ["run", "5"],
    ]


def test_a_killed_call_is_remembered_as_such(tmp_path, backfill, start, sandbox):
    """It began and never ended; the one after it did."""
    pipeline = job(tmp_path, {"events.csv": numbered(50_000)}, EVENTS)
    sandbox.misbehave({"kind": "latency", "seconds": 1.0, "method": "POST"})
    running = start("run", pipeline, "--url", sandbox.url)
    until(lambda: sandbox.fired()[0])
    assert [each["state"] for each in history(backfill, pipeline)] == ["running"]
    assert backfill("status").next_step == "wait until it has ended, or look again"
    running.kill()
    assert [each["state"] for each in history(backfill, pipeline)] == ["killed"]
    shown = backfill("status", "--history")
    assert "killed" in shown.stdout
    resume = f"resume: backfill run PIPELINE --url {sandbox.url}"
    assert shown.next_step == backfill("status").next_step == resume


def test_the_history_knows_of_a_killed_call_what_the_report_knows(
    tmp_path, backfill, start_sending, send, sandbox
):
    """From its status, as it was after its last commit; the next call keeps it."""
    pipeline = job(tmp_path, {"events.csv": numbered(400)}, '[destination]\napi = "v1"', EVENTS)
    sandbox.misbehave({"kind": "latency", "seconds": 0.1, "method": "POST"})
    running = start_sending(pipeline, "--concurrency", "4")
    status = tmp_path / ".backfill/job/status.json"
    until(lambda: status.exists() and json.loads(status.read_bytes())["delivered"] > 20)
    running.kill()
    last = json.loads(status.read_bytes())

    (killed,) = history(backfill, pipeline)
    assert killed["summary"]["this_run"]["delivered"] == last["delivered"] > 20
    sandbox.misbehave()
    assert send(pipeline).code == 0

    killed, ended = history(backfill, pipeline)
    assert killed["summary"]["this_run"]["delivered"] == last["delivered"]
    # The journal may have committed once more than the status says.
    assert 0 <= 400 - last["delivered"] - ended["summary"]["this_run"]["delivered"] <= 60
    rows = [line.split() for line in backfill("status", pipeline, "--history").stdout.splitlines()]
    assert rows[2][2:6] == ["run", "killed", str(last["delivered"]), str(last["delivered"])]


def test_the_history_outlives_a_restart_and_is_trimmed(tmp_path, backfill, sandbox):
    """`keep_runs` says how many."""
    pipeline = job(tmp_path, {"customers.csv": people("a")}, CUSTOMERS, top="keep_runs = 2")
    for _ in range(3):
        backfill("run", pipeline, "--url", sandbox.url, "--restart")
    assert len(history(backfill, pipeline)) == 2


def test_a_job_that_never_began_has_no_history(tmp_path, backfill):
    """And that is no error."""
    done = backfill("status", job(tmp_path, {}, CUSTOMERS), "--history")
    assert (done.code, done.stdout) == (0, "no jobs here yet\n")


def test_figures_are_written_at_every_end(tmp_path, backfill, sandbox):
    """For another user to read; a failure keeps the time of the last success."""
    pipeline = job(tmp_path, {"customers.csv": people("a", "b")}, CUSTOMERS)
    file = tmp_path / "backfill.prom"
    backfill("run", pipeline, "--url", sandbox.url, "--metrics-file", file)
    good = figures(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert good['backfill_rows{job="job",outcome="delivered"}'] == "2"
    assert good['backfill_last_run_exit_code{job="job"}'] == "0"

    (tmp_path / "customers.csv").write_text(people("c"))
    assert backfill("run", pipeline, "--metrics-file", file, "--url", sandbox.url).code == 5
    bad = figures(file)
    success = 'backfill_last_success_timestamp_seconds{job="job"}'
    assert bad['backfill_last_run_exit_code{job="job"}'] == "5"
    assert bad[success] == good[success]


def figures(file) -> dict[str, str]:
    """The samples of a metrics file."""
    lines = file.read_text().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_figures_that_cannot_be_written_change_nothing(tmp_path, backfill, sandbox):
    """The rows were sent; a line says what is missing."""
    pipeline = job(tmp_path, {"customers.csv": people("a")}, CUSTOMERS)
    done = backfill(
        "run", pipeline, "--url", sandbox.url, "--metrics-file", tmp_path / "none" / "b.prom"
    )
    assert done.code == 0
    assert "the metrics were not written" in done.stderr
    assert done.next_step.startswith("nothing to do")
