"""A whole history, ugly rows included, arrives as its files say, and the report says the rest."""

import pytest

from tests.support.checker import check
from tests.support.worlds import invent


@pytest.mark.parametrize("seed", range(3))
def test_every_row_ends_where_it_belongs(tmp_path, send, sandbox, seed):
    """Good rows arrive once, bad ones are reported with their reasons, people are merged."""
    world = invent(tmp_path, seed)

    done = send(world.pipeline)

    assert done.code == 3
    arrived = check(world, sandbox, done.summary, tmp_path / ".backfill" / f"world-{seed}")
    assert set(arrived) == {"identify applied", "event applied"}


def test_a_second_run_has_nothing_to_do(tmp_path, send, sandbox):
    """What is settled is not sent again; the accounts stay as they were."""
    world = invent(tmp_path, 4)
    first = send(world.pipeline)
    before = sandbox.stats()

    second = send(world.pipeline)

    assert second.code == 3
    assert second.summary["this_run"]["requests"] == 0
    assert second.summary["delivered"] == first.summary["delivered"]
    assert sandbox.stats() == {**before, "requests": before["requests"] + 1}
    check(world, sandbox, second.summary, tmp_path / ".backfill/world-4")


def test_v1_brings_the_same_history(tmp_path, send, sandbox):
    """A request a row makes the same workspace as batches do, with the same event ids."""
    world = invent(tmp_path, 5, people=20, events=60)
    text = world.pipeline.read_text("utf-8")
    done = send(world.pipeline)
    check(world, sandbox, done.summary, tmp_path / ".backfill/world-5")
    people, events = sandbox.people(), sandbox.events()
    sandbox.reset()

    world.pipeline.write_text(text + '[destination]\napi = "v1"\n', "utf-8")
    done = send(world.pipeline, "--restart")

    check(world, sandbox, done.summary, tmp_path / ".backfill/world-5")
    assert done.summary["requests"] == done.summary["delivered"]
    assert _by_id(sandbox.events()) == _by_id(events)
    assert {name: each["attributes"] for name, each in sandbox.people().items()} == {
        name: each["attributes"] for name, each in people.items()
    }


def _by_id(events):
    """What each event id stands for."""
    return {
        each["id"]: [each[key] for key in ("person", "name", "timestamp", "attributes")]
        for each in events
    }
