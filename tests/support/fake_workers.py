"""Workers that work, without processes: they can be stopped, killed and cut off like real ones.

Each does what a worker does with its grants, over connections that are queues, to a service that is
a function. Everything happens in one event loop, whose time is virtual.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from backfill.cluster.attempts import make_attempts
from backfill.cluster.senders import Senders, WorkerAttempts
from backfill.delivery.outcome import Meter
from backfill.delivery.pacing import RateLimitedTransport, Time
from backfill.delivery.track_delivery import TrackDelivery
from backfill.delivery.verdicts import Answer, NoAnswer

OK = Answer(200, b"{}")


class Wire:
    """One end of a connection; what is written comes out at the other end."""

    def __init__(self) -> None:
        self.other: Wire | None = None
        self.is_closed = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.coming: asyncio.Queue[Any] = asyncio.Queue()

    async def read(self) -> Any:
        """The next message."""
        message = await self.coming.get()
        await self.gate.wait()
        if message is None:
            raise OSError("closed")
        return message

    async def write(self, msg: Any) -> None:
        """Send a message."""
        await self.gate.wait()
        if self.is_closed:
            raise OSError("closed")
        self.other.coming.put_nowait(msg)

    def abort(self) -> None:
        """Close it for both; a process that stands still finds out later."""
        for end in (self, self.other):
            end.is_closed = True
            end.coming.put_nowait(None)

    def cut(self) -> None:
        """The network is down: this end finds the connection lost, the other hears of nothing."""
        self.other = Wire()
        self.coming.put_nowait(None)


def wires() -> tuple[Wire, Wire]:
    """Both ends of a connection."""
    ours, theirs = Wire(), Wire()
    ours.other, theirs.other = theirs, ours
    return ours, theirs


@dataclass(slots=True)
class Sent:
    """A request that a service took."""

    at_s: float
    by: str
    body: Any


@dataclass(slots=True)
class FakeService:
    """Takes requests from all workers, and answers as it is told.

    Args:
        answers: Gives the answer to the n-th request, from 1.
        latency_s: How long an answer takes.
    """

    answers: Callable[[int], Answer | NoAnswer] = lambda _: OK
    latency_s: float = 0.1
    sent: list[Sent] = field(default_factory=list)
    busy: int = 0

    async def take(self, by: str, request: Any) -> Answer | NoAnswer:
        """Take a request, and answer."""
        now_s = asyncio.get_running_loop().time()
        self.sent.append(Sent(now_s, by, orjson.loads(request.body())))
        answer = self.answers(len(self.sent))
        await asyncio.sleep(self.latency_s)
        return answer

    def times(self) -> list[float]:
        """When each request came."""
        return [each.at_s for each in self.sent]


@dataclass(slots=True)
class FakeWorker:
    """A worker: its clock is `ahead_s` ahead of the driver's."""

    address: str
    service: FakeService
    ahead_s: float = 0.0
    wires: list[Wire] = field(default_factory=list)
    tasks: list[asyncio.Task] = field(default_factory=list)
    is_stopped: bool = False

    async def attempt(self, request: Any, *, fresh: bool = False) -> Answer | NoAnswer:
        """Send a request to the service, as the API of this worker."""
        del fresh
        return await self.service.take(self.address, request)

    async def look_up(self) -> Answer:
        """The key is not accepted: who asks has been refused before."""
        return Answer(401)

    @asynccontextmanager
    async def opening(self, *, meter: Meter) -> AsyncIterator["FakeWorker"]:
        """Open the API."""
        del meter
        yield self

    async def connect(self) -> Wire:
        """A connection to it; one that is stopped takes it up when it goes on."""
        ours, theirs = wires()
        if self.is_stopped:
            theirs.gate.clear()
        self.wires.append(theirs)
        self.tasks.append(asyncio.create_task(self._serve(theirs)))
        return ours

    async def _serve(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        try:
            await wire.read()  # what it is asked for
            await wire.read()  # what opens the API
            await make_attempts(wire, self.opening, lambda: loop.time() + self.ahead_s)
        except* OSError:
            wire.abort()

    def stop(self) -> None:
        """SIGSTOP."""
        self.is_stopped = True
        for each in self.wires:
            each.gate.clear()

    def go_on(self) -> None:
        """SIGCONT."""
        self.is_stopped = False
        for each in self.wires:
            each.gate.set()

    def kill(self) -> None:
        """SIGKILL: its connections are closed by the system."""
        for each in self.tasks:
            each.cancel()
        for each in self.wires:
            each.abort()


def opens_nothing(*, meter: Meter) -> Any:
    """What a fake worker is sent and does not use."""
    raise AssertionError(meter)


class FakeCrew:
    """Workers, the driver among them, and the real delivery that gives them their turns."""

    def __init__(self, service: FakeService, count: int) -> None:
        self.service = service
        self.workers = {
            f"w{n}": FakeWorker(f"w{n}", service, ahead_s=97.0 * n) for n in range(count)
        }
        self.driver = FakeWorker("driver", service)
        self.attempts: WorkerAttempts | None = None
        self.place: Callable[[Any], Any] = lambda _: None

    def add(self, address: str) -> None:
        """Start one more."""
        self.workers[address] = FakeWorker(address, self.service)

    def kill(self, address: str) -> None:
        """Kill one; it is not there any more."""
        self.workers.pop(address).kill()

    async def addresses(self) -> list[str]:
        """Who is there."""
        return list(self.workers)

    def connect(self, address: str) -> Awaitable[Wire]:
        """Connect to one."""
        return self.workers[address].connect()

    @asynccontextmanager
    async def delivery(self, rate: float, **more: Any) -> AsyncIterator[TrackDelivery]:
        """The real delivery, whose attempts they make."""
        senders = Senders(self.addresses, self.connect, self.place)
        time = Time(asyncio.get_running_loop().time, asyncio.sleep, lambda: 0.5)
        meter = Meter()
        self.attempts = WorkerAttempts(self.driver, opens_nothing, lambda: senders, time, meter)
        keeping = asyncio.create_task(self.attempts.keep())
        paced = RateLimitedTransport(
            self.attempts,
            rate=rate,
            concurrency_max=more.pop("concurrency", None),
            time=time,
            meter=meter,
            late_s=self.attempts.late_s,
        )
        try:
            yield TrackDelivery(paced, self.driver, time, meter=meter, outage_max_s=900, **more)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            for each in (*self.workers.values(), self.driver):
                each.kill()
