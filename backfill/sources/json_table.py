"""Lines of JSON objects as columns: those that most rows have, and the cells of all others."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backfill.rows import Reason, Rows, SparseCells
from backfill.sources.interface import CHUNK_ROWS_MAX
from backfill.sources.json_scan import JsonLines

CELLS_MAX = 8_000_000
"""A chunk has so many rows times keys at most: a transform, and `init`, look at all of them."""

_COLUMNS_MIN = 64
_FEW = 4
"""From `_COLUMNS_MIN` keys on, one that fewer than a quarter of the rows have is no column."""

_Numbers = npt.NDArray[np.int32]


class LineTable:
    """Lines that were taken apart, with those that were read one by one.

    Args:
        lines: All lines.
        found: The fragments of the odd ones, by line and key; a reason where one is no row; None
            where one is blank.
        columns: The keys that are wanted; all, if None.
        folders: What each row has where it lacks the key.
    """

    def __init__(
        self,
        lines: JsonLines,
        found: Mapping[int, dict[str, str] | Reason | None],
        columns: Collection[str] | None,
        folders: Mapping[str, str],
    ) -> None:
        self._count = len(lines.ends)
        self._bad = {line: each for line, each in found.items() if isinstance(each, Reason)}
        self._is_row = ~lines.blank
        self._is_row[[line for line, each in found.items() if each is None]] = False
        self._folders = {
            name: each for name, each in folders.items() if columns is None or name in columns
        }
        self._keys = list(lines.keys)
        self._line_of, self._key_of, self._at = lines.line_of, lines.key_of, lines.at
        self._values = lines.values
        self._add({line: each for line, each in found.items() if isinstance(each, dict)})
        if columns is not None:
            self._choose(np.array([key in columns for key in self._keys], np.bool_))

    def _add(self, found: Mapping[int, dict[str, str]]) -> None:
        """Put the members of odd lines among the others."""
        number_of = {key: number for number, key in enumerate(self._keys)}
        line_of, key_of, texts = [], [], []
        for line, members in found.items():
            for key, text in members.items():
                line_of.append(line)
                key_of.append(number_of.setdefault(key, len(number_of)))
                texts.append(text)
        if not texts:
            return
        self._keys = list(number_of)
        at = len(self._values) + np.arange(len(texts), dtype=np.int32)
        self._values = pa.concat_arrays([self._values, pa.array(texts, pa.string())])
        line_of_all = np.concatenate([self._line_of, np.array(line_of, np.int32)])
        order = np.argsort(line_of_all, kind="stable")
        self._line_of = line_of_all[order]
        self._key_of = np.concatenate([self._key_of, np.array(key_of, np.int32)])[order]
        self._at = np.concatenate([self._at, at])[order]

    def _choose(self, wanted: npt.NDArray[np.bool_]) -> None:
        kept = wanted[self._key_of]
        self._line_of, self._key_of = self._line_of[kept], self._key_of[kept]
        self._at = self._at[kept]

    def cuts(self) -> Iterator[tuple[int, int]]:
        """The lines of each chunk: the first one, and the one behind the last."""
        step = max(1, min(CHUNK_ROWS_MAX, CELLS_MAX // max(len(self._keys), 1)))
        yield from ((at, min(at + step, self._count)) for at in range(0, self._count, step))

    def is_row(self, first: int, last: int) -> npt.NDArray[np.bool_]:
        """Which of some lines are rows; the others are blank."""
        return self._is_row[first:last]

    def bad(self, first: int, last: int) -> list[tuple[int, Reason]]:
        """Which of some lines are rejected, and why."""
        return [(line, why) for line, why in self._bad.items() if first <= line < last]

    def columns(
        self, first: int, good: npt.NDArray[np.bool_]
    ) -> tuple[pa.RecordBatch, SparseCells | None]:
        """The cells of the good ones of some lines, from the line `first` on."""
        count = int(good.sum())
        begin, end = np.searchsorted(self._line_of, (first, first + len(good)))
        key_of, at = self._key_of[begin:end], self._at[begin:end]
        places: Rows = (np.cumsum(good) - good)[self._line_of[begin:end] - first]
        counts = np.bincount(key_of, minlength=len(self._keys))
        is_column = counts > 0
        sparse = None
        if len(counts) >= _COLUMNS_MIN:
            rare = is_column & (counts * _FEW < count)
            rare[[place for place, key in enumerate(self._keys) if key in self._folders]] = False
            is_column &= ~rare
            if rare.any():
                sparse = self._sparse(rare, key_of, places, at)
                kept = is_column[key_of]
                key_of, at, places = key_of[kept], at[kept], places[kept]
        arrays = self._arrays(np.flatnonzero(is_column), key_of, places, at, counts, count)
        for name, value in self._folders.items():
            own = arrays.get(name)
            arrays[name] = pa.repeat(value, count) if own is None else own.fill_null(value)
        # A batch without columns would not know its rows.
        counted = pa.RecordBatch.from_arrays(
            [*arrays.values(), pa.nulls(count)], names=[*arrays, ""]
        )
        return counted.select(list(range(len(arrays)))), sparse

    def _sparse(
        self, rare: npt.NDArray[np.bool_], key_of: _Numbers, places: Rows, at: _Numbers
    ) -> SparseCells:
        """The cells of rare keys."""
        here = rare[key_of]
        number = np.cumsum(rare) - 1
        names = tuple(self._keys[place] for place in np.flatnonzero(rare).tolist())
        cells = self._values.take(pa.array(at[here]))
        return SparseCells(names, number[key_of[here]], places[here], cells)

    def _arrays(
        self, keys: Rows, key_of: _Numbers, places: Rows, at: _Numbers, counts: Rows, count: int
    ) -> dict[str, pa.StringArray]:
        """A column for each of some keys."""
        width = len(keys)
        alike = len(key_of) == count * width > 0
        if alike and (key_of.reshape(count, width) == key_of[:width]).all():
            # Each row has the same keys in the same order, as programs write them.
            table = at.reshape(count, width)
            columns = {int(key): table[:, place] for place, key in enumerate(key_of[:width])}
            return {
                self._keys[key]: self._values.take(pa.array(columns[key])) for key in keys.tolist()
            }
        order = np.argsort(key_of, kind="stable")
        ends = np.cumsum(counts[keys])
        begins = ends - counts[keys]
        arrays = {}
        for key, begin, end in zip(keys.tolist(), begins.tolist(), ends.tolist(), strict=True):
            here = order[begin:end]
            where = np.full(count, -1, np.int32)
            where[places[here]] = at[here]
            arrays[self._keys[key]] = self._values.take(pa.array(where, mask=where < 0))
        return arrays
