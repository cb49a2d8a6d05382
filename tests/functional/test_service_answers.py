"""What the service answers, end to end: nothing is lost, nothing doubled, nobody is misled."""

import pytest

from tests.support.checker import check
from tests.support.jobs import EVENTS, job, numbered
from tests.support.poison import poisoned
from tests.support.workspaces import BATCH
from tests.support.worlds import invent

ONCE = {"requests": [2], "method": "POST"}
"""The first request that brings rows; the region lookup is the one before."""


@pytest.fixture
def small(tmp_path):
    """Thirty events, in one request."""
    return job(tmp_path, {"events.csv": numbered(30)}, EVENTS)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 408},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 429, "retry_after": "1"},
        {"kind": "status", "status": 503, "retry_after_date_s": 1},
        {"kind": "status", "status": 429, "retry_after": "-5"},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 502, "body": "html"},
        {"kind": "status", "status": 504, "body": "empty"},
        {"kind": "status", "status": 520, "applied": True},
        {"kind": "reset_before"},
        {"kind": "reset_after"},
        {"kind": "lost_answer"},
        {"kind": "malformed_json"},
        {"kind": "wrong_type"},
        {"kind": "truncated_body"},
        {"kind": "slow_headers", "seconds": 0.3},
        {"kind": "slow_body", "seconds": 0.3},
        {"kind": "hang", "seconds": 0.3},
        {"kind": "status", "status": 200, "body": "empty", "applied": True},
    ],
    ids=lambda fault: "-".join(str(each) for each in fault.values()),
)
def test_an_answer_that_settles_nothing_is_asked_for_again(small, send, sandbox, fault):
    """Whether it was applied or not: each event is there once, and none is rejected."""
    sandbox.misbehave({**fault, **ONCE})

    done = send(small)

    assert done.code == 0
    assert sandbox.fired() == [1]
    assert sandbox.stats()["events"] == done.summary["delivered"] == 30


@pytest.mark.parametrize("fault", ["lost_answer", "malformed_json", "wrong_type", "reset_before"])
def test_a_region_lookup_that_fails_is_repeated(small, send, sandbox, fault):
    """The first word of a run may be lost like any other."""
    sandbox.misbehave({"kind": fault, "requests": [1]})

    assert send(small).code == 0
    assert sandbox.stats()["events"] == 30


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_never_followed(small, send, sandbox, status):
    """4: the credentials go to nobody else; no row is rejected."""
    elsewhere = f"{sandbox.url}/api/v1/customers/x"
    sandbox.misbehave({"kind": "redirect", "status": status, "location": elsewhere, **ONCE})

    refused = send(small)

    assert refused.code == 4
    assert "redirects" in refused.stderr
    assert sandbox.stats()["requests"] == 2
    assert refused.summary["rejected"] == 0
    assert refused.summary["pending"] == 30
    sandbox.misbehave()
    assert send(small).code == 0


@pytest.mark.parametrize(("status", "code"), [(404, 2), (405, 2), (501, 2), (505, 2)])
def test_a_destination_that_is_no_track_api_is_told(small, send, sandbox, status, code):
    """2: the settings are wrong; no row is."""
    sandbox.misbehave({"kind": "status", "status": status, "path": BATCH})

    refused = send(small)

    assert refused.code == code
    assert f"HTTP {status}" in refused.stderr
    assert refused.summary["rejected"] == 0


@pytest.mark.parametrize("status", [400, 413])
def test_a_batch_that_is_refused_is_halved(small, send, sandbox, status):
    """A 400 or 413 for thirty rows says nothing about any of them: smaller parts arrive."""
    sandbox.misbehave({"kind": "status", "status": status, "requests": [2, 3, 4]})

    done = send(small)

    assert done.code == 0
    assert sandbox.stats()["event_arrivals"] == sandbox.stats()["events"] == 30


def test_a_poison_row_is_found_by_halving(tmp_path, small, send, sandbox):
    """When the service refuses whole batches for one row, that row alone is rejected."""
    with poisoned(sandbox.url, b'"n":"17"') as url:
        done = send(small, "--url", url)

    assert done.code == 3
    assert done.summary["rejections_by_reason"] == {"refused": 1}
    assert done.summary["delivered"] == sandbox.stats()["events"] == 29
    assert "17" not in {each["attributes"]["n"] for each in sandbox.events()}
    assert done.summary["attempts"] <= 2 * 5 + 1
    (line,) = (tmp_path / ".backfill/job/rejected.jsonl").read_text().splitlines()
    assert '"n":"17"' in line


def test_a_storm_of_faults_over_a_whole_history(tmp_path, send, sandbox):
    """Every fault together: the history is there once, the report says the rest."""
    world = invent(tmp_path, 11, people=200, events=3_000, filling_bytes=2_000)
    kinds = ("lost_answer", "reset_before", "reset_after", "malformed_json", "wrong_type")
    faults = [{"kind": kind, "rate": 0.08, "method": "POST"} for kind in kinds]
    faults += [
        {"kind": "status", "status": 503, "rate": 0.1, "method": "POST"},
        {"kind": "status", "status": 429, "retry_after": "0", "rate": 0.1, "method": "POST"},
        {"kind": "refuse_items", "items": [1], "requests": [5, 6, 7]},
    ]
    sandbox.misbehave(*faults, seed=3)

    done = send(world.pipeline)

    assert done.code == 3
    check(world, sandbox, done.summary, tmp_path / ".backfill/world-11")
    assert sum(sandbox.fired()) >= 8


def test_v1_settles_every_row_by_itself(tmp_path, send, sandbox):
    """The same faults on requests of one row each."""
    pipeline = job(tmp_path, {"events.csv": numbered(40)}, '[destination]\napi = "v1"', EVENTS)
    sandbox.misbehave(
        # The first that fits answers: a row of p7 is refused before its answer can be lost.
        {"kind": "status", "status": 400, "path": "/api/v1/customers/p7/"},
        {"kind": "lost_answer", "rate": 0.1, "method": "POST"},
        {"kind": "status", "status": 500, "rate": 0.1, "method": "POST"},
    )

    done = send(pipeline)

    assert done.code == 3
    assert done.summary["rejections_by_reason"] == {"refused": 4}
    assert done.summary["delivered"] == sandbox.stats()["events"] == 36


def test_a_service_that_drops_silently_is_beyond_what_is_promised(small, send, sandbox):
    """Delivered means accepted with 2xx: what the service then drops, nobody can know."""
    sandbox.misbehave({"kind": "drop_above", "per_second": 0, "method": "POST"})

    done = send(small)

    assert done.code == 0
    assert done.summary["delivered"] == 30
    assert sandbox.stats()["events"] == 0
