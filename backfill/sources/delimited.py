"""CSV and TSV: text cells by the grammar of `framing`; good rows are parted by pyarrow's reader.

No type is inferred: an unquoted empty cell is null, `""` is the empty string, all else is text as
written.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from backfill.errors import UsageError
from backfill.rows import START, Chunk, Position, Reason, Rejection, Rows, Values
from backfill.sources.bad_rows import (
    INVALID_UTF8,
    NUL_BYTE,
    TOO_FEW_FIELDS,
    TOO_MANY_FIELDS,
    reason,
    rejection,
)
from backfill.sources.csv_cells import parted, read_header
from backfill.sources.framing import Frame, frames
from backfill.sources.interface import CHUNK_ROWS_MAX, Kind
from backfill.sources.partitions import PartitionColumns
from backfill.sources.text_file import TextFile


@dataclass(frozen=True, slots=True)
class DelimitedSource:
    """A CSV or TSV file; see `SourceFile` for what it promises."""

    text: TextFile
    delimiter: bytes
    header: tuple[str, ...]
    body: Position
    folders: PartitionColumns
    kind: Kind = "csv"
    values: Values = "text"

    @classmethod
    def open(
        cls, text: TextFile, delimiter: str, partitions: Mapping[str, str]
    ) -> "DelimitedSource":
        """Read the header.

        Raises:
            UsageError: The delimiter cannot be one, or the header is missing, cannot be read, or
                has a name twice or not at all.
        """
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
            raise UsageError(
                f"delimiter {delimiter!r}: is not a single ASCII character that can part fields",
                next_step='set `delimiter` to "," or ";" or "|" or "\\t"',
            )
        header, body = read_header(text, delimiter)
        return cls(text, delimiter.encode(), header, body, PartitionColumns.of(partitions, header))

    @property
    def path(self) -> Path:
        """The file."""
        return self.text.version.path

    @property
    def appendable(self) -> bool:
        """Whether rows can be added at its end without a change to the bytes before."""
        return self.text.compression is None

    def columns(self) -> tuple[str, ...]:
        """The names of the header, then those of the folders."""
        return (*self.header, *self.folders.values)

    def schema(self) -> None:
        """Text declares no types."""

    def row_count(self) -> None:
        """Unknown until the file is read."""

    def chunks(
        self, start: Position = START, columns: Collection[str] | None = None
    ) -> Iterator[Chunk]:
        """Read on from `start`; see `SourceFile.chunks`."""
        version = self.text.version
        version.check()
        position = self.body if start == START else start
        blocks = self.text.blocks(position.offset)
        for frame in frames(blocks, self.delimiter, self.text.encoding.width):
            for chunk in self._chunks(frame, position, columns):
                version.check()
                yield chunk
            position = frame.position(len(frame.starts), position, self.text.encoding.width)
        version.check()

    def _chunks(
        self, frame: Frame, position: Position, columns: Collection[str] | None
    ) -> Iterator[Chunk]:
        faults = self._faults(frame)
        count = len(frame.starts)
        for first in range(0, count, CHUNK_ROWS_MAX):
            last = min(first + CHUNK_ROWS_MAX, count)
            good = np.ones(last - first, np.bool_)
            good[[row - first for row in faults if first <= row < last]] = False
            kept = first + np.flatnonzero(good)
            yield Chunk(
                first_row=position.row + first,
                batch=self._batch(frame, kept, columns),
                rows=position.row + kept,
                lines=position.line + frame.lines[kept],
                rejections=tuple(
                    self._rejection(frame, row, position, faults[row])
                    for row in sorted(faults)
                    if first <= row < last
                ),
                end=frame.position(last, position, self.text.encoding.width),
                values="text",
            )

    def _rejection(
        self, frame: Frame, row: int, position: Position, reasons: list[Reason]
    ) -> Rejection:
        return rejection(
            position.row + row,
            position.line + int(frame.lines[row]),
            reasons,
            frame.data[frame.starts[row] : frame.stops[row]],
            self.text.encoding.framed,
        )

    def _faults(self, frame: Frame) -> dict[int, list[Reason]]:
        """All reasons against rows of the frame, by row counted from 0; one if it is spoiled."""
        faults = {row: [reason(code)] for row, code in frame.spoiled.items()}
        expected = len(self.header)
        for row in np.flatnonzero(frame.fields != expected).tolist():
            if row not in frame.spoiled:
                found = int(frame.fields[row])
                code = TOO_FEW_FIELDS if found < expected else TOO_MANY_FIELDS
                faults[row] = [reason(code, found=found, expected=expected)]
        for row in _nul_rows(frame):
            faults.setdefault(row, []).append(reason(NUL_BYTE))
        encoding = self.text.encoding
        for row, offset in _undecodable_rows(frame, encoding.framed):
            why = reason(INVALID_UTF8, offset=offset, encoding=encoding.name)
            faults.setdefault(row, []).append(why)
        return faults

    def _batch(self, frame: Frame, kept: Rows, columns: Collection[str] | None) -> pa.RecordBatch:
        names = [name for name in self.header if columns is None or name in columns]
        batch = parted(frame, kept, self.delimiter, self.header, names, self.text.encoding.framed)
        return self.folders.added_to(batch, len(kept), columns)


def _nul_rows(frame: Frame) -> list[int]:
    if b"\0" not in frame.data:
        return []
    nuls = np.flatnonzero(np.frombuffer(frame.data, np.uint8) == 0)
    nuls = nuls[nuls < frame.nexts[-1]] if len(frame.nexts) else nuls[:0]
    rows = np.unique(np.searchsorted(frame.starts, nuls, side="right") - 1)
    return [row for row in rows.tolist() if row not in frame.spoiled]


def _undecodable_rows(frame: Frame, codec: str) -> Iterator[tuple[int, int]]:
    """The rows that are not valid text, each with the offset in it of the first bad byte."""
    if not len(frame.starts) or frame.data.isascii():
        return
    try:
        frame.data[: frame.nexts[-1]].decode(codec)
    except UnicodeDecodeError:
        pass  # which of the rows?
    else:
        return
    bounds = zip(frame.starts.tolist(), frame.stops.tolist(), strict=True)
    for row, (start, stop) in enumerate(bounds):
        try:
            frame.data[start:stop].decode(codec)
        except UnicodeDecodeError as error:
            if row not in frame.spoiled:
                yield row, error.start
