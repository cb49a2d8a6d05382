"""Running a sandbox: in the foreground, or in the background of this process."""

import asyncio
import contextlib
import gc
import secrets
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from backfill.errors import StateError, UsageError
from backfill.sandbox import inspection, page
from backfill.sandbox.access import AccessControl, is_loopback
from backfill.sandbox.behaviour import SandboxSettings
from backfill.sandbox.faults import Faults, script_of
from backfill.sandbox.gateway import APP_PATH, Gateway
from backfill.sandbox.store import Store
from backfill.sandbox.tls import Certificate, make_certificate
from backfill.sandbox.wire import ApiConnection
from backfill.sandbox.workspace import Workspace

FLUSH_EVERY_S = 0.25
HEADER_BYTES_MAX = 32_768
IDLE_TIMEOUT_S = 75
QUIET_GC = 200_000
PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """Where a sandbox is to be reached.

    Args:
        url: `http://127.0.0.1:PORT`, without a slash at the end.
        ca: The file of the authority to trust, under `tls`.
        token: What `/sandbox/*` asks for as a bearer token, beyond loopback.
    """

    url: str
    ca: Path | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Running(Address):
    """A sandbox that accepts connections.

    Args:
        stop: Ends it and waits until it has ended; may be called again.
    """

    stop: Callable[[], None] = lambda: None


class _Server(uvicorn.Server):
    """Brings the workspace to the disk four times a second, and says when it listens."""

    def __init__(
        self, config: uvicorn.Config, workspace: Workspace, announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._workspace = workspace
        self._announce = announce
        self._flushing: asyncio.Task[None] | None = None
        self.failure: StateError | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._workspace.settings.data:  # memory is written when somebody asks, or in bulk
            self._flushing = asyncio.create_task(self._flush_now_and_then())
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            # one whose client never says goodbye over TLS would outlive the event loop
            connection.transport.abort()
        await asyncio.sleep(0)
        if self._flushing:
            self._flushing.cancel()
        # after a failure another try would only hide the first message
        if self.failure is None:
            self._workspace.flush()

    async def _flush_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            try:
                self._workspace.flush()
            except StateError as error:
                self.failure = error
                self.should_exit = True
                return


def serve(settings: SandboxSettings, announce: Callable[[Address], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is called once connections are accepted.

    Raises:
        UsageError: The port is taken, or the address is none of this machine's.
        StateError: The data folder cannot be used, or its disk is full.
    """
    gc.set_threshold(QUIET_GC)  # a batch is thousands of objects, and no cycle among them
    signal.signal(signal.SIGTERM, _leave)
    with _prepared(settings, announce) as (server, listening, _):
        server.run(sockets=[listening])
        if server.failure is not None:
            raise server.failure


def _leave(number: int, _frame: FrameType | None) -> None:
    """End so that everything is closed on the way out; uvicorn raises its signals again."""
    raise SystemExit(128 + number)


@contextlib.contextmanager
def running(settings: SandboxSettings | None = None) -> Iterator[Running]:
    """A sandbox in the background of this process, on a free port unless `settings` name one.

    Raises:
        UsageError: The port is taken.
        StateError: The data folder cannot be used.
    """
    ready = threading.Event()
    with _prepared(settings or SandboxSettings(), lambda _: ready.set()) as (
        server,
        listening,
        address,
    ):
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join()

        ready.wait()
        try:
            yield Running(address.url, address.ca, address.token, stop)
        finally:
            stop()


@contextlib.contextmanager
def _prepared(
    settings: SandboxSettings, announce: Callable[[Address], None]
) -> Iterator[tuple[_Server, socket.socket, Address]]:
    """A server that is ready to run, its socket bound; everything is closed afterwards."""
    with contextlib.ExitStack() as stack:
        # first: a taken port is said before a folder is locked
        listening = stack.enter_context(_bound(settings))
        store = stack.enter_context(contextlib.closing(Store(settings.data)))
        workspace = Workspace(store, settings, _clock(settings))
        certificate = None
        if settings.tls:
            kept = settings.data and settings.data / "tls"
            folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            now_s = time.time()  # noqa: TID251  # the wiring
            certificate = make_certificate(folder, now_s, settings.names)
        address = Address(
            _url(settings, listening),
            certificate.ca if certificate else None,
            None if is_loopback(settings.host) else secrets.token_urlsafe(16),
        )
        config = _config(workspace, address, certificate)
        yield _Server(config, workspace, lambda: announce(address)), listening, address


def _clock(settings: SandboxSettings) -> Callable[[], float]:
    # read once: the clock is asked for each request
    still_s = settings.now_s
    return time.time if still_s is None else lambda: still_s  # noqa: TID251  # the wiring


def _config(
    workspace: Workspace, address: Address, certificate: Certificate | None
) -> uvicorn.Config:
    settings, faults = workspace.settings, Faults(time.monotonic)  # noqa: TID251  # the wiring
    if settings.faults is not None:
        faults.install(script_of(settings.faults))
    app = App(workspace, faults)
    return uvicorn.Config(
        AccessControl(app, settings.host, address.token, settings.names),
        ssl_certfile=certificate.chain if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
        lifespan="off",
        log_level="error",  # a bug of ours, with its traceback: on stderr, never to the client
        access_log=False,
        server_header=False,
        http=ApiConnection,
        ws="none",
        loop="asyncio",
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        timeout_keep_alive=IDLE_TIMEOUT_S,
        timeout_graceful_shutdown=1,
    )


def _bound(settings: SandboxSettings) -> socket.socket:
    if not 0 <= settings.port <= PORT_MAX:
        raise UsageError(
            f"port {settings.port} does not exist", next_step=f"choose one from 0 to {PORT_MAX}"
        )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off for sockets that say they are TCP, and only for those
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror})",
            next_step="choose another port with --port; 0 takes a free one",
        ) from error
    return listening


def _url(settings: SandboxSettings, listening: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if settings.tls else "http"
    return f"{scheme}://{host}:{listening.getsockname()[1]}"


API_PATHS = ("/api/", APP_PATH, "/unsubscribe/", "/auth", "/push/")


class App:
    """Sends the API's requests to the gateway and everything else to Starlette."""

    def __init__(self, workspace: Workspace, faults: Faults) -> None:
        self._api = Gateway(workspace, faults)
        self._site: ASGIApp = Starlette(
            routes=[
                *inspection.routes(workspace, faults, self._api.recent),
                *page.routes(),
            ],
            exception_handlers={UsageError: _bad_request},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_api = scope["type"] == "http" and scope["path"].startswith(API_PATHS)
        await (self._api if is_api else self._site)(scope, receive, send)


async def _bad_request(_request: Request, error: Exception) -> Response:
    return inspection.as_json({"error": str(error)}, 400)
