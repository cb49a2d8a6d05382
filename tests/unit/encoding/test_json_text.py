"""Every kernel writes what a slow reading of one value at a time would write."""

import json
import math
import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backfill.encoding import json_text

TEXTS = st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=12), max_size=12)
EXACT = 2**53


def sliced(cells, type_=None):
    """The cells as a column that begins in the middle of its buffers."""
    type_ = type_ or pa.string()
    filler = pa.array([next((each for each in cells if each is not None), None)] * 3, type_)
    return pa.concat_arrays([filler, pa.array(cells, type_), filler]).slice(3, len(cells))


def read(encoded):
    """Each value as a reader of JSON sees it; the failures by place."""
    texts = encoded.fragments().to_pylist()
    failed = {
        place: code
        for code, mask in encoded.failures.items()
        for place, each in enumerate(mask.tolist())
        if each
    }
    return [None if each is None else json.loads(each) for each in texts], failed


@given(TEXTS)
def test_text_reads_back_as_it_was(cells):
    """Escaping changes how text is written, never what it says."""
    assert read(json_text.strings(sliced(cells))) == (cells, {})


def test_every_control_character_quote_and_astral_character_survives():
    """One column holds all that JSON escapes, and what it does not."""
    cells = [*map(chr, range(0x80)), 'say "no"', "C:\\", "é", "\u2028", "\ufffd", "😀", "", None]
    assert read(json_text.strings(sliced(cells))) == (cells, {})


def test_sizes_are_bytes_of_the_text_before_escaping():
    """An umlaut has two bytes, a line end one."""
    assert json_text.strings(pa.array(["ü\n", None, ""])).size_bytes.to_pylist() == [3, None, 0]


def whole(text):
    """What a cell declared integer says."""
    number = Decimal(text)
    return int(number) if abs(number) <= EXACT else str(int(number))


WHOLE = st.from_regex(r"[ ]?[+-]?[0-9]{1,25}(\.0{0,3})?[ ]?", fullmatch=True)


@given(st.lists(st.none() | WHOLE, max_size=8))
@example(["9007199254740992", "9007199254740993", "-9007199254740993"])
@example(["-0", "+007", "42.0", "42."])
@example(["-0", "9007199254740993"])
def test_whole_numbers_keep_every_digit(cells):
    """Up to 2**53 they are numbers, beyond it strings of the same digits."""
    truth = [None if each is None else whole(each.strip().rstrip(".")) for each in cells]
    encoded = json_text.integers(sliced(cells))
    found, failed = read(encoded)
    assert (found, failed) == (truth, {})
    assert "-0" not in encoded.text.to_pylist()
    assert [type(each) for each in found] == [type(each) for each in truth]


@pytest.mark.parametrize("cell", ["42.5", "1e3", "0x10", "1_000", "1,000", "٣", "--1", "."])
def test_what_is_not_whole_is_refused(cell):
    """No cell is rounded or guessed at."""
    assert read(json_text.integers(pa.array(["7", cell]))) == ([7, None], {1: "not_an_integer"})


def test_an_integer_of_many_thousand_digits_is_taken_as_text():
    """No length of digits stops a run."""
    digits = "9" * 6000
    encoded = json_text.integers(pa.array([digits, "00" + digits, "0" * 6000]))
    assert encoded.fragments().to_pylist() == [f'"{digits}"', f'"{digits}"', "0"]


NUMBER = st.from_regex(
    r"[+-]?([0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,5})([eE][+-]?[0-9]{1,3})?", fullmatch=True
)


@given(st.lists(st.none() | NUMBER, max_size=8))
def test_numbers_keep_their_value_or_their_digits(cells):
    """Each reads back as the same number; one that no double is equal to is its own text."""
    doubles = [None if each is None else float(each) for each in cells]
    found, failed = read(json_text.numbers(sliced(cells)))
    for cell, double, one in zip(cells, doubles, found, strict=True):
        if cell is None or math.isinf(double):
            assert one is None
        elif isinstance(one, str):
            assert one == cell
            assert Decimal(repr(double)) != Decimal(cell)
        else:
            digits = len(cell.lower().partition("e")[0].strip("+-").replace(".", "").lstrip("0"))
            assert one == double
            assert digits <= 15 or Decimal(repr(double)) == Decimal(cell)
    infinite = {
        place: "not_finite"
        for place, each in enumerate(doubles)
        if each is not None and math.isinf(each)
    }
    assert failed == infinite


@pytest.mark.parametrize(
    ("cell", "decimal", "thousands", "truth"),
    [
        ("2.980", ",", ".", 2980),
        ("-1.750,5", ",", ".", -1750.5),
        ("1,234,567.89", ".", ",", 1234567.89),
        ("1 234", ".", " ", 1234),
        ("1\u202f234\u00a0567,5", ",", " ", 1234567.5),
        ("1234", ".", ",", 1234),
        ("12,34", ".", ",", None),
        ("1,2345", ".", ",", None),
        (",234", ".", ",", None),
        ("1,234,56.7", ".", ",", None),
    ],
)
def test_digits_may_be_grouped_by_threes(cell, decimal, thousands, truth):
    """What groups them otherwise is no grouping, and the value no number."""
    found, failed = read(json_text.numbers(pa.array([cell]), decimal, thousands))
    assert found == [truth]
    assert bool(failed) == (truth is None)


@pytest.mark.parametrize("cell", ["1e400", "-1e400", "1" + "0" * 400])
def test_a_number_beyond_doubles_is_refused(cell):
    """Infinity cannot be sent."""
    assert read(json_text.numbers(pa.array([cell]))) == ([None], {0: "not_finite"})


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "Infinity", "1,5", "1e", "1.2.3", "0x1p3"])
def test_what_is_no_number_is_refused(cell):
    """Words for infinity are no numbers either."""
    assert read(json_text.numbers(pa.array([cell]))) == ([None], {0: "not_a_number"})


@given(st.lists(st.none() | NUMBER | st.text("0123456789+-.eE_ xinfa", max_size=6), max_size=6))
@example(["+1"])
@example(["infinity", "NAN"])
def test_a_number_is_what_it_is_whatever_stands_beside_it(cells):
    """A column of nothing but numbers is read at once, another one cell by cell."""
    found, failed = read(json_text.numbers(pa.array([*cells, "x"], pa.string())))
    assert failed.pop(len(cells)) == "not_a_number"
    assert (found[:-1], failed) == read(json_text.numbers(pa.array(cells, pa.string())))


def test_a_decimal_comma_is_taken_where_it_is_declared():
    """A point beside it stays out: 1.000 would be a thousand to some."""
    cells = ["1,5", "7", "-0,25", "1.000,5", "1.5", None]
    found, failed = read(json_text.numbers(pa.array(cells), ","))
    assert found == [1.5, 7, -0.25, None, None, None]
    assert failed == {3: "not_a_number", 4: "not_a_number"}


@given(st.lists(st.none() | st.floats(), max_size=8))
@example([1e9, 1e10, 1e15, float(EXACT), float(EXACT) * 2, -1e12, -0.0, 5e-324, 0.1])
def test_doubles_read_back_the_same_and_nan_is_refused(cells):
    """Every finite double survives."""
    found, failed = read(json_text.floats(sliced(cells, pa.float64())))
    finite = [each if each is not None and math.isfinite(each) else None for each in cells]
    assert found == finite
    odd = {place for place, each in enumerate(cells) if each is not None and finite[place] is None}
    assert failed == dict.fromkeys(odd, "not_finite")


@given(st.integers(-EXACT, EXACT))
def test_a_whole_double_is_written_as_the_integer_is(number):
    """The same value has the same bytes, whatever column it stood in."""
    double = json_text.floats(pa.array([float(number)])).text[0].as_py()
    assert double in (json_text.integers(pa.array([str(number)])).text[0].as_py(), "-0")


TRUE, FALSE = ["true", "T", "Yes", "y", "1", " on "], ["FALSE", "f", "no", "N", "0", "off"]


@pytest.mark.parametrize(("cells", "says"), [(TRUE, True), (FALSE, False)])
def test_words_for_true_and_false(cells, says):
    """In any case, with spaces around."""
    assert read(json_text.booleans(pa.array([*cells, None]))) == ([says] * 6 + [None], {})


@pytest.mark.parametrize("cell", ["2", "ja", "truee", "1.0"])
def test_other_words_are_no_booleans(cell):
    """Nobody is unsubscribed by a guess."""
    assert read(json_text.booleans(pa.array([cell]))) == ([None], {0: "not_a_boolean"})


NESTED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def within_limits(value):
    """A JSON value as it may be sent."""
    if isinstance(value, dict):
        return {key: within_limits(each) for key, each in value.items()}
    if isinstance(value, list):
        return list(map(within_limits, value))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > EXACT:
        return str(value)
    return value


@given(st.lists(st.none() | NESTED, max_size=5), st.booleans())
def test_documents_say_the_same_with_sorted_keys(cells, ascii_only):
    """However it was written: the same value has the same bytes, and no digit is lost."""
    texts = [
        None if each is None else json.dumps(each, indent=1, ensure_ascii=ascii_only)
        for each in cells
    ]
    encoded = json_text.documents(sliced(texts))
    assert read(encoded) == ([within_limits(each) for each in cells], {})
    again = json_text.documents(pa.array(encoded.text))
    assert again.text.equals(encoded.text)


def test_digits_that_no_double_holds_are_kept_as_text():
    """Nested numbers lose nothing."""
    cells = ['{"b":0.12345678901234567890,"a":[12345678901234567890, 0.1, 1e2]}']
    truth = {"a": ["12345678901234567890", 0.1, 100], "b": "0.12345678901234567890"}
    assert read(json_text.documents(pa.array(cells))) == ([truth], {})


@pytest.mark.parametrize(
    "cell",
    [
        "{",
        "nan",
        "NaN",
        "[1e400]",
        "[1e-99999999999999999999]",
        "[" * 300 + "]" * 300,
        "[" * 5000 + "12345678901234567890" + "]" * 5000,
        '["\\ud800", 12345678901234567890]',
        "'a'",
    ],
)
def test_what_cannot_be_sent_as_json_is_refused(cell):
    """A broken, endless or bottomless document fails its row, not the run."""
    assert read(json_text.documents(pa.array([cell, "1"]))) == ([None, 1], {0: "not_json"})


@given(st.lists(st.none() | st.decimals(-(10**20), 10**20, places=6), max_size=8))
def test_decimals_are_numbers_where_a_double_is_exact(cells):
    """Fifteen digits fit; more become a string of exactly these digits."""
    found, failed = read(json_text.decimals(sliced(cells, pa.decimal128(38, 6))))
    assert failed == {}
    for cell, value in zip(cells, found, strict=True):
        assert value is None if cell is None else Decimal(str(value)) == cell
        if cell is not None and len(cell.normalize().as_tuple().digits) <= 15:
            assert not isinstance(value, str) or abs(cell) > EXACT


def test_short_decimals_are_numbers():
    """A price in a narrow column is a number without trailing zeros."""
    column = pa.array([Decimal("42.00"), Decimal("-0.10"), None], pa.decimal128(10, 2))
    assert json_text.decimals(column).fragments().to_pylist() == ["42", "-0.1", None]


def test_texts_for_null():
    """Only the listed texts, exactly as they are listed."""
    column = pa.array(["NULL", "null", "", None])
    assert json_text.null_where(column, ["NULL"]).to_pylist() == [None, "null", "", None]
    assert json_text.null_where(column, []) is column


def test_the_kernels_leave_empty_and_null_columns_alone():
    """No row, or no value in any row."""
    kernels = (
        json_text.strings,
        json_text.integers,
        json_text.numbers,
        json_text.booleans,
        json_text.documents,
    )
    for kernel in kernels:
        assert read(kernel(pa.array([], pa.string()))) == ([], {})
        assert read(kernel(pa.nulls(3, pa.string()))) == ([None] * 3, {})


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_what_is_escaped_needs_no_more_escaping_than_json_asks(text):
    """Nothing but quotes, backslashes and control characters is rewritten."""
    written = json_text.escaped(pa.array([text]))[0].as_py()
    assert (written == text) is (re.search(r'[\x00-\x1f"\\]', text) is None)


@pytest.mark.parametrize("blank", ["", " ", "\t "])
@pytest.mark.parametrize(
    "kernel", [json_text.integers, json_text.numbers, json_text.booleans, json_text.documents]
)
def test_a_cell_of_blanks_is_nothing_but_in_text(kernel, blank):
    """There is no other reading of it, quoted or not; a string may be empty."""
    assert read(kernel(pa.array([blank, "1", None])))[0][0] is None
    assert not kernel(pa.array([blank])).failures
    assert read(json_text.strings(pa.array([blank]))) == ([blank], {})


def test_texts_are_cut_between_characters():
    """Never in the middle of one, and quotes are escaped after the cut."""
    texts = pa.array(["é" * 4, 'a"b', None, "ok"])
    short = json_text.cut(json_text.strings(texts), texts, np.array([True, True, False, False]), 3)
    assert read(short) == (["é", 'a"b', None, "ok"], {})


@given(
    st.lists(st.none() | st.integers(-(10**15) - 2, 10**15 + 2) | st.integers(-(10**19), 10**19)),
    st.sampled_from([0, 2, 6, 18]),
    st.sampled_from([pa.decimal128, pa.decimal256]),
)
def test_a_column_of_decimals_is_written_as_each_by_itself(units, scale, type_):
    """Those of few digits together, the others one by one."""
    some = [None if each is None else Decimal(each).scaleb(-scale) for each in units]
    column = pa.array(some, type_(38, scale))

    found = json_text.decimals(column).text.to_pylist()

    assert found == [None if each is None else json_text.decimal_json(each) for each in some]
