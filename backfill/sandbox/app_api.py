"""The App API, as far as an import is verified by it: it reads, and changes nothing.

POST /v1/customers/attributes?id_type=   {"ids": [up to 100]}: those who are there, in that order
GET  /v1/customers/{id}/activities?id_type=&type=&name=&start=&limit=   30 days, newest first
GET  /v1/segments                        manual segments that have members, and saved conditions
GET  /v1/segments/{id}                   one of them
GET  /v1/segments/{id}/customer_count    {"count": n}
GET  /v1/segments/{id}/membership?start=&limit=   {"identifiers": [...], "ids": [...], "next": ""}

Values come back as text (docs, "List customers, attributes, and devices"): numbers and booleans
as they are written in JSON, what is nested as JSON text; that of nested values is assumed from
`cio_subscription_preferences`, the only one that is documented.
"""

from collections import deque
from typing import Any

import orjson
import xxhash

from backfill.sandbox import listings, segments, wire
from backfill.sandbox.behaviour import DAY_S
from backfill.sandbox.identities import Person, cio_id
from backfill.sandbox.operation import Problem
from backfill.sandbox.wire import ApiAnswer, ApiCall
from backfill.sandbox.workspace import Workspace

IDS_MAX = 100
ACTIVITIES_MAX = 100
ACTIVITIES_KEPT_S = 30 * DAY_S
MEMBERS_MAX = 30_000
PER_SECOND_MAX = 10
_ID_TYPES = ("id", "email", "cio_id")
_NUMBERS_FROM = 1_000_000  # saved conditions have names; these numbers are no manual segment's


class AppApi:
    """Answers the App API's requests from a workspace.

    Args:
        workspace: What is asked.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._recent: deque[float] = deque()

    def answer(self, call: ApiCall) -> ApiAnswer:
        """Answer one request whose token was checked; `segments` is the path behind `/v1`."""
        if self._is_over_limit():
            return failure(429, "over the limit of 10 requests a second")
        self._workspace.flush()
        match call.method, *call.segments:
            case "POST", "customers", "attributes":
                return self._attributes(call)
            case "GET", "customers", named, "activities":
                return self._activities(call, named)
            case "GET", "segments":
                return wire.as_json({"segments": self._segments()})
            case "GET", "segments", number, *rest:
                return self._segment(call, number, rest)
            case _:
                return failure(404, "not found")

    def _is_over_limit(self) -> bool:
        """Whether this is more than the tenth request within a second; it counts if it is not."""
        now_s = self._workspace.clock()
        while self._recent and self._recent[0] <= now_s - 1:
            self._recent.popleft()
        if len(self._recent) >= PER_SECOND_MAX and self._workspace.settings.behaviour.app_limited:
            return True
        self._recent.append(now_s)
        return False

    @property
    def _seen_until_s(self) -> float:
        """Up to when what has arrived is shown; answers may lag behind."""
        return self._workspace.clock() - self._workspace.settings.behaviour.app_lag_s

    def _attributes(self, call: ApiCall) -> ApiAnswer:
        body = wire.json_of(call.body)
        asked = {} if isinstance(body, Problem) else body
        ids = asked.get("ids")
        if not isinstance(ids, list) or not 0 < len(ids) <= IDS_MAX:
            return failure(400, f"ids must be a list of 1 to {IDS_MAX} identifiers")
        kind = call.query.get("id_type", "id")
        if kind not in _ID_TYPES:
            return failure(400, "id_type is none")
        found = (self._find(kind, str(each)) for each in ids)
        shown = (self._shown(person) for person in found if person is not None)
        return wire.as_json({"customers": [each for each in shown if each is not None]})

    def _find(self, kind: str, named: str) -> Person | None:
        # Only a cio_id may be written with its prefix: of an id it is a part.
        return self._workspace.find(kind, named.removeprefix("cio_") if kind == "cio_id" else named)

    def _shown(self, person: Person) -> dict[str, Any] | None:
        """A person as the App API shows one; None for one who is not to be seen yet."""
        known = listings.attributes_until(self._workspace.store, person.number, self._seen_until_s)
        if known is None:
            return None
        attributes, changed = known
        attributes |= {name: getattr(person, name) for name in ("id", "email")}
        attributes["cio_id"] = cio_id(person.number)
        return {
            "customer": {
                "id": person.id or "",
                "identifiers": {
                    "id": person.id,
                    "email": person.email,
                    "cio_id": cio_id(person.number),
                },
                "attributes": {
                    name: as_text(value) for name, value in attributes.items() if value is not None
                },
                "timestamps": changed,
                "unsubscribed": as_text(attributes.get("unsubscribed")) == "true",
                "devices": [],
            }
        }

    def _activities(self, call: ApiCall, named: str) -> ApiAnswer:
        person = self._find(call.query.get("id_type", "id"), named)
        if person is None:
            return failure(404, "the customer does not exist")
        limit, start = call.query.get("limit", "10"), call.query.get("start", "0")
        if not (limit.isdecimal() and start.isdecimal()) or not 0 < int(limit) <= ACTIVITIES_MAX:
            return failure(400, f"limit must be 1 to {ACTIVITIES_MAX}, start what next said")
        until_s = self._seen_until_s
        rows = self._workspace.store.read(
            "SELECT arrival, kind, event_id, name, occurred_s, payload FROM events"
            " WHERE person = $person AND received_s <= $until AND occurred_s >= $since"
            " AND ($kind = '' OR kind = $kind) AND ($name = '' OR name = $name)"
            " ORDER BY occurred_s DESC, arrival DESC LIMIT $limit OFFSET $start",
            {
                "person": person.number,
                "until": until_s,
                "since": until_s - ACTIVITIES_KEPT_S,
                "kind": call.query.get("type", ""),
                "name": call.query.get("name", ""),
                "limit": int(limit),
                "start": int(start),
            },
        )
        activities = [
            {
                "id": row["event_id"] or str(row["arrival"]),
                "type": row["kind"],
                "name": row["name"],
                "timestamp": int(row["occurred_s"]),
                "customer_id": person.id,
                "data": orjson.loads(row["payload"]),
            }
            for row in rows
        ]
        more = str(int(start) + len(rows)) if len(rows) == int(limit) else ""
        return wire.as_json({"activities": activities, "next": more})

    def _segments(self) -> list[dict[str, Any]]:
        store = self._workspace.store
        manual = store.read("SELECT DISTINCT segment FROM memberships ORDER BY segment")
        saved = store.read("SELECT name, condition FROM segments ORDER BY name")
        return [
            *(
                {"id": row["segment"], "name": f"manual {row['segment']}", "type": "manual"}
                for row in manual
            ),
            *(
                {"id": _number_of(row["name"]), "name": row["name"], "type": "dynamic"}
                for row in saved
            ),
        ]

    def _segment(self, call: ApiCall, number: str, rest: list[str]) -> ApiAnswer:
        known = {str(each["id"]): each for each in self._segments()}.get(number)
        if known is None:
            return failure(404, "the segment does not exist")
        if not rest:
            return wire.as_json({"segment": known})
        members = self._members(known)
        if rest == ["customer_count"]:
            return wire.as_json({"count": len(members)})
        if rest != ["membership"]:
            return failure(404, "not found")
        start, limit = (
            call.query.get(name, each) for name, each in (("start", "0"), ("limit", "30"))
        )
        if not (start.isdecimal() and limit.isdecimal()) or not 0 < int(limit) <= MEMBERS_MAX:
            return failure(400, f"limit must be 1 to {MEMBERS_MAX}, start what next said")
        end = int(start) + int(limit)
        some = members[int(start) : end]
        return wire.as_json(
            {
                "identifiers": some,
                "ids": [each["id"] for each in some if each["id"]],
                "next": str(end) if end < len(members) else "",
            }
        )

    def _members(self, segment: dict[str, Any]) -> list[dict[str, Any]]:
        """Who is in a segment now, by number."""
        store = self._workspace.store
        if segment["type"] == "manual":
            where, values = (
                "number IN (SELECT person FROM memberships WHERE segment = ?)",
                [segment["id"]],
            )
        else:
            (row,) = store.read("SELECT condition FROM segments WHERE name = ?", [segment["name"]])
            question = segments.SegmentQuery(self._workspace.clock())
            where, values = question.holds(orjson.loads(row["condition"])), question.parameters
        rows = store.read(
            f"SELECT number, id, email FROM active WHERE {where} ORDER BY number",  # noqa: S608
            values,
        )
        return [
            {"id": row["id"], "email": row["email"], "cio_id": cio_id(row["number"])}
            for row in rows
        ]


def failure(status: int, detail: str) -> ApiAnswer:
    """An error in the App API's form (customerio-node#134)."""
    return wire.as_json({"errors": [{"detail": detail, "status": str(status)}]}, status)


def as_text(value: Any) -> str:
    """A value as the App API writes it back.

    >>> as_text(12.5), as_text(True), as_text("a"), as_text({"b": [1]})
    ('12.5', 'true', 'a', '{"b":[1]}')
    """
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _number_of(name: str) -> int:
    return _NUMBERS_FROM + xxhash.xxh3_64_intdigest(name.encode()) % _NUMBERS_FROM
