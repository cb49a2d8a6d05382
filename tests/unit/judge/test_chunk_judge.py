"""A chunk of a file is judged as the user's transform gave it, and reported as it was read."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from backfill.errors import UsageError
from backfill.instants import Reading
from backfill.judge.chunk_judge import ChunkJudge, gathered
from backfill.judge.shape import shapes_of
from backfill.pipeline.file import Pipeline
from backfill.rows import Chunk, Position, Rejection, reason
from tests.support.inputs import an_input

PLACE = an_input(7, "people.csv")


@pytest.fixture
def judge(tmp_path):
    """The judge of one customers source, with or without a transform."""

    def made(body=None):
        source = {"kind": "customers", "files": ["people.csv"], "identifier": {"id": "who"}}
        if body:
            (tmp_path / "t.py").write_text(f"def clean(frame):\n    return {body}\n")
            source["transform"] = "t.py:clean"
        said = {"name": "n", "source": [source], "path": str(tmp_path / "p.toml")}
        pipeline = Pipeline.model_validate(said)
        return ChunkJudge(pipeline, shapes_of(pipeline), {0: {}}, 0.0)

    return made


def chunk():
    """Three rows from number 11 on; the second is about nobody."""
    columns = [pa.array(["a", "", "c"]), pa.array(["1", "2", "3"])]
    batch = pa.RecordBatch.from_arrays(columns, ["who", "age"])
    return Chunk(11, batch, np.arange(11, 14), None, (), Position(14), "text")


def test_without_a_transform_the_judge_sees_what_was_read(judge):
    """Good rows are accepted, the others are rejected, none is dropped."""
    judged = judge()((PLACE, chunk()))
    assert judged.accepted.rows.tolist() == [11, 13]
    assert [each.row for each in judged.rejections] == [12]
    assert (judged.key, dict(judged.dropped)) == ("7:11:14", {})


def test_rows_that_a_transform_drops_are_neither_accepted_nor_rejected(judge):
    """A rejected row is reported with the cells that its file has."""
    judged = judge("frame[frame['who'] != 'c'].assign(age='0')")((PLACE, chunk()))
    assert (judged.accepted.rows.tolist(), judged.dropped["transform"].tolist()) == (
        [11],
        [13],
    )
    assert judged.accepted.attributes.to_pylist() == ['"age":"0"']
    assert [each.cells for each in judged.rejections] == [{"who": "", "age": "2"}]


@pytest.fixture
def events_judge(tmp_path):
    """The judge of one events source in text."""
    source = {
        "kind": "events",
        "files": ["*.csv"],
        "identifier": {"id": "who"},
        "name": "seen",
        "timestamp": {"from": "at", "timezone": "UTC"},
        "columns": {"age": "integer"},
    }
    said = {"name": "n", "source": [source], "path": str(tmp_path / "p.toml")}
    pipeline = Pipeline.model_validate(said)
    reading = Reading("%Y-%m-%d", timezone="UTC")
    return ChunkJudge(pipeline, shapes_of(pipeline), {0: {"": reading}}, 2e9)


def events(part, who, names=("who", "at", "age"), at="2020-02-01"):
    """A small file of events: each row stands two lines below the one before, the first at 3."""
    count = len(who)
    ages = [str(len(each)) if each != "odd" else "many" for each in who]
    of = {"who": who, "at": [at] * count, "age": ages}
    batch = pa.RecordBatch.from_pydict({each: pa.array(of[each], pa.string()) for each in names})
    rows = np.arange(2, count + 2)  # the first row has a bad shape
    bad = Rejection(1, 2, (reason("too_few_fields"),), raw="x")
    chunk = Chunk(1, batch, rows, 2 * rows - 1, (bad,), Position(count + 2), "text")
    return an_input(part, f"{part}.csv"), chunk


def test_small_files_are_judged_as_one_as_each_by_itself(events_judge):
    """The rows of each keep their file, number, line and cells, also where all or none are bad."""
    given = [
        events(1, ["a", "odd", "b"]),
        events(2, ["odd", ""]),
        events(3, []),
        events(4, ["c", "d"]),
        events(5, ["e", "odd"], at="some day"),
    ]

    for one, alone in zip(events_judge.each(given), map(events_judge, given), strict=True):
        assert (one.place, one.chunk, one.seen, one.key) == (
            alone.place,
            alone.chunk,
            alone.seen,
            alone.key,
        )
        assert one.accepted.rows.tolist() == alone.accepted.rows.tolist()
        assert one.accepted.digest() == alone.accepted.digest()
        assert [*one.rejections] == [*alone.rejections]
        assert one.rejections.to_text() == alone.rejections.to_text()
        assert one.written.column.equals(alone.written.column)
        assert one.names == alone.names


def test_dictionaries_that_do_not_fit_into_one_are_judged_apart(events_judge):
    """As pandas writes categories: numbered in a byte, so that no dictionary has over 127."""

    def categories(part):
        place, chunk = events(part, [f"{part}-{number}" for number in range(100)])
        (who, *others), names = chunk.batch.columns, chunk.batch.schema.names
        who = pc.dictionary_encode(who).cast(pa.dictionary(pa.int8(), pa.string()))
        return place, replace(chunk, batch=pa.RecordBatch.from_arrays([who, *others], names))

    given = [categories(1), categories(2)]
    assert list(gathered(given)) == [given]
    found = events_judge.each(given)
    assert [len(judged.accepted.rows) for judged in found] == [100, 100]


def test_a_file_that_cannot_be_used_is_named_among_small_ones(events_judge):
    """Though it is not the first of those that are judged as one."""
    given = [events(1, ["a"]), events(2, ["1.5"])]
    with pytest.raises(UsageError, match=r"2\.csv"):
        events_judge.each(given)


def test_only_small_chunks_with_the_same_columns_are_judged_as_one():
    """In their order; a large one is worth its calls, and waits for no other."""
    large = events(4, ["a" * 70_000])
    others = [
        events(1, ["a"]),
        events(2, ["b"]),
        events(3, ["c"], ("at", "who", "age")),
        large,
        events(5, ["d"]),
    ]

    found = [[place.part for place, _ in some] for some in gathered(others)]
    assert found == [[1, 2], [3], [4], [5]]


def test_a_chunk_of_many_rows_of_bad_shape_waits_for_no_other_one():
    """A long file may have no others: 64 such chunks would be two million rejections."""

    def bad(part, count, raw):
        place, chunk = events(part, [])
        rows = [replace(chunk.rejections[0], row=row, raw=raw) for row in range(count)]
        return place, replace(chunk, rejections=tuple(rows))

    given = [bad(1, 1_000, "x"), bad(2, 3, "x" * 30_000), bad(3, 3, "x"), bad(4, 3, "x")]
    found = [[place.part for place, _ in some] for some in gathered(given)]
    assert found == [[1], [2], [3, 4]]
