"""A query's result as a stream of Arrow batches, all queries of a database in one transaction.

    Database              what each kind of database offers
    ├── AdbcDatabase      PostgreSQL by COPY; Snowflake and BigQuery      database_servers
    └── DuckDbFile, SqliteFile                                            database_files

What its types become stands in `database_types`. An address is a secret, and drivers quote it: what
they say of one never gets out of here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

import pyarrow as pa

from backfill.errors import UnavailableError, UsageError

ADDRESSES = "postgresql://USER:PASSWORD@HOST/DATABASE, sqlite:///FILE or duckdb:///FILE"
_SECRET_CHARACTERS_MIN = 3


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a database is.

    Args:
        variable: The environment variable that holds it: the name that messages use.
        url: What it holds.
    """

    variable: str
    url: str

    def __repr__(self) -> str:
        """Without the url, which is a secret."""
        return f"DatabaseAddress({self.variable!r})"

    @classmethod
    def of(cls, variable: str, env: Mapping[str, str]) -> "DatabaseAddress":
        """What an environment variable holds.

        Raises:
            UsageError: It is not set.
        """
        url = env.get(variable, "").strip()
        if not url:
            raise UsageError(
                f"{variable}: the environment variable is not set, and dsn_env names it",
                next_step=f"set {variable} to the address of the database: {ADDRESSES}",
            )
        return cls(variable, url)

    @property
    def scheme(self) -> str:
        """What stands before `://`, in lower case; empty: nothing does."""
        return self.url.partition("://")[0].lower() if "://" in self.url else ""

    def without_secrets(self, text: str) -> str:
        """A text of a driver without any piece of the address that may be a secret."""
        body = self.url.partition("://")[2] or self.url
        user_info = body.partition("/")[0].rpartition("@")[0]
        pieces = [self.url, body, user_info, *user_info.split(":", 1)]
        pieces += [pair.partition("=")[2] for pair in body.partition("?")[2].split("&")]
        pieces += [unquote(each) for each in pieces]
        for piece in sorted(set(pieces), key=len, reverse=True):
            if len(piece) >= _SECRET_CHARACTERS_MIN:
                text = text.replace(piece, "…")
        return text


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query gives.

    Args:
        schema: Its columns.
        batches: Its rows, read as they come; an error of the database is one of ours.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class QueryDatabase(Protocol):
    """An open database, in a transaction that sees one state of it and changes nothing."""

    def query(self, sql: str) -> QueryResult:
        """Run a query; the result of the one before must have been read.

        Raises:
            UsageError: The database refuses it.
            UnavailableError: The connection is lost, or the time that the server allows is up.
        """

    def cancel(self) -> None:
        """Stop the query that is running, from any thread."""

    def close(self) -> None:
        """End the transaction and the connection; nothing is raised."""


def refused(address: DatabaseAddress, sentence: str, *, of_values: bool) -> UsageError:
    """A query that the database does not take, with its own sentence.

    Args:
        address: Which database.
        sentence: What it says.
        of_values: The sentence is about a value of a row: it may be personal, and is left out.
    """
    said = address.without_secrets(" ".join(sentence.split())).rstrip(".")
    if of_values:
        said = re.sub(r"""(["'`]).*\1""", "…", said)
    return UsageError(
        f"{address.variable}: the database refuses the query: {said}",
        next_step="correct the source's `sql` in the pipeline file, or what the user may read",
    )


def unavailable(address: DatabaseAddress, what: str, step: str = "") -> UnavailableError:
    """A database that may be there later."""
    return UnavailableError(
        f"{address.variable}: {what}",
        next_step=step or "run the same command again when the database can be reached",
    )
