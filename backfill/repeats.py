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
"""An array of RECORD."""

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
        folder: Where the partitions are kept; made when first needed.
        name: What their files begin with.
        buffered_max: So many stay in memory.
    """

    def __init__(self, folder: Path, name: str, buffered_max: int = BUFFERED_RECORDS_MAX) -> None:
        self._folder = folder
        self._name = name
        self._buffered_max = buffered_max
        self._buffer: list[Records] = []
        self._buffered = 0
        self._flushed = False
        self._split: dict[int, Records] | None = None

    def add(self, more: Records) -> None:
        """Take records; they reach the disk when enough have come together."""
        self._buffer.append(more)
        self._buffered += len(more)
        if self._buffered >= self._buffered_max:
            self._flush()

    def partitions(self) -> Iterator[tuple[int, Records]]:
        """Every partition that holds anything, with its number."""
        for number in range(PARTITIONS):
            if len(partition := self.partition(number)):
                yield number, partition

    def partition(self, number: int) -> Records:
        """One partition; empty where it holds nothing."""
        if not self._flushed:
            return self._in_memory().get(number, np.empty(0, RECORD))
        self._flush()
        path = self._path(number)
        return np.fromfile(path, RECORD) if path.exists() else np.empty(0, RECORD)

    def _in_memory(self) -> dict[int, Records]:
        if self._split is None:
            self._split = dict(_partitioned(np.concatenate(self._buffer))) if self._buffer else {}
        return self._split

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}.{number:03}"

    def _flush(self) -> None:
        if not self._buffer:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for number, some in _partitioned(np.concatenate(self._buffer)):
            with self._path(number).open("ab") as file:
                file.write(some.tobytes())
        self._buffer, self._buffered, self._flushed = [], 0, True


def _partitioned(all_: Records) -> Iterator[tuple[int, Records]]:
    numbers = (all_["hash"][:, 0] % np.uint64(PARTITIONS)).astype(np.int64)
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(PARTITIONS + 1))
    for number in range(PARTITIONS):
        if starts[number] < starts[number + 1]:
            yield number, all_[order[starts[number] : starts[number + 1]]]


def grouped(partition: Records) -> tuple[Records, npt.NDArray[np.int64]]:
    """The records that share their hash with another one, and the group of each.

    Groups are numbered from 0. Within a group the rank counts, then the order in which the
    records were added.
    """
    hashes = partition["hash"]
    order = np.lexsort((partition["rank"], hashes[:, 1], hashes[:, 0]))
    ordered = partition[order]
    hashes = ordered["hash"]
    new = np.ones(len(ordered), np.bool_)
    new[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
    group = np.cumsum(new) - 1
    shared = np.bincount(group)[group] > 1
    kept = np.unique(group[shared], return_inverse=True)[1] if shared.any() else group[shared]
    return ordered[shared], kept


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
