"""What the workspace holds, in DuckDB: tables that only grow, and views of them.

Every operation is a row of `arrivals`. Events, attribute changes and devices are views of it; the
people, the visitors and the members of manual segments, of whom there are few and who change,
have tables of their own. There is no index: rows are appended in batches and read by column.

With a folder, a log beside the database holds what was answered and not yet written: a request is
in it before its answer goes out, so that a SIGKILL loses nothing that was answered. Nothing waits
for the disk itself: a power cut may lose the last second.
"""

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa

from backfill.errors import StateError
from backfill.sandbox.identities import Person, Visitor
from backfill.sandbox.ledger import Ledger

SCHEMA_VERSION = "2"
# a workspace for tests reads no other file and loads nothing from elsewhere, whatever is asked
RESTRICTIONS = """
SET threads = 2;
SET autoinstall_known_extensions = false;
SET autoload_known_extensions = false;
SET enable_external_access = false;
SET lock_configuration = true;
"""

Parameters = Sequence[Any] | Mapping[str, Any]
Statement = tuple[str, Parameters]

TABLES = """
CREATE TABLE IF NOT EXISTS arrivals (
    arrival BIGINT, request BIGINT, received_s DOUBLE, kind VARCHAR, outcome VARCHAR,
    person BIGINT, identifier VARCHAR, named VARCHAR, event_id VARCHAR, name VARCHAR,
    occurred_s DOUBLE, replaced BOOLEAN, payload VARCHAR, body_hash UBIGINT, problem VARCHAR);
CREATE TABLE IF NOT EXISTS people (
    number BIGINT, since_s DOUBLE, id VARCHAR, email VARCHAR, phone VARCHAR, bare BOOLEAN,
    state VARCHAR, changed_s DOUBLE, stamped BOOLEAN, attributes_max BIGINT);
CREATE TABLE IF NOT EXISTS visitors (
    anonymous_id VARCHAR, person BIGINT, until_s DOUBLE, waiting BOOLEAN);
CREATE TABLE IF NOT EXISTS links (
    arrival BIGINT, added BOOLEAN, thing VARCHAR, person BIGINT, anonymous_id VARCHAR,
    payload VARCHAR);
CREATE TABLE IF NOT EXISTS inherited (
    person BIGINT, occurred_s DOUBLE, arrival BIGINT, payload VARCHAR);
CREATE TABLE IF NOT EXISTS memberships (segment BIGINT, person BIGINT);
CREATE TABLE IF NOT EXISTS segments (name VARCHAR, condition VARCHAR);
CREATE OR REPLACE VIEW active AS FROM people WHERE state = 'active';
CREATE OR REPLACE VIEW events AS
    FROM arrivals WHERE kind IN ('event', 'page', 'screen') AND outcome = 'applied';
CREATE OR REPLACE VIEW changes AS
    SELECT person, occurred_s, arrival, payload FROM arrivals
        WHERE kind IN ('identify', 'form') AND outcome = 'applied'
    UNION ALL FROM inherited
    UNION ALL SELECT number, -1, 0, '{"created_at":' || CAST(floor(since_s) AS BIGINT) || '}'
        FROM people WHERE stamped;
"""
CLEARED = ("arrivals", "people", "visitors", "links", "inherited", "memberships", "segments")


_TEXT = pa.string()
ARRIVAL_COLUMNS: dict[str, pa.DataType] = {
    "arrival": pa.int64(),
    "request": pa.int64(),
    "received_s": pa.float64(),
    "kind": _TEXT,
    "outcome": _TEXT,
    "person": pa.int64(),
    "identifier": _TEXT,
    "named": _TEXT,
    "event_id": _TEXT,
    "name": _TEXT,
    "occurred_s": pa.float64(),
    "replaced": pa.bool_(),
    "payload": _TEXT,
    "body_hash": pa.uint64(),
    "problem": _TEXT,
}
LINK_COLUMNS: dict[str, pa.DataType] = {
    "arrival": pa.int64(),
    "added": pa.bool_(),
    "thing": _TEXT,
    "person": pa.int64(),
    "anonymous_id": _TEXT,
    "payload": _TEXT,
}
PERSON_COLUMNS: dict[str, pa.DataType] = {
    "number": pa.int64(),
    "since_s": pa.float64(),
    "id": _TEXT,
    "email": _TEXT,
    "phone": _TEXT,
    "bare": pa.bool_(),
    "state": _TEXT,
    "changed_s": pa.float64(),
    "stamped": pa.bool_(),
    "attributes_max": pa.int64(),
}
VISITOR_COLUMNS: dict[str, pa.DataType] = {
    "anonymous_id": _TEXT,
    "person": pa.int64(),
    "until_s": pa.float64(),
    "waiting": pa.bool_(),
}
APPEND_MAX = 50_000


@dataclass(frozen=True, slots=True)
class PendingWrites:
    """What is written in one transaction beside the rows that wait.

    Args:
        people: People who are new or changed.
        visitors: Visitors who are new or changed.
        statements: What else is to be done, in order.
        ledger: The counters as they are then.
    """

    people: Sequence[Person]
    visitors: Sequence[Visitor]
    statements: Sequence[Statement]
    ledger: Ledger


class Store:
    """The tables, a buffer before them, and the log that outlives a kill.

    Args:
        folder: Where the database lives; None keeps it in memory, without a log.

    Raises:
        StateError: The folder cannot be used, or another process has it open.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._arrivals: tuple[list[Any], ...] = tuple([] for _ in ARRIVAL_COLUMNS)
        self._links: list[tuple[Any, ...]] = []
        self._log: int | None = None
        self._db = _opened(folder)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._prepare(folder)
            undo.pop_all()

    def _prepare(self, folder: Path | None) -> None:
        self._db.execute("CREATE TABLE IF NOT EXISTS meta (key VARCHAR, value VARCHAR)")
        if self._meta("schema_version") is None:
            self._set_meta("schema_version", SCHEMA_VERSION)
            self._set_meta("environment_id", str(secrets.randbelow(899_999_999) + 100_000_000))
        if self._meta("schema_version") != SCHEMA_VERSION:
            raise StateError(
                f"{folder}: this data is of another version",
                next_step="name another folder with --data, or delete this one",
            )
        self._db.execute(TABLES)
        self._db.execute(RESTRICTIONS)
        if folder is not None:
            # opened after the database, whose lock keeps other sandboxes out of the folder
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._log = os.open(folder / "requests.log", flags, 0o600)
        # DuckDB loads pandas for its first Arrow table: half a second that no client shall wait
        self._insert("arrivals", ARRIVAL_COLUMNS, [[] for _ in ARRIVAL_COLUMNS])

    @property
    def environment_id(self) -> int:
        """The workspace's number: drawn once, kept with the data."""
        return int(self._meta("environment_id") or 0)

    def append(self, columns: Sequence[Sequence[Any]], links: Iterable[tuple[Any, ...]]) -> None:
        """Take rows; they reach the tables with the next `flush`.

        They also wait by column: a million small tuples would keep the garbage collector busy.

        Args:
            columns: The arrivals, a column for each of `ARRIVAL_COLUMNS`, all of one length.
            links: Relationships, each a row in the order of `LINK_COLUMNS`.
        """
        for waiting, values in zip(self._arrivals, columns, strict=True):
            waiting.extend(values)
        self._links.extend(links)

    @property
    def is_full(self) -> bool:
        """Whether so much is waiting that it should be flushed."""
        return len(self._arrivals[0]) >= APPEND_MAX

    def flush(self, changes: PendingWrites) -> None:
        """Write what is waiting and what has changed, in one transaction.

        Raises:
            StateError: It cannot be written; it goes on waiting.
        """
        with self._transaction():
            if self._arrivals[0]:
                self._insert("arrivals", ARRIVAL_COLUMNS, self._arrivals)
            if self._links:
                self._insert("links", LINK_COLUMNS, list(zip(*self._links, strict=True)))
            self._upsert("people", PERSON_COLUMNS, changes.people)
            self._upsert("visitors", VISITOR_COLUMNS, changes.visitors)
            for sql, parameters in changes.statements:
                self._db.execute(sql, parameters)
            self._set_meta("counters", orjson.dumps(changes.ledger.everything()).decode())
        self._empty()

    def log(self, record: Any) -> None:
        """Put a request where a SIGKILL cannot reach it: with the operating system.

        Raises:
            StateError: It cannot be written.
        """
        if self._log is None:
            return
        line = memoryview(orjson.dumps(record, default=tuple) + b"\n")
        try:
            while line:  # a full disk takes a part first
                line = line[os.write(self._log, line) :]
        except OSError as error:
            raise StateError(
                f"the sandbox's data cannot be written ({error.strerror})",
                next_step="look whether the disk is full",
            ) from error

    def logged(self) -> Iterator[Any]:
        """What the log holds, in order; a last line that was cut off was never answered."""
        if self._log is None:
            return
        with open(os.dup(self._log), "rb") as lines:  # noqa: PTH123  # a descriptor, not a path
            lines.seek(0)
            for line in lines:
                with contextlib.suppress(orjson.JSONDecodeError):
                    yield orjson.loads(line)

    def forget_log(self) -> None:
        """Empty the log: all of it is in the tables."""
        if self._log is not None:
            os.ftruncate(self._log, 0)

    def read(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """Rows of a query over what was flushed; may be called from any thread."""
        with self._db.cursor() as cursor:
            cursor.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def write(self, sql: str, parameters: Parameters = ()) -> None:
        """Change something, at once."""
        self._db.execute(sql, parameters)

    def ledger(self) -> Ledger:
        """The counters, as last flushed."""
        counters = self._meta("counters")
        return Ledger.restored(orjson.loads(counters)) if counters else Ledger()

    def people(self) -> Iterator[Person]:
        """Everyone, as last flushed, deleted people too; their events are counted anew."""
        rows = self._db.execute(
            f"SELECT {', '.join(PERSON_COLUMNS)}, coalesce(kept, 0) FROM people"  # noqa: S608
            " LEFT JOIN (SELECT person, count(*) AS kept FROM events GROUP BY person)"
            " ON number = person AND state = 'active' ORDER BY number"
        )
        while some := rows.fetchmany(10_000):
            yield from (Person(*row) for row in some)

    def visitors(self) -> Iterator[Visitor]:
        """Every anonymous id, as last flushed."""
        rows = self._db.execute(f"SELECT {', '.join(VISITOR_COLUMNS)} FROM visitors")  # noqa: S608
        while some := rows.fetchmany(10_000):
            yield from (Visitor(*row) for row in some)

    def event_ids(self) -> Iterator[tuple[list[str], list[float]]]:
        """The ids of all events and when each was received (unix seconds), in pieces.

        Only first sights: a duplicate does not renew the window of its id.
        """
        rows = self._db.execute(
            "SELECT event_id, received_s FROM arrivals WHERE event_id IS NOT NULL"
            " AND kind IN ('event', 'page', 'screen') AND outcome IN ('applied', 'ignored')"
            " ORDER BY arrival"
        )
        while some := rows.fetchmany(50_000):
            ids, received_s = zip(*some, strict=True)
            yield list(ids), list(received_s)

    def last_arrival(self) -> int:
        """The last arrival's number."""
        row = self._db.execute("SELECT coalesce(max(arrival), 0) FROM arrivals").fetchone()
        return row[0] if row else 0

    def clear(self) -> None:
        """Forget everything but the environment id."""
        self._empty()
        self.forget_log()  # first: its requests may not come back into an empty workspace
        with self._transaction():
            for table in CLEARED:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # a name from above
            self._db.execute("DELETE FROM meta WHERE key = 'counters'")

    def close(self) -> None:
        """Let go of the files. What was not flushed stays in the log."""
        self._db.close()
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def _empty(self) -> None:
        for column in self._arrivals:
            column.clear()
        self._links.clear()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.begin()
        try:
            yield
            self._db.commit()
        except BaseException as error:
            with contextlib.suppress(duckdb.Error):
                self._db.rollback()
            if not isinstance(error, duckdb.Error):
                raise  # a bug of ours, but the next request finds the tables as they were
            raise StateError(
                f"the sandbox's data cannot be written ({type(error).__name__})",
                next_step="look whether the disk is full",
            ) from error

    def _upsert(self, table: str, columns: Mapping[str, pa.DataType], rows: Sequence[Any]) -> None:
        """Put rows in the place of those with the same key, the first of the columns."""
        if not rows:
            return
        key = next(iter(columns))
        values = [[getattr(row, name) for row in rows] for name in columns]
        self._insert(
            table,
            columns,
            values,
            f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM waiting)",  # noqa: S608
        )

    def _insert(
        self,
        table: str,
        columns: Mapping[str, pa.DataType],
        values: Sequence[Sequence[Any]],
        before: str = "",
    ) -> None:
        """Append rows, given by column; `before` is SQL that sees them as `waiting`."""
        arrays = [
            pa.array(column, kind) for column, kind in zip(values, columns.values(), strict=True)
        ]
        self._db.register("waiting", pa.table(arrays, list(columns)))
        if before:
            self._db.execute(before)
        self._db.execute(f"INSERT INTO {table} SELECT * FROM waiting")  # noqa: S608
        self._db.unregister("waiting")

    def _meta(self, key: str) -> str | None:
        rows = self._db.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchall()
        return rows[0][0] if rows else None

    def _set_meta(self, key: str, value: str) -> None:
        self._db.execute("DELETE FROM meta WHERE key = ?", [key])
        self._db.execute("INSERT INTO meta VALUES (?, ?)", [key, value])


def _opened(folder: Path | None) -> duckdb.DuckDBPyConnection:
    if folder is None:
        return duckdb.connect(":memory:")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return duckdb.connect(folder / "sandbox.duckdb")
    except (OSError, duckdb.Error) as error:
        raise StateError(
            f"{folder}: the sandbox's data cannot be opened ({type(error).__name__})",
            next_step="stop the sandbox that uses this folder, or name another with --data",
        ) from error
