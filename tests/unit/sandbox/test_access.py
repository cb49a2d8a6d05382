"""The guard lets in whom it should, also where the sandbox listens beyond loopback."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from backfill.sandbox.access import AccessControl, is_loopback

APP = PlainTextResponse("in")


def status(guard, path, method="GET", **headers):
    """What the guard answers, without a socket."""
    headers = {"user-agent": "python"} | {name.replace("_", "-"): v for name, v in headers.items()}

    async def ask():
        transport = httpx.ASGITransport(app=guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
            return (await client.request(method, path, headers=headers)).status_code

    return asyncio.run(ask())


@pytest.mark.parametrize("host", ["127.0.0.1:8025", "localhost", "LOCALHOST:1", "[::1]:8025"])
def test_this_machines_names_come_in(host):
    """With or without a port, in either case."""
    assert status(AccessControl(APP, "127.0.0.1", None), "/", host=host) == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1@evil", ""])
def test_other_names_stay_out(host):
    """Whatever name somebody points at this machine."""
    assert status(AccessControl(APP, "127.0.0.1", None), "/", host=host) == 400


def test_beyond_loopback_any_name_will_do_but_a_token_is_asked_for():
    """The API asks for its own key; what looks into it asks for the token."""
    guard = AccessControl(APP, "0.0.0.0", "secret")

    assert status(guard, "/api/v1/accounts/region") == 200
    assert status(guard, "/") == 200
    assert status(guard, "/sandbox/stats") == 401
    assert status(guard, "/sandbox/stats?token=wrong") == 401
    assert status(guard, "/sandbox/stats?token=secret") == 200
    assert status(guard, "/sandbox/stats", authorization="Bearer secret") == 200
    assert status(guard, "/sandbox/stats", authorization="Basic secret") == 401


OWN = {"host": "127.0.0.1:1", "origin": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "headers",
    [
        OWN,
        {"host": "localhost"},
        {"host": "localhost", "user-agent": "curl/8.0"},
        {"host": "localhost", "content-type": "application/x-www-form-urlencoded"},
        {"host": "localhost", "content-type": "application/json"},
        {"host": "localhost", "sec-fetch-site": "same-origin"},
        {"host": "localhost:1", "referer": "http://localhost:1/"},
        OWN | {"content-type": "text/plain;charset=UTF-8", "user-agent": "Mozilla/5.0"},
    ],
)
@pytest.mark.parametrize("path", ["/sandbox/reset", "/sandbox/stats"])
def test_ones_own_page_and_other_programs_come_in(path, headers):
    """A browser says where a request comes from; other programs say nothing."""
    access = AccessControl(APP, "127.0.0.1", None)

    assert status(access, path, "POST", **headers) == 200
    assert status(access, path, "GET", **headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        *(OWN | {"origin": origin} for origin in ("https://evil.example", "null", "")),
        OWN | {"origin": "http://127.0.0.1:2"},
        {"host": "localhost", "sec-fetch-site": "cross-site"},
        {"host": "localhost", "sec-fetch-site": "same-site"},
    ],
)
def test_a_foreign_page_can_neither_reset_nor_read(headers):
    """Whatever it says of itself that is not ours."""
    access = AccessControl(APP, "127.0.0.1", None)

    assert status(access, "/sandbox/reset", "POST", **headers) == 403
    assert status(access, "/sandbox/people", "GET", **headers) == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"referer": "https://evil.example/page"},
        {"content-type": "text/plain"},
        {"content-type": "Text/Plain; charset=utf-8"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"user-agent": "Mozilla/5.0 (old)"},
        {"user-agent": "Mozilla/4.0", "content-type": "application/x-www-form-urlencoded"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_browser_without_an_origin_changes_nothing(method, headers):
    """Old browsers send forms without one."""
    access = AccessControl(APP, "127.0.0.1", None)

    assert status(access, "/sandbox/reset", method, host="localhost", **headers) == 403
    assert status(access, "/sandbox/stats", "GET", host="localhost", **headers) == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_known(host):
    """What no other machine can reach."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com"])
def test_the_rest_is_not_loopback(host):
    """What another machine might reach."""
    assert not is_loopback(host)
