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
    values,
    whole_lines,
)
from backfill.sources.json_objects import fragments
from backfill.sources.json_scan import take_apart
from backfill.sources.json_table import LineTable
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

    def pieces(self, *, small: bool = False) -> Iterator[Chunk]:
        """See `SourceFile.pieces`: it is not cut."""
        del small
        return self.chunks()

    def _chunks(self, start: Position, columns: Collection[str] | None) -> Iterator[Chunk]:
        begin = self.body if start == START else start
        if self.layout == "lines":
            yield from self._chunks_of_lines(begin, columns)
        else:
            yield from self._chunks_of_values(begin, columns)

    def _chunks_of_lines(self, begin: Position, columns: Collection[str] | None) -> Iterator[Chunk]:
        at = begin
        for some in whole_lines(self.text.blocks(begin.offset), self.text.width):
            if isinstance(some, Item):
                gathered = _Gathered(at, 0)
                gathered.add(some, self._row(some, at, columns))
                made = iter([gathered.chunk()])
            else:
                made = self._taken_apart(some, at, columns)
            for chunk in made:
                at = chunk.end
                if at.row > chunk.first_row:  # else all of its lines are blank
                    yield chunk

    def _taken_apart(
        self, text: bytes, at: Position, columns: Collection[str] | None
    ) -> Iterator[Chunk]:
        """The chunks of whole lines, the first of which is the line and the row at a position."""
        text, ended = (text, True) if text.endswith(b"\n") else (text + b"\n", False)
        lines = take_apart(self._as_utf8(text))
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
        begins = np.append(0, ends[:-1])
        found = {
            line: self._read(text[begins[line] : ends[line] - 1], columns)
            for line in np.flatnonzero(lines.odd).tolist()
        }
        table = LineTable(lines, found, columns, self.folders)
        for first, last in table.cuts():
            piece = text[begins[first] : ends[last - 1]]
            whole = ended or last < len(ends)
            is_row = table.is_row(first, last)
            numbers = at.row + np.cumsum(is_row) - is_row
            bad = table.bad(first, last)
            good = is_row.copy()
            good[[line - first for line, _ in bad]] = False
            batch, sparse = table.columns(first, good)
            end = Position(
                at.row + int(is_row.sum()),
                at.line + last - first - (not whole),
                at.offset + self.text.width(piece if whole else piece[:-1]),
            )
            yield Chunk(
                first_row=at.row,
                batch=batch,
                sparse=sparse,
                rows=numbers[good],
                lines=at.line + np.flatnonzero(good),
                rejections=tuple(
                    self.text.rejection(
                        int(numbers[line - first]),
                        at.line + line - first,
                        [why],
                        _bare(text[begins[line] : ends[line] - 1][: ROW_BYTES_MAX + 1]),
                    )
                    for line, why in bad
                ),
                end=end,
                values="json",
            )
            at = end

    def _as_utf8(self, text: bytes) -> bytes:
        codec = self.text.encoding.framed
        if codec == "utf-8":
            return text
        try:
            return text.decode(codec).encode()
        except UnicodeDecodeError:
            return b"?\n" * text.count(b"\n")  # no line is taken for JSON: each is read by itself

    def _chunks_of_values(
        self, begin: Position, columns: Collection[str] | None
    ) -> Iterator[Chunk]:
        bytes_max = _CHUNK_BLOCKS * self.text.block_bytes
        gathered = _Gathered(begin, bytes_max)
        broken = None
        blocks, width = self.text.blocks(begin.offset), self.text.width
        try:
            for item in values(blocks, width, in_array=self.layout == "array"):
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

    def _row(
        self, item: Item, at: Position, columns: Collection[str] | None
    ) -> dict[str, str] | Rejection | None:
        """What stands in an item, with what the folders say; None if it is blank."""
        found = self._read(item.text, columns)
        if isinstance(found, Reason):
            return self.text.rejection(at.row, at.line + item.lead, [found], _bare(item.text))
        if found is not None:
            for name, value in self.folders.items():
                if columns is None or name in columns:
                    found.setdefault(name, value)
        return found

    def _read(self, text: bytes, columns: Collection[str] | None) -> dict[str, str] | Reason | None:
        """The fragments of the row in a text, or why it is none; None if it is blank."""
        if not _bare(text).strip(BLANK):
            return None
        if len(text) > ROW_BYTES_MAX:
            return reason("row_too_long")
        return fragments(_bare(text), self.text.encoding.framed, columns)


def _bare(text: bytes) -> bytes:
    """A line without what a program or a system puts around it."""
    return text.removeprefix(BOM).rstrip(b"\r")


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
