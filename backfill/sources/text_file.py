"""The bytes of a text file, from any position on, compressed or not."""

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from backfill.errors import UsageError
from backfill.rows import Reason, Rejection
from backfill.sources.encodings import Encoding, recognised
from backfill.sources.interface import (
    BLOCK_BYTES,
    RAW_BYTES_MAX,
    EmptyFileError,
    FileFormat,
    Location,
    StoredFile,
    unreadable,
)

Compression = Literal["gzip", "zstd"]

_HEAD_BYTES = 1 << 16
_BOMB_BYTES_MIN = 1 << 25
_BOMB_RATIO = 400
"""Exports come to 10 to 100 times less; gzip to 1,030 times where there is nothing in them."""
_MAGIC: dict[re.Pattern[bytes], Compression] = {
    re.compile(rb"\x1f\x8b"): "gzip",
    # A zstd archive may begin with a frame to be skipped, as pzstd's do (RFC 8878, 3.1.2).
    re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"): "zstd",
}

_WAITS = 'its last line has no line end yet and waits; last_line = "send" would send it'

GIANT_BYTES = 1_000_000_000
"""Nobody waits long for a smaller archive to be read."""

_IN_ONE_PIECE = (
    "compressed in one piece: one process reads it, however many workers there are; several files,"
    " or Parquet, are read at once"
)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file that can be read on from any position.

    An offset counts bytes of the text as it is encoded in the file, after decompression.

    Args:
        stored: Where its bytes are.
        compression: How it is compressed; its first bytes tell.
        encoding: How its bytes become text.
        block_bytes: How much of it is read at once.
        end: Where the last whole line ends, if what follows is still being written.
    """

    stored: StoredFile
    compression: Compression | None
    encoding: Encoding
    block_bytes: int
    end: int | None = None

    @classmethod
    def open(
        cls, stored: StoredFile, how: FileFormat, block_bytes: int, *, header: bool
    ) -> "TextFile":
        """Look at the beginning of the file.

        Args:
            stored: Where its bytes are.
            how: How it is written.
            block_bytes: How much of it is to be read at once.
            header: Whether its first line is a header, which cannot be rejected by itself.

        Raises:
            EmptyFileError: There is nothing in it.
            UsageError: It cannot be read, or is not in this encoding.
        """
        path, compression = stored.path, _compression(stored)
        # After decompression: an archive of nothing is an empty file, too.
        head = next(_contents(stored, compression, 0, _HEAD_BYTES), b"")
        if not head:
            raise EmptyFileError(f"{path}: the file is empty", next_step="export it again")
        encoding = recognised(path, how.encoding, head, header=header)
        # An archive is written at once, and an object: its last line is whole whatever it ends in.
        waits = how.last_line == "wait" and compression is None and stored.grows
        end = _whole_lines(stored, encoding.line_end) if waits else None
        return cls(stored, compression, encoding, block_bytes, end)

    @property
    def path(self) -> Location:
        """Where it is."""
        return self.stored.path

    @property
    def notes(self) -> tuple[str, ...]:
        """Whether the end of the file waits, or all of it is read by one process."""
        if self.compression is not None and self.stored.size >= GIANT_BYTES:
            return (f"{self.stored.size / 1e9:.1f} GB {_IN_ONE_PIECE}",)
        return () if self.end in (None, self.stored.size) else (_WAITS,)

    @property
    def width(self) -> Callable[[bytes], int]:
        """How many bytes of the file some text of its blocks, in whole characters, stands for."""
        return len if self.encoding.transcoded is None else self.encoding.width

    def blocks(self, offset: int) -> Iterator[bytes]:
        """The text from `offset` on, in the encoding that rows are looked for in.

        Raises:
            UsageError: The file is cut off, or its compression broken; what can be read of it
                comes before.
        """
        contents = _contents(self.stored, self.compression, offset, self.block_bytes)
        if self.end is not None:
            contents = _until(contents, self.end - offset)
        if self.encoding.transcoded is None:
            yield from contents
            return
        try:
            yield from self.encoding.frame(contents)
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self.path}: ends in the middle of a character",
                next_step="it seems to be cut off; export it again",
            ) from error
        except UnicodeError as error:
            raise UsageError(
                f"{self.path}: cannot be read as {self.encoding.name}: {error}",
                next_step="convert it to UTF-8",
            ) from error

    def rejection(self, row: int, line: int, why: Sequence[Reason], raw: bytes) -> Rejection:
        """A row that is rejected for its shape.

        Args:
            row: Its number in the file, from 1.
            line: The line at which it begins, from 1.
            why: All reasons.
            raw: Its bytes in `encoding.framed`, without the line end. `RAW_BYTES_MAX` of them are
                kept. Where they are no text in the encoding, each is written as the character of
                the same number, so that `raw.encode("latin-1")` gives the bytes back.
        """
        kept = raw[:RAW_BYTES_MAX]
        try:
            if len(kept) < len(raw):  # a character that the limit cuts in two is left out
                text = codecs.getincrementaldecoder(self.encoding.framed)().decode(kept)
            else:
                text = raw.decode(self.encoding.framed)
        except UnicodeDecodeError:
            text = kept.decode("latin-1")
        return Rejection(row, line, tuple(why), raw=text)


def raw_blocks(stored: StoredFile) -> Iterator[bytes]:
    """The bytes of a text file, uncompressed, whatever their encoding.

    Raises:
        UsageError: The file cannot be read, is cut off, or its compression is broken.
    """
    return _contents(stored, _compression(stored), 0, BLOCK_BYTES)


def _compression(stored: StoredFile) -> Compression | None:
    """How a file is compressed, by its first bytes: names lie, and browsers unpack in passing."""
    try:
        with stored.open() as file:
            head = file.read(4)
    except OSError as error:
        raise unreadable(stored.path, error) from error
    return next((name for magic, name in _MAGIC.items() if magic.match(head)), None)


def _whole_lines(stored: StoredFile, line_end: bytes) -> int:
    """How many bytes of a file are whole lines.

    Args:
        stored: The file.
        line_end: A line end as the file writes it.
    """
    unit = len(line_end)
    single = (line_end, line_end.replace(b"\n", b"\r"))
    with stored.open() as file:
        # From the end, whole characters at a time: UTF-16 has an LF inside other characters.
        end = stored.size - stored.size % unit
        while end > 0:
            start = max(0, end - BLOCK_BYTES)
            file.seek(start)
            block = file.read(end - start)
            for at in range(len(block) - unit, -1, -unit):
                if block[at : at + unit] in single:
                    return start + at + unit
            end = start
    return 0


def _until(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The first `size` bytes of these blocks."""
    for block in blocks:
        if size <= 0:
            return
        yield block[:size]
        size -= len(block)


def _contents(
    stored: StoredFile, compression: Compression | None, offset: int, block_bytes: int
) -> Iterator[bytes]:
    """The uncompressed bytes of a file from `offset` on."""
    try:
        if compression is not None:
            yield from _uncompressed(stored, compression, offset, block_bytes)
            return
        with stored.open() as file:
            file.seek(offset)
            while block := file.read(block_bytes):
                yield block
    except OSError as error:
        raise unreadable(stored.path, error) from error


def _uncompressed(
    stored: StoredFile, compression: Compression, offset: int, block_bytes: int
) -> Iterator[bytes]:
    done = offset
    try:
        raw = stored.open()
        with _past(pa.CompressedInputStream(raw, compression), offset) as stream:
            while block := stream.read(block_bytes):
                done += len(block)
                if done > _BOMB_BYTES_MIN and done > _BOMB_RATIO * raw.tell():
                    raise UsageError(
                        f"{stored.path}: grows to more than {_BOMB_RATIO} times its size, as files"
                        " do that are made to fill a disk",
                        next_step="uncompress it yourself if its content is meant to be read",
                    )
                yield block
    except OSError as error:
        # The reader drops the beginning of a block whose end is broken: fetch it byte by byte.
        rescued = _rescued(stored, compression, done)
        if rescued:
            yield rescued
        raise UsageError(
            f"{stored.path}: the {compression} archive is broken after byte {done + len(rescued)}"
            " of its content",
            next_step="replace it with a whole one; the rows before stay as they are",
        ) from error


def _opened(stored: StoredFile, compression: Compression, offset: int) -> pa.CompressedInputStream:
    return _past(pa.CompressedInputStream(stored.open(), compression), offset)


def _past(stream: pa.CompressedInputStream, offset: int) -> pa.CompressedInputStream:
    # A compressed stream cannot seek; reading past the rest costs a fraction of judging it.
    while offset > 0 and (skipped := len(stream.read(min(offset, BLOCK_BYTES)))):
        offset -= skipped
    return stream


def _rescued(stored: StoredFile, compression: Compression, offset: int) -> bytes:
    rescued = bytearray()
    try:
        with _opened(stored, compression, offset) as stream:
            while byte := stream.read(1):
                rescued += byte
    except OSError:
        pass  # this is the break that was looked for
    return bytes(rescued)
