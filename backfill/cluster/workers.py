"""The driver's side: leases of chunks to Dask's workers, whatever becomes of these.

Little of Dask is used: `submit`, `result`, and that it tells when a worker died. A lease is one
chunk, or a piece of a file. One whose worker died twice is given out in halves, and a half that
kills once more is worked on in the driver: no row can kill workers for ever.
"""

import asyncio
import pickle
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, closing, suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from distributed.comm import CommClosedError, connect
from distributed.core import Status
from distributed.scheduler import KilledWorker

from backfill.cluster import worker
from backfill.cluster.parcels import Label, Parcel, Shelf, Taken
from backfill.cluster.worker import VERSION
from backfill.delivery.destination import is_loopback
from backfill.errors import BackfillError, UnavailableError
from backfill.judge.chunk_judge import IN_THREADS, THREADS, in_order
from backfill.rows import Chunk, Position
from backfill.sources.inputs import Input, chunks_of
from backfill.sources.interface import FilePiece, LocalFile

if TYPE_CHECKING:  # a check sends nothing
    from backfill.cluster.attempts import Comm
    from backfill.cluster.senders import WorkerAttempts
    from backfill.delivery.outcome import Meter
    from backfill.delivery.pacing import Attempts, Time
    from backfill.delivery.track_api import Opening

Given = tuple[Input, Chunk]
Rows = tuple[Input, Chunk | FilePiece]
SomeRows = TypeVar("SomeRows", bound=Rows)
Made = TypeVar("Made")

FEW_ROWS = 100_000
"""They are done before workers have started."""

KILLS_MAX, KILLS_OF_HALF_MAX = 2, 1
CONNECT_S = 5.0
WAIT_S = 0.5
LOOKS_SHORT_MAX, LOOKS_LATE_MAX = 10, 60
"""So often in a row, while results are waited for, may workers be missed: then others come in the
place of those that have ended; and of those that have not, but are late."""
_ENDED = (Status.closed, Status.failed)

NOBODY_FOR_S = 60.0
LEASES_PER_WORKER = 2
"""One in work, the next one ready: of a worker that dies both count as lost."""


@dataclass(slots=True)
class Crew:
    """Workers that are there.

    Args:
        client: Speaks to their scheduler.
        shelf: Where they find what they are given.
        count: How many there were at the start.
        taken: What they have made.
        cluster: The workers of this machine; None: they are somebody else's.
    """

    client: Any
    shelf: Shelf
    count: int
    taken: Taken
    cluster: Any = None
    _short: int = 0

    def present(self) -> int:
        """How many of them there are now; those of this machine that are missed are replaced.

        Dask starts a worker anew that was killed, but for one that was killed while it started.
        """
        present = len(self.client.nthreads())
        self._short = self._short + 1 if self.cluster is not None and present < self.count else 0
        if self._short and self._short % LOOKS_SHORT_MAX == 0:
            found = self.client.scheduler_info(n_workers=-1)["workers"].values()
            there = {each["name"] for each in found}
            # On a busy machine a start takes longer than a few looks.
            is_late = self._short >= LOOKS_LATE_MAX
            for name, nanny in tuple(self.cluster.workers.items()):
                if name not in there and (is_late or nanny.status in _ENDED):
                    self.cluster.worker_spec.pop(name, None)
            self.cluster.scale(self.count)
            self._short = 0 if is_late else self._short
        return present

    async def senders(self) -> list[str]:
        """The workers that may know the key to the API: it goes nowhere unencrypted."""
        found = await asyncio.to_thread(self.client.nthreads)
        return [each for each in found if is_private(each)]

    async def connect(self, address: str) -> "Comm":
        """Connect to a worker."""
        secured = self.client.security.get_connection_args("client")
        return cast("Comm", await connect(address, timeout=CONNECT_S, **secured))

    def close(self) -> None:
        """Let them go; those of this machine end."""
        self.client.close()
        if self.cluster is not None:
            self.cluster.close()


class ProcessWorkers:
    """Processes of this machine, or of a cluster, work on chunks; see `ChunkWorkers`.

    Args:
        start: Starts them; called when so many rows have come that it is worth it.
        check: Raises what is to stop the run.
        few: So many rows are worth it.
        whole: The sources, by index, whose chunks must stay as they are.
    """

    def __init__(
        self,
        start: Callable[[], Crew],
        check: Callable[[], None] = lambda: None,
        few: int = FEW_ROWS,
        *,
        whole: Collection[int] = (),
    ) -> None:
        self._whole = whole
        self._they_read = True
        self._start = start
        self._check = check
        self._few = few
        self.crew: Crew | None = None

    def sending(
        self, own: "Attempts", opening: "Opening", time: "Time", meter: "Meter"
    ) -> AbstractAsyncContextManager["WorkerAttempts"]:
        """See `Elsewhere`."""
        from backfill.cluster.senders import Senders, by_workers  # noqa: PLC0415 - a check has none

        def senders() -> Senders | None:
            if self.crew is None:
                return None
            return Senders(self.crew.senders, self.crew.connect, self.crew.taken.place)

        return by_workers(senders, own, opening, time, meter)

    def map(
        self, work: Callable[[Given], Made], chunks: Iterable[Given], ahead: int = THREADS
    ) -> Generator[Made]:
        """See `ChunkWorkers.map`."""
        coming = iter(chunks)
        first = self._first(coming)
        if self.crew is None:
            yield from IN_THREADS.map(work, first, ahead)
        else:
            yield from self._leased(self.crew, work, chain(first, coming))

    def read(
        self,
        work: Callable[[Given], Made],
        inputs: Sequence[Input],
        ahead: int = THREADS,
        *,
        small: bool = False,
    ) -> Generator[Made]:
        """See `ChunkWorkers.read`."""
        coming = ((place, rows) for place in inputs for rows in self._pieces(place, small=small))
        first = self._first(coming)
        if self.crew is None:
            yield from IN_THREADS.read(work, inputs, ahead)
        else:
            yield from self._leased(self.crew, work, chain(first, coming))

    def _pieces(self, place: Input, *, small: bool) -> Iterator[Chunk | FilePiece]:
        """The rows of a file, as far as possible without reading them."""
        if not isinstance(place.file.stored, LocalFile):
            yield from (chunk for _, chunk in chunks_of([place]))
            return
        for rows in place.file.pieces(small=small):
            yield from [rows] if self._they_read else worker.chunks_in(rows)

    def _read_here(self) -> None:
        """A worker could not read a piece: a cluster's machine may see another file there."""
        self._they_read = False

    def _first(self, coming: Iterator[SomeRows]) -> list[SomeRows]:
        """What shows whether it is worth it to start; then they are there."""
        first: list[SomeRows] = []
        if self.crew is None:
            rows = 0
            while rows < self._few and (given := next(coming, None)):
                first.append(given)
                rows += _row_count(*given)
            if rows >= self._few:
                self.crew = self._start()
        return first

    def _leased(
        self, crew: Crew, work: Callable[[Given], Made], given: Iterable[Rows]
    ) -> Generator[Made]:
        def here(rows: Rows) -> list[Made]:
            place, some = rows
            return [work((place, each)) for each in worker.chunks_in(some)]

        with closing(_Leases(crew, work, self._check, self._whole, self._read_here)) as leases:
            ready = crew.count * LEASES_PER_WORKER
            for made in in_order(here, given, leases, ready):
                yield from made

    def close(self) -> None:
        """Let the workers go, if there are any."""
        if self.crew is not None:
            self.crew.close()


@dataclass(frozen=True, slots=True)
class _HalfPiece:
    """The chunks of a piece that begin in some of its rows."""

    piece: FilePiece
    start: Position
    end: Position

    def chunks(self) -> Iterator[Chunk]:
        """The rows; see `SourceFile.chunks`."""
        for each in self.piece.chunks():
            if self.start.row <= each.first_row < self.end.row:
                yield each


def halves_of(piece: FilePiece) -> tuple[FilePiece, FilePiece]:
    """A piece in two; where it has but one chunk, one of them has none."""
    middle = Position((piece.start.row + piece.end.row) // 2)
    return _HalfPiece(piece, piece.start, middle), _HalfPiece(piece, middle, piece.end)


def is_private(address: str) -> bool:
    """Whether nobody but us can read what is said to a worker."""
    scheme, _, place = address.partition("://")
    return scheme in ("tls", "inproc") or (scheme == "tcp" and is_loopback(f"http://{place}"))


def _row_count(_: Input, rows: Chunk | FilePiece) -> int:
    """How many rows there are, but for those of earlier pieces."""
    begin = rows.first_row if isinstance(rows, Chunk) else rows.start.row
    return rows.end.row - begin


class _Leases:
    """Gives chunks to workers as an executor does.

    Args:
        crew: The workers.
        work: What they do.
        check: Raises what is to stop the run.
        whole: The sources whose chunks must stay as they are.
        read_here: Told when a worker could not read a piece.
    """

    def __init__(
        self,
        crew: Crew,
        work: Callable[[Given], Any],
        check: Callable[[], None],
        whole: Collection[int],
        read_here: Callable[[], None],
    ) -> None:
        self.crew = crew
        self.check = check
        self.read_here = read_here
        self._whole = whole
        self.how = self.lay_down(work)
        self._open: set[_Lease[Any]] = set()

    def lay_down(self, value: Any) -> Parcel:
        """Make a value known to the workers.

        Raises:
            BackfillError: There is no room for it, or a bucket does not take it.
        """
        try:
            return self.crew.shelf.put(value)
        except OSError as failure:
            raise worker.no_room(failure) from failure

    def submit(
        self, work: Callable[[Any], Made], given: Any, /, kills_max: int = KILLS_MAX
    ) -> "_Lease[Made]":
        """Give a chunk, or a piece, to one of them."""
        lease = _Lease(self, work, given, kills_max)
        self._open.add(lease)
        return lease

    def halves(self, given: Rows) -> "tuple[Rows, Rows] | None":
        """The same rows in two; None: they must stay together."""
        place, rows = given
        if place.source in self._whole:
            return None
        halves = rows.halves() if isinstance(rows, Chunk) else halves_of(rows)
        return halves and ((place, halves[0]), (place, halves[1]))

    def ended(self, lease: "_Lease[Any]") -> None:
        """Nobody works on it any more."""
        self._open.discard(lease)

    def close(self) -> None:
        """Take back all that was not taken; what workers still make of it nobody hears of."""
        for lease in tuple(self._open):
            lease.drop()
        self.how.remove()


class _NobodyThereError(Exception):
    """There are no workers, and none have come."""


class _Lease(Generic[Made]):
    """Rows that were given to a worker, until the result of each of their chunks is taken."""

    def __init__(
        self,
        leases: _Leases,
        work: Callable[[Rows], Made],
        given: Rows,
        kills_max: int,
    ) -> None:
        self._leases = leases
        self._work = work
        self._given = given
        place, rows = given
        self._parcel = leases.lay_down((worker.without_file(place), rows))
        self._kills_left, self._may_be_cut = kills_max, kills_max == KILLS_MAX
        self._future = self._submitted()

    def _submitted(self) -> Any:
        crew = self._leases.crew
        # One worker may make all that is not taken yet.
        kept = crew.shelf.name or crew.count * LEASES_PER_WORKER + 1
        asked = self._leases.how.label, self._parcel.label, kept
        # Never by content: Dask would give an earlier result for what it takes for the same task.
        return crew.client.submit(worker.work_on, VERSION, *asked, pure=False, retries=0)

    def result(self) -> Made:
        """What was made of the rows, here if the workers cannot.

        Raises:
            BackfillError: What a worker ran into, or what is to stop the run.
            UnavailableError: There is no cluster any more.
        """
        try:
            while True:
                try:
                    return self._unpacked(self._answer())
                except _NobodyThereError:
                    return self._work(self._given)
                except (KilledWorker, FileNotFoundError):  # it, or with it what it has made
                    self._kills_left -= 1
                    if not self._kills_left:
                        break
                    self._future = self._submitted()
        finally:
            self.drop()
        return self._cut_or_here()

    def _cut_or_here(self) -> Made:
        """What was made of rows that kill: of each half by a worker, or of all of them here."""
        halves = self._leases.halves(self._given) if self._may_be_cut else None
        if halves is None:
            # Whatever it is, alone, and where it can be seen.
            return self._work(self._given)
        # Fewer rows take less memory.
        leases = [self._leases.submit(self._work, each, KILLS_OF_HALF_MAX) for each in halves]
        made = [one for each in leases for one in cast("list[Any]", each.result())]
        return cast("Made", made)

    def _answer(self) -> Label | bytes:
        """What a worker answers, as long as there is any hope of it."""
        lonely_s = 0.0
        while lonely_s < NOBODY_FOR_S:
            try:
                return cast("Label | bytes", self._future.result(timeout=WAIT_S))
            except TimeoutError:
                self._leases.check()
            except (CancelledError, CommClosedError, OSError) as error:
                raise UnavailableError(
                    "the connection to the cluster's scheduler was lost",
                    next_step="run the same command again to resume, with --cluster or without",
                ) from error
            with suppress(TimeoutError, OSError):
                lonely_s = 0.0 if self._leases.crew.present() else lonely_s + WAIT_S
        raise _NobodyThereError

    def _unpacked(self, answer: Label | bytes) -> Made:
        if isinstance(answer, bytes):
            raise pickle.loads(answer)  # noqa: S301 - our own worker's
        place, rows = self._given
        made = self._leases.crew.taken.open(Label(*answer), {"place": place, "rows": rows})
        if isinstance(made, BackfillError):
            if isinstance(rows, Chunk):
                raise made
            # What is wrong with the file itself is found here, too.
            self._leases.read_here()
            return self._work(self._given)
        return cast("Made", made)

    def drop(self) -> None:
        """Nobody wants it any more."""
        self._leases.ended(self)
        self._future.release()
        self._parcel.remove()
