"""Databases that are servers, behind ADBC drivers: PostgreSQL, Snowflake, BigQuery.

Facts: https://arrow.apache.org/adbc/current/python/api/adbc_driver_manager.html. Snowflake and
BigQuery are wired as their drivers' documentation says, and were never tried here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from backfill.errors import BackfillError, CredentialsError, UnavailableError, UsageError
from backfill.sources.database_types import KeptTypes, kept_as_given, kept_postgres
from backfill.sources.databases import ADDRESSES, DatabaseAddress, QueryResult, refused, unavailable

_CONNECT_TIMEOUT_S = 15
_BATCH_BYTES = 2 << 20
"""The driver's own is 16 MB, and four of them are held at once."""

_ERROR = re.compile(r"\b(?:ERROR|FATAL|PANIC):\s+(.+)")
_LOST = re.compile(
    r"FATAL:|PANIC:|terminat|server closed the connection|no connection to the server|SSL"
    r"|could not receive|lost synchronization|Connection reset",
    re.IGNORECASE,
)
_BUSY = re.compile(r"conflict with recovery|could not serialize|deadlock|too many")
_OF_VALUES = re.compile(r"^(invalid input|invalid value|.*value .* out of range|.*constraint)")

_NOT_ALLOWED = (
    r"password|authentication|role .* does not exist|pg_hba|not permitted to log in|credentials"
)
_NOT_REACHED = (
    r"connection to server .* failed|refused|timeout|timed out|unreachable|starting up"
    r"|shutting down|too many|connection slots|closed the connection|FATAL"
)
_NOT_CONNECTED: tuple[tuple[str, type[BackfillError], str, str], ...] = (
    (
        _NOT_ALLOWED,
        CredentialsError,
        "the database refuses the user or the password",
        "correct the user and the password in the variable",
    ),
    (
        r"database .* does not exist",
        UsageError,
        "the server has no database of that name",
        "correct the name of the database in the variable",
    ),
    (
        r"could not translate host name|Name or service",
        UnavailableError,
        "the host of the database is not known",
        "check the host in the variable and the network, then run the same command again",
    ),
    (
        _NOT_REACHED,
        UnavailableError,
        "the database cannot be reached",
        "see that it runs and that its host and port are right, then run the same command again",
    ),
)
"""What a driver says where no connection is made, the error that it is, and its two sentences.

The driver's own sentence is never shown: it quotes whatever piece of the address it did not like.
"""


def _not_connected(address: DatabaseAddress, said: str) -> BackfillError:
    for pattern, error, what, step in _NOT_CONNECTED:
        if re.search(pattern, said):
            return error(f"{address.variable}: {what}", next_step=step)
    return UsageError(
        f"{address.variable}: its address cannot be used",
        next_step=f"write it as {ADDRESSES}, with special characters percent-encoded",
    )


def _adbc_error(address: DatabaseAddress, said: str) -> BackfillError:
    """What a driver says of a query, as one of our errors."""
    found = _ERROR.search(said)
    # Drivers add the line, the query, and codes; the sentence is the first line.
    sentence = (found[1] if found else said.partition("\n")[0]).strip()
    if "timeout" in sentence:
        return unavailable(
            address,
            "the server stopped the query: its time limit is reached",
            "make the query faster, or raise statement_timeout for the user; then run the same"
            " command again",
        )
    if _LOST.search(said):
        return unavailable(address, "the connection to the database was lost")
    if _BUSY.search(sentence):
        return unavailable(address, f"the server stopped the query: {sentence}")
    return refused(address, sentence, of_values=bool(_OF_VALUES.match(sentence)))


class AdbcDatabase:
    """A database behind an ADBC driver.

    Args:
        address: Which one.
        connect: Makes a connection of the driver.
        options: Options of its statements.
        first: What is said before the first query.
        kept: The columns as they are kept, from those of the driver.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        connect: Callable[[], Any],
        *,
        options: Mapping[str, str] | None = None,
        first: str = "",
        kept: Callable[[pa.Schema], KeptTypes] = kept_as_given,
    ) -> None:
        self._address = address
        self._kept = kept
        self._options = dict(options or {})
        self._cursor: Any = None
        try:
            self._connection = connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold the address
            raise _not_connected(address, str(error)) from None
        if first:
            self._execute(first)

    @classmethod
    def postgresql(cls, address: DatabaseAddress) -> "AdbcDatabase":
        """One snapshot for all queries, that can change nothing.

        No parameters are bound: only a query without any comes by COPY, in a stream.
        """
        try:
            import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415 - an extra
        except ImportError:
            raise _no_driver("PostgreSQL", "postgres") from None
        url = address.url
        if "connect_timeout" not in url:
            url += f"{'&' if '?' in url else '?'}connect_timeout={_CONNECT_TIMEOUT_S}"
        return cls(
            address,
            lambda: driver.connect(url),
            options={"adbc.postgresql.batch_size_hint_bytes": str(_BATCH_BYTES)},
            first="SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            kept=kept_postgres,
        )

    @classmethod
    def snowflake(cls, address: DatabaseAddress) -> "AdbcDatabase":
        """By `snowflake://USER:PASSWORD@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME`."""
        try:
            import adbc_driver_snowflake.dbapi as driver  # noqa: PLC0415 - an extra
        except ImportError:
            raise _no_driver("Snowflake", "snowflake") from None
        return cls(address, lambda: driver.connect(address.url.partition("://")[2]))

    @classmethod
    def bigquery(cls, address: DatabaseAddress) -> "AdbcDatabase":
        """By `bigquery://PROJECT/DATASET`, with Google's own credentials of the machine."""
        try:
            import adbc_driver_bigquery  # noqa: PLC0415 - an extra
            import adbc_driver_bigquery.dbapi as driver  # noqa: PLC0415 - an extra
        except ImportError:
            raise _no_driver("BigQuery", "bigquery") from None
        names = adbc_driver_bigquery.DatabaseOptions
        split = urlsplit(address.url)
        options = {names.PROJECT_ID.value: split.netloc}
        if dataset := split.path.strip("/"):
            options[names.DATASET_ID.value] = dataset
        return cls(address, lambda: driver.connect(db_kwargs=options))

    def query(self, sql: str) -> QueryResult:
        """Run a query; see `Database`."""
        self._execute(sql)
        reader = self._cursor.fetch_record_batch()
        kept = self._kept(reader.schema)
        return QueryResult(kept.schema, map(kept.of, self._read(reader)))

    def _read(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except Exception as error:  # noqa: BLE001 - see above
            raise _adbc_error(self._address, str(error)) from None

    def _execute(self, sql: str) -> None:
        try:
            if self._cursor is not None:
                self._cursor.close()
            self._cursor = self._connection.cursor(adbc_stmt_kwargs=self._options)
            self._cursor.execute(sql)
        except Exception as error:  # noqa: BLE001 - see above
            raise _adbc_error(self._address, str(error)) from None

    def cancel(self) -> None:
        """Stop the query; see `Database`."""
        with suppress(Exception):
            self._cursor.adbc_cancel()

    def close(self) -> None:
        """Close all of it; see `Database`."""
        for each in (self._cursor, self._connection):
            with suppress(Exception):
                each.close()


def _no_driver(name: str, extra: str) -> UsageError:
    return UsageError(
        f"reading from {name} needs its driver, which is not installed",
        next_step=f"pip install 'backfill[{extra}]'",
    )
