"""Room 1: files that can be read again from any position, as chunks.

interface     what a file promises, how it is written, the limits of reading
inputs        the files of a job, in the order of sending
globs         which files a pattern stands for          partitions  columns that folders name
opening       which format a file has                   versions    which content
text_file     the bytes of a text file                  encodings   what characters they are
delimited     CSV and TSV: csv_header, framing, frame, csv_cells
json_file     JSON: json_framing, json_objects   parquet     Parquet
layout        which column becomes what
detection     how a text file is written, for `init`
"""

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
