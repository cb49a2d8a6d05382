"""Pages of rejections say the same as a dictionary of rows would, whatever lies between what."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.journal import Journal, Settlement, rejection_pages, schema
from backfill.rows import Reason, Rejection
from tests.support.examples import examples

LAST = 80


@pytest.fixture(scope="module", autouse=True)
def _small_pages():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "PAGE_ROWS", 16)
        patch.setattr(rejection_pages, "_PAGE_BYTES", 120)
        patch.setattr(rejection_pages, "_PAGES_READ", 2)
        patch.setattr(rejection_pages, "_PAGES_HELD", 2)
        yield


def rejection(row, random):
    """A made-up one, of another length each time."""
    why = (Reason("invalid", "email", f"It is none, {random.randrange(3)}."),)
    return Rejection(row, row, why, {"note": "x" * random.randrange(90)})


def settle(journal, part, kept, random):
    """Reject some rows that were not settled, near to one another or far apart."""
    start, step = random.randint(1, LAST), random.choice([1, 1, 2, 7])
    rows = range(start, random.randint(start, LAST) + 1, step)
    new = [rejection(row, random) for row in rows if row not in kept]
    ranges = [(each.row, each.row + 1) for each in new]
    journal.settle(Settlement(part, ranges, rejections=new))
    kept.update({each.row: each for each in new})


def fix(journal, part, kept, random):
    """Retry some rejected rows: each is delivered, or rejected for another reason."""
    rows = sorted(row for row, each in kept.items() if each)
    for row in random.sample(rows, min(len(rows), 5)):
        if random.random() < 0.6:
            journal.deliver_rejected(part, row)
            kept[row] = None
        else:
            kept[row] = rejection(row, random)
            journal.reject_again(part, kept[row])


@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(30), deadline=None)
def test_pages_are_as_a_dictionary(tmp_path_factory, seed):
    """Rows by themselves and in their order, after each change, roll back and start."""
    random, folder = Random(seed), tmp_path_factory.mktemp("pages") / "job"
    journal = Journal.open(folder)
    parts = [journal.add_part("in.csv", source=0, size=1, digest="d").id for _ in range(2)]
    kept = {part: {} for part in parts}
    journal.commit()
    for _ in range(12):
        part = random.choice(parts)
        before = dict(kept[part])
        random.choice([settle, settle, fix])(journal, part, kept[part], random)
        match random.randrange(6):
            case 0:
                journal.roll_back()
                kept[part] = before
            case 1:
                journal.commit()
                journal.close()
                journal = Journal.open(folder)
            case _:
                pass
        every = [(at, row) for at in parts for row in sorted(kept[at]) if kept[at][row]]
        assert list(journal.rejections()) == [(at, kept[at][row]) for at, row in every]
        after = random.choice(parts), random.randint(0, LAST)
        behind = [(at, row) for at, some in journal.rejected(after=after) for row in some.rows]
        assert behind == [each for each in every if each > after]
        assert all(journal.rejection(part, row) == kept[part].get(row) for row in range(1, LAST))
        assert journal.check_law({}) == 0
        journal.commit()  # so that one change at most is rolled back
    journal.close()
