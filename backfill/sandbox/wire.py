"""HTTP as the Track API speaks it: the connection, a request received whole, the answers."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import h11
import orjson
from starlette.types import Receive
from uvicorn.protocols.http.h11_impl import H11Protocol

from backfill.sandbox.behaviour import Behaviour
from backfill.sandbox.operation import Operation, Problem

HEAD_TIMEOUT_S = 20.0
FORM_DEPTH_MAX = 32

is_seconds = re.compile(r"[0-9]{1,18}").fullmatch
"""Whether a text is a number that fits 64 bits: int() and JSON refuse longer ones."""


class ApiConnection(H11Protocol):
    """One connection; the application finds it at `scope["state"]["connection"]`."""

    is_cut = False
    """Whether a reset of the workspace has ended it: what came over it is gone."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Show itself to the application."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "connection": self}

    def cut_others(self) -> None:
        """End every other connection, so that no byte on its way there can arrive any more.

        Connections are accepted in the order in which they were made: one that was made before
        this one is among them, even if it was never listened to.
        """
        for other in self.connections:
            if isinstance(other, ApiConnection) and other is not self:
                other.is_cut = True
                other.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that does not become complete in time ends the connection."""
        super().data_received(data)
        # a client that sends its head byte by byte would hold a connection for ever
        incomplete = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if incomplete and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)
        elif not incomplete:
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def until_gone(receive: Receive) -> None:
    """Wait until the connection of a request is gone; what it still says is not listened to."""
    while (await receive())["type"] != "http.disconnect":
        continue


class ApiCall(NamedTuple):
    """A request to the API.

    Args:
        number: Its place among all requests, from 1.
        method: GET, PUT, …
        segments: The path behind `/api/v1` or `/api/v2`, split at `/` and then decoded.
        query: The query's parameters; of repeated ones the last.
        body: The body's bytes.
        content_type: The header's value, or nothing.
        is_chosen: Whether a fault refuses the item of this index in a batch.
        spoil: What a fault makes of the operation of this index, which was accepted.
    """

    number: int
    method: str
    segments: tuple[str, ...]
    query: dict[str, str]
    body: bytes
    content_type: str = ""
    is_chosen: Callable[[int], bool] | None = None
    spoil: Callable[[int, Operation], Operation] | None = None

    def arriving(self, operations: list[Operation]) -> list[Operation]:
        """The operations as they arrive: a fault may lose or change some behind a 200."""
        spoil = self.spoil
        if spoil is None:
            return operations
        return [spoil(index, each) for index, each in enumerate(operations)]


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
    # suppress, delete and their like come without a body
    if not body or body.isspace():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Problem("", "malformed JSON", sentence="malformed JSON")
    if not isinstance(value, dict):
        return Problem("", "must be an object", sentence="body must be a JSON object")
    try:
        # what orjson reads it may refuse to write: 254 levels deep
        if not is_flat:
            orjson.dumps(value)
    except orjson.JSONEncodeError:
        return Problem("", "is nested too deeply", sentence="body is nested too deeply")
    return value


def body_of(call: ApiCall) -> dict[str, Any] | Problem:
    """The object that a v1 body holds: JSON, or the form of the API's oldest examples."""
    # some clients name the type of a form and send JSON all the same
    if "x-www-form-urlencoded" not in call.content_type or call.body[:1] == b"{":
        return json_of(call.body)
    return form_of(call.body)


def form_of(body: bytes) -> dict[str, Any] | Problem:
    """The object behind a form, nested as the usual form parsers nest it (Rack, PHP, qs).

    `a[b][c]=1` is an object in an object, `a[]=1&a[]=2` a list, `a[][b]=1&a[][c]=2` a list of
    objects, of which a repeated key begins the next. All values are texts but timestamps.
    Old Ruby clients send events so (`json: false`), and so do the API's oldest examples.

    >>> form_of(b"name=purchased&data[price]=23.45&data[tags][]=a&data[tags][]=b")
    {'name': 'purchased', 'data': {'price': '23.45', 'tags': ['a', 'b']}}
    """
    value: dict[str, Any] = {}
    for key, text in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        outer, _, inner = key.partition("[")
        names = [outer, *inner.removesuffix("]").split("][")] if inner.endswith("]") else [key]
        if len(names) > FORM_DEPTH_MAX:
            return Problem("", "is nested too deeply", sentence="body is nested too deeply")
        is_timestamp = key in ("timestamp", "_timestamp") and is_seconds(text)
        _put(value, names, int(text) if is_timestamp else text)
    return value


def _put(value: dict[str, Any], names: Sequence[str], leaf: Any) -> None:
    """Put a leaf where its names lead; an empty name is the next place of a list."""
    name, *rest = names
    if not rest:
        value[name] = leaf
    elif rest[0]:
        inner = value.setdefault(name, {})
        if isinstance(inner, dict):  # a text stands there already: the first one stays
            _put(inner, rest, leaf)
    else:
        inner = value.setdefault(name, [])
        if not isinstance(inner, list):
            return
        if len(rest) == 1:
            inner.append(leaf)
            return
        if not inner or not isinstance(inner[-1], dict) or rest[1] in inner[-1]:
            inner.append({})
        _put(inner[-1], rest[1:], leaf)


Headers = tuple[tuple[bytes, bytes], ...]

JSON_HEADERS: Headers = (
    (b"content-type", b"application/json; charset=utf-8"),
    (b"cache-control", b"no-cache, no-store, must-revalidate, max-age=0"),
    (b"access-control-allow-origin", b"*"),
)
TEXT_HEADERS: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)


class ApiAnswer(NamedTuple):
    """A response; a length is added when it is sent."""

    status: int
    body: bytes = b"{}\n"
    headers: Headers = JSON_HEADERS


OK = ApiAnswer(200)
NO_CONTENT = ApiAnswer(204, b"")


def unauthorized(behaviour: Behaviour) -> ApiAnswer:
    """401, in one of the two forms that were seen."""
    if behaviour.unauthorized_body == "json":
        return meta_error(401, "Unauthorized request")
    return ApiAnswer(401, b"Unauthorized request\n", TEXT_HEADERS)


def meta_error(status: int, message: str) -> ApiAnswer:
    """v1's singular form: `{"meta":{"error":"…"}}`."""
    return _pretty(status, {"meta": {"error": message}})


def meta_errors(problems: Sequence[Problem], status: int = 400) -> ApiAnswer:
    """v1's plural form: `{"meta":{"errors":["…"]}}`, every problem at once."""
    sentences = [p.sentence or f"{p.field} {p.message}".strip() for p in problems]
    return _pretty(status, {"meta": {"errors": sentences}})


def errors(problems: Sequence[Problem], status: int = 400) -> ApiAnswer:
    """v2's form for a whole request: `errors[]` without `batch_index`."""
    return _pretty(status, {"errors": [_error(problem) for problem in problems]})


def batch_errors(problems: Sequence[tuple[int, Problem]], status: int = 207) -> ApiAnswer:
    """v2's form for some items of a batch, each with its `batch_index`."""
    found = [{"batch_index": index, **_error(problem)} for index, problem in problems]
    return _pretty(status, {"errors": found})


def as_json(value: Any, status: int = 200) -> ApiAnswer:
    """Any JSON."""
    return ApiAnswer(status, orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


def _error(problem: Problem) -> dict[str, str]:
    return {"reason": problem.reason, "field": problem.field, "message": problem.message}


def _pretty(status: int, value: Any) -> ApiAnswer:
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return ApiAnswer(status, orjson.dumps(value, option=options))
