"""Two kinds of trouble at the same time, over a whole history: the promise holds.

`PAIRS=100 make test ARGS="-k pairs"` tries them all; `make storm` does.
"""

import os
from itertools import combinations
from random import Random

import pytest

from tests.support.checker import check
from tests.support.worlds import invent

KINDS = {
    "500": {"kind": "status", "status": 500, "body": "html"},
    "408": {"kind": "status", "status": 408, "body": "empty"},
    "429": {"kind": "status", "status": 429, "retry_after": "0"},
    "503": {"kind": "status", "status": 503, "retry_after": "0", "applied": True},
    "lost answer": {"kind": "lost_answer"},
    "reset before": {"kind": "reset_before"},
    "reset after": {"kind": "reset_after"},
    "half a text": {"kind": "malformed_json"},
    "a page": {"kind": "wrong_type"},
    "half a body": {"kind": "truncated_body"},
    "slow head": {"kind": "slow_headers", "seconds": 0.3},
    "slow body": {"kind": "slow_body", "seconds": 0.3},
    "no answer": {"kind": "hang", "seconds": 0.3},
    "latency": {"kind": "latency", "seconds": 0.2},
}
PAIRS = int(os.environ.get("PAIRS", "3"))
SEED = int(os.environ.get("SEED", "7"))
EVERY = list(combinations(KINDS, 2))
CHOSEN = Random(SEED).sample(EVERY, min(PAIRS, len(EVERY)))


@pytest.mark.parametrize("pair", CHOSEN, ids=" and ".join)
def test_two_faults_together_lose_nothing(tmp_path, send, sandbox, pair, record_property):
    """Every row ends where it belongs, once; each of both has happened."""
    world = invent(tmp_path, SEED, people=20, events=60)
    text = world.pipeline.read_text("utf-8")
    world.pipeline.write_text(text + '[destination]\napi = "v1"\n', "utf-8")
    faults = [{**KINDS[kind], "rate": 0.08, "path": "/api/v1/customers"} for kind in pair]
    sandbox.misbehave(*faults, seed=SEED)

    done = send(world.pipeline)

    check(world, sandbox, done.summary, tmp_path / ".backfill" / f"world-{SEED}")
    assert all(sandbox.fired())
    record_property("pairs of faults", 1)
    record_property("faults in pairs", sum(sandbox.fired()))
