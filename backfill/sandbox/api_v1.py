"""`/api/v1`: one request, one operation. JSON or a form in, 200 or every problem out.

A v1 answer knows sentences only, so problems carry both v2's words and v1's.
"""

from collections.abc import Callable
from typing import Any

import orjson

from backfill.sandbox import validation, wire
from backfill.sandbox.behaviour import Behaviour
from backfill.sandbox.identities import guess_identifier
from backfill.sandbox.operation import EVENT_KINDS, Link, Operation, Problem, hash_of, text_of
from backfill.sandbox.wire import ApiAnswer, ApiCall, body_of
from backfill.sandbox.workspace import Workspace

Body = dict[str, Any]
Reader = Callable[[Body], Operation]

METHODS = frozenset({"GET", "PUT", "POST", "DELETE"})
METRICS = frozenset(
    {"bounced", "clicked", "converted", "deferred", "delivered", "dropped", "opened", "spammed"}
)
PUSH_METRICS = frozenset({"opened", "converted", "delivered"})
RELATIONSHIP_ACTIONS = ("add_relationships", "delete_relationships")
FORM_KEYS = frozenset({"form_id", "form_name", "form_type", "form_url", "form_url_param"})
"""Keys of a form that the service reserves and ignores (OAS, `submitForm`)."""

SEGMENTS_LIMIT = 2**31


def answer(call: ApiCall, workspace: Workspace) -> ApiAnswer:
    """Carry out a v1 request."""
    if call.segments == ("accounts", "region") and call.method == "GET":
        return _region(workspace)
    reader = _reader(call, workspace.settings.behaviour)
    if reader is None:
        # a known path with another method is 405, not 404: the client has a bug, not a typo
        others = METHODS - {call.method}
        behaviour = workspace.settings.behaviour
        known = any(_reader(call._replace(method=method), behaviour) for method in others)
        if known or call.segments == ("accounts", "region"):
            return wire.meta_error(405, "method not allowed")
        return wire.meta_error(404, "not found")
    return _carried_out(reader, call, workspace)


def push_events(call: ApiCall, workspace: Workspace) -> ApiAnswer:
    """`POST /push/events`, where the Ruby client still sends to: without `/api/v1` before it."""
    if call.method != "POST":
        return wire.meta_error(405, "method not allowed")
    return _carried_out(_push_metric, call, workspace)


def unsubscribe(call: ApiCall, workspace: Workspace) -> ApiAnswer:
    """`POST /unsubscribe/{delivery_id}`, which stands outside `/api` and takes no credentials."""
    if call.method != "POST" or len(call.segments) != 1:
        return wire.meta_error(404, "not found")
    (delivery,) = call.segments
    return _carried_out(lambda body: _unsubscription(delivery, body), call, workspace)


def auth() -> ApiAnswer:
    """`GET /auth`: an undocumented check of the credentials, used by Segment and Hull."""
    return wire.as_json({"meta": {"message": "nice credentials."}})


def _carried_out(reader: Reader, call: ApiCall, workspace: Workspace) -> ApiAnswer:
    body = body_of(call)
    if isinstance(body, Problem):
        return wire.meta_errors([body])
    operation = reader(body)
    workspace.apply(call.arriving([operation]), call.number)
    if not operation.problems:
        return wire.NO_CONTENT if operation.kind == "form" else wire.OK
    # the singular form was seen for merges alone (customerio-node handles both)
    if operation.kind == "merge":
        first = operation.problems[0]
        return wire.meta_error(400, f"{first.field} {first.message}")
    return wire.meta_errors(operation.problems)


def _reader(call: ApiCall, behaviour: Behaviour) -> Reader | None:
    """What reads this request's body; None where there is no such path."""
    match call.method, call.segments:
        case _, ("customers", who, *rest) if who:
            return _customer_reader((call.method, *rest), who, behaviour)
        case "POST", ("events",):
            return lambda body: _track(None, body, behaviour)
        case "POST", ("merge_customers",):
            return _merge
        case "POST", ("segments", number, "add_customers" | "remove_customers" as action):
            id_type = call.query.get("id_type", "id")
            return lambda body: _segment(action, number, id_type, body)
        case "POST", ("forms", number, "submit"):
            return lambda body: _form(number, body)
        case "POST", ("metrics",):
            return _metric
        case "POST", ("push", "events"):
            return _push_metric
        case _:
            return None


def _customer_reader(request: tuple[str, ...], who: str, behaviour: Behaviour) -> Reader | None:
    """What reads a request about one person: its method and the path behind the identifier."""
    match request:
        case "POST", "events":
            return lambda body: _track(who, body, behaviour)
        case ("PUT",):
            return lambda body: _identify(who, body, behaviour)
        case ("DELETE",):
            return lambda _: _plain("delete", who)
        case "POST", "suppress" | "unsuppress" as kind:
            return lambda _: _plain(kind, who)
        case "PUT", "devices":
            return lambda body: _add_device(who, body)
        case "DELETE", "devices", token:
            return lambda _: _delete_device(who, token)
        case _:
            return None


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


def _identify(text: str, body: Body, behaviour: Behaviour) -> Operation:
    """`PUT /customers/{identifier}`: attributes, and a few keys that are none."""
    problems: list[Problem] = []
    identifier, named = _named(text, problems)
    # the rest of the control keys steer what is done with the attributes, and go along
    attributes = {key: value for key, value in body.items() if key != "_timestamp"}
    # relationships have limits of their own, and may be longer than an attribute
    held = {key: value for key, value in attributes.items() if key != validation.RELATIONSHIPS}
    problems.extend(validation.attribute_problems(held))
    links: tuple[Link, ...] = ()
    if validation.RELATIONSHIPS in body:
        links = _links(body[validation.RELATIONSHIPS], problems)
    problems.extend(validation.own_name_problems(attributes))
    # seen in rudder-server's error fixtures, with this very sentence
    if identifier == "id" and str(attributes.get("id") or named) != named:
        problems.append(
            Problem("id", "differs", sentence="id attribute and identifier are not the same value")
        )
    occurred_s, _ = validation.timestamp(body, "_timestamp", behaviour)
    return Operation(
        "identify",
        _hash(body),
        identifier,
        named,
        occurred_s=occurred_s,
        payload=text_of(attributes),
        extra=attributes,
        problems=tuple(problems),
        links=links,
    )


def _track(text: str | None, body: Body, behaviour: Behaviour) -> Operation:
    """`POST /customers/{identifier}/events`, and `POST /events` where `text` is None.

    A type that is neither page nor screen is given the type event (OAS), as `custom` of older
    clients is.
    """
    problems: list[Problem] = []
    identifier, named = _anonymous(body, problems) if text is None else _named(text, problems)
    name = validation.event_name(body.get("name"))
    event_id = validation.event_id(body.get("id"), behaviour)
    problems.extend(value for value in (name, event_id) if isinstance(value, Problem))
    kind = body.get("type", "event")
    if not isinstance(kind, str):
        problems.append(Problem("type", "must be a string"))
    data = body.get("data")
    if data is not None and not isinstance(data, dict):
        problems.append(Problem("data", "must be an object"))
        data = None
    elif data and len(orjson.dumps(data)) > validation.V1_EVENT_DATA_BYTES_MAX:
        rule = f"cannot be larger than {validation.V1_EVENT_DATA_BYTES_MAX} bytes"
        problems.append(Problem("data", rule))
    occurred_s, replaced = validation.timestamp(body, "timestamp", behaviour)
    return Operation(
        kind if isinstance(kind, str) and kind in EVENT_KINDS else "event",
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


def _plain(kind: str, text: str) -> Operation:
    """`DELETE /customers/{identifier}`, `…/suppress`, `…/unsuppress`."""
    problems: list[Problem] = []
    named = _named(text, problems)
    return Operation(kind, hash_of(text.encode()), *named, problems=tuple(problems))


def _add_device(text: str, body: Body) -> Operation:
    """`PUT /customers/{identifier}/devices`; what v1 calls id is v2's token."""
    problems: list[Problem] = []
    named = _named(text, problems)
    device = body.get("device")
    problems.extend(validation.device_problems(device, "id", is_added=True))
    token = device.get("id") if isinstance(device, dict) else None
    return Operation(
        "add_device",
        _hash(body),
        *named,
        name=token if isinstance(token, str) else None,
        payload=text_of(device),
        extra=device,
        problems=tuple(problems),
    )


def _delete_device(text: str, token: str) -> Operation:
    """`DELETE /customers/{identifier}/devices/{device_id}`."""
    problems: list[Problem] = []
    named = _named(text, problems)
    body_hash = hash_of(token.encode())
    return Operation("delete_device", body_hash, *named, name=token, problems=tuple(problems))


def _merge(body: Body) -> Operation:
    """`POST /merge_customers`: exactly one identifier for each of the two."""
    problems: list[Problem] = []
    primary, secondary = (
        validation.one_identifier(body.get(key), key, validation.MERGE_IDENTIFIERS, problems)
        for key in ("primary", "secondary")
    )
    return Operation(
        "merge",
        _hash(body),
        *primary,
        payload=text_of(secondary),
        extra=secondary,
        problems=tuple(problems),
    )


def _segment(kind: str, number: str, identifier: str, body: Body) -> Operation:
    """`POST /segments/{segment_id}/add_customers` and `…/remove_customers`."""
    problems: list[Problem] = []
    # int() takes digits of every script, and the column holds 64 bits
    is_number = number.isascii() and number.isdecimal() and len(number) <= len(str(SEGMENTS_LIMIT))
    if not is_number or int(number) >= SEGMENTS_LIMIT:
        problems.append(Problem("segment_id", f"must be a number below {SEGMENTS_LIMIT}"))
    if identifier not in validation.MERGE_IDENTIFIERS:
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


def _form(number: str, body: Body) -> Operation:
    """`POST /forms/{form_id}/submit`: an identify by the form's fields, which are attributes.

    The fields are texts, but for the identifier: OAS's own example has an integer as id.
    """
    problems: list[Problem] = []
    data = body.get("data")
    fields: Body = {}
    identifier, named = "", ""
    if not isinstance(data, dict):
        problems.append(validation.required("data", data))
    else:
        # an empty text is a field left blank: it identifies nobody and removes an attribute
        fields = {key: value for key, value in data.items() if key not in FORM_KEYS}
        given = {key: data[key] for key in ("id", "email") if data.get(key) not in (None, "")}
        if len(given) != 1:
            problems.append(Problem("data", "must have exactly one of id or email"))
        else:
            identifier, named = validation.one_identifier(given, "data", ("id", "email"), problems)
        texts = [value for key, value in data.items() if key not in given]
        if not all(isinstance(value, str) for value in texts):
            problems.append(Problem("data", "values must be strings"))
        problems.extend(validation.attribute_problems(fields, "data"))
    return Operation(
        "form",
        _hash(body),
        identifier,
        named,
        name=number,
        payload=text_of(fields),
        extra=fields,
        problems=tuple(problems),
    )


def _metric(body: Body) -> Operation:
    """`POST /metrics`: what became of a message."""
    problems: list[Problem] = []
    metric = body.get("metric")
    if not isinstance(metric, str) or metric not in METRICS:
        problems.append(validation.required("metric", metric))
    return _of_delivery("metric", body, body.get("delivery_id"), problems, is_required=True)


def _push_metric(body: Body) -> Operation:
    """`POST /push/events`: the older form, of which nothing is required."""
    problems: list[Problem] = []
    event = body.get("event")
    if event is not None and (not isinstance(event, str) or event not in PUSH_METRICS):
        problems.append(Problem("event", "is not valid"))
    return _of_delivery("push_event", body, body.get("delivery_id"), problems, is_required=False)


def _unsubscription(delivery: str, body: Body) -> Operation:
    """`POST /unsubscribe/{delivery_id}`."""
    problems: list[Problem] = []
    # form-encoded bodies have texts for true and false
    if body.get("unsubscribe", True) not in (True, False, "true", "false"):
        problems.append(Problem("unsubscribe", "must be true or false"))
    return _of_delivery("unsubscribe", body, delivery, problems, is_required=True)


def _of_delivery(
    kind: str, body: Body, delivery: Any, problems: list[Problem], *, is_required: bool
) -> Operation:
    """An operation about a delivery, whose id may not be blank."""
    is_named = isinstance(delivery, str) and bool(delivery.strip())
    if not is_named and (is_required or delivery is not None):
        problems.append(validation.required("delivery_id", delivery))
    return Operation(
        kind,
        _hash(body),
        name=delivery if isinstance(delivery, str) else None,
        payload=text_of(body),
        problems=tuple(problems),
    )


def _links(change: Any, problems: list[Problem]) -> tuple[Link, ...]:
    """The links in an object of `action` and `relationships`, of which none is required (OAS)."""
    if not isinstance(change, dict):
        problems.append(validation.required(validation.RELATIONSHIPS, change))
        return ()
    action = change.get("action", RELATIONSHIP_ACTIONS[0])
    if action not in RELATIONSHIP_ACTIONS:
        problems.append(Problem(f"{validation.RELATIONSHIPS}.action", "is not valid"))
    if "relationships" not in change:
        return ()
    return validation.links_of(
        change["relationships"],
        problems,
        added=action == RELATIONSHIP_ACTIONS[0],
        at=f"{validation.RELATIONSHIPS}.relationships",
    )


def _anonymous(body: Body, problems: list[Problem]) -> validation.Named:
    named = body.get("anonymous_id")
    if named is None:
        return "", ""  # an invite event: it is for whom `data.recipient` names
    return validation.one_identifier({"anonymous_id": named}, "body", ("anonymous_id",), problems)


def _named(text: str, problems: list[Problem]) -> validation.Named:
    """The identifier in a path, by its shape, held to the limit of its kind."""
    identifier, named = guess_identifier(text)
    longest = validation.IDENTIFIER_BYTES_MAX[identifier]
    if not named:
        problems.append(Problem("identifier", "cannot be blank", "required"))
    elif validation.bytes_of(named) > longest:
        problems.append(Problem("identifier", f"cannot be longer than {longest} bytes"))
    return identifier, named


def _hash(body: Body) -> int:
    return hash_of(orjson.dumps(body))
