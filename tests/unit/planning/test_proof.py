"""How timestamps are written is proved over the whole column, or the doubt is told."""

import pytest

from backfill.errors import UsageError
from backfill.judge.judge import EVENT_TIMESTAMP
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import make_plan
from backfill.planning.progress import nobody
from backfill.sources.inputs import open_inputs
from tests.support.jobs import job

EVENTS = """
[[source]]
kind = "events"
files = ["events*"]
identifier = { id = "id" }
name = "seen"
timestamp = { from = "at"%s }
"""


def planned(folder, files, more="", table="", progress=nobody):
    """What the plan of an events source has found."""
    pipeline = Pipeline.load(job(folder, files, EVENTS % more + table))
    inputs = open_inputs(pipeline)
    plan = make_plan(pipeline, inputs, folder / "plan", now_s=1.8e9, progress=progress)
    return plan.found


def proved(*args, **more):
    """The readings and decisions of an events source."""
    found = planned(*args, **more)
    return found.readings, found.decisions


def rows(*timestamps):
    """A file of events at these timestamps."""
    return "id,at\n" + "".join(f"p,{each}\n" for each in timestamps)


def test_a_declared_format_is_taken_without_reading(tmp_path):
    """Whatever stands in the file."""
    more = ', format = "%d.%m.%Y", timezone = "Europe/Berlin"'
    readings, (decision,) = proved(tmp_path, {"events.csv": rows("x")}, more)
    assert readings[0][EVENT_TIMESTAMP].format == "%d.%m.%Y"
    assert (decision.declared, decision.doubt, decision.values) == (True, "", 0)


def test_one_value_of_a_late_file_decides_between_two_readings(tmp_path):
    """All files of a source are one column."""
    files = {"events-1.csv": rows("01/02/2024", "03/04/2024"), "events-2.csv": rows("13/01/2024")}
    readings, (decision,) = proved(tmp_path, files, ', timezone = "UTC"')
    assert readings[0][EVENT_TIMESTAMP].format == "%d/%m/%Y"
    assert (decision.declared, decision.doubt, decision.values, decision.fits) == (False, "", 3, 3)


def test_two_readings_that_stand_are_a_doubt_that_shows_both(tmp_path):
    """Rows can still be judged; sending is refused by a guard."""
    files = {"events.csv": rows("01/02/2024", "03/04/2024")}
    readings, (decision,) = proved(tmp_path, files, ', timezone = "UTC"')
    assert "two formats fit" in decision.doubt
    assert len(decision.readings) == 2
    assert readings[0][EVENT_TIMESTAMP].format in decision.doubt


def test_texts_for_null_and_empty_cells_prove_nothing(tmp_path):
    """They are not values."""
    files = {"events.csv": rows("13/01/2024", "NULL", '""', "", '"  "')}
    table = 'null_values = ["NULL"]\n'
    _, (decision,) = proved(tmp_path, files, ', timezone = "UTC"', table=table)
    assert (decision.values, decision.fits, decision.doubt) == (1, 1, "")


def test_timestamps_without_a_zone_need_one(tmp_path):
    """Nothing in the data can prove it."""
    with pytest.raises(UsageError, match="'at' have no zone") as caught:
        proved(tmp_path, {"events.csv": rows("2024-01-01 10:00", "2024-01-02 10:00")})
    assert "timezone" in caught.value.next_step


def test_what_no_format_fits_is_a_doubt_with_examples(tmp_path):
    """The nearest reading stands in for the judge."""
    files = {"events.csv": rows("soon", "later", "2024-01-01T00:00:00Z")}
    _, (decision,) = proved(tmp_path, files)
    assert "no format fits" in decision.doubt
    assert decision.readings


@pytest.mark.parametrize(
    ("values", "setting"),
    [
        (["01/31/2024 10:00:00 PST"], 'zones = { PST = "…" }'),
        (["31/12/24", "30/12/24"], "set pivot"),
        (["2024-01-31T10:00Z", "x"], "iso8601 fits 1"),
    ],
)
def test_a_doubt_says_what_would_help(tmp_path, values, setting):
    """Abbreviations, two-digit years, or how far the nearest format goes."""
    _, (decision,) = proved(tmp_path, {"events.csv": rows(*values)})
    assert setting in decision.doubt


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        (("soon", "later"), 'name another column if these are no timestamps, or set format = "…"'),
        (("2024-01-31 10:00 WIB",), "set zones = { … } beside timestamp"),
        (("31/12/24",), "set pivot beside timestamp, such as pivot = 69"),
        (("2024-01-31", *["soon"] * 8), 'set format = "…" beside timestamp'),
    ],
)
def test_a_format_is_asked_for_only_where_one_can_help(tmp_path, values, answer):
    """Else another setting is named, or another column."""
    _, (decision,) = proved(tmp_path, {"events.csv": rows(*values)})
    assert decision.answer.startswith(answer)


def test_the_zone_may_stand_in_a_column_beside_it(tmp_path):
    """Such a column is used up, and each row is read in its own zone."""
    files = {"events.csv": "id,at,zone\np,2024-01-31 10:00,Europe/Paris\nq,2024-01-31 10:00,PST\n"}
    more = ', timezone = { from = "zone" }, zones = { PST = "-08:00" }'
    found = planned(tmp_path, files, more)
    (decision,), (source,) = found.decisions, found.sources
    assert (decision.format, decision.timezone, decision.doubt) == ("iso8601", "zone", "")
    assert (source.operations, source.attributes) == (2, [])


def test_a_transform_is_asked_before_its_timestamps_are(tmp_path):
    """The column is what the function gives."""
    (tmp_path / "t.py").write_text(
        "def clean(frame):\n    return frame.assign(at=frame['at'].str.removeprefix('on '))\n"
    )
    files = {"events.csv": rows("on 2024-01-13T00:00:00Z")}
    readings, _ = proved(tmp_path, files, table='transform = "t.py:clean"\n')
    assert readings[0][EVENT_TIMESTAMP].format == "iso8601"


def test_attributes_are_proved_by_their_own_names(tmp_path):
    """Also where they come from a column of another name."""
    files = {"events.csv": "id,at,b\np,2024-01-01T00:00:00Z,1700000000\n"}
    table = '[source.columns]\nborn = { from = "b", type = "timestamp", format = "epoch_s" }\n'
    readings, decisions = proved(tmp_path, files, table=table)
    assert readings[0]["born"].format == "epoch_s"
    assert {each.key for each in decisions} == {"timestamp", "columns.born"}


def test_all_rows_have_the_last_word_over_the_first(tmp_path):
    """What the first rows prove is not what the column says: everything is judged anew."""
    timestamps = [f"2024-01-{day:02}" for day in range(1, 31)]
    files = {"events-1.csv": rows("31/01/2024"), "events-2.csv": rows(*timestamps)}
    seen = []
    found = planned(tmp_path, files, ', timezone = "UTC"', progress=seen.append)
    (decision,), (source,) = found.decisions, found.sources
    assert found.readings[0][EVENT_TIMESTAMP].format == decision.format == "iso8601"
    assert (decision.values, decision.fits, decision.doubt) == (31, 30, "")
    assert (source.rows_read, source.operations) == (31, 30)
    assert source.reasons == {"timestamp_unreadable": 1}
    assert sum(each.rows for each in seen) == 31
    assert sum(each.rejected for each in seen) == 1


def test_a_rival_that_ties_to_the_end_is_told_whatever_the_first_rows_proved(tmp_path):
    """The first file proves days first; all files together leave two readings."""
    files = {
        "events-1.csv": rows("31/01/2024", "01/02/2024"),
        "events-2.csv": rows("01/31/2024", *["01/02/2024"] * 40),
    }
    _, (decision,) = proved(tmp_path, files, ', timezone = "UTC"')
    assert "two formats fit" in decision.doubt
    assert (decision.values, decision.fits) == (43, 42)
