"""Operations have the shapes that the API documents; ids follow what an event is."""

import json
from dataclasses import fields, replace
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pytest
import ulid
from hypothesis import given
from hypothesis import strategies as st

from backfill.operations.encode import (
    Accepted,
    Members,
    encode,
    event_ids,
    event_keys,
    recent_since_us,
    sizes,
)
from backfill.pipeline.source_settings import CustomersSource, DeletionsSource, EventsSource
from backfill.planning.row_decisions import unmarked

ULID = "01HB4HBDKTFWYZCK01DMRSWRFD"
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


def customers(kind="id"):
    """A customers source."""
    return CustomersSource(kind="customers", files=("f",), identifier={kind: "person"})


def events(kind="id", type_="event", key=()):
    """An events source."""
    return EventsSource(
        kind="events", files=("f",), identifier={kind: "person"}, type=type_, name="x",
        timestamp={"from": "when"}, key=key,
    )  # fmt: skip


def deletions(action, kind="id"):
    """A deletions source."""
    return DeletionsSource(
        kind="deletions", files=("f",), identifier={kind: "person"}, action=action
    )


def accepted(person, attributes="", name=None, micros=None, key=None):
    """One row, as the judge gives it."""
    return Accepted(
        np.array([1]),
        pa.array([person]),
        Members.of_text(pa.array([attributes])),
        None if name is None else pa.array([name]),
        None if micros is None else pa.array([micros], pa.int64()),
        None if key is None else pa.array([key]),
    )


def only(made):
    """The JSON of the only operation."""
    return json.loads(bytes(made.json(0, 1)))


@given(TEXT, TEXT, st.sampled_from(["id", "email", "cio_id"]), st.sampled_from(["page", "event"]))
def test_v2_operations_have_the_documented_shapes(person, name, kind, type_):
    """Track OpenAPI, `/api/v2/batch`."""
    who = {"type": "person", "identifiers": {kind: person}}
    row = accepted(person, '"a":1', name, -1)
    assert only(encode(customers(kind), "v2", row, None)) == {
        **who, "action": "identify", "attributes": {"a": 1}
    }  # fmt: skip
    assert only(encode(events(kind, type_), "v2", row, pa.array([ULID]))) == {
        **who, "action": type_, "attributes": {"a": 1}, "id": ULID, "name": name, "timestamp": -1
    }  # fmt: skip
    for action in ("delete", "suppress"):
        assert only(encode(deletions(action, kind), "v2", row, None)) == {**who, "action": action}


@given(TEXT)
def test_v1_requests_have_the_documented_shapes(person):
    """The person stands in the path, percent-encoded to the last byte."""
    row = accepted(person, '"a":1', "bought", 1_500_000)
    made = encode(customers(), "v1", row, None)
    (path,) = made.paths.to_pylist()
    assert path.isascii()
    assert unquote(path.removeprefix("/api/v1/customers/")) == person
    assert path.count("/") == 4
    assert (made.method, only(made)) == ("PUT", {"a": 1})
    made = encode(events(type_="screen"), "v1", row, pa.array([ULID]))
    assert (made.method, made.paths.to_pylist()) == ("POST", [f"{path}/events"])
    assert only(made) == {
        "data": {"a": 1}, "id": ULID, "name": "bought", "timestamp": 1, "type": "screen"
    }  # fmt: skip
    for action, method, end in (("delete", "DELETE", ""), ("suppress", "POST", "/suppress")):
        made = encode(deletions(action), "v1", row, None)
        assert (made.method, made.paths.to_pylist()) == (method, [path + end])
        assert bytes(made.json(0, 1)) == b""


def test_a_cio_id_has_its_prefix_in_a_path_only():
    """v2 takes it without."""
    row = accepted("abc")
    assert encode(customers("cio_id"), "v1", row, None).paths.to_pylist() == [
        "/api/v1/customers/cio_abc"
    ]
    assert only(encode(customers("cio_id"), "v2", row, None))["identifiers"] == {"cio_id": "abc"}


ROW = {"person": "p", "attributes": '"a":1', "name": "bought", "micros": 1_700_000_000_000_001}


def id_of(source=None, namespace="", occurrence=0, **changes):
    """The id of one event."""
    row = accepted(**{**ROW, **changes})
    return event_ids(source or events(), namespace, row, np.array([occurrence]))[0].as_py()


def test_whatever_makes_an_event_itself_changes_its_id():
    """Two different events never share an id."""
    ids = [
        id_of(),
        id_of(namespace="n"),
        id_of(events("cio_id")),
        id_of(events(type_="page")),
        id_of(person="P"),
        id_of(name="Bought"),
        id_of(micros=ROW["micros"] + 1),
        id_of(attributes='"a":2'),
        id_of(attributes='"a":"1"'),
        id_of(occurrence=1),
        id_of(occurrence=2),
        id_of(events(key=("k",)), key='["1"]'),
        id_of(events(key=("k",)), key='["2"]'),
        id_of(events(key=("k", "l")), key='["1","2"]'),
        id_of(events(key=("k", "l")), key='["1",null]'),
        id_of(events(key=("k",)), key='["1"]', micros=ROW["micros"] + 1),
    ]
    assert len(set(ids)) == len(ids)


def test_texts_that_border_on_one_another_make_other_ids():
    """No separator can be written into a value."""
    assert id_of(person='p","x', name="y") != id_of(person="p", name='x","y')
    assert id_of(namespace='a","id') != id_of(namespace="a")
    assert id_of(person="p,", name="x") != id_of(person="p", name=",x")


def test_with_a_key_the_content_does_not_count():
    """A fixed row stays the same event."""
    keyed = events(key=("k",))
    assert id_of(keyed, key='["1"]') == id_of(keyed, key='["1"]', attributes='"a":2')


def test_repeats_share_person_name_and_key_whatever_their_moment():
    """What `repeated_keys` is asked about."""
    keyed = events(key=("k",))
    row = accepted(**ROW, key='["1"]')
    keys = {
        event_keys(keyed, "", each)[0]
        for each in (
            row,
            replace(row, members=Members.of_text(pa.array(["x"])), micros=pa.array([1])),
            replace(row, person=pa.array(["q"])),
            replace(row, name=pa.array(["left"])),
            replace(row, key=pa.array(['["2"]'])),
        )
    }
    assert len(keys) == 4


@pytest.mark.parametrize("micros", [-1, -(10**15), -62_135_596_800 * 10**6])
def test_timestamps_before_1970_have_ids_and_floor_to_seconds(micros):
    """An id's time is clamped; the timestamp is not."""
    row = accepted(**{**ROW, "micros": micros})
    made = event_ids(events(), "", row)
    assert made[0].as_py().startswith("0000000000")
    assert only(encode(events(), "v2", row, made))["timestamp"] == micros // 10**6


@pytest.mark.parametrize("micros", [1_700_000_000_000_501, 1_700_000_000_000_999])
def test_the_time_in_an_id_is_floored_to_its_millisecond(micros):
    """Rounding would give the same event another id than earlier versions did."""
    made = event_ids(events(), "", accepted(**{**ROW, "micros": micros}))[0].as_py()
    assert ulid.ULID.from_str(made).milliseconds == 1_700_000_000_000


def test_sizes_are_known_before_ids_are_made():
    """What the judge measures is what is sent."""
    row = accepted(**ROW)
    made = encode(events(), "v2", row, event_ids(events(), "", row))
    assert sizes(events(), "v2", row).tolist() == made.lengths.tolist()
    assert made.lengths.tolist() == [len(bytes(made.json(0, 1)))]


def table(count):
    """Rows of which every column says which row it is."""
    numbers = np.arange(count, dtype=np.int64)
    texts = pa.array([str(each) for each in range(count)], pa.string())
    marks = unmarked(numbers)
    marks["value"] = numbers
    members = Members.of_text(texts)
    micros, large = pa.array(numbers), numbers % 2 == 0
    return Accepted(numbers, texts, members, texts, micros, texts, texts, large, marks, texts)


@given(st.lists(st.booleans(), max_size=6))
def test_taking_rows_takes_all_of_their_columns(mask):
    """By mask or by place; a column that is added to the table must be taken, too."""
    kept = [place for place, each in enumerate(mask) if each]
    for places in (np.array(mask, np.bool_), np.array(kept, np.int64)):
        some = table(len(mask)).take(places)
        for each in fields(some):
            column = getattr(some, each.name)
            match each.name:
                case "members":
                    said = list(map(int, column.text.to_pylist()))
                case "by_v1":
                    assert column.tolist() == [place % 2 == 0 for place in kept]
                    continue
                case "decided":
                    said = column["value"].tolist()
                case _:
                    said = [int(one) for one in column.tolist()]
            assert said == kept, each.name


@given(st.integers(0, 4))
def test_where_nothing_is_left_out_nothing_is_copied(count):
    """Most rules leave nothing out of most chunks."""
    rows = table(count)
    assert rows.take(np.ones(count, np.bool_)) is rows


def test_a_column_that_no_row_has_stays_away():
    """Customers have no names, and most chunks nothing that was decided."""
    texts = pa.array(["a", "b"])
    some = Accepted(np.array([1, 2]), texts, Members.of_text(texts)).take(np.array([0]))
    assert {getattr(some, each.name) for each in fields(some)[3:]} == {None}


@given(st.floats(1.5e9, 2e9), st.integers(-3, 3))
def test_an_event_is_recent_for_72_hours_to_the_microsecond(now_s, after_us):
    """The guard and the rule ask the same question, and answer it alike."""
    since_us = recent_since_us(now_s)
    rows = replace(accepted("p", name="seen", micros=since_us + after_us))
    assert rows.recent(now_s).tolist() == [after_us >= 0]


def test_an_event_of_72_hours_sharp_is_recent():
    """A microsecond later it is not any more."""
    at_s = 1_750_000_000
    rows = accepted("p", name="seen", micros=at_s * 10**6)
    assert rows.recent(at_s + 72 * 3600).all()
    assert not rows.recent(at_s + 72 * 3600 + 1e-6).any()
    assert rows.recent(at_s - 5).all(), "the future can trigger campaigns, too"
    assert not accepted("p").recent(at_s).any(), "people are not events"


def twice(validity=b"\x03"):
    """Two rows; the bits of `validity` behind them are nobody's."""
    timestamps = np.array([1, 2], np.int64).tobytes()
    buffers = [pa.py_buffer(validity), pa.py_buffer(timestamps)]
    return Accepted(
        np.array([1, 2], np.int64),
        pa.array(["a", "bc"]),
        Members.of_text(pa.array(['"x":1', ""])),
        pa.array(["seen", "seen"]),
        pa.Array.from_buffers(pa.int64(), 2, buffers),
    )


def test_a_digest_is_of_rows_and_not_of_what_memory_holds_behind_them():
    """Arrow leaves the last bits of a buffer as they are: two passes may find others there."""
    assert twice().digest() == twice(b"\xff").digest()
    several = twice().take(np.array([1]))
    assert several.digest() == replace(several, person=pa.array(["bc"])).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"rows": np.array([1, 3], np.int64)},
        {"person": pa.array(["ab", "c"])},
        {"members": Members.of_text(pa.array(["", '"x":1']))},
        {"name": pa.array(["seen", "heard"])},
        {"micros": pa.array([1, 3], pa.int64())},
    ],
)
def test_a_digest_tells_whatever_a_transform_changes(change):
    """Else rows could be sent that nobody planned."""
    assert replace(twice(), **change).digest() != twice().digest()


def test_places_may_repeat_or_turn_rows_around():
    """As many places as rows are not always all rows in order."""
    texts = pa.array(["a", "b"])
    rows = Accepted(np.array([1, 2]), texts, Members.of_text(texts))
    assert rows.take(np.array([1, 0])).person.to_pylist() == ["b", "a"]
