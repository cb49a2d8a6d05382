"""Delivery as a whole: the service is a function, and the clock jumps instead of waiting."""

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.delivery.outcome import Outcome, Pause
from backfill.delivery.region import Region
from backfill.delivery.track_delivery import TrackDelivery
from backfill.delivery.verdicts import Answer, NoAnswer
from backfill.errors import (
    BackfillError,
    CredentialsError,
    InterruptedRunError,
    UnavailableError,
    UsageError,
)
from backfill.operations.batches import Batch
from backfill.retrying import backoff_s
from tests.support.deliveries import batch_of, delivery_to, worst_second
from tests.support.virtual_time import in_no_time, oversleep

OK = Answer(200, b"{}")
REGION = Answer(200, b'{"url":"https://elsewhere.example","region":"us","environment_id":7}')
Script = Callable[[int, list[int]], Answer | NoAnswer]


@dataclass
class Service:
    """Answers by a script of the attempt's number and the operations' numbers."""

    script: Script
    keys: list[Answer | NoAnswer] = field(default_factory=lambda: [REGION])
    round_trip_s: float = 0.1
    sent_at_s: list[float] = field(default_factory=list)
    fresh: list[bool] = field(default_factory=list)
    look_ups: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    accepted: list[int] = field(default_factory=list)

    async def attempt(self, batch: Batch, *, fresh: bool = False) -> Answer | NoAnswer:
        """Answer by the script, a round trip later."""
        numbers = [each["number"] for each in orjson.loads(batch.body())["batch"]]
        self.sent_at_s.append(asyncio.get_running_loop().time())
        self.fresh.append(fresh)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        answer = self.script(len(self.sent_at_s), numbers)
        await asyncio.sleep(self.round_trip_s)
        self.in_flight -= 1
        if answer == OK:
            self.accepted += numbers
        return answer

    async def look_up(self) -> Answer | NoAnswer:
        """Answer with the next of the keys; the last one stays."""
        self.look_ups += 1
        await asyncio.sleep(self.round_trip_s)
        return self.keys[min(self.look_ups, len(self.keys)) - 1]


async def deliver_many(delivery: TrackDelivery, count: int, size: int = 1) -> None:
    """Deliver many batches at the same time."""
    async with asyncio.TaskGroup() as group:
        for first in range(0, count * size, size):
            group.create_task(delivery.deliver(batch_of(size, first)))


def only_error(group: BaseExceptionGroup) -> BackfillError:
    """The one error that all tasks of the group ended with."""
    (error,) = set(group.exceptions)
    assert isinstance(error, BackfillError)
    return error


def in_turn(*answers: Answer | NoAnswer) -> Script:
    """These answers, then success."""
    return lambda number, _: answers[number - 1] if number <= len(answers) else OK


poisons = st.integers(1, 200).flatmap(
    lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1), max_size=8))
)


@settings(deadline=None, max_examples=60)
@given(poisons, st.sampled_from([400, 413]))
def test_the_poison_alone_is_refused(poison, status):
    """Exactly the poisoned operations are refused, with few requests, and all others arrive."""
    size, bad = poison
    service = Service(lambda _, numbers: Answer(status) if bad & set(numbers) else OK)

    outcome = in_no_time(deliver_one(service, size))

    assert {refusal.index for refusal in outcome.refusals} == bad
    assert sorted(service.accepted) == sorted(set(range(size)) - bad)
    assert outcome.attempts == len(service.sent_at_s)
    assert outcome.attempts <= 1 + 2 * len(bad) * math.ceil(math.log2(size) if size > 1 else 0)


async def deliver_one(service: Service, size: int = 1, **settings):
    """Deliver one batch."""
    return await delivery_to(service, **settings).deliver(batch_of(size))


def test_a_207_in_doubt_is_settled_by_halves():
    """When a 207 names a stranger, the operations are asked about again, and none is lost."""
    doubtful = Answer(207, b'{"errors":[{"batch_index":99,"reason":"invalid"}]}')

    def script(_: int, numbers: list[int]) -> Answer:
        if len(numbers) > 2:
            return doubtful
        errors = [{"batch_index": i, "message": "odd"} for i, n in enumerate(numbers) if n % 2]
        return Answer(207, orjson.dumps({"errors": errors})) if errors else OK

    outcome = in_no_time(deliver_one(Service(script), 8))

    assert [refusal.index for refusal in outcome.refusals] == [1, 3, 5, 7]


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(500),
        Answer(408),
        Answer(429),
        Answer(503, b"", {"retry-after": "5"}),
        Answer(200, b"<html>", {"content-type": "text/html"}),
        NoAnswer("timeout"),
        NoAnswer("unreachable"),
        NoAnswer("garbled"),
    ],
)
def test_trouble_is_survived(trouble):
    """Whatever passes by itself delays a batch and refuses nothing of it."""
    service = Service(in_turn(*[trouble] * 5))

    outcome = in_no_time(deliver_one(service, 3))

    assert outcome.refusals == ()
    assert outcome.attempts == 6
    assert service.accepted == [0, 1, 2]


def test_a_closed_connection_costs_no_wait():
    """A kept connection that was closed is retried at once, on a fresh one; then as usual."""
    service = Service(in_turn(NoAnswer("dropped"), NoAnswer("dropped")), round_trip_s=0.0)

    in_no_time(deliver_one(service))

    assert service.fresh == [False, True, False]
    assert service.sent_at_s[1] == service.sent_at_s[0]
    assert service.sent_at_s[2] > service.sent_at_s[1]


@pytest.mark.parametrize(("status", "reason"), [(503, "hint"), (429, "throttled")])
def test_a_hint_holds_everybody(status, reason):
    """While the service asks to wait, no batch at all is sent; a pause after 429 is called so."""
    service = Service(in_turn(Answer(status, b"", {"retry-after": "60"})), round_trip_s=0.0)
    pauses: list[Pause] = []

    async def go() -> None:
        delivery = delivery_to(service, concurrency=1, on_pause=pauses.append)
        await deliver_many(delivery, 20)

    in_no_time(go())

    assert service.sent_at_s[1] - service.sent_at_s[0] >= 60
    assert [pause.reason for pause in pauses] == [reason]


def test_a_burst_of_throttles_is_one():
    """Throttled answers to what was under way cut and pause once, not once each."""
    service = Service(lambda number, _: Answer(429) if number <= 16 else OK)

    async def go() -> float:
        delivery = delivery_to(service, rate=1_000, concurrency=16)
        await deliver_many(delivery, 16)
        return delivery.meter.rate

    assert in_no_time(go()) == pytest.approx(700, rel=0.1)
    assert service.sent_at_s[16] - service.sent_at_s[0] < 3


def test_no_second_above_the_rate():
    """Every attempt takes its turn: retries and halves are paced like all others."""
    service = Service(lambda number, n: Answer([500, 400, 200][number % 3]) if len(n) > 1 else OK)

    async def go() -> None:
        await deliver_many(delivery_to(service, rate=100), 50, size=16)

    in_no_time(go())

    times = service.sent_at_s
    assert len(times) > 300
    assert all(later - earlier > 0.999 for earlier, later in zip(times, times[111:], strict=False))


def test_concurrency_follows_the_latency():
    """With a long way to the service, the rate is reached by sending at the same time."""
    service = Service(lambda *_: OK, round_trip_s=0.2)

    async def go() -> None:
        await deliver_many(delivery_to(service, rate=100), 3_000)

    in_no_time(go())

    took_s = service.sent_at_s[-1] - service.sent_at_s[0]
    assert 3_000 / took_s == pytest.approx(100, rel=0.05)
    assert 20 <= service.most_in_flight <= 40


def test_an_outage_rejects_nothing():
    """An outage ends the run as unavailable, after few requests, and refuses no operation."""
    service = Service(lambda number, _: OK if number <= 10 else NoAnswer("unreachable"))

    async def go() -> float:
        delivery = delivery_to(service, concurrency=8)
        await deliver_many(delivery, 10)
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(ExceptionGroup) as caught:
            await deliver_many(delivery, 50)
        assert isinstance(only_error(caught.value), UnavailableError)
        return asyncio.get_running_loop().time() - began_s

    assert 800 < in_no_time(go()) <= 905
    probes = [at_s for at_s in service.sent_at_s if at_s > service.sent_at_s[10] + 60]
    assert all(b - a >= 1 for a, b in pairwise(probes)), "one at a time"
    assert len(service.sent_at_s) < 50 * 8 + 900


def test_an_outage_is_probed_singly_while_tokens_last():
    """After 30 s without success there are only probes, though retries could still be paid."""
    service = Service(lambda *_: Answer(500))
    pauses: list[Pause] = []

    with pytest.raises(UnavailableError):
        in_no_time(deliver_one(service, outage_max_s=120, on_pause=pauses.append))

    assert {pause.reason for pause in pauses} == {"outage"}
    assert len(service.sent_at_s) < 100


@settings(deadline=None, max_examples=30)
@given(st.floats(1, 850), st.sampled_from([NoAnswer("timeout"), Answer(500), Answer(429)]))
def test_an_outage_that_ends_is_survived(outage_s, trouble):
    """When the service comes back in time, everything is delivered."""

    def script(*_: object) -> Answer | NoAnswer:
        return trouble if asyncio.get_running_loop().time() < 1_000 + outage_s else OK

    service = Service(script)
    in_no_time(many(service, 40))

    assert sorted(service.accepted) == list(range(40))


async def many(service: Service, count: int, **settings) -> None:
    """Deliver many batches of one operation."""
    await deliver_many(delivery_to(service, **settings), count)


def test_a_portal_is_an_outage():
    """A page instead of every answer refuses no row: the service was never reached."""
    service = Service(lambda *_: Answer(200, b"<html>", {"content-type": "text/html"}))

    with pytest.raises(UnavailableError):
        in_no_time(deliver_one(service, 3))


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (Answer(503), "HTTP 503"),
        (Answer(200, b"<html>"), "HTTP 200 with an answer that is not the API's"),
        (NoAnswer("unknown_host"), "the host's name was not found (DNS)"),
        (NoAnswer("unreachable"), "no connection"),
        (NoAnswer("dropped"), "the connection was cut"),
        (NoAnswer("timeout"), "no answer in time"),
        (NoAnswer("garbled"), "an answer that is not HTTP"),
    ],
)
def test_an_outage_says_what_was_seen_last(answer, seen):
    """A wrong port, a broken proxy and a service that is down want different hands."""
    service = Service(lambda *_: answer)

    with pytest.raises(UnavailableError) as caught:
        in_no_time(deliver_one(service, 3, outage_max_s=60))

    assert caught.value.what.endswith(f"; last seen: {seen}")


def test_a_hint_beyond_the_outage_says_when_to_resume():
    """Where the service asks for more patience than there is, the run ends and says when."""
    service = Service(lambda *_: Answer(503, b"", {"retry-after": "300"}))

    with pytest.raises(UnavailableError) as caught:
        in_no_time(deliver_one(service, outage_max_s=120))

    assert "5 min" in caught.value.next_step
    assert len(service.sent_at_s) == 1


def test_one_operation_that_nobody_can_answer():
    """An operation whose answer is never readable is refused once others were accepted."""

    def script(_: int, numbers: list[int]) -> Answer:
        return Answer(200, b"oops") if 13 in numbers else OK

    service = Service(script)

    async def go():
        delivery = delivery_to(service)

        async def others() -> None:
            for first in range(100, 10_000):
                await delivery.deliver(batch_of(1, first))

        traffic = asyncio.create_task(others())
        outcome = await delivery.deliver(batch_of(20))
        traffic.cancel()
        return outcome

    outcome = in_no_time(go())

    assert [(r.index, r.reason) for r in outcome.refusals] == [(13, "unknown_outcome")]


def test_an_empty_budget_slows_retries_down():
    """When failures dominate, retries become single probes; first attempts go on."""
    service = Service(lambda _, numbers: Answer(500) if numbers[0] < 500 else OK)

    async def go() -> int:
        delivery = delivery_to(service, concurrency=64)
        tasks = [asyncio.create_task(delivery.deliver(batch_of(1, n))) for n in range(500)]
        await asyncio.sleep(20)
        before = len(service.sent_at_s)
        tasks += [asyncio.create_task(delivery.deliver(batch_of(1, n))) for n in range(500, 520)]
        await asyncio.sleep(5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return before

    before = in_no_time(go())

    assert before <= 500 + 100 + 20, "first attempts, the budget, and a probe a second"
    assert sorted(service.accepted) == list(range(500, 520))


def test_a_revoked_key_stops_everything():
    """After the first 401 there is one look-up, no new request, and exit 4 with no refusal."""
    service = Service(lambda n, _: OK if n <= 20 else Answer(401), keys=[Answer(401)])

    async def go() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await deliver_many(delivery_to(service, concurrency=8), 100)
        assert isinstance(only_error(caught.value), CredentialsError)

    in_no_time(go())

    assert service.look_ups == 1
    assert len(service.sent_at_s) <= 20 + 8


@pytest.mark.parametrize("revoked_at", range(1, 30))
def test_a_key_revoked_at_any_request(revoked_at):
    """Whenever the key is revoked, at most what was under way follows."""
    service = Service(lambda n, _: OK if n < revoked_at else Answer(403), keys=[Answer(403)])

    async def go() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await deliver_many(delivery_to(service, concurrency=4), 40)
        assert isinstance(only_error(caught.value), CredentialsError)

    in_no_time(go())

    assert len(service.sent_at_s) <= revoked_at + 4


def test_a_passing_401_is_survived():
    """Where the look-up confirms the key, what was refused is sent again, and nothing is lost."""
    service = Service(lambda n, _: Answer(401) if 5 <= n <= 8 else OK)

    in_no_time(many(service, 40, concurrency=8))

    assert sorted(service.accepted) == list(range(40))
    assert service.look_ups == 1


def test_a_second_401_is_believed():
    """A batch that is refused again after the key was confirmed ends the run."""
    service = Service(lambda *_: Answer(401))

    with pytest.raises(CredentialsError):
        in_no_time(deliver_one(service))

    assert service.look_ups == 1
    assert len(service.sent_at_s) == 2


def test_the_look_up_is_patient():
    """A look-up without an answer is asked again until there is one."""
    keys = [NoAnswer("timeout"), Answer(503), Answer(200, b"<html>"), REGION]
    service = Service(in_turn(Answer(401)), keys=keys)

    in_no_time(deliver_one(service))

    assert service.look_ups == 4
    assert service.accepted == [0]
    dice = random.Random(1)  # as the delivery's
    waits_s = sum(backoff_s(failures, dice.random()) for failures in (1, 2, 3))
    assert service.sent_at_s[1] - service.sent_at_s[0] == pytest.approx(0.5 + waits_s)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (REGION, Region("us", 7)),
        (Answer(200, b"{}"), Region()),
        (Answer(200, b""), Region()),
        (Answer(404), Region()),
        (Answer(200, b'{"region":"mars","environment_id":"7"}'), Region()),
    ],
)
def test_the_region(answer, expected):
    """The look-up gives the region and the environment, and never a url to follow."""

    async def go() -> Region:
        return await delivery_to(Service(in_turn(), keys=[answer])).region()

    assert in_no_time(go()) == expected


def test_an_unwelcome_key_at_the_start():
    """A key that opens nothing is found before anything is sent."""

    async def go() -> None:
        await delivery_to(Service(in_turn(), keys=[Answer(401)])).region()

    with pytest.raises(CredentialsError) as caught:
        in_no_time(go())
    assert "API key" in caught.value.next_step


@pytest.mark.parametrize(
    ("answer", "error"), [(Answer(301), CredentialsError), (Answer(404), UsageError)]
)
def test_a_wrong_destination_stops_all(answer, error):
    """What no attempt can fix ends all batches after the first answer."""
    service = Service(lambda *_: answer)

    async def go() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await deliver_many(delivery_to(service, concurrency=4), 40)
        assert all(isinstance(each, error) for each in caught.value.exceptions)

    in_no_time(go())

    assert len(service.sent_at_s) <= 8


def test_after_a_sleep_of_the_machine_no_burst_follows():
    """Turns that were missed are not made up for, and nothing is sent twice."""
    rate, count = 20, 60
    service = Service(in_turn())

    async def go() -> None:
        sending = asyncio.create_task(deliver_many(delivery_to(service, rate=rate), count))
        await asyncio.sleep(1)
        oversleep(3_600)
        await sending

    in_no_time(go())

    assert sorted(service.accepted) == [*range(count)]
    assert max(after - before for before, after in pairwise(service.sent_at_s)) > 3_599
    assert worst_second(service.sent_at_s) <= rate * 1.1


def test_a_stop_lets_answers_come_and_nothing_begin():
    """What is under way is delivered; what was never sent is said not to be, without a wait."""
    service = Service(in_turn(), round_trip_s=5.0)
    why = InterruptedRunError("interrupted", next_step="start again")

    async def go() -> tuple[list[Outcome | None], float]:
        delivery = delivery_to(service, rate=1, concurrency=4)
        tasks = [asyncio.create_task(delivery.deliver(batch_of(1, n))) for n in range(10)]
        await asyncio.sleep(2.5)
        delivery.stop(why)
        outcomes = await asyncio.gather(*tasks)
        return outcomes, asyncio.get_running_loop().time() - service.sent_at_s[-1]

    outcomes, took_s = in_no_time(go())

    sent = len(service.sent_at_s)
    assert [outcome is not None for outcome in outcomes] == [True] * sent + [False] * (10 - sent)
    assert service.accepted == list(range(sent))
    assert took_s == service.round_trip_s


def test_a_batch_that_needs_another_attempt_after_a_stop_is_in_doubt():
    """It may have been applied: whoever waits for it gets the reason of the stop."""
    why = InterruptedRunError("interrupted", next_step="start again")

    async def go() -> None:
        delivery = delivery_to(Service(lambda *_: NoAnswer("timeout")))
        task = asyncio.create_task(delivery.deliver(batch_of(1)))
        await asyncio.sleep(0.05)
        delivery.stop(why)
        with pytest.raises(InterruptedRunError):
            await task

    in_no_time(go())


def test_no_attempt_after_cancellation():
    """A delivery that is cancelled while it waits sends nothing any more."""
    service = Service(lambda *_: Answer(500))

    async def go() -> int:
        task = asyncio.create_task(delivery_to(service).deliver(batch_of(1)))
        await asyncio.sleep(10)
        task.cancel()
        sent = len(service.sent_at_s)
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(100)
        return sent

    assert in_no_time(go()) == len(service.sent_at_s)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.floats(0, 0.3))
def test_any_mixture_of_faults(seed, share):
    """With up to a third of all answers faulty, each operation is accepted, none refused."""
    dice = random.Random(seed)
    faults = [Answer(500), Answer(429), NoAnswer("dropped"), NoAnswer("timeout"), Answer(200, b"?")]

    def script(*_: object) -> Answer | NoAnswer:
        return dice.choice(faults) if dice.random() < share else OK

    service = Service(script)
    in_no_time(many(service, 100, rate=50))

    assert set(service.accepted) == set(range(100))
