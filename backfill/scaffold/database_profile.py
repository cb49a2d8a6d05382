"""Looks at what a database holds: each table or query becomes one source of the pipeline."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from backfill.errors import UsageError
from backfill.pipeline.file_settings import Query
from backfill.planning.progress import OnProgress
from backfill.scaffold.file_profile import FileProfile, TextFormat, read_into
from backfill.sources import FileFormat, LocalFile, open_source
from backfill.sources.databases import DatabaseAddress, QueryDatabase
from backfill.sources.extraction import Extracted, OnExtracted, extract_query, open_database

DSN_ENV = "WAREHOUSE_DSN"
"""The variable that a proposal names where the address was given as such."""

_FROM_ENV = "env:"
_FILES = {
    ".duckdb": "duckdb", ".ddb": "duckdb",
    ".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite",
}  # fmt: skip
_SCHEMES = ("postgresql", "postgres", "sqlite", "duckdb", "snowflake", "bigquery")
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_PASSWORD = re.compile(r"[^/]*:[^/]+@")

_PRIMARY_KEYS: Mapping[str, str] = {
    "postgresql": """
        SELECT attname FROM pg_index, pg_attribute
        WHERE indrelid = '{}'::regclass AND indisprimary
        AND attrelid = indrelid AND attnum = ANY(indkey)
        ORDER BY array_position(indkey::int2[], attnum)
    """,
    "sqlite": "SELECT name FROM pragma_table_info('{}') WHERE pk > 0 ORDER BY pk",
    "duckdb": """
        SELECT unnest(constraint_column_names) FROM duckdb_constraints()
        WHERE table_name = '{}' AND constraint_type = 'PRIMARY KEY'
    """,
}
"""Which columns identify a row of a table, by the kind of database."""


@dataclass(frozen=True, slots=True)
class AskedRows:
    """Which rows of a database are to be looked at.

    Args:
        tables: The names of tables.
        queries: Queries.
    """

    tables: Sequence[str] = ()
    queries: Sequence[str] = ()


def address_of(given: str, env: Mapping[str, str]) -> DatabaseAddress | None:
    """The database that a source on the command line stands for; None: it is a file.

    Args:
        given: An address, `env:VARIABLE`, or a file whose name is that of a database.
        env: The environment.

    Raises:
        UsageError: The variable is not set.
    """
    if given.startswith(_FROM_ENV):
        return DatabaseAddress.of(given.removeprefix(_FROM_ENV), env)
    if given.partition("://")[0].lower() in _SCHEMES and "://" in given:
        return DatabaseAddress(DSN_ENV, given)
    scheme = _FILES.get(Path(given).suffix.lower())
    return (
        DatabaseAddress(DSN_ENV, f"{scheme}:///{quote(str(Path(given).absolute()))}")
        if scheme
        else None
    )


def shows_password(given: str) -> bool:
    """Whether an address on the command line holds a password, which others can see there."""
    return bool(_PASSWORD.match(given.partition("://")[2]))


def look_at_database(
    address: DatabaseAddress,
    asked: AskedRows,
    folder: Path,
    told: OnExtracted,
    progress: OnProgress,
) -> list[FileProfile]:
    """Look at every row of these tables and queries; the rows are not kept.

    Args:
        address: Which database.
        asked: Which rows.
        folder: What the paths of database files are relative to.
        told: Is told of rows extracted.
        progress: Is told of rows looked at.

    Raises:
        BackfillError: As for `backfill.sources.extraction.extract`.
    """
    if not (asked.tables or asked.queries):
        raise UsageError(
            "nothing says which rows of the database are meant",
            next_step='name a table with --table NAME, or give --query "SELECT …"',
        )
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        database = open_database(address, folder, scratch)
        try:
            return [
                _look(database, said, query, scratch, told, progress)
                for said, query in _queries(database, address, asked)
            ]
        finally:
            database.close()


def _look(
    database: QueryDatabase,
    said: str,
    query: Query,
    scratch: Path,
    told: OnExtracted,
    progress: OnProgress,
) -> FileProfile:
    path = scratch / "rows.parquet"
    extract_query(database, query, path, told)
    told(Extracted(is_whole=True))
    source = open_source(LocalFile.of(path), FileFormat())
    look = FileProfile("parquet", TextFormat(), (), [Path(f"{said}.parquet")], [said], query=query)
    read_into(look, source, progress)
    path.unlink()
    return look


def _queries(
    database: QueryDatabase, address: DatabaseAddress, asked: AskedRows
) -> Iterator[tuple[str, Query]]:
    """The rows that are asked for as queries, each with a name."""
    for table in asked.tables:
        name = ".".join(map(_quoted, table.split(".")))
        key = ", ".join(map(_quoted, _primary_key(database, address, name)))
        sql = f"SELECT * FROM {name}" + (f" ORDER BY {key}" if key else "")  # noqa: S608
        yield table.rpartition(".")[2], Query(sql=sql, dsn_env=address.variable)
    for sql in asked.queries:
        yield "query", Query(sql=sql, dsn_env=address.variable)


def _primary_key(database: QueryDatabase, address: DatabaseAddress, table: str) -> list[str]:
    scheme = "postgresql" if address.scheme == "postgres" else address.scheme
    if scheme not in _PRIMARY_KEYS:
        return []
    name = table if scheme == "postgresql" else table.rpartition(".")[2].strip('"')
    found = database.query(_PRIMARY_KEYS[scheme].format(name.replace("'", "''")) + "\n")
    return [str(each) for batch in found.batches for each in batch.column(0).to_pylist()]


def _quoted(name: str) -> str:
    """A name as SQL writes it."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
