"""Names of columns that no file has: members of objects, columns joined."""

import json

import numpy as np
import pyarrow as pa
import pytest

from backfill.encoding.column_names import can_be_made, own_names, used_up, with_made
from backfill.rows import Chunk, Position


def chunk(values, **columns) -> Chunk:
    """A chunk of these columns."""
    batch = pa.RecordBatch.from_pydict(columns)
    rows = np.arange(1, batch.num_rows + 1)
    return Chunk(1, batch, rows, None, (), Position(batch.num_rows + 1), values)


def made(given: Chunk, name: str) -> list | None:
    """The cells of a made column; None where it cannot be made."""
    batch = with_made(given, [name]).batch
    assert own_names(batch.schema) == given.batch.schema.names
    return batch.column(name).to_pylist() if name in batch.schema.names else None


def fragments(*values) -> pa.Array:
    """Values as a JSON source gives them; an absent one is null."""
    texts = [None if each is ... else json.dumps(each) for each in values]
    return pa.array(texts, pa.string())


OBJECTS = [{"$oid": "a"}, {"$oid": None}, {}, ..., None, "text", {"x.y": {"z": [1]}}]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("_id.$oid", ['"a"', "null", None, None, None, None, None]),
        ("_id.x.y.z", [None] * 6 + ["[1]"]),
        ("_id.nowhere", [None] * 7),
        ("no.such", None),
    ],
)
def test_a_path_reads_a_member_of_json_objects(name, cells):
    """An absent member is absent, a null one null; the longest name comes first."""
    assert made(chunk("json", _id=fragments(*OBJECTS)), name) == cells


def test_a_path_reads_a_member_of_structs():
    """At any depth, null where the struct is, with its own type."""
    inner = pa.array([{"at": {"date": 5}}, None, {"at": None}], pa.struct(
        {"at": pa.struct({"date": pa.timestamp("ms", "UTC")})}
    ))  # fmt: skip
    given = chunk("typed", a=inner)
    column = with_made(given, ["a.at.date", "a.no"]).batch

    assert column.column("a.at.date").type == pa.timestamp("ms", "UTC")
    assert column.column("a.at.date").is_null().to_pylist() == [False, True, True]
    assert "a.no" not in column.schema.names
    assert can_be_made("a.at.date", given.batch.schema)
    assert not can_be_made("a.no", given.batch.schema)


def test_a_column_that_is_named_twice_is_made_once():
    """An identifier may be read as an attribute, too."""
    given = chunk("json", _id=fragments(*OBJECTS))

    assert with_made(given, ["_id.x", "_id.x"]).batch.schema.names == ["_id", "_id.x"]


def test_a_column_of_that_name_comes_first():
    """A dot in a header is a letter like others."""
    given = chunk("text", **{"a.b": ["1"], "a": ["2"]})
    assert with_made(given, ["a.b"]) is given


@pytest.mark.parametrize("values", ["text", "json", "typed"])
def test_several_columns_are_joined_by_a_space(values):
    """What is empty is left out; nothing at all is null."""
    day, clock = ["2026-09-07", "2026-09-08", "", None], ["09:12", None, " ", "10:00"]
    if values == "json":
        given = chunk(values, day=fragments(*day[:3], ...), clock=fragments(*clock))
        expected = ['"2026-09-07 09:12"', '"2026-09-08"', None, '"10:00"']
    else:
        given = chunk(values, day=day, clock=clock)
        expected = ["2026-09-07 09:12", "2026-09-08", None, "10:00"]

    assert made(given, "day + clock") == expected
    assert made(given, "day + nowhere") is None


def test_what_says_no_more_than_a_made_column_is_used_up():
    """Joined columns, and MongoDB's wrapping of values; other objects have more to say."""
    columns = ["_id", "at", "day", "clock", "a.b"]
    assert used_up("_id.$oid", columns) == {"_id"}
    assert used_up("at.zone", columns) == set()
    assert used_up("day + clock + at.$date", columns) == {"day", "clock", "at"}
    assert used_up("a.b", columns) == {"a.b"}


@pytest.mark.parametrize(
    ("name", "gone"),
    [("_id.$oid", {"_id"}), ("at.$date.$numberLong", {"at"}), ("properties.$user_id", set())],
)
def test_only_a_wrapper_says_no_more_than_what_is_in_it(name, gone):
    """Mixpanel's own properties begin as MongoDB's wrappers do, and stand among others."""
    assert used_up(name, ["_id", "at", "properties"]) == gone
