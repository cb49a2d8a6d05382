"""A random history ends the same, wherever the sandbox was restarted or killed in between."""

import contextlib
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.sandbox import Behaviour, SandboxSettings, listings
from backfill.sandbox.api_v2 import read_item
from backfill.sandbox.behaviour import DAY_S
from backfill.sandbox.store import Store
from backfill.sandbox.workspace import Workspace
from tests.support.examples import examples

NOW_S = 1_790_000_000
MANY = 10_000

IDS = st.sampled_from(["1", "2", "3", "A", "a"])
EMAILS = st.sampled_from(["x@y.z", "X@Y.z", "a@b.c"])
ANONYMOUS = st.sampled_from(["v1", "v2"])
PEOPLE = st.one_of(
    st.fixed_dictionaries({"id": IDS}),
    st.fixed_dictionaries({"email": EMAILS}),
    st.fixed_dictionaries({"phone": st.sampled_from(["+1", "+2"])}),
    st.fixed_dictionaries({"cio_id": st.sampled_from(["a5b000001", "a5b000002"])}),
)
VALUES = st.one_of(st.none(), st.just(""), st.integers(0, 3), st.sampled_from(["free", "gold"]))
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "id": IDS,
        "email": EMAILS,
        "phone": st.sampled_from(["+1", "+2"]),
        "plan": VALUES,
        "city": VALUES,
        "created_at": st.sampled_from([None, 5]),
        "anonymous_id": ANONYMOUS,
        "_update": st.booleans(),
        "cio_subscription_preferences.topics.topic_1": st.booleans(),
    },
)
OBJECTS = st.fixed_dictionaries({"object_type_id": st.just("1"), "object_id": IDS})


def person(action, **more):
    """Operations about a person."""
    return st.fixed_dictionaries({"type": st.just("person"), "action": action, **more})


def linked(identifiers):
    """A list of one relationship."""
    one = {"identifiers": identifiers, "relationship_attributes": st.just({"role": "x"})}
    return st.lists(st.fixed_dictionaries(one), min_size=1, max_size=1)


TIMES = st.one_of(st.integers(NOW_S - 60 * DAY_S, NOW_S), st.just("2020-01-01"))
OPERATIONS = st.one_of(
    person(st.just("identify"), identifiers=PEOPLE, attributes=ATTRIBUTES),
    person(st.just("identify"), identifiers=PEOPLE, attributes=ATTRIBUTES, timestamp=TIMES),
    person(
        st.sampled_from(["event", "page"]),
        identifiers=st.one_of(PEOPLE, st.fixed_dictionaries({"anonymous_id": ANONYMOUS})),
        name=st.sampled_from(["bought", "seen", ""]),
        timestamp=TIMES,
        id=st.one_of(st.integers(0, 5).map("{:026d}".format), st.just("no ULID")),
    ),
    person(st.sampled_from(["delete", "suppress", "unsuppress"]), identifiers=PEOPLE),
    person(
        st.just("merge"),
        primary=st.fixed_dictionaries({"id": IDS}),
        secondary=st.one_of(
            st.fixed_dictionaries({"id": IDS}), st.fixed_dictionaries({"email": EMAILS})
        ),
    ),
    person(
        st.sampled_from(["add_device", "delete_device"]),
        identifiers=PEOPLE,
        device=st.just({"token": "t", "platform": "ios"}),
    ),
    person(
        st.sampled_from(["add_relationships", "delete_relationships"]),
        identifiers=PEOPLE,
        cio_relationships=linked(OBJECTS),
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("object"),
            "action": st.sampled_from(["identify", "identify_anonymous"]),
            "identifiers": OBJECTS,
            "attributes": st.fixed_dictionaries({"size": st.integers(0, 2)}),
            "cio_relationships": linked(
                st.one_of(PEOPLE, st.fixed_dictionaries({"anonymous_id": ANONYMOUS}))
            ),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("object"), "action": st.just("delete"), "identifiers": OBJECTS}
    ),
)
STEPS = st.lists(
    st.tuples(
        st.lists(OPERATIONS, min_size=1, max_size=6),
        st.sampled_from([0, 1, 200, 20 * DAY_S]),
        st.sampled_from(["", "", "restart", "kill", "kill inside"]),
        st.sampled_from([None, None, {"automatic_merge": False}, {"merged_events": "30 days"}]),
    ),
    max_size=12,
)


OLD, NEW = {"since": 2020}, {"role": "x"}


class KilledError(Exception):
    """The process was killed."""


class MortalStore(Store):
    """A store whose process may be killed once the tables were written in the middle of a batch."""

    dies = False

    def flush(self, changes):
        """Write, and die if it is to be."""
        super().flush(changes)
        if self.dies:
            raise KilledError


class Twin:
    """A workspace in a folder, or in memory where no restart ever happens."""

    def __init__(self, folder=None):
        self.folder = folder
        self.now_s = float(NOW_S)
        self.open()

    def open(self):
        """Start it."""
        self.store = MortalStore(self.folder)
        clock = lambda: self.now_s  # noqa: E731
        behaviour = Behaviour(dedupe_window_s=300)
        self.workspace = Workspace(self.store, SandboxSettings(behaviour=behaviour), clock)

    def end(self, how):
        """End it and start it again; a kill leaves what was logged to the log."""
        if how == "restart":
            self.workspace.flush()
        self.store.close()
        self.open()

    def take(self, number, items, switches, *, dies=False):
        """One batch, and what a segment call does; the log finishes one that was killed inside."""
        started = self.workspace.settings.behaviour
        if switches:
            self.workspace.behave(Behaviour(dedupe_window_s=300, **switches))
        operations = [read_item(each, self.workspace.settings.behaviour) for each in items]
        self.workspace.ledger.requests += 1
        self.store.dies = dies
        try:
            self.workspace.apply(operations, number)
        except KilledError:
            self.end("kill")
        self.store.dies = False
        self.workspace.behave(started)

    def everything(self):
        """All that can be seen of it."""
        self.workspace.flush()
        people = listings.people(self.store, MANY, 0)
        return {
            "stats": self.workspace.ledger.everything(),
            "people": people,
            "each": [listings.person(self.store, p["number"]) for p in people["people"]],
            "events": listings.events(self.store, MANY, 0, listings.EventFilter()),
            "arrivals": listings.arrivals(self.store, MANY, 0),
            "objects": listings.objects(self.store, MANY, 0),
            "timeline": listings.timeline(self.store),
        }


@settings(max_examples=examples(12), suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_a_history_ends_the_same_with_and_without_restarts(steps):
    """Deleted and merged people come back alike, visitors are known, no event is lost or new."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        one, other = Twin(), Twin(Path(folder))
        for twin in (one, other):
            stack.callback(lambda twin=twin: twin.store.close())
        for number, (items, later_s, end, switches) in enumerate(steps, 1):
            for twin in (one, other):
                twin.now_s += later_s
                twin.take(number, items, switches, dies=twin is other and end == "kill inside")
            if end:
                other.end(end)
        assert other.everything() == one.everything()
        assert one.workspace.ledger.people == len(one.everything()["people"]["people"])
        assert one.workspace.ledger.events == len(one.everything()["events"]["events"])


def test_a_merge_takes_relationships_over_whatever_comes_behind_it():
    """What the one who stays is given later does not keep what was there from being handed over."""
    given = {"action": "add_relationships", "type": "person"}
    acme = {"object_type_id": "1", "object_id": "acme"}
    both = [{**given, "identifiers": {"id": each}} for each in ("stays", "goes")]
    old = {**both[1], "cio_relationships": [{"identifiers": acme, "relationship_attributes": OLD}]}
    new = {**both[0], "cio_relationships": [{"identifiers": acme, "relationship_attributes": NEW}]}
    known = {"type": "person", "action": "identify", "identifiers": {"id": "stays"}}
    merge = {"primary": {"id": "stays"}, "secondary": {"id": "goes"}}
    found = []
    for flushed in (True, False):
        twin = Twin()
        twin.take(1, [known, old, {"type": "person", "action": "merge", **merge}], None)
        if flushed:
            twin.workspace.flush()
        twin.take(2, [new], None)
        found.append(twin.everything()["each"][0]["relationships"])
        twin.store.close()
    assert found == [[{"object": "1:acme", "attributes": OLD | NEW}]] * 2


def test_a_deleted_person_comes_back_after_a_restart(tmp_path):
    """Also one who was merged away: the names are free again."""
    twin = Twin(tmp_path)
    who = {"type": "person", "identifiers": {"id": "1"}}
    other = {"type": "person", "identifiers": {"id": "2"}}
    merge = {"type": "person", "action": "merge", "primary": {"id": "3"}, "secondary": {"id": "2"}}
    third = {"type": "person", "action": "identify", "identifiers": {"id": "3"}}
    twin.take(1, [{**who, "action": "identify"}, {**who, "action": "delete"}], None)
    twin.take(2, [{**other, "action": "identify"}, third, merge], None)
    twin.end("restart")

    for again in (who, other):
        twin.take(3, [{**again, "action": "identify", "attributes": {"plan": "x"}}], None)

    found = twin.everything()["people"]["people"]
    twin.store.close()
    assert [each["id"] for each in found] == ["3", "1", "2"]
    assert [each["attributes"].get("plan") for each in found] == [None, "x", "x"]


def test_a_log_whose_last_line_was_cut_off_is_read_up_to_there(tmp_path):
    """That request was never answered."""
    twin = Twin(tmp_path)
    one = {"type": "person", "action": "identify", "identifiers": {"id": "1"}}
    twin.take(1, [one], None)
    twin.take(2, [{**one, "identifiers": {"id": "2"}}], None)
    twin.store.close()
    log = tmp_path / "requests.log"
    log.write_bytes(log.read_bytes()[:-9])

    twin.open()

    assert [each["id"] for each in twin.everything()["people"]["people"]] == ["1"]
    twin.store.close()


THING = {"object_type_id": "1", "object_id": "acme"}


def test_what_a_visitor_brings_too_late_stays_nobodys(tmp_path):
    """Also while the handover of what came before still waits to be written."""
    twin = Twin(tmp_path)
    links = [{"identifiers": {"anonymous_id": "v"}}]
    seen = {"type": "object", "action": "identify_anonymous", "identifiers": THING}
    who = {"type": "person", "action": "identify", "identifiers": {"id": "1"}}
    late = {"type": "person", "action": "event", "identifiers": {"anonymous_id": "v"}, "name": "x"}
    twin.take(1, [{**seen, "cio_relationships": links}], None)
    twin.take(2, [{**who, "attributes": {"anonymous_id": "v"}}], None)
    twin.now_s += 301
    twin.take(3, [late], None)

    (person,) = twin.everything()["each"]
    twin.store.close()
    assert person["events"] == 0
    assert [each["object"] for each in person["relationships"]] == ["1:acme"]


def test_a_batch_that_was_killed_inside_is_done_once(tmp_path):
    """What it had written before is not done again, and what it had not is."""
    twin = Twin(tmp_path)
    who = {"type": "person", "action": "identify", "identifiers": {"id": "1"}}
    waits = {"type": "person", "action": "event", "identifiers": {"anonymous_id": "v"}, "name": "x"}
    seen = {"type": "person", "action": "event", "identifiers": {"id": "1"}, "name": "y"}
    batch = [who, waits, seen, {**who, "attributes": {"anonymous_id": "v"}}, seen]

    twin.take(1, batch, None, dies=True)

    found = twin.everything()
    twin.store.close()
    assert [each["name"] for each in found["events"]["events"]] == ["x", "y", "y"]
    assert [each["events"] for each in found["each"]] == [3]
    assert found["stats"]["operations"] == len(batch)


def test_an_identify_that_asked_the_tables_is_done_once(tmp_path):
    """A kill after it: what the log does again finds the person as before."""
    twin = Twin(tmp_path)
    who = {"type": "person", "action": "identify", "identifiers": {"phone": "+1"}}
    twin.take(1, [{**who, "attributes": {"plan": "a"}}], None)
    event = {"type": "person", "action": "event", "identifiers": {"anonymous_id": "v"}, "name": "x"}
    renamed = {"phone": "+2", "anonymous_id": "v"}
    twin.take(2, [event, {**who, "attributes": renamed}], None)
    twin.end("kill")

    (person,) = twin.everything()["each"]
    twin.store.close()
    assert (person["phone"], person["events"], person["attributes"]["plan"]) == ("+2", 1, "a")
