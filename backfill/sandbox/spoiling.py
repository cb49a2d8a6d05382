"""How a fault is carried out: another answer, or bytes and silence on the connection itself."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

from starlette.types import Receive, Scope, Send

from backfill.sandbox import answers
from backfill.sandbox.answers import Answer
from backfill.sandbox.faults import Fault
from backfill.sandbox.operation import Problem
from backfill.sandbox.protocol import Protocol, until_gone
from backfill.sandbox.settings import Behaviour

HTML = b"<html><head><title>Error</title></head><body><h1>Sorry</h1></body></html>\n"
HTML_HEADERS: answers.Headers = ((b"content-type", b"text/html; charset=utf-8"),)
REFUSED = Problem("", "refused by a fault of the sandbox")


def substitute(fault: Fault, path: str, behaviour: Behaviour, now_s: float) -> Answer | None:
    """The whole answer that the fault gives instead; None where it is not as simple as that."""
    match fault.kind:
        case "status":
            return _with_retry_after(_of_status(fault, path), fault, now_s)
        case "unauthorized":
            return answers.unauthorized(behaviour)
        case "redirect":
            location = (b"location", fault.location.encode())
            return Answer(fault.status or 307, b"", (location,))
        case "malformed_json":
            return Answer(200, b'{"errors":[{"batch_index":')
        case "wrong_type":
            return Answer(200, HTML, HTML_HEADERS)
        case "drop_above":
            return answers.OK
        case _:
            return None


def _of_status(fault: Fault, path: str) -> Answer:
    status = fault.status or 500
    if fault.body == "html":
        return Answer(status, HTML, HTML_HEADERS)
    if fault.body == "empty":
        return Answer(status, b"")
    if path.startswith("/api/v2/"):
        return answers.errors([REFUSED], status)
    return answers.meta_errors([REFUSED], status)


def _with_retry_after(answer: Answer, fault: Fault, now_s: float) -> Answer:
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

    def __init__(self, fault: Fault, answer: Answer) -> None:
        self._fault = fault
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer badly, and stay until the connection is gone."""
        connection: Protocol = scope["state"]["connection"]
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
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def _close(self, transport: asyncio.Transport) -> None:
        transport.close()

    async def _truncate(self, transport: asyncio.Transport) -> None:
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


def _head(answer: Answer, length: int) -> bytes:
    """The head of an answer as bytes, for a connection that ends after it."""
    lines = [b"HTTP/1.1 %d Answer" % answer.status]
    lines += [name + b": " + value for name, value in answer.headers]
    lines += [b"content-length: %d" % length, b"connection: close", b"", b""]
    return b"\r\n".join(lines)
