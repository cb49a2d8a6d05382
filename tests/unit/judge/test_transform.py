"""A user's function changes rows as it says, and anything odd stops the run with its place."""

import json

import numpy as np
import pyarrow as pa
import pytest

from backfill.errors import UsageError
from backfill.judge.transform import Transform
from backfill.rows import Chunk, Position

FIRST = 11


def chunk(columns, values="text"):
    """A chunk whose first row has the number 11, its lines counted from 100."""
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    rows = np.arange(FIRST, FIRST + batch.num_rows)
    return Chunk(FIRST, batch, rows, rows + 89, (), Position(int(rows[-1]) + 1), values)


TEXT = {"a": pa.array(["1", None, "x"]), "b": pa.array(["p", "", 'q"'])}


@pytest.fixture
def transform(tmp_path):
    """A transform with this body."""

    def made(body, head="import pandas as pd\n"):
        lines = "".join(f"    {each}\n" for each in body.splitlines())
        (tmp_path / "t.py").write_text(f"{head}\ndef clean(frame):\n{lines}")
        return Transform("t.py:clean", tmp_path)

    return made


def rows_of(made):
    """What a transformed chunk holds."""
    return made.chunk.batch.to_pylist()


def test_a_frame_that_is_given_back_is_the_same_chunk(transform):
    """Nulls stay null, empty texts stay empty."""
    made = transform("return frame").apply(chunk(TEXT), "f.csv")
    assert rows_of(made) == chunk(TEXT).batch.to_pylist()
    assert (made.chunk.rows.tolist(), made.chunk.lines.tolist()) == ([11, 12, 13], [100, 101, 102])
    assert len(made.dropped) == 0


def test_rows_that_are_dropped_are_known_by_their_numbers(transform):
    """What is left keeps its number and line."""
    made = transform("return frame[frame['b'] != '']").apply(chunk(TEXT), "f.csv")
    assert [each["b"] for each in rows_of(made)] == ["p", 'q"']
    assert (made.chunk.rows.tolist(), made.chunk.lines.tolist()) == ([11, 13], [100, 102])
    assert made.dropped.tolist() == [12]
    assert transform("return frame[:0]").apply(chunk(TEXT), "f").dropped.tolist() == [11, 12, 13]


def test_columns_are_changed_made_and_left_out(transform):
    """A new column may have types in a file of texts."""
    body = "frame = frame.assign(n=[1, 2, 3], b=frame['b'].str.upper())\nreturn frame[['b', 'n']]"
    made = transform(body).apply(chunk(TEXT), "f.csv")
    assert rows_of(made) == [{"b": "P", "n": 1}, {"b": "", "n": 2}, {"b": 'Q"', "n": 3}]


def test_typed_columns_keep_every_digit(transform):
    """A null beside it makes no float of an integer, and an index in the file is a column."""
    columns = {
        "id": pa.array([2**53 + 1, None, -1]),
        "big": pa.array([2**64 - 1, None, 0], pa.uint64()),
        "flag": pa.array([True, None, False]),
        "price": pa.array([1.5, None, 2.0]),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    frame = pa.Table.from_batches([batch]).to_pandas().set_index("price")
    metadata = pa.Schema.from_pandas(frame).metadata
    given = chunk(columns, "typed")
    described = Chunk(
        given.first_row, batch.replace_schema_metadata(metadata), given.rows, None, (), given.end,
        "typed",
    )  # fmt: skip
    for each in (given, described):
        made = transform("return frame").apply(each, "f.parquet")
        assert rows_of(made) == batch.to_pylist()


def test_json_lines_keep_their_values(transform):
    """Nested ones and long digits too; None is an absent key."""
    columns = {
        "a": pa.array(["1", '"x"', None]),
        "b": pa.array(["[1,{}]", "null", "12345678901234567890"]),
    }
    made = transform("return frame.assign(c=[1.5, float('nan'), pd.NA])").apply(
        chunk(columns, "json"), "f.jsonl"
    )
    found = [
        {name: json.loads(each) for name, each in row.items() if each is not None}
        for row in rows_of(made)
    ]
    assert found == [
        {"a": 1, "b": [1, {}], "c": 1.5},
        {"a": "x"},
        {"b": "12345678901234567890"},
    ]


def test_a_column_of_nothing_is_still_one_of_text(transform):
    """Whoever makes one in some chunks makes the same kind of column in all."""
    made = transform("return frame.assign(c=None)").apply(
        chunk({"a": pa.array(["1", "2", "3"])}, "json"), "f.jsonl"
    )
    assert rows_of(made) == [{"a": each, "c": None} for each in "123"]
    assert set(made.chunk.batch.schema.types) == {pa.string()}


ODD = [
    ("return frame.reset_index(drop=True)", "made new rows, or numbered them anew"),
    ("return frame.dropna().reset_index(drop=True)", "made new rows, or numbered them anew"),
    ("return pd.concat([frame, frame])", "gave a row twice"),
    ("return frame[::-1]", "changed the order of rows"),
    ("return frame.set_index('b')", "changed the index"),
    ("frame.index = frame.index + 0.5\nreturn frame", "changed the index"),
    ("frame.index = frame.index + 1\nreturn frame", "made new rows"),
    ("return None", "gave NoneType, not a DataFrame"),
    ("return frame['a']", "gave Series, not a DataFrame"),
    ("frame.columns = ['a', 'a']\nreturn frame", "gave two columns of one name"),
    ("return frame.assign(c=[1, 'secret', object()])", "gave a column that cannot be read"),
]


@pytest.mark.parametrize(("body", "says"), ODD)
def test_what_makes_rows_unaccountable_is_refused(transform, body, says):
    """With the file and the rows, and without any value."""
    with pytest.raises(UsageError, match=r"f\.csv: transform 't.py:clean'") as caught:
        transform(body).apply(chunk(TEXT), "f.csv")
    assert says in caught.value.what
    assert "rows 11 to 13" in caught.value.what
    assert "secret" not in caught.value.what


def test_json_values_that_json_cannot_say_are_refused(transform):
    """A moment without a form of its own is not sent as text."""
    body = "return frame.assign(c=[pd.Timestamp('2024-01-01')] * 3)"
    columns = {"a": pa.array(["1", "2", "3"])}
    with pytest.raises(UsageError, match="cannot be read"):
        transform(body).apply(chunk(columns, "json"), "f.jsonl")


def test_an_exception_is_told_with_the_users_own_line(transform):
    """Not with a line of pandas, and without the value that it speaks of."""
    with pytest.raises(UsageError, match=r"KeyError in line 5 of t\.py") as caught:
        transform("frame = frame\nreturn frame['secret']").apply(chunk(TEXT), "f.csv")
    assert "secret" not in caught.value.what


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("absent.py:clean", "there is no file"),
        ("t.py:absent", "no function 'absent'"),
        ("t.py", "no function"),
        ("broken.py:clean", "cannot be imported: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_loaded_is_refused(tmp_path, spec, says):
    """Before any row is read."""
    (tmp_path / "t.py").write_text("clean = print\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(UsageError, match=says):
        Transform(spec, tmp_path)


def test_dataclasses_and_annotations_work_in_a_transforms_file(transform):
    """It is a module like any other."""
    head = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Rule:\n    name: str\n"
    )
    made = transform("return frame.assign(a=Rule('x').name)", head).apply(chunk(TEXT), "f.csv")
    assert {each["a"] for each in rows_of(made)} == {"x"}


def test_a_frame_of_the_readers_own_is_not_changed_by_the_user(transform):
    """The report shows the row as it was read."""
    given = chunk(TEXT)
    transform("frame['a'] = 'changed'\nreturn frame").apply(given, "f.csv")
    assert given.batch.to_pylist() == chunk(TEXT).batch.to_pylist()
