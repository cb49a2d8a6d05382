"""A reset forgets all that was sent before it, however far that had come."""

import contextlib
import os
import signal
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.programs import until

EVENT = b'{"name":"bought"}'
REQUEST = (
    b"POST /api/v1/customers/early/events HTTP/1.1\r\nHost: localhost\r\n"
    b"Authorization: Basic c2FuZGJveDpzYW5kYm94\r\nContent-Length: %d\r\n\r\n" % len(EVENT)
) + EVENT


@pytest.fixture
def connect(sandbox):
    """Make a connection to the sandbox."""
    split = urlsplit(sandbox.url)
    with contextlib.ExitStack() as stack:
        address = (split.hostname, split.port)
        yield lambda: stack.enter_context(socket.create_connection(address, timeout=10))


def is_ended(connection):
    """Whether the other side ended the connection without a word."""
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


def nothing_came(sandbox):
    """Whether the account is empty."""
    requests = httpx.get(f"{sandbox.url}/sandbox/requests").json()["requests"]
    return not any(sandbox.stats().values()) and not requests


def test_bytes_that_nobody_has_read_are_gone(sandbox, connect):
    """Someone killed may leave a whole request behind, on a connection not yet accepted."""
    os.kill(sandbox.pid, signal.SIGSTOP)
    try:
        with connect() as killed:
            killed.sendall(REQUEST)
        resetting = connect()
        resetting.sendall(b"POST /sandbox/reset HTTP/1.1\r\nHost: localhost\r\n\r\n")
    finally:
        os.kill(sandbox.pid, signal.SIGCONT)

    assert resetting.recv(100).startswith(b"HTTP/1.1 200")
    assert nothing_came(sandbox)


def test_half_a_request_is_gone(sandbox, connect):
    """Its other half finds the connection closed."""
    connection = connect()
    connection.sendall(REQUEST[:-5])
    until(lambda: sandbox.stats()["requests"])

    sandbox.reset()

    assert is_ended(connection)
    assert nothing_came(sandbox)


@pytest.mark.parametrize("stays", [True, False])
def test_a_request_that_a_fault_holds_up_is_gone(sandbox, connect, stays):
    """It had arrived whole and would have been applied later, whether its sender lives or not."""
    sandbox.misbehave({"kind": "latency", "seconds": 0.1, "path": "/api/v1/customers/early"})
    connection = connect()
    connection.sendall(REQUEST)
    until(lambda: sandbox.stats()["requests"])
    if not stays:
        connection.close()

    sandbox.reset()
    sandbox.misbehave({"kind": "latency", "seconds": 0.2})
    later = httpx.post(f"{sandbox.url}/api/v1/events", json={"name": "x"}, auth=("sandbox",) * 2)

    assert later.status_code == 200
    assert not stays or is_ended(connection)
    assert sandbox.stats()["requests"] == sandbox.stats()["operations"] == 1


def test_living_clients_go_on(sandbox):
    """One that kept its connection finds it closed and makes another; so does who resets."""
    with httpx.Client(base_url=sandbox.url) as client, httpx.Client(base_url=sandbox.url) as owner:
        for each in (client, owner):
            each.get("/sandbox/stats").raise_for_status()

        owner.post("/sandbox/reset").raise_for_status()

        for each in (client, owner):
            each.get("/api/v1/accounts/region", auth=("sandbox", "sandbox")).raise_for_status()
    assert sandbox.stats()["requests"] == 2
