"""The send pass: what is dispatched when, what is settled by which answer, and what a stop leaves.

Over a delivery that does as it is told, in virtual time; the journal is a real one.
"""

import asyncio
import shutil
from contextlib import suppress

import numpy as np
import pytest

from backfill.encoding.rejected_cells import rejections
from backfill.engine.options import Tally
from backfill.engine.prepare import LeftOut, MergedRows
from backfill.engine.send import BATCHES_READY, DRAIN_S, REFUSALS_MAX, Sender, ranges_of
from backfill.errors import (
    BackfillError,
    GuardError,
    InterruptedRunError,
    StateError,
    UnavailableError,
)
from backfill.journal import Journal
from backfill.pipeline.setting_values import Allowance
from backfill.rows import reason
from tests.support.by_hand import ByHand, prepared
from tests.support.fake_delivery import FakeDelivery
from tests.support.virtual_time import in_no_time

ONE_PERCENT = Allowance(share=0.01)
STOPPED = InterruptedRunError("stopped")
BIG = 240_000  # bytes; two are a request
WHY = reason("required_missing", "who")


def carried(part, rows, carrier_part, carriers, prepared):
    """Rows of a chunk whose people other rows carry."""
    numbers = np.array(rows, np.int64), np.array(carriers, np.int64)
    return MergedRows(part, numbers[0], carrier_part, numbers[1], prepared.chunk)


@pytest.fixture
def journal(tmp_path):
    """A journal of two files of customers and one of events."""
    with Journal.open(tmp_path / "job") as made:
        for source, name in ((0, "1.csv"), (0, "2.csv"), (1, "3.csv")):
            made.add_part(name, source=source, size=1, digest=name)
        yield made


def send(work, delivery, *, rejected_max=ONE_PERCENT, stop_at_s=None, tally=None):
    """Send it; give the error and how long it took."""

    async def go():
        loop = asyncio.get_running_loop()
        began_s, error = loop.time(), None
        sender = Sender(work, rejected_max, delivery, tally=tally or Tally(), now_s=loop.time)
        if stop_at_s is not None:
            loop.call_later(stop_at_s, sender.stop, STOPPED)
        try:
            await sender.send()
        except BackfillError as stopped:
            error = stopped
        return error, loop.time() - began_s

    return in_no_time(go())


def test_rows_settle_in_the_order_of_their_answers(journal):
    """Whatever the order in which they were sent."""
    work = ByHand(journal, events=[prepared(3, [1, 2, 3], alone=True)])
    delivery, tally = FakeDelivery(latency_s={1: 3.0, 2: 1.0, 3: 2.0}), Tally()

    error, seconds = send(work, delivery, tally=tally)

    assert error is None
    assert work.settled == [(3, [2]), (3, [3]), (3, [1])]
    assert seconds == pytest.approx(3.0)
    assert (tally.rows, tally.rejected) == (3, 0)
    assert (journal.totals().requests, journal.totals().attempts) == (3, 3)
    assert journal.totals().bytes_sent == delivery.meter.bytes_sent > 0
    assert journal.in_doubt() == 0


def test_a_kind_waits_for_the_answers_of_the_one_before(journal):
    """Customers, then events, then deletions, however long an answer takes."""
    work = ByHand(
        journal,
        deletions=[prepared(2, [1])],
        events=[prepared(3, [1])],
        customers=[prepared(1, [1, 2], alone=True)],
    )
    delivery = FakeDelivery(latency_s={1: 50.0, 2: 1.0, 3: 5.0})

    send(work, delivery)

    assert [each[0]["part"] for each in delivery.batches] == [1, 1, 3, 2]
    assert delivery.log.index(("dispatched", 3)) > delivery.log.index(("answered", 1))
    assert delivery.log.index(("dispatched", 4)) > delivery.log.index(("answered", 3))
    assert [each.deletes for each in journal.counts().values()] == [1, 0]


@pytest.mark.parametrize(
    "chunks",
    [
        [prepared(3, range(1, 2_501), alone=True)],
        [prepared(3, [1, 2], beside=2_000, size=BIG), prepared(3, [1_000, 1_001], size=BIG)],
    ],
)
def test_no_row_is_dispatched_before_the_journal_has_granted_it(journal, chunks):
    """Every row lies below the committed ceiling; one exactly at it is granted anew."""
    work = ByHand(journal, events=chunks)
    below = []

    def granted(_, batch):
        for segment in batch.segments:
            rows = segment.operations.rows[segment.start : segment.stop]
            below.extend(row < journal.ceiling(3) for row in rows.tolist())

    send(work, FakeDelivery(on_dispatch=granted))

    assert len(below) == sum(len(some) for chunk in chunks for some in chunk.operations)
    assert all(below)


def test_no_more_is_under_way_than_attempts_and_a_few_that_are_ready(journal):
    """Whatever there is to send."""
    work = ByHand(journal, events=[prepared(3, range(1, 101), alone=True)])
    most = []
    delivery = FakeDelivery(latency_s=1.0, concurrency=3)
    delivery.on_dispatch = lambda *_: most.append(delivery.meter.in_flight + 1)

    send(work, delivery)

    assert max(most) == 3 + BATCHES_READY


def test_answers_under_way_are_waited_for_when_it_stops(journal):
    """What was answered is settled; what was not sent is left."""
    work = ByHand(journal, events=[prepared(3, range(1, 101), alone=True)])
    delivery = FakeDelivery(latency_s=10.0, concurrency=2)

    error, seconds = send(work, delivery, stop_at_s=1.0)

    assert error is STOPPED
    assert seconds == pytest.approx(10.0, abs=0.5)
    assert delivery.stopped_by is STOPPED
    assert len(delivery.batches) == 2 + BATCHES_READY
    assert len(work.settled) == len(delivery.batches)
    assert journal.in_doubt() == 0


def test_an_answer_that_takes_too_long_leaves_its_rows_in_doubt(journal):
    """The others are settled; no row at or beyond the ceiling was ever sent."""
    work = ByHand(journal, events=[prepared(3, [1, 2, 3], alone=True)])
    delivery = FakeDelivery(hangs={2}, latency_s=5.0)

    error, seconds = send(work, delivery, stop_at_s=1.0)

    assert error is STOPPED
    assert seconds == pytest.approx(1.0 + DRAIN_S, abs=0.5)
    assert work.settled == [(3, [1]), (3, [3])]
    assert journal.in_doubt() == 1
    assert not journal.settled(3).contains(np.array([2]))[0]


def test_a_batch_that_waits_to_be_tried_again_is_left_to_the_next_start(journal):
    """Nothing is in flight: there is no answer to wait for."""
    work = ByHand(journal, events=[prepared(3, [1, 2], alone=True)])

    error, seconds = send(work, FakeDelivery(waits={1}), stop_at_s=1.0)

    assert error is STOPPED
    assert seconds < 2.0
    assert work.settled == [(3, [2])]
    assert journal.in_doubt() == 1


def test_what_was_never_sent_is_not_in_doubt(journal):
    """A batch that waited for its first turn when the run stopped was told so."""
    work = ByHand(journal, events=[prepared(3, [1, 2])])
    delivery = FakeDelivery()
    delivery.stop(STOPPED)

    send(work, delivery, stop_at_s=0.0)

    assert delivery.batches == []
    assert journal.in_doubt() == 0


def test_what_stops_one_batch_stops_the_run(journal):
    """The others are waited for, and settled."""
    gone = UnavailableError("gone")
    work = ByHand(journal, events=[prepared(3, range(1, 51), alone=True)])
    delivery = FakeDelivery(fails={2: gone}, latency_s={1: 9.0}, concurrency=2)

    error, _ = send(work, delivery)

    assert error is gone
    assert (3, [1]) in work.settled
    assert len(delivery.batches) < 50
    assert journal.in_doubt() > 0


def test_an_answer_that_cannot_be_settled_is_a_bug_and_stops_the_run(journal):
    """It is told where; nothing of it is taken for settled."""
    work = ByHand(journal, events=[prepared(3, [1])])
    work.settle = lambda _: {}["no such key"]

    error, _ = send(work, FakeDelivery())

    assert type(error) is BackfillError
    assert "KeyError" in error.what
    assert "no such key" not in error.what
    assert journal.in_doubt() == 1


def test_what_has_settled_is_committed_while_other_answers_take_long(journal):
    """A crash repeats no more than what settled in the last timestamps."""
    work = ByHand(journal, events=[prepared(3, [1, 2], alone=True)])
    delivery = FakeDelivery(latency_s={1: 0.1, 2: 60.0})  # no other answer makes it commit
    committed = []

    async def look():
        loop = asyncio.get_running_loop()
        loop.call_later(2.0, lambda: committed.append(journal.totals().requests))
        await Sender(work, ONE_PERCENT, delivery, tally=Tally(), now_s=loop.time).send()

    in_no_time(look())

    assert committed == [1]


def test_a_journal_that_is_gone_stops_the_run_while_an_answer_takes_long(tmp_path):
    """Nobody has to wait for the answer to be told."""
    with suppress(StateError), Journal.open(tmp_path / "job") as journal:
        journal.add_part("1.csv", source=0, size=1, digest="1")
        work = ByHand(journal, events=[prepared(1, [1, 2], alone=True)])
        delivery = FakeDelivery(latency_s={1: 0.1, 2: 600.0})
        delivery.on_answer = lambda _: shutil.rmtree(tmp_path / "job")

        error, seconds = send(work, delivery)

        assert isinstance(error, StateError)
        assert seconds < 60.0


@pytest.mark.parametrize("refused", [REFUSALS_MAX, REFUSALS_MAX + 1])
def test_a_run_ends_when_the_api_refuses_more_than_it_may(journal, refused):
    """Up to a thousand never end one."""
    work = ByHand(journal, events=[prepared(3, range(1, 1_201))])
    delivery = FakeDelivery(refuses=lambda each: "no" if each["row"] <= refused else "")

    error, _ = send(work, delivery)

    assert isinstance(error, GuardError) == (refused > REFUSALS_MAX)
    assert journal.counts()[1].rejected == refused
    assert journal.in_doubt() == 0


@pytest.mark.parametrize(
    ("rejected_max", "ends"),
    [
        (Allowance(share=0.49), True),
        (Allowance(share=0.5), False),
        (Allowance(count=1_000), True),
        (Allowance(count=1_001), False),
    ],
)
def test_the_share_of_refusals_is_that_of_what_was_answered(journal, rejected_max, ends):
    """Or a number of them, as the pipeline file says."""
    work = ByHand(journal, events=[prepared(3, range(1, 2_003))])
    delivery = FakeDelivery(refuses=lambda each: "no" if each["row"] % 2 else "")

    error, _ = send(work, delivery, rejected_max=rejected_max)

    assert isinstance(error, GuardError) == ends


def test_a_refusal_at_the_edge_of_two_files_counts_once_where_it_belongs(journal):
    """A batch may hold rows of several files."""
    work = ByHand(journal, customers=[prepared(1, [1, 2]), prepared(2, [1, 2])])
    delivery = FakeDelivery(refuses=lambda each: "no" * ((each["part"], each["row"]) == (2, 1)))

    send(work, delivery)

    assert len(delivery.batches) == 1
    assert work.noted[1, 1] == work.noted[1, 2] == work.noted[2, 2] == ()
    assert [(each.code, each.message) for each in work.noted[2, 1]] == [
        ("refused", "the API said: no")
    ]
    assert [part for part, _ in journal.rejections()] == [2]


def test_a_refusal_names_the_attribute_by_its_own_name(journal):
    """The API says where in the operation it stands."""
    work = ByHand(journal, events=[prepared(3, [1])])

    send(work, FakeDelivery(refuses=lambda _: "no", about="attributes.age"))

    assert [each.field for each in work.noted[3, 1]] == ["age"]


def test_merged_rows_wait_for_the_row_that_carries_their_person(journal):
    """In the same file or in another one; they share what becomes of it."""
    first = prepared(1, [1, 2], alone=True, beside=1)
    second = prepared(2, [], beside=2)
    first.left_out.merged.append(carried(1, [3], 1, [1], first))
    second.left_out.merged.append(carried(2, [1, 2], 1, [1, 2], second))
    work = ByHand(journal, customers=[first, second])
    delivery = FakeDelivery(
        latency_s={1: 5.0, 2: 1.0}, refuses=lambda each: "no" if each["row"] == 1 else ""
    )

    send(work, delivery)

    assert work.settled[:2] == [(1, [2]), (2, [2])]
    assert {place: [why.code for why in fate] for place, fate in work.noted.items()} == {
        (1, 1): ["refused"],
        (1, 2): [],
        (1, 3): ["refused"],
        (2, 1): ["refused"],
        (2, 2): [],
    }
    assert (journal.counts()[0].merged, journal.counts()[0].rejected) == (1, 3)


@pytest.mark.parametrize("fate", [(), (WHY,)], ids=["delivered", "rejected"])
def test_a_merged_row_whose_carrier_was_answered_before_settles_at_once(journal, fate):
    """Its file is read long after."""
    late = prepared(2, [], beside=1)
    late.left_out.merged.append(carried(2, [1], 1, [1], late))
    work = ByHand(journal, customers=[late])
    work.noted[1, 1] = fate

    send(work, FakeDelivery())

    assert work.noted[2, 1] == fate
    assert len(list(journal.rejections())) == len(fate)


def test_merged_rows_whose_carrier_is_not_answered_stay_pending(journal):
    """They go out with it when the run is started again."""
    chunk = prepared(1, [1], alone=True, beside=1)
    chunk.left_out.merged.append(carried(1, [2], 1, [1], chunk))
    work = ByHand(journal, customers=[chunk])

    send(work, FakeDelivery(hangs={1}), stop_at_s=1.0)

    assert work.settled == []


def test_rows_that_are_left_out_settle_without_a_request(journal):
    """Each with its reason; those that are held stay pending and are counted."""
    chunk = prepared(3, [], beside=6)
    rejected = rejections(chunk.chunk, np.array([4, 2]), [(WHY,)] * 2)
    left_out = LeftOut({"recent_event": np.array([1, 3])}, rejected, held=2)
    work = ByHand(journal, events=[prepared(3, [], beside=6, left_out=left_out)])
    delivery, tally = FakeDelivery(), Tally()

    send(work, delivery, tally=tally)

    assert delivery.batches == []
    assert sorted(row for _, rows in work.settled for row in rows) == [1, 2, 3, 4]
    assert journal.counts()[1].skipped == {"recent_event": 2}
    assert (tally.rows, tally.rejected, tally.held) == (4, 2, {0: 2})


@pytest.mark.parametrize(
    ("rows", "ranges"),
    [
        ([], []),
        ([7], [(7, 8)]),
        ([1, 2, 3], [(1, 4)]),
        ([1, 3, 4, 9], [(1, 2), (3, 5), (9, 10)]),
    ],
)
def test_rows_are_settled_as_ranges(rows, ranges):
    """Neighbours together, each range up to its stop."""
    assert ranges_of(np.array(rows, np.int64)) == ranges
