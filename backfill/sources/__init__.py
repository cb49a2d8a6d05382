"""Sources: files that can be read again from any position, as chunks. One file a format."""

from backfill.sources.files import Fingerprint, expand, fingerprint, partitions_of
from backfill.sources.interface import Source
from backfill.sources.opening import open_source

__all__ = ["Fingerprint", "Source", "expand", "fingerprint", "open_source", "partitions_of"]
