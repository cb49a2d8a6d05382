"""The guard lets in whom it should, also where the sandbox listens beyond loopback."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from backfill.sandbox.access import AccessControl, is_loopback

APP = PlainTextResponse("in")


def status(guard, path, method="GET", **headers):
    """What the guard answers, without a socket."""

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


def test_only_ones_own_page_changes_anything():
    """A browser says where a request comes from; other programs say nothing."""
    guard = AccessControl(APP, "127.0.0.1", None)
    own = {"host": "127.0.0.1:1", "origin": "http://127.0.0.1:1"}

    assert status(guard, "/sandbox/reset", "POST", **own) == 200
    assert status(guard, "/sandbox/reset", "POST", host="localhost") == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:2"):
        assert status(guard, "/sandbox/reset", "POST", **(own | {"origin": origin})) == 403
        assert status(guard, "/sandbox/stats", "GET", **(own | {"origin": origin})) == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_known(host):
    """What no other machine can reach."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com"])
def test_the_rest_is_not_loopback(host):
    """What another machine might reach."""
    assert not is_loopback(host)
