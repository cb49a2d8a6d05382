"""How far a look at the source has come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backfill.rows import Position
from backfill.sources.inputs import Input

_COMPRESSED = (".gz", ".zst")


@dataclass(frozen=True, slots=True)
class Progress:
    """What was looked at since the last time.

    Args:
        rows: How many more rows; 0 while rows are looked at beside that: for how timestamps are
            written, or once more. Fewer than none: all is looked at anew.
        rejected: How many of them are rejected for what they say by themselves.
        share: How much of the files is behind it in all, up to 1; 0 where that cannot be told.
    """

    rows: int
    rejected: int = 0
    share: float = 0.0


OnProgress = Callable[[Progress], None]
"""Is told, now and then, what more was looked at."""


def nobody(_: Progress) -> None:
    """Listens to no progress."""


class Way:
    """The files in the order of reading: how much of them is behind a position.

    Args:
        inputs: The files.
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = {each.part: each for each in inputs}
        self._behind: dict[int, int] = {}
        self._bytes = 0
        for each in inputs:
            self._behind[each.part] = self._bytes
            self._bytes += each.fingerprint.size

    def share(self, part: int, end: Position) -> float:
        """How much is behind the end of a chunk; 0 where that cannot be told."""
        here = self._inputs[part]
        done = _share(here, end) * here.fingerprint.size
        return (self._behind[part] + done) / max(self._bytes, 1)


def _share(here: Input, end: Position) -> float:
    """How much of one file is behind a position: by rows where they are known, else by bytes."""
    rows = here.file.row_count()
    if rows:
        return min((end.row - 1) / rows, 1.0)
    if here.file.path.suffix in _COMPRESSED:
        return 0.0  # an offset counts the bytes of the text
    return min(end.offset / max(here.fingerprint.size, 1), 1.0)
