"""Every column of a file is used for what the settings say, or the file is refused."""

import pyarrow as pa
import pytest

from backfill.errors import UsageError
from backfill.pipeline.source_settings import CustomersSource, DeletionsSource, EventsSource
from backfill.sources.layout import RESERVED_IN_EVENTS, is_reserved, layout_of, require_columns

HEADER = ["id", "event", "at", "order", "note", "price"]


def customers(**more):
    """A customers source."""
    return CustomersSource(kind="customers", files=("f",), **{"identifier": {"id": "id"}, **more})


def events(**more):
    """An events source."""
    return EventsSource(
        kind="events", files=("f",), identifier={"id": "id"}, name={"from": "event"},
        timestamp={"from": "at"}, **more,
    )  # fmt: skip


def names(source, columns=HEADER, types=None):
    """What is sent, and from which column."""
    layout = layout_of(source, columns, types or {}, "f.csv")
    return {each.name: each.column for each in layout.attributes}


def test_a_column_of_json_is_sent_as_what_it_says():
    """Whoever wrote the file said that its texts are documents; a declared type counts more."""
    types = {"note": pa.json_(pa.string()), "price": pa.json_(pa.string())}
    layout = layout_of(events(columns={"price": "number"}), HEADER, types, "f.parquet")
    declared = {each.name: each.declared and each.declared.type for each in layout.attributes}
    assert declared == {"note": "json", "order": None, "price": "number"}


def test_columns_that_are_used_up_are_not_sent_again():
    """Identifier, name, moment and what is sent under another name; key columns are sent."""
    source = events(key=["order"], columns={"total": {"from": "price", "type": "number"}})
    assert names(source) == {"note": "note", "order": "order", "total": "price"}
    assert list(names(source)) == ["note", "order", "total"]


def test_a_column_that_is_used_up_can_be_sent_under_another_name():
    """Where that is declared."""
    source = events(columns={"happened": {"from": "at", "type": "timestamp", "timezone": "UTC"}})
    assert names(source)["happened"] == "at"
    assert "at" not in names(source)


def test_declaring_the_identifier_only_says_its_type():
    """It is still no attribute."""
    source = customers(columns={"id": "integer"})
    layout = layout_of(source, ["id", "note"], {}, "f.csv")
    assert [each.name for each in layout.attributes] == ["note"]
    assert layout.identifier.type == "integer"


@pytest.mark.parametrize(
    ("other_columns", "kept"), [("keep", {"note", "order", "price"}), ("drop", {"order", "price"})]
)
def test_other_columns_are_kept_or_dropped_but_key_columns_are_sent(other_columns, kept):
    """What makes an event itself is part of it."""
    source = events(other_columns=other_columns, key=["order"], columns={"price": "number"})
    assert set(names(source)) == kept


def test_other_columns_can_be_an_error():
    """All of them are named; key columns are none of them."""
    source = events(other_columns="error", key=["order"])
    with pytest.raises(UsageError, match=r"f\.csv.*not declared: note, price"):
        names(source)
    assert names(source, HEADER[:4]) == {"order": "order"}


def test_a_column_that_is_dropped_is_not_sent_and_must_be_there():
    """A name that is written wrong must not send the column that was meant."""
    assert set(names(events(drop=["note", "order"]))) == {"price"}
    with pytest.raises(UsageError, match="column 'notes' is missing, which drop names"):
        require_columns(events(drop=["notes"]), HEADER, "f.csv")


def test_deletions_send_nothing_but_the_identifier():
    """Whatever else stands in the file."""
    source = DeletionsSource(kind="deletions", files=("f",), identifier={"id": "id"})
    assert names(source) == {}


def test_unsubscribed_is_a_boolean_whatever_is_declared():
    """Any other text would unsubscribe nobody."""
    for columns in ({}, {"unsubscribed": "string"}, {"unsubscribed": {"from": "out"}}):
        source = customers(columns=columns, other_columns="keep")
        header = ["id", "out" if "out" in str(columns) else "unsubscribed"]
        (attribute,) = layout_of(source, header, {}, "f.csv").attributes
        assert (attribute.name, attribute.declared.type) == ("unsubscribed", "boolean")


@pytest.mark.parametrize("name", [*RESERVED_IN_EVENTS, "_anything"])
def test_reserved_names_are_found_and_dropped_where_that_is_set(name):
    """They change what the service does with an event."""
    for answer in ("refuse", "send", "drop"):
        layout = layout_of(events(reserved=answer), [*HEADER, name], {}, "f.csv")
        assert layout.reserved == (name,)
        assert (name in {each.name for each in layout.attributes}) is (answer != "drop")
    renamed = events(columns={"fine": {"from": name}})
    assert layout_of(renamed, [*HEADER, name], {}, "f.csv").reserved == ()


def test_fewer_names_are_reserved_in_people():
    """An attribute named as a campaign's setting is data there."""
    assert not is_reserved("recipient", "customers")
    assert is_reserved("_created", "customers")
    assert is_reserved("cio_id", "customers")
    assert not is_reserved("email", "events")


MISSING = [
    (customers(), ["identity", "note"], "'id' is missing, which identifier names; it has id"),
    (customers(identifier={"id": "customer_id"}), ["costumer_id"], "did you mean costumer_id?"),
    (events(), ["id", "events", "at"], "'event' is missing, which name names; did you"),
    (events(), ["id", "event", "when"], "'at' is missing, which timestamp names"),
    (events(key=["order", "line"]), ["id", "event", "at", "order"], "'line' is missing, which key"),
    (customers(columns={"n": {"from": "m"}}), ["id", "n"], "'m' is missing, which columns.n names"),
    (customers(required=["email"]), ["id", "e-mail"], "'email' is missing, which required names"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "header", "says"), MISSING)
def test_a_header_that_lacks_a_column_is_refused(source, header, says):
    """With the setting that names it and the nearest names that are there."""
    with pytest.raises(UsageError) as caught:
        require_columns(source, header, "data/f.csv")
    assert says in caught.value.what
    assert caught.value.what.startswith("data/f.csv: ")


def test_a_required_name_may_be_an_attribute_or_a_column():
    """Both ways of saying it."""
    source = customers(required=["n", "m"], columns={"n": {"from": "m"}})
    require_columns(source, ["id", "m"], "f.csv")
    with pytest.raises(UsageError, match="'m'"):
        require_columns(source, ["id", "n"], "f.csv")


def test_two_columns_of_one_name_are_refused():
    """One would overwrite the other."""
    source = customers(columns={"created_at": {"from": "signed_up"}})
    with pytest.raises(UsageError, match="'signed_up' and 'created_at' would both be sent as"):
        names(source, ["id", "signed_up", "created_at"])


REFUSED = [
    (customers(), {"note": pa.timestamp("us")}, "timestamps without a time zone"),
    (customers(), {"note": pa.date32()}, "timestamps without a time zone"),
    (customers(), {"note": pa.binary()}, "bytes"),
    (customers(), {"note": pa.duration("s")}, "durations"),
    (customers(columns={"note": "string"}), {"note": pa.timestamp("us", "UTC")}, "declared 'str"),
    (customers(columns={"note": "integer"}), {"note": pa.duration("s")}, "durations"),
    (customers(), {"id": pa.float64()}, "floating-point"),
]


@pytest.mark.parametrize(("source", "types", "says"), REFUSED)
def test_types_that_cannot_be_sent_as_they_are_must_be_declared(source, types, says):
    """No moment is sent as text, no id as a fraction."""
    with pytest.raises(UsageError, match=says) as caught:
        names(source, ["id", "note"], types)
    step = "other_columns" if says == "durations" else "[source.columns]"
    assert step in caught.value.next_step


def test_what_is_declared_or_left_out_may_have_any_type():
    """The declaration answers the question."""
    types = {"id": pa.float64(), "note": pa.timestamp("ns"), "raw": pa.binary()}
    source = customers(columns={"id": "integer", "note": "timestamp", "raw": "string"})
    assert set(names(source, ["id", "note", "raw"], types)) == {"note", "raw"}
    dropping = customers(columns={"id": "integer"}, other_columns="drop")
    assert names(dropping, ["id", "note", "raw"], types) == {}


@pytest.mark.parametrize(
    ("declared", "said"),
    [(None, "without a zone inside"), ("timestamp", 'declare it "json"'), ("json", None)],
)
def test_timestamps_without_a_zone_inside_a_column_are_refused_or_declared(declared, said):
    """The message names a declaration that works."""
    types = {"note": pa.struct([("placed", pa.timestamp("us"))])}
    source = events(columns={"note": declared} if declared else {})
    if said is None:
        assert "note" in names(source, types=types)
        return
    with pytest.raises(UsageError, match=said):
        names(source, types=types)
