"""The parts of a job: the ranges of rows that are settled, in memory and on the disk.

A part is one row of the table `part`, and one of the table `settled` for some thousand rows of its
file: those ranges that begin there. Where each second row is rejected, a row of the table for each
range would cost more than to send the rows between.
"""

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from backfill.errors import BackfillError
from backfill.journal import schema
from backfill.journal.database import Database, Row, corrupt
from backfill.journal.schema import Counts, Part, Range
from backfill.rows import Position, Rows

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

    window_rows = 1 << 12

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
        self._changes: set[int] = set()

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

    def settle_all(self, ranges: Sequence[Range]) -> int:
        """Settle several ranges in one go: one by one, each would move all those behind it.

        Raises:
            ValueError: One is none, as `settle` says.
        """
        if len(ranges) < _FEW_ROWS:
            return sum(self.settle(start, stop) for start, stop in ranges)
        new = np.array(ranges, np.int64)
        if new[:, 0].min() < 1 or (new[:, 0] > new[:, 1]).any():
            raise ValueError("not all of these are ranges of rows")
        new = np.maximum(new, self.low_watermark)
        first = bisect_left(self._stops, new[:, 0].min())
        last = bisect_right(self._starts, new[:, 1].max())
        known = np.array([self._starts[first:last], self._stops[first:last]], np.int64).T
        merged = _merged(np.concatenate([new[new[:, 0] < new[:, 1]], known]))
        newly = int(np.diff(merged).sum() - np.diff(known).sum())
        self._settled += newly
        begins = np.concatenate([known[:, 0], merged[:, 0]])
        self._changes.update(np.unique(begins // self.window_rows).tolist())
        if len(merged) and merged[0, 0] == self.low_watermark:
            self.low_watermark, merged = int(merged[0, 1]), merged[1:]
        self._starts[first:last], self._stops[first:last] = merged.T.tolist()
        return newly

    def _replace(self, first: int, last: int, start: int, stop: int) -> None:
        self._changes.update(gone // self.window_rows for gone in self._starts[first:last])
        if start == self.low_watermark:
            self.low_watermark = stop
            del self._starts[first:last], self._stops[first:last]
        else:
            self._starts[first:last] = [start]
            self._stops[first:last] = [stop]
            self._changes.add(start // self.window_rows)

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

    def take_changes(self) -> dict[int, list[Range]]:
        """The windows in which ranges above the low watermark have changed since the last call.

        A window is `window_rows` rows of the file; they are counted from 0.

        Returns:
            The ranges that begin in each of them now.
        """
        changes, self._changes = self._changes, set()
        return {window: self._beginning_in(window) for window in sorted(changes)}

    def _beginning_in(self, window: int) -> list[Range]:
        first = bisect_left(self._starts, window * self.window_rows)
        last = bisect_left(self._starts, (window + 1) * self.window_rows)
        return list(zip(self._starts[first:last], self._stops[first:last], strict=True))


def _merged(ranges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Ranges, (n, 2), as few as possible, (m, 2), ascending; those that touch become one."""
    if not len(ranges):
        return ranges
    ranges = ranges[np.argsort(ranges[:, 0])]
    reach = np.maximum.accumulate(ranges[:, 1])
    first = np.flatnonzero(np.append(True, ranges[1:, 0] > reach[:-1]))
    return np.stack([ranges[first, 0], reach[np.append(first[1:], len(ranges)) - 1]], axis=1)


@dataclass(slots=True)
class PartState:
    """A part, its settled rows and what became of them; its rejections stay on the disk.

    Args:
        part: What it is.
        ranges: Which of its rows are settled.
        ceiling: As committed; no row at or beyond it has ever been dispatched.
        raised: The ceiling that the next commit makes good.
        positions: Where reading can go on, ascending; those that are overtaken are dropped.
        counts: What became of the settled rows.
    """

    part: Part
    ranges: Ranges = field(default_factory=Ranges)
    ceiling: int = 1
    raised: int = 1
    positions: list[Position] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def committed(self) -> None:
        """What was asked for is granted."""
        self.ceiling = self.raised

    def in_doubt(self) -> int:
        """How many rows below the ceiling are not settled."""
        ceiling = self.ceiling if self.part.rows is None else min(self.ceiling, self.part.rows + 1)
        return sum(stop - start for start, stop in self.ranges.gaps(ceiling))

    def remember(self, position: Position) -> None:
        """Keep a position for when all rows before it are settled."""
        if not self.positions or position.row > self.positions[-1].row:
            self.positions.append(position)

    def resume_from(self) -> Position | None:
        """The furthest position before which every row is settled, if any."""
        reached = bisect_right(self.positions, self.ranges.low_watermark, key=attrgetter("row"))
        # They are ascending, and each that is reached makes those before it useless.
        del self.positions[: max(reached - 1, 0)]
        return self.positions[0] if reached else None

    def imbalance(self) -> int:
        """How many more rows are settled than accounted for; anything but 0 is a bug or damage."""
        return self.ranges.settled_count() - self.counts.rows()

    def check_balance(self) -> None:
        """Hold the counters against the ranges.

        Raises:
            BackfillError: They contradict each other.
        """
        if self.imbalance():
            raise BackfillError(
                f"{self.part.path}: {self.ranges.settled_count()} rows are settled,"
                f" {self.counts.rows()} are accounted for"
            )


def load_parts(database: Database, *, dropped: int = 0) -> dict[int, PartState]:
    """Every part by its id.

    Args:
        database: Where they are.
        dropped: How many ids were given and taken back.

    Raises:
        StateError: The rows contradict each other, as when a page of the file is an older one.
    """
    ranges: dict[int, list[Range]] = {}
    for part, _, some in database.rows("SELECT * FROM settled ORDER BY part, window"):
        ranges.setdefault(part, []).extend(orjson.loads(some))
    rows = database.rows("SELECT * FROM part ORDER BY id")
    try:
        states = {row[0]: _part_state(row, ranges.pop(row[0], ())) for row in rows}
    except ValueError as error:
        raise corrupt(database.path, str(error)) from error
    # Ids are given one by one, and counted when they are taken back: a gap is a lost row.
    whole = not ranges and max(states, default=0) <= len(states) + dropped
    if not whole or any(state.imbalance() for state in states.values()):
        raise corrupt(database.path, "rows of its tables are missing")
    return states


def save_part(database: Database, state: PartState) -> None:
    """Write a part, and those of its ranges that changed.

    Raises:
        BackfillError: Its counters contradict its ranges.
    """
    state.check_balance()
    part, changes = state.part.id, state.ranges.take_changes()
    database.put(schema.PUT_PART, [_part_row(state)])
    gone = [(part, window) for window, ranges in changes.items() if not ranges]
    kept = [
        (part, window, orjson.dumps(ranges).decode())
        for window, ranges in changes.items()
        if ranges
    ]
    database.run(schema.DELETE_SETTLED, gone)
    database.put(schema.PUT_SETTLED, kept)


def delete_part(database: Database, part: int) -> None:
    """Remove a part, its ranges and its rejections."""
    for statement in schema.DELETE_PART:
        database.run(statement, [(part,)])


def _part_row(state: PartState) -> Row:
    """A part as a row of the table `part`."""
    part, counts = state.part, state.counts
    position = state.resume_from()
    return (
        part.id,
        json.dumps(part.path),  # ASCII, since a file's name need not be UTF-8
        part.source,
        part.size,
        part.digest,
        part.rows,
        state.ranges.low_watermark,
        state.raised,
        json.dumps([position.row, position.line, position.offset]) if position else None,
        counts.delivered,
        counts.merged,
        counts.rejected,
        counts.deletes,
        json.dumps(counts.skipped),
        json.dumps(counts.reasons),
    )


def _part_state(row: tuple[Any, ...], above: Iterable[Range]) -> PartState:
    """The opposite of `_part_row`, with the part's ranges from the table `settled`."""
    part_id, path, source, size, digest, rows, low, ceiling, position, *figures = row
    delivered, merged, rejected, deletes, skipped, reasons = figures
    return PartState(
        part=Part(part_id, json.loads(path), source, size, digest, rows),
        ranges=Ranges(low, above),
        ceiling=ceiling,
        raised=ceiling,
        positions=[Position(*json.loads(position))] if position else [],
        counts=Counts(
            delivered=delivered,
            merged=merged,
            rejected=rejected,
            skipped=Counter(json.loads(skipped)),
            deletes=deletes,
            reasons=Counter(json.loads(reasons)),
        ),
    )
