"""Every exit code, provoked from the command line: its message, its next step, its summary."""

import signal
import subprocess
import sys

import pytest

from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, ago, job, numbered, people
from tests.support.programs import until

HANG = {"kind": "hang", "seconds": 600, "method": "POST"}
UNAUTHORIZED = {"kind": "unauthorized"}


@pytest.fixture
def fine(tmp_path):
    """A job that nothing is wrong with."""
    return job(tmp_path, {"events.csv": numbered(20)}, EVENTS)


def _fixed(folder):
    return job(
        folder, {"events.csv": HEADER + "p1,seen,never,1\n" + "p1,seen,2024-01-01,2\n"}, EVENTS
    )


def test_all_delivered_is_0(fine, send, sandbox):
    """There is nothing to do, and the program says so; again, it sends nothing."""
    first, second = send(fine), send(fine)

    assert (first.code, second.code) == (0, 0)
    assert first.next_step == second.next_step == "nothing to do; every row is accounted for"
    assert second.summary["this_run"]["requests"] == 0
    assert sandbox.stats()["event_arrivals"] == 20


def test_some_rejected_is_3_and_names_the_file(tmp_path, send):
    """The next step is a command that can be pasted."""
    ended = send(_fixed(tmp_path))

    assert ended.code == 3
    assert ".backfill/job/rejected.csv" in ended.next_step
    assert f"backfill retry {tmp_path / 'pipeline.toml'}" in ended.next_step


def test_rejected_rows_are_fixed_and_sent(tmp_path, send, sandbox):
    """`retry` takes the fixed file; a second one has nothing left to send."""
    pipeline = _fixed(tmp_path)
    send(pipeline)
    table = tmp_path / ".backfill/job/rejected.csv"
    table.write_text(table.read_text("utf-8-sig").replace("never", "2024-01-02"), "utf-8-sig")

    ended = send(pipeline, command="retry")

    assert ended.code == 0
    assert sandbox.stats()["events"] == 2


@pytest.mark.parametrize("command", ["check", "plan"])
@pytest.mark.parametrize(("ugly", "code"), [(False, 0), (True, 3)])
def test_looking_ends_as_sending_would(tmp_path, fine, backfill, command, ugly, code):
    """0 or 3, the JSON as the last line of stdout, and nothing is sent."""
    pipeline = _fixed(tmp_path) if ugly else fine

    ended = backfill(command, pipeline, "--json")

    assert ended.code == ended.summary["exit"] == code
    assert ended.summary["rejected"] == int(ugly)
    assert "backfill" in ended.next_step


@pytest.mark.parametrize(
    ("change", "code", "said", "advice"),
    [
        ("header", 2, "column 'id' is missing", "pipeline file"),
        ("empty", 2, "events.csv", ""),
        ("no file", 2, "events*.*", ""),
        ("credentials", 4, "does not accept the credentials", "API key"),
        ("corrupt", 6, "state.db", ""),
        ("recent", 7, "younger than 72 h", "recent_events"),
        ("source", 5, "other bytes", "--append"),
    ],
)
def test_what_stops_a_run_is_told(fine, send, sandbox, change, code, said, advice):
    """What and where on one line, what to do on the next."""
    _spoil(fine, change, send, sandbox)

    ended = send(fine)

    assert ended.code == code
    error, _ = ended.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert said in error
    assert advice in ended.next_step
    assert "Traceback" not in ended.stderr


def _spoil(pipeline, change, send, sandbox):
    events = pipeline.parent / "events.csv"
    if change == "header":
        events.write_text("who,event,at,n\n")
    elif change == "empty":
        events.write_text("")
    elif change == "no file":
        events.unlink()
    elif change == "credentials":
        sandbox.misbehave(UNAUTHORIZED)
    elif change == "corrupt":
        send(pipeline)
        (pipeline.parent / ".backfill/job/state.db").write_bytes(b"no database" * 1000)
    elif change == "recent":
        events.write_text(f"{HEADER}p1,seen,{ago(hours=1)},1\n")
    elif change == "source":
        send(pipeline)
        events.write_text(numbered(21, first=5))


def test_debug_shows_where_it_happened(fine, backfill):
    """A traceback comes before the message, and only when it is asked for."""
    (fine.parent / "events.csv").unlink()

    ended = backfill("check", fine, "--debug")

    assert "Traceback" in ended.stderr
    assert ended.next_step


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_twice_stops_at_once_with_a_summary(fine, start_sending, sandbox, number, code):
    """Whatever hangs is left; stdout still ends with a summary, stderr with the next step."""
    sandbox.misbehave(HANG)
    command = start_sending(fine)
    until(lambda: sandbox.fired()[0])
    command.signal(number)
    until(lambda: "press again to stop at once" in command.stderr())
    command.signal(number)

    ended = command.ended()

    assert ended.code == ended.summary["exit"] == code
    assert "run the same command again" in ended.next_step


def test_quiet_leaves_errors_and_advice(tmp_path, backfill, sandbox):
    """Nothing on stdout, one line on stderr."""
    pipeline = job(tmp_path, {"customers.csv": people("a", "b")}, CUSTOMERS)

    ended = backfill("run", pipeline, "--url", sandbox.url, "--quiet")

    assert ended.code == 0
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [f"next: {ended.next_step}"]


def test_a_reader_that_goes_away_is_no_bug(fine, clean_env):
    """`backfill check … | head -1` ends without a traceback."""
    with subprocess.Popen(
        [sys.executable, "-m", "backfill", "check", str(fine)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_env,
    ) as child:
        child.stdout.close()
        said = child.stderr.read()

    assert child.returncode == 0
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
