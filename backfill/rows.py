"""The nouns of reading: a chunk of rows, and a row that is not sent with all its reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Rows = npt.NDArray[np.int64]
"""Row numbers in a file, counted from 1, the header excluded."""

Values = Literal["text", "json", "typed"]
"""How the cells of a chunk are written: all text (CSV), each a JSON fragment (JSON Lines), or
typed by the file itself (Parquet)."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row is not sent: a code of the closed list, the field it is about, a sentence.

    The sentence never repeats a value of the row: it may reach a log.
    """

    code: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that will not be sent, or was refused, with all its reasons.

    Args:
        row: The row's number in its file, from 1.
        line: The physical line at which it begins, where the format has lines.
        reasons: Every reason, at least one.
        cells: The row as read, by column; every value can be written as JSON.
        raw: The row's own text, where it could not be split into cells.
    """

    row: int
    line: int | None
    reasons: tuple[Reason, ...]
    cells: Mapping[str, Any] = field(default_factory=dict)
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading can go on: the next row's number, its line, and the format's own offset."""

    row: int = 1
    line: int = 1
    offset: int = 0


START = Position()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that were read together.

    It covers every row from `first_row` up to, not including, `end.row`: those of good shape are
    in `batch`, the others are rejections.

    Args:
        first_row: The number of the first row that the chunk covers.
        batch: The rows of good shape, in the source's own columns.
        rows: The row number of each row of `batch`, ascending.
        lines: The line at which each row of `batch` begins; None where the format has no lines.
        rejections: The rows of bad shape.
        end: Where the next chunk begins.
        values: How the cells are written.
    """

    first_row: int
    batch: pa.RecordBatch
    rows: Rows
    lines: Rows | None
    rejections: tuple[Rejection, ...]
    end: Position
    values: Values

    def only(self, wanted: npt.NDArray[np.bool_]) -> "Chunk":
        """Some rows of good shape; the chunk covers as many as before."""
        places = np.flatnonzero(wanted)
        lines = None if self.lines is None else self.lines[places]
        batch = self.batch.take(pa.array(places))
        return replace(self, batch=batch, rows=self.rows[places], lines=lines)

    def until(self, row: int) -> "Chunk":
        """The rows before `row`. Reading cannot go on from the end of what is given."""
        if row >= self.end.row:
            return self
        kept = int(np.searchsorted(self.rows, row))
        return replace(
            self,
            batch=self.batch.slice(0, kept),
            rows=self.rows[:kept],
            lines=None if self.lines is None else self.lines[:kept],
            rejections=tuple(each for each in self.rejections if each.row < row),
            end=replace(self.end, row=row),
        )
