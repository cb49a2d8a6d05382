"""A pipeline file is read as it is meant, or all its mistakes are named by key."""

import datetime as dt
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import UsageError
from backfill.pipeline.file import _TABLES, Pipeline
from backfill.pipeline.setting_values import Allowance, RelativeTime
from backfill.pipeline.source_settings import EventsSource

WHOLE = """
name = "acme-history"
namespace = "acme"
rejected_max = "2.5%"

[destination]
api = "v1"
region = "eu"
rate = 0

[[source]]
kind = "customers"
files = ["customers*.csv"]
identifier = { id = "customer_id" }
required = ["email"]

[source.columns]
created_at = { from = "signed_up", type = "timestamp", timezone = "America/New_York" }
age = "integer"

[[source]]
kind = "events"
files = ["events/*.parquet"]
identifier = { email = "mail" }
name = { from = "event" }
timestamp = { from = "occurred_at", timezone = "UTC", format = "epoch_ms" }
key = ["order_id"]
transform = "transforms.py:clean"

[[source]]
kind = "deletions"
files = ["gone.csv"]
identifier = { cio_id = "cio" }
action = "suppress"
deletes_max = 7
"""

SMALL = """
name = "small"
[[source]]
kind = "events"
files = ["f.csv"]
identifier = { id = "id" }
name = "bought"
timestamp = { from = "at" }
"""


@pytest.fixture
def load(tmp_path):
    """Write a pipeline file, and its transforms, and read it."""

    def loaded(text, code="def clean(frame): return frame\n"):
        (tmp_path / "transforms.py").write_text(code)
        path = tmp_path / "pipeline.toml"
        path.write_text(text, "utf-8")
        return Pipeline.load(path)

    return loaded


def mistakes_of(load, text):
    """What is said of a file: mistake by key."""
    with pytest.raises(UsageError) as caught:
        load(text)
    assert caught.value.next_step
    lines = caught.value.what.splitlines()[1:]
    return dict(line.strip().split(": ", 1) for line in lines)


def test_a_file_is_read_as_it_is_meant(load, tmp_path):
    """Every table, with its defaults."""
    pipeline = load(WHOLE)
    people, events, gone = pipeline.sources
    assert pipeline.folder == tmp_path
    assert (pipeline.name, pipeline.namespace) == ("acme-history", "acme")
    assert (pipeline.destination.api, pipeline.destination.rate) == ("v1", 0)
    assert (people.identifier.type, people.identifier.column) == ("id", "customer_id")
    assert {name: (each.from_, each.type) for name, each in people.declared().items()} == {
        "created_at": ("signed_up", "timestamp"),
        "age": ("age", "integer"),
    }
    assert (people.nulls, people.create, people.shared_emails) == ("omit", True, "refuse")
    assert (events.identifier.type, gone.identifier.type) == ("email", "cio_id")
    assert (events.earliest.at(0), events.latest.at(1000)) == (631_152_000, 87_400)
    assert (gone.action, gone.other_columns) == ("suppress", "drop")
    assert gone.deletes_max.reached_by(8, 10**6)
    assert not gone.deletes_max.reached_by(7, 0)


def test_every_mistake_is_named_at_once_by_its_key(load):
    """With the nearest right key where there is one."""
    text = """
    name = "no/folder"
    namspace = "x"
    rejected_max = "many"
    [destination]
    api = "v3"
    rat = 7
    concurrency = 0
    [[source]]
    kind = "customers"
    files = []
    identifier = { id = "a", email = "b" }
    shared_email = "send"
    [source.columns]
    age = "int"
    at = { type = "timestamp", timezon = "UTC" }
    note = { type = "string", format = "%Y" }
    [[source]]
    kind = "events"
    files = ["f"]
    delimiter = '"'
    identifier = { phone = "p" }
    timestamp = { from = "when", timezone = "Mars/Base" }
    earliest = "yesterday"
    [[source]]
    kind = "orders"
    """
    found = mistakes_of(load, text)
    assert set(found) == {
        "name",
        "namspace",
        "rejected_max",
        "destination.api",
        "destination.rat",
        "destination.concurrency",
        "source[1].files",
        "source[1].identifier",
        "source[1].shared_email",
        "source[1].columns.age.type",
        "source[1].columns.at.timezon",
        "source[1].columns.note",
        "source[2].delimiter",
        "source[2].identifier.phone",
        "source[2].timestamp",
        "source[2].name",
        "source[2].earliest",
        "source[3]",
    }
    assert found["namspace"] == "no such key; did you mean namespace?"
    assert found["destination.rat"] == "no such key; did you mean rate?"
    assert found["source[1].shared_email"] == "no such key; did you mean shared_emails?"
    assert found["source[1].columns.at.timezon"] == "no such key; did you mean timezone?"
    assert found["source[2].name"] == "is missing"
    assert "Mars/Base" in found["source[2].timestamp"]
    assert '"deletions"' in found["source[3]"]


def test_a_column_may_be_named_as_a_key_is(load):
    """Its mistakes are still found under its own name."""
    text = SMALL + '[source.columns]\nevents = { typ = "integer" }\ntimestamp = { typ = "x" }\n'
    assert mistakes_of(load, text) == {
        "source[1].columns.events.typ": "no such key; did you mean type?",
        "source[1].columns.timestamp.typ": "no such key; did you mean type?",
    }


@pytest.mark.parametrize("name", ["", "  ", "ü" * 51])
def test_a_constant_event_name_must_be_one_that_can_be_sent(load, name):
    """It would be in every row."""
    found = mistakes_of(load, SMALL.replace('"bought"', f'"{name}"'))
    assert found == {"source[1].name": "an event name has 1 to 100 bytes"}


@pytest.mark.parametrize("key", ["zones", "timezone", "pivot"])
def test_a_setting_of_timestamps_belongs_inside_one(load, key):
    """The message says where."""
    found = mistakes_of(load, SMALL + f'{key} = "x"\n')
    assert found[f"source[1].{key}"].startswith("belongs inside timestamp = {")


def test_an_unanswered_time_zone_is_refused_by_name(load):
    """`init` writes TODO where nothing proves a zone."""
    text = SMALL.replace('from = "at"', 'from = "at", timezone = "TODO"')
    ((key, said),) = mistakes_of(load, text).items()
    assert key.endswith("timestamp.timezone")
    assert "America/New_York" in said


def test_every_open_setting_is_named_with_the_choices_that_its_comment_has(load):
    """Behind it, or in the lines above; a suggestion is no comment of the next setting."""
    text = """
    name = "TODO"
    [[source]]
    # customers: one row per person |
    # events: they say when
    kind = "TODO"
    files = ["a.csv"]  # "TODO" is to be decided
    null_values = ["TODO"]
    # key = ["id"]  # if it is one
    identifier = { id = "TODO" }
    encoding = "TODO"  # cp1252: Größe | cp1251: "#"
    [source.columns]
    "a b" = { type = "timestamp", format = "TODO", timezone = "TODO" } # 1/2 or 2/1
    took = "TODO"
    """
    assert mistakes_of(load, text) == {
        "source[1].kind": "customers: one row per person | events: they say when",
        "source[1].identifier.id": "the column that identifies the person",
        "source[1].encoding": 'cp1252: Größe | cp1251: "#"',
        "source[1].columns.a b.format": "1/2 or 2/1",
        "source[1].columns.a b.timezone": "1/2 or 2/1",
        "source[1].columns.took": "what is it sent as?",
    }


def test_a_setting_of_another_kind_is_told_from_a_mistyped_one(load):
    """After a kind was decided, those of the other may be left."""
    text = SMALL.replace('kind = "events"', 'kind = "events"\nnulls = "omit"\ncrate = true')
    said = mistakes_of(load, text)
    assert said["source[1].nulls"] == (
        "is a setting of customers, objects and relationships only; remove it"
    )
    assert said["source[1].crate"].startswith("no such key")


@pytest.mark.parametrize(
    ("text", "says"), [("name = ", "is not TOML"), ("a = 1\na = 2", "is not TOML"), ("", "name")]
)
def test_what_is_not_toml_is_refused(load, text, says):
    """With the place that is wrong."""
    with pytest.raises(UsageError, match=says):
        load(text)


def test_a_missing_file_names_the_nearest(load, tmp_path):
    """A slip of the finger."""
    load(SMALL)
    with pytest.raises(UsageError, match="no such pipeline file") as caught:
        Pipeline.load(tmp_path / "pipelin.toml")
    assert "pipeline.toml" in caught.value.next_step


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    """As editors on Windows write them."""
    path = tmp_path / "pipeline.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert Pipeline.load(path).name == "small"


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, "a = " + "9" * 5_000, "name = 'é'".encode("latin-1")],
    ids=["nested without end", "a number of 5,000 digits", "latin-1"],
)
def test_what_no_toml_reader_takes_is_a_usage_error(tmp_path, text):
    """Whatever the reader itself raises."""
    path = tmp_path / "pipeline.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match="is not TOML"):
        Pipeline.load(path)


BINDS = [
    ('namespace = "acme"', 'namespace = "other"'),
    ('api = "v1"', 'api = "v2"'),
    ('id = "customer_id"', 'email = "customer_id"'),
    ('id = "customer_id"', 'id = "other"'),
    ('age = "integer"', 'age = "number"'),
    ('from = "signed_up"', 'from = "joined"'),
    ("America/New_York", "Europe/Berlin"),
    ('required = ["email"]', "required = []"),
    ('required = ["email"]', 'required = ["email"]\nnulls = "clear"'),
    ('required = ["email"]', 'required = ["email"]\ncreate = false'),
    ('required = ["email"]', 'required = ["email"]\nother_columns = "drop"'),
    ('required = ["email"]', 'required = ["email"]\nnull_values = ["x"]'),
    ('required = ["email"]', 'required = ["email"]\ndecimal = ","'),
    ('required = ["email"]', 'required = ["email"]\nreserved = "drop"'),
    ('name = { from = "event" }', 'name = "bought"'),
    ('name = { from = "event" }', 'name = { from = "event" }\ntype = "page"'),
    ("epoch_ms", "epoch_s"),
    ('key = ["order_id"]', ""),
    ('action = "suppress"', 'action = "delete"'),
    ('"transforms.py:clean"', '"transforms.py:other"'),
]
FREE = [
    ('name = "acme-history"', 'name = "renamed"'),
    ("rate = 0", "rate = 7"),
    ("rate = 0", 'rate = 0\nurl = "http://127.0.0.1:1"'),
    ("rate = 0", "rate = 0\nconcurrency = 3"),
    ('region = "eu"', 'region = "us"'),
    ('rejected_max = "2.5%"', "rejected_max = 5"),
    ("customers*.csv", "people*.csv"),
    ('required = ["email"]', 'required = ["email"]\nshared_emails = "send"'),
    ('required = ["email"]', 'required = ["email"]\nreserved = "send"'),
    ('key = ["order_id"]', 'key = ["order_id"]\nidentical_rows = "keep"'),
    ('key = ["order_id"]', 'key = ["order_id"]\nrepeated_keys = "first"'),
    ('key = ["order_id"]', 'key = ["order_id"]\nrecent_events = "send"'),
    ('key = ["order_id"]', 'key = ["order_id"]\nunknown_people = "send"'),
    ('key = ["order_id"]', 'key = ["order_id"]\nearliest = "2001-01-01"'),
    ("deletes_max = 7", "deletes_max = 70"),
]


@pytest.mark.parametrize(("before", "after"), BINDS)
def test_what_makes_operations_and_ids_binds(load, before, after):
    """Once something was sent, this must not change unasked."""
    assert before in WHOLE
    assert load(WHOLE).digest() != load(WHOLE.replace(before, after)).digest()


@pytest.mark.parametrize(("before", "after"), FREE)
def test_speed_place_and_guards_do_not_bind(load, before, after):
    """A job goes on when they change."""
    assert before in WHOLE
    assert load(WHOLE).digest() == load(WHOLE.replace(before, after)).digest()


DIGESTS = [
    (
        (
            'kind = "customers"\nidentifier = { id = "id" }\nnulls = "clear"\n[source.columns]\n'
            'age = "integer"\nborn = { type = "date", pivot = 50, from = ["d", "m"] }'
        ),
        "87dbfee2577ed3472a44cc0890ac09ed",
    ),
    (
        (
            'kind = "events"\nidentifier = { email = "email" }\nname = { from = "event" }\n'
            'timestamp = { from = "at", timezone = "UTC" }\n[source.columns]\nvip = "boolean"'
        ),
        "3cfdf6cb939e2182279ad681d89340f2",
    ),
    (
        'kind = "deletions"\nidentifier = { id = "id" }\n[source.columns]\nx = "string"',
        "e8db1657253c840dd3c137e9b7361c5f",
    ),
]
"""Computed at 67e718f, before columns could be inverted or constant."""


@pytest.mark.parametrize(("source", "digest"), DIGESTS)
def test_jobs_that_were_begun_before_a_setting_existed_go_on(load, source, digest):
    """A new setting at its default makes no operation another one."""
    said = f'name = "a"\n[[source]]\nfiles = ["a.csv"]\n{source}\n'

    assert load(said).digest() == digest
    assert load(f"{said}k = {{ value = 7 }}\n").digest() != digest


def test_a_transforms_code_binds_and_its_file_must_be_there(load, tmp_path):
    """It makes operations as much as a setting does."""
    first = load(WHOLE)
    digest = first.digest()
    assert load(WHOLE, "def clean(frame): return frame[:1]\n").digest() != digest
    (tmp_path / "transforms.py").unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        first.digest()


def test_a_policy_changes_what_a_plan_finds(load):
    """Though it binds nothing."""
    kept = SMALL + 'identical_rows = "keep"\n'
    assert load(SMALL).policies() != load(kept).policies()
    assert load(SMALL).policies() == load(SMALL.replace("small", "other")).policies()


def test_unknown_people_are_refused_only_where_people_are_named(load):
    """With no customers source nobody is known."""
    (alone,) = load(SMALL).sources
    assert load(SMALL).unknown_people(alone) == "send"
    _, events, _ = load(WHOLE).sources
    assert isinstance(events, EventsSource)
    assert load(WHOLE).unknown_people(events) == "refuse"
    answered = load(WHOLE.replace('key = ["order_id"]', 'unknown_people = "reject"'))
    assert answered.unknown_people(answered.sources[1]) == "reject"


@pytest.mark.parametrize("value", ['"x%"', "-1", '"1"', "true", '"-1%"', "[1]"])
def test_an_allowance_is_a_number_or_a_share(load, value):
    """Anything else is a mistake."""
    assert set(mistakes_of(load, f"rejected_max = {value}\n{SMALL}")) == {"rejected_max"}


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_an_allowance_is_reached_when_more_than_it_allows(number, total):
    """A share is of the total, a count is a count."""
    assert Allowance(count=100).reached_by(number, total) == (number > 100)
    assert Allowance(share=0.01).reached_by(number, total) == (number > total * 0.01)


NOW_S = 1_000_000.7
MOMENTS = [
    ('"1990-01-01"', 631_152_000),
    ("1990-01-01", 631_152_000),
    ('"1990-01-01T02:00:00+02:00"', 631_152_000),
    ("1990-01-01T00:00:00Z", 631_152_000),
    ('"now"', 1_000_000),
    ('"now+1d"', 1_086_400),
    ('"now-2h"', 992_800),
    ('"now+5m"', 1_000_300),
    ('"now-1s"', 999_999),
]


@pytest.mark.parametrize(("written", "unix_s"), MOMENTS)
def test_a_moment_is_fixed_or_told_from_the_start(load, written, unix_s):
    """A date is midnight in UTC."""
    (source,) = load(SMALL + f"earliest = {written}\n").sources
    assert source.earliest.at(NOW_S) == unix_s


@pytest.mark.parametrize("written", ['"soon"', '"now+1y"', "7", '"1990-13-01"', "true"])
def test_what_is_no_moment_is_a_mistake(load, written):
    """No moment is guessed."""
    assert set(mistakes_of(load, SMALL + f"latest = {written}\n")) == {"source[1].latest"}


def test_settings_never_change(load):
    """They are frozen all the way down."""
    with pytest.raises(ValueError, match="frozen"):
        load(SMALL).sources[0].key = ("x",)
    assert RelativeTime(unix_s=1) == RelativeTime(unix_s=1)
    assert load(SMALL).path == Path(load(SMALL).path)
    assert dt.datetime.fromtimestamp(load(SMALL).sources[0].earliest.at(0), dt.UTC).year == 1990


ODD = (
    *("3", '"x"', "[]", "{}", "true", "-1", "1e99", "nan", "[1]", '"é"', "[[1]]", "1979-05-27"),
    *("07:32:00", '""', '[""]', '{a = ""}', "{from = 3}", f'"{"x" * 200}"', "9" * 5000),
)
SOURCES = SMALL.removeprefix('\nname = "small"\n')
WHERE = {
    "": "{line}\n" + SOURCES,
    "customers": 'name = "n"\n[[source]]\nkind = "customers"\n{line}\n',
    "events": 'name = "n"\n[[source]]\nkind = "events"\n{line}\n',
    "deletions": 'name = "n"\n[[source]]\nkind = "deletions"\n{line}\n',
    "destination": 'name = "n"\n[destination]\n{line}\n' + SOURCES,
    "sync": 'name = "n"\n' + SOURCES + "[source.sync]\n{line}\n",
}


@pytest.mark.parametrize("table", WHERE)
def test_no_mistake_is_told_in_the_words_of_a_library(tmp_path, table):
    """Whatever value a key has: people read TOML, and know nothing of what reads it."""
    path, told = tmp_path / "pipeline.toml", set()
    for name, setting in _TABLES[table].model_fields.items():
        for value in ODD:
            path.write_text(WHERE[table].replace("{line}", f"{setting.alias or name} = {value}"))
            try:
                Pipeline.load(path)
            except UsageError as error:
                told.update(error.what.splitlines())

    library = re.compile(
        r"Input|should|valid (?:integer|string|number)|parse|Value error|dictionary"
    )
    assert told
    assert [each for each in told if library.search(each.partition(": ")[2])] == []
