"""What files say about themselves: names, types, timestamps, repeats."""

import tomllib

import jsonschema_rs
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.cli.samples import sample_pipeline
from backfill.pipeline.file import Pipeline
from backfill.rows import Chunk, Position
from backfill.scaffold import names, setting_docs
from backfill.scaffold.column_profile import ColumnProfile
from backfill.scaffold.distinct_values import KEPT_MAX, Distinct
from backfill.scaffold.pipeline_text import Setting, toml


def look(values, name="column", form="text"):
    """A column of text that was looked at; a file that has types may hold it."""
    found = ColumnProfile(name)
    batch = pa.record_batch({name: pa.array(values, pa.string())})
    rows = np.arange(1, len(values) + 1)
    found.add(Chunk(1, batch, rows, None, (), Position(len(values) + 1), form))
    return found


def distinct(*chunks):
    """Chunks of values that were counted."""
    found = Distinct()
    for each in chunks:
        found.add(pa.array(each, pa.string()))
    return found


# -- how many there are


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=9), max_size=5))
def test_few_values_are_counted_exactly(chunks):
    """Whatever chunks they come in."""
    found = distinct(*chunks)
    every = [each for chunk in chunks for each in chunk]
    assert (found.values, found.count) == (len(every), len(set(every)))
    assert found.repeated == sum(every.count(each) > 1 for each in set(every))


def test_many_values_are_estimated_in_little_memory():
    """Twice as many as are kept, each of them twice."""
    numbers = [str(number) for number in range(2 * KEPT_MAX)]
    found = distinct(*(numbers[at::8] for at in range(8)), numbers)
    assert abs(found.count - len(numbers)) < len(numbers) / 20
    assert abs(found.repeated - len(numbers)) < len(numbers) / 20


# -- what values are


@pytest.mark.parametrize(
    ("values", "name", "type_"),
    [
        (["1", "-2", None], "count", "integer"),
        (["1.5", "2"], "count", "number"),
        (["10.00", "20.00"], "price", "number"),
        (["1,5", "2"], "count", "decimal comma"),
        (["1,234.50", "12"], "count", "1,234.5"),
        (["1.234,50", "12,5"], "count", "1.234,5"),
        (["1,234,567", "12"], "count", "1,234.5"),
        (["1 234,5", "12"], "count", "1 234,5"),
        (["true", "No"], "answer", "boolean"),
        (["1", "0"], "count", "integer"),
        (["1", "0"], "is_vip", "boolean"),
        (["007", "42"], "count", "string"),
        (["+49151", "+49152"], "count", "string"),
        (["4111111111111111", "1"], "count", "string"),
        (["1067", "8001"], "zip", "string"),
        (["1", "2"], "order_id", "string"),
        (["3", "4"], "number_of_items", "integer"),
        (['{"a": 1}', "[]"], "details", "json"),
        (["1", "x"], "count", "string"),
        ([None, None], "count", "string"),
    ],
)
def test_a_type_is_what_every_value_fits_without_a_loss(values, name, type_):
    """Leading zeros, a plus or a card's digits would be lost; ids are no quantities."""
    assert look(values, name).type_of_text() == type_


@pytest.mark.parametrize("values", ["text", "typed"])
def test_whole_numbers_with_a_point_are_told_in_text_of_any_file(values):
    """Parquet holds text, too; as identifiers they must be declared, or `check` refuses them."""
    texts = [["1.0", "2.0", None], ["1.0", "2"], ["1", "2"], [None]]
    found = [look(each, "id", values).holds_whole_floats for each in texts]
    assert found == [True, False, False, False]


@pytest.mark.parametrize(
    ("values", "mark"),
    [
        (["1,234", "12"], ","),
        (["1.234", "12"], "."),
        (["1,234", "1,5"], ""),
        (["1,234.5", "1,000"], ""),
        (["0.123", "1.234"], ""),
        (["12", "13"], ""),
        (["1,234", "x"], ""),
    ],
)
def test_three_digits_behind_a_mark_may_be_two_numbers(values, mark):
    """1,234 is a thousand to some, and little more than one to others."""
    found = look(values, "price")
    assert found.doubtful_mark == mark
    assert not mark or found.type_of_text() == "string"


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (["10:12:00", "9:05:10"], "%H:%M:%S"),
        (["10:12", "23:59"], "%H:%M"),
        (["10:12 PM", "9:05 am"], "%I:%M %p"),
        (["10:12:30 p.m.", "9:05:01 AM"], "%I:%M:%S %p"),
        (["10:12", "10:12:30"], ""),
        (["2024-01-31 10:12"], ""),
    ],
)
def test_clocks_in_a_column_of_their_own_are_told(values, form):
    """All of them are written alike."""
    assert look(values).clock == form


@pytest.mark.parametrize(
    ("values", "are_zones"),
    [(["Europe/Berlin", "UTC", "+02:00"], True), (["PST"], False), (["UTC", "soon"], False)],
)
def test_zones_in_a_column_of_their_own_are_told(values, are_zones):
    """Not abbreviations, which mean nothing by themselves."""
    assert look(values).holds_zones == are_zones


@pytest.mark.parametrize(
    ("name", "is_key"),
    [
        ("messageId", True),
        ("order_id", True),
        ("anonymousId", False),
        ("session_id", False),
        ("user_id", False),
        ("First Name", False),
    ],
)
def test_what_tells_people_apart_is_no_key_of_events(name, is_key):
    """Though in a small file each may stand once."""
    assert names.says_key(name) == is_key


@pytest.mark.parametrize(
    ("file", "are_events"),
    [
        ("orders-2024.csv", True),
        ("user_events.jsonl", True),
        ("events.json", True),
        ("event_guests.csv", False),
        ("customers.csv", False),
    ],
)
def test_the_name_of_a_file_may_say_that_it_holds_events(file, are_events):
    """The last word counts."""
    assert names.says_events(file) == are_events


def test_texts_like_null_prove_no_type():
    """They are counted, and the others tell what the column is."""
    found = look(["1", "N/A", "2", "N/A", "-"])
    assert found.type_of_text() == "integer"
    assert found.like_null == {"N/A": 2, "-": 1}
    assert found.values == 2


def test_what_most_values_fit_is_told_apart_from_what_all_do():
    """One odd value in twenty makes it a suggestion."""
    found = look([*map(str, range(20)), "odd"])
    assert found.type_of_text() == "string"
    assert found.nearly() == ("integer", 20)


@pytest.mark.parametrize(
    ("values", "name", "format_"),
    [
        (["31.01.2024", "01.02.2024"], "any", "%d.%m.%Y"),
        (["2024-01-31", "2024-02-01"], "any", "%Y-%m-%d"),
        (["2024-01-31T10:00:00Z"], "any", "iso8601"),
        (["1706713445", "1706713446"], "opened_at", "epoch_s"),
        (["1706713445", "1706713446"], "barcode", None),
        (["45322", "45323"], "salary", None),
        (["hello", "2024-01-31"], "any", None),
    ],
)
def test_timestamps_are_proved_and_numbers_need_a_name_besides(values, name, format_):
    """A salary of 45,322 is a day in January 2024 to a spreadsheet."""
    timestamps = look(values, name).timestamps()
    assert (timestamps and timestamps.format) == format_


def test_both_readings_are_kept_where_nothing_decides():
    """People see what each would make of it."""
    timestamps = look(["01/02/2024", "03/04/2024"]).timestamps()
    assert timestamps.rivals == ("%d/%m/%Y", "%m/%d/%Y")
    assert timestamps.readings == ("2024-02-01T00:00:00", "2024-01-02T00:00:00")


def test_a_column_without_any_timestamp_is_no_longer_asked():
    """Long columns of text would cost time; what is known stays."""
    found = look([f"text {number}" for number in range(6_000)])
    assert found.timestamps() is None
    assert found.distinct.count == 6_000


# -- what names suggest


@pytest.mark.parametrize("name", ["customer_id", "userId", "Kundennummer", "UID", "contact id"])
def test_people_are_told_by_many_names(name):
    """Whatever the case, and however the words are parted."""
    assert names.says_person(name)


@pytest.mark.parametrize("name", ["order_id", "id", "company", "customer_since", "username"])
def test_other_names_tell_nobody(name):
    """An order is no person."""
    assert not names.says_person(name)


@pytest.mark.parametrize(
    ("file", "subject"),
    [
        ("orders-2023.csv.gz", "orders"),
        ("in/Export 2024-01-31 tickets.csv", "tickets"),
        ("2024.parquet", "2024"),
        ("PageViews_v2.jsonl", "page_views"),
    ],
)
def test_a_file_is_about_what_its_name_says_without_numbers(file, subject):
    """Dates and versions are no part of it."""
    assert names.subject(file) == subject


# -- what is written


@given(
    st.recursive(
        st.text() | st.integers(-(2**53), 2**53) | st.booleans(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_value_is_read_back_from_toml(value):
    """Quotes, newlines, control characters and odd keys included."""
    assert tomllib.loads(f"key = {toml(value)}") == {"key": value}


@given(st.text(min_size=1), st.text(), st.text(alphabet="abc #\n'\"", max_size=200))
def test_a_setting_is_one_whatever_is_said_about_it(key, value, note):
    """No comment runs into the next line."""
    written = "\n".join(Setting(key, value, note).lines())
    assert tomllib.loads(written) == {key: value}
    assert tomllib.loads("\n".join(Setting(key, value, note, on=False).lines())) == {}


# -- what editors know


def test_the_schema_is_that_of_the_settings():
    """Who changes a setting writes it anew: `backfill.scaffold.setting_docs.write_schema`."""
    assert setting_docs.SCHEMA_FILE.read_text("utf-8") == setting_docs.schema_text()


def test_every_key_is_explained():
    """Editors show what it does; `words.ABOUT` says it."""
    schema = setting_docs.pipeline_schema()
    tables = {"Pipeline": schema, **schema["definitions"]}
    bare = [
        f"{table}.{key}"
        for table, each in tables.items()
        for key, setting in each.get("properties", {}).items()
        if "description" not in setting and table not in ("Allowance", "Moment")
    ]
    assert bare == []


def test_the_schema_takes_every_example_and_refuses_what_the_program_does():
    """What an editor marks as wrong is wrong, and the other way round."""
    validator = jsonschema_rs.validator_for(setting_docs.pipeline_schema())
    examples = sorted(sample_pipeline().parent.glob("*.toml"))
    assert examples
    for path in examples:
        document = tomllib.loads(path.read_text("utf-8"))
        assert Pipeline.load(path).name
        assert list(validator.iter_errors(document)) == [], path
        assert not validator.is_valid({**document, "rejected": "1%"})
        assert not validator.is_valid({**document, "source": [{"kind": "events"}]})
        source = {**document["source"][0], "identifer": {"id": "id"}}
        assert not validator.is_valid({**document, "source": [source]})
