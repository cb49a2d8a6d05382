"""What an answer means. Total over every status and every body; no I/O.

Sources: the official OpenAPI description and the answers recorded from the live service. In
short: 200 is `{}`; 207 names the refused operations by `batch_index`; 400 refuses all of it, with
`errors` (v2) or `meta.error` / `meta.errors` (v1); an error's body may be anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Literal

import orjson

from backfill.delivery.outcome import Refusal
from backfill.errors import BackfillError, CredentialsError, UsageError
from backfill.retrying import CircuitBreaker

DOUBTS_MAX = 6
"""After so many, a batch is what is wrong."""

_MALFORMED = frozenset({400, 422})
_TOO_LARGE = frozenset({413, 414, 431})
_UNAUTHORIZED = frozenset({401, 403})
_NOT_OFFERED = frozenset({501, 505})
_TRY_LATER = frozenset({408, 425})
_THROTTLED = 429
_SOME_REFUSED = 207
_MESSAGE_CHARACTERS_MAX = 300
HINT_MAX_S = 300.0
"""The longest `Retry-After` that is believed, in seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer. `headers` finds names in any case, or holds them in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


NoAnswerKind = Literal["unknown_host", "unreachable", "dropped", "timeout", "garbled", "untrusted"]


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """An attempt without a whole answer: whether it was applied is unknown.

    unknown_host: its name was not found (DNS) · unreachable: no connection ·
    dropped: closed or reset half-way · timeout · garbled: not HTTP,
    or without end · untrusted: the certificate does not prove the host.
    """

    kind: NoAnswerKind


RetryKind = Literal["throttled", "server", "network", "unknown"]


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing is left to do: every operation that is not refused was delivered."""

    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Halve:
    """The API refused the batch without naming the culprits: send each half by itself."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Send it again later; not before `after_s`, if the API gave a hint."""

    kind: RetryKind
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The key was not accepted this time: ask before believing it."""


@dataclass(frozen=True, slots=True)
class Abort:
    """No request can succeed: stop the run with this error."""

    error: BackfillError


Verdict = Settled | Halve | Retry | Unauthorized | Abort


def judge(answer: Answer | NoAnswer, count: int) -> Verdict:
    """Say what the answer to a request of `count` operations means for them."""
    if isinstance(answer, NoAnswer):
        return _silence(answer)
    status = answer.status
    if status == _SOME_REFUSED:
        return _some_refused(answer, count)
    if status // 100 == 2:  # noqa: PLR2004  # the class of success
        # Portals and proxies answer 200 with a page: nothing of ours was taken then.
        return Settled() if is_empty_object(answer) else Retry("unknown")
    if status in _MALFORMED or status in _TOO_LARGE:
        # Nobody says which one it was: halves find it.
        return Halve() if count > 1 else Settled((_refusal_of_one(answer),))
    if status in _UNAUTHORIZED:
        return Unauthorized()
    return _refused_as_a_whole(answer)


def is_empty_object(answer: Answer) -> bool:
    """Whether the body is what the API sends for success: nothing, or `{}`, and no page."""
    if "html" in answer.headers.get("content-type", "").lower():
        return False
    body = answer.body.strip()
    return body in (b"", b"{}") or _parsed(body) == {}


def unknown_outcome(message: str) -> Settled:
    """The verdict on a single operation of which no attempt ever became clear."""
    return Settled((Refusal(0, "unknown_outcome", "", message),))


def _silence(answer: NoAnswer) -> Verdict:
    if answer.kind == "untrusted":
        return Abort(
            CredentialsError(
                "the certificate of the destination is not trusted; nothing was sent to it",
                next_step="check `url`; for your own authority set SSL_CERT_FILE to its file",
            )
        )
    return Retry("network")


def _refused_as_a_whole(answer: Answer) -> Verdict:
    """Everything that is about the service or the settings, not about an operation."""
    status = answer.status
    # Never a rejection: the same bytes are fine a second later.
    if status == _THROTTLED:
        return Retry("throttled", _hint_s(answer))
    if status in _TRY_LATER or (status // 100 == 5 and status not in _NOT_OFFERED):  # noqa: PLR2004  # the class of server errors
        return Retry("server", _hint_s(answer))
    if status // 100 == 3:  # noqa: PLR2004  # the class of redirects
        return Abort(_redirected(answer))
    if status // 100 == 4 or status in _NOT_OFFERED:  # noqa: PLR2004  # the class of client errors
        return Abort(
            UsageError(
                f"the destination answers HTTP {status}: it does not take this request",
                next_step="check `url`, `api` and any proxy in between",
            )
        )
    return Retry("unknown")


def _redirected(answer: Answer) -> CredentialsError:
    elsewhere = " (to the EU)" if "track-eu." in answer.headers.get("location", "") else ""
    return CredentialsError(
        f"the destination redirects (HTTP {answer.status}){elsewhere}; redirects are not followed",
        next_step='the workspace may be in the other region: check `region` ("us" or "eu")',
    )


def _hint_s(answer: Answer) -> float | None:
    headers = answer.headers
    return retry_after_s(headers.get("retry-after", ""), headers.get("date", ""))


def retry_after_s(value: str, date: str) -> float | None:
    """Seconds to wait, between 0 and 300; None where the header says nothing usable.

    A moment is measured against the answer's own `Date`, never against our clock, which may be
    wrong. A moment without a zone, a fraction or a negative number is not a hint.

    >>> retry_after_s("7", "")
    7.0
    >>> retry_after_s("1.5", "") is None
    True
    """
    value = value.strip()
    # Digits of other scripts are digits to Python.
    if value.isascii() and value.isdigit():
        return min(float(value), HINT_MAX_S)
    moment, now = _instant(value), _instant(date)
    if moment is None or now is None:
        return None
    return min(max((moment - now).total_seconds(), 0.0), HINT_MAX_S)


def _instant(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else None


def _some_refused(answer: Answer, count: int) -> Verdict:
    errors = _errors(_parsed(answer.body))
    if count == 1:
        return Settled((_refusal_of_one(answer),)) if errors else Retry("unknown")
    refusals = {
        error["batch_index"]: _refusal(error["batch_index"], error)
        for error in errors
        if isinstance(error, dict) and _is_index(error.get("batch_index"), count)
    }
    # A list with a hole, a stranger or a repetition in it cannot be trusted for the others either.
    if not errors or len(refusals) != len(errors):
        return Halve()
    return Settled(tuple(refusals[index] for index in sorted(refusals)))


def _is_index(value: Any, count: int) -> bool:
    # True is an int to Python, and no index.
    return type(value) is int and 0 <= value < count


def _refusal_of_one(answer: Answer) -> Refusal:
    reason = "too_large" if answer.status in _TOO_LARGE else "invalid"
    parsed = _parsed(answer.body)
    errors = _errors(parsed) or _meta_errors(parsed)
    if not errors:
        return Refusal(0, reason, "", f"HTTP {answer.status} without an explanation")
    refusals = [_refusal(0, error, reason) for error in errors]
    message = _one_line("; ".join(refusal.message for refusal in refusals))
    return Refusal(0, refusals[0].reason, refusals[0].field, message)


def _refusal(index: int, error: Any, reason: str = "invalid") -> Refusal:
    if not isinstance(error, dict):
        return Refusal(index, reason, "", _one_line(error))
    return Refusal(
        index,
        _one_line(error.get("reason")) or reason,
        _one_line(error.get("field")),
        _one_line(error.get("message")) or "no explanation",
    )


def _errors(parsed: Any) -> list[Any]:
    errors = parsed.get("errors") if isinstance(parsed, dict) else None
    return errors if isinstance(errors, list) else []


def _meta_errors(parsed: Any) -> list[Any]:
    meta = parsed.get("meta") if isinstance(parsed, dict) else None
    if not isinstance(meta, dict):
        return []
    return _errors(meta) or ([meta["error"]] if meta.get("error") else [])


def _parsed(body: bytes) -> Any:
    """The body as JSON, or None: an error's body may be plain text, a page or cut off."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _one_line(value: Any) -> str:
    """A text of theirs, fit for one cell of a report and one line of a terminal."""
    # Cut first: a page of a megabyte would be cleaned for nothing.
    return _cleaned(value[:_MESSAGE_CHARACTERS_MAX]) if isinstance(value, str) else ""


@lru_cache(maxsize=1024)  # an answer says the same of a thousand operations
def _cleaned(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())


class BatchRetryState:
    """What the attempts of one batch have shown, and when they have shown enough.

    An attempt that failed while most others had success is a doubt about the batch itself. After
    enough doubts it is halved, to find the operation that the service cannot take; a single one
    is refused: at once where its answers cannot be read, after the length of an outage where the
    service fails on it. Failures that others share never count, also in an outage that lets some
    requests through.
    """

    def __init__(self, count: int, *, outage_max_s: float) -> None:
        self.count = count
        self._outage_max_s = outage_max_s
        self._doubts = 0
        self._successes = self._failures = 0
        self._since_s: float | None = None
        self._hurried = False
        self.failures = 0

    def may_hurry(self) -> bool:
        """Whether to try again at once: the first time that a connection was dropped.

        Servers close kept connections just as a request sets out; that is nobody's failure.
        """
        first, self._hurried = not self._hurried, True
        return first

    def failed(
        self, kind: RetryKind, now_s: float, health: CircuitBreaker
    ) -> Settled | Halve | None:
        """Count a failure that the health does not know of yet; the conclusion, if there is one."""
        self.failures += 1
        first = self._since_s is None
        self._since_s = now_s if self._since_s is None else self._since_s
        succeeded = health.successes - self._successes
        failed_too = health.failures - self._failures - 1  # but for this batch's last attempt
        # The first failure is compared with nothing: others may fail a moment later.
        if kind != "throttled" and not first and succeeded > failed_too:
            self._doubts += 1
        self._successes, self._failures = health.successes, health.failures
        if self._doubts < DOUBTS_MAX:
            return None
        if self.count > 1:
            return Halve()
        # What cannot be read never gets clearer; a service that fails may recover.
        if kind == "unknown" or now_s - self._since_s >= self._outage_max_s:
            return unknown_outcome("no attempt got a clear answer while others were accepted")
        return None
