"""`/api/v2`: one operation (`/entity`), or a list of them (`/batch`)."""

from collections.abc import Callable
from typing import Any

import orjson

from backfill.sandbox import validation, wire
from backfill.sandbox.behaviour import Behaviour
from backfill.sandbox.operation import Link, Operation, Problem, hash_of, refused, text_of
from backfill.sandbox.wire import ApiAnswer, ApiCall, json_of
from backfill.sandbox.workspace import Workspace

PERSON_IDENTIFIERS = ("id", "email", "phone", "cio_id")
DELIVERY_METRICS = ("opened", "converted", "delivered")
TOO_LARGE = Problem("", f"cannot be larger than {validation.V2_ITEM_BYTES_MAX} bytes")
CHOSEN = Problem("identifiers", "refused by a fault of the sandbox")


def answer(call: ApiCall, workspace: Workspace) -> ApiAnswer:
    """Carry out a v2 request."""
    match call.method, call.segments:
        case "POST", ("entity",):
            return _entity(call, workspace)
        case "POST", ("batch",):
            return _batch(call, workspace)
        case _, ("entity",) | ("batch",):
            return wire.errors([Problem("", "method not allowed")], 405)
        case _:
            return wire.errors([Problem("", "not found")], 404)


def _entity(call: ApiCall, workspace: Workspace) -> ApiAnswer:
    body = json_of(call.body)
    if isinstance(body, Problem):
        return wire.errors([body])
    operation = _read(body, 0, call, workspace)
    if len(call.body) > validation.V2_ITEM_BYTES_MAX and TOO_LARGE not in operation.problems:
        # here the request is the item, so that it is measured as it came over the wire
        operation = operation._replace(problems=(*operation.problems, TOO_LARGE))
    workspace.apply(call.arriving([operation]), call.number)
    return wire.errors(operation.problems) if operation.problems else wire.OK


def _batch(call: ApiCall, workspace: Workspace) -> ApiAnswer:
    behaviour = workspace.settings.behaviour
    if len(call.body) >= validation.V2_REQUEST_BYTES_LIMIT:
        rule = f"must be smaller than {validation.V2_REQUEST_BYTES_LIMIT} bytes"
        return wire.errors([Problem("batch", rule)], behaviour.oversize)
    body = json_of(call.body, is_flat=True)
    if isinstance(body, Problem):
        return wire.errors([body])
    items = body.get("batch")
    if not isinstance(items, list):
        return wire.errors([Problem("batch", "must be a list of operations", "required")])
    # nothing asked, nothing done: no source says that it is refused
    if not items:
        return wire.OK
    # no fault chooses among the items: the loop that matters for speed
    if call.is_chosen is None:
        operations = [read_item(item, behaviour) for item in items]
    else:
        operations = [_read(item, index, call, workspace) for index, item in enumerate(items)]
    workspace.apply(call.arriving(operations), call.number)
    problems = [
        (index, problem)
        for index, operation in enumerate(operations)
        for problem in operation.problems
    ]
    if not problems:
        return wire.OK
    # the rest of a 207 was accepted; whether all-invalid is a 207 is not documented
    none_valid = all(operation.problems for operation in operations)
    return wire.batch_errors(problems, behaviour.all_invalid_batch if none_valid else 207)


def _read(item: object, index: int, call: ApiCall, workspace: Workspace) -> Operation:
    operation = read_item(item, workspace.settings.behaviour)
    if call.is_chosen is not None and call.is_chosen(index):
        return operation._replace(problems=(*operation.problems, CHOSEN))
    return operation


def read_item(item: Any, behaviour: Behaviour) -> Operation:
    """The operation that one JSON value of v2 asks for, valid or with all its problems."""
    ordinary = None if behaviour.event_values_limited else _ordinary_event(item)
    return ordinary or read_any_item(item, behaviour)


def read_any_item(item: Any, behaviour: Behaviour) -> Operation:
    """The same, the long way: whatever the item is."""
    if type(item) is not dict:
        return refused("unknown", None, Problem("", "must be an object"))
    try:
        body = orjson.dumps(item)
    except orjson.JSONEncodeError:
        return refused("unknown", None, Problem("", "is nested too deeply"))
    kind = item.get("type", ""), item.get("action", "")
    read = _READERS.get(kind) if type(kind[0]) is str and type(kind[1]) is str else None
    if read is None:
        return Operation("unknown", hash_of(body), problems=_unknown(item))
    operation = read(item, hash_of(body), behaviour)
    if len(body) > validation.V2_ITEM_BYTES_MAX:
        return operation._replace(problems=(*operation.problems, TOO_LARGE))
    return operation


def _ordinary_event(item: Any) -> Operation | None:
    """The operation of an event that every check would pass as it is; else None.

    Nearly all that ever comes is of this kind, and a sandbox slower than the sender would be
    measuring itself. A test holds this to the long way.
    """
    try:
        named, name, event_id = item["identifiers"]["id"], item["name"], item["id"]
        occurred_s, attributes = item["timestamp"], item["attributes"]
        is_ordinary = (
            item["type"] == "person"
            and item["action"] == "event"
            and len(item["identifiers"]) == 1
            and type(attributes) is dict
            and type(occurred_s) is int
            and 0 <= occurred_s < validation.TIMESTAMP_LIMIT_S
            and validation.is_plain(named)
            and validation.is_plain(name)
            and validation.is_upper_ulid(event_id)
        )
        body = orjson.dumps(item) if is_ordinary else b""
    except (TypeError, LookupError):
        return None
    if not 0 < len(body) <= validation.ATTRIBUTE_VALUE_BYTES_MAX:
        return None  # longer ones may break a limit that is not looked at here
    return Operation(
        "event",
        hash_of(body),
        "id",
        named,
        event_id,
        name,
        occurred_s,
        False,
        orjson.dumps(attributes).decode(),
    )


def _unknown(item: dict[str, Any]) -> tuple[Problem, ...]:
    for key in ("type", "action"):
        if key not in item:
            return (Problem(key, f"{key} is required", "required"),)
    known = any(kind == item["type"] for kind, _ in _READERS)
    return (Problem("action" if known else "type", "is not known"),)


def _event(item: dict[str, Any], body_hash: int, behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    identifier, named = _person(item, problems, anonymous=True)
    name = validation.event_name(item.get("name"))
    if type(name) is Problem:
        problems.append(name)
    event_id = validation.event_id(item.get("id"), behaviour)
    if type(event_id) is Problem:
        problems.append(event_id)
    occurred_s, replaced = validation.timestamp(item, "timestamp", behaviour)
    attributes = item.get("attributes")
    if attributes is not None and type(attributes) is not dict:
        problems.append(Problem("attributes", "must be an object"))
        attributes = None
    elif attributes and behaviour.event_values_limited:
        problems.extend(validation.attribute_problems(attributes))
    return Operation(
        item["action"],
        body_hash,
        identifier,
        named,
        event_id if type(event_id) is str else None,
        name if type(name) is str else None,
        occurred_s,
        replaced,
        text_of(attributes or {}),
        problems=tuple(problems),
    )


def _identify(item: dict[str, Any], body_hash: int, behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    identifier, named = _person(item, problems)
    attributes = validation.attributes_of(item, problems)
    problems.extend(validation.own_name_problems(attributes))
    links: tuple[Link, ...] = ()
    if validation.RELATIONSHIPS in item:
        links = validation.links_of(item[validation.RELATIONSHIPS], problems)
    occurred_s, _ = validation.timestamp(item, "timestamp", behaviour)
    return Operation(
        "identify",
        body_hash,
        identifier,
        named,
        occurred_s=occurred_s,
        payload=text_of(attributes),
        extra=attributes,
        problems=tuple(problems),
        links=links,
    )


def _plain(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    """Delete, suppress, unsuppress: the person is all there is."""
    problems: list[Problem] = []
    identifier, named = _person(item, problems)
    return Operation(item["action"], body_hash, identifier, named, problems=tuple(problems))


def _device(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    identifier, named = _person(item, problems)
    device, is_added = item.get("device"), item["action"] == "add_device"
    problems.extend(validation.device_problems(device, "token", is_added=is_added))
    token = device.get("token") if type(device) is dict else None
    return Operation(
        item["action"],
        body_hash,
        identifier,
        named,
        name=token if type(token) is str else None,
        payload=text_of(device),
        extra=device,
        problems=tuple(problems),
    )


def _merge(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    primary, secondary = (
        validation.one_identifier(item.get(key), key, validation.MERGE_IDENTIFIERS, problems)
        for key in ("primary", "secondary")
    )
    return Operation(
        "merge",
        body_hash,
        *primary,
        payload=text_of(secondary),
        extra=secondary,
        problems=tuple(problems),
    )


def _relationships(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    identifier, named = _person(item, problems)
    relationships = item.get(validation.RELATIONSHIPS)
    is_added = item["action"] == "add_relationships"
    return Operation(
        item["action"],
        body_hash,
        identifier,
        named,
        payload=text_of({validation.RELATIONSHIPS: relationships}),
        links=validation.links_of(relationships, problems, added=is_added),
        problems=tuple(problems),
    )


def _object(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    name = validation.object_name(item.get("identifiers"), problems)
    action = item["action"]
    attributes = validation.attributes_of(item, problems)
    if len(orjson.dumps(attributes)) > validation.OBJECT_BYTES_MAX:
        problems.append(Problem("attributes", "object cannot be larger than 100 kB"))
    relationships = item.get(validation.RELATIONSHIPS)
    links: tuple[Link, ...] = ()
    if action in ("add_relationships", "delete_relationships") or validation.RELATIONSHIPS in item:
        is_added = action != "delete_relationships"
        links = validation.links_of(relationships, problems, added=is_added, thing=name or "")
    return Operation(
        f"object_{action}",
        body_hash,
        name=name,
        payload=text_of({"attributes": attributes, validation.RELATIONSHIPS: relationships}),
        problems=tuple(problems),
        links=links,
    )


def _delivery(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    _, delivery = validation.one_identifier(
        item.get("identifiers"), "identifiers", ("id",), problems
    )
    if item.get("name") not in DELIVERY_METRICS:
        problems.append(validation.required("name", item.get("name")))
    attributes = item.get("attributes")
    if type(attributes) is not dict:
        problems.append(validation.required("attributes", attributes))
    elif type(attributes.get("device_token")) is not str:
        problems.append(
            validation.required("attributes.device_token", attributes.get("device_token"))
        )
    payload = {"metric": item.get("name"), "attributes": attributes}
    return Operation(
        "delivery_event",
        body_hash,
        name=delivery,
        payload=text_of(payload),
        problems=tuple(problems),
    )


def _person(
    item: dict[str, Any], problems: list[Problem], *, anonymous: bool = False
) -> validation.Named:
    identifiers = item.get("identifiers")
    # types are compared, not asked for: this runs a hundred thousand times a second
    if type(identifiers) is dict and len(identifiers) == 1:  # nearly every item there ever is
        named = identifiers.get("id")
        if type(named) is str and 0 < len(named) <= validation.ID_BYTES_MAX and named.isascii():
            return "id", named
    allowed = (*PERSON_IDENTIFIERS, "anonymous_id") if anonymous else PERSON_IDENTIFIERS
    return validation.one_identifier(identifiers, "identifiers", allowed, problems)


_READERS: dict[tuple[str, str], Callable[[dict[str, Any], int, Behaviour], Operation]] = {
    ("person", "identify"): _identify,
    ("person", "event"): _event,
    ("person", "page"): _event,
    ("person", "screen"): _event,
    ("person", "delete"): _plain,
    ("person", "suppress"): _plain,
    ("person", "unsuppress"): _plain,
    ("person", "add_device"): _device,
    ("person", "delete_device"): _device,
    ("person", "merge"): _merge,
    ("person", "add_relationships"): _relationships,
    ("person", "delete_relationships"): _relationships,
    ("object", "identify"): _object,
    ("object", "identify_anonymous"): _object,
    ("object", "delete"): _object,
    ("object", "add_relationships"): _object,
    ("object", "delete_relationships"): _object,
    ("delivery", "event"): _delivery,
}
