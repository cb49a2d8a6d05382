"""A webhook's url leads over https, or to this machine."""

import pytest

from backfill.pipeline.destination_settings import is_loopback_host, objection


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0/B0/x",
        "https://example.com:8443/hook?key=1",
        "http://127.0.0.1:9000/hook",
        "http://localhost/hook",
        "http://[::1]:80/",
    ],
)
def test_what_can_be_posted_to(url):
    """There is nothing to object to."""
    assert objection(url) == ""


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/hook", "is not https"),
        ("http://127.0.0.1.example.com/hook", "is not https"),
        ("ftp://example.com/", "is not of the form"),
        ("https:///hook", "is not of the form"),
        ("https://u:p@example.com/", "carries a user"),
        ("https://example.com:port/", "cannot be read"),
        ("https://example.com/a b", "has a space"),
        ("https://exämple.com/", "outside ASCII"),
    ],
)
def test_what_cannot(url, why):
    """The sentence says why without the url, which may be a secret."""
    said = objection(url)
    assert why in said
    assert "example" not in said


@pytest.mark.parametrize(
    ("host", "is_here"),
    [("localhost", True), ("127.8.9.10", True), ("::1", True), ("10.0.0.1", False), ("", False)],
)
def test_only_this_machine_is_loopback(host, is_here):
    """By its number or its one fixed name; no name server is asked."""
    assert is_loopback_host(host) is is_here
