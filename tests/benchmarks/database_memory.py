"""What many rows of a database cost in memory: `check` and `run` of a PostgreSQL table.

    python tests/benchmarks/database_memory.py [--rows N]

Wanted for 10,000,000 rows: at most 300 MB. The database and the server that answers share the
machine with what is measured.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from measuring import BACKFILL, answering, machine, measure  # noqa: E402

from tests.support import postgres  # noqa: E402

EVENTS = """
CREATE TABLE events AS SELECT
    'u' || (i % 200000) AS user_id,
    (array['purchased', 'viewed', 'signed_up', 'clicked'])[1 + i % 4] AS event,
    timestamptz '2023-01-01' + i * interval '3 seconds' AS at,
    i AS order_id, (i % 10000) / 100.0::float8 AS amount, 'note ' || (i % 97) AS note
FROM generate_series(1, {rows}) AS i
"""
PIPELINE = """
name = "database"

[[source]]
kind = "events"
identifier = { id = "user_id" }
name = { from = "event" }
timestamp = { from = "at" }
key = ["order_id"]

[source.query]
dsn_env = "DSN"
sql = "SELECT * FROM events ORDER BY order_id"
"""


def main() -> None:
    """Measure, and print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    rows = parser.parse_args().rows
    print(f"{machine()}; {rows:,} rows")
    with tempfile.TemporaryDirectory() as place, postgres.postgres() as server:
        folder = Path(place)
        (folder / "database.toml").write_text(PIPELINE)
        database = server.database()
        database.run(EVENTS.format(rows=rows))
        os.environ["DSN"] = database.url
        with answering(folder) as url:
            for command, options in (("check", ()), ("run", ("--url", url, "--rate", "0"))):
                asked = [*BACKFILL, command, "database.toml", *options, "--quiet"]
                took = measure(asked, folder, url)
                assert took is not None
                print(f"{command}: {took.seconds:.0f} s, {took.peak_mb:.0f} MB at most")


if __name__ == "__main__":
    main()
