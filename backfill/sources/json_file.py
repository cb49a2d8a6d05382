"""JSON: each cell is a JSON fragment as text, so that no digit is lost on the way.

An absent key is an Arrow null, an explicit null is the text `null`.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import orjson
import pyarrow as pa

from backfill.errors import UsageError
from backfill.rows import START, Chunk, Position, Reason, Rejection, Values, reason
from backfill.sources.framing import BOM
from backfill.sources.interface import CHUNK_ROWS_MAX, ROW_BYTES_MAX, Location, StoredFile
from backfill.sources.json_framing import (
    BLANK,
    BrokenJsonError,
    Item,
    JsonLayout,
    layout_of,
    lines,
    values,
)
from backfill.sources.json_objects import fragments
from backfill.sources.layout import PartitionColumns
from backfill.sources.text_file import TextFile

_CELLS_MAX = 2_000_000
_CHUNK_BLOCKS = 4
_HEAD_BYTES = 1 << 16  # what is decided here must not depend on the size of blocks


@dataclass(frozen=True, slots=True)
class JsonSource:
    """A file of JSON objects; see `SourceFile` for what it promises.

    Args:
        text: Its bytes.
        layout: How the objects stand: one a line, in an array, or one after another.
        body: Where the first one begins.
        folders: The columns of its folders, as JSON; null is left out.
    """

    text: TextFile
    layout: JsonLayout
    body: Position
    folders: Mapping[str, str]
    values: Values = "json"

    @classmethod
    def open(
        cls, text: TextFile, partitions: Mapping[str, str], *, one_a_line: bool
    ) -> "JsonSource":
        """See how the objects stand.

        Args:
            text: The file.
            partitions: The columns of its folders.
            one_a_line: It was said to be JSON Lines.

        Raises:
            UsageError: It was said to be JSON Lines, and is an array.
        """
        body = replace(START, offset=text.encoding.bom_bytes)
        head = b""
        for block in replace(text, block_bytes=_HEAD_BYTES).blocks(body.offset):
            head += block
            if head.strip(BLANK):
                break
        layout = layout_of(head)
        if layout == "array":
            if one_a_line:
                raise UsageError(
                    f"{text.path}: is a JSON array, not JSON Lines",
                    next_step='set format = "json" for the source',
                )
            opening = head[: head.index(b"[") + 1]
            width = text.width(opening)
            body = Position(1, 1 + opening.count(b"\n"), body.offset + width)
        folders = PartitionColumns.of(partitions, ()).values
        return cls(
            text,
            "lines" if one_a_line else layout,
            body,
            {
                name: orjson.dumps(each).decode()
                for name, each in folders.items()
                if each is not None
            },
        )

    @property
    def stored(self) -> StoredFile:
        """Where its bytes are."""
        return self.text.stored

    @property
    def path(self) -> Location:
        """Where it is."""
        return self.text.path

    @property
    def kind(self) -> Literal["jsonl", "json"]:
        """The format."""
        return "jsonl" if self.layout == "lines" else "json"

    @property
    def appendable(self) -> bool:
        """Whether rows can be added at its end without a change to the bytes before."""
        return self.text.stored.grows and self.text.compression is None and self.layout != "array"

    @property
    def size_limit(self) -> int | None:
        """Where the last whole line ends, if a line that is being written is left for later."""
        return self.text.end

    @property
    def notes(self) -> tuple[str, ...]:
        """Whether the end of the file waits."""
        return self.text.notes

    def columns(self) -> None:
        """Each row has its own."""

    def line_of(self, name: str) -> None:
        """There is no header to look for."""

    def schema(self) -> None:
        """Text declares no types."""

    def row_count(self) -> None:
        """Unknown until the file is read."""

    def chunks(
        self, start: Position = START, columns: Collection[str] | None = None
    ) -> Iterator[Chunk]:
        """Read on from `start`; see `SourceFile.chunks`."""
        return self.text.stored.guarded(self._chunks(start, columns))

    def _chunks(self, start: Position, columns: Collection[str] | None) -> Iterator[Chunk]:
        bytes_max = _CHUNK_BLOCKS * self.text.block_bytes
        gathered = _Gathered(self.body if start == START else start, bytes_max)
        broken = None
        try:
            for item in self._items(gathered.end.offset):
                gathered.add(item, self._row(item, gathered.end, columns))
                if gathered.full():
                    yield gathered.chunk()
                    gathered = _Gathered(gathered.end, bytes_max)
        except BrokenJsonError as error:
            broken = error
        if gathered.end.row > gathered.begin.row:
            yield gathered.chunk()
        if broken is not None:
            raise UsageError(
                f"{self.path}: cannot be read from row {gathered.end.row} on: {broken}",
                next_step="it seems to be cut off or damaged; export it again",
            ) from broken

    def _items(self, offset: int) -> Iterator[Item]:
        blocks, width = self.text.blocks(offset), self.text.width
        if self.layout == "lines":
            return lines(blocks, width)
        return values(blocks, width, in_array=self.layout == "array")

    def _row(
        self, item: Item, at: Position, columns: Collection[str] | None
    ) -> dict[str, str] | Rejection | None:
        """The fragments of the row in a line, with those of its folders; None if it is blank."""
        text = item.text.removeprefix(BOM).rstrip(b"\r")
        if not text.strip(BLANK):
            return None
        if len(item.text) > ROW_BYTES_MAX:
            found: dict[str, str] | Reason = reason("row_too_long")
        else:
            found = fragments(text, self.text.encoding.framed, columns)
        if isinstance(found, Reason):
            return self.text.rejection(at.row, at.line + item.lead, [found], text)
        for name, value in self.folders.items():
            if columns is None or name in columns:
                found.setdefault(name, value)
        return found


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
            # Each row may bring names of its own: a chunk is as wide as all of them.
            or len(self.names) * len(self.rows) >= _CELLS_MAX
        )

    def add(self, item: Item, found: dict[str, str] | Rejection | None) -> None:
        """Take in an item: the row in it, its rejection, or None for a blank one."""
        row, line, offset = self.end.row, self.end.line, self.end.offset
        if isinstance(found, Rejection):
            self.rejections.append(found)
        elif found is not None:
            if not found.keys() <= self.names.keys():
                self.names.update(dict.fromkeys(found))
            self.objects.append(found)
            self.rows.append(row)
            self.lines.append(line + item.lead)
        self.end = Position(row + (found is not None), line + item.ends, offset + item.width)

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
