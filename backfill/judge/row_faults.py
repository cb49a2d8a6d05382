"""What is wrong with the rows of a chunk, gathered column by column."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from backfill.encoding.cell_json import row_cells
from backfill.encoding.json_text import Mask, as_mask
from backfill.pipeline.source_settings import Source
from backfill.rows import Chunk, Reason, Rejection, Rows, reason


@dataclass(slots=True)
class RowFaults:
    """Each kind of fault that was found, with the rows that have it.

    Args:
        count: How many rows there are.
    """

    count: int
    found: list[tuple[str, str, Mask]] = field(default_factory=list)

    def add(self, code: str, column: str, mask: Mask | pa.Array) -> None:
        """Note the rows where `mask` is true; null is false."""
        mask = mask if isinstance(mask, np.ndarray) else as_mask(mask)
        if mask.any():
            self.found.append((code, column, mask))

    def add_all(self, failures: Mapping[str, Mask], column: str) -> None:
        """Note what a column's own reading found."""
        for code, mask in failures.items():
            self.add(code, column, mask)

    def bad(self) -> Mask:
        """The rows that have any fault."""
        return any_of((mask for _, _, mask in self.found), self.count)

    def rejections(self, rows: Rows, origin: Chunk) -> Iterable[Rejection]:
        """The rows that have any fault, each with all its reasons.

        Args:
            rows: The row numbers of those that were judged.
            origin: The chunk as it was read, which the report repeats.
        """
        for place in map(int, np.flatnonzero(self.bad())):
            yield rejection(origin, int(rows[place]), self._reasons(place))

    def _reasons(self, place: int) -> tuple[Reason, ...]:
        return tuple(reason(code, column) for code, column, mask in self.found if mask[place])


def rejection(origin: Chunk, row: int, reasons: tuple[Reason, ...]) -> Rejection:
    """A row of a chunk that will not be sent, or was refused."""
    place = int(np.searchsorted(origin.rows, row))
    line = None if origin.lines is None else int(origin.lines[place])
    return Rejection(row, line, reasons, row_cells(origin, place))


def unknown_person(source: Source, origin: Chunk, row: int) -> Rejection:
    """The rejection of an event about somebody whom no customers source names."""
    return rejection(origin, row, (reason("unknown_person", source.identifier.column),))


def any_of(masks: Iterable[Mask], count: int) -> Mask:
    """Where any of the masks is true."""
    found = np.zeros(count, np.bool_)
    for mask in masks:
        found |= mask
    return found
