"""Reading back at the App API's own limit, in virtual time, over a service that counts."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.delivery.app_api_reader import AppApiReader
from backfill.delivery.outcome import Meter
from backfill.delivery.pacing import Request, Time
from backfill.delivery.verdicts import Answer, NoAnswer
from backfill.encoding import identity
from backfill.errors import CredentialsError, UnavailableError, UsageError
from backfill.job import Job
from backfill.journal import Journal
from backfill.pipeline.file import Pipeline
from backfill.verification.findings import Findings, Scope
from backfill.verification.proving import read_back
from backfill.verification.read_back import CallTimes, Patience, SentPerson
from backfill.verification.sent import DELETED, EVENTS, OLDER, PEOPLE, REMADE, Collected
from tests.support.jobs import CUSTOMERS, job
from tests.support.jobs import people as people_file
from tests.support.virtual_time import in_no_time

LIMIT = 10


class Service:
    """Answers as the App API does: 10 requests a second, after 150 ms; everybody is there.

    Args:
        answers: What it says first, one a request.
        alter: Changes what it says of somebody; None: nobody is there.
    """

    def __init__(
        self,
        answers: list[Answer | NoAnswer] | None = None,
        alter: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda each: each,
    ) -> None:
        self.answers = answers or []
        self.alter = alter
        self.requests = self.throttled = 0
        self._recent: deque[float] = deque()

    async def attempt(self, request: Request, *, fresh: bool = False) -> Answer | NoAnswer:
        """Answer one request."""
        del fresh
        await asyncio.sleep(0.15)
        self.requests += 1
        if self.answers:
            return self.answers.pop(0)
        now_s = asyncio.get_running_loop().time()
        while self._recent and self._recent[0] <= now_s - 1:
            self._recent.popleft()
        if len(self._recent) >= LIMIT:
            self.throttled += 1
            return Answer(429, b"{}")
        self._recent.append(now_s)
        ids = orjson.loads(request.body())["ids"]
        assert len(ids) <= 100
        there = (self.alter({"id": each, "attributes": {"n": each}}) for each in ids)
        customers = [{"customer": each} for each in there if each]
        return Answer(200, orjson.dumps({"customers": customers}))


def sent_people(folder: Path, count: int) -> Collected:
    """So many people with an attribute, as if they had been delivered."""
    made = Collected(folder, people=count)
    with pq.ParquetWriter(made.files["sent_people"], PEOPLE) as file:
        for first in range(0, count, 50_000):
            names = [f"{n}" for n in range(first, min(first + 50_000, count))]
            text = [f'"n":"{each}"' for each in names]
            halves = identity.hashes(each.encode() for each in text)
            columns = [pa.repeat("id", len(names)), pa.array(names), pa.array(names)]
            columns += [pa.array([1] * len(names), pa.int32()), pa.array([*map(int, names)])]
            columns += [pa.array(text), pa.array(halves[:, 0]), pa.array(halves[:, 1])]
            file.write_batch(pa.RecordBatch.from_arrays(columns, schema=PEOPLE))
    empty = (("sent_deletions", DELETED), ("sent_events", EVENTS), ("sent_older", OLDER))
    empty += (("sent_remade", REMADE),)
    for name, schema in empty:
        pq.write_table(schema.empty_table(), made.files[name])
    return made


def verified(folder: Path, count: int, service: Service, lag_s: float = 0.0, **settings: float):
    """Read so many people back; gives what was found, and how long it took."""
    pipeline = Pipeline.load(job(folder, {"customers.csv": people_file("a")}, CUSTOMERS))
    made = sent_people(folder, count)

    async def go(journal: Journal, findings: Findings) -> float:
        loop = asyncio.get_running_loop()
        time = Time(loop.time, asyncio.sleep, lambda: 0.5)
        began_s = loop.time()
        reader = AppApiReader(service, time, Meter(), **settings)
        patience = Patience(time, began_s + lag_s, sent_until_s=0.0)
        await read_back(made, Job(pipeline, (), journal, folder), reader, patience, findings)
        return loop.time() - began_s

    with Journal.open(folder / "job") as journal, Findings(folder, {1: "people.csv"}) as findings:
        took_s = in_no_time(go(journal, findings))
        findings.save()
        return findings.result(Scope(sampled=False, people=count, of_people=0), ""), took_s


def test_people_are_read_back_at_the_limit_of_the_api(tmp_path):
    """Within 10 % of 1,000 a second, and never above what is allowed."""
    service = Service()

    found, took_s = verified(tmp_path, 30_000, service)

    assert found.figures()["equal"] == 30_000
    assert (service.requests, service.throttled) == (300, 0)
    assert took_s == pytest.approx(30.0, rel=0.1)


def test_answers_that_fail_are_asked_for_again(tmp_path):
    """Throttled, an error of the server, a dropped connection, a page of somebody else's."""
    hint = Answer(429, b"", {"retry-after": "3"})
    answers = [hint, Answer(503), NoAnswer("dropped"), Answer(200, b"<html>")]

    found, took_s = verified(tmp_path, 250, Service(answers))

    assert found.figures()["equal"] == 250
    assert took_s > 3


def test_an_answer_of_another_shape_is_no_bug_of_ours(tmp_path):
    """It says what to look at; members that are not as they should be say nothing."""
    for body in (b"{}", b'{"customers":{}}', b'{"customers":["a"]}'):
        with pytest.raises(UsageError):
            verified(tmp_path, 1, Service([Answer(200, body)]))
    strange = b'{"customers":[{"id":"0","identifiers":[],"attributes":"x","timestamps":3}]}'

    found, _ = verified(tmp_path, 1, Service([Answer(200, strange)]))

    assert found.figures()["differs"] == 1


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (401, CredentialsError, "does not accept the key"),
        (400, UsageError, "HTTP 400"),
        (503, UnavailableError, "HTTP 503"),
    ],
)
def test_what_cannot_succeed_ends_it(tmp_path, answer, error, said):
    """Another key, another address, a service that is gone."""
    with pytest.raises(error, match=said):
        verified(tmp_path, 150, Service([Answer(answer)] * 1_000))


def test_a_segment_that_is_gone_has_no_members():
    """It was listed a moment ago; a question of which the path says all has no body."""
    bodies = []

    class Gone:
        async def attempt(self, request: Request, *, fresh: bool = False) -> Answer:
            del fresh
            bodies.append(request.body())
            return Answer(404)

    async def go():
        time = Time(asyncio.get_running_loop().time, asyncio.sleep, lambda: 0.5)
        return await AppApiReader(Gone(), time, Meter()).members(7, "")

    assert in_no_time(go()) == ([], "")
    assert bodies == [b""]


@pytest.mark.parametrize(
    ("before", "least_s", "most_s", "settings"),
    [(0, 10, 32, {}), (1, 850, 902, {}), (1, 40, 62, {"outage_max_s": 60.0})],
)
def test_a_service_that_never_answered_is_given_up_soon(
    tmp_path, before, least_s, most_s, settings
):
    """As `run` does; one that has answered may come back, for as long as the settings say."""
    nobody = Answer(200, b'{"customers":[]}')
    service = Service([nobody] * before + [Answer(503)] * 10_000)

    with pytest.raises(UnavailableError) as ended:
        verified(tmp_path, 150, service, **settings)

    said_s = float(str(ended.value).partition(" for ")[2].partition(" s")[0])
    assert least_s <= said_s <= most_s


def test_what_differs_is_asked_for_again_until_the_time_is_up(tmp_path):
    """Then it is as it is; whoever is as sent is not asked for again."""

    def without(customer: dict[str, Any]) -> dict[str, Any] | None:
        return None if customer["id"] == "7" else customer

    service = Service(alter=without)
    found, took_s = verified(tmp_path, 100, service, lag_s=10.0)

    assert (found.figures()["missing"], found.figures()["equal"]) == (1, 99)
    assert 10 <= took_s < 12
    assert service.requests == 5  # at once, and 1, 3, 7 and 10 seconds later


if __name__ == "__main__":  # python -m tests.unit.verification.test_read_back FOLDER COUNT
    import resource

    some, seconds = verified(Path(sys.argv[1]), int(sys.argv[2]), Service())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(some.figures(), f"{seconds:.0f} s in virtual time, {peak} MB at most")


SPANS = {3: (100.0, 110.0), 4: (200.0, 210.0), 5: (300.0, 310.0)}


@pytest.mark.parametrize(
    ("at_s", "told", "others"),
    [
        (311, (5, 5), False),
        (312, (5, 5), True),
        (250, (5, 5), False),  # written before it was told something else: that did not arrive
        (205, (4, 4), False),
        (210, (4, 4), True),
        (150, (4, 4), False),
        (305, (4, 4), True),
        (205, (3, 4), False),
        (150, (3, 4), True),
        (90, (3, 4), False),
        (150, (None, None), True),
        (205, (None, None), False),
        (99, (1, 2), False),
        (100, (1, 2), True),
    ],
)
def test_who_wrote_a_field_is_told_by_when_the_job_sent(at_s, told, others):
    """After the call that told it, or between two of those that may have told it: somebody else."""
    person = SentPerson("id", "a", "a", 1, 1, {}, "", *told)

    assert CallTimes(SPANS).is_others(at_s, person) is others
