"""What was sent against what the workspace says now: people, the deleted, recent events.

Answers may be seconds behind what was accepted: whoever is not there as sent is asked for again,
as long as that can be the cause.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any, Protocol, TypeVar

import orjson

from backfill.delivery.app_api_reader import IDS_MAX
from backfill.delivery.pacing import Time
from backfill.errors import BackfillError
from backfill.journal import Run
from backfill.report.wording import unix_of
from backfill.verification.findings import Findings, KindChecked, Subject
from backfill.verification.values import Difference, differences

Given = TypeVar("Given")

AT_ONCE = 16
"""Questions under way: with ten a second, answers may take a second and a half."""

KILLED_MARGIN_S = 3.0
"""A killed call may have sent so much longer than its course shows, which is noted each 2 s."""

FIRST_PAUSE_S = 1.0
"""Before the first repetition; then it doubles."""


class WorkspaceReader(Protocol):
    """Answers questions about people; see `backfill.delivery.app_api_reader`."""

    async def customers(self, id_type: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        """The people with these identifiers."""

    async def activities(
        self, id_type: str, person: str, kind: str, start: str
    ) -> tuple[list[dict[str, Any]], str]:
        """A page of what a person did, and where the next one begins."""

    async def segments(self) -> list[dict[str, Any]]:
        """The segments of the workspace."""

    async def members(self, segment: int, start: str) -> tuple[list[dict[str, Any]], str]:
        """A page of who is in one, and where the next page begins."""


@dataclass(frozen=True, slots=True)
class SentPerson:
    """A person who was told something, or deleted.

    Args:
        type: The type of the identifier.
        identifier: It, as it was sent.
        key: It, as people are told apart by it.
        part: The part of the row that brought it.
        row: That row.
        attributes: What was sent; None: the person was deleted.
        doubt: Why it need not be what was sent last; empty: it is.
        first_run: The first of the calls by which the person was told that; None: unknown.
        last_run: The last of them.
        merged: Whether a merge took the person away.
    """

    type: str
    identifier: str
    key: str
    part: int
    row: int
    attributes: Mapping[str, Any] | None = None
    doubt: str = ""
    first_run: int | None = None
    last_run: int | None = None
    merged: bool = False

    @property
    def subject(self) -> Subject:
        """As findings name it."""
        gone: KindChecked = "merges" if self.merged else "deletions"
        kind: KindChecked = gone if self.attributes is None else "people"
        return Subject(kind, self.identifier, self.part, self.row)


@dataclass(frozen=True, slots=True)
class SentEvent:
    """A recent event that was sent; the fields are those of `backfill.verification.sent.EVENTS`."""

    type: str
    identifier: str
    key: str
    part: int
    row: int
    id: str
    kind: str
    name: str
    second: int
    attributes: Mapping[str, Any]
    doubt: str = ""

    @property
    def subject(self) -> Subject:
        """As findings name it."""
        return Subject("events", self.identifier, self.part, self.row)


@dataclass(slots=True)
class Patience:
    """How long answers may be behind.

    Args:
        time: The clock.
        until_s: Until when, by that clock, what is not there as sent is asked for again.
        sent_until_s: When the last request was sent, as unix seconds.
    """

    time: Time
    until_s: float
    sent_until_s: float

    async def asked_again(self, left: int, times: int) -> bool:
        """Wait a little, where `left` are not as sent; False: that is how it is."""
        rest_s = self.until_s - self.time.now_s()
        if not left or rest_s <= 0:
            return False
        await self.time.sleep(min(FIRST_PAUSE_S * 2**times, rest_s))
        return True


@dataclass(frozen=True, slots=True)
class CallTimes:
    """When the calls of a job sent: what was written at other times, somebody else has written.

    Args:
        spans: When each began and ended, as unix seconds, by its number.
    """

    spans: Mapping[int, tuple[float, float]]

    @classmethod
    def of(cls, runs: Sequence[Run], sent_until_s: float) -> "CallTimes":
        """Those that the journal remembers.

        Args:
            runs: They; the last one may not have ended.
            sent_until_s: When the last one sent its last request.
        """
        *before, last = [(each.id, unix_of(each.started_at)) for each in runs] or [(0, 0.0)]
        ends = {each.id: ended_s(each) for each in runs[:-1]}
        spans = {number: (began_s, ends[number]) for number, began_s in before}
        return cls({**spans, last[0]: (last[1], sent_until_s)})

    def is_others(self, at_s: float, person: SentPerson) -> bool:
        """Whether a field was written then by somebody else, after the person was told of it.

        Times are whole seconds: of the one in which an earlier call ended nobody can tell.
        """
        first, last = person.first_run, person.last_run
        told = [each for each in self.spans if (first or each) <= each <= (last or each)]
        if not told:  # by a call that is forgotten by now: all others came later
            return at_s >= self.spans[min(self.spans)][0]
        ended_s = self.spans[told[-1]][1]
        is_newest = told[-1] == max(self.spans)
        if at_s > ended_s + 1 if is_newest else at_s >= ended_s:
            return True
        return any(self.spans[a][1] <= at_s <= self.spans[b][0] for a, b in pairwise(told))


def ended_s(run: Run) -> float:
    """When a call ended, as unix seconds; of a killed one what its course shows, and a little."""
    if run.finished_at:
        return unix_of(run.finished_at)
    took_s = (run.summary or {}).get("this_run", {}).get("seconds", 0.0)
    return unix_of(run.started_at) + float(took_s) + KILLED_MARGIN_S


async def each_of(some: Iterable[Given], check: Callable[[Given], Awaitable[None]]) -> None:
    """Check all of them, some at a time.

    Raises:
        BackfillError: What the first of them raised that failed.
    """
    items = iter(some)

    async def worker() -> None:
        for item in items:
            await check(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(worker())
    except BaseExceptionGroup as failed:
        ours = failed.subgroup(BackfillError)
        raise (ours or failed).exceptions[0] from None


def in_requests(people: Iterable[SentPerson]) -> Iterator[list[SentPerson]]:
    """People as they are asked for: a hundred at a time, those of one type of identifier."""
    waiting: dict[str, list[SentPerson]] = defaultdict(list)
    for each in people:
        some = waiting[each.type]
        some.append(each)
        if len(some) == IDS_MAX:
            yield some
            del waiting[each.type]
    yield from waiting.values()


@dataclass(slots=True)
class PeopleReader:
    """Holds people against what the workspace says of them.

    Args:
        workspace: Is asked.
        patience: How long answers may be behind.
        findings: Take what is found.
        calls: When the job sent.
        removed_by_retry: So many people were deleted or merged, and nobody can tell who they are.
    """

    workspace: WorkspaceReader
    patience: Patience
    findings: Findings
    calls: CallTimes
    removed_by_retry: int = 0

    async def check(self, people: list[SentPerson]) -> None:
        """Check up to a hundred people of one type of identifier."""
        left, times = people, 0
        while True:
            found = await self._found(left)
            left = [each for each in left if not self._is_as_sent(each, found.get(each.key, ()))]
            if not await self.patience.asked_again(len(left), times):
                break
            times += 1
        for each in left:
            self._note(each, found.get(each.key, ()))

    async def _found(self, people: list[SentPerson]) -> dict[str, list[dict[str, Any]]]:
        """What the workspace says, by the key of whom it was asked for."""
        type_ = people[0].type
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for each in await self.workspace.customers(type_, [who.identifier for who in people]):
            name = str(_object(each.get("identifiers")).get(type_) or each.get(type_) or "")
            found[name.lower() if type_ == "email" else name].append(each)
        return found

    def _is_as_sent(self, person: SentPerson, found: Sequence[dict[str, Any]]) -> bool:
        if person.attributes is None:
            is_so = not found
        else:
            sent = person.attributes
            is_so = any(next(differences(sent, values_of(each)), None) is None for each in found)
        if is_so:
            self.findings.equal(person.subject.kind)
        return is_so

    def _note(self, person: SentPerson, found: Sequence[dict[str, Any]]) -> None:
        """Say what is wrong with somebody who is not there as sent, however often it was asked."""
        subject = person.subject
        if person.attributes is None:
            if person.doubt:
                self.findings.unprovable(subject, person.doubt)
            else:
                self.findings.still_there(subject)
            return
        if not found:
            if person.doubt:
                self.findings.unprovable(subject, person.doubt)
            elif self.removed_by_retry:
                self.removed_by_retry -= 1
                self.findings.unprovable(subject, "removed_by_retry")
            else:
                self.findings.missing(subject)
            return
        # One address may be that of several people: the one who is most alike is meant.
        fields, customer = min(
            ((list(differences(person.attributes, values_of(each))), each) for each in found),
            key=lambda each: len(each[0]),
        )
        if person.doubt:
            self.findings.unprovable(subject, person.doubt, fields)
        elif self._is_written_later(person, fields, customer):
            self.findings.unprovable(subject, "later_writer", fields)
        else:
            self.findings.differs(subject, fields)

    def _is_written_later(
        self, person: SentPerson, fields: list[Difference], customer: dict[str, Any]
    ) -> bool:
        """Whether somebody else has written every field that differs since the person was told."""
        written = _object(customer.get("timestamps"))
        return all(
            isinstance(at := written.get(each.field), int | float)
            and self.calls.is_others(at, person)
            for each in fields
        )


def values_of(customer: dict[str, Any]) -> dict[str, Any]:
    """The attributes of somebody, as `List customers and attributes` gives them."""
    attributes = dict(_object(customer.get("attributes")))
    # It stands beside the attributes, too, and there even where nobody has set it.
    attributes.setdefault("unsubscribed", customer.get("unsubscribed"))
    return attributes


@dataclass(slots=True)
class EventsReader:
    """Holds the recent events of people against their activities."""

    workspace: WorkspaceReader
    patience: Patience
    findings: Findings

    async def check(self, events: list[SentEvent]) -> None:
        """Check the events of one kind of one person."""
        times = 0
        while True:
            differing = _matched(events, await self._found(events))
            if not await self.patience.asked_again(len(differing), times):
                break
            times += 1
        for _ in range(len(events) - len(differing)):
            self.findings.equal("events")
        for event, fields in differing:
            if event.doubt:
                self.findings.unprovable(event.subject, event.doubt, fields or ())
            elif fields is None:
                self.findings.missing(event.subject, f"{event.name} ({event.id})")
            else:
                self.findings.differs(event.subject, fields)

    async def _found(self, events: list[SentEvent]) -> dict[tuple[str, int], list[dict[str, Any]]]:
        """What the person did in these seconds, by name and second."""
        wanted = {(each.name, each.second) for each in events}
        oldest = min(each.second for each in events)
        found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
        first, start = events[0], ""
        while True:
            before = start
            page, start = await self.workspace.activities(
                first.type, first.identifier, first.kind, start
            )
            for each in page:
                place = str(each.get("name")), _second(each)
                if place in wanted:
                    found[place].append(each)
            # The newest come first: behind the oldest that is asked for there is nothing to find.
            if start in ("", before) or not page or _second(page[-1]) < oldest:
                return found


def _matched(
    events: list[SentEvent], found: Mapping[tuple[str, int], list[dict[str, Any]]]
) -> list[tuple[SentEvent, list[Difference] | None]]:
    """The events that are not there as sent, with their differences; None: not there at all.

    An activity proves one event only, also where two are alike: first those are told by their id,
    then those that say the same, then the others of the same name and second.
    """
    tests: tuple[Callable[[SentEvent, dict[str, Any]], bool], ...] = (
        lambda event, there: there.get("id") == event.id,
        lambda event, there: not _event_differs(event, there),
        lambda *_: True,
    )
    rest, differing = events, list[tuple[SentEvent, list[Difference] | None]]()
    for is_it in tests:
        left = []
        for event in rest:
            places = found.get((event.name, event.second), [])
            there = next((each for each in places if is_it(event, each)), None)
            if there is None:
                left.append(event)
                continue
            places.remove(there)
            if fields := _event_differs(event, there):
                differing.append((event, fields))
        rest = left
    return [*((event, None) for event in rest), *differing]


def _event_differs(event: SentEvent, activity: dict[str, Any]) -> list[Difference]:
    return list(differences(event.attributes, _object(activity.get("data"))))


def _object(value: Any) -> dict[str, Any]:
    """A member of an answer that should be an object; else it says nothing."""
    return value if isinstance(value, dict) else {}


def _second(activity: dict[str, Any]) -> int:
    """When it happened, as unix seconds; 0 where it does not say."""
    at = activity.get("timestamp")
    return int(at) if isinstance(at, int | float) else 0


def by_person(events: Iterable[SentEvent]) -> Iterator[list[SentEvent]]:
    """Events that stand together, those of one kind of one person at a time."""
    for _, some in groupby(events, key=attrgetter("type", "key", "kind")):
        yield list(some)


def members(text: str) -> dict[str, Any]:
    """JSON members without braces, as values."""
    found: dict[str, Any] = orjson.loads(f"{{{text}}}")
    return found
