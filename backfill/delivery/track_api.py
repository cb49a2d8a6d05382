"""One attempt over the wire: a request out, an answer or no answer back. No policy, no waiting.

The Track API's and the App API's alike: they differ in their keys, and in how much they answer.

aiohttp is used for its connections alone, which cost a third of the CPU time of httpx's pool: no
redirects, no cookies, no proxies from the environment, no decompression.
"""

import asyncio
import fcntl
import ssl
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from yarl import URL

from backfill.delivery.credentials import Key
from backfill.delivery.exchange import (
    ANSWER_BYTES_MAX,
    AnswerReader,
    request_headers,
    tls_for,
)
from backfill.delivery.outcome import NO_ANSWER, Meter
from backfill.delivery.pacing import Request
from backfill.delivery.region import REGION_PATH
from backfill.delivery.verdicts import Answer, NoAnswer, NoAnswerKind
from backfill.judge.optional_imports import without_authorities

with without_authorities():  # each session is given a context, or speaks no TLS: see `tls_for`
    import aiohttp

_INT = struct.Struct("i")


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
        url: Where requests go.
        key: Hidden in what the service says.
        pooled: Keeps connections for the next request.
        fresh: Opens a connection for each request.
        total_s: How long one attempt may take, from its first byte to the answer's last.
        meter: Where attempts, answers and bytes are counted.
        answer_bytes_max: A longer answer is none.
    """

    def __init__(
        self,
        url: str,
        key: Key,
        *,
        pooled: aiohttp.ClientSession,
        fresh: aiohttp.ClientSession,
        total_s: float,
        meter: Meter,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        self._url, self._key = url, key
        self._answer_bytes_max = answer_bytes_max
        self._pooled, self._fresh = pooled, fresh
        self._total_s = total_s
        self._meter = meter

    async def attempt(self, batch: Request, *, fresh: bool = False) -> Answer | NoAnswer:
        """Send a request once; `fresh` takes a new connection instead of a kept one."""
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
        session = self._fresh if fresh else self._pooled
        # Marked as encoded, or aiohttp would write `%2C` as `,`, which servers read otherwise.
        url = URL(self._url + path, encoded=True)
        try:
            # A server that drips, or sends interim answers without end, is never silent for long:
            # only the total ends it.
            async with (
                asyncio.timeout(self._total_s),
                session.request(method, url, data=body or None, allow_redirects=False) as response,
            ):
                return await self._read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return NoAnswer(_kind(error))

    async def _read(self, response: aiohttp.ClientResponse) -> Answer | NoAnswer:
        reader = AnswerReader(self._key, self._answer_bytes_max)
        async for piece in response.content.iter_any():
            if not reader.add(piece):
                response.close()  # with its connection: the rest would have to be read first
                break
        return reader.answer(response.status, response.headers)


def _kind(error: Exception) -> NoAnswerKind:
    match error:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "untrusted"
        case aiohttp.ClientConnectorDNSError():
            return "unknown_host"
        case aiohttp.ClientConnectorError():
            return "unreachable"
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | ConnectionError():
            return "dropped"
        case _:
            return "garbled"


class Opening(Protocol):
    """Opens the API, here or in another process: `open_track_api` with all but its meter."""

    def __call__(self, *, meter: Meter) -> AbstractAsyncContextManager[TrackApi]:
        """Open it; `meter` counts attempts, answers and bytes."""


@asynccontextmanager
async def open_track_api(
    url: str,
    key: Key,
    *,
    user_agent: str,
    connections_max: int,
    timeouts: Timeouts,
    meter: Meter,
    answer_bytes_max: int = ANSWER_BYTES_MAX,
) -> AsyncIterator[TrackApi]:
    """Open the connections to the API at `url`; close them at the end.

    Args:
        url: Where requests go, from `destination`.
        key: Sent with every request.
        user_agent: Names the program to the service.
        connections_max: At least the number of attempts at the same time.
        timeouts: For each attempt.
        meter: Where attempts, answers and bytes are counted.
        answer_bytes_max: A longer answer is none.
    """
    tls = tls_for(url)
    headers = request_headers(key, user_agent)
    async with (
        _session(headers, tls, timeouts, connections_max) as kept,
        _session(headers, tls, timeouts, connections_max, force_close=True) as single,
    ):
        yield TrackApi(
            url,
            key,
            pooled=kept,
            fresh=single,
            total_s=timeouts.total_s,
            meter=meter,
            answer_bytes_max=answer_bytes_max,
        )


def _session(
    headers: dict[str, str],
    tls: ssl.SSLContext | bool,
    timeouts: Timeouts,
    connections_max: int,
    *,
    force_close: bool = False,
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers=headers,
        connector=_Connector(ssl=tls, limit=connections_max, force_close=force_close),
        timeout=aiohttp.ClientTimeout(sock_connect=timeouts.connect_s, sock_read=timeouts.read_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        middlewares=(_only_once, _only_whole),
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


async def _only_whole(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Believe no success that was answered before the request had arrived.

    Such an answer is another's: of a proxy, or of a server that has lost its place. Whoever has
    read a request to its end has acknowledged all of its bytes, at the latest with the answer.
    """
    response = await send(request)
    transport = _carries.get()
    if response.ok and transport is not None and _unacknowledged_bytes(transport):
        transport.abort()  # the next request would wait behind the rest of this one
        raise aiohttp.ClientPayloadError("answered before the request had arrived")
    return response


class _Connector(aiohttp.TCPConnector):
    """Opens connections, and remembers which one carries the request of the current task."""

    async def connect(self, *args: Any, **options: Any) -> Any:
        connection = await super().connect(*args, **options)
        _carries.set(connection.transport)
        return connection


_carries: ContextVar[asyncio.Transport | None] = ContextVar("_carries", default=None)


def _unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """How much of what was written has not arrived; 0 where nobody can tell."""
    waiting = transport.get_write_buffer_size()
    with suppress(OSError, ValueError):  # closed by now, or a system that does not count
        descriptor = transport.get_extra_info("socket").fileno()
        # Bytes in the kernel's send queue: not sent, or not acknowledged (tcp(7), SIOCOUTQ).
        waiting += _INT.unpack(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(_INT.size)))[0]
    return waiting
