"""A PostgreSQL of the tests' own: on loopback, in a folder of its own, gone when they are."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import adbc_driver_postgresql.dbapi as driver
import pyarrow as pa

from tests.support.programs import until

USER, PASSWORD = "shop", "canary/pass word"
_NOBODY = 65534
_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")


def programs() -> Path | None:
    """Where `initdb` and `postgres` are; None: they are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@dataclass(slots=True)
class Postgres:
    """A server that runs.

    Args:
        port: Where it listens.
    """

    port: int
    _names: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, database: str = "postgres", *, password: str = PASSWORD, more: str = "") -> str:
        """The address of a database, as users write it."""
        return (
            f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}{more}"
        )

    def database(self) -> "PostgresDatabase":
        """A new database."""
        name = f"db{next(self._names)}"
        PostgresDatabase(self, "postgres").run(f"CREATE DATABASE {name}")
        return PostgresDatabase(self, name)


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """One of its databases."""

    server: Postgres
    name: str

    @property
    def url(self) -> str:
        """Its address, a secret."""
        return self.server.url(self.name)

    def run(self, *statements: str) -> None:
        """Run statements."""
        with _cursor(self.url) as cursor:
            for each in statements:
                cursor.execute(each)

    def load(self, table: str, rows: pa.Table) -> None:
        """Make a table of these rows."""
        with _cursor(self.url) as cursor:
            cursor.adbc_ingest(table, rows)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with _cursor(self.url) as cursor:
            cursor.execute(sql)
            return cursor.fetchall()


@contextmanager
def _cursor(url: str) -> Iterator[Any]:
    with closing(driver.connect(url, autocommit=True)) as connection, connection.cursor() as cursor:
        yield cursor


def _as_nobody() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid():
        return {}
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a server; it is stopped when the body ends."""
    bin_ = programs()
    assert bin_ is not None
    # Outside of pytest's folder, into which only its own user may look.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder, data = Path(name), Path(name) / "data"
        (folder / "password").write_text(PASSWORD)
        for each in (folder, folder / "password"):
            if not os.geteuid():
                os.chown(each, _NOBODY, _NOBODY)
        run: Sequence[str] = [
            str(bin_ / "initdb"), f"--pgdata={data}", f"--username={USER}",
            "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--encoding=UTF8",
            "--no-locale", "--no-sync",
        ]  # fmt: skip
        subprocess.run(run, check=True, capture_output=True, cwd=folder, **_as_nobody())
        port = _free_port()
        settings = [
            f"port={port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={folder}",
        ]
        options = [part for each in (*settings, *_FAST) for part in ("-c", each)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(bin_ / "postgres"), "-D", str(data), *options],
                stdout=log, stderr=log, cwd=folder, **_as_nobody(),
            )  # fmt: skip
        try:
            until(lambda: _answers(port))
            yield Postgres(port)
        finally:
            process.send_signal(signal.SIGQUIT)  # at once, whoever is connected
            process.wait()


def _answers(port: int) -> bool:
    try:
        driver.connect(Postgres(port).url()).close()
    except driver.Error:
        return False
    return True
