"""Which rows of a part are settled: all below a low watermark, and ranges above it."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from backfill.rows import Rows

Range = tuple[int, int]
"""Rows from the first number up to, not including, the second."""

_FEW_ROWS = 8


class Ranges:
    """The settled rows of one part, as few ranges as possible.

    Rows settle in any order; memory grows with the number of holes, not of rows. It remembers
    what changed, so that a commit writes only that.

    Args:
        low_watermark: Every row below it is settled.
        above: Further settled ranges, ascending; they neither overlap nor touch each other or
            `low_watermark`.

    >>> ranges = Ranges()
    >>> ranges.settle(5, 8), ranges.settle(1, 4), ranges.low_watermark, list(ranges.gaps(10))
    (3, 3, 4, [(4, 5), (8, 10)])
    """

    def __init__(self, low_watermark: int = 1, above: Iterable[Range] = ()) -> None:
        self.low_watermark = low_watermark
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._settled = low_watermark - 1
        for start, stop in above:
            if not (self._stops[-1] if self._stops else low_watermark) < start < stop:
                raise ValueError(f"rows {start} to {stop} do not follow the range before")
            self._starts.append(start)
            self._stops.append(stop)
            self._settled += stop - start
        self._changes: dict[int, int | None] = {}

    def settle(self, start: int, stop: int) -> int:
        """Settle the rows from `start` up to `stop`; those settled before stay as they are.

        Returns:
            How many rows were not settled before.

        Raises:
            ValueError: `start` is below 1, or `stop` below `start`.
        """
        if not 1 <= start <= stop:
            raise ValueError(f"rows {start} to {stop} are not a range")
        start = max(start, self.low_watermark)
        if start >= stop:
            return 0
        # The ranges from `first` up to `last` overlap or touch the new one and become part of it.
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        known = 0
        if first < last:
            known = sum(self._stops[first:last]) - sum(self._starts[first:last])
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._replace(first, last, start, stop)
        newly = stop - start - known
        self._settled += newly
        return newly

    def _replace(self, first: int, last: int, start: int, stop: int) -> None:
        for gone in self._starts[first:last]:
            self._changes[gone] = None
        if start == self.low_watermark:
            self.low_watermark = stop
            del self._starts[first:last], self._stops[first:last]
        else:
            self._starts[first:last] = [start]
            self._stops[first:last] = [stop]
            self._changes[start] = stop

    def settled_count(self) -> int:
        """How many rows are settled."""
        return self._settled

    def settled_below(self, stop: int) -> int:
        """How many rows below `stop` are settled."""
        return max(stop - 1, 0) - sum(end - begin for begin, end in self.gaps(stop))

    def contains(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """For each row number, in any order, whether it is settled."""
        settled = rows < self.low_watermark
        if len(rows) < _FEW_ROWS:  # rows that are asked for one by one must not cost all ranges
            for place, each in enumerate(rows.tolist()):
                behind = bisect_right(self._starts, each)
                settled[place] |= behind > 0 and each < self._stops[behind - 1]
        elif self._starts:
            at = np.searchsorted(np.array(self._starts), rows, side="right") - 1
            settled |= (at >= 0) & (rows < np.array(self._stops)[at])
        return settled

    def gaps(self, stop: int) -> Iterator[Range]:
        """The ranges below `stop` that are not settled, ascending."""
        begin = self.low_watermark
        for start, end in self.above():
            if start >= stop:
                break
            yield begin, start
            begin = end
        if begin < stop:
            yield begin, stop

    def above(self) -> Iterator[Range]:
        """The settled ranges above the low watermark, ascending."""
        return zip(self._starts, self._stops, strict=True)

    def take_changes(self) -> dict[int, int | None]:
        """What happened to the ranges above the low watermark since the last call, by start.

        Returns:
            The new end of each range that is new or longer, None for each that is no more. A
            range that came and went in between is named too.
        """
        changes, self._changes = self._changes, {}
        return changes
