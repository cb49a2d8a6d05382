"""Who is who in the sandbox: merges, people who come back, visitors, forms, devices, objects."""

import contextlib

import httpx
import pytest

from backfill.sandbox import Behaviour, SandboxSettings, running
from tests.support.workspaces import as_sent

NOW_S = 1_790_000_000
DAY_S = 86_400
ULID = "01HB4HBDKTFWYZCK01DMRSWRFD"


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, monkeypatch):
        self.now_s = float(NOW_S)
        monkeypatch.setattr("backfill.sandbox.server._clock", lambda _: lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch):
    """The clock of the sandboxes that this test starts."""
    return Clock(monkeypatch)


class Shop:
    """A sandbox, spoken to as its owner."""

    def __init__(self, client):
        self.client = client

    def send(self, *operations):
        """Send operations as one batch; all must be valid."""
        answer = self.client.post("/api/v2/batch", json={"batch": operations})
        assert (answer.status_code, answer.content) == (200, b"{}\n"), answer.text

    def identify(self, identifiers, **attributes):
        """Send an identify of v2."""
        self.send(
            {
                "type": "person",
                "action": "identify",
                "identifiers": identifiers,
                "attributes": attributes,
            }
        )

    def event(self, identifiers, name="bought", **more):
        """Send an event of v2."""
        self.send(
            {
                "type": "person",
                "action": "event",
                "identifiers": identifiers,
                "name": name,
                **more,
            }
        )

    def do(self, action, identifiers, **more):
        """Send another action about a person."""
        self.send({"type": "person", "action": action, "identifiers": identifiers, **more})

    def merge(self, primary, secondary):
        """Send a merge of v2."""
        self.send({"type": "person", "action": "merge", "primary": primary, "secondary": secondary})

    def v1(self, method, path, body=None):
        """One request of v1."""
        answer = self.client.request(method, f"/api/v1/{path}", json=body)
        assert answer.is_success, answer.text
        return answer

    def get(self, path):
        """What the sandbox says."""
        return self.client.get(f"/sandbox/{path}").raise_for_status().json()

    def person(self, name):
        """A person as sent."""
        return as_sent(self.get(f"people/{name}"))

    def people(self):
        """Everyone's id, else e-mail."""
        return [each["id"] or each["email"] for each in self.get("people")["people"]]

    def members(self, number):
        """Whom a manual segment holds."""
        answer = self.client.post("/sandbox/segments", json={"segment": number})
        return answer.raise_for_status().json()["people"]


@pytest.fixture
def open_shop(clock):  # noqa: ARG001  # it sets the time
    """Open a sandbox whose time is the clock's; takes its switches."""
    with contextlib.ExitStack() as stack:

        def opened(**behaviour):
            settings = SandboxSettings(behaviour=Behaviour(**behaviour))
            url = stack.enter_context(running(settings)).url
            client = httpx.Client(base_url=url, timeout=60, auth=("sandbox", "sandbox"))
            return Shop(stack.enter_context(client))

        yield opened


@pytest.fixture
def shop(open_shop):
    """A sandbox as it is without being told."""
    return open_shop()


# --- merges ---


def test_a_merge_takes_attributes_that_are_missing_or_were_removed(shop):
    """OAS: "not set, or are empty, on the primary"."""
    shop.identify({"id": "1"}, plan="own", city="Rome", note="x")
    shop.identify({"id": "1"}, city=None, note="")
    shop.identify({"id": "2"}, plan="other", city="Oslo", note="y", age=3, email="x@y.z")

    shop.merge({"id": "1"}, {"email": "x@y.z"})

    merged = shop.person("1")
    assert shop.people() == ["1"]
    assert merged["email"] == "x@y.z"
    assert merged["attributes"] == {
        "plan": "own",
        "city": "Oslo",
        "note": "y",
        "age": 3,
        "email": "x@y.z",
    }


def test_what_a_merge_brought_can_be_changed_and_removed(shop):
    """It is the person's own from then on."""
    shop.identify({"id": "1"})
    shop.identify({"id": "2"}, city="Oslo", age=3)
    shop.merge({"id": "1"}, {"id": "2"})

    shop.identify({"id": "1"}, city="Bern", age=None)

    assert shop.person("1")["attributes"] == {"city": "Bern"}


def test_a_merge_takes_topics_one_by_one(shop):
    """A preference of the primary stays, another one comes along."""
    topics = "cio_subscription_preferences.topics."
    shop.identify({"id": "1"}, **{f"{topics}topic_1": True})
    shop.identify({"id": "2"}, **{f"{topics}topic_1": False, f"{topics}topic_2": False})

    shop.merge({"id": "1"}, {"id": "2"})

    preferences = shop.person("1")["attributes"]["cio_subscription_preferences"]
    assert preferences == {"topics": {"topic_1": True, "topic_2": False}}


@pytest.mark.parametrize(("switch", "kept"), [("all", 2), ("30 days", 1)])
def test_a_merge_takes_the_events(open_shop, switch, kept):
    """All of them, as the newer documentation says; by a switch those of the last 30 days."""
    shop = open_shop(merged_events=switch)
    shop.identify({"id": "1"})
    for days in (1, 40):
        shop.event({"id": "2"}, timestamp=NOW_S - days * DAY_S)

    shop.v1("POST", "merge_customers", {"primary": {"id": "1"}, "secondary": {"id": "2"}})

    assert shop.person("1")["events"] == shop.get("stats")["events"] == kept


def test_a_merge_takes_manual_segments(shop):
    """OAS: those that the primary did not belong to."""
    shop.identify({"id": "1"})
    shop.identify({"id": "2"})
    shop.v1("POST", "segments/7/add_customers", {"ids": ["2", "2"]})
    shop.v1("POST", "segments/8/add_customers", {"ids": ["1", "2"]})

    shop.merge({"id": "1"}, {"id": "2"})

    assert shop.members(7) == shop.members(8) == ["1"]
    assert shop.person("1")["segments"] == [7, 8]
    shop.v1("POST", "segments/7/remove_customers", {"ids": ["1"]})
    assert shop.members(7) == []


def test_a_merge_within_one_batch_is_in_its_place(shop):
    """What stands before it passes over, what stands after it does not."""

    def operation(action, who, **more):
        return {"type": "person", "action": action, "identifiers": {"id": who}, **more}

    shop.send(
        operation("identify", "1", attributes={"plan": "own"}),
        operation("identify", "2", attributes={"plan": "other", "city": "Oslo"}),
        operation("event", "2", name="before"),
        {"type": "person", "action": "merge", "primary": {"id": "1"}, "secondary": {"id": "2"}},
        operation("identify", "2", attributes={"age": 5}),
        operation("event", "2", name="after"),
    )

    assert shop.person("1")["attributes"] == {"plan": "own", "city": "Oslo"}
    assert [each["name"] for each in shop.person("1")["last_events"]] == ["before"]
    assert shop.person("2")["attributes"] == {"age": 5}
    assert [each["name"] for each in shop.person("2")["last_events"]] == ["after"]


def test_a_merge_into_nobody_does_nothing(shop):
    """OAS: the primary must exist."""
    shop.identify({"id": "2"})

    shop.merge({"id": "1"}, {"id": "2"})

    assert shop.people() == ["2"]


# --- automatic merges ---


@pytest.mark.parametrize("by_email", [True, False])
@pytest.mark.parametrize("email_first", [True, False])
def test_an_id_and_an_email_that_belong_together_become_one_person(
    shop, clock, by_email, email_first
):
    """One has only the id, the other only the e-mail: merged into the older profile."""
    people = [({"id": "a"}, {"plan": "x"}), ({"email": "a@x.y"}, {"city": "Oslo"})]
    for identifiers, attributes in people[::-1] if email_first else people:
        shop.identify(identifiers, **attributes)
        clock.now_s += 60

    if by_email:
        shop.identify({"email": "a@x.y"}, id="a", age=3)
    else:
        shop.identify({"id": "a"}, email="a@x.y", age=3)

    (found,) = shop.get("people")["people"]
    assert (found["id"], found["email"], found["number"]) == ("a", "a@x.y", 1)
    assert found["attributes"]["plan"] == "x"
    assert found["attributes"]["city"] == "Oslo"
    assert found["attributes"]["age"] == 3


def test_without_the_setting_the_email_fails_alone(open_shop):
    """Workspaces made before 2021-09-24 do not merge by themselves."""
    shop = open_shop(automatic_merge=False)
    shop.identify({"id": "a"})
    shop.identify({"email": "a@x.y"})

    shop.identify({"id": "a"}, email="a@x.y", age=3)

    assert shop.people() == ["a", "a@x.y"]
    assert shop.person("a")["attributes"] == {"age": 3}


# --- people who come and go ---


def test_the_time_of_creation_is_stamped_where_none_was_sent(shop, clock):
    """Staff, action-destinations#361: now, so that welcome campaigns start; later calls keep it."""
    shop.identify({"id": "1"}, plan="x")
    shop.identify({"id": "2"}, created_at=1_500_000_000)
    shop.event({"id": "3"})
    clock.now_s += 60
    shop.identify({"id": "1"}, plan="y")

    stamps = [each["attributes"]["created_at"] for each in shop.get("people")["people"]]
    assert stamps == [NOW_S, 1_500_000_000, NOW_S]
    recent = {"attribute": {"name": "created_at", "within_days": 1}}
    found = shop.client.post("/sandbox/segments", json=recent).json()
    assert found["people"] == ["1", "3"]
    assert shop.get("breakdown")["stamped_people"] == 2
    shop.identify({"id": "1"}, created_at=1_400_000_000)
    assert shop.person("1")["attributes"]["created_at"] == 1_400_000_000


def test_delete_device_of_nobody_makes_nobody(shop):
    """Nor does taking away a relationship."""
    shop.v1("DELETE", "customers/1/devices/tok")
    shop.do("delete_device", {"id": "2"}, device={"token": "tok"})
    thing = {"identifiers": {"object_type_id": "1", "object_id": "acme"}}
    shop.do("delete_relationships", {"id": "3"}, cio_relationships=[thing])

    assert shop.people() == []


def test_devices_are_kept_until_deleted(shop):
    """v1's id is v2's token; one without `last_used` was used now."""
    body = {"device": {"id": "tok1", "platform": "ios", "last_used": 1}}
    shop.v1("PUT", "customers/1/devices", body)
    shop.do("add_device", {"id": "1"}, device={"token": "tok2", "platform": "android"})
    shop.v1("DELETE", "customers/1/devices/tok1")

    assert shop.person("1")["devices"] == [
        {"token": "tok2", "platform": "android", "last_used": NOW_S}
    ]


def test_manual_segments_take_people_in_and_out(shop):
    """Names that belong to nobody are ignored."""
    for name in "abc":
        shop.identify({"id": name})
    shop.v1("POST", "segments/7/add_customers", {"ids": ["a", "b", "nobody"]})
    shop.v1("POST", "segments/7/remove_customers", {"ids": ["a"]})

    assert shop.members(7) == ["b"]


@pytest.mark.parametrize("number", ["9" * 30, "2147483648", "-1", "٣", "x", "1.5"])
def test_a_segment_that_can_be_none_is_refused(shop, number):
    """400, whatever stands in the path."""
    answer = shop.client.post(f"/api/v1/segments/{number}/add_customers", json={"ids": ["a"]})

    assert answer.status_code == 400


def test_a_person_holds_300_attributes(shop):
    """Control keys do not count; over the limit the change fails under 200."""
    control = {"created_at": 5, "unsubscribed": False, "_update": False, "email": "a@x.y"}
    shop.identify({"id": "1"}, **control, **{f"a{number}": 1 for number in range(300)})

    shop.identify({"id": "1"}, a0=2)
    shop.identify({"id": "1"}, one_more=1)
    shop.identify({"id": "1"}, a0=None, a1="", instead=1)

    attributes = shop.person("1")["attributes"]
    assert len(attributes) == 299 + 3
    assert attributes["instead"] == 1
    assert "one_more" not in attributes
    assert shop.get("breakdown")["outcomes"]["failed"] == 1


def test_update_only_may_be_a_text(shop):
    """Form-encoded bodies know nothing else."""
    shop.identify({"id": "1"}, _update="true", plan="x")

    assert shop.people() == []


@pytest.mark.parametrize("as_text", [True, False])
def test_a_dotted_key_keeps_the_preferences_before_it(shop, as_text):
    """Whether they came as an object or as JSON text."""
    text = '{"topics":{"topic_1":true}}'
    given = text if as_text else {"topics": {"topic_1": True}}
    shop.identify({"id": "1"}, cio_subscription_preferences=given)
    shop.identify({"id": "1"}, **{"cio_subscription_preferences.topics.topic_2": False})

    kept = shop.person("1")["attributes"]["cio_subscription_preferences"]
    assert kept == {"topics": {"topic_1": True, "topic_2": False}}


# --- visitors ---


def test_a_visitors_events_are_the_persons_up_to_five_minutes_later(shop, clock):
    """Later ones wait for the next identify (docs, anonymous-events)."""
    names = []
    for name, later_s in [("before", 0), ("within", 299), ("after", 2)]:
        clock.now_s += later_s
        shop.v1("POST", "events", {"name": name, "anonymous_id": "anon"})
        if name == "before":
            shop.identify({"id": "1"}, anonymous_id="anon")
        names.append([each["name"] for each in shop.person("1")["last_events"]])

    assert names == [["before"], ["within", "before"], ["within", "before"]]
    shop.identify({"id": "1"}, anonymous_id="anon")
    assert shop.person("1")["events"] == shop.get("stats")["events"] == 3


def test_a_visitors_events_wait_thirty_days_from_their_arrival(shop, clock):
    """Their own time does not matter: an event of years ago that came today is handed over."""
    old = {"name": "old", "anonymous_id": "anon", "timestamp": 1_400_000_000}
    shop.v1("POST", "events", old)
    clock.now_s += 31 * DAY_S
    shop.v1("POST", "events", {**old, "name": "late"})

    shop.identify({"id": "1"}, anonymous_id="anon")

    assert [each["name"] for each in shop.person("1")["last_events"]] == ["late"]
    assert shop.get("stats")["events"] == 2


def test_a_merge_hands_visitors_over(shop, clock):
    """What still comes of them is the primary's."""
    shop.identify({"id": "1"})
    shop.identify({"id": "2"}, anonymous_id="anon")
    shop.merge({"id": "1"}, {"id": "2"})
    clock.now_s += 5

    shop.event({"anonymous_id": "anon"})

    assert shop.person("1")["events"] == 1


# --- forms, objects, messages ---


def test_a_form_makes_and_changes_a_person(shop):
    """OAS: like an identify; the service's own keys are ignored, and the id may be an integer."""
    shop.v1("POST", "forms/1/submit", {"data": {"id": 12345, "food": "pizza", "form_url": "x"}})
    shop.v1("POST", "forms/1/submit", {"data": {"email": "x@y.z", "food": "pasta"}})
    answer = shop.v1("POST", "forms/1/submit", {"data": {"id": "12345", "food": ""}})

    assert (answer.status_code, answer.content) == (204, b"")
    assert shop.people() == ["12345", "x@y.z"]
    assert "food" not in shop.person("12345")["attributes"]
    assert shop.person("x@y.z")["attributes"] == {"email": "x@y.z", "food": "pasta"}
    forms = shop.get("forms")["forms"]
    assert [(each["form"], each["person"]) for each in forms] == [
        ("1", "12345"),
        ("1", "x@y.z"),
        ("1", "12345"),
    ]
    assert forms[0]["data"] == {"id": 12345, "food": "pizza"}


def thing(name="acme", **attributes):
    """A relationship to an object."""
    given = {"identifiers": {"object_type_id": "1", "object_id": name}}
    return {**given, "relationship_attributes": attributes} if attributes else given


def test_objects_and_relationships_can_be_seen(shop):
    """From either side, with their attributes, until one of the two is gone."""
    for name in ("1", "2", "3"):
        shop.identify({"id": name})
    shop.send(
        {
            "type": "object",
            "action": "identify",
            "identifiers": {"object_type_id": "1", "object_id": "acme"},
            "attributes": {"name": "Acme", "seats": 50},
            "cio_relationships": [
                {"identifiers": {"id": "1"}, "relationship_attributes": {"role": "admin"}},
                {"identifiers": {"id": "nobody"}},
            ],
        }
    )
    shop.do("add_relationships", {"id": "2"}, cio_relationships=[thing(role="user"), thing("b")])
    shop.v1(
        "PUT",
        "customers/3",
        {"cio_relationships": {"action": "add_relationships", "relationships": [thing()]}},
    )
    shop.do("delete_relationships", {"id": "3"}, cio_relationships=[thing()])

    acme, other = shop.get("objects")["objects"]
    assert (acme["object"], acme["attributes"]) == ("1:acme", {"name": "Acme", "seats": 50})
    assert (acme["people"], other["object"], other["people"]) == (["1", "2"], "1:b", ["2"])
    assert shop.person("1")["relationships"] == [
        {"object": "1:acme", "attributes": {"role": "admin"}}
    ]
    shop.merge({"id": "1"}, {"id": "2"})
    assert [each["object"] for each in shop.person("1")["relationships"]] == ["1:acme", "1:b"]
    assert shop.person("1")["relationships"][0]["attributes"] == {"role": "admin"}
    shop.send(
        {
            "type": "object",
            "action": "delete",
            "identifiers": {"object_type_id": "1", "object_id": "acme"},
        }
    )
    assert [each["object"] for each in shop.get("objects")["objects"]] == ["1:b"]
    assert [each["object"] for each in shop.person("1")["relationships"]] == ["1:b"]


def test_a_visitors_relationship_becomes_the_persons(shop):
    """OAS, `identify_anonymous`: it carries over when the person is identified."""
    shop.send(
        {
            "type": "object",
            "action": "identify_anonymous",
            "identifiers": {"object_type_id": "1", "object_id": "acme"},
            "cio_relationships": [{"identifiers": {"anonymous_id": "anon"}}],
        }
    )
    assert shop.get("objects")["objects"][0]["people"] == []

    shop.identify({"id": "1"}, anonymous_id="anon")

    assert shop.get("objects")["objects"][0]["people"] == ["1"]


def test_attributes_of_a_relationship_have_limits(shop):
    """1000 bytes each, as everywhere."""
    item = {
        "type": "person",
        "action": "add_relationships",
        "identifiers": {"id": "1"},
        "cio_relationships": [thing(role="x" * 1001)],
    }

    answer = shop.client.post("/api/v2/entity", json=item)

    assert answer.status_code == 400
    field = answer.json()["errors"][0]["field"]
    assert field == "cio_relationships[0].relationship_attributes.role"


def test_metrics_and_unsubscribes_can_be_seen(shop):
    """Both ways to report push metrics, one of which stands outside of /api/v1."""
    shop.v1("POST", "metrics", {"delivery_id": "d1", "metric": "opened"})
    shop.v1("POST", "push/events", {"delivery_id": "d2", "event": "opened"})
    old = shop.client.post("/push/events", json={"delivery_id": "d3", "event": "opened"})
    gone = httpx.post(f"{shop.client.base_url}/unsubscribe/d4", json={"unsubscribe": True})

    assert (old.status_code, gone.status_code) == (200, 200)
    found = shop.get("messages")["messages"]
    assert [(each["kind"], each["delivery"]) for each in found] == [
        ("metric", "d1"),
        ("push_event", "d2"),
        ("push_event", "d3"),
        ("unsubscribe", "d4"),
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/metrics", {"delivery_id": "", "metric": "opened"}),
        ("/api/v1/metrics", {"delivery_id": " ", "metric": "opened"}),
        ("/api/v1/push/events", {"delivery_id": "", "event": "opened"}),
        ("/push/events", {"delivery_id": "", "event": "opened"}),
        ("/unsubscribe/%20", {"unsubscribe": True}),
        ("/unsubscribe/", {"unsubscribe": True}),
    ],
)
def test_a_blank_delivery_is_refused(shop, path, body):
    """Nothing can be attributed to it."""
    assert shop.client.post(path, json=body).status_code == 400


def test_credentials_can_be_checked(shop):
    """The undocumented path that Segment and Hull ask."""
    answer = shop.client.get("/auth")

    assert answer.json() == {"meta": {"message": "nice credentials."}}
    assert httpx.get(f"{shop.client.base_url}/auth").status_code == 401


@pytest.mark.parametrize("kind", ["custom", "viewed_content", "event", ""])
def test_a_type_that_is_no_page_or_screen_is_an_event(shop, kind):
    """OAS: "Any other event, is given the `event` type"."""
    shop.v1("POST", "customers/1/events", {"name": "x", "type": kind})

    assert [each["type"] for each in shop.get("events")["events"]] == ["event"]


def test_an_entity_is_measured_on_the_wire(shop):
    """Blanks count: the limit is the request's."""
    item = b'{"type":"person","action":"identify","identifiers":{"id":"1"}}'

    for size, status in ((32_000, 200), (32_001, 400)):
        answer = shop.client.post("/api/v2/entity", content=item.ljust(size))
        assert answer.status_code == status


def test_an_id_that_is_no_ulid_tells_no_repeats(shop):
    """Segment's destination sends such ids, and the events are kept."""
    for _ in range(2):
        shop.event({"id": "1"}, id="ajs-next-1")

    assert shop.get("stats")["events"] == 2


@pytest.mark.parametrize(
    ("form", "attributes"),
    [
        ("data[price]=23.45", {"price": "23.45"}),
        ("data[tags][]=a&data[tags][]=b", {"tags": ["a", "b"]}),
        ("data[a][b][c]=d&data[a][b][e]=f", {"a": {"b": {"c": "d", "e": "f"}}}),
        (
            "data[rows][][id]=1&data[rows][][name]=x&data[rows][][id]=2",
            {"rows": [{"id": "1", "name": "x"}, {"id": "2"}]},
        ),
        ("data[a]=1&data[a][b]=2", {"a": "1"}),
        ("data[%C3%BC]=%26%3D", {"ü": "&="}),
    ],
)
def test_a_form_body_is_read_as_form_parsers_read_it(shop, form, attributes):
    """Old Ruby clients send events so."""
    content = f"name=purchased&timestamp=1359389415&{form}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = shop.client.post("/api/v1/customers/5/events", content=content, headers=headers)

    (kept,) = shop.get("events")["events"]
    assert answer.status_code == 200
    assert (kept["name"], kept["timestamp"]) == ("purchased", 1359389415)
    assert kept["attributes"] == attributes


@pytest.mark.parametrize("form", [f"a{'[b]' * 5000}=1", f"name=x&timestamp={'9' * 5000}"])
def test_a_form_body_that_is_too_much_breaks_nothing(shop, form):
    """Too deep is refused; a timestamp of 5000 digits is none."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = shop.client.post("/api/v1/customers/5/events", content=form, headers=headers)

    assert answer.status_code in {200, 400}
