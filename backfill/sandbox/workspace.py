"""What the service does with an operation: people come and go, events are kept once.

Everything here runs on one thread, in the order of arrival. Nothing is refused here: the service
answers 200 before it looks, and what cannot be done ends as `ignored`, `failed` or `skipped`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from backfill.sandbox import listings
from backfill.sandbox.behaviour import DAY_S, Behaviour, SandboxSettings
from backfill.sandbox.dedupe import SeenEventIds
from backfill.sandbox.identities import People, Person, guess_identifier
from backfill.sandbox.operation import EVENT_KINDS, Operation, Problem, text_of
from backfill.sandbox.store import ARROW, Ledger, Store

HANDED_OVER_S = 30 * DAY_S

NOBODY = frozenset({"", "anonymous_id"})

Effect = tuple[str, Person | None]
"""What became of an operation, and of whom it was."""


class Workspace:
    """A Track API workspace.

    Args:
        store: Where it is kept.
        settings: How it behaves.
        clock: Gives now, in unix seconds.
    """

    def __init__(self, store: Store, settings: SandboxSettings, clock: Callable[[], float]) -> None:
        self.store = store
        self.settings = self._started_with = settings
        self.clock = clock
        self._changes: dict[str, Callable[[Operation, float], Effect]] = {
            "identify": self._identify,
            "delete": self._delete,
            "suppress": self._suppress,
            "unsuppress": self._unsuppress,
            "merge": self._merge,
            "add_customers": self._change_members,
            "remove_customers": self._change_members,
        }
        self._load()

    def _load(self) -> None:
        arrivals, people = self.store.last_number()
        self._arrivals = arrivals
        self.ledger: Ledger = self.store.ledger()
        self._people = People(self.store.people(), people)
        for anonymous_id, number in self.store.anonymous():
            self._people.meet(anonymous_id, number)
        self._later: list[Callable[[], None]] = []
        self._flushed: tuple[int, int, int] | None = None
        self._seen = SeenEventIds(self.settings.behaviour.dedupe_window_s)
        for event_ids, received_s in self.store.event_ids():
            self._seen.remember(event_ids, received_s)

    def apply(self, operations: Sequence[Operation], request: int) -> None:
        """Carry out what is valid and write down everything, in order."""
        now_s = self.clock()
        effects = self._effects(operations, now_s)
        told = dict(zip(Operation._fields, zip(*operations, strict=True), strict=True))
        outcomes, people = zip(*effects, strict=True)
        first, self._arrivals = self._arrivals + 1, self._arrivals + len(operations)
        columns = {
            **told,
            "arrival": range(first, first + len(operations)),
            "request": [request] * len(operations),
            "received_s": [now_s] * len(operations),
            "outcome": outcomes,
            "person": [person.number if person else None for person in people],
            "occurred_s": [now_s if s is None else s for s in told["occurred_s"]],
            "problem": [_sentence(some) if some else None for some in told["problems"]],
        }
        self._count(told["kind"], outcomes, told["replaced"])
        self.store.append([columns[name] for name in ARROW])
        if self.store.is_full or self._later:
            self.flush()
        while self._later:
            self._later.pop(0)()
            self._flushed = None

    def _effects(self, operations: Sequence[Operation], now_s: float) -> list[Effect]:
        """Carry out the valid operations; what became of each."""
        event_ids = [None if o.problems else o.event_id for o in operations]
        fresh = iter(self._seen.admit([event_id for event_id in event_ids if event_id], now_s))
        is_repeat = [event_id is not None and not next(fresh) for event_id in event_ids]
        return [
            self._effect(operation, now_s, is_repeat=repeat)
            for operation, repeat in zip(operations, is_repeat, strict=True)
        ]

    def person(self, name: str) -> Person | None:
        """The active person of this id, e-mail or `cio_…`."""
        person = self._people.find("id", name) or self._people.find(*guess_identifier(name))
        return person if person and person.state == "active" else None

    def flush(self) -> None:
        """Bring everything to the store, if there is anything new."""
        mark = (self.ledger.requests, self.ledger.operations, self.ledger.bytes)
        if mark == self._flushed:
            return
        self.store.flush(list(self._people.changed.values()), self.ledger)
        self._people.changed.clear()
        self._flushed = mark

    def behave(self, behaviour: Behaviour) -> None:
        """Set the switches, until the next reset."""
        self.settings = replace(self.settings, behaviour=behaviour)
        self._seen.window_s = behaviour.dedupe_window_s

    def reset(self) -> None:
        """Forget everything, and behave as at the start; the environment id stays."""
        self.settings = self._started_with
        self.store.clear()
        self._load()

    def _effect(self, operation: Operation, now_s: float, *, is_repeat: bool) -> Effect:
        if operation.problems:
            return "rejected", None
        if operation.kind in EVENT_KINDS:
            return self._event(operation, now_s, is_repeat=is_repeat)
        return self._changes.get(operation.kind, self._keep)(operation, now_s)

    def _event(self, operation: Operation, now_s: float, *, is_repeat: bool) -> Effect:
        person = self._people.find(operation.identifier, operation.named)
        if is_repeat:
            return "duplicate", person
        if person is None:
            if operation.identifier in NOBODY:
                self._people.meet(operation.named)
                return "applied", None
            person = self._create(operation, now_s, bare=True)
        if person is None or person.state != "active":
            return "ignored", person
        person.events += 1
        return "applied", person

    def _identify(self, operation: Operation, now_s: float) -> Effect:
        attributes: dict[str, Any] = operation.extra
        person = self._find(operation)
        if person is None:
            person = self._people.named_in(attributes)
            if person is None:
                updates_only = attributes.get("_update") is True
                person = None if updates_only else self._create(operation, now_s)
            elif person.state == "active" and operation.identifier != "cio_id":
                self._people.rename(person, operation.identifier, operation.named)
        if person is None or person.state != "active":
            return "ignored", person
        if not self._people.take_names(person, attributes, self._changeable(operation)):
            return "failed", person
        at_s = now_s if operation.occurred_s is None else operation.occurred_s
        if at_s < person.changed_s and self.settings.behaviour.old_identify == "skip":
            return "skipped", person
        person.bare = False
        person.changed_s = max(at_s, person.changed_s)
        self._people.touch(person)
        self._recognise(person, attributes.get("anonymous_id"), now_s)
        return "applied", person

    def _changeable(self, operation: Operation) -> tuple[str, ...]:
        """The identifiers of a person that this call may change once they are set."""
        if operation.identifier == "cio_id":
            return ("id", "email", "phone")
        return ("email", "phone") if self.settings.behaviour.email_by_id else ("phone",)

    def _recognise(self, person: Person, anonymous_id: Any, now_s: float) -> None:
        """The person turns out to be someone anonymous, whose late events are now theirs."""
        if not isinstance(anonymous_id, str) or not anonymous_id:
            return
        if self._people.has_met(anonymous_id):
            since_s = now_s - HANDED_OVER_S
            self._later.append(
                lambda: self._receive(
                    person, _adopt(self.store, anonymous_id, person.number, since_s)
                )
            )
        self._people.meet(anonymous_id, person.number)

    def _receive(self, person: Person, events: int) -> None:
        person.events += events

    def _merge(self, operation: Operation, now_s: float) -> Effect:
        primary, secondary = self._find(operation), self._people.find(*operation.extra)
        if primary is None or secondary is None or primary is secondary:
            return "ignored", primary
        if not primary.state == secondary.state == "active":
            return "ignored", primary
        names = {"email": secondary.email, "id": secondary.id, "phone": secondary.phone}
        self._leave(secondary)
        self._people.remove(secondary, "deleted")
        self._people.take_names(primary, names, ())
        self._people.touch(primary)

        def hand_over() -> None:
            since_s = now_s - HANDED_OVER_S
            events = _hand_over(self.store, primary.number, secondary.number, since_s)
            primary.events += events
            self.ledger.events += events

        self._later.append(hand_over)
        return "applied", primary

    def _change_members(self, operation: Operation, _now_s: float) -> Effect:
        identifier, names = operation.extra
        found = [self._people.find(identifier, str(name)) for name in names]
        people = [person.number for person in found if person and person.state == "active"]
        segment, add = int(operation.name or 0), operation.kind == "add_customers"
        self._later.append(lambda: _set_members(self.store, segment, people, add=add))
        return "applied", None

    def _delete(self, operation: Operation, _now_s: float) -> Effect:
        person = self._find(operation)
        if person is None or person.state != "active":
            return "ignored", person
        self._leave(person)
        self._people.remove(person, "deleted")
        return "applied", person

    def _suppress(self, operation: Operation, now_s: float) -> Effect:
        person = self._find(operation)
        if person is None:
            person = self._create(operation, now_s)
        if person is None or person.state != "active":
            return "ignored", person
        self._leave(person)
        self._people.remove(person, "suppressed")
        return "applied", person

    def _unsuppress(self, operation: Operation, _now_s: float) -> Effect:
        person = self._find(operation)
        if person is None or person.state != "suppressed":
            return "ignored", person
        self._people.remove(person, "deleted")
        return "applied", person

    def _keep(self, operation: Operation, now_s: float) -> Effect:
        """A device, a relationship, a form: written down, and its person made if need be."""
        if operation.identifier in NOBODY:
            return "applied", None
        person = self._find(operation) or self._create(operation, now_s)
        if person is None or person.state != "active":
            return "ignored", person
        return "applied", person

    def _find(self, operation: Operation) -> Person | None:
        return self._people.find(operation.identifier, operation.named)

    def _create(self, operation: Operation, now_s: float, *, bare: bool = False) -> Person | None:
        if operation.identifier == "cio_id":
            return None  # the service makes those itself: an unknown one is a deleted person
        self.ledger.people += 1
        self.ledger.bare_people += bare
        return self._people.add(operation.identifier, operation.named, now_s, bare=bare)

    def _leave(self, person: Person) -> None:
        self.ledger.people -= 1
        self.ledger.events -= person.events

    def _count(
        self, kinds: Sequence[str], outcomes: Sequence[str], replaced: Sequence[bool]
    ) -> None:
        """Bring the counters up to date that follow from what became of each operation."""
        ledger = self.ledger
        ledger.operations += len(kinds)
        for (kind, outcome, was_replaced), count in Counter(
            zip(kinds, outcomes, replaced, strict=True)
        ).items():
            ledger.outcomes[outcome] += count
            if outcome == "rejected":
                ledger.rejected_operations += count
                continue
            ledger.kinds[kind] += count
            if kind in EVENT_KINDS:
                ledger.event_arrivals += count
                ledger.duplicate_events += count * (outcome == "duplicate")
                ledger.events += count * (outcome == "applied")
                ledger.timestamps_replaced += count * was_replaced


def _sentence(problems: tuple[Problem, ...]) -> str:
    return "; ".join(f"{p.field}: {p.message}" for p in problems)


def _hand_over(store: Store, primary: int, secondary: int, since_s: float) -> int:
    """Give the attributes and the later events of one person to another.

    The attributes become older than any of the primary's own, so that only missing ones show.

    Returns:
        How many events have passed over.
    """
    attributes = listings.attributes(store, secondary - 1, secondary).get(secondary, {})
    store.write("INSERT INTO inherited VALUES (?, ?)", [primary, text_of(attributes)])
    return store.write(
        "UPDATE arrivals SET person = ? WHERE arrival IN"
        " (SELECT arrival FROM events WHERE person = ? AND occurred_s >= ?)",
        [primary, secondary, since_s],
    )


def _adopt(store: Store, anonymous_id: str, person: int, since_s: float) -> int:
    """Give the events of someone anonymous to a person.

    Returns:
        How many events that are.
    """
    return store.write(
        "UPDATE arrivals SET person = ? WHERE arrival IN (SELECT arrival FROM events"
        " WHERE person IS NULL AND identifier = 'anonymous_id' AND named = ? AND occurred_s >= ?)",
        [person, anonymous_id, since_s],
    )


def _set_members(store: Store, segment: int, people: Sequence[int], *, add: bool) -> None:
    """Put people into a manual segment, or take them out."""
    store.write(
        "DELETE FROM memberships WHERE segment = ? AND person IN (SELECT unnest(?::BIGINT[]))",
        [segment, list(people)],
    )
    if add:
        store.write(
            "INSERT INTO memberships SELECT ?, unnest(?::BIGINT[])", [segment, list(people)]
        )
