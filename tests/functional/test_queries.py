"""Rows of a database: extracted once, then a file like any other; its address is a secret."""

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from backfill.pipeline.file import Pipeline
from backfill.sources.inputs import open_inputs
from tests.support.postgres import postgres, programs
from tests.support.programs import until

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")

EVENTS = """
[[source]]
kind = "events"
identifier = {{ id = "person" }}
name = {{ from = "event" }}
timestamp = {{ from = "at" }}
key = ["id"]
[source.query]
dsn_env = "WAREHOUSE_DSN"
sql = """
SQL = "SELECT * FROM events ORDER BY id"
MANY = """
CREATE TABLE events AS
SELECT n AS id, 'p' || n % 10 AS person, 'seen' AS event,
    timestamptz '2024-01-01' + n * interval '1 minute' AS at
FROM generate_series(1, {count}) AS n
"""
SLOWLY = "SELECT *, pg_sleep(0.005) IS NULL AS slept FROM events ORDER BY id"
BUSY = """
SELECT 1 FROM pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
"""
NOWHERE = "postgresql://shop:canary%2Fpass%20word@127.0.0.1:1/shop"


@pytest.fixture(scope="session")
def server():
    """One server for all tests."""
    with postgres() as started:
        yield started


@pytest.fixture
def database(server):
    """A database of the test's own."""
    return server.database()


@pytest.fixture
def env(database):
    """What the program finds the database by."""
    return {"WAREHOUSE_DSN": database.url}


@pytest.fixture(autouse=True)
def _no_secret(tmp_path):
    """Whatever a test does, the password is nowhere in what it leaves or says."""
    yield
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"canary/pass" not in content, path
            assert b"canary%2Fpass" not in content, path


def pipeline(folder: Path, sql: str = SQL, more: str = "") -> Path:
    """A pipeline of one query."""
    path = folder / "pipeline.toml"
    source = EVENTS.format() + json.dumps(sql) + "\n" + more
    path.write_text(f'name = "job"\n{source}', "utf-8")
    return path


def extracts(folder: Path) -> list[Path]:
    """What is kept of queries."""
    return sorted((folder / ".backfill/job/extracts").rglob("*.parquet"))


def ids(sandbox) -> list[int]:
    """Which events arrived."""
    return sorted(each["attributes"]["id"] for each in sandbox.events())


def test_the_rows_of_a_query_arrive_and_its_plan_shows_them(
    tmp_path, look, send, sandbox, database, env
):
    """Check, plan and run extract; nobody sees where the database is."""
    database.run(MANY.format(count=300))
    path = pipeline(tmp_path)

    for command in ("check", "plan"):
        looked = look(path, command=command, env=env)
        assert looked.code == 0, looked.stderr
    assert not extracts(tmp_path)

    done = send(path, env=env)
    assert done.code == 0, done.stderr
    assert ids(sandbox) == list(range(1, 301))
    assert "extract: 300 rows" in done.stderr
    assert len(extracts(tmp_path)) == 1


def test_a_resume_never_asks_the_database(tmp_path, start_sending, send, sandbox, database, env):
    """Killed while it sends, it goes on without the database, whatever became of that."""
    database.run(MANY.format(count=30_000))
    path = pipeline(tmp_path)
    sandbox.misbehave({"kind": "latency", "seconds": 0.2})
    running_ = start_sending(path, env=env)
    until(lambda: sandbox.stats()["events"] > 0)
    running_.kill()
    database.run("DROP TABLE events")
    sandbox.misbehave()

    done = send(path, env={"WAREHOUSE_DSN": NOWHERE})

    assert done.code == 0, done.stderr
    assert ids(sandbox) == list(range(1, 30_001))
    assert done.summary["rows_read"] == 30_000


def test_a_crash_before_the_first_row_is_sent_keeps_what_was_extracted(
    tmp_path, start_sending, send, sandbox, database, env
):
    """Killed between extraction and sending, the next call sends what had been extracted."""
    database.run(MANY.format(count=300))
    path = pipeline(tmp_path)
    sandbox.misbehave({"kind": "hang", "path": "/api/v1/accounts/region"})
    running_ = start_sending(path, env=env)
    until(lambda: extracts(tmp_path) and not list(tmp_path.rglob("*.part")))
    running_.kill()
    database.run("DROP TABLE events")
    sandbox.misbehave()

    done = send(path, env={"WAREHOUSE_DSN": NOWHERE})

    assert done.code == 0, done.stderr
    assert ids(sandbox) == list(range(1, 301))


def test_a_crash_while_extracting_starts_the_extraction_again(
    tmp_path, start_sending, send, sandbox, backfill, database, env
):
    """Nothing of half an extraction is ever sent, and nothing of it stays."""
    database.run(MANY.format(count=300))
    path = pipeline(tmp_path, SLOWLY)
    running_ = start_sending(path, env=env)
    until(lambda: list(tmp_path.rglob("*.part")))
    until(lambda: "extracting" in backfill("status", path).stdout)
    running_.kill()
    assert "interrupted" in backfill("status", path).stdout
    assert list(tmp_path.rglob("*.part"))
    database.run("INSERT INTO events VALUES (301, 'p1', 'seen', '2024-02-01')")

    done = send(path, env=env)

    assert done.code == 0, done.stderr
    assert ids(sandbox) == list(range(1, 302))
    assert not list(tmp_path.rglob("*.part"))
    assert len(extracts(tmp_path)) == 1


@pytest.mark.usefixtures("sandbox")
def test_an_extraction_stops_when_it_is_asked_to(tmp_path, start_sending, database, env):
    """Ctrl-C and a time limit end a query that has no row yet, also on the server."""
    database.run(MANY.format(count=3))
    path = pipeline(tmp_path, "SELECT *, pg_sleep(30) IS NULL AS slept FROM events")
    running_ = start_sending(path, env=env)
    until(lambda: database.ask(BUSY))
    running_.signal(2)
    assert running_.ended().code == 130
    until(lambda: not database.ask(BUSY))
    ended = start_sending(path, "--for", "1s", env=env).ended()
    assert ended.code == 75
    assert not extracts(tmp_path)
    said = json.loads((tmp_path / ".backfill/job/status.json").read_bytes())
    assert (said["state"], said["exit"]) == ("ended", 75)


def test_a_finished_run_extracts_again_and_sees_what_changed(
    tmp_path, send, database, env, sandbox
):
    """Same rows: nothing to do. Other rows: 5, as with a file; a sync sends what is new."""
    database.run(MANY.format(count=30))
    path = pipeline(tmp_path)
    assert send(path, env=env).code == 0
    again = send(path, env=env)
    assert again.code == 0
    assert again.summary["this_run"]["requests"] == 0

    database.run("INSERT INTO events VALUES (31, 'p1', 'seen', '2024-02-01')")
    changed = send(path, env=env)
    assert changed.code == 5, changed.stderr
    assert "sync" in changed.next_step
    assert len(extracts(tmp_path)) == 1

    night = send(path, command="sync", env=env)
    assert night.code == 0, night.stderr
    assert night.summary["this_run"]["delivered"] == 1
    assert ids(sandbox) == list(range(1, 32))


@pytest.mark.parametrize(
    ("sql", "code", "said"),
    [
        ("SELEC 1", 2, "syntax error at or near"),
        ("SELECT nosuch FROM events", 2, 'column "nosuch" does not exist'),
        ("SELECT * FROM nosuch", 2, 'relation "nosuch" does not exist'),
        ("DROP TABLE events", 2, "read-only"),
        ("SELECT 1 AS id, 2 AS id", 2, "two columns of the name 'id'"),
        ("SELECT id, interval '1 day' AS age FROM events", 2, "'age' is of the type interval"),
        ("SELECT id, '12.30'::money AS paid FROM events", 2, "'paid' is of the type money"),
        ("SELECT id, '127.0.0.1'::inet AS ip FROM events", 2, "'ip' is of the type inet"),
        ("SELECT id, timestamptz 'infinity' AS at FROM events", 2, "'at' holds an infinite date"),
        ("SELECT id, numeric 'NaN' AS paid FROM events", 2, "'paid' holds NaN"),
        ("SELECT id, ('canary@x.com' || id)::int AS n FROM events", 2, "invalid input syntax"),
        ("SELECT id, pg_sleep(5) IS NULL AS x FROM events", 75, "time limit"),
        ("SELECT id, pg_terminate_backend(pg_backend_pid()) FROM events", 75, "lost"),
        ("SELECT * FROM events -- all of them;", 0, ""),
        ("SELECT * FROM events;\n", 0, ""),
    ],
)
def test_what_a_database_refuses_is_said_in_its_words(
    tmp_path, backfill, database, sql, code, said
):
    """Each ends with its code, its sentence and a next step; no value of a row is quoted."""
    database.run(MANY.format(count=3))
    path = pipeline(tmp_path, sql)
    url = f"{database.url}?options=-c%20statement_timeout%3D500"
    ended = backfill("check", path, "--debug", env={"WAREHOUSE_DSN": url})
    assert ended.code == code, ended.stderr
    assert said in ended.stderr.replace("\n  ", " ")
    assert ended.next_step
    told = ended.stdout + ended.stderr
    assert "canary" not in told.replace(sql, "")


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        (NOWHERE, 75, "cannot be reached"),
        ("postgresql://shop:canary@no.such.host.invalid/shop", 75, "host"),
        ("postgresql://shop:canary%zz@127.0.0.1/shop", 2, "address"),
        ("postgresql://shop:canary one@127.0.0.1/shop", 2, "address"),
        ("host=127.0.0.1 password=canary", 2, "address"),
        ("mysql://shop:canary@127.0.0.1/shop", 2, "address"),
        ("", 2, "not set"),
        ("snowflake://shop:canary@account/db", 2, "pip install 'backfill[snowflake]'"),
        ("bigquery://canary/shop", 2, "pip install 'backfill[bigquery]'"),
        ("sqlite:///canary.db", 2, "no such database file"),
    ],
)
def test_an_address_that_leads_nowhere_is_never_quoted(tmp_path, backfill, url, code, said):
    """Not even where it cannot be read, which is what drivers quote."""
    ended = backfill("check", pipeline(tmp_path), "--debug", env={"WAREHOUSE_DSN": url})
    assert ended.code == code, ended.stderr
    assert said in ended.stderr.replace("\n  ", " ")
    assert "canary" not in ended.stdout + ended.stderr


def test_a_wrong_password_and_a_wrong_name_are_told_apart(tmp_path, backfill, server):
    """4 for the password, 2 for the database."""
    wrong = {"WAREHOUSE_DSN": server.url(password="canary-wrong")}
    ended = backfill("check", pipeline(tmp_path), "--debug", env=wrong)
    assert ended.code == 4, ended.stderr
    assert "canary" not in ended.stdout + ended.stderr
    ended = backfill("check", pipeline(tmp_path), env={"WAREHOUSE_DSN": server.url("nosuch")})
    assert ended.code == 2, ended.stderr


TYPES = """
SELECT 'p1' AS person, 'seen' AS event, timestamptz '2024-01-31 10:00:00.123456+02' AS at, 7 AS id,
    12.30::numeric(10, 2) AS price, 0.1 + 0.2 AS ratio, 12345678901234567890.12 AS many,
    '3f2b8c1e-9d4a-4f6b-8a7c-1e2d3c4b5a69'::uuid AS uuid, '{"b": 1.50, "a": [null]}'::jsonb AS doc,
    ARRAY[1, 2] AS whole, ARRAY['x', NULL] AS texts, ARRAY[1.50] AS prices,
    ARRAY['{"a": 1}'::jsonb] AS docs, 'ok'::mood AS mood, ARRAY['ok'::mood] AS moods,
    'x'::char(3) AS padded, 9007199254740993 AS big, true AS yes, '10:00'::time AS clock,
    ROW(1, 'x')::pair AS pair, ''::text AS empty, NULL::text AS nothing, '<a/>'::xml AS xml
"""


def test_types_are_kept(tmp_path, send, sandbox, database, env):
    """Numbers exactly, documents as such, instants with their microseconds in the id."""
    database.run("CREATE TYPE mood AS ENUM ('sad', 'ok')", "CREATE TYPE pair AS (a int, b text)")
    done = send(pipeline(tmp_path, TYPES), env=env)
    assert done.code == 0, done.stderr
    (event,) = sandbox.events()
    assert event["timestamp"] == 1706688000
    assert event["attributes"] == {
        "big": "9007199254740993",
        "clock": "10:00:00.000000",
        "doc": {"a": [None], "b": 1.5},
        "docs": [{"a": 1}],
        "empty": "",
        "id": 7,
        "many": "12345678901234567890.12",
        "mood": "ok",
        "moods": ["ok"],
        "padded": "x",
        "pair": {"a": 1, "b": "x"},
        "price": 12.3,
        "prices": [1.5],
        "ratio": 0.3,
        "texts": ["x", None],
        "uuid": "3f2b8c1e-9d4a-4f6b-8a7c-1e2d3c4b5a69",
        "whole": [1, 2],
        "xml": "<a/>",
        "yes": True,
    }


@pytest.mark.parametrize(
    ("column", "said"),
    [("timestamp '2024-01-31 10:00'", "without a time zone"), (r"'\\x01'::bytea", "holds bytes")],
)
def test_a_clock_without_zone_and_bytes_are_declared_as_in_any_file(
    tmp_path, look, database, env, column, said
):
    """The same table of types as for Parquet."""
    database.run(MANY.format(count=3))
    ended = look(pipeline(tmp_path, f"SELECT *, {column} AS odd FROM events"), env=env)
    assert ended.code == 2, ended.stderr
    assert "query of source 1: column 'odd'" in ended.stderr
    assert said in ended.stderr


def test_queries_of_one_database_see_one_state_of_it(tmp_path, start, database, env):
    """Whatever is written between the first query and the second."""
    database.run(
        MANY.format(count=100), "CREATE TABLE people AS SELECT DISTINCT person FROM events"
    )
    people = """
[[source]]
kind = "customers"
identifier = { id = "person" }
query = { dsn_env = "WAREHOUSE_DSN", sql = "SELECT *, pg_sleep(0.1) IS NULL AS x FROM people" }
"""
    path = pipeline(tmp_path, more=people)
    text = path.read_text("utf-8")
    # The events come second here: people are sent first, but queries run as they are written.
    head, _, rest = text.partition("[[source]]")
    events, _, people = rest.partition("[[source]]")
    path.write_text(f"{head}[[source]]{people}[[source]]{events}", "utf-8")
    looking = start("check", path, "--json", env=env)
    until(lambda: database.ask(f"{BUSY} AND wait_event = 'PgSleep'"))  # it sees its rows by now
    database.run("DELETE FROM events")
    ended = looking.ended()
    assert ended.code == 0, ended.stderr
    assert ended.summary["rows_read"] == 110


def test_a_retry_goes_by_the_rows_that_were_sent(tmp_path, send, database, env, sandbox):
    """The database may have gone; what was extracted stays as long as rows may be retried."""
    database.run(MANY.format(count=3), "UPDATE events SET person = '' WHERE id = 2")
    path = pipeline(tmp_path)
    assert send(path, env=env).code == 3
    rejected = tmp_path / ".backfill/job/rejected.csv"
    text = rejected.read_text("utf-8-sig")
    assert "query of source 1" in text
    first, row = text.splitlines()
    place = first.split(",").index("person")
    cells = row.split(",")
    cells[place] = "p2"
    rejected.write_text(f"{first}\n{','.join(cells)}\n", "utf-8")
    database.run("DROP TABLE events")
    done = send(path, command="retry", env={"WAREHOUSE_DSN": NOWHERE})
    assert done.code == 0, done.stderr
    assert ids(sandbox) == [1, 2, 3]


def test_each_night_extracts_anew(tmp_path, send, sandbox, database, env):
    """People by what changed, events by their ids; a night that was killed goes on as it was."""
    database.run(MANY.format(count=30), "CREATE TABLE people AS SELECT DISTINCT person FROM events")
    people = """
[[source]]
kind = "customers"
identifier = { id = "person" }
query = { dsn_env = "WAREHOUSE_DSN", sql = "SELECT * FROM people ORDER BY person" }
"""
    path = pipeline(tmp_path, more=people)
    assert send(path, command="sync", env=env).code == 0
    same = send(path, command="sync", env=env)
    assert (same.code, same.summary["this_run"]["delivered"]) == (0, 0)
    database.run(
        "ALTER TABLE people ADD city text",
        "UPDATE people SET city = 'Kyiv' WHERE person = 'p3'",
        "INSERT INTO events VALUES (31, 'p1', 'seen', '2024-02-01')",
    )
    night = send(path, command="sync", env=env)
    assert (night.code, night.summary["this_run"]["delivered"]) == (0, 2), night.stderr
    assert sandbox.people()["p3"]["attributes"]["city"] == "Kyiv"
    assert ids(sandbox) == list(range(1, 32))


@pytest.mark.usefixtures("sandbox")
def test_deletions_can_be_asked_for(tmp_path, send, database, env):
    """Guarded as from a file."""
    database.run("CREATE TABLE gone AS SELECT 'p' || n AS person FROM generate_series(1, 3) AS n")
    path = tmp_path / "pipeline.toml"
    path.write_text(
        'name = "job"\n[[source]]\nkind = "deletions"\nidentifier = { id = "person" }\n'
        'query = { dsn_env = "WAREHOUSE_DSN", sql = "SELECT * FROM gone ORDER BY 1" }\n',
        "utf-8",
    )
    done = send(path, env=env)
    assert done.code == 0, done.stderr
    assert done.summary["deletes"] == 3


def test_a_changed_query_is_other_rows(tmp_path, start_sending, send, sandbox, database, env):
    """Changed while rows of it are under way: 5; put back, the run goes on where it was."""
    database.run(MANY.format(count=30_000))
    path = pipeline(tmp_path)
    text = path.read_text("utf-8")
    sandbox.misbehave({"kind": "latency", "seconds": 0.2})
    running_ = start_sending(path, env=env)
    until(lambda: sandbox.stats()["events"] > 0)
    running_.kill()
    sandbox.misbehave()
    path.write_text(text.replace("ORDER BY id", "WHERE id > 9 ORDER BY id"), "utf-8")
    assert send(path, env=env).code == 5
    path.write_text(text, "utf-8")
    done = send(path, env={"WAREHOUSE_DSN": NOWHERE})
    assert done.code == 0, done.stderr
    assert ids(sandbox) == list(range(1, 30_001))


# The demo's own data

SHAPES = {
    "duplicate_key", "invalid_json", "invalid_utf8", "not_an_object", "quote_out_of_place",
    "too_few_fields", "too_many_fields", "unclosed_quote",
}  # fmt: skip
"""Reasons of rows that no table can hold."""


def loaded(database, pipeline_: Pipeline) -> list[str]:
    """Load what each source of a pipeline reads into a table; give a query for each.

    Rows without the shape of a row are left out. Cells of text stay text, JSON Lines become typed.
    """
    queries = []
    for index in range(len(pipeline_.sources)):
        batches = [
            as_typed(chunk.batch, chunk.values)
            for each in open_inputs(pipeline_)
            if each.source == index
            for chunk in each.file.chunks()
        ]
        rows = pa.concat_tables(batches, promote_options="default")
        rows = rows.append_column("_n", pa.array(range(rows.num_rows)))
        database.load(f"source{index}", rows)
        names = ", ".join(f'"{name}"' for name in rows.schema.names if name != "_n")
        sql = f"SELECT {names} FROM source{index} ORDER BY _n"
        queries.append(sql.replace('"channel"', '"channel"::jsonb'))
    return queries


def as_typed(batch: pa.RecordBatch, values: str) -> pa.Table:
    """A chunk as a database would hold it."""
    if values != "json":
        return pa.table(
            {
                name: column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            }
        )
    return pa.table(
        {
            name: [
                None if each is None else each if name == "channel" else json.loads(each)
                for each in column.to_pylist()
            ]
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
    )


def test_the_demo_from_tables_is_the_demo_from_files(tmp_path, send, sandbox, database, env):
    """The same events with the same ids, the same people, rejections and counts."""
    for name in ("pipelines", "sample_data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    path = tmp_path / "pipelines/acme.toml"
    from_files = send(path).summary
    people, events = sandbox.people(), by_id(sandbox.events())
    sandbox.reset()

    text = path.read_text("utf-8")
    for sql in loaded(database, Pipeline.load(path)):
        query = f'query = {{ dsn_env = "WAREHOUSE_DSN", sql = {json.dumps(sql)} }}'
        text = re.sub(
            r"^files = .*$", query.replace("\\", r"\\"), text, count=1, flags=re.MULTILINE
        )
    path.write_text(re.sub(r"^(delimiter|encoding) = .*$", "", text, flags=re.MULTILINE), "utf-8")
    from_tables = send(path, "--state-dir", "other", env=env).summary

    reasons = from_files["rejections_by_reason"]
    shapeless = sum(reasons[each] for each in SHAPES & reasons.keys())
    assert from_tables["rejections_by_reason"] == {
        code: count for code, count in reasons.items() if code not in SHAPES
    }
    for count in ("delivered", "merged", "skipped", "requests"):
        assert from_tables[count] == from_files[count], count
    assert from_tables["rows_read"] == from_files["rows_read"] - shapeless
    assert by_id(sandbox.events()) == events
    assert {name: each["attributes"] for name, each in sandbox.people().items()} == {
        name: each["attributes"] for name, each in people.items()
    }


def by_id(events) -> dict:
    """What each event id stands for."""
    return {
        each["id"]: [each[key] for key in ("person", "name", "timestamp", "attributes")]
        for each in events
    }
