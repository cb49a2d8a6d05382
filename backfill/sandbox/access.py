"""Who may come in at all: no strange Host, no foreign page, no stranger beyond loopback."""

import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from backfill.sandbox.wire import TEXT_HEADERS, ApiAnswer

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PAGE_TYPES = frozenset({"text/plain", "multipart/form-data"})
"""Types of bodies that a page may send anywhere; a form's own is also what curl -d sends."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class AccessControl:
    """Stands before the application.

    A page elsewhere could point a name of its own at 127.0.0.1 (DNS rebinding: so the Host must
    be ours), or have the browser send requests here (so whatever a browser sends to `/sandbox/*`
    must come from our own page). A browser is told by what every browser sends and no page can
    leave out: other programs send none of it.

    Args:
        app: What it lets requests through to.
        host: The address that the sandbox listens on.
        token: What `/sandbox/*` asks for; None lets everyone look.
        names: Further names that it may be called by.
    """

    def __init__(
        self, app: ASGIApp, host: str, token: str | None, names: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._token = token
        known = LOOPBACK_NAMES | {host, f"[{host}]"} | {name.lower() for name in names}
        self._hosts = known if is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        length = (b"content-length", b"%d" % len(refusal.body))
        # the body was not read: what follows on this connection would be taken for a request
        headers = [*refusal.headers, length, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": refusal.body})

    def _refusal(self, scope: Scope) -> ApiAnswer | None:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if self._hosts is not None and _without_port(headers.get("host", "")) not in self._hosts:
            return _refusal(400, "this Host is not the sandbox's")
        if not scope["path"].startswith("/sandbox/"):
            return None
        if not _is_own(headers, changes=scope["method"] not in SAFE_METHODS):
            return _refusal(403, "this page is not the sandbox's")
        if self._token is not None and not self._shows_token(scope, headers):
            return _refusal(401, "the token is missing: it was printed at the start")
        return None

    def _shows_token(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        in_query = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        shown = text if scheme.lower() == "bearer" else in_query
        # in the same time whatever differs: the token guards real data beyond loopback
        return hmac.compare_digest(shown.encode(), (self._token or "").encode())


def _is_own(headers: Mapping[str, str], *, changes: bool) -> bool:
    """Whether a request comes from our own page, or from no browser.

    A request that changes something needs proof where a browser could have sent it: forms of old
    browsers show neither Origin nor Sec-Fetch-Site, but the type of a form or of plain text.

    Args:
        headers: The request's, by name in lower case.
        changes: Whether it asks for a change.
    """
    ours = headers.get("host", "")
    # an empty Origin or "null" is a page too, but none of ours
    if "origin" in headers:
        return urlsplit(headers["origin"]).netloc == ours
    site = headers.get("sec-fetch-site")
    if site is not None:
        # none: somebody typed the address
        return site in ("same-origin", "none")
    if not changes:
        return True
    if "referer" in headers:
        return urlsplit(headers["referer"]).netloc == ours
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind not in PAGE_TYPES and not headers.get("user-agent", "").startswith("Mozilla/")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdecimal() else host.lower()


def _refusal(status: int, why: str) -> ApiAnswer:
    return ApiAnswer(status, why.encode() + b"\n", TEXT_HEADERS)
