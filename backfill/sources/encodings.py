"""Which encoding a text file is in, and the refusal of one that is not in the declared encoding.

Files in single-byte encodings and in UTF-8 are framed as they are: line ends, quotes and
delimiters are the same bytes in all of them. UTF-16 is framed as UTF-8.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backfill.errors import UsageError

Framed = Literal["utf-8", "iso8859-1", "cp1252"]

_NAMES = {"utf-8": "utf-8", "iso8859-1": "latin-1", "cp1252": "cp1252", "utf-16": "utf-16"}
_SIGNATURES = {
    b"PK\x03\x04": "a zip archive (a spreadsheet?)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip archive (name it .gz)",
    b"\x28\xb5\x2f\xfd": "a zstd archive (name it .zst)",
    b"SQLite format 3\0": "a SQLite database",
    b"%PDF": "a PDF",
}
_BOM_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_BOM_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file's bytes become text.

    Args:
        framed: The codec of the bytes that rows are looked for in.
        bom_bytes: The length of the byte-order mark, which is no part of the text.
        utf16: The codec of the file, where that is UTF-16.
    """

    framed: Framed
    bom_bytes: int = 0
    utf16: str | None = None

    @property
    def name(self) -> str:
        """The encoding's name in the pipeline file."""
        return "utf-16" if self.utf16 else _NAMES[self.framed]

    def frame(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The file's bytes, in `framed`.

        Raises:
            UnicodeDecodeError: The file ends in the middle of a character.
        """
        if self.utf16 is None:
            yield from blocks
            return
        # A lone half of a pair passes as such; as UTF-8 it is invalid, so its row is rejected.
        decoder = codecs.getincrementaldecoder(self.utf16)("surrogatepass")
        for block in blocks:
            if text := decoder.decode(block):
                yield text.encode("utf-8", "surrogatepass")
        decoder.decode(b"", final=True)

    def width(self, framed: bytes) -> int:
        """How many bytes of the file these framed bytes stand for."""
        if self.utf16 is None:
            return len(framed)
        continued = len(framed.translate(None, _NOT_CONTINUED))
        long = len(framed.translate(None, _NOT_LEAD_OF_FOUR))
        return 2 * (len(framed) - continued + long)


# UTF-8: what goes on with a character, and what begins one of four bytes, a pair in UTF-16.
_NOT_CONTINUED = bytes({*range(0x80), *range(0xC0, 0x100)})
_NOT_LEAD_OF_FOUR = bytes(range(0xF0))


def recognised(path: Path, declared: str, head: bytes, *, header: bool) -> Encoding:
    """The encoding of a file that begins with `head`.

    Args:
        path: The file, for the message.
        declared: `utf-8`, `latin-1`, `cp1252` or `utf-16`.
        head: The first bytes of its text, uncompressed; at least one.
        header: Whether the first line is a header, which cannot be rejected by itself.

    Raises:
        UsageError: There is no such encoding, or the file is evidently not in it.
    """
    codec = _codec(declared)
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            raise UsageError(
                f"{path}: is {kind}, not text: see byte 0",
                next_step="export it as CSV, JSON Lines or Parquet, and name it so",
            )
    if head.startswith(_BOM_UTF32):
        raise _refusal(path, declared, 0, "utf-32, which is not supported")
    if codec == "utf-16":
        return _utf16(path, head)
    if head[:2] in _BOM_UTF16:
        raise _refusal(path, declared, 0, "utf-16")
    _check_nuls(path, declared, head)
    if codec == "utf-8":
        bom_bytes = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        _check_lines(path, codec, head, header=header)
        return Encoding("utf-8", bom_bytes)
    _check_single_byte(path, declared, head)
    _check_lines(path, codec, head, header=header)
    return Encoding("cp1252" if codec == "cp1252" else "iso8859-1")


def _codec(declared: str) -> str:
    try:
        codec = codecs.lookup(declared).name
    except LookupError:
        codec = ""
    if codec not in _NAMES:
        known = ", ".join(_NAMES.values())
        raise UsageError(f"encoding {declared!r}: not supported", next_step=f"use one of {known}")
    return codec


def _refusal(path: Path, declared: str, offset: int, likely: str) -> UsageError:
    return UsageError(
        f"{path}: is not {declared} at byte {offset}; it looks like {likely}",
        next_step="set the source's `encoding`, or convert the file",
    )


def _utf16(path: Path, head: bytes) -> Encoding:
    codec = _BOM_UTF16.get(head[:2])
    if codec is None:
        likely = "utf-16 without a byte-order mark" if _nul_every_other(head) else "utf-8"
        raise _refusal(path, "utf-16 (no byte-order mark)", 0, likely)
    return Encoding("utf-8", 2, codec)


def _nul_every_other(head: bytes) -> bool:
    """Whether most of the even or most of the odd bytes are zero, as in UTF-16 without a mark."""
    return any(2 * head[side::2].count(0) > len(head[side::2]) for side in (0, 1))


def _check_nuls(path: Path, declared: str, head: bytes) -> None:
    if _nul_every_other(head):
        likely = "utf-16 without a byte-order mark, or no text at all"
        raise _refusal(path, declared, head.index(0), likely)


def _check_single_byte(path: Path, declared: str, head: bytes) -> None:
    """Refuse UTF-8: read as a single-byte encoding each accent would become two letters."""
    if head.isascii():
        return
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return
    if text.isascii():  # the last byte alone could begin a character: that is no evidence
        return
    first = re.search(rb"[\x80-\xff]", head)
    raise _refusal(path, declared, first.start() if first else 0, "utf-8")


def _check_lines(path: Path, codec: str, head: bytes, *, header: bool) -> None:
    """Refuse a file whose header, or most of whose first lines, cannot be read in the encoding.

    A few such lines in a file that is otherwise well are rejected one by one.
    """
    lines = [(found.start(), found.group()) for found in re.finditer(rb"[^\r\n]+", head)]
    if len(lines) > 1 and not head.endswith((b"\r", b"\n")):
        del lines[-1]  # it may be cut in the middle of a character
    faults = [place for start, line in lines if (place := _fault(start, line, codec)) is not None]
    if not faults:
        return
    in_header = header and faults[0] < lines[0][0] + len(lines[0][1])
    if in_header or (len(faults) > 1 and 2 * len(faults) > len(lines) - header):
        likely = "cp1252" if codec == "utf-8" and not _undefined(head) else "another encoding"
        raise _refusal(path, _NAMES[codec], faults[0], likely)


def _fault(start: int, line: bytes, codec: str) -> int | None:
    """The offset of the first byte that cannot be read, counted in the file."""
    try:
        line.decode(codec)
    except UnicodeDecodeError as error:
        return start + error.start
    return None


def _undefined(head: bytes) -> bool:
    return _fault(0, head, "cp1252") is not None
