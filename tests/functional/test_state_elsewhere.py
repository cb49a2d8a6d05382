"""State in a bucket: pods without a disk go on where others were killed; one runs, never two."""

import os
import random
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.support import stores
from tests.support.checker import check
from tests.support.jobs import EVENTS, job, numbered
from tests.support.programs import until
from tests.support.worlds import invent

ENV = stores.ENVIRONMENT
PACE = (0.25, 1.2, 1.6)
"""Beats, the end of sending and takeover, in seconds: a fortieth of what users have."""


@pytest.fixture(scope="module")
def s3():
    """A store for all tests of this file."""
    with stores.s3() as place:
        yield place


@pytest.fixture
def bucket(s3, request):
    """A folder of it where nothing is yet."""
    return s3.below(f"{request.node.name}/".replace("[", "-").replace("]", ""))


def elsewhere(place) -> tuple[str, str]:
    """The lines of a pipeline file: at its top, and its storage."""
    return f'state = "{place.base}jobs"', f"[storage]\n{place.settings}\n"


def test_a_job_goes_on_from_another_machine(tmp_path, bucket, send, sandbox):
    """No disk is shared: what the first machine sent is not sent again by the second."""
    top, storage = elsewhere(bucket)
    machines = [tmp_path / "first", tmp_path / "second"]
    for each in machines:
        each.mkdir()
        job(each, {"events.csv": numbered(20)}, storage, EVENTS, top=top)

    first = send(machines[0] / "pipeline.toml", env=ENV, pace=PACE)
    second = send(machines[1] / "pipeline.toml", env=ENV, pace=PACE)

    assert (first.code, second.code) == (0, 0)
    assert first.summary["delivered"] == second.summary["delivered"] == 20
    assert second.summary["this_run"]["delivered"] == 0
    assert len(sandbox.events()) == 20
    assert not list(tmp_path.rglob(".backfill"))


KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("SEED", "7"))
ROWS_A_KILL = 1_500
FILLING_BYTES = 2_000
LATENCY_S = 0.1


def test_pods_that_are_killed_again_and_again(
    tmp_path, bucket, start_sending, sandbox, record_property
):
    """SIGKILL at any moment, an empty disk at each start: nothing lost, nothing twice."""
    dice = random.Random(SEED)
    world = invent(
        tmp_path, SEED, people=100, events=KILLS * ROWS_A_KILL, filling_bytes=FILLING_BYTES
    )
    top, storage = elsewhere(bucket)
    text = world.pipeline.read_text("utf-8")
    world.pipeline.write_text(f"{top}\n{text}\n{storage}", "utf-8")
    sandbox.misbehave({"kind": "latency", "seconds": LATENCY_S, "method": "POST"}, seed=SEED)

    def started():
        disk = tmp_path / "disk"
        shutil.rmtree(disk, ignore_errors=True)
        disk.mkdir()
        env = {**ENV, "TMPDIR": str(disk)}
        return start_sending(world.pipeline, "--concurrency", "2", env=env, pace=PACE)

    said: list[str] = []
    while len(said) < KILLS:
        before = sandbox.stats()["requests"]
        command = started()
        requests = dice.randrange(1, 12)
        until(lambda now=before + requests: sandbox.stats()["requests"] >= now)
        time.sleep(dice.uniform(0.0, LATENCY_S))
        ended = command.kill()
        assert ended.code == -9, ended.stderr
        said.append(ended.stderr)
    done = started().ended(timeout_s=120)

    left = Path(tmp_path / "results")
    left.mkdir()
    with_rejections = done.summary["rejected"] > 0
    for name in ["rejected.jsonl"] * with_rejections:
        (left / name).write_bytes(bucket.get(f"jobs/world-{SEED}/{name}"))
    arrived = check(world, sandbox, done.summary, left)
    announced = [_may_repeat(each) for each in [*said, done.stderr]]
    sent_twice = arrived["event duplicate"] + arrived["identify applied"] - len(world.people)
    record_property("kills of pods", len(said))
    record_property("kills of pods with rows in flight", sum(map(bool, announced)))
    record_property("rows sent twice after the kill of a pod", sent_twice)
    assert sent_twice <= sum(announced)
    assert sum(map(bool, announced)) > KILLS / 2, "too few kills while rows were in flight"
    assert all("taken over from" in each for each in [*said[1:], done.stderr])


def _may_repeat(said):
    """How many rows a start told of that may be sent twice."""
    found = re.search(r"up to ([\d,]+) rows may be sent twice", said)
    return int(found[1].replace(",", "")) if found else 0
