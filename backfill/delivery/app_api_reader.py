"""What a workspace holds, read back through the App API at its own limit.

Sources: the App API's OpenAPI description, "List customers and attributes" (100 identifiers a
request, those of nobody left out), "List customer activities" (30 days, pages of 100), "List
segments" and "List customers in a segment"; 10 requests/s ("App API limits").
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from backfill.delivery.credentials import AppKey
from backfill.delivery.outcome import Meter
from backfill.delivery.pacing import CONCURRENCY_MAX, Attempts, RateLimitedTransport, Time
from backfill.delivery.track_api import Timeouts, open_track_api
from backfill.delivery.verdicts import Abort, Answer, NoAnswer, Retry, Unauthorized, judge
from backfill.encoding.identity import in_path
from backfill.errors import BackfillError, CredentialsError, UnavailableError, UsageError
from backfill.retrying import (
    OUTAGE_MAX_S,
    START_PATIENCE_S,
    CircuitBreaker,
    backoff_s,
    throttle_s,
)

IDS_MAX = 100
ACTIVITIES_MAX = 100
MEMBERS_MAX = 10_000
RATE = 9.6
"""Requests per second. The limit is 10, counted by the service: what the network delays and then
delivers together must not go over it."""

ANSWER_BYTES_MAX = 40_000_000
"""100 people with 300 attributes of 1000 bytes are 30 MB."""

_OK, _ABSENT = 200, 404
_NOBODY = "backfill-probe"


@dataclass(frozen=True, slots=True)
class AppApiRequest:
    """One request to the App API; `asked` is its body as JSON values, None: there is none."""

    method: str
    path: str
    asked: Any = None

    def body(self) -> bytes:
        """The body; empty where there is none."""
        return b"" if self.asked is None else orjson.dumps(self.asked)


class AppApiReader:
    """Reads a workspace; safe to use from many tasks, which share its rate.

    Every method raises `CredentialsError` where the key is not accepted, `UnavailableError` where
    nothing had success for too long, `UsageError` where the address is not the App API's, and
    what it was stopped with.

    Args:
        attempts: Sends a request once.
        time: The clock, and a die for the length of waits.
        meter: Where the rate and the pauses are shown.
        outage_max_s: How long nothing may have had success, once something had.
    """

    def __init__(
        self,
        attempts: Attempts,
        time: Time,
        meter: Meter,
        *,
        outage_max_s: float = OUTAGE_MAX_S,
    ) -> None:
        self.paced = RateLimitedTransport(
            attempts, rate=RATE, concurrency_max=None, time=time, meter=meter
        )
        self.meter = meter
        self._time = time
        self._outage_max_s = outage_max_s
        self._health = CircuitBreaker()

    def stop(self, why: BackfillError) -> None:
        """Begin no request any more: whoever needs one raises `why`."""
        self.paced.stop(why)

    def share(self, path: Path) -> None:
        """From now on keep to the rate together with all processes that share this file."""
        self.paced.share(path)

    async def probe(self) -> None:
        """Ask for nobody: whether the key is accepted shows before anything depends on it."""
        await self.customers("id", [_NOBODY])

    async def customers(self, id_type: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        """The people with these identifiers, at most 100; those who are not there are left out."""
        path = f"/v1/customers/attributes?{urlencode({'id_type': id_type})}"
        said = await self._ask(AppApiRequest("POST", path, {"ids": list(ids)}))
        found = self._objects(said, "customers")
        # Each stands in an object of its own in the description, and bare in what others have seen.
        return [each.get("customer", each) for each in found]

    async def activities(
        self, id_type: str, person: str, kind: str, start: str
    ) -> tuple[list[dict[str, Any]], str]:
        """A page of what a person did in the last 30 days, and where the next one begins.

        Args:
            id_type: The type of the identifier.
            person: It.
            kind: event, page or screen.
            start: What the page before said; empty: this is the first.
        """
        query = {"id_type": id_type, "type": kind, "limit": str(ACTIVITIES_MAX)}
        query |= {"start": start} if start else {}
        path = f"/v1/customers/{in_path(person)}/activities?{urlencode(query)}"
        said = await self._ask(AppApiRequest("GET", path), absent={"activities": [], "next": ""})
        return self._objects(said, "activities"), str(said.get("next") or "")

    async def segments(self) -> list[dict[str, Any]]:
        """The segments of the workspace."""
        return self._objects(await self._ask(AppApiRequest("GET", "/v1/segments")), "segments")

    async def members(self, segment: int, start: str) -> tuple[list[dict[str, Any]], str]:
        """A page of the identifiers of those who are in a segment, and where the next one begins.

        Args:
            segment: Its number.
            start: What the page before said; empty: this is the first.
        """
        query = {"limit": str(MEMBERS_MAX)} | ({"start": start} if start else {})
        path = f"/v1/segments/{segment}/membership?{urlencode(query)}"
        said = await self._ask(AppApiRequest("GET", path), absent={"identifiers": [], "next": ""})
        return self._objects(said, "identifiers"), str(said.get("next") or "")

    def _objects(self, said: dict[str, Any], name: str) -> list[dict[str, Any]]:
        """A member of an answer that is a list of objects.

        Raises:
            UsageError: It is none.
        """
        found = said.get(name)
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise UsageError(
                f"an answer of the App API has no list of {name}",
                next_step="check `url`: it does not seem to be the App API's",
            )
        return found

    async def _ask(self, question: AppApiRequest, absent: Any = None) -> Any:
        """The answer's JSON; `absent` where there is nothing of the kind."""
        failures = 0
        while True:
            answer = await self.paced.attempt(question)
            match _read(answer, absent):
                case Abort(error):
                    self.stop(error)
                    raise error
                case Retry(kind, after_s):
                    failures += 1
                    await self._wait(answer, kind, failures, after_s or 0.0)
                case said:
                    self._health.succeeded()
                    return said

    async def _wait(
        self, answer: Answer | NoAnswer, kind: str, failures: int, hint_s: float
    ) -> None:
        """Wait before the next attempt; after a throttle, or a hint, everybody waits."""
        jitter = self._time.jitter()
        wait_s = max(hint_s, backoff_s(failures, jitter))
        now_s = self._time.now_s()
        if kind == "throttled":
            self._health.throttles += 1
            wait_s = max(hint_s, throttle_s(self._health.throttles, jitter))
            self.paced.slow_down()
        self._health.failed(now_s)
        failing_s = self._health.failing_for_s(now_s)
        most_s = self._outage_max_s if self._health.successes else START_PATIENCE_S
        if failing_s + wait_s > most_s:
            seen = f"HTTP {answer.status}" if isinstance(answer, Answer) else answer.kind
            error = UnavailableError(
                f"the App API did not answer for {failing_s:.0f} s; last seen: {seen}",
                next_step=f"run the same command again in {max(ceil(wait_s / 60), 1)} min or later",
            )
            self.stop(error)
            raise error
        if kind == "throttled" or hint_s:
            self.paced.pause("throttled" if kind == "throttled" else "hint", wait_s)
        else:
            await self._time.sleep(wait_s)


def _read(answer: Answer | NoAnswer, absent: Any) -> Any:
    """What an answer says: JSON, or what stands in its way."""
    if isinstance(answer, Answer):
        if answer.status == _OK:
            try:
                said = orjson.loads(answer.body)
            except orjson.JSONDecodeError:
                return Retry("unknown")
            return said if isinstance(said, dict) else Retry("unknown")
        if answer.status == _ABSENT and absent is not None:
            return absent
    match verdict := judge(answer, 1):
        case Retry() | Abort():
            return verdict
        case Unauthorized():
            return Abort(
                CredentialsError(
                    "the App API does not accept the key",
                    next_step="check CUSTOMERIO_APP_API_KEY (or app_api_key in the credentials"
                    " file): it is the App API's, not the Track API's, and of the same region",
                )
            )
        case _:
            return Abort(
                UsageError(
                    f"the App API answers HTTP {answer.status if isinstance(answer, Answer) else 0}"
                    " to a question that it should take",
                    next_step="check `url`: it does not seem to be the App API's",
                )
            )


@asynccontextmanager
async def open_app_api_reader(
    url: str, key: AppKey, time: Time, outage_max_s: float = OUTAGE_MAX_S
) -> AsyncIterator[AppApiReader]:
    """Open the App API at `url`; its connections are closed at the end.

    Args:
        url: Where it is, from `app_destination`.
        key: Sent with every request.
        time: The clock, and a die for the length of waits.
        outage_max_s: How long nothing may have had success, once something had.
    """
    meter = Meter()
    async with open_track_api(
        url,
        key,
        user_agent=f"backfill/{version('backfill')}",
        connections_max=CONCURRENCY_MAX,
        timeouts=Timeouts(),
        meter=meter,
        answer_bytes_max=ANSWER_BYTES_MAX,
    ) as attempts:
        yield AppApiReader(attempts, time, meter, outage_max_s=outage_max_s)
