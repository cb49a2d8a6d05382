"""Lines that are taken apart together say what each says by itself."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.rows import Reason
from backfill.sources.json_objects import fragments
from backfill.sources.json_scan import take_apart
from tests.support.examples import examples

NUMBERS = st.sampled_from(
    ["0", "-0", "1.50", "01", "1e5", "1E+400", "12345678901234567890", "0.30000000000000004", "-"]
) | st.integers().map(str)
TEXTS = st.text('ab"\\{}[]:,\x00\t\u00e9\u2028 ', max_size=5)
STRINGS = st.builds(lambda text, plain: json.dumps(text, ensure_ascii=plain), TEXTS, st.booleans())
LEAVES = NUMBERS | STRINGS | st.sampled_from(["true", "false", "null", "NaN", "tru", ""])


def lists(inner):
    """Lists and objects of some values, as text, with a blank behind a comma or without."""
    blanks = st.sampled_from(["", " ", "  "])
    pairs = st.lists(st.tuples(STRINGS, inner), max_size=3)
    return st.builds(
        lambda some, blank: f"[{f',{blank}'.join(some)}]", st.lists(inner, max_size=3), blanks
    ) | st.builds(
        lambda some, blank: f"{{{f',{blank}'.join(f'{key}:{blank}{each}' for key, each in some)}}}",
        pairs,
        blanks,
    )


VALUES = st.recursive(LEAVES, lists, max_leaves=5)
OBJECTS = lists(VALUES).filter(lambda text: text.startswith("{"))
DAMAGED = st.builds(
    lambda text, at, put: text[: at % (len(text) + 1)] + put + text[(at + 1) % (len(text) + 1) :],
    OBJECTS,
    st.integers(0, 99),
    st.sampled_from(["", '"', "{", "}", "]", ",", ":", "\\", " ", "\t", "\r", "\ufeff", "x"]),
)
LINES = st.lists(OBJECTS | DAMAGED | st.sampled_from(["", " ", "{}", "[]", "1"]), max_size=8)


def together(text: bytes) -> dict[int, dict[str, str] | None]:
    """What each line says that is not odd; None where it is blank."""
    lines = take_apart(text)
    values = lines.values.take(lines.at).to_pylist()
    found = {line: {} for line, odd in enumerate(lines.odd.tolist()) if not odd}
    for line, key, value in zip(lines.line_of.tolist(), lines.key_of.tolist(), values, strict=True):
        found[line][lines.keys[key]] = value
    return {line: None if lines.blank[line] else each for line, each in found.items()}


@settings(max_examples=examples(150), deadline=None)
@given(LINES)
def test_lines_say_together_what_each_says_by_itself(texts):
    """Whatever they hold: a line that is not left alone is one that can be read, and reads so."""
    lines = [line for text in texts for line in text.split("\n")]
    text = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")

    for number, members in together(text).items():
        bare = lines[number].rstrip("\r")
        if members is None:
            assert bare == ""
            continue
        assert members == fragments(bare.encode("utf-8", "surrogatepass"), "utf-8", None)


@pytest.mark.parametrize("blank", ["", " "])
def test_what_programs_write_is_taken_apart(blank):
    """Else the long way would be every line's, and nobody would see it but by the clock."""
    record = {"a": 1, "b": "\u00e9\n", "c": [1, {"y": None, "x": "q: r"}], "d": -1.5, "e": True}
    line = json.dumps(record, separators=(f",{blank}", f":{blank}"))

    found = together(f"{line}\r\n{line}\n\n{{}}\n".encode())

    assert [found[0], found[2], found[3]] == [found[1], None, {}]
    assert {key: json.loads(value) for key, value in found[0].items()} == record


def test_bytes_that_are_no_text_leave_other_lines_alone():
    """Of all that is beyond ASCII, each line is looked at by itself."""
    found = together(b'{"a":"\xff"}\n{"a":1}\n{"a":"\xc3\xa9"}\n')

    assert found == {1: {"a": "1"}}
    assert isinstance(fragments(b'{"a":"\xff"}', "utf-8", None), Reason)
