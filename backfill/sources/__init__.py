"""Room 1: files that can be read again from any position, as chunks.

interface     what a file promises, how it is written, which content it has, limits of reading
inputs        the files of a job, in the order of sending
globs         which files a pattern stands for          opening     which format a file has
text_file     the bytes of a text file                  encodings   what characters they are
delimited     CSV and TSV: framing cuts rows, csv_cells reads header and cells
json_file     JSON: json_framing, json_objects   parquet     Parquet
layout        which column becomes what; columns that folders name
detection     how a text file is written, for `init`
"""

from backfill.sources.globs import expand
from backfill.sources.interface import FileFormat, Fingerprint, LocalFile, SourceFile
from backfill.sources.layout import partitions_of
from backfill.sources.opening import open_source

__all__ = [
    "FileFormat",
    "Fingerprint",
    "LocalFile",
    "SourceFile",
    "expand",
    "open_source",
    "partitions_of",
]
