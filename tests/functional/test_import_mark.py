"""An import leaves its mark on people and events, so that campaigns can leave it out."""

import json

import httpx
import pytest

from tests.support.jobs import CUSTOMERS, EVENTS, job
from tests.support.programs import until

PEOPLE = "id,email\n" + "".join(f"p{n},p{n}@example.com\n" for n in range(2_500))
HAPPENED = "id,event,at,n\np1,seen,2024-01-01,1\np2,seen,2024-01-02,\np9,left,2024-01-03,2\n"
FILES = {"customers.csv": PEOPLE, "events.csv": HAPPENED}
MARK = '[import]\nattribute = { import = "2026-11" }\nproperty = { import = "2026-11", n_ = 1 }\n'
SEGMENT = "[import]\nsegment = 12\n"


def members(sandbox):
    """Whom segment 12 holds."""
    ask = f"{sandbox.url}/v1/segments/12/membership?limit=30000"
    answer = httpx.get(ask, headers={"Authorization": "Bearer sandbox"})
    return set(answer.raise_for_status().json()["ids"])


def kinds(sandbox):
    """What came, in order; of neighbours of one kind the first."""
    found = [each["kind"] for each in sandbox.arrivals()]
    return [each for at, each in enumerate(found) if each != (["", *found][at])]


@pytest.mark.parametrize("api", ["v2", "v1"])
def test_people_and_events_carry_the_mark(tmp_path, send, sandbox, api):
    """Beside what they say; the ids of events are those of events without it."""
    few = {"customers.csv": "id,email\np1,a@x.com\np2,\n", "events.csv": HAPPENED}
    events = EVENTS + 'unknown_people = "send"\n'
    plain = job(tmp_path, few, CUSTOMERS, events, name="plain", top=f'destination.api = "{api}"')
    assert send(plain).code == 0
    before = {each["id"]: each["attributes"] for each in sandbox.events()}
    sandbox.reset()
    top = f'destination.api = "{api}"\n{MARK}'
    assert send(job(tmp_path, few, CUSTOMERS, events, name="marked", top=top)).code == 0
    after = {each["id"]: each["attributes"] for each in sandbox.events()}
    mark = {"import": "2026-11", "n_": 1}
    assert after == {id_: {**said, **mark} for id_, said in before.items()}
    people = sandbox.people()
    assert people["p1"]["attributes"] == {"email": "a@x.com", "import": "2026-11"}
    assert people["p2"]["attributes"] == {"import": "2026-11"}


def test_another_mark_binds_and_yet_makes_no_event_new(tmp_path, send, sandbox):
    """What was delivered keeps its mark; nothing is sent a second time under another id."""
    path = job(tmp_path, FILES, CUSTOMERS, EVENTS, top=MARK)
    assert send(path).code == 0
    path.write_text(path.read_text().replace("2026-11", "2026-12"))
    assert send(path).code == 7
    assert send(path, "--accept-changes").summary["this_run"]["delivered"] == 0
    ids = {each["id"] for each in sandbox.events()}
    assert send(path, "--restart").code == 0
    assert {each["id"] for each in sandbox.events()} == ids


@pytest.mark.parametrize(
    ("file", "header"),
    [
        ("customers.csv", "id,import\np1,x\n"),
        ("events.csv", "id,event,at,import\np1,x,2024-01-01,y\n"),
    ],
)
def test_a_column_of_the_same_name_is_refused(tmp_path, look, file, header):
    """One of the two would be lost."""
    path = job(tmp_path, {**FILES, file: header}, CUSTOMERS, EVENTS, top=MARK)
    ended = look(path)
    assert ended.code == 2
    assert "'import'" in ended.stderr
    drop = 'other_columns = "drop"\n'
    path = job(
        tmp_path, {}, CUSTOMERS + drop, EVENTS + f'{drop}unknown_people = "send"\n', top=MARK
    )
    assert look(path).code == 0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("attribute = { email = 1 }", "means something to the service"),
        ("attribute = { unsubscribed = true }", "means something to the service"),
        ("property = { recipient = 1 }", "means something to the service"),
        ("property = { a = [] }", "import.property.a"),
        ("segment = 0", "must be at least 1"),
        ("segments = 1", "did you mean segment"),
    ],
)
def test_a_mark_that_is_more_than_data_is_refused(tmp_path, look, table, said):
    """It marks, and changes nothing else."""
    ended = look(job(tmp_path, FILES, CUSTOMERS, EVENTS, top=f"[import]\n{table}\n"))
    assert ended.code == 2
    assert said in ended.stderr


def test_a_segment_is_filled_before_the_first_event(tmp_path, send, sandbox):
    """A thousand people a request, all of them once, after all of them exist."""
    path = job(tmp_path, FILES, CUSTOMERS, EVENTS, top=SEGMENT)
    done = send(path)
    assert done.code == 0
    assert members(sandbox) == {f"p{n}" for n in range(2_500)}
    assert kinds(sandbox) == ["identify", "add_customers", "event"]
    assert done.summary["requests"] == 1 + 3 + 1
    assert send(path).summary["this_run"]["requests"] == 0  # nothing is sent again
    path.write_text(path.read_text().replace("segment = 12", "segment = 13"))
    assert send(path).summary["this_run"]["requests"] == 3  # another segment is another list


def test_a_run_that_was_cut_short_fills_it_when_it_goes_on(tmp_path, send, sandbox):
    """Only people who were delivered are in it, and events wait for it."""
    path = job(tmp_path, FILES, CUSTOMERS, EVENTS, top=SEGMENT)
    assert send(path, "--limit", "2").code == 0
    assert members(sandbox) == {"p0", "p1"}
    assert send(path).code == 0
    assert members(sandbox) == {f"p{n}" for n in range(2_500)}


def added(sandbox):
    """How many requests have put people into a segment."""
    return sum(each["kind"] == "add_customers" for each in sandbox.arrivals())


@pytest.mark.parametrize(
    ("hangs", "filled"),
    [
        ({"path": "/api/v1/segments", "from_request": 4}, 1),  # after a thousand people
        ({"path": "/api/v2/batch", "from_request": 6}, 3),  # after all, before the first event
    ],
)
def test_a_kill_before_the_first_event_leaves_nobody_out(
    tmp_path, start_sending, send, sandbox, hangs, filled
):
    """Run again, the segment is filled first: no event comes before all of its people."""
    sandbox.misbehave({"kind": "hang", "seconds": 60, **hangs})
    path = job(tmp_path, FILES, CUSTOMERS, EVENTS, top=SEGMENT)
    command = start_sending(path, "--concurrency", "1")
    until(lambda: added(sandbox) == filled)
    command.kill()
    assert len(members(sandbox)) == min(filled * 1_000, 2_500)
    assert sandbox.events() == []
    sandbox.misbehave()
    before = len(kinds(sandbox))

    assert send(path).code == 0

    assert members(sandbox) == {f"p{n}" for n in range(2_500)}
    again = kinds(sandbox)[before - 1 :]
    assert len(sandbox.events()) == 3
    assert again[-1] == "event"
    assert "event" not in again[:-1]


def test_who_is_rejected_joins_once_delivered(tmp_path, send, sandbox):
    """A retry delivers people, too."""
    sandbox.misbehave({"kind": "refuse_items", "requests": [2], "items": [1], "method": "POST"})
    path = job(tmp_path, {**FILES, "customers.csv": "id,n\np1,1\np2,2\np9,3\n"},
               CUSTOMERS, EVENTS, top=SEGMENT)  # fmt: skip
    assert send(path).code == 3
    assert members(sandbox) == {"p1", "p9"}
    assert send(path, command="retry").code == 0
    assert members(sandbox) == {"p1", "p2", "p9"}


def test_who_was_rejected_before_anything_was_sent_joins_with_a_retry(tmp_path, send, sandbox):
    """Nobody of a plan: also with another identifier, by which the file of the retry names them."""
    people = "id,n\np1,1\np2,x\n,3\n"
    path = job(tmp_path, {**FILES, "customers.csv": people},
               CUSTOMERS + "[source.columns]\nn = 'integer'\n",
               EVENTS + 'unknown_people = "send"\n', top=SEGMENT)  # fmt: skip
    assert send(path).code == 3
    assert members(sandbox) == {"p1"}
    rejected = tmp_path / ".backfill/job/rejected.csv"
    text = rejected.read_text("utf-8-sig")
    rejected.write_text(text.replace("p2,x", "p2,2").replace("\n,3", "\np9,3"))

    assert send(path, command="retry").code == 0

    assert members(sandbox) == {"p1", "p2", "p9"}


def test_a_segment_that_cannot_be_filled_stops_the_run_before_events(tmp_path, send, sandbox):
    """Campaigns would hear events of people whom they should leave out."""
    sandbox.misbehave({"kind": "status", "status": 400, "path": "/api/v1/segments"})
    path = job(tmp_path, FILES, CUSTOMERS, EVENTS, top=SEGMENT)
    ended = send(path)
    assert ended.code == 2
    assert "segment 12" in ended.stderr
    assert "no event was sent" in ended.stderr
    assert sandbox.events() == []
    sandbox.misbehave()
    assert send(path).code == 0
    assert kinds(sandbox) == ["identify", "add_customers", "event"]


def test_a_segment_needs_people(tmp_path, look):
    """Events name people, and bring none."""
    ended = look(job(tmp_path, FILES, EVENTS, top=SEGMENT))
    assert ended.code == 2
    assert "customers sources" in ended.stderr


def test_requests_for_the_segment_are_in_the_plan(tmp_path, look):
    """They take their turns like others."""
    path = job(tmp_path, FILES, CUSTOMERS, EVENTS, top=SEGMENT)
    assert json.loads(look(path, command="plan").stdout.splitlines()[-1])["requests"] == 5
