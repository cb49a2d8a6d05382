"""Small jobs for tests: a pipeline file and the files that it reads."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

CUSTOMERS = """
[[source]]
kind = "customers"
files = ["customers*.*"]
identifier = { id = "id" }
"""
AGES = """
[[source]]
kind = "customers"
files = ["customers.csv"]
identifier = { id = "id" }
[source.columns]
age = "integer"
"""
AGED = f'{AGES}[source.sync]\nvanished = "delete"\n'
"""Customers with an age, who are deleted once a sync's export names them no more."""

EVENTS = """
[[source]]
kind = "events"
files = ["events*.*"]
identifier = { id = "id" }
name = { from = "event" }
timestamp = { from = "at", timezone = "UTC", format = "iso8601" }
"""
DELETIONS = """
[[source]]
kind = "deletions"
files = ["gone*.csv"]
identifier = { id = "id" }
"""
HEADER = "id,event,at,n\n"


def job(
    folder: Path, files: Mapping[str, str | bytes], *tables: str, name: str = "job", top: str = ""
) -> Path:
    """Write a job; give its pipeline file.

    Args:
        folder: Where.
        files: What the source files hold.
        tables: Tables of the pipeline file.
        name: The job's name.
        top: Lines of the pipeline file before its tables.
    """
    for file, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / file).write_bytes(data)
    path = folder / "pipeline.toml"
    path.write_text(f'name = "{name}"\n{top}\n' + "\n".join(tables), "utf-8")
    return path


def people(*ids: str) -> str:
    """A file of customers who have nothing but an e-mail address."""
    return "id,email\n" + "".join(f"{each},{each}@example.com\n" for each in ids)


def numbered(count: int, first: int = 0) -> str:
    """A file of so many events, one a minute, of ten people in turn."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = (
        f"p{n % 10},seen,{(start + timedelta(minutes=n)).isoformat()},{n}\n"
        for n in range(first, first + count)
    )
    return HEADER + "".join(rows)


def ago(**age: float) -> str:
    """A moment so long before now, as a file writes it."""
    return (datetime.now(UTC) - timedelta(**age)).isoformat(timespec="seconds")


def commits(pipeline: Path, name: str = "job") -> int:
    """How often a job's journal was written, as the lock's record tells."""
    with suppress(OSError, ValueError, KeyError):
        return json.loads((pipeline.parent / ".backfill" / name / "lock").read_bytes())["commits"]
    return 0


def rejected(pipeline: Path, name: str = "job") -> Path:
    """Where the rejected rows of a job are."""
    return pipeline.parent / ".backfill" / name / "rejected.csv"
