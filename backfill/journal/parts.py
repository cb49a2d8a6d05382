"""The parts of a job: what is known of each while the journal is open, and its rows on the disk.

A part is one row of the table `part`, and a row of the table `settled` for each of its ranges.
"""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from backfill.errors import BackfillError
from backfill.journal import schema
from backfill.journal.database import Database, Row, corrupt
from backfill.journal.ranges import Range, Ranges
from backfill.journal.schema import Counts, Part
from backfill.rows import Position


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
    for part, start, stop in database.rows("SELECT * FROM settled ORDER BY part, start"):
        ranges.setdefault(part, []).append((start, stop))
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
    gone = [(part, start) for start, stop in changes.items() if stop is None]
    kept = [(part, start, stop) for start, stop in changes.items() if stop is not None]
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
