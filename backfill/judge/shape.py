"""What becomes of a chunk before it is judged: rows left out, the transform, made columns."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.cell_json import Cells
from backfill.encoding.column_names import is_made, with_made
from backfill.encoding.json_text import Mask, as_mask
from backfill.judge.transform import Transform
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import Source
from backfill.rows import Chunk, Rows
from backfill.sources.layout import named_columns


@dataclass(frozen=True, slots=True)
class Shaped:
    """A chunk as the judge is to see it.

    Args:
        chunk: The rows that stay, with every column that the settings name and that can be made.
        dropped: int64, the rows that were left out, by what left them out: `where`, `transform`.
    """

    chunk: Chunk
    dropped: Mapping[str, Rows]


class Shape:
    """Does so with the chunks of one source.

    Args:
        source: Its settings.
        transform: The user's function, where there is one.
    """

    def __init__(self, source: Source, transform: Transform | None) -> None:
        self._where = source.where
        self._null_values = source.null_values
        self._transform = transform
        self._made = [name for _, name in named_columns(source) if is_made(name)]

    @property
    def changes_nothing(self) -> bool:
        """Whether every chunk stays as it was read."""
        return not (self._where or self._transform or self._made)

    def apply(self, chunk: Chunk, where: str) -> Shaped:
        """Shape a chunk.

        Args:
            chunk: The rows as they were read.
            where: Their file, for errors.

        Raises:
            UsageError: The transform failed.
        """
        dropped: dict[str, Rows] = {}
        if self._where:
            wanted = self._wanted(with_made(chunk, self._made))
            if not wanted.all():
                # Before the transform, which so need not know of rows that were never meant.
                dropped["where"] = chunk.rows[~wanted]
                chunk = chunk.only(wanted)
        if self._transform is not None:
            made = self._transform.apply(chunk, where)
            chunk = made.chunk
            if len(made.dropped):
                dropped["transform"] = made.dropped
        # Once more: a transform may give other columns than those that names were made of.
        return Shaped(with_made(chunk, self._made), dropped)

    def _wanted(self, chunk: Chunk) -> Mask:
        """Which of n rows hold, in each column that is asked for, one of its values."""
        wanted = np.ones(len(chunk.rows), np.bool_)
        for column, values in self._where.items():
            text = Cells.of(chunk, column, self._null_values).text().text
            # Blanks around a value are a habit of exports, not another value.
            trimmed = pc.utf8_trim_whitespace(text)
            wanted &= as_mask(pc.is_in(trimmed, value_set=pa.array(values, pa.string())))
        return wanted


def shapes_of(pipeline: Pipeline) -> dict[int, Shape]:
    """What is done with the chunks of each source, by its index; nothing where it is left out.

    Raises:
        UsageError: A transform cannot be loaded.
    """
    shapes = {}
    for index, source in enumerate(pipeline.sources):
        transform = Transform(source.transform, pipeline.folder) if source.transform else None
        shape = Shape(source, transform)
        if not shape.changes_nothing:
            shapes[index] = shape
    return shapes
