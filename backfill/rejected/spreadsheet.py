"""How a spreadsheet saved a CSV: in which encoding, and what parts the cells."""

import codecs
import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from backfill.errors import UsageError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CODE_PAGE = "cp1252"
_DELIMITERS = (",", ";", "\t")
_BLOCK_BYTES = 1 << 20


def encoding_of(path: Path) -> str:
    """What the file is written in: as its first bytes say, else UTF-8 if it is valid.

    What is all ASCII without our BOM may come from a code page that lost the other letters.

    Raises:
        UsageError: There is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(codecs.BOM_UTF8))
            for bom, encoding in _BOMS:
                if head.startswith(bom):
                    return encoding
            return "utf-8" if _is_utf8_beyond_ascii(chain([head], _blocks(file))) else CODE_PAGE
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}",
            next_step="name the rejected.csv that you mended",
        ) from error


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK_BYTES):
        yield block


def _is_utf8_beyond_ascii(blocks: Iterable[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    ascii_only = True
    try:
        for block in blocks:
            ascii_only &= block.isascii()
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return not ascii_only


def delimiter_of(header: str) -> str:
    """What parts the cells: that by which the header has our own columns."""
    for each in _DELIMITERS:
        if "_source" in next(csv.reader([header], delimiter=each), []):
            return each
    return ","
