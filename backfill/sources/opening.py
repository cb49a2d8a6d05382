"""The front door of the formats: what a file is, by its name, its settings and its first bytes."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from backfill.errors import UsageError
from backfill.pipeline.file_settings import FormatName
from backfill.sources.interface import BLOCK_BYTES, FileFormat, Location, SourceFile, StoredFile

_NONE: Mapping[str, str] = MappingProxyType({})
_AS_ITS_NAME_SAYS = FileFormat()
_COMPRESSED = {".gz", ".zst"}
_FORMATS: Mapping[str, FormatName] = MappingProxyType(
    {
        ".csv": "csv",
        ".tsv": "tsv",
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".json": "json",
        ".parquet": "parquet",
    }
)
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_OTHERS = {
    ".zip": "is a zip archive: unpack it",
    ".xlsx": "is an Excel workbook: export each sheet as CSV",
    ".xls": "is an Excel workbook: export each sheet as CSV",
    ".ods": "is a spreadsheet: export each sheet as CSV",
    ".bz2": "is a bzip2 archive: unpack it, or compress it as .gz or .zst",
    ".xz": "is an xz archive: unpack it, or compress it as .gz or .zst",
    ".tar": "is an archive of files: unpack it",
    ".tgz": "is an archive of files: unpack it",
    ".7z": "is an archive: unpack it",
    ".rar": "is an archive: unpack it",
    ".avro": "is an Avro file: write it as Parquet",
    ".orc": "is an ORC file: write it as Parquet",
    ".xml": "is an XML document: export the rows as CSV or JSON Lines",
    ".html": "is a web page: export the rows as CSV",
    ".pdf": "is a PDF document: export the rows as CSV",
    ".docx": "is a text document: export the rows as CSV",
    ".png": "is a picture: name files of rows",
    ".jpg": "is a picture: name files of rows",
    ".db": "is a database: export the table as CSV or Parquet",
    ".sqlite": "is a database: export the table as CSV or Parquet",
    ".sqlite3": "is a database: export the table as CSV or Parquet",
    ".duckdb": "is a database: export the table as CSV or Parquet",
}
"""What is no table by its name: to set `format` would help none of these."""


def open_source(
    stored: StoredFile,
    how: FileFormat = _AS_ITS_NAME_SAYS,
    *,
    partitions: Mapping[str, str] = _NONE,
    block_bytes: int = BLOCK_BYTES,
) -> SourceFile:
    """Open a file.

    Args:
        stored: Where its bytes are.
        how: How it is written, as far as its name does not tell.
        partitions: Columns from the names of its folders, as text. Where the file has such a
            column itself, that one counts.
        block_bytes: How much of a text file is read at once.

    Raises:
        EmptyFileError: There is nothing in it.
        UsageError: The file cannot be used as such: the message says why and where.
    """
    # Late: most jobs have one format, and a short run is little but what is loaded for it.
    match how.name or format_of(stored.path):
        case "parquet":
            from backfill.sources.parquet import ParquetSource  # noqa: PLC0415

            return ParquetSource.open(stored, partitions)
        case "csv" | "tsv" as name:
            from backfill.sources.delimited import DelimitedSource  # noqa: PLC0415
            from backfill.sources.text_file import TextFile  # noqa: PLC0415

            text = TextFile.open(stored, how, block_bytes, header=how.header is None)
            delimiter = _DELIMITERS[name] if how.delimiter is None else how.delimiter
            return DelimitedSource.open(text, replace(how, delimiter=delimiter), partitions)
        case "jsonl" | "json" as name:
            from backfill.sources.json_file import JsonSource  # noqa: PLC0415
            from backfill.sources.text_file import TextFile  # noqa: PLC0415

            text = TextFile.open(stored, how, block_bytes, header=False)
            return JsonSource.open(text, partitions, one_a_line=name == "jsonl")


def format_of(path: Location) -> FormatName:
    """The format that the name of a file tells, whatever the case of its letters.

    Raises:
        UsageError: It tells none.
    """
    if (name := told_format(path)) is None:
        raise UsageError(
            f"{path}: the name does not tell the format",
            next_step='set format = "csv", "tsv", "jsonl", "json" or "parquet" for the source',
        )
    return name


def told_format(path: Location) -> FormatName | None:
    """The format that the name of a file tells; None: it tells none.

    Raises:
        UsageError: It tells one that cannot be read, or is the name of a folder.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        del suffixes[-1]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in _OTHERS:
        what, _, step = _OTHERS[suffix].partition(": ")
        raise UsageError(f"{path}: {what}", next_step=step)
    return _FORMATS.get(suffix)
