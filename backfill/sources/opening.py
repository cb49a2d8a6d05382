"""The front door of the formats: a source by the name of its file."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from backfill.errors import UsageError
from backfill.sources.delimited import DelimitedSource
from backfill.sources.interface import SourceFile
from backfill.sources.jsonlines import JsonLinesSource
from backfill.sources.parquet import ParquetSource
from backfill.sources.text_file import BLOCK_BYTES, TextFile

_NONE: Mapping[str, str] = MappingProxyType({})
_COMPRESSED = {".gz", ".zst"}


def open_source(
    path: Path,
    *,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    partitions: Mapping[str, str] = _NONE,
    block_bytes: int = BLOCK_BYTES,
) -> SourceFile:
    """Open a file by its extension: .csv .tsv .jsonl .ndjson, each also .gz or .zst; .parquet.

    Args:
        path: The file.
        delimiter: What parts the cells of delimited text; by default a comma, in a .tsv a tab.
        encoding: Of a text file: `utf-8`, `latin-1`, `cp1252` or `utf-16`.
        partitions: Columns from the names of its folders, as text. Where the file has such a
            column itself, that one counts.
        block_bytes: How much of a text file is read at once.

    Raises:
        UsageError: The file cannot be used as such: the message says why and where.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        del suffixes[-1]
    elif suffixes[-1:] == [".parquet"]:
        return ParquetSource.open(path, partitions)
    match suffixes[-1:]:
        case [".csv" | ".tsv" as suffix]:
            text = TextFile.open(path, encoding, block_bytes, header=True)
            usual = "\t" if suffix == ".tsv" else ","
            return DelimitedSource.open(text, usual if delimiter is None else delimiter, partitions)
        case [".jsonl" | ".ndjson"]:
            text = TextFile.open(path, encoding, block_bytes, header=False)
            return JsonLinesSource.open(text, partitions)
        case _:
            raise UsageError(
                f"{path}: the name does not tell the format",
                next_step="name it .csv, .tsv, .jsonl or .parquet; text may be .gz or .zst too",
            )
