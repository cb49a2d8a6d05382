"""Workers send what the driver grants: at one rate, kind after kind, whatever becomes of them.

The delivery, the sender, the journal and both ends of a worker's connection are the real ones, in
virtual time; only processes and sockets are not.
"""

import asyncio
from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from backfill.cluster.attempts import NOTHING, Report
from backfill.cluster.parcels import Label
from backfill.cluster.senders import GRANT_MAX_S, LEASE_S, Session
from backfill.delivery.outcome import WorkerFigures
from backfill.delivery.verdicts import Answer
from backfill.engine.options import Tally
from backfill.engine.send import Sender
from backfill.errors import CredentialsError, InterruptedRunError
from backfill.journal import Journal
from backfill.pipeline.setting_values import Allowance
from tests.support.by_hand import ByHand, prepared
from tests.support.deliveries import batch_of, worst_second
from tests.support.fake_workers import OK, FakeCrew, FakeService
from tests.support.virtual_time import in_no_time

RATE = 50


@pytest.fixture
def journal(tmp_path):
    """A journal of a file of customers and one of events."""
    with Journal.open(tmp_path / "job") as made:
        for source, name in ((0, "1.csv"), (1, "2.csv")):
            made.add_part(name, source=source, size=1, digest=name)
        yield made


def test_a_hundred_workers_keep_to_one_rate_and_to_the_order_of_kinds(journal):
    """With one of them failing each half a second: killed, or stopped and late, and replaced."""
    people, events = 1_000, 2_500
    work = ByHand(
        journal,
        customers=[prepared(1, range(1, people + 1), alone=True)],
        events=[prepared(2, range(1, events + 1), alone=True)],
    )
    service, tally, dice = FakeService(latency_s=0.3), Tally(), Random(8)
    below = []
    service.answers = lambda _: below.append(_row(service.sent[-1], journal)) or OK

    async def fail(crew):
        for number in range(10**6):
            await asyncio.sleep(0.5)
            address = dice.choice(list(crew.workers))
            if number % 2:
                crew.kill(address)
                crew.add(f"again-{number}")
            else:
                crew.workers[address].stop()
                loop = asyncio.get_running_loop()
                loop.call_later(dice.uniform(0, 3 * LEASE_S), crew.workers[address].go_on)

    async def go():
        crew, loop = FakeCrew(service, 100), asyncio.get_running_loop()
        async with crew.delivery(RATE) as delivery:
            failing = asyncio.create_task(fail(crew))
            sender = Sender(work, Allowance(share=0.01), delivery, tally=tally, now_s=loop.time)
            await sender.send()
            failing.cancel()
            return delivery.meter

    meter = in_no_time(go())

    assert worst_second(service.times()) <= RATE * 1.1
    bodies = [each.body for each in service.sent]
    arrived = Counter((each["part"], each["row"]) for each in bodies)
    assert len(arrived) == tally.rows == people + events
    kinds = [each["part"] for each in bodies]
    assert kinds == sorted(kinds), "an event before a person"
    assert all(below), "a row was sent that the journal had not granted"
    assert len({each.by for each in service.sent}) > 100
    # Sent twice is only what was under way at a worker that failed.
    assert arrived.total() - len(arrived) < 0.05 * len(arrived)
    assert meter.in_flight == 0
    assert arrived.total() <= meter.attempts < 1.05 * arrived.total()
    assert "driver" not in {each.by for each in service.sent}


def _row(sent, journal):
    """Whether a row may be sent."""
    return sent.body["row"] < journal.ceiling(sent.body["part"])


def deliver(crew, count, rate, meanwhile=None):
    """Deliver batches by workers; give the delivery."""

    async def go():
        async with crew().delivery(rate) as delivery, asyncio.TaskGroup() as tasks:
            made.append(delivery)
            if meanwhile:
                tasks.create_task(meanwhile(crews[0]))
            for first in range(count):
                tasks.create_task(delivery.deliver(batch_of(1, first)))
            return delivery

    made, crews = [], []
    build = crew

    def crew():
        crews.append(build())
        return crews[0]

    return in_no_time(go())


def numbers(service, by=None):
    """What came, by worker if one is named."""
    return [each.body["batch"][0]["number"] for each in service.sent if by is None or each.by == by]


def test_a_worker_that_was_stopped_sends_nothing_that_has_lapsed():
    """However long it stood still; what it says later nobody hears, and others send it."""
    service = FakeService(latency_s=0.05)
    stopped_s = []

    async def stop(crew):
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1.0)
        crew.workers["w0"].stop()
        stopped_s.append(loop.time())
        await asyncio.sleep(2.5 * LEASE_S)
        crew.workers["w0"].go_on()
        stopped_s.append(loop.time())

    deliver(lambda: FakeCrew(service, 2), 2_000, 100, stop)

    assert sorted(set(numbers(service))) == list(range(2_000))
    begun, went_on = stopped_s
    silent = [each.at_s for each in service.sent if each.by == "w0"]
    assert not [each for each in silent if begun + GRANT_MAX_S < each < went_on]
    assert [each for each in silent if each > went_on], "it was not taken back"
    assert worst_second(service.times()) <= 110


@pytest.mark.parametrize("seconds", [0.03, 0.2, 0.9])
def test_a_short_stop_breaks_no_limit(seconds):
    """Grants that wait in a stopped worker are not all sent when it goes on."""
    service = FakeService(latency_s=0.05)

    async def stop(crew):
        for _ in range(8):
            await asyncio.sleep(1.0)
            for each in crew.workers.values():
                each.stop()
            await asyncio.sleep(seconds)
            for each in crew.workers.values():
                each.go_on()

    deliver(lambda: FakeCrew(service, 3), 800, 100, stop)

    assert sorted(numbers(service)) == list(range(800)), "what had lapsed was sent twice"
    assert worst_second(service.times()) <= 110


def test_a_throttled_worker_slows_all_of_them_down():
    """The answer goes to the one limiter: nobody sends until `Retry-After` is over."""
    throttled = Answer(429, b"", {"Retry-After": "7"})
    service = FakeService(latency_s=0.01, answers=lambda n: throttled if n == 100 else OK)

    deliver(lambda: FakeCrew(service, 4), 400, 100)

    times = service.times()
    gaps = [after - before for before, after in pairwise(times)]
    assert max(gaps) == pytest.approx(7.0, abs=0.1)
    assert 100 <= gaps.index(max(gaps)) + 1 <= 102
    at_first, later = times[98] - times[0], times[-1] - times[-99]
    assert later > 1.05 * at_first, "the rate was not cut"


def test_a_key_that_is_refused_stops_all_workers():
    """As in one process: asked once more, then the run ends."""
    service = FakeService(latency_s=0.2, answers=lambda _: Answer(401))

    with pytest.raises(ExceptionGroup) as caught:
        deliver(lambda: FakeCrew(service, 4), 1_000, 100)

    assert caught.group_contains(CredentialsError)
    assert len(service.sent) < 100


def test_a_stop_waits_for_what_workers_have_begun_and_begins_no_more():
    """Ctrl-C, the end of the time, an error of another batch: all the same."""
    service, why = FakeService(latency_s=5.0), InterruptedRunError("stop")

    async def go():
        crew = FakeCrew(service, 3)
        async with crew.delivery(10, concurrency=30) as delivery:
            tasks = [asyncio.create_task(delivery.deliver(batch_of(1, n))) for n in range(200)]
            await asyncio.sleep(1.0)
            delivery.stop(why)
            sent = len(service.sent)
            made = await asyncio.gather(*tasks)
            return sent, made

    sent, made = in_no_time(go())
    assert len(service.sent) <= sent + 1
    assert sum(each is not None for each in made) == len(service.sent)


def test_without_workers_the_driver_sends():
    """None has come, or all are gone."""
    service = FakeService(latency_s=0.05)

    async def go_away(crew):
        await asyncio.sleep(1.0)
        for address in list(crew.workers):
            crew.kill(address)

    deliver(lambda: FakeCrew(service, 2), 300, 100, go_away)
    assert sorted(set(numbers(service))) == list(range(300))
    assert numbers(service, "driver")
    service.sent.clear()
    deliver(lambda: FakeCrew(service, 0), 10, 100)
    assert sorted(numbers(service, "driver")) == list(range(10))


def test_bytes_that_a_worker_cannot_see_are_sent_by_the_driver():
    """On its own turn, and once."""
    service, crews = FakeService(latency_s=0.05), []

    def crew():
        crews.append(FakeCrew(service, 2))
        crews[0].place = lambda _: (Label("/nowhere/at/all", "0" * 32), 0)
        return crews[0]

    async def go():
        async with crew().delivery(100) as delivery:
            await asyncio.gather(*[delivery.deliver(batch_of(500, n * 500)) for n in range(20)])
            return delivery.meter

    meter = in_no_time(go())
    assert sorted(numbers(service, "driver")) == [n * 500 for n in range(20)]
    assert len(service.sent) == 20
    assert meter.in_flight == 0


def test_what_a_worker_says_of_a_grant_that_was_given_up_is_ignored():
    """Its clock is heard all the same; and no clock makes a grant hold longer than it does here."""
    session = Session(link=None, figures=WorkerFigures(), heard_s=0.0)
    assert not session.is_ready
    session.heard(Report(7, clock_s=500.0, said=(200, b"{}", {})), now_s=100.0)
    assert session.is_ready
    assert session.theirs_s(100.0) == 400.0 + 100.0
    # Said long before it was heard: of the two, the later clock is nearer to the truth.
    session.heard(Report(NOTHING, clock_s=500.5), now_s=103.0)
    assert session.theirs_s(103.0) == pytest.approx(503.0, abs=0.001)
    # A clock that goes slower is believed in the end.
    session.heard(Report(NOTHING, clock_s=10_499.5), now_s=10_100.0)
    assert session.theirs_s(10_100.0) == pytest.approx(10_499.5)


def test_nobody_goes_on_before_a_worker_that_is_out_of_reach_has_to_stop():
    """It may still send what it was granted; the next kind of rows comes after that."""
    service, crews = FakeService(latency_s=0.05), []

    async def go():
        crews.append(FakeCrew(service, 1))
        worker, loop = crews[0].workers["w0"], asyncio.get_running_loop()
        async with crews[0].delivery(100) as delivery:
            await delivery.deliver(batch_of(1, 0))
            worker.stop()
            crews[0].attempts.grant_s = GRANT_MAX_S
            began_s = loop.time()
            loop.call_later(0.3, worker.wires[-1].other.cut)
            loop.call_later(0.6, worker.go_on)
            await delivery.deliver(batch_of(1, 1))
            return began_s

    began_s = in_no_time(go())
    late, again = service.sent[1:]
    assert (late.by, late.at_s - began_s) == ("w0", pytest.approx(0.6, abs=0.01))
    assert again.at_s - began_s >= GRANT_MAX_S
