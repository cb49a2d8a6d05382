"""What the workspace was told last is remembered person by person, in step with the journal."""

import signal
import stat
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import StateError
from backfill.journal import forget
from backfill.sync.snapshot import OUTCOMES, SNAPSHOT_FILE, SNAPSHOT_FILES, Snapshot, connected

PEOPLE = "SELECT identifier, high, refused_high, reasons FROM person ORDER BY identifier"


@pytest.fixture
def update(tmp_path):
    """Tell a snapshot what became of people: identifier, content, outcome."""

    def updated(snapshot, number, *outcomes, why=None, runs=(1, 1)):
        rows = [("id", who, said, said, outcome, why, None) for who, said, outcome in outcomes]
        columns = [pa.array(each) for each in zip(*rows, strict=True)]
        table = pa.Table.from_arrays(columns, names=OUTCOMES.names).cast(OUTCOMES)
        path = tmp_path / "outcomes.parquet"
        pq.write_table(table, path)
        snapshot.update(path, number, runs)

    return updated


def test_a_new_one_is_empty_and_private(tmp_path):
    """Nobody else may read who the customers are."""
    with Snapshot(tmp_path) as snapshot:
        assert (snapshot.number, snapshot.run(PEOPLE)) == (None, [])
    assert stat.S_IMODE((tmp_path / SNAPSHOT_FILE).stat().st_mode) == 0o600


CUT_SHORT = """
import resource, signal, sys
from pathlib import Path
from backfill.sync.snapshot import Snapshot

signal.signal(signal.SIGXFSZ, int(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
Snapshot(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("size_bytes", "how"),
    [
        (0, signal.SIG_DFL),
        (4_096, signal.SIG_DFL),
        (8_192, signal.SIG_DFL),
        (8_192, signal.SIG_IGN),
    ],
    ids=["killed at once", "killed", "killed late", "full disk"],
)
def test_one_that_was_not_finished_is_none(tmp_path, size_bytes, how):
    """The next start makes it anew, wherever its making was cut short."""
    command = [sys.executable, "-c", CUT_SHORT, tmp_path, f"{how:d}", f"{size_bytes}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == (1 if how == signal.SIG_IGN else -signal.SIGXFSZ)
    with Snapshot(tmp_path) as snapshot:
        assert (snapshot.number, snapshot.run(PEOPLE)) == (None, [])
    assert [each.name for each in tmp_path.iterdir()] == [SNAPSHOT_FILE]


def test_it_remembers_what_was_delivered(tmp_path, update):
    """People are new, then told something else; the number of the step is kept with them."""
    with Snapshot(tmp_path) as snapshot:
        update(snapshot, 3, ("a", 1, "delivered"), ("b", 1, "delivered"))
        update(snapshot, 5, ("b", 2, "delivered"))
    with Snapshot(tmp_path) as later:
        assert later.number == 5
        assert later.run(PEOPLE) == [("a", 1, None, None), ("b", 2, None, None)]


def test_it_remembers_by_which_runs(tmp_path, update):
    """Of people who were not told anything since, by which earlier ones; unknown before it did."""
    with connected(tmp_path / SNAPSHOT_FILE) as old:
        columns = "high UBIGINT, low UBIGINT, refused_high UBIGINT, refused_low UBIGINT"
        texts = "type VARCHAR, identifier VARCHAR"
        old.execute(f"CREATE TABLE person ({texts}, {columns}, reasons VARCHAR, moved BIGINT)")
        old.execute("INSERT INTO person VALUES ('id', 'a', 1, 1, NULL, NULL, NULL, NULL)")
    with Snapshot(tmp_path) as snapshot:
        update(snapshot, 3, ("b", 1, "delivered"), ("c", 1, "delivered"), runs=(1, 2))
        update(snapshot, 5, ("b", 2, "delivered"), runs=(3, 3))
        found = "SELECT identifier, first_run, last_run FROM person ORDER BY identifier"
        assert snapshot.run(found) == [("a", None, None), ("b", 3, 3), ("c", 1, 2)]


def test_the_same_update_twice_changes_nothing(tmp_path, update):
    """A start after a kill brings it up to date once more."""
    outcomes = ("a", 1, "delivered"), ("b", 2, "refused"), ("c", 3, "doubt")
    with Snapshot(tmp_path) as snapshot:
        update(snapshot, 1, *outcomes)
        once = snapshot.run(PEOPLE)
        update(snapshot, 1, *outcomes)
        assert snapshot.run(PEOPLE) == once


def test_a_refusal_keeps_what_was_delivered_before(tmp_path, update):
    """The workspace still has the old attributes; the refused ones are not tried again."""
    with Snapshot(tmp_path) as snapshot:
        update(snapshot, 1, ("a", 1, "delivered"))
        update(snapshot, 2, ("a", 2, "refused"), why="because")
        assert snapshot.run(PEOPLE) == [("a", 1, 2, "because")]
        update(snapshot, 3, ("a", 3, "delivered"))
        assert snapshot.run(PEOPLE) == [("a", 3, None, None)]


def test_whoever_is_in_doubt_has_no_content(tmp_path, update):
    """Nothing equals it, so that they are sent again."""
    with Snapshot(tmp_path) as snapshot:
        update(snapshot, 1, ("a", 1, "delivered"), ("b", 1, "refused"), ("c", 1, "delivered"))
        update(snapshot, 2, ("a", 2, "doubt"), ("new", 1, "doubt"))
        snapshot.doubt("id", ["b", "newer"])
        doubted = [(who, None, None, None) for who in ("a", "b")]
        others = [("c", 1, None, None), ("new", None, None, None), ("newer", None, None, None)]
        assert snapshot.run(PEOPLE) == [*doubted, *others]
        snapshot.doubt_everybody()
        assert {row[1:] for row in snapshot.run(PEOPLE)} == {(None, None, None)}


def test_deleted_people_are_forgotten(tmp_path, update):
    """Also when a file names them twice; where it is undecided they stay, in doubt."""
    with Snapshot(tmp_path) as snapshot:
        update(snapshot, 1, ("a", 1, "delivered"), ("b", 1, "delivered"))
        update(
            snapshot, 2, *[("a", 0, "deleted")] * 2, ("b", 0, "undecided"), ("c", 0, "undecided")
        )
        assert snapshot.run(PEOPLE) == [("b", None, None, None)]


def test_what_is_no_snapshot_is_refused(tmp_path):
    """A damaged file ends in an error that says what to do."""
    (tmp_path / SNAPSHOT_FILE).write_bytes(b"no database at all" * 1000)
    with pytest.raises(StateError, match="the sync's record of people cannot be used") as caught:
        Snapshot(tmp_path)
    assert "remove it" in caught.value.next_step


def test_names_may_hold_what_queries_read_otherwise(tmp_path):
    """A folder may be called anything."""
    odd = tmp_path / "it's [odd] *"
    odd.mkdir()
    pq.write_table(pa.table({"n": [1, 2]}), odd / "n.parquet")
    with Snapshot(odd) as snapshot:
        snapshot.see({"numbers": odd / "n.parquet"})
        assert snapshot.run("SELECT sum(n) FROM numbers") == [(3,)]


def test_removing_it_leaves_nothing(tmp_path):
    """Started over, a job knows nobody."""
    Snapshot(tmp_path).__exit__(None, None, None)
    for _ in range(2):
        forget(tmp_path, SNAPSHOT_FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
