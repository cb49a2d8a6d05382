"""CSV and TSV: text cells by the grammar of `framing`; good rows are read by pyarrow's reader.

No type is inferred: an unquoted empty cell is null, `""` is the empty string, all else is text as
written.
"""

import re
from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backfill.errors import UsageError
from backfill.rows import START, Chunk, Position, Reason, Rejection, Rows, Values, reason
from backfill.sources.csv_cells import (
    CellReader,
    begin_of,
    dialect_of,
    fitted,
    line_of,
    read_header,
)
from backfill.sources.framing import Frame, Scan, frames
from backfill.sources.interface import (
    CHUNK_ROWS_MAX,
    FileFormat,
    Kind,
    Location,
    StoredFile,
)
from backfill.sources.layout import PartitionColumns
from backfill.sources.text_file import TextFile

_COMPARED = 8
_PIECE_ROWS = 1 << 16
_SMALL_BYTES = 4_000_000
_SPACE = ord(" ")
_FOOTER_BYTES_MAX = 100
_FOOTER = re.compile(
    rb"\(?[0-9][0-9.,]* (rows?|records?|row\(s\)|record\(s\))"
    rb"(\)|,? (selected|affected|in set|returned|retrieved|exported|produced|fetched)\b.*)?\.?"
    rb"|((grand )?totals?|(total )?(number of )?(rows|records|lines))( rows| records| lines)?"
    rb" ?[:=] ?[0-9][0-9.,]*"
    rb"|[-=*# ]*end of (file|report|data|export)[-=*#. ]*"
    rb"|time: [0-9.,]+ m?s\b.*",
    re.IGNORECASE,
)
"""What psql, SQL*Plus, MySQL, SnowSQL and reports write below the rows."""


@dataclass(slots=True)
class FrameEnds:
    """Where the frames of a file end, once a pass has found all of them.

    Numbers, and nothing else: 24 bytes for each block, so that a terabyte has 16 MB of them.
    """

    numbers: "array[int]" = field(default_factory=lambda: array("q"))

    def positions(self) -> Iterator[Position]:
        """Each end, in order; none where they are not known."""
        numbers = iter(self.numbers)
        return (Position(*each) for each in zip(numbers, numbers, numbers, strict=True))


@dataclass(frozen=True, slots=True)
class DelimitedSource:
    """A CSV or TSV file; see `SourceFile` for what it promises.

    Args:
        text: Its bytes.
        cells: How they become cells.
        header: A name for each field of a row; empty for one that has none.
        body: Where the first row begins.
        repeats: The texts that would be the header again.
        folders: The columns of its folders.
        ends: Where the frames of a file end in which no row is spoiled, for the next pass.
    """

    text: TextFile
    cells: CellReader
    header: tuple[str, ...]
    body: Position
    repeats: tuple[bytes, ...]
    folders: PartitionColumns
    kind: Kind = "csv"
    values: Values = "text"
    ends: FrameEnds = field(default_factory=FrameEnds, compare=False, repr=False)

    @classmethod
    def open(
        cls, text: TextFile, how: FileFormat, partitions: Mapping[str, str]
    ) -> "DelimitedSource":
        """Find the header and where the rows begin.

        Args:
            text: The file.
            how: How it is written; with a delimiter.
            partitions: The columns of its folders.

        Raises:
            UsageError: A character cannot have the meaning that it is given, or the header is
                missing, cannot be read, or has a name twice.
        """
        dialect = dialect_of(how)
        cells = CellReader(dialect, text.encoding.framed, how.trim)
        begin = begin_of(text, how.skip_lines)
        if how.header is None:
            header, repeats, body = read_header(text, cells, begin)
        else:
            header, body = how.header, replace(begin, row=1)
            repeats = (dialect.delimiter.decode().join(header).encode(text.encoding.framed),)
        header = fitted(text, cells, header, body)
        return cls(text, cells, header, body, repeats, PartitionColumns.of(partitions, header))

    @property
    def stored(self) -> StoredFile:
        """Where its bytes are."""
        return self.text.stored

    @property
    def path(self) -> Location:
        """Where it is."""
        return self.text.path

    @property
    def appendable(self) -> bool:
        """Whether rows can be added at its end without a change to the bytes before."""
        return self.text.stored.grows and self.text.compression is None

    @property
    def size_limit(self) -> int | None:
        """Where the last whole line ends, if a line that is being written is left for later."""
        return self.text.end

    @property
    def notes(self) -> tuple[str, ...]:
        """Which columns have no name."""
        return (
            tuple(f"column {place + 1} has no name and is left out" for place in self._nameless)
            + self.text.notes
        )

    @property
    def _nameless(self) -> list[int]:
        return [place for place, name in enumerate(self.header) if not name]

    def columns(self) -> tuple[str, ...]:
        """The names of the header, then those of the folders."""
        return (*filter(None, self.header), *self.folders.values)

    def line_of(self, name: str) -> int | None:
        """Which line near the beginning, but the header, has a cell of this name; None: none."""
        return line_of(self.text, self.cells.dialect, name, self.body.line - 1)

    def schema(self) -> None:
        """Text declares no types."""

    def row_count(self) -> None:
        """Unknown until the file is read."""

    def chunks(
        self, start: Position = START, columns: Collection[str] | None = None
    ) -> Iterator[Chunk]:
        """Read on from `start`; see `SourceFile.chunks`."""
        return self.text.stored.guarded(self._all_chunks(start, columns))

    def pieces(self, *, small: bool = False) -> Iterator["DelimitedPiece | Chunk"]:
        """All rows in pieces; see `SourceFile.pieces`."""
        if self.text.compression is not None:  # what can be read from its beginning alone
            return self.chunks()
        return self.text.stored.guarded(self._pieces(small=small))

    def _pieces(self, *, small: bool) -> Iterator["DelimitedPiece | Chunk"]:
        file = replace(self, ends=FrameEnds())  # it travels with each piece, and needs none
        cuts = [self.body]
        for frame, start, end in self._known_frames():
            # What is wrong with a row may be told by what follows it.
            is_whole = frame is None or (bool(len(frame.starts)) and not frame.spoiled)
            if is_whole:
                cuts.append(end)
            is_full = end.row - cuts[0].row >= _PIECE_ROWS
            if small:
                is_full = end.offset - cuts[0].offset >= _SMALL_BYTES
            if len(cuts) > 1 and (not is_whole or is_full):
                yield DelimitedPiece(file, tuple(cuts))
                cuts = [end]
            if frame is not None and not is_whole:
                yield from self.chunks_of(frame, start)
                cuts = [end]
        if len(cuts) > 1:
            yield DelimitedPiece(file, tuple(cuts))

    def _known_frames(self) -> Iterator[tuple[Frame | None, Position, Position]]:
        """The frames, each with where it begins and ends; None where that was known before."""
        if self.ends.numbers:
            for start, end in pairwise((self.body, *self.ends.positions())):
                yield None, start, end
            return
        numbers, is_sound = array("q"), True
        for frame, start, end in self._frames(self.body):
            if len(frame.starts):
                numbers.extend((end.row, end.line, end.offset))
            is_sound = is_sound and not frame.spoiled
            yield frame, start, end
        if is_sound:
            self.ends.numbers = numbers

    def _all_chunks(self, start: Position, columns: Collection[str] | None) -> Iterator[Chunk]:
        for frame, begin, _ in self._frames(self.body if start == START else start):
            yield from self.chunks_of(frame, begin, columns)

    def _frames(self, position: Position) -> Iterator[tuple[Frame, Position, Position]]:
        """The frames from the beginning of a row on, each with where it begins and ends."""
        text, waits = self.text, self.text.end is not None
        blocks = text.blocks(position.offset)
        for frame in frames(blocks, self.cells.dialect, text.width, waits=waits):
            end = frame.position(len(frame.starts), position, text.width)
            yield frame, position, end
            position = end

    def chunks_of(
        self, frame: Frame, position: Position, columns: Collection[str] | None = None
    ) -> Iterator[Chunk]:
        """The chunks of a frame that begins at a position."""
        faults = self._faults(frame)
        count = len(frame.starts)
        for first in range(0, count, CHUNK_ROWS_MAX):
            last = min(first + CHUNK_ROWS_MAX, count)
            good = np.ones(last - first, np.bool_)
            good[[row - first for row in faults if first <= row < last]] = False
            kept = first + np.flatnonzero(good)
            yield Chunk(
                first_row=position.row + first,
                batch=self._batch(frame, kept, position.row, columns),
                rows=position.row + kept,
                lines=position.line + frame.lines[kept],
                rejections=tuple(
                    self._rejection(frame, row, position, faults[row])
                    for row in sorted(faults)
                    if first <= row < last
                ),
                end=frame.position(last, position, self.text.width),
                values="text",
            )

    def _rejection(
        self, frame: Frame, row: int, position: Position, reasons: list[Reason]
    ) -> Rejection:
        line = position.line + int(frame.lines[row])
        raw = frame.data[frame.starts[row] : frame.stops[row]]
        return self.text.rejection(position.row + row, line, reasons, raw)

    def _faults(self, frame: Frame) -> dict[int, list[Reason]]:
        """All reasons against rows of the frame, by row counted from 0; one if it is spoiled."""
        faults = {row: [reason(code)] for row, code in frame.spoiled.items()}
        expected = len(self.header)
        for row in np.flatnonzero(frame.fields != expected).tolist():
            if row not in frame.spoiled:
                found = int(frame.fields[row])
                code = "too_few_fields" if found < expected else "too_many_fields"
                message = f"the row has {found} cells, the header {expected}"
                faults[row] = [reason(code, message=message)]
        for row in _nul_rows(frame):
            faults.setdefault(row, []).append(reason("nul_byte"))
        encoding = self.text.encoding
        for row, offset in _undecodable_rows(frame, encoding.framed):
            message = f"byte {offset} of the row is not valid {encoding.name}"
            faults.setdefault(row, []).append(reason("invalid_utf8", message=message))
        for row in self._headers(frame):
            faults.setdefault(row, []).append(reason("header_again"))
        faults |= {row: [reason("footer")] for row in self._footers(frame)}
        return faults

    def _headers(self, frame: Frame) -> Iterator[int]:
        """The rows that repeat the header, as files do that were put together from several."""
        data = np.frombuffer(frame.data, np.uint8)
        for text in self.repeats:
            # Lengths and a few bytes leave hardly a row to be compared in full, at a tenth of the
            # cost of looking for the text in all of the data.
            rows = np.flatnonzero(frame.stops - frame.starts == len(text))
            for place in range(0, len(text), len(text) // _COMPARED + 1):
                rows = rows[data[frame.starts[rows] + place] == text[place]]
            for row in rows.tolist():
                if frame.data.startswith(text, frame.starts[row]):
                    yield row

    def _footers(self, frame: Frame) -> Iterator[int]:
        """The lines below the rows, such as `(12 rows)`, filled up with empty cells or not."""
        data = np.frombuffer(frame.data, np.uint8)
        width = len(self.header)
        rows = np.flatnonzero(frame.fields == width)
        for place in range(1, width):
            rows = rows[data[frame.stops[rows] - place] == self.cells.dialect.delimiter[0]]
        if width > 1:
            rows = np.append(rows, np.flatnonzero(frame.fields == 1))
        if len(rows):  # every footer has a space, and hardly any identifier
            spaced = np.zeros(len(frame.starts) + 1, np.bool_)  # what stands before is at the end
            spaces = np.flatnonzero(data == _SPACE)
            spaced[frame.starts.searchsorted(spaces, side="right") - 1] = True
            rows = rows[spaced[rows]]
        rows = rows[frame.stops[rows] - frame.starts[rows] <= _FOOTER_BYTES_MAX + width]
        around = self.cells.dialect.quote + self.cells.dialect.delimiter + b" \t"
        for row in rows.tolist():
            text = frame.data[frame.starts[row] : frame.stops[row]].strip(around)
            if _FOOTER.fullmatch(text) and row not in frame.spoiled:
                yield row

    def _batch(
        self, frame: Frame, kept: Rows, first_row: int, columns: Collection[str] | None
    ) -> pa.RecordBatch:
        """The cells of the kept rows of a frame whose first row has the number `first_row`."""
        names = [name for name in self.header if name and (columns is None or name in columns)]
        nameless = self._nameless
        if not nameless:
            batch = self.cells.read(frame, kept, self.header, names)
        else:
            # No name can hold a NUL: these collide with none.
            header = [name or f"\0{place}" for place, name in enumerate(self.header)]
            wanted = [*names, *(header[place] for place in nameless)]
            batch = self.cells.read(frame, kept, header, wanted)
            for place in nameless:
                self._refuse_values(batch.column(header[place]), place, first_row + kept)
            batch = batch.select(names)
        if self.folders.values:
            return self.folders.added_to(batch, len(kept), columns)
        return batch

    def _refuse_values(self, column: pa.StringArray, place: int, rows: Rows) -> None:
        """Make sure that a column without a name holds nothing.

        A first column that counts the rows from 0 says nothing either: pandas writes its index so.
        """
        empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True)
        if place == 0:
            empty = pc.or_(empty, pc.equal(column, pc.cast(pa.array(rows - 1), pa.string())))
        filled = np.flatnonzero(~empty.to_numpy(zero_copy_only=False))
        if len(filled):
            raise UsageError(
                f"{self.path}: column {place + 1} has no name, and row {rows[filled[0]]} has a"
                " value in it",
                next_step="name it in the file, or give all names in the pipeline file:"
                f" skip_lines = {self.body.line - 1} and header = […]",
            )


@dataclass(frozen=True, slots=True)
class DelimitedPiece:
    """Some frames of a file: the same rows and chunks as when all is read.

    Args:
        file: The file.
        cuts: Where each frame begins, and where the last one ends.
    """

    file: DelimitedSource
    cuts: tuple[Position, ...]

    @property
    def start(self) -> Position:
        """Where it begins."""
        return self.cuts[0]

    @property
    def end(self) -> Position:
        """Where it ends."""
        return self.cuts[-1]

    def chunks(self) -> Iterator[Chunk]:
        """The rows; see `SourceFile.chunks`."""
        return self.file.stored.guarded(self._chunks())

    def _chunks(self) -> Iterator[Chunk]:
        for start, end in pairwise(self.cuts):
            size = end.offset - start.offset
            text = replace(self.file.text, block_bytes=size, end=end.offset)
            dialect, block = self.file.cells.dialect, b"".join(text.blocks(start.offset))
            scan = Scan(dialect.tightened(block, final=True)[0], dialect, final=True)
            yield from self.file.chunks_of(scan.frame(text.width)[0], start)


def _nul_rows(frame: Frame) -> list[int]:
    """The rows with a NUL, counted from 0, but for spoiled ones."""
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
