"""`/api/v1`: one request, one operation. JSON or a form in, 200 or every problem out."""

from collections.abc import Callable
from typing import Any

import orjson

from backfill.sandbox import validation, wire
from backfill.sandbox.behaviour import Behaviour
from backfill.sandbox.identities import guess_identifier
from backfill.sandbox.operation import EVENT_KINDS, Operation, Problem, hash_of, text_of
from backfill.sandbox.wire import ApiAnswer, ApiCall, body_of
from backfill.sandbox.workspace import Workspace

Reader = Callable[[dict[str, Any]], Operation]

METHODS = frozenset({"GET", "PUT", "POST", "DELETE"})


def answer(call: ApiCall, workspace: Workspace) -> ApiAnswer:
    """Carry out a v1 request."""
    if call.segments == ("accounts", "region") and call.method == "GET":
        return _region(workspace)
    reader = _reader(call, workspace)
    if reader is None:
        others = METHODS - {call.method}
        known = any(_reader(call._replace(method=method), workspace) for method in others)
        if known or call.segments == ("accounts", "region"):
            return wire.meta_error(405, "method not allowed")
        return wire.meta_error(404, "not found")
    body = body_of(call)
    if isinstance(body, Problem):
        return wire.meta_errors([body])
    operation = reader(body)
    workspace.apply([operation], call.number)
    if not operation.problems:
        return wire.NO_CONTENT if operation.kind == "form" else wire.OK
    if operation.kind == "merge":
        first = operation.problems[0]
        return wire.meta_error(400, f"{first.field} {first.message}")
    return wire.meta_errors(operation.problems)


def _reader(call: ApiCall, workspace: Workspace) -> Reader | None:
    """What reads this request's body; None where there is no such path."""
    match call.method, call.segments:
        case _, ("customers", who, *rest) if who:
            return _customer_reader((call.method, *rest), who, workspace.settings.behaviour)
        case "POST", ("events",):
            return lambda body: track(None, body, workspace.settings.behaviour)
        case "POST", ("merge_customers",):
            return merge
        case "POST", ("segments", number, "add_customers" | "remove_customers" as action):
            id_type = call.query.get("id_type", "id")
            return lambda body: segment(action, number, id_type, body)
        case "POST", ("forms", number, "submit"):
            return lambda body: form(number, body)
        case "POST", ("metrics",):
            return metric
        case "POST", ("push", "events"):
            return push_metric
        case _:
            return None


def _customer_reader(request: tuple[str, ...], who: str, behaviour: Behaviour) -> Reader | None:
    """What reads a request about one person: its method and the path behind the identifier."""
    match request:
        case "POST", "events":
            return lambda body: track(who, body, behaviour)
        case ("PUT",):
            return lambda body: identify(who, body, behaviour)
        case ("DELETE",):
            return lambda _: plain("delete", who)
        case "POST", "suppress" | "unsuppress" as kind:
            return lambda _: plain(kind, who)
        case "PUT", "devices":
            return lambda body: add_device(who, body)
        case "DELETE", "devices", token:
            return lambda _: delete_device(who, token)
        case _:
            return None


def unsubscribe(call: ApiCall, workspace: Workspace) -> ApiAnswer:
    """`POST /unsubscribe/{delivery_id}`, which stands outside `/api` and takes no credentials."""
    if call.method != "POST" or len(call.segments) != 1:
        return wire.meta_error(404, "not found")
    body = body_of(call)
    if isinstance(body, Problem):
        return wire.meta_errors([body])
    operation = unsubscription(call.segments[0], body)
    workspace.apply([operation], call.number)
    return wire.meta_errors(operation.problems) if operation.problems else wire.OK


def _region(workspace: Workspace) -> ApiAnswer:
    region = workspace.settings.region
    host = "track-eu" if region == "eu" else "track"
    return wire.as_json(
        {
            "url": f"https://{host}.customer.io",
            "region": region,
            "environment_id": workspace.store.environment_id,
        }
    )


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
    held = {key: value for key, value in attributes.items() if key != validation.RELATIONSHIPS}
    problems.extend(validation.attribute_problems(held))
    if validation.RELATIONSHIPS in body:
        problems.extend(_relationship_problems(body[validation.RELATIONSHIPS]))
    problems.extend(validation.own_name_problems(attributes))
    if identifier == "id" and str(attributes.get("id") or named) != named:
        problems.append(
            Problem("id", "differs", sentence="id attribute and identifier are not the same value")
        )
    occurred_s, _ = validation.moment(body, "_timestamp", behaviour)
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
    name = validation.event_name(body.get("name"))
    event_id = validation.event_id(body.get("id"), behaviour)
    problems.extend(value for value in (name, event_id) if isinstance(value, Problem))
    kind = body.get("type", "event")
    if not isinstance(kind, str) or kind not in EVENT_KINDS:
        problems.append(Problem("type", "must be event, page or screen"))
        kind = "event"
    data = body.get("data")
    if data is not None and not isinstance(data, dict):
        problems.append(Problem("data", "must be an object"))
        data = None
    elif data and len(orjson.dumps(data)) > validation.V1_EVENT_DATA_BYTES_MAX:
        rule = f"cannot be larger than {validation.V1_EVENT_DATA_BYTES_MAX} bytes"
        problems.append(Problem("data", rule))
    occurred_s, replaced = validation.moment(body, "timestamp", behaviour)
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
        problems.append(validation.required("device", device))
    else:
        if not isinstance(token, str) or not token:
            problems.append(validation.required("device.id", token))
        platform = device.get("platform")
        if not isinstance(platform, str) or platform not in DEVICE_PLATFORMS:
            problems.append(validation.required("device.platform", platform))
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
    primary = validation.one_identifier(body.get("primary"), "primary", MERGE_IDENTIFIERS, problems)
    secondary = validation.one_identifier(
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
        problems.append(validation.required("ids", ids))
    elif len(ids) > validation.SEGMENT_IDS_MAX:
        rule = f"cannot have more than {validation.SEGMENT_IDS_MAX} entries"
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
        problems.append(validation.required("data", data))
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


def unsubscription(delivery: str, body: Body) -> Operation:
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
        problems.append(validation.required("delivery_id", delivery))
    value = body.get(key)
    if not isinstance(value, str) or value not in known:
        problems.append(validation.required(key, value))
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
        return [validation.required(validation.RELATIONSHIPS, change)]
    problems = []
    if "action" in change and change["action"] not in RELATIONSHIP_ACTIONS:
        problems.append(Problem(f"{validation.RELATIONSHIPS}.action", "is not valid"))
    if "relationships" in change:
        at = f"{validation.RELATIONSHIPS}.relationships"
        problems += validation.relationship_problems(
            change["relationships"], validation.OBJECT_IDENTIFIERS, at
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
    longest = validation.IDENTIFIER_BYTES_MAX[identifier]
    if validation.bytes_of(named) > longest:
        return [Problem(at, f"cannot be longer than {longest} bytes")]
    return []


def _hash(body: Body) -> int:
    return hash_of(orjson.dumps(body))
