"""A request to the Track API and the answer to it, the same for a run and for calls by hand.

Two libraries carry them (`track_api`: many at a time; `client`: one at a time); what is said and
how much of an answer is believed is the same for both.
"""

import ssl
from collections.abc import Mapping

from backfill.delivery.credentials import Key
from backfill.delivery.verdicts import Answer, NoAnswer

ANSWER_BYTES_MAX = 1_000_000
"""The Track API's answers have a few hundred bytes an operation; beyond this it is no answer."""

_OK = 200


def request_headers(key: Key, user_agent: str) -> dict[str, str]:
    """What is sent with every request; `user_agent` names the program to the service."""
    return {
        "Authorization": key.authorization(),
        "Content-Type": "application/json",
        "User-Agent": user_agent,
        "Accept": "application/json",
        # The answers are short, and what expands in memory has no bound.
        "Accept-Encoding": "identity",
    }


class AnswerReader:
    """Puts an answer's body together while it arrives, up to some size.

    Args:
        key: Hidden in whatever the body says.
        bytes_max: A longer body is no answer.
    """

    def __init__(self, key: Key, bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self._key = key
        self._bytes_max = bytes_max
        self._body = bytearray()

    def add(self, piece: bytes) -> bool:
        """Take the next bytes; False: there are too many, and reading on makes no sense."""
        self._body += piece
        return len(self._body) <= self._bytes_max

    def answer(self, status: int, headers: Mapping[str, str]) -> Answer | NoAnswer:
        """What has arrived, once all of it has; what is too long is no answer."""
        if len(self._body) > self._bytes_max:
            return NoAnswer("garbled")
        body = bytes(self._body)
        if status != _OK:  # nobody reads what comes with a success
            body = self._key.hidden_in(body)
        return Answer(status, body, headers)


def tls_for(url: str) -> ssl.SSLContext | bool:
    """How the destination proves who it is; False: it does not, on this machine.

    Only the certificate authorities come from the environment (`SSL_CERT_FILE`).
    """
    if not url.startswith("https:"):
        return False
    import httpx  # noqa: PLC0415  # a run to this machine needs nothing of it

    return httpx.create_ssl_context()
