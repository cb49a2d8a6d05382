"""`/sandbox/*`: the account of what arrived, and what the workspace makes of it.

GET  /sandbox/stats                 nine running counters (`Ledger`)
GET  /sandbox/breakdown             the same by kind and outcome, and bare people
GET  /sandbox/people?limit=&after=  everyone, by number; `next` is the following `after`
GET  /sandbox/people/{id}           one by id, e-mail or `cio_…`: attributes, devices, events
GET  /sandbox/events?name=&person=&since=&until=&limit=&after=   what is kept, by arrival
GET  /sandbox/arrivals?limit=&after=        every operation, by arrival
GET  /sandbox/timeline              events by UTC day and name
GET  /sandbox/requests              the latest 200 requests, newest first
GET, POST /sandbox/faults           the script of faults: read it, replace it
GET, POST /sandbox/behaviour        the switches: read them, set some
POST /sandbox/segments              a condition -> {"count": n, "people": [first 100]}
GET  /sandbox/segments              {"segments": [{"name", "condition", "count"}]}, counted now
PUT  /sandbox/segments/{name}       save a condition
DELETE /sandbox/segments/{name}     forget it
POST /sandbox/reset                 forget everything but the environment id, saved segments,
                                    faults and switches included; every other connection is cut,
                                    so that nothing sent before can arrive afterwards

Segments take `?now=` (unix seconds), or `now` beside the condition, to ask as of another moment.
"""

import asyncio
from collections import deque
from dataclasses import asdict
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backfill.errors import UsageError
from backfill.sandbox import listings, segments
from backfill.sandbox.behaviour import Behaviour, changed
from backfill.sandbox.faults import Faults, Script, script_of
from backfill.sandbox.faults import __doc__ as documentation
from backfill.sandbox.gateway import Recent
from backfill.sandbox.operation import text_of
from backfill.sandbox.wire import Protocol
from backfill.sandbox.workspace import Workspace

LIMIT_MAX = 10_000


def routes(workspace: Workspace, faults: Faults, recent: deque[Recent]) -> list[Route]:
    """The paths under `/sandbox`."""
    inspection = _Inspection(workspace, faults, recent)
    return [
        Route("/sandbox/stats", inspection.stats),
        Route("/sandbox/breakdown", inspection.breakdown),
        Route("/sandbox/people", inspection.people),
        Route("/sandbox/people/{name:path}", inspection.person),
        Route("/sandbox/events", inspection.events),
        Route("/sandbox/arrivals", inspection.arrivals),
        Route("/sandbox/timeline", inspection.timeline),
        Route("/sandbox/requests", inspection.requests),
        Route("/sandbox/faults", inspection.faults),
        Route("/sandbox/faults", inspection.install, methods=["POST"]),
        Route("/sandbox/behaviour", inspection.behaviour),
        Route("/sandbox/behaviour", inspection.behave, methods=["POST"]),
        Route("/sandbox/segments", inspection.preview, methods=["POST"]),
        Route("/sandbox/segments", inspection.segments),
        Route("/sandbox/segments/{name}", inspection.save_segment, methods=["PUT"]),
        Route("/sandbox/segments/{name}", inspection.forget_segment, methods=["DELETE"]),
        Route("/sandbox/help", inspection.help),
        Route("/sandbox/reset", inspection.reset, methods=["POST"]),
    ]


def as_json(value: Any, status: int = 200) -> Response:
    """Any JSON; integers beyond 53 bits are already texts."""
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, media_type="application/json")


async def json_of(request: Request) -> Any:
    """The JSON of a request's body.

    Raises:
        UsageError: It is none.
    """
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise UsageError("the body is no JSON") from error


def number(request: Request, name: str, default: int) -> int:
    """A whole number among the query's parameters."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} must be a whole number") from None


class _Inspection:
    """The handlers; each brings the store up to date and asks it on a thread."""

    def __init__(self, workspace: Workspace, faults: Faults, recent: deque[Recent]) -> None:
        self._workspace = workspace
        self._faults = faults
        self._recent = recent

    async def stats(self, _request: Request) -> Response:
        return as_json(self._workspace.ledger.stats())

    async def breakdown(self, _request: Request) -> Response:
        return as_json(self._workspace.ledger.breakdown())

    async def people(self, request: Request) -> Response:
        return await self._page(request, listings.people, request.query_params.get("search", ""))

    async def person(self, request: Request) -> Response:
        self._workspace.flush()
        person = self._workspace.person(request.path_params["name"])
        if person is None:
            return as_json({"error": "no such person"}, 404)
        store = self._workspace.store
        return as_json(await run_in_threadpool(listings.person, store, person.number))

    async def events(self, request: Request) -> Response:
        query = request.query_params
        person = query.get("person")
        known = self._workspace.person(person) if person else None
        if person and known is None:
            return as_json({"events": [], "next": None})
        chosen = listings.EventFilter(
            name=query.get("name"),
            person=known.number if known else None,
            since_s=number(request, "since", 0) if "since" in query else None,
            until_s=number(request, "until", 0) if "until" in query else None,
        )
        return await self._page(request, listings.events, chosen)

    async def arrivals(self, request: Request) -> Response:
        return await self._page(request, listings.arrivals)

    async def timeline(self, _request: Request) -> Response:
        self._workspace.flush()
        return as_json(await run_in_threadpool(listings.timeline, self._workspace.store))

    async def requests(self, _request: Request) -> Response:
        return as_json({"requests": list(self._recent)[::-1]})

    async def faults(self, _request: Request) -> Response:
        return as_json(self._faults.report())

    async def install(self, request: Request) -> Response:
        self._faults.install(script_of(await json_of(request)))
        return as_json(self._faults.report())

    async def behaviour(self, _request: Request) -> Response:
        return as_json(asdict(self._workspace.settings.behaviour))

    async def behave(self, request: Request) -> Response:
        now = self._workspace.settings.behaviour
        self._workspace.behave(changed(now, await json_of(request)))
        return as_json(asdict(self._workspace.settings.behaviour))

    async def help(self, _request: Request) -> Response:
        return as_json(
            {
                "paths": __doc__,
                "faults": documentation,
                "segments": segments.__doc__,
                "behaviour": Behaviour.__doc__,
            }
        )

    async def reset(self, request: Request) -> Response:
        connection: Protocol = request.scope["state"]["connection"]
        connection.cut_others()
        self._workspace.reset()
        self._faults.install(Script())
        self._recent.clear()
        await asyncio.sleep(0)  # who reads the answer finds the other connections closed
        return as_json({})

    async def _page(self, request: Request, report: listings.Report, *choice: Any) -> Response:
        limit = max(1, min(number(request, "limit", 100), LIMIT_MAX))
        after = number(request, "after", 0)
        self._workspace.flush()
        store = self._workspace.store
        return as_json(await run_in_threadpool(report, store, limit, after, *choice))

    async def preview(self, request: Request) -> Response:
        condition, now_s = await self._asked(request)
        return as_json(await self._preview(condition, now_s))

    async def segments(self, request: Request) -> Response:
        now_s = number(request, "now", int(self._workspace.clock()))
        rows = self._workspace.store.read("SELECT name, condition FROM segments ORDER BY name")
        found = []
        for row in rows:
            condition = orjson.loads(row["condition"])
            count = (await self._preview(condition, now_s))["count"]
            found.append({"name": row["name"], "condition": condition, "count": count})
        return as_json({"segments": found})

    async def save_segment(self, request: Request) -> Response:
        condition, now_s = await self._asked(request)
        answer = await self._preview(condition, now_s)
        name, store = request.path_params["name"], self._workspace.store
        store.write("DELETE FROM segments WHERE name = ?", [name])
        store.write("INSERT INTO segments VALUES (?, ?)", [name, text_of(condition)])
        return as_json(answer)

    async def forget_segment(self, request: Request) -> Response:
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
