"""What the service does with an operation: people come and go, events are kept once.

Everything here runs on one thread, in the order of arrival. Nothing is refused here: the service
answers 200 before it looks, and what cannot be done ends as `ignored`, `failed` or `skipped`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from backfill.sandbox.ledger import Ledger
from backfill.sandbox.operation import EVENT_KINDS, Operation
from backfill.sandbox.people import People, Person, guess_identifier
from backfill.sandbox.seen import Seen
from backfill.sandbox.settings import DAY_S, Settings
from backfill.sandbox.store import Arrival, Store

MERGED_EVENTS_S = 30 * DAY_S

Effect = tuple[str, Person | None]
"""What became of an operation, and of whom it was."""


class Workspace:
    """A Track API workspace.

    Args:
        store: Where it is kept.
        settings: How it behaves.
        clock: Gives now, in unix seconds.
    """

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], float]) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock
        self._changes: dict[str, Callable[[Operation, float], Effect]] = {
            "identify": self._identify,
            "delete": self._delete,
            "suppress": self._suppress,
            "unsuppress": self._unsuppress,
        }
        self._load()

    def _load(self) -> None:
        arrivals, people = self.store.last_number()
        self._arrivals = arrivals
        self.ledger: Ledger = self.store.ledger()
        self._people = People(self.store.people(), people)
        self._seen = Seen(self.settings.behaviour.dedupe_window_s)
        for event_ids, received_s in self.store.event_ids():
            self._seen.remember(event_ids, received_s)

    def apply(self, operations: Sequence[Operation], request: int) -> None:
        """Carry out what is valid and write down everything, in order."""
        now_s = self.clock()
        event_ids = [_id_that_counts(operation) for operation in operations]
        fresh = iter(self._seen.admit([event_id for event_id in event_ids if event_id], now_s))
        for operation, event_id in zip(operations, event_ids, strict=True):
            is_repeat = event_id is not None and not next(fresh)
            outcome, person = self._effect(operation, now_s, is_repeat=is_repeat)
            self._write_down(operation, request, now_s, outcome, person)
        if self.store.is_full:
            self.flush()

    def person(self, name: str) -> Person | None:
        """The active person of this id, e-mail or `cio_…`."""
        person = self._people.find("id", name) or self._people.find(*guess_identifier(name))
        return person if person and person.state == "active" else None

    def flush(self) -> None:
        """Bring everything to the store."""
        self.store.flush(list(self._people.changed.values()), self.ledger)
        self._people.changed.clear()

    def reset(self) -> None:
        """Forget everything; the environment id stays."""
        self.store.clear()
        self._load()

    def _effect(self, operation: Operation, now_s: float, *, is_repeat: bool) -> Effect:
        if operation.problems:
            return "rejected", None
        if operation.kind in EVENT_KINDS:
            return self._event(operation, now_s, is_repeat=is_repeat)
        return self._changes.get(operation.kind, self._keep)(operation, now_s)

    def _event(self, operation: Operation, now_s: float, *, is_repeat: bool) -> Effect:
        self.ledger.event_arrivals += 1
        self.ledger.timestamps_replaced += operation.replaced
        if is_repeat:
            self.ledger.duplicate_events += 1
            return "duplicate", self._find(operation)
        if operation.identifier in ("", "anonymous_id"):
            self.ledger.events += 1
            return "applied", None
        person = self._find(operation) or self._create(operation, now_s, bare=True)
        if person is None or person.state != "active":
            return "ignored", person
        person.events += 1
        self.ledger.events += 1
        return "applied", person

    def _identify(self, operation: Operation, now_s: float) -> Effect:
        attributes = operation.payload or {}
        person = self._find(operation)
        if person is None:
            person = self._named_in(attributes)
            if person is None:
                person = None if _updates_only(attributes) else self._create(operation, now_s)
            elif person.state == "active":
                self._people.rename(person, operation.identifier, operation.named)
        if person is None or person.state != "active":
            return "ignored", person
        if not self._rename(person, operation, attributes):
            return "failed", person
        at_s = operation.occurred_s if operation.occurred_s is not None else now_s
        if at_s < person.changed_s and self.settings.behaviour.old_identify == "skip":
            return "skipped", person
        person.bare = False
        person.changed_s = max(at_s, person.changed_s)
        self._people.touch(person)
        return "applied", person

    def _named_in(self, attributes: dict[str, Any]) -> Person | None:
        """The person whom an identifier among the attributes belongs to."""
        for identifier in ("id", "email"):
            named = attributes.get(identifier)
            if named not in (None, "") and (found := self._people.find(identifier, str(named))):
                return found
        return None

    def _rename(self, person: Person, operation: Operation, attributes: dict[str, Any]) -> bool:
        """Give the person the identifiers among the attributes; False if they are another's."""
        new: dict[str, str] = {}
        for identifier in ("id", "email", "phone"):
            named = attributes.get(identifier)
            if named in (None, ""):
                continue
            owner = self._people.find(identifier, str(named))
            if owner is not None and owner is not person:
                return False
            if str(named) != getattr(person, identifier):
                new[identifier] = str(named)
        for identifier, named in new.items():
            if self._may_rename(person, identifier, operation):
                self._people.rename(person, identifier, named)
        return True

    def _may_rename(self, person: Person, identifier: str, operation: Operation) -> bool:
        if getattr(person, identifier) is None or operation.identifier == "cio_id":
            return True
        return identifier == "phone" or (
            identifier == "email" and self.settings.behaviour.email_by_id
        )

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
        if operation.identifier in ("", "anonymous_id"):
            return "applied", None
        person = self._find(operation) or self._create(operation, now_s)
        if person is None or person.state != "active":
            return "ignored", person
        return "applied", person

    def _find(self, operation: Operation) -> Person | None:
        if operation.identifier in ("", "anonymous_id"):
            return None
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

    def _write_down(
        self,
        operation: Operation,
        request: int,
        now_s: float,
        outcome: str,
        person: Person | None,
    ) -> None:
        self._arrivals += 1
        self.ledger.operations += 1
        self.ledger.outcomes[outcome] += 1
        if operation.problems:
            self.ledger.rejected_operations += 1
        else:
            self.ledger.kinds[operation.kind] += 1
        payload = operation.payload
        self.store.append(
            Arrival(
                self._arrivals,
                request,
                now_s,
                operation.kind,
                outcome,
                person.number if person else None,
                operation.identifier,
                operation.named,
                operation.event_id,
                operation.name,
                now_s if operation.occurred_s is None else operation.occurred_s,
                operation.replaced,
                None if payload is None else orjson.dumps(payload).decode(),
                operation.body_hash,
                "; ".join(f"{p.field}: {p.message}" for p in operation.problems) or None,
            )
        )


def _id_that_counts(operation: Operation) -> str | None:
    """The id that takes part in telling repeats: that of a valid event."""
    return None if operation.problems else operation.event_id


def _updates_only(attributes: dict[str, Any]) -> bool:
    return attributes.get("_update") is True
