"""The driver's side of sending: who makes the next attempt, and what if nobody hears of it again.

Above this nothing is different from one process: the same limiter gives each attempt its turn, the
same delivery understands the answers, the same journal settles. An attempt with its turn is a grant
to a worker. It lapses within a second, by the worker's own clock, of which each message of the
worker tells: so one that was stopped sends nothing that has lost its turn. How long grants hold
follows from how long they take to arrive; the limiter leaves as much room for it.

A worker that says nothing for `LEASE_S` is given up with its connection: whatever comes of it later
nobody hears. Its grants take another turn, and none before it has lapsed, so that the kinds of rows
stay apart. Where no worker can be had, the driver makes the attempt.
"""

import asyncio
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

from backfill.cluster.attempts import NOTHING, UNREADABLE, Comm, Grant, Report, WorkerLink
from backfill.cluster.parcels import Buffer, Label
from backfill.cluster.worker import OPERATION
from backfill.delivery.outcome import NO_ANSWER, Meter, WorkerFigures
from backfill.delivery.pacing import Attempts, Request, Time
from backfill.delivery.track_api import Opening
from backfill.delivery.verdicts import Answer, NoAnswer
from backfill.operations.batches import Batch

LEASE_S = 5.0
"""How long a worker may say nothing."""

PING_S = 0.5
LOOK_S = 0.5
"""How often is looked whether workers have come."""

START_S = 5.0
"""How long the first attempt waits for one."""

GRANT_MIN_S, GRANT_MAX_S = 0.025, 1.0
LENGTHENED, SHORTENED = 2.0, 0.998
DRIFT = 1e-4
"""How much faster or slower than ours a clock may go."""

SHORT_BYTES = 4_096
"""Pieces of a body that are shorter than this travel with the grant."""


@dataclass(frozen=True, slots=True)
class Senders:
    """Workers that may send.

    Args:
        addresses: Says where they are, now.
        connect: Connects to one of them.
        place: Says in which parcel bytes lie, and where in it; None: in none.
    """

    addresses: Callable[[], Awaitable[Collection[str]]]
    connect: Callable[[str], Awaitable[Comm]]
    place: Callable[[Buffer], tuple[Label, int] | None]


@dataclass(slots=True)
class _Granted:
    """A grant that was not reported yet."""

    until_s: float
    report: asyncio.Future[Report | None]


@dataclass(slots=True)
class Session:
    """A connection to a worker.

    Args:
        link: Messages both ways.
        figures: What the worker has done.
        heard_s: When it said something last.
        granted: What it was granted and has not reported.
    """

    link: WorkerLink
    figures: WorkerFigures
    heard_s: float
    granted: dict[int, _Granted] = field(default_factory=dict)
    _ahead_s: float | None = None
    _measured_s: float = 0.0

    def heard(self, report: Report, now_s: float) -> None:
        """Take what the worker says; about a grant that was given up it is ignored."""
        self.heard_s = now_s
        # It was said before it was heard: the worker's clock is not less far ahead of ours.
        ahead_s = report.clock_s - now_s
        if self._ahead_s is not None:
            ahead_s = max(ahead_s, self._ahead_s - DRIFT * (now_s - self._measured_s))
        self._ahead_s, self._measured_s = ahead_s, now_s
        waiting = self.granted.pop(report.number, None)
        if waiting is not None and not waiting.report.done():
            waiting.report.set_result(report)

    @property
    def is_ready(self) -> bool:
        """Whether the worker's clock is known."""
        return self._ahead_s is not None

    def theirs_s(self, until_s: float) -> float:
        """A time of ours by the worker's clock; never later than it is."""
        return until_s + (self._ahead_s or 0.0)


class WorkerAttempts:
    """Attempts that workers make; the driver makes those that none of them can make.

    Args:
        own: The driver's own.
        opening: Opens the API in a worker.
        senders: Gives the workers; None: there are none yet.
        time: The clock.
        meter: Where attempts, answers and bytes are counted.
    """

    def __init__(
        self,
        own: Attempts,
        opening: Opening,
        senders: Callable[[], Senders | None],
        time: Time,
        meter: Meter,
    ) -> None:
        self._own, self._meter, self._time, self._senders = own, meter, time, senders
        self._opening = pickle.dumps(opening)
        self.sessions: dict[str, Session] = {}
        self._numbers = count()
        self.grant_s = GRANT_MIN_S
        self._someone = asyncio.Event()
        self._keeping: set[asyncio.Task[None]] = set()

    def late_s(self) -> float:
        """How long after its turn an attempt may begin, now."""
        return self.grant_s if self.sessions else 0.0

    async def attempt(self, batch: Request, *, fresh: bool = False) -> Answer | NoAnswer | None:
        """Have a request sent once."""
        senders = self._senders()
        if senders is None or not isinstance(batch, Batch):
            return await self._own.attempt(batch, fresh=fresh)
        if (pieces := _pieces(batch, senders.place)) is None:
            return await self._own.attempt(batch, fresh=fresh)
        if not self._someone.is_set():
            await self._wait_for_someone()
        ready = [each for each in self.sessions.values() if each.is_ready]
        if not ready:
            return await self._own.attempt(batch, fresh=fresh)
        session = min(ready, key=lambda each: (len(each.granted), each.figures.requests))
        return await self._granted(session, batch, pieces, fresh=fresh)

    async def _wait_for_someone(self) -> None:
        """Wait until the first worker is there; if none comes, wait no more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await self._someone.wait()
        self._someone.set()

    async def _granted(
        self, session: Session, batch: Batch, pieces: "tuple[Piece, ...]", *, fresh: bool
    ) -> Answer | NoAnswer | None:
        until_s = self._time.now_s() + self.grant_s
        waiting = _Granted(until_s, asyncio.get_running_loop().create_future())
        number = next(self._numbers)
        session.granted[number] = waiting
        theirs_s = session.theirs_s(until_s)
        session.link.send(Grant(number, batch.method, batch.path, pieces, theirs_s, fresh))
        size, meter = sum(map(_size, pieces)), self._meter
        meter.attempts += 1
        meter.bytes_sent += size
        meter.in_flight += 1
        session.figures.in_flight += 1
        try:
            report = await waiting.report
        finally:
            session.granted.pop(number, None)
            session.figures.in_flight -= 1
            meter.in_flight -= 1
        if report is None:  # nobody can tell whether it was sent
            return None
        answer = None if report.said == UNREADABLE else report.answer()
        if answer is None:
            meter.attempts -= 1
            meter.bytes_sent -= size
            if report.said == UNREADABLE:
                return await self._own.attempt(batch, fresh=fresh)
            self.grant_s = min(self.grant_s * LENGTHENED, GRANT_MAX_S)
            return None
        self.grant_s = max(self.grant_s * SHORTENED, GRANT_MIN_S)
        session.figures.requests += 1
        meter.answers[answer.status if isinstance(answer, Answer) else NO_ANSWER] += 1
        return answer

    # -- workers come and go

    async def keep(self) -> None:
        """Be connected to every worker that there is, as long as this is not cancelled."""
        try:
            while True:
                if senders := self._senders():
                    with suppress(Exception):  # the scheduler is lost: whoever works notices
                        for address in await senders.addresses():
                            self._begin(address, senders)
                await asyncio.sleep(LOOK_S)
        finally:
            for each in tuple(self._keeping):
                each.cancel()
            await asyncio.gather(*self._keeping, return_exceptions=True)

    def _begin(self, address: str, senders: Senders) -> None:
        if address in {each.get_name() for each in self._keeping}:
            return
        task = asyncio.create_task(self._connected(address, senders), name=address)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _connected(self, address: str, senders: Senders) -> None:
        """Speak with a worker until it is lost; then say so to all who wait for it."""
        # Whatever ends it, the worker sends no more for us.
        with suppress(Exception):
            comm = await senders.connect(address)
            figures = self._meter.workers.setdefault(address, WorkerFigures())
            session = Session(WorkerLink(comm), figures, self._time.now_s())
            figures.is_there = True
            try:
                # The first message is logged where Dask is told to log all.
                await comm.write({"op": OPERATION, "reply": False})
                await comm.write([self._opening])
                self.sessions[address] = session
                await self._speak(session)
            finally:
                comm.abort()
                figures.is_there = False
                self.sessions.pop(address, None)
                await self._give_up(session)

    async def _speak(self, session: Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.link.sending())
            tasks.create_task(self._pinging(session))
            async for each in session.link.received():
                session.heard(Report(*each), self._time.now_s())
                self._someone.set()

    async def _pinging(self, session: Session) -> None:
        """Ask whether the worker is there.

        Raises:
            TimeoutError: It has said nothing for too long.
        """
        while self._time.now_s() - session.heard_s < LEASE_S:
            session.link.send(Grant(NOTHING, "", "", (), 0.0, fresh=False))
            await asyncio.sleep(PING_S)
        raise TimeoutError

    async def _give_up(self, session: Session) -> None:
        """Let all that was granted take another turn, once nothing of it can be sent any more."""
        lapsed_s = max((each.until_s for each in session.granted.values()), default=0.0)
        if (wait_s := lapsed_s - self._time.now_s()) > 0:
            await self._time.sleep(wait_s)
        for each in session.granted.values():
            if not each.report.done():
                each.report.set_result(None)


Piece = bytes | tuple[str, str, int, int]


def _pieces(
    batch: Batch, place: Callable[[Buffer], tuple[Label, int] | None]
) -> tuple[Piece, ...] | None:
    """A body, of which long pieces lie in parcels; None: one of them does not."""
    made: list[Piece] = []
    for piece in batch.pieces():
        size = len(piece)
        if size < SHORT_BYTES:
            made.append(bytes(piece))
        elif (found := place(piece)) is not None:
            label, begin = found
            made.append((label.path, label.token, begin, size))
        else:
            return None
    return tuple(made)


def _size(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[3]


@asynccontextmanager
async def by_workers(
    senders: Callable[[], Senders | None], own: Attempts, opening: Opening, time: Time, meter: Meter
) -> AsyncIterator[WorkerAttempts]:
    """Have attempts made by workers; see `WorkerAttempts` for the arguments."""
    attempts = WorkerAttempts(own, opening, senders, time, meter)
    keeping = asyncio.create_task(attempts.keep())
    try:
        yield attempts
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
