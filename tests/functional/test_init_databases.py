"""`init` looks at a database: what it writes runs, and nothing of the address is in it."""

import json
import sqlite3

import duckdb
import pytest

from backfill.pipeline.file import Pipeline
from tests.support.postgres import postgres, programs

ROWS = (
    "INSERT INTO {0} VALUES (1, 'p1', 'bought', '2024-01-01T10:00:00Z', 12.5),"
    " (2, 'p2', 'bought', '2024-01-02T10:00:00Z', 7), (3, 'p1', 'sold', '2024-01-03T10:00:00Z', 1)"
)
TABLE = (
    "CREATE TABLE {0} (id INTEGER PRIMARY KEY, user_id TEXT, event TEXT, happened_at {1}, paid {2})"
)


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL for these tests."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres() as started:
        yield started


def proposed(tmp_path, ended):
    """The pipeline that was written, and its only query."""
    assert ended.code == 0, ended.stderr
    text = (tmp_path / "pipeline.toml").read_text("utf-8")
    assert "canary" not in text + ended.stdout + ended.stderr
    (source,) = Pipeline.load(tmp_path / "pipeline.toml").sources
    return source


def test_a_table_of_postgresql_is_proposed_in_the_order_of_its_key(tmp_path, server, init, look):
    """The address stays on the command line, and a password there is warned of."""
    database = server.database()
    database.run(TABLE.format("orders", "timestamptz", "numeric"), ROWS.format("orders"))
    ended = init(database.url, "--table", "orders")
    source = proposed(tmp_path, ended)
    assert "careful: a password" in ended.stderr
    assert source.query.sql == "SELECT * FROM orders ORDER BY id"
    assert (source.kind, source.query.dsn_env) == ("events", "WAREHOUSE_DSN")
    assert "set WAREHOUSE_DSN" in ended.next_step
    assert look(tmp_path / "pipeline.toml", env={"WAREHOUSE_DSN": database.url}).code == 0


def test_an_address_in_a_variable_is_named_by_it(tmp_path, server, init, look):
    """Nobody sees it then; a query stands in the file as it was given."""
    database = server.database()
    database.run(TABLE.format('"Odd Name"', "timestamptz", "numeric"), ROWS.format('"Odd Name"'))
    env = {"SHOP": database.url}
    ended = init("env:SHOP", "--query", 'SELECT * FROM "Odd Name"', env=env)
    source = proposed(tmp_path, ended)
    assert (source.query.sql, source.query.dsn_env) == ('SELECT * FROM "Odd Name"', "SHOP")
    assert "careful" not in ended.stderr
    assert "no ORDER BY" in ended.stdout
    assert look(tmp_path / "pipeline.toml", env=env).code == 0
    (tmp_path / "pipeline.toml").unlink()
    assert proposed(tmp_path, init("env:SHOP", "--table", "Odd Name", env=env)).query.sql == (
        'SELECT * FROM "Odd Name" ORDER BY id'
    )


@pytest.mark.parametrize("scheme", ["sqlite", "duckdb"])
@pytest.mark.parametrize("by_name", [True, False])
def test_a_database_file_is_known_by_its_address_or_its_name(tmp_path, init, look, scheme, by_name):
    """Its table has the order of its primary key."""
    statements = TABLE.format("orders", "TEXT", "DOUBLE"), ROWS.format("orders")
    if scheme == "sqlite":
        path = tmp_path / "shop.db"
        with sqlite3.connect(path) as connection:
            for each in statements:
                connection.execute(each)
        connection.close()
    else:
        path = tmp_path / "shop.duckdb"
        with duckdb.connect(path) as connection:
            for each in statements:
                connection.execute(each)
    address = f"{scheme}:///{path.name}"
    ended = init(str(path) if by_name else address, "--table", "orders", "--json")
    assert json.loads(ended.stdout.splitlines()[-1])["rows_read"] == 3
    assert proposed(tmp_path, ended).query.sql == "SELECT * FROM orders ORDER BY id"
    assert look(tmp_path / "pipeline.toml", env={"WAREHOUSE_DSN": address}).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("sqlite:///shop.db",), 2, "nothing says which rows"),
        (("sqlite:///shop.db", "--table", "nosuch"), 2, "no such table: nosuch"),
        (("sqlite:///nosuch.db", "--table", "orders"), 2, "no such database file"),
        (("env:NOSUCH", "--table", "orders"), 2, "NOSUCH: the environment variable is not set"),
        (("shop.csv", "--table", "orders"), 2, "are about a database"),
        (("postgresql://u:canary@127.0.0.1:1/d", "--table", "t"), 75, "cannot be reached"),
    ],
)
def test_what_cannot_be_looked_at_is_said(tmp_path, init, arguments, code, said):
    """With its code; no file is written."""
    sqlite3.connect(tmp_path / "shop.db").execute("CREATE TABLE orders (id)").connection.close()
    (tmp_path / "shop.csv").write_text("id\n1\n")
    ended = init(*arguments)
    assert ended.code == code, ended.stderr
    assert said in ended.stderr
    assert "canary" not in ended.stderr
    assert not (tmp_path / "pipeline.toml").exists()


@pytest.fixture
def init(backfill, tmp_path):
    """Run `init` in the test's folder."""
    return lambda *arguments, **more: backfill("init", *arguments, "--yes", cwd=tmp_path, **more)
