"""Rejections as lines of a file, in which they wait to be reported: part, row, all else as JSON."""

from collections.abc import Iterator
from pathlib import Path

from backfill.rows import Rejection


def rejection_line(part: int, rejection: Rejection) -> bytes:
    """One rejection of a part as a line."""
    return f"{part} {rejection.row} {rejection.to_json()}\n".encode()


def read_rejections(path: Path) -> Iterator[tuple[int, Rejection]]:
    """The rejections of a file of such lines, with their parts, as they were written."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            part, row, text = line.split(b" ", 2)
            yield int(part), Rejection.from_json(int(row), text.decode())
