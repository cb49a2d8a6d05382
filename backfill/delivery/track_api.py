"""One attempt over the wire: a request out, an answer or no answer back. No policy, no waiting.

httpx's values over aiohttp's sockets: a third of the CPU time of httpx's own connection pool.
The transport is used without a client around it, so there are no redirects, no cookies, no
proxies from the environment and no decompression to switch off.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from backfill.delivery.credentials import Credentials
from backfill.delivery.meter import NO_ANSWER, Meter
from backfill.delivery.region import REGION_PATH
from backfill.delivery.verdicts import Answer, NoAnswer, NoAnswerKind
from backfill.operations.batches import Batch

ANSWER_BYTES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one attempt may take, in seconds. `total_s` bounds the writing too."""

    connect_s: float = 10.0
    read_s: float = 30.0
    total_s: float = 60.0


DEFAULT_TIMEOUTS = Timeouts()


class TrackApi:
    """The Track API, one attempt at a time. Safe to use from many tasks.

    An attempt is never cancelled but by its own total timeout; its connection is then closed.
    """

    def __init__(
        self,
        url: str,
        headers: dict[str, str],
        *,
        pooled: httpx.AsyncBaseTransport,
        fresh: httpx.AsyncBaseTransport,
        timeouts: Timeouts,
        meter: Meter,
    ) -> None:
        self._url = url
        self._headers = httpx.Headers(headers)
        self._pooled, self._fresh = pooled, fresh
        self._total_s = timeouts.total_s
        self._meter = meter
        self._extensions = {
            "timeout": {"connect": timeouts.connect_s, "read": timeouts.read_s, "pool": None}
        }

    async def attempt(self, batch: Batch, *, fresh: bool = False) -> Answer | NoAnswer:
        """Send a batch once; `fresh` takes a new connection instead of a kept one."""
        meter, body = self._meter, bytes(batch.body())
        meter.attempts += 1
        meter.bytes_sent += len(body)
        meter.in_flight += 1
        try:
            answer = await self._ask(batch.method, batch.path, body, fresh=fresh)
        finally:
            meter.in_flight -= 1
        meter.answers[answer.status if isinstance(answer, Answer) else NO_ANSWER] += 1
        return answer

    async def look_up(self) -> Answer | NoAnswer:
        """Ask which workspace the credentials open."""
        return await self._ask("GET", REGION_PATH, b"", fresh=False)

    async def _ask(self, method: str, path: str, body: bytes, *, fresh: bool) -> Answer | NoAnswer:
        request = httpx.Request(
            method,
            self._url + path,
            headers=self._headers,
            content=body,
            extensions=self._extensions,
        )
        transport = self._fresh if fresh else self._pooled
        try:
            async with asyncio.timeout(self._total_s):
                response = await transport.handle_async_request(request)
                return await _read(response)
        # ValueError: httpx-aiohttp fails on a reason phrase that is not UTF-8.
        except (httpx.HTTPError, aiohttp.ClientError, OSError, ValueError) as error:
            return NoAnswer(_kind(error))


async def _read(response: httpx.Response) -> Answer | NoAnswer:
    """The whole answer, up to a megabyte; a longer one is cut off with its connection."""
    body = b""
    try:
        async for chunk in response.stream:  # type: ignore[union-attr]  # always async here
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                return NoAnswer("garbled")
    finally:
        await response.stream.aclose()  # type: ignore[union-attr]
    return Answer(response.status_code, body, response.headers)


def _kind(error: Exception) -> NoAnswerKind:
    """Name the failure. httpx-aiohttp's own names are coarse, so ask for the cause."""
    cause = error.__cause__ or error
    match cause:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "untrusted"
        case aiohttp.ClientConnectorError():
            return "unreachable"
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | ConnectionError():
            return "dropped"
        case _:
            return "garbled"


@asynccontextmanager
async def open_track_api(
    url: str,
    credentials: Credentials,
    *,
    user_agent: str,
    connections_max: int,
    timeouts: Timeouts,
    meter: Meter,
) -> AsyncIterator[TrackApi]:
    """Open the connections to the API at `url`; close them at the end.

    Args:
        url: Where requests go, from `destination`.
        credentials: Sent with every request.
        user_agent: Names the program to the service.
        connections_max: At least the number of attempts at the same time.
        timeouts: For each attempt.
        meter: Where attempts, answers and bytes are counted.
    """
    headers = {
        "Authorization": credentials.basic(),
        "Content-Type": "application/json",
        "User-Agent": user_agent,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }
    # The one thing taken from the environment: SSL_CERT_FILE, for a certificate authority.
    tls = httpx.create_ssl_context() if url.startswith("https:") else False
    async with (
        _session(tls, connections_max) as kept,
        _session(tls, connections_max, force_close=True) as single,
    ):
        yield TrackApi(
            url,
            headers,
            pooled=AiohttpTransport(verify=False, trust_env=False, client=kept),
            fresh=AiohttpTransport(verify=False, trust_env=False, client=single),
            timeouts=timeouts,
            meter=meter,
        )


def _session(
    tls: ssl.SSLContext | bool, connections_max: int, *, force_close: bool = False
) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=tls, limit=connections_max, force_close=force_close)
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
    )
    # It would send a PUT again by itself, out of turn and uncounted; there is no public switch.
    session._retry_connection = False  # noqa: SLF001
    return session
