"""A job's files are known again by what is in them, and a change to them is named."""

import os

import pytest

from backfill.errors import SourceChangedError
from backfill.job import Job, adopt_plan, bind_files, commit_plan, folder_of
from backfill.journal import Journal
from backfill.pipeline.file import Pipeline
from backfill.sources.inputs import open_inputs
from tests.support.jobs import CUSTOMERS, DELETIONS, EVENTS, job, numbered, people

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


def test_the_same_files_keep_their_parts(tmp_path, journal):
    """Also renamed, moved or in another order."""
    before = bind_files(opened(tmp_path, FILES), journal, append=False)
    assert known(before) == dict(zip(sorted(FILES), range(1, 6), strict=True))
    (tmp_path / "events-1.csv").rename(tmp_path / "events-9.csv")
    after = bind_files(opened(tmp_path), journal, append=False)
    assert known(after)["events-9.csv"] == known(before)["events-1.csv"]
    assert [part.path for part in journal.parts() if part.id == 3] == ["events-9.csv"]


def test_two_files_of_one_content_stay_two_parts(tmp_path, journal):
    """Each keeps its own by its name."""
    files = {"events-1.csv": numbered(1), "events-2.csv": numbered(1)}
    before = known(bind_files(opened(tmp_path, files, EVENTS), journal, append=False))
    assert known(bind_files(opened(tmp_path, {}, EVENTS), journal, append=False)) == before
    assert len(set(before.values())) == 2


def test_one_file_of_two_sources_is_two_parts(tmp_path, journal):
    """It may grow, and each source knows its own."""
    (tmp_path / "both.csv").write_text(numbered(2))
    tables = [table.replace('["events*.*"]', '["both.csv"]').replace('["customers*.*"]',
              '["both.csv"]') for table in (CUSTOMERS, EVENTS)]  # fmt: skip
    before = bind_files(opened(tmp_path, {}, *tables), journal, append=False)
    (tmp_path / "both.csv").write_text(numbered(5))
    after = bind_files(opened(tmp_path, {}, *tables), journal, append=True)
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
    before = bind_files(opened(tmp_path, FILES), journal, append=False)
    (tmp_path / name).unlink(missing_ok=True)
    now = opened(tmp_path, {} if content is None else {name: content})
    with pytest.raises(SourceChangedError, match=says) as caught:
        bind_files(now, journal, append=False)
    assert "--append" in caught.value.next_step
    if "other" in says or "gone" in says:
        with pytest.raises(SourceChangedError, match=says):
            bind_files(now, journal, append=True)
    else:
        after = known(bind_files(now, journal, append=True))
        assert after[name] == known(before).get(name, 6)


def test_a_first_row_without_its_end_may_have_been_read_by_halves(tmp_path, journal):
    """What follows it is no new row."""
    files = {"events.csv": numbered(2).removesuffix("\n")}
    bind_files(opened(tmp_path, files, EVENTS), journal, append=False)
    with pytest.raises(SourceChangedError, match="other bytes"):
        bind_files(opened(tmp_path, {"events.csv": numbered(2)[:-1] + "7\n"}, EVENTS), journal,
             append=True)  # fmt: skip
    assert bind_files(opened(tmp_path, {"events.csv": numbered(3)}, EVENTS), journal, append=True)


def test_a_plan_is_on_the_disk_before_the_journal_relies_on_it(tmp_path, monkeypatch):
    """After a power cut the journal speaks of no file whose content or name is lost."""
    path = job(tmp_path, {"customers.csv": "id,a\n1,x\n1,y\n2,z\n"}, CUSTOMERS)
    pipeline = Pipeline.load(path)
    folder = folder_of(pipeline, None)
    synced, in_time, fsync = set(), set(), os.fsync

    def sync(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    with Journal.open(folder) as journal:
        inputs = bind_files(open_inputs(pipeline), journal, append=False)
        work = Job(pipeline, inputs, journal, folder)
        plan = adopt_plan(work, now_s=2e9, progress=lambda _: None)
        monkeypatch.setattr(os, "fsync", sync)
        journal.commit = lambda: in_time.update(synced)
        commit_plan(work, plan)
        made = work.plan_folder(plan.key).path
        every = [made, made.parent, folder, *made.rglob("*")]
        assert len(every) > 5
        assert {each.stat().st_ino for each in every} <= in_time


def test_a_folder_for_the_state_is_no_url_to_whoever_opens_its_files(tmp_path):
    """Arrow takes the relative path "a:b" for one."""
    pipeline = Pipeline.load(job(tmp_path, FILES, EVENTS))
    assert folder_of(pipeline, "a:b").is_absolute()
