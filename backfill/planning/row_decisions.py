"""What the plan pass decided about single rows, for the send pass to find in row order.

Only rows about which something had to be decided have a decision: repeats, merged people, people
whom no customers source names. They are kept in files of neighbouring rows, so that one file at a
time is in memory.
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
BUFFERED_RECORDS_MAX = 500_000

ROW_KIND = np.dtype([("row", "<i8"), ("kind", "u1")])
"""The least that a table of rows holds; kind 0: nothing is known of the row."""

RowRecords = npt.NDArray[Any]
"""An array of ROW_KIND, or of another dtype with these fields; shape (n,), n rows."""


class RowTable:
    """One record for some rows of a job's files, on disk, found again by part and row.

    Args:
        folder: Where they are kept; made when the first is written.
        dtype: The fields of a record; `row` and `kind` are two of them. Where a row has several,
            the smallest kind counts.
        buffered_max: So many records stay in memory until `flush`.
    """

    def __init__(
        self,
        folder: Path,
        dtype: np.dtype[Any] = ROW_KIND,
        buffered_max: int = BUFFERED_RECORDS_MAX,
    ) -> None:
        self._folder = folder
        self._dtype = dtype
        self._buffered_max = buffered_max
        self._buffer: list[tuple[npt.NDArray[np.int32], RowRecords]] = []
        self._buffered = 0
        self._bucket = lru_cache(maxsize=BUCKETS_AT_HAND)(self._load)

    def __getstate__(self) -> dict[str, Any]:
        """All but what is in memory: another process reads the same files."""
        return vars(self) | {"_bucket": None, "_buffer": [], "_buffered": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._bucket = lru_cache(maxsize=BUCKETS_AT_HAND)(self._load)

    def add(self, kind: int, parts: npt.NDArray[np.int32], rows: Rows, **more: Any) -> None:
        """Take n rows of one kind.

        Args:
            kind: What they are.
            parts: The part of each, int32 (n,).
            rows: The number of each in its part, int64 (n,).
            more: The other fields, each of shape (n,), or one value for all; left out: 0.
        """
        made = np.zeros(len(rows), self._dtype)
        made["kind"], made["row"] = kind, rows
        for name, values in more.items():
            made[name] = values
        self._buffer.append((parts, made))
        self._buffered += len(made)
        if self._buffered >= self._buffered_max:
            self.flush()

    def flush(self) -> None:
        """Write down all that was added; to be called before anything is read."""
        if not self._buffered:
            return
        parts = np.concatenate([each for each, _ in self._buffer])
        made = np.concatenate([each for _, each in self._buffer])
        self._buffer, self._buffered = [], 0
        buckets = made["row"] // BUCKET_ROWS
        # Each bucket's records side by side: one write for each file that they go to.
        order = np.lexsort((buckets, parts))
        parts, buckets, made = parts[order], buckets[order], made[order]
        new = np.flatnonzero((np.diff(parts) != 0) | (np.diff(buckets) != 0)) + 1
        self._folder.mkdir(parents=True, exist_ok=True)
        for start, stop in pairwise([0, *new.tolist(), len(made)]):
            with self._path(int(parts[start]), int(buckets[start])).open("ab") as file:
                file.write(made[start:stop].tobytes())

    def of(self, part: int, rows: Rows) -> RowRecords | None:
        """The records of n rows.

        Args:
            part: Their part.
            rows: Their numbers, int64 (n,), ascending.

        Returns:
            The record of each, shape (n,), kind 0 where there is none; None where all have none.
        """
        if len(rows) == 0:
            return None
        found = np.zeros(len(rows), self._dtype)
        for bucket in range(int(rows[0]) // BUCKET_ROWS, int(rows[-1]) // BUCKET_ROWS + 1):
            kept = self._bucket(part, bucket)
            at = np.searchsorted(rows, kept["row"])
            # A record behind the last row has nothing to be compared with.
            at_most = np.minimum(at, len(rows) - 1)
            here = rows[at_most] == kept["row"]
            found[at_most[here]] = kept[here]
        return found if found["kind"].any() else None

    def every(self) -> Iterator[tuple[int, RowRecords]]:
        """All records by part, in the order of the rows; at most BUCKET_ROWS rows at a time."""
        paths = self._folder.iterdir() if self._folder.exists() else ()
        for part, bucket in sorted(tuple(map(int, path.name.split("-"))) for path in paths):
            yield part, self._bucket(part, bucket)

    def _path(self, part: int, bucket: int) -> Path:
        return self._folder / f"{part}-{bucket}"

    def _load(self, part: int, bucket: int) -> RowRecords:
        path = self._path(part, bucket)
        if not path.exists():
            return np.empty(0, self._dtype)
        # In `of` the last one written wins: where a row has several, its smallest kind comes last.
        kept = np.fromfile(path, self._dtype)
        return kept[np.lexsort((-kept["kind"].astype(np.int64), kept["row"]))]


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


SKIPPED = {
    RowDecision.SHARED_EMAIL: "shared_email",
    RowDecision.IDENTICAL: "identical_row",
    RowDecision.REPEATED_KEY: "repeated_key",
    RowDecision.REPEATED_PERSON: "repeated_person",
}
"""The decisions that skip a row, and the reason that the summary counts it under."""

_DECISION = np.dtype([("row", "<i8"), ("value", "<i8"), ("other", "<i4"), ("kind", "u1")])
Decided = RowRecords
"""An array of row, value (int64), other (int32), kind (a RowDecision, 0: none); shape (n,)."""


class RowDecisions(RowTable):
    """The decisions about a job's rows, on disk.

    Args:
        folder: Where they are kept; made when the first is written.
        buffered_max: So many stay in memory until `flush`.
    """

    def __init__(self, folder: Path, buffered_max: int = BUFFERED_RECORDS_MAX) -> None:
        super().__init__(folder, _DECISION, buffered_max)


# Behind every occurrence number there can be: a rank is an int32.
_NEW, _LEFT_OUT = 2**30, 2**30 + 1


def unmarked(rows: Rows) -> Decided:
    """An array for n rows, int64 (n,), about which nothing was decided; shape (n,)."""
    made = np.zeros(len(rows), _DECISION)
    made["row"] = rows
    return made


def occurrences(decided: Decided | None) -> npt.NDArray[np.int64] | None:
    """For each row (int64, n), how many identical ones come before it; None: no row repeats."""
    if decided is None:
        return None
    return np.where(decided["kind"] == RowDecision.OCCURRENCE, decided["value"], 0)


class EarlierDecisions:
    """What an earlier plan of the same job decided, for rows that are alike.

    A row that was sent keeps its number for ever, and one that was left out because of another
    never takes that one's place: the other may still have to be sent.

    Args:
        decisions: The earlier plan's decisions.
        rows: How many rows each part had then.
    """

    def __init__(self, decisions: RowDecisions, rows: Mapping[int, int]) -> None:
        self._decisions = decisions
        self._rows = rows

    def ranks(self, part: int, rows: Rows) -> npt.NDArray[np.int32]:
        """The place of each of n ascending rows among those that it belongs together with.

        Args:
            part: Their part.
            rows: Their numbers, int64 (n,).

        Returns:
            int32 (n,): the lower ones come first.
        """
        ranks = np.where(rows <= self._rows.get(part, 0), 0, _NEW).astype(np.int32)
        decided = self._decisions.of(part, rows)
        if decided is not None:
            # Those without a number of their own were first, or alone: their rank stays 0.
            numbered = decided["kind"] == RowDecision.OCCURRENCE
            ranks[numbered] = decided["value"][numbered]
            ranks[np.isin(decided["kind"], list(SKIPPED))] = _LEFT_OUT
        return ranks
