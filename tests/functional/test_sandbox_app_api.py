"""The App API of the sandbox: what arrived can be read back, and silent faults show there."""

import time

import httpx
import pytest

from backfill.sandbox import SandboxSettings, running

BATCH = "/api/v2/batch"


@pytest.fixture(scope="module")
def sandbox():
    """A sandbox for this file."""
    with running(SandboxSettings()) as address:
        yield address


@pytest.fixture
def track(sandbox):
    """Its Track API, the workspace empty."""
    with httpx.Client(base_url=sandbox.url, auth=("sandbox", "sandbox")) as client:
        client.post("/sandbox/reset").raise_for_status()
        behave(client, app_limited=False)
        yield client


@pytest.fixture
def app(sandbox):
    """Its App API."""
    headers = {"Authorization": "Bearer sandbox"}
    with httpx.Client(base_url=sandbox.url, headers=headers) as client:
        yield client


def behave(client, **switches):
    """Set switches of the sandbox."""
    client.post("/sandbox/behaviour", json=switches).raise_for_status()


def identify(name, **attributes):
    """A person with attributes."""
    who = {"id": name}
    return {"type": "person", "action": "identify", "identifiers": who, "attributes": attributes}


def event(name, at_s, event_id=None):
    """An event of somebody."""
    who = {"id": name}
    found = {"type": "person", "action": "event", "identifiers": who, "name": "bought"}
    return found | {"timestamp": int(at_s)} | ({"id": event_id} if event_id else {})


def send(client, *operations, faults=()):
    """Send a batch, with a script of faults in force."""
    client.post("/sandbox/faults", json={"faults": list(faults)}).raise_for_status()
    assert client.post(BATCH, json={"batch": operations}).json() == {}


def people(client, *names, kind="id"):
    """What the App API says of people, by id."""
    answer = client.post(f"/v1/customers/attributes?id_type={kind}", json={"ids": names})
    found = [each["customer"] for each in answer.raise_for_status().json()["customers"]]
    return {each["id"]: each for each in found}


def activities(client, person, **query):
    """The activities of somebody, and where the next page begins."""
    answer = (
        client.get(f"/v1/customers/{person}/activities", params=query).raise_for_status().json()
    )
    return answer["activities"], answer["next"]


def test_attributes_come_back_as_text_and_absent_people_not_at_all(track, app):
    """Numbers, booleans and what is nested are text there; ids without a person are left out."""
    send(track, identify("a/b", email="a@example.com", n=12.5, vip=True, tags={"x": [1]}))

    found = people(app, "a/b", "nobody")

    assert found.keys() == {"a/b"}
    assert found["a/b"]["attributes"] | {"created_at": "", "cio_id": ""} == {
        "id": "a/b",
        "email": "a@example.com",
        "n": "12.5",
        "vip": "true",
        "tags": '{"x":[1]}',
        "created_at": "",
        "cio_id": "",
    }
    assert people(app, "a@example.com", kind="email") == found
    assert people(app, found["a/b"]["attributes"]["cio_id"], kind="cio_id") == found


def test_a_channel_stands_beside_the_topics_and_an_id_may_look_like_a_cio_id(track, app):
    """Each dotted key sets one member; of an id nothing is left out."""
    dotted = {f"cio_subscription_preferences.{each}": True for each in ("topics.a", "channels.sms")}
    send(track, identify("cio_x", **dotted))

    asked = app.post("/v1/customers/attributes?id_type=id", json={"ids": ["cio_x"]})

    (found,) = asked.json()["customers"]
    assert found["customer"]["attributes"]["cio_subscription_preferences"] == (
        '{"topics":{"a":true},"channels":{"sms":true}}'
    )


def test_activities_are_those_of_the_last_30_days_in_pages(track, app):
    """The newest first; a name and a type narrow them down."""
    now_s = time.time()
    send(track, *(event("a", now_s - day * 86_400) for day in (1, 2, 3, 29, 31)))

    first, following = activities(app, "a", limit=3, type="event")
    rest, end = activities(app, "a", limit=3, start=following)

    days = [round((now_s - each["timestamp"]) / 86_400) for each in (*first, *rest)]
    assert (days, end) == ([1, 2, 3, 29], "")
    assert activities(app, "a", name="sold")[0] == []
    assert app.get("/v1/customers/nobody/activities").status_code == 404


def test_segments_are_counted_and_their_members_listed(track, app):
    """Saved conditions and manual segments alike."""
    send(track, identify("a", plan="gold"), identify("b", plan="free"), identify("c", plan="gold"))
    condition = {"attribute": {"name": "plan", "eq": "gold"}}
    track.put("/sandbox/segments/gold", json=condition).raise_for_status()
    ids = {"ids": ["b"]}
    track.post("/api/v1/segments/7/add_customers", json=ids).raise_for_status()

    listed = {each["name"]: each["id"] for each in app.get("/v1/segments").json()["segments"]}
    path = f"/v1/segments/{listed['gold']}"
    page = app.get(f"{path}/membership", params={"limit": 1}).json()
    rest = app.get(f"{path}/membership", params={"limit": 1, "start": page["next"]}).json()

    assert listed["manual 7"] == 7
    assert app.get(f"{path}/customer_count").json() == {"count": 2}
    assert (page["ids"], rest["ids"], rest["next"]) == (["a"], ["c"], "")
    assert app.get("/v1/segments/7/membership").json()["ids"] == ["b"]
    assert app.get("/v1/segments/8").status_code == 404


def test_its_key_is_its_own(track):
    """The Track API's credentials do not open it."""
    assert track.post("/v1/customers/attributes", json={"ids": ["a"]}).status_code == 401


def test_ten_requests_a_second_are_its_limit():
    """By the sandbox's clock, which stands still here."""
    headers = {"Authorization": "Bearer sandbox"}
    with (
        running(SandboxSettings(now_s=1_700_000_000.0)) as sandbox,
        httpx.Client(base_url=sandbox.url, headers=headers) as client,
    ):
        statuses = [client.get("/v1/segments").status_code for _ in range(12)]

    assert statuses == [200] * 10 + [429] * 2


@pytest.mark.parametrize("asked", [{}, {"ids": []}, {"ids": "a"}, {"ids": ["a"] * 101}])
@pytest.mark.usefixtures("track")
def test_what_it_cannot_answer_it_refuses(app, asked):
    """One to a hundred ids."""
    assert app.post("/v1/customers/attributes", json=asked).status_code == 400


def test_reading_is_no_part_of_the_account(track, app):
    """Nor does it change anything."""
    send(track, identify("a", n=1))
    before = track.get("/sandbox/stats").json()

    people(app, "a")

    assert track.get("/sandbox/stats").json() == before


def test_answers_lag_behind(track, app):
    """For as long as the switch says nothing of it is to be seen."""
    behave(track, app_lag_s=60)
    send(track, identify("a", n=1))

    assert people(app, "a") == {}

    behave(track, app_lag_s=0)
    assert people(app, "a")["a"]["attributes"]["n"] == "1"


def test_silent_faults_are_answered_200_and_show_only_here(track, app):
    """An attribute that is dropped, one that is changed, an identify and an event that are lost."""
    now_s = time.time()
    faults = [
        {"kind": "drop_attribute", "attribute": "plan", "items": [0]},
        {"kind": "change_attribute", "attribute": "plan", "value": "x", "items": [1]},
        {"kind": "skip_identify", "items": [2]},
        {"kind": "lose_event", "items": [4]},
    ]
    some = [identify(name, plan="gold", n=1) for name in ("a", "b", "c", "d")]
    lost = event("a", now_s, "01HGW2N7EHJVZFDMGQ8BHB8S4Z")
    send(track, *some, lost, event("a", now_s), faults=faults)

    found = people(app, "a", "b", "c", "d")

    plans = {name: each["attributes"].get("plan") for name, each in found.items()}
    assert plans == {"a": None, "b": "x", "d": "gold"}
    assert len(activities(app, "a")[0]) == 1

    send(track, lost)
    assert len(activities(app, "a")[0]) == 2
