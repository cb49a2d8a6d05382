"""Stand-ins for names: always the same for one, never the same for two."""

from hypothesis import given
from hypothesis import strategies as st

from backfill.report.redaction import Redaction


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_name_has_one_stand_in(names):
    """Files, columns and events are numbered each for themselves."""
    shown = Redaction("all")
    found = [shown.column(name) for name in names]

    assert [shown.column(name) for name in names] == found
    assert len(set(found)) == len(set(names))
    assert shown.file(names[0]) == "file 1"
    assert shown.event(names[0]) == "event 1"


@given(st.text(), st.sampled_from(["values", "none"]))
def test_names_stay_where_only_values_are_left_out(name, redact):
    """A report without the names of columns helps nobody to mend a file."""
    shown = Redaction(redact)

    assert (shown.file(name), shown.column(name), shown.event(name)) == (name, name, name)
    assert shown.text(name) == name
    assert shown.shows_values == (redact == "none")


def test_what_has_no_name_gets_none():
    """A reason that is about the whole row names no column."""
    assert Redaction("all").column("") == ""
    assert Redaction("all").text("column 'salary'") == ""
