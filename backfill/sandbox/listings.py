"""What the workspace holds, as JSON values; every list comes in pages.

A page takes `limit` and `after`, the number of the last row of the page before, and gives the
following `after` as `next`, or None at the end.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from backfill.sandbox.identities import cio_id
from backfill.sandbox.store import Store

Listing = Callable[..., dict[str, Any]]
Row = dict[str, Any]
LAST_EVENTS = 50
NAMES_SHOWN = 7
CONTROL_KEYS = frozenset({"_update", "_timestamp", "cio_relationships", "cio_id"})
"""Keys of an identify that steer it and are no attributes (OAS, `identify`)."""
PREFERENCES = "cio_subscription_preferences"
TOPICS = f"{PREFERENCES}.topics."
MESSAGE_KINDS = ("metric", "push_event", "delivery_event", "unsubscribe")


class EventFilter(NamedTuple):
    """Which events: by name, person (number), and time (unix seconds, both ends included)."""

    name: str | None = None
    person: int | None = None
    since_s: int | None = None
    until_s: int | None = None


def people(store: Store, limit: int, after: int, search: str = "") -> Row:
    """People by number: `{"people": [{id, email, …, attributes}], "next": number or None}`.

    With `search` only those in whose id or e-mail it occurs, in either case.
    """
    rows = store.read(
        "SELECT number, id, email, phone, since_s, bare, stamped FROM active WHERE number > $after"
        " AND ($search = '' OR contains(lower(concat_ws(' ', id, email)), lower($search)))"
        " ORDER BY number LIMIT $limit",
        {"after": after, "limit": limit, "search": search},
    )
    # one query for the attributes of the whole page, by the range of its numbers
    last = rows[-1]["number"] if rows else 0
    known = _attributes_between(store, after, last)
    found = [_person(row, known.get(row["number"], {})) for row in rows]
    return {"people": found, "next": last if len(rows) == limit else None}


def person(store: Store, number: int) -> Row:
    """One person: attributes, devices, relationships, segments, and the last events."""
    (row,) = store.read(
        "SELECT number, id, email, phone, since_s, bare, stamped FROM people WHERE number = ?",
        [number],
    )
    last = store.read(
        "SELECT arrival, kind, event_id, name, occurred_s, replaced, payload, identifier, named"
        " FROM events WHERE person = ? ORDER BY occurred_s DESC, arrival DESC LIMIT ?",
        [number, LAST_EVENTS],
    )
    segments = store.read(
        "SELECT segment FROM memberships WHERE person = ? ORDER BY segment", [number]
    )
    return {
        **_person(row, attributes(store, number)),
        "devices": _devices(store, number),
        "relationships": [
            {"object": link["thing"], "attributes": link["attributes"]}
            for link in _links(store, "person = ?", [number])
        ],
        "segments": [each["segment"] for each in segments],
        "events": events_since(store, number, 0.0),
        "last_events": [_event(event) for event in last],
    }


def events(store: Store, limit: int, after: int, chosen: EventFilter) -> Row:
    """Events that are kept, by arrival; those of deleted people are not."""
    rows = store.read(
        "SELECT arrival, kind, identifier, named, event_id, name, occurred_s, replaced, payload"
        " FROM events LEFT JOIN people ON person = number"
        " WHERE arrival > $after AND (person IS NULL OR state = 'active')"
        " AND ($name IS NULL OR name = $name) AND ($person IS NULL OR person = $person)"
        " AND ($since IS NULL OR occurred_s >= $since)"
        " AND ($until IS NULL OR occurred_s <= $until) ORDER BY arrival LIMIT $limit",
        {
            "after": after,
            "limit": limit,
            "name": chosen.name,
            "person": chosen.person,
            "since": chosen.since_s,
            "until": chosen.until_s,
        },
    )
    return {"events": [_event(row) for row in rows], "next": _next(rows, limit)}


def arrivals(store: Store, limit: int, after: int) -> Row:
    """Every operation, also refused and repeated ones, by arrival."""
    rows = store.read(
        "SELECT arrival, request, received_s, kind, outcome, identifier, named AS person,"
        " event_id, name, occurred_s, replaced, body_hash, problem FROM arrivals"
        " WHERE arrival > ? ORDER BY arrival LIMIT ?",
        [after, limit],
    )
    for row in rows:
        row["body_hash"] = f"{row['body_hash']:016x}"
    return {"arrivals": rows, "next": _next(rows, limit)}


def objects(store: Store, limit: int, after: int) -> Row:
    """Objects with their attributes and people, by the arrival that made each.

    Returns:
        `{"objects": [{"arrival", "object", "attributes", "people", "relationships"}], "next"}`;
        `object` is type and id (`1:acme`), `people` are the active ones, by id, else e-mail, else
        `cio_…`, and `relationships` what is known of each one's.
    """
    rows = store.read(
        "WITH signs AS (SELECT name AS thing, arrival, kind = 'object_delete' AS gone FROM arrivals"
        " WHERE starts_with(kind, 'object_') AND outcome = 'applied'"
        " UNION ALL SELECT thing, arrival, FALSE FROM links WHERE added),"
        " ends AS (SELECT thing, coalesce(max(arrival) FILTER (gone), 0) AS ended FROM signs"
        " GROUP BY thing)"
        " SELECT thing, min(arrival) AS arrival, ended FROM signs JOIN ends USING (thing)"
        " WHERE arrival > ended GROUP BY thing, ended HAVING min(arrival) > ?"
        " ORDER BY arrival, thing LIMIT ?",
        [after, limit],
    )
    found = []
    for row in rows:
        links = _links(store, "thing = ?", [row["thing"]])
        found.append(
            {
                "arrival": row["arrival"],
                "object": row["thing"],
                "attributes": _object_attributes(store, row["thing"], row["ended"]),
                "people": [link["who"] for link in links],
                "relationships": {link["who"]: link["attributes"] for link in links},
            }
        )
    return {"objects": found, "next": _next(rows, limit)}


def forms(store: Store, limit: int, after: int) -> Row:
    """Submitted forms, by arrival: `{"forms": [{arrival, form, person, data, …}], "next"}`."""
    rows = store.read(
        "SELECT arrival, received_s, outcome, name AS form, named AS person, payload AS data"
        " FROM arrivals WHERE kind = 'form' AND arrival > ? AND outcome <> 'rejected'"
        " ORDER BY arrival LIMIT ?",
        [after, limit],
    )
    for row in rows:
        row["data"] = orjson.loads(row["data"])
    return {"forms": rows, "next": _next(rows, limit)}


def merges(store: Store, limit: int, after: int) -> Row:
    """Merges by arrival: `{"merges": [{arrival, outcome, primary, secondary, …}], "next"}`."""
    rows = store.read(
        "SELECT arrival, received_s, outcome, named AS primary, payload AS secondary"
        " FROM arrivals WHERE kind = 'merge' AND arrival > ? AND outcome <> 'rejected'"
        " ORDER BY arrival LIMIT ?",
        [after, limit],
    )
    for row in rows:
        row["secondary"] = orjson.loads(row["secondary"])[1]
    return {"merges": rows, "next": _next(rows, limit)}


def messages(store: Store, limit: int, after: int) -> Row:
    """What was said about deliveries, metrics and unsubscribes, by arrival."""
    rows = store.read(
        "SELECT arrival, received_s, kind, name AS delivery, payload AS data FROM arrivals"
        " WHERE kind IN (SELECT unnest(?)) AND arrival > ? AND outcome = 'applied'"
        " ORDER BY arrival LIMIT ?",
        [list(MESSAGE_KINDS), after, limit],
    )
    for row in rows:
        row["data"] = orjson.loads(row["data"])
    return {"messages": rows, "next": _next(rows, limit)}


def timeline(store: Store) -> Row:
    """Kept events by UTC day and name, from the whole history; rare names come as `None`.

    Returns:
        `{"days": [[day, name, count], …]}`, a day in days since 1970.
    """
    rows = store.read(
        "WITH kept AS (SELECT name, CAST(floor(occurred_s / 86400) AS BIGINT) AS day, count(*) AS n"
        " FROM events LEFT JOIN people ON person = number"
        " WHERE person IS NULL OR state = 'active' GROUP BY ALL),"
        " common AS (SELECT name FROM kept GROUP BY name ORDER BY sum(n) DESC, name LIMIT ?)"
        " SELECT day, common.name AS name, CAST(sum(n) AS BIGINT) AS count"
        " FROM kept LEFT JOIN common ON kept.name = common.name GROUP BY ALL ORDER BY day, name",
        [NAMES_SHOWN],
    )
    return {"days": [[row["day"], row["name"], row["count"]] for row in rows]}


def events_since(store: Store, number: int, since_s: float) -> int:
    """How many events a person has from `since_s` on (unix seconds, their own time)."""
    sql = "SELECT count(*) AS events FROM events WHERE person = ? AND occurred_s >= ?"
    events: int = store.read(sql, [number, since_s])[0]["events"]
    return events


def attributes(store: Store, number: int) -> Row:
    """The attributes of a person, from the whole history."""
    return _attributes_between(store, number - 1, number).get(number, {})


def attributes_until(store: Store, number: int, until_s: float) -> tuple[Row, Row] | None:
    """The attributes of a person and when each was set, by what had arrived at some time.

    Args:
        store: What is asked.
        number: The person.
        until_s: The time, in unix seconds.

    Returns:
        The values by name and the unix seconds by name; None where nothing of the person had
        arrived.
    """
    rows = store.read(
        "SELECT changes.occurred_s, changes.payload FROM changes"
        " LEFT JOIN arrivals USING (arrival)"
        " WHERE changes.person = ? AND coalesce(received_s, 0) <= ?"
        " ORDER BY changes.occurred_s, arrival",
        [number, until_s],
    )
    since = store.read("SELECT since_s FROM people WHERE number = ?", [number])
    if not since or since[0]["since_s"] > until_s:
        return None
    values: Row = {}
    set_s: Row = {}
    for row in rows:
        change = orjson.loads(row["payload"])
        fold(values, change)
        set_s |= dict.fromkeys(change, int(max(row["occurred_s"], since[0]["since_s"])))
    return values, {name: set_s[name] for name in values if name in set_s}


def missing_attributes(store: Store, primary: int, secondary: int) -> Row:
    """What a merge brings to the primary: attributes "not set, or empty" there (OAS).

    Of the subscription preferences each topic is looked at by itself (docs, merge-people).
    """
    own, theirs = attributes(store, primary), attributes(store, secondary)
    gained = {name: value for name, value in theirs.items() if name not in own}
    own_topics, topics = _topics(own.get(PREFERENCES)), _topics(theirs.get(PREFERENCES))
    # dotted keys leave the primary's other topics as they are
    if PREFERENCES in own:
        gained |= {f"{TOPICS}{name}": topics[name] for name in topics.keys() - own_topics.keys()}
    return gained


def fold(attributes: Row, change: Mapping[str, Any]) -> None:
    """Apply a change: null and the empty text remove, and keys that steer are no attributes.

    A dotted key sets one topic or channel of the subscription preferences, and no other.
    """
    for name, value in change.items():
        if name in CONTROL_KEYS:
            continue
        part, _, member = name.removeprefix(f"{PREFERENCES}.").partition(".")
        if name.startswith(f"{PREFERENCES}.") and member:
            kept = _preferences(attributes.get(PREFERENCES))
            attributes[PREFERENCES] = {
                **kept,
                part: {**_preferences(kept.get(part)), member: value},
            }
        # OAS says so of objects and relationships; seen for people (printu/customerio#64)
        elif value is None or value == "":
            attributes.pop(name, None)
        else:
            attributes[name] = value


def _preferences(value: Any) -> Row:
    """Subscription preferences as an object; some clients give them as JSON text."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def _topics(preferences: Any) -> Row:
    topics = _preferences(preferences).get("topics")
    return topics if isinstance(topics, dict) else {}


def _next(rows: list[Row], limit: int) -> int | None:
    return rows[-1]["arrival"] if len(rows) == limit else None


def _person(row: Row, attributes: Row) -> Row:
    return {
        "number": row["number"],
        "cio_id": cio_id(row["number"]),
        "id": row["id"],
        "email": row["email"],
        "phone": row["phone"],
        "since": row["since_s"],
        "bare": row["bare"],
        "created_at_stamped": row["stamped"]
        and attributes.get("created_at") == int(row["since_s"]),
        "attributes": attributes,
    }


def _event(row: Row) -> Row:
    return {
        "arrival": row["arrival"],
        "type": row["kind"],
        "id": row["event_id"],
        "name": row["name"],
        "person": row["named"],
        "identifier": row["identifier"],
        "timestamp": _whole(row["occurred_s"]),
        "timestamp_replaced": row["replaced"],
        "attributes": orjson.loads(row["payload"]),
    }


def _whole(seconds: float) -> float:
    return int(seconds) if seconds == int(seconds) else seconds


def _attributes_between(store: Store, after: int, last: int) -> dict[int, Row]:
    """The attributes of the people numbered `after + 1` to `last`, by number."""
    rows = store.read(
        "SELECT person, payload FROM changes WHERE person > ? AND person <= ?"
        " ORDER BY person, occurred_s, arrival",
        [after, last],
    )
    found: dict[int, Row] = {}
    for row in rows:
        fold(found.setdefault(row["person"], {}), orjson.loads(row["payload"]))
    return found


def _object_attributes(store: Store, thing: str, after: int) -> Row:
    """The attributes of an object, from what arrived after its last deletion."""
    rows = store.read(
        "SELECT payload FROM arrivals WHERE name = ? AND arrival > ? AND outcome = 'applied'"
        " AND kind IN ('object_identify', 'object_identify_anonymous') ORDER BY arrival",
        [thing, after],
    )
    found: Row = {}
    for row in rows:
        fold(found, orjson.loads(row["payload"])["attributes"])
    return found


def _links(store: Store, which: str, parameters: list[Any]) -> list[Row]:
    """Relationships as they are now, between objects that are there and active people.

    Args:
        store: What is asked.
        which: SQL that chooses rows of `links`, with a `?` for each parameter.
        parameters: Their values.

    Returns:
        `thing`, `who` (id, e-mail or `cio_…`) and `attributes` of each.
    """
    rows = store.read(
        "SELECT thing, number, coalesce(id, email) AS who, added, payload"  # noqa: S608
        " FROM links JOIN active ON person = number"
        f" WHERE {which} AND arrival > coalesce((SELECT max(arrival) FROM arrivals"
        " WHERE kind = 'object_delete' AND outcome = 'applied' AND name = thing), 0)"
        " ORDER BY arrival",
        parameters,
    )
    # folded in the order of arrival: relationships have no timestamps
    found: dict[tuple[str, int], Row] = {}
    for row in rows:
        key = row["thing"], row["number"]
        if not row["added"]:
            found.pop(key, None)
            continue
        # a person with neither id nor e-mail still has the workspace's own name
        who = row["who"] or f"cio_{cio_id(row['number'])}"
        link = found.setdefault(key, {"thing": row["thing"], "who": who, "attributes": {}})
        fold(link["attributes"], orjson.loads(row["payload"] or "{}"))
    return list(found.values())


def _devices(store: Store, number: int) -> list[Row]:
    """The devices that were added and not deleted since, by token."""
    rows = store.read(
        "SELECT kind, name, payload FROM arrivals WHERE person = ?"
        " AND kind IN ('add_device', 'delete_device') AND outcome = 'applied' ORDER BY arrival",
        [number],
    )
    # by token: adding the same one again updates it
    devices: dict[str, Row] = {}
    for row in rows:
        if row["kind"] == "add_device":
            devices[row["name"]] = {**orjson.loads(row["payload"]), "token": row["name"]}
        else:
            devices.pop(row["name"], None)
    return list(devices.values())
