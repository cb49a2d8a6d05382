"""How a text file is written: its encoding, and what parts its cells, each with the evidence."""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

DELIMITERS = (",", ";", "\t", "|")
_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16
_UNDEFINED_IN_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_ABOVE_ASCII = re.compile(rb"[\x80-\xff]")
_HEAD_ROWS = 200


@dataclass(frozen=True, slots=True)
class Detected:
    """Something that was found out about a file, and why."""

    value: str
    why: str


def encoding_of(path: Path) -> Detected:
    """The encoding of a text file, told from all of it.

    A file is UTF-8 where most of its lines with letters beyond ASCII are; the others become
    rejected rows. Else it is cp1252, which Windows writes, unless bytes that cp1252 does not know
    leave only latin-1.
    """
    lines = _lines(path)
    first = next(lines, b"")
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Detected("utf-16", "it begins with the byte-order mark of UTF-16")
    accented = utf8 = undefined = 0
    for line in (first, *lines) if _ABOVE_ASCII.search(first) else lines:
        if not _ABOVE_ASCII.search(line):
            continue
        accented += 1
        utf8 += _is_utf8(line)
        undefined += bool(_UNDEFINED_IN_CP1252.search(line))
    if not accented:
        return Detected("utf-8", "all of it is ASCII")
    share = f"of {accented:,} lines with letters beyond ASCII"
    if 2 * utf8 >= accented:
        return Detected("utf-8", f"{utf8:,} {share} are valid UTF-8")
    if undefined:
        return Detected(
            "latin-1", f"{accented - utf8:,} {share} are no UTF-8, {undefined:,} no cp1252"
        )
    return Detected("cp1252", f"{accented - utf8:,} {share} are no UTF-8, and all are cp1252")


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, compressed or not; very long ones in pieces."""
    rest = b""
    with pa.input_stream(str(path), compression="detect") as stream:
        while block := stream.read(_BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            if len(rest) > _BLOCK_BYTES:
                yield rest
                rest = b""
    yield rest


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def delimiter_of(path: Path, encoding: str) -> Detected:
    """What parts the cells of delimited text: what gives the most rows as many cells as the header.

    Of several, the one that parts the most cells.
    """
    with pa.input_stream(str(path), compression="detect") as stream:
        head = stream.read(_HEAD_BYTES).decode(encoding, "replace")
    if len(head) >= _HEAD_BYTES // 4:
        head = head[: head.rfind("\n")]
    usual = "\t" if ".tsv" in path.suffixes else ","
    ranked = [(_fitting(head, each), each == usual, each) for each in DELIMITERS]
    (rows, cells), _, best = max(ranked, key=lambda each: (each[0][0] * (each[0][1] - 1), each[1]))
    if cells == 1:
        return Detected(usual, "there is one column only")
    return Detected(best, f"it parts {cells} cells in each of {rows} rows at the beginning")


def _fitting(head: str, delimiter: str) -> tuple[int, int]:
    """How many of the first rows have as many cells as the header, and how many that is."""
    try:
        rows = [row for row, _ in zip(_rows(head, delimiter), range(_HEAD_ROWS), strict=False)]
    except csv.Error:
        return 0, 1
    cells = len(rows[0]) if rows else 1
    return sum(len(row) == cells for row in rows), cells


def _rows(head: str, delimiter: str) -> Iterator[list[str]]:
    lines = head.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").splitlines(keepends=True)
    return (row for row in csv.reader(lines, delimiter=delimiter) if row)
