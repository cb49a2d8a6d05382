"""Where requests may go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.delivery.destination import check_rate, destination, is_loopback
from backfill.delivery.region import Region, check_region
from backfill.errors import BackfillError, CredentialsError, UsageError

REMOTE, LOCAL = "https://track.customer.io", "http://127.0.0.1:8025"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://track.customer.io", "https://track.customer.io"),
        ("https://proxy.example:8443/", "https://proxy.example:8443"),
        ("HTTPS://track.customer.io", "https://track.customer.io"),
        ("http://127.0.0.1:8025", "http://127.0.0.1:8025"),
        ("http://localhost:8025/", "http://localhost:8025"),
        ("http://[::1]:8025", "http://[::1]:8025"),
        ("https://127.0.0.1:8025", "https://127.0.0.1:8025"),
    ],
)
def test_allowed(url, expected):
    """Https anywhere, and http on this machine."""
    assert destination(url=url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "track.customer.io",
        "http://track.customer.io",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://0.0.0.0:8025",
        "http://169.254.169.254",
        "https://user:key@track.customer.io",
        "https://127.0.0.1@evil.example",
        "https://track.customer.io?x=1",
        "https://track.customer.io#x",
        "https://track.customer.io/api/v1",
        "https://track.customer.io\r\nX: y",
        "https://track.customer.io:port",
        "https://track.customer.io:99999",
        "https://[::1",
        "https://träck.customer.io",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "https://",
    ],
)
def test_refused(url):
    """Anything else is refused, and what the url holds is not repeated."""
    with pytest.raises(UsageError) as caught:
        destination(url=url)
    assert "key" not in caught.value.what


@given(st.text(max_size=40))
def test_any_text(url):
    """No text breaks the check."""
    try:
        assert destination(url=url).startswith(("https://", "http://"))
    except BackfillError as error:
        assert isinstance(error, UsageError)  # noqa: PT017  # refusal is one of two good ends


def test_regions():
    """A region has its host; a url wins over it; another region is refused."""
    assert destination(region="us") == "https://track.customer.io"
    assert destination(region="eu") == "https://track-eu.customer.io"
    assert destination(region="eu", url=LOCAL) == LOCAL
    with pytest.raises(UsageError, match="mars") as caught:
        destination(region="mars")
    assert '"eu"' in caught.value.next_step


def test_loopback():
    """Only this machine's own addresses are loopback."""
    assert is_loopback("http://127.8.8.8:1")
    assert not is_loopback("https://127.0.0.1.nip.io")


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf")])
def test_impossible_rates(rate):
    """A rate is a number of requests a second."""
    with pytest.raises(UsageError):
        check_rate(rate, LOCAL)


def test_no_limit_is_for_loopback():
    """Without a limit requests go to this machine only."""
    assert check_rate(0, LOCAL) == 0
    assert check_rate(100, REMOTE) == 100
    with pytest.raises(UsageError, match="this machine only"):
        check_rate(0, REMOTE)


@pytest.mark.parametrize(
    ("wanted", "found", "url", "refused", "said"),
    [
        ("us", Region("us", 1), REMOTE, None, ""),
        (None, Region("eu", 1), REMOTE, None, ""),
        ("us", Region(), LOCAL, None, ""),
        ("us", Region("eu", 1), REMOTE, CredentialsError, "in 'eu'"),
        ("us", Region("eu", 1), LOCAL, CredentialsError, "in 'eu'"),
        ("us", Region(), REMOTE, UsageError, "does not say which region"),
        (None, Region(), REMOTE, UsageError, "does not say which region"),
    ],
)
def test_the_region_must_be_the_one_that_was_asked_for(wanted, found, url, refused, said):
    """Any will do if none was asked for; a service that names none is not the Track API."""
    if refused is None:
        check_region(wanted, found, url)
    else:
        with pytest.raises(refused, match=said):
            check_region(wanted, found, url)


def test_another_region_is_named():
    """The message says what to set."""
    with pytest.raises(CredentialsError) as caught:
        check_region("us", Region("eu", 1), LOCAL)
    assert 'region = "eu"' in caught.value.next_step


def test_the_workspace_has_a_name():
    """The environment names the workspace; without one a hash of the site id does."""
    assert Region("us", 7).workspace("site") == "environment-7"
    assert Region("us", 0).workspace("site") == "environment-0"
    assert Region().workspace("site") == Region("us").workspace("site")
    assert Region().workspace("site") != Region().workspace("other")
    assert "site-" in Region().workspace("canary")
    assert "canary" not in Region().workspace("canary")
