"""Files are opened in the order of sending, and every header is looked at."""

import pytest

from backfill.errors import UsageError
from backfill.pipeline.file import Pipeline
from backfill.sources.inputs import of_kind, open_inputs
from tests.support.jobs import CUSTOMERS, DELETIONS, EVENTS, HEADER, job, numbered, people

FILES = {
    "customers-1.csv": people("a"),
    "customers-2.csv": people("b"),
    "events-1.csv": numbered(3),
    "events-2.csv": numbered(2, first=3),
    "gone.csv": "id\nz\n",
}


def opened(folder, files=None, *tables):
    """The files of a job as they are now."""
    path = job(folder, files or {}, *(tables or (EVENTS, DELETIONS, CUSTOMERS)))
    return open_inputs(Pipeline.load(path))


def known(inputs):
    """Part by name."""
    return {each.name: each.part for each in inputs}


def test_files_come_in_the_order_of_sending(tmp_path):
    """Customers, events, deletions, whatever the order in the pipeline file."""
    inputs = opened(tmp_path, FILES)
    assert known(inputs) == dict(zip(sorted(FILES), range(1, 6), strict=True))
    assert [each.source for each in inputs] == [2, 2, 0, 0, 1]
    pipeline = Pipeline.load(tmp_path / "pipeline.toml")
    assert [each.name for each in of_kind(inputs, pipeline, "customers")] == sorted(FILES)[:2]


@pytest.mark.parametrize("name", ["events.tsv", "events.TSV", "events.2024.Tsv"])
def test_a_file_with_tabs_needs_no_delimiter(tmp_path, name):
    """Its name says it, in any case of letters."""
    text = HEADER.replace(",", "\t") + "p\tx\t2024-01-01\t1\n"
    (only,) = opened(tmp_path, {name: text}, EVENTS)
    assert only.file.columns() == ("id", "event", "at", "n")


def test_every_header_is_looked_at_before_anything_else(tmp_path):
    """The file with the mistake is named; a transform may make the column later."""
    files = {"events-1.csv": numbered(1), "events-2.csv": "id,event,when\n"}
    with pytest.raises(UsageError, match=r"events-2\.csv: column 'at' is missing"):
        opened(tmp_path, files, EVENTS)
    (tmp_path / "t.py").write_text("clean = print\n")
    assert len(opened(tmp_path, files, EVENTS + 'transform = "t.py:clean"\n')) == 2
