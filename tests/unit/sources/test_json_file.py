"""JSON Lines: fragments that keep every digit, and a reason for every line that is no object."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backfill.encoding.cell_json import names_of
from tests.support.examples import examples
from tests.support.reading import open_file


def read(folder: Path, content: bytes, **options) -> tuple[list[dict], dict[int, tuple]]:
    """The fragments of the good rows, and code and sentence of the others by row number."""
    path = folder / "in.jsonl"
    path.write_bytes(content)
    rows, rejections = [], {}
    for chunk in open_file(path, **options).chunks():
        rows += [
            {name: value for name, value in row.items() if value is not None}
            for row in chunk.batch.to_pylist()
        ]
        for rejection in chunk.rejections:
            (reason,) = rejection.reasons
            rejections[rejection.row] = (reason.code, reason.message)
    return rows, rejections


def test_cells_are_fragments(tmp_path):
    """Text in the shortest form, numbers as written, nested values with sorted keys."""
    line = (
        rb'{"s": "\u00e9\/\n", "i": 12, "d": 12.50, "e": 1E5, "t": true, "n": null, '
        rb'"o": {"b": 1.10, "a": [ ]}}'
    )

    assert read(tmp_path, line)[0] == [
        {
            "s": '"é/\\n"',
            "i": "12",
            "d": "12.50",
            "e": "1E5",
            "t": "true",
            "n": "null",
            "o": '{"a":[],"b":1.10}',
        }
    ]


def test_an_absent_key_is_no_null(tmp_path):
    """Columns are the keys of the chunk as they come; what a row does not have is Arrow's null."""
    (tmp_path / "in.jsonl").write_bytes(b'{"b":1}\n{"a":null}\n{}\n')

    (chunk,) = open_file(tmp_path / "in.jsonl").chunks()

    assert chunk.batch.to_pydict() == {"b": ["1", None, None], "a": [None, "null", None]}


@pytest.mark.parametrize(
    ("number", "fragment"),
    [
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", '"9223372036854775808"'),
        ("-9223372036854775809", '"-9223372036854775809"'),
        ("18446744073709551615", '"18446744073709551615"'),
        ("9" * 5000, '"' + "9" * 5000 + '"'),
        ("0.1", "0.1"),
        ("-0.0", "-0.0"),
        ("1e23", "1e23"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("0.12345678901234567891", '"0.12345678901234567891"'),
        ("1e400", '"1e400"'),
        ("1e-400", '"1e-400"'),
        ("1e-99999999999999999999", '"1e-99999999999999999999"'),
        ("1." + "0" * 500 + "1", '"1.' + "0" * 500 + '1"'),
    ],
)
def test_digits_beyond_int64_and_double_are_kept_as_text(tmp_path, number, fragment):
    """Also inside of nested values."""
    rows, _ = read(tmp_path, f'{{"a":{number},"b":[{number}]}}'.encode())

    assert rows == [{"a": fragment, "b": f"[{fragment}]"}]


@given(number=st.decimals(allow_nan=False, allow_infinity=False) | st.integers().map(Decimal))
def test_every_number_keeps_its_value(tmp_path_factory, number):
    """A number fragment is exact as int64 or as double; every other is text with all digits."""
    rows, _ = read(tmp_path_factory.mktemp("json"), f'{{"a":{number}}}'.encode())

    value = json.loads(rows[0]["a"])
    if isinstance(value, str):
        assert value == str(number)
    else:
        assert Decimal(repr(value)) == number
        assert isinstance(value, float) or -(2**63) <= value < 2**63


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=8,
)


@settings(max_examples=examples(70), deadline=None)
@given(
    objects=st.lists(st.dictionaries(st.text("xyz€", max_size=2), JSON), max_size=6),
    ascii_only=st.booleans(),
    compact=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n", "\n\n", "\n \r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_objects_come_back(tmp_path_factory, objects, ascii_only, compact, line_end, encoding):
    """Whatever way the objects were written, the fragments have their values."""
    separators = (",", ":") if compact else None
    lines = [json.dumps(each, ensure_ascii=ascii_only, separators=separators) for each in objects]
    content = (line_end.join(lines) or "\n").encode(encoding)

    rows, rejections = read(
        tmp_path_factory.mktemp("json"),
        content,
        encoding=encoding.removesuffix("-sig"),
        block_bytes=7,
    )

    assert not rejections
    assert [{key: json.loads(value) for key, value in row.items()} for row in rows] == objects


@settings(max_examples=examples(70), deadline=None)
@given(
    flips=st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(b'{}[]",:\\u\n\r\0\xff1.')), max_size=5
    )
)
def test_damage_never_loses_a_row_in_silence(tmp_path_factory, flips):
    """Every line that is not blank is a row or a rejection, and a row is what `json` reads."""
    body = bytearray(b'{"a":"x\\u00e9","b":[1,2.50]}\n{"a":null}\r\n\n{"c":{"d":"\\\\"}}\n' * 3)
    for place, byte in flips:
        body[place % len(body)] = byte

    assume(body[0] != ord("["))  # such a file is refused as a whole

    rows, rejections = read(tmp_path_factory.mktemp("json"), bytes(body), block_bytes=13)

    lines = [line for line in body.split(b"\n") if line.strip(b" \t\r")]
    assert len(rows) + len(rejections) == len(lines)
    kept = [line for number, line in enumerate(lines, start=1) if number not in rejections]
    assert [{key: json.loads(value) for key, value in row.items()} for row in rows] == [
        json.loads(line) for line in kept
    ]


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (b'{"a":1', "invalid_json", "at byte 6 of the row: Expecting ',' delimiter"),
        (b'{"\xc3\xa9":}', "invalid_json", "at byte 6 of the row: Expecting value"),
        (b'{"a":1} {"b":2}', "invalid_json", "at byte 8 of the row: Extra data"),
        (b'{"NaN":NaN}', "invalid_json", "at byte 7 of the row: NaN is no number"),
        (b'{"a":[-Infinity]}', "invalid_json", "at byte 6 of the row: -Infinity is no number"),
        (b'{"a":"\t"}', "invalid_json", "at byte 6 of the row: Invalid control character"),
        (b'{"a":"\\ud800"}', "invalid_json", "at byte 6 of the row: half of a surrogate pair"),
        (b'{"\\udfff":1}', "invalid_json", "at byte 2 of the row: half of a surrogate pair"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "invalid_json", "nested deeper than 64"),
        (b"[" * 100_000, "invalid_json", "nested deeper than 64"),
        (b"[" * 65 + b'"' + b'\\"' * 400_000, "invalid_json", "nested deeper than 64"),
        (b"[1]", "not_an_object", "not an object"),
        (b"null", "not_an_object", "not an object"),
        (b'{"a":1,"b":2,"a":1}', "duplicate_key", "twice"),
        (b'{"a":{"b":1,"\\u0062":2}}', "duplicate_key", "twice"),
        (b'{"a":"\xff"}', "invalid_utf8", "byte 6 of the row is not valid utf-8"),
        (b'{"a":"\0"}', "nul_byte", "NUL"),
        (b'{"a":"\\u0000"}', "nul_byte", "NUL"),
        (b'{"a":"\\\\\\u0000"}', "nul_byte", "NUL"),
        (b'{"a":"' + b"x" * 1_048_576 + b'"}', "row_too_long", "longer than"),
    ],
)
def test_each_bad_line_has_its_reason(tmp_path, line, code, message):
    """The code, the place of the mistake, and the rows around arrive."""
    rows, rejections = read(tmp_path, b'{"a":0}\n' + line + b'\r\n{"a":2}\n', block_bytes=100_000)

    assert rows == [{"a": "0"}, {"a": "2"}]
    assert list(rejections) == [2]
    assert rejections[2][0] == code
    assert message in rejections[2][1]


def test_what_only_looks_bad_is_read(tmp_path):
    """A backslash before `u0000`, a whole surrogate pair, 64 levels, brackets in text."""
    brackets = "[" * 100
    deep = "[" * 63 + "]" * 63
    line = rf'{{"a":"\\u0000","b":"\ud83d\ude00","c":{deep},"d":"{brackets}\""}}'

    rows, _ = read(tmp_path, line.encode())

    assert rows == [{"a": r'"\\u0000"', "b": '"😀"', "c": deep, "d": f'"{brackets}\\""'}]


def test_numbers_of_rows_and_lines(tmp_path):
    """Blank lines are no rows but count as lines; the raw text of a bad line is kept."""
    (tmp_path / "in.jsonl").write_bytes(b'\xef\xbb\xbf\n{"a":1}\r\n  \nbad\xff\r\n\n{"a":2}')

    (chunk,) = open_file(tmp_path / "in.jsonl").chunks()

    assert (chunk.rows.tolist(), chunk.lines.tolist()) == ([1, 3], [2, 6])
    (rejection,) = chunk.rejections
    assert (rejection.row, rejection.line, rejection.raw) == (2, 4, "badÿ")


def test_rows_with_many_keys_of_their_own_make_small_chunks(tmp_path):
    """A chunk has so many rows times keys at most, so that whoever looks at all has the room."""
    lines = [json.dumps({f"k{row}-{key}": 1 for key in range(1_000)}) for row in range(200)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))

    chunks = list(open_file(tmp_path / "in.jsonl").chunks())

    assert max(len(chunk.rows) * len(names_of(chunk)) for chunk in chunks) <= 8_000_000
    assert sum(len(chunk.rows) for chunk in chunks) == 200
    assert len({name for chunk in chunks for name in names_of(chunk)}) == 200_000
    assert len(chunks) > 1
