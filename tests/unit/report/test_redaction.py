"""What a report leaves out, and how it shows settings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.pipeline.file import Pipeline
from backfill.report.redaction import Redaction, settings_of, versions


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
    """A report without the names of columns helps nobody to fix a file."""
    shown = Redaction(redact)

    assert (shown.file(name), shown.column(name), shown.event(name)) == (name, name, name)
    assert shown.text(name) == name
    assert shown.shows_values == (redact == "none")


def test_what_has_no_name_gets_none():
    """A reason that is about the whole row names no column."""
    assert Redaction("all").column("") == ""
    assert Redaction("all").text("column 'salary'") == ""


FILE = """
name = "acme"
rejected_max = "2.5%"
[destination]
credentials = "private.toml"
url = "https://somebody:secret@track.example"
rate = 250.0
[[source]]
kind = "customers"
files = ["people.csv"]
identifier = { id = "customer_id" }
null_values = ["private"]
create = false
columns = { age = "integer" }
[[source]]
kind = "events"
files = ["events.csv"]
identifier = { id = "customer_id" }
name = "order_completed"
timestamp = { from = "at", timezone = "Europe/Berlin" }
"""


@pytest.fixture
def pipeline(tmp_path):
    """A pipeline file with something to hide."""
    (tmp_path / "acme.toml").write_text(FILE)
    return Pipeline.load(tmp_path / "acme.toml")


def told(pipeline, redact):
    """The settings by title."""
    found = settings_of(pipeline, ["customers", "events"], Redaction(redact))
    return {each.title: dict(each.values) for each in found}


def test_settings_read_as_they_were_given(pipeline):
    """Shares, timestamps, tables and switches, each as text; what has no value is left out."""
    found = told(pipeline, "values")

    assert found["job"]["rejected_max"] == "2.5 %"
    assert found["job"]["rate"] == "250"
    assert found["customers"]["create"] == "no"
    assert found["customers"]["columns"] == "age (type = integer)"
    assert found["events"]["name"] == "order_completed"
    assert "from = at" in found["events"]["timestamp"]
    assert found["events"]["earliest"] == "1990-01-01T00:00:00Z"
    assert found["events"]["latest"] == "the run's start +24 h"
    assert "namespace" not in found["job"]


@pytest.mark.parametrize("redact", ["all", "values", "none"])
def test_nothing_that_opens_a_door_is_told(pipeline, redact):
    """Neither where the keys are, nor a URL that may hold one, nor values of the rows."""
    text = str(told(pipeline, redact))

    for hidden in ("private", "secret", "somebody", "track.example", str(pipeline.folder)):
        assert hidden not in text


def test_names_can_be_left_out(pipeline):
    """Guards and limits remain."""
    found = told(pipeline, "all")

    assert found["customers"]["shared_emails"] == "refuse"
    for name in ("customer_id", "people.csv", "order_completed", "age"):
        assert name not in str({title: found[title] for title in ("customers", "events")}.values())


def test_versions_name_what_made_it():
    """The program, the interpreter, what reads and sends, and the platform."""
    assert {"backfill", "python", "pyarrow", "platform"} <= versions().keys()
