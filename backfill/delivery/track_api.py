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
from backfill.delivery.exchange import AnswerReader, Exchange, tls_for
from backfill.delivery.outcome import NO_ANSWER, Meter
from backfill.delivery.region import REGION_PATH
from backfill.delivery.verdicts import Answer, NoAnswer, NoAnswerKind
from backfill.operations.batches import Batch


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

    Args:
        exchange: Makes the requests.
        pooled: Connections that are kept for the next request.
        fresh: A new connection for each request.
        total_s: How long one attempt may take, from its first byte to the answer's last.
        meter: Where attempts, answers and bytes are counted.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        pooled: httpx.AsyncBaseTransport,
        fresh: httpx.AsyncBaseTransport,
        total_s: float,
        meter: Meter,
    ) -> None:
        self._exchange = exchange
        self._pooled, self._fresh = pooled, fresh
        self._total_s = total_s
        self._meter = meter

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
        request = self._exchange.request(method, path, body)
        transport = self._fresh if fresh else self._pooled
        try:
            # Servers that drip, or send interim answers without end, keep every silence short.
            async with asyncio.timeout(self._total_s):
                return await _read(await transport.handle_async_request(request))
        # ValueError: httpx-aiohttp fails on a reason phrase that is not UTF-8.
        except (httpx.HTTPError, aiohttp.ClientError, OSError, ValueError) as error:
            return NoAnswer(_kind(error))


async def _read(response: httpx.Response) -> Answer | NoAnswer:
    reader = AnswerReader(response)
    try:
        async for piece in response.stream:  # type: ignore[union-attr]  # always async here
            if not reader.add(piece):
                break
    finally:
        # Cuts the connection where the answer was not read to its end.
        await response.stream.aclose()  # type: ignore[union-attr]
    return reader.answer()


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
    tls = tls_for(url)
    timeout = httpx.Timeout(timeouts.read_s, connect=timeouts.connect_s, pool=None)
    async with (
        _session(tls, connections_max) as kept,
        _session(tls, connections_max, force_close=True) as single,
    ):
        yield TrackApi(
            Exchange(url, credentials, user_agent=user_agent, timeout=timeout),
            pooled=AiohttpTransport(verify=False, trust_env=False, client=kept),
            fresh=AiohttpTransport(verify=False, trust_env=False, client=single),
            total_s=timeouts.total_s,
            meter=meter,
        )


def _session(
    tls: ssl.SSLContext | bool, connections_max: int, *, force_close: bool = False
) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=tls, limit=connections_max, force_close=force_close)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        middlewares=(_only_once,),
    )


async def _only_once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending again by itself, out of turn and uncounted.

    It does so with a PUT or DELETE whose kept connection was dropped, and tells by these two
    classes (aiohttp `ClientSession._request`); there is no switch for it.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise  # never connected, and so not sent again
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error
