"""How many different values a column has, and which, where they are few."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import identity
from backfill.report.wording import counted

KEPT_MAX = 1 << 18
"""So many values are told apart exactly; beyond, the figures are estimates."""

FEW_MAX = 20
"""So many are kept as texts: the words of a state, of yes and no."""


class Distinct:
    """Counts values, their repeats, and how many different ones there are.

    Of few values their texts are kept, of many only hashes; once there are too many, only every
    second of these is, and so on (adaptive sampling: Flajolet, "On adaptive sampling", 1990): equal
    values have equal hashes, so a value whose hash is kept is counted in full.
    """

    def __init__(self) -> None:
        self.values = 0
        self.few: Counter[str] | None = Counter()
        self._level = 0
        self._hashes = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.int64)
        self._new: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]] = []
        self._waiting = 0

    def add(self, column: pa.StringArray) -> None:
        """Take the values of a chunk into account; nulls are none."""
        counted = pc.value_counts(column.drop_null())
        found: list[bytes] = counted.field("values").cast(pa.binary()).to_pylist()
        counts = counted.field("counts").to_numpy()
        self.values += int(counts.sum())
        self._keep_few(found, counts)
        hashes = identity.hashes(found)[:, 0]
        kept = self._is_kept(hashes)
        self._new.append((hashes[kept], counts[kept]))
        self._waiting += int(kept.sum())
        if self._waiting > max(len(self._hashes), KEPT_MAX // 4):
            self._merge()

    @property
    def count(self) -> int:
        """How many different values there are."""
        self._merge()
        return len(self._hashes) << self._level

    def shown(self, one: str, many: str) -> str:
        """How many there are, with the word for them; an estimate says so."""
        return f"{'about ' if self._level else ''}{counted(self.count, one, many)}"

    @property
    def repeated(self) -> int:
        """How many different values stand more than once."""
        self._merge()
        return int((self._counts > 1).sum()) << self._level

    def _keep_few(self, found: list[bytes], counts: npt.NDArray[np.int64]) -> None:
        """Count the values by their texts, while they are few enough to be words of a kind."""
        if self.few is None:
            return
        if len(found) <= FEW_MAX:
            for value, count in zip(found, counts.tolist(), strict=True):
                self.few[value.decode()] += count
        if max(len(found), len(self.few)) > FEW_MAX:
            self.few = None

    def _is_kept(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        kept: npt.NDArray[np.bool_] = hashes & np.uint64((1 << self._level) - 1) == 0
        return kept

    def _merge(self) -> None:
        if not self._new:
            return
        hashes = np.concatenate([self._hashes, *(each for each, _ in self._new)])
        counts = np.concatenate([self._counts, *(each for _, each in self._new)])
        self._hashes, places = np.unique(hashes, return_inverse=True)
        self._counts = np.bincount(places, counts, len(self._hashes)).astype(np.int64)
        self._new, self._waiting = [], 0
        while len(self._hashes) > KEPT_MAX:
            self._level += 1
            kept = self._is_kept(self._hashes)
            self._hashes, self._counts = self._hashes[kept], self._counts[kept]
