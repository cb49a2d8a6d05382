"""What is lost of a job's state between two calls: noticed and told, or of no account.

Files of the plan are in `test_damaged_plans.py`. What nobody can notice: the lock's note and a part
of the journal lost together. Then rows are sent again under the same ids, as after any loss.
"""

import shutil
from pathlib import Path

import pytest

from backfill.commands.retry import retry_mode
from backfill.commands.run import RUN
from backfill.commands.sync import SYNC
from backfill.errors import ExitCode
from backfill.rejected.writer import OWN_COLUMNS
from tests.support.fake_delivery import FakeDelivery
from tests.support.jobs import AGES, EVENTS, HEADER, job, numbered
from tests.support.runs import Noting, run_in_no_time

V1 = '[destination]\napi = "v1"\n'
ROWS = 60
EARLY, LATE = 20, 45
"""When the state is copied: before these requests are answered."""


def _ids(delivery: FakeDelivery) -> set[str]:
    return {each["id"] for each in delivery.operations}


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A job, its state when it was killed and some time before, and the ids that were sent."""
    folder = tmp_path_factory.mktemp("history")
    pipeline = job(folder, {"events.csv": numbered(ROWS)}, V1, EVENTS)
    sent: dict[str, set[str]] = {}

    def copied(number, _):
        if number in (EARLY, LATE):
            name = "early" if number == EARLY else "late"
            shutil.copytree(folder / ".backfill", folder / name)
            sent[name] = _ids(delivery)

    delivery = FakeDelivery(latency_s=0.1, on_dispatch=copied, concurrency=2)
    assert run_in_no_time(pipeline, delivery).exit == ExitCode.DELIVERED
    shutil.rmtree(folder / ".backfill")
    (folder / "late").rename(folder / ".backfill")
    return folder, sent["late"], _ids(delivery)


@pytest.fixture
def killed(tmp_path, history):
    """The same, for one test."""
    folder, sent, every = history
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return tmp_path / "pipeline.toml", sent, every


def _resumed(pipeline, sent, every):
    """The next start; whatever it was told, all rows arrive, and it said how many may be twice."""
    delivery = FakeDelivery()
    ran = run_in_no_time(pipeline, delivery)
    assert ran.exit == ExitCode.DELIVERED
    assert sent | _ids(delivery) == every
    doubt = ran.observer.started.doubt
    return doubt, len(sent & _ids(delivery))


def _nothing(_: Path) -> None:
    """All is as it was left."""


def _no_log(folder: Path) -> None:
    (folder / "state.db-wal").unlink()


def _half_a_log(folder: Path) -> None:
    log = folder / "state.db-wal"
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])


def _zeros(folder: Path) -> None:
    log = folder / "state.db-wal"
    log.write_bytes(bytes(log.stat().st_size))


def _no_journal(folder: Path) -> None:
    (folder / "state.db").unlink()


def _backup(folder: Path) -> None:
    for name in ("state.db", "state.db-wal"):
        shutil.copy2(folder.parent.parent / "early/job" / name, folder / name)


NOTICED = [_no_log, _half_a_log, _zeros, _no_journal, _backup]


@pytest.mark.parametrize("lose", NOTICED)
def test_a_lost_piece_of_the_journal_is_told(tmp_path, killed, lose):
    """How many commits are missing, and how many rows may be sent twice: those, and no more."""
    lose(tmp_path / ".backfill/job")

    doubt, repeated = _resumed(*killed)

    assert doubt.lost_commits > 0
    assert 0 < repeated <= doubt.rows <= ROWS
    again = run_in_no_time(killed[0], FakeDelivery()).observer.started.doubt
    assert (again.rows, again.lost_commits) == (0, 0)


def test_a_loss_is_told_until_rows_were_sent(tmp_path, killed):
    """Whoever says no at first, or is stopped by a guard, hears of it again."""
    _no_log(tmp_path / ".backfill/job")
    for _ in range(2):
        stopped = run_in_no_time(killed[0], FakeDelivery(), observer=Noting(agrees=False))
        assert stopped.exit == ExitCode.INTERRUPTED

    doubt, repeated = _resumed(*killed)

    assert doubt.lost_commits > 0
    assert repeated <= doubt.rows


@pytest.mark.parametrize(("only_rejected", "limit"), [(False, EARLY), (True, None)])
def test_a_loss_is_told_until_all_rows_were_sent(tmp_path, killed, only_rejected, limit):
    """A limited run and a retry send a part of them; the rest is in doubt as before."""
    _no_log(tmp_path / ".backfill/job")
    fixed = tmp_path / "fixed.csv"
    fixed.write_text(",".join([HEADER.strip(), *OWN_COLUMNS]) + "\n")
    mode = retry_mode(fixed) if only_rejected else RUN
    part = run_in_no_time(killed[0], FakeDelivery(), mode, limit=limit)
    assert part.exit == (ExitCode.UNAVAILABLE if only_rejected else ExitCode.DELIVERED)

    doubt, repeated = _resumed(*killed)

    assert doubt.lost_commits > 0
    assert repeated <= doubt.rows


VIEWS = ("status.json", "course.json", "summary.json", "report.html", ".rejected.sha256", "lock")


CONTENTS = [None, b"", b"\xff{\x00", b"[" * 100_000]


@pytest.mark.parametrize("content", CONTENTS, ids=["gone", "empty", "damaged", "deep"])
def test_a_lost_view_of_the_journal_costs_nothing(tmp_path, killed, content):
    """No more rows are sent again than after the kill alone; the lock's note is only missed."""
    for path in (tmp_path / ".backfill/job" / name for name in VIEWS):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)

    doubt, repeated = _resumed(*killed)

    assert doubt.lost_commits == 0
    assert repeated <= doubt.rows < ROWS - EARLY


def test_a_kill_leaves_few_rows_in_doubt(killed):
    """What the tests above compare with."""
    doubt, repeated = _resumed(*killed)

    assert doubt.lost_commits == 0
    assert repeated <= doubt.rows < ROWS - EARLY


def test_what_nobody_notices_repeats_ids(tmp_path, killed):
    """Without the lock's note a lost log is not missed: the same ids are sent, and no others."""
    _no_log(tmp_path / ".backfill/job")
    (tmp_path / ".backfill/job/lock").unlink()

    doubt, repeated = _resumed(*killed)

    assert doubt.lost_commits == 0
    assert repeated > 0


# The record of people


def _export(folder, *rows):
    (folder / "customers.csv").write_text("id,age\n" + "".join(f"{each}\n" for each in rows))


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory):
    """A job after two nights, with its state after the first; p1 and p2 are known, then p3."""
    folder = tmp_path_factory.mktemp("nights")
    allowed = '[source.sync]\nvanished = "delete"\ndeletes_max = 10\nrows_change_max = "100%"\n'
    pipeline = job(folder, {"customers.csv": "id,age\np1,1\np2,2\n"}, AGES + allowed)
    assert run_in_no_time(pipeline, FakeDelivery(), SYNC).exit == ExitCode.DELIVERED
    shutil.copytree(folder / ".backfill/job", folder / "first")
    _export(folder, "p1,1", "p2,2", "p3,3")
    assert run_in_no_time(pipeline, FakeDelivery(), SYNC).exit == ExitCode.DELIVERED
    return folder


@pytest.fixture
def nights(tmp_path, two_nights):
    """The same, for one test."""
    shutil.copytree(two_nights, tmp_path, dirs_exist_ok=True)
    return tmp_path / "pipeline.toml"


def _third(pipeline):
    """The third night, on which p2 and p3 are gone: what is sent, and what is told."""
    _export(pipeline.parent, "p1,1")
    delivery = FakeDelivery()
    ran = run_in_no_time(pipeline, delivery, SYNC)
    assert ran.exit == ExitCode.DELIVERED
    said = {(each["action"], each["identifiers"]["id"]) for each in delivery.operations}
    return said, ran.observer.plan.notes


GONE = {("delete", "p2"), ("delete", "p3")}


def test_a_night_as_it_should_be_has_nothing_to_tell(nights):
    """Only the differences are sent."""
    assert _third(nights) == (GONE, [])


@pytest.mark.parametrize(
    ("lost", "from_backup", "deleted"),
    [
        ("snapshot.duckdb", False, set()),
        ("snapshot.duckdb", True, {("delete", "p2")}),
        ("state.db", False, GONE),
        ("state.db", True, GONE),
    ],
)
def test_a_lost_record_of_people_is_told(tmp_path, nights, lost, from_backup, deleted):
    """Everyone is sent once more; who is not in the record can be missed by nobody."""
    path = tmp_path / ".backfill/job" / lost
    path.unlink()
    if from_backup:
        shutil.copy2(tmp_path / "first" / lost, path)

    said, notes = _third(nights)

    assert said == {("identify", "p1")} | deleted
    (note,) = notes
    assert "snapshot.duckdb or the journal is not as the last run left it" in note
    _export(tmp_path, "p1,1")
    assert _third(nights) == (set(), [])


@pytest.mark.parametrize("cut_at", [0, 300_000])
def test_a_damaged_record_of_people_is_refused(tmp_path, nights, cut_at):
    """6, with the file and what its removal means; nothing is sent."""
    path = tmp_path / ".backfill/job/snapshot.duckdb"
    path.write_bytes(path.read_bytes()[:cut_at])
    delivery = FakeDelivery()

    refused = run_in_no_time(nights, delivery, SYNC)

    assert refused.exit == ExitCode.STATE
    assert "snapshot.duckdb" in refused.error.what
    assert "remove it: the next sync sends everyone once more" in refused.error.next_step
    assert delivery.batches == []
