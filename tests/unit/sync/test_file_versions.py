"""What a night takes up: tonight's version of an export, and of files what is not done yet."""

import pytest

from backfill.errors import GuardError, SourceChangedError
from backfill.sync import catch_up
from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job, numbered, people
from tests.support.syncs import night

KEYED = EVENTS + 'key = ["n"]\n'


def test_files_are_known_by_content_for_ever(tmp_path):
    """Done ones are left out, under another name and as a copy, too; they may go."""
    path = job(tmp_path, {"events-1.csv": numbered(3)}, KEYED)
    with night(path) as first:
        first.deliver()
    job(tmp_path, {"events-2.csv": numbered(3), "events-3.csv": numbered(2, first=5)}, KEYED)
    (tmp_path / "events-1.csv").unlink()
    with night(path) as second:
        assert second.files == ["events-3.csv"]
        assert {part.path: part.rows for part in second.job.journal.parts()} == {
            "events-2.csv": 3,
            "events-3.csv": None,
        }


def test_a_file_that_grew_goes_on_behind_what_is_done(tmp_path):
    """It stays the part that it was."""
    path = job(tmp_path, {"events-1.csv": numbered(3)}, KEYED)
    with night(path) as first:
        first.deliver()
    job(tmp_path, {"events-1.csv": numbered(5)}, KEYED)
    with night(path) as second:
        (part,) = second.job.journal.parts()
        assert (part.id, part.rows) == (1, None)
        assert list(second.job.journal.settled(1).gaps(6)) == [(4, 6)]


def test_a_file_that_is_not_done_must_stay_as_it_is(tmp_path):
    """Else rows of it would never be sent."""
    path = job(tmp_path, {"events-1.csv": numbered(3)}, KEYED)
    with night(path) as first:
        first.settle(1, 1, 3)
    with night(path) as again:
        assert again.files == ["events-1.csv"]
    job(tmp_path, {"events-1.csv": HEADER + "p9,seen,2024-01-01T00:00:00Z,9\n"}, KEYED)
    with pytest.raises(SourceChangedError, match=r"events-1\.csv"), night(path):
        pass


def test_a_done_file_that_was_written_anew_is_refused(tmp_path):
    """Whether its rows are other ones, or the same in another order, nobody can tell."""
    path = job(tmp_path, {"events-1.csv": numbered(3)}, KEYED)
    with night(path) as first:
        first.deliver()
    job(tmp_path, {"events-1.csv": numbered(3, first=2)}, KEYED)
    with pytest.raises(GuardError, match="otherwise than by growing") as caught, night(path):
        pass
    assert 'files_change = "send"' in caught.value.next_step


def test_a_sync_that_was_cut_short_goes_on_where_its_files_are_as_they_were(tmp_path):
    """What it sent stays settled; files that were done before it are left out."""
    files = {"customers.csv": people("p1"), "events-1.csv": numbered(2)}
    path = job(tmp_path, files, CUSTOMERS, KEYED)
    with night(path) as first:
        first.deliver()
    job(tmp_path, {"customers.csv": people("p1", "p2")}, CUSTOMERS, KEYED)
    with night(path) as second:
        catch_up.begin(second.job, second.plan, diff=True)
        second.settle(3, 1, 2)
    for _ in range(2):
        with night(path) as again:
            assert [(each.name, each.part) for each in again.job.inputs] == [("customers.csv", 3)]
            assert list(again.job.journal.settled(3).gaps(3)) == [(2, 3)]


def test_an_export_takes_the_place_of_the_last_one(tmp_path):
    """It gets a new number, and what is known of the other is forgotten."""
    path = job(tmp_path, {"customers.csv": people("p1", "p2")}, CUSTOMERS)
    with night(path) as first:
        first.deliver()
    for number in (2, 3):  # also the very same export, on another night
        with night(path) as later:
            (part,) = later.job.journal.parts()
            assert part.id == number
            assert later.job.journal.counts()[0].rows() == 0
            later.deliver()
