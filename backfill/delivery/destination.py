"""Where requests may go: Customer.io over https, another https host by choice, or this machine."""

from urllib.parse import SplitResult, urlsplit

from backfill.errors import UsageError
from backfill.pipeline.destination_settings import (
    Destination,
    is_loopback_host,
    objection,
)

HOSTS = {
    "us": "https://track.customer.io",
    "eu": "https://track-eu.customer.io",
}

APP_HOSTS = {
    "us": "https://api.customer.io",
    "eu": "https://api-eu.customer.io",
}
"""Where a workspace is read (App API documentation)."""


def destination(*, region: str = "us", url: str | None = None) -> str:
    """The base URL that requests go to, without a trailing slash; `url` wins over `region`.

    Raises:
        UsageError: The region is unknown, or the URL is neither https nor loopback, or carries
            a user, a query, a fragment or control characters.

    >>> destination(region="eu")
    'https://track-eu.customer.io'
    """
    if url is not None:
        return _checked(url)
    if region not in HOSTS:
        raise UsageError(f"region {region!r} is unknown", next_step='use "us" or "eu"')
    return HOSTS[region]


def app_destination(url: str, region: str) -> str:
    """The base URL of the App API of the workspace that is reached at `url`.

    On this machine both have one address; elsewhere the region decides.

    >>> app_destination("https://track-eu.customer.io", "us")
    'https://api-eu.customer.io'
    """
    if is_loopback(url):
        return url
    known = next((each for each, host in HOSTS.items() if host == url), region)
    return APP_HOSTS[known]


def elsewhere(url: str, settings: Destination) -> str:
    """The URL, where a pipeline file would lead requests to another one; else empty.

    A command of the same job must name it: without it a rehearsal would go to the real service.
    """
    usual = destination(region=settings.region or "us", url=settings.url)
    return url if url and url != usual else ""


def is_loopback(url: str) -> bool:
    """Whether the URL leads to this machine, whatever a name server says.

    >>> is_loopback("http://127.0.0.1:8025"), is_loopback("https://localhost.example.com")
    (True, False)
    """
    return is_loopback_host(_split(url).hostname or "")


def how_to_reach(url: str) -> str:
    """What to do where nobody answers."""
    if is_loopback(url):
        port = urlsplit(url).port or 80
        return f"start the sandbox with `backfill sandbox --port {port}`, or correct `url`"
    return "check the network and `url`"


def check_rate(rate: float, url: str) -> float:
    """The rate in requests per second; 0, no limit, is for loopback only.

    Raises:
        UsageError: The rate is negative or not finite, or 0 toward another machine.
    """
    # NaN, too: it compares with nothing.
    if not 0 <= rate < float("inf"):
        raise UsageError(f"a rate of {rate} requests/s is impossible", next_step="use 1 to 1000")
    if rate == 0 and not is_loopback(url):
        raise UsageError(
            "rate 0 (no limit) is allowed for this machine only",
            next_step="set `rate` to 1000 requests/s, the API's own limit, or below",
        )
    return rate


def _checked(url: str) -> str:
    if why := objection(url):
        raise _refused(why)
    split = _split(url)
    if "?" in url or "#" in url or split.path not in ("", "/"):
        raise _refused("carries a path, a query or a fragment")
    return f"{split.scheme}://{split.netloc}"


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise _refused("cannot be read") from None


def _refused(why: str) -> UsageError:
    return UsageError(
        f"the destination's url {why}",
        next_step='use `region`, or a url such as "https://track.customer.io"',
    )
