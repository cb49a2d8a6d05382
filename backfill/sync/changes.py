"""Which rows a sync sends, as the comparison with the snapshot left it on the disk."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow.parquet as pq

from backfill.encoding.json_text import Mask
from backfill.plan.row_decisions import RowDecisions
from backfill.rows import Reason, Rows

MARKS_FOLDER = "marks"
REFUSED_FILE = "refused.parquet"


class Changes:
    """What has changed in some parts.

    Args:
        folder: Where the comparison was left.
        parts: The parts that were compared, with the reason why all their other rows are skipped.
    """

    def __init__(self, folder: Path, parts: Mapping[int, str]) -> None:
        self._folder = folder
        self._parts = parts
        self._marks = RowDecisions(folder / MARKS_FOLDER)

    def concern(self, part: int) -> bool:
        """Whether rows of this part were compared."""
        return part in self._parts

    def noted(self, part: int, rows: Rows) -> Mask:
        """Of which of these ascending rows anything was noted; all others are skipped."""
        marked = self._marks.of(part, rows)
        return np.zeros(len(rows), np.bool_) if marked is None else marked["kind"] > 0

    def of(self, parts: npt.NDArray[np.int32], rows: Rows) -> npt.NDArray[np.uint8]:
        """For each accepted row: CHANGED, REFUSED_BEFORE, UNCHANGED; 0: nothing was noted."""
        kinds = np.zeros(len(rows), np.uint8)
        for part in np.unique(parts).tolist():
            here = parts == part
            distinct, places = np.unique(rows[here], return_inverse=True)
            marked = self._marks.of(part, distinct)
            if marked is not None:
                kinds[here] = marked["kind"][places]
        return kinds

    def why_skipped(self, part: int) -> str:
        """Why the rows of a part are skipped of which nothing was noted."""
        return self._parts[part]

    def why_refused(self, part: int, row: int) -> tuple[Reason, ...]:
        """Why the API refused before what this row says again."""
        return tuple(Reason(*each) for each in orjson.loads(self._refused[part, row]))

    @cached_property
    def _refused(self) -> Mapping[tuple[int, int], str]:
        columns = pq.read_table(self._folder / REFUSED_FILE).to_pydict()
        places = zip(columns["part"], columns["row"], strict=True)
        return dict(zip(places, columns["reasons"], strict=True))
