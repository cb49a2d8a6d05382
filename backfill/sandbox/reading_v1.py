"""JSON of `/api/v1` -> operations. A v1 answer knows sentences only, so problems carry both."""

from typing import Any

import orjson

from backfill.sandbox import fields, limits
from backfill.sandbox.operation import EVENT_KINDS, Operation, Problem, hash_of, text_of
from backfill.sandbox.people import guess_identifier
from backfill.sandbox.settings import Behaviour

MERGE_IDENTIFIERS = ("id", "email", "cio_id")
METRICS = frozenset(
    {
        "bounced",
        "clicked",
        "converted",
        "deferred",
        "delivered",
        "dropped",
        "opened",
        "spammed",
    }
)
PUSH_METRICS = frozenset({"opened", "converted", "delivered"})
DEVICE_PLATFORMS = frozenset({"ios", "android"})
RELATIONSHIP_ACTIONS = ("add_relationships", "delete_relationships")

Body = dict[str, Any]


def identify(text: str, body: Body, behaviour: Behaviour) -> Operation:
    """`PUT /customers/{identifier}`: attributes, and a few keys that are none."""
    identifier, named = guess_identifier(text)
    problems = [*_identifier_problems(identifier, named)]
    attributes = {key: value for key, value in body.items() if key != "_timestamp"}
    held = {key: value for key, value in attributes.items() if key != fields.RELATIONSHIPS}
    problems.extend(limits.attribute_problems(held))
    if fields.RELATIONSHIPS in body:
        problems.extend(_relationship_problems(body[fields.RELATIONSHIPS]))
    problems.extend(limits.own_name_problems(attributes))
    if identifier == "id" and str(attributes.get("id") or named) != named:
        problems.append(
            Problem("id", "differs", sentence="id attribute and identifier are not the same value")
        )
    occurred_s, _ = limits.moment(body, "_timestamp", behaviour)
    return Operation(
        "identify",
        _hash(body),
        identifier,
        named,
        occurred_s=occurred_s,
        payload=text_of(attributes),
        extra=attributes,
        problems=tuple(problems),
    )


def track(text: str | None, body: Body, behaviour: Behaviour) -> Operation:
    """`POST /customers/{identifier}/events`, and `POST /events` where `text` is None."""
    problems: list[Problem] = []
    if text is not None:
        identifier, named = guess_identifier(text)
        problems.extend(_identifier_problems(identifier, named))
    else:
        identifier, named = _anonymous(body, problems)
    name = limits.event_name(body.get("name"))
    event_id = limits.event_id(body.get("id"), behaviour)
    problems.extend(value for value in (name, event_id) if isinstance(value, Problem))
    kind = body.get("type", "event")
    if not isinstance(kind, str) or kind not in EVENT_KINDS:
        problems.append(Problem("type", "must be event, page or screen"))
        kind = "event"
    data = body.get("data")
    if data is not None and not isinstance(data, dict):
        problems.append(Problem("data", "must be an object"))
        data = None
    elif data and len(orjson.dumps(data)) > limits.V1_EVENT_DATA_BYTES_MAX:
        rule = f"cannot be larger than {limits.V1_EVENT_DATA_BYTES_MAX} bytes"
        problems.append(Problem("data", rule))
    occurred_s, replaced = limits.moment(body, "timestamp", behaviour)
    return Operation(
        kind,
        _hash(body),
        identifier,
        named,
        event_id if isinstance(event_id, str) else None,
        name if isinstance(name, str) else None,
        occurred_s,
        replaced,
        text_of(data or {}),
        problems=tuple(problems),
    )


def plain(kind: str, text: str) -> Operation:
    """`DELETE /customers/{identifier}`, `…/suppress`, `…/unsuppress`."""
    identifier, named = guess_identifier(text)
    problems = tuple(_identifier_problems(identifier, named))
    return Operation(kind, hash_of(text.encode()), identifier, named, problems=problems)


def add_device(text: str, body: Body) -> Operation:
    """`PUT /customers/{identifier}/devices`; what v1 calls id is v2's token."""
    identifier, named = guess_identifier(text)
    problems = [*_identifier_problems(identifier, named)]
    device = body.get("device")
    token = device.get("id") if isinstance(device, dict) else None
    if not isinstance(device, dict):
        problems.append(fields.required("device", device))
    else:
        if not isinstance(token, str) or not token:
            problems.append(fields.required("device.id", token))
        platform = device.get("platform")
        if not isinstance(platform, str) or platform not in DEVICE_PLATFORMS:
            problems.append(fields.required("device.platform", platform))
    return Operation(
        "add_device",
        _hash(body),
        identifier,
        named,
        name=token if isinstance(token, str) else None,
        payload=text_of(device),
        problems=tuple(problems),
    )


def delete_device(text: str, token: str) -> Operation:
    """`DELETE /customers/{identifier}/devices/{device_id}`."""
    identifier, named = guess_identifier(text)
    problems = tuple(_identifier_problems(identifier, named))
    body_hash = hash_of(token.encode())
    return Operation("delete_device", body_hash, identifier, named, name=token, problems=problems)


def merge(body: Body) -> Operation:
    """`POST /merge_customers`: exactly one identifier for each of the two."""
    problems: list[Problem] = []
    primary = fields.one_identifier(body.get("primary"), "primary", MERGE_IDENTIFIERS, problems)
    secondary = fields.one_identifier(
        body.get("secondary"), "secondary", MERGE_IDENTIFIERS, problems
    )
    return Operation(
        "merge", _hash(body), *primary, payload=None, extra=secondary, problems=tuple(problems)
    )


def segment(kind: str, number: str, identifier: str, body: Body) -> Operation:
    """`POST /segments/{segment_id}/add_customers` and `…/remove_customers`."""
    problems: list[Problem] = []
    if not number.isdecimal():
        problems.append(Problem("segment_id", "must be a number"))
    if identifier not in MERGE_IDENTIFIERS:
        problems.append(Problem("id_type", "must be id, email or cio_id"))
    ids = body.get("ids")
    if not isinstance(ids, list):
        problems.append(fields.required("ids", ids))
    elif len(ids) > limits.SEGMENT_IDS_MAX:
        rule = f"cannot have more than {limits.SEGMENT_IDS_MAX} entries"
        problems.append(Problem("ids", rule))
    return Operation(
        kind,
        _hash(body),
        name=number,
        payload=text_of({"id_type": identifier, "ids": ids}),
        extra=(identifier, ids),
        problems=tuple(problems),
    )


def form(number: str, body: Body) -> Operation:
    """`POST /forms/{form_id}/submit`: texts only, and exactly one of id and e-mail."""
    problems: list[Problem] = []
    data = body.get("data")
    if not isinstance(data, dict):
        problems.append(fields.required("data", data))
    else:
        if bool(data.get("id")) == bool(data.get("email")):
            problems.append(Problem("data", "must have exactly one of id or email"))
        if not all(isinstance(value, str) for value in data.values()):
            problems.append(Problem("data", "values must be strings"))
    return Operation(
        "form", _hash(body), name=number, payload=text_of(data), problems=tuple(problems)
    )


def metric(body: Body) -> Operation:
    """`POST /metrics`: what became of a message."""
    return _metric("metric", body, "metric", METRICS)


def push_metric(body: Body) -> Operation:
    """`POST /push/events`: the older form, of which nothing is required."""
    problems = []
    event = body.get("event")
    if event is not None and (not isinstance(event, str) or event not in PUSH_METRICS):
        problems.append(Problem("event", "is not valid"))
    delivery = body.get("delivery_id")
    return Operation(
        "push_event",
        _hash(body),
        name=delivery if isinstance(delivery, str) else None,
        payload=text_of(body),
        problems=tuple(problems),
    )


def unsubscribe(delivery: str, body: Body) -> Operation:
    """`POST /unsubscribe/{delivery_id}`."""
    problems = []
    if not isinstance(body.get("unsubscribe", True), bool):
        problems.append(Problem("unsubscribe", "must be true or false"))
    return Operation(
        "unsubscribe", _hash(body), name=delivery, payload=text_of(body), problems=tuple(problems)
    )


def _metric(kind: str, body: Body, key: str, known: frozenset[str]) -> Operation:
    problems = []
    delivery = body.get("delivery_id")
    if not isinstance(delivery, str) or not delivery:
        problems.append(fields.required("delivery_id", delivery))
    value = body.get(key)
    if not isinstance(value, str) or value not in known:
        problems.append(fields.required(key, value))
    return Operation(
        kind,
        _hash(body),
        name=delivery if isinstance(delivery, str) else None,
        payload=text_of(body),
        problems=tuple(problems),
    )


def _relationship_problems(change: Any) -> list[Problem]:
    """What is wrong with an object of `action` and `relationships`, of which none is required."""
    if not isinstance(change, dict):
        return [fields.required(fields.RELATIONSHIPS, change)]
    problems = []
    if "action" in change and change["action"] not in RELATIONSHIP_ACTIONS:
        problems.append(Problem(f"{fields.RELATIONSHIPS}.action", "is not valid"))
    if "relationships" in change:
        at = f"{fields.RELATIONSHIPS}.relationships"
        problems += fields.relationship_problems(
            change["relationships"], fields.OBJECT_IDENTIFIERS, at
        )
    return problems


def _anonymous(body: Body, problems: list[Problem]) -> tuple[str, str]:
    named = body.get("anonymous_id")
    if named is None:
        return "", ""  # an invite event: it is for whom `data.recipient` names
    if not isinstance(named, str) or not named:
        problems.append(Problem("anonymous_id", "must be a string"))
        return "", ""
    problems.extend(_identifier_problems("anonymous_id", named))
    return "anonymous_id", named


def _identifier_problems(identifier: str, named: str, at: str = "identifier") -> list[Problem]:
    if not named:
        return [Problem(at, "cannot be blank", "required")]
    longest = limits.IDENTIFIER_BYTES_MAX[identifier]
    if limits.bytes_of(named) > longest:
        return [Problem(at, f"cannot be longer than {longest} bytes")]
    return []


def _hash(body: Body) -> int:
    return hash_of(orjson.dumps(body))
