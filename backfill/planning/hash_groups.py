"""Rows that belong together, found among any number of rows in flat memory.

What needs the whole source is written to partitions by hash (as a database's hash join does): rows
of one hash land in one partition, and each partition is small enough to be sorted by itself.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backfill.encoding.json_text import Mask
from backfill.rows import Rows

# A power of two, so that the last bits of a hash number its partition. Each of 100,000,000 rows
# holds 45 MB, and the byte that numbers them can be sorted by counting.
PARTITIONS = 128
BUFFERED_RECORDS_MAX = 100_000

# Rows that are all alike share one hash and one partition, however many they are: such a one is
# taken in pieces.
PIECE_RECORDS_MAX = 2**18

RECORD = np.dtype(
    [
        ("hash", "<u8", (2,)),  # rows of one hash belong together
        ("content", "<u8", (2,)),  # rows of one content are alike
        ("part", "<i4"),
        ("row", "<i8"),
        ("source", "<i2"),
        ("settled", "?"),
        ("rank", "<i4"),  # the lower ones come first; below 0: see `carried_on`
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
        piece_max: About so many records of a partition are read at once, if need be.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        buffered_max: int = BUFFERED_RECORDS_MAX,
        dtype: np.dtype[Any] = RECORD,
        piece_max: int = PIECE_RECORDS_MAX,
    ) -> None:
        self._path = folder / name
        self._piece_max = piece_max
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

    def pieces(self, number: int, *, by_rank: bool) -> Iterator[Records]:
        """One partition of RECORDs, piece by piece.

        Args:
            number: Which one.
            by_rank: Whether no record may come behind one of a higher rank: where they were added
                otherwise, all come in one piece. Else they come in the order of adding.
        """
        numbers = range(number, number + 1)
        total = self.count(numbers)
        # Ranks out of order are rare (a resume); then memory is spent on being right.
        if total <= self._piece_max or (by_rank and not _is_ranked(self.slices(numbers))):
            if total:
                yield self.partition(number)
            return
        waiting: list[Records] = []
        for each in self.slices(numbers):
            waiting.append(each)
            if sum(map(len, waiting)) >= self._piece_max:
                yield np.concatenate(waiting)
                waiting = []
        if waiting:
            yield np.concatenate(waiting)

    def hashes(self, number: int) -> Hashes:
        """The hashes of one partition of RECORDs, uint64 (n, 2); of many alike perhaps one."""
        found: Hashes = np.empty((0, 2), np.uint64)
        for piece in self.pieces(number, by_rank=False):
            some = piece["hash"]
            # Made unique only from the second piece on: sorting costs more than a single piece
            # takes.
            found = some if not len(found) else np.unique(np.concatenate([found, some]), axis=0)
        return found

    def slices(self, numbers: range) -> Iterator[Records]:
        """Neighbouring partitions as they lie on the disk and in memory, never many at once."""
        last, starts = self._partitioned_last()
        # In the order of adding, whatever is on the disk before what has stayed in memory.
        for begin, at in self._runs:
            first, stop = begin + int(at[numbers.start]), begin + int(at[numbers.stop])
            for start in range(first, stop, self._piece_max):
                yield self._read(start, min(self._piece_max, stop - start))
        rest = last[starts[numbers.start] : starts[numbers.stop]]
        for start in range(0, len(rest), self._piece_max):
            yield rest[start : start + self._piece_max]

    def count(self, numbers: range) -> int:
        """How many records neighbouring partitions hold."""
        _, starts = self._partitioned_last()
        every = [starts, *(at for _, at in self._runs)]
        return int(sum(at[numbers.stop] - at[numbers.start] for at in every))

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
        last, starts = self._partitioned_last()
        first, stop = numbers.start, numbers.stop
        written = (self._read(begin + at[first], at[stop] - at[first]) for begin, at in self._runs)
        return np.concatenate([*written, last[starts[first] : starts[stop]]])

    def _read(self, first: int, count: int) -> Records:
        return np.fromfile(self._path, self._dtype, count, offset=first * self._dtype.itemsize)

    def _partitioned_last(self) -> tuple[Records, Rows]:
        """What has stayed in memory, by partition."""
        if self._last is None:
            self._last = self._partitioned()
        return self._last

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
        # Any bits do: hashes are even in all of them.
        numbers = (hashes & np.uint64(PARTITIONS - 1)).astype(np.uint8)
        starts = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=PARTITIONS))])
        # `take` moves records whole, an index field by field; and bytes are sorted by counting.
        return some.take(np.argsort(numbers, kind="stable")), starts


def _is_ranked(slices: Iterable[Records]) -> bool:
    """Whether no record has a lower rank than one before it."""
    last = 0
    for each in slices:
        rank = each["rank"]
        if len(rank) and (rank[0] < last or (rank[1:] < rank[:-1]).any()):
            return False
        last = int(rank[-1]) if len(rank) else last
    return True


def in_pieces(pieces: Iterable[Records], resolve: Callable[[Records], object]) -> None:
    """Resolve a partition, piece by piece; what was carried on comes before each further piece."""
    before: Records | None = None
    for piece in pieces:
        if before is not None:
            piece = np.concatenate([carried_on(before), piece])  # noqa: PLW2901
        resolve(piece)
        before = piece


def carried_on(some: Records) -> Records:
    """What stands for the records so far, before the next piece of their partition.

    Args:
        some: RECORD (n,): what was carried on so far, and a piece.

    Returns:
        RECORD (m,): the first record of each hash, of rank -1 - k where k is how many are like it,
        itself included; and the first one that is not like it, of rank -1, where there is any.
    """
    hashes = some["hash"]
    ordered = some.take(np.lexsort((some["rank"], hashes[:, 1], hashes[:, 0])))
    new = np.ones(len(ordered), np.bool_)
    new[1:] = (ordered["hash"][1:] != ordered["hash"][:-1]).any(axis=1)
    starts, group = np.flatnonzero(new), np.cumsum(new) - 1
    alike = (ordered["content"] == ordered["content"][starts][group]).all(axis=1)
    firsts = ordered[starts]
    firsts["rank"] = -1 - np.add.reduceat(np.where(alike, weights(ordered), 0), starts)
    others = ordered[~alike][np.unique(group[~alike], return_index=True)[1]]
    others["rank"] = -1
    return np.concatenate([firsts, others])


def weights(some: Records) -> npt.NDArray[np.int64]:
    """For how many alike each of n records stands, int64 (n,)."""
    rank = some["rank"].astype(np.int64)
    return np.where(rank < 0, -1 - rank, 1)


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


def running_counts(
    counts: npt.NDArray[np.int64], first: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """For each of n records, the sum of the counts before it in its group, int64 (n,).

    Args:
        counts: The count of each, int64 (n,).
        first: The place of the first one of each one's group, int64 (n,).
    """
    before = np.cumsum(counts) - counts
    return before - before[first]


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
