"""Sources: files that can be read again from any position, as chunks. One file a format."""

from backfill.sources.interface import SourceFile
from backfill.sources.opening import open_source
from backfill.sources.source_files import Fingerprint, expand, fingerprint, partitions_of

__all__ = ["Fingerprint", "SourceFile", "expand", "fingerprint", "open_source", "partitions_of"]
