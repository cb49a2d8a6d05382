"""A remote file that looks like a local one: read in large ranges, some of them ahead of time."""

import io
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

FIRST_BYTES = 1 << 18
"""How much is fetched after a jump: a header or a footer is all that may be wanted."""

RANGE_BYTES = 8 << 20
"""How much is fetched at once: less costs round trips, more may run into the store's time limit."""

HELD_BYTES_MAX = 5 * RANGE_BYTES
_AHEAD = 2
_PLACES_RANGE_BYTES_MIN = 1 << 17

Fetch = Callable[[int, int], memoryview]
"""Gives the bytes of the file from the first offset up to, not including, the second."""


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """How a file is going to be read.

    Args:
        first_bytes: How much to fetch after a jump.
        range_bytes: How much to fetch where reading goes on.
        ahead: How many ranges are fetched before they are asked for.
    """

    first_bytes: int = FIRST_BYTES
    range_bytes: int = RANGE_BYTES
    ahead: int = _AHEAD

    @classmethod
    def for_columns(cls, columns: int, group_bytes: int) -> "ReadingPlan":
        """How Parquet is read: in several places at once, one for each column.

        Args:
            columns: How many columns are read.
            group_bytes: What they take in the largest row group, as they are stored.
        """
        if group_bytes <= HELD_BYTES_MAX - (_AHEAD + 1) * RANGE_BYTES:  # held as a whole
            return cls(first_bytes=RANGE_BYTES)
        # Two ranges for each column, and room for one that is used up before it is let go.
        each = max(HELD_BYTES_MAX // (3 * columns), _PLACES_RANGE_BYTES_MIN)
        range_bytes = min(each, RANGE_BYTES)
        return cls(first_bytes=range_bytes, range_bytes=range_bytes, ahead=1)


BY_ITS_BEGINNING = ReadingPlan()
"""For text: some of the beginning, and all of it where reading goes on."""


@dataclass(slots=True)
class _Range:
    start: int
    stop: int
    data: Future[memoryview]


class ReadAhead(io.RawIOBase):
    """The bytes of a file that are fetched in ranges; at most `HELD_BYTES_MAX` are held.

    Args:
        fetch: Fetches a range; called in the threads of `threads`.
        size: The size of the file, in bytes.
        threads: Where ranges are fetched.
        plan: How it is going to be read.
    """

    def __init__(self, fetch: Fetch, size: int, threads: Executor, plan: ReadingPlan) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._threads = threads
        self._plan = plan
        self._at = 0
        self._ranges: dict[int, _Range] = {}  # by start; those used last come last
        self._last: _Range | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere; nothing is fetched before it is read."""
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(begin + offset, 0)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes; fewer only at the end of the file."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        pieces = []
        while self._at < end:
            here = self._range_at(self._at)
            data = here.data.result()[self._at - here.start : end - here.start]
            pieces.append(data)
            self._at += len(data)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    @property
    def held_bytes(self) -> int:
        """How many bytes are held, or on their way."""
        return sum(each.stop - each.start for each in self._ranges.values())

    def close(self) -> None:
        """Let go of all that is held, and of what is still to be fetched."""
        for each in self._ranges.values():
            each.data.cancel()
        self._ranges.clear()
        self._last = None
        super().close()

    def _range_at(self, at: int) -> _Range:
        last = self._last
        if last is not None and last.start <= at < last.stop:
            return last
        here = next((each for each in self._ranges.values() if each.start <= at < each.stop), None)
        goes_on = here is not None or (last is not None and last.stop == at)
        if here is None:
            here = self._fetched(at, self._plan.range_bytes if goes_on else self._plan.first_bytes)
        # One that was fetched after a jump may be all that is wanted.
        is_whole = goes_on or self._plan.first_bytes == self._plan.range_bytes
        self._keep([here, *(self._after(here) if is_whole else ())])
        self._last = here
        return here

    def _after(self, here: _Range) -> list[_Range]:
        """The ranges that follow one, as many as are read ahead."""
        found = []
        for _ in range(self._plan.ahead):
            if here.stop >= self._size:
                break
            here = self._ranges.get(here.stop) or self._fetched(here.stop, self._plan.range_bytes)
            found.append(here)
        return found

    def _fetched(self, start: int, size: int) -> _Range:
        if self._size - start <= FIRST_BYTES:  # a footer: its beginning is asked for next
            start, size = max(self._size - FIRST_BYTES, 0), FIRST_BYTES
        behind = (each.start for each in self._ranges.values() if each.start > start)
        stop = min(start + size, self._size, *behind)
        made = _Range(start, stop, self._threads.submit(self._fetch, start, stop))
        self._ranges[start] = made
        return made

    def _keep(self, used: list[_Range]) -> None:
        """Count these as used last, the first of them last of all, and let go of the oldest."""
        for each in reversed(used):
            self._ranges[each.start] = self._ranges.pop(each.start)
        held = self.held_bytes
        for start, each in list(self._ranges.items())[: -len(used)]:
            if held <= HELD_BYTES_MAX:
                break
            each.data.cancel()
            held -= each.stop - each.start
            del self._ranges[start]
