"""What is under way is bounded, known to the journal, and in order."""

from backfill.journal import Journal
from tests.support.jobs import CUSTOMERS, EVENTS, job, numbered, people
from tests.support.programs import until

V1 = '[destination]\napi = "v1"\n'
HANG = {"kind": "hang", "seconds": 60, "method": "POST"}
ROWS = 4_000
CONCURRENCY = 16
BOUND = 64 + 1_000
"""So many batches are under way at most; so far ahead the journal lets rows go."""


def _killed_while_nothing_is_answered(tmp_path, start_sending, sandbox):
    """How many rows reached a service that never answers, and how many are in doubt then."""
    sandbox.misbehave(HANG)
    pipeline = job(tmp_path, {"events.csv": numbered(ROWS)}, V1, EVENTS)
    command = start_sending(pipeline, "--concurrency", str(CONCURRENCY))
    until(lambda: sandbox.fired()[0] >= CONCURRENCY)
    arrived = sandbox.fired()[0]
    command.kill()
    with Journal.open(tmp_path / ".backfill/job") as journal:
        return arrived, journal.in_doubt()


def test_rows_that_were_sent_are_in_doubt_and_few(tmp_path, start_sending, sandbox):
    """The journal knew of each before it left; a service that hangs does not pile up more."""
    arrived, in_doubt = _killed_while_nothing_is_answered(tmp_path, start_sending, sandbox)

    assert CONCURRENCY == arrived <= in_doubt <= BOUND


def test_events_wait_until_every_customer_was_answered(tmp_path, send, sandbox):
    """The first batch is let in late; nothing else overtakes."""
    sandbox.misbehave({"kind": "latency", "seconds": 1, "requests": [2], "method": "POST"})
    files = {
        "customers.csv": people("p1"),
        "events.csv": "id,event,at\np1,seen,2024-01-01T00:00Z\n",
    }

    done = send(job(tmp_path, files, CUSTOMERS, EVENTS))

    assert done.code == 0
    assert sandbox.fired() == [1]
    assert [each["kind"] for each in sandbox.arrivals()] == ["identify", "event"]


def test_the_rows_of_a_person_share_their_fate(tmp_path, send, sandbox):
    """What was merged into a row that the API refuses is rejected with it, not called merged."""
    sandbox.misbehave({"kind": "refuse_items", "requests": [2], "items": [0], "method": "POST"})
    rows = people("p1", "p2", "p1")

    done = send(job(tmp_path, {"customers.csv": rows}, CUSTOMERS))

    assert sandbox.fired() == [1]
    assert done.summary["rejected"] == 2
    assert done.summary["merged"] == 0
    assert set(sandbox.people()) == {"p2"}
