"""Operations have the shapes that the API documents; ids follow what an event is."""

import json
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.encoding.members import Members
from backfill.operations.encode import Subjects, encode, event_ids, event_keys, sizes
from backfill.pipeline.source_settings import CustomersSource, DeletionsSource, EventsSource

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


def subjects(person, attributes="", name=None, micros=None, key=None):
    """One row, as the judge gives it."""
    return Subjects(
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
    row = subjects(person, '"a":1', name, -1)
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
    row = subjects(person, '"a":1', "bought", 1_500_000)
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
    row = subjects("abc")
    assert encode(customers("cio_id"), "v1", row, None).paths.to_pylist() == [
        "/api/v1/customers/cio_abc"
    ]
    assert only(encode(customers("cio_id"), "v2", row, None))["identifiers"] == {"cio_id": "abc"}


ROW = {"person": "p", "attributes": '"a":1', "name": "bought", "micros": 1_700_000_000_000_001}


def id_of(source=None, namespace="", occurrence=0, **changes):
    """The id of one event."""
    row = subjects(**{**ROW, **changes})
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
    """A mended row stays the same event."""
    keyed = events(key=("k",))
    assert id_of(keyed, key='["1"]') == id_of(keyed, key='["1"]', attributes='"a":2')


def test_repeats_share_person_name_and_key_whatever_their_moment():
    """What `repeated_keys` is asked about."""
    keyed = events(key=("k",))
    row = subjects(**ROW, key='["1"]')
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
def test_moments_before_1970_have_ids_and_floor_to_seconds(micros):
    """An id's time is clamped; the timestamp is not."""
    row = subjects(**{**ROW, "micros": micros})
    made = event_ids(events(), "", row)
    assert made[0].as_py().startswith("0000000000")
    assert only(encode(events(), "v2", row, made))["timestamp"] == micros // 10**6


def test_sizes_are_known_before_ids_are_made():
    """What the judge measures is what is sent."""
    row = subjects(**ROW)
    made = encode(events(), "v2", row, event_ids(events(), "", row))
    assert sizes(events(), "v2", row).tolist() == made.lengths.tolist()
    assert made.lengths.tolist() == [len(bytes(made.json(0, 1)))]


@given(st.lists(st.booleans(), max_size=6))
def test_taking_rows_takes_all_of_their_columns(mask):
    """By mask or by place."""
    count = len(mask)
    texts = pa.array([str(each) for each in range(count)], pa.string())
    members = Members.of_text(texts)
    rows = Subjects(np.arange(count), texts, members, texts, pa.array(range(count), pa.int64()))
    kept = [place for place, each in enumerate(mask) if each]
    for places in (np.array(mask, np.bool_), np.array(kept, np.int64)):
        some = rows.take(places)
        assert some.rows.tolist() == some.micros.to_pylist() == kept
        assert some.person.to_pylist() == some.name.to_pylist() == list(map(str, kept))
        assert some.key is None


def test_places_may_repeat_or_turn_rows_around():
    """As many places as rows are not always all rows in order."""
    texts = pa.array(["a", "b"])
    rows = Subjects(np.array([1, 2]), texts, Members.of_text(texts))
    assert rows.take(np.array([1, 0])).person.to_pylist() == ["b", "a"]
