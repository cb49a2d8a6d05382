"""A server that answers `{}` to whatever it is sent, and counts: what is left is the client's cost.

Started as `python tests/benchmarks/answering.py PORT_FILE [DELAY_S [REFUSED_EVERY]]`, the last to
refuse every so manieth operation of a batch by a 207. `GET /counted` tells what has come since the
last time it was asked.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

_REFUSED = {"reason": "invalid", "field": "attributes.page", "message": "value is not allowed"}
_REGION = b'{"url":"","region":"us","environment_id":1}'


class Counted:
    """What has come: requests, bytes of bodies, unix times of the first request and the last."""

    def __init__(self) -> None:
        self.requests = self.bytes = 0
        self.first_s = self.last_s = 0.0

    def add(self, length: int) -> None:
        """Count a request."""
        self.last_s = time.time()
        self.first_s = self.first_s or self.last_s
        self.requests += 1
        self.bytes += length


def _answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return (
        b"HTTP/1.1 %b\r\nContent-Type: application/json; charset=utf-8\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (status, len(body), body)
    )


class Answering(asyncio.Protocol):
    """Reads requests off one connection, and answers each."""

    counted = Counted()
    delay_s = 0.0
    refused_every = 0

    def __init__(self) -> None:
        self._head = self._body = b""
        self._left = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to answer."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Skip bodies, read heads."""
        while data:
            if self._left:
                skipped = min(self._left, len(data))
                self._left -= skipped
                if self.refused_every:
                    self._body += data[:skipped]
                data = data[skipped:]
                if not self._left:
                    self._later(*self._said())
                continue
            head, end, rest = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._head, data = b"", rest
            self._read(head)

    def _read(self, head: bytes) -> None:
        if head.startswith(b"GET /counted"):
            self._transport.write(_answer(json.dumps(vars(self.counted)).encode()))
            Answering.counted = Counted()
            return
        if head.startswith(b"GET "):
            self._transport.write(_answer(_REGION))
            return
        at = head.lower().find(b"content-length:")
        self._left = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
        self.counted.add(self._left)
        if not self._left:
            self._later(b"{}\n")

    def _said(self) -> tuple[bytes, bytes]:
        if not self.refused_every:
            return b"{}\n", b"200 OK"
        count, self._body = len(json.loads(self._body)["batch"]), b""
        errors = [{"batch_index": at, **_REFUSED} for at in range(0, count, self.refused_every)]
        return json.dumps({"errors": errors}).encode(), b"207 Multi-Status"

    def _later(self, body: bytes, status: bytes = b"200 OK") -> None:
        answer = _answer(body, status)
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def _serve(port_file: Path) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    port_file.write_text(str(port))  # noqa: ASYNC240  # once, before the first request
    await server.serve_forever()


if __name__ == "__main__":
    Answering.delay_s = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    Answering.refused_every = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    asyncio.run(_serve(Path(sys.argv[1])))
