"""Who is who in the workspace: identifiers, one person each."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["active", "suppressed", "deleted"]


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
        changed_s: The moment of the latest change to the attributes.
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
    events: int = 0

    @property
    def cio_id(self) -> str:
        """The workspace's own name for the person."""
        return cio_id(self.number)


def cio_id(number: int) -> str:
    """The workspace's own name for the person of this number.

    >>> cio_id(10)
    'a5b00000a'
    """
    return f"a5b{number:06x}"


def guess_identifier(text: str) -> tuple[str, str]:
    """What v1 takes an identifier in a path for: by its shape, as the service does.

    >>> guess_identifier("cio_a5b00000a"), guess_identifier("jane@example.com")
    (('cio_id', 'a5b00000a'), ('email', 'jane@example.com'))
    """
    if text.startswith("cio_"):
        return "cio_id", text.removeprefix("cio_")
    local, at, domain = text.partition("@")
    return ("email" if at and local and domain else "id"), text


class People:
    """Everyone, by every identifier. Keeps note of whom the store does not know yet."""

    def __init__(self, people: Iterable[Person] = (), last_number: int = 0) -> None:
        self._by_number: dict[int, Person] = {}
        self._by: dict[str, dict[str, Person]] = {"id": {}, "email": {}, "phone": {}}
        self._turned_out: dict[str, Person | None] = {}
        self._last_number = last_number
        self.changed: dict[int, Person] = {}
        for person in people:
            self._last_number = max(self._last_number, person.number)
            self._index(person)

    def find(self, identifier: str, named: str) -> Person | None:
        """The person of this name; also a suppressed one."""
        if identifier == "id":
            return self._by["id"].get(named)
        if identifier == "cio_id":
            return self._of_cio_id(named)
        if identifier == "anonymous_id":
            person = self._turned_out.get(named)
            return person if person and person.state == "active" else None
        return self._by.get(identifier, {}).get(_key(identifier, named))

    def add(self, identifier: str, named: str, now_s: float, *, bare: bool = False) -> Person:
        """A new person."""
        self._last_number += 1
        person = Person(self._last_number, now_s, bare=bare)
        setattr(person, identifier, named)
        self._index(person)
        self.changed[person.number] = person
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
    ) -> bool:
        """Give the person the identifiers among the attributes.

        One that the person has already is changed only if it is among `changeable`.

        Returns:
            False, and nothing is done, where the id or the e-mail is somebody else's.
        """
        given = {
            identifier: str(attributes[identifier])
            for identifier in ("id", "email", "phone")
            if attributes.get(identifier) not in (None, "")
        }
        owners = {identifier: self.find(identifier, given[identifier]) for identifier in given}
        if any(owners.get(key) not in (None, person) for key in ("id", "email")):
            return False
        for identifier, named in given.items():
            own = getattr(person, identifier)
            is_free = owners[identifier] in (None, person)  # a phone may be several people's
            if is_free and named != own and (own is None or identifier in changeable):
                self.rename(person, identifier, named)
        return True

    def rename(self, person: Person, identifier: str, named: str) -> None:
        """Give the person another name of this kind; the old one is free again."""
        self._forget(person, identifier)
        setattr(person, identifier, named)
        self._index(person)
        self.changed[person.number] = person

    def remove(self, person: Person, state: State) -> None:
        """Delete or suppress the person; only a deleted one's names are free again."""
        person.state = state
        person.events = 0
        self.changed[person.number] = person
        if state == "deleted":
            self._by_number.pop(person.number, None)
            for identifier in self._by:
                self._forget(person, identifier)

    def meet(self, anonymous_id: str, number: int | None = None) -> None:
        """Someone anonymous appears, or turns out to be the person of this number."""
        person = self._by_number.get(number or 0)
        self._turned_out[anonymous_id] = person or self._turned_out.get(anonymous_id)

    def has_met(self, anonymous_id: str) -> bool:
        """Whether there was a sign of someone anonymous who is nobody yet."""
        return self._turned_out.get(anonymous_id, self) is None

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
