"""Rows of good shape, parted into cells; the header among them.

Facts about the reader: https://arrow.apache.org/docs/python/csv.html
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from backfill.errors import BackfillError, UsageError
from backfill.rows import Position, Rows
from backfill.sources.bad_rows import reason
from backfill.sources.framing import Frame, frames
from backfill.sources.text_file import TextFile

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}".encode()
_HEADER_BLOCK_BYTES = 1 << 14


def parted(
    frame: Frame,
    kept: Rows,
    delimiter: bytes,
    header: Sequence[str],
    names: list[str],
    codec: str,
) -> pa.RecordBatch:
    """The cells of the kept rows of a frame, in the columns `names` of `header`.

    The rows must be of good shape: as many fields as the header, valid in `codec`, no NUL.
    """
    wanted = names or list(header[:1])  # none at all would mean every one to the reader
    if not len(kept):
        return pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in names]))
    data = _joined(frame, kept)
    if codec != "utf-8":
        data = pa.py_buffer(data.to_pybytes().decode(codec).encode())
    if data[: len(_BOM)].to_pybytes() == _BOM:
        data = pa.py_buffer(_BOM + data.to_pybytes())  # the reader drops one, also from a cell
    table = _parse(data, delimiter, header, wanted, quoted=b'"' in frame.data)
    if table.num_rows != len(kept):
        raise BackfillError(f"{len(kept)} rows of text were parted into {table.num_rows}")
    (batch,) = table.combine_chunks().to_batches()
    return batch.select(names)


def _joined(frame: Frame, kept: Rows) -> pa.Buffer:
    """The text of the kept rows."""
    breaks = np.flatnonzero(np.diff(kept) > 1)
    firsts = frame.starts[kept[np.concatenate(([0], breaks + 1))]].tolist()
    lasts = frame.nexts[kept[np.append(breaks, len(kept) - 1)]].tolist()
    if len(firsts) == 1:
        return pa.py_buffer(frame.data)[firsts[0] : lasts[0]]
    pieces = zip(firsts, lasts, strict=True)
    return pa.py_buffer(b"".join(frame.data[first:last] for first, last in pieces))


def _parse(
    data: pa.Buffer, delimiter: bytes, header: Sequence[str], wanted: list[str], *, quoted: bool
) -> pa.Table:
    return pc.read_csv(
        cast("IO[bytes]", pa.BufferReader(data)),
        # The block is larger than the data: the reader never has to look for a place to cut.
        pc.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=list(header)),
        # Where there are no quotes the reader need not look for them: a third less to do.
        pc.ParseOptions(
            delimiter=delimiter.decode(),
            quote_char='"' if quoted else False,
            newlines_in_values=quoted,
        ),
        pc.ConvertOptions(
            check_utf8=False,  # it has been
            column_types=dict.fromkeys(header, pa.string()),
            include_columns=wanted,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def read_header(text: TextFile, delimiter: str) -> tuple[tuple[str, ...], Position]:
    """The names in the first line that is not blank, and where the first row may begin.

    Raises:
        UsageError: There is none, it cannot be read, or a name is missing or stands twice.
    """
    width = text.encoding.width
    position = Position(row=0, offset=text.encoding.bom_bytes)
    blocks = replace(text, block_bytes=_HEADER_BLOCK_BYTES).blocks(position.offset)
    for frame in frames(blocks, delimiter.encode(), width):
        if len(frame.starts):
            names = _names(text, frame, delimiter, position.line + int(frame.lines[0]))
            return names, frame.position(1, position, width)
        position = frame.position(0, position, width)
    raise UsageError(
        f"{text.version.path}: the file is empty", next_step="export it again, with a header"
    )


def _names(text: TextFile, frame: Frame, delimiter: str, line: int) -> tuple[str, ...]:
    path = text.version.path
    if 0 in frame.spoiled:
        raise _bad_header(path, line, reason(frame.spoiled[0]).message)
    raw = frame.data[frame.starts[0] : frame.stops[0]]
    try:
        header = raw.decode(text.encoding.framed)
    except UnicodeDecodeError as error:
        what = f"byte {error.start} of the row is not valid {text.encoding.name}"
        raise _bad_header(path, line, what) from error
    if header.startswith("sep="):
        raise UsageError(
            f"{path}: line {line} is a spreadsheet hint ({header.strip()}), not a header",
            next_step="remove that line",
        )
    (names,) = csv.reader(io.StringIO(header, newline=""), delimiter=delimiter, strict=True)
    for number, name in enumerate(names, start=1):
        if not name.strip() or "\0" in name:
            raise _bad_header(path, line, f"column {number} has no name")
        if name in names[: number - 1]:
            raise _bad_header(path, line, f"two columns are named {name}")
    return tuple(names)


def _bad_header(path: Path, line: int, what: str) -> UsageError:
    return UsageError(
        f"{path}: the header in line {line} cannot be used: {what}",
        next_step="give each column a name of its own in the first line",
    )
