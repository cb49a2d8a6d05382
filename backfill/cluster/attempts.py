"""A worker's side of sending: it makes the attempts that it is granted, and says what came of them.

A grant is one request and the time until which it may begin, by this worker's own clock. Whoever
was stopped meanwhile finds it lapsed, and says so. What an answer means, whether and when there is
another attempt, and what is settled is the driver's affair alone.

Messages travel over a connection of Dask's, so that they are as safe as all that Dask sends. The
first has what opens the API, the key in it; nobody logs it: Dask writes what a connection begins
with into a debug log, and this comes behind it.
"""

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from backfill.clock import Clock
from backfill.cluster.parcels import Label, mapped
from backfill.delivery.outcome import Meter
from backfill.delivery.track_api import Opening
from backfill.delivery.verdicts import Answer, NoAnswer
from backfill.errors import BackfillError

PARCELS_OPEN = 8
"""The requests that are granted together lie in a few."""


class Comm(Protocol):
    """A connection of Dask's, as far as it matters here."""

    async def read(self) -> Any:
        """The next message."""

    async def write(self, msg: Any) -> Any:
        """Send one."""

    def abort(self) -> None:
        """Close it at once."""


class Span(NamedTuple):
    """Some bytes of a parcel."""

    path: str
    token: str
    begin: int
    size: int


class Grant(NamedTuple):
    """One request that a worker may begin to send.

    Args:
        number: Which one.
        method: The HTTP method.
        path: The path, percent-encoded.
        pieces: The body: bytes, or where they lie.
        until_s: When it lapses, by the worker's clock.
        fresh: A new connection is wanted.
    """

    number: int
    method: str
    path: str
    pieces: tuple[bytes | tuple[str, str, int, int], ...]
    until_s: float
    fresh: bool


class Report(NamedTuple):
    """What came of a grant.

    Args:
        number: Which one; -1: of none, it only says that the worker is there.
        clock_s: The worker's clock.
        said: Status, body and headers of an answer, or why there was none: `UNREADABLE`, or a kind
            of `NoAnswer`; None: it had lapsed.
    """

    number: int
    clock_s: float
    said: tuple[int, bytes, Mapping[str, str]] | str | None = None

    def answer(self) -> Answer | NoAnswer | None:
        """What an attempt gives."""
        if self.said is None or isinstance(self.said, str):
            return NoAnswer(self.said) if self.said else None  # type: ignore[arg-type]
        return Answer(*self.said)


NOTHING = -1
"""The number of a message about no grant."""


UNREADABLE = "unreadable"
"""Said of a request whose bytes do not lie where they should, or cannot be seen from there."""


class WorkerLink:
    """Messages both ways; those that come together travel together."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm
        self._out: list[Any] = []
        self._wake = asyncio.Event()

    def send(self, message: Any) -> None:
        """Have a message sent."""
        self._out.append(message)
        self._wake.set()

    async def sending(self) -> None:
        """Send messages as they come.

        Raises:
            OSError: The connection is lost.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            some, self._out = self._out, []
            await self._comm.write(some)

    async def received(self) -> AsyncIterator[Any]:
        """Messages as they come.

        Raises:
            OSError: The connection is lost.
        """
        while True:
            for each in await self._comm.read():
                yield each


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that is put together."""

    method: str
    path: str
    content: bytes

    def body(self) -> bytes:
        """The body."""
        return self.content


async def serve(comm: Comm) -> None:
    """Make attempts for the driver at the other end, as long as it is there.

    Nothing is raised: Dask would log it with all that belongs to it.
    """
    with suppress(Exception):
        (opening,) = await comm.read()
        await make_attempts(comm, pickle.loads(opening), Clock().now_s)  # noqa: S301 - the driver's own
    comm.abort()


async def make_attempts(comm: Comm, opening: Opening, clock: Callable[[], float]) -> None:
    """Make the attempts that are granted.

    Args:
        comm: The connection to the driver.
        opening: Opens the API.
        clock: What grants lapse by, in seconds.

    Raises:
        OSError: The driver has gone; what was under way is given up.
    """
    link = WorkerLink(comm)
    async with opening(meter=Meter()) as api, asyncio.TaskGroup() as tasks:

        async def attempt(grant: Grant) -> None:
            link.send(await _attempted(grant, api, clock))

        tasks.create_task(link.sending())
        async for message in link.received():
            grant = Grant(*message)
            if grant.number == NOTHING:
                link.send(Report(NOTHING, clock()))
            else:
                tasks.create_task(attempt(grant))


async def _attempted(grant: Grant, api: Any, clock: Callable[[], float]) -> Report:
    try:
        content = b"".join(map(_bytes_of, grant.pieces))
    except (OSError, ValueError, BackfillError):
        return Report(grant.number, clock(), UNREADABLE)
    # Asked last: the process may have been stopped before, for however long.
    if clock() > grant.until_s:
        return Report(grant.number, clock())
    request = _Request(grant.method, grant.path, content)
    answer = await api.attempt(request, fresh=grant.fresh)
    if isinstance(answer, NoAnswer):
        return Report(grant.number, clock(), answer.kind)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Report(grant.number, clock(), (answer.status, answer.body, headers))


def _bytes_of(piece: bytes | tuple[str, str, int, int]) -> bytes | memoryview:
    if isinstance(piece, bytes):
        return piece
    span = Span(*piece)
    return _parcel(Label(span.path, span.token))[span.begin : span.begin + span.size]


@lru_cache(PARCELS_OPEN)
def _parcel(label: Label) -> memoryview:
    return mapped(label)
