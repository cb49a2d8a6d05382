"""Rejections in a file, in which they wait to be reported: a line for a part's, then theirs."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Self

from backfill.rows import NO_REJECTIONS, Rejections

_ROWS = 1 << 12


class RejectionLog:
    """Takes the rejections of files, in the order of their rows.

    What it writes depends on these alone, and not on how many come at a time: whoever works on
    the chunks of a file may have it in other ones.

    Args:
        file: Where it writes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._part, self._waiting = 0, NO_REJECTIONS

    def add(self, part: int, rejections: Rejections) -> None:
        """Take some rejections of a part."""
        if part != self._part:
            self._write(len(self._waiting))
            self._part = part
        if rejections:
            self._waiting = Rejections.together([self._waiting, rejections])
            last = int(self._waiting.rows[-1])
            # More of the last rows may come.
            self._write(int(self._waiting.rows.searchsorted(last - last % _ROWS)))

    def _write(self, count: int) -> None:
        """Write the first so many of those that wait."""
        while count:
            stop = (int(self._waiting.rows[0]) // _ROWS + 1) * _ROWS
            some = self._waiting[: int(self._waiting.rows.searchsorted(stop))]
            self._file.write(f"{self._part} {len(some)}\n{some.to_text()}\n".encode())
            self._waiting = self._waiting[len(some) :]
            count -= len(some)

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """A log in a file that is made anew; whole once the body has ended."""
        with path.open("wb") as file:
            log = cls(file)
            yield log
            log._write(len(log._waiting))


def read_rejections(path: Path) -> Iterator[tuple[int, Rejections]]:
    """The rejections of such a file, with their parts, as they were written."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for head in file:
            part, count = map(int, head.split())
            lines = b"".join(islice(file, count + 1))
            yield part, Rejections.of_text(lines.removesuffix(b"\n").decode())
