"""Databases that are files: DuckDB and SQLite."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

from backfill.errors import BackfillError, UsageError
from backfill.sources.database_types import kept_as_given, sqlite_type
from backfill.sources.databases import DatabaseAddress, QueryResult, refused, unavailable

if TYPE_CHECKING:  # these load slowly, and few pipelines need them
    import apsw
    from duckdb import DuckDBPyConnection

_PIECE_ROWS = 1_000
_VECTOR_ROWS = 2_048
"""What DuckDB works with at once; a multiple of it would be held in memory whole."""
_DUCKDB_MEMORY = "200MB"
_TYPES_AT_ONCE = 100
_WRITE = ("COPY", "COPY_DATABASE", "EXPORT")
"""The statements of DuckDB that write where no database is."""


def file_of(address: DatabaseAddress, folder: Path) -> Path:
    """The file of an address: `sqlite:///shop.db` is relative, `sqlite:////data/shop.db` is not."""
    path = folder / unquote(address.url.partition("://")[2].removeprefix("/"))
    if not path.is_file():
        raise UsageError(
            f"{address.variable}: there is no such database file",
            next_step=f"set it to {address.scheme}:///FILE, relative to the pipeline file, or to"
            f" {address.scheme}:////FOLDER/FILE",
        )
    return path


class DuckDbFile:
    """A DuckDB file.

    Args:
        address: Where it is.
        path: The file.
        scratch: Where it sorts what does not fit into memory.
    """

    def __init__(self, address: DatabaseAddress, path: Path, scratch: Path) -> None:
        import duckdb  # noqa: PLC0415 - it loads slowly

        self._address = address
        self._errors = duckdb
        settings: dict[str, Any] = {
            "memory_limit": _DUCKDB_MEMORY,
            "threads": 2,
            "temp_directory": str(scratch / "sorting"),
        }
        try:
            self._connection: DuckDBPyConnection = duckdb.connect(
                path, read_only=True, config=settings
            )
            self._connection.begin()
        except duckdb.IOException as error:
            if "set lock" in str(error):
                raise self._ours(error) from None
            raise UsageError(
                f"{address.variable}: the file is no DuckDB database, or of a version that cannot"
                " be read",
                next_step="name a file that this version of DuckDB can open",
            ) from None
        except duckdb.Error as error:
            raise self._ours(error) from None

    def query(self, sql: str) -> QueryResult:
        """Run a query; see `Database`."""
        try:
            # Read-only is the database, and not the disk.
            if any(each.type.name in _WRITE for each in self._connection.extract_statements(sql)):
                raise refused(
                    self._address, "it writes files: a source only reads", of_values=False
                )
            relation = self._connection.sql(sql)
            if relation is None:
                raise refused(self._address, "it gives no rows", of_values=False)
            types = dict(zip(relation.columns, map(str, relation.types), strict=True))
            reader = relation.to_arrow_reader(_VECTOR_ROWS)
        except self._errors.Error as error:
            raise self._ours(error) from None
        kept = kept_as_given(reader.schema, types)
        return QueryResult(kept.schema, map(kept.of, self._read(reader)))

    def _read(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except (self._errors.Error, OSError, pa.ArrowException) as error:
            raise self._ours(error) from None

    def _ours(self, error: Exception) -> BackfillError:
        sentence = str(error).partition("\n")[0]
        if "set lock" in sentence:
            return unavailable(self._address, "another program has the database file open")
        schema = (self._errors.ParserException, self._errors.BinderException)
        named = isinstance(error, (*schema, self._errors.CatalogException))
        return refused(self._address, sentence, of_values=not named)

    def cancel(self) -> None:
        """Stop the query; see `Database`."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close it; see `Database`."""
        with suppress(Exception):
            self._connection.close()


# SQLite -----------------------------------------------------------------------------------------


class SqliteFile:
    """A SQLite file.

    Any value of a column may have a type of its own, so all rows are looked at before the first
    one is given: what a column holds decides its type, and never its first rows alone.
    """

    def __init__(self, address: DatabaseAddress, path: Path) -> None:
        import apsw  # noqa: PLC0415 - few pipelines need it here

        self._address = address
        self._errors = apsw
        self._interrupted = False
        try:
            self._connection: apsw.Connection = apsw.Connection(
                str(path), flags=apsw.SQLITE_OPEN_READONLY
            )
            self._connection.execute("PRAGMA query_only = 1; BEGIN")
        except apsw.Error as error:
            raise self._ours(error) from None

    def query(self, sql: str) -> QueryResult:
        """Run a query; see `Database`."""
        try:
            names = self._names(sql)
            if len(set(names)) < len(names):  # whoever reads them refuses them
                return QueryResult(pa.schema([(each, pa.null()) for each in names]), iter(()))
            types = [
                type_
                for first in range(0, len(names), _TYPES_AT_ONCE)
                for type_ in self._types(sql, names[first : first + _TYPES_AT_ONCE])
            ]
        except self._errors.Error as error:
            raise self._ours(error) from None
        schema = pa.schema(list(zip(names, types, strict=True)))
        return QueryResult(schema, self._read(sql, schema))

    def _names(self, sql: str) -> list[str]:
        """The names of the columns, as the query itself says them; it is not run."""
        found: list[str] = []

        def note(cursor: "apsw.Cursor", _sql: str, _bindings: object) -> bool:
            found.extend(each[0] for each in cursor.getdescription())
            return False

        cursor = self._connection.cursor()
        cursor.exec_trace = note
        with suppress(self._errors.ExecTraceAbort):
            cursor.execute(sql)
        if not found:
            raise refused(self._address, "it gives no rows", of_values=False)
        return found

    def _types(self, sql: str, names: list[str]) -> Iterator[pa.DataType]:
        """The type of each column, by the values of all its rows."""
        asked = []
        for name in names:
            quoted = '"' + name.replace('"', '""') + '"'
            asked += [
                f"max(typeof({quoted}) = '{each}')" for each in ("integer", "real", "text", "blob")
            ]
            whole = f"CASE typeof({quoted}) WHEN 'integer' THEN {quoted} END"
            asked += [f"min({whole})", f"max({whole})"]
        (row,) = self._connection.execute(_inside(sql, ", ".join(asked)))
        for place in range(0, len(asked), 6):
            yield sqlite_type(row[place : place + 4], row[place + 4 : place + 6])

    def _read(self, sql: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        try:
            rows = self._connection.execute(sql)
            while some := list(islice(rows, _PIECE_ROWS)):
                columns = [
                    pa.array([_as(type_, each) for each in column], type_)
                    for type_, column in zip(schema.types, zip(*some, strict=True), strict=True)
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
        except self._errors.Error as error:
            raise self._ours(error) from None
        except (UnicodeError, pa.ArrowException):
            raise UsageError(
                f"{self._address.variable}: a text of the database cannot be read",
                next_step="it is not UTF-8, or the query gives other rows each time",
            ) from None

    def _ours(self, error: Exception) -> BackfillError:
        if isinstance(error, (self._errors.BusyError, self._errors.LockedError)):
            return unavailable(self._address, "another program has locked the database file")
        if isinstance(error, (self._errors.NotADBError, self._errors.CorruptError)):
            return UsageError(
                f"{self._address.variable}: the file is no SQLite database, or damaged",
                next_step="name a SQLite database",
            )
        return refused(self._address, str(error), of_values=False)

    def cancel(self) -> None:
        """Stop the query; see `Database`."""
        with suppress(Exception):
            self._connection.interrupt()

    def close(self) -> None:
        """Close it; see `Database`."""
        with suppress(Exception):
            self._connection.close(force=True)


def _inside(sql: str, what: str) -> str:
    """A query of the rows of another one, which is the user's own and may end in a comment."""
    return f"SELECT {what} FROM (\n{sql}\n)"  # noqa: S608


def _as(type_: pa.DataType, value: Any) -> Any:
    """A value of SQLite as one of its column's type; numbers among texts are written out."""
    if value is None or not (pa.types.is_string(type_) or pa.types.is_binary(type_)):
        return value
    if pa.types.is_string(type_):
        return value if isinstance(value, str) else repr(value)
    return value if isinstance(value, bytes) else str(value).encode()
