"""Strict readers, slow and plain: what ours are held against."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from backfill.rows import Chunk

QUOTED_MAX = 16 << 20
BOM = b"\xef\xbb\xbf"
DEPTH_MAX = 64


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


def strict(data: bytes, fields: int, delimiter: bytes = b",") -> Read:
    """The grammar as a machine that looks at one byte at a time, slow and plain."""
    read = Read({}, {}, {}, {})
    at, line, row, marked = 0, 1, 1, False
    while at < len(data):
        if data.startswith(BOM, at) and not marked:
            at, marked = at + len(BOM), True
            continue
        if width := _line_end(data, at):
            at, line, marked = at + width, line + 1, False
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
        at, row, marked = after, row + 1, False
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


def strict_line(line: bytes) -> dict[str, Any] | None:
    """The object in a line of JSON, its numbers as digits; None where anything is wrong with it."""
    try:
        found = json.loads(
            line.decode(),
            object_pairs_hook=_strict_object,
            parse_int=str,
            parse_float=str,
            parse_constant=_no_number,
        )
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or _depth(found) > DEPTH_MAX:
        return None
    return None if any("\0" in text for text in _texts(found)) else found


def _strict_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner), default=0)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from _texts(each)
        case dict():
            for key, each in value.items():
                yield key
                yield from _texts(each)
