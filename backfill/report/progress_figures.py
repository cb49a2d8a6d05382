"""How far a run has come, in words that fit the line."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from backfill.delivery.outcome import Meter
from backfill.planning.progress import Progress
from backfill.report.wording import PAUSES, clock, counted, duration, short
from backfill.sources.extraction import Extracted

_LATELY_S = 15.0
_TELLING_S = 2.0
_BAR_WIDTH_MIN = 6
_BAR_ROOM = _BAR_WIDTH_MIN + 2
_BEHIND_THE_BAR = 5
"""What is of this rank matters less than the bar itself."""

_MINUTE_S = 60


@dataclass(slots=True)
class ProgressFigures:
    """How far one phase has come.

    Args:
        phase: extract, plan or send.
        meter: What the delivery does, while sending.
        total: How many rows there are, where that is known; while planning, about how many.
        requests: How many requests all of them make, roughly.
        rows: How many are looked at, or settled.
        rejected: How many of them were rejected.
        stopping: No more rows are taken.
        bytes: How many bytes are extracted.
    """

    phase: Literal["extract", "plan", "send"]
    meter: Meter | None = None
    total: int | None = None
    requests: int = 0
    rows: int = 0
    rejected: int = 0
    stopping: bool = False
    bytes: int = 0
    _lately: deque[tuple[float, int]] = field(default_factory=deque)

    def extracted(self, more: Extracted) -> None:
        """So much more was extracted; how much there will be nobody knows."""
        self.rows += more.rows
        self.bytes += more.bytes

    def looked(self, looked: Progress) -> None:
        """So much more was looked at; how much is left, the share that is behind it says."""
        self.rows += looked.rows
        self.rejected += looked.rejected
        if looked.share:
            self.total = round(self.rows / looked.share)

    def seen(self, now_s: float) -> None:
        """Note how far it has come by now; the rate is told from what was noted lately."""
        self._lately.append((now_s, self.rows))
        while now_s - self._lately[0][0] > _LATELY_S:
            self._lately.popleft()

    def rows_per_second(self) -> float:
        """How fast it went lately."""
        if not self._lately:
            return 0.0
        (began_s, before), (ended_s, after) = self._lately[0], self._lately[-1]
        return (after - before) / (ended_s - began_s) if ended_s > began_s else 0.0

    def left_s(self, now_s: float) -> float | None:
        """How long it will take: at the speed of late, and no faster than the pacer lets it.

        None where that cannot be told: too early, or nothing moves.
        """
        speed = self.rows_per_second()
        if not self.total or not speed or now_s - self._lately[0][0] < _TELLING_S:
            return None
        share = 1 - self.rows / self.total
        paced_s = 0.0
        if self.meter is not None and self.meter.rate:
            paced_s = self.requests * share / self.meter.rate
        return max((self.total - self.rows) / speed, paced_s) + self._pause_s(now_s)

    def _pause_s(self, now_s: float) -> float:
        pause = self.meter.pause if self.meter else None
        return max(pause.until_s - now_s, 0.0) if pause else 0.0

    def pause(self, now_s: float) -> tuple[str, str]:
        """How long nothing is sent, and why; two empty texts: something is sent."""
        pause = self.meter.pause if self.meter else None
        wait_s = self._pause_s(now_s)
        if pause is None or not wait_s:
            return "", ""
        # A window in which nothing is sent may be hours.
        left = f"{max(round(wait_s), 1)} s" if wait_s < _MINUTE_S else duration(wait_s)
        return f"waiting {left}", PAUSES[pause.reason]


def head(figures: ProgressFigures) -> str:
    """What the line begins with."""
    if not figures.total:
        return figures.phase
    return f"{figures.phase} {int(100 * figures.rows / figures.total):>3}%"


def line(figures: ProgressFigures, now_s: float, width: int) -> tuple[str, str]:
    """What stands before and behind the bar, in a terminal of this width.

    Where there is room for less, what matters less is left out.
    """
    pieces = _pieces(figures, now_s, brief=True)
    room = width - len(head(figures)) - 2
    kept: set[int] = set()
    for rank, place, text in sorted(
        (rank, place, text) for place, (rank, text) in enumerate(pieces)
    ):
        if len(text) + 2 <= room - (_BAR_ROOM if rank >= _BEHIND_THE_BAR else 0):
            kept.add(place)
            room -= len(text) + 2
    behind = "  ".join(text for place, (_, text) in enumerate(pieces) if place in kept)
    return head(figures), behind


def has_room(before: str, behind: str, width: int) -> bool:
    """Whether a bar of some use fits between."""
    return width - len(before) - len(behind) - 4 >= _BAR_WIDTH_MIN


def sentence(figures: ProgressFigures, now_s: float) -> str:
    """All of it, for a log."""
    pieces = _pieces(figures, now_s, brief=False)
    return f"{figures.phase}: " + ", ".join(text for _, text in pieces)


def _pieces(figures: ProgressFigures, now_s: float, *, brief: bool) -> list[tuple[int, str]]:
    """What there is to say, in the order of saying, each with its rank: 0 matters most."""
    if figures.phase == "extract":
        return _extracted(figures, brief=brief)
    shown, speed = short if brief else "{:,}".format, f"{figures.rows_per_second():,.0f} rows/s"
    pieces: list[tuple[int, str]] = []
    if figures.phase == "plan" and not figures.rows:
        return [(0, "detecting date formats")]
    if figures.phase == "plan":
        pieces.append((0, f"{shown(figures.rows)} rows checked"))
    else:
        pieces.append((3, f"{shown(figures.rows)}/{shown(figures.total or 0)} rows"))
    if figures.meter is not None:
        attempts = figures.meter.attempts
        pieces.append((5, f"{shown(attempts)} req" if brief else counted(attempts, "request")))
        if figures.meter.in_flight:
            pieces.append((6, f"{figures.meter.in_flight} in flight"))
        if figures.meter.workers:
            there = sum(each.is_there for each in figures.meter.workers.values())
            pieces.append((6, counted(there, "worker")))
    (pause, why), left_s = figures.pause(now_s), figures.left_s(now_s)
    if pause:
        pieces += [(0, pause), (2, why)]
    elif figures.stopping:
        pieces.append((0, "stopping"))
    else:
        pieces.append((4, f"{figures.rows_per_second():,.0f}/s" if brief else speed))
    if left_s is not None and not figures.stopping and figures.rows != figures.total:
        pieces.append((2, f"ETA {clock(left_s)}"))
    pieces.append((1, f"{shown(figures.rejected)} rejected"))
    return pieces


def _extracted(figures: ProgressFigures, *, brief: bool) -> list[tuple[int, str]]:
    """The same while a query or stdin is copied."""
    shown, speed = short if brief else "{:,}".format, f"{figures.rows_per_second():,.0f}"
    if not (figures.rows or figures.bytes):
        return [(0, "waiting for the first row")]
    size = (1, f"{figures.bytes / 1_000_000:,.1f} MB")
    if not figures.rows:  # stdin is not read before it is whole
        return [size]
    return [
        (0, f"{shown(figures.rows)} rows"),
        size,
        (2, f"{speed}/s" if brief else f"{speed} rows/s"),
    ]
