"""The same pipeline every night: after each the workspace equals the source, person by person.

KILLS says how often a sync is killed on the way.
"""

import json
import os
from random import Random

import pytest

from tests.support.jobs import commits
from tests.support.nights import PEOPLE, Nights
from tests.support.programs import until

KILLS = int(os.environ.get("KILLS", "5"))
STEPS = 13
"""So many requests and commits a night has."""


@pytest.fixture
def nights(tmp_path):
    """A source before its first night."""
    return Nights(tmp_path)


@pytest.fixture
def sync(send, nights):
    """Sync as a scheduler does; takes more arguments."""
    return lambda *more: send(nights.pipeline, *more, command="sync")


def test_three_nights(nights, sync, sandbox):
    """Creates, updates, vanished people, new files: only they are sent."""
    nights.first()
    done = sync()
    assert done.code == 0, done.stderr
    nights.check(sandbox)
    for _ in range(2):
        nights.pass_by()
        done = sync()
        assert done.code == 0, done.stderr
        nights.check(sandbox)
        customers, _ = done.summary["sources"]
        # Some of those who changed say what they said before, or left.
        assert 7 <= customers["delivered"] <= 19
        assert customers["skipped"] == customers["rows_read"] - customers["delivered"]
        assert customers["skipped_by_reason"] == {"unchanged": customers["skipped"]}
        assert customers["deletes"] == 5
        assert done.summary["this_run"]["delivered"] - customers["delivered"] == 300


def test_a_sync_after_a_run_starts_from_what_it_delivered(nights, sync, send, sandbox):
    """The first sync sends nothing that the run has sent."""
    nights.first()
    send(nights.pipeline)
    assert sync().summary["this_run"]["requests"] == 0
    nights.pass_by()
    sync()
    nights.check(sandbox)


def test_what_is_shown_counts_the_night(nights, sync, backfill):
    """People to be deleted are among its rows; files of earlier nights are not."""
    nights.first()
    sync()
    nights.pass_by()
    done = sync()
    rows = done.summary["this_run"]["rows_read"]
    assert "5 people vanished (5 to be deleted)" in done.stderr
    assert f"send: {rows + 5:,}/{rows + 5:,} rows" in done.stderr
    status = json.loads(backfill("status", "--json").stdout)["jobs"][0]
    assert (status["rows_total"], status["pending"]) == (done.summary["rows_read"], 0)


def test_nothing_new_sends_nothing(nights, sync):
    """A second sync of the same night finds everybody unchanged."""
    nights.first()
    sync()
    done = sync()
    assert done.summary["this_run"]["requests"] == 0
    assert done.summary["sources"][0]["skipped"] == PEOPLE


def test_a_late_file_and_a_grown_one(nights, sync, sandbox):
    """Files are known by content: late ones and new rows are sent, renamed and old ones are not."""
    nights.first()
    sync()
    nights.add_events("events-0.csv")
    with (nights.folder / "events-1.csv").open("a") as grown:
        grown.write("p1,seen,2023-01-01T00:00:00Z,late\r\n")
    nights.events["late"] = "p1"
    done = sync()
    assert done.summary["this_run"]["delivered"] == 301
    nights.check(sandbox)
    (nights.folder / "events-0.csv").rename(nights.folder / "events-archive.csv")
    (nights.folder / "events-1.csv").unlink()
    again = sync()
    assert (again.code, again.summary["this_run"]["delivered"]) == (0, 0)


def test_a_truncated_export_is_refused(nights, sync, sandbox):
    """Half an export changes nothing; the whole one is synced as if nothing had been."""
    nights.first()
    sync()
    nights.check(sandbox)
    whole = (nights.folder / "customers.csv").read_text()
    (nights.folder / "customers.csv").write_text(whole[: len(whole) // 3])
    refused = sync()
    assert refused.code == 7
    assert "rows_change_max" in refused.next_step
    nights.check(sandbox)
    nights.pass_by()
    done = sync()
    assert done.code == 0, done.stderr
    nights.check(sandbox)


def test_a_missed_night_is_caught_up(nights, sync, sandbox):
    """What piled up is sent by the next sync."""
    nights.first()
    sync()
    nights.pass_by()
    nights.pass_by()
    sync()
    nights.check(sandbox)


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_nights_end_the_same(nights, start_sending, sync, sandbox, seed):
    """Killed at any step, the next sync sends what the killed one had not, and no event twice."""
    random = Random(seed)

    def steps():
        return sandbox.stats()["requests"] + commits(nights.pipeline, "nightly")

    nights.first()
    for night in range(3):
        if night:
            nights.pass_by()
        if night == seed % 3 or random.random() < 0.3:
            command = start_sending(nights.pipeline, command="sync")
            wanted = steps() + random.randrange(STEPS)
            until(lambda: steps() >= wanted or not command.state)  # noqa: B023
            command.kill()
            if random.random() < 0.5 and night < 2:
                continue
        done = sync()
        assert done.code == 0, done.stderr
        nights.check(sandbox)
