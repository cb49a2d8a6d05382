"""What tells formats from each other before any of their regular expressions is compiled."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.instants import CANDIDATES
from backfill.instants.candidates import format_of
from backfill.instants.formats import skeleton, skeleton_of
from tests.support.examples import examples

PATTERNS = [each.format for each in CANDIDATES if "%" in each.format]
WRITTEN = {
    "%Y": ["0000"],
    "%y": ["00"],
    "%m": ["00", "0"],
    "%d": ["00", "0", "00th"],
    "%b": ["jan", "january", "sept.", "f\xc3\xa9vr."],
    "%a": ["mon", "wednesday", "mi.", "segunda-feira"],
    "%H": ["00", "0"],
    "%I": ["00", "0"],
    "%M": ["00", "0"],
    "%S": ["00", "0", "00.000", "00,000000"],
    " %p": [" pm", "am", " a.m.", " p. m."],
    " %z": [
        *("z", " utc", "+00:00", " -0000", " gmt+0", " america/new_york", "[europe/paris]"),
        *(" pst", " +0000 utc", " gmt+0000 (central european standard time)"),
    ],
    " ": [" ", "  "],
}


@settings(max_examples=examples(300), deadline=None)
@given(data=st.data())
def test_a_shape_that_a_pattern_takes_has_its_skeleton(data):
    """None is ruled out by its skeleton that its regular expression would take."""
    pattern = data.draw(st.sampled_from(PATTERNS))
    shape = re.sub(
        "( ?%[pz]|%.| )",
        lambda found: data.draw(st.sampled_from(WRITTEN.get(found[0], [found[0]]))),
        pattern.lower() if "%" not in pattern else pattern,
    )
    shape = shape.encode().decode("latin-1") if "年" in shape or "년" in shape else shape
    if format_of(pattern).regex.fullmatch(shape):
        assert skeleton_of(pattern) in (skeleton(shape), None)


def test_most_patterns_are_ruled_out():
    """A column's shapes are tried with a handful of the candidates, not with hundreds."""
    for shape in ("0000-00-00 00:00:00", "00/00/0000", "jan 00, 0000 0:00 pm", "order 0000 was ok"):
        assert sum(skeleton_of(pattern) in (skeleton(shape), None) for pattern in PATTERNS) < 15


@pytest.mark.parametrize("name", ["iso8601", "rfc2822", "epoch_s", "excel"])
def test_named_formats_are_never_ruled_out(name):
    """They take shapes of many kinds."""
    assert skeleton_of(name) is None
