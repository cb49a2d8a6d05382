"""How a text file is written: its encoding and its delimiter, each with the evidence."""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

DELIMITERS = (",", ";", "\t", "|")
_BLOCK_BYTES = 1 << 20
_UNDEFINED_IN_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_HEAD_ROWS = 200
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(slots=True)
class TextEvidence:
    """What the bytes of a whole text file say about its encoding.

    Args:
        bom: The codec that a byte-order mark at the beginning names; empty: there is none.
        lines: How many lines have bytes beyond ASCII.
        utf8: How many of these are valid UTF-8.
        no_cp1252: How many of these hold a byte that cp1252 leaves undefined.
    """

    bom: str = ""
    lines: int = 0
    utf8: int = 0
    no_cp1252: int = 0


def text_evidence(stream: BinaryIO) -> TextEvidence:
    """Look at all bytes of a text file, uncompressed; memory does not depend on its size."""
    found = TextEvidence()
    blocks = _whole_lines(stream)
    first = next(blocks)
    found.bom = next((codec for bom, codec in _BOMS if first.startswith(bom)), "")
    for block in chain([first.removeprefix(codecs.BOM_UTF8)], blocks):
        # Most files are ASCII but for a few lines: only blocks with other bytes are split.
        for line in () if block.isascii() else block.split(b"\n"):
            if line.isascii():
                continue
            found.lines += 1
            found.utf8 += _is_utf8(line)
            found.no_cp1252 += bool(_UNDEFINED_IN_CP1252.search(line))
    return found


def _whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    """The file in blocks that end with a line; a line longer than a block is cut."""
    rest = b""
    while block := stream.read(_BLOCK_BYTES):
        lines, end, rest = (rest + block).rpartition(b"\n")
        if end:
            yield lines
        elif len(rest) > _BLOCK_BYTES:
            yield rest
            rest = b""
    yield rest


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Detected:
    """Something that was found out about a file, and why."""

    value: str
    why: str


def encoding_of(evidence: TextEvidence) -> Detected:
    """The encoding of a text file, decided by what all of it says.

    A file is UTF-8 where most of its lines with non-ASCII letters are; the others become
    rejected rows. Else it is cp1252, which Windows writes, unless bytes that cp1252 does not know
    leave only latin-1.
    """
    if evidence.bom == "utf-16":
        return Detected("utf-16", "it begins with the byte-order mark of UTF-16")
    if not evidence.lines:
        return Detected("utf-8", "all of it is ASCII")
    share = f"of {evidence.lines:,} lines with non-ASCII letters"
    if 2 * evidence.utf8 >= evidence.lines:
        return Detected("utf-8", f"{evidence.utf8:,} {share} are valid UTF-8")
    others = f"{evidence.lines - evidence.utf8:,} {share} are no UTF-8"
    if evidence.no_cp1252:
        return Detected("latin-1", f"{others}, {evidence.no_cp1252:,} no cp1252")
    return Detected("cp1252", f"{others}, and all are cp1252")


def delimiter_of(head: str, *, usual: str = ",", column: str | None = None) -> Detected:
    """What separates the cells: what gives the most rows as many cells as the header.

    Of several, the one that makes the most cells.

    Args:
        head: The beginning of the text, header first; a last line that is cut does no harm.
        usual: What is taken where nothing separates anything.
        column: A column that the header is known to have; a delimiter must give it.
    """
    ranked = [(_fitting(head, each, column), each == usual, each) for each in DELIMITERS]
    (rows, cells), _, best = max(ranked, key=lambda each: (each[0][0] * (each[0][1] - 1), each[1]))
    if cells == 1:
        return Detected(usual, "there is one column only")
    return Detected(best, f"it separates {cells} cells in each of {rows} rows at the beginning")


def _fitting(head: str, delimiter: str, column: str | None) -> tuple[int, int]:
    """How many of the first rows have as many cells as the header, and how many that is."""
    lines = head.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").splitlines(keepends=True)
    parsed = (row for row in csv.reader(lines, delimiter=delimiter) if row)
    try:
        rows = [row for row, _ in zip(parsed, range(_HEAD_ROWS), strict=False)]
    except csv.Error:
        return 0, 1
    cells = len(rows[0]) if rows else 1
    if column is not None and (not rows or column not in rows[0]):
        return 0, 1
    return sum(len(row) == cells for row in rows), cells
