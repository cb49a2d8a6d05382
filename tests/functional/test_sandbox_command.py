"""`backfill sandbox` on the command line."""

import contextlib
import subprocess
import sys

import httpx

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
