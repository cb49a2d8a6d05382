"""What stands in a job's state folder is never followed elsewhere, for writing or for removing."""

import shutil
from pathlib import Path

import pytest

from tests.support.jobs import CUSTOMERS, EVENTS, job, numbered, people


@pytest.fixture
def precious(tmp_path) -> Path:
    """A folder of somebody else's, with what a careless program would take for its own."""
    folder = tmp_path / "precious"
    (folder / ("0" * 24)).mkdir(parents=True)
    (folder / ("0" * 24) / "plan.json").write_text("{}")
    (folder / "thesis.txt").write_text("years of work")
    (folder / "2001-01-01T000000.000Z-1.json").write_text("{}")
    return folder


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_text()
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
    assert "plan: is a link or a file in the place of a folder" in ended.stderr
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


def test_a_link_in_place_of_the_history_is_not_followed(tmp_path, send, precious):
    """What ended is not written down then; the run itself goes on."""
    pipeline = job(tmp_path, {"events.csv": numbered(5)}, EVENTS, top="keep_runs = 1")
    (tmp_path / ".backfill/job").mkdir(mode=0o700, parents=True)
    (tmp_path / ".backfill/job/history").symlink_to(precious)
    before = content(precious)

    ended = send(pipeline)

    assert ended.code == 0
    assert content(precious) == before
