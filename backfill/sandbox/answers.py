"""Answers as the Track API gives them: bodies to the byte, and headers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from backfill.sandbox.operation import Problem
from backfill.sandbox.settings import Behaviour

Headers = tuple[tuple[bytes, bytes], ...]

JSON_HEADERS: Headers = (
    (b"content-type", b"application/json; charset=utf-8"),
    (b"cache-control", b"no-cache, no-store, must-revalidate, max-age=0"),
    (b"access-control-allow-origin", b"*"),
)
TEXT_HEADERS: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)


class Answer(NamedTuple):
    """A response; a length is added when it is sent."""

    status: int
    body: bytes = b"{}\n"
    headers: Headers = JSON_HEADERS


OK = Answer(200)
NO_CONTENT = Answer(204, b"")


def unauthorized(behaviour: Behaviour) -> Answer:
    """401, in one of the two forms that were seen."""
    if behaviour.unauthorized_body == "json":
        return meta_error(401, "Unauthorized request")
    return Answer(401, b"Unauthorized request\n", TEXT_HEADERS)


def meta_error(status: int, message: str) -> Answer:
    """v1's singular form: `{"meta":{"error":"…"}}`."""
    return _pretty(status, {"meta": {"error": message}})


def meta_errors(problems: Sequence[Problem], status: int = 400) -> Answer:
    """v1's plural form: `{"meta":{"errors":["…"]}}`, every problem at once."""
    sentences = [p.sentence or f"{p.field} {p.message}".strip() for p in problems]
    return _pretty(status, {"meta": {"errors": sentences}})


def errors(problems: Sequence[Problem], status: int = 400) -> Answer:
    """v2's form for a whole request: `errors[]` without `batch_index`."""
    return _pretty(status, {"errors": [_error(problem) for problem in problems]})


def batch_errors(problems: Sequence[tuple[int, Problem]], status: int = 207) -> Answer:
    """v2's form for some items of a batch, each with its `batch_index`."""
    found = [{"batch_index": index, **_error(problem)} for index, problem in problems]
    return _pretty(status, {"errors": found})


def as_json(value: Any, status: int = 200) -> Answer:
    """Any JSON."""
    return Answer(status, orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


def _error(problem: Problem) -> dict[str, str]:
    return {"reason": problem.reason, "field": problem.field, "message": problem.message}


def _pretty(status: int, value: Any) -> Answer:
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return Answer(status, orjson.dumps(value, option=options))
