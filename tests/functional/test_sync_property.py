"""For any tables, syncs and kills the workspace ends as the last table says.

A night runs in a fork that dies at its n-th audited event (a file opened, renamed or removed, a
socket made), as suddenly as by `kill -9`.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.commands.sync import sync
from backfill.engine.options import Options
from backfill.errors import BackfillError
from backfill.pipeline.file import Pipeline
from tests.support.examples import examples
from tests.support.forking import get_ready
from tests.support.workspaces import Workspace, workspace

KILLED = 9
KILLS_AT = st.integers(1, 160) | st.integers(95, 145)
"""A night has some 190 events, reports included; people are told something from 100 to 140."""

PIPELINE = """
name = "nights"
[[source]]
kind = "customers"
files = ["customers-*.csv"]
identifier = {{ id = "id" }}
nulls = "{nulls}"
[source.columns]
age = "integer"
[source.sync]
vanished = "{vanished}"
deletes_max = "100%"
rows_change_max = "100000%"
"""
BAD = "young"

people = st.sampled_from([f"p{n}" for n in range(6)])
ages = st.sampled_from(["", "1", "2", "3", BAD])
plans = st.sampled_from(["", "gold", "silver"])
rows = st.tuples(people, ages, plans)
tables = st.lists(rows, max_size=8)
nights = st.tuples(tables, st.none() | KILLS_AT)


@pytest.fixture(scope="module")
def shared():
    """A workspace for all histories."""
    get_ready()
    with workspace() as running:
        yield running


@settings(
    max_examples=examples(12),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    history=st.lists(nights, min_size=1, max_size=4),
    nulls=st.sampled_from(["omit", "clear"]),
    vanished=st.sampled_from(["keep", "delete"]),
)
def test_the_workspace_ends_as_the_last_table(shared, history, nulls, vanished):
    """Whatever was sent, lost or killed before: one more sync, and it is as the source says."""
    shared.reset()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.toml"
        path.write_text(PIPELINE.format(nulls=nulls, vanished=vanished))
        for table, kill_at in history:
            write(path.parent, table)
            code = one_night(path, shared.url, kill_at)
            assert code in (0, 3, KILLED)
        if code == KILLED:
            assert one_night(path, shared.url, None) in (0, 3)
    compare(shared, [table for table, _ in history], nulls, vanished)


def write(folder: Path, table) -> None:
    """Tonight's export, in two files."""
    half = len(table) // 2
    for name, some in (("customers-1.csv", table[:half]), ("customers-2.csv", table[half:])):
        lines = ["id,age,plan", *(",".join(row) for row in some)]
        (folder / name).write_text("\n".join(lines) + "\n")


def one_night(path: Path, url: str, kill_at: int | None) -> int:
    """Sync in a fork, which may be killed; give its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if kill_at is not None:
                die_at(kill_at)
            options = Options(url=url, rate=0, env={})
            code = sync(Pipeline.load(path), options).exit
        except BackfillError as error:
            print(error, error.next_step, file=sys.stderr)
            code = error.exit_code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(event: int) -> None:
    """End this process at its n-th audited event that touches files or sockets."""
    left = event

    def count(name: str, _: tuple) -> None:
        nonlocal left
        if name == "open" or name.startswith(("os.", "socket.", "shutil.", "fcntl.")):
            left -= 1
            if left == 0:
                os._exit(KILLED)

    sys.addaudithook(count)


def compare(sandbox: Workspace, history, nulls: str, vanished: str) -> None:
    """Whom the last table names well is as it says; who is gone is gone, if so declared."""
    *_, last = history
    named = {person for person, _, _ in last}
    expected = merged(last)
    found = {name: each["attributes"] for name, each in sandbox.people().items()}
    for person, said in expected.items():
        there = found[person]
        for attribute, value in said.items():
            if value is not None or nulls == "clear":
                assert there.get(attribute) == value, (person, attribute, there, said)
    ever = {person for table in history for person in merged(table)}
    assert found.keys() <= ever
    if vanished == "delete":
        assert found.keys() <= named
    elif len(history) == 1:
        assert found.keys() == expected.keys()


def merged(table) -> dict[str, dict[str, int | str | None]]:
    """What the good rows of a table say of each person: a later value wins, null never does."""
    people_: dict[str, dict[str, int | str | None]] = {}
    for person, age, plan in table:
        if age == BAD:
            continue
        said = people_.setdefault(person, {"age": None, "plan": None})
        said["age"] = int(age) if age else said["age"]
        said["plan"] = plan or said["plan"]
    return people_
