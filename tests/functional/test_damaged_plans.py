"""What the send pass reads beside the journal is proved before a row is sent by it."""

import shutil
from pathlib import Path

import pytest

from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job
from tests.support.programs import until

V1 = '[destination]\napi = "v1"'
SLOW = {"kind": "latency", "seconds": 0.05, "method": "POST"}
EVENTS_KEPT = EVENTS + 'identical_rows = "keep"\nunknown_people = "reject"\n'
PEOPLE, COPIES = 30, 40
FILES = {
    # Everybody has two rows, which are merged into one.
    "customers.csv": "id,a,b\n" + "".join(f"p{n % PEOPLE},{n},\n" for n in range(2 * PEOPLE)),
    # Every event is there twice, and each tenth is about nobody.
    "events.csv": HEADER
    + "".join(
        f"{'q' if n % 10 == 0 else 'p1'},seen,2024-01-01T00:00:{n // 2 % 60:02}Z,{n // 2}\n"
        for n in range(2 * COPIES)
    ),
}


def removed(path: Path) -> None:
    """The file is gone."""
    path.unlink()


def emptied(path: Path) -> None:
    """The file system kept the name alone, as after a power cut."""
    path.write_bytes(b"")


def cut(path: Path) -> None:
    """The file's end is missing."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    """One bit of it has changed."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def stored(folder: Path) -> list[Path]:
    """The files of the only plan that is kept."""
    (plan,) = (folder / ".backfill/job/plan").iterdir()
    return sorted(path for path in plan.rglob("*") if path.is_file())


@pytest.fixture
def cut_short(tmp_path, start_sending, sandbox):
    """A job whose run was killed while it sent; gives its pipeline file."""
    sandbox.misbehave(SLOW)
    pipeline = job(tmp_path, FILES, V1, CUSTOMERS, EVENTS_KEPT)
    command = start_sending(pipeline, "--concurrency", "1")
    until(lambda: sandbox.stats()["operations"] > PEOPLE + 3)
    command.kill()
    sandbox.misbehave()
    return pipeline


def test_a_plan_that_rows_went_by_must_be_whole(tmp_path, cut_short, send, sandbox):
    """Whatever happened to any of its files: 6, nothing is sent, and the file is named."""
    assert {path.parent.name for path in stored(tmp_path)} >= {"decisions", "merged"}
    for path in stored(tmp_path):
        for damage in (removed, emptied, cut, flipped):
            if path.stat().st_size == 0 and damage is not removed:
                continue
            content = path.read_bytes()
            damage(path)
            ended = send(cut_short)
            assert ended.code == 6, (path, damage)
            assert "Traceback" not in ended.stderr
            assert ended.summary["this_run"]["attempts"] == 0
            assert path.name in ended.stderr
            assert "--restart" in ended.stderr
            path.write_bytes(content)

    done = send(cut_short)

    assert done.code == 3
    assert done.summary["merged"] == PEOPLE
    assert done.summary["rejections_by_reason"] == {"unknown_person": 8}
    assert done.summary["delivered"] == PEOPLE + 72
    assert sandbox.stats()["events"] == 72


def test_a_plan_that_rows_went_by_must_be_there(tmp_path, cut_short, send):
    """A folder that is gone is not planned anew: other rows would be first, second, unknown."""
    shutil.rmtree(tmp_path / ".backfill/job/plan")

    ended = send(cut_short)

    assert ended.code == 6
    assert "--restart" in ended.stderr
    assert ended.summary["this_run"]["attempts"] == 0


@pytest.mark.parametrize("damage", [removed, emptied, cut, flipped])
def test_a_plan_that_nothing_was_sent_by_is_made_again(tmp_path, look, send, damage):
    """Also the one that `check` has left."""
    pipeline = job(tmp_path, FILES, V1, CUSTOMERS, EVENTS_KEPT)
    look(pipeline)
    for path in stored(tmp_path):
        if path.stat().st_size and path.name != "plan.json":
            damage(path)

    done = send(pipeline)

    assert done.code == 3
    assert done.summary["merged"] == PEOPLE
    assert done.summary["rejections_by_reason"] == {"unknown_person": 8}
