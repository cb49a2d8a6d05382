"""What is sent in the functional tests is held to the published description of the API."""

import httpx
import pytest

from tests.support.track_schema import NARROWER, SPEC, violations
from tests.support.workspaces import workspace

EVENT = b'{"type":"person","action":"event","identifiers":{"id":"1"},"name":"x"}'


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v2/batch", b'{"batch":[' + EVENT + b"]}"),
        ("POST", "/api/v2/entity", EVENT),
        ("PUT", "/api/v1/customers/a%2Fb", b'{"plan":"free","unsubscribed":true}'),
        ("POST", "/api/v1/customers/1/events", b'{"name":"x","type":"screen"}'),
        ("GET", "/api/v1/accounts/region", b""),
        ("DELETE", "/api/v1/customers/1/devices/t", b""),
    ],
)
def test_what_is_described_passes(method, path, body):
    """The places where the description is narrower than practice are loosened, no others."""
    assert violations(method, path, "", body) == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v2/batch", b'{"batch":{}}'),
        ("POST", "/api/v2/batch", b'{"batch":[{"type":"person"}]}'),
        ("POST", "/api/v2/entity", EVENT.replace(b'"x"', b'"x","timestamp":"2020-01-01"')),
        ("PUT", "/api/v1/customers/1", b'{"unsubscribed":null}'),
        ("PUT", "/api/v1/customers/1", b'{"cio_subscription_preferences":null}'),
        ("POST", "/api/v1/customers/1/events", b'{"name":5}'),
        ("POST", "/api/v1/customers/1/events", b"name=x"),
        ("POST", "/api/v3/batch", b"{}"),
    ],
)
def test_what_is_not_described_is_said(method, path, body):
    """With the place and the value."""
    (said, *_) = violations(method, path, "", body)

    assert path in said or "entity" in said


def test_every_loosened_place_is_still_there():
    """A newer description may have fixed it."""
    for path in NARROWER:
        found = SPEC
        for key in path.split("/"):
            found = found[int(key)] if isinstance(found, list) else found[key]
        assert found


def test_a_sandbox_of_the_tests_tells_what_was_wrong():
    """Also of a request that a fault kept from being applied."""

    def send_what_is_not_described():
        with workspace() as watched:
            watched.misbehave({"kind": "status", "status": 503})
            url = f"{watched.url}/api/v1/customers/1"
            httpx.put(url, json={"unsubscribed": None}, auth=("sandbox", "sandbox"))

    with pytest.raises(AssertionError, match="unsubscribed"):
        send_what_is_not_described()
