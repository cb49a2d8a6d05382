"""Files opened in a test with settings by keyword."""

from pathlib import Path

from backfill.sources import FileFormat, LocalFile, SourceFile, open_source
from backfill.sources.interface import BLOCK_BYTES


def open_file(path: Path, *, partitions=None, block_bytes=BLOCK_BYTES, **how) -> SourceFile:
    """The file, written as the keywords say: those of `FileFormat`."""
    return open_source(
        LocalFile.of(path), FileFormat(**how), partitions=partitions or {}, block_bytes=block_bytes
    )
