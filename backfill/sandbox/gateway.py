"""The door of the API: reads a request whole, checks the key, carries it out, answers."""

import asyncio
import base64
import binascii
from collections import deque
from typing import Any

from starlette.types import Receive, Scope, Send

from backfill.errors import StateError
from backfill.sandbox import api_v1, api_v2, validation, wire
from backfill.sandbox.app_api import AppApi, failure
from backfill.sandbox.faults import FaultChoice, Faults, Spoiler, substitute
from backfill.sandbox.wire import (
    ApiAnswer,
    ApiCall,
    ApiConnection,
    query_of,
    segments_of,
    until_gone,
)
from backfill.sandbox.workspace import Workspace

APP_PATH = "/v1/"
BODY_TIMEOUT_S = 30.0
RECENT_MAX = 200
ERROR_BYTES_MAX = 500

RecentRequest = dict[str, Any]
"""One of the latest requests: number, time, method, path, bytes, status, fault, error."""


class Gateway:
    """The ASGI application behind the API's paths, `/api/*` and the few outside of it."""

    def __init__(self, workspace: Workspace, faults: Faults) -> None:
        self._workspace = workspace
        self._faults = faults
        self._app = AppApi(workspace)
        self.recent: deque[RecentRequest] = deque(maxlen=RECENT_MAX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or misbehave as the script says.

        What began before a reset is as gone as what was applied before it.
        """
        connection: ApiConnection = scope["state"]["connection"]
        # bytes that were on their way when somebody reset the workspace are of the past
        if connection.is_cut:
            await until_gone(receive)
            return
        ledger = self._workspace.ledger
        # the account is of what arrives; the App API only reads
        ledger.requests += not scope["path"].startswith(APP_PATH)
        number = ledger.requests
        chosen = self._faults.choose(scope["method"], scope["path"])
        body = await _body(receive)
        if chosen.latency_s and isinstance(body, bytes):
            await asyncio.sleep(chosen.latency_s)
        # the request waited (a slow body, a fault), and meanwhile its workspace is gone
        if ledger is not self._workspace.ledger:  # a reset opens a new one
            await until_gone(receive)
        elif isinstance(body, ApiAnswer):
            self._note(scope, number, 0, body)
            await respond(send, body)
        else:
            ledger.bytes += 0 if scope["path"].startswith(APP_PATH) else len(body)
            await self._carry_out(scope, receive, send, number, body, chosen)

    async def _carry_out(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        number: int,
        body: bytes,
        chosen: FaultChoice,
    ) -> None:
        """Do what a whole request asks for, and answer it, each unless a fault says otherwise."""
        fault = chosen.answer
        is_applied = fault is None or fault.applies
        answer = self._answer(scope, number, body, chosen) if is_applied else wire.OK
        if fault is None:
            self._note(scope, number, len(body), answer)
            await respond(send, answer)
            return
        behaviour, now_s = self._workspace.settings.behaviour, self._workspace.clock()
        spoilt = substitute(fault, scope["path"], behaviour, now_s)
        self._note(scope, number, len(body), spoilt, fault.kind)
        if spoilt is None:
            await Spoiler(fault, answer)(scope, receive, send)
        else:
            await respond(send, spoilt)

    def _note(
        self,
        scope: Scope,
        number: int,
        size: int,
        answer: ApiAnswer | None,
        fault: str | None = None,
    ) -> None:
        """Remember the request for those who watch; `answer` is None where there was none."""
        status = answer.status if answer else None
        bad = answer is not None and answer.status > wire.NO_CONTENT.status
        error = answer.body[:ERROR_BYTES_MAX].decode("utf-8", "replace") if answer and bad else None
        self.recent.append(
            {
                "request": number,
                "received_s": self._workspace.clock(),
                "method": scope["method"],
                "path": scope["path"],
                "bytes": size,
                "status": status,
                "fault": fault,
                "error": error,
            }
        )

    def _answer(self, scope: Scope, number: int, body: bytes, chosen: FaultChoice) -> ApiAnswer:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        segments = segments_of(scope["raw_path"])
        call = ApiCall(
            number,
            scope["method"],
            segments[2:],
            query_of(scope["query_string"]),
            body,
            headers.get(b"content-type", b"").decode("latin-1"),
            chosen.is_refused,
            chosen.spoil,
        )
        if segments[0] == "v1":
            return self._of_app(segments, call, headers.get(b"authorization", b""))
        is_known = segments[0] == "unsubscribe" or self._may_enter(
            headers.get(b"authorization", b"")
        )
        if not is_known:
            return wire.unauthorized(self._workspace.settings.behaviour)
        try:
            return self._routed(segments, call)
        except StateError as error:  # nothing is answered 200 that could not be kept
            return wire.meta_error(500, str(error))

    def _of_app(self, segments: tuple[str, ...], call: ApiCall, authorization: bytes) -> ApiAnswer:
        """The answer of the App API, which has a key of its own."""
        if authorization != f"Bearer {self._workspace.settings.app_key}".encode():
            return failure(401, "Unauthorized request")
        return self._app.answer(call._replace(segments=segments[1:]))

    def _routed(self, segments: tuple[str, ...], call: ApiCall) -> ApiAnswer:
        match segments:
            case "unsubscribe", *rest:
                return api_v1.unsubscribe(call._replace(segments=tuple(rest)), self._workspace)
            case ("auth",) if call.method == "GET":
                return api_v1.auth()
            case "push", "events":
                return api_v1.push_events(call, self._workspace)
            case "api", "v2", *_:
                return api_v2.answer(call, self._workspace)
            case "api", "v1", *_:
                return api_v1.answer(call, self._workspace)
            case _:
                return wire.meta_error(404, "not found")

    def _may_enter(self, authorization: bytes) -> bool:
        """Basic authentication, in both base64 alphabets: the Go client uses the other one."""
        settings = self._workspace.settings
        scheme, _, text = authorization.partition(b" ")
        if scheme.lower() != b"basic":
            return False
        standard = text.strip().replace(b"-", b"+").replace(b"_", b"/")
        try:
            pair = base64.b64decode(standard + b"=" * (-len(standard) % 4), validate=True)
        except binascii.Error:
            return False
        return pair == f"{settings.site_id}:{settings.api_key}".encode()


async def _body(receive: Receive) -> bytes | ApiAnswer:
    """The whole body, or the answer to one that is too large, too slow or cut off."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message: Any = await receive()
                if message["type"] == "http.disconnect":
                    return ApiAnswer(400)
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                # refused while it comes in: nothing makes the sandbox hold more than this
                if size > validation.V1_REQUEST_BYTES_MAX:
                    return wire.meta_error(413, "request is too large")
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return wire.meta_error(408, "request took too long")


async def respond(send: Send, answer: ApiAnswer) -> None:
    """Send an answer whole."""
    length = (b"content-length", b"%d" % len(answer.body))
    # a 204 must not have a length (RFC 9110)
    headers = [*answer.headers, *((length,) if answer.status != wire.NO_CONTENT.status else ())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
