"""What becomes of rows before they are judged."""

import pytest

from backfill.judge.chunk_judge import ChunkJudge
from backfill.judge.shape import shapes_of
from backfill.pipeline.file import Pipeline
from backfill.sources.inputs import open_inputs
from tests.support.jobs import CUSTOMERS, job


@pytest.fixture
def judged(tmp_path):
    """All rows of a job's only file, judged."""

    def judge(files, *tables):
        pipeline = Pipeline.load(job(tmp_path, files, *tables))
        judge = ChunkJudge(pipeline, shapes_of(pipeline), {0: {}}, 0.0)
        (place,) = open_inputs(pipeline)
        return [judge((place, chunk)) for chunk in place.file.chunks()]

    return judge


def people(found) -> list[str]:
    """Whom the accepted rows are about."""
    return [person for each in found for person in each.accepted.person.to_pylist()]


WHERE = 'where = { type = ["track", " page"], live = true }\n'


def test_rows_without_a_wanted_value_are_left_out(judged):
    """In every column that is asked for; blanks around a value do not count, rejected rows do."""
    text = "id,type,live\n1,track,true\n2,page ,TRUE\n3,screen,true\n4,,true\n5,x\n6,page,true\n"
    (found,) = judged({"customers.csv": text}, CUSTOMERS + WHERE.replace(" page", "page"))

    assert people([found]) == ["1", "6"]
    assert {why: rows.tolist() for why, rows in found.dropped.items()} == {"where": [2, 3, 4]}
    assert [each.row for each in found.rejections] == [5]
    (nobody,) = judged({"customers.csv": text}, CUSTOMERS + "where = { type = [] }\n")
    assert people([nobody]) == []


def test_a_member_can_be_asked_for_and_numbers_are_compared_as_text(judged):
    """In JSON as in text."""
    lines = '{"id":"1","a":{"b":1}}\n{"id":"2","a":{"b":2}}\n{"id":"3"}\n{"id":"4","a":{"b":"1"}}\n'
    (found,) = judged({"customers.jsonl": lines}, CUSTOMERS + 'where = { "a.b" = 1 }\n')

    assert people([found]) == ["1", "4"]


def test_a_transform_gets_the_rows_that_stay(judged, tmp_path):
    """And the columns that are made are made of what it gives."""
    (tmp_path / "t.py").write_text(
        "def clean(frame):\n"
        "    assert list(frame.columns) == ['first', 'last', 'type']\n"
        "    return frame[frame['last'] != 'x'].assign(first='f')\n"
    )
    text = "first,last,type\na,b,t\nc,d,u\ne,x,t\n"
    table = CUSTOMERS.replace('{ id = "id" }', '{ id = "first + last" }')
    (found,) = judged(
        {"customers.csv": text},
        table + 'transform = "t.py:clean"\nwhere = { type = "t" }\nother_columns = "drop"\n',
    )

    assert people([found]) == ["f b"]
    assert {why: rows.tolist() for why, rows in found.dropped.items()} == {
        "where": [2],
        "transform": [3],
    }
