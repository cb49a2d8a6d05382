"""What the workspace holds, as JSON values; every list comes in pages."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import orjson

from backfill.sandbox.identities import cio_id
from backfill.sandbox.store import Store

Report = Callable[..., dict[str, Any]]
LAST_EVENTS = 50
NAMES_SHOWN = 7
CONTROL_KEYS = frozenset({"_update", "_timestamp", "cio_relationships", "cio_id"})
TOPICS = "cio_subscription_preferences.topics."


class EventFilter(NamedTuple):
    """Which events: by name, person (number), and moment (unix seconds, both ends included)."""

    name: str | None = None
    person: int | None = None
    since_s: int | None = None
    until_s: int | None = None


def people(store: Store, limit: int, after: int, search: str = "") -> dict[str, Any]:
    """People by number: `{"people": [{id, email, …, attributes}], "next": number or None}`.

    With `search` only those in whose id or e-mail it occurs, in either case.
    """
    rows = store.read(
        "SELECT number, id, email, phone, since_s, bare FROM active WHERE number > $after"
        " AND ($search = '' OR contains(lower(concat_ws(' ', id, email)), lower($search)))"
        " ORDER BY number LIMIT $limit",
        {"after": after, "limit": limit, "search": search},
    )
    last = rows[-1]["number"] if rows else 0
    known = attributes(store, after, last)
    found = [_person(row, known.get(row["number"], {})) for row in rows]
    return {"people": found, "next": last if len(rows) == limit else None}


def person(store: Store, number: int) -> dict[str, Any]:
    """One person: attributes, devices, the number of events, and the last of them."""
    (row,) = store.read(
        "SELECT number, id, email, phone, since_s, bare FROM people WHERE number = ?", [number]
    )
    known = attributes(store, number - 1, number)
    (count,) = store.read("SELECT count(*) AS events FROM events WHERE person = ?", [number])
    last = store.read(
        "SELECT arrival, kind, event_id, name, occurred_s, replaced, payload, identifier, named"
        " FROM events WHERE person = ? ORDER BY occurred_s DESC, arrival DESC LIMIT ?",
        [number, LAST_EVENTS],
    )
    return {
        **_person(row, known.get(number, {})),
        "devices": _devices(store, number),
        "events": count["events"],
        "last_events": [_event(event) for event in last],
    }


def events(store: Store, limit: int, after: int, chosen: EventFilter) -> dict[str, Any]:
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


def arrivals(store: Store, limit: int, after: int) -> dict[str, Any]:
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


def timeline(store: Store) -> dict[str, Any]:
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


def _next(rows: list[dict[str, Any]], limit: int) -> int | None:
    return rows[-1]["arrival"] if len(rows) == limit else None


def _person(row: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": row["number"],
        "cio_id": cio_id(row["number"]),
        "id": row["id"],
        "email": row["email"],
        "phone": row["phone"],
        "since": row["since_s"],
        "bare": row["bare"],
        "attributes": attributes,
    }


def _event(row: dict[str, Any]) -> dict[str, Any]:
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


def attributes(store: Store, after: int, last: int) -> dict[int, dict[str, Any]]:
    """The attributes of the people numbered `after + 1` to `last`, from their whole history."""
    rows = store.read(
        "SELECT person, payload FROM changes WHERE person > ? AND person <= ?"
        " ORDER BY person, occurred_s, arrival",
        [after, last],
    )
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        fold(found.setdefault(row["person"], {}), orjson.loads(row["payload"]).items())
    return found


def fold(attributes: dict[str, Any], change: Iterable[tuple[str, Any]]) -> None:
    """Apply a change: null and the empty text remove, and keys that steer are no attributes.

    A dotted key sets one topic of the subscription preferences and leaves the others.
    """
    for name, value in change:
        if name in CONTROL_KEYS:
            continue
        if name.startswith(TOPICS):
            topic = name.removeprefix(TOPICS)
            preferences = attributes.get("cio_subscription_preferences")
            topics = preferences.get("topics") if isinstance(preferences, dict) else None
            kept = topics if isinstance(topics, dict) else {}
            attributes["cio_subscription_preferences"] = {"topics": {**kept, topic: value}}
        elif value is None or value == "":
            attributes.pop(name, None)
        else:
            attributes[name] = value


def _devices(store: Store, number: int) -> list[dict[str, Any]]:
    """The devices that were added and not deleted since, by token."""
    rows = store.read(
        "SELECT kind, name, payload FROM arrivals WHERE person = ?"
        " AND kind IN ('add_device', 'delete_device') AND outcome = 'applied' ORDER BY arrival",
        [number],
    )
    devices: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["kind"] == "add_device":
            devices[row["name"]] = {**orjson.loads(row["payload"]), "token": row["name"]}
        else:
            devices.pop(row["name"], None)
    return list(devices.values())
