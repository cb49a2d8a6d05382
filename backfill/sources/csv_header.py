"""How a delimited file begins: what separates its cells, and what its columns are called."""

import re
from collections.abc import Iterator
from dataclasses import replace

from backfill.errors import UsageError
from backfill.rows import Position, reason
from backfill.sources.csv_cells import CellReader
from backfill.sources.frame import Dialect, Frame
from backfill.sources.framing import frames
from backfill.sources.interface import FileFormat
from backfill.sources.text_file import EmptyFileError, TextFile

_HEAD_BLOCK_BYTES = 1 << 14
_LINES_SEARCHED = 50
_SKIPPED_LINE = re.compile(rb"[^\r\n]*(\r\n|\n|\r(?=[^\n]))")
_SPREADSHEET_HINT = re.compile(r"sep=.?")


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
    return Dialect(delimiter.encode(), how.quote.encode(), how.escape.encode())


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
    for number, name in enumerate(names):
        if name and name in names[:number]:
            raise _bad_header(text, line, f"two columns are named {name}")
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
