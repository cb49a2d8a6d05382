"""What passes from one person to another in the store: merges, visitors' events, memberships.

Nothing is changed here: each function reads what was flushed and gives the statements that the
next flush carries out, together with the rows that wait.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from backfill.sandbox import listings
from backfill.sandbox.operation import text_of
from backfill.sandbox.store import Statement, Store


class Handover(NamedTuple):
    """What a person gains.

    Args:
        events: How many events.
        attributes: Attributes by name.
        statements: What is to be done in the store, in order.
    """

    events: int
    attributes: dict[str, Any]
    statements: list[Statement]


def merged(store: Store, primary: int, secondary: int, when: tuple[float, float, int]) -> Handover:
    """What a merge gives to the primary person.

    Args:
        store: What is asked.
        primary: The number of the person who stays.
        secondary: The number of the person who goes.
        when: From when on events pass over and the time of the merge, both in unix seconds, and
            its arrival number.
    """
    since_s, now_s, arrival = when
    gained = listings.missing_attributes(store, primary, secondary)
    known = {
        "primary": primary,
        "secondary": secondary,
        "now": now_s,
        "arrival": arrival,
        "gained": text_of(gained),
        "since": since_s,
    }
    # DuckDB refuses parameters that a statement does not name
    steps = [(sql, {name: known[name] for name in names}) for sql, names in _MERGE_STEPS.items()]
    return Handover(listings.events_since(store, secondary, since_s), gained, list(steps))


def adopted(store: Store, anonymous_id: str, person: int, since_s: float, arrival: int) -> Handover:
    """What a visitor brought until now, for the person who this turned out to be.

    Events count by their arrival: OAS says "logged within the last 30 days". Those that come
    later are left alone: the statements are carried out after them.

    Args:
        store: What is asked.
        anonymous_id: The visitor.
        person: The person's number.
        since_s: From which arrival time on events pass over, in unix seconds.
        arrival: The number of the identify that told who it is.
    """
    theirs = (
        "FROM events WHERE person IS NULL AND identifier = 'anonymous_id'"
        " AND named = $named AND received_s >= $since AND arrival < $now"
    )
    known = {"named": anonymous_id, "since": since_s, "now": arrival}
    count = f"SELECT count(*) AS events {theirs}"  # a text from above
    events = f"UPDATE arrivals SET person = $person WHERE arrival IN (SELECT arrival {theirs})"  # noqa: S608
    links = (
        "UPDATE links SET person = $person, anonymous_id = NULL"
        " WHERE anonymous_id = $named AND arrival < $now"
    )
    whom = {"person": person, "named": anonymous_id, "now": arrival}
    found: int = store.read(count, known)[0]["events"]
    return Handover(found, {}, [(events, {**known, **whom}), (links, whom)])


def membership(segment: int, people: Sequence[int], *, added: bool) -> list[Statement]:
    """What puts people (by number) into a manual segment, or takes them out."""
    parameters = [segment, list(people)]
    theirs = "segment = ? AND person IN (SELECT unnest(?::BIGINT[]))"
    statements: list[Statement] = [(f"DELETE FROM memberships WHERE {theirs}", parameters)]  # noqa: S608
    # added anew after being taken out: nobody stands in a segment twice
    if added:
        new = "INSERT INTO memberships SELECT ?, unnest(list_distinct(?::BIGINT[]))"
        statements.append((new, parameters))
    return statements


_MERGE_STEPS = {
    "INSERT INTO inherited VALUES ($primary, $now, $arrival, $gained)": (
        "primary",
        "now",
        "arrival",
        "gained",
    ),
    """UPDATE arrivals SET person = $primary WHERE arrival IN
       (SELECT arrival FROM events WHERE person = $secondary AND occurred_s >= $since)""": (
        "primary",
        "secondary",
        "since",
    ),
    """INSERT INTO memberships SELECT segment, $primary FROM memberships
       WHERE person = $secondary AND segment NOT IN
       (SELECT segment FROM memberships WHERE person = $primary)""": ("primary", "secondary"),
    "DELETE FROM memberships WHERE person = $secondary": ("secondary",),
    """UPDATE links SET person = $primary WHERE person = $secondary AND thing NOT IN
       (SELECT thing FROM (SELECT thing, arg_max(added, arrival) AS added FROM links
       WHERE person = $primary AND arrival < $arrival GROUP BY thing) WHERE added)""": (
        "primary",
        "secondary",
        "arrival",
    ),
}
"""What a merge does in the store, step by step, and the parameters that each step takes. What came
after it may be there already: statements are carried out with the next flush."""
