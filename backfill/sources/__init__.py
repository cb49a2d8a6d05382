"""Sources: files that can be read again from any position, as chunks. One file a format."""

from backfill.sources.globs import expand
from backfill.sources.interface import FileFormat, SourceFile
from backfill.sources.opening import open_source
from backfill.sources.partitions import partitions_of
from backfill.sources.versions import Fingerprint, fingerprint

__all__ = [
    "FileFormat",
    "Fingerprint",
    "SourceFile",
    "expand",
    "fingerprint",
    "open_source",
    "partitions_of",
]
