"""One run, killed at random times until it is done: nothing is lost, nothing stored twice.

`KILLS=100 make test ARGS="-k storm"` kills more often, `SEED=8` at other times, and `make storm`
does both.
"""

import os
import random
import re
import time

from tests.support.checker import check
from tests.support.programs import until
from tests.support.storms import LATENCY_S, storm_faults
from tests.support.worlds import invent

KILLS = int(os.environ.get("KILLS", "8"))
SEED = int(os.environ.get("SEED", "7"))
ROWS_A_KILL = int(os.environ.get("ROWS_A_KILL", "1750"))
FILLING_BYTES = 3_500_000 // ROWS_A_KILL
"""So much that a run never comes to its end between two kills."""

CONCURRENCY = 2
REQUESTS_OF_A_START = 2
"""The region lookup and the first batch: from then on rows are in flight."""

REQUESTS_MORE_MAX = 9

ROWS_A_BATCH_MAX = 500_000 // FILLING_BYTES
PEOPLE = 500


def test_a_run_that_is_killed_again_and_again(tmp_path, start_sending, sandbox, record_property):
    """SIGKILL at any moment, the same command again: every event once, everybody as they are."""
    dice = random.Random(SEED)
    rows = KILLS * ROWS_A_KILL
    world = invent(tmp_path, SEED, people=PEOPLE, events=rows, filling_bytes=FILLING_BYTES)
    sandbox.misbehave(*storm_faults(random.Random(SEED), KILLS), seed=SEED)

    said: list[str] = []
    while len(said) < KILLS:
        command = start_sending(world.pipeline, "--concurrency", str(CONCURRENCY))
        _wait_for_a_moment(sandbox, dice)
        ended = command.kill()
        assert ended.code == -9, ended.stderr
        said.append(ended.stderr)
    done = start_sending(world.pipeline).ended(timeout_s=120)

    arrived = check(world, sandbox, done.summary, tmp_path / ".backfill" / f"world-{SEED}")
    fired = sandbox.fired()
    announced = [_in_doubt(each) for each in [*said, done.stderr]]
    applied_and_lost = fired[1] + fired[3]
    sent_twice = arrived["event duplicate"] + arrived["identify applied"] - PEOPLE
    in_flight = sum(map(bool, announced))
    record_property("kills", len(said))
    record_property("kills with rows in flight", in_flight)
    record_property("rows", world.rows)
    record_property("faults", sum(fired))
    record_property("arrivals", arrived.total())
    record_property("sent twice", sent_twice)
    assert sent_twice <= sum(announced) + applied_and_lost * ROWS_A_BATCH_MAX
    assert all(fired), "too few requests: a kind of fault never happened"
    assert in_flight, "too few kills: none came while rows were in flight"
    assert sent_twice, "too few kills: nothing was sent twice"


def _in_doubt(said):
    """How many rows a start told of that may be sent twice."""
    found = re.search(r"up to ([\d,]+) rows may be sent twice", said)
    return int(found[1].replace(",", "")) if found else 0


def _wait_for_a_moment(sandbox, dice):
    """Most kills come while rows are sent; some at the start, when a crash is recovered from.

    The sandbox counts, not the clock: a slow machine is killed at the same times. Requests of
    the process that was killed before may still come in.
    """
    before = sandbox.stats()["requests"]
    if dice.random() < 0.15:
        time.sleep(dice.uniform(0.0, 0.3))
        return
    requests = CONCURRENCY + REQUESTS_OF_A_START + dice.randrange(REQUESTS_MORE_MAX)
    until(lambda: sandbox.stats()["requests"] >= before + requests)
    time.sleep(dice.uniform(0.0, LATENCY_S))
