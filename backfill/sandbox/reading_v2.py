"""JSON of `/api/v2` -> operations: every type and action, each with its required fields."""

from collections.abc import Callable
from typing import Any

import orjson

from backfill.sandbox import limits
from backfill.sandbox.operation import Operation, Problem, hash_of, refused, text_of
from backfill.sandbox.settings import Behaviour

PERSON_IDENTIFIERS = ("id", "email", "phone", "cio_id")
DEVICE_PLATFORMS = ("ios", "android")
DELIVERY_METRICS = ("opened", "converted", "delivered")

Named = tuple[str, str]


def read_item(item: Any, behaviour: Behaviour) -> Operation:
    """The operation that one JSON value of v2 asks for, valid or with all its problems."""
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
    if len(body) > limits.V2_ITEM_BYTES_MAX:
        size = Problem("", f"cannot be larger than {limits.V2_ITEM_BYTES_MAX} bytes")
        return operation._replace(problems=(*operation.problems, size))
    return operation


def _unknown(item: dict[str, Any]) -> tuple[Problem, ...]:
    for key in ("type", "action"):
        if key not in item:
            return (Problem(key, f"{key} is required", "required"),)
    known = any(kind == item["type"] for kind, _ in _READERS)
    return (Problem("action" if known else "type", "is not known"),)


def _event(item: dict[str, Any], body_hash: int, behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    identifier, named = _person(item, problems, anonymous=True)
    name = limits.event_name(item.get("name"))
    if type(name) is Problem:
        problems.append(name)
    event_id = limits.event_id(item.get("id"), behaviour)
    if type(event_id) is Problem:
        problems.append(event_id)
    occurred_s, replaced = limits.moment(item, "timestamp", behaviour)
    attributes = item.get("attributes")
    if attributes is not None and type(attributes) is not dict:
        problems.append(Problem("attributes", "must be an object"))
        attributes = None
    elif attributes and behaviour.event_values_limited:
        problems.extend(limits.attribute_problems(attributes))
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
    attributes = _attributes(item, problems)
    if "cio_relationships" in item:
        problems.extend(_relationship_problems(item, ("object_type_id", "object_id")))
    occurred_s, _ = limits.moment(item, "timestamp", behaviour)
    return Operation(
        "identify",
        body_hash,
        identifier,
        named,
        occurred_s=occurred_s,
        payload=text_of(attributes),
        extra=attributes,
        problems=tuple(problems),
    )


def _plain(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    """Delete, suppress, unsuppress: the person is all there is."""
    problems: list[Problem] = []
    identifier, named = _person(item, problems)
    return Operation(item["action"], body_hash, identifier, named, problems=tuple(problems))


def _device(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    identifier, named = _person(item, problems)
    device = item.get("device")
    token = None
    if type(device) is not dict:
        problems.append(_required("device", device))
    else:
        token = device.get("token")
        if type(token) is not str or not token:
            problems.append(_required("device.token", token))
        if item["action"] == "add_device" and device.get("platform") not in DEVICE_PLATFORMS:
            problems.append(_required("device.platform", device.get("platform")))
    return Operation(
        item["action"],
        body_hash,
        identifier,
        named,
        name=token if type(token) is str else None,
        payload=text_of(device),
        problems=tuple(problems),
    )


def _merge(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    primary = _identifiers(item.get("primary"), "primary", ("id", "email", "cio_id"), problems)
    secondary = _identifiers(
        item.get("secondary"), "secondary", ("id", "email", "cio_id"), problems
    )
    return Operation("merge", body_hash, *primary, extra=secondary, problems=tuple(problems))


def _relationships(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    identifier, named = _person(item, problems)
    problems.extend(_relationship_problems(item, ("object_type_id", "object_id")))
    payload = {"cio_relationships": item.get("cio_relationships")}
    return Operation(
        item["action"],
        body_hash,
        identifier,
        named,
        payload=text_of(payload),
        problems=tuple(problems),
    )


def _object(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    name = _object_name(item.get("identifiers"), problems)
    action = item["action"]
    attributes, relationships = _attributes(item, problems), item.get("cio_relationships")
    if len(orjson.dumps(attributes)) > limits.OBJECT_BYTES_MAX:
        problems.append(Problem("attributes", "object cannot be larger than 100 kB"))
    if action in ("add_relationships", "delete_relationships") or "cio_relationships" in item:
        problems.extend(_relationship_problems(item, ()))
    return Operation(
        f"object_{action}",
        body_hash,
        name=name,
        payload=text_of({"attributes": attributes, "cio_relationships": relationships}),
        problems=tuple(problems),
    )


def _delivery(item: dict[str, Any], body_hash: int, _behaviour: Behaviour) -> Operation:
    problems: list[Problem] = []
    _, delivery = _identifiers(item.get("identifiers"), "identifiers", ("id",), problems)
    if item.get("name") not in DELIVERY_METRICS:
        problems.append(_required("name", item.get("name")))
    attributes = item.get("attributes")
    if type(attributes) is not dict:
        problems.append(_required("attributes", attributes))
    elif type(attributes.get("device_token")) is not str:
        problems.append(_required("attributes.device_token", attributes.get("device_token")))
    payload = {"metric": item.get("name"), "attributes": attributes}
    return Operation(
        "delivery_event",
        body_hash,
        name=delivery,
        payload=text_of(payload),
        problems=tuple(problems),
    )


def _person(item: dict[str, Any], problems: list[Problem], *, anonymous: bool = False) -> Named:
    identifiers = item.get("identifiers")
    if type(identifiers) is dict and len(identifiers) == 1:  # nearly every item there ever is
        named = identifiers.get("id")
        if type(named) is str and 0 < len(named) <= limits.ID_BYTES_MAX and named.isascii():
            return "id", named
    allowed = (*PERSON_IDENTIFIERS, "anonymous_id") if anonymous else PERSON_IDENTIFIERS
    return _identifiers(identifiers, "identifiers", allowed, problems)


def _identifiers(
    identifiers: Any, at: str, allowed: tuple[str, ...], problems: list[Problem]
) -> Named:
    """The one identifier of an object that must have exactly one."""
    if type(identifiers) is not dict or not identifiers:
        problems.append(_required(at, identifiers or None))
        return "", ""
    if len(identifiers) > 1 or next(iter(identifiers)) not in allowed:
        problems.append(Problem(at, f"must have exactly one of {', '.join(allowed)}"))
        return "", ""
    ((key, value),) = identifiers.items()
    if type(value) is int:
        value = str(value)
    if type(value) is not str:
        problems.append(Problem(f"{at}.{key}", "must be a string or a number"))
    elif not value:
        problems.append(Problem(f"{at}.{key}", "cannot be blank", "required"))
    elif limits.bytes_of(value) > (longest := limits.IDENTIFIER_BYTES_MAX[key]):
        problems.append(Problem(f"{at}.{key}", f"cannot be longer than {longest} bytes"))
    else:
        return key, value
    return "", ""


def _attributes(item: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    attributes = item.get("attributes")
    if attributes is None:
        return {}
    if type(attributes) is not dict:
        problems.append(Problem("attributes", "must be an object"))
        return {}
    problems.extend(limits.attribute_problems(attributes))
    return attributes


def _object_name(identifiers: Any, problems: list[Problem]) -> str | None:
    if type(identifiers) is not dict or not identifiers:
        problems.append(_required("identifiers", identifiers or None))
        return None
    if "cio_object_id" in identifiers:
        return f"cio_object_id:{identifiers['cio_object_id']}"
    missing = [key for key in ("object_type_id", "object_id") if not identifiers.get(key)]
    problems.extend(Problem(f"identifiers.{key}", "is required", "required") for key in missing)
    if missing:
        return None
    name = f"{identifiers['object_type_id']}:{identifiers['object_id']}"
    if limits.bytes_of(str(identifiers["object_id"])) > limits.ID_BYTES_MAX:
        problems.append(Problem("identifiers.object_id", "cannot be longer than 150 bytes"))
    return name


def _relationship_problems(item: dict[str, Any], required: tuple[str, ...]) -> list[Problem]:
    """What is wrong with `cio_relationships`: a list of objects that name the other side."""
    at = "cio_relationships"
    relationships = item.get(at)
    if type(relationships) is not list:
        return [_required(at, relationships)]
    problems = []
    for number, relationship in enumerate(relationships):
        identifiers = relationship.get("identifiers") if type(relationship) is dict else None
        where = f"{at}[{number}].identifiers"
        if type(identifiers) is not dict or not identifiers:
            problems.append(_required(where, identifiers or None))
        elif required and "cio_object_id" not in identifiers:
            problems.extend(
                Problem(f"{where}.{key}", "is required", "required")
                for key in required
                if not identifiers.get(key)
            )
    return problems


def _required(field: str, value: Any) -> Problem:
    if value is None:
        return Problem(field, "is required", "required")
    return Problem(field, "is not valid")


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
