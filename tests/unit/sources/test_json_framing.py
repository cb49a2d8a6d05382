"""A `.json` file holds one object a line, an array, or objects one after another."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import UsageError
from tests.support.examples import examples
from tests.support.reading import open_file
from tests.support.strict import gather

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab"\\{}[],\n é😀', max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab{\\", max_size=2), inner)
    ),
    max_leaves=5,
)
OBJECTS = st.lists(st.dictionaries(st.text("abc", min_size=1, max_size=2), VALUE), max_size=8)
STYLES = {
    "array": lambda texts: f"[{','.join(texts)}]",
    "array, indented": lambda texts: " [\n" + ",\n".join(f"  {each}" for each in texts) + "\n]\n",
    "one after another": "".join,
    "apart by blank lines": "\n\n".join,
    "apart by commas": ",\n".join,
    "one a line": "\n".join,
}


@settings(max_examples=examples(80), deadline=None)
@given(
    objects=OBJECTS,
    style=st.sampled_from(list(STYLES)),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    block_bytes=st.sampled_from([1, 3, 64, 1 << 20]),
)
def test_objects_come_back_however_they_stand(
    tmp_path_factory, objects, style, indent, ascii_only, encoding, block_bytes
):
    """Whole, and from the end of every chunk."""
    texts = [json.dumps(each, indent=indent, ensure_ascii=ascii_only) for each in objects]
    path = tmp_path_factory.mktemp("json") / "in.json"
    path.write_bytes((STYLES[style](texts) + "\n").encode(encoding))
    how = {"encoding": encoding.removesuffix("-sig"), "block_bytes": block_bytes}

    chunks = list(open_file(path, **how).chunks())

    assert cells(chunks) == objects
    for chunk in chunks:
        assert cells(open_file(path, **how).chunks(chunk.end)) == objects[chunk.end.row - 1 :]


def cells(chunks) -> list[dict]:
    """The objects that were read."""
    return [
        {key: json.loads(cell) for key, cell in row.items() if cell is not None}
        for chunk in chunks
        for row in chunk.batch.to_pylist()
    ]


def read(folder, content: bytes, **how):
    """A `.json` file of that content, read whole."""
    (folder / "in.json").write_bytes(content)
    return gather(open_file(folder / "in.json", **how).chunks())


def test_a_bad_value_is_rejected_by_itself(tmp_path):
    """With its row and line; the values around it arrive."""
    content = b'[\n {"a": 1},\n {"a": 1,},\n\n 7,\n {"a": 2}\n]'

    found = read(tmp_path, content)

    assert found.cells == {1: ["1"], 4: ["2"]}
    assert found.reasons == {2: ["invalid_json"], 3: ["not_an_object"]}
    assert found.lines == {1: 2, 2: 3, 3: 5, 4: 6}
    assert found.raws == {2: '{"a": 1,}', 3: "7"}


def test_a_value_that_is_too_long_is_one_rejection(tmp_path):
    """As a line is."""
    content = b'[{"a": 1}, {"a": "' + b"x" * 1_100_000 + b'"}, {"a": 2}]'

    found = read(tmp_path, content, block_bytes=100_000)

    assert found.cells == {1: ["1"], 3: ["2"]}
    assert found.reasons == {2: ["row_too_long"]}
    assert len(found.raws[2]) == 65_536


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'[{"a": 1},\n{"a": 2}', "row 2 on: the array does not end"),
        (b'[{"a": 1},\n{"a": "2', "row 2 on: the array does not end"),
        (b'[{"a": 1}]\n[{"a": 2}]', "something follows the end of the array"),
        (b'{"a":\n1}\n{"a": 2', "a value does not end"),
        (b'{"a":\n1}\n}\n{"a": 2}\n', "a bracket closes what was not opened"),
    ],
)
def test_what_is_cut_off_or_damaged_stops_the_run(tmp_path, content, what):
    """The rows before are given; none is made of the rest."""
    (tmp_path / "in.json").write_bytes(content)
    rows = []

    with pytest.raises(UsageError, match=what):
        rows.extend(open_file(tmp_path / "in.json", block_bytes=12).chunks())

    assert cells(rows)[:1] in ([{"a": 1}], [])


def test_an_array_in_json_lines_is_refused_as_one(tmp_path):
    """A line of it that happens to be an object must not be sent alone."""
    (tmp_path / "in.jsonl").write_bytes(b'[\n{"a": 1},\n{"a": 2}\n]\n')

    with pytest.raises(UsageError, match="is a JSON array, not JSON Lines") as caught:
        open_file(tmp_path / "in.jsonl")
    assert 'format = "json"' in caught.value.next_step

    assert cells(open_file(tmp_path / "in.jsonl", name="json").chunks()) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("content", "kind", "appendable"),
    [
        (b'{"a":1}\n{"a":2}\n', "jsonl", True),
        (b'{"a":1}{"a":2}\n', "json", True),
        (b'{\n"a":1\n}\n', "json", True),
        (b'[{"a":1}]', "json", False),
        (b"[]", "json", False),
    ],
)
def test_content_tells_how_objects_stand(tmp_path, content, kind, appendable):
    """An array has an end, so nothing can be appended to it."""
    (tmp_path / "in.json").write_bytes(content)

    source = open_file(tmp_path / "in.json")

    assert (source.kind, source.appendable) == (kind, appendable)


def test_a_mark_at_the_beginning_of_a_line_is_no_data(tmp_path):
    """As where files with a byte-order mark were put together."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\n\xef\xbb\xbf{"a":2}\n\xef\xbb\xbf\n')

    assert cells(open_file(path).chunks()) == [{"a": 1}, {"a": 2}]
