"""A sync forgets last night's version of a file: the journal drops its part, and old runs."""

import pytest

from backfill.journal import Journal, Settlement
from backfill.rows import Reason, Rejection
from tests.support.journals import snapshot


@pytest.fixture
def reopen(tmp_path):
    """Opens the journal, closing the one before."""
    opened = []

    def again():
        for journal in opened:
            journal.close()
        opened.append(Journal.open(tmp_path / "job"))
        return opened[-1]

    yield again
    opened[-1].close()


def add(journal, name):
    """A file with a delivered row, a rejected one and one settled ahead of the others."""
    part = journal.add_part(name, source=0, size=1, digest=name).id
    refused = Rejection(2, None, (Reason("refused", "", "no"),))
    journal.settle(Settlement(part, [(1, 3), (5, 6)], delivered=2, rejections=[refused]))
    return part


def test_a_dropped_part_is_forgotten_with_its_rejections(reopen):
    """Nothing of it is left, and the accounts of the others still balance."""
    journal = reopen()
    kept, gone = add(journal, "kept.csv"), add(journal, "gone.csv")
    journal.commit()
    journal.drop_part(gone)
    journal.commit()
    for left in (lambda: journal, reopen):
        each = left()
        assert [part.path for part in each.parts()] == ["kept.csv"]
        assert {part for part, _ in each.rejections()} == {kept}
        assert each.counts()[0].rows() == 3
        assert each.check_law({kept: 5}) == 2


def test_an_id_is_never_given_again(reopen):
    """What was decided about rows of a file must not be taken for another's."""
    journal = reopen()
    first = add(journal, "first.csv")
    journal.drop_part(first)
    assert add(journal, "second.csv") == first + 1
    journal.commit()
    later = reopen()
    later.drop_part(first + 1)
    later.commit()
    assert add(reopen(), "third.csv") == first + 2


def test_a_drop_that_was_not_committed_did_not_happen(reopen):
    """A crash leaves the part as it was."""
    journal = reopen()
    part = add(journal, "file.csv")
    journal.commit()
    journal.drop_part(part)
    assert [each.id for each in reopen().parts()] == [part]


def test_what_was_told_can_be_taken_back(reopen):
    """The journal is as it was at its last commit, and goes on from there."""
    journal = reopen()
    part = add(journal, "file.csv")
    journal.meta["step"] = 1
    committed = snapshot(journal)
    journal.commit()
    journal.drop_part(part)
    add(journal, "other.csv")
    journal.meta["step"] = 2
    journal.runs.start("2024-01-01T00:00:00Z")
    journal.roll_back()
    assert (snapshot(journal), journal.runs.all()) == (committed, [])
    assert add(journal, "third.csv") == part + 1
    journal.commit()
    assert {each.path for each in reopen().parts()} == {"file.csv", "third.csv"}


def test_only_the_last_runs_are_kept(reopen):
    """The history does not grow for ever; numbers go on."""
    journal = reopen()
    for _ in range(5):
        journal.runs.start("2024-01-01T00:00:00Z")
        journal.runs.keep(3)
    journal.commit()
    assert [run.id for run in reopen().runs.all()] == [3, 4, 5]
