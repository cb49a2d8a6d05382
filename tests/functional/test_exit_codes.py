"""Every exit code, provoked from outside; each with a last line that says what to do next."""

import os
import resource

import pytest

from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job, numbered, people
from tests.support.workspaces import BATCH, REGION, free_port

ONE = {"events.csv": numbered(5)}


def test_0_all_rows_are_delivered(tmp_path, send):
    """And nothing is left to do."""
    done = send(job(tmp_path, ONE, EVENTS))

    assert done.code == 0
    assert done.next_step == "nothing to do; every row is accounted for"


def test_0_for_a_file_without_rows(tmp_path, send):
    """A header alone is no mistake."""
    assert send(job(tmp_path, {"events.csv": HEADER}, EVENTS)).code == 0


@pytest.mark.parametrize(
    ("files", "tables", "said"),
    [
        ({"events.csv": ""}, [EVENTS], "empty"),
        ({}, [EVENTS], "events*.*"),
        ({"events.csv": "id,event,when\n"}, [EVENTS], "column 'at' is missing"),
        ({"events.csv": "id,event,at,at\n"}, [EVENTS], "at"),
        ({"events.csv": numbered(5).encode("utf-16")}, [EVENTS], "utf-16"),
        ({"events.parquet": b"PAR1 no"}, [EVENTS], "events.parquet"),
        (ONE, [EVENTS.replace("kind", "knid")], "kind"),
        (ONE, [EVENTS + 'recent_event = "send"\n'], "recent_events"),
        (ONE, [EVENTS.replace('"UTC"', '"TODO"')], "TODO"),
        (ONE, [EVENTS + 'transform = "gone.py:clean"\n'], "gone.py"),
        (ONE, ['[destination]\nurl = "http://example.com"', EVENTS], "https"),
        (ONE, ["[nonsense", EVENTS], "TOML"),
    ],
)
def test_2_for_what_cannot_be_used(tmp_path, backfill, sandbox, files, tables, said):
    """The pipeline file, a header, an empty file, a pattern without a match: before any request."""
    pipeline = job(tmp_path, files, *tables)
    url = () if "[destination]" in tables[0] else ("--url", sandbox.url)

    refused = backfill("run", pipeline, *url, "--json")

    assert refused.code == 2
    assert said in refused.stderr
    assert refused.next_step
    assert refused.summary["exit"] == 2
    assert sandbox.stats()["requests"] == 0


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "gone.toml"], ["jump"], ["run", "p.toml", "--for", "soon"], ["check", "--x"]],
)
def test_2_for_a_command_that_is_none(backfill, arguments):
    """What is missing or wrong is said in one sentence."""
    refused = backfill(*arguments)

    assert refused.code == 2
    assert refused.stdout == ""
    assert refused.next_step


def test_2_for_no_limit_beyond_this_machine(tmp_path, backfill):
    """--rate 0 is for loopback only."""
    pipeline = job(tmp_path, ONE, EVENTS)

    refused = backfill("run", pipeline, "--url", "https://track.customer.io", "--rate", "0")

    assert refused.code == 2
    assert "rate" in refused.stderr


def test_2_for_a_transform_that_changes_its_mind(tmp_path, send, sandbox):
    """Plan and send must agree; nothing is sent that was not looked at."""
    pipeline = job(tmp_path, ONE, EVENTS + 'transform = "t.py:clean"\n')
    (tmp_path / "t.py").write_text(
        "from pathlib import Path\n"
        "seen = Path(__file__).with_suffix('.seen')\n"
        "def clean(frame):\n"
        "    with seen.open('a') as file:\n"
        "        file.write('.')\n"
        "    return frame.assign(n=str(seen.stat().st_size))\n"
    )

    refused = send(pipeline)

    assert refused.code == 2
    assert "transform" in refused.stderr
    assert sandbox.stats()["operations"] == 0


def test_3_while_any_row_is_rejected(tmp_path, send):
    """Also on later runs that have nothing to do."""
    pipeline = job(tmp_path, {"events.csv": numbered(5) + "p1,,2024-01-01T00:00:00Z,9\n"}, EVENTS)

    assert [send(pipeline).code, send(pipeline).code] == [3, 3]


WRONG_KEYS = {"CUSTOMERIO_SITE_ID": "sandbox", "CUSTOMERIO_API_KEY": "wrong"}


def test_4_for_a_key_that_is_not_accepted(tmp_path, send, sandbox):
    """Before anything is sent; the key is nowhere in what is said or left."""
    pipeline = job(tmp_path, ONE, EVENTS)
    keys = {**WRONG_KEYS, "CUSTOMERIO_API_KEY": "canary-7f3a9"}

    refused = send(pipeline, env=keys)

    assert refused.code == 4
    assert refused.summary["rejected"] == 0
    assert sandbox.stats()["operations"] == 0
    left = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"canary-7f3a9" in each for each in left)
    assert "canary-7f3a9" not in refused.stdout + refused.stderr
    assert send(pipeline).code == 0


def test_4_for_half_a_key(tmp_path, backfill, sandbox):
    """A site id without a key is a mistake, also toward this machine."""
    pipeline = job(tmp_path, ONE, EVENTS)

    refused = backfill("run", pipeline, "--url", sandbox.url, env={"CUSTOMERIO_SITE_ID": "sandbox"})

    assert refused.code == 4
    assert "CUSTOMERIO_API_KEY" in refused.stderr


def test_4_for_no_key_at_all_beyond_this_machine(tmp_path, backfill):
    """Nobody is asked who could not be trusted with the answer."""
    refused = backfill("run", job(tmp_path, ONE, EVENTS))

    assert refused.code == 4
    assert "CUSTOMERIO_SITE_ID" in refused.next_step + refused.stderr


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("first", [1, 2, 5, 20])
def test_4_for_a_key_that_is_revoked_meanwhile(tmp_path, send, sandbox, status, first):
    """From some request on: no row is rejected for it, and a new key goes on from there."""
    v1 = '[destination]\napi = "v1"\nconcurrency = 4'
    pipeline = job(tmp_path, {"events.csv": numbered(60)}, v1, EVENTS)
    sandbox.misbehave({"kind": "status", "status": status, "from_request": first})

    stopped = send(pipeline)

    assert stopped.code == 4
    assert stopped.summary["rejected"] == 0
    assert stopped.summary["delivered"] == sandbox.stats()["events"] == max(0, first - 2)
    assert sandbox.stats()["requests"] <= first + 5
    sandbox.misbehave()
    done = send(pipeline)
    assert done.code == 0
    assert sandbox.stats()["events"] == 60
    assert sandbox.stats()["duplicate_events"] == 0


def test_a_401_that_was_a_mistake_does_not_stop_the_run(tmp_path, send, sandbox):
    """The region lookup is asked once; where it says yes, the batch is sent again."""
    sandbox.misbehave({"kind": "unauthorized", "requests": [2]})

    done = send(job(tmp_path, ONE, EVENTS))

    assert done.code == 0
    assert sandbox.stats()["events"] == 5


def test_4_for_a_batch_that_is_not_let_in_twice(tmp_path, send, sandbox):
    """The lookup says yes, the batch is refused again: somebody has to look at the key."""
    sandbox.misbehave({"kind": "unauthorized", "path": BATCH})

    stopped = send(job(tmp_path, ONE, EVENTS))

    assert stopped.code == 4
    assert stopped.summary["pending"] == 5


def test_4_for_another_region(tmp_path, send, sandbox):
    """The workspace answers "us", the pipeline says "eu": nothing is sent."""
    refused = send(job(tmp_path, ONE, '[destination]\nregion = "eu"', EVENTS))

    assert refused.code == 4
    assert 'region = "us"' in refused.next_step
    assert sandbox.stats()["operations"] == 0


def test_6_for_a_state_that_cannot_be_written(tmp_path, send, sandbox):
    """A file where the state's folder should be."""
    pipeline = job(tmp_path, ONE, EVENTS)
    (tmp_path / "state").write_text("in the way")

    refused = send(pipeline, "--state-dir", tmp_path / "state")

    assert refused.code == 6
    assert sandbox.stats()["operations"] == 0


def test_75_for_a_service_that_is_not_there(tmp_path, send):
    """It is tried for as long as was given; no row is rejected."""
    url = f"http://127.0.0.1:{free_port()}"

    stopped = send(job(tmp_path, ONE, EVENTS), "--url", url, "--for", "1s")

    assert stopped.code == 75
    assert stopped.summary["rejected"] == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_75_for_a_service_that_never_accepts(tmp_path, send, sandbox, status):
    """Time runs out, every row is pending, and a later start delivers them."""
    pipeline = job(tmp_path, ONE, EVENTS)
    sandbox.misbehave({"kind": "status", "status": status, "method": "POST"})

    stopped = send(pipeline, "--for", "1s")

    assert stopped.code == 75
    assert stopped.summary["pending"] == 5
    sandbox.misbehave()
    assert send(pipeline).code == 0


def test_75_for_a_pause_that_is_longer_than_the_time(tmp_path, send, sandbox):
    """Retry-After: an hour. The run does not sit it out."""
    sandbox.misbehave({"kind": "status", "status": 429, "retry_after": "3600", "path": BATCH})

    stopped = send(job(tmp_path, ONE, EVENTS), "--for", "2s")

    assert stopped.code == 75


def test_the_worst_reason_gives_the_code(tmp_path, send, sandbox):
    """Rejected rows and a refused key: 4, and the rejected rows are reported all the same."""
    files = {"customers.csv": people("p1") + ",x\n", **ONE}
    pipeline = job(tmp_path, files, CUSTOMERS, EVENTS + 'unknown_people = "send"\n')
    sandbox.misbehave({"kind": "unauthorized", "from_request": 3})

    stopped = send(pipeline)

    assert stopped.code == 4
    assert stopped.summary["rejected"] == 1
    assert (tmp_path / ".backfill/job/rejected.csv").exists()


def test_check_needs_no_workspace(tmp_path, backfill, sandbox):
    """It asks nobody, and ends with 0 or 3."""
    pipeline = job(tmp_path, ONE, EVENTS)

    assert backfill("check", pipeline).code == 0
    assert backfill("plan", pipeline).code == 0
    assert sandbox.stats()["requests"] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_6_for_a_folder_without_permission(tmp_path, send):
    """Before the first request."""
    pipeline = job(tmp_path, ONE, EVENTS)
    (tmp_path / "state").mkdir(mode=0o500)

    assert send(pipeline, "--state-dir", tmp_path / "state").code == 6


def test_6_for_a_disk_that_is_full(tmp_path, send, start_sending, sandbox):
    """A limit on file sizes stands for it: the journal stays whole, and a later start goes on."""
    pipeline = job(tmp_path, {"events.csv": numbered(5_000)}, EVENTS)
    command = start_sending(pipeline)
    resource.prlimit(command.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))

    stopped = command.ended()

    assert stopped.code == 6
    done = send(pipeline)
    assert done.code == 0
    assert sandbox.stats()["events"] == 5_000


def test_the_region_lookup_is_asked_once(tmp_path, send, sandbox):
    """And its answer is never followed anywhere."""
    sandbox.misbehave({"kind": "latency", "seconds": 0.0, "path": REGION})

    send(job(tmp_path, ONE, EVENTS))

    assert sandbox.fired() == [1]
