"""The sandbox misbehaves as its script says, and keeps the account all the same."""

import time
from email.utils import parsedate_to_datetime

import httpx
import pytest

from backfill.sandbox import SandboxSettings, running

URL = "/api/v2/batch"


@pytest.fixture(scope="module")
def workspace():
    """A sandbox for this file, spoken to as its owner."""
    settings = SandboxSettings()
    with running(settings) as sandbox, httpx.Client(base_url=sandbox.url, timeout=60) as client:
        client.auth = (settings.site_id, settings.api_key)
        yield client


@pytest.fixture
def client(workspace):
    """The sandbox of this file, empty."""
    workspace.post("/sandbox/reset").raise_for_status()
    return workspace


def event(index):
    """An event of a person of its own."""
    identifiers = {"id": f"person-{index}"}
    return {"type": "person", "action": "event", "identifiers": identifiers, "name": "bought"}


def batch(*indexes):
    """A batch of such events."""
    return {"batch": [event(index) for index in indexes]}


def script(client, *faults, seed=0):
    """Put a script in force."""
    client.post("/sandbox/faults", json={"seed": seed, "faults": faults}).raise_for_status()


def stats(client):
    """The account."""
    return client.get("/sandbox/stats").json()


@pytest.mark.parametrize("status", [400, 403, 413, 429, 500, 502, 503, 504])
def test_a_status_is_answered_and_nothing_is_applied(client, status):
    """A scripted status is given once, and the operation does not arrive."""
    script(client, {"kind": "status", "status": status, "requests": [1]})

    first = client.post(URL, json=batch(1))
    second = client.post(URL, json=batch(1))

    assert (first.status_code, second.status_code) == (status, 200)
    assert first.json()["errors"]
    assert stats(client)["event_arrivals"] == 1
    assert stats(client)["requests"] == 2


def test_a_status_can_come_as_html(client):
    """A gateway in front of the service answers HTML."""
    script(client, {"kind": "status", "status": 502, "body": "html"})

    answer = client.post(URL, json=batch(1))

    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")


def test_v1_errors_have_v1s_shape(client):
    """What stands in for a v1 answer looks like one."""
    script(client, {"kind": "status", "status": 500})

    answer = client.put("/api/v1/customers/1", json={})

    assert answer.json()["meta"]["errors"]


def test_retry_after_is_given_in_seconds(client):
    """A 429 can say how many seconds to wait."""
    script(client, {"kind": "status", "status": 429, "retry_after": "2"})

    assert client.post(URL, json=batch(1)).headers["retry-after"] == "2"


def test_retry_after_is_given_as_a_date(client):
    """A 429 can say until when to wait."""
    script(client, {"kind": "status", "status": 429, "retry_after_date_s": 30})

    answer = client.post(URL, json=batch(1))

    until = parsedate_to_datetime(answer.headers["retry-after"])
    since = parsedate_to_datetime(answer.headers["date"])
    assert 28 <= (until - since).total_seconds() <= 32


def test_the_key_can_be_revoked_at_a_request(client):
    """From the given request on, every answer is 401: also that of the region lookup."""
    script(client, {"kind": "unauthorized", "from_request": 2})

    statuses = [client.post(URL, json=batch(1)).status_code for _ in range(3)]

    assert statuses == [200, 401, 401]
    assert client.get("/api/v1/accounts/region").status_code == 401
    assert stats(client)["event_arrivals"] == 1


@pytest.mark.parametrize(
    ("kind", "arrivals"), [("reset_before", 0), ("reset_after", 1), ("lost_answer", 1)]
)
def test_a_lost_connection_keeps_the_account(client, kind, arrivals):
    """Whether the request was applied before the connection went is known for certain."""
    script(client, {"kind": kind, "requests": [1]})

    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.post(URL, json=batch(1))

    assert stats(client)["event_arrivals"] == arrivals


def test_a_reset_is_one(client):
    """The connection is reset, not just closed."""
    script(client, {"kind": "reset_after"})

    with pytest.raises(httpx.ReadError, match="reset"):
        client.post(URL, json=batch(1))


def test_a_body_can_be_cut_off(client):
    """The connection ends before the announced length."""
    script(client, {"kind": "truncated_body"})

    with pytest.raises(httpx.RemoteProtocolError):
        client.post(URL, json=batch(1))

    assert stats(client)["event_arrivals"] == 1


def test_json_can_be_malformed(client):
    """200 with half a JSON text, after applying."""
    script(client, {"kind": "malformed_json"})

    answer = client.post(URL, json=batch(1))

    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Expecting value"):
        answer.json()
    assert stats(client)["event_arrivals"] == 1


def test_the_content_type_can_be_wrong(client):
    """200 with a page, as a captive portal gives it."""
    script(client, {"kind": "wrong_type", "applied": False})

    answer = client.post(URL, json=batch(1))

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert stats(client)["event_arrivals"] == 0


def test_a_redirect_names_the_other_region(client):
    """A redirect carries its location and applies nothing."""
    script(client, {"kind": "redirect", "status": 301})

    answer = client.post(URL, json=batch(1))

    assert (answer.status_code, answer.headers["location"]) == (301, "https://track-eu.customer.io")
    assert stats(client)["event_arrivals"] == 0


@pytest.mark.parametrize("kind", ["slow_headers", "slow_body", "latency"])
def test_a_slow_answer_arrives_whole(client, kind):
    """Slowness takes at least the given time and changes nothing else."""
    script(client, {"kind": kind, "seconds": 0.3})
    began = time.monotonic()

    answer = client.post(URL, json=batch(1))

    assert time.monotonic() - began >= 0.2
    assert (answer.status_code, answer.content) == (200, b"{}\n")
    assert stats(client)["event_arrivals"] == 1


def test_a_request_can_hang(client):
    """No answer comes, and nothing is applied."""
    script(client, {"kind": "hang", "seconds": 60})

    with pytest.raises(httpx.ReadTimeout):
        client.post(URL, json=batch(1), timeout=0.3)

    assert stats(client)["event_arrivals"] == 0


def test_more_than_the_rate_is_dropped_under_200(client):
    """Above the rate all looks well, and nothing is kept."""
    script(client, {"kind": "drop_above", "per_second": 2})

    answers = [client.post(URL, json=batch(index)) for index in range(20)]

    assert {answer.status_code for answer in answers} == {200}
    assert 2 <= stats(client)["event_arrivals"] < 20


def test_chosen_items_are_refused(client):
    """207 lists exactly the chosen items; the others are applied."""
    script(client, {"kind": "refuse_items", "items": [1, 3]})

    answer = client.post(URL, json=batch(0, 1, 2, 3))

    assert answer.status_code == 207
    assert [error["batch_index"] for error in answer.json()["errors"]] == [1, 3]
    assert stats(client)["event_arrivals"] == 2
    assert stats(client)["rejected_operations"] == 2


def test_random_items_are_the_same_for_the_same_seed(client):
    """A script with the same seed refuses the same items again."""
    refused = []
    for seed in (7, 7, 8):
        script(client, {"kind": "refuse_items", "item_rate": 0.3}, seed=seed)
        answer = client.post(URL, json=batch(*range(50)))
        refused.append([error["batch_index"] for error in answer.json()["errors"]])

    assert refused[0] == refused[1] != refused[2]


def test_a_rate_is_repeatable(client):
    """The same seed hits the same requests, about as many as the rate says."""
    seen = []
    for _ in range(2):
        script(client, {"kind": "status", "status": 503, "rate": 0.3}, seed=4)
        seen.append([client.get("/api/v1/accounts/region").status_code for _ in range(60)])

    assert seen[0] == seen[1]
    assert 5 < seen[0].count(503) < 35


def test_faults_tell_how_often_they_fired(client):
    """The report shows the script as it was given, and the count of each fault."""
    script(client, {"kind": "status", "status": 503, "rate": 1, "times": 2}, seed=1)
    for _ in range(3):
        client.get("/api/v1/accounts/region")

    report = client.get("/sandbox/faults").json()

    assert report["requests"] == 3
    assert report["faults"] == [
        {"kind": "status", "status": 503, "rate": 1.0, "times": 2, "fired": 2}
    ]


def test_a_fault_can_be_narrowed_to_a_path(client):
    """Requests to other paths are left alone."""
    script(client, {"kind": "status", "status": 500, "path": "/api/v2/", "method": "POST"})

    assert client.get("/api/v1/accounts/region").status_code == 200
    assert client.post(URL, json=batch(1)).status_code == 500


def test_a_script_with_mistakes_is_refused_with_all_of_them(client):
    """Every mistake is named, and the script in force stays."""
    faults = [{"kind": "nonsense"}, {"kind": "status", "rate": 2, "sttus": 500}]

    answer = client.post("/sandbox/faults", json={"faults": faults})

    assert answer.status_code == 400
    for place in ("faults.0.kind", "faults.1.rate", "faults.1.sttus"):
        assert place in answer.json()["error"]


def test_a_503_after_applying_is_possible(client):
    """Any fault can be told to apply first."""
    script(client, {"kind": "status", "status": 503, "applied": True})

    assert client.post(URL, json=batch(1)).status_code == 503
    assert stats(client)["event_arrivals"] == 1
