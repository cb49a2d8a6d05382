"""What cannot be read twice, a query's rows and stdin, copied once into files that can.

Each query becomes a Parquet file, stdin the file that it is; from then on they are read like any
other file, and nothing asks the database again.
"""

import hashlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import pyarrow as pa

from backfill.errors import UsageError
from backfill.files import make_lasting
from backfill.pipeline.file import Pipeline
from backfill.pipeline.file_settings import STDIN, Query
from backfill.pipeline.source_settings import Source
from backfill.sources.inputs import extract_file

if TYPE_CHECKING:  # every job asks here, and most have no query
    from pyarrow.parquet import ParquetWriter

    from backfill.sources.databases import DatabaseAddress, QueryDatabase, QueryResult

_GROUP_ROWS = 65_536
_GROUP_BYTES = 8 << 20
"""A row group is written when it has so many; what the writer holds is one of them."""
_STDIN_BYTES = 1 << 20
_TELLING_S = 0.1
_READ_AHEAD = 1
_CANCELLED_WITHIN_S = 10.0
_FORM = 1

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was extracted since the last time.

    Args:
        rows: How many more rows; stdin has none until it is read.
        bytes: How many more bytes, as they are kept.
        is_whole: Nothing more will come.
    """

    rows: int = 0
    bytes: int = 0
    is_whole: bool = False


OnExtracted = Callable[[Extracted], None]
"""Is told ten times a second, also of nothing; what it raises stops the extraction."""


def extracted_sources(pipeline: Pipeline) -> dict[int, Source]:
    """The sources that have to be extracted, by their index."""
    return {index: each for index, each in enumerate(pipeline.sources) if each.is_extracted}


def extraction_key(pipeline: Pipeline) -> str:
    """Which rows are asked for, as a short text: extracts of the same key are of the same rows.

    Where the database is does not count, since that is a secret; what the variable is called does.
    """
    asked = {
        index: [each.query.dsn_env, each.query.sql] if each.query else [STDIN, each.format]
        for index, each in extracted_sources(pipeline).items()
    }
    return hashlib.sha256(json.dumps([_FORM, asked]).encode()).hexdigest()[:24]


def extract(pipeline: Pipeline, folder: Path, env: Mapping[str, str], told: OnExtracted) -> None:
    """Extract all sources that have to be; what is there when this returns is whole and durable.

    Args:
        pipeline: The settings.
        folder: An empty folder.
        env: Where the addresses of databases are.
        told: Is told how it goes on.

    Raises:
        UsageError: A query is refused, a type cannot be kept, stdin is a terminal.
        CredentialsError: A database refuses the user.
        UnavailableError: A database cannot be reached, or was lost.
        OSError: The disk is full.
    """
    from backfill.sources.databases import DatabaseAddress  # noqa: PLC0415  # see above

    sources = extracted_sources(pipeline)
    for index, source in sources.items():
        if source.query is None:
            _extract_stdin(extract_file(folder, index, source), told)
    # All queries of a database see it in one state.
    for variable in dict.fromkeys(each.query.dsn_env for each in sources.values() if each.query):
        database = open_database(DatabaseAddress.of(variable, env), pipeline.folder, folder)
        try:
            for index, source in sources.items():
                if source.query is not None and source.query.dsn_env == variable:
                    path = extract_file(folder, index, source)
                    extract_query(database, source.query, path, told)
        finally:
            database.close()
    make_lasting(folder)
    # What the driver needed is not needed any more; the plan would come on top of it.
    pa.default_memory_pool().release_unused()
    told(Extracted(is_whole=True))


def open_database(address: "DatabaseAddress", folder: Path, scratch: Path) -> "QueryDatabase":
    """Connect.

    Args:
        address: Which database.
        folder: What the path of a database file is relative to.
        scratch: Where large results may be sorted.

    Raises:
        UsageError: The address is none, there is no such database, or its driver is missing.
        CredentialsError: The database refuses the user or the password.
        UnavailableError: It cannot be reached.
    """
    from backfill.sources.database_files import DuckDbFile, SqliteFile, file_of  # noqa: PLC0415
    from backfill.sources.database_servers import AdbcDatabase  # noqa: PLC0415
    from backfill.sources.databases import ADDRESSES  # noqa: PLC0415

    match address.scheme:
        case "postgresql" | "postgres":
            return AdbcDatabase.postgresql(address)
        case "snowflake":
            return AdbcDatabase.snowflake(address)
        case "bigquery":
            return AdbcDatabase.bigquery(address)
        case "sqlite":
            return SqliteFile(address, file_of(address, folder))
        case "duckdb":
            return DuckDbFile(address, file_of(address, folder), scratch)
    raise UsageError(
        f"{address.variable}: holds no address of a database that can be read",
        next_step=f"set it to {ADDRESSES}; snowflake:// and bigquery:// need their extras",
    )


def extract_query(database: "QueryDatabase", query: Query, path: Path, told: OnExtracted) -> None:
    """Write the rows of a query to a Parquet file, in memory that does not depend on their number.

    Args:
        database: Where they are.
        query: Which they are.
        path: The file.
        told: Is told how it goes on.

    Raises:
        BackfillError: As for `extract`.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  # see above

    sql = query.sql.strip().rstrip("; \n\t")

    def batches() -> Iterator[pa.Schema | pa.RecordBatch]:
        found = database.query(sql + "\n")  # it may end in a comment
        _check_names(found)
        yield found.schema
        yield from found.batches

    with _Prefetched(batches(), database.cancel) as ahead:
        schema = ahead.next(lambda: told(Extracted()))
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            _write(writer, ahead, path, told)


def _write(
    writer: "ParquetWriter",
    ahead: "_Prefetched[pa.RecordBatch]",
    path: Path,
    told: OnExtracted,
) -> None:
    """Write batches as row groups: the same rows are the same bytes, however fast they came."""
    waiting: list[pa.RecordBatch] = []
    rows = size = told_bytes = 0

    def flush() -> None:
        nonlocal rows, size, told_bytes
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting), row_group_size=max(rows, 1))
        waiting.clear()
        written = path.stat().st_size
        told(Extracted(bytes=written - told_bytes))
        rows, size, told_bytes = 0, 0, written

    while (batch := ahead.next(lambda: told(Extracted()))) is not None:
        told(Extracted(rows=batch.num_rows))
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            flush()
    flush()


def _check_names(found: "QueryResult") -> None:
    names = found.schema.names
    doubles = sorted({each for each in names if names.count(each) > 1})
    if doubles:
        raise UsageError(
            f"the query gives two columns of the name {doubles[0]!r}",
            next_step="give each column of the source's `sql` a name of its own, with AS",
        )


def _extract_stdin(path: Path, told: OnExtracted) -> None:
    try:
        is_terminal = sys.stdin is None or os.isatty(0)
    except OSError:
        is_terminal = True
    if is_terminal:
        raise UsageError(
            'stdin: nothing is piped into the command, and files = ["-"] reads it',
            next_step="pipe the rows into the command: PROGRAM | backfill run PIPELINE",
        )

    def blocks() -> Iterator[bytes]:
        while block := os.read(0, _STDIN_BYTES):
            yield block

    with path.open("xb") as file, _Prefetched(blocks(), None) as ahead:
        while (block := ahead.next(lambda: told(Extracted()))) is not None:
            file.write(block)
            told(Extracted(bytes=len(block)))


class _Prefetched(Generic[Item]):
    """Gives the items of an iterator that a thread reads, one ahead.

    Whoever waits for the next one is woken now and then: a database may think for an hour before
    its first row, and an interrupt must not wait for it. A pipe cannot be told to stop: its thread
    ends with the program.

    Args:
        items: What is read.
        cancel: Makes the iterator raise, from another thread; None: nothing can.
    """

    def __init__(self, items: Iterator[Item], cancel: Callable[[], None] | None) -> None:
        self._items = items
        self._cancel = cancel
        self._found: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(
            _READ_AHEAD
        )
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "_Prefetched[Item]":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_over.is_set():
            return
        self._is_over.set()
        if self._cancel is not None:
            self._cancel()
            self._thread.join(_CANCELLED_WITHIN_S)

    def next(self, waiting: Callable[[], None]) -> Item | None:
        """The next item; None at the end.

        Args:
            waiting: Called while there is none yet.

        Raises:
            BaseException: What the iterator raises.
        """
        while True:
            try:
                item, error = self._found.get(timeout=_TELLING_S)
                break
            except queue.Empty:
                waiting()
        if error is not None:
            self._is_over.set()
            raise error
        if item is None:
            self._is_over.set()
        return item

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._put((item, None))
                if self._is_over.is_set():
                    return
        except BaseException as failure:  # noqa: BLE001 - raised where the items are wanted
            error = failure
        self._put((None, error))

    def _put(self, found: tuple[Item | None, BaseException | None]) -> None:
        while not self._is_over.is_set():
            with suppress(queue.Full):
                self._found.put(found, timeout=_TELLING_S)
                return
