"""What passes from one person to another in the store: merges, anonymous events, memberships.

Everything here asks for what was flushed, and changes it at once.
"""

from collections.abc import Sequence

from backfill.sandbox import reports
from backfill.sandbox.operation import text_of
from backfill.sandbox.store import Store


def merge(store: Store, primary: int, secondary: int, since_s: float) -> int:
    """Give the attributes and the later events of one person to another.

    The attributes become older than any of the primary's own, so that only missing ones show.

    Returns:
        How many events have passed over.
    """
    attributes = reports.attributes(store, secondary - 1, secondary).get(secondary, {})
    store.write("INSERT INTO inherited VALUES (?, ?)", [primary, text_of(attributes)])
    return store.write(
        "UPDATE arrivals SET person = ? WHERE arrival IN"
        " (SELECT arrival FROM events WHERE person = ? AND occurred_s >= ?)",
        [primary, secondary, since_s],
    )


def adopt(store: Store, anonymous_id: str, person: int, since_s: float) -> int:
    """Give the events of someone anonymous to a person.

    Returns:
        How many events that are.
    """
    return store.write(
        "UPDATE arrivals SET person = ? WHERE arrival IN (SELECT arrival FROM events"
        " WHERE person IS NULL AND identifier = 'anonymous_id' AND named = ? AND occurred_s >= ?)",
        [person, anonymous_id, since_s],
    )


def change_members(store: Store, segment: int, people: Sequence[int], *, add: bool) -> None:
    """Put people into a manual segment, or take them out."""
    store.write(
        "DELETE FROM memberships WHERE segment = ? AND person IN (SELECT unnest(?::BIGINT[]))",
        [segment, list(people)],
    )
    if add:
        store.write(
            "INSERT INTO memberships SELECT ?, unnest(?::BIGINT[])", [segment, list(people)]
        )
