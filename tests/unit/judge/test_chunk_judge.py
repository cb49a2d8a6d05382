"""A chunk of a file is judged as the user's transform gave it, and reported as it was read."""

import numpy as np
import pyarrow as pa
import pytest

from backfill.judge.chunk_judge import ChunkJudge
from backfill.judge.shape import shapes_of
from backfill.pipeline.file import Pipeline
from backfill.rows import Chunk, Position
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
