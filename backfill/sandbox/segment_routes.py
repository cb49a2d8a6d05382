"""`/sandbox/segments`: segments, tried out and saved.

    POST   /sandbox/segments          a condition -> {"count": n, "people": [first 100]}
    GET    /sandbox/segments          {"segments": [{"name", "condition", "count"}]}, counted now
    PUT    /sandbox/segments/{name}   save a condition
    DELETE /sandbox/segments/{name}   forget it

`?now=` (unix seconds), or `now` beside the condition, asks as of another moment.
"""

from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backfill.errors import UsageError
from backfill.sandbox import segments
from backfill.sandbox.inspection import as_json, json_of, number
from backfill.sandbox.operation import text_of
from backfill.sandbox.workspace import Workspace


def routes(workspace: Workspace) -> list[Route]:
    """The paths of segments."""
    handlers = _Segments(workspace)
    return [
        Route("/sandbox/segments", handlers.preview, methods=["POST"]),
        Route("/sandbox/segments", handlers.saved),
        Route("/sandbox/segments/{name}", handlers.save, methods=["PUT"]),
        Route("/sandbox/segments/{name}", handlers.forget, methods=["DELETE"]),
    ]


class _Segments:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def preview(self, request: Request) -> Response:
        condition, now_s = await self._asked(request)
        return as_json(await self._preview(condition, now_s))

    async def saved(self, request: Request) -> Response:
        now_s = number(request, "now", int(self._workspace.clock()))
        rows = self._workspace.store.read("SELECT name, condition FROM segments ORDER BY name")
        found = []
        for row in rows:
            condition = orjson.loads(row["condition"])
            count = (await self._preview(condition, now_s))["count"]
            found.append({"name": row["name"], "condition": condition, "count": count})
        return as_json({"segments": found})

    async def save(self, request: Request) -> Response:
        condition, now_s = await self._asked(request)
        answer = await self._preview(condition, now_s)
        name, store = request.path_params["name"], self._workspace.store
        store.write("DELETE FROM segments WHERE name = ?", [name])
        store.write("INSERT INTO segments VALUES (?, ?)", [name, text_of(condition)])
        return as_json(answer)

    async def forget(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._workspace.store.write("DELETE FROM segments WHERE name = ?", [name])
        return as_json({})

    async def _asked(self, request: Request) -> tuple[Any, float]:
        """The condition in the body, and the moment it is asked for."""
        condition = await json_of(request)
        now_s: Any = number(request, "now", 0) or self._workspace.clock()
        if isinstance(condition, dict) and "now" in condition:
            now_s = condition.pop("now")
        if isinstance(now_s, bool) or not isinstance(now_s, int | float):
            raise UsageError("now must be a number of unix seconds")
        return condition, now_s

    async def _preview(self, condition: Any, now_s: float) -> dict[str, Any]:
        self._workspace.flush()
        return await run_in_threadpool(segments.preview, self._workspace.store, condition, now_s)
