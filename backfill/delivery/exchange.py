"""A request to the Track API and the answer to it, the same for a run and for calls by hand.

Two libraries carry them (`track_api`: many at a time; `client`: one at a time); what is said and
how much of an answer is believed is the same for both.
"""

import ssl

import httpx

from backfill.delivery.credentials import Credentials
from backfill.delivery.verdicts import Answer, NoAnswer

ANSWER_BYTES_MAX = 1_000_000
"""The API's answers have at most a few hundred bytes an operation; beyond this it is no answer."""


class Exchange:
    """Requests to one destination, with its key and its timeouts.

    Args:
        url: Where requests go, from `destination`.
        credentials: Sent with every request.
        user_agent: Names the program to the service.
        timeout: How long connecting and each silence of the service may last.
    """

    def __init__(
        self, url: str, credentials: Credentials, *, user_agent: str, timeout: httpx.Timeout
    ) -> None:
        self._url = url
        # Parsed once: a dictionary would be turned into headers with every request.
        self._headers = httpx.Headers(
            {
                "Authorization": credentials.basic(),
                "Content-Type": "application/json",
                "User-Agent": user_agent,
                "Accept": "application/json",
                # A few bytes compress badly, and what expands in memory has no bound.
                "Accept-Encoding": "identity",
            }
        )
        self._extensions = {"timeout": timeout.as_dict()}

    def request(self, method: str, path: str, body: bytes) -> httpx.Request:
        """A request; `path` is sent as it is."""
        return httpx.Request(
            method,
            self._url + path,
            headers=self._headers,
            content=body,
            extensions=self._extensions,
        )


class AnswerReader:
    """Puts an answer together while it arrives, up to a megabyte.

    Args:
        response: Its head; the body is handed over by `add`.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._body = bytearray()

    def add(self, piece: bytes) -> bool:
        """Take the next bytes; False: there are too many, and reading on makes no sense."""
        self._body += piece
        return len(self._body) <= ANSWER_BYTES_MAX

    def answer(self) -> Answer | NoAnswer:
        """What has arrived, once all of it has; what is too long is no answer."""
        if len(self._body) > ANSWER_BYTES_MAX:
            return NoAnswer("garbled")
        return Answer(self._response.status_code, bytes(self._body), self._response.headers)


def tls_for(url: str) -> ssl.SSLContext | bool:
    """How the destination proves who it is; False: it does not, on this machine.

    Only the certificate authorities come from the environment (`SSL_CERT_FILE`).
    """
    return httpx.create_ssl_context() if url.startswith("https:") else False
