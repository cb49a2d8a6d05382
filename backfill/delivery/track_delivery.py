"""The delivery that the engine uses: retrying outside, pacing inside, the API at the core."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Protocol

from backfill.delivery.credentials import Credentials
from backfill.delivery.destination import check_rate
from backfill.delivery.outcome import Meter, Outcome, PauseReason, Refusal
from backfill.delivery.pacing import (
    CONCURRENCY_MAX,
    AskedRate,
    Attempts,
    RateLimitedTransport,
    Time,
)
from backfill.delivery.region import Region, judge_region, not_accepted
from backfill.delivery.track_api import DEFAULT_TIMEOUTS, Opening, Timeouts, open_track_api
from backfill.delivery.verdicts import (
    Abort,
    Answer,
    BatchRetryState,
    Halve,
    NoAnswer,
    NoAnswerKind,
    Retry,
    Settled,
    Unauthorized,
    judge,
)
from backfill.errors import BackfillError, UnavailableError
from backfill.operations.batches import Batch
from backfill.retrying import (
    OUTAGE_MAX_S,
    CircuitBreaker,
    RetryBudget,
    backoff_s,
    retry_cost,
    throttle_s,
)

_SUCCESS = 2
_SILENCES: Mapping[NoAnswerKind, str] = {
    "unknown_host": "the host's name was not found (DNS)",
    "unreachable": "no connection",
    "dropped": "the connection was cut",
    "timeout": "no answer in time",
    "garbled": "an answer that is not HTTP",
    "untrusted": "a certificate that is not trusted",
}


class LookUp(Protocol):
    """Asks once which workspace the credentials open; like `Attempts`, it never raises."""

    async def look_up(self) -> Answer | NoAnswer:
        """Ask the region endpoint once."""


class OthersAttempts(Attempts, Protocol):
    """Attempts that other processes make, each of them when its turn has reached them."""

    def late_s(self) -> float:
        """How long after its turn an attempt may begin, now."""


Elsewhere = Callable[[Attempts, Opening, Time, Meter], AbstractAsyncContextManager[OthersAttempts]]
"""Has attempts made by others, where it can: else by the ones that it is given."""


class TrackDelivery:
    """Delivers batches, whatever the service does; see `Delivery` for the promise.

    All batches share one view of the service: a pause, an outage, an empty retry budget or a
    doubt about the key holds all of them.

    Args:
        paced: Attempts that take their turn.
        keys: How to ask whether the key still opens the workspace.
        time: The clock, and a die for the length of waits.
        meter: What `paced` and the API count into; read it at any time.
        outage_max_s: How long nothing may have had success before the run stops.
    """

    def __init__(
        self,
        paced: RateLimitedTransport,
        keys: LookUp,
        time: Time,
        *,
        meter: Meter,
        outage_max_s: float,
    ) -> None:
        self.meter = meter
        self._paced, self._keys = paced, keys
        self._time = time
        self._outage_max_s = outage_max_s
        self._health, self._budget = CircuitBreaker(), RetryBudget()
        self._probing, self._asking = asyncio.Lock(), asyncio.Lock()
        self._key_confirmed = 0

    async def deliver(self, batch: Batch) -> Outcome | None:
        """Send a batch until all that can be accepted is; None: stopped before any of it was.

        A batch that is refused as a whole is halved until the poison stands alone.

        Raises:
            BackfillError: What `stop` was called with.
            CredentialsError: The key is not accepted, or the destination redirects.
            UnavailableError: Nothing had success for too long.
            UsageError: The destination does not speak the Track API.
        """
        refusals: list[Refusal] = []
        attempts = 0
        # A stack: the left half goes first, so that refusals keep the batch's order.
        parts = [(0, batch)]
        while parts:
            offset, part = parts.pop()
            verdict, tries = await self._conclude(part)
            attempts += tries
            if verdict is None:
                if attempts:
                    self._paced.raise_if_stopped()
                return None
            if isinstance(verdict, Halve):
                left, right = part.halves()
                parts += [(offset + left.count, right), (offset, left)]
            else:
                found = verdict.refusals  # of the whole batch nearly always
                refusals += (
                    [replace(each, index=offset + each.index) for each in found]
                    if offset
                    else found
                )
        return Outcome(tuple(refusals), attempts)

    def stop(self, why: BackfillError) -> None:
        """Begin no attempt any more: a batch that needs another one raises `why`."""
        self._paced.stop(why)

    def share(self, path: Path) -> None:
        """From now on keep to the rate together with all processes that share this file."""
        self._paced.share(path)

    async def region(self) -> Region:
        """Ask which workspace the credentials open; as patient as `deliver`.

        Raises:
            CredentialsError: None: the key is not accepted, or the destination redirects.
            UnavailableError: Nothing had success for too long.
            UsageError: The destination does not speak the Track API.
        """
        failures = 0
        while True:
            self._paced.raise_if_stopped()
            answer = await self._keys.look_up()
            match judge_region(answer):
                case Region() as found:
                    self._health.succeeded()
                    return found
                case Unauthorized():
                    raise self._stop(not_accepted())
                case Abort(error):
                    raise self._stop(error)
                case Retry(_, after_s):
                    failures += 1
                    wait_s = max(after_s or 0.0, backoff_s(failures, self._time.jitter()))
                    self._count_failure(answer, wait_s)
                    await self._time.sleep(wait_s)

    async def _conclude(self, batch: Batch) -> tuple[Settled | Halve | None, int]:
        """Send a batch again and again until its verdict is one about the batch itself.

        None: it was never sent, and never will be.
        """
        patience = BatchRetryState(batch.count, outage_max_s=self._outage_max_s)
        tries, cost, fresh, doubted = 0, 0, False, False
        while True:
            # As of before the attempt: a later confirmation answers an earlier doubt.
            known = self._key_confirmed
            try:
                answer = await self._attempt(batch, cost, fresh=fresh)
            except BackfillError:
                # What was tried may have been applied; only an untouched batch can be given back.
                if tries:
                    raise
                return None, 0
            tries += 1
            match verdict := judge(answer, patience.count):
                case Settled() | Halve():
                    self._health.succeeded()
                    self._budget.earn()
                    return verdict, tries
                case Abort(error):
                    raise self._stop(error)
                case Unauthorized():
                    await self._doubt_key(known, again=doubted)
                    # The look-up was the wait, and the service works: this retry costs no tokens.
                    cost, fresh, doubted = 0, False, True
                case Retry(kind):
                    now_s = self._time.now_s()
                    conclusion = patience.failed(kind, now_s, self._health)
                    if conclusion:
                        return conclusion, tries
                    cost = retry_cost(
                        throttled=kind == "throttled", timed_out=answer == NoAnswer("timeout")
                    )
                    fresh = answer == NoAnswer("dropped") and patience.may_hurry()
                    await self._wait(answer, verdict, 0 if fresh else patience.failures)

    async def _attempt(self, batch: Batch, cost: int, *, fresh: bool) -> Answer | NoAnswer:
        """Attempt it with the others or, where that makes no sense, as the only probe."""
        while self._must_probe(cost):
            async with self._probing:
                # Asked again under the lock: the probe before may have ended the outage.
                if not self._must_probe(cost):
                    break
                now_s, wait_s = self._time.now_s(), self._health.probe_s(self._time.jitter())
                reason: PauseReason = "outage" if self._health.is_out(now_s) else "budget"
                self.meter.paused(reason, now_s + wait_s)
                await self._time.sleep(wait_s)
                return await self._paced.attempt(batch, fresh=fresh)
        self._budget.spend(cost)
        return await self._paced.attempt(batch, fresh=fresh)

    def _must_probe(self, cost: int) -> bool:
        return self._health.is_out(self._time.now_s()) or not self._budget.allows(cost)

    async def _wait(self, answer: Answer | NoAnswer, retry: Retry, failures: int) -> None:
        """Wait before the next attempt; after a throttle or a hint, everybody waits."""
        hint_s = retry.after_s or 0.0
        wait_s = max(hint_s, backoff_s(failures, self._time.jitter()))
        if retry.kind == "throttled":
            wait_s = max(hint_s, self._throttle_s())
        self._count_failure(answer, wait_s)
        # A throttle and a hint are about the service, a plain failure about one request.
        if retry.kind == "throttled" or hint_s:
            self._paced.pause("throttled" if retry.kind == "throttled" else "hint", wait_s)
        else:
            await self._time.sleep(wait_s)

    def _throttle_s(self) -> float:
        """How long the answer 429 holds everybody; slow down in any case."""
        self._paced.slow_down()
        if self._paced.is_paused():
            return 0.0  # An answer to what was under way before the pause says nothing new.
        self._health.throttles += 1
        return throttle_s(self._health.throttles, self._time.jitter())

    def _count_failure(self, answer: Answer | NoAnswer, wait_s: float) -> None:
        """Note a failure; stop the run where the next attempt would come too late."""
        now_s = self._time.now_s()
        self._health.failed(now_s)
        self.meter.last_failure = _seen(answer)
        failing_s = self._health.failing_for_s(now_s)
        if failing_s + wait_s > self._outage_max_s:
            raise self._stop(_unavailable(failing_s, wait_s, self.meter.last_failure))

    async def _doubt_key(self, known: int, *, again: bool) -> None:
        """Let nobody send until the region look-up has said whether the key still works.

        Args:
            known: How often it had been confirmed when the refused attempt began.
            again: This very batch was refused before, and the key confirmed since.
        """
        if again:
            raise self._stop(not_accepted())
        with self._paced.held():
            async with self._asking:
                if known == self._key_confirmed:
                    self.meter.paused("credentials", self._time.now_s())
                    await self.region()
                    self._key_confirmed += 1

    def _stop(self, error: BackfillError) -> BackfillError:
        """Stop all batches for this reason: whoever waits for a turn gets the same error."""
        self._paced.stop(error)
        return error


def _in_time() -> float:
    """An attempt of this process begins with its turn."""
    return 0.0


def _unavailable(failing_s: float, wait_s: float, seen: str) -> UnavailableError:
    return UnavailableError(
        f"the service did not accept a request for {failing_s:.0f} s; last seen: {seen}",
        next_step=f"run the same command again in {max(ceil(wait_s / 60), 1)} min or later to"
        " resume",
    )


def _seen(answer: Answer | NoAnswer) -> str:
    if isinstance(answer, NoAnswer):
        return _SILENCES[answer.kind]
    odd = " with an answer that is not the API's" if answer.status // 100 == _SUCCESS else ""
    return f"HTTP {answer.status}{odd}"


@asynccontextmanager
async def open_delivery(  # noqa: PLR0913 - all but three are keywords
    url: str,
    credentials: Credentials,
    time: Time,
    *,
    rate: float | AskedRate,
    concurrency: int | None = None,
    outage_max_s: float = OUTAGE_MAX_S,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    elsewhere: Elsewhere | None = None,
) -> AsyncIterator[TrackDelivery]:
    """Open a delivery to the Track API; its connections are closed at the end.

    Args:
        url: Where requests go, from `destination`.
        credentials: Sent with every request.
        time: The clock, and a die for the length of waits.
        rate: Requests per second at most, or what gives it by the clock; 0, no limit, toward this
            machine only.
        concurrency: Attempts at the same time; None for rate x latency x 2, from 4 to 64.
        outage_max_s: How long nothing may have had success before the run stops.
        timeouts: For each attempt.
        elsewhere: Other processes that make the attempts; None: all are made here.

    Raises:
        UsageError: The rate is impossible.
    """
    meter = Meter()
    opening = partial(
        open_track_api,
        url,
        credentials,
        user_agent=f"backfill/{version('backfill')}",
        # As many as the concurrency may grow to: a queue here would count as latency.
        connections_max=max(concurrency or 0, CONCURRENCY_MAX),
        timeouts=timeouts,
    )
    async with opening(meter=meter) as api, AsyncExitStack() as stack:
        attempts: Attempts = api
        late_s = _in_time
        if elsewhere is not None:
            others = await stack.enter_async_context(elsewhere(api, opening, time, meter))
            attempts, late_s = others, others.late_s
        paced = RateLimitedTransport(
            attempts,
            rate=rate if callable(rate) else check_rate(rate, url),
            concurrency_max=concurrency,
            time=time,
            meter=meter,
            late_s=late_s,
        )
        yield TrackDelivery(paced, api, time, meter=meter, outage_max_s=outage_max_s)
