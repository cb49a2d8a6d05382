"""Tonight's people against the snapshot, and what the send pass finds of it by row."""

import numpy as np
import pytest

from backfill.rows import Reason, Rejection
from backfill.sync import catch_up
from backfill.sync.differences import RowChange, changes_of, compare, load_differences
from tests.support.jobs import AGES, job
from tests.support.syncs import night

ROWS = np.arange(1, 7)


@pytest.fixture
def export(tmp_path):
    """Puts an export in place: (id, age), or a line; gives the pipeline file."""

    def put(*rows):
        text = "id,age\n" + "".join(f"{who},{age}\n" for who, age in rows)
        return job(tmp_path, {"customers.csv": text}, AGES)

    return put


def found(tonight):
    """What differs, and the marks of tonight's rows."""
    differences = compare(tonight.job, tonight.plan, {})
    assert load_differences(tonight.job, tonight.plan) == differences
    part = tonight.job.inputs[0].part
    changes = changes_of(tonight.job, tonight.plan, {part: "unchanged"})
    kinds = changes.of(np.full(len(ROWS), part, np.int32), ROWS).tolist()
    return differences.of("customers"), kinds, changes.noted(part, ROWS).tolist()


def test_everybody_is_new_changed_as_before_or_gone(export):
    """Named by a rejected row is not gone; only what has a mark is looked at again."""
    with night(export(("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1))) as first:
        first.deliver()
    with night(export(("e", 1), ("new", 1), ("b", 2), ("c", "old"), ("a", 1))) as second:
        differences, kinds, noted = found(second)
    assert differences.known == 5
    assert differences.statuses == {"new": 1, "changed": 1, "missing": 1, "vanished": 1}
    assert (differences.new, differences.as_before, differences.vanished) == (1, 2, 1)
    assert kinds == [0, RowChange.CHANGED, RowChange.CHANGED, RowChange.REJECTED, 0, 0]
    assert noted == [kind > 0 for kind in kinds]
    assert differences.text("customers") == "1 new, 1 changed, 2 unchanged, 1 person vanished"


def test_the_rows_of_a_person_are_compared_together(export):
    """In whatever rows it is said, what counts is what all of them say."""
    with night(export(("a", 1), ("a", 2), ("b", 1))) as first:
        first.deliver()
    with night(export(("b", 1), ("a", 2))) as same:
        assert found(same)[0].statuses == {}
    with night(export(("b", 1), ("a", 2), ("a", 3))) as other:
        differences, kinds, _ = found(other)
    assert differences.statuses == {"changed": 1}
    assert kinds[1] == RowChange.CHANGED


def test_what_the_api_refused_is_not_tried_again_as_it_was(export):
    """Its reasons are kept; another content is tried."""
    path = export(("a", 1), ("b", 1))
    with night(path) as first:
        journal, part = first.job.journal, first.job.inputs[0].part
        catch_up.begin(first.job, first.plan, diff=False)
        first.settle(part, 1, 2)
        first.refuse(part, Rejection(2, 3, (Reason("refused", "age", "no"),)))
        catch_up.catch_up(journal, first.job.pipeline, first.job.folder, done=True)
    with night(path) as second:
        differences, kinds, _ = found(second)
        part = second.job.inputs[0].part
        changes = changes_of(second.job, second.plan, {part: "unchanged"})
        assert kinds[:2] == [0, RowChange.REFUSED_BEFORE]
        assert changes.why_refused(part, 2) == (Reason("refused", "age", "no"),)
        assert differences.statuses == {"refused": 1}
    with night(export(("a", 1), ("b", 2))) as third:
        assert found(third)[0].statuses == {"changed": 1}


def test_whoever_is_in_doubt_has_changed(export):
    """Nobody knows what they have; they are told again whatever the source says."""
    path = export(("a", 1), ("b", 1))
    with night(path) as first:
        first.deliver()
        with catch_up.open_snapshot(first.job.journal, first.job.folder) as snapshot:
            snapshot.doubt("id", ["b"])
    with night(path) as second:
        assert found(second)[0].statuses == {"changed": 1}


def test_only_compared_parts_are_concerned(export):
    """Rows of other parts are sent as they come."""
    with night(export(("a", 1))) as tonight:
        compare(tonight.job, tonight.plan, {})
        changes = changes_of(tonight.job, tonight.plan, {1: "unchanged"})
    assert (changes.concern(1), changes.concern(2)) == (True, False)
    assert changes.why_skipped(1) == "unchanged"
