"""Which file holds what, and whom its rows are about."""

from collections.abc import Sequence
from dataclasses import dataclass

from backfill.pipeline.columns import IdentifierType
from backfill.report.wording import counted
from backfill.scaffold import names
from backfill.scaffold.column_profile import ColumnProfile
from backfill.scaffold.file_profile import FileProfile

_REPEATED_MIN = 1.2
_DELETIONS_COLUMNS_MAX = 4
_NAMES_MAX = 1000
_FEW_ROWS = 20
"""In so few rows the names of events may well be another one each time."""

IDENTIFIERS: tuple[IdentifierType, ...] = ("id", "email", "cio_id")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file's rows are.

    Args:
        kind: `customers`, `events` or `deletions`.
        why: What says so.
        is_sure: Whether it could be nothing else.
    """

    kind: str
    why: str
    is_sure: bool = True


def kind_of(look: FileProfile) -> Kind:
    """Whether the rows of a file are people, events, or people to be deleted."""
    person = person_of(look)
    people = person.distinct.shown("person", "people") if person else ""
    listed = f": {people} in {counted(look.rows, 'row')}" if people else ""
    each_once = person is not None and look.rows < person.distinct.count * _REPEATED_MIN
    few = len(look.columns) <= _DELETIONS_COLUMNS_MAX
    if each_once and few and any(map(names.says_deletions, (*look.files, *look.columns))):
        return Kind(
            "deletions", f"the name says so, and there is one row per person{listed}", False
        )
    event = name_column_of(look)
    if event is not None:
        when = "" if occurrences_of(look) else "; none says when"
        return Kind("events", f"column {event.name!r} names what happened{when}{listed}", not when)
    if not occurrences_of(look):
        return Kind("customers", "no column says when something happened")
    if person is None:
        return Kind("events", "a column says when, and none says who", False)
    if any(map(names.says_customers, look.files)) and not any(
        map(names.says_occurred, _apart(look))
    ):
        return Kind("customers", f"the name says so{listed}", each_once)
    return _by_people(look, person, listed)


def _by_people(look: FileProfile, person: ColumnProfile, listed: str) -> Kind:
    """What a file with people and timestamps is, whose name says nothing."""
    if look.rows >= person.distinct.count * _REPEATED_MIN:
        return Kind("events", f"people repeat{listed}")
    own = next((each for each in keys_of(look) if each is not person), None)
    if own is not None and names.plain(person.name) != "id":
        return Kind("events", f"each row has its own {own.name} besides {person.name}", False)
    return Kind("customers", f"there is one row per person{listed}", False)


def _apart(look: FileProfile) -> list[str]:
    """The columns of timestamps that do not say since when there is a person."""
    return [each.name for each in occurrences_of(look) if not names.says_created(each.name)]


def identifiers_of(look: FileProfile, kind: str) -> dict[IdentifierType, ColumnProfile]:
    """The columns that may say who a row is about, the best of each type."""
    columns = list(look.columns.values())
    found: dict[IdentifierType, ColumnProfile] = {}
    ids = [each for each in columns if names.says_person(each.name) and not each.holds_emails]
    plain_id = [each for each in columns if names.plain(each.name) == "id"]
    emails = [each for each in columns if each.holds_emails]
    ids.sort(key=lambda each: (names.plain(each.name).rpartition("_")[2] != "id", -each.values))
    emails.sort(key=lambda each: (not names.says_email(each.name), -each.values))
    if kind == "customers" or not (ids or emails):
        ids = plain_id + ids if kind == "customers" else ids + plain_id
    cio = [each for each in columns if names.plain(each.name) == "cio_id"]
    for type_, ranked in zip(IDENTIFIERS, (ids, emails, cio), strict=True):
        ranked.sort(key=lambda each: not each.values)
        if ranked:
            found[type_] = ranked[0]
    return found


def common_type(found: Sequence[dict[IdentifierType, ColumnProfile]]) -> IdentifierType | None:
    """The identifier's type that all files have, so that they speak of the same people."""
    return next((each for each in IDENTIFIERS if all(each in types for types in found)), None)


def person_of(look: FileProfile) -> ColumnProfile | None:
    """The column that says who a row is about, as far as one file tells."""
    return next(iter(identifiers_of(look, "events").values()), None)


def name_column_of(look: FileProfile) -> ColumnProfile | None:
    """The column that names events."""
    named = [each for each in look.columns.values() if names.says_event(each.name)]
    few = look.rows <= _FEW_ROWS
    fine = (e for e in named if 0 < e.distinct.count <= _NAMES_MAX and (few or not e.is_unique))
    return next(fine, None)


def occurrences_of(look: FileProfile) -> list[ColumnProfile]:
    """The columns that may say when something happened, the best first."""
    found = [each for each in look.columns.values() if each.timestamps() is not None]
    found.sort(key=lambda each: (not names.says_occurred(each.name), each.values < look.rows))
    return found


def keys_of(look: FileProfile) -> list[ColumnProfile]:
    """The columns that may be what makes an event itself: something else in every row."""
    return [
        each
        for each in look.columns.values()
        if each.is_unique
        and 10 * each.values >= 9 * look.rows
        and names.says_key(each.name)
        and each.timestamps() is None
    ]
