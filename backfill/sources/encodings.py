"""Which encoding a text file is in, and the refusal of one that is not in the declared encoding.

Rows are framed in bytes. Files in UTF-8 and in single-byte encodings that hold ASCII are framed as
they are: line ends, quotes and delimiters are the same bytes in all of them. In any other encoding
those bytes may be half of another character, so that such a file is framed as UTF-8.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from backfill.errors import UsageError
from backfill.sources.interface import Location

_SIGNATURES = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "a Parquet file",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\0": "an xz archive",
    b"\x04\x22\x4d\x18": "an lz4 archive",
    b"SQLite format 3\0": "a SQLite database",
    b"%PDF": "a PDF",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
}
_INSTEAD = {
    b"PK\x03\x04": "unpack it, or export the sheet as CSV",
    b"PAR1": 'name it .parquet, or set format = "parquet"',
    b"BZh": "unpack it, or compress it as .gz or .zst",
    b"\xfd7zXZ\0": "unpack it, or compress it as .gz or .zst",
    b"\x04\x22\x4d\x18": "unpack it, or compress it as .gz or .zst",
}
_UNICODE = re.compile(r"utf-(16|32)(-le|-be)?")
_BOMS = {
    # UTF-32 first: its mark begins with that of UTF-16.
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_STATEFUL = re.compile(r"iso2022|hz|utf-7|punycode|idna|escape|undefined|mbcs|oem")
"""Codecs in which a byte's meaning depends on all before it, or that are for no files."""
_ISO_2022 = re.compile(rb"\x1b\$[@AB()]")
"""The escapes before Japanese, Chinese and Korean: all of it is ASCII, and reads as mojibake."""

_COMMON = ("cp1252", "cp1250", "cp1251", "cp932", "gbk", "big5", "euc-kr")
"""Encodings that exports are often in where they are not in UTF-8."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file's bytes become text.

    Args:
        name: The encoding as it was declared.
        framed: The codec of the bytes that rows are looked for in.
        bom_bytes: The length of the byte-order mark, which is no part of the text.
        transcoded: The codec of the file, where that is not `framed`.
    """

    name: str
    framed: str = "utf-8"
    bom_bytes: int = 0
    transcoded: str | None = None

    @property
    def errors(self) -> str:
        """How bytes that are no text pass through the codec of the file.

        As lone surrogates, which are invalid in UTF-8: so their row is rejected, and encoding
        gives the bytes back.
        """
        return "surrogatepass" if _UNICODE.match(self.transcoded or "") else "surrogateescape"

    def frame(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes of a file that has to be transcoded, in UTF-8, in whole characters.

        Raises:
            UnicodeError: The file ends in the middle of a character, or its characters have
                several forms, so that places in it could not be found again.
        """
        codec = self.transcoded or self.framed
        decoder = codecs.getincrementaldecoder(codec)(self.errors)
        waiting = 0
        for block in blocks:
            text = decoder.decode(block)
            left = len(decoder.getstate()[0])
            if len(text.encode(codec, self.errors)) != waiting + len(block) - left:
                raise UnicodeError("some of its characters can be written in several ways")
            waiting = left
            if text:
                yield text.encode("utf-8", "surrogatepass")
        if rest := decoder.decode(b"", final=True):
            yield rest.encode("utf-8", "surrogatepass")

    def width(self, framed: bytes) -> int:
        """How many bytes of the file these framed bytes, whole characters, stand for."""
        text = framed.decode("utf-8", "surrogatepass")
        return len(text.encode(self.transcoded or self.framed, self.errors))

    @property
    def line_end(self) -> bytes:
        """A line end as the file writes it."""
        return "\n".encode(self.transcoded or self.framed)


def recognised(path: Location, declared: str, head: bytes, *, header: bool) -> Encoding:
    """The encoding of a file that begins with `head`.

    Args:
        path: The file, for the message.
        declared: The name of a codec of Python's.
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
                next_step=_INSTEAD.get(signature, "export it as CSV, JSON Lines or Parquet"),
            )
    if _UNICODE.fullmatch(codec):
        return _unicode(path, declared, codec, head)
    if by_mark := marked(head):
        raise _refusal(path, declared, 0, by_mark[:6])
    if likely := by_nuls(head):
        raise _refusal(path, declared, head.index(0), f"{likely[:6]}, or no text at all")
    if escape := _ISO_2022.search(head):
        raise UsageError(
            f"{path}: is not {declared} at byte {escape.start()}; it looks like iso-2022",
            next_step="convert it to UTF-8, as iconv does",
        )
    if codec == "utf-8":
        bom_bytes = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        _check_lines(path, declared, codec, head, header=header)
        return Encoding(declared, "utf-8", bom_bytes)
    _refuse_utf8(path, declared, head)
    _check_lines(path, declared, codec, head, header=header)
    if _holds_ascii(codec):
        return Encoding(declared, codec)
    return Encoding(declared, transcoded=codec)


def _codec(declared: str) -> str:
    try:
        found = codecs.lookup(declared)
        codec = found.name.removesuffix("-sig").replace("_", "-")
        "".encode(declared)  # not all codecs are of text
    except LookupError:
        codec = ""
    if not codec or _STATEFUL.search(codec):
        raise UsageError(
            f"encoding {declared!r}: not supported",
            next_step="name one of Python's encodings, such as utf-8, cp1252, latin-1, cp932 or"
            " utf-16",
        )
    return codec


def _holds_ascii(codec: str) -> bool:
    """Whether each byte is a character, and those of ASCII are the same."""
    every = bytes(range(256))
    return len(every.decode(codec, "replace")) == len(every) and (
        every[:128].decode(codec, "replace") == every[:128].decode("ascii")
    )


def _refusal(path: Location, declared: str, offset: int, likely: str) -> UsageError:
    return UsageError(
        f"{path}: is not {declared} at byte {offset}; it looks like {likely}",
        next_step="set the source's `encoding`, or convert the file",
    )


def marked(head: bytes) -> str:
    """The codec that a byte-order mark of two or four bytes names; empty: there is none."""
    return next((codec for bom, codec in _BOMS.items() if head.startswith(bom)), "")


def _unicode(path: Location, declared: str, codec: str, head: bytes) -> Encoding:
    """UTF-16 or UTF-32: the order of its bytes is told by the mark, the name or the zeros."""
    by_mark, zeros = marked(head), by_nuls(head)
    ordered = codec if codec.endswith("e") else ""
    found = by_mark or zeros or ordered
    if not found.startswith(codec):
        likely = found if found[:6] == codec[:6] else (by_mark or zeros)[:6] or "utf-8"
        raise _refusal(path, declared, 0, likely)
    bom = len("\N{ZERO WIDTH NO-BREAK SPACE}".encode(found)) if by_mark else 0
    return Encoding(declared, bom_bytes=bom, transcoded=found)


def by_nuls(head: bytes) -> str:
    """The codec in which most of the zeros of `head` are halves of ASCII; empty: there is none."""
    quarters = [2 * head[side::4].count(0) > len(head[side::4]) for side in range(4)]
    if quarters[1:] == [True] * 3 or quarters[:3] == [True] * 3:
        return "utf-32-le" if quarters[3] else "utf-32-be"
    halves = [2 * head[side::2].count(0) > len(head[side::2]) for side in (0, 1)]
    return "utf-16-be" if halves[0] else "utf-16-le" if halves[1] else ""


def _refuse_utf8(path: Location, declared: str, head: bytes) -> None:
    """Refuse UTF-8 under another name: each accent would become two letters."""
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


def _check_lines(path: Location, declared: str, codec: str, head: bytes, *, header: bool) -> None:
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
        able = [
            each
            for each in _COMMON
            if all(_fault(start, line, each) is None for start, line in lines)
        ]
        if codec != "utf-8" or not able:
            raise _refusal(path, declared, faults[0], "another encoding")
        # Any of them makes text of these bytes; only a reader can tell which text is meant.
        raise UsageError(
            f"{path}: is not {declared} at byte {faults[0]}; nothing in it proves which encoding"
            f" it is in, and these can read it: {', '.join(able)}",
            next_step="set the source's `encoding` to the one that its program writes, and look at"
            " the text that `backfill plan` shows",
        )


def _fault(start: int, line: bytes, codec: str) -> int | None:
    """The offset of the first byte that cannot be read, counted in the file."""
    try:
        line.decode(codec)
    except UnicodeDecodeError as error:
        return start + error.start
    return None
