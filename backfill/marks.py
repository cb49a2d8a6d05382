"""What the plan pass decided about single rows, for the send pass to find in row order.

Only rows about which something had to be decided have a mark: repeats, merged people, people whom
nobody names. They are kept in files of neighbouring rows, so that one file at a time is in memory.
"""

from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backfill.rows import Rows

BUCKET_ROWS = 65_536


class Mark(IntEnum):
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
    Mark.SHARED_EMAIL: "shared_email",
    Mark.IDENTICAL: "identical_row",
    Mark.REPEATED_KEY: "repeated_key",
    Mark.REPEATED_PERSON: "repeated_person",
}
"""The marks of skipped rows, and the reason that the summary counts them under."""

_RECORD = np.dtype([("row", "<i8"), ("value", "<i8"), ("other", "<i4"), ("kind", "u1")])
Marked = npt.NDArray[Any]
"""An array of row, value, other, kind; kind 0: no mark."""


class Marks:
    """The marks of a job's rows, on disk.

    Args:
        folder: Where they are kept; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bucket = lru_cache(maxsize=2)(self._load)

    def add(
        self,
        kind: Mark,
        parts: npt.NDArray[np.int32],
        rows: Rows,
        value: npt.NDArray[np.int64] | int = 0,
        other: npt.NDArray[np.int32] | int = 0,
    ) -> None:
        """Mark rows; `value` and `other` as the kind says."""
        made = np.empty(len(rows), _RECORD)
        made["kind"], made["row"], made["value"], made["other"] = kind, rows, value, other
        buckets = rows // BUCKET_ROWS
        for part, bucket in set(zip(parts.tolist(), buckets.tolist(), strict=True)):
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._path(part, bucket).open("ab") as file:
                file.write(made[(parts == part) & (buckets == bucket)].tobytes())

    def of(self, part: int, rows: Rows) -> Marked | None:
        """The mark of each of these ascending rows; None where none has any."""
        if len(rows) == 0:
            return None
        found = np.zeros(len(rows), _RECORD)
        for bucket in range(int(rows[0]) // BUCKET_ROWS, int(rows[-1]) // BUCKET_ROWS + 1):
            marked = self._bucket(part, bucket)
            at = np.searchsorted(rows, marked["row"])
            at_most = np.minimum(at, len(rows) - 1)
            here = rows[at_most] == marked["row"]
            found[at_most[here]] = marked[here]
        return found if found["kind"].any() else None

    def _path(self, part: int, bucket: int) -> Path:
        return self._folder / f"{part}-{bucket}"

    def _load(self, part: int, bucket: int) -> Marked:
        path = self._path(part, bucket)
        if not path.exists():
            return np.empty(0, _RECORD)
        # Written last, kept: with the smallest kind behind, it wins where a row has two marks.
        marked = np.fromfile(path, _RECORD)
        return marked[np.lexsort((-marked["kind"].astype(np.int64), marked["row"]))]
