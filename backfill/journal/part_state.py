"""All that the journal knows of one part while it is open."""

from bisect import bisect_right
from dataclasses import dataclass, field
from operator import attrgetter

from backfill.errors import BackfillError
from backfill.journal.ranges import Ranges
from backfill.journal.values import Counts, Part
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
