"""A verification from end to end: what was sent, made again, and held against what is there."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType
from typing import Any

import numpy as np

from backfill.clock import Clock
from backfill.delivery.app_api_reader import IDS_MAX, RATE, AppApiReader, open_app_api_reader
from backfill.delivery.credentials import AppKey, find_app_key
from backfill.delivery.destination import app_destination, destination
from backfill.delivery.pacing import Time, turns_file
from backfill.engine.options import Options, Stop
from backfill.errors import BackfillError, unwritten
from backfill.job import Job, counts_of
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import Plan
from backfill.report.verified import Verification
from backfill.report.wording import counted, duration, unix_of, utc_text
from backfill.sync.catch_up import catch_up, open_snapshot
from backfill.sync.snapshot import Snapshot, connected, see
from backfill.verification.findings import Findings, KindChecked, Scope
from backfill.verification.older_events import read_older, segments_of_events
from backfill.verification.read_back import (
    CallTimes,
    EventsReader,
    Patience,
    PeopleReader,
    SentEvent,
    SentPerson,
    WorkspaceReader,
    by_person,
    each_of,
    in_requests,
    members,
)
from backfill.verification.sent import (
    Collected,
    Delivered,
    Draws,
    Wanted,
    collect,
    everybody,
    sample_of,
    those,
)

SHOWN_DAYS = 30
MARGIN_S = 3_600
"""Activities are shown for 30 days; one that is about to vanish from there proves nothing."""

DAY_S = 86_400
STREAM_ROWS = 2_000
"""People come from their file so many at a time: each may have 32 kB of attributes."""

FOLDER = "verify"
NONE: Mapping[str, int] = MappingProxyType({})

LAG_S = 10.0
"""So long after the last request answers may be behind: what differs is asked for again."""

TOLD_EVERY_S = 10.0

Told = Callable[[str], None]
"""Shows a line: `print`, or a logger's `info`."""

Connect = Callable[[str, AppKey, Time, float], AbstractAsyncContextManager[AppApiReader]]
"""Opens the App API; the arguments are those of `open_app_api_reader`."""

_PEOPLE = """
SELECT sent.type, sent.identifier, sent.key, sent.part, sent.row, sent.attributes, CASE
    WHEN gone.key IS NOT NULL THEN 'deleted'
    WHEN person.type IS NULL THEN ''
    WHEN person.high IS NULL THEN 'corrected'
    WHEN person.high <> sent.high OR person.low <> sent.low THEN 'sent_differently'
    ELSE '' END AS doubt, person.first_run, person.last_run
FROM sent_people AS sent
LEFT JOIN person ON person.type = sent.type AND person.identifier = sent.key
LEFT JOIN (SELECT DISTINCT type, key FROM sent_deletions) AS gone
    ON gone.type = sent.type AND gone.key = sent.key
ORDER BY sent.part, sent.row
"""
_PEOPLE_OF_EVENTS = "SELECT count(*) FROM (SELECT DISTINCT type, key, kind FROM sent_events)"
_DELETIONS = """
SELECT gone.type, gone.identifier, gone.key, gone.part, gone.row, gone.merged,
    CASE WHEN remade.key IS NOT NULL THEN 'remade' ELSE '' END AS doubt
FROM sent_deletions AS gone
LEFT JOIN (SELECT DISTINCT type, key FROM sent_remade) AS remade
    ON gone.merged AND remade.type = gone.type AND remade.key = gone.key
ORDER BY gone.part, gone.row
"""
_EVENTS = """
SELECT sent.* EXCLUDE (corrected), CASE
    WHEN gone.key IS NOT NULL THEN 'deleted'
    WHEN corrected THEN 'corrected'
    WHEN ? AND person.type IS NULL AND sent.type IN (SELECT type FROM person)
        THEN 'perhaps_deleted'
    ELSE '' END AS doubt
FROM sent_events AS sent
LEFT JOIN person ON person.type = sent.type AND person.identifier = sent.key
LEFT JOIN (SELECT DISTINCT type, key FROM sent_deletions) AS gone
    ON gone.type = sent.type AND gone.key = sent.key
ORDER BY sent.type, sent.key, sent.kind, sent.second, sent.part, sent.row
"""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Reads back what a job delivered, while its journal is open.

    Args:
        job: The files and the journal.
        plan: The plan that it went by.
        options: `url` and `env` count.
        clock: The time.
        stop: Asks it to stop.
        told: Shows a line now and then.
        lag_s: How long after the last request answers may be behind.
        connect: Opens the App API.
    """

    job: Job
    plan: Plan
    options: Options
    clock: Clock
    stop: Stop
    told: Told
    lag_s: float = LAG_S
    connect: Connect = open_app_api_reader

    def of(self, people: int | Draws | None, *, sent_until_s: float) -> Verification:
        """Compare what was sent with what is there; not in an event loop.

        Args:
            people: Who is looked at: so many, or these; None: all.
            sent_until_s: When the last request was sent, as unix seconds.

        Raises:
            BackfillError: What stopped it; nothing is left of it then.
        """
        # Before anything is read: without a key there is nothing to read for.
        url, key = app_of(
            self.job.pipeline, self.options, str(self.job.journal.meta.get("url", ""))
        )
        try:
            return asyncio.run(self._prove(url, key, people, sent_until_s))
        except OSError as failure:
            raise unwritten(self.job.folder, failure) from failure
        finally:
            remove(self.job)

    async def _prove(
        self, url: str, key: AppKey, people: int | Draws | None, sent_until_s: float
    ) -> Verification:
        time = Time(self.clock.now_s, asyncio.sleep, self.clock.jitter)
        loop, job = asyncio.get_running_loop(), self.job
        names = {part.id: part.path for part in job.journal.parts()}
        outage_max_s = job.pipeline.destination.outage_max
        async with self.connect(url, key, time, outage_max_s) as workspace:

            def stop(why: BackfillError) -> None:
                loop.call_soon_threadsafe(workspace.stop, why)

            with self.stop.heard_by(stop), Findings(job.folder, names) as findings:
                workspace.share(turns_file(f"app-{job.journal.meta.get('workspace', '')}"))
                await workspace.probe()  # the files are read for long before the first question
                segments: Mapping[str, int] = NONE
                if job.pipeline.has("events") and not isinstance(people, np.ndarray):
                    segments = await segments_of_events(workspace)
                made, scope = self._made_again(people, segments)
                self.told(_begins(made, scope))
                behind_s = max(sent_until_s + self.lag_s - self.clock.unix_s(), 0.0)
                patience = Patience(time, time.now_s() + min(behind_s, self.lag_s), sent_until_s)
                async with _telling(findings, made, self.told):
                    await read_back(made, job, workspace, patience, findings, segments)
                findings.cannot_be_proved("events", "older_than_30_days", made.older.total())
                if not isinstance(people, np.ndarray):
                    self._name_the_rest(made, findings, whole=not scope.sampled)
                findings.save()
                return findings.result(scope, utc_text(self.clock.unix_s()))

    def _made_again(
        self, people: int | Draws | None, segments: Collection[str]
    ) -> tuple[Collected, Scope]:
        """Find out from the sources what is to be read back."""
        job = self.job
        folder = job.folder / FOLDER
        remove(job)
        folder.mkdir(mode=0o700)
        began_s = unix_of(str(job.journal.meta["started_at"]))
        delivered = Delivered(job, self.plan, began_s, check=self.stop.check)
        wanted: Wanted = everybody
        everyone = 0
        if isinstance(people, int):
            wanted, everyone = sample_of(delivered, kind_of_people(job.pipeline), people)
        elif people is not None:
            wanted = those(people)
        since_s = self.clock.unix_s() - SHOWN_DAYS * DAY_S + MARGIN_S
        made = collect(delivered, folder, wanted, since_s, segments)
        return made, Scope(wanted is not everybody, made.people, everyone)

    def _name_the_rest(self, made: Collected, findings: Findings, *, whole: bool) -> None:
        """Count what was delivered and cannot be asked for, so that nothing is passed over."""
        delivered: Counter[str] = Counter()
        for index, each in counts_of(self.job).items():
            source = self.job.pipeline.sources[index]
            delivered[source.kind] += each.delivered
            if source.kind in ("objects", "relationships"):  # an earlier night has sent them
                delivered[source.kind] += each.skipped.get("unchanged", 0)
        findings.cannot_be_proved("objects", "not_people", delivered["objects"])
        related = delivered["relationships"] + made.removed
        findings.cannot_be_proved("relationships", "not_people", related)
        rest: tuple[tuple[KindChecked, int], ...] = (
            ("people", delivered["customers"] - made.people),
            ("merges", delivered["merges"] - made.merged),
            ("deletions", delivered["deletions"] - (made.deleted - made.merged)),
            ("events", delivered["events"] - made.all_events),
        )
        for kind, count in rest if whole else ():
            findings.cannot_be_proved(kind, "not_read_again", count)


def app_of(pipeline: Pipeline, options: Options, sent_to: str) -> tuple[str, AppKey]:
    """Where the App API is, and the key to it.

    Args:
        pipeline: The settings.
        options: `url` and `env` count.
        sent_to: Where the job was sent last; empty: nowhere yet.

    Raises:
        CredentialsError: There is no key.
    """
    settings = pipeline.destination
    region = settings.region or "us"
    # What was sent in a rehearsal is read back there, without being told so again.
    url = options.url or sent_to or destination(region=region, url=settings.url)
    file = pipeline.folder / settings.credentials if settings.credentials else None
    return app_destination(url, region), find_app_key(options.env, file, url)


async def probe(url: str, key: AppKey, stop: Stop) -> None:
    """Ask the App API one question: whether it takes the key.

    Args:
        url: Where it is.
        key: The key.
        stop: Asks for an end.

    Raises:
        BackfillError: It does not, or does not answer; `AppApiReader` says which.
    """
    clock, loop = Clock(), asyncio.get_running_loop()
    time = Time(clock.now_s, asyncio.sleep, clock.jitter)
    async with open_app_api_reader(url, key, time) as workspace:

        def give_up(why: BackfillError) -> None:
            loop.call_soon_threadsafe(workspace.stop, why)

        with stop.heard_by(give_up):
            await workspace.probe()


def _begins(made: Collected, scope: Scope) -> str:
    """What is about to be asked, and how long that takes."""
    with connected() as files:
        see(files, made.files)
        ((people,),) = files.execute(_PEOPLE_OF_EVENTS).fetchall()
    requests = ceil(made.people / IDS_MAX) + ceil(made.deleted / IDS_MAX) + people
    of = f" of {scope.of_people:,}" if scope.of_people else ""
    some = f"{scope.people:,}{of}"
    recent = f"{made.events:,} events of the last {SHOWN_DAYS} days"
    cost = f"{counted(requests, 'request')}, {duration(requests / RATE)} at least"
    return f"verify: reading back {some} people, {recent}: {cost}"


@asynccontextmanager
async def _telling(findings: Findings, made: Collected, told: Told) -> AsyncIterator[None]:
    """Meanwhile, say now and then how far it has come."""
    total = made.people + made.deleted + made.events

    async def tell() -> None:
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            told(
                f"verify: {findings.checked:,} of {total:,} compared, {findings.differing:,} differ"
            )

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()


def kind_of_people(pipeline: Pipeline) -> str:
    """The kind of source that says who there is."""
    return "customers" if pipeline.has_customers else "events"


def remove(job: Job) -> None:
    """Remove the files of a verification."""
    with suppress(FileNotFoundError):
        shutil.rmtree(job.folder / FOLDER)


async def read_back(
    made: Collected,
    job: Job,
    workspace: WorkspaceReader,
    patience: Patience,
    findings: Findings,
    segments: Mapping[str, int] = NONE,
) -> None:
    """Ask the workspace for all that was collected, and note how it stands.

    Args:
        made: What was sent.
        job: Its journal knows what people were told last.
        workspace: Is asked.
        patience: How long answers may be behind.
        findings: Take what is found.
        segments: The segments that tell of older events, by the events' names.
    """
    catch_up(job.journal, job.pipeline, job.folder)
    cursors = frozenset(
        each.part for each in job.inputs if job.pipeline.sources[each.source].sync_mode == "cursor"
    )
    with open_snapshot(job.journal, job.folder) as snapshot:
        snapshot.see(made.files)
        removed = sum(
            each.delivered
            for index, each in counts_of(job).items()
            if job.pipeline.sources[index].kind in ("merges", "deletions")
        )
        # Of a part of the people nobody knows how many of these are among them.
        unknown = max(removed - made.deleted, 0) if made.whole else 0
        calls = CallTimes.of(job.journal.runs.all(), patience.sent_until_s)
        people = PeopleReader(workspace, patience, findings, calls, unknown)
        await each_of(in_requests(_people(snapshot, cursors)), people.check)
        await each_of(in_requests(_deleted(snapshot)), people.check)
        events = EventsReader(workspace, patience, findings)
        await each_of(by_person(_events(snapshot, job)), events.check)
        await read_older(workspace, segments, snapshot, made.folder, findings)


def _people(snapshot: Snapshot, cursors: frozenset[int]) -> Iterator[SentPerson]:
    for each in _rows(snapshot, _PEOPLE):
        each["attributes"] = members(each["attributes"])
        each["doubt"] = each["doubt"] or ("cursor" if each["part"] in cursors else "")
        yield SentPerson(**each)


def _deleted(snapshot: Snapshot) -> Iterator[SentPerson]:
    return (SentPerson(**each) for each in _rows(snapshot, _DELETIONS))


def _events(snapshot: Snapshot, job: Job) -> Iterator[SentEvent]:
    # The mark of an import stands beside what the row says: it is in no id.
    marks = {each.part: dict(job.pipeline.sources[each.source].mark) for each in job.inputs}
    # Of the deletions of earlier nights nothing is left but that the people are not there.
    deletes = any(
        each.kind == "customers" and each.sync.vanished == "delete" for each in job.pipeline.sources
    )
    for each in _rows(snapshot, _EVENTS, deletes):
        each["attributes"] = members(each["attributes"]) | marks.get(each["part"], {})
        yield SentEvent(**each)


def _rows(snapshot: Snapshot, query: str, *values: object) -> Iterator[dict[str, Any]]:
    for batch in snapshot.batches(query, list(values), STREAM_ROWS):
        yield from batch.to_pylist()
