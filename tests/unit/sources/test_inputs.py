"""Files are opened in the order of sending, and known again by what is in them."""

import pytest

from backfill.errors import SourceChangedError, UsageError
from backfill.journal import Journal
from backfill.pipeline.file import Pipeline
from backfill.sources.inputs import bind, of_kind, open_inputs
from tests.support.jobs import CUSTOMERS, DELETIONS, EVENTS, HEADER, job, numbered, people

FILES = {
    "customers-1.csv": people("a"),
    "customers-2.csv": people("b"),
    "events-1.csv": numbered(3),
    "events-2.csv": numbered(2, first=3),
    "gone.csv": "id\nz\n",
}


@pytest.fixture
def journal(tmp_path):
    """The journal of a job."""
    with Journal.open(tmp_path / "state") as opened:
        yield opened


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
    with pytest.raises(UsageError, match=r"events-2\.csv: there is no column 'at'"):
        opened(tmp_path, files, EVENTS)
    (tmp_path / "t.py").write_text("clean = print\n")
    assert len(opened(tmp_path, files, EVENTS + 'transform = "t.py:clean"\n')) == 2


def test_the_same_files_keep_their_parts(tmp_path, journal):
    """Also renamed, moved or in another order."""
    before = bind(opened(tmp_path, FILES), journal, append=False)
    assert known(before) == dict(zip(sorted(FILES), range(1, 6), strict=True))
    (tmp_path / "events-1.csv").rename(tmp_path / "events-9.csv")
    after = bind(opened(tmp_path), journal, append=False)
    assert known(after)["events-9.csv"] == known(before)["events-1.csv"]
    assert [part.path for part in journal.parts() if part.id == 3] == ["events-9.csv"]


def test_two_files_of_one_content_stay_two_parts(tmp_path, journal):
    """Each keeps its own by its name."""
    files = {"events-1.csv": numbered(1), "events-2.csv": numbered(1)}
    before = known(bind(opened(tmp_path, files, EVENTS), journal, append=False))
    assert known(bind(opened(tmp_path, {}, EVENTS), journal, append=False)) == before
    assert len(set(before.values())) == 2


def test_one_file_of_two_sources_is_two_parts(tmp_path, journal):
    """It may grow, and each source knows its own."""
    (tmp_path / "both.csv").write_text(numbered(2))
    tables = [table.replace('["events*.*"]', '["both.csv"]').replace('["customers*.*"]',
              '["both.csv"]') for table in (CUSTOMERS, EVENTS)]  # fmt: skip
    before = bind(opened(tmp_path, {}, *tables), journal, append=False)
    (tmp_path / "both.csv").write_text(numbered(5))
    after = bind(opened(tmp_path, {}, *tables), journal, append=True)
    assert [(each.part, each.source) for each in before] == [
        (each.part, each.source) for each in after
    ]


CHANGES = [
    ("events-1.csv", numbered(2) + "p,x,2030-01-01,9\n", "events-1.csv has other bytes"),
    ("events-1.csv", numbered(2), "events-1.csv has other bytes"),
    ("events-1.csv", numbered(4), "events-1.csv has grown"),
    ("events-3.csv", numbered(1), "events-3.csv is new"),
    ("events-2.csv", None, "events-2.csv is gone"),
]


@pytest.mark.parametrize(("name", "content", "says"), CHANGES)
def test_a_change_is_named_and_only_growth_can_be_allowed(tmp_path, journal, name, content, says):
    """Rows that were read before must still be there, byte for byte."""
    before = bind(opened(tmp_path, FILES), journal, append=False)
    (tmp_path / name).unlink(missing_ok=True)
    now = opened(tmp_path, {} if content is None else {name: content})
    with pytest.raises(SourceChangedError, match=says) as caught:
        bind(now, journal, append=False)
    assert "--append" in caught.value.next_step
    if "other" in says or "gone" in says:
        with pytest.raises(SourceChangedError, match=says):
            bind(now, journal, append=True)
    else:
        after = known(bind(now, journal, append=True))
        assert after[name] == known(before).get(name, 6)


def test_a_first_row_without_its_end_may_have_been_read_by_halves(tmp_path, journal):
    """What follows it is no new row."""
    files = {"events.csv": numbered(2).removesuffix("\n")}
    bind(opened(tmp_path, files, EVENTS), journal, append=False)
    with pytest.raises(SourceChangedError, match="other bytes"):
        bind(opened(tmp_path, {"events.csv": numbered(2)[:-1] + "7\n"}, EVENTS), journal,
             append=True)  # fmt: skip
    assert bind(opened(tmp_path, {"events.csv": numbered(3)}, EVENTS), journal, append=True)
