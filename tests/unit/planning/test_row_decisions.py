"""Marks are found again for exactly the rows that have them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backfill.planning.row_decisions import (
    BUCKET_ROWS,
    SKIPPED,
    EarlierDecisions,
    RowDecision,
    RowDecisions,
)

ROW = st.sampled_from([1, 2, 3, BUCKET_ROWS - 1, BUCKET_ROWS, BUCKET_ROWS + 1, 5 * BUCKET_ROWS])
MARKED = st.lists(st.tuples(st.sampled_from(RowDecision), st.integers(1, 3), ROW), max_size=20)


def marks_of(folder, marked, buffered_max=1000):
    """Marks written down; the value says which one it is."""
    marks = RowDecisions(folder, buffered_max)
    for value, (kind, part, row) in enumerate(marked):
        marks.add(kind, np.array([part], np.int32), np.array([row]), value=value, other=part)
    marks.flush()
    return marks


@given(MARKED, st.lists(ROW, unique=True).map(sorted), st.integers(1, 9))
def test_every_row_has_its_mark_and_the_smaller_kind_wins(
    tmp_path_factory, marked, rows, buffered_max
):
    """Across files of marks, and from another reader than the writer."""
    folder = tmp_path_factory.mktemp("marks") / "of-a-plan"
    marks_of(folder, marked, buffered_max)
    for part in (1, 2, 3):
        found = RowDecisions(folder).of(part, np.array(rows, np.int64))
        truth = [
            min((kind for kind, of_part, at in marked if (of_part, at) == (part, row)), default=0)
            for row in rows
        ]
        assert (found["kind"].tolist() if found is not None else [0] * len(rows)) == truth
        for place in np.flatnonzero(truth):
            value = int(found["value"][place])
            assert marked[value] == (truth[place], part, rows[place])
            assert found["other"][place] == part


def test_many_rows_are_marked_at_once(tmp_path):
    """A whole partition in one call, over many files."""
    rows = np.arange(1, 20 * BUCKET_ROWS, 1000)
    marks = RowDecisions(tmp_path)
    marks.add(RowDecision.OCCURRENCE, np.full(len(rows), 7, np.int32), rows, value=rows * 2)
    marks.flush()
    found = RowDecisions(tmp_path).of(7, rows)
    assert (found["value"] == rows * 2).all()
    assert RowDecisions(tmp_path).of(8, rows) is None
    assert RowDecisions(tmp_path).of(7, np.empty(0, np.int64)) is None


def test_a_former_plan_ranks_what_it_knew_before_what_is_new(tmp_path):
    """Numbers stay; new rows follow; what was left out comes last."""
    marked = [(RowDecision.OCCURRENCE, 1, 2), *((kind, 1, 3 + kind) for kind in SKIPPED)]
    former = EarlierDecisions(marks_of(tmp_path, marked), {1: 9})
    rows = np.array([1, 2, 4, 5, 6, 7, 8, 9, 10])
    ranks = former.ranks(1, rows)
    assert ranks[[0, 2, 7]].tolist() == [0, 0, 0]
    new, left_out = ranks[8], ranks[3:7]
    assert (ranks[:3] < new).all()
    assert (left_out > new).all()
    assert (former.ranks(2, rows) == new).all()
