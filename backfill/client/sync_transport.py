"""One call at a time, without an event loop: the same verdicts, the same waits, typed errors.

    TrackError                  what the service said, or that it said nothing
    ├── RefusedError            operations were refused, each with its reason
    ├── UnauthorizedError       the key was not accepted
    ├── DestinationError        whoever answered is not the Track API, or it is another region's
    └── UnansweredError         no clear answer after all attempts: applied or not, nobody knows

No error holds anything of what was sent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from backfill.delivery.credentials import Credentials
from backfill.delivery.exchange import AnswerReader, request_headers, tls_for
from backfill.delivery.outcome import Refusal
from backfill.delivery.region import REGION_PATH, Region, judge_region
from backfill.delivery.verdicts import (
    Abort,
    Answer,
    Halve,
    NoAnswer,
    Retry,
    Settled,
    Unauthorized,
    judge,
)
from backfill.retrying import backoff_s, throttle_s

ATTEMPTS_MAX = 5


class TrackError(Exception):
    """A call that did not succeed.

    Args:
        message: What happened.
        status: The HTTP status of the answer, if there was one; None for a batch of many.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RefusedError(TrackError):
    """The API refused operations; those of a batch that are not among `refusals` were accepted."""

    def __init__(self, refusals: Sequence[Refusal], status: int | None = None) -> None:
        first = refusals[0]
        where = f"{first.field}: " if first.field else ""
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        super().__init__(f"refused: {where}{first.message}{more}", status)
        self.refusals = tuple(refusals)


class UnauthorizedError(TrackError):
    """The site id and API key were not accepted."""


class DestinationError(TrackError):
    """Whoever answered is not the Track API, or it is the one of another region."""


class UnansweredError(TrackError):
    """There was no clear answer after all attempts: the call may have been applied or not."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How to wait between attempts: a sleep in seconds, and a random number from 0 to 1."""

    sleep: Callable[[float], None]
    jitter: Callable[[], float]


class Calls:
    """Requests to the Track API, each tried up to five times. Safe to use from many threads.

    httpx's transport is used without a client around it: no redirects, no cookies, no proxies
    from the environment, and no log of paths, which hold identifiers.
    """

    def __init__(
        self, url: str, credentials: Credentials, *, user_agent: str, timeout_s: float, waits: Waits
    ) -> None:
        self._url, self._credentials = url, credentials
        # Parsed once: a dictionary would be turned into headers with every request.
        self._headers = httpx.Headers(request_headers(credentials, user_agent))
        self._extensions = {"timeout": httpx.Timeout(timeout_s).as_dict()}
        self._waits = waits
        self._transport = httpx.HTTPTransport(verify=tls_for(url), trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def send(
        self, method: str, path: str, body: bytes, count: int = 1
    ) -> tuple[Settled | Halve, int | None]:
        """Send a request of `count` operations until there is a verdict on them; and its status.

        Raises:
            TrackError: There was none; never `RefusedError`.
        """
        failures = 0
        while True:
            answer = self._ask(method, path, body)
            verdict = judge(answer, count)
            if isinstance(verdict, Settled | Halve):
                return verdict, _status(answer)
            failures += 1
            self._wait(verdict, answer, failures)

    def region(self) -> Region:
        """Ask which workspace the credentials open.

        Raises:
            TrackError: It did not become clear.
        """
        failures = 0
        while True:
            answer = self._ask("GET", REGION_PATH, b"")
            found = judge_region(answer)
            if isinstance(found, Region):
                return found
            failures += 1
            self._wait(found, answer, failures)

    def _wait(
        self, verdict: Retry | Unauthorized | Abort, answer: Answer | NoAnswer, failures: int
    ) -> None:
        """Wait before the next attempt, or raise where there will be none."""
        status = _status(answer)
        match verdict:
            # No second look: whoever calls by hand learns it at once.
            case Unauthorized():
                raise UnauthorizedError("the credentials were not accepted", status)
            case Abort(error):
                raise DestinationError(error.what, status)
            case Retry(kind, after_s):
                # A caller waits for this call, so that it must end.
                if failures >= ATTEMPTS_MAX:
                    what = answer.kind if isinstance(answer, NoAnswer) else f"HTTP {status}"
                    raise UnansweredError(f"gave up after {failures} attempts: {what}", status)
                wait_s = throttle_s if kind == "throttled" else backoff_s
                self._waits.sleep(max(wait_s(failures, self._waits.jitter()), after_s or 0.0))

    def _ask(self, method: str, path: str, body: bytes) -> Answer | NoAnswer:
        request = httpx.Request(
            method,
            self._url + path,
            headers=self._headers,
            content=body,
            extensions=self._extensions,
        )
        try:
            return self._read(self._transport.handle_request(request))
        except httpx.TransportError as error:
            return _no_answer(error)

    def _read(self, response: httpx.Response) -> Answer | NoAnswer:
        reader = AnswerReader(self._credentials)
        try:
            for piece in response.stream:  # type: ignore[union-attr]  # never async here
                if not reader.add(piece):
                    break
        finally:
            response.stream.close()  # type: ignore[union-attr]
        return reader.answer(response.status_code, response.headers)


def _status(answer: Answer | NoAnswer) -> int | None:
    return answer.status if isinstance(answer, Answer) else None


def _no_answer(error: httpx.TransportError) -> NoAnswer:
    match error:
        case httpx.TimeoutException():
            return NoAnswer("timeout")
        case httpx.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return NoAnswer("untrusted")
        case httpx.ConnectError() if "[Errno -" in str(error):  # those of getaddrinfo
            return NoAnswer("unknown_host")
        case httpx.ConnectError():
            return NoAnswer("unreachable")
        case httpx.RemoteProtocolError():
            return NoAnswer("garbled")
        case _:
            return NoAnswer("dropped")
