"""A service that refuses a whole batch for one row, and passes the others on."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


@contextlib.contextmanager
def poisoned(url: str, poison: bytes) -> Iterator[str]:
    """Run it in front of a sandbox.

    Args:
        url: The sandbox.
        poison: What makes a request one that is refused with 400.
    """
    with httpx.Client(base_url=url) as client, _server(client, poison) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _server(client: httpx.Client, poison: bytes) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if poison in body:
                self._answer(400, b'{"errors":[{"reason":"invalid","message":"no idea why"}]}')
                return
            given = {"authorization": self.headers["authorization"]}
            answer = client.request(self.command, self.path, content=body, headers=given)
            self._answer(answer.status_code, answer.content)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
