"""Which events may repeat one another: a cheap look that rules nearly all of them out.

Two events can only be alike where person, name and timestamp are, or person, name and key. Each of
them gets a hash of 64 bits of these, made a column at a time; only events whose hash occurs twice
have all that they say compared. Two hashes may be the same by chance: that costs a comparison, and
decides nothing.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.identity import person_key
from backfill.encoding.json_text import Mask
from backfill.instants import characters
from backfill.judge.chunk_judge import THREADS, in_order
from backfill.operations.encode import Accepted
from backfill.planning.hash_groups import HashPartitions, Records, repeated
from backfill.planning.row_decisions import RowTable
from backfill.rows import Rows

EVENT_HASH = np.dtype([("hash", "<u8"), ("part", "<i4"), ("row", "<i8")])
EventHashes = npt.NDArray[np.uint64]
"""A hash of 64 bits for each event; shape (n,), n events."""

_MAY_REPEAT = 1

BUFFERED_HASHES_MAX = 2**18
LARGE_RECORDS_MIN = 2**20

HASHED_BYTES_MAX = 256
"""So many bytes of a text make its hash: keys that differ only behind them share one."""

_WORD_BYTES = 8
_FIRST_BYTES = np.array([2 ** (8 * count) - 1 for count in range(_WORD_BYTES + 1)], np.uint64)
_ODD = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio: spreads what differs over all bits
_HALF = np.uint64(32)


class DuplicateFilter:
    """Takes the hashes of all events, and keeps the rows whose hash occurs more than once.

    Args:
        folder: Where they are kept meanwhile; made when first needed.
        buffered_max: So many stay in memory.
        large_min: More hashes than this in one partition are taken a slice at a time.
    """

    def __init__(
        self,
        folder: Path,
        buffered_max: int = BUFFERED_HASHES_MAX,
        large_min: int = LARGE_RECORDS_MIN,
    ) -> None:
        self._folder = folder
        self._large_min = large_min
        self._hashes = HashPartitions(folder, "hashes", buffered_max, EVENT_HASH)
        self._kept = RowTable(folder / "kept", buffered_max=buffered_max)

    def add(self, hashes: EventHashes, part: int, rows: Rows) -> None:
        """Take the hashes, uint64 (n,), of n rows of a part, int64 (n,)."""
        made = np.empty(len(rows), EVENT_HASH)
        made["hash"], made["part"], made["row"] = hashes, part, rows
        self._hashes.add(made)

    def resolve(self, pool: Executor) -> set[int]:
        """Find the rows that may be repeats; the parts that have any. To be called once."""
        parts: set[int] = set()
        every = list(self._hashes.neighbours(BUFFERED_HASHES_MAX))
        # Events that are all alike are in one partition, however many they are.
        large = [each for each in every if self._hashes.count(each) > self._large_min]
        others = [each for each in every if each not in large]
        found = in_order(self._alike, others, pool, THREADS)
        for kept in chain(found, chain.from_iterable(map(self._alike_in_slices, large))):
            # Equal hashes only make suspects; their contents are compared before anything is
            # decided.
            self._kept.add(_MAY_REPEAT, kept["part"], kept["row"])
            parts.update(np.unique(kept["part"]).tolist())
        self._kept.flush()
        return parts

    def _alike(self, partitions: range) -> Records:
        """The records of some partitions that share their hash with another one."""
        some = self._hashes.read(partitions)
        return some.take(np.flatnonzero(repeated(some["hash"])))

    def _alike_in_slices(self, partitions: range) -> Iterator[Records]:
        """The same, a slice at a time: only their hashes are in memory together, each once."""
        seen, shared = np.empty((2, 0), np.uint64)
        for some in self._hashes.slices(partitions):
            hashes, counts = np.unique(some["hash"], return_counts=True)
            # Shared within the slice, or with one before it.
            shared = np.union1d(shared, hashes[(counts > 1) | np.isin(hashes, seen)])
            seen = np.union1d(seen, hashes)
        for some in self._hashes.slices(partitions):
            yield some.take(np.flatnonzero(np.isin(some["hash"], shared)))

    def remove(self) -> None:
        """Remove what was kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def may_repeat(self, part: int, rows: Rows) -> Mask:
        """Which of n rows of a part, int64 (n,), ascending, may be repeats; bool (n,)."""
        kept = self._kept.of(part, rows)
        return np.zeros(len(rows), np.bool_) if kept is None else kept["kind"] != 0


def event_hashes(identifier_type: str, events: Accepted, names: pa.DictionaryArray) -> EventHashes:
    """A hash for each of n events: the same where person, name and timestamp, or key, are the same.

    Args:
        identifier_type: Of the people.
        events: The n events.
        names: Their names, dictionary-encoded, n long: each is hashed once.

    Returns:
        uint64 (n,).
    """
    hashes = _hash_texts(person_key(identifier_type, events.person))
    # Mixed before each sum: else swapping person and name would give the same number.
    hashes = _mix(hashes) + _hash_texts(names.dictionary)[names.indices.to_numpy()]
    if events.key is not None:
        hashes = _mix(hashes) + _hash_texts(events.key)
    elif events.micros is not None:
        hashes = _mix(hashes) + events.micros.to_numpy().view(np.uint64)
    return _mix(hashes)


def _hash_texts(column: pa.StringArray) -> EventHashes:
    """A hash of each of n texts, uint64 (n,): of its length, and of eight bytes at a time.

    Sums of mixed words need a pass for every eight bytes of the longest text, over all texts at
    once; a hash function called for each text would cost ten times as much.
    """
    lengths: npt.NDArray[np.int32] = pc.binary_length(column).to_numpy()
    used = characters(column)
    # Room for the last word, which may reach beyond the last text.
    text = np.concatenate([used, np.zeros(_WORD_BYTES, np.uint8)])
    words = np.ndarray(len(used) + 1, "<u8", text, strides=(1,))  # the eight bytes from each on
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    hashes = lengths.astype(np.uint64)
    for begin in range(0, min(int(lengths.max(initial=0)), HASHED_BYTES_MAX), _WORD_BYTES):
        left = np.clip(lengths - begin, 0, _WORD_BYTES)
        said = words[np.minimum(starts + begin, len(used))] & _FIRST_BYTES[left]
        hashes += _mix(said * (_ODD + np.uint64(2 * begin)))  # nothing said adds nothing
    return hashes


def _mix(hashes: EventHashes) -> EventHashes:
    """Other numbers, one for each, uint64 (n,), that differ in all bits where these differ."""
    mixed = (hashes ^ (hashes >> _HALF)) * _ODD
    return mixed ^ (mixed >> _HALF)
