"""The snapshot follows the journal: what became of people goes in once, and doubt is kept."""

import json
from contextlib import contextmanager

import pytest

from backfill.job import Job, adopt_plan, bind_files, commit_plan, folder_of
from backfill.journal import Journal, Settlement
from backfill.pipeline.file import Pipeline
from backfill.rows import Reason, Rejection
from backfill.sources.inputs import open_inputs
from backfill.sync import catch_up
from backfill.sync.snapshot import SNAPSHOT_FILE
from tests.support.jobs import CUSTOMERS, DELETIONS, EVENTS, job, people

REFUSED = (Reason("refused", "", "no"),)
TOLD = "SELECT identifier, high IS NOT NULL, refused_high IS NOT NULL FROM person ORDER BY 1"


class Begun:
    """A job whose customers, p1 to p4 in the rows 1 to 4, are being told."""

    def __init__(self, journal: Journal, path, folder) -> None:
        self.journal = journal
        pipeline = Pipeline.load(path)
        inputs = bind_files(open_inputs(pipeline), journal, append=False)
        self.job = Job(pipeline, inputs, journal, folder)
        self.plan = adopt_plan(self.job, now_s=0.0, progress=lambda _: None)
        commit_plan(self.job, self.plan)
        self.part = inputs[0].part

    def begin(self) -> None:
        """Say that people may be told from now on."""
        catch_up.begin(self.job, self.plan, diff=False)

    def settle(self, start: int, stop: int, *refused: int) -> None:
        """Say what became of some rows."""
        rejections = [Rejection(row, None, REFUSED) for row in refused]
        delivered = stop - start - len(refused)
        self.journal.settle(
            Settlement(self.part, [(start, stop)], delivered, rejections=rejections)
        )
        self.journal.commit()

    def catch_up(self, **more) -> None:
        """Bring the snapshot up to date."""
        catch_up.catch_up(self.journal, self.job.pipeline, self.job.folder, **more)

    def told(self):
        """Of everybody: whether it is known what they have, and what the API refused."""
        with catch_up.open_snapshot(self.journal, self.job.folder) as snapshot:
            return {who: (has, refused) for who, has, refused in snapshot.run(TOLD)}


@pytest.fixture
def opened(tmp_path):
    """Opens the job as a process does that starts."""
    path = job(tmp_path, {"customers.csv": people("p1", "p2", "p3", "p4")}, CUSTOMERS)
    folder = folder_of(Pipeline.load(path), None)

    @contextmanager
    def process():
        with Journal.open(folder) as journal:
            yield Begun(journal, path, folder)

    return process


KNOWN, REFUSAL, DOUBT = (True, False), (False, True), (False, False)


def test_it_takes_up_what_became_of_people(opened):
    """Delivered, refused, in doubt where rows may have been sent; of others it knows nothing."""
    with opened() as one:
        one.begin()
        one.journal.raise_ceiling(one.part, 4)
        one.settle(1, 3, 2)
        one.catch_up()
        assert one.told() == {"p1": KNOWN, "p2": REFUSAL, "p3": DOUBT}


def test_a_killed_process_has_not_forgotten(opened):
    """What it has begun stands in the journal; the next one catches up, as often as it is asked."""
    with opened() as one:
        one.begin()
        one.settle(1, 3)
    with opened() as other:
        assert catch_up.is_unfinished(other.journal, diff=False)
        other.catch_up()
        other.catch_up()
        assert other.told() == {"p1": KNOWN, "p2": KNOWN}
        assert not catch_up.is_unfinished(other.journal, diff=False)


def test_a_run_that_goes_on_after_a_retry_is_remembered_to_its_end(opened):
    """And whom the retry told something else stays in doubt: the source says what must be."""
    with opened() as one:
        one.begin()
        one.settle(1, 3, 2)
    with opened() as retry:
        retry.catch_up()
        retry.journal.deliver_rejected(retry.part, 2)
        with catch_up.open_snapshot(retry.journal, retry.job.folder) as snapshot:
            snapshot.doubt("id", ["p2"])
        retry.journal.commit()
    with opened() as again:
        again.begin()
        again.settle(3, 5)
        again.catch_up(done=True)
        assert again.told() == {"p1": KNOWN, "p2": DOUBT, "p3": KNOWN, "p4": KNOWN}
        again.begin()
        assert not catch_up.is_unfinished(again.journal, diff=False)


def test_a_snapshot_of_another_time_is_not_believed(opened, tmp_path):
    """Put back from a backup it speaks of people who have been told something else since."""
    with opened() as one:
        one.begin()
        one.settle(1, 3)
        one.catch_up()
    path = tmp_path / ".backfill" / "job" / SNAPSHOT_FILE
    before = path.read_bytes()
    with opened() as other:
        other.begin()
        other.settle(3, 5)
        other.catch_up(done=True)
    path.write_bytes(before)
    with opened() as later:
        assert later.told() == {"p1": DOUBT, "p2": DOUBT}


def test_after_lost_commits_everybody_is_in_doubt(opened, tmp_path):
    """The journal and the snapshot may agree on a time before people were told something else."""
    with opened() as one:
        one.begin()
        one.settle(1, 3)
        one.catch_up()
    lock = tmp_path / ".backfill" / "job" / "lock"
    record = json.loads(lock.read_bytes())
    lock.write_text(json.dumps(record | {"commits": record["commits"] + 1}))
    with opened() as later:
        assert later.journal.lost_commits == 1
        assert later.told() == {"p1": DOUBT, "p2": DOUBT}


def test_whose_plan_is_lost_is_in_doubt(opened):
    """Nobody knows any more who was told what; nobody is taken for unchanged."""
    with opened() as one:
        one.begin()
        one.settle(1, 3)
        one.catch_up()
    with opened() as other:
        other.begin()
        (other.job.folder / "plan" / other.plan.key / "people.parquet").unlink()
        other.catch_up()
        assert other.told() == {"p1": DOUBT, "p2": DOUBT}


def test_whoever_is_deleted_is_forgotten(tmp_path):
    """Not whom the API would not delete, nor whose turn had not come; who may be gone is unsure."""
    files = {"customers.csv": people("p1", "p2", "p3", "p4"), "gone.csv": "id\np1\np2\np3\np4\n"}
    path = job(tmp_path, files, CUSTOMERS, DELETIONS)
    with Journal.open(folder_of(Pipeline.load(path), None)) as journal:
        one = Begun(journal, path, folder_of(Pipeline.load(path), None))
        one.begin()
        one.settle(1, 5)
        one.catch_up()
        one.begin()
        one.part = one.job.inputs[1].part
        one.journal.raise_ceiling(one.part, 4)
        one.settle(1, 3, 2)
        one.catch_up()
        assert one.told() == {"p2": KNOWN, "p3": DOUBT, "p4": KNOWN}


def test_who_was_known_people(opened):
    """All but those of whom the API has never taken anything."""
    with opened() as one:
        one.begin()
        one.journal.raise_ceiling(one.part, 4)
        one.settle(1, 3, 2)
        one.catch_up()
        told = list(catch_up.known_people(one.journal, one.job.folder))
        assert [(type_, sorted(who.to_pylist())) for type_, who in told] == [("id", ["p1", "p3"])]


def test_nothing_is_kept_where_nobody_is_compared(tmp_path):
    """Events alone need no snapshot."""
    path = job(tmp_path, {"events.csv": "id,event,at,n\np1,seen,2024-01-01,1\n"}, EVENTS)
    folder = folder_of(Pipeline.load(path), None)
    with Journal.open(folder) as journal:
        one = Begun(journal, path, folder)
        one.begin()
        one.settle(1, 2)
        one.catch_up()
        assert not (folder / SNAPSHOT_FILE).exists()
