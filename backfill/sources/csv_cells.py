"""The cells of framed rows, as columns of text; and the header, which is such a row.

Facts about the reader: https://arrow.apache.org/docs/python/csv.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from backfill.errors import BackfillError
from backfill.rows import Rows
from backfill.sources.frame import BOM, Dialect, Frame, escapes

_SPACES = " \t\N{NO-BREAK SPACE}"
_SPECIAL = {ord("t"): 9, ord("n"): 10, ord("r"): 13, ord("b"): 8, ord("f"): 12, ord("v"): 11}
"""What letters stand for behind an escape, as PostgreSQL, MySQL and Hive write them."""


@dataclass(frozen=True, slots=True)
class CellReader:
    """How the cells of one file are read.

    Args:
        dialect: The characters with a meaning.
        codec: The encoding of the framed bytes.
        trim: Whether spaces around cells are dropped.
    """

    dialect: Dialect
    codec: str
    trim: bool = False

    def read(
        self, frame: Frame, kept: Rows, header: Sequence[str], names: Sequence[str]
    ) -> pa.RecordBatch:
        """The cells of some rows of a frame.

        An unquoted empty cell is null, a quoted one the empty string.

        Args:
            frame: The text.
            kept: The wanted rows, k of them, counted from 0, ascending. They must be of good
                shape: as many fields as the header, valid in the codec, no NUL.
            header: A name for each field of a row, no two alike.
            names: Which of them are wanted.

        Returns:
            A string column of length k for each of `names`.
        """
        if not len(kept):
            return pa.RecordBatch.from_pylist(
                [], pa.schema([(name, pa.string()) for name in names])
            )
        data = _joined(frame, kept)
        if self.codec != "utf-8":
            data = pa.py_buffer(data.to_pybytes().decode(self.codec).encode())
        if self.dialect.escape and self.dialect.escape in frame.data:
            data = pa.py_buffer(_unescaped(data, self.dialect.escape))
        if data[: len(BOM)].to_pybytes() == BOM:
            data = pa.py_buffer(BOM + data.to_pybytes())  # the reader drops one, also from a cell
        wanted = list(names) or list(header[:1])  # none at all would mean every one to the reader
        quote = self.dialect.quote
        table = self._parse(data, header, wanted, quoted=bool(quote) and quote in frame.data)
        if table.num_rows != len(kept):
            raise BackfillError(f"{len(kept)} rows of text gave {table.num_rows} rows of cells")
        (batch,) = table.combine_chunks().to_batches()
        return _trimmed(batch.select(list(names))) if self.trim else batch.select(list(names))

    def _parse(
        self, data: pa.Buffer, header: Sequence[str], wanted: list[str], *, quoted: bool
    ) -> pa.Table:
        escape = self.dialect.escape.decode() or False
        return pa_csv.read_csv(
            cast("IO[bytes]", pa.BufferReader(data)),
            # The block is larger than the data: the reader never has to look for a place to cut.
            pa_csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=list(header)
            ),
            # Where there are no quotes the reader need not look for them: a third less to do.
            pa_csv.ParseOptions(
                delimiter=self.dialect.delimiter.decode(),
                quote_char=self.dialect.quote.decode() if quoted else False,
                escape_char=escape,
                newlines_in_values=quoted or bool(escape),
            ),
            pa_csv.ConvertOptions(
                check_utf8=False,  # it has been
                column_types=dict.fromkeys(header, pa.string()),
                include_columns=wanted,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def names(self, frame: Frame) -> list[str]:
        """The cells of a frame's first row, which is of good shape; nothing is the empty text."""
        places = [str(place) for place in range(int(frame.fields[0]))]
        batch = self.read(frame, np.zeros(1, np.int64), places, places)
        return [column[0].as_py() or "" for column in batch.columns]


def _joined(frame: Frame, kept: Rows) -> pa.Buffer:
    """The text of the kept rows, as few pieces as possible: mostly one, which is not copied."""
    first, last = int(kept[0]), int(kept[-1])
    # What stands between two rows is no part of either: a blank line, a byte-order mark.
    apart = frame.starts[first + 1 : last + 1] != frame.nexts[first:last]
    if last - first + 1 > len(kept):
        apart = apart[kept[:-1] - first] | (np.diff(kept) > 1)
    breaks = np.flatnonzero(apart)
    firsts = frame.starts[kept[np.concatenate(([0], breaks + 1))]].tolist()
    lasts = frame.nexts[kept[np.append(breaks, len(kept) - 1)]].tolist()
    if len(firsts) == 1:
        return pa.py_buffer(frame.data)[firsts[0] : lasts[0]]
    pieces = zip(firsts, lasts, strict=True)
    return pa.py_buffer(b"".join(frame.data[first:last] for first, last in pieces))


def _unescaped(data: pa.Buffer, escape: bytes) -> bytes:
    r"""The text with escaped letters in place of what they stand for, still escaped.

    The reader takes any escaped byte for itself, but `\t` is a tab; and `\N`, which means
    null in dumps, has to stay as it is written: the setting `null_values` is about its text.
    """
    text = np.frombuffer(data, np.uint8).copy()
    escaped = escapes(text, escape[0]) + 1
    escaped = escaped[escaped < len(text)]
    table = np.arange(256, dtype=np.uint8)
    table[list(_SPECIAL)] = list(_SPECIAL.values())
    text[escaped] = table[text[escaped]]
    nulls = escaped[text[escaped] == ord("N")]
    return np.insert(text, nulls, escape[0]).tobytes()


def _trimmed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The cells without the spaces around them; one that held nothing else is null."""
    columns = []
    for column in batch.columns:
        trimmed = pc.utf8_trim(column, _SPACES)
        emptied = pc.and_(pc.equal(trimmed, ""), pc.not_equal(column, ""))
        columns.append(pc.if_else(emptied, pa.scalar(None, pa.string()), trimmed))
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
