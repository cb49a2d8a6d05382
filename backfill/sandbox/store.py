"""What the workspace holds, in DuckDB: one table that only grows, and views of it.

Every operation is a row of `arrivals`. Events, attribute changes and devices are views of it; the
people and the members of manual segments, of whom there are few and who change, have tables of
their own. There is no index: rows are appended in batches and read by column.
"""

import contextlib
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa

from backfill.errors import StateError
from backfill.sandbox.identities import Person

SCHEMA_VERSION = "1"
CAUTION = """
SET threads = 2;
SET autoinstall_known_extensions = false;
SET autoload_known_extensions = false;
SET enable_external_access = false;
SET lock_configuration = true;
"""

Parameters = Sequence[Any] | Mapping[str, Any]

TABLES = """
CREATE TABLE IF NOT EXISTS arrivals (
    arrival BIGINT, request BIGINT, received_s DOUBLE, kind VARCHAR, outcome VARCHAR,
    person BIGINT, identifier VARCHAR, named VARCHAR, event_id VARCHAR, name VARCHAR,
    occurred_s DOUBLE, replaced BOOLEAN, payload VARCHAR, body_hash UBIGINT, problem VARCHAR);
CREATE TABLE IF NOT EXISTS people (
    number BIGINT, since_s DOUBLE, id VARCHAR, email VARCHAR, phone VARCHAR, bare BOOLEAN,
    state VARCHAR, changed_s DOUBLE);
CREATE TABLE IF NOT EXISTS inherited (person BIGINT, payload VARCHAR);
CREATE TABLE IF NOT EXISTS memberships (segment BIGINT, person BIGINT);
CREATE TABLE IF NOT EXISTS segments (name VARCHAR, condition VARCHAR);
CREATE TABLE IF NOT EXISTS meta (key VARCHAR, value VARCHAR);
CREATE OR REPLACE VIEW active AS FROM people WHERE state = 'active';
CREATE OR REPLACE VIEW events AS
    FROM arrivals WHERE kind IN ('event', 'page', 'screen') AND outcome = 'applied';
CREATE OR REPLACE VIEW changes AS
    SELECT person, occurred_s, arrival, payload FROM arrivals
        WHERE kind = 'identify' AND outcome = 'applied'
    UNION ALL SELECT person, -1, 0, payload FROM inherited;
"""


_TEXT = pa.string()
ARROW: dict[str, pa.DataType] = {
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
PERSON_FIELDS = ("number", "since_s", "id", "email", "phone", "bare", "state", "changed_s")
APPEND_MAX = 50_000


@dataclass(slots=True)
class Ledger:
    """Running counters.

    Args:
        requests: Requests to the API, whatever became of them.
        operations: Operations in requests that could be read and were carried out, refused
            ones included; a request that a fault kept from being carried out adds none.
        people: People in the workspace now.
        events: Events kept now: without repeats, without those of people who were deleted.
        event_arrivals: Valid events that arrived, repeats included.
        duplicate_events: Those of them whose id had been seen.
        timestamps_replaced: Valid events with a timestamp that is none, stored at "now".
        rejected_operations: Operations refused.
        bytes: Bytes of request bodies.
        kinds: Valid operations by kind.
        outcomes: Operations by outcome.
        bare_people: People whom an event alone made.
    """

    requests: int = 0
    operations: int = 0
    people: int = 0
    events: int = 0
    event_arrivals: int = 0
    duplicate_events: int = 0
    timestamps_replaced: int = 0
    rejected_operations: int = 0
    bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    bare_people: int = 0

    def stats(self) -> dict[str, int]:
        """The nine figures of `/sandbox/stats`."""
        counters = self.everything()
        return {key: value for key, value in counters.items() if key not in _BREAKDOWN}

    def breakdown(self) -> dict[str, Any]:
        """What `/sandbox/stats` adds up, in its parts."""
        counters = self.everything()
        return {key: counters[key] for key in _BREAKDOWN}

    def everything(self) -> dict[str, Any]:
        """All counters, as `restored` takes them again."""
        return {counter.name: getattr(self, counter.name) for counter in fields(self)}


_BREAKDOWN = ("kinds", "outcomes", "bare_people")


def restored(counters: dict[str, Any]) -> Ledger:
    """The ledger that was written as JSON."""
    ledger = Ledger(**counters)
    ledger.kinds, ledger.outcomes = Counter(ledger.kinds), Counter(ledger.outcomes)
    return ledger


class Store:
    """The tables, and a buffer before them.

    Args:
        folder: Where the database lives; None keeps it in memory.

    Raises:
        StateError: The folder cannot be used, or another process has it open.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._buffer: tuple[list[Any], ...] = tuple([] for _ in ARROW)
        self._db = _open(folder)
        self._db.execute(TABLES)
        self._db.execute(CAUTION)
        if self._meta("schema_version") is None:
            self._set_meta("schema_version", SCHEMA_VERSION)
            self._set_meta("environment_id", str(secrets.randbelow(899_999_999) + 100_000_000))
        if self._meta("schema_version") != SCHEMA_VERSION:
            self.close()
            raise StateError(
                f"{folder}: this data is another version's",
                next_step="name another folder with --data, or delete this one",
            )
        # DuckDB loads pandas for its first Arrow table: half a second that no client shall wait
        self._insert("arrivals", pa.schema(ARROW.items()).empty_table())

    @property
    def environment_id(self) -> int:
        """The workspace's number: drawn once, kept with the data."""
        return int(self._meta("environment_id") or 0)

    def append(self, columns: Sequence[Sequence[Any]]) -> None:
        """Take rows, by column; they reach the disk with the next `flush`.

        They also wait by column: a million small tuples would keep the garbage collector busy.
        """
        for waiting, values in zip(self._buffer, columns, strict=True):
            waiting.extend(values)

    @property
    def is_full(self) -> bool:
        """Whether so much is waiting that it should be flushed."""
        return len(self._buffer[0]) >= APPEND_MAX

    def flush(self, people: list[Person], ledger: Ledger) -> None:
        """Write what is waiting, the people who changed and the counters, in one transaction.

        Raises:
            StateError: They cannot be written; they go on waiting.
        """
        with self._transaction():
            if self._buffer[0]:
                columns = zip(ARROW.items(), self._buffer, strict=True)
                table = {name: pa.array(values, kind) for (name, kind), values in columns}
                self._insert("arrivals", pa.table(table))
            if people:
                self._upsert_people(people)
            self._set_meta("counters", orjson.dumps(ledger.everything()).decode())
        self._empty()

    def read(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """Rows of a query over what was flushed; may be called from any thread."""
        with self._db.cursor() as cursor:
            cursor.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def write(self, sql: str, parameters: Parameters = ()) -> int:
        """Change something, at once; how many rows that were."""
        row = self._db.execute(sql, parameters).fetchone()
        return row[0] if row else 0

    def ledger(self) -> Ledger:
        """The counters, as last flushed."""
        counters = self._meta("counters")
        return restored(orjson.loads(counters)) if counters else Ledger()

    def people(self) -> Iterator[Person]:
        """Everyone, as last flushed; their events are counted anew."""
        rows = self._db.execute(
            f"SELECT {', '.join(PERSON_FIELDS)}, coalesce(kept, 0) FROM people"  # noqa: S608
            " LEFT JOIN (SELECT person, count(*) AS kept FROM events GROUP BY person)"
            " ON number = person AND state = 'active'"
        )
        while some := rows.fetchmany(10_000):
            yield from (Person(*row) for row in some)

    def event_ids(self) -> Iterator[tuple[list[str], list[float]]]:
        """The ids of all events with the moment each was received, in pieces."""
        rows = self._db.execute(
            "SELECT event_id, received_s FROM arrivals WHERE event_id IS NOT NULL"
            " AND kind IN ('event', 'page', 'screen') AND outcome IN ('applied', 'ignored')"
        )
        while some := rows.fetchmany(50_000):
            ids, received_s = zip(*some, strict=True)
            yield list(ids), list(received_s)

    def anonymous(self) -> Iterator[tuple[str, int | None]]:
        """Every anonymous id that has been seen, with the number of the person it turned out."""
        rows = self._db.execute(
            "SELECT named, max(person) FROM arrivals WHERE identifier = 'anonymous_id'"
            " AND outcome = 'applied' GROUP BY named UNION ALL"
            " SELECT json_extract_string(payload, '$.anonymous_id') AS named, person"
            " FROM arrivals WHERE kind = 'identify' AND outcome = 'applied'"
            " AND contains(payload, '\"anonymous_id\"') AND named IS NOT NULL"
        )
        return iter(rows.fetchall())

    def last_number(self) -> tuple[int, int]:
        """The last arrival's number and the last person's."""
        row = self._db.execute(
            "SELECT coalesce((SELECT max(arrival) FROM arrivals), 0),"
            " coalesce((SELECT max(number) FROM people), 0)"
        ).fetchone()
        return row or (0, 0)

    def clear(self) -> None:
        """Forget everything but the environment id."""
        self._empty()
        with self._transaction():
            for table in ("arrivals", "people", "inherited", "memberships", "segments"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # a name from the line above
            self._db.execute("DELETE FROM meta WHERE key = 'counters'")

    def close(self) -> None:
        """Let go of the file. What was not flushed is lost."""
        self._db.close()

    def _empty(self) -> None:
        for column in self._buffer:
            column.clear()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.begin()
        try:
            yield
            self._db.commit()
        except duckdb.Error as error:
            with contextlib.suppress(duckdb.Error):
                self._db.rollback()
            raise StateError(
                f"the sandbox's data cannot be written ({type(error).__name__})",
                next_step="look whether the disk is full",
            ) from error

    def _upsert_people(self, people: list[Person]) -> None:
        columns = [[getattr(person, name) for person in people] for name in PERSON_FIELDS]
        table = pa.table(dict(zip(PERSON_FIELDS, columns, strict=True)))
        self._db.register("waiting", table)
        self._db.execute("DELETE FROM people WHERE number IN (SELECT number FROM waiting)")
        self._db.execute("INSERT INTO people SELECT * FROM waiting")
        self._db.unregister("waiting")

    def _insert(self, name: str, table: pa.Table) -> None:
        self._db.register("waiting", table)
        self._db.execute(f"INSERT INTO {name} SELECT * FROM waiting")  # noqa: S608
        self._db.unregister("waiting")

    def _meta(self, key: str) -> str | None:
        rows = self._db.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchall()
        return rows[0][0] if rows else None

    def _set_meta(self, key: str, value: str) -> None:
        self._db.execute("DELETE FROM meta WHERE key = ?", [key])
        self._db.execute("INSERT INTO meta VALUES (?, ?)", [key, value])


def _open(folder: Path | None) -> duckdb.DuckDBPyConnection:
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
