"""Scripted misbehaviour, repeatable by seed; it never loses the account of what was applied.

    {"seed": 1, "faults": [
        {"kind": "status", "status": 429, "retry_after": "1", "rate": 0.1},
        {"kind": "lost_answer", "requests": [3, 7]},
        {"kind": "unauthorized", "from_request": 100}]}

When: `rate` (0 to 1, drawn from the seed), `requests` (numbers from 1, counted since the script
was posted, the region lookup included), `from_request` and `to_request`; without any, always.
`path` and `method` narrow it down, `times` ends it. Of several that hit, the first in the script
decides the answer; `latency`, `refuse_items` and the silent ones come on top.

What, and its own settings; those marked * apply the request first, unless `applied` says otherwise:

    status          `status`, `body` (json, html or empty), `retry_after` (any text) or
                    `retry_after_date_s` (a date so many seconds ahead)
    unauthorized    401, as configured
    redirect        `status` (307 unless given), `location`
    reset_before    the connection is reset, nothing is applied
    reset_after*    applied, and the connection reset
    lost_answer*    applied, and the connection closed without a word
    malformed_json* applied, and 200 with half a JSON text
    wrong_type*     applied, and 200 with an HTML page
    truncated_body* applied, and the connection closed in the middle of the body
    slow_headers*   applied, and the head of the answer drips over `seconds`
    slow_body*      applied, and the body drips over `seconds`
    hang            nothing is applied, and no answer for `seconds`, then it is closed
    drop_above      above `per_second` requests: 200, and nothing is applied
    latency         `seconds` before anything else
    refuse_items    207: the items of a batch in `items`, or a share of them, `item_rate`

Silent: answered 200, and not done as asked, of the operations in `items` or `item_rate` of them:

    drop_attribute    an identify loses its `attribute`
    change_attribute  an identify's `attribute` becomes `value`
    skip_identify     nothing of an identify is done
    lose_event        the event is gone, and its id not remembered
"""

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Receive, Scope, Send

from backfill.errors import UsageError
from backfill.sandbox import wire
from backfill.sandbox.behaviour import Behaviour
from backfill.sandbox.operation import EVENT_KINDS, Operation, Problem, text_of
from backfill.sandbox.wire import ApiAnswer, ApiConnection, until_gone

Kind = Literal[
    "status",
    "unauthorized",
    "redirect",
    "reset_before",
    "reset_after",
    "lost_answer",
    "malformed_json",
    "wrong_type",
    "truncated_body",
    "slow_headers",
    "slow_body",
    "hang",
    "drop_above",
    "latency",
    "refuse_items",
    "drop_attribute",
    "change_attribute",
    "skip_identify",
    "lose_event",
]
APPLIED_FIRST = frozenset(
    {
        "reset_after",
        "lost_answer",
        "malformed_json",
        "wrong_type",
        "truncated_body",
        "slow_headers",
        "slow_body",
    }
)
SILENT = frozenset({"drop_attribute", "change_attribute", "skip_identify", "lose_event"})
ON_TOP = frozenset({"latency", "refuse_items"}) | SILENT


class Fault(BaseModel):
    """One line of a script."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    rate: float | None = Field(default=None, ge=0, le=1)
    requests: tuple[int, ...] | None = None
    from_request: int = 1
    to_request: int | None = None
    path: str = ""
    method: str = ""
    times: int | None = Field(default=None, ge=0)
    applied: bool | None = None
    status: int | None = Field(default=None, ge=200, le=599)
    body: Literal["json", "html", "empty"] = "json"
    retry_after: str | None = Field(default=None, pattern=r"^[\x20-\x7e]*$")
    retry_after_date_s: float | None = Field(default=None, ge=-1e9, le=1e9)
    location: str = Field(default="https://track-eu.customer.io", pattern=r"^[\x21-\x7e]+$")
    seconds: float = Field(default=1.0, ge=0, le=86_400)
    per_second: int = Field(default=100, ge=0)
    items: tuple[int, ...] | None = None
    item_rate: float | None = Field(default=None, ge=0, le=1)
    attribute: str = ""
    value: Any = None

    @property
    def applies(self) -> bool:
        """Whether the request is carried out all the same."""
        return self.kind in APPLIED_FIRST if self.applied is None else self.applied


class Script(BaseModel):
    """What `POST /sandbox/faults` takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    faults: tuple[Fault, ...] = ()


def script_of(value: Any) -> Script:
    """The script that some JSON says.

    Raises:
        UsageError: It says none; every mistake is named.
    """
    try:
        return Script.model_validate(value)
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UsageError(
            "no script of faults: " + "; ".join(mistakes),
            next_step="see the top of the page, or the documentation of backfill.sandbox.faults",
        ) from error


class FaultChoice:
    """What happens to one request.

    Args:
        answer: The fault that decides the answer.
        latency_s: How long to wait first, in seconds.
        is_refused: Whether the item of this index is refused; asked in ascending order.
        spoil: What becomes of the accepted operation of this index; asked in ascending order.
    """

    __slots__ = ("answer", "is_refused", "latency_s", "spoil")

    def __init__(self) -> None:
        self.answer: Fault | None = None
        self.latency_s = 0.0
        self.is_refused: Callable[[int], bool] | None = None
        self.spoil: Callable[[int, Operation], Operation] | None = None


class Faults:
    """The script that is in force, and how often each of its faults has fired.

    Args:
        ticks: Gives the passing of time, in seconds from anywhere.
    """

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self.install(Script())

    def install(self, script: Script) -> None:
        """Put a script in force; requests count from 1 again."""
        self._script = script
        self._fired = [0] * len(script.faults)
        self._requests = 0
        self._recent: deque[float] = deque()

    def report(self) -> dict[str, Any]:
        """The script, each fault with how often it fired."""
        faults = [
            {**fault.model_dump(exclude_unset=True), "fired": fired}
            for fault, fired in zip(self._script.faults, self._fired, strict=True)
        ]
        return {"seed": self._script.seed, "requests": self._requests, "faults": faults}

    def choose(self, method: str, path: str) -> FaultChoice:
        """What happens to the next request."""
        self._requests += 1
        chosen = FaultChoice()
        for index, fault in enumerate(self._script.faults):
            # the first in the script decides the answer, so that scripts can be read from the top
            if fault.kind not in ON_TOP and chosen.answer is not None:
                continue
            if self._hits(index, fault, method, path):
                self._fired[index] += 1
                self._put(chosen, index, fault)
        return chosen

    def _put(self, chosen: FaultChoice, index: int, fault: Fault) -> None:
        if fault.kind == "latency":
            chosen.latency_s += fault.seconds
        elif fault.kind == "refuse_items":
            chosen.is_refused = self._chooser(index, fault, 0.1)
        elif fault.kind in SILENT:
            chosen.spoil = _spoiling(fault, self._chooser(index, fault, 1.0), chosen.spoil)
        else:
            chosen.answer = fault

    def _hits(self, index: int, fault: Fault, method: str, path: str) -> bool:
        if not path.startswith(fault.path) or fault.method not in ("", method):
            return False
        if fault.times is not None and self._fired[index] >= fault.times:
            return False
        if fault.kind == "drop_above" and not self._above(fault.per_second):
            return False
        if fault.requests is not None:
            return self._requests in fault.requests
        if self._requests < fault.from_request:
            return False
        if fault.to_request is not None and self._requests > fault.to_request:
            return False
        return fault.rate is None or self._draws(index).random() < fault.rate

    def _draws(self, index: int) -> random.Random:
        """The chances of this fault at this request, whatever came before."""
        # a generator of its own per fault and request: another fault before it shifts nothing
        return random.Random(f"{self._script.seed} {index} {self._requests}")  # noqa: S311

    def _chooser(self, index: int, fault: Fault, usual: float) -> Callable[[int], bool]:
        """Which operations of a request are meant; a share of them unless they are listed."""
        if fault.items is not None:
            return frozenset(fault.items).__contains__
        draws, share = self._draws(index), usual if fault.item_rate is None else fault.item_rate
        return lambda _: draws.random() < share

    def _above(self, per_second: int) -> bool:
        """Whether more than so many requests came within the last second."""
        now = self._ticks()
        self._recent.append(now)
        # only the last second is asked for, and a storm would fill the memory
        while self._recent[0] <= now - 1:
            self._recent.popleft()
        return len(self._recent) > per_second


def _spoiling(
    fault: Fault,
    is_meant: Callable[[int], bool],
    before: Callable[[int, Operation], Operation] | None,
) -> Callable[[int, Operation], Operation]:
    """What several silent faults make of one operation, one after another."""

    def spoil(index: int, operation: Operation) -> Operation:
        if before is not None:
            operation = before(index, operation)
        return _spoilt(fault, operation) if is_meant(index) else operation

    return spoil


def _spoilt(fault: Fault, operation: Operation) -> Operation:
    is_identify = operation.kind == "identify" and not operation.problems
    if fault.kind == "lose_event" and operation.kind in EVENT_KINDS and not operation.problems:
        return operation._replace(is_lost=True)
    if not is_identify or fault.kind == "lose_event":
        return operation
    if fault.kind == "skip_identify":
        return operation._replace(is_lost=True)
    attributes: dict[str, Any] = dict(operation.extra)
    if fault.attribute in attributes:
        if fault.kind == "drop_attribute":
            del attributes[fault.attribute]
        else:
            attributes[fault.attribute] = fault.value
    return operation._replace(extra=attributes, payload=text_of(attributes))


HTML = b"<html><head><title>Error</title></head><body><h1>Sorry</h1></body></html>\n"
HTML_HEADERS: wire.Headers = ((b"content-type", b"text/html; charset=utf-8"),)
REFUSED = Problem("", "refused by a fault of the sandbox")


def substitute(fault: Fault, path: str, behaviour: Behaviour, now_s: float) -> ApiAnswer | None:
    """The whole answer that the fault gives instead; None where it is not as simple as that."""
    match fault.kind:
        case "status":
            return _with_retry_after(_of_status(fault, path), fault, now_s)
        case "unauthorized":
            return wire.unauthorized(behaviour)
        case "redirect":
            location = (b"location", fault.location.encode())
            return ApiAnswer(fault.status or 307, b"", (location,))
        case "malformed_json":
            return ApiAnswer(200, b'{"errors":[{"batch_index":')
        case "wrong_type":
            return ApiAnswer(200, HTML, HTML_HEADERS)
        case "drop_above":
            return wire.OK
        case _:
            return None


def _of_status(fault: Fault, path: str) -> ApiAnswer:
    status = fault.status or 500
    if fault.body == "html":
        return ApiAnswer(status, HTML, HTML_HEADERS)
    if fault.body == "empty":
        return ApiAnswer(status, b"")
    # even a scripted refusal has the shape of its version
    if path.startswith("/api/v2/"):
        return wire.errors([REFUSED], status)
    return wire.meta_errors([REFUSED], status)


def _with_retry_after(answer: ApiAnswer, fault: Fault, now_s: float) -> ApiAnswer:
    if fault.retry_after_date_s is not None:
        text = formatdate(now_s + fault.retry_after_date_s, usegmt=True)
    elif fault.retry_after is not None:
        text = fault.retry_after
    else:
        return answer
    return answer._replace(headers=(*answer.headers, (b"retry-after", text.encode())))


class Spoiler:
    """One request whose answer does not go out as it should.

    Args:
        fault: What happens.
        answer: What would have been answered.
    """

    def __init__(self, fault: Fault, answer: ApiAnswer) -> None:
        self._fault = fault
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer badly, and stay until the connection is gone."""
        connection: ApiConnection = scope["state"]["connection"]
        ways: dict[str, Callable[[asyncio.Transport], Awaitable[None]]] = {
            "reset_before": self._reset,
            "reset_after": self._reset,
            "lost_answer": self._close,
            "truncated_body": self._truncate,
            "slow_headers": self._drip_head,
            "hang": self._hang,
        }
        if self._fault.kind == "slow_body":
            await self._drip_body(send)
            return
        waiting = asyncio.ensure_future(ways[self._fault.kind](connection.transport))
        await until_gone(receive)
        waiting.cancel()

    async def _reset(self, transport: asyncio.Transport) -> None:
        """Close with a reset instead of a farewell."""
        connection = transport.get_extra_info("socket")
        # lingering for 0 s makes the kernel send a reset instead of a FIN
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def _close(self, transport: asyncio.Transport) -> None:
        transport.close()

    async def _truncate(self, transport: asyncio.Transport) -> None:
        # a length that never comes: the client must notice the missing bytes
        transport.write(_head(self._answer, len(self._answer.body) + 100) + self._answer.body)
        transport.close()

    async def _drip_head(self, transport: asyncio.Transport) -> None:
        head = _head(self._answer, len(self._answer.body))
        for byte in head:
            transport.write(bytes([byte]))
            await asyncio.sleep(self._fault.seconds / len(head))
        transport.write(self._answer.body)
        transport.close()

    async def _hang(self, transport: asyncio.Transport) -> None:
        await asyncio.sleep(self._fault.seconds)
        transport.close()

    async def _drip_body(self, send: Send) -> None:
        body = self._answer.body
        headers = [*self._answer.headers, (b"content-length", b"%d" % len(body))]
        start: Any = {"type": "http.response.start", "status": self._answer.status}
        await send({**start, "headers": headers})
        for index in range(len(body)):
            await asyncio.sleep(self._fault.seconds / len(body))
            part = {"type": "http.response.body", "body": body[index : index + 1]}
            await send({**part, "more_body": index + 1 < len(body)})


def _head(answer: ApiAnswer, length: int) -> bytes:
    """The head of an answer as bytes, for a connection that ends after it."""
    lines = [b"HTTP/1.1 %d ApiAnswer" % answer.status]
    lines += [name + b": " + value for name, value in answer.headers]
    lines += [b"content-length: %d" % length, b"connection: close", b"", b""]
    return b"\r\n".join(lines)
