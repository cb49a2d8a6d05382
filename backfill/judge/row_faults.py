"""What is wrong with the rows of a chunk, gathered column by column."""

from collections.abc import Iterable, Mapping, Sequence
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

    def rejections(self, rows: Rows, origin: Chunk) -> list[Rejection]:
        """The rows that have any fault, each with all its reasons.

        Args:
            rows: The numbers of the n rows that were judged, int64 (n,).
            origin: The chunk as it was read, which the report repeats.
        """
        bad = np.flatnonzero(self.bad())
        if not len(bad):
            return []
        faults = np.array([mask[bad] for _, _, mask in self.found], np.bool_).T
        # Rows fail in few ways, and alike: the sentences are made once for each way.
        ways, way_of = np.unique(faults, axis=0, return_inverse=True)
        reasons = [self._reasons(way) for way in ways]
        return rejections(origin, rows[bad], [reasons[way] for way in way_of.ravel().tolist()])

    def _reasons(self, has: Mask) -> tuple[Reason, ...]:
        """The reasons of rows that have these faults; bool, as many as were found."""
        return tuple(
            reason(code, column)
            for (code, column, _), it_has in zip(self.found, has, strict=True)
            if it_has
        )


def rejections(origin: Chunk, rows: Rows, reasons: Sequence[tuple[Reason, ...]]) -> list[Rejection]:
    """Rows of a chunk that will not be sent, or were refused.

    Args:
        origin: The chunk as it was read.
        rows: The numbers of the n rows, int64 (n,).
        reasons: Those of each, n.
    """
    places = np.searchsorted(origin.rows, rows)
    lines = [None] * len(rows) if origin.lines is None else origin.lines[places].tolist()
    found = zip(rows.tolist(), lines, reasons, row_cells(origin, places), strict=True)
    return [Rejection(*each) for each in found]


def rejection(origin: Chunk, row: int, reasons: tuple[Reason, ...]) -> Rejection:
    """A row of a chunk that will not be sent, or was refused."""
    return rejections(origin, np.array([row], np.int64), [reasons])[0]


def unknown_people(source: Source, origin: Chunk, rows: Rows) -> list[Rejection]:
    """The rejections of events, int64 (n,), about people whom no customers source names."""
    why = (reason("unknown_person", source.identifier.column),)
    return rejections(origin, rows, [why] * len(rows))


def any_of(masks: Iterable[Mask], count: int) -> Mask:
    """Where any of the masks is true."""
    found = np.zeros(count, np.bool_)
    for mask in masks:
        found |= mask
    return found
