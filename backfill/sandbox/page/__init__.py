"""The page for people at `/`: files as they are, no build step, nothing from elsewhere."""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
FILES = (
    "page.css",
    "page.js",
    "dom.js",
    "chart.js",
    "faults.js",
    "others.js",
    "people.js",
    "segment.js",
)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes() -> list[Route]:
    """The page and its files."""
    return [Route("/", _index), *(Route(f"/page/{name}", _file) for name in FILES)]


def _index(_request: Request) -> Response:
    return _answer("index.html")


def _file(request: Request) -> Response:
    return _answer(request.url.path.rpartition("/")[2])


def _answer(name: str) -> Response:
    # read anew each time: the page is small, and can be worked on while it runs
    content = files(__package__).joinpath(name).read_bytes()
    return Response(content, media_type=TYPES[name.rpartition(".")[2]], headers=HEADERS)
