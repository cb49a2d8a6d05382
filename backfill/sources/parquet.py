"""Parquet: columns keep the types that the file declares, dictionaries included.

Facts about the reader: https://arrow.apache.org/docs/python/generated/pyarrow.parquet.ParquetFile.html
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backfill.errors import UsageError
from backfill.rows import START, Chunk, Position, Values
from backfill.sources.interface import CHUNK_BYTES_MAX, CHUNK_ROWS_MAX, Kind, Version
from backfill.sources.layout import PartitionColumns

_MAGIC = b"PAR1"
_MAGIC_ENCRYPTED = b"PARE"
_BUFFER_BYTES = 1 << 18
"""For each column."""
_PROBE_ROWS = 64


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """A Parquet file; see `SourceFile` for what it promises.

    Resuming skips whole row groups and reads past the rest. Old INT96 timestamps are read to the
    microsecond, since as nanoseconds the years before 1678 and after 2262 would be other ones.
    """

    version: Version
    types: pa.Schema
    group_rows: tuple[int, ...]
    folders: PartitionColumns
    kind: Kind = "parquet"
    values: Values = "typed"
    appendable: bool = False
    size_limit: None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path, partitions: Mapping[str, str]) -> "ParquetSource":
        """Read the footer.

        Raises:
            UsageError: It is no Parquet file, encrypted, broken, or two columns share a name.
        """
        version = Version.of(path)
        try:
            _check_magic(path)
            with _file(path) as file:
                types = file.schema_arrow
                groups = range(file.metadata.num_row_groups)
                rows = tuple(file.metadata.row_group(group).num_rows for group in groups)
        except (OSError, pa.ArrowException) as error:
            raise _broken(path, error) from error
        _check_names(path, types.names)
        return cls(version, types, rows, PartitionColumns.of(partitions, types.names))

    @property
    def path(self) -> Path:
        """The file."""
        return self.version.path

    def columns(self) -> tuple[str, ...]:
        """The columns of the file, then those of its folders."""
        return (*self.types.names, *self.folders.values)

    def line_of(self, name: str) -> None:
        """The file says what its columns are."""

    def schema(self) -> pa.Schema:
        """The types that the file declares; the columns of its folders are strings."""
        extra = [pa.field(name, pa.string()) for name in self.folders.values]
        return pa.schema([*self.types, *extra])

    def row_count(self) -> int:
        """The number of rows, from the footer."""
        return sum(self.group_rows)

    def chunks(
        self, start: Position = START, columns: Collection[str] | None = None
    ) -> Iterator[Chunk]:
        """Read on from `start`; see `SourceFile.chunks`."""
        self.version.check()
        names = [name for name in self.types.names if columns is None or name in columns]
        row = start.row
        try:
            for batch in self._batches(start.row - 1, names):
                self.version.check()
                yield _chunk(self.folders.added_to(batch, batch.num_rows, columns), row)
                row += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise _broken(self.path, error, row) from error
        self.version.check()

    def _batches(self, skip: int, names: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows after the first `skip`, in the columns of that name."""
        ends = list(accumulate(self.group_rows))
        groups = [group for group, end in enumerate(ends) if end > skip]
        if not groups:
            return
        skip -= ends[groups[0]] - self.group_rows[groups[0]]
        with _file(self.path) as file:
            rows_max = _rows_max(file, groups, names)
            # A name also selects what is nested below it, or looks so: `a` brings a column `a.b`.
            # No threads of Arrow's: there are enough here, and each keeps memory of its own.
            for wide in file.iter_batches(
                rows_max, row_groups=groups, columns=names, use_threads=False
            ):
                batch = wide.slice(min(skip, wide.num_rows)).select(names)
                skip -= wide.num_rows - batch.num_rows
                if batch.num_rows:
                    yield batch


def _file(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(
        path,
        pre_buffer=False,  # else a row group is held whole
        buffer_size=_BUFFER_BYTES,
        coerce_int96_timestamp_unit="us",
        page_checksum_verification=True,
    )


def _rows_max(file: pq.ParquetFile, groups: list[int], names: list[str]) -> int:
    """How many rows make a chunk: what the footer says and what the first rows really take."""
    sizes = [file.metadata.row_group(group) for group in groups]
    row_bytes = max(group.total_byte_size / max(group.num_rows, 1) for group in sizes)
    # A dictionary of long strings is small in the file and large once it is spelt out.
    probe = next(file.iter_batches(_PROBE_ROWS, row_groups=groups[:1], columns=names), None)
    if probe is not None and probe.num_rows:
        row_bytes = max(row_bytes, probe.nbytes / probe.num_rows)
    return max(1, min(CHUNK_ROWS_MAX, int(CHUNK_BYTES_MAX / max(row_bytes, 1))))


def _chunk(batch: pa.RecordBatch, first_row: int) -> Chunk:
    end = first_row + batch.num_rows
    rows = np.arange(first_row, end, dtype=np.int64)
    return Chunk(first_row, batch, rows, None, (), Position(row=end), "typed")


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(-min(4, file.seek(0, 2)), 2)
        tail = file.read(4)
    if not head:
        raise UsageError(f"{path}: the file is empty", next_step="export it again")
    if head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        raise UsageError(f"{path}: is compressed as a whole", next_step="unpack it")
    if _MAGIC_ENCRYPTED in (head, tail):
        raise UsageError(f"{path}: is encrypted", next_step="write it without encryption")
    if head != _MAGIC or tail != _MAGIC:
        place = 0 if head != _MAGIC else "the end"
        raise UsageError(
            f"{path}: not a Parquet file: no PAR1 at byte {place}",
            next_step="export it again, or name it by its format",
        )


def _check_names(path: Path, names: list[str]) -> None:
    if not names:
        raise UsageError(f"{path}: has no columns", next_step="export it again")
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles or not all(name.strip() for name in names):
        what = f"two columns are named {doubles[0]}" if doubles else "a column has no name"
        raise UsageError(f"{path}: {what}", next_step="give each column a name of its own")


def _broken(path: Path, error: Exception, row: int | None = None) -> UsageError:
    place = "" if row is None else f" from row {row} on"
    reason = str(error).partition("\n")[0][:200]
    return UsageError(
        f"{path}: cannot be read{place}: {reason}",
        next_step="the file is broken or encrypted; export it again. Rows before stay as they are",
    )
