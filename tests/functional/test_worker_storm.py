"""One job, sent by workers of this machine and of a cluster, while all of them are killed.

Workers, schedulers, drivers, at random times, with faults on; `KILLS=25 make test ARGS="-k
worker_storm"` kills more often, `SEED=8` at other times, and `make storm` does both.
"""

import os
import random
import signal

import pytest

from tests.support.checker import check
from tests.support.farms import farm
from tests.support.programs import children, until
from tests.support.storms import storm_faults
from tests.support.worlds import invent

KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("SEED", "7"))
ROWS_A_KILL = int(os.environ.get("ROWS_A_KILL", "1750"))
FILLING_BYTES = 3_500_000 // ROWS_A_KILL
PEOPLE = 500
VICTIMS = ("driver", "worker", "scheduler", "all workers")
RESUMABLE = 75


class Storm:
    """A job that is started again and again, and who is killed meanwhile."""

    def __init__(self, start, pipeline, made, scratch) -> None:
        self._start, self._pipeline, self.farm, self._scratch = start, pipeline, made, scratch
        self.command, self.clustered = None, False
        self.killed: list[str] = []

    def begin(self, *, clustered: bool) -> None:
        """Start it."""
        self.clustered = clustered
        with_them = ("--workers", "2")
        if clustered:
            with_them = ("--cluster", self.farm.address, "--scratch", self._scratch)
        self.command = self._start(self._pipeline, "--concurrency", "4", *with_them)

    def kill(self, victim: str) -> None:
        """Kill somebody; nobody is left who would go on where that ends the run."""
        self.killed.append(victim)
        if victim == "driver":
            self.command.kill()
        elif victim == "scheduler":
            self.farm.kill()
            ended = self.command.ended(timeout_s=120)
            assert ended.code == RESUMABLE, ended.stderr
            self.farm.start()
        elif self.clustered:
            self.farm.kill_worker()
        else:
            for pid in children(self.command.pid)[: None if victim == "all workers" else 1]:
                os.kill(pid, signal.SIGKILL)
            return
        if victim in ("driver", "scheduler"):
            self.command = None


@pytest.mark.sends_together("requests of those who were killed may still come in")
def test_workers_schedulers_and_drivers_that_are_killed(
    tmp_path, start_sending, sandbox, clean_env, record_property
):
    """Every event once, everybody as they are: nothing lost, nothing stored twice."""
    dice = random.Random(SEED)
    rows = KILLS * ROWS_A_KILL
    world = invent(tmp_path, SEED, people=PEOPLE, events=rows, filling_bytes=FILLING_BYTES)
    sandbox.misbehave(*storm_faults(random.Random(SEED), KILLS), seed=SEED)
    with farm(clean_env) as made:
        storm = Storm(start_sending, world.pipeline, made, tmp_path / "scratch")
        while len(storm.killed) < KILLS:
            # The first few meet each kind of death; then chance has it.
            number = len(storm.killed)
            victim = VICTIMS[number] if number < len(VICTIMS) else dice.choice(VICTIMS)
            if storm.command is None or (victim == "scheduler" and not storm.clustered):
                if storm.command is not None:
                    storm.command.kill()
                storm.begin(clustered=victim == "scheduler" or dice.random() < 0.5)
            before, more = sandbox.stats()["requests"], dice.randrange(2, 9)
            until(
                lambda: (
                    sandbox.stats()["requests"] >= before + more  # noqa: B023
                    or not storm.command.state
                ),
                timeout_s=120,
            )
            assert storm.command.state, storm.command.ended().stderr
            storm.kill(victim)
        if storm.command is not None:
            storm.command.kill()
    done = start_sending(world.pipeline, "--workers", "2").ended(timeout_s=240)
    check(world, sandbox, done.summary, tmp_path / ".backfill" / f"world-{SEED}")
    record_property("kills of workers, schedulers and drivers", len(storm.killed))
    record_property("rows", world.rows)
    record_property("faults", sum(sandbox.fired()))
