"""What every journal promises, whatever the file system lets SQLite do."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backfill.errors import BackfillError, StateError
from backfill.journal import LOCAL, NETWORK, Counts, Journal, Part, Settlement, Storage, Totals
from backfill.rows import Position, Reason, Rejection


@pytest.fixture(params=[LOCAL, NETWORK], ids=["local", "network"])
def storage(request) -> Storage:
    """SQLite's settings, on a local disk and on a file system of the network."""
    return request.param


@pytest.fixture
def journal(tmp_path: Path, storage: Storage) -> Iterator[Journal]:
    """A new journal."""
    with Journal.open(tmp_path / "job", storage=storage) as journal:
        yield journal


def reopened(journal: Journal, storage: Storage) -> Journal:
    """The journal as the next process finds it."""
    journal.close()
    return Journal.open(journal.path.parent, create=False, storage=storage)


def rejection(row: int, code: str = "email_missing", **cells) -> Rejection:
    """A made-up rejection."""
    return Rejection(row, row + 1, (Reason(code, "email", "There is none."),), cells)


def with_part(journal: Journal, rows: int | None = None) -> Part:
    """A part of the first source."""
    return journal.add_part("people.csv", source=0, size=100, digest="d1", rows=rows)


def test_committed_rows_are_settled_for_good(journal, storage):
    """What was committed is there for the next process, and nothing else is."""
    part = with_part(journal)
    journal.settle(Settlement(part.id, [(1, 4), (6, 8)], delivered=5))
    assert journal.commit() == 1
    journal.settle(Settlement(part.id, [(4, 5)], delivered=1))
    assert journal.settled(part.id).low_watermark == 5

    with reopened(journal, storage) as later:
        assert later.parts() == [part]
        assert later.settled(part.id).low_watermark == 4
        assert list(later.settled(part.id).gaps(10)) == [(4, 6), (8, 10)]
        assert later.counts() == {0: Counts(delivered=5)}


def test_ranges_that_grew_together_are_stored_as_one(journal, storage):
    """A commit writes what changed: a hole that closed is gone from the file too."""
    part = with_part(journal)
    for start in (9, 3, 6):
        journal.settle(Settlement(part.id, [(start, start + 1)], delivered=1))
        journal.commit()
    journal.settle(Settlement(part.id, [(4, 6), (1, 3)], delivered=4))
    journal.commit()

    with reopened(journal, storage) as later:
        settled = later.settled(part.id).contains(np.arange(1, 12))
        assert np.flatnonzero(settled).tolist() == [0, 1, 2, 3, 4, 5, 8]


def test_counters_add_up_by_source(journal, storage):
    """Parts of one source are counted together, and each outcome by itself."""
    first = with_part(journal)
    second = journal.add_part("more.csv", source=0, size=1, digest="d2")
    other = journal.add_part("events.parquet", source=1, size=1, digest="d3")
    journal.settle(Settlement(first.id, [(1, 4)], delivered=2, skipped={"blank": 1}, deletes=2))
    journal.settle(
        Settlement(second.id, [(1, 4)], merged=1, rejections=[rejection(2), rejection(3)])
    )
    journal.settle(Settlement(other.id, [(5, 6)], skipped={"recent": 1}))
    journal.commit(requests=2, attempts=3, bytes_sent=400)
    journal.commit(requests=1, attempts=1, bytes_sent=100)

    with reopened(journal, storage) as later:
        counts = later.counts()
        assert counts[0] == Counts(
            delivered=2,
            merged=1,
            rejected=2,
            skipped={"blank": 1},
            deletes=2,
            reasons={"email_missing": 2},
        )
        assert counts[1] == Counts(skipped={"recent": 1})
        assert later.totals() == Totals(requests=3, attempts=4, bytes_sent=500, commits=2)


def test_figures_that_do_not_add_up_are_a_bug(journal):
    """A settlement whose counts differ from its rows is refused, and never becomes durable."""
    part = with_part(journal)
    with pytest.raises(BackfillError, match="3 rows settled, 2 accounted for"):
        journal.settle(Settlement(part.id, [(1, 4)], delivered=2))
    with pytest.raises(BackfillError, match="3 rows are settled, 2 are accounted for"):
        journal.commit()


def test_a_row_settles_once(journal):
    """Rows that were settled before cannot be counted again."""
    part = with_part(journal)
    journal.settle(Settlement(part.id, [(1, 4)], delivered=3))
    with pytest.raises(BackfillError, match="1 rows settled, 3 accounted for"):
        journal.settle(Settlement(part.id, [(2, 5)], delivered=3))


def test_a_rejection_lies_within_its_rows(journal):
    """A rejected row outside of the settled rows is refused."""
    part = with_part(journal)
    with pytest.raises(BackfillError, match="not among the settled"):
        journal.settle(Settlement(part.id, [(1, 2)], rejections=[rejection(7)]))


def test_the_law_names_the_numbers(journal):
    """Read rows are settled or pending; more settled than read is a contradiction."""
    part = with_part(journal)
    journal.settle(Settlement(part.id, [(1, 4)], delivered=2, rejections=[rejection(2)]))
    assert journal.check_law({part.id: 10}) == 7
    assert journal.check_law({part.id: 3}) == 0
    with pytest.raises(BackfillError, match="2 rows read, 2 of them settled, 3 accounted for"):
        journal.check_law({part.id: 2})


def test_a_ceiling_counts_once_it_is_committed(journal, storage):
    """Rows may be dispatched below a committed ceiling only; those not settled are in doubt."""
    part = with_part(journal, rows=12)
    journal.raise_ceiling(part.id, 11)
    assert (journal.ceiling(part.id), journal.in_doubt()) == (1, 0)
    journal.settle(Settlement(part.id, [(1, 3), (5, 6)], delivered=3))
    journal.commit()
    journal.raise_ceiling(part.id, 21)

    with reopened(journal, storage) as later:
        assert (later.ceiling(part.id), later.in_doubt()) == (11, 7)
        later.raise_ceiling(part.id, 21)
        later.commit()
        assert later.in_doubt() == 9, "the file ends at row 12"
        later.lower_ceilings()
        later.commit()
        assert later.in_doubt() == 0


def test_reading_goes_on_at_a_position_whose_past_is_settled(journal, storage):
    """Only a position is offered before which every row is settled, the furthest one."""
    part = with_part(journal)
    for row in (1, 4, 7, 10):
        journal.remember_position(part.id, Position(row, row + 1, row * 100))
    assert journal.position(part.id) == Position(1, 2, 100)
    journal.settle(Settlement(part.id, [(1, 9)], delivered=8))
    assert journal.position(part.id) == Position(7, 8, 700)
    journal.commit()

    with reopened(journal, storage) as later:
        assert later.position(part.id) == Position(7, 8, 700)


def test_rejections_come_in_the_order_of_the_files(journal, storage):
    """Pages of rejections follow parts and rows, not the order in which rows were rejected."""
    first, second = with_part(journal), with_part(journal)
    for part, start in ((second, 1), (first, 1001), (first, 1)):
        rejections = [rejection(row) for row in range(start, start + 1000)]
        journal.settle(Settlement(part.id, [(start, start + 1000)], rejections=rejections))
    journal.commit()

    with reopened(journal, storage) as later:
        found = [(part, each.row) for part, each in later.rejections()]
    assert found == [(1, row) for row in range(1, 2001)] + [(2, row) for row in range(1, 1001)]


def test_a_rejection_comes_back_as_it_was(journal, storage):
    """Nothing of a rejected row is lost: big numbers, bytes that are no text, several reasons."""
    part = with_part(journal)
    kept = Rejection(
        3,
        None,
        (Reason("too_long", "name", "It has 2,000 bytes."), Reason("no_zone", "at", "Add one.")),
        {"name": "a\0b\udcff\n", "n": 2**80, "x": float("inf"), "nested": {"a": [None, True]}},
        "raw \udc80 text",
    )
    journal.settle(Settlement(part.id, [(3, 4)], rejections=[kept]))
    journal.commit()

    with reopened(journal, storage) as later:
        assert later.rejection(part.id, 3) == kept
        assert later.rejection(part.id, 4) is None
        assert later.counts()[0].reasons == {"too_long": 1, "no_zone": 1}


def test_a_fixed_row_moves_from_rejected_to_delivered(journal, storage):
    """After a retry the row counts as delivered or merged, or as rejected for its new reason."""
    part = with_part(journal)
    rejections = [rejection(1), rejection(2), rejection(3), rejection(4)]
    journal.settle(Settlement(part.id, [(1, 5)], rejections=rejections))
    journal.commit()
    journal.deliver_rejected(part.id, 1)
    journal.deliver_rejected(part.id, 4, merged=True)
    journal.deliver_rejected(part.id, 2, deletes=1)
    journal.reject_again(part.id, rejection(3, "email_invalid"))
    with pytest.raises(KeyError):
        journal.deliver_rejected(part.id, 1)
    journal.commit()

    with reopened(journal, storage) as later:
        assert later.counts()[0] == Counts(
            delivered=2, rejected=1, merged=1, deletes=1, reasons={"email_invalid": 1}
        )
        assert [each.row for _, each in later.rejections()] == [3]
        assert later.check_law({part.id: 4}) == 0


def test_the_jobs_own_values_are_kept_with_the_commit(journal, storage):
    """Small values of the job change together with the rows, also those changed in place."""
    journal.meta["workspace"] = {"id": 7, "names": ["a"]}
    journal.meta["plan"] = "p1"
    journal.commit()
    journal.meta["workspace"]["names"].append("b")
    del journal.meta["plan"]
    assert journal.commit() == 2
    assert journal.commit() == 2, "nothing changed, so nothing is written"
    journal.meta["late"] = 1

    with reopened(journal, storage) as later:
        assert later.meta == {"workspace": {"id": 7, "names": ["a", "b"]}}


def test_a_part_can_be_renamed_and_grow(journal, storage):
    """What is known of a file changes; its number and its settled rows stay."""
    part = with_part(journal)
    journal.settle(Settlement(part.id, [(1, 3)], delivered=2))
    grown = Part(part.id, "caf\udce9.csv", 0, 300, "d2", rows=9)
    journal.update_part(grown)
    journal.commit()

    with reopened(journal, storage) as later:
        assert later.parts() == [grown]
        assert later.settled(part.id).low_watermark == 3
        assert later.add_part("next.csv", source=1, size=1, digest="d").id == 2


def test_runs_are_remembered(journal, storage):
    """Each call of the program leaves when it began, and how it ended unless it was killed."""
    killed = journal.runs.start("2026-01-01T00:00:00Z")
    journal.commit()
    number = journal.runs.start("2026-01-02T00:00:00Z")
    journal.runs.finish(number, "2026-01-02T01:00:00Z", 3, {"delivered": 5})
    journal.commit()

    with reopened(journal, storage) as later:
        first, second = later.runs.all()
        assert (first.id, first.finished_at, first.exit) == (killed, None, None)
        assert (second.exit, second.summary) == (3, {"delivered": 5})


def test_a_closed_journal_leaves_one_file(journal, tmp_path):
    """After a clean end nothing that counts is beside the journal and its lock."""
    with_part(journal)
    journal.commit()
    journal.close()
    journal.close()
    left = {path.name for path in (tmp_path / "job").iterdir() if path.stat().st_size}
    assert left == {"lock", "state.db"}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "job").iterdir()} == {0o600}
    assert (tmp_path / "job").stat().st_mode & 0o777 == 0o700


def test_a_journal_that_must_exist_is_not_made(tmp_path, storage):
    """Asked only to look, it leaves no trace."""
    with pytest.raises(StateError, match="no job has state here"):
        Journal.open(tmp_path / "job", create=False, storage=storage)
    (tmp_path / "job").mkdir()
    with pytest.raises(StateError, match="there is no journal"):
        Journal.open(tmp_path / "job", create=False, storage=storage)
    assert not (tmp_path / "job" / "state.db").exists()
