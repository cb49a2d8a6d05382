"""What tells formats from each other before any of their regular expressions is compiled."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.instants import CANDIDATES
from backfill.instants.formats import format_of, marks, marks_of

PATTERNS = [each.format for each in CANDIDATES if "%" in each.format]
ODD = ["%d/%m/20%y %H%M", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y年%m月%d日 %I:%M%p", "%d%%%b%%%Y", "%Y%j"]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_shape_that_a_pattern_takes_has_its_marks(data):
    """None is ruled out by its marks that its regular expression would take."""
    pattern = data.draw(st.sampled_from(PATTERNS + ODD))
    shape = data.draw(st.from_regex(format_of(pattern).regex, fullmatch=True))
    assert marks(shape) in marks_of(pattern)


def test_most_patterns_are_ruled_out():
    """A column's shapes are tried with a handful of the candidates, not with hundreds."""
    for shape in ("0000-00-00 00:00:00", "00/00/0000", "jan 00, 0000 0:00 pm"):
        assert sum(marks(shape) in marks_of(pattern) for pattern in PATTERNS) < 10


@pytest.mark.parametrize("name", ["iso8601", "rfc2822", "epoch_s", "excel"])
def test_named_formats_are_never_ruled_out(name):
    """They take shapes of many kinds."""
    assert marks_of(name) is None
