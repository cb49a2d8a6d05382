"""A run as a whole: plan, guards, sending, account; over a delivery that does as it is told."""

import asyncio
import json
import shutil
from collections import defaultdict
from dataclasses import replace

import pytest

from backfill.clock import Clock
from backfill.commands.run import RUN
from backfill.engine.options import Stop
from backfill.engine.results import Closed, close_anyway
from backfill.engine.run import Trial
from backfill.errors import DiffersError, ExitCode, GuardError, StateError
from backfill.journal import Journal
from backfill.pipeline.file import Pipeline
from backfill.report.course import Course
from backfill.report.verified import KindVerified, Verification
from backfill.retrying import START_PATIENCE_S
from backfill.verification.canary import CanaryRows
from tests.support.checker import check_law
from tests.support.fake_delivery import FakeDelivery, nothing
from tests.support.jobs import (
    CUSTOMERS,
    DELETIONS,
    EVENTS,
    HEADER,
    job,
    numbered,
    people,
)
from tests.support.runs import Noting, ctrl_c, journal_of, run_in_no_time

SEGMENT = "[import]\nsegment = 12\n"
V1 = '[destination]\napi = "v1"\n'
FILES = {"customers.csv": people("p1", "p2"), "events.csv": f"{HEADER}p1,seen,2024-01-01,1\n"}
RESULTS = (
    "summary.json",
    "report.html",
    "rejected.jsonl",
    ".rejected.sha256",
    "course.json",
    "status.json",
)


class NotingKeeper:
    """A keeper that notes how many rows the journal holds whenever it is given it."""

    def __init__(self) -> None:
        self.settled: list[int] = []

    def before_sending(self, journal: Journal) -> None:
        """Note it."""
        self.committed(journal)

    def committed(self, journal: Journal) -> None:
        """Note it."""
        self.settled.append(
            sum(journal.settled(each.id).settled_count() for each in journal.parts())
        )


def test_an_observer_is_told_what_happens_in_order(tmp_path):
    """How many rows there are, and how many are left; then it reads the tally."""
    files = FILES | {"events.csv": f"{HEADER}p1,seen,2024-01-01,1\np1,seen,never,2\n"}

    ran = run_in_no_time(job(tmp_path, files, CUSTOMERS, EVENTS), FakeDelivery())

    observer = ran.observer
    assert observer.told == ["checked", "planned", "sending", "ended"]
    assert (observer.plan.rows_left, list(observer.plan.guards)) == (4, [])
    assert (observer.started.rows, observer.started.settled, observer.started.doubt.rows) == (
        4,
        0,
        0,
    )
    assert (observer.started.tally.rows, observer.started.tally.rejected) == (4, 1)
    assert observer.started.meter.attempts == ran.summary.attempts > 0
    assert observer.rejected_file == tmp_path / ".backfill/job/rejected.csv"
    assert ran.exit == ExitCode.REJECTIONS


def test_who_says_no_sends_nothing(tmp_path):
    """The run can be started again when they are ready."""
    pipeline, delivery = job(tmp_path, FILES, CUSTOMERS, EVENTS), FakeDelivery()

    ran = run_in_no_time(pipeline, delivery, observer=Noting(agrees=False))

    assert ran.exit == ExitCode.INTERRUPTED
    assert delivery.batches == []
    assert ran.summary.pending == ran.summary.rows_read == 3
    assert run_in_no_time(pipeline, delivery).exit == ExitCode.DELIVERED


def test_a_guard_refuses_whatever_the_observer_says(tmp_path):
    """The observer is shown why, and is not told that anything is sent."""
    files = FILES | {"events.csv": f"{HEADER}stranger,seen,2024-01-01,1\n"}
    delivery = FakeDelivery()

    ran = run_in_no_time(job(tmp_path, files, CUSTOMERS, EVENTS), delivery)

    assert ran.exit == ExitCode.GUARD
    assert [each.code for each in ran.observer.plan.guards] == ["unknown_people"]
    assert "sending" not in ran.observer.told
    assert delivery.batches == []


def test_a_resume_sends_only_what_is_left(tmp_path):
    """Every row is delivered once, however often the run is stopped."""
    pipeline = job(tmp_path, {"events.csv": numbered(40)}, V1, EVENTS)
    delivery, stops = FakeDelivery(latency_s=1.0, concurrency=2), 0
    while True:
        stop, already = Stop(), len(delivery.batches)
        ask = ctrl_c(stop)
        delivery.on_answer = lambda number, ask=ask, at=already + 5: ask() if number == at else None
        ran = run_in_no_time(pipeline, delivery, stop=stop)
        check_law(ran.summary.as_dict())
        assert ran.observer.plan.rows_left == 40 - already
        if ran.error is None:
            break
        assert ran.exit == ExitCode.INTERRUPTED
        stops += 1

    assert stops > 3
    assert ran.summary.delivered == 40
    assert len({each["id"] for each in delivery.operations}) == len(delivery.operations) == 40


def test_rows_in_doubt_are_sent_again_with_the_same_ids(tmp_path):
    """And the observer is told how many they may be."""
    pipeline = job(tmp_path, {"events.csv": numbered(5)}, V1, EVENTS)
    stop, delivery = Stop(), FakeDelivery(hangs={3})
    delivery.on_dispatch = lambda number, _: ctrl_c(stop)() if number == 5 else None
    first = run_in_no_time(pipeline, delivery, stop=stop)
    sent = {each["id"] for each in delivery.operations}

    again = run_in_no_time(pipeline, delivery)

    assert (first.summary.delivered, first.summary.pending) == (4, 1)
    assert again.observer.started.doubt.rows == 1
    assert again.summary.delivered == 5
    assert delivery.operations[-1]["id"] in sent


def test_merged_rows_know_the_rejection_that_an_earlier_run_kept(tmp_path):
    """The row that carries their person was refused before; they are rejected with it."""
    files = {"customers-1.csv": people("p1"), "customers-2.csv": people("p1", "p2")}
    pipeline = job(tmp_path, files, V1, CUSTOMERS)
    stop = Stop()
    delivery = FakeDelivery(refuses=lambda each: "no" if "p1" in each["path"] else "")
    delivery.on_dispatch = ctrl_c(stop)  # before the second file is looked at
    first = run_in_no_time(pipeline, delivery, stop=stop)
    delivery.on_dispatch = nothing

    ran = run_in_no_time(pipeline, delivery)

    assert (first.summary.rejected, first.summary.pending) == (1, 2)
    assert (ran.summary.rejected, ran.summary.merged, ran.summary.delivered) == (2, 0, 1)
    assert ran.summary.rejections_by_reason == {"refused": 2}


def test_time_that_is_up_ends_a_run_in_order(tmp_path):
    """What is under way is waited for; the exit says that it can be resumed."""
    pipeline = job(tmp_path, {"events.csv": numbered(60)}, V1, EVENTS)

    ran = run_in_no_time(pipeline, FakeDelivery(latency_s=60.0), stop_after_s=290.0)

    assert ran.exit == ExitCode.UNAVAILABLE
    assert "stopping: the time limit is reached" in ran.observer.told
    assert ran.seconds == pytest.approx(300.0, abs=20.0)
    assert 0 < ran.summary.delivered < 60
    assert ran.summary.this_run.seconds == pytest.approx(ran.seconds, abs=1.0)


def test_the_seconds_of_all_calls_add_up(tmp_path):
    """Those of this one are told apart."""
    pipeline = job(tmp_path, {"events.csv": numbered(20)}, V1, EVENTS)
    stop = Stop()
    delivery = FakeDelivery(latency_s=10.0, concurrency=1)
    delivery.on_dispatch = lambda number, _: ctrl_c(stop)() if number == 3 else None

    calls = [run_in_no_time(pipeline, delivery, stop=stop), run_in_no_time(pipeline, delivery)]

    spent = [each.summary.this_run.seconds for each in calls]
    assert min(spent) >= 10.0
    assert calls[1].summary.seconds == pytest.approx(sum(spent), abs=0.01)
    assert calls[1].summary.rows_per_second == pytest.approx(20 / sum(spent), abs=0.1)


def test_the_time_of_a_killed_call_counts_as_far_as_is_known(tmp_path):
    """It could not say how long it took; its course can, to a few seconds."""
    pipeline = job(tmp_path, {"events.csv": numbered(20)}, V1, EVENTS)
    state = tmp_path / ".backfill"
    delivery = FakeDelivery(latency_s=10.0, concurrency=1)
    delivery.on_dispatch = lambda number, _: number == 12 and shutil.copytree(state, tmp_path / "c")
    run_in_no_time(pipeline, delivery)
    shutil.rmtree(state)
    (tmp_path / "c").rename(state)
    delivery.on_dispatch = nothing
    known_s = Course.load(state / "job/course.json").ended_s(1)

    ran = run_in_no_time(pipeline, delivery)

    lost_s = ran.summary.seconds - ran.summary.this_run.seconds
    assert 0 < lost_s <= 30.0
    assert lost_s == pytest.approx(known_s, abs=0.002)


def test_a_restart_knows_nothing_of_the_runs_before_it(tmp_path):
    """Neither what they delivered, nor what it cost, nor how fast it went."""
    pipeline = job(tmp_path, {"events.csv": numbered(20)}, V1, EVENTS)
    first = run_in_no_time(pipeline, FakeDelivery(latency_s=10.0)).summary

    again = run_in_no_time(pipeline, FakeDelivery(latency_s=10.0), restart=True).summary

    assert (again.delivered, again.attempts, again.seconds) == (20, first.attempts, first.seconds)
    course = Course.load(tmp_path / ".backfill/job/course.json")
    assert sum(each.attempts for each in course.steps) == again.attempts


def test_rows_of_a_person_go_out_as_one(tmp_path):
    """With all that they say, and the others are merged."""
    files = {"customers.csv": "id,a,b\np1,1,\np2,,\np1,2,3\n"}

    ran = run_in_no_time(job(tmp_path, files, CUSTOMERS), delivery := FakeDelivery())

    assert (ran.summary.delivered, ran.summary.merged) == (2, 1)
    assert [each["attributes"] for each in delivery.operations] == [{"a": "2", "b": "3"}, {}]
    status = json.loads((tmp_path / ".backfill/job/status.json").read_bytes())
    assert (status["delivered"], status["merged"], status["rows_read"]) == (2, 1, 3)


def test_a_destination_that_never_answers_is_given_up_before_anything_is_sent(tmp_path):
    """After half a minute; the observer hears of it long before.

    The sandbox that is advised is that of the port that was asked: one of the default port would
    not be found, either.
    """

    class Unreachable(FakeDelivery):
        async def region(self):
            await asyncio.Event().wait()

    ran = run_in_no_time(job(tmp_path, FILES, CUSTOMERS, EVENTS), Unreachable())

    assert ran.exit == ExitCode.UNAVAILABLE
    assert ran.seconds == pytest.approx(START_PATIENCE_S)
    assert ran.observer.told == ["unanswered http://127.0.0.1:1", "ended"]
    assert "`backfill sandbox --port 1`" in ran.error.next_step


def test_a_destination_given_up_says_what_was_seen_of_it(tmp_path):
    """A wrong name in `url` and a service that is down want different hands."""

    class Unnamed(FakeDelivery):
        async def region(self):
            self.meter.last_failure = "the host's name was not found (DNS)"
            await asyncio.Event().wait()

    ran = run_in_no_time(job(tmp_path, FILES, CUSTOMERS, EVENTS), Unnamed())

    assert "(last seen: the host's name was not found (DNS)); nothing was sent" in ran.error.what


def test_a_bug_leaves_an_account_of_every_row(tmp_path):
    """Exit 1, with all that was delivered before; what the bug says may be personal."""
    pipeline = job(tmp_path, {"events.csv": numbered(30)}, V1, EVENTS)
    delivery = FakeDelivery(fails={20: RuntimeError("a@example.com")}, concurrency=1)

    ran = run_in_no_time(pipeline, delivery)

    assert ran.exit == ran.summary.exit == ExitCode.BUG
    assert "a@example.com" not in ran.error.what
    check_law(ran.summary.as_dict())
    assert ran.summary.delivered >= 19
    kept = json.loads((tmp_path / ".backfill/job/summary.json").read_bytes())
    assert kept["delivered"] == ran.summary.delivered
    assert run_in_no_time(pipeline, FakeDelivery()).summary.delivered == 30


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_that_cannot_be_written_costs_6_and_never_the_account(tmp_path, name):
    """All others are written; once it can be, everything is as it should be."""
    files = {"events.csv": numbered(20) + "p1,seen,never,1\n"}
    pipeline = job(tmp_path, files, EVENTS)
    state = tmp_path / ".backfill/job"
    delivery = FakeDelivery()
    # A folder that is not empty stands where the file should be, for whoever runs as root too.
    delivery.on_answer = lambda _: _put_in_the_way(state / name)

    ran = run_in_no_time(pipeline, delivery)

    assert ran.exit == ran.summary.exit == ExitCode.STATE
    assert "cannot be written" in ran.error.what
    assert (ran.summary.delivered, ran.summary.rejected) == (20, 1)
    for other in {*RESULTS} - {name}:
        assert (state / other).is_file() or "rejected" in name, other
    with journal_of(pipeline) as journal:
        (call,) = journal.runs.all()
        assert (call.exit, call.summary["delivered"]) == (ExitCode.STATE, 20)
    shutil.rmtree(state / name)
    again = run_in_no_time(pipeline, delivery)
    assert again.exit == ExitCode.REJECTIONS
    assert (state / name).is_file()
    assert len(delivery.batches) == 1


def _put_in_the_way(path):
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "kept").touch()


def test_the_summary_on_disk_says_what_the_exit_code_says(tmp_path):
    """Also where a result behind it could not be written."""
    pipeline = job(tmp_path, {"events.csv": numbered(3)}, V1, EVENTS)
    status = tmp_path / ".backfill/job/status.json"
    delivery = FakeDelivery(latency_s=1.0, concurrency=1)
    delivery.on_answer = lambda number: number == 1 and _put_in_the_way(status)

    ran = run_in_no_time(pipeline, delivery)

    said = json.loads((status.parent / "summary.json").read_bytes())
    assert said["exit"] == ran.exit == ExitCode.STATE


def test_a_journal_that_cannot_be_closed_costs_6_and_the_summary_says_so(tmp_path):
    """What became of the rows is known by then; it weighs more than what stopped the run."""
    path = job(tmp_path, {"events.csv": numbered(3)}, V1, EVENTS)
    done = run_in_no_time(path, FakeDelivery()).summary
    for before in (None, GuardError("too many", next_step="look at them")):
        closed = close_anyway(
            StateError("the disk is gone"),
            Closed(done, None, before),
            Pipeline.load(path),
            clock=Clock(),
            folder=tmp_path / ".backfill/job",
        )
        assert closed.error.summary == closed.summary == replace(done, exit=ExitCode.STATE)


def test_a_keeper_is_given_the_journal_after_each_commit(tmp_path):
    """Before the first request, and then as often as rows were committed."""
    keeper, delivery = NotingKeeper(), FakeDelivery(latency_s=5.0, concurrency=1)
    pipeline = job(tmp_path, {"events.csv": numbered(3)}, V1, EVENTS)

    ran = run_in_no_time(pipeline, delivery, keeper=keeper)

    assert ran.exit == ExitCode.DELIVERED
    assert keeper.settled[0] == 0
    assert keeper.settled[-1] == 3
    assert keeper.settled == sorted(set(keeper.settled))


def test_who_is_rejected_is_not_put_into_the_segment(tmp_path):
    """The service is asked for those who were delivered, whichever file they are in."""
    files = {"customers-1.csv": people("a1", "a2", "a3"),
             "customers-2.csv": people("b1", "b2", "b3")}  # fmt: skip
    delivery = FakeDelivery(
        refuses=lambda each: "no" if each.get("identifiers", {}).get("id") in ("a2", "b3") else ""
    )

    ran = run_in_no_time(job(tmp_path, files, SEGMENT, CUSTOMERS), delivery)

    assert ran.summary.rejected == 2
    (asked,) = (each["ids"] for each in delivery.operations if "ids" in each)
    assert asked == ["a1", "a3", "b1", "b2"]


def test_the_status_says_why_nothing_is_sent_and_until_when(tmp_path):
    """While it sends, and how it ended."""
    pipeline = job(tmp_path, {"events.csv": numbered(3)}, V1, EVENTS)
    path, seen = tmp_path / ".backfill/job/status.json", []
    delivery = FakeDelivery(latency_s=5.0, concurrency=1)

    def look():
        seen.append(json.loads(path.read_bytes()))

    def paused(number, _):
        loop = asyncio.get_running_loop()
        if number == 1:
            loop.call_later(1.0, lambda: delivery.meter.paused("throttled", loop.time() + 2.0))
            loop.call_later(2.0, look)
            loop.call_later(4.0, look)

    delivery.on_dispatch = paused

    ran = run_in_no_time(pipeline, delivery)

    assert seen[0]["state"] == "paused"
    assert "until 2026-01-01" in seen[0]["pause"]
    assert (seen[1]["state"], seen[1]["pause"]) == ("running", "")
    ended = json.loads(path.read_bytes())
    assert (ended["state"], ended["exit"], ended["delivered"]) == ("ended", 0, 3)
    assert ran.exit == ExitCode.DELIVERED


def test_the_status_is_replaced_after_each_commit(tmp_path):
    """Whoever is killed leaves what the journal knows, not what it knew half a second before."""
    pipeline = job(tmp_path, {"events.csv": numbered(5)}, V1, EVENTS)
    path, seen = tmp_path / ".backfill/job/status.json", []

    def look(_):
        seen.append(json.loads(path.read_bytes())["delivered"])

    one_by_one = {number: 0.3 * number for number in range(1, 6)}
    run_in_no_time(pipeline, FakeDelivery(latency_s=one_by_one, on_answer=look))

    assert seen == [0, 1, 2, 3, 4]


def test_among_many_commits_a_second_the_status_is_replaced_soon(tmp_path):
    """Ten times a second, and once more when nothing else is committed."""
    pipeline = job(tmp_path, {"events.csv": numbered(11_000)}, V1, EVENTS)
    path, at_once, later = tmp_path / ".backfill/job/status.json", [], []
    delivery = FakeDelivery(latency_s=defaultdict(lambda: 0.001, {11_000: 1.0}), concurrency=1)

    def look(seen):
        seen.append(json.loads(path.read_bytes())["delivered"])

    def dispatched(number, _):
        if number == 11_000:
            look(at_once)
            asyncio.get_running_loop().call_later(0.9, look, later)

    delivery.on_dispatch = dispatched

    run_in_no_time(pipeline, delivery)

    assert (at_once, later) == ([0], [10_999])


def test_a_killed_run_is_accounted_for_by_the_next(tmp_path):
    """What it settled is known from what the job had when it began."""
    pipeline = job(tmp_path, {"events.csv": numbered(30)}, V1, EVENTS)
    kept = tmp_path / "kept"

    def keep(number):
        if number == 20:
            shutil.copytree(tmp_path / ".backfill", kept)

    run_in_no_time(pipeline, FakeDelivery(latency_s=0.3, concurrency=1, on_answer=keep))
    shutil.rmtree(tmp_path / ".backfill")
    kept.rename(tmp_path / ".backfill")
    run_in_no_time(pipeline, FakeDelivery())

    with journal_of(pipeline) as journal:
        killed, ended = journal.runs.all()
    assert (killed.finished_at, killed.exit) == (None, None)
    assert killed.summary["command"] == "run"
    delivered = [each.summary["this_run"]["delivered"] for each in (killed, ended)]
    assert 0 < delivered[0] < 20
    assert sum(delivered) == 30


def test_a_journal_of_another_workspace_is_refused_and_keeps_its_account(tmp_path):
    """Nothing is sent, and what was delivered there is still told."""
    pipeline = job(tmp_path, FILES, CUSTOMERS, EVENTS)
    run_in_no_time(pipeline, FakeDelivery(workspace=1))
    other = FakeDelivery(workspace=2)

    ran = run_in_no_time(pipeline, other)

    assert ran.exit == ExitCode.GUARD
    assert other.batches == []
    assert ran.summary.delivered == 3
    # The run got no plan of its own: its report tells of the last one.
    report = (tmp_path / ".backfill/job/report.html").read_text()
    assert "the pipeline file says so" in report


def test_held_events_wait_and_are_counted_by_their_source(tmp_path):
    """A later run, when they are old enough, sends them."""
    rows = "p1,seen,2025-12-31T00:00:00Z,1\np1,seen,2025-01-01T00:00:00Z,2\n"
    pipeline = job(tmp_path, {"events.csv": HEADER + rows}, f'{EVENTS}recent_events = "hold"\n')

    ran = run_in_no_time(pipeline, FakeDelivery())

    assert ran.exit == ExitCode.DELIVERED
    assert (ran.summary.held, ran.summary.pending, ran.summary.delivered) == (1, 1, 1)
    assert [each.held for each in ran.summary.sources] == [1]


def test_deletions_are_counted_apart(tmp_path):
    """They go last, and are delivered rows too."""
    files = FILES | {"gone.csv": "id\nx\ny\n"}

    ran = run_in_no_time(
        job(tmp_path, files, CUSTOMERS, EVENTS, f"{DELETIONS}deletes_max = 5\n"),
        delivery := FakeDelivery(),
    )

    assert (ran.summary.delivered, ran.summary.deletes) == (5, 2)
    assert [each["action"] for each in delivery.operations] == [
        "identify",
        "identify",
        "event",
        "delete",
        "delete",
    ]


@pytest.mark.parametrize("wrong", [None, DiffersError("they differ")])
def test_a_trial_is_sent_and_looked_at_before_all_else(tmp_path, wrong):
    """Only if nothing is wrong with it the rest is sent, in the same run."""
    delivery, found = FakeDelivery(), Verification(at="", kinds={"people": KindVerified(equal=1)})

    def prepare(given, plan, now_s):
        prepared = RUN.prepare(given, plan, now_s)

        def check():
            assert [each["identifiers"]["id"] for each in delivery.operations] == ["p1", "p1"]
            return found, wrong

        trial = Trial(lambda: CanaryRows(prepared.start(), 1, now_s), check)
        return replace(prepared, trial=trial)

    files = FILES | {"events.csv": f"{HEADER}p1,seen,2024-01-01,1\np2,seen,2024-01-01,2\n"}
    pipeline = job(tmp_path, files, CUSTOMERS, EVENTS)
    ran = run_in_no_time(pipeline, delivery, replace(RUN, prepare=prepare))

    assert ran.exit == (ExitCode.DIFFERS if wrong else ExitCode.DELIVERED)
    assert (ran.summary.delivered, ran.summary.pending) == ((2, 2) if wrong else (4, 0))
    assert ran.summary.verified == found.figures()
    assert ran.summary.attempts == len(delivery.batches)
    assert ran.summary.bytes_sent == delivery.meter.bytes_sent
