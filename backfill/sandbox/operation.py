"""What a request asks for, once it has been read: operations, each valid or with its problems."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
import xxhash

from backfill.sandbox.identities import Person

EVENT_KINDS = frozenset({"event", "page", "screen"})


class Problem(NamedTuple):
    """Why an operation is refused.

    Args:
        field: Where, as a path with dots (`attributes.plan`).
        message: What is wrong, in v2's words.
        reason: `invalid` or `required`.
        sentence: The same in v1's words; empty where v1 says `field message`.
    """

    field: str
    message: str
    reason: str = "invalid"
    sentence: str = ""


class Link(NamedTuple):
    """A relationship that an operation adds or removes.

    Args:
        added: False removes it.
        thing: The object's type and id in one text (`1:acme`).
        identifier: What names the person (`id`, `email`, `cio_id`, `anonymous_id`); nothing where
            it is the operation's own.
        named: The name itself.
        attributes: The relationship's attributes.
    """

    added: bool
    thing: str
    identifier: str = ""
    named: str = ""
    attributes: dict[str, Any] | None = None


class Operation(NamedTuple):
    """One change, as it was asked for.

    Args:
        kind: `identify`, `event`, `page`, `screen`, `delete`, …: v2's action, with the type
            before it where that is not a person (`object_identify`, `delivery_event`).
        body_hash: 64 bits of the operation's own JSON, to tell equal bodies from different ones.
        identifier: What names the person: `id`, `email`, `phone`, `cio_id`, `anonymous_id`,
            or nothing.
        named: The name itself.
        event_id: An event's ULID in upper case.
        name: An event's name, a device's token, an object's type and id, a form, a delivery.
        occurred_s: The timestamp given with it, in unix seconds; None means now.
        replaced: Whether a timestamp was given that is none.
        payload: JSON text of what is kept of it: the attributes (identify, events), or whatever
            else came.
        extra: What carrying it out needs besides: an identify's attributes, a device, a merge's
            other person, a segment's people.
        problems: Why it is refused; a valid operation has none.
        links: The relationships that it adds or removes.
        is_lost: Whether a fault accepts it and does nothing.
    """

    kind: str
    body_hash: int
    identifier: str = ""
    named: str = ""
    event_id: str | None = None
    name: str | None = None
    occurred_s: float | None = None
    replaced: bool = False
    payload: str | None = None
    extra: Any = None
    problems: tuple[Problem, ...] = ()
    links: tuple[Link, ...] = ()
    is_lost: bool = False


def hash_of(body: bytes) -> int:
    """64 bits that tell bodies apart."""
    return xxhash.xxh3_64_intdigest(body)


def text_of(value: Any) -> str:
    """A value as JSON text."""
    return orjson.dumps(value).decode()


def refused(kind: str, body: Any, *problems: Problem) -> Operation:
    """An operation of which only the refusal is worth keeping."""
    return Operation(kind, hash_of(orjson.dumps(body)), problems=problems)


def restored_operation(fields: list[Any]) -> Operation:
    """The operation that was written as a JSON list of its fields."""
    operation = Operation(*fields)
    return operation._replace(
        problems=tuple(Problem(*each) for each in operation.problems),
        links=tuple(Link(*each) for each in operation.links),
    )


class Effect(NamedTuple):
    """What became of an operation.

    Args:
        outcome: `applied`, `duplicate`, `ignored` (nobody to do it to), `failed`, `skipped` (an
            identify older than the person's latest change) or `rejected`.
        person: Whom it was about.
        note: What went wrong in part.
        payload: What is kept in the place of the operation's own payload.
        links: Relationships that it changed, each as the last columns of the store's `links`:
            added, object, the person's number, anonymous id, attributes as JSON text.
    """

    outcome: str
    person: Person | None = None
    note: str | None = None
    payload: str | None = None
    links: tuple[tuple[bool, str, int | None, str | None, str | None], ...] = ()


class OperationBatch:
    """The operations of one request on their way.

    Args:
        operations: What was asked for, in order.
        request: The request's number.
        now_s: When it arrived, in unix seconds.
        first: The arrival number of the first operation.
    """

    def __init__(
        self, operations: Sequence[Operation], request: int, now_s: float, first: int
    ) -> None:
        self.operations = operations
        self.request = request
        self.now_s = now_s
        self.first = first
        self.effects: list[Effect] = []
        self.written = 0

    @property
    def arrival(self) -> int:
        """The number of the operation that is being carried out."""
        return self.first + len(self.effects)
