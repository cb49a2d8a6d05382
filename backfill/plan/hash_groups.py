"""Rows that belong together, found among any number of rows in flat memory.

What needs the whole source is spilled to partitions by hash: rows that are alike land in one
partition, and each partition is small enough to be sorted by itself.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backfill.rows import Rows

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
"""An array of RECORD, or of another form with a hash."""

Hashes = npt.NDArray[np.uint64]
"""128 bits for each row, shape (n, 2)."""


def records(
    hashes: Hashes,
    rows: Rows,
    *,
    content: Hashes | None = None,
    part: int,
    source: int,
    settled: npt.NDArray[np.bool_],
    rank: npt.NDArray[np.int32] | int = 0,
) -> Records:
    """The records of some rows of one part."""
    made = np.empty(len(rows), RECORD)
    made["hash"] = hashes
    made["content"] = hashes if content is None else content
    made["part"], made["source"] = part, source
    made["row"], made["settled"], made["rank"] = rows, settled, rank
    return made


class Spill:
    """Records in partitions by hash, in the order in which they were added.

    Few stay in memory, many go to the disk. All are added before any is read.

    Args:
        folder: Where they are kept; made when first needed.
        name: The file's name.
        buffered_max: So many stay in memory.
        form: The fields of a record; `hash` is one of them, of 64 or of 128 bits.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        buffered_max: int = BUFFERED_RECORDS_MAX,
        form: np.dtype[Any] = RECORD,
    ) -> None:
        self._path = folder / name
        self._buffered_max = buffered_max
        self._form = form
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

    def stretches(self, records_max: int) -> Iterator[range]:
        """All partitions, by so many neighbours as hold `records_max` together; one at least."""
        usual = (self._written + self._buffered) // PARTITIONS + 1
        step = max(records_max // usual, 1)
        for first in range(0, PARTITIONS, step):
            yield range(first, min(first + step, PARTITIONS))

    def partition(self, number: int) -> Records:
        """One partition; empty where it holds nothing."""
        return self.stretch(range(number, number + 1))

    def stretch(self, numbers: range) -> Records:
        """What neighbouring partitions hold."""
        if self._last is None:
            self._last = self._partitioned()
        last, starts = self._last
        first, stop = numbers.start, numbers.stop
        written = (self._read(begin + at[first], at[stop] - at[first]) for begin, at in self._runs)
        return np.concatenate([*written, last[starts[first] : starts[stop]]])

    def _read(self, first: int, count: int) -> Records:
        return np.fromfile(self._path, self._form, count, offset=first * self._form.itemsize)

    def _write(self) -> None:
        """Write down what is in memory, its partitions behind one another."""
        ordered, starts = self._partitioned()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            ordered.tofile(file)
        self._runs.append((self._written, starts))
        self._written += len(ordered)
        self._buffer, self._buffered = [], 0

    def _partitioned(self) -> tuple[Records, Rows]:
        """What is in memory by partition; where each partition begins and the last one ends."""
        some = np.concatenate([np.empty(0, self._form), *self._buffer])
        hashes = some["hash"] if some["hash"].ndim == 1 else some["hash"][:, 0]
        numbers = (hashes % PARTITIONS).astype(np.uint8)
        starts = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=PARTITIONS))])
        # `take` moves records whole, an index field by field; and bytes are sorted by counting.
        return some.take(np.argsort(numbers, kind="stable")), starts


def grouped(partition: Records) -> tuple[Records, npt.NDArray[np.int64]]:
    """The records that share their hash with another one, and the group of each.

    Groups are numbered from 0. Within a group the rank counts, then the order in which the
    records were added.
    """
    some = partition.take(np.flatnonzero(repeating(partition["hash"][:, 0])))
    hashes = some["hash"]
    ordered = some.take(np.lexsort((some["rank"], hashes[:, 1], hashes[:, 0])))
    hashes = ordered["hash"]
    new = np.ones(len(ordered), np.bool_)
    new[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
    group = np.cumsum(new) - 1
    shared = np.bincount(group)[group] > 1
    kept = np.unique(group[shared], return_inverse=True)[1] if shared.any() else group[shared]
    return ordered[shared], kept


def repeating(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which of the numbers stand there more than once."""
    ordered = np.sort(numbers)
    return np.isin(numbers, ordered[1:][ordered[1:] == ordered[:-1]])


def firsts(group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each record, the place of the first one of its group."""
    return np.searchsorted(group, np.arange(len(np.unique(group))))[group] if len(group) else group


def occurrences(ordered: Records, group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each record, how many of its group and its content come before it."""
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


def within(hashes: Hashes, others: Hashes) -> npt.NDArray[np.bool_]:
    """Which of the hashes stand among the others."""
    both = np.concatenate([hashes, others])
    order = np.lexsort((both[:, 1], both[:, 0]))
    new = np.ones(len(both), np.bool_)
    new[1:] = (both[order][1:] != both[order][:-1]).any(axis=1)
    group = np.empty(len(both), np.int64)
    group[order] = np.cumsum(new) - 1
    present = np.bincount(group[len(hashes) :], minlength=len(both)) > 0
    return present[group[: len(hashes)]]
