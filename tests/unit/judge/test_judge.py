"""The judge: what is sent of a row is what the row says; what is not sent has every reason."""

import datetime as dt
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.encoding.column_names import with_made
from backfill.errors import UsageError
from backfill.instants import Reading
from backfill.judge.judge import EVENT_TIMESTAMP, Judge
from backfill.operations.batches import Packer
from backfill.operations.encode import encode, event_ids
from backfill.pipeline.source_settings import CustomersSource, DeletionsSource, EventsSource
from backfill.planning.chunk_stats import oddities
from backfill.rows import SENTENCES, Chunk, Position
from backfill.sources.layout import AttributeNames

NOW_S = 1_760_000_000
EXACT = 2**53
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


def customers(**more):
    """A customers source by id."""
    return CustomersSource(
        kind="customers", files=("f",), **{"identifier": {"id": "person"}, **more}
    )


def events(**more):
    """An events source by id, with the name and the moment in columns."""
    given_settings = {
        "identifier": {"id": "person"},
        "name": {"from": "what"},
        "timestamp": {"from": "when"},
        **more,
    }
    return EventsSource(kind="events", files=("f",), **given_settings)


def chunk(columns, values="text"):
    """A chunk of these columns, the rows numbered from 1."""
    arrays = [each if isinstance(each, pa.Array) else pa.array(each, pa.string())
              for each in columns.values()]  # fmt: skip
    batch = pa.RecordBatch.from_arrays(arrays, list(columns))
    count = batch.num_rows
    return Chunk(1, batch, np.arange(1, count + 1), None, (), Position(count + 1), values)


READINGS = {
    EVENT_TIMESTAMP: Reading("iso8601", "UTC"),
    "moment": Reading("iso8601", "UTC"),
    "day": Reading("iso8601", "UTC", date_only=True),
}


def judged(source, given_chunk, api="v2"):
    """The chunk after judging, as of a fixed moment."""
    return Judge(source, api, READINGS, NOW_S).judge(given_chunk, "file.csv")


def sent(source, result, api="v2"):
    """The operations of the accepted rows, as JSON."""
    ids = event_ids(source, "", result.accepted) if source.kind == "events" else None
    operations = encode(source, api, result.accepted, ids)
    return [bytes(operations.json(place, place + 1)) for place in range(len(operations))]


def loads_sorted(text):
    """JSON whose keys must be sorted and said once."""

    def checked(pairs):
        names = [name for name, _ in pairs]
        assert names == sorted(set(names))
        return dict(pairs)

    return json.loads(text, object_pairs_hook=checked)


def reasons_of(result):
    """Row -> the codes and fields of its rejection."""
    return {each.row: [(why.code, why.field) for why in each.reasons] for each in result.rejections}


# What is sent is what the row says --------------------------------------------------------------

REFUSED = object()


def whole(cell):
    """A cell declared integer."""
    number = float(cell) if len(cell) < 15 else int(cell)
    if number != int(number):
        return REFUSED
    return int(number) if abs(number) <= EXACT else str(int(number))


def document(cell):
    """A cell declared json."""
    try:
        return json.loads(cell)
    except ValueError:
        return REFUSED


def number_of(cell):
    """A cell declared number."""
    return float(cell) if math.isfinite(float(cell)) else REFUSED


MOMENT = st.integers(-(10**9), 4 * 10**9).map(
    lambda s: (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=s)).isoformat()
)
CELLS = {
    "plain": (None, TEXT | st.sampled_from(['"', "\\", "\n", "😀", "", "null", "007"]), str),
    "text": ("string", TEXT, str),
    "count": ("integer", st.sampled_from(["7", "-0", "007", "42.0", "1.5", "9" * 19]), whole),
    "price": ("number", st.sampled_from(["1.5", "1e3", "1e400", "-0.25", "12"]), number_of),
    "flag": ("boolean", st.sampled_from(["yes", "F"]), lambda cell: cell == "yes"),
    "tree": ("json", st.sampled_from(['{"b":[1,null],"a":"x"}', "{", "7", '"é"']), document),
    "moment": ("timestamp", MOMENT, lambda cell: int(dt.datetime.fromisoformat(cell).timestamp())),
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | cells for name, (_, cells, _) in CELLS.items()}),
    max_size=8,
)
TYPES = {name: type_ for name, (type_, _, _) in CELLS.items() if type_}


def truth(row, nulls="omit"):
    """The attributes of a row, one cell after the other; None where it is rejected."""
    said = {}
    for name, (_, _, says) in CELLS.items():
        if row[name] is not None:
            said[name] = says(row[name])
        elif nulls == "clear":
            said[name] = None
    return None if REFUSED in said.values() else said


@settings(deadline=None)
@given(ROWS, st.sampled_from(["omit", "clear"]), st.booleans())
def test_operations_say_what_each_row_says(rows, nulls, create):
    """Vectorised encoding equals a reading of one cell at a time, and equal rows equal bytes."""
    source = customers(columns=TYPES, nulls=nulls, create=create)
    people = [f"p{place % 3}" for place in range(len(rows))]
    columns = {"person": people, **{name: [row[name] for row in rows] for name in CELLS}}
    result = judged(source, chunk(columns))
    expected = [
        {
            "type": "person",
            "action": "identify",
            "identifiers": {"id": person},
            "attributes": {**said, **({} if create else {"_update": True})},
        }
        for person, row in zip(people, rows, strict=True)
        if (said := truth(row, nulls)) is not None
    ]
    bodies = sent(source, result)
    assert [loads_sorted(each) for each in bodies] == expected
    assert len(result.rejections) == len(rows) - len(bodies)
    bytes_of = {}
    for said, body in zip(map(repr, expected), bodies, strict=True):
        assert bytes_of.setdefault(said, body) == body


@settings(deadline=None)
@given(ROWS)
def test_events_carry_their_attributes_name_and_moment(rows):
    """Key columns are sent too; identifier, name and moment are not sent twice."""
    source = events(columns=TYPES, key=["plain"])
    columns = {
        "person": ["p"] * len(rows),
        "what": [" bought "] * len(rows),
        "when": ["2024-01-01T00:00:00.75Z"] * len(rows),
        **{name: [row[name] for row in rows] for name in CELLS},
    }
    result = judged(source, chunk(columns))
    found = [loads_sorted(each) for each in sent(source, result)]
    kept = [said for row in rows if row["plain"] and (said := truth(row)) is not None]
    assert [each["attributes"] for each in found] == kept
    for each in found:
        assert (each["name"], each["timestamp"], each["action"]) == ("bought", 1704067200, "event")
        assert len(each["id"]) == 26


OBJECT = st.fixed_dictionaries(
    {},
    optional={
        "a": st.none() | TEXT,
        "b": st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False,
                                                                  allow_infinity=False) | TEXT,
        "c": st.none() | st.lists(st.integers(0, 9), max_size=2) | st.booleans(),
    },
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(OBJECT, min_size=1, max_size=6), st.sampled_from(["omit", "clear"]))
def test_a_json_null_clears_and_an_absent_key_says_nothing(objects, nulls):
    """JSON Lines keeps its types line by line."""
    names = sorted({name for each in objects for name in each})
    columns = {
        name: [json.dumps(each[name]) if name in each else None for each in objects]
        for name in names
    }
    people = [f'"p{place}"' for place in range(len(objects))]
    source = customers(nulls=nulls)
    result = judged(source, chunk({"person": people, **columns}, "json"))
    expected = [
        {
            name: str(value)
            if isinstance(value, int) and abs(value) > EXACT and not isinstance(value, bool)
            else value
            for name, value in each.items()
            if value is not None or nulls == "clear"
        }
        for each in objects
    ]
    assert [loads_sorted(each)["attributes"] for each in sent(source, result)] == expected


BLANKS = st.text("\t\u00a0\u2003 ", max_size=3)


@given(blank=BLANKS, nulls=st.sampled_from(["omit", "clear"]))
def test_only_a_string_can_be_empty(blank, nulls):
    """In any other column a cell of blanks says nothing, as an empty cell does."""
    types = {
        "age": "integer",
        "score": "number",
        "vip": "boolean",
        "moment": "timestamp",
        "day": "date",
        "tags": "json",
        "note": "string",
        "undeclared": None,
    }
    declared = {name: kind for name, kind in types.items() if kind}
    source = customers(columns=declared, nulls=nulls)
    result = judged(source, chunk({"person": ["p"], **{name: [blank] for name in types}}))
    (body,) = sent(source, result)
    nothing = {} if nulls == "omit" else {name: None for name in declared if name != "note"}
    expected = {**nothing, "note": blank, "undeclared": blank}
    assert loads_sorted(body)["attributes"] == expected


@given(blank=BLANKS)
def test_an_event_whose_timestamp_is_blank_has_none(blank):
    """It is missing, not unreadable."""
    result = judged(events(), chunk({"person": ["p"], "what": ["w"], "when": [blank]}))
    (rejection,) = result.rejections
    assert [each.code for each in rejection.reasons] == ["timestamp_missing"]


@pytest.mark.parametrize(("kind", "nothing"), [("text", None), ("json", "null")])
def test_consent_is_never_cleared_by_an_empty_cell(kind, nothing):
    """The API takes no null there; other attributes of the row are cleared all the same."""
    topic = "cio_subscription_preferences.topics.topic_3"
    kept = ("unsubscribed", "cio_subscription_preferences", topic)
    person = "p" if kind == "text" else '"p"'
    columns = {"person": [person], "plan": [nothing], **{key: [nothing] for key in kept}}
    source = customers(nulls="clear")
    (body,) = sent(source, judged(source, chunk(columns, kind)))
    assert loads_sorted(body)["attributes"] == {"plan": None}


def test_a_row_that_says_nothing_does_not_shift_the_others():
    """Every row keeps its own attributes where some have none."""
    columns = {"person": list("abcd"), "x": [None, "1", None, "2"], "y": [None, None, None, "3"]}
    bodies = [loads_sorted(each) for each in sent(customers(), judged(customers(), chunk(columns)))]
    assert [(each["identifiers"]["id"], each["attributes"]) for each in bodies] == [
        ("a", {}),
        ("b", {"x": "1"}),
        ("c", {}),
        ("d", {"x": "2", "y": "3"}),
    ]


def test_a_chunk_without_rows_and_a_row_without_attributes():
    """Nothing to judge, and nothing to say."""
    for source in (customers(), events(), DeletionsSource(
        kind="deletions", files=("f",), identifier={"id": "person"})):  # fmt: skip
        columns = {"person": [], "what": [], "when": []}
        result = judged(source, chunk(columns))
        assert len(result.accepted) == len(result.rejections) == 0
        assert sent(source, result) == []
        assert list(Packer().add(encode(source, "v2", result.accepted, None
                    if source.kind != "events" else pa.array([], pa.string())))) == []  # fmt: skip
    (body,) = sent(customers(), judged(customers(), chunk({"person": ["p"]})))
    assert loads_sorted(body)["attributes"] == {}


def test_a_slice_is_judged_as_its_own_rows():
    """Arrow columns may begin in the middle of their buffers."""
    whole_chunk = chunk({"person": ["x", "a", "b"], "note": ["-", 'say "a"', "b"]})
    part = Chunk(2, whole_chunk.batch.slice(1), whole_chunk.rows[1:], None, (), Position(4), "text")
    bodies = [loads_sorted(each) for each in sent(customers(), judged(customers(), part))]
    assert [each["identifiers"]["id"] for each in bodies] == ["a", "b"]
    assert [each["attributes"] for each in bodies] == [{"note": 'say "a"'}, {"note": "b"}]


# Every reason, and a row just inside the limit --------------------------------------------------

LIMITS = [
    ("identifier_missing", customers(), {"person": ("p", " ")}, "person"),
    ("identifier_too_long", customers(), {"person": ("ü" * 75, "ü" * 75 + "x")}, "person"),
    ("identifier_too_long", customers(identifier={"email": "mail"}),
     {"mail": ("ü" * 124 + "@abc.d", "ü" * 124 + "@abcd.e")}, "mail"),
    ("identifier_not_an_email", customers(identifier={"email": "mail"}),
     {"mail": ("a@b", "a b@c")}, "mail"),
    ("identifier_conflict", customers(), {"person": ("p", "p"), "id": (" p", "q")}, "id"),
    ("identifier_conflict", customers(identifier={"email": "mail"}),
     {"mail": ("A@b.c", "a@b.c"), "email": ("a@B.c", "x@b.c")}, "email"),
    ("required_missing", customers(required=["note"]),
     {"person": ("p", "p"), "note": ("x", "")}, "note"),
    ("required_missing", customers(required=["note"], columns={"said": {"from": "note"}}),
     {"person": ("p", "p"), "note": ("x", None)}, "note"),
    ("required_missing", customers(required=["said"], columns={"said": {"from": "note"}}),
     {"person": ("p", "p"), "note": ("x", None)}, "note"),
    ("value_too_long", customers(), {"person": ("p", "p"), "note": ("ü" * 500, "ü" * 500 + "x")},
     "note"),
    ("value_too_long", customers(columns={"note": "integer"}),
     {"person": ("p", "p"), "note": ("9" * 1000, "9" * 1001)}, "note"),
    ("value_too_long", customers(columns={"note": "json"}),
     {"person": ("p", "p"), "note": ('["' + "ü" * 498 + '"]', '["' + "ü" * 499 + '"]')}, "note"),
    ("attribute_name_too_long", customers(), {"person": ("p", "p"), "n" * 151: (None, "x")},
     "n" * 151),
    ("not_an_integer", customers(columns={"note": "integer"}),
     {"person": ("p", "p"), "note": ("7.0", "7.5")}, "note"),
    ("not_a_number", customers(columns={"note": "number"}),
     {"person": ("p", "p"), "note": ("7.5", "7,5")}, "note"),
    ("not_a_number", customers(columns={"note": "number"}, decimal=","),
     {"person": ("p", "p"), "note": ("7,5", "7.5")}, "note"),
    ("not_finite", customers(columns={"note": "number"}),
     {"person": ("p", "p"), "note": ("1e308", "1e309")}, "note"),
    ("not_a_boolean", customers(columns={"note": "boolean"}),
     {"person": ("p", "p"), "note": ("ON", "on/off")}, "note"),
    ("not_a_boolean", customers(), {"person": ("p", "p"), "unsubscribed": ("1", "ja")},
     "unsubscribed"),
    ("not_json", customers(columns={"note": "json"}),
     {"person": ("p", "p"), "note": ("{}", "{")}, "note"),
    ("name_missing", events(), {"person": ("p", "p"), "what": ("x", " "), "when": ("2024-01-01",)
                                * 2}, "what"),
    ("name_too_long", events(), {"person": ("p", "p"), "what": (" " + "ü" * 50, "ü" * 50 + "x"),
                                 "when": ("2024-01-01",) * 2}, "what"),
    ("key_missing", events(key=["order", "line"]),
     {"person": ("p", "p"), "what": ("x", "x"), "when": ("2024-01-01",) * 2,
      "order": (None, ""), "line": ("1", None)}, "order"),
    ("timestamp_missing", events(),
     {"person": ("p", "p"), "what": ("x", "x"), "when": ("2024-01-01", None)}, "when"),
    ("timestamp_unreadable", events(),
     {"person": ("p", "p"), "what": ("x", "x"), "when": ("2024-01-01", "soon")}, "when"),
    ("timestamp_too_early", events(),
     {"person": ("p", "p"), "what": ("x", "x"), "when": ("1990-01-01", "1989-12-31T23:59:59Z")},
     "when"),
    ("timestamp_too_late", events(latest="now"),
     {"person": ("p", "p"), "what": ("x", "x"),
      "when": ("2025-10-09T08:53:20Z", "2025-10-09T08:53:21Z")}, "when"),
    ("timestamp_unreadable", customers(columns={"moment": "timestamp"}),
     {"person": ("p", "p"), "moment": ("1969-01-01", "never")}, "moment"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "source", "columns", "column"), LIMITS)
def test_a_row_beyond_a_limit_is_refused_and_one_inside_is_not(code, source, columns, column):
    """Bytes are counted, not characters; the reason names the column."""
    result = judged(source, chunk({name: list(cells) for name, cells in columns.items()}))
    assert reasons_of(result) == {2: [(code, column)]} or code == "identifier_missing"
    assert result.accepted.rows.tolist() == [1]
    assert code in SENTENCES


NEW_YORK = Reading("iso8601", "America/New_York")
UNREADABLE = [
    ("timestamp_no_zone", Reading("iso8601"), "2024-03-10T01:30:00Z", "2024-03-10T01:30:00"),
    ("timestamp_ambiguous", NEW_YORK, "2024-11-03 02:00", "2024-11-03 01:30"),
    ("timestamp_nonexistent", NEW_YORK, "2024-03-10 03:00", "2024-03-10 02:30"),
    ("timestamp_out_of_range", Reading("epoch_s"), "253402300799", "253402300800"),
]


@pytest.mark.parametrize(("code", "reading", "good", "bad"), UNREADABLE)
def test_a_moment_that_is_no_instant_fails_its_row(code, reading, good, bad):
    """In an attribute, and in the event's own moment, whose gates it never reaches."""
    source = customers(columns={"moment": {"type": "timestamp"}})
    columns = {"person": ["p", "p"], "moment": [good, bad]}
    result = Judge(source, "v2", {"moment": reading}, NOW_S).judge(chunk(columns))
    assert reasons_of(result) == {2: [(code, "moment")]}
    columns = {"person": ["p", "p"], "what": ["x", "x"], "when": [good, bad]}
    judge = Judge(events(latest="9999-12-31"), "v2", {EVENT_TIMESTAMP: reading}, NOW_S)
    found = reasons_of(judge.judge(chunk(columns)))
    assert found[2] == [(code, "when")]


def test_an_event_at_a_time_that_the_service_replaces_is_rejected():
    """It takes 0 to below 100,000,000,000 seconds, whatever `earliest` and `latest` allow."""
    source = events(earliest="1900-01-01", latest="9999-12-31")
    at = ["-1", "0", "99999999999", "100000000000"]
    columns = {"person": ["p"] * 4, "what": ["x"] * 4, "when": at}
    judge = Judge(source, "v2", {EVENT_TIMESTAMP: Reading("epoch_s")}, NOW_S)
    assert reasons_of(judge.judge(chunk(columns))) == {
        1: [("timestamp_too_early", "when")],
        4: [("timestamp_too_late", "when")],
    }


def test_each_row_is_read_in_the_zone_that_a_column_names():
    """Empty cells and texts for null name none."""
    source = events(null_values=["-"], columns={"seen": {"type": "timestamp"}})
    columns = {
        "person": ["p"] * 4, "what": ["x"] * 4,
        "when": ["2020-01-31 10:00", "2020-01-31 10:00Z", "2020-01-31 10:00", "2020-01-31 10:00"],
        "seen": ["2020-01-31 10:00"] * 4,
        "zone": ["Europe/Paris", "-", "", "Mars"],
    }  # fmt: skip
    reading = Reading("iso8601", timezone_from="zone")
    result = Judge(source, "v2", {EVENT_TIMESTAMP: reading, "seen": reading}, NOW_S).judge(
        chunk(columns)
    )
    no_zone, unknown = "timestamp_no_zone", "timestamp_zone_unknown"
    assert reasons_of(result) == {
        2: [(no_zone, "seen")],
        3: [(no_zone, "seen"), (no_zone, "when")],
        4: [(unknown, "seen"), (unknown, "when")],
    }
    assert result.accepted.micros.to_pylist() == [1_580_461_200 * 10**6]


def test_bytes_that_are_no_text_fail_their_row_in_every_role():
    """Parquet checks nothing."""
    odd = pa.array([b"fine", b"\xff", b"a\x00"]).view(pa.string())
    fine = pa.array(["x"] * 3)
    moment = pa.array([0] * 3, pa.timestamp("s", "UTC"))
    for column in ("person", "what", "note"):
        columns = {"person": fine, "what": fine, "when": moment, "note": fine, column: odd}
        readings = {EVENT_TIMESTAMP: Reading("native")}
        judge = Judge(events(earliest="1970-01-01"), "v2", readings, NOW_S)
        assert reasons_of(judge.judge(chunk(columns, "typed"))) == {
            2: [("invalid_utf8", column)],
            3: [("nul_byte", column)],
        }


def test_a_row_has_all_its_reasons_at_once():
    """A user fixes a row once."""
    source = events(columns={"n": "integer", "moment": "timestamp"}, required=["note"])
    columns = {
        "person": [None], "what": ["x" * 101], "when": ["?"], "n": ["x"], "note": [None],
        "moment": ["?"],
    }  # fmt: skip
    (codes,) = reasons_of(judged(source, chunk(columns))).values()
    assert {code for code, _ in codes} == {
        "identifier_missing",
        "name_too_long",
        "timestamp_unreadable",
        "not_an_integer",
        "required_missing",
    }
    assert len(codes) == 6


def test_reasons_never_repeat_a_value():
    """A sentence may reach a log."""
    result = judged(customers(columns={"n": "integer"}), chunk({"person": ["p"], "n": ["secret"]}))
    assert "secret" not in result.rejections[0].reasons[0].message
    assert result.rejections[0].cells == {"person": "p", "n": "secret"}


@pytest.mark.parametrize(
    ("person", "misread"),
    [
        ("ann@example.com", True),
        ("x ann@example.com y", True),
        ("cio_07", True),
        ("CIO_07", True),
        (".", True),
        ("..", True),
        ("...", False),
        ("@ann", False),
        ("acio_1", False),
        ("a/b ü", False),
    ],
)
def test_v1_takes_no_id_that_it_would_read_as_something_else(person, misread):
    """v1 guesses an identifier by its shape; v2 does not."""
    source, given_chunk = customers(), chunk({"person": [person]})
    expected = {1: [("identifier_shape_v1", "person")]} if misread else {}
    assert reasons_of(judged(source, given_chunk, "v1")) == expected
    assert reasons_of(judged(source, given_chunk)) == {}


def large_event(data_bytes):
    """An event whose attributes have exactly so many bytes as JSON."""
    empty = len('{"note":""}')
    return {
        "person": ["p"], "what": ["x"], "when": ["2024-01-01"], "note": ["y" * (data_bytes - empty)]
    }  # fmt: skip


def test_events_too_large_for_v2_go_by_v1_until_they_are_too_large_for_that():
    """Only v1 takes events of 32 to 100 kB."""
    source = events()
    frame = len(sent(source, judged(source, chunk(large_event(1000))))[0]) - 1000
    small = judged(source, chunk(large_event(32_000 - frame)))
    assert (small.accepted.by_v1, len(sent(source, small)[0])) == (None, 32_000)
    assert judged(source, chunk(large_event(32_001 - frame))).accepted.by_v1.tolist() == [True]
    assert judged(source, chunk(large_event(100_000))).accepted.by_v1.tolist() == [True]
    for api in ("v1", "v2"):
        result = judged(source, chunk(large_event(100_001)), api)
        assert reasons_of(result) == {1: [("too_large", "")]}
    odd = chunk({**large_event(50_000), "person": ["ann@example.com"]})
    assert reasons_of(judged(source, odd)) == {1: [("identifier_shape_v1", "person")]}


def test_customers_beyond_32_kb_are_refused():
    """No other endpoint takes them."""
    wide = {f"a{place:03}": ["x" * 990] for place in range(40)}
    result = judged(customers(), chunk({"person": ["p"], **wide}))
    assert reasons_of(result) == {1: [("too_large", "")]}


@pytest.mark.parametrize("too_long", ["reject", "truncate"])  # written together, or one by one
def test_a_person_may_have_300_attributes_and_the_control_key_is_none(too_long):
    """Nulls do not count, and neither does `_update`."""
    columns = {f"a{place:03}": ["x", "x"] for place in range(300)}
    columns["b"] = [None, "x"]
    source = customers(create=False, too_long=too_long)
    result = judged(source, chunk({"person": ["p", "q"], **columns}))
    assert reasons_of(result) == {2: [("too_many_attributes", "")]}


def test_a_column_that_a_transform_took_away_stops_the_run():
    """Every row would be rejected for it."""
    with pytest.raises(UsageError, match=r"file\.csv: column 'person' is missing"):
        judged(customers(), chunk({"persons": ["p"]}))


@pytest.mark.parametrize(
    ("cells", "odd"),
    [
        (["1970-01-01", "2025-01-01"], []),
        (["1969-12-31", "2025-01-01"], ["moment"]),
        (["2025-01-01", "2099-01-01"], ["moment"]),
        ([None, "no moment"], []),
    ],
)
def test_attributes_before_1970_or_in_the_future_are_noted(cells, odd):
    """They are sent, since people are born and contracts end; but a slip looks alike."""
    source = customers(columns={"moment": "timestamp"})
    result = judged(source, chunk({"person": ["1", "2"], "moment": cells}))

    assert sorted(result.names.odd_timestamps) == odd


def test_a_judge_says_with_each_chunk_what_it_found_there_and_keeps_nothing():
    """Threads share it: what one chunk has, no other one is said to have."""
    source = customers(columns={"moment": "timestamp"}, reserved="send")
    judge = Judge(source, "v2", READINGS, NOW_S)
    first = {"person": ["1"], "moment": ["1969-12-31"], "_odd": ["a"], "note": ["x" * 950]}
    found = judge.judge(chunk(first), "file.csv").names
    after = judge.judge(chunk({"person": ["1"], "moment": ["2025-01-01"]}), "file.csv").names

    assert found == AttributeNames(
        all=frozenset({"moment", "_odd", "note"}),
        reserved=frozenset({"_odd"}),
        long=frozenset({"note"}),
        odd_timestamps=frozenset({"moment"}),
        columns=frozenset(first),
    )
    assert after == AttributeNames(
        all=frozenset({"moment"}), columns=frozenset({"person", "moment"})
    )
    assert after | found == found


def test_an_id_with_quotes_agrees_with_itself():
    """The comparison is of values, not of their JSON."""
    cells = ['a"b', "c\\", "7"]
    result = judged(customers(), chunk({"person": cells, "id": cells}))
    assert (reasons_of(result), [loads_sorted(each)["attributes"] for each in
            sent(customers(), result)]) == ({}, [{}] * 3)  # fmt: skip


def test_emails_of_people_are_folded_and_empty_ones_are_nobodys():
    """An empty address is not shared by those who have none."""
    columns = {"person": ["a", "b", "c", "d"], "email": ["A@B.c", "", None, " a@b.C"]}
    assert judged(customers(), chunk(columns)).accepted.email.to_pylist() == [
        "a@b.c",
        None,
        None,
        "a@b.c",
    ]


def test_named_people_include_those_of_rejected_rows():
    """An event about them is not about a stranger."""
    source = customers(columns={"n": "integer"})
    result = judged(source, chunk({"person": ["a", "b", ""], "n": ["1", "x", "1"]}))
    assert result.named.to_pylist() == ["a", "b"]


def test_texts_for_null_count_in_every_column():
    """Also for identifiers, names and timestamps."""
    source = events(null_values=["NULL"])
    columns = {"person": ["NULL"], "what": ["NULL"], "when": ["NULL"], "note": ["NULL"]}
    (codes,) = reasons_of(judged(source, chunk(columns))).values()
    assert [code for code, _ in codes] == [
        "identifier_missing",
        "name_missing",
        "timestamp_missing",
    ]


def ids(source, given_chunk, namespace=""):
    """The event ids of a chunk."""
    return event_ids(source, namespace, judged(source, given_chunk).accepted).to_pylist()


FORMS = {
    "person": (["7", "8"], pa.array([7, 8]), ["7", '"8"']),
    "what": (["bought", "left"], pa.array(["bought", "left"]).dictionary_encode(),
             ['"bought"', '" left"']),
    "when": (["2024-01-01T12:00:00.25Z", "2024-07-01 00:00"],
             pa.array([1704110400_250, 1719792000_000]).cast(pa.timestamp("ms", "UTC")),
             ['"2024-01-01T12:00:00.250Z"', '"2024-07-01T00:00Z"']),
    "order": (["007", "9007199254740993"], pa.array([7, 9007199254740993]),
              ["7", '"9007199254740993"']),
    "price": (["19.990", "123456789012"], pa.array([19.99, 123456789012.0]),
              ["19.99", "123456789012"]),
    "note": (['a "b"', None], pa.array(['a "b"', None]), ['"a \\u0022b\\""', "null"]),
}  # fmt: skip


@pytest.mark.parametrize("key", [(), ("order",), ("order", "note")])
def test_an_events_id_is_the_same_from_csv_parquet_and_json_lines(key):
    """With the same declared types the same row is the same event."""
    source = events(key=key, columns={"order": "integer", "price": "number"})
    found = []
    for place, kind in enumerate(("text", "typed", "json")):
        columns = {name: forms[place] for name, forms in FORMS.items()}
        found.append(ids(source, chunk(columns, kind)))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 2


def test_an_events_id_does_not_depend_on_its_neighbours_or_the_order_of_columns():
    """Renamed, split, reordered: the same rows have the same ids."""
    source = events(columns={"n": "number"})
    columns = {
        "person": ["a", "b", "a", "c"],
        "what": ["x", "y", "x", "x"],
        "when": ["2024-01-01", "2024-01-02", "2024-01-03", "1990-01-01"],
        "note": ['"', None, "b", "é"],
        "n": ["1e10", "5", None, "0.1"],
    }
    together = ids(source, chunk(columns))
    backwards = {name: cells[::-1] for name, cells in reversed(columns.items())}
    assert ids(source, chunk(backwards))[::-1] == together
    alone = [
        ids(source, chunk({name: [cells[place]] for name, cells in columns.items()}))[0]
        for place in range(4)
    ]
    assert alone == together


def test_emails_as_identifiers_compare_in_lower_case():
    """The API does so."""
    source = events(identifier={"email": "person"})
    columns = {"person": ["Ann@B.c", "ann@b.C"], "what": ["x"] * 2, "when": ["2024-01-01"] * 2}
    assert len(set(ids(source, chunk(columns)))) == 1
    by_id = {**columns, "person": ["Ann", "ann"]}
    assert len(set(ids(events(), chunk(by_id)))) == 2


def test_a_value_without_the_member_that_is_sent_in_its_place_fails_its_row():
    """It would be gone without a word; another column that reads it saves it."""
    cells = [
        '{"$date":{"$numberLong":"5"}}',
        '{"$date":"2024-01-01"}',
        '"2024-01-01"',
        "null",
        None,
    ]
    columns = {"person": ['"p"'] * len(cells), "at": cells}
    path = "at.$date.$numberLong"
    source = customers(columns={"at": {"from": path, "type": "string"}})

    result = judged(source, with_made(chunk(columns, "json"), [path, path]))
    assert reasons_of(result) == {row: [("member_missing", path)] for row in (2, 3)}
    result = judged(source, with_made(chunk(columns, "json"), [path, "at.$date"]))
    assert reasons_of(result) == {3: [("member_missing", path)]}


@pytest.mark.parametrize(
    "address",
    [
        *("a@b", "a.b+c@mail.example.com", "ü@exämple.de", "o'neil^x@b-c.org"),
        *("a@b^c", "a@b..c", "a@b.", "mailto:a@b.c", "Ann <a@b.c>", "a@b.c;d@e.f", "a@b.c,", "a@"),
    ],
)
def test_only_an_address_by_itself_is_an_email(address):
    """A cell that was not split, or holds two of them, names somebody else or nobody."""
    is_one = address in {"a@b", "a.b+c@mail.example.com", "ü@exämple.de", "o'neil^x@b-c.org"}
    result = judged(customers(identifier={"email": "person"}), chunk({"person": [address]}))
    assert reasons_of(result) == ({} if is_one else {1: [("identifier_not_an_email", "person")]})


@pytest.mark.parametrize(
    ("values", "declared", "text", "odd"),
    [
        (["1706713445678"], "integer", False, True),
        (["1706713445"], "integer", False, False),
        (["1706713445.5"], "number", False, False),
        (["1706713445"], "string", True, False),
        (["2024-01-31T10:00:00Z"], None, True, False),
        ([None], None, False, False),
    ],
)
def test_what_stands_in_created_at_is_looked_at(values, declared, text, odd):
    """The service takes unix seconds there, and nothing else: text and milliseconds are told."""
    source = customers(columns={"created_at": declared} if declared else {})
    judge = Judge(source, "v2", {}, NOW_S)
    names = judge.judge(chunk({"person": ["p"], "created_at": values})).names
    assert ("created_at" in names.texts, "created_at" in names.implausible) == (text, odd)


def test_of_nothing_nothing_is_told():
    """A chunk without values, or whose rows all fail, has no text and no odd address."""
    declared = {"created_at": {"type": "timestamp", "format": "epoch_s"}}
    for cells in ([], [None], ["1706713445678"]):
        source = customers(columns=declared)
        judge = Judge(source, "v2", {"created_at": Reading("epoch_s")}, NOW_S)
        columns = {"person": ["p"] * len(cells), "created_at": cells, "email": [None] * len(cells)}
        names = judge.judge(chunk(columns)).names
        assert not names.texts | names.odd_emails


def test_typed_numbers_in_created_at_are_looked_at_too():
    """Parquet and JSON Lines bring numbers of any unit without a declaration."""
    for values, kind in ((pa.array([1706713445678]), "typed"), (["1706713445678"], "json")):
        judge = Judge(customers(), "v2", {}, NOW_S)
        judged_ = judge.judge(chunk({"person": pa.array(["p"]), "created_at": values}, kind))
        assert judged_.names.implausible == {"created_at"}


@pytest.mark.parametrize(
    ("form", "value", "odd"), [("epoch_ms", "1706713445", True), ("epoch_s", "1706713445", False)]
)
def test_seconds_that_are_declared_as_milliseconds_are_told(form, value, odd):
    """They would be days in January 1970."""
    source = customers(columns={"seen": {"type": "timestamp", "format": form}})
    judge = Judge(source, "v2", {"seen": Reading(form)}, NOW_S)
    names = judge.judge(chunk({"person": ["p"], "seen": [value]})).names
    assert names.implausible == ({"seen"} if odd else set())


def odd_identifiers(cells):
    """What the plan notes of these identifiers of customers."""
    return oddities(customers(), judged(customers(), chunk({"person": cells})).accepted)


def test_words_for_nothing_among_identifiers_are_noted():
    """As they are written; null_values answers, and then they name nobody."""
    cells = ["null", "NaN", "1", "nullify", "N/A"]
    found = odd_identifiers(cells)
    assert found.null_words == {"null", "NaN", "N/A"}
    assert not found.text_marks
    answering = customers(null_values=["null", "NaN", "N/A"])
    answered = judged(answering, chunk({"person": cells}))
    assert oddities(answering, answered.accepted).null_words == set()
    assert set(reasons_of(answered)) == {1, 2, 5}


def test_what_stands_for_no_person_in_a_spreadsheet_is_noted():
    """Errors of formulas, yes and no, and the column's own name from a second header."""
    cells = ["#REF!", "TRUE", "Person", "person", "persons"]
    assert odd_identifiers(cells).null_words == {"#REF!", "TRUE", "Person", "person"}


def test_json_in_a_column_of_text_names_nobody():
    """In every format alike; a GUID in braces is an id."""
    cells = ['{"$oid": "a"}', '["a"]', "{3F2504E0-4F89}", "[1]"]
    result = judged(customers(), chunk({"person": cells}))
    assert reasons_of(result) == {row: [("identifier_not_text", "person")] for row in (1, 2)}


def test_the_blanks_around_an_address_are_no_part_of_it():
    """Where it is an attribute; what is no address is noted, and nothing is none."""
    cells = [" a@x.com\u00a0", "b@x.com\u200b ", None, ""]
    result = judged(customers(), chunk({"person": list("1234"), "email": cells}))
    found = [json.loads(each)["attributes"].get("email") for each in sent(customers(), result)]
    assert found == ["a@x.com", "b@x.com", None, ""]
    assert not result.names.odd_emails
    emails = customers(identifier={"email": "person"})
    assert judged(emails, chunk({"person": cells[:2]})).named.to_pylist() == ["a@x.com", "b@x.com"]
    odd = judged(customers(), chunk({"person": ["1"], "email": ["Ann <a@x.com>"]}))
    assert odd.names.odd_emails == {"email"}


@pytest.mark.parametrize(("micros", "odd"), [("1706713445", True), ("1706713445678", False)])
def test_events_in_another_unit_are_told_where_they_are_let_in(micros, odd):
    """Whoever lowers earliest lets in days in January 1970 as well."""
    source = events(earliest="1960-01-01")
    judge = Judge(source, "v2", {EVENT_TIMESTAMP: Reading("epoch_ms")}, NOW_S)
    names = judge.judge(chunk({"person": ["p"], "what": ["seen"], "when": [micros]})).names
    assert names.implausible == ({"when"} if odd else set())


def test_a_spreadsheets_mark_for_text_among_identifiers_is_noted():
    """Not the apostrophe that a name begins with."""
    assert odd_identifiers(["'7000", '="12"', "'s-Graven", "7"]).text_marks == {"'", '="'}
    assert not odd_identifiers(["'s-Graven", "O'12"]).text_marks


def test_the_word_before_a_sum_names_nobody():
    """Reports write it below their rows."""
    cells = ["1", "Total", "Grand Total", "totally"]
    assert odd_identifiers(cells).null_words == {"Total", "Grand Total"}


@pytest.mark.parametrize("cell", ["42.0", "1.23457E+15", "1E+15", "-1.5"])
def test_identifiers_that_were_taken_for_numbers_refuse_the_column(cell):
    """Another file has the same person without the point; digits may be lost already."""
    with pytest.raises(UsageError, match=r"file\.csv: .* floating-point"):
        judged(customers(), chunk({"person": ["42", cell]}))
    declared = customers(columns={"person": "integer"})
    result = judged(declared, chunk({"person": ["42.0", cell]}))
    assert result.accepted.person.to_pylist()[0] == "42"


@pytest.mark.parametrize("cell", ["12e4", "1.2.3", "a.b", "+49 30", "v1.5", "12E4"])
def test_texts_that_only_look_like_numbers_are_identifiers(cell):
    """Halves of hashes, versions, telephone numbers."""
    assert judged(customers(), chunk({"person": [cell]})).accepted.person.to_pylist() == [cell]
    quoted = judged(customers(), chunk({"person": [f'"{cell}"']}, "json"))
    assert quoted.accepted.person.to_pylist() == [cell]


@pytest.mark.parametrize("cell", ["12e4", "1E5", "-1.5e3", "2.5", "1e-7"])
def test_a_number_of_json_that_is_no_integer_refuses_the_column(cell):
    """Without quotes it can be nothing else."""
    with pytest.raises(UsageError, match="floating-point"):
        judged(customers(), chunk({"person": ['"42"', cell]}, "json"))


@pytest.mark.parametrize("value", ['{"a":1}', "[7]", "true", "false"])
def test_json_that_names_nobody_is_refused_as_an_identifier(value):
    """Its text would be a person of that name."""
    result = judged(customers(), chunk({"person": ['"p"', value, "7"]}, "json"))

    assert result.accepted.person.to_pylist() == ["p", "7"]
    assert reasons_of(result) == {2: [("identifier_not_text", "person")]}


def test_a_cio_id_is_known_with_and_without_its_prefix():
    """Exports have both; one that stands inside stays."""
    source = customers(identifier={"cio_id": "person"})

    result = judged(source, chunk({"person": ["cio_a1", "a1", "a1cio_"]}))

    assert result.accepted.person.to_pylist() == ["a1", "a1", "a1cio_"]


@pytest.mark.parametrize("declared", [{}, {"email": "string"}])
def test_a_required_key_that_no_line_has_is_missing_in_every_row(declared):
    """A chunk of JSON Lines has the columns that its lines have: no header could be refused."""
    source = customers(required=("email",), columns=declared)

    result = judged(source, chunk({"person": ['"p"', '"q"']}, "json"))

    why = [("required_missing", "email")]
    assert reasons_of(result) == {1: why, 2: why}


def test_the_text_of_a_key_is_fixed_for_ever():
    """Ids are made of it: another text would send every event once more."""
    columns = {"person": ["p"], "what": ["seen"], "when": ["2024-01-01T00:00:00Z"]}
    keys = {"a": ["x"], "b": ["7"]}

    one = judged(events(key=("a",)), chunk(columns | keys))
    both = judged(events(key=("a", "b")), chunk(columns | keys))

    assert one.accepted.key.to_pylist() == ['["x"]']
    assert both.accepted.key.to_pylist() == ['["x","7"]']
