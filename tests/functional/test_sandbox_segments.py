"""Segments count exactly the people that an independent computation gives."""

import random
from collections import defaultdict

import httpx
import pytest

from backfill.sandbox import SandboxSettings, running

DAY_S = 86_400
NOW_S = 1_790_000_000


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


def identify(person, **attributes):
    """An operation that sets attributes."""
    return {
        "type": "person",
        "action": "identify",
        "identifiers": {"id": person},
        "attributes": attributes,
    }


def event(person, name, days_ago, **data):
    """An operation that says what happened so many days before NOW_S."""
    return {
        "type": "person",
        "action": "event",
        "identifiers": {"id": person},
        "name": name,
        "timestamp": NOW_S - round(days_ago * DAY_S),
        "attributes": data,
    }


def send(client, *operations):
    """Send operations as one batch."""
    client.post("/api/v2/batch", json={"batch": operations}).raise_for_status()


def members(client, condition):
    """The people of a segment; its count agrees."""
    answer = client.post("/sandbox/segments", json=condition).raise_for_status().json()
    assert answer["count"] == len(answer["people"]) or answer["count"] > 100
    return set(answer["people"])


@pytest.fixture
def shop(client):
    """Ann buys often, Ben bought long ago, Cay is new, Dan is known for long and did nothing."""
    send(
        client,
        identify("ann", plan="premium", age=31, vip=True),
        identify("ben", plan="free", age="42"),
        identify("cay", note='say "hi"'),
        event("ann", "bought", 1, price=20, item={"kind": "book"}),
        event("ann", "bought", 5, price=5),
        event("ann", "bought", 40, price=50),
        event("ben", "bought", 40, price=15),
        event("dan", "visited", 60),
        event("cay", "bought", -1, price=99),
    )
    return client


CONDITIONS = [
    ({"event": {"name": "bought", "within_days": 30}}, {"ann"}),
    ({"event": {"name": " bought ", "within_days": 30}}, {"ann"}),
    ({"event": {"name": "Bought"}}, set()),
    ({"event": {"name": "bought"}}, {"ann", "ben", "cay"}),
    ({"event": {"name": "bought", "at_least": 2, "within_days": 30}}, {"ann"}),
    ({"event": {"name": "bought", "at_least": 3, "within_days": 30}}, set()),
    ({"event": {"name": "bought", "exactly": 3}}, {"ann"}),
    ({"event": {"name": "bought", "exactly": 0}}, {"dan"}),
    ({"event": {"name": "bought", "at_most": 1}}, {"ben", "cay", "dan"}),
    ({"event": {"name": "bought", "at_least": 1, "at_most": 1}}, {"ben", "cay"}),
    ({"event": {"name": "bought", "performed": False}}, {"dan"}),
    ({"event": {"name": "bought", "performed": False, "within_days": 30}}, {"ben", "dan"}),
    ({"event": {"name": "bought", "since": NOW_S - 6 * DAY_S, "until": NOW_S}}, {"ann"}),
    ({"event": {"name": "bought", "type": "page"}}, set()),
    ({"event": {"name": "bought", "where": {"price": {"gt": 15}}}}, {"ann", "cay"}),
    ({"event": {"name": "bought", "where": {"price": {"gte": 15, "lt": 20}}}}, {"ben"}),
    ({"event": {"name": "bought", "where": {"price": 5}}}, {"ann"}),
    ({"event": {"name": "bought", "where": {"item.kind": {"eq": "book"}}}}, {"ann"}),
    ({"event": {"name": "bought", "where": {"item": {"exists": False}}}}, {"ann", "ben", "cay"}),
    ({"attribute": {"name": "plan", "eq": "premium"}}, {"ann"}),
    ({"attribute": {"name": "plan", "ne": "premium"}}, {"ben", "cay", "dan"}),
    ({"attribute": {"name": "plan", "exists": True}}, {"ann", "ben"}),
    ({"attribute": {"name": "plan", "exists": False}}, {"cay", "dan"}),
    ({"attribute": {"name": "age", "gt": 30}}, {"ann", "ben"}),
    ({"attribute": {"name": "vip", "eq": True}}, {"ann"}),
    ({"attribute": {"name": "note", "contains": '"hi"'}}, {"cay"}),
    ({"attribute": {"name": "id", "eq": "ben"}}, {"ben"}),
    ({"not": {"attribute": {"name": "plan", "eq": "premium"}}}, {"ben", "cay", "dan"}),
    ({"and": []}, {"ann", "ben", "cay", "dan"}),
    ({"or": []}, set()),
    (
        {
            "or": [
                {"event": {"name": "visited"}},
                {"and": [{"event": {"name": "bought"}}, {"attribute": {"name": "age", "lt": 40}}]},
            ]
        },
        {"ann", "dan"},
    ),
]


def _named(each):
    """A name that is the same in every process: sets have no order."""
    return str(sorted(each)) if isinstance(each, set) else str(each)


@pytest.mark.parametrize(("condition", "people"), CONDITIONS, ids=_named)
def test_a_condition_holds_for_exactly_its_people(shop, condition, people):
    """Each kind of condition, alone and combined, finds whom it says."""
    assert members(shop, condition) == people


def test_the_moment_can_be_given(shop):
    """A segment can be asked for as of another day."""
    condition = {"event": {"name": "bought", "within_days": 30}}

    earlier = shop.post("/sandbox/segments", json={"now": NOW_S - 30 * DAY_S, **condition}).json()
    later = shop.post("/sandbox/segments", json={"now": NOW_S + 29 * DAY_S, **condition}).json()

    assert earlier == {"count": 2, "people": ["ann", "ben"]}
    assert later == {"count": 2, "people": ["ann", "cay"]}


def test_a_cleared_attribute_no_longer_counts(client):
    """Null and the empty text remove an attribute."""
    send(client, identify("ann", plan="a"), identify("ben", plan="a"), identify("cay", plan="a"))
    send(client, identify("ann", plan=None), identify("ben", plan=""))

    assert members(client, {"attribute": {"name": "plan", "exists": True}}) == {"cay"}


def test_the_latest_stamp_wins_not_the_latest_arrival(client):
    """Attribute changes are ordered by their timestamp."""
    send(client, {**identify("ann", plan="new"), "timestamp": NOW_S - 10})
    send(client, {**identify("ann", plan="old"), "timestamp": NOW_S - 20})

    assert members(client, {"attribute": {"name": "plan", "eq": "new"}}) == {"ann"}


def test_timestamps_are_told_from_other_values(client):
    """Only whole unix seconds are a timestamp; a text in ISO form is none."""
    send(client, identify("ann", at=NOW_S - DAY_S), identify("ben", at="2026-01-01T00:00:00Z"))

    assert members(client, {"attribute": {"name": "at", "is_timestamp": True}}) == {"ann"}
    assert members(client, {"attribute": {"name": "at", "within_days": 2}}) == {"ann"}


def test_a_saved_segment_is_counted_anew(shop):
    """The list of saved segments shows live counts."""
    condition = {"event": {"name": "visited"}}
    shop.put("/sandbox/segments/visitors", json=condition).raise_for_status()
    send(shop, event("eve", "visited", 1))

    saved = shop.get("/sandbox/segments").json()["segments"]

    assert saved == [{"name": "visitors", "condition": condition, "count": 2}]
    shop.delete("/sandbox/segments/visitors")
    assert shop.get("/sandbox/segments").json() == {"segments": []}


@pytest.mark.parametrize(
    "condition",
    [
        {},
        [],
        {"and": {}},
        {"event": {}},
        {"event": {"name": "x", "often": 3}},
        {"event": {"name": "x", "within_days": "30"}},
        {"event": {"name": "x", "within_days": 0}},
        {"event": {"name": "x", "within_days": 1e300}},
        {"event": {"name": "x", "within_days": 1, "since": 5}},
        {"event": {"name": " "}},
        {"event": {"name": 5}},
        {"event": {"name": "x", "type": "custom"}},
        {"event": {"name": "x", "type": ["page"]}},
        {"event": {"name": "x", "performed": "no"}},
        {"event": {"name": "x", "performed": 0}},
        {"event": {"name": "x", "at_least": 1.5}},
        {"event": {"name": "x", "at_least": True}},
        {"event": {"name": "x", "at_most": -1}},
        {"event": {"name": "x", "exactly": 10**18}},
        {"event": {"name": "x", "exactly": 1, "at_least": 1}},
        {"event": {"name": "x", "since": "2026-01-01"}},
        {"event": {"name": "x", "where": ["y"]}},
        {"event": {"name": "x", "where": {"y": None}}},
        {"event": {"name": "x", "where": {"y": {}}}},
        {"event": {"name": "x", "where": {"y": {"eq": None}}}},
        {"event": {"name": "x", "where": {"y": {"eq": [1]}}}},
        {"event": {"name": "x", "where": {"y": {"gt": True}}}},
        {"event": {"name": "x", "where": {"y": {"contains": 5}}}},
        {"event": {"name": "x", "where": {"y": {"exists": "yes"}}}},
        {"attribute": {"name": "x", "eq": None}},
        {"attribute": {"name": "x", "exists": 1}},
        {"attribute": {"name": "x", "is_timestamp": "true"}},
        {"attribute": {"name": "x", "within_days": 1, "eq": 5}},
        {"attribute": {"name": None, "eq": 5}},
        {"segment": 10**30},
        {"segment": True},
        {"attribute": {"name": "x"}},
        {"attribute": {"name": "x", "like": "y"}},
        {"attribute": {"name": "x'; DROP TABLE arrivals; --"}},
        {"segment": "1; DROP TABLE people"},
        {"and": [{"event": {"name": "x"}, "attribute": {"name": "y", "eq": 1}}]},
    ],
    ids=str,
)
def test_what_is_no_condition_is_refused_with_a_sentence(shop, condition):
    """A mistake is answered 400 and says what is wrong, in saving as in asking."""
    saved = shop.put("/sandbox/segments/x", json=condition)
    assert saved.status_code == 400
    answer = shop.post("/sandbox/segments", json=condition)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("segment: ")


@pytest.mark.parametrize(
    ("condition", "key"),
    [
        ({"event": {"name": "x", "performed": "no"}}, "event.performed"),
        ({"event": {"name": "x", "often": 3}}, "event.often"),
        ({"event": {"name": "x", "where": {"a.b": {"eq": None}}}}, "where.a.b.eq"),
        ({"attribute": {"name": "x", "gt": True}}, "attribute.gt"),
    ],
)
def test_the_sentence_names_the_key(shop, condition, key):
    """So that it can be found in a long condition."""
    assert key in shop.post("/sandbox/segments", json=condition).json()["error"]


ODD_TEXTS = ["Nan", "Infinity", "inf", "1_000", " 1", "0x10", "1e", "01", "+1", "1.", "٣", "None"]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_text_that_writes_no_number_is_none(client, text):
    """It compares as a text alone, in attributes and in the data of events."""
    send(client, identify("ann", size=text), event("ann", "bought", 1, size=text))

    for comparison in ({"gte": -1e9}, {"lte": 1e9}, {"eq": 1}, {"eq": 3}):
        assert members(client, {"attribute": {"name": "size", **comparison}}) == set()
        where = {"event": {"name": "bought", "where": {"size": comparison}}}
        assert members(client, where) == set()
    assert members(client, {"attribute": {"name": "size", "eq": text}}) == {"ann"}


@pytest.mark.parametrize(
    ("key", "found"),
    [("a.b", {"cay"}), ("/a.b", {"ann"}), ("/a/b", {"cay"}), ("/~1a", {"ben"}), ("a~1b", set())],
)
def test_a_name_with_a_dot_is_written_as_a_pointer(client, key, found):
    """Names in names by dots; a JSON pointer for everything else."""
    send(
        client,
        event("ann", "bought", 1, **{"a.b": 1}),
        event("ben", "bought", 1, **{"/a": 1}),
        event("cay", "bought", 1, a={"b": 1}),
    )

    assert members(client, {"event": {"name": "bought", "where": {key: 1}}}) == found


def test_null_in_data_is_as_good_as_nothing(client):
    """As it is among attributes."""
    send(client, event("ann", "bought", 1, size=None), event("ben", "bought", 1, size=""))

    def who(**comparison):
        return members(client, {"event": {"name": "bought", "where": {"size": comparison}}})

    assert who(exists=True) == {"ben"}
    assert who(exists=False) == {"ann"}
    assert who(ne="x") == {"ann", "ben"}
    assert who(eq="null") == who(contains="nul") == set()


def test_names_with_quotes_are_only_names(shop):
    """Whatever stands in a name or a value is bound, never SQL."""
    nasty = "x' OR '1'='1\"; DROP TABLE arrivals; --"
    send(shop, event("eve", nasty, 1, **{nasty: nasty}), identify("eve", **{nasty: nasty}))

    assert members(shop, {"event": {"name": nasty, "where": {nasty: {"eq": nasty}}}}) == {"eve"}
    assert members(shop, {"attribute": {"name": nasty, "eq": nasty}}) == {"eve"}


def test_random_histories_agree_with_a_plain_computation(client):
    """People by the hundred, windows and counts: the segment equals a loop over what was sent."""
    draws = random.Random(11)
    history = defaultdict(list)
    operations = []
    for _ in range(1500):
        person, name = f"p{draws.randrange(300)}", draws.choice(["purchased", "created_project"])
        days_ago = draws.uniform(-2, 90)
        operation = event(person, name, days_ago)
        operations.append(operation)
        history[person].append((name, operation["timestamp"]))
    send(client, *operations)
    since_s = NOW_S - 30 * DAY_S

    def count(person, name):
        return sum(n == name and since_s <= at_s <= NOW_S for n, at_s in history[person])

    def is_old(person):
        return min(at_s for _, at_s in history[person]) <= since_s

    expected = {
        "purchased": sum(count(p, "purchased") >= 1 for p in history),
        "twice": sum(count(p, "purchased") >= 2 for p in history),
        "no project": sum(not count(p, "created_project") and is_old(p) for p in history),
    }
    asked = {
        "purchased": {"event": {"name": "purchased", "within_days": 30}},
        "twice": {"event": {"name": "purchased", "within_days": 30, "at_least": 2}},
        "no project": {"event": {"name": "created_project", "performed": False, "within_days": 30}},
    }

    found = {
        key: client.post("/sandbox/segments", json=condition).json()["count"]
        for key, condition in asked.items()
    }

    assert found == expected


@pytest.mark.parametrize(("off_s", "found"), [(-1, set()), (0, {"ann"}), (1, {"ann"})])
def test_the_ends_of_a_span_belong_to_it(client, off_s, found):
    """To the second, at either end."""
    send(client, event("ann", "bought", 5))
    at_s = NOW_S - 5 * DAY_S

    assert members(client, {"event": {"name": "bought", "until": at_s + off_s}}) == found
    assert members(client, {"event": {"name": "bought", "since": at_s - off_s}}) == found
