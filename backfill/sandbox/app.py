"""The ASGI application: the API, what looks into it, and the page."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from backfill.errors import UsageError
from backfill.sandbox import inspection, page, segment_routes
from backfill.sandbox.faults import Faults
from backfill.sandbox.gateway import Gateway
from backfill.sandbox.workspace import Workspace

API_PREFIXES = ("/api/", "/unsubscribe/")


class App:
    """Sends the API's requests to the gateway and everything else to Starlette."""

    def __init__(self, workspace: Workspace, faults: Faults) -> None:
        self._api = Gateway(workspace, faults)
        self._site: ASGIApp = Starlette(
            routes=[
                *inspection.routes(workspace, faults, self._api.recent),
                *segment_routes.routes(workspace),
                *page.routes(),
            ],
            exception_handlers={UsageError: _bad_request},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_api = scope["type"] == "http" and scope["path"].startswith(API_PREFIXES)
        await (self._api if is_api else self._site)(scope, receive, send)


async def _bad_request(_request: Request, error: Exception) -> Response:
    return inspection.as_json({"error": str(error)}, 400)
