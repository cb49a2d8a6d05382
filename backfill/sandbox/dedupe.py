"""Which event ids have been seen: ten million in about 120 MB, asked for a batch at a time.

An id is kept as 64 bits of its hash (two of ten million collide with a chance of 3 in a million)
and the second it was first seen. New ones go to a dictionary; a full one becomes a sorted run,
and runs of like size are merged, so that there are few to search.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.uint32]

YOUNG_MAX = 65_536
NEVER = -(2**40)


class SeenEventIds:
    """A memory of event ids.

    Args:
        window_s: How long an id is remembered; None is for ever, 0 is never.
    """

    def __init__(self, window_s: int | None = None) -> None:
        self.window_s = window_s
        self._young: dict[int, int] = {}
        self._runs: list[tuple[Keys, Seconds]] = []

    def admit(self, event_ids: Sequence[str], now_s: float) -> list[bool]:
        """Whether each id is new; from now on it no longer is."""
        if self.window_s == 0:
            return [True] * len(event_ids)
        second = int(now_s)
        oldest = -1 if self.window_s is None else second - self.window_s
        # Python's own hash is salted per process; ids are hashed anew after a restart
        keys = [hash(event_id) for event_id in event_ids]
        old = self._in_runs(keys, oldest)
        young = self._young
        fresh = []
        for key, is_old in zip(keys, old, strict=True):
            is_new = not is_old and young.get(key, NEVER) <= oldest
            fresh.append(is_new)
            if is_new:
                young[key] = second
        if len(young) >= YOUNG_MAX:
            self._settle()
        return fresh

    def remember(self, event_ids: Sequence[str], seconds: Sequence[float]) -> None:
        """Take in ids that were seen before a restart, in the order of their arrival."""
        # numpy keeps seconds in half the bytes of a float
        keys = np.fromiter(map(hash, event_ids), np.int64, len(event_ids))
        self._merge(_sorted(keys, np.array(seconds, np.uint32)))

    def _in_runs(self, keys: list[int], oldest: int) -> list[bool]:
        if not self._runs or not keys:
            return [False] * len(keys)
        wanted = np.array(keys, dtype=np.int64)
        found = np.zeros(len(keys), dtype=bool)
        for known, seconds in self._runs:
            at = np.searchsorted(known, wanted, side="right") - 1  # the latest sight of it
            found |= (known[at] == wanted) & (seconds[at] > oldest)
        return found.tolist()

    def _settle(self) -> None:
        """Make a run of the young ones."""
        run = _sorted(
            np.fromiter(self._young.keys(), np.int64, len(self._young)),
            np.fromiter(self._young.values(), np.uint32, len(self._young)),
        )
        self._young.clear()
        self._merge(run)

    def _merge(self, run: tuple[Keys, Seconds]) -> None:
        """Add a run, later than all others; merge it with those that are not twice its size."""
        while self._runs and len(self._runs[-1][0]) < 2 * len(run[0]):
            keys, seconds = self._runs.pop()
            run = _sorted(np.concatenate([keys, run[0]]), np.concatenate([seconds, run[1]]))
        self._runs.append(run)


def _sorted(keys: Keys, seconds: Seconds) -> tuple[Keys, Seconds]:
    order = np.argsort(keys, kind="stable")  # keeps the latest last, merges runs
    return keys[order], seconds[order]
