"""Parquet: columns keep the types that the file declares, dictionaries included.

Facts about the reader: https://arrow.apache.org/docs/python/generated/pyarrow.parquet.ParquetFile.html
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backfill.errors import UsageError
from backfill.rows import START, Chunk, Position, Rejection, Rows, Values, reason
from backfill.sources.interface import (
    CHUNK_BYTES_MAX,
    CHUNK_ROWS_MAX,
    RAW_BYTES_MAX,
    ROW_BYTES_MAX,
    Kind,
    Location,
    StoredFile,
)
from backfill.sources.layout import PartitionColumns
from backfill.sources.read_ahead import ReadingPlan

_MAGIC = b"PAR1"
_MAGIC_ENCRYPTED = b"PARE"
_BUFFER_BYTES = 1 << 18
"""For each column, as long as there are few of them."""
_BUFFERS_BYTES_MAX = 1 << 23
_CELL_BYTES_MIN = 16
"""So much a cell takes at least beside its name once it is JSON, however small in the file."""
_FIXED_BYTES = 8
_PAGE_BYTES_MAX = 1 << 20
_PAGES_BYTES_MAX = 1 << 25
"""Where a reader holds more than so much in pages, as of 300 columns, its chunks are smaller."""
_SHARE_MIN = 1 / 4
"""Of fewer rows, each costs much more: every chunk takes calls for each column."""
_PROBE_ROWS = (1, 64)
_PIECE_ROWS_MIN = 1 << 16
_PIECE_ROWS_MAX = 1 << 20
"""What is made of a piece is held as a whole; pyarrow's writer makes groups of no more rows."""


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """A Parquet file; see `SourceFile` for what it promises.

    Resuming skips whole row groups and reads past the rest. Old INT96 timestamps are read to the
    microsecond, since as nanoseconds the years before 1678 and after 2262 would be other ones.
    """

    stored: StoredFile
    types: pa.Schema
    group_rows: tuple[int, ...]
    group_bytes_max: int
    folders: PartitionColumns
    kind: Kind = "parquet"
    values: Values = "typed"
    appendable: bool = False
    size_limit: None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, stored: StoredFile, partitions: Mapping[str, str]) -> "ParquetSource":
        """Read the footer.

        Raises:
            UsageError: It is no Parquet file, encrypted, broken, or two columns share a name.
        """
        path = stored.path
        try:
            with stored.open() as raw:
                _check_magic(path, raw)
                file = _file(raw)
                types = pa.schema([_without_views(each) for each in file.schema_arrow])
                groups = range(file.metadata.num_row_groups)
                # From the footer: rows are counted, and skipped by a resume, without reading any.
                rows = tuple(file.metadata.row_group(group).num_rows for group in groups)
                largest = _stored_bytes(file.metadata)
        except (OSError, pa.ArrowException) as error:
            raise _broken(path, error) from error
        _check_names(path, types.names)
        return cls(stored, types, rows, largest, PartitionColumns.of(partitions, types.names))

    @property
    def path(self) -> Location:
        """Where it is."""
        return self.stored.path

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
        return self.stored.guarded(self.read(start, self.row_count(), columns))

    def pieces(self, *, small: bool = False) -> Iterator["ParquetPiece | Chunk"]:
        """Some row groups each; see `SourceFile.pieces`."""
        if small or max(self.group_rows, default=0) > _PIECE_ROWS_MAX:
            yield from self.chunks()
            return
        first = 1
        for end in accumulate(self.group_rows):
            if end - first + 1 >= _PIECE_ROWS_MIN or end == self.row_count() >= first:
                yield ParquetPiece(self, Position(row=first), Position(row=end + 1))
                first = end + 1

    def read(
        self, start: Position, last: int, columns: Collection[str] | None = None
    ) -> Iterator[Chunk]:
        """Read on from `start` to a row that is the last one of its row group."""
        names = [name for name in self.types.names if columns is None or name in columns]
        row = start.row
        try:
            for batch in self._batches(start.row - 1, last, names):
                for piece in _pieces(batch):
                    yield self._chunk(piece, row, columns)
                    row += piece.num_rows
        except (OSError, pa.ArrowException) as error:
            raise _broken(self.path, error, row) from error
        if row <= last:
            raise UsageError(
                f"{self.path}: its footer speaks of {self.row_count():,} rows, and {row - 1:,} are"
                " there",
                next_step="the file is damaged; export it again",
            )

    def _chunk(
        self, batch: pa.RecordBatch, first_row: int, columns: Collection[str] | None
    ) -> Chunk:
        """The rows of a batch, without those that are too long."""
        rows = first_row + np.arange(batch.num_rows, dtype=np.int64)
        end = Position(row=first_row + batch.num_rows)
        rejections: tuple[Rejection, ...] = ()
        if _longest(batch) > ROW_BYTES_MAX:
            long = _row_bytes(batch) > ROW_BYTES_MAX
            why = (reason("row_too_long"),)
            rejections = tuple(
                Rejection(first_row + place, None, why, raw=_beginning(batch.slice(place, 1)))
                for place in np.flatnonzero(long).tolist()
            )
            batch, rows = _without(batch, np.flatnonzero(long).tolist()), rows[~long]
        made = self.folders.added_to(batch, len(rows), columns)
        return Chunk(first_row, made, rows, None, rejections, end, "typed")

    def _batches(self, skip: int, last: int, names: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows after the first `skip`, up to the `last`, in the columns of that name."""
        ends = list(accumulate(self.group_rows))
        groups = [group for group, end in enumerate(ends) if skip < end <= last]
        if not groups:
            return
        skip -= ends[groups[0]] - self.group_rows[groups[0]]
        plan = ReadingPlan.for_columns(len(names), self.group_bytes_max)
        with self.stored.open(plan) as raw:
            file = _file(raw, len(names))
            texts = [name for name in names if not _is_fixed(self.types.field(name).type)]
            rows_max = _rows_max(file, groups, names, texts)
            # A name also selects what is nested below it, or looks so: `a` brings a column `a.b`.
            # No threads of Arrow's: there are enough here, and each keeps memory of its own.
            for wide in file.iter_batches(
                rows_max, row_groups=groups, columns=names, use_threads=False
            ):
                batch = wide.slice(min(skip, wide.num_rows)).select(names)
                skip -= wide.num_rows - batch.num_rows
                if batch.num_rows:
                    yield batch


@dataclass(frozen=True, slots=True)
class ParquetPiece:
    """Row groups that follow each other.

    Args:
        file: Their file.
        start: Where they begin.
        end: Where they end.
    """

    file: ParquetSource
    start: Position
    end: Position

    def chunks(self) -> Iterator[Chunk]:
        """The rows; see `SourceFile.chunks`."""
        file = self.file
        return file.stored.guarded(file.read(self.start, self.end.row - 1))


def _file(raw: Any, column_count: int = 1) -> pq.ParquetFile:
    return pq.ParquetFile(
        raw,
        pre_buffer=False,  # else a row group is held whole
        buffer_size=min(_BUFFER_BYTES, _BUFFERS_BYTES_MAX // max(column_count, 1)),
        coerce_int96_timestamp_unit="us",
        page_checksum_verification=True,
    )


def _stored_bytes(metadata: pq.FileMetaData) -> int:
    """What the largest row group takes in the file, compressed as it is."""
    groups = (metadata.row_group(each) for each in range(metadata.num_row_groups))
    largest = max(groups, key=lambda each: each.total_byte_size, default=None)
    if largest is None:
        return 0
    columns = (largest.column(each) for each in range(largest.num_columns))
    return sum(each.total_compressed_size for each in columns)


def _is_fixed(type_: pa.DataType) -> bool:
    """Whether each value of a type takes as many bytes as any other, and few."""
    return bool(pa.types.is_primitive(type_))


def _rows_max(file: pq.ParquetFile, groups: list[int], names: list[str], texts: list[str]) -> int:
    """How many rows make a chunk: what the footer says and what the first rows really take.

    Args:
        file: The file.
        groups: The row groups that are read.
        names: The columns that are read.
        texts: Those of them whose values may be of any length.
    """
    sizes = [file.metadata.row_group(group) for group in groups]
    # No cell takes more than all that its group holds: most small files are read at once.
    if sum(group.num_rows * group.total_byte_size for group in sizes) <= CHUNK_BYTES_MAX:
        return CHUNK_ROWS_MAX
    row_bytes = max(group.total_byte_size / max(group.num_rows, 1) for group in sizes)
    # Each operation repeats the names: of many columns they are most of what is held.
    row_bytes = max(row_bytes, _CELL_BYTES_MIN * len(names) + sum(map(len, names)))
    fixed_bytes = _FIXED_BYTES * (len(names) - len(texts))
    # A dictionary of long strings is small in the file and large once it is spelt out. The first
    # row alone tells of rows of which a few would be too many.
    for rows in _PROBE_ROWS:
        if not texts or row_bytes * rows > CHUNK_BYTES_MAX:
            break
        probe = next(file.iter_batches(rows, row_groups=groups[:1], columns=texts), None)
        if probe is not None and probe.num_rows:
            row_bytes = max(row_bytes, fixed_bytes + _spelt_bytes(probe) / probe.num_rows)
    held_bytes = max(_page_bytes(sizes, names), 1)
    share = min(1, max(_SHARE_MIN, _PAGES_BYTES_MAX / held_bytes))
    return max(1, min(CHUNK_ROWS_MAX, int(share * CHUNK_BYTES_MAX / max(row_bytes, 1))))


def _page_bytes(groups: list[pq.RowGroupMetaData], names: list[str]) -> int:
    """About what the reader itself holds: a page of each column, seldom more than a MiB."""
    largest = max(groups, key=lambda each: each.total_byte_size)
    columns = (largest.column(each) for each in range(largest.num_columns))
    read = {name.partition(".")[0] for name in names}  # with what is nested below them
    return sum(
        min(each.total_uncompressed_size, _PAGE_BYTES_MAX)
        for each in columns
        if each.path_in_schema.partition(".")[0] in read
    )


def _spelt_bytes(batch: pa.RecordBatch) -> int:
    """What a batch takes once each value of a dictionary is written wherever it stands."""
    size: int = batch.nbytes
    for place, type_ in enumerate(batch.schema.types):
        if pa.types.is_dictionary(type_):
            column = batch.column(place)
            lengths = _lengths(column)
            if lengths is not None:
                size += (pc.sum(lengths).as_py() or 0) - column.nbytes
    return size


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch by as many rows as make a chunk, should its rows be longer than the first ones."""
    if any(map(pa.types.is_dictionary, batch.schema.types)):
        names = batch.schema.names
        batch = pa.RecordBatch.from_arrays(list(map(_without_idle, batch.columns)), names=names)
    fields = list(map(_without_views, batch.schema))
    if fields != [*batch.schema]:
        columns = map(_cast, batch.columns, fields)
        batch = pa.RecordBatch.from_arrays(list(columns), schema=pa.schema(fields))
    if _spelt_bytes(batch) <= 2 * CHUNK_BYTES_MAX:
        yield batch
        return
    row_bytes = batch.nbytes / batch.num_rows + _row_bytes(batch)
    number = np.cumsum(row_bytes) // (2 * CHUNK_BYTES_MAX)
    starts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), batch.num_rows]
    for start, stop in pairwise(starts):
        yield batch.slice(start, stop - start)


def _without_idle(column: pa.Array) -> pa.Array:
    """A dictionary column of more values than rows as the values themselves.

    A batch brings the dictionary of its whole row group: kept, each chunk would hold all values.
    """
    if not pa.types.is_dictionary(column.type) or len(column.dictionary) <= len(column):
        return column
    return column.dictionary_decode()


def _without_views(field: pa.Field) -> pa.Field:
    """A column without views of texts, at any depth: Arrow cannot take some of them (26.0)."""
    type_ = field.type
    if pa.types.is_string_view(type_):
        type_ = pa.string()
    elif pa.types.is_binary_view(type_):
        type_ = pa.binary()
    elif isinstance(type_, pa.JsonType) and pa.types.is_string_view(type_.storage_type):
        type_ = pa.json_()
    elif pa.types.is_struct(type_):
        type_ = pa.struct(list(map(_without_views, type_.fields)))
    elif pa.types.is_map(type_):
        key, item = map(_without_views, (type_.key_field, type_.item_field))
        type_ = pa.map_(key, item, type_.keys_sorted)
    elif pa.types.is_fixed_size_list(type_):
        type_ = pa.list_(_without_views(type_.value_field), type_.list_size)
    elif pa.types.is_list(type_) or pa.types.is_large_list(type_):
        made = pa.list_ if pa.types.is_list(type_) else pa.large_list
        type_ = made(_without_views(type_.value_field))
    return field.with_type(type_)


def _cast(column: pa.Array, field: pa.Field) -> pa.Array:
    """A column as one of that type; mostly itself."""
    if column.type.equals(field.type):
        return column
    if isinstance(field.type, pa.JsonType):  # Arrow casts no column into an extension's type
        return field.type.wrap_array(column.storage.cast(field.type.storage_type))
    return column.cast(field.type)


def _lengths(column: pa.Array) -> pa.Array | None:
    """The bytes of each of n texts, null where there is none; None where a column is of others."""
    if pa.types.is_dictionary(column.type):
        lengths = _lengths(column.dictionary)
        return None if lengths is None else lengths.take(column.indices)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    is_bytes = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    return pc.binary_length(column) if is_text or is_bytes else None


def _longest(batch: pa.RecordBatch) -> int:
    """At least as many bytes as the texts of the longest row have."""
    if not batch.num_rows or _spelt_bytes(batch) <= ROW_BYTES_MAX:
        return 0
    lengths = (_lengths(column) for column in batch.columns)
    return sum(pc.max(each).as_py() or 0 for each in lengths if each is not None)


def _row_bytes(batch: pa.RecordBatch) -> Rows:
    """The bytes of the texts of each row, int64 (n,)."""
    found = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if (lengths := _lengths(column)) is not None:
            found += pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    return found


def _without(batch: pa.RecordBatch, places: list[int]) -> pa.RecordBatch:
    """A batch without some rows; not by `filter`, which has no kernel for every type (26.0)."""
    edges = pairwise([-1, *places, batch.num_rows])
    return pa.concat_batches([batch.slice(at + 1, stop - at - 1) for at, stop in edges])


def _beginning(row: pa.RecordBatch) -> str:
    """The beginning of a row as JSON, which the report of a row that is too long repeats."""
    cells = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        value = column[0].as_py()
        if isinstance(value, bytes):
            value = value[:RAW_BYTES_MAX].decode(errors="backslashreplace")
        cells[name] = value[:RAW_BYTES_MAX] if isinstance(value, str) else value
    text = orjson.dumps(cells, default=str, option=orjson.OPT_NON_STR_KEYS)[:RAW_BYTES_MAX]
    return text.decode(errors="ignore")


def _check_magic(path: Location, raw: Any) -> None:
    head = raw.read(4)
    raw.seek(-min(4, raw.size()), 2)
    tail = raw.read(4)
    if not head:
        raise UsageError(f"{path}: the file is empty", next_step="export it again")
    # Parquet compresses inside; an archive around it could not be read from the middle.
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


def _check_names(path: Location, names: list[str]) -> None:
    if not names:
        raise UsageError(f"{path}: has no columns", next_step="export it again")
    doubles = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubles or not all(name.strip() for name in names):
        what = f"two columns are named {doubles[0]}" if doubles else "a column has no name"
        raise UsageError(f"{path}: {what}", next_step="give each column a name of its own")


def _broken(path: Location, error: Exception, row: int | None = None) -> UsageError:
    place = "" if row is None else f" from row {row} on"
    reason = str(error).partition("\n")[0][:200]
    return UsageError(
        f"{path}: cannot be read{place}: {reason}",
        next_step="the file is broken or encrypted; export it again. Rows before stay as they are",
    )
