"""A rejection is kept as it is, whatever its row holds."""

from hypothesis import given
from hypothesis import strategies as st

from backfill.planning.rejection_log import read_rejections, rejection_line
from backfill.rows import Reason, Rejection, reasons_from_json, reasons_to_json

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


@given(st.lists(st.tuples(st.integers(1, 999), REJECTION), max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory, kept):
    """With integers of any length, line ends, and bytes that are no text."""
    path = tmp_path_factory.mktemp("plan") / "rejections"
    path.write_bytes(b"".join(rejection_line(*each) for each in kept))
    assert list(read_rejections(path)) == kept


@given(REASONS)
def test_reasons_are_kept_without_their_row(reasons):
    """A snapshot of people says why the API refused each."""
    assert reasons_from_json(reasons_to_json(reasons)) == reasons


def test_what_earlier_versions_kept_can_be_read():
    """Journals and snapshots outlive the program that wrote them."""
    why = (Reason("invalid", "email", "It is none."),)
    text = '[8, [["invalid", "email", "It is none."]], {"email": "x", "n": NaN}, null]'
    found = Rejection.from_json(7, text)
    assert (found.row, found.line, found.reasons, found.raw) == (7, 8, why, None)
    assert repr(found.cells) == "{'email': 'x', 'n': nan}"
    assert found.to_json() == text
    assert reasons_from_json('[["invalid", "email", "It is none."]]') == why
