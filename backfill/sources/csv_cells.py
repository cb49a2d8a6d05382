"""The header and the cells of a delimited file: what separates them, what columns are called."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from backfill.errors import BackfillError, UsageError
from backfill.rows import Position, Rows, reason
from backfill.sources.framing import BOM, Frame, frames
from backfill.sources.interface import Dialect, EmptyFileError, FileFormat, escapes
from backfill.sources.text_file import TextFile

_SPACES = " \t\N{NO-BREAK SPACE}"
_SPECIAL = {ord("t"): 9, ord("n"): 10, ord("r"): 13, ord("b"): 8, ord("f"): 12, ord("v"): 11}
"""What letters stand for behind an escape, as PostgreSQL, MySQL and Hive write them."""

_HEAD_BLOCK_BYTES = 1 << 14

_LINES_SEARCHED = 50

_SKIPPED_LINE = re.compile(rb"[^\r\n]*(\r\n|\n|\r(?=[^\n]))")

_SPREADSHEET_HINT = re.compile(r"sep=.?")


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
        return self._cells(_joined(frame, kept), frame.data, len(kept), header, names)

    def _cells(
        self,
        data: pa.Buffer,
        framed: bytes,
        count: int,
        header: Sequence[str],
        names: Sequence[str],
    ) -> pa.RecordBatch:
        """The cells of `count` rows.

        Args:
            data: The text of these rows alone.
            framed: The text that they are from: where no quote stands in it, none is in theirs.
            count: How many there must be.
            header: See `read`.
            names: See `read`.
        """
        if self.codec != "utf-8":
            data = pa.py_buffer(data.to_pybytes().decode(self.codec).encode())
        if self.dialect.escape and self.dialect.escape in framed:
            data = pa.py_buffer(_unescaped(data, self.dialect.escape))
        if data[: len(BOM)].to_pybytes() == BOM:
            data = pa.py_buffer(BOM + data.to_pybytes())  # the reader drops one, also from a cell
        wanted = list(names) or list(header[:1])  # none at all would mean every one to the reader
        quote = self.dialect.quote
        table = self._parse(data, header, wanted, quoted=bool(quote) and quote in framed)
        if table.num_rows != count:
            raise BackfillError(f"{count} rows of text gave {table.num_rows} rows of cells")
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
        row = bytes(frame.data[frame.starts[0] : frame.nexts[0]])
        return list(self._names(row, int(frame.fields[0])))

    @lru_cache(maxsize=16)  # noqa: B019  # it is as large as a few headers
    def _names(self, row: bytes, count: int) -> tuple[str, ...]:
        """Those of a row of so many cells; the files of an export have the same first row."""
        places = [str(place) for place in range(count)]
        cells = self._cells(pa.py_buffer(row), row, 1, places, places)
        return tuple(column[0].as_py() or "" for column in cells.columns)


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


def dialect_of(how: FileFormat) -> Dialect:
    """The characters with a meaning, each an ASCII character of its own.

    Raises:
        UsageError: One is not.
    """
    delimiter = how.delimiter or ""
    given = {"delimiter": delimiter, "quote": how.quote, "escape": how.escape}
    for key, value in given.items():
        usable = len(value) == 1 and value.isascii() and value not in "\r\n\0"
        others = [name for name, other in given.items() if name != key and other == value]
        if (not usable or others) and (value or key == "delimiter"):
            keys = " and ".join([key, *others])
            raise UsageError(
                f"{keys} {value!r}: is not an ASCII character with one meaning",
                next_step=f"set `{key}` to another character, such as "
                + {"delimiter": '"," or ";" or "|" or "\\t"', "quote": "'\"'"}.get(key, '"\\\\"'),
            )
    return Dialect(delimiter.encode(), how.quote.encode(), how.escape.encode(), how.trim)


def begin_of(text: TextFile, skip_lines: int) -> Position:
    """Where the header is, or the first row: behind the byte-order mark and the skipped lines."""
    position = Position(row=0, offset=text.encoding.bom_bytes)
    if not skip_lines:
        return position
    skipped = covered = 0
    rest = b""
    for block in text.blocks(position.offset):
        rest += block
        at = 0
        while skipped < skip_lines and (found := _SKIPPED_LINE.match(rest, at)):
            at = found.end()
            skipped += 1
        covered += text.width(rest[:at])
        rest = rest[at:]
        if skipped == skip_lines:
            return Position(0, 1 + skipped, position.offset + covered)
    raise EmptyFileError(
        f"{text.path}: has no more than {skip_lines} lines, which skip_lines leaves out",
        next_step="set `skip_lines` to the number of lines before the header",
    )


def _head(text: TextFile, cells: CellReader, begin: Position) -> Iterator[tuple[Frame, Position]]:
    """The frames of the file's beginning, each with its own; small ones."""
    width = text.width
    blocks = replace(text, block_bytes=_HEAD_BLOCK_BYTES).blocks(begin.offset)
    for frame in frames(blocks, cells.dialect, width):
        yield frame, begin
        begin = frame.position(len(frame.starts), begin, width)


def read_header(
    text: TextFile, cells: CellReader, begin: Position
) -> tuple[tuple[str, ...], tuple[bytes, ...], Position]:
    """The names in the first line that is not blank.

    Returns:
        A name for each field, empty where there is none; the texts that would be the same header
        again; where the first row may begin.

    Raises:
        UsageError: There is no such line, it cannot be read, or a name stands twice.
    """
    for frame, position in _head(text, cells, begin):
        if len(frame.starts):
            names = _names(text, cells, frame, position.line + int(frame.lines[0]))
            raw = frame.data[frame.starts[0] : frame.stops[0]]
            plain = cells.dialect.delimiter.join(
                name.encode(text.encoding.framed) for name in names
            )
            again = tuple(dict.fromkeys((raw, plain)))
            return tuple(names), again, frame.position(1, position, text.width)
    raise EmptyFileError(f"{text.path}: the file is empty", next_step="export it with a header")


def _names(text: TextFile, cells: CellReader, frame: Frame, line: int) -> list[str]:
    raw = frame.data[frame.starts[0] : frame.stops[0]]
    what = ""
    if 0 in frame.spoiled:
        what = reason(frame.spoiled[0]).message
    elif b"\0" in raw:
        what = "it holds a NUL character"
    else:
        try:
            header = raw.decode(text.encoding.framed)
        except UnicodeDecodeError as error:
            what = f"byte {error.start} of the row is not valid {text.encoding.name}"
    if what:
        raise _bad_header(text, line, what)
    if _SPREADSHEET_HINT.fullmatch(header.strip()):
        delimiter = header.strip().removeprefix("sep=") or cells.dialect.delimiter.decode()
        raise UsageError(
            f"{text.path}: line {line} is a spreadsheet hint ({header.strip()}), not a header",
            next_step=f'set skip_lines = {line} and delimiter = "{delimiter}" for the source',
        )
    names = [name if name.strip() else "" for name in cells.names(frame)]
    if not any(names):
        raise _bad_header(text, line, "no column has a name")
    if again := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
        raise _bad_header(text, line, f"two columns are named {again[0]}")
    return names


def _bad_header(text: TextFile, line: int, what: str) -> UsageError:
    return UsageError(
        f"{text.path}: the header in line {line} cannot be used: {what}",
        next_step="give each column a name of its own; lines above the header are left out with"
        " skip_lines, and header = […] names the columns of a file without one",
    )


def fitted(
    text: TextFile, cells: CellReader, header: tuple[str, ...], body: Position
) -> tuple[str, ...]:
    """The header with as many fields as rows have that all end with a delimiter, or all without.

    Such a last field has no name; that it holds no value is made sure of row by row. All of the
    first rows have to agree: one row with a field more has lost its shape.
    """
    frame = next((frame for frame, _ in _head(text, cells, body) if len(frame.starts)), None)
    if frame is None or frame.spoiled:
        return header
    # Of the first rows only: what a later row has too many or too few is its own fault.
    found = set(frame.fields.tolist())
    if found == {len(header) + 1}:
        delimiter = cells.dialect.delimiter
        ends = [frame.data[stop - 1 : stop] == delimiter for stop in frame.stops.tolist()]
        return (*header, "") if all(ends) else header
    return header[:-1] if found == {len(header) - 1} and not header[-1] else header


def line_of(text: TextFile, dialect: Dialect, name: str, header: int) -> int | None:
    """The line below the header, among the first ones, that has a cell of this name.

    A title above the true header is read as the header; this finds the true one.

    Args:
        text: The file.
        dialect: Its characters with a meaning.
        name: What a cell must be.
        header: The line that was read as the header.
    """
    # Only to name a line in an error: by split, since the grammar has failed here already.
    block = next(replace(text, block_bytes=_HEAD_BLOCK_BYTES).blocks(text.encoding.bom_bytes), b"")
    lines = block.decode(text.encoding.framed, "replace").splitlines()
    for number, line in enumerate(lines[:_LINES_SEARCHED], start=1):
        cells = [
            each.strip(dialect.quote.decode() + " ")
            for each in line.split(dialect.delimiter.decode())
        ]
        if number > header and len(cells) > 1 and name in cells:
            return number
    return None
