"""What a file promises: rows that can be read again from any position, as chunks."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from backfill.rows import START, Chunk, Position, Values

Kind = Literal["csv", "jsonl", "parquet"]

CHUNK_ROWS_MAX = 32_768
CHUNK_BYTES_MAX = 8_000_000
"""The larger a chunk, the less its threads wait for one another, and the more memory it takes."""


class SourceFile(Protocol):
    """One file, read as chunks, any number of times and from the end of any chunk.

    An implementation MUST

    - number rows from 1 without a gap: each chunk covers `first_row` up to, not including,
      `end.row`, and begins where the one before ended; a blank line is no row;
    - account for every row of a chunk: it is in `batch` or among the rejections, never both;
    - give the same rows, numbers, lines and rejections whatever `start` is, as long as `start` is
      `START` or the `end` of a chunk, also one of another process;
    - keep text as written: nothing is trimmed, and no type is inferred;
    - give the same columns in every chunk, in the order of `columns()`, where that is not None;
    - hold one chunk and a few blocks in memory at most, whatever the size of the file;
    - raise `SourceChangedError` rather than give rows of two versions of the file;
    - raise `UsageError` where the file cannot be read on, after giving the rows before that.
    """

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def kind(self) -> Kind:
        """The format."""

    @property
    def values(self) -> Values:
        """How the cells are written, in every chunk."""

    @property
    def appendable(self) -> bool:
        """Whether rows can be added at its end without a change to the bytes before."""

    def columns(self) -> tuple[str, ...] | None:
        """The names of the columns; None where each row has its own (JSON Lines)."""

    def schema(self) -> pa.Schema | None:
        """The types that the file itself declares; None for text."""

    def row_count(self) -> int | None:
        """The number of rows, where it is known without reading them."""

    def chunks(
        self, start: Position = START, columns: Collection[str] | None = None
    ) -> Iterator[Chunk]:
        """Read on from `start`.

        Args:
            start: `START`, or the `end` of a chunk.
            columns: Only these columns, as far as the file has them; the rows, their numbers and
                the rejections stay the same. A promise of less work, never of other results.

        Raises:
            SourceChangedError: The file is not the one that was opened.
            UsageError: The file is broken from here on.
        """
