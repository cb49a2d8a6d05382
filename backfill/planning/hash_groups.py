"""Rows that belong together, found among any number of rows in flat memory.

What needs the whole source is written to partitions by hash (as a database's hash join does): rows
of one hash land in one partition, and each partition is small enough to be sorted by itself.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backfill.encoding.json_text import Mask
from backfill.rows import Rows

# 128 partitions of 100,000,000 rows hold 45 MB each, and the byte that numbers them can be sorted
# by counting.
PARTITIONS = 128
BUFFERED_RECORDS_MAX = 100_000

RECORD = np.dtype(
    [
        ("hash", "<u8", (2,)),  # rows of one hash belong together
        ("content", "<u8", (2,)),  # rows of one content are alike
        ("part", "<i4"),
        ("row", "<i8"),
        ("source", "<i2"),
        ("settled", "?"),
        ("rank", "<i4"),  # the lower ones come first among rows that belong together
    ]
)
Records = npt.NDArray[Any]
"""An array of RECORD, or of another dtype with a hash; shape (n,), n records."""

Hashes = npt.NDArray[np.uint64]
"""Hashes of 128 bits as two halves; shape (n, 2), n rows."""

Groups = npt.NDArray[np.int64]
"""The group of each record, from 0, ascending; shape (n,)."""


def make_records(
    hashes: Hashes,
    rows: Rows,
    *,
    content: Hashes | None = None,
    part: int,
    source: int,
    settled: Mask,
    rank: npt.NDArray[np.int32] | int = 0,
) -> Records:
    """The records of n rows of one part.

    Args:
        hashes: Of what rows belong together by, uint64 (n, 2).
        rows: Their numbers, int64 (n,).
        content: Of what makes rows alike, uint64 (n, 2); None: the hashes.
        part: Their part.
        source: The index of their source.
        settled: Which of them were settled before, bool (n,).
        rank: Their order within a group, int32 (n,), or one for all.

    Returns:
        RECORD (n,).
    """
    made = np.empty(len(rows), RECORD)
    made["hash"] = hashes
    made["content"] = hashes if content is None else content
    made["part"], made["source"] = part, source
    made["row"], made["settled"], made["rank"] = rows, settled, rank
    return made


class HashPartitions:
    """Records in partitions by hash, in the order in which they were added.

    Few stay in memory, many go to the disk. All are added before any is read.

    Args:
        folder: Where they are kept; made when first needed.
        name: The file's name.
        buffered_max: So many records stay in memory.
        dtype: The fields of a record; `hash` is one of them, of 64 or of 128 bits.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        buffered_max: int = BUFFERED_RECORDS_MAX,
        dtype: np.dtype[Any] = RECORD,
    ) -> None:
        self._path = folder / name
        self._buffered_max = buffered_max
        self._dtype = dtype
        self._buffer: list[Records] = []
        self._buffered = 0
        self._written = 0
        self._runs: list[tuple[int, Rows]] = []  # where each begins, and its partitions in it
        self._last: tuple[Records, Rows] | None = None

    def add(self, more: Records) -> None:
        """Take records; they reach the disk when enough have come together."""
        self._buffer.append(more)
        self._buffered += len(more)
        if self._buffered >= self._buffered_max:
            self._write()

    def partitions(self) -> Iterator[tuple[int, Records]]:
        """Every partition that holds anything, with its number."""
        for number in range(PARTITIONS):
            if len(partition := self.partition(number)):
                yield number, partition

    def neighbours(self, records_max: int) -> Iterator[range]:
        """All partitions, by so many neighbours as hold `records_max` together; one at least."""
        usual = (self._written + self._buffered) // PARTITIONS + 1
        step = max(records_max // usual, 1)
        for first in range(0, PARTITIONS, step):
            yield range(first, min(first + step, PARTITIONS))

    def partition(self, number: int) -> Records:
        """One partition; empty where it holds nothing."""
        return self.read(range(number, number + 1))

    def read(self, numbers: range) -> Records:
        """What neighbouring partitions hold."""
        if self._last is None:
            self._last = self._partitioned()
        last, starts = self._last
        first, stop = numbers.start, numbers.stop
        written = (self._read(begin + at[first], at[stop] - at[first]) for begin, at in self._runs)
        return np.concatenate([*written, last[starts[first] : starts[stop]]])

    def _read(self, first: int, count: int) -> Records:
        return np.fromfile(self._path, self._dtype, count, offset=first * self._dtype.itemsize)

    def _write(self) -> None:
        """Write down what is in memory, its partitions behind one another.

        One file, and where each partition begins in memory: 128 open files, or 128 small writes
        each time, cost more than the seeks when they are read.
        """
        ordered, starts = self._partitioned()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            ordered.tofile(file)
        self._runs.append((self._written, starts))
        self._written += len(ordered)
        self._buffer, self._buffered = [], 0

    def _partitioned(self) -> tuple[Records, Rows]:
        """What is in memory by partition; where each partition begins and the last one ends."""
        some = np.concatenate([np.empty(0, self._dtype), *self._buffer])
        hashes = some["hash"] if some["hash"].ndim == 1 else some["hash"][:, 0]
        numbers = (hashes % PARTITIONS).astype(np.uint8)
        starts = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=PARTITIONS))])
        # `take` moves records whole, an index field by field; and bytes are sorted by counting.
        return some.take(np.argsort(numbers, kind="stable")), starts


def group_by_hash(partition: Records) -> tuple[Records, Groups]:
    """The records that share their hash with another one, group behind group.

    Within a group the rank counts, then the order in which the records were added.

    Args:
        partition: RECORD (n,).

    Returns:
        RECORD (m,) with m <= n, and the group of each, int64 (m,).
    """
    # Nearly all rows are alone: half of a hash sorts out most of them before the costly sort.
    some = partition.take(np.flatnonzero(repeated(partition["hash"][:, 0])))
    hashes = some["hash"]
    ordered = some.take(np.lexsort((some["rank"], hashes[:, 1], hashes[:, 0])))
    hashes = ordered["hash"]
    new = np.ones(len(ordered), np.bool_)
    new[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
    group = np.cumsum(new) - 1
    shared = np.bincount(group)[group] > 1
    kept = np.unique(group[shared], return_inverse=True)[1] if shared.any() else group[shared]
    return ordered[shared], kept


def repeated(numbers: npt.NDArray[np.uint64]) -> Mask:
    """Which of n numbers, uint64 (n,), occur more than once; bool (n,)."""
    ordered = np.sort(numbers)
    return np.isin(numbers, ordered[1:][ordered[1:] == ordered[:-1]])


def first_in_group(group: Groups) -> npt.NDArray[np.int64]:
    """For each of n records, the place of the first one of its group, int64 (n,)."""
    return np.searchsorted(group, np.arange(len(np.unique(group))))[group] if len(group) else group


def occurrence_numbers(ordered: Records, group: Groups) -> npt.NDArray[np.int64]:
    """For each of n records, how many of its group and its content come before it, int64 (n,).

    Args:
        ordered: RECORD (n,), group behind group.
        group: The group of each, int64 (n,).
    """
    content = ordered["content"]
    order = np.lexsort((np.arange(len(ordered)), content[:, 1], content[:, 0], group))
    alike = np.ones(len(ordered), np.bool_)
    same_group = group[order][1:] == group[order][:-1]
    alike[1:] = ~(same_group & (content[order][1:] == content[order][:-1]).all(axis=1))
    places = np.arange(len(ordered))
    begin = np.maximum.accumulate(np.where(alike, places, 0))
    numbered = np.empty(len(ordered), np.int64)
    numbered[order] = places - begin
    return numbered


def contained(hashes: Hashes, others: Hashes) -> Mask:
    """Which of n hashes, uint64 (n, 2), occur among others, uint64 (m, 2); bool (n,)."""
    both = np.concatenate([hashes, others])
    order = np.lexsort((both[:, 1], both[:, 0]))
    new = np.ones(len(both), np.bool_)
    new[1:] = (both[order][1:] != both[order][:-1]).any(axis=1)
    group = np.empty(len(both), np.int64)
    group[order] = np.cumsum(new) - 1
    present = np.bincount(group[len(hashes) :], minlength=len(both)) > 0
    return present[group[: len(hashes)]]
