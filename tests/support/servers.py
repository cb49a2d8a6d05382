"""A scripted HTTP server for tests: real sockets, and any misbehaviour that bytes can express."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PIECE_BYTES = 65_536

Reply = Callable[[asyncio.StreamWriter], Awaitable[bool]]
"""Writes something, or nothing; says whether the connection is kept."""


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    """Which connection brought it, counted from 1."""

    @property
    def operations(self) -> list[Any]:
        """The operations of a v2 batch."""
        return orjson.loads(self.body)["batch"]


@dataclass(slots=True)
class Server:
    """A running server: where it is, and what came."""

    url: str
    received: list[Received] = field(default_factory=list)
    connections: int = 0


Script = Callable[[Received], Reply]


def message(
    status: int = 200,
    body: bytes = b"{}\n",
    *,
    content_type: str = "application/json; charset=utf-8",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A whole answer as bytes."""
    lines = [f"HTTP/1.1 {status} {'OK' if status == 200 else 'Other'}"]
    fields = {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})}
    lines += [f"{name}: {value}" for name, value in fields.items() if value]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(status: int = 200, body: bytes = b"{}\n", **more: Any) -> Reply:
    """Answer and keep the connection."""
    return raw(message(status, body, **more), keep=True)


def raw(data: bytes, *, keep: bool = False) -> Reply:
    """Write exactly these bytes; then close, unless `keep`."""

    async def write(writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        await writer.drain()
        return keep

    return write


def reset() -> Reply:
    """Cut the connection with a TCP reset instead of an answer."""

    async def cut(writer: asyncio.StreamWriter) -> bool:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return False

    return cut


def hang() -> Reply:
    """Never answer."""
    return drip(b"", pause_s=0)


def drip(data: bytes, *, pause_s: float) -> Reply:
    """Write a byte at a time, and never come to an end."""

    async def write(writer: asyncio.StreamWriter) -> bool:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause_s)
        await asyncio.Event().wait()
        return False

    return write


def endless(
    head: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", more: bytes = b" "
) -> Reply:
    """Begin an answer that never ends: `more` follows again and again."""
    piece = more * max(_PIECE_BYTES // len(more), 1)

    async def write(writer: asyncio.StreamWriter) -> bool:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()

    return write


def together(count: int, reply: Reply) -> Reply:
    """The same, once so many requests wait for it."""
    waiting = asyncio.Barrier(count)

    async def write(writer: asyncio.StreamWriter) -> bool:
        await waiting.wait()
        return await reply(writer)

    return write


def in_turn(*replies: Reply, then: Reply | None = None) -> Script:
    """The replies in this order, one a request; afterwards `then`, or `{}`."""
    left = iter(replies)
    rest = then or answer()
    return lambda _: next(left, rest)


def cuts(data: bytes) -> Iterable[bytes]:
    """Every proper beginning of the bytes."""
    return (data[:end] for end in range(len(data)))


@contextlib.asynccontextmanager
async def serving(
    script: Script, *, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[Server]:
    """Run a server on this machine, on a free port; each request is answered by the script."""
    tasks: set[asyncio.Task[None]] = set()
    running = Server("")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.connections += 1
        connection = running.connections
        task = asyncio.current_task()
        tasks.add(task)
        try:
            while request := await _read(reader, connection):
                running.received.append(request)
                if not await script(request)(writer):
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=tls)
    running.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@contextlib.asynccontextmanager
async def cutting(times: int, port: int, cut: Reply) -> AsyncIterator[int]:
    """Stand before the server on `port`, and cut the first connections once they have spoken.

    Gives the port to connect to; the connections after the first `times` are let through.
    """
    tasks: list[asyncio.Task[None]] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        first = await reader.read(_PIECE_BYTES)
        if len(tasks) <= times:
            await cut(writer)
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        back.write(first)
        await asyncio.gather(_passed_on(reader, back), _passed_on(there, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def answering_early(times: int, port: int) -> AsyncIterator[int]:
    """Stand before the server on `port`, and answer the first requests once their head is there.

    What follows the head is never read. Gives the port to connect to; the connections after the
    first `times` are let through.
    """
    tasks: list[asyncio.Task[None]] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        if len(tasks) <= times:
            writer.transport.pause_reading()
            writer.write(message())
            await writer.drain()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        back.write(head)
        await asyncio.gather(_passed_on(reader, back), _passed_on(there, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks[:times]:
            task.cancel()
        await asyncio.wait(tasks)


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_PIECE_BYTES):
            writer.write(data)
    writer.close()


async def _read(reader: asyncio.StreamReader, connection: int) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body, connection)


def self_signed(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that no authority knows: its file, and a server's use of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*paths)
    return paths[0], context
