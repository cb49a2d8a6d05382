"""Whatever a column was read from, its JSON says what each cell says, one at a time."""

import datetime as dt
import json
import math
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.encoding import cell_json
from backfill.encoding.rejected_cells import row_cells, row_tails
from backfill.encoding.typed_json import plain, refusal_of
from backfill.instants import Reading
from backfill.pipeline.column_settings import Column
from backfill.rows import Chunk, Position

EXACT = 2**53
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


def whole(value):
    """An integer as it is sent."""
    return value if abs(value) <= EXACT else str(value)


def finite(value):
    """A double as it is sent; None where it is refused."""
    return value if math.isfinite(value) else None


def exact(value):
    """A decimal as it is sent: a number while fifteen digits are enough."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if "." not in text:
        return whole(int(text))
    return float(text) if len(text.lstrip("-0.").replace(".", "")) <= 15 else text


def seconds(moment):
    """A moment as whole unix seconds, downward."""
    return math.floor(moment.timestamp())


def same(value):
    """A value that JSON says itself."""
    return value


DECIMALS_60 = st.integers(-(10**55), 10**55).map(lambda n: Decimal(f"{n}e-2"))


def integers_of(type_, low, high):
    """A case for a width of integers."""
    return type_, st.integers(low, high), whole


ZONED = st.integers(-5 * 10**15, 7 * 10**15).map(
    lambda micros: dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=micros)
)

CASES = {
    "int8": integers_of(pa.int8(), -128, 127),
    "int16": integers_of(pa.int16(), -(2**15), 2**15 - 1),
    "int32": integers_of(pa.int32(), -(2**31), 2**31 - 1),
    "int64": integers_of(pa.int64(), -(2**63), 2**63 - 1),
    "uint8": integers_of(pa.uint8(), 0, 255),
    "uint32": integers_of(pa.uint32(), 0, 2**32 - 1),
    "uint64": integers_of(pa.uint64(), 0, 2**64 - 1),
    "float16": (pa.float16(), st.floats(width=16), lambda x: finite(float(str(np.float16(x))))),
    "float32": (pa.float32(), st.floats(width=32), lambda x: finite(float(str(np.float32(x))))),
    "list of float32": (
        pa.list_(pa.float32()),
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3),
        lambda each: [float(str(np.float32(x))) for x in each],
    ),
    "float64": (pa.float64(), st.floats(), finite),
    "decimal": (pa.decimal128(12, 3), st.decimals(-(10**8), 10**8, places=3), exact),
    "decimal, wide": (pa.decimal128(38, 9), st.decimals(-(10**20), 10**20, places=9), exact),
    "decimal32": (pa.decimal32(9, 4), st.decimals(-(10**4), 10**4, places=4), exact),
    "decimal64": (pa.decimal64(18, 4), st.decimals(-(10**13), 10**13, places=4), exact),
    "decimal256": (pa.decimal256(60, 2), DECIMALS_60, exact),
    "bool": (pa.bool_(), st.booleans(), same),
    "string": (pa.string(), TEXT, same),
    "large string": (pa.large_string(), TEXT, same),
    "string view": (pa.string_view(), TEXT, same),
    "runs": (pa.run_end_encoded(pa.int32(), pa.string()), TEXT, same),
    "uuid": (pa.uuid(), st.uuids().map(lambda each: each.bytes), lambda b: str(UUID(bytes=b))),
    "json": (pa.json_(), TEXT, same),
    "bool8": (pa.bool8(), st.sampled_from([0, 1]), bool),
    "list of dictionaries": (
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
        st.lists(TEXT, max_size=2),
        same,
    ),
    "list view": (pa.list_view(pa.int64()), st.lists(st.integers(0, 9), max_size=3), same),
    "large list view": (
        pa.large_list_view(pa.string_view()),
        st.lists(TEXT, max_size=3),
        same,
    ),
    "dictionary": (pa.dictionary(pa.int16(), pa.string()), TEXT, same),
    "dictionary of integers": (
        pa.dictionary(pa.int8(), pa.int64()),
        st.integers(-9, EXACT + 9),
        whole,
    ),
    "timestamp, s": (pa.timestamp("s", "UTC"), ZONED, seconds),
    "timestamp, ms": (pa.timestamp("ms", "Asia/Tokyo"), ZONED, seconds),
    "timestamp, us": (pa.timestamp("us", "America/New_York"), ZONED, seconds),
    "timestamp, ns": (pa.timestamp("ns", "UTC"), ZONED, seconds),
    "time": (pa.time32("s"), st.integers(0, 86399), lambda s: str(dt.timedelta(seconds=s))),
    "list": (pa.list_(pa.int64()), st.lists(st.none() | st.integers(0, 99), max_size=3), same),
    "large list": (pa.large_list(pa.string()), st.lists(TEXT, max_size=3), same),
    "fixed list": (pa.list_(pa.bool_(), 2), st.lists(st.booleans(), min_size=2, max_size=2), same),
    "struct": (
        pa.struct({"b": pa.string(), "a": pa.uint64()}),
        st.fixed_dictionaries({"b": st.none() | TEXT, "a": st.just(2**64 - 1)}),
        lambda each: {**each, "a": str(2**64 - 1)},
    ),
    "map": (
        pa.map_(pa.string(), pa.int32()),
        st.dictionaries(TEXT, st.integers(0, 9), max_size=3).map(lambda each: list(each.items())),
        dict,
    ),
    "map of integers": (
        pa.map_(pa.int32(), pa.list_(pa.string())),
        st.just([(7, ["x", None])]),
        lambda _: {"7": ["x", None]},
    ),
    "list of timestamps": (
        pa.list_(pa.timestamp("us", "UTC")),
        st.lists(ZONED, max_size=2),
        lambda each: list(map(seconds, each)),
    ),
    "list of decimals": (
        pa.list_(pa.decimal128(20, 4)),
        st.lists(st.decimals(-(10**15), 10**15, places=4), max_size=2),
        lambda each: list(map(exact, each)),
    ),
    "null": (pa.null(), st.none(), same),
}


def sliced(values, type_):
    """The values in the middle of a longer column."""
    filler = [next((each for each in values if each is not None), None)] * 2
    if pa.types.is_dictionary(type_):
        whole_column = pa.array([*filler, *values, *filler], type_.value_type).dictionary_encode()
    elif pa.types.is_run_end_encoded(type_):
        whole_column = pc.run_end_encode(pa.array([*filler, *values, *filler], type_.value_type))
    elif isinstance(type_, pa.BaseExtensionType):
        storage = pa.array([*filler, *values, *filler], type_.storage_type)
        whole_column = pa.ExtensionArray.from_storage(type_, storage)
    elif pa.types.is_time(type_) or pa.types.is_string_view(type_):
        given_type = pa.int32() if pa.types.is_time(type_) else pa.string()
        whole_column = pa.array([*filler, *values, *filler], given_type).cast(type_)
    else:
        whole_column = pa.array([*filler, *values, *filler], type_)
    return whole_column.slice(2, len(values))


def read(encoded):
    """Each fragment as a reader of JSON sees it."""
    found = encoded.fragments().to_pylist()
    return [None if each is None else json.loads(each) for each in found]


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=30)
@given(data=st.data())
def test_a_typed_column_says_what_its_values_say(case, data):
    """Every type, with nulls between, all null, or empty; also a slice of a longer column."""
    type_, values, says = CASES[case]
    column = data.draw(st.lists(st.none() | values, max_size=6))
    encoded = cell_json.encode(plain(sliced(column, type_)), "typed", None, None, ".")
    truth = [None if each is None else says(each) for each in column]
    if case == "time":
        truth = [each and each.rjust(8, "0") for each in truth]
    assert read(encoded) == truth


def test_timestamps_inside_a_list_are_floored_to_the_nanosecond():
    """As everywhere: the last nanosecond of a second belongs to it."""
    column = pa.array([[1_700_000_000_999_999_999, -1]], pa.list_(pa.timestamp("ns", "UTC")))
    assert read(cell_json.encode(column, "typed", None, None, ".")) == [[1_700_000_000, -1]]


def test_nan_inside_a_list_fails_its_row():
    """What JSON cannot say is refused wherever it stands."""
    encoded = cell_json.encode(pa.array([[1.5], [math.nan], None]), "typed", None, None, ".")
    assert read(encoded) == [[1.5], None, None]
    assert encoded.failures["not_finite"].tolist() == [False, True, False]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()])
def test_bytes_that_are_no_text_fail_their_row(type_):
    """Parquet checks nothing: a string column may hold any bytes."""
    column = plain(pa.array([b"caf\xc3\xa9", b"\xff\xfe", None], pa.binary()).cast(
        pa.large_binary() if pa.types.is_large_string(type_) else pa.binary()
    ).view(type_) if not pa.types.is_large_binary(type_) else
        pa.array([b"caf\xc3\xa9", b"\xff\xfe", None], type_))  # fmt: skip
    encoded = cell_json.encode(column, "typed", Column(type="string"), None, ".")
    assert read(encoded) == ["café", None, None]
    assert encoded.failures["invalid_utf8"].tolist() == [False, True, False]


def test_a_nul_fails_its_row_in_a_typed_column_as_it_does_in_text():
    """No format lets it through."""
    encoded = cell_json.encode(
        sliced(["a\x00b", "ab", None], pa.string()), "typed", None, None, "."
    )
    assert read(encoded) == [None, "ab", None]
    assert {code: mask.tolist() for code, mask in encoded.failures.items()} == {
        "nul_byte": [True, False, False]
    }


DECLARED = [
    ("integer", "42", pa.array([42.0]), "42", 42),
    ("integer", "12345678901", pa.array([12345678901.0]), "12345678901", 12345678901),
    ("integer", "9007199254740993", pa.array([EXACT + 1]), "9007199254740993", "9007199254740993"),
    ("integer", "42.0", pa.array([Decimal("42.00")]), "42.0", 42),
    ("number", "0.1", pa.array([0.1]), "0.1", 0.1),
    ("number", "123456789012", pa.array([123456789012]), "1.23456789012e11", 123456789012),
    ("number", "19.99", pa.array([Decimal("19.99")]), '"19.99"', 19.99),
    ("string", "007", pa.array(["007"]), '"007"', "007"),
    ("string", "7", pa.array([7]), "7", "7"),
    ("string", "18446744073709551615", pa.array([2**64 - 1], pa.uint64()), "18446744073709551615",
     "18446744073709551615"),
    ("string", "true", pa.array([True]), "true", "true"),
    ("boolean", "1", pa.array([1]), "1", True),
    ("boolean", "no", pa.array([False]), '"No"', False),
    ("json", '{"b":1,"a":2}', pa.array(['{"a":2,"b":1}']), '{"a":2,"b":1}', {"a": 2, "b": 1}),
    ("json", "[1]", pa.array([[1]]), "[1]", [1]),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "text", "typed", "fragment", "truth"), DECLARED)
def test_a_declared_type_makes_one_value_of_three_forms(type_, text, typed, fragment, truth):
    """CSV, Parquet and JSON Lines of the same data are the same bytes."""
    declared = Column(type=type_)
    columns = {"text": pa.array([text]), "typed": typed, "json": pa.array([fragment])}
    found = {
        kind: cell_json.encode(column, kind, declared, None, ".").fragments().to_pylist()
        for kind, column in columns.items()
    }
    assert len({str(each) for each in found.values()}) == 1, found
    assert json.loads(found["text"][0]) == truth


def test_timestamps_are_the_same_from_text_and_from_a_typed_column():
    """Unix seconds, whatever wrote the moment."""
    reading = Reading("iso8601", "Europe/Berlin")
    moment = dt.datetime(2024, 7, 1, 12, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    declared = Column(type="timestamp")
    text = cell_json.encode(pa.array(["2024-07-01 12:30"]), "text", declared, reading, ".")
    fragment = cell_json.encode(pa.array(['"2024-07-01T12:30"']), "json", declared, reading, ".")
    native = pa.array([moment], pa.timestamp("ms", "UTC"))
    typed = cell_json.encode(native, "typed", declared, Reading("native"), ".")
    assert read(text) == read(fragment) == read(typed) == [int(moment.timestamp())]


def test_a_decimal_comma_is_for_written_numbers_only():
    """A typed column has no comma, whatever the file's text has."""
    declared = Column(type="number")
    assert read(cell_json.encode(pa.array([1.5]), "typed", declared, None, ",")) == [1.5]
    assert read(cell_json.encode(pa.array(["1,5"]), "text", declared, None, ",")) == [1.5]


WRITTEN = TEXT | st.sampled_from(
    ["", " 7 ", "007", "-0", "+1", "42.0", "1e3", ".5", "9007199254740993", "1e10", "yes", "OFF",
     '{"b":1,"a":2}', "[1, 2]", "12345678901234567890", "NaN", "1e400"]
)  # fmt: skip


@given(
    cells_=st.lists(st.none() | WRITTEN, min_size=1, max_size=6),
    type_=st.sampled_from(["integer", "number", "boolean", "json"]),
)
def test_values_that_repeat_are_encoded_as_they_are_alone(cells_, type_):
    """A long column of few values says of each row what a short one says, its failures too."""
    declared, times = Column(type=type_), 1_100 // len(cells_) + 1

    def encoded(column):
        return cell_json.encode(pa.array(column, pa.string()), "text", declared, None, ".")

    alone, long = encoded(cells_), encoded(cells_ * times)

    assert long.fragments().to_pylist() == alone.fragments().to_pylist() * times
    assert {code: each.tolist() for code, each in long.failures.items()} == {
        code: each.tolist() * times for code, each in alone.failures.items()
    }
    assert long.size_bytes is None or long.size_bytes.to_pylist() == (
        alone.size_bytes.to_pylist() * times
    )


FRAGMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def within_limits(value):
    """A value of JSON as it is sent."""
    if isinstance(value, dict):
        return {key: within_limits(each) for key, each in value.items()}
    if isinstance(value, list):
        return list(map(within_limits, value))
    return whole(value) if isinstance(value, int) and not isinstance(value, bool) else value


@given(st.lists(st.none() | FRAGMENTS.map(lambda each: (each,)), max_size=6))
def test_json_fragments_keep_their_values_and_types(rows):
    """Mixed types in one column, absent keys, nulls, escapes; each row for itself."""
    column = sliced([None if each is None else json.dumps(each[0]) for each in rows], pa.string())
    encoded = cell_json.encode(column, "json", None, None, ".")
    found = read(encoded)
    truth = [None if each is None else within_limits(each[0]) for each in rows]
    assert found == truth
    assert [type(each) for each in found if not isinstance(each, int | float)] == [
        type(each) for each in truth if not isinstance(each, int | float)
    ]
    assert not encoded.failures


def test_json_digits_beyond_a_double_are_kept_as_text():
    """Nothing that stood in the file is rounded; what is infinite is refused."""
    column = pa.array(["0.12345678901234567890", "0.30000000000000004", "1e100", "1e400", "2.50"])
    encoded = cell_json.encode(column, "json", None, None, ".")
    assert read(encoded) == ["0.12345678901234567890", 0.30000000000000004, 1e100, None, 2.5]
    assert encoded.failures["not_finite"].tolist() == [False, False, False, True, False]


NO_JSON = {
    "opaque extension": pa.opaque(pa.binary(), "geometry", "somebody"),
    "tensor extension": pa.fixed_shape_tensor(pa.int32(), [2]),
    "interval": pa.month_day_nano_interval(),
    "union": pa.dense_union([pa.field("a", pa.int8())]),
    "list of opaque extensions": pa.list_(pa.opaque(pa.binary(), "geometry", "somebody")),
    "bytes view": pa.binary_view(),
    "large bytes": pa.large_binary(),
    "runs of dates": pa.run_end_encoded(pa.int32(), pa.date32()),
    "deep duration": pa.list_(pa.struct({"a": pa.map_(pa.string(), pa.duration("ms"))})),
    "naive timestamp": pa.timestamp("us"),
    "date": pa.date32(),
    "bytes": pa.binary(),
    "fixed bytes": pa.binary(16),
    "duration": pa.duration("s"),
    "list of dates": pa.list_(pa.date32()),
    "map of bytes": pa.map_(pa.string(), pa.binary()),
    "struct in a list": pa.list_(pa.struct({"a": pa.timestamp("ns")})),
    "dictionary of dates": pa.dictionary(pa.int8(), pa.date32()),
}


@pytest.mark.parametrize("name", NO_JSON)
def test_types_without_a_json_of_their_own_must_be_declared(name):
    """A naive moment is no instant; bytes are no text."""
    assert refusal_of(NO_JSON[name])


@pytest.mark.parametrize("case", CASES)
def test_every_other_type_can_be_sent(case):
    """What can be encoded is not refused."""
    assert refusal_of(CASES[case][0]) is None


def chunk(columns, values):
    """A chunk of these columns."""
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    rows = np.arange(1, batch.num_rows + 1)
    return Chunk(1, batch, rows, None, (), Position(batch.num_rows + 1), values)


OPAQUE = pa.ExtensionArray.from_storage(
    pa.opaque(pa.binary(), "geometry", "somebody"), pa.array([b"\xff"])
)
AS_READ = [
    (pa.array(["\x07"]), "text", "\x07"),
    (pa.array([None], pa.string()), "text", None),
    (pa.array([2**64 - 1], pa.uint64()), "typed", str(2**64 - 1)),
    (pa.array([math.nan]), "typed", "nan"),
    (pa.array([b"\xff"]).view(pa.string()), "typed", "\\xff"),
    (pa.array([b"\xffa"]), "typed", "\\xffa"),
    (pa.array([2**60], pa.timestamp("s")), "typed", None),
    (pa.array([[1, None]]), "typed", [1, None]),
    (pa.array([5], pa.duration("ns")), "typed", "5"),
    (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "typed", None),
    (pa.array([[5]], pa.list_(pa.duration("ns"))), "typed", None),
    (pa.array([[1, 2]], pa.list_view(pa.int64())), "typed", [1, 2]),
    (pa.array([[1, 2]], pa.large_list_view(pa.int64())), "typed", [1, 2]),
    (pa.array([["a"]], pa.list_view(pa.string_view())), "typed", ["a"]),
    (pc.run_end_encode(pa.array(["x"])), "typed", "x"),
    (pa.array([bytes(16)], pa.uuid()), "typed", str(UUID(int=0))),
    (OPAQUE, "typed", None),
    (pa.array(["1e400"]), "json", "1e400"),
    (pa.array(["[" * 400 + "]" * 400]), "json", "[" * 400 + "]" * 400),
    (pa.array(["null"]), "json", None),
    (pa.array(['{"a":12345678901234567890}']), "json", {"a": "12345678901234567890"}),
]


@pytest.mark.parametrize(("column", "kind", "truth"), AS_READ)
def test_any_rejected_row_can_be_written_down(column, kind, truth):
    """The report holds every cell as JSON can say it, also those that made the row fail."""
    made = row_cells(chunk({"a": column}, kind), np.zeros(1, np.int64))[0]
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert truth is None or made["a"] == truth


@given(
    st.lists(st.none() | st.text(max_size=5) | st.sampled_from(["1", "null", '"a"']), min_size=1)
)
def test_rows_are_written_down_together_as_each_by_itself(cells):
    """In whatever order they are asked for."""
    whole = chunk({"a": pa.array(cells, pa.string()), "b": pa.array(range(len(cells)))}, "json")
    places = np.arange(len(cells))[::-1]
    together = row_cells(whole, places)
    assert together == [row_cells(whole, places[[at]])[0] for at in range(len(cells))]


SHORT_DOUBLES = st.just(-0.0) | st.builds(
    lambda digits, power: digits / 10**power, st.integers(-(10**6), 10**6), st.integers(0, 9)
)


@pytest.mark.parametrize(
    ("type_", "cells"),
    [
        (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
        (pa.float64(), st.floats()),
        (pa.float64(), SHORT_DOUBLES),
        (pa.bool_(), st.booleans()),
        (pa.decimal128(20, 2), st.integers(-(10**9), 10**9).map(lambda each: Decimal(each) / 100)),
    ],
    ids=["integers", "doubles", "short doubles", "booleans", "decimals"],
)
@given(data=st.data())
def test_typed_cells_are_written_down_together_as_each_by_itself(type_, cells, data):
    """They are read as JSON in one go, but for numbers of many digits and what no JSON can say."""
    column = pa.array(data.draw(st.lists(st.none() | cells, min_size=1, max_size=20)), type_)
    whole, places = chunk({"a": column}, "typed"), np.arange(len(column))
    together = row_cells(whole, places)
    assert together == [row_cells(whole, places[[at]])[0] for at in places.tolist()]

    tails = [f"{orjson.dumps(each).decode()},null" for each in together]
    assert row_tails(whole, places).to_pylist() == tails


@given(st.lists(st.none() | st.text(max_size=5), min_size=1))
def test_text_is_written_down_as_any_writer_of_json_does(cells):
    """Kernels do it, and nobody need read it again."""
    whole = chunk({"a": pa.array(cells, pa.string()), '"': pa.array(cells, pa.string())}, "text")
    said = [orjson.dumps({"a": each, '"': each}).decode() for each in cells]
    assert row_tails(whole, np.arange(len(cells))).to_pylist() == [f"{each},null" for each in said]


@given(
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.sampled_from(["UTC", "Etc/UTC", "Europe/Berlin", None]),
    st.lists(st.none() | st.integers(-(2**40), 2**40) | st.integers(-(2**60), 2**60), max_size=5),
)
def test_timestamps_are_written_down_as_arrow_writes_them(unit, zone, values):
    """In any zone and year, for whose text there are faster ways."""
    column = pa.array(values, pa.int64()).view(pa.timestamp(unit, zone))
    try:
        expected = column.cast(pa.string()).to_pylist()
    except pa.ArrowInvalid:  # beyond what Arrow can write
        return
    found = row_tails(chunk({"a": column}, "typed"), np.arange(len(column))).to_pylist()
    assert [orjson.loads(f"[{each}]")[0]["a"] for each in found] == expected


def test_a_key_that_a_json_line_does_not_have_is_not_written_down():
    """An absent key is never a null."""
    columns = {"a": pa.array([None], pa.string()), "b": pa.array(["null"])}
    assert row_cells(chunk(columns, "json"), np.zeros(1, np.int64)) == [{"b": None}]


def test_a_timestamp_without_a_zone_inside_is_text_and_no_instant():
    """Nobody said where its clock stands, at whatever depth; one with a zone is an instant."""
    at = dt.datetime(2024, 1, 31, 10)  # noqa: DTZ001  # as the file holds it
    inner = pa.struct([("placed", pa.timestamp("us")), ("paid", pa.timestamp("ms", "UTC"))])
    type_ = pa.struct([("order", inner), ("seen", pa.list_(pa.timestamp("ns")))])
    column = pa.array([{"order": {"placed": at, "paid": at}, "seen": [at, None]}], type_)

    encoded = cell_json.encode(column, "typed", Column(type="json"), None, ".")

    assert "without a zone" in refusal_of(type_)
    assert json.loads(encoded.text[0].as_py()) == {
        "order": {"paid": 1706695200, "placed": "2024-01-31T10:00:00"},
        "seen": ["2024-01-31T10:00:00", None],
    }


def test_uuids_inside_a_list_are_their_text():
    """As in a column of their own, also in a slice."""
    ids = [UUID(int=number) for number in range(4)]
    inside = pa.array([each.bytes for each in ids], pa.uuid())
    column = pa.ListArray.from_arrays([0, 1, 1, 4], inside).slice(1)
    assert read(cell_json.encode(column, "typed", None, None, ".")) == [[], list(map(str, ids[1:]))]


def test_thirty_eight_digits_leave_as_they_came():
    """Also in structs; Decimal's own arithmetic keeps twenty-eight."""
    values = [
        Decimal("12345678901234567890.123456789012345678"),
        Decimal("123456789012345678901234567890.120000000"),
        Decimal("0.000000000000000001"),
        Decimal(0),
    ]
    truth = [
        "12345678901234567890.123456789012345678",
        "123456789012345678901234567890.12",
        1e-18,
        0,
    ]
    for value, expected in zip(values, truth, strict=True):
        column = pa.array([value], pa.decimal256(50, 18))
        assert read(cell_json.encode(column, "typed", None, None, ".")) == [expected]
        inside = pa.StructArray.from_arrays([column], ["a"])
        assert read(cell_json.encode(inside, "typed", None, None, ".")) == [{"a": expected}]


def test_a_float32_has_the_digits_that_were_meant():
    """The fewest that tell it from its neighbours, as a number and inside of lists."""
    column = pa.array([19.99, 0.1, 16777216.0, 3.4e38, 1e-7, None], pa.float32())
    truth = [19.99, 0.1, 16777216, 3.4e38, 1e-7, None]
    assert read(cell_json.encode(column, "typed", None, None, ".")) == truth
    declared = cell_json.encode(column, "typed", Column(type="number"), None, ".")
    assert read(declared) == truth
    lists = pa.array([[19.99], None, [0.1, None]], pa.list_(pa.float32()))
    assert read(cell_json.encode(lists, "typed", None, None, ".")) == [[19.99], None, [0.1, None]]


def test_bytes_that_are_no_text_inside_a_struct_fail_their_row():
    """By the same code as in a column of their own."""
    column = pa.array([{"a": b"x"}, {"a": b"\xff"}, {"a": b"a\0"}], pa.struct({"a": pa.binary()}))
    encoded = cell_json.encode(column, "typed", Column(type="json"), None, ".")
    assert read(encoded) == [{"a": "x"}, None, None]
    assert {code: mask.tolist() for code, mask in encoded.failures.items()} == {
        "invalid_utf8": [False, True, False],
        "nul_byte": [False, False, True],
    }
