"""JSON Lines: each cell is a JSON fragment as text, so that no digit is lost on the way.

An absent key is an Arrow null, an explicit null is the text `null`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from backfill.rows import START, Chunk, Position, Reason, Rejection, Values
from backfill.sources.bad_rows import ROW_BYTES_MAX, ROW_TOO_LONG, reason, rejection
from backfill.sources.interface import CHUNK_ROWS_MAX, Kind
from backfill.sources.json_objects import fragments
from backfill.sources.partitions import PartitionColumns
from backfill.sources.text_file import TextFile

_CELLS_MAX = 2_000_000
_CHUNK_BLOCKS = 4
_BLANK = b" \t\r"


@dataclass(frozen=True, slots=True)
class JsonLinesSource:
    """A file with a JSON object in each line; see `SourceFile` for what it promises."""

    text: TextFile
    constants: Mapping[str, str]
    kind: Kind = "jsonl"
    values: Values = "json"

    @classmethod
    def open(cls, text: TextFile, partitions: Mapping[str, str]) -> "JsonLinesSource":
        """Take over the file; there is no header to read."""
        constants = {
            name: orjson.dumps(value).decode()
            for name, value in PartitionColumns.of(partitions, ()).values.items()
            if value is not None
        }
        return cls(text, constants)

    @property
    def path(self) -> Path:
        """The file."""
        return self.text.version.path

    @property
    def appendable(self) -> bool:
        """Whether rows can be added at its end without a change to the bytes before."""
        return self.text.compression is None

    def columns(self) -> None:
        """Each row has its own."""

    def schema(self) -> None:
        """Text declares no types."""

    def row_count(self) -> None:
        """Unknown until the file is read."""

    def chunks(
        self, start: Position = START, columns: Collection[str] | None = None
    ) -> Iterator[Chunk]:
        """Read on from `start`; see `SourceFile.chunks`."""
        self.text.version.check()
        position = start
        if start == START:
            position = replace(START, offset=self.text.encoding.bom_bytes)
        bytes_max = _CHUNK_BLOCKS * self.text.block_bytes
        gathered = _Gathered(position, bytes_max)
        for line in _lines(self.text.blocks(position.offset), self.text.encoding.width):
            gathered.add(line, self._row(line, gathered.end, columns))
            if gathered.full():
                self.text.version.check()
                yield gathered.chunk()
                gathered = _Gathered(gathered.end, bytes_max)
        self.text.version.check()
        if gathered.end.row > gathered.begin.row:
            yield gathered.chunk()
            self.text.version.check()

    def _row(
        self, line: "_Line", at: Position, columns: Collection[str] | None
    ) -> dict[str, str] | Rejection | None:
        """The fragments of the row in a line, with those of its folders; None if it is blank."""
        if not line.text.strip(_BLANK):
            return None
        codec = self.text.encoding.framed
        text = line.text.rstrip(b"\r")
        if len(line.text) > ROW_BYTES_MAX:
            found: dict[str, str] | Reason = reason(ROW_TOO_LONG)
        else:
            found = fragments(text, codec, columns)
        if isinstance(found, Reason):
            return rejection(at.row, at.line, [found], text, codec)
        for name, value in self.constants.items():
            if columns is None or name in columns:
                found.setdefault(name, value)
        return found


@dataclass(frozen=True, slots=True)
class _Line:
    """A line without its line end; of a too long one only so much as shows that it is.

    `width` counts the bytes that it takes in the file, `ends` its line ends: 0 for a last line
    that has none.
    """

    text: bytes
    width: int
    ends: int


def _lines(blocks: Iterable[bytes], width: Callable[[bytes], int]) -> Iterator[_Line]:
    line_end = width(b"\n")
    rest = b""
    dropped = 0
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        for text in whole:
            yield _Line(text[: ROW_BYTES_MAX + 1], dropped + width(text) + line_end, 1)
            dropped = 0
        if len(rest) > ROW_BYTES_MAX:
            dropped += width(rest[ROW_BYTES_MAX + 1 :])
            rest = rest[: ROW_BYTES_MAX + 1]
    if rest:
        yield _Line(rest, dropped + width(rest), 0)


class _Gathered:
    """The rows of a chunk that is being read."""

    def __init__(self, begin: Position, bytes_max: int) -> None:
        self.begin = self.end = begin
        self.bytes_max = bytes_max
        self.names: dict[str, None] = {}
        self.objects: list[dict[str, str]] = []
        self.rows: list[int] = []
        self.lines: list[int] = []
        self.rejections: list[Rejection] = []

    def full(self) -> bool:
        """Whether the chunk should end here."""
        rows = self.end.row - self.begin.row
        return rows > 0 and (
            rows >= CHUNK_ROWS_MAX
            or self.end.offset - self.begin.offset >= self.bytes_max
            or len(self.names) * len(self.rows) >= _CELLS_MAX
        )

    def add(self, line: _Line, found: dict[str, str] | Rejection | None) -> None:
        """Take in a line: the row in it, its rejection, or None for a blank one."""
        row, number, offset = self.end.row, self.end.line, self.end.offset
        if isinstance(found, Rejection):
            self.rejections.append(found)
        elif found is not None:
            if not found.keys() <= self.names.keys():
                self.names.update(dict.fromkeys(found))
            self.objects.append(found)
            self.rows.append(row)
            self.lines.append(number)
        self.end = Position(row + (found is not None), number + line.ends, offset + line.width)

    def chunk(self) -> Chunk:
        """The chunk, whole."""
        arrays = [
            pa.array([each.get(name) for each in self.objects], pa.string()) for name in self.names
        ]
        # A batch without columns would not know its rows.
        counted = pa.RecordBatch.from_arrays(
            [*arrays, pa.nulls(len(self.rows))], names=[*self.names, ""]
        )
        return Chunk(
            first_row=self.begin.row,
            batch=counted.select(list(range(len(arrays)))),
            rows=np.array(self.rows, np.int64),
            lines=np.array(self.lines, np.int64),
            rejections=tuple(self.rejections),
            end=self.end,
            values="json",
        )
