"""`backfill sandbox` on the command line."""

import contextlib
import json
import subprocess
import sys

import httpx
import pytest

RUN = "import typer; from backfill.cli.sandbox import sandbox; typer.run(sandbox)"


@contextlib.contextmanager
def command(*options):
    """The command as a process; gives its lines of output."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN, "--port", "0", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child.stdout
        finally:
            child.kill()


def test_one_line_says_where_it_is():
    """The line comes as soon as connections are accepted, and names the keys."""
    with command() as lines:
        line = next(lines)
        url = line.split()[1]

        assert line == f"sandbox: {url} (site id sandbox, API key sandbox)\n"
        assert httpx.get(f"{url}/api/v1/accounts/region", auth=("sandbox", "sandbox")).is_success


def test_other_keys_and_another_now(monkeypatch):
    """The environment's credentials are nobody's business here."""
    monkeypatch.setenv("CUSTOMERIO_SITE_ID", "real")
    options = ("--site-id", "mine", "--api-key", "too", "--now", "2026-01-31T12:00:00Z")
    with command(*options) as lines, httpx.Client(base_url=next(lines).split()[1]) as client:
        client.auth = ("mine", "too")
        client.post("/api/v1/customers/1/events", json={"name": "x"}).raise_for_status()

        (event,) = client.get("/sandbox/events").json()["events"]
    assert event["timestamp"] == 1_769_860_800


def test_tls_names_its_authority():
    """The second line is the file to trust."""
    with command("--tls") as lines:
        assert next(lines).startswith("sandbox: https://127.0.0.1:")
        kind, _, path = next(lines).strip().partition(": ")

        assert kind == "certificate authority"
        assert path.endswith("ca.pem")


def test_region_switches_faults_and_names_can_be_given(tmp_path):
    """What the page and `/sandbox/*` set later can be set from the start."""
    script = tmp_path / "faults.json"
    fault = {"kind": "status", "status": 503, "path": "/api/v2/"}
    script.write_text(json.dumps({"faults": [fault]}))
    options = ("--region", "eu", "--behaviour", "dedupe_window_s=60", "--faults", script)
    more = ("--behaviour", "bad_event_id=reject", "--name", "track-eu.customer.io")
    with (
        command(*options, *more) as lines,
        httpx.Client(base_url=next(lines).split()[1], auth=("sandbox", "sandbox")) as client,
    ):
        headers = {"Host": "track-eu.customer.io"}
        region = client.get("/api/v1/accounts/region", headers=headers).json()
        assert (region["region"], region["url"]) == ("eu", "https://track-eu.customer.io")
        assert client.post("/api/v2/batch", json={"batch": []}).status_code == 503
        switches = client.get("/sandbox/behaviour").json()
        assert (switches["dedupe_window_s"], switches["bad_event_id"]) == (60, "reject")


@pytest.mark.parametrize(
    "options",
    [
        ("--port", "80000"),
        ("--port", "-1"),
        ("--region", "asia"),
        ("--behaviour", "nonsense=1"),
        ("--behaviour", "dedupe_window_s=99999999999999999999"),
        ("--behaviour", "dedupe_window_s"),
        ("--faults", "nowhere.json"),
        ("--faults", __file__),
        ("--now", "yesterday"),
    ],
    ids=" ".join,
)
def test_a_mistake_ends_in_2(backfill, options):
    """With a sentence and the next step."""
    ended = backfill("sandbox", *options)

    assert ended.code == 2, ended.stderr
    assert "Traceback" not in ended.stderr
