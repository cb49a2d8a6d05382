"""`/api/v2`: one operation, or a batch of them."""

from backfill.sandbox import answers, limits
from backfill.sandbox.answers import Answer
from backfill.sandbox.call import Call, json_of
from backfill.sandbox.operation import Operation, Problem
from backfill.sandbox.reading_v2 import read_item
from backfill.sandbox.workspace import Workspace

CHOSEN = Problem("identifiers", "refused by a fault of the sandbox")


def answer(call: Call, workspace: Workspace) -> Answer:
    """Carry out a v2 request."""
    match call.method, call.segments:
        case "POST", ("entity",):
            return _entity(call, workspace)
        case "POST", ("batch",):
            return _batch(call, workspace)
        case _, ("entity",) | ("batch",):
            return answers.errors([Problem("", "method not allowed")], 405)
        case _:
            return answers.errors([Problem("", "not found")], 404)


def _entity(call: Call, workspace: Workspace) -> Answer:
    body = json_of(call.body)
    if isinstance(body, Problem):
        return answers.errors([body])
    operation = _read(body, 0, call, workspace)
    workspace.apply([operation], call.number)
    return answers.errors(operation.problems) if operation.problems else answers.OK


def _batch(call: Call, workspace: Workspace) -> Answer:
    behaviour = workspace.settings.behaviour
    if len(call.body) >= limits.V2_REQUEST_BYTES_LIMIT:
        rule = f"must be smaller than {limits.V2_REQUEST_BYTES_LIMIT} bytes"
        return answers.errors([Problem("batch", rule)], behaviour.oversize)
    body = json_of(call.body, is_flat=True)
    if isinstance(body, Problem):
        return answers.errors([body])
    items = body.get("batch")
    if not isinstance(items, list):
        return answers.errors([Problem("batch", "must be a list of operations", "required")])
    if not items:
        return answers.OK
    if call.is_chosen is None:
        operations = [read_item(item, behaviour) for item in items]
    else:
        operations = [_read(item, index, call, workspace) for index, item in enumerate(items)]
    workspace.apply(operations, call.number)
    problems = [
        (index, problem)
        for index, operation in enumerate(operations)
        for problem in operation.problems
    ]
    if not problems:
        return answers.OK
    none_valid = all(operation.problems for operation in operations)
    return answers.batch_errors(problems, behaviour.all_invalid_batch if none_valid else 207)


def _read(item: object, index: int, call: Call, workspace: Workspace) -> Operation:
    operation = read_item(item, workspace.settings.behaviour)
    if call.is_chosen is not None and call.is_chosen(index):
        return operation._replace(problems=(*operation.problems, CHOSEN))
    return operation
