"""Which events may repeat one another: a cheap look that rules nearly all of them out.

Two events can only be alike where person, name and moment are, or person, name and key. Each of
them gets a number of 64 bits for that, made a column at a time; only events whose number stands
there twice have all that they say compared. Two numbers may be the same by chance: that costs a
look, and decides nothing.
"""

import shutil
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.identity import person_key
from backfill.encoding.json_text import Mask, characters
from backfill.judge.chunk_judge import THREADS, in_order
from backfill.operations.encode import Subjects
from backfill.plan.hash_groups import Records, Spill, repeating
from backfill.plan.row_decisions import RowDecision, RowDecisions
from backfill.rows import Rows

NUMBERED = np.dtype([("hash", "<u8"), ("part", "<i4"), ("row", "<i8")])
Numbers = npt.NDArray[np.uint64]

BUFFERED_NUMBERS_MAX = 2**18

BYTES_LOOKED_AT = 256
"""So many bytes of a text make its number: keys that differ only behind them share one."""

_WORD_BYTES = 8
_FIRST_BYTES = np.array([2 ** (8 * count) - 1 for count in range(_WORD_BYTES + 1)], np.uint64)
_ODD = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio: spreads what differs over all bits
_HALF = np.uint64(32)


class DuplicateFilter:
    """Takes the numbers of all events, and keeps the rows whose number is not alone.

    Args:
        folder: Where they are kept meanwhile; made when first needed.
        buffered_max: So many stay in memory.
    """

    def __init__(self, folder: Path, buffered_max: int = BUFFERED_NUMBERS_MAX) -> None:
        self._folder = folder
        self._numbers = Spill(folder, "numbers", buffered_max, NUMBERED)
        self._kept = RowDecisions(folder / "kept", buffered_max)

    def add(self, numbers: Numbers, part: int, rows: Rows) -> None:
        """Take the numbers of some rows of a part."""
        made = np.empty(len(rows), NUMBERED)
        made["hash"], made["part"], made["row"] = numbers, part, rows
        self._numbers.add(made)

    def resolve(self, pool: Executor) -> set[int]:
        """Find the rows that may be repeats; the parts that have any. To be called once."""
        parts: set[int] = set()
        stretches = self._numbers.stretches(BUFFERED_NUMBERS_MAX)
        for kept in in_order(self._alike, stretches, pool, THREADS):
            self._kept.add(RowDecision.MAY_REPEAT, kept["part"], kept["row"])
            parts.update(np.unique(kept["part"]).tolist())
        self._kept.flush()
        return parts

    def _alike(self, partitions: range) -> Records:
        """The records of some partitions that share their number with another one."""
        some = self._numbers.stretch(partitions)
        return some.take(np.flatnonzero(repeating(some["hash"])))

    def remove(self) -> None:
        """Remove what was kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def holds(self, part: int, rows: Rows) -> Mask:
        """Which of these ascending rows of a part may be repeats."""
        kept = self._kept.of(part, rows)
        return np.zeros(len(rows), np.bool_) if kept is None else kept["kind"] != 0


def numbers_of(identifier_type: str, events: Subjects, names: pa.DictionaryArray) -> Numbers:
    """A number for each event: the same where person, name and moment, or key, are the same.

    Args:
        identifier_type: Of the people.
        events: The events.
        names: Their names, each once.
    """
    number = _of_text(person_key(identifier_type, events.person))
    number = _mixed(number) + _of_text(names.dictionary)[names.indices.to_numpy()]
    if events.key is not None:
        number = _mixed(number) + _of_text(events.key)
    elif events.micros is not None:
        number = _mixed(number) + events.micros.to_numpy().view(np.uint64)
    return _mixed(number)


def _of_text(column: pa.StringArray) -> Numbers:
    """A number for each text: its length, and eight bytes at a time of what it says."""
    lengths: npt.NDArray[np.int32] = pc.binary_length(column).to_numpy()
    used = characters(column)
    text = np.concatenate([used, np.zeros(_WORD_BYTES, np.uint8)])
    words = np.ndarray(len(used) + 1, "<u8", text, strides=(1,))  # the eight bytes from each on
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    numbers = lengths.astype(np.uint64)
    for begin in range(0, min(int(lengths.max(initial=0)), BYTES_LOOKED_AT), _WORD_BYTES):
        left = np.clip(lengths - begin, 0, _WORD_BYTES)
        said = words[np.minimum(starts + begin, len(used))] & _FIRST_BYTES[left]
        numbers += _mixed(said * (_ODD + np.uint64(2 * begin)))  # nothing said adds nothing
    return numbers


def _mixed(numbers: Numbers) -> Numbers:
    """Other numbers, one for each, that differ in all bits where these differ in some."""
    mixed = (numbers ^ (numbers >> _HALF)) * _ODD
    return mixed ^ (mixed >> _HALF)
