"""What the plan pass decided about single rows, for the send pass to find in row order.

Only rows about which something had to be decided have a mark: repeats, merged people, people whom
nobody names. They are kept in files of neighbouring rows, so that one file at a time is in memory.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backfill.rows import Rows

BUCKET_ROWS = 65_536
BUCKETS_AT_HAND = 4
BUFFERED_MARKS_MAX = 500_000

_NEW, _LEFT_OUT = 2**30, 2**30 + 1
"""Behind every occurrence number there can be."""


class RowDecision(IntEnum):
    """What becomes of a row. Where a row has two, the smaller one counts."""

    UNKNOWN_PERSON = 1  # rejected
    SHARED_EMAIL = 2  # skipped, and so are the next three
    IDENTICAL = 3
    REPEATED_KEY = 4
    REPEATED_PERSON = 5
    MERGED = 6  # `value` and `other` are the row and part that carry the person
    CARRIER = 7  # carries its person's merged attributes
    OCCURRENCE = 8  # `value` identical rows come before it
    CHANGED = 9  # in a sync: new, or other than what was delivered
    REFUSED_BEFORE = 10  # in a sync: as it was when the API refused it
    UNCHANGED = 11  # in a sync: within the cursor's window, and delivered before
    REJECTED = 12  # in a sync: for what it is, and to be listed again
    MAY_REPEAT = 13  # while the plan is made: to be compared with others


SKIPPED = {
    RowDecision.SHARED_EMAIL: "shared_email",
    RowDecision.IDENTICAL: "identical_row",
    RowDecision.REPEATED_KEY: "repeated_key",
    RowDecision.REPEATED_PERSON: "repeated_person",
}
"""The marks of skipped rows, and the reason that the summary counts them under."""

_RECORD = np.dtype([("row", "<i8"), ("value", "<i8"), ("other", "<i4"), ("kind", "u1")])
Marked = npt.NDArray[Any]
"""An array of row, value, other, kind; kind 0: no mark."""


class RowDecisions:
    """The marks of a job's rows, on disk.

    Args:
        folder: Where they are kept; made when the first is written.
        buffered_max: So many stay in memory until `flush`.
    """

    def __init__(self, folder: Path, buffered_max: int = BUFFERED_MARKS_MAX) -> None:
        self._folder = folder
        self._buffered_max = buffered_max
        self._buffer: list[tuple[npt.NDArray[np.int32], Marked]] = []
        self._buffered = 0
        self._bucket = lru_cache(maxsize=BUCKETS_AT_HAND)(self._load)

    def add(
        self,
        kind: RowDecision,
        parts: npt.NDArray[np.int32],
        rows: Rows,
        value: npt.NDArray[np.int64] | int = 0,
        other: npt.NDArray[np.int32] | int = 0,
    ) -> None:
        """Mark rows; `value` and `other` as the kind says."""
        made = np.empty(len(rows), _RECORD)
        made["kind"], made["row"], made["value"], made["other"] = kind, rows, value, other
        self._buffer.append((parts, made))
        self._buffered += len(made)
        if self._buffered >= self._buffered_max:
            self.flush()

    def flush(self) -> None:
        """Write down all that was added; to be called before marks are read."""
        if not self._buffered:
            return
        parts = np.concatenate([each for each, _ in self._buffer])
        made = np.concatenate([each for _, each in self._buffer])
        self._buffer, self._buffered = [], 0
        buckets = made["row"] // BUCKET_ROWS
        order = np.lexsort((buckets, parts))
        parts, buckets, made = parts[order], buckets[order], made[order]
        new = np.flatnonzero((np.diff(parts) != 0) | (np.diff(buckets) != 0)) + 1
        self._folder.mkdir(parents=True, exist_ok=True)
        for start, stop in pairwise([0, *new.tolist(), len(made)]):
            with self._path(int(parts[start]), int(buckets[start])).open("ab") as file:
                file.write(made[start:stop].tobytes())

    def of(self, part: int, rows: Rows) -> Marked | None:
        """The mark of each of these ascending rows; None where none has any."""
        if len(rows) == 0:
            return None
        found = np.zeros(len(rows), _RECORD)
        for bucket in range(int(rows[0]) // BUCKET_ROWS, int(rows[-1]) // BUCKET_ROWS + 1):
            marked = self._bucket(part, bucket)
            at = np.searchsorted(rows, marked["row"])
            at_most = np.minimum(at, len(rows) - 1)
            here = rows[at_most] == marked["row"]
            found[at_most[here]] = marked[here]
        return found if found["kind"].any() else None

    def every(self) -> Iterator[tuple[int, Marked]]:
        """All marks, part by part in the order of the rows."""
        paths = self._folder.iterdir() if self._folder.exists() else ()
        for part, bucket in sorted(tuple(map(int, path.name.split("-"))) for path in paths):
            yield part, self._bucket(part, bucket)

    def _path(self, part: int, bucket: int) -> Path:
        return self._folder / f"{part}-{bucket}"

    def _load(self, part: int, bucket: int) -> Marked:
        path = self._path(part, bucket)
        if not path.exists():
            return np.empty(0, _RECORD)
        # Written last, kept: with the smallest kind behind, it wins where a row has two marks.
        marked = np.fromfile(path, _RECORD)
        return marked[np.lexsort((-marked["kind"].astype(np.int64), marked["row"]))]


class FormerDecisions:
    """What an earlier plan of the same job decided, for rows that are alike.

    A row that was sent keeps its number for ever, and one that was left out because of another
    never takes that one's place: the other may still have to be sent.

    Args:
        marks: The earlier plan's marks.
        rows: How many rows each part had then.
    """

    def __init__(self, marks: RowDecisions, rows: Mapping[int, int]) -> None:
        self._marks = marks
        self._rows = rows

    def ranks(self, part: int, rows: Rows) -> npt.NDArray[np.int32]:
        """The place of each of these ascending rows among those that it belongs together with."""
        ranks = np.where(rows <= self._rows.get(part, 0), 0, _NEW).astype(np.int32)
        marked = self._marks.of(part, rows)
        if marked is not None:
            numbered = marked["kind"] == RowDecision.OCCURRENCE
            ranks[numbered] = marked["value"][numbered]
            ranks[np.isin(marked["kind"], list(SKIPPED))] = _LEFT_OUT
        return ranks
