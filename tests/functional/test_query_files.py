"""Rows of database files and of stdin: extracted once, then files like any other."""

import io
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.jobs import HEADER, numbered
from tests.support.programs import until

EVENTS = """
[[source]]
kind = "events"
identifier = { id = "id" }
name = { from = "event" }
timestamp = { from = "at", timezone = "UTC", format = "iso8601" }
"""


def pipeline(folder: Path, lines: str, table: str = EVENTS) -> Path:
    """A pipeline of one source."""
    path = folder / "pipeline.toml"
    path.write_text(f'name = "job"\n{table}{lines}', "utf-8")
    return path


def query(sql: str) -> str:
    """The lines of a query."""
    return f'[source.query]\ndsn_env = "DSN"\nsql = {json.dumps(sql)}\n'


def made_sqlite(path: Path, *statements: str) -> None:
    """Make a SQLite database."""
    connection = sqlite3.connect(path)
    for each in statements:
        connection.execute(each)
    connection.commit()
    connection.close()


def bodies(sandbox) -> list[dict]:
    """What arrived, in the order of sending."""
    return [each["attributes"] for each in sandbox.events()]


# SQLite


SHOP = (
    "CREATE TABLE events (id, event, at, n, real, mixed, many, late, void)",
    """
    INSERT INTO events VALUES
    ('p1', 'a', '2024-01-01T00:00:00Z', 1, 1.5, 'x', 9007199254740993, NULL, NULL),
    ('p2', 'b', '2024-01-02T00:00:00Z', 2, 2, 7, 0.5, 'now text', NULL),
    ('p3', 'c', '2024-01-03T00:00:00Z', -3, NULL, 0.25, NULL, 5, NULL)
    """,
)


def test_a_column_of_sqlite_has_the_type_of_all_its_values(tmp_path, send, sandbox):
    """Not of its first rows, and not of what its table says: text where they differ, all digits."""
    made_sqlite(tmp_path / "shop.db", *SHOP)
    path = pipeline(tmp_path, query("SELECT * FROM events ORDER BY n DESC -- newest first"))
    done = send(path, env={"DSN": "sqlite:///shop.db"})
    assert done.code == 0, done.stderr
    assert bodies(sandbox) == [
        {"n": 2, "real": 2, "mixed": "7", "many": "0.5", "late": "now text"},
        {"n": 1, "real": 1.5, "mixed": "x", "many": "9007199254740993"},
        {"n": -3, "mixed": "0.25", "late": "5"},
    ]


@pytest.mark.parametrize(
    ("sql", "code", "said"),
    [
        ("SELEC 1", 2, "syntax error"),
        ("SELECT nosuch FROM events", 2, "no such column: nosuch"),
        ("DELETE FROM events", 2, "refuses the query"),
        ("SELECT id, id FROM events", 2, "two columns"),
        (
            "SELECT *, x'00ff' AS odd FROM events",
            2,
            "'odd' cannot be sent as it is: it holds bytes",
        ),
        ("WITH some AS (SELECT * FROM events) SELECT * FROM some;", 0, ""),
    ],
)
def test_what_sqlite_refuses_is_said_in_its_words(tmp_path, look, sql, code, said):
    """With a next step."""
    made_sqlite(tmp_path / "shop.db", *SHOP)
    ended = look(pipeline(tmp_path, query(sql)), env={"DSN": f"sqlite:///{tmp_path}/shop.db"})
    assert ended.code == code, ended.stderr
    assert said in ended.stderr
    assert ended.next_step
    assert sqlite3.connect(tmp_path / "shop.db").execute("SELECT count(*) FROM events").fetchone()


@pytest.mark.parametrize("scheme", ["sqlite", "duckdb"])
def test_a_file_that_is_no_database_is_refused(tmp_path, look, scheme):
    """By what it is, not by its name."""
    (tmp_path / "shop.db").write_bytes(b"id,name\n" * 5_000)
    ended = look(pipeline(tmp_path, query("SELECT 1")), env={"DSN": f"{scheme}:///shop.db"})
    assert ended.code == 2, ended.stderr


# DuckDB


def test_duckdb_keeps_its_types(tmp_path, send, sandbox):
    """Decimals, enums, documents, lists; instants by their zone."""
    with duckdb.connect(tmp_path / "shop.duckdb") as shop:
        shop.execute(
            "CREATE TABLE events AS SELECT 'p' || n AS id, 'seen' AS event,"
            " TIMESTAMPTZ '2024-01-01 00:00:00+01' AS at, n, 12.30::DECIMAL(10, 2) AS price,"
            " (CASE n % 2 WHEN 0 THEN 'even' ELSE 'odd' END)::ENUM('even', 'odd') AS parity,"
            ' \'{"b": 1, "a": [1]}\'::JSON AS doc, [1, 2] AS list,'
            " 170141183460469231731687303715884105727::HUGEINT AS huge"
            " FROM range(1, 5001) r(n)"
        )
    path = pipeline(
        tmp_path,
        query("SELECT * FROM events ORDER BY n"),
        EVENTS.replace(', timezone = "UTC", format = "iso8601"', ""),
    )
    done = send(path, env={"DSN": "duckdb:///shop.duckdb"})
    assert done.code == 0, done.stderr
    first = min(sandbox.events(), key=lambda each: each["attributes"]["n"])
    assert first["timestamp"] == 1704063600
    assert first["attributes"] == {
        "doc": {"a": [1], "b": 1},
        "huge": "170141183460469231731687303715884105727",
        "list": [1, 2],
        "n": 1,
        "parity": "odd",
        "price": 12.3,
    }
    assert len(sandbox.events()) == 5_000


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nosuch FROM events", "nosuch"),
        ("CREATE TABLE other (a INT)", "refuses the query"),
        ("SELECT 'canary@x.com'::INT AS n FROM events", "refuses the query"),
        ("COPY events TO 'copy.csv'", "it writes files: a source only reads"),
        ("SELECT 1; COPY events TO 'copy.csv'", "it writes files: a source only reads"),
        ("SELECT * FROM read_csv('nosuch.csv')", "refuses the query"),
        ("SELECT INTERVAL 1 DAY AS age, * FROM events", "'age' is of the type INTERVAL"),
        ("SELECT 'infinity'::TIMESTAMP AS at FROM events", "'at' holds an infinite date"),
    ],
)
def test_what_duckdb_refuses_is_said_in_its_words(tmp_path, look, sql, said):
    """With a next step; a value is not quoted."""
    with duckdb.connect(tmp_path / "shop.duckdb") as shop:
        shop.execute("CREATE TABLE events AS SELECT 'p1' AS id, 'e' AS event, now() AS at")
    ended = look(pipeline(tmp_path, query(sql)), env={"DSN": "duckdb:///shop.duckdb"})
    assert ended.code == 2, ended.stderr
    assert said in ended.stderr
    assert "canary" not in ended.stderr
    assert not list(tmp_path.rglob("copy.csv"))


# Stdin


def piped(folder: Path, content: bytes) -> str:
    """A file whose content is piped into a command."""
    path = folder / "piped"
    path.write_bytes(content)
    return str(path)


def parquet_bytes() -> bytes:
    """Three events."""
    rows = pa.table({"id": ["p1"] * 3, "event": ["e"] * 3, "at": ["2024-01-01T00:00Z"] * 3})
    buffer = io.BytesIO()
    pq.write_table(rows.append_column("n", pa.array([1, 2, 3])), buffer)
    return buffer.getvalue()


PIPED = {
    "csv": numbered(3).encode(),
    "jsonl": b'{"id":"p1","event":"e","at":"2024-01-01T00:00Z","n":1}\n' * 1
    + b'{"id":"p2","event":"e","at":"2024-01-01T00:00Z","n":2}\n'
    + b'{"id":"p3","event":"e","at":"2024-01-01T00:00Z","n":3}',
    "parquet": parquet_bytes(),
}


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("name", PIPED)
def test_stdin_is_read_once_into_a_file(tmp_path, look, send, name):
    """Check and plan read what is piped into them, a run what is piped into it."""
    path = pipeline(tmp_path, f'files = ["-"]\nformat = "{name}"\n')
    stdin = piped(tmp_path, PIPED[name])
    for command in ("check", "plan"):
        looked = look(path, command=command, stdin=stdin)
        assert looked.code == 0, looked.stderr
        assert looked.summary["rows_read"] == 3
    done = send(path, stdin=stdin)
    assert done.code == 0, done.stderr
    assert done.summary["delivered"] == 3
    assert done.summary["sources"][0]["files"] == ["stdin"]


def test_a_resume_does_not_read_stdin_again(tmp_path, start_sending, send, sandbox):
    """What was piped in lies in the job's folder."""
    path = pipeline(tmp_path, 'files = ["-"]\nformat = "csv"\n')
    sandbox.misbehave({"kind": "latency", "seconds": 0.2})
    running = start_sending(path, stdin=piped(tmp_path, numbered(30_000).encode()))
    until(lambda: sandbox.stats()["events"] > 0)
    running.kill()
    sandbox.misbehave()
    done = send(path)
    assert done.code == 0, done.stderr
    assert done.summary["delivered"] == 30_000


def test_more_rows_by_stdin_are_new_events(tmp_path, send, sandbox):
    """As with a file that grew: 5, or --append; a sync sends what is new whatever comes."""
    path = pipeline(tmp_path, 'files = ["-"]\nformat = "csv"\nkey = ["id", "n"]\n', EVENTS)
    first, both = numbered(30), numbered(60)
    assert send(path, stdin=piped(tmp_path, first.encode())).code == 0
    more = piped(tmp_path, both.encode())
    assert send(path, stdin=more).code == 5
    done = send(path, "--append", stdin=more)
    assert (done.code, done.summary["this_run"]["delivered"]) == (0, 30)
    night = piped(tmp_path, (HEADER + numbered(20, first=55).partition("\n")[2]).encode())
    done = send(path, command="sync", stdin=night)
    assert done.code == 0, done.stderr
    assert sorted(int(each["n"]) for each in bodies(sandbox)) == list(range(75))


def test_nothing_piped_in_is_an_empty_file(tmp_path, look):
    """2, with what to do."""
    ended = look(pipeline(tmp_path, 'files = ["-"]\nformat = "csv"\n'))
    assert ended.code == 2
    assert "empty" in ended.stderr


def test_a_pipe_that_stays_open_can_be_interrupted(tmp_path):
    """Nobody has to wait for whatever writes into it."""
    path = pipeline(tmp_path, 'files = ["-"]\nformat = "csv"\n')
    command = [sys.executable, "-m", "backfill", "check", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until(lambda: list(tmp_path.rglob("*.part")))
        process.send_signal(2)
        assert process.wait(20) == 130


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('files = ["-"]\n', 'needs format = "…"'),
        ('files = ["-", "a.csv"]\nformat = "csv"\n', "no other file beside it"),
        ("", "source[1].files: is missing"),
        ('files = ["a.csv"]\n' + query("SELECT 1"), "cannot stand beside"),
        ('encoding = "cp1252"\n' + query("SELECT 1"), "encoding: says how files are written"),
        ('[source.query]\nsql = "SELECT 1"\n', "source[1].query.dsn_env: is missing"),
        (
            '[source.query]\ndsn = "postgresql://u:canary@h/d"\n',
            "no such key; did you mean dsn_env",
        ),
        (
            '[source.query]\nsql = "SELECT 1"\ndsn_env = "postgresql://u:canary@h/d"\n',
            "must be the name of an environment variable",
        ),
    ],
)
def test_a_source_says_where_its_rows_are_once(tmp_path, look, lines, said):
    """Mistakes are named by their key; an address in the wrong place is not quoted."""
    ended = look(pipeline(tmp_path, lines))
    assert ended.code == 2
    assert said in ended.stderr
    assert "canary" not in ended.stderr


def test_restart_asks_the_database_again(tmp_path, start_sending, send, sandbox):
    """What was extracted is forgotten with all that was sent."""
    made_sqlite(tmp_path / "shop.db", *SHOP)
    path = pipeline(tmp_path, query("SELECT * FROM events ORDER BY n"))
    env = {"DSN": "sqlite:///shop.db"}
    sandbox.misbehave({"kind": "status", "status": 503, "path": "/api/v2/batch"})
    running = start_sending(path, env=env)
    until(lambda: sandbox.stats()["requests"] > 1)
    running.kill()
    sandbox.misbehave()
    made_sqlite(tmp_path / "shop.db", "DELETE FROM events WHERE id = 'p3'")
    assert send(path, "--restart", env=env).summary["delivered"] == 2
    assert len(list(tmp_path.rglob("extracts/*/*.parquet"))) == 1


def test_a_file_that_cannot_be_written_stops_an_extraction(tmp_path):
    """It is no bug of ours, and nothing of it stays."""
    made_sqlite(
        tmp_path / "shop.db",
        "CREATE TABLE events AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r"
        " WHERE n < 200000) SELECT 'p' || n AS id, 'e' AS event, '2024-01-01T00:00Z' AS at,"
        " hex(randomblob(40)) AS note FROM r",
    )
    path = pipeline(tmp_path, query("SELECT * FROM events"))
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20));"
        "from backfill.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", limited, "check", str(path)],
        env={**os.environ, "DSN": "sqlite:///shop.db"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode in (2, 6), ended.stderr
    assert "extracts" in ended.stderr
    assert not list(tmp_path.rglob("extracts/*"))
