"""A rejection is kept as it is, whatever its row holds."""

from collections import Counter
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from backfill.journal.rejection_pages import in_row_order
from backfill.planning.rejection_log import RejectionLog, read_rejections
from backfill.rows import (
    Reason,
    Rejection,
    Rejections,
    reasons_from_json,
    reasons_to_json,
)

TEXT = st.text(st.characters(), max_size=6)  # lone surrogates stand for bytes that are no text
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=3,
)
REASONS = st.lists(st.builds(Reason, TEXT, TEXT, TEXT), min_size=1, max_size=3).map(tuple)
REJECTION = st.builds(
    Rejection,
    st.integers(1, 10**12),
    st.none() | st.integers(1, 10**12),
    REASONS,
    st.dictionaries(TEXT, VALUE, max_size=3),
    st.none() | TEXT,
)


SOME = st.lists(REJECTION, unique_by=lambda each: each.row, max_size=6)


def by_row(some):
    """In the order of their rows."""
    return sorted(some, key=lambda each: each.row)


@given(st.lists(SOME, max_size=4), st.integers(1, 9))
def test_what_is_written_is_read_again(tmp_path_factory, parts, at_once):
    """With integers of any length, line ends, and bytes that are no text; however it comes."""
    whole, path = (tmp_path_factory.mktemp("plan") / name for name in ("whole", "path"))
    with RejectionLog.open(whole) as at_a_time, RejectionLog.open(path) as log:
        for part, some in enumerate(parts, 1):
            at_a_time.add(part, Rejections.of(some))
            for start in range(0, len(some), at_once):
                log.add(part, Rejections.of(by_row(some)[start : start + at_once]))
    found = [(part, each) for part, some in read_rejections(path) for each in some]
    assert found == [(part, each) for part, some in enumerate(parts, 1) for each in by_row(some)]
    assert path.read_bytes() == whole.read_bytes()


@given(SOME, st.integers(1, 99), st.integers(1, 10**9))
def test_rejections_in_columns_are_the_same_rows(some, bytes_max, rows_max):
    """One by one, in pieces, put together again, and counted."""
    every, kept = Rejections.of(some), by_row(some)
    assert [*every] == [every[at] for at in range(len(every))] == kept
    assert every.by_code() == Counter(chain(*({why.code for why in each.reasons} for each in some)))
    pieces = [*every.pieces(bytes_max, rows_max)]
    assert all(each and each.rows[-1] < each.rows[0] + rows_max for each in pieces)
    assert Rejections.together([*pieces[1:], *pieces[:1]]) == kept
    assert [*every.take(every.rows % 2 == 0)] == [each for each in kept if each.row % 2 == 0]


@given(st.lists(st.lists(st.integers(1, 30), unique=True, max_size=9), max_size=6))
def test_rows_that_lie_between_others_come_in_their_order(rows):
    """Each once: of two with one number, the one that came first."""
    some = [[Rejection(row, at, (), {}) for row in each] for at, each in enumerate(rows, 1) if each]
    some.sort(key=lambda each: min(of.row for of in each))
    firsts = [(min(each.row for each in of), Rejections.of(of)) for of in some]
    found = [each for piece in in_row_order(firsts) for each in piece]
    first_ones = {each.row: each for of in reversed(some) for each in of}
    assert found == by_row(first_ones.values())


@given(REASONS)
def test_reasons_are_kept_without_their_row(reasons):
    """A snapshot of people says why the API refused each."""
    assert reasons_from_json(reasons_to_json(reasons)) == reasons


def test_what_earlier_versions_kept_can_be_read():
    """Snapshots outlive the program that wrote them."""
    why = (Reason("invalid", "email", "It is none."),)
    assert reasons_from_json('[["invalid", "email", "It is none."]]') == why
