"""The bytes of a text file, from any position on, compressed or not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from backfill.errors import UsageError
from backfill.sources.encodings import Encoding, recognised
from backfill.sources.versions import Version, unreadable

Compression = Literal["gzip", "zstd"]

BLOCK_BYTES = 3 << 19  # some 20,000 rows of ordinary width
_HEAD_BYTES = 1 << 16
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_SIGNATURES: dict[Compression, bytes] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file that can be read on from any position.

    An offset counts bytes of the text as it is encoded in the file, after decompression.
    """

    version: Version
    compression: Compression | None
    encoding: Encoding
    block_bytes: int

    @classmethod
    def open(cls, path: Path, encoding: str, block_bytes: int, *, header: bool) -> "TextFile":
        """Look at the beginning of the file.

        Raises:
            UsageError: It is empty, no regular file, unreadable, or not in this encoding.
        """
        version = Version.of(path)
        compression = _COMPRESSIONS.get(path.suffix.lower())
        head = next(_contents(path, compression, 0, _HEAD_BYTES), b"")
        if not head:
            raise UsageError(f"{path}: the file is empty", next_step="export it again")
        found = recognised(path, encoding, head, header=header)
        return cls(version, compression, found, block_bytes)

    def blocks(self, offset: int) -> Iterator[bytes]:
        """The text from `offset` on, in the encoding that rows are looked for in.

        Raises:
            UsageError: The file is cut off, or its compression broken; what can be read of it
                comes before.
        """
        path = self.version.path
        try:
            yield from self.encoding.frame(
                _contents(path, self.compression, offset, self.block_bytes)
            )
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{path}: ends in the middle of a character",
                next_step="it seems to be cut off; export it again",
            ) from error


def _contents(
    path: Path, compression: Compression | None, offset: int, block_bytes: int
) -> Iterator[bytes]:
    """The uncompressed bytes of a file from `offset` on."""
    try:
        if compression is not None:
            yield from _uncompressed(path, compression, offset, block_bytes)
            return
        with path.open("rb") as file:
            file.seek(offset)
            while block := file.read(block_bytes):
                yield block
    except OSError as error:
        raise unreadable(path, error) from error


def _uncompressed(
    path: Path, compression: Compression, offset: int, block_bytes: int
) -> Iterator[bytes]:
    _check_signature(path, compression)
    done = offset
    try:
        with _opened(path, compression, offset) as stream:
            while block := stream.read(block_bytes):
                done += len(block)
                yield block
    except OSError as error:
        # The reader drops the beginning of a block whose end is broken: fetch it byte by byte.
        rescued = _rescued(path, compression, done)
        if rescued:
            yield rescued
        raise UsageError(
            f"{path}: the {compression} archive is broken after byte {done + len(rescued)} of its "
            "content",
            next_step="replace it with a whole one; the rows before stay as they are",
        ) from error


def _opened(path: Path, compression: Compression, offset: int) -> pa.CompressedInputStream:
    stream = pa.CompressedInputStream(pa.OSFile(str(path), "rb"), compression)
    while offset > 0 and (skipped := len(stream.read(min(offset, BLOCK_BYTES)))):
        offset -= skipped
    return stream


def _rescued(path: Path, compression: Compression, offset: int) -> bytes:
    rescued = bytearray()
    try:
        with _opened(path, compression, offset) as stream:
            while byte := stream.read(1):
                rescued += byte
    except OSError:
        pass  # this is the break that was looked for
    return bytes(rescued)


def _check_signature(path: Path, compression: Compression) -> None:
    with path.open("rb") as file:
        head = file.read(4)
    if head and not head.startswith(_SIGNATURES[compression]):
        raise UsageError(
            f"{path}: is not a {compression} archive: see byte 0",
            next_step="name it without the suffix if it is not compressed",
        )
