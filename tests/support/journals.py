"""What a run does to a journal, at random, and all that a journal holds."""

from random import Random
from typing import Any

from backfill.journal import Journal, Settlement
from backfill.rows import Position, Reason, Rejection


def work(journal: Journal, random: Random) -> None:
    """Settle, reject and fix some rows, as a run does between two commits."""
    if len(journal.parts()) < 3:
        journal.add_part("people.csv", source=random.randrange(2), size=1, digest="d", rows=10_000)
    for _ in range(random.randint(1, 4)):
        part = random.choice(journal.parts()).id
        settled = journal.settled(part)
        start, stop = random.choice(list(settled.gaps(settled.low_watermark + 60)))
        start = random.randint(start, stop - 1)
        stop = random.randint(start + 1, stop)
        journal.settle(outcome(part, start, stop, random))
        journal.remember_position(
            part, Position(settled.low_watermark, settled.low_watermark, settled.low_watermark * 10)
        )
        journal.raise_ceiling(part, stop + random.randint(0, 99))
    for part, rejection in list(journal.rejections()):
        if random.random() < 0.1:
            journal.deliver_rejected(part, rejection.row)
    journal.meta["step"] = random.random()


def outcome(part: int, start: int, stop: int, random: Random) -> Settlement:
    """Say of some rows that they arrived, or were left out or rejected."""
    rows = stop - start
    match random.randrange(4):
        case 0:
            reasons = (Reason("invalid", "email", "It is none."),)
            cells = {"notes": random.randbytes(random.randint(1, 1500)).hex()}
            rejections = [Rejection(row, row, reasons, cells) for row in range(start, stop)][:5]
            ranges = [(start, start + len(rejections))]
            return Settlement(part, ranges, rejections=rejections)
        case 1:
            return Settlement(part, [(start, stop)], skipped={"recent": rows})
        case 2:
            return Settlement(part, [(start, stop)], merged=rows)
        case _:
            return Settlement(part, [(start, stop)], delivered=rows, deletes=1)


def snapshot(journal: Journal) -> dict[str, Any]:
    """All that a journal holds, apart from what only a commit or a loss changes."""
    parts = journal.parts()
    return {
        "parts": parts,
        "pending": [list(journal.settled(part.id).gaps(20_000)) for part in parts],
        "positions": [journal.position(part.id) for part in parts],
        "counts": journal.counts(),
        "rejections": list(journal.rejections()),
        "meta": {key: each for key, each in journal.meta.items() if key != "commits_lost"},
    }


def committed(journal: Journal) -> dict[str, Any]:
    """All that a journal holds right after a commit."""
    ceilings = [journal.ceiling(part.id) for part in journal.parts()]
    return {**snapshot(journal), "ceilings": ceilings, "totals": journal.totals()}
