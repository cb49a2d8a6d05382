"""Who is who in the workspace: identifiers, one person each; and visitors who are nobody yet."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["active", "suppressed", "deleted"]

IDENTIFIERS = ("id", "email", "phone")
RECOGNISED_FOR_S = 300
"""How long after an identify the events of its anonymous id are the person's.

Source: docs.customer.io/journeys/anonymous-events ("up to five minutes after your identify call").
"""


@dataclass(slots=True)
class Person:
    """Someone the workspace knows.

    Args:
        number: Counted from 1, never used again; `cio_id` is made of it.
        since_s: When the person was added, in unix seconds.
        id: The id, case-sensitive.
        email: The e-mail as it was given; two that differ in case are one.
        phone: The phone number.
        bare: Whether an event alone made this person.
        state: `suppressed` people stay known, so that later calls for them can be ignored.
        changed_s: When the attributes last changed, in unix seconds.
        stamped: Whether `created_at` was missing when the person was added, so that the service
            put the time of that request there (staff, segmentio/action-destinations#361).
        attributes_max: At most so many attributes; the exact number is asked for only when this
            passes the limit.
        events: How many events are kept of this person.
    """

    number: int
    since_s: float
    id: str | None = None
    email: str | None = None
    phone: str | None = None
    bare: bool = False
    state: State = "active"
    changed_s: float = 0.0
    stamped: bool = False
    attributes_max: int = 0
    events: int = 0

    @property
    def cio_id(self) -> str:
        """The workspace's own name for the person."""
        return cio_id(self.number)


@dataclass(slots=True)
class Visitor:
    """Someone who was seen under an anonymous id.

    Args:
        anonymous_id: The id.
        person: The number of the person this turned out to be; None before that.
        until_s: Events up to here (unix seconds, by arrival) belong to that person at once.
        waiting: Whether there are events that belong to nobody yet.
    """

    anonymous_id: str
    person: int | None = None
    until_s: float = 0.0
    waiting: bool = False


def cio_id(number: int) -> str:
    """The workspace's own name for the person of this number.

    >>> cio_id(10)
    'a5b00000a'
    """
    return f"a5b{number:06x}"


def guess_identifier(text: str) -> tuple[str, str]:
    """What v1 takes an identifier in a path for: by its shape, as the service does.

    Source: OAS, `identifier` of `/api/v1/customers/{identifier}`.

    >>> guess_identifier("cio_a5b00000a"), guess_identifier("jane@example.com")
    (('cio_id', 'a5b00000a'), ('email', 'jane@example.com'))
    """
    if text.startswith("cio_"):
        return "cio_id", text.removeprefix("cio_")
    local, at, domain = text.partition("@")
    return ("email" if at and local and domain else "id"), text


class People:
    """Everyone, by every identifier. Keeps note of whom the store does not know yet.

    Args:
        people: Everyone whom the store knows, deleted people too.
        visitors: Every anonymous id that the store knows.
    """

    def __init__(self, people: Iterable[Person] = (), visitors: Iterable[Visitor] = ()) -> None:
        self._by_number: dict[int, Person] = {}
        self._by: dict[str, dict[str, Person]] = {name: {} for name in IDENTIFIERS}
        self._visitors = {visitor.anonymous_id: visitor for visitor in visitors}
        self._last_number = 0
        self.changed: dict[int, Person] = {}
        self.changed_visitors: dict[str, Visitor] = {}
        for person in people:
            self._last_number = max(self._last_number, person.number)
            if person.state != "deleted":  # a deleted person's names are free again
                self._index(person)

    def find(self, identifier: str, named: str) -> Person | None:
        """The person of this name; also a suppressed one."""
        if identifier == "id":  # nearly every look-up there is
            return self._by["id"].get(named)
        # made from the number: no index of its own
        if identifier == "cio_id":
            return self._of_cio_id(named)
        return self._by.get(identifier, {}).get(_key(identifier, named))

    def visitor(self, anonymous_id: str) -> Visitor:
        """The visitor of this anonymous id; about to change."""
        visitor = self._visitors.setdefault(anonymous_id, Visitor(anonymous_id))
        self.changed_visitors[anonymous_id] = visitor
        return visitor

    def is_waiting(self, anonymous_id: str) -> bool:
        """Whether something of this anonymous id belongs to nobody yet."""
        visitor = self._visitors.get(anonymous_id)
        return visitor is not None and visitor.waiting

    def person_of(self, visitor: Visitor, now_s: float) -> Person | None:
        """The active person to whom an event of this visitor belongs at once."""
        person = self._by_number.get(visitor.person or 0)
        # who was deleted meanwhile is nobody: the events wait for the next identify
        is_known = person is not None and person.state == "active" and now_s <= visitor.until_s
        return person if is_known else None

    def add(
        self, identifier: str, named: str, now_s: float, *, bare: bool, stamped: bool
    ) -> Person:
        """A new person, added at `now_s` (unix seconds)."""
        self._last_number += 1
        person = Person(self._last_number, now_s, bare=bare, stamped=stamped)
        setattr(person, identifier, named)
        self._index(person)
        self.touch(person)
        return person

    def named_in(self, attributes: Mapping[str, Any]) -> Person | None:
        """The person whom an identifier among the attributes belongs to."""
        for identifier in ("id", "email"):
            named = attributes.get(identifier)
            if named not in (None, "") and (found := self.find(identifier, str(named))):
                return found
        return None

    def take_names(
        self, person: Person, attributes: Mapping[str, Any], changeable: Container[str]
    ) -> set[str]:
        """Give the person the identifiers among the attributes, where they are to be had.

        Args:
            person: Who gets them.
            attributes: Attributes by name; those that are identifiers are looked at.
            changeable: The identifiers that this call may change once they are set.

        Returns:
            The identifiers (`id`, `email`) that stay as they were: another person's, or set
            already and not to be changed this way.
        """
        refused = set()
        for identifier in IDENTIFIERS:
            given = attributes.get(identifier)
            own = getattr(person, identifier)
            if given is None or given == "" or str(given) == own:
                continue
            named = str(given)
            owner = self.find(identifier, named)
            is_changeable = own is None or identifier in changeable or owner is person
            if owner in (None, person) and is_changeable:
                self.rename(person, identifier, named)
            elif (
                identifier != "phone"
            ):  # a phone may be several people's: who had it first keeps it
                refused.add(identifier)
        return refused

    def rename(self, person: Person, identifier: str, named: str) -> None:
        """Give the person another name of this kind; the old one is free again."""
        self._forget(person, identifier)
        setattr(person, identifier, named)
        self._index(person)
        self.touch(person)

    def remove(self, person: Person, state: State) -> None:
        """Delete or suppress the person; only a deleted one's names are free again."""
        person.state = state
        person.events = 0
        self.touch(person)
        # a suppressed person's names stay taken: later calls for them are ignored
        if state == "deleted":
            self._by_number.pop(person.number, None)
            for identifier in IDENTIFIERS:
                self._forget(person, identifier)

    def hand_over_visitors(self, old: Person, new: Person) -> None:
        """What one person's anonymous ids still bring is another's from now on."""
        for visitor in self._visitors.values():
            if visitor.person == old.number:
                self.visitor(visitor.anonymous_id).person = new.number

    def touch(self, person: Person) -> None:
        """Note that something about the person is to be stored."""
        self.changed[person.number] = person

    def _of_cio_id(self, named: str) -> Person | None:
        try:
            number = int(named.removeprefix("a5b"), 16)
        except ValueError:
            return None
        return self._by_number.get(number) if cio_id(number) == named else None

    def _index(self, person: Person) -> None:
        self._by_number[person.number] = person
        for identifier, known in self._by.items():
            named: Any = getattr(person, identifier)
            if named is not None:
                known[_key(identifier, named)] = person

    def _forget(self, person: Person, identifier: str) -> None:
        named = getattr(person, identifier)
        if named is not None:
            self._by[identifier].pop(_key(identifier, named), None)


def _key(identifier: str, named: str) -> str:
    """What tells two names apart: the case of an e-mail does not."""
    return named.lower() if identifier == "email" else named
