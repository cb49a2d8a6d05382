"""Attributes that are judged together are judged as each would be by itself."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.judge import judge as judging
from backfill.judge.judge import Judge
from backfill.pipeline.source_settings import CustomersSource, EventsSource
from backfill.rows import Chunk, Position, SparseCells
from tests.support.examples import examples

TEXTS = st.sampled_from(["", "x", "7", "-0", "é", 'q"', "y" * 1_001, "z" * 950, " pad ", None])
FRAGMENTS = st.sampled_from(
    ["1", "1.50", "-0.0", '"x"', '"q\\""', "null", "true", '{"b":1.50,"a":[]}', None]
) | st.sampled_from([f'"{"y" * 1_001}"'])
NUMBERS = st.sampled_from([1.5, 1e10, -0.0, float("nan"), 3.0, None])
NAMES = [
    "a",
    "b",
    "email",
    "created_at",
    "x" * 151,
    "y" * 150,
    "id",
    "_c",
    "unsubscribed",
    "d",
    "e",
]


@st.composite
def chunks(draw):
    """A chunk of people or events, in one of the ways in which cells are written."""
    values = draw(st.sampled_from(["text", "json", "typed"]))
    count = draw(st.integers(1, 6))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=10))
    columns = {
        "person": pa.array([f'"p{n}"' if values == "json" else f"p{n}" for n in range(count)])
    }
    for name in names:
        cells = {"text": TEXTS, "json": FRAGMENTS, "typed": draw(st.sampled_from([TEXTS, NUMBERS]))}
        cell = cells[values]
        some = draw(st.lists(cell, min_size=count, max_size=count))
        columns[name] = pa.array(some, pa.float64() if cell is NUMBERS else pa.string())
    rows = pa.array(range(1, count + 1)).to_numpy()
    batch = pa.RecordBatch.from_pydict(columns)
    return Chunk(1, batch, rows, None, (), Position(count + 1), values)


def sources():
    """Settings that change how attributes are judged."""
    people = {"kind": "customers", "files": ["x"], "identifier": {"id": "person"}}
    for more in (
        {},
        {"nulls": "clear"},
        {"too_long": "drop"},
        {"required": ["a"], "missing_columns": "null"},
        {"create": False},
    ):
        yield CustomersSource.model_validate(people | more)
    yield EventsSource.model_validate(
        {
            "kind": "events",
            "files": ["x"],
            "identifier": {"id": "person"},
            "name": "n",
            "timestamp": {"from": "person", "format": "iso8601", "timezone": "UTC"},
        }
    )


def judged(chunk, source, monkeypatch, many):
    """All that the judge says; with attributes together, or one by one."""
    monkeypatch.setattr(judging, "MANY", many)
    monkeypatch.setattr(judging, "MANY_PER_ROW", dict.fromkeys(("text", "json", "typed"), 0.0))
    found = Judge(source, "v2", _readings(source), 1.7e9).judge(chunk)
    return (
        found.accepted.rows.tolist(),
        found.accepted.attributes.to_pylist(),
        found.accepted.members.lengths.tolist(),
        None if found.accepted.email is None else found.accepted.email.to_pylist(),
        found.rejections,
        found.names,
    )


def _readings(source):
    return {"": source.timestamp.reading("iso8601")} if source.kind == "events" else {}


@pytest.mark.parametrize("source", list(sources()), ids=range(6))
@settings(max_examples=examples(30), deadline=None)
@given(chunk=chunks())
def test_together_or_one_by_one_is_the_same(source, chunk):
    """Members, rejections with their order of reasons, and what is noted of names."""
    with pytest.MonkeyPatch.context() as patch:
        one_by_one = judged(chunk, source, patch, 1e9)
        assert judged(chunk, source, patch, 0) == one_by_one


@settings(max_examples=examples(30), deadline=None)
@given(chunk=chunks().filter(lambda each: each.values == "json"))
def test_cells_apart_from_columns_are_the_same(chunk):
    """Where few rows have a key, its cells are no column; nobody can tell."""
    source = next(iter(sources()))
    apart = _apart(chunk)
    assert apart.spread().batch.equals(chunk.batch)
    with pytest.MonkeyPatch.context() as patch:
        assert judged(apart, source, patch, 1e9) == judged(chunk, source, patch, 1e9)


def _apart(chunk: Chunk) -> Chunk:
    """The chunk with each column but the first one as single cells."""
    names = chunk.batch.schema.names[1:]
    cells = [
        (row, column, cell)
        for row in range(len(chunk.rows))
        for column, name in enumerate(names)
        if (cell := chunk.batch.column(name)[row].as_py()) is not None
    ]
    columns = pa.array([column for _, column, _ in cells], pa.int64()).to_numpy()
    places = pa.array([row for row, _, _ in cells], pa.int64()).to_numpy()
    texts = pa.array([cell for _, _, cell in cells], pa.string())
    sparse = SparseCells(tuple(names), columns, places, texts)
    return Chunk(
        chunk.first_row,
        chunk.batch.select([0]),
        chunk.rows,
        None,
        (),
        chunk.end,
        "json",
        sparse,
    )
