"""Where something may be sent to: over https, or to this machine."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback_host(host: str) -> bool:
    """Whether a host is this machine, whatever a name server says.

    >>> is_loopback_host("127.0.0.1"), is_loopback_host("::1"), is_loopback_host("example.com")
    (True, True, False)
    """
    # The one name that is believed: others are what a name server says.
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def objection(url: str) -> str:
    """Why nothing is sent to a url, never quoting it, since it may be a secret; empty: it can be.

    >>> objection("http://hooks.example.com/T0/B0")
    'is not https, which only this machine may omit'
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        return "has a space, a control character or a character outside ASCII"
    try:
        split = urlsplit(url)
        # Parsed when it is asked for, and only then refused.
        _ = split.port
    except ValueError:
        return "cannot be read"
    if split.scheme not in ("https", "http") or not split.hostname:
        return "is not of the form https://host"
    if split.scheme == "http" and not is_loopback_host(split.hostname):
        return "is not https, which only this machine may omit"
    if "@" in split.netloc:
        return "carries a user name or password"
    return ""
