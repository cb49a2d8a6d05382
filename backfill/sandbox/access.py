"""Who may come in at all: no strange Host, no foreign page, no stranger beyond loopback."""

import hmac
import ipaddress
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from backfill.sandbox.wire import TEXT_HEADERS, ApiAnswer

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
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

    A page elsewhere could point a name of its own at 127.0.0.1 (so the Host must be ours), or
    post to it from a browser (so an Origin must be ours).

    Args:
        app: What it lets requests through to.
        host: The address that the sandbox listens on.
        token: What `/sandbox/*` asks for; None lets everyone look.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None) -> None:
        self._app = app
        self._token = token
        self._hosts = LOOPBACK_NAMES | {host, f"[{host}]"} if is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        length = (b"content-length", b"%d" % len(refusal.body))
        headers = [*refusal.headers, length, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": refusal.body})

    def _refusal(self, scope: Scope) -> ApiAnswer | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self._hosts is not None and _without_port(host) not in self._hosts:
            return _refusal(400, "this Host is not the sandbox's")
        if not scope["path"].startswith("/sandbox/"):
            return None
        origin = headers.get(b"origin", b"").decode("latin-1")
        if scope["method"] not in SAFE_METHODS and origin and urlsplit(origin).netloc != host:
            return _refusal(403, "this page is not the sandbox's")
        if self._token is not None and not self._shows_token(scope, headers):
            return _refusal(401, "the token is missing: it was printed at the start")
        return None

    def _shows_token(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        scheme, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        in_query = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        shown = text if scheme.lower() == "bearer" else in_query
        return hmac.compare_digest(shown.encode(), (self._token or "").encode())


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdecimal() else host.lower()


def _refusal(status: int, why: str) -> ApiAnswer:
    return ApiAnswer(status, why.encode() + b"\n", TEXT_HEADERS)
