"""A job whose state is in a bucket: what is written when, and when sending must stop."""

import json
import shutil
import threading
from concurrent.futures import Executor, Future
from pathlib import Path
from threading import Event

import pytest

from backfill.engine.options import Options, Stop
from backfill.errors import (
    CredentialsError,
    InterruptedRunError,
    StateError,
    UnavailableError,
    UsageError,
)
from backfill.journal import Journal, Settlement
from backfill.pipeline.file import Pipeline
from backfill.remote_state.keeper import BucketKeeper, brought_here
from backfill.remote_state.lease import Head, Pace, take
from backfill.remote_state.mirror import Mirror
from backfill.sources.stores import ChangedObjectError
from backfill.sources.urls import ObjectUrl
from tests.support.jobs import EVENTS, job
from tests.support.virtual_store import StoreTime, VirtualStore

PLACE = ObjectUrl("s3", "acme", "jobs/job")
PACE = Pace()


class AtOnce(Executor):
    """An executor without threads."""

    def submit(self, fn, *args, **more):
        """Do it now."""
        done: Future = Future()
        done.set_result(fn(*args, **more))
        return done


@pytest.fixture
def store():
    """A bucket."""
    return VirtualStore(StoreTime())


@pytest.fixture
def kept(store, tmp_path):
    """A keeper, the journal that it keeps, and what stops their run."""
    clock = store.time.clock
    lease = take(store, PLACE.path, clock=clock, pace=PACE)
    stop = Stop()
    keeper = BucketKeeper(
        lease, Mirror(store, PLACE, tmp_path / "job"), clock, PACE, stop, AtOnce()
    )
    keeper.is_here = True
    with Journal.open(tmp_path / "job") as journal:
        journal.add_part("events.csv", source=0, size=1, digest="x")
        journal.commit()
        yield keeper, journal, stop


def head(store) -> Head:
    """What the lock says."""
    return Head.parse(store.get("jobs/job/lock").content, "")


def settle(journal, row: int) -> None:
    """One more row is delivered."""
    journal.settle(Settlement(1, [(row, row + 1)], delivered=1))
    journal.commit()


def settled_there(store, tmp_path) -> int:
    """How many rows the journal in the bucket has."""
    copy = tmp_path / "copy"
    Mirror(store, PLACE, copy).download(head(store).files)
    with Journal.open(copy) as journal:
        found = journal.settled(1).settled_count()
    shutil.rmtree(copy)
    return found


def pass_time(store, keeper, seconds: int) -> None:
    """Let a keeper do what is due in each second."""
    for _ in range(seconds):
        store.time.sleep(1.0)
        keeper.tick()


def test_all_is_there_before_the_first_request(store, kept, tmp_path):
    """The journal and the plan; from then on rows may have been sent."""
    keeper, journal, _ = kept
    (tmp_path / "job/plan/k").mkdir(parents=True)
    (tmp_path / "job/plan/k/people.parquet").write_bytes(b"people")

    keeper.before_sending(journal)

    assert head(store).files.keys() == {"state.db", "plan/k/people.parquet"}
    assert (head(store).sending, head(store).commits) == (True, journal.totals().commits)
    assert settled_there(store, tmp_path) == 0


def test_the_journal_is_written_every_ten_seconds_if_it_has_changed(store, kept, tmp_path):
    """Each copy is of a commit; the one before is removed."""
    keeper, journal, _ = kept
    keeper.before_sending(journal)
    written = set()
    for second in range(60):
        if second <= 30:
            settle(journal, second + 1)
            keeper.committed(journal)
        pass_time(store, keeper, 1)
        written.add(head(store).files["state.db"].key)

    assert len(written) == 1 + 3
    assert settled_there(store, tmp_path) == 31
    assert [key for key, _ in store.below("jobs/job/state")] == [head(store).files["state.db"].key]
    assert head(store).beat >= 6


def test_an_outage_stops_nothing_until_another_may_take_over(store, kept, tmp_path):
    """Then sending stops, with 75; what was settled meanwhile is written at the end."""
    keeper, journal, stop = kept
    keeper.before_sending(journal)
    store.is_out = True
    settle(journal, 1)
    pass_time(store, keeper, 44)
    stop.check()

    pass_time(store, keeper, 2)
    with pytest.raises(UnavailableError, match="could not be written for 45 s") as caught:
        stop.check()
    assert caught.value.exit_code == 75
    with pytest.raises(UnavailableError):
        keeper.committed(journal)

    store.is_out = False
    journal.close()
    keeper.let_go()
    assert not head(store).held
    assert settled_there(store, tmp_path) == 1


def test_a_short_outage_is_nothing(store, kept, tmp_path):
    """What was not written is written later."""
    keeper, journal, stop = kept
    keeper.before_sending(journal)
    pass_time(store, keeper, 11)
    store.is_out = True
    settle(journal, 1)
    keeper.committed(journal)
    pass_time(store, keeper, 30)
    store.is_out = False
    settle(journal, 2)
    pass_time(store, keeper, 12)
    keeper.committed(journal)
    pass_time(store, keeper, 2)

    stop.check()
    assert settled_there(store, tmp_path) == 2


def test_a_keeper_that_was_taken_over_stops_and_writes_nothing(store, kept, tmp_path):
    """Neither the state nor the results of whoever goes on."""
    keeper, journal, stop = kept
    keeper.before_sending(journal)
    store.time.sleep(61.5)
    other = take(store, PLACE.path, clock=store.time.clock, pace=PACE)
    (tmp_path / "job/summary.json").write_text("{}")

    keeper.tick()
    with pytest.raises((StateError, UnavailableError)):
        stop.check()
    journal.close()
    with pytest.raises(StateError, match="taken over by"):
        keeper.let_go()

    assert head(store).token == other.head.token
    assert store.get("jobs/job/summary.json") is None
    assert settled_there(store, tmp_path) == 0


# The whole of it


@pytest.fixture
def pipeline(tmp_path):
    """A pipeline whose state is in a bucket."""
    file = job(tmp_path, {"events.csv": "id,event,at\n"}, EVENTS, top='state = "s3://acme/jobs"')
    return Pipeline.load(file)


def at_home(store, pipeline, options=None, stop=None):
    """Bring a job's state here."""
    return brought_here(
        pipeline.state,
        pipeline,
        options or Options(),
        stop or Stop(),
        clock=store.time.clock,
        connect=lambda *_: store,
    )


def test_what_is_left_in_the_folder_is_there_again(store, pipeline):
    """State and results, whatever they are; what is removed stays removed."""
    with at_home(store, pipeline) as here:
        folder = Path(here.state_dir) / "job"
        Journal.open(folder).close()
        (folder / "extracts/k").mkdir(parents=True)
        (folder / "extracts/k/0.parquet").write_bytes(b"rows")
        (folder / "extracts/k2.part").mkdir()
        (folder / "extracts/k2.part/0.parquet").write_bytes(b"half")
        (folder / "rejected.csv").write_bytes(b"a")
        (folder / "snapshot.duckdb").write_bytes(b"x" * 20_000_000)
    assert not folder.exists()
    assert {"rejected.csv", "lock"} <= {k.removeprefix("jobs/job/") for k, _ in store.below("jobs")}

    with at_home(store, pipeline) as here:
        folder = Path(here.state_dir) / "job"
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
        assert {"state.db", "rejected.csv", "extracts/k/0.parquet", "snapshot.duckdb"} <= found
        assert "extracts/k2.part" not in found
        assert (folder / "snapshot.duckdb").stat().st_size == 20_000_000
        (folder / "rejected.csv").unlink()
        (folder / "extracts/k/0.parquet").unlink()

    assert "jobs/job/rejected.csv" not in dict(store.below("jobs"))
    assert not any("extracts" in key for key, _ in store.below("jobs"))


def test_who_may_not_delete_keeps_the_state_all_the_same(store, pipeline, monkeypatch):
    """4 names the result that is out of date; the lock is let go, and nothing is sent again."""
    with at_home(store, pipeline) as here:
        Path(here.state_dir, "job", "rejected.csv").write_bytes(b"a")

    def refuse(path):
        raise CredentialsError(f"{path}: access was refused: HTTP status 403")

    def end(folder):
        Journal.open(folder).close()
        (folder / "rejected.csv").unlink()

    monkeypatch.setattr(store, "remove", refuse)
    with (
        pytest.raises(CredentialsError, match=r"job/rejected\.csv: is out of date") as caught,
        at_home(store, pipeline) as here,
    ):
        end(Path(here.state_dir) / "job")

    assert caught.value.exit_code == 4
    assert not head(store).held
    assert "state.db" in head(store).files


def test_a_body_that_fails_lets_go_all_the_same(store, pipeline):
    """Its own error is told, and what it did is kept."""

    def fail(folder):
        (folder / "job/summary.json").write_text("{}")
        raise InterruptedRunError("interrupted")

    with pytest.raises(InterruptedRunError), at_home(store, pipeline) as here:
        fail(Path(here.state_dir))

    assert not head(store).held
    assert store.get("jobs/job/summary.json").content == b"{}"


def test_an_end_that_cannot_be_written_is_75(store, pipeline):
    """Whatever the run said: the next start has to send a part of it again."""
    with pytest.raises(UnavailableError), at_home(store, pipeline):
        store.is_out = True


def test_a_file_that_is_not_as_it_was_written_is_refused(store, pipeline):
    """Before anything is sent: 6, and the lock is let go; --restart goes on without it."""
    with at_home(store, pipeline) as here:
        Journal.open(Path(here.state_dir) / "job").close()
    key = head(store).files["state.db"].key
    store.put(key, b"something else")

    for _ in range(2):
        with pytest.raises(StateError, match="not as it was written"), at_home(store, pipeline):
            pass
        assert not head(store).held
    with at_home(store, pipeline, Options(restart=True)) as here:
        assert not (Path(here.state_dir) / "job/state.db").exists()


def test_a_failed_download_leaves_nobody_writing(store, tmp_path, monkeypatch):
    """The folder is removed at once: who still wrote to it would make that fail."""
    for name in ("a", "b"):
        store.put(f"jobs/job/{name}", b"x")
    has_begun, has_failed, has_ended = Event(), Event(), Event()

    def read(path, *_):
        if path.endswith("a"):
            has_begun.wait(10)
            has_failed.set()
            raise ChangedObjectError
        has_begun.set()
        has_failed.wait(10)
        threading.Timer(0.05, has_ended.set).start()
        has_ended.wait(10)
        return b"x"

    monkeypatch.setattr(store, "read", read)
    with pytest.raises(UnavailableError, match="a: changed each time"):
        Mirror(store, PLACE, tmp_path / "job").download({})
    assert has_ended.is_set()


@pytest.mark.parametrize("then", [b"two, and longer", b"2", None])
def test_a_result_that_changes_while_it_is_read_is_read_anew(store, tmp_path, monkeypatch, then):
    """Whoever was taken over writes its status once more; people may put a file in place."""
    path = "jobs/job/status.json"
    store.put(path, b"one")
    read = store.read

    def changed(*asked):
        monkeypatch.undo()
        store.remove(path) if then is None else store.put(path, then)
        return read(*asked)

    monkeypatch.setattr(store, "read", changed)
    Mirror(store, PLACE, tmp_path / "job").download({})

    here = tmp_path / "job/status.json"
    assert (here.read_bytes() if here.exists() else None) == then


def test_an_object_below_another_is_named(store, pipeline):
    """6: no folder can hold both."""
    store.put("jobs/job/history", b"x")
    store.put("jobs/job/history/y", b"x")
    with (
        pytest.raises(StateError, match=r"job/history.*below another"),
        at_home(store, pipeline),
    ):
        pass
    assert not head(store).held


def test_what_others_keep_below_a_job_stays_there(store, pipeline):
    """An export in the job's folder would fill the disk of each pod; nobody reads it there."""
    others = {f"jobs/job/{each}" for each in ("export/big.csv", "x" * 300, "rejected.csv/y")}
    for each in others:
        store.put(each, b"x")
    with at_home(store, pipeline) as here:
        assert not list(Path(here.state_dir, "job").rglob("*[xy]*"))

    assert others <= dict(store.below("jobs")).keys()


def test_a_state_whose_lock_was_removed_is_not_taken_for_none(store, pipeline):
    """It would be sent again as a whole: 6, each time; --restart wants just that."""
    with at_home(store, pipeline) as here:
        Journal.open(Path(here.state_dir) / "job").close()
    store.remove("jobs/job/lock")

    for _ in range(2):
        with pytest.raises(StateError, match="its lock was removed"), at_home(store, pipeline):
            pass
    with at_home(store, pipeline, Options(restart=True)):
        pass


def test_a_name_that_leads_out_of_the_folder_is_not_followed(store, pipeline, tmp_path):
    """Whoever may write to the bucket may not write to this machine."""
    with at_home(store, pipeline):
        pass
    stolen = json.loads(store.get("jobs/job/lock").content)
    stolen["files"] = {"../../evil": {"key": "jobs/job/lock", "size": 1, "digest": ""}}
    store.put("jobs/job/lock", json.dumps(stolen).encode())

    with pytest.raises(StateError), at_home(store, pipeline):
        pass
    assert not list(tmp_path.rglob("evil"))


def test_waiting_for_a_silent_holder_ends_when_it_is_asked_to(store, pipeline):
    """Ctrl-C is not answered after a minute."""
    take(store, PLACE.path, clock=store.time.clock, pace=PACE)
    stop = Stop()
    store.time.at(5.0, lambda: stop(InterruptedRunError("interrupted")))

    with pytest.raises(InterruptedRunError), at_home(store, pipeline, stop=stop):
        pass

    assert store.time.now_s < 1_010


@pytest.mark.parametrize(
    ("files", "is_refused"),
    [
        ("s3://acme/**/*.csv", True),
        ("s3://acme/jobs/*/rej*.csv", True),
        ("s3://acme/jobs/**/*.parquet", True),
        ("s3://acme/jobs/**", True),
        ("s3://acme/jobs/*.csv", False),
        ("s3://other/**/*.csv", False),
        ("s3://acme/jobs/job/rejected.csv", False),
    ],
)
def test_a_job_does_not_read_what_it_writes(store, pipeline, files, is_refused):
    """Its rejected rows would be sent the next night; 2, before the lock is taken."""
    source = pipeline.sources[0].model_copy(update={"files": (files,)})
    given = pipeline.model_copy(update={"sources": (source,)})
    if not is_refused:
        with at_home(store, given):
            return
    with pytest.raises(UsageError, match="finds the job's own files"), at_home(store, given):
        pass
    assert store.get("jobs/job/lock") is None
