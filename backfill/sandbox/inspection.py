"""`/sandbox/*`: the account of what arrived, and what the workspace makes of it.

GET  /sandbox/stats                 nine running counters (`Ledger`)
GET  /sandbox/breakdown             the same by kind and outcome, bare and stamped people
GET  /sandbox/people?limit=&after=&search=   everyone, by number
GET  /sandbox/people/{id}           one by id, e-mail or `cio_…`: attributes, devices, events
GET  /sandbox/events?name=&person=&since=&until=&limit=&after=   what is kept, by arrival
GET  /sandbox/arrivals?limit=&after=    every operation, by arrival
GET  /sandbox/objects?limit=&after=     objects with their attributes, people, relationships
GET  /sandbox/merges?limit=&after=      who was merged into whom
GET  /sandbox/forms?limit=&after=       submitted forms
GET  /sandbox/messages?limit=&after=    metrics of deliveries, and unsubscribes
GET  /sandbox/timeline              events by UTC day and name
GET  /sandbox/requests              the latest 200 requests, newest first
GET  /sandbox/faults                the script of faults, and how often each fired; POST replaces it
GET  /sandbox/behaviour             the switches; POST sets some of them
POST /sandbox/segments              a condition -> {"count": n, "people": [first 100]}
GET  /sandbox/segments              {"segments": [{"name", "condition", "count"}]}, counted now
PUT  /sandbox/segments/{name}       save a condition
DELETE /sandbox/segments/{name}     forget it
POST /sandbox/reset                 forget everything but the environment id, saved segments,
                                    faults and switches included; every other connection is cut,
                                    so that nothing sent before can arrive afterwards

Lists come in pages: `next` is the following `after`, or null. Segments take `?now=` (unix
seconds), or `now` beside the condition, to ask as of another time.
"""

import asyncio
import re
from collections import deque
from dataclasses import asdict
from inspect import cleandoc
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from backfill.errors import UsageError
from backfill.sandbox import listings, segments
from backfill.sandbox.behaviour import Behaviour, changed
from backfill.sandbox.faults import Faults, script_of
from backfill.sandbox.faults import __doc__ as faults_help
from backfill.sandbox.gateway import RecentRequest
from backfill.sandbox.operation import text_of
from backfill.sandbox.wire import ApiConnection
from backfill.sandbox.workspace import Workspace

LIMIT_MAX = 10_000
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,15}")
"""Digits that a double keeps and 64 bits hold, whatever is calculated with them."""


def routes(workspace: Workspace, faults: Faults, recent: deque[RecentRequest]) -> list[Route]:
    """The paths under `/sandbox`."""
    inspection = _Inspection(workspace, faults, recent)
    return [
        Route("/sandbox/stats", inspection.stats),
        Route("/sandbox/breakdown", inspection.breakdown),
        Route("/sandbox/people", inspection.people),
        Route("/sandbox/people/{name:path}", inspection.person),
        Route("/sandbox/events", inspection.events),
        Route("/sandbox/arrivals", inspection.arrivals),
        Route("/sandbox/objects", inspection.objects),
        Route("/sandbox/merges", inspection.merges),
        Route("/sandbox/forms", inspection.forms),
        Route("/sandbox/messages", inspection.messages),
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
    """Any JSON."""
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    # nosniff: a page elsewhere that loads it as a script gets nothing
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(body, status, headers, media_type="application/json")


async def _json_of(request: Request) -> Any:
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise UsageError("the body is no JSON") from error


def _number(request: Request, name: str, default: int) -> int:
    """A whole number among the query's parameters."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not WHOLE_NUMBER.fullmatch(text):
        raise UsageError(f"{name} must be a whole number of at most 15 digits")
    return int(text)


class _Inspection:
    """The handlers; each brings the store up to date and asks it on a thread."""

    def __init__(self, workspace: Workspace, faults: Faults, recent: deque[RecentRequest]) -> None:
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
        person = self._workspace.person(request.path_params["name"])
        if person is None:
            return as_json({"error": "no such person"}, 404)
        return as_json(await self._ask(listings.person, person.number))

    async def events(self, request: Request) -> Response:
        query = request.query_params
        person = query.get("person")
        known = self._workspace.person(person) if person else None
        if person and known is None:
            return as_json({"events": [], "next": None})
        chosen = listings.EventFilter(
            name=query.get("name"),
            person=known.number if known else None,
            since_s=_number(request, "since", 0) if "since" in query else None,
            until_s=_number(request, "until", 0) if "until" in query else None,
        )
        return await self._page(request, listings.events, chosen)

    async def arrivals(self, request: Request) -> Response:
        return await self._page(request, listings.arrivals)

    async def objects(self, request: Request) -> Response:
        return await self._page(request, listings.objects)

    async def merges(self, request: Request) -> Response:
        return await self._page(request, listings.merges)

    async def forms(self, request: Request) -> Response:
        return await self._page(request, listings.forms)

    async def messages(self, request: Request) -> Response:
        return await self._page(request, listings.messages)

    async def timeline(self, _request: Request) -> Response:
        return as_json(await self._ask(listings.timeline))

    async def requests(self, _request: Request) -> Response:
        return as_json({"requests": list(self._recent)[::-1]})

    async def faults(self, _request: Request) -> Response:
        return as_json(self._faults.report())

    async def install(self, request: Request) -> Response:
        self._faults.install(script_of(await _json_of(request)))
        return as_json(self._faults.report())

    async def behaviour(self, _request: Request) -> Response:
        return as_json(asdict(self._workspace.settings.behaviour))

    async def behave(self, request: Request) -> Response:
        now = self._workspace.settings.behaviour
        self._workspace.behave(changed(now, await _json_of(request)))
        return as_json(asdict(self._workspace.settings.behaviour))

    async def preview(self, request: Request) -> Response:
        condition, now_s = await self._asked(request)
        return as_json(await self._ask(segments.preview, condition, now_s))

    async def segments(self, request: Request) -> Response:
        now_s = _number(request, "now", int(self._workspace.clock()))
        rows = self._workspace.store.read("SELECT name, condition FROM segments ORDER BY name")
        found = []
        for row in rows:
            condition = orjson.loads(row["condition"])
            count = (await self._ask(segments.preview, condition, now_s))["count"]
            found.append({"name": row["name"], "condition": condition, "count": count})
        return as_json({"segments": found})

    async def save_segment(self, request: Request) -> Response:
        condition, now_s = await self._asked(request)
        answer = await self._ask(segments.preview, condition, now_s)
        name, store = request.path_params["name"], self._workspace.store
        store.write("DELETE FROM segments WHERE name = ?", [name])
        store.write("INSERT INTO segments VALUES (?, ?)", [name, text_of(condition)])
        return as_json(answer)

    async def forget_segment(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._workspace.store.write("DELETE FROM segments WHERE name = ?", [name])
        return as_json({})

    async def help(self, request: Request) -> Response:
        """For people as text; as JSON for who asks for that, such as the page."""
        told = {
            "paths": __doc__,
            "faults": faults_help,
            "segments": segments.__doc__,
            "behaviour": Behaviour.__doc__,
        }
        if "application/json" in request.headers.get("accept", ""):
            return as_json(told)
        parts = (f"{name.upper()}\n\n{cleandoc(text or '')}\n" for name, text in told.items())
        return PlainTextResponse("\n\n".join(parts))

    async def reset(self, request: Request) -> Response:
        connection: ApiConnection = request.scope["state"]["connection"]
        # before the reset: no request of the past may slip in between
        connection.cut_others()
        self._workspace.reset()
        self._faults.install(script_of({}))
        self._recent.clear()
        await asyncio.sleep(0)  # who reads the answer finds the other connections closed
        return as_json({})

    async def _asked(self, request: Request) -> tuple[Any, float]:
        """The condition in the body, and the time it is asked for (unix seconds)."""
        condition = await _json_of(request)
        now_s: Any = _number(request, "now", 0) or self._workspace.clock()
        if isinstance(condition, dict) and "now" in condition:
            now_s = condition.pop("now")
        return condition, segments.number_in(now_s, "now")

    async def _page(self, request: Request, listing: listings.Listing, *choice: Any) -> Response:
        # a page is built in memory: whoever asks for everything gets it in pages
        limit = max(1, min(_number(request, "limit", 100), LIMIT_MAX))
        after = _number(request, "after", 0)
        return as_json(await self._ask(listing, limit, after, *choice))

    async def _ask(self, question: listings.Listing, *arguments: Any) -> Any:
        """Bring the store up to date and ask it, on a thread: others are answered meanwhile."""
        self._workspace.flush()
        return await run_in_threadpool(question, self._workspace.store, *arguments)
