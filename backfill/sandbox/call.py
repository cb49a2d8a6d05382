"""A request, received whole; and how its body is read."""

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import orjson

from backfill.sandbox.operation import Problem


class Call(NamedTuple):
    """A request to the API.

    Args:
        number: Its place among all requests, from 1.
        method: GET, PUT, …
        segments: The path behind `/api/v1` or `/api/v2`, split at `/` and then decoded.
        query: The query's parameters; of repeated ones the last.
        body: The body's bytes.
        content_type: The header's value, or nothing.
        is_chosen: Whether a fault refuses the item of this index in a batch.
    """

    number: int
    method: str
    segments: tuple[str, ...]
    query: dict[str, str]
    body: bytes
    content_type: str = ""
    is_chosen: Callable[[int], bool] | None = None


def segments_of(raw_path: bytes) -> tuple[str, ...]:
    """The parts of a path: split first, decoded then, so that `%2F` stays within its part."""
    return tuple(unquote(part) for part in raw_path.decode("latin-1").split("/")[1:])


def query_of(query: bytes) -> dict[str, str]:
    """The parameters of a query."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))


def json_of(body: bytes, *, is_flat: bool = False) -> dict[str, Any] | Problem:
    """The object that a body holds; an empty body is an empty object.

    Args:
        body: The bytes.
        is_flat: Leave it to the caller to refuse what is nested too deeply to be written again.
    """
    if not body or body.isspace():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Problem("", "malformed JSON", sentence="malformed JSON")
    if not isinstance(value, dict):
        return Problem("", "must be an object", sentence="body must be a JSON object")
    try:
        if not is_flat:
            orjson.dumps(value)
    except orjson.JSONEncodeError:
        return Problem("", "is nested too deeply", sentence="body is nested too deeply")
    return value


def body_of(call: Call) -> dict[str, Any] | Problem:
    """The object that a v1 body holds: JSON, or the form of the API's oldest examples."""
    if "x-www-form-urlencoded" not in call.content_type or call.body[:1] == b"{":
        return json_of(call.body)
    return form_of(call.body)


def form_of(body: bytes) -> dict[str, Any]:
    """The object behind `name=purchased&data[price]=23.45&timestamp=1359389415`.

    >>> form_of(b"name=purchased&data[price]=23.45&timestamp=1359389415")
    {'name': 'purchased', 'data': {'price': '23.45'}, 'timestamp': 1359389415}
    """
    value: dict[str, Any] = {}
    for key, text in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        outer, bracket, inner = key.partition("[")
        if bracket and inner.endswith("]"):
            within = value.setdefault(outer, {})
            if isinstance(within, dict):
                within[inner[:-1]] = text
        else:
            is_moment = outer in ("timestamp", "_timestamp") and text.isdecimal()
            value[outer] = int(text) if is_moment else text
    return value
