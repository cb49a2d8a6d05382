"""What the service does with an operation: people come and go, events are kept once.

Everything here runs on one thread, in the order of arrival. Nothing is refused here: the service
answers 200 before it looks, and what cannot be done ends as `ignored`, `failed` or `skipped`.
What is done follows from the operations, their time and the switches alone, so that a log of
them brings the same workspace back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from backfill.sandbox import handover, listings
from backfill.sandbox.behaviour import DAY_S, Behaviour, SandboxSettings
from backfill.sandbox.dedupe import SeenEventIds
from backfill.sandbox.identities import RECOGNISED_FOR_S, People, Person, guess_identifier
from backfill.sandbox.ledger import Ledger
from backfill.sandbox.operation import (
    EVENT_KINDS,
    Effect,
    Operation,
    OperationBatch,
    Problem,
    restored_operation,
    text_of,
)
from backfill.sandbox.store import ARRIVAL_COLUMNS, PendingWrites, Statement, Store
from backfill.sandbox.validation import ATTRIBUTES_MAX, counted

MERGED_SINCE_S = 30 * DAY_S
VISITOR_KEPT_S = 30 * DAY_S
"""How long events of an anonymous id wait for their person, from their arrival (OAS, `/events`)."""


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
        self._ways: dict[str, Callable[[Operation, OperationBatch], Effect]] = {
            "identify": self._identify,
            "form": self._identify,
            "delete": self._delete,
            "suppress": self._suppress,
            "unsuppress": self._unsuppress,
            "merge": self._merge,
            "add_customers": self._change_members,
            "remove_customers": self._change_members,
            "add_device": self._add_device,
            "delete_device": self._of_a_person,
            "add_relationships": self._of_a_new_person,
            "delete_relationships": self._of_a_person,
        }
        self._load()

    def _load(self) -> None:
        """Take up what the store knows, then what only its log knows."""
        self.ledger: Ledger = self.store.ledger()
        self._people = People(self.store.people(), self.store.visitors())
        self._arrivals = self.store.last_arrival()
        self._statements: list[Statement] = []
        self._flushed: tuple[int, int, int] | None = None
        self._seen = SeenEventIds(self.settings.behaviour.dedupe_window_s)
        for event_ids, received_s in self.store.event_ids():
            self._seen.remember(event_ids, received_s)
        stored = self._arrivals
        for record in self.store.logged():
            requests, received, request, now_s, switches, first, operations = record
            self.ledger.requests = max(self.ledger.requests, requests)
            self.ledger.bytes = max(self.ledger.bytes, received)
            new = operations[max(0, stored + 1 - first) :]  # the first may be in the tables
            if new:
                self.behave(Behaviour(**switches))
                self._carry_out([restored_operation(each) for each in new], request, now_s)
        self.behave(self._started_with.behaviour)
        self.flush()

    def apply(self, operations: Sequence[Operation], request: int) -> None:
        """Carry out what is valid and write down everything, in order.

        Once this returns, a SIGKILL loses nothing of it.

        Raises:
            StateError: It cannot be written down.
        """
        now_s, ledger = self.clock(), self.ledger
        first = self._arrivals + 1
        # before anything is done: what cannot be kept is not answered 200
        self.store.log(
            [ledger.requests, ledger.bytes, request, now_s, self._switches, first, operations]
        )
        self._carry_out(operations, request, now_s)
        if self.store.is_full:
            self.flush()

    def _carry_out(self, operations: Sequence[Operation], request: int, now_s: float) -> None:
        batch = OperationBatch(operations, request, now_s, self._arrivals + 1)
        event_ids = [None if o.problems or o.is_lost else o.event_id for o in operations]
        # all ids of a batch at once: the search in sorted runs is numpy's
        fresh = iter(self._seen.admit([event_id for event_id in event_ids if event_id], now_s))
        for operation, event_id in zip(operations, event_ids, strict=True):
            if operation.problems:
                effect = Effect("rejected")
            elif operation.is_lost:
                effect = Effect("skipped", note="lost by a fault of the sandbox")
            elif operation.kind in EVENT_KINDS:
                is_repeat = event_id is not None and not next(fresh)
                effect = self._event(operation, batch, is_repeat=is_repeat)
            else:
                effect = self._ways.get(operation.kind, self._of_nobody)(operation, batch)
            if operation.links and effect.outcome == "applied":
                effect = effect._replace(links=tuple(self._links(operation, effect, batch)))
            batch.effects.append(effect)
        self._write_down(batch)

    def _write_down(self, batch: OperationBatch) -> None:
        """Hand what is done of a batch to the store's buffer."""
        start, end = batch.written, len(batch.effects)
        if start == end:
            return
        operations, effects = batch.operations[start:end], batch.effects[start:]
        batch.written = end
        self._arrivals = batch.first + end - 1
        told = dict(zip(Operation._fields, zip(*operations, strict=True), strict=True))
        outcomes, people, notes, payloads, changed = zip(*effects, strict=True)
        arrivals = range(batch.first + start, batch.first + end)
        columns = {
            **told,
            "arrival": arrivals,
            "request": [batch.request] * len(effects),
            "received_s": [batch.now_s] * len(effects),
            "outcome": outcomes,
            "person": [person.number if person else None for person in people],
            "occurred_s": [batch.now_s if s is None else s for s in told["occurred_s"]],
            "payload": [
                own if other is None else other
                for own, other in zip(told["payload"], payloads, strict=True)
            ],
            "problem": [
                _sentence(problems) if problems else note
                for problems, note in zip(told["problems"], notes, strict=True)
            ],
        }
        self.ledger.count(told["kind"], outcomes, told["replaced"])
        links = [
            (arrival, *link)
            for arrival, some in zip(arrivals, changed, strict=True)
            for link in some
        ]
        self.store.append([columns[name] for name in ARRIVAL_COLUMNS], links)

    def _links(
        self, operation: Operation, effect: Effect, batch: OperationBatch
    ) -> Iterator[tuple[bool, str, int | None, str | None, str | None]]:
        """The relationships of an operation, the people in them by their numbers.

        One whose person is not there is left out: whether the service makes such a person is not
        documented.
        """
        for link in operation.links:
            person, anonymous_id = effect.person, None
            if link.identifier == "anonymous_id":
                visitor = self._people.visitor(link.named)
                person = self._people.person_of(visitor, batch.now_s)
                if person is None:
                    visitor.waiting, anonymous_id = True, link.named
            elif link.identifier:
                person = self._people.find(link.identifier, link.named)
            number = person.number if person and person.state == "active" else None
            if number is not None or anonymous_id is not None:
                payload = None if link.attributes is None else text_of(link.attributes)
                yield link.added, link.thing, number, anonymous_id, payload

    def find(self, identifier: str, named: str) -> Person | None:
        """The active person whom an identifier of this type names."""
        person = self._people.find(identifier, named)
        return person if person and person.state == "active" else None

    def person(self, name: str) -> Person | None:
        """The active person of this id, e-mail or `cio_…`."""
        person = self._people.find("id", name) or self._people.find(*guess_identifier(name))
        return person if person and person.state == "active" else None

    def flush(self) -> None:
        """Bring everything to the tables, if there is anything new.

        Raises:
            StateError: It cannot be written; it goes on waiting.
        """
        mark = (self.ledger.requests, self.ledger.operations, self.ledger.bytes)
        # whoever looks at the page asks every two seconds, mostly for nothing new
        if mark != self._flushed:
            self._flush_tables()
            self.store.forget_log()
            self._flushed = mark

    def _flush_tables(self) -> None:
        """The same in the middle of a request, which stays in the log until it is done."""
        people, visitors = self._people.changed, self._people.changed_visitors
        self.store.flush(
            PendingWrites(
                list(people.values()), list(visitors.values()), self._statements, self.ledger
            )
        )
        people.clear()
        visitors.clear()
        self._statements.clear()

    def _bring_up_to_date(self, batch: OperationBatch) -> None:
        """Let the tables know all that was done up to now, so that they can be asked."""
        self._write_down(batch)
        self._flush_tables()

    def behave(self, behaviour: Behaviour) -> None:
        """Set the switches, until the next reset or start."""
        self.settings = replace(self.settings, behaviour=behaviour)
        self._switches = asdict(behaviour)
        self._seen.window_s = behaviour.dedupe_window_s

    def reset(self) -> None:
        """Forget everything, and behave as at the start; the environment id stays."""
        # switches belong to the test that set them
        self.settings = self._started_with
        self.store.clear()
        self._load()

    def _event(self, operation: Operation, batch: OperationBatch, *, is_repeat: bool) -> Effect:
        if operation.identifier == "anonymous_id":
            visitor = self._people.visitor(operation.named)
            person = self._people.person_of(visitor, batch.now_s)
            if person is None and not is_repeat:
                visitor.waiting = True
                return Effect("applied")
        else:
            person = self._find(operation)
        # a repeat is counted for whom it was, and changes nothing
        if is_repeat:
            return Effect("duplicate", person)
        if person is None:
            if not operation.identifier:
                return Effect("applied")  # an invite event: for whom `data.recipient` names
            person = self._create(operation, batch, {}, bare=True)
        if person is None or person.state != "active":
            return Effect("ignored", person)
        person.events += 1
        return Effect("applied", person)

    def _identify(self, operation: Operation, batch: OperationBatch) -> Effect:
        attributes: dict[str, Any] = operation.extra
        if self._asks_the_tables(operation):
            self._bring_up_to_date(batch)
        person = self._identified(operation, batch)
        if person is None or person.state != "active":
            return Effect("ignored", person)
        person = self._merge_if_due(person, operation, batch)
        at_s = batch.now_s if operation.occurred_s is None else operation.occurred_s
        # before the names are taken: a skipped identify changes nothing at all
        if at_s < person.changed_s and self.settings.behaviour.old_identify == "skip":
            return Effect("skipped", person)
        if not self._has_room(person, attributes):
            return Effect("failed", person, f"a person has at most {ATTRIBUTES_MAX} attributes")
        refused = self._people.take_names(person, attributes, self._changeable(operation))
        person.bare = False
        person.changed_s = max(at_s, person.changed_s)
        self._people.touch(person)
        self._recognise(person, attributes.get("anonymous_id"), batch)
        if not refused:
            return Effect("applied", person)
        self.ledger.failed_identifiers += 1
        rest = {name: value for name, value in attributes.items() if name not in refused}
        note = f"{', '.join(sorted(refused))}: another person's, or set and not changeable so"
        return Effect("applied", person, note, text_of(rest))

    def _asks_the_tables(self, operation: Operation) -> bool:
        """Whether carrying out an identify may need to ask the tables.

        They are brought up to date before it changes anything: what half an operation did must
        not be stored, since after a kill the log does all of it again.
        """
        attributes: dict[str, Any] = operation.extra
        anonymous_id = attributes.get("anonymous_id")
        if isinstance(anonymous_id, str) and self._people.is_waiting(anonymous_id):
            return True
        by_id, by_email = self._named_people(operation)
        for person in (by_id, by_email, self._find(operation)):
            if person and person.attributes_max + counted(attributes) > ATTRIBUTES_MAX:
                return True
        return by_id is not None and by_email is not None and by_id is not by_email

    def _named_people(self, operation: Operation) -> tuple[Person | None, Person | None]:
        """Whom the id and whom the e-mail of an identify belong to, wherever they stand in it."""
        given: Mapping[str, Any] = {**operation.extra, operation.identifier: operation.named}
        id_, email = given.get("id"), given.get("email")
        return (
            self._people.find("id", str(id_)) if id_ else None,
            self._people.find("email", str(email)) if email else None,
        )

    def _identified(self, operation: Operation, batch: OperationBatch) -> Person | None:
        """Whom an identify is about: known by one of its identifiers, or new."""
        attributes: dict[str, Any] = operation.extra
        person = self._find(operation)
        if person is not None:
            return person
        person = self._people.named_in(attributes)
        if person is None:
            # the text "true" is what form-encoded bodies have for it
            updates_only = attributes.get("_update") in (True, "true")
            return None if updates_only else self._create(operation, batch, attributes)
        # the service's surprise: a new id with a known e-mail rewrites that person
        if person.state == "active" and operation.identifier != "cio_id":
            self._people.rename(person, operation.identifier, operation.named)
        return person

    def _merge_if_due(self, person: Person, operation: Operation, batch: OperationBatch) -> Person:
        """The person of an identify, merged first where its id and its e-mail are two people's.

        Source: release notes of 2021-10-05 and community answer 367: merged where the one has no
        e-mail and the other no id, into the older of them; on in workspaces made since 2021-09-24.
        """
        with_id, with_email = self._named_people(operation)
        if with_id is None or with_email is None or with_id is with_email:
            return person
        if with_id.state != "active" or with_email.state != "active":
            return person
        is_due = with_id.email is None and with_email.id is None
        if person not in (with_id, with_email) or not is_due:
            return person
        if not self.settings.behaviour.automatic_merge:
            return person
        # two of the same second: the one who came first
        older, younger = sorted((with_id, with_email), key=lambda p: (p.since_s, p.number))
        self._unite(older, younger, batch)
        return older

    def _changeable(self, operation: Operation) -> tuple[str, ...]:
        """The identifiers of a person that this call may change once they are set (OAS)."""
        if operation.identifier == "cio_id":
            return ("id", "email", "phone")
        return ("email", "phone") if self.settings.behaviour.email_by_id else ("phone",)

    def _has_room(self, person: Person, attributes: Mapping[str, Any]) -> bool:
        """Whether the person keeps within the limit of attributes (OAS: 300 a person)."""
        # an upper bound costs no query; names that come again are counted twice
        person.attributes_max += counted(attributes)
        if person.attributes_max <= ATTRIBUTES_MAX:
            return True
        kept = listings.attributes(self.store, person.number)
        before = counted(kept)
        listings.fold(kept, attributes)
        person.attributes_max = after = counted(kept)
        if after <= ATTRIBUTES_MAX:
            return True
        person.attributes_max = before
        return False

    def _recognise(self, person: Person, anonymous_id: Any, batch: OperationBatch) -> None:
        """The person turns out to be a visitor, whose late events are now theirs."""
        if not isinstance(anonymous_id, str) or not anonymous_id:
            return
        visitor = self._people.visitor(anonymous_id)
        if visitor.waiting:
            since_s = batch.now_s - VISITOR_KEPT_S
            handed = handover.adopted(
                self.store, anonymous_id, person.number, since_s, batch.arrival
            )
            person.events += handed.events
            self._statements += handed.statements
        visitor.person, visitor.waiting = person.number, False
        visitor.until_s = batch.now_s + RECOGNISED_FOR_S

    def _merge(self, operation: Operation, batch: OperationBatch) -> Effect:
        primary, secondary = self._find(operation), self._people.find(*operation.extra)
        if primary is None or secondary is None or primary is secondary:
            return Effect("ignored", primary)
        if not primary.state == secondary.state == "active":
            return Effect("ignored", primary)
        self._bring_up_to_date(batch)
        self._unite(primary, secondary, batch)
        return Effect("applied", primary)

    def _unite(self, primary: Person, secondary: Person, batch: OperationBatch) -> None:
        """Merge the secondary person into the primary one.

        Sources: OAS, `/merge_customers`; docs.customer.io/journeys/merge-people. Attributes that
        the primary lacks, events, manual segments and relationships pass over; the secondary's
        identifiers too, where the primary has none of the kind.
        """
        everything = self.settings.behaviour.merged_events == "all"
        since_s = 0.0 if everything else batch.now_s - MERGED_SINCE_S
        handed = handover.merged(
            self.store, primary.number, secondary.number, (since_s, batch.now_s, batch.arrival)
        )
        self._statements += handed.statements
        names = {"email": secondary.email, "id": secondary.id, "phone": secondary.phone}
        # first of all: the names of the secondary must be free to be taken
        self._leave(secondary)
        self._people.remove(secondary, "deleted")
        self._people.take_names(primary, names, ())
        self._people.hand_over_visitors(secondary, primary)
        primary.bare = primary.bare and secondary.bare
        primary.attributes_max += counted(handed.attributes)
        primary.events += handed.events
        self.ledger.events += handed.events
        self._people.touch(primary)

    def _change_members(self, operation: Operation, _batch: OperationBatch) -> Effect:
        identifier, names = operation.extra
        found = [self._people.find(identifier, str(name)) for name in names]
        people = [person.number for person in found if person and person.state == "active"]
        self._statements += handover.membership(
            int(operation.name or 0), people, added=operation.kind == "add_customers"
        )
        return Effect("applied")

    def _delete(self, operation: Operation, _batch: OperationBatch) -> Effect:
        person = self._find(operation)
        if person is None or person.state != "active":
            return Effect("ignored", person)
        self._leave(person)
        self._people.remove(person, "deleted")
        return Effect("applied", person)

    def _suppress(self, operation: Operation, batch: OperationBatch) -> Effect:
        # suppressing somebody unknown is how one keeps them from ever coming
        person = self._find(operation) or self._create(operation, batch, {})
        if person is None or person.state != "active":
            return Effect("ignored", person)
        self._leave(person)
        self._people.remove(person, "suppressed")
        return Effect("applied", person)

    def _unsuppress(self, operation: Operation, _batch: OperationBatch) -> Effect:
        person = self._find(operation)
        if person is None or person.state != "suppressed":
            return Effect("ignored", person)
        self._people.remove(person, "deleted")
        return Effect("applied", person)

    def _add_device(self, operation: Operation, batch: OperationBatch) -> Effect:
        """A device without `last_used` was used now (OAS)."""
        effect = self._of_a_new_person(operation, batch)
        device: dict[str, Any] = operation.extra
        if device.get("last_used") is not None:
            return effect
        return effect._replace(payload=text_of({**device, "last_used": int(batch.now_s)}))

    def _of_a_new_person(self, operation: Operation, batch: OperationBatch) -> Effect:
        """Written down, and its person made if need be."""
        person = self._find(operation) or self._create(operation, batch, {})
        is_there = person is not None and person.state == "active"
        return Effect("applied" if is_there else "ignored", person)

    def _of_a_person(self, operation: Operation, _batch: OperationBatch) -> Effect:
        """Written down if its person is there: who takes something away makes nobody."""
        person = self._find(operation)
        is_there = person is not None and person.state == "active"
        return Effect("applied" if is_there else "ignored", person)

    def _of_nobody(self, _operation: Operation, _batch: OperationBatch) -> Effect:
        """An object, a metric, an unsubscribe: written down."""
        return Effect("applied")

    def _find(self, operation: Operation) -> Person | None:
        return self._people.find(operation.identifier, operation.named)

    def _create(
        self,
        operation: Operation,
        batch: OperationBatch,
        attributes: Mapping[str, Any],
        *,
        bare: bool = False,
    ) -> Person | None:
        """A new person, stamped where no `created_at` comes along."""
        if operation.identifier == "cio_id":
            return None  # the service makes those itself: an unknown one is a deleted person
        stamped = attributes.get("created_at") in (None, "")
        self.ledger.people += 1
        self.ledger.bare_people += bare
        self.ledger.stamped_people += stamped
        return self._people.add(
            operation.identifier, operation.named, batch.now_s, bare=bare, stamped=stamped
        )

    def _leave(self, person: Person) -> None:
        self.ledger.people -= 1
        self.ledger.events -= person.events


def _sentence(problems: tuple[Problem, ...]) -> str:
    return "; ".join(f"{p.field}: {p.message}" for p in problems)
