"""What stands in a job's state folder is never followed elsewhere, for writing or for removing."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from backfill.errors import StateError
from backfill.journal import Journal, forget
from tests.support.jobs import AGES, CUSTOMERS, EVENTS, job, numbered, people


@pytest.fixture
def precious(tmp_path) -> Path:
    """A folder of somebody else's, with what a careless program would take for its own."""
    folder = tmp_path / "precious"
    (folder / ("0" * 24)).mkdir(parents=True)
    (folder / ("0" * 24) / "plan.json").write_text("{}")
    (folder / "thesis.txt").write_text("years of work")
    (folder / "2001-01-01T000000.000Z-1.json").write_text("{}")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("command", ["run", "check", "plan"])
def test_a_link_in_place_of_the_plans_is_refused(
    tmp_path, start_sending, backfill, precious, command
):
    """6, and what it leads to is as it was."""
    pipeline = job(tmp_path, {"events.csv": numbered(5)}, EVENTS)
    (tmp_path / ".backfill/job").mkdir(mode=0o700, parents=True)
    (tmp_path / ".backfill/job/plan").symlink_to(precious)
    before = content(precious)

    if command == "run":
        ended = start_sending(pipeline).ended()
    else:
        ended = backfill(command, pipeline, "--json", cwd=tmp_path)

    assert ended.code == 6
    assert "plan: is a link" in ended.stderr
    assert "move it away" in ended.stderr
    assert content(precious) == before


def test_a_link_in_place_of_one_plan_is_refused(tmp_path, send, precious):
    """The same, one folder deeper, where the next start would write what it plans anew."""
    files = {"events.csv": numbered(5), "customers.csv": people("p0", "p1")}
    pipeline = job(tmp_path, files, CUSTOMERS, EVENTS + 'unknown_people = "send"\n')
    send(pipeline, "--limit", "1")
    (plan,) = (tmp_path / ".backfill/job/plan").iterdir()
    shutil.rmtree(plan)
    plan.symlink_to(precious)
    before = content(precious)

    ended = send(pipeline, "--limit", "1")

    assert ended.code == 6
    assert content(precious) == before


def test_files_that_are_not_ours_among_the_plans_stay(tmp_path, send):
    """Only what a plan left behind is removed."""
    pipeline = job(tmp_path, {"events.csv": numbered(5)}, EVENTS)
    plans = tmp_path / ".backfill/job/plan"
    (plans / "notes").mkdir(mode=0o700, parents=True)
    (plans.parent).chmod(0o700)
    (plans / "notes/a.txt").write_text("mine")
    (plans / f"{'0' * 24}.1").mkdir()

    assert send(pipeline).code == 0

    assert (plans / "notes/a.txt").read_text() == "mine"
    assert not (plans / f"{'0' * 24}.1").exists()


@pytest.fixture
def night(tmp_path, send):
    """A job that was synced once, with something of everything in its folder."""
    files = {"customers.csv": "id,age\np1,1\np2,young\n"}
    pipeline = job(tmp_path, files, AGES, top="keep_runs = 1")
    assert send(pipeline, command="sync").code == 3
    return pipeline


def linked(path: Path, precious: Path) -> None:
    """A link to what was there, moved away."""
    path.rename(precious / "moved")
    path.symlink_to(precious / "moved")


def dangling(path: Path, precious: Path) -> None:
    """A link to where nothing is yet."""
    removed(path)
    path.symlink_to(precious / "new")


def named_twice(path: Path, precious: Path) -> None:
    """A file that has another name elsewhere, too."""
    removed(path)
    path.hardlink_to(precious / "thesis.txt")


def piped(path: Path, _: Path) -> None:
    """A pipe, whose reader waits for ever."""
    removed(path)
    os.mkfifo(path)


def listening(path: Path, _: Path) -> None:
    """A socket."""
    removed(path)
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as it:
        it.bind(f"/proc/self/fd/{folder}/{path.name}")  # whose own name may be too long for one
    os.close(folder)


def given_away(path: Path, _: Path) -> None:
    """A stranger's, such as a command under sudo leaves."""
    os.chown(path, 65534, -1)


def removed(path: Path) -> None:
    """Nothing is left of it."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


TRICKS = [linked, dangling, named_twice, piped, listening]
if os.geteuid() == 0:  # nobody else can give files away
    TRICKS.append(given_away)
SIDE_FILES = ("state.db-wal", "state.db-journal", "snapshot.duckdb.wal")
"""What a killed process leaves, besides."""


@pytest.mark.parametrize("trick", TRICKS)
def test_nothing_stands_in_the_state_but_files_and_folders_of_ours(night, precious, trick):
    """Each entry that a job has, at every depth: refused, named, and nothing is written by it."""
    folder = night.parent / ".backfill/job"
    kept = night.parent / "kept"
    folder.rename(kept)
    entries = [str(path.relative_to(kept)) for path in kept.rglob("*")] + [*SIDE_FILES]
    assert len(entries) > 20
    for entry in entries:
        shutil.copytree(kept, folder)
        path = folder / entry
        path.touch() if entry in SIDE_FILES else None
        trick(path, precious)
        before = content(precious)
        with pytest.raises(StateError, match=f"{path}: ") as caught:
            Journal.open(folder)
        assert "move it away" in caught.value.next_step
        with pytest.raises(StateError, match=f"{path}: "):
            forget(folder)
        assert content(precious) == before
        removed(precious / "moved") if trick is linked else None
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("entry", "command"),
    [
        ("lock", "run"),
        ("snapshot.duckdb", "sync"),
        (".rejected.sha256", "retry"),
        ("last_plan.json", "check"),
        ("state.db-journal", "plan"),
        ("course.json", "report"),
        ("status.json", "status"),
        ("history/2001.json", "status"),
    ],
)
def test_no_command_waits_for_a_pipe_in_the_state(night, backfill, sandbox, entry, command):
    """6, and the pipe is named."""
    path = night.parent / ".backfill/job" / entry
    piped(path, path)

    there = ("--url", sandbox.url) if command in ("run", "sync", "retry") else ()
    ended = backfill(command, night, *there)

    assert ended.code == 6
    assert f"{entry}: is neither a file nor a folder" in ended.stderr


@pytest.mark.parametrize(
    "entry", ["snapshot.duckdb", "summary.json", "rejected.jsonl", "report.html", "last_plan.json"]
)
def test_a_folder_in_place_of_a_file_is_left_alone(night, send, look, entry):
    """6 where it is in the way, also of a fresh start; what is in it stays."""
    path = night.parent / ".backfill/job" / entry
    removed(path)
    path.mkdir()
    (path / "mine").write_text("precious")

    ends = {send(night, "--restart").code, look(night).code}

    assert 6 in ends <= {3, 6}
    assert (path / "mine").read_text() == "precious"


def test_a_list_of_digests_that_nobody_can_read_makes_every_file_the_users(night, send):
    """Nothing that may have been edited is overwritten."""
    folder = night.parent / ".backfill/job"
    (folder / ".rejected.sha256").write_bytes(b"\xff\x00")
    before = (folder / "rejected.csv").read_bytes()

    assert send(night, command="sync").code == 3

    assert (folder / "rejected.csv").read_bytes() == before
    assert (folder / "rejected.new.csv").exists()
