"""The sandbox as a process: what outlives it, what it does with garbage, who may come in."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from functools import partial

import duckdb
import httpx
import pytest

from backfill.errors import StateError, UsageError
from backfill.sandbox import SandboxSettings, running
from tests.support.programs import until
from tests.support.workspaces import workspace

AUTH = ("sandbox", "sandbox")


@contextlib.contextmanager
def process(*options):
    """A sandbox as a child process; gives it and its URL."""
    command = [sys.executable, "-m", "backfill.sandbox", "--port", "0", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child, child.stdout.readline().split()[1]
        finally:
            child.kill()


def batch(first, count, size=50):
    """A batch of numbered events."""
    items = [
        {
            "type": "person",
            "action": "event",
            "identifiers": {"id": f"p{index}"},
            "name": "bought",
            "id": f"{index:026d}",
            "attributes": {"filling": "x" * size},
        }
        for index in range(first, first + count)
    ]
    return {"batch": items}


def account(url):
    """The counters of `/sandbox/stats`."""
    return httpx.get(f"{url}/sandbox/stats").json()


def test_a_restart_changes_nothing(tmp_path):
    """People, events, segments, the account, known ids and the environment id are kept."""
    with process("--data", tmp_path) as (child, url), httpx.Client(base_url=url) as client:
        client.auth = AUTH
        client.post("/api/v2/batch", json=batch(0, 10)).raise_for_status()
        client.put("/api/v1/customers/p1", json={"email": "x@y.z", "anonymous_id": "a"})
        client.post("/api/v1/customers/p2/suppress")
        client.put("/sandbox/segments/s", json={"event": {"name": "bought"}})
        paths = ["stats", "breakdown", "people", "events", "arrivals", "segments"]
        before = {path: client.get(f"/sandbox/{path}").json() for path in paths}
        region = client.get("/api/v1/accounts/region").json()
        child.terminate()
        child.wait()

    with process("--data", tmp_path) as (_, url), httpx.Client(base_url=url) as client:
        client.auth = AUTH
        after = {path: client.get(f"/sandbox/{path}").json() for path in paths}
        assert client.get("/api/v1/accounts/region").json() == region
        client.post("/api/v2/batch", json=batch(0, 10)).raise_for_status()
        client.post("/api/v1/events", json={"name": "x", "anonymous_id": "a"})
        now = account(url)

    before["stats"]["requests"] += 1
    assert after == before
    assert now["duplicate_events"] == 10
    assert now["people"] == before["stats"]["people"]


def test_a_kill_loses_nothing_that_was_answered(tmp_path):
    """Whenever it comes, and again and again; what is left agrees with itself."""
    due: set[int] = set()
    for kill in range(4):
        answered: list[tuple[float, int]] = []
        with workspace(data=tmp_path) as sandbox:
            kept = {int(each["id"]) for each in sandbox.events()}
            assert due <= kept
            assert len(kept) == sandbox.stats()["events"] == sandbox.stats()["operations"]
            assert len(sandbox.people()) == sandbox.stats()["people"]
            if kill < 3:
                arguments = sandbox.url, kill * 1_000_000, answered
                sender = threading.Thread(target=keep_sending, args=arguments)
                sender.start()
                until(partial(_past, answered, 0.2 + 0.1 * kill))
                os.kill(sandbox.pid, signal.SIGKILL)
                sender.join()
                assert answered
                due |= {index for _, index in answered}


def test_what_arrived_is_written_by_itself(tmp_path):
    """Nobody has to ask for it: the log on disk grows soon after a request."""
    log = tmp_path / "sandbox.duckdb.wal"
    with process("--data", tmp_path) as (_, url):
        account(url)
        before = log.stat().st_size if log.exists() else 0
        httpx.post(f"{url}/api/v2/batch", json=batch(0, 100), auth=AUTH)

        until(lambda: log.exists() and log.stat().st_size >= before + 100 * 50)

        assert log.stat().st_size > before


def _past(answered, age_s):
    """The time, once the first answer is so old."""
    now_s = time.monotonic()
    return now_s if answered and now_s - answered[0][0] > age_s else None


def keep_sending(url, first, answered):
    """Send batches as fast as can be until the sandbox is gone; note when each was answered."""
    with httpx.Client(base_url=url, auth=AUTH) as client, contextlib.suppress(httpx.TransportError):
        while True:
            client.post("/api/v2/batch", json=batch(first, 10)).raise_for_status()
            answered += [(time.monotonic(), index) for index in range(first, first + 10)]
            first += 10


def test_a_folder_belongs_to_one_sandbox(tmp_path):
    """A second sandbox over the same folder is refused, with the next step."""
    folder = SandboxSettings(data=tmp_path)
    with process("--data", tmp_path), pytest.raises(StateError) as caught, running(folder):
        pass

    assert "--data" in caught.value.next_step


def test_data_of_another_version_is_refused(tmp_path):
    """Nothing is guessed about tables that this version did not make."""
    with running(SandboxSettings(data=tmp_path)):
        pass
    with duckdb.connect(tmp_path / "sandbox.duckdb") as database:
        database.execute("UPDATE meta SET value = '0' WHERE key = 'schema_version'")

    with pytest.raises(StateError, match="version"), running(SandboxSettings(data=tmp_path)):
        pass


def test_a_file_that_is_no_database_is_refused(tmp_path):
    """With a sentence, and the file stays as it is."""
    (tmp_path / "sandbox.duckdb").write_bytes(b"something else" * 1000)

    with pytest.raises(StateError), running(SandboxSettings(data=tmp_path)):
        pass
    assert (tmp_path / "sandbox.duckdb").read_bytes().startswith(b"something else")


def test_a_port_that_is_taken_is_said():
    """The message names the port."""
    with running() as sandbox:
        port = int(sandbox.url.rsplit(":", 1)[1])
        with pytest.raises(UsageError, match=str(port)), running(SandboxSettings(port=port)):
            pass


GARBAGE = {
    "noise": b"\x00\xff\x16\x03\x01" * 100,
    "no HTTP": b"HELO example.com\r\n\r\n",
    "endless line": b"GET /" + b"a" * 100_000,
    "endless headers": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a: b\r\n" * 20_000,
    "bad length": b"POST /api/v2/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "bad chunk": b"POST /api/v2/batch HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "odd path": b"GET /api/v1/%zz/%00/../../%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "no host": b"GET /sandbox/stats HTTP/1.0\r\n\r\n",
}


@pytest.fixture(scope="module")
def sandbox():
    """A sandbox in this process."""
    with running() as sandbox:
        yield sandbox


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_gets_a_4xx_or_a_closed_connection(sandbox, garbage, capfd):
    """Never a 5xx, never a traceback, and the sandbox goes on."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(65_536)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert account(sandbox.url)["operations"] == 0
    assert "Traceback" not in capfd.readouterr().err


def test_a_bug_is_told_to_its_developer_alone(capfd):
    """The client gets a plain 500, stderr the traceback, and the sandbox goes on."""
    with running(SandboxSettings(now_s="no moment")) as sandbox:
        answer = httpx.post(f"{sandbox.url}/api/v2/batch", json=batch(0, 1), auth=AUTH)
        account(sandbox.url)

    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert "Traceback" in capfd.readouterr().err


def test_a_name_can_be_lent_to_it(tmp_path):
    """A client with a fixed host, redirected by name to loopback, is let in; nobody else is."""
    settings = SandboxSettings(tls=True, names=("track.customer.io",), data=tmp_path)
    with running(settings) as sandbox:
        port = int(sandbox.url.rsplit(":", 1)[1])
        trusting = ssl.create_default_context(cafile=sandbox.ca)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            trusting.wrap_socket(plain, server_hostname="track.customer.io") as connection,
        ):
            connection.sendall(b"GET /auth HTTP/1.1\r\nHost: track.customer.io\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 401")
        headers = {"Host": "track-eu.customer.io"}
        answer = httpx.get(f"{sandbox.url}/auth", headers=headers, verify=trusting)
        assert answer.status_code == 400


@pytest.mark.parametrize("port", [-1, 65_536, 80_000, 10**30])
def test_a_port_that_is_none_is_refused(port):
    """As a mistake of the user's, with the next step."""
    with pytest.raises(UsageError, match=str(port)), running(SandboxSettings(port=port)):
        pass


def test_the_certificate_is_trusted_by_its_authority_alone():
    """Its names are checked, and nobody else's authority vouches for it."""
    with running(SandboxSettings(tls=True)) as sandbox:
        trusting = ssl.create_default_context(cafile=sandbox.ca)
        for url in (sandbox.url, sandbox.url.replace("127.0.0.1", "localhost")):
            assert httpx.get(f"{url}/sandbox/stats", verify=trusting).status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{sandbox.url}/sandbox/stats")
