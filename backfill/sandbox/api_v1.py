"""`/api/v1`: a request for everything."""

from collections.abc import Callable
from typing import Any

from backfill.sandbox import answers, reading_v1
from backfill.sandbox.answers import Answer
from backfill.sandbox.call import Call, body_of
from backfill.sandbox.operation import Operation, Problem
from backfill.sandbox.settings import Behaviour
from backfill.sandbox.workspace import Workspace

Reader = Callable[[dict[str, Any]], Operation]

METHODS = frozenset({"GET", "PUT", "POST", "DELETE"})


def answer(call: Call, workspace: Workspace) -> Answer:
    """Carry out a v1 request."""
    if call.segments == ("accounts", "region") and call.method == "GET":
        return _region(workspace)
    reader = _reader(call, workspace)
    if reader is None:
        others = METHODS - {call.method}
        known = any(_reader(call._replace(method=method), workspace) for method in others)
        if known or call.segments == ("accounts", "region"):
            return answers.meta_error(405, "method not allowed")
        return answers.meta_error(404, "not found")
    body = body_of(call)
    if isinstance(body, Problem):
        return answers.meta_errors([body])
    operation = reader(body)
    workspace.apply([operation], call.number)
    if not operation.problems:
        return answers.NO_CONTENT if operation.kind == "form" else answers.OK
    if operation.kind == "merge":
        first = operation.problems[0]
        return answers.meta_error(400, f"{first.field} {first.message}")
    return answers.meta_errors(operation.problems)


def _reader(call: Call, workspace: Workspace) -> Reader | None:
    """What reads this request's body; None where there is no such path."""
    match call.method, call.segments:
        case _, ("customers", who, *rest) if who:
            return _customer_reader((call.method, *rest), who, workspace.settings.behaviour)
        case "POST", ("events",):
            return lambda body: reading_v1.track(None, body, workspace.settings.behaviour)
        case "POST", ("merge_customers",):
            return reading_v1.merge
        case "POST", ("segments", number, "add_customers" | "remove_customers" as action):
            id_type = call.query.get("id_type", "id")
            return lambda body: reading_v1.segment(action, number, id_type, body)
        case "POST", ("forms", number, "submit"):
            return lambda body: reading_v1.form(number, body)
        case "POST", ("metrics",):
            return reading_v1.metric
        case "POST", ("push", "events"):
            return reading_v1.push_metric
        case _:
            return None


def _customer_reader(request: tuple[str, ...], who: str, behaviour: Behaviour) -> Reader | None:
    """What reads a request about one person: its method and the path behind the identifier."""
    match request:
        case "POST", "events":
            return lambda body: reading_v1.track(who, body, behaviour)
        case ("PUT",):
            return lambda body: reading_v1.identify(who, body, behaviour)
        case ("DELETE",):
            return lambda _: reading_v1.plain("delete", who)
        case "POST", "suppress" | "unsuppress" as kind:
            return lambda _: reading_v1.plain(kind, who)
        case "PUT", "devices":
            return lambda body: reading_v1.add_device(who, body)
        case "DELETE", "devices", token:
            return lambda _: reading_v1.delete_device(who, token)
        case _:
            return None


def unsubscribe(call: Call, workspace: Workspace) -> Answer:
    """`POST /unsubscribe/{delivery_id}`, which stands outside `/api` and takes no credentials."""
    if call.method != "POST" or len(call.segments) != 1:
        return answers.meta_error(404, "not found")
    body = body_of(call)
    if isinstance(body, Problem):
        return answers.meta_errors([body])
    operation = reading_v1.unsubscribe(call.segments[0], body)
    workspace.apply([operation], call.number)
    return answers.meta_errors(operation.problems) if operation.problems else answers.OK


def _region(workspace: Workspace) -> Answer:
    region = workspace.settings.region
    host = "track-eu" if region == "eu" else "track"
    return answers.as_json(
        {
            "url": f"https://{host}.customer.io",
            "region": region,
            "environment_id": workspace.store.environment_id,
        }
    )
