"""A run that is killed at its first durable step, its second, its third … until it is done.

The idea is that of SQLite's crash tests. Every write to the disk is tried in
`test_database.py`; here the whole program is killed at what can be seen from outside.
"""

from itertools import count

import pytest

from tests.support.jobs import CUSTOMERS, EVENTS, commits, job, numbered, people
from tests.support.programs import until

V1 = '[destination]\napi = "v1"'
ROWS, PEOPLE = 14, 4
SLOW = {"kind": "latency", "seconds": 0.08}


@pytest.mark.parametrize("step", ["requests", "commits"])
def test_a_kill_at_any_step_loses_and_repeats_nothing(tmp_path, start_sending, sandbox, step):
    """At each start one step later; in the end every row arrived and every event is there once."""
    sandbox.misbehave(SLOW)
    files = {
        "customers.csv": people(*(f"p{n}" for n in range(PEOPLE))),
        "events.csv": numbered(ROWS),
    }
    pipeline = job(tmp_path, files, V1, CUSTOMERS, EVENTS + 'unknown_people = "send"\n')

    def seen():
        return sandbox.stats()["requests"] if step == "requests" else commits(pipeline)

    for number in count(1):
        before = seen()
        command = start_sending(pipeline, "--concurrency", "1")
        until(lambda: seen() - before >= number or not command.state)  # noqa: B023
        if not command.state:
            break
        command.kill()

    done = command.ended()
    assert done.code == 0, done.stderr
    assert done.summary["delivered"] == ROWS + PEOPLE
    assert len(sandbox.people()) == 10
    assert sandbox.stats()["events"] == ROWS
    assert number > 3
