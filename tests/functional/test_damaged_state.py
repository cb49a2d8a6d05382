"""Random damage to a killed job's state, the journal's own database aside; then the next start.

`DAMAGES=2000` damages more often, `SEED=8` other places, and `make storm` does both. Which losses
are told, and how, is in `test_lost_state.py` and `test_damaged_plans.py`.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from backfill.commands.run import RUN
from backfill.commands.sync import SYNC
from backfill.errors import ExitCode
from tests.support.checker import check_law, reported_in
from tests.support.fake_delivery import FakeDelivery
from tests.support.jobs import AGES, CUSTOMERS, EVENTS, HEADER, job
from tests.support.runs import Ran, run_in_no_time

DAMAGES = int(os.environ.get("DAMAGES", "20"))
SEED = int(os.environ.get("SEED", "7"))
KILLED_AT = (1, 9, 20, 33)
"""Before these requests are answered."""

V1 = '[destination]\napi = "v1"\n'
CHOICES = 'identical_rows = "keep"\nunknown_people = "reject"\n'
NIGHTLY = '[source.sync]\nvanished = "delete"\ndeletes_max = 10\nrows_change_max = "100%"\n'
FILES = {
    # Everybody has two rows, which are merged into one; every event is there twice.
    "customers.csv": "id,a,b\n" + "".join(f"p{n % 12},{n},\n" for n in range(24)),
    "events.csv": HEADER
    + "".join(
        f"{'q' if n % 10 == 0 else f'p{n % 12}'},seen,2024-01-01T00:00:{n // 2:02}Z,{n // 2}\n"
        for n in range(40)
    )
    + "p1,seen,never,0\n",
}


class Told:
    """What a workspace holds after some operations of v1."""

    def __init__(self, *deliveries: FakeDelivery) -> None:
        self.events: set[str] = set()
        self.people: dict[str, dict[str, Any]] = {}
        for each in (each for delivery in deliveries for each in delivery.operations):
            person = each["path"].split("/")[4]
            if each["path"].endswith("/events"):
                self.events.add(each["id"])
            elif each["method"] == "DELETE":
                self.people.pop(person, None)
            else:
                told = {key: value for key, value in each.items() if key not in ("method", "path")}
                self.people.setdefault(person, {}).update(told)


def removed(_content: bytes, _dice: Random) -> None:
    """The file is gone."""


def emptied(_content: bytes, _dice: Random) -> bytes:
    """The file system kept the name alone, as after a power cut."""
    return b""


def cut(content: bytes, dice: Random) -> bytes:
    """The file's end is missing."""
    return content[: dice.randrange(len(content))]


def flipped(content: bytes, dice: Random) -> bytes:
    """A bit has changed."""
    changed = bytearray(content)
    changed[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def zeroed(content: bytes, dice: Random) -> bytes:
    """From somewhere on there are zeros: the file system knew its length and not its content."""
    kept = dice.randrange(len(content))
    return content[:kept] + bytes(len(content) - kept)


KINDS: tuple[Callable[[bytes, Random], bytes | None], ...] = (
    removed,
    emptied,
    cut,
    flipped,
    zeroed,
)


def _damage(folder: Path, dice: Random) -> str:
    """Damage one file of a job's state."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    path = dice.choice([each for each in files if each.name != "state.db"])
    kind = dice.choice(KINDS)
    content = kind(path.read_bytes(), dice)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    return f"{kind.__name__} {path.relative_to(folder)}"


@pytest.fixture(scope="module", params=[RUN, SYNC], ids=["run", "sync"])
def killed(request, tmp_path_factory):
    """A job, its state and what was sent at several kills, and what comes of one that lived.

    Of the sync it is the second night that is killed: some have changed, some are gone.
    """
    folder, mode = tmp_path_factory.mktemp("killed"), request.param
    first = FakeDelivery(concurrency=2)
    if mode is SYNC:
        rows = "".join(f"p{n},{n}\n" for n in range(30))
        pipeline = job(folder, {"customers.csv": f"id,age\n{rows}"}, V1, AGES + NIGHTLY)
        assert run_in_no_time(pipeline, first, SYNC).exit == ExitCode.DELIVERED
        rows = "".join(f"p{n},{n + 7 * (n % 3)}\n" for n in range(4, 44))
        (folder / "customers.csv").write_text(f"id,age\n{rows}")
    else:
        pipeline = job(folder, FILES, V1, CUSTOMERS, EVENTS + CHOICES)
    state, kills = folder / ".backfill", []

    def copied(number, _):
        if number in KILLED_AT:
            shutil.copytree(state, folder / f"at-{number}")
            sent = FakeDelivery()
            sent.batches = [list(each) for each in delivery.batches]
            kills.append((folder / f"at-{number}", sent))

    delivery = FakeDelivery(latency_s=0.1, on_dispatch=copied, concurrency=2)
    whole = run_in_no_time(pipeline, delivery, mode)
    assert whole.error is None
    assert len(kills) == len(KILLED_AT)
    return pipeline, mode, first, kills, (whole, Told(first, delivery), reported_in(state / "job"))


def _resume(pipeline: Path, mode, delivery: FakeDelivery, **options) -> Ran:
    ran = run_in_no_time(pipeline, delivery, mode, **options)
    check_law(ran.summary.as_dict())
    assert ran.exit in (ExitCode.DELIVERED, ExitCode.REJECTIONS, ExitCode.STATE), ran.error
    return ran


def test_damage_is_made_good_or_refused(killed, record_property):
    """Every row arrives under its id, everybody is as they are, or 6 and nothing is sent.

    A sync may come upon a damaged page of its record of people as late as when it brings it up to
    date. Whoever is refused starts over, and then all is well, too; only who vanished from a
    sync's export is known to nobody after that.
    """
    pipeline, mode, first, kills, (whole, truth, reported) = killed
    state = pipeline.parent / ".backfill"
    refused = 0
    for number in range(DAMAGES // 2):
        dice = Random(f"{SEED} {number}")
        copy, sent = dice.choice(kills)
        shutil.rmtree(state)
        shutil.copytree(copy, state)
        what = f"seed {SEED}, {number}: {copy.name}, {_damage(state / 'job', dice)}"
        again = FakeDelivery()
        ran = _resume(pipeline, mode, again)
        if ran.exit == ExitCode.STATE:
            refused += 1
            assert mode is SYNC or not again.batches, what
            assert ran.error.next_step, what
            ran = _resume(pipeline, mode, again, restart=True)
        assert ran.exit == whole.exit, (what, ran.error)
        told = Told(first, sent, again)
        gone = told.people.keys() - truth.people.keys()
        assert told.events == truth.events, what
        assert {name: told.people.get(name) for name in truth.people} == truth.people, what
        assert not gone or mode is SYNC, (what, gone)
        assert reported_in(state / "job") == reported, what
        if not gone and mode is RUN:
            for name in ("delivered", "merged", "rejected"):
                assert getattr(ran.summary, name) == getattr(whole.summary, name), (what, name)
    record_property("damages", DAMAGES // 2)
    record_property("damages that were refused", refused)
