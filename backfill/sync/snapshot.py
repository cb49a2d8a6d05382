"""What the workspace was told last, person by person: the memory of a sync, in DuckDB.

Events stand here too, where a cursor reads them again; their type is no identifier's.

    type, identifier   who it is; e-mails in lower case
    high, low          a hash of what was delivered; null where nobody knows
    refused_…, reasons a hash of what the API refused last, and why
    moved              the moment by which a cursor found it
    first_run, last_run  by which runs it was delivered: by one of them, the last it may be

It is a projection of the journal and carries its sequence number: a snapshot that is not in step
with the journal is not believed.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from backfill.errors import StateError
from backfill.files import PRIVATE_FILE, sync_directory

if TYPE_CHECKING:  # DuckDB loads slowly, and where nobody has to be remembered it is not needed
    from duckdb import DuckDBPyConnection

SNAPSHOT_FILE = "snapshot.duckdb"
_NEW_FILE = f"{SNAPSHOT_FILE}.new"
SNAPSHOT_FILES = (SNAPSHOT_FILE, f"{SNAPSHOT_FILE}.wal", _NEW_FILE)
"""What is removed where a job is forgotten."""

SETTINGS: dict[str, Any] = {
    "memory_limit": "256MB",  # what does not fit waits on the disk
    "threads": os.cpu_count() or 1,
    "preserve_insertion_order": False,
}
_STREAMING = {"memory_limit": "64MB", "threads": 2}
"""Enough to fill an empty table, whatever comes."""
BATCH_ROWS = 65_536

_TABLES = """
CREATE TABLE IF NOT EXISTS person (
    type VARCHAR NOT NULL, identifier VARCHAR NOT NULL,
    high UBIGINT, low UBIGINT,
    refused_high UBIGINT, refused_low UBIGINT, reasons VARCHAR,
    moved BIGINT, first_run BIGINT, last_run BIGINT
);
-- Earlier versions did not note the runs.
ALTER TABLE person ADD COLUMN IF NOT EXISTS first_run BIGINT;
ALTER TABLE person ADD COLUMN IF NOT EXISTS last_run BIGINT;
CREATE TABLE IF NOT EXISTS step (number BIGINT NOT NULL);
"""

_DOUBT = """
UPDATE person SET
    high = NULL, low = NULL, refused_high = NULL, refused_low = NULL, reasons = NULL
"""

# A file of deletions may name a person twice. Where it is undecided whether a person was deleted
# there may be nobody to doubt.
_UPDATE = """
MERGE INTO person USING (
    FROM told WHERE outcome NOT IN ('deleted', 'undecided')
    UNION ALL
    SELECT DISTINCT ON (type, identifier) * FROM told WHERE outcome IN ('deleted', 'undecided')
) AS told ON person.type = told.type AND person.identifier = told.identifier
WHEN MATCHED AND told.outcome = 'deleted' THEN DELETE
WHEN MATCHED AND told.outcome = 'delivered' THEN UPDATE SET
    high = told.high, low = told.low, refused_high = NULL, refused_low = NULL, reasons = NULL,
    moved = told.moved, first_run = getvariable('first_run'), last_run = getvariable('last_run')
WHEN MATCHED AND told.outcome = 'refused' THEN UPDATE SET
    refused_high = told.high, refused_low = told.low, reasons = told.reasons, moved = told.moved
WHEN MATCHED THEN UPDATE SET
    high = NULL, low = NULL, refused_high = NULL, refused_low = NULL, reasons = NULL
"""

# With a person go their relationships: they would be missing where the person comes again.
_FORGET_RELATIONSHIPS = """
DELETE FROM person USING (SELECT type, identifier FROM told WHERE outcome = 'deleted') AS gone
WHERE contains(person.type, ' in object ') AND split_part(person.type, ' ', 1) = gone.type
    AND CASE WHEN contains(person.type, ' in object ')
        THEN json_extract_string(person.identifier, '$[0]') END = gone.identifier
"""

# By itself, for a MERGE that inserts takes three times as long, and holds all that it inserts.
_INSERT = """
INSERT INTO person
SELECT type, identifier,
    CASE WHEN outcome = 'delivered' THEN high END, CASE WHEN outcome = 'delivered' THEN low END,
    CASE WHEN outcome = 'refused' THEN high END, CASE WHEN outcome = 'refused' THEN low END,
    CASE WHEN outcome = 'refused' THEN reasons END, moved,
    getvariable('first_run'), getvariable('last_run')
FROM told ANTI JOIN person USING (type, identifier)
WHERE outcome IN ('delivered', 'refused', 'doubt')
"""

OUTCOMES = pa.schema(
    [
        ("type", pa.string()),
        ("identifier", pa.string()),
        ("high", pa.uint64()),
        ("low", pa.uint64()),
        ("outcome", pa.string()),
        ("reasons", pa.string()),
        ("moved", pa.int64()),
    ]
)
"""What became of people: delivered, refused, doubt, deleted, or undecided: perhaps deleted."""


class Snapshot:
    """An open snapshot; made when there is none. Every method raises `StateError`.

    `number` is the journal's sequence number that it carries; None where it is new.

    Args:
        folder: The job's state directory.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / SNAPSHOT_FILE
        with self._guarded():
            if not self.path.exists():
                self._create()
            self._connection = connected(self.path)
            self._connection.execute(_TABLES)
            # All of it: a result that is left open holds the connection.
            found = self._connection.execute("SELECT number FROM step").fetchall()
        self.number: int | None = found[0][0] if found else None

    def _create(self) -> None:
        """Put an empty database in place: DuckDB makes one in steps, and opens no half of one."""
        new = self.path.with_name(_NEW_FILE)
        new.unlink(missing_ok=True)
        connected(new).close()
        new.chmod(PRIVATE_FILE)
        new.replace(self.path)
        sync_directory(self.path.parent)

    def see(self, files: Mapping[str, Path], *views: str) -> None:
        """Let statements read Parquet files by these names, and views of them."""
        with self._guarded():
            see(self._connection, files, *views)

    def run(self, statement: str, bindings: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement; give its rows, which must be few."""
        with self._guarded():
            return self._connection.execute(statement, bindings).fetchall()

    def batches(
        self, query: str, bindings: list[Any], rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query, so many at a time."""
        with self._guarded():
            yield from self._connection.sql(query, params=bindings).to_arrow_reader(rows)

    def copy(self, query: str, path: Path) -> None:
        """Write the rows of a query to a Parquet file."""
        with self._guarded():
            self._connection.sql(query).write_parquet(str(path), compression="lz4")

    def doubt_everybody(self) -> None:
        """Believe nothing of what is here but that these people may be in the workspace."""
        self.run(_DOUBT)

    def doubt(self, type_: str, identifiers: Sequence[str]) -> None:
        """Believe nothing of some people, who are about to be told something."""
        count = len(identifiers)
        nothing = [pa.nulls(count, pa.uint64())] * 2
        columns = [pa.repeat(type_, count), pa.array(identifiers, pa.string()), *nothing]
        columns += [pa.repeat("doubt", count), pa.nulls(count, pa.string())]
        columns += [pa.nulls(count, pa.int64())]
        told = pa.Table.from_arrays(columns, schema=OUTCOMES)
        with self._guarded():
            self._connection.register("told", told)
            self._connection.execute(_UPDATE)
            self._connection.execute(_INSERT)
            self._connection.unregister("told")

    def update(self, outcomes: Path, number: int, runs: tuple[int, int] = (0, 0)) -> None:
        """Take up what became of people, all of it or nothing.

        Args:
            outcomes: A Parquet file of `OUTCOMES`.
            number: The journal's sequence number that the snapshot carries from then on.
            runs: The first and the last of the runs by which they were told.
        """
        with self._guarded():
            for name, run in zip(("first_run", "last_run"), runs, strict=True):
                self._connection.execute(f"SET VARIABLE {name} = {run:d}")
            self._connection.execute("BEGIN")
            see(self._connection, {"told": outcomes})
            if self._is_empty():
                self._stream()
            else:
                self._connection.execute(_UPDATE)
                self._connection.execute(_FORGET_RELATIONSHIPS)
            self._connection.execute(_INSERT)
            self._connection.execute("DELETE FROM step")
            self._connection.execute("INSERT INTO step VALUES (?)", [number])
            self._connection.execute("COMMIT")
            self._connection.execute("CHECKPOINT")
            self._connection.execute("DROP VIEW told")
        self.number = number

    def _is_empty(self) -> bool:
        return not self._connection.execute("SELECT 1 FROM person LIMIT 1").fetchall()

    def _stream(self) -> None:
        """Use little memory from here on: it would only hold rows that nobody looks at again."""
        for name, value in _STREAMING.items():
            self._connection.execute(f"SET {name} = '{value}'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        import duckdb  # noqa: PLC0415  # see above

        try:
            yield
        except (duckdb.Error, OSError) as error:
            raise StateError(
                f"{self.path}: the sync's record of people cannot be used: {_first_line(error)}",
                next_step="free disk space or check the disk, then run the same command again;"
                " if the"
                " file is damaged, remove it: the next sync sends everyone once more",
            ) from error


def connected(path: Path | str = ":memory:", **settings: str) -> "DuckDBPyConnection":
    """DuckDB, within the limits of `SETTINGS`."""
    import duckdb  # noqa: PLC0415  # see above

    return duckdb.connect(path, config=SETTINGS | settings)


def see(connection: "DuckDBPyConnection", files: Mapping[str, Path], *views: str) -> None:
    """Let a connection read Parquet files by these names, and views of them, while it is open."""
    for name, path in files.items():
        quoted = escape(str(path)).replace("'", "''")
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM read_parquet('{quoted}')")
    for view in views:
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {view}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
