"""CSV and TSV: what is read, held against a strict reader that looks at one byte at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.rows import Chunk
from backfill.sources import open_source

QUOTED_MAX = 65_536
ROW_MAX = 1_048_576

BLOCKS = st.sampled_from([1, 2, 3, 7, 64, 1 << 20])


@dataclass
class Read:
    """All that was read of a file: cells by row number, reasons by row number, and lines."""

    cells: dict[int, list]
    reasons: dict[int, list[str]]
    raws: dict[int, str]
    lines: dict[int, int]


def gather(chunks: Iterator[Chunk]) -> Read:
    """Put chunks together, making sure that they follow each other and leave no row out."""
    read = Read({}, {}, {}, {})
    next_row = 1
    for chunk in chunks:
        assert chunk.first_row == next_row
        next_row = chunk.end.row
        rows = [*chunk.rows.tolist(), *(rejection.row for rejection in chunk.rejections)]
        assert sorted(rows) == list(range(chunk.first_row, chunk.end.row))
        columns = [column.to_pylist() for column in chunk.batch.columns]
        for row, line, *cells in zip(chunk.rows, chunk.lines, *columns, strict=True):
            read.cells[int(row)], read.lines[int(row)] = cells, int(line)
        for rejection in chunk.rejections:
            read.reasons[rejection.row] = [reason.code for reason in rejection.reasons]
            read.raws[rejection.row] = rejection.raw
            read.lines[rejection.row] = rejection.line
    return read


def read_csv(folder: Path, content: bytes, **options) -> Read:
    """Write a file and read it whole."""
    path = folder / "in.csv"
    path.write_bytes(content)
    return gather(open_source(path, **options).chunks())


def strict(data: bytes, fields: int, delimiter: bytes = b",") -> Read:
    """The grammar as a machine that looks at one byte at a time, slow and plain."""
    read = Read({}, {}, {}, {})
    at, line, row = 0, 1, 1
    while at < len(data):
        if width := _line_end(data, at):
            at, line = at + width, line + 1
            continue
        cells, stop, code = _strict_row(data, at, delimiter)
        if code:
            while stop < len(data) and not _line_end(data, stop):
                stop += 1
        raw = data[at:stop]
        read.lines[row] = line
        codes = [code] if code else list(_strict_faults(raw, cells, fields))
        if codes:
            read.reasons[row] = codes
            read.raws[row] = _text(raw)
        else:
            read.cells[row] = [None if cell is None else cell.decode() for cell in cells]
        after = stop + _line_end(data, stop)
        line += _line_ends(data[at:after])
        at, row = after, row + 1
    return read


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _line_end(data: bytes, at: int) -> int:
    if data[at : at + 2] == b"\r\n":
        return 2
    return 1 if data[at : at + 1] in {b"\r", b"\n"} else 0


def _line_ends(data: bytes) -> int:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")


def _strict_faults(raw: bytes, cells: list, fields: int) -> Iterator[str]:
    if len(cells) != fields:
        yield "too_few_fields" if len(cells) < fields else "too_many_fields"
    if b"\0" in raw:
        yield "nul_byte"
    try:
        raw.decode()
    except UnicodeDecodeError:
        yield "invalid_utf8"


def _strict_row(data: bytes, at: int, delimiter: bytes) -> tuple[list, int, str | None]:
    """The cells and where the row's text stops; or what spoils it, and where that begins."""
    cells = []
    while True:
        if data[at : at + 1] == b'"':
            cell, stop, code = _strict_quoted(data, at, delimiter)
            if code:
                return cells, at, code
        else:
            stop = at
            while stop < len(data) and not _line_end(data, stop):
                if data[stop : stop + 1] == delimiter:
                    break
                if data[stop : stop + 1] == b'"':
                    return cells, stop, "quote_out_of_place"
                stop += 1
            cell = data[at:stop] or None
        cells.append(cell)
        if data[stop : stop + 1] != delimiter:
            return cells, stop, None
        at = stop + 1


def _strict_quoted(data: bytes, opening: int, delimiter: bytes) -> tuple[bytes, int, str | None]:
    cell = b""
    at = opening + 1
    while at < len(data) and at - opening <= QUOTED_MAX:
        if data[at : at + 2] == b'""':
            cell += b'"'
            at += 2
        elif data[at : at + 1] == b'"':
            after = at + 1
            if after < len(data) and data[after : after + 1] not in {delimiter, b"\r", b"\n"}:
                spilled = _line_ends(data[opening:at])
                return cell, after, "unclosed_quote" if spilled else "quote_out_of_place"
            return cell, after, None
        else:
            cell += data[at : at + 1]
            at += 1
    return cell, at, "unclosed_quote"


ALPHABET = [b"a", b"b", b'"', b'"', b",", b",", b"\n", b"\n", b"\r", b"\r\n", b"\xc3\xa9", b" "]
HARSH = [*ALPHABET, b"\xff", b"\0", b"\xef\xbb\xbf", b"\xc3", b'""', b',"', b'",', b'"\n"']


@settings(max_examples=500, deadline=None)
@given(
    body=st.lists(st.sampled_from(HARSH), max_size=60).map(b"".join),
    block_bytes=BLOCKS,
    fields=st.integers(1, 3),
)
def test_any_bytes_read_as_by_the_strict_reader(tmp_path_factory, body, block_bytes, fields):
    """Whatever follows the header, rows, reasons, raw texts and lines are those of the machine."""
    header = b",".join(b"c%d" % number for number in range(fields))
    content = header + b"\n" + b"ok,ok,ok,ok\n" * 4 + body

    read = read_csv(tmp_path_factory.mktemp("csv"), content, block_bytes=block_bytes)

    expected = strict(b"ok,ok,ok,ok\n" * 4 + body, fields)
    assert read.cells == expected.cells
    assert read.reasons == expected.reasons
    assert read.raws == expected.raws
    assert {row: line - 1 for row, line in read.lines.items()} == expected.lines
