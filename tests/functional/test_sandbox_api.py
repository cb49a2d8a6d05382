"""The sandbox does what the service does with people, events, devices and identifiers."""

import base64

import httpx
import pytest

from backfill.sandbox import Behaviour, SandboxSettings, running
from tests.support.workspaces import as_sent

NOW_S = 1_790_000_000
ULID = "01HB4HBDKTFWYZCK01DMRSWRFD"


@pytest.fixture(scope="module")
def workspace():
    """A sandbox that stands still at NOW_S, spoken to as its owner."""
    settings = SandboxSettings(now_s=NOW_S)
    with running(settings) as sandbox, httpx.Client(base_url=sandbox.url, timeout=60) as client:
        client.auth = (settings.site_id, settings.api_key)
        yield client


@pytest.fixture
def client(workspace):
    """The sandbox of this file, empty."""
    workspace.post("/sandbox/reset").raise_for_status()
    return workspace


def v2(client, *operations):
    """Send operations as one batch; the answer."""
    return client.post("/api/v2/batch", json={"batch": operations})


def identify(identifiers, **attributes):
    """A v2 identify."""
    return {
        "type": "person",
        "action": "identify",
        "identifiers": identifiers,
        "attributes": attributes,
    }


def event(person, name="bought", **more):
    """A v2 event."""
    return {
        "type": "person",
        "action": "event",
        "identifiers": {"id": person},
        "name": name,
        **more,
    }


def person(client, name):
    """A person as the sandbox shows one, and as it was sent."""
    return as_sent(client.get(f"/sandbox/people/{name}").raise_for_status().json())


def people(client):
    """The ids of everyone."""
    return [p["id"] or p["email"] for p in client.get("/sandbox/people").json()["people"]]


def stats(client):
    """The account."""
    return client.get("/sandbox/stats").json()


# --- the wire ---


def test_success_is_an_empty_object_and_a_newline(client):
    """Three bytes of JSON, and the headers that were recorded."""
    answer = client.put("/api/v1/customers/1", json={})

    assert answer.content == b"{}\n"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache, no-store, must-revalidate, max-age=0"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_both_base64_alphabets_open(encode):
    """The Go client encodes with the alphabet of URLs."""
    settings = SandboxSettings(site_id="?>", api_key="?>")
    with running(settings) as sandbox:
        headers = {"Authorization": "Basic " + encode(b"?>:?>").decode()}
        assert httpx.get(f"{sandbox.url}/api/v1/accounts/region", headers=headers).is_success


@pytest.mark.parametrize(
    "authorization", ["", "Basic", "Basic !!!", "Bearer sandbox", "Basic c2FuZGJveDp3cm9uZw=="]
)
def test_a_wrong_key_is_told_so_in_plain_text(client, authorization):
    """401, and the body is not JSON."""
    headers = {"Authorization": authorization}

    answer = httpx.get(f"{client.base_url}/api/v1/accounts/region", headers=headers)

    assert (answer.status_code, answer.text) == (401, "Unauthorized request\n")


def test_the_region_lookup_names_the_workspace(client):
    """The environment id stays when everything else is forgotten."""
    first = client.get("/api/v1/accounts/region").json()
    client.post("/sandbox/reset")
    second = client.get("/api/v1/accounts/region").json()

    assert first == second
    assert set(first) == {"url", "region", "environment_id"}
    assert isinstance(first["environment_id"], int)


def test_two_sandboxes_are_two_workspaces():
    """Each sandbox in memory has an environment id of its own."""
    with running() as one, running() as two:
        urls = [f"{sandbox.url}/api/v1/accounts/region" for sandbox in (one, two)]
        answers = [httpx.get(url, auth=("sandbox", "sandbox")).json() for url in urls]

    assert answers[0]["environment_id"] != answers[1]["environment_id"]


def test_the_classic_form_works(client):
    """The API's oldest example, with curl's -d."""
    answer = client.post(
        "/api/v1/customers/5/events",
        content="name=purchased&data[price]=23.45&timestamp=1359389415",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    (kept,) = client.get("/sandbox/events").json()["events"]
    assert answer.status_code == 200
    assert (kept["name"], kept["timestamp"]) == ("purchased", 1359389415)
    assert kept["attributes"] == {"price": "23.45"}


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"\xff", b"[" * 5000, b'{"a":' * 500 + b"1" + b"}" * 500]
)
@pytest.mark.parametrize("path", ["/api/v2/batch", "/api/v2/entity", "/api/v1/customers/1/events"])
def test_what_is_no_json_object_is_malformed(client, path, body):
    """400, and nothing arrives as an operation."""
    assert client.post(path, content=body).status_code == 400
    assert stats(client)["operations"] == 0


@pytest.mark.parametrize("raw", ["a/b", "a b", "a+b", "ü&=?#", "%2F", "日本"])
def test_percent_encoded_identifiers_come_back_whole(client, raw):
    """A slash in an id is not a slash in the path."""
    quoted = httpx.URL("http://x", params={"q": raw}).query.decode()[2:].replace("+", "%20")
    client.put(f"/api/v1/customers/{quoted}", json={"plan": "free"}).raise_for_status()

    (found,) = client.get("/sandbox/people").json()["people"]
    assert found["id"] == raw
    assert as_sent(found)["attributes"] == {"plan": "free"}


# --- people ---


def test_v1_guesses_the_identifier_by_its_shape(client):
    """An e-mail, a cio_ name, and anything else."""
    client.put("/api/v1/customers/jane%40example.com", json={"plan": "a"})
    (jane,) = client.get("/sandbox/people").json()["people"]
    client.put(f"/api/v1/customers/cio_{jane['cio_id']}", json={"id": "7"})

    (jane,) = client.get("/sandbox/people").json()["people"]
    assert (jane["id"], jane["email"]) == ("7", "jane@example.com")


def test_emails_differ_by_more_than_case_and_ids_by_case(client):
    """One e-mail in two spellings is one person; two spellings of an id are two."""
    v2(client, identify({"email": "Jane@Example.com"}), identify({"email": "jane@example.COM"}))
    v2(client, identify({"id": "a"}), identify({"id": "A"}))

    assert people(client) == ["Jane@Example.com", "a", "A"]


def test_a_new_id_with_a_known_email_rewrites_that_person(client):
    """The service's surprise: no second person comes to be."""
    v2(client, identify({"id": "old"}, email="x@y.z"), identify({"id": "new"}, email="x@y.z"))

    assert people(client) == ["new"]
    assert stats(client)["people"] == 1


def test_an_identifier_of_another_person_fails_alone_under_200(client):
    """Path and body name different people: the rest is applied, and the answer is 200."""
    v2(client, identify({"id": "a"}, email="a@x.y"), identify({"id": "b"}, email="b@x.y"))

    answer = v2(client, identify({"id": "a"}, email="b@x.y", plan="kept"))

    assert answer.status_code == 200
    assert person(client, "a")["attributes"] == {"email": "a@x.y", "plan": "kept"}
    assert person(client, "b")["email"] == "b@x.y"
    assert client.get("/sandbox/breakdown").json()["failed_identifiers"] == 1
    assert "email" in client.get("/sandbox/arrivals").json()["arrivals"][-1]["problem"]


def test_v1_refuses_a_body_id_that_differs(client):
    """The one case of this kind that v1 answers with 400."""
    answer = client.put("/api/v1/customers/1", json={"id": "2"})

    assert answer.json() == {
        "meta": {"errors": ["id attribute and identifier are not the same value"]}
    }


def related(**identifiers):
    """A v1 identify's `cio_relationships` with one object."""
    return {"action": "add_relationships", "relationships": [{"identifiers": identifiers}]}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (None, "cio_relationships is required"),
        ([], "cio_relationships is not valid"),
        ({"action": "marry"}, "cio_relationships.action is not valid"),
        ({"action": ["add_relationships"]}, "cio_relationships.action is not valid"),
        ({"relationships": {}}, "cio_relationships.relationships is not valid"),
        (related(), "cio_relationships.relationships[0].identifiers is required"),
        (related(object_id="a"), "relationships[0].identifiers.object_type_id is required"),
    ],
)
def test_v1_refuses_relationships_that_name_no_object(client, change, field):
    """An object with an action and a list, unlike v2's, and each of the list names an object."""
    refused = client.put("/api/v1/customers/1", json={"plan": "free", "cio_relationships": change})

    assert refused.status_code == 400
    assert field in refused.json()["meta"]["errors"][0]


def test_relationships_are_no_attribute(client):
    """They may be longer than an attribute's value, and do not stay with the person."""
    change = related(object_type_id="1", object_id="acme")
    change["relationships"] *= 50

    client.put("/api/v1/customers/1", json={"plan": "free", "cio_relationships": change})

    assert person(client, "1")["attributes"] == {"plan": "free"}


def test_a_dotted_key_sets_one_topic(client):
    """The other subscription preferences stay as they are."""
    topics = {"topic_1": True, "topic_2": True}
    v2(client, identify({"id": "1"}, cio_subscription_preferences={"topics": topics}))
    client.put(
        "/api/v1/customers/1", json={"cio_subscription_preferences.topics.topic_2": False}
    ).raise_for_status()

    kept = person(client, "1")["attributes"]["cio_subscription_preferences"]
    assert kept == {"topics": {"topic_1": True, "topic_2": False}}


def test_a_phone_may_be_several_peoples(client):
    """It is an attribute first; who had it first is found by it."""
    v2(client, identify({"id": "a"}, phone="+47"), identify({"id": "b"}, phone="+47", plan="x"))
    v2(client, identify({"phone": "+47"}, plan="y"))

    assert person(client, "a")["attributes"] == {"phone": "+47", "plan": "y"}
    assert person(client, "b")["attributes"] == {"phone": "+47", "plan": "x"}


def test_null_and_the_empty_text_remove_an_attribute(client):
    """An attribute set to nothing is gone."""
    v2(client, identify({"id": "1"}, a=1, b=2, c=3), identify({"id": "1"}, a=None, b=""))

    assert person(client, "1")["attributes"] == {"c": 3}


def test_update_only_never_creates(client):
    """`_update` changes people who are there and makes nobody."""
    update = {"_update": True, "plan": "x"}
    assert client.put("/api/v1/customers/1", json=update).status_code == 200
    assert v2(client, identify({"id": "2"}, **update)).status_code == 200

    assert people(client) == []


def test_attribute_changes_are_ordered_by_their_timestamp(client):
    """A late older change loses, in v1 and in v2."""
    client.put("/api/v1/customers/1", json={"plan": "new", "_timestamp": NOW_S - 5})
    client.put("/api/v1/customers/1", json={"plan": "old", "_timestamp": NOW_S - 9, "x": 1})
    v2(client, {**identify({"id": "1"}, plan="older"), "timestamp": NOW_S - 20})

    assert person(client, "1")["attributes"] == {"plan": "new", "x": 1}


def test_an_unknown_cio_id_is_dropped_under_200(client):
    """The service makes those itself: an unknown one is a deleted person."""
    assert client.put("/api/v1/customers/cio_ffff", json={}).status_code == 200
    assert v2(client, identify({"cio_id": "ffff"})).status_code == 200

    assert people(client) == []


def test_deleted_people_are_gone_with_their_events_and_may_come_back(client):
    """The id is free again; the new person starts without a past."""
    v2(client, identify({"id": "1"}, plan="x"), event("1"))
    client.delete("/api/v1/customers/1").raise_for_status()

    assert stats(client)["people"] == stats(client)["events"] == 0
    assert client.get("/sandbox/events").json()["events"] == []
    v2(client, identify({"id": "1"}))
    assert person(client, "1")["attributes"] == {}


def test_suppressed_people_stay_away_until_unsuppressed(client):
    """Every identifier of a suppressed person is ignored, with 200."""
    v2(client, identify({"id": "1"}, email="x@y.z"))
    client.post("/api/v1/customers/1/suppress").raise_for_status()

    for answer in (v2(client, event("1")), v2(client, identify({"email": "X@y.z"}))):
        assert answer.status_code == 200
    assert people(client) == []
    client.post("/api/v1/customers/1/unsuppress").raise_for_status()
    v2(client, identify({"id": "1"}))
    assert people(client) == ["1"]


def test_a_merge_of_two_identifiers_each_is_refused(client):
    """v1's answer to a merge has the singular form."""
    body = {"primary": {"id": "1", "email": "x@y.z"}, "secondary": {}}

    answer = client.post("/api/v1/merge_customers", json=body)

    assert answer.status_code == 400
    assert answer.json()["meta"]["error"]


# --- events ---


def test_an_event_of_a_stranger_makes_a_bare_person(client):
    """It is counted, because each such person is billed; an identify makes the person whole."""
    v2(client, event("1"), event("1"), event("2"))
    v2(client, identify({"id": "2"}, plan="x"))

    assert [(p["id"], p["bare"]) for p in client.get("/sandbox/people").json()["people"]] == [
        ("1", True),
        ("2", False),
    ]
    assert client.get("/sandbox/breakdown").json()["bare_people"] == 2


@pytest.mark.parametrize(
    "timestamp", ["2020-01-01T00:00:00Z", "1577836800", None, True, -5, 1577836800000]
)
def test_an_invalid_timestamp_becomes_now_and_is_counted(client, timestamp):
    """The trap that a backfill must not fall into: 200, and the history lies at now."""
    assert v2(client, event("1", timestamp=timestamp)).status_code == 200
    body = {"name": "bought", "timestamp": timestamp}
    assert client.post("/api/v1/customers/1/events", json=body).status_code == 200

    kept = client.get("/sandbox/events").json()["events"]
    assert [(e["timestamp"], e["timestamp_replaced"]) for e in kept] == [(NOW_S, True)] * 2
    assert stats(client)["timestamps_replaced"] == 2


def test_a_missing_timestamp_is_now_and_not_counted(client):
    """An event without a moment happened when it came."""
    v2(client, event("1"))

    (kept,) = client.get("/sandbox/events").json()["events"]
    assert (kept["timestamp"], kept["timestamp_replaced"]) == (NOW_S, False)


def test_a_repeated_event_id_is_kept_once(client):
    """Within a batch, across requests, across versions of the API, in either case."""
    v2(client, event("1", id=ULID), event("1", id=ULID.lower()))
    v2(client, event("2", "other", id=ULID))
    client.post("/api/v1/customers/1/events", json={"name": "bought", "id": ULID})

    account = stats(client)
    assert (account["events"], account["event_arrivals"], account["duplicate_events"]) == (1, 4, 3)
    assert len(client.get("/sandbox/arrivals").json()["arrivals"]) == 4


def test_event_names_are_trimmed_and_keep_their_case(client):
    """Blanks around a name are no part of it."""
    v2(client, event("1", "  Bought "), event("1", "bought"))

    names = [e["name"] for e in client.get("/sandbox/events").json()["events"]]
    assert names == ["Bought", "bought"]
    assert len(client.get("/sandbox/events?name=bought").json()["events"]) == 1


# --- limits ---

REFUSED = {
    "id of 151 bytes": (identify({"id": "x" * 151}), "identifiers.id"),
    "id of 152 bytes in 76 characters": (identify({"id": "é" * 76}), "identifiers.id"),
    "blank id": (identify({"id": ""}), "identifiers.id"),
    "null id": (identify({"id": None}), "identifiers.id"),
    "boolean id": (identify({"id": True}), "identifiers.id"),
    "no identifier": (identify({}), "identifiers"),
    "two identifiers": (identify({"id": "1", "email": "x@y.z"}), "identifiers"),
    "unknown identifier": (identify({"name": "1"}), "identifiers"),
    "long attribute name": (identify({"id": "1"}, **{"n" * 151: 1}), "attributes"),
    "long value": (identify({"id": "1"}, a="x" * 1001), "attributes.a"),
    "value long in bytes": (identify({"id": "1"}, a="é" * 501), "attributes.a"),
    "value long as JSON": (identify({"id": "1"}, a=["x" * 999]), "attributes.a"),
    "id that is an object": (identify({"email": "x@y.z"}, id={"a": 1}), "attributes.id"),
    "long id as attribute": (identify({"email": "x@y.z"}, id="x" * 151), "attributes.id"),
    "301 attributes": (identify({"id": "1"}, **{f"a{i}": i for i in range(301)}), "attributes"),
    "long event name": (event("1", "n" * 101), "name"),
    "blank event name": (event("1", ""), "name"),
    "null event name": (event("1", None), "name"),
    "number as event name": (event("1", 5), "name"),
    "list as attributes": (event("1", attributes=[]), "attributes"),
    "item beyond 32 kB": (event("1", attributes={"a": "x" * 32_000}), ""),
}


@pytest.mark.parametrize(("operation", "field"), REFUSED.values(), ids=REFUSED)
def test_an_item_beyond_a_limit_is_refused_by_itself(client, operation, field):
    """207 names the item and the field; its neighbour is accepted."""
    answer = v2(client, event("fine"), operation)

    (error,) = answer.json()["errors"]
    assert answer.status_code == 207
    assert (error["batch_index"], error["field"]) == (1, field)
    assert error["reason"] in {"invalid", "required"}
    assert error["message"]
    assert stats(client)["event_arrivals"] == 1


ACCEPTED = {
    "id of 150 bytes": identify({"id": "x" * 150}),
    "number as id": identify({"id": 42}),
    "phone": identify({"phone": "+4790000000"}),
    "value of 1000 bytes": identify({"id": "1"}, a="x" * 1000, b={"nested": [1, None]}),
    "300 attributes": identify({"id": "1"}, **{f"a{i}": i for i in range(300)}),
    "event name of 100 bytes": event("1", "n" * 100),
    "long event data": event("1", attributes={"a": "x" * 5_000}),
    "event id that is no ULID": event("1", id="ajs-next-1700000000000-4f2d"),
    "event id beyond 128 bits": event("1", id="81HB4HBDKTFWYZCK01DMRSWRFD"),
    "anonymous event": {**event("1"), "identifiers": {"anonymous_id": "a"}},
}


@pytest.mark.parametrize("operation", ACCEPTED.values(), ids=ACCEPTED)
def test_an_item_at_the_limit_is_accepted(client, operation):
    """The limit itself still fits."""
    assert v2(client, operation).status_code == 200


def test_v1_says_every_problem_at_once(client):
    """v1's sentences, as they were seen."""
    answer = client.put("/api/v1/customers/1", json={"a": "x" * 1001, "id": "2"})

    assert answer.json()["meta"]["errors"] == [
        "value for attribute 'a' cannot be longer than 1000 bytes",
        "id attribute and identifier are not the same value",
    ]


def test_v1_takes_events_that_v2_does_not(client):
    """100 kB of data instead of 32 kB."""
    url = "/api/v1/customers/1/events"

    assert client.post(url, json={"name": "x", "data": {"a": "x" * 99_980}}).status_code == 200
    assert client.post(url, json={"name": "x", "data": {"a": "x" * 100_000}}).status_code == 400


def test_a_batch_must_be_smaller_than_500_kb(client):
    """The largest batch is 499,999 bytes."""
    items = [event("1", attributes={"a": "x" * 30_000}) for _ in range(16)]
    body = httpx.Request("POST", "http://x", json={"batch": items}).content

    padded = [body + b" " * (size - len(body)) for size in (499_999, 500_000)]
    statuses = [client.post("/api/v2/batch", content=content).status_code for content in padded]
    assert statuses == [200, 413]


def test_a_request_beyond_a_megabyte_is_cut_short(client):
    """No request makes the sandbox hold more than a megabyte."""
    assert client.post("/api/v1/events", content=b"x" * 1_000_001).status_code == 413


# --- switches ---


SWITCHES = {
    "all invalid: 207": (Behaviour(), event("1", ""), 207),
    "all invalid: 400": (Behaviour(all_invalid_batch=400), event("1", ""), 400),
    "bad event id: ignored": (Behaviour(), event("1", id="nope"), 200),
    "bad event id: refused": (Behaviour(bad_event_id="reject"), event("1", id="nope"), 207),
    "event values: limited": (
        Behaviour(event_values_limited=True),
        event("1", attributes={"a": "x" * 1001}),
        207,
    ),
}


@pytest.mark.parametrize(("behaviour", "operation", "expected"), SWITCHES.values(), ids=SWITCHES)
def test_what_is_not_documented_is_a_switch(behaviour, operation, expected):
    """The sandbox behaves either way."""
    with running(SandboxSettings(behaviour=behaviour)) as sandbox:
        answer = httpx.post(
            f"{sandbox.url}/api/v2/batch",
            json={"batch": [operation]},
            auth=("sandbox", "sandbox"),
        )

    assert answer.status_code == expected


def test_a_switch_can_be_set_while_it_runs(client):
    """Until the next reset; what is no switch is refused."""
    switches = client.get("/sandbox/behaviour").json()
    assert client.post("/sandbox/behaviour", json={"all_invalid_batch": 400}).status_code == 200
    assert client.post("/sandbox/behaviour", json={"dedupe_window_s": 0}).status_code == 200

    assert v2(client, event("1", "")).status_code == 400
    v2(client, event("1", id=ULID), event("1", id=ULID))
    assert stats(client)["events"] == 2
    for mistake in ({"all_invalid_batch": 500}, {"nonsense": 1}, []):
        assert client.post("/sandbox/behaviour", json=mistake).status_code == 400
    client.post("/sandbox/reset")
    assert client.get("/sandbox/behaviour").json() == switches


def test_an_old_identify_can_be_skipped_whole():
    """Then also attributes that nobody else set are lost, under 200."""
    settings = SandboxSettings(now_s=NOW_S, behaviour=Behaviour(old_identify="skip"))
    with running(settings) as sandbox, httpx.Client(base_url=sandbox.url) as client:
        client.auth = ("sandbox", "sandbox")
        v2(client, identify({"id": "1"}, a=1))
        answer = v2(client, {**identify({"id": "1"}, b=2), "timestamp": NOW_S - 9})

        assert answer.status_code == 200
        assert person(client, "1")["attributes"] == {"a": 1}


def test_deduplication_can_be_off():
    """Every arrival is kept."""
    settings = SandboxSettings(behaviour=Behaviour(dedupe_window_s=0))
    with running(settings) as sandbox, httpx.Client(base_url=sandbox.url) as client:
        client.auth = ("sandbox", "sandbox")
        v2(client, event("1", id=ULID), event("1", id=ULID))

        assert stats(client)["events"] == 2


# --- looking into it ---


def test_lists_come_in_pages(client):
    """`next` leads through everyone once, in order."""
    v2(client, *(event(f"p{i}") for i in range(25)))

    for what in ("people", "events", "arrivals"):
        seen, after = [], 0
        while after is not None:
            page = client.get(f"/sandbox/{what}", params={"limit": 10, "after": after}).json()
            seen += page[what]
            after = page["next"]
        assert len(seen) == 25


def test_arrivals_tell_equal_bodies_from_different_ones(client):
    """The hash of two sends of the same operation is the same."""
    v2(client, event("1", id=ULID, attributes={"a": 1}))
    v2(client, event("1", id=ULID, attributes={"a": 1}), event("1", id=ULID, attributes={"a": 2}))

    arrivals = client.get("/sandbox/arrivals").json()["arrivals"]
    first, same, other = (arrival["body_hash"] for arrival in arrivals)
    assert first == same != other
    assert [a["outcome"] for a in arrivals] == ["applied", "duplicate", "duplicate"]
    assert [a["request"] for a in arrivals] == [1, 2, 2]


def test_events_can_be_chosen_by_person_and_moment(client):
    """Both ends of the span belong to it."""
    v2(client, *(event("1", timestamp=NOW_S - days * 86_400) for days in range(5)), event("2"))

    span = {"person": "1", "since": NOW_S - 3 * 86_400, "until": NOW_S - 86_400}
    assert len(client.get("/sandbox/events", params=span).json()["events"]) == 3
    assert client.get("/sandbox/events?person=nobody").json()["events"] == []


def test_a_parameter_that_is_no_number_is_refused(client):
    """400 and a sentence."""
    answer = client.get("/sandbox/people?limit=many")

    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "limit must be a whole number of at most 15 digits"},
    )


HUGE = "9" * 40


@pytest.mark.parametrize("name", ["limit", "after", "since", "until"])
@pytest.mark.parametrize("value", [HUGE, "-" + HUGE, "9" * 5000, "٣", "1e3", "1_0"])
def test_a_number_that_nothing_can_hold_is_refused(client, name, value):
    """400, never 500."""
    assert client.get("/sandbox/events", params={name: value}).status_code == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("segments?now=" + HUGE, {"and": []}),
        ("segments", {"and": [], "now": 10**18}),
        ("segments", {"and": [], "now": 1e308}),
        ("segments", {"segment": 2**63}),
        ("segments", {"event": {"name": "x", "since": 10**19}}),
        ("segments", {"event": {"name": "x", "within_days": 1e308}}),
        ("behaviour", {"dedupe_window_s": 10**30}),
        ("behaviour", {"dedupe_window_s": -1}),
        ("faults", {"faults": [{"kind": "status", "retry_after_date_s": 1e300}]}),
        ("faults", {"faults": [{"kind": "latency", "seconds": 1e300}]}),
    ],
)
def test_a_figure_that_nothing_can_hold_is_refused(client, path, body):
    """Wherever a number can be written."""
    assert client.post(f"/sandbox/{path}", json=body).status_code == 400


@pytest.mark.parametrize("milliseconds", ["now", "keep"])
@pytest.mark.parametrize("timestamp", [2**63, 2**64 - 1, 1e300, 10**30, -(2**63)])
def test_a_timestamp_that_nothing_can_hold_is_accepted(client, milliseconds, timestamp):
    """As the service accepts anything there; the lists still work."""
    client.post("/sandbox/behaviour", json={"milliseconds": milliseconds}).raise_for_status()

    assert v2(client, event("1", timestamp=timestamp)).status_code == 200
    assert v2(client, {**identify({"id": "1"}), "timestamp": timestamp}).status_code == 200

    for path in ("events", "people/1", "timeline", "arrivals", "people"):
        client.get(f"/sandbox/{path}").raise_for_status()


def test_its_help_is_for_people_and_for_programs(sandbox):
    """Lines of text for who only looks; JSON for who asks for it."""
    url = f"{sandbox.url}/sandbox/help"
    text = httpx.get(url)
    assert text.headers["content-type"].startswith("text/plain")
    assert "\nGET  /sandbox/stats" in text.text
    assert "\\n" not in text.text
    asked = httpx.get(url, headers={"Accept": "application/json"}).json()
    assert set(asked) == {"paths", "faults", "segments", "behaviour"}
