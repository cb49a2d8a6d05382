"""Which file holds what, and whom its rows are about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backfill.encoding.column_names import plain_name
from backfill.pipeline.source_settings import IdentifierType
from backfill.planning.consent import consent_in
from backfill.report.wording import counted
from backfill.scaffold import names
from backfill.scaffold.column_profile import ColumnProfile
from backfill.scaffold.file_profile import FileProfile
from backfill.scaffold.more_kinds import kind_beyond_people

_REPEATED_MIN = 1.2
"""So many rows a person, and people repeat."""
_DELETIONS_COLUMNS_MAX = 4
_NAMES_MAX = 1000
_FEW_ROWS = 20
"""In so few rows the names of events may well be another one each time."""

IDENTIFIERS: tuple[IdentifierType, ...] = ("id", "email", "cio_id")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file's rows are.

    Args:
        kind: The likeliest kind of source.
        why: What says so.
        others: What they may be instead, each with what speaks for it; none: it is sure.
    """

    kind: str
    why: str
    others: Mapping[str, str] = field(default_factory=dict)


def kind_of(look: FileProfile) -> Kind:
    """What the rows of a file are: people, events, people to be deleted, objects and so on."""
    person = person_of(look)
    if not any(map(names.says_deletions, look.file_names)) and (
        beyond := kind_beyond_people(look, person)
    ):
        return Kind(*beyond)
    return _of_people(look, person)


def _of_people(look: FileProfile, person: ColumnProfile | None) -> Kind:
    """Whether rows are people, events, or people to be deleted."""
    people = person.distinct.shown("person", "people") if person else ""
    listed = f": {people} in {counted(person.values, 'row')}" if person else ""
    # How often people stand in it tells most kinds apart.
    once = person is not None and not _repeats(person)
    if once and len(look.columns) <= _DELETIONS_COLUMNS_MAX:
        why = f"the name says so, and there is one row per person{listed}"
        if any(map(names.says_deletions, look.file_names)):
            return Kind("deletions", why)
        if any(names.says_deletions(each) and not consent_in(each) for each in look.columns):
            others = {"customers": "if these people are to stay"}
            return Kind("deletions", f"the name of a column says so{listed}", others)
    # A column of event names says it more clearly than any count of people.
    event = name_column_of(look)
    if event is not None:
        when = "" if occurrences_of(look) else "; no column surely says when"
        return Kind("events", f"column {event.name!r} names what happened{when}{listed}")
    if not occurrences_of(look):
        return _without_time(look, person, listed)
    if person is None:
        return Kind("events", "a column says when, and none says who", _OTHERWISE_CUSTOMERS)
    if any(map(names.says_events, look.file_names)):
        return Kind("events", f"the name says so{listed}")
    named = any(map(names.says_customers, look.file_names))
    if (once or named) and _is_about_people(look):
        why = "the name says so" if named else "there is one row per person"
        return Kind("customers", f"{why}{listed}")
    return _by_people(look, person, listed)


_OTHERWISE_CUSTOMERS = {"customers": "if each row is a person"}
_OTHERWISE_EVENTS = {"events": "if each row is something that a person did"}


def _repeats(person: ColumnProfile) -> bool:
    """Whether people repeat, among the rows that say who they are about."""
    return person.values >= person.distinct.count * _REPEATED_MIN


def _without_time(look: FileProfile, person: ColumnProfile | None, listed: str) -> Kind:
    """What a file is that says nowhere when something happened."""
    # Six of eight values that fit a format may well say when: nothing is decided silently then.
    nearly = [each.name for each in look.every.values() if each.nearly_timestamps()]
    if nearly:
        others = {"events": f"if {nearly[0]} says when: no format fits 90 % of its values"}
        return Kind("customers", "no column surely says when something happened", others)
    if person is None and not _is_about_people(look) and not _holds_a_person(look):
        return Kind("customers", "no column says who or when", _OTHERWISE_EVENTS)
    is_named = any(map(names.says_customers, look.file_names))
    if person is not None and _repeats(person) and not is_named:
        why = f"no column says when, but people repeat{listed}"
        return Kind("customers", why, _OTHERWISE_EVENTS)
    return Kind("customers", "no column says when something happened")


def _holds_a_person(look: FileProfile) -> bool:
    """Whether there are columns that only people have, such as a first name."""
    return any(map(names.says_of_person, look.columns))


def _is_about_people(look: FileProfile) -> bool:
    """Whether names say that rows are people: the file's, or those of all columns of timestamps."""
    said = [each.label for each in occurrences_of(look)]
    if any(map(names.says_customers, look.file_names)):
        return all(map(names.says_since, said)) or not any(map(names.says_occurred, said))
    own = next(iter(identifiers_of(look, "customers").values()), None)
    is_own = own is not None and own.is_unique and own.values >= look.rows - look.rows_malformed
    return is_own and bool(said) and all(map(names.says_since, said))


def _by_people(look: FileProfile, person: ColumnProfile, listed: str) -> Kind:
    """What a file with people and timestamps is, whose name says nothing."""
    if _repeats(person):
        return Kind("events", f"people repeat{listed}")
    when = occurrences_of(look)[0].name
    clock = clock_of(look, occurrences_of(look)[0])
    if clock is not None and not names.says_since(when):
        return Kind("events", f"{when} and {clock.name} say when{listed}")
    own = next((each for each in keys_of(look) if each is not person), None)
    if own is None:
        others = {"events": f"if they happened at {when}"}
        return Kind("customers", f"there is one row per person{listed}", others)
    said = f"each row has its own {own.name} besides {person.name}"
    if not person.holds_emails and names.says_occurred(when):
        return Kind("events", said)
    if names.says_own_id(own.label):  # an id and an address in every row: as people have them
        others = {"events": f"if they happened at {when}"}
        return Kind("customers", f"there is one row per person{listed}", others)
    return Kind("events", said, {"customers": f"since there is one row per person{listed}"})


def identifiers_of(look: FileProfile, kind: str) -> dict[IdentifierType, ColumnProfile]:
    """The columns that may say who a row is about, the best of each type."""
    found: dict[IdentifierType, ColumnProfile] = {}
    columns = [each for each in look.every.values() if each.can_identify]
    emails = [each for each in columns if each.holds_emails]
    others = [each for each in columns if not each.holds_emails]
    ids = [each for each in others if names.says_person(each.label)]
    own = [each for each in others if names.says_own_id(each.label)]
    # customer_id before customer_code; of several, the one that most rows have.
    ids.sort(key=lambda each: (plain_name(each.label).rpartition("_")[2] != "id", -each.values))
    emails.sort(key=lambda each: (not names.says_email(each.label), -each.values))
    if kind == "customers":
        ids = own + ids
    elif not (ids or emails) and any(map(names.says_customers, look.file_names)):
        ids = own
    cio = [each for each in columns if plain_name(each.label) == "cio_id"]
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
    named = [each for each in look.every.values() if names.says_event(each.label)]
    # In a handful of rows every name may stand once; in a long file that would be an id.
    few = look.rows <= _FEW_ROWS
    fine = (e for e in named if 0 < e.distinct.count <= _NAMES_MAX and (few or not e.is_unique))
    return next(fine, None)


def occurrences_of(look: FileProfile) -> list[ColumnProfile]:
    """The columns that may say when something happened, the best first."""
    found = [each for each in look.every.values() if each.timestamps() is not None]
    found.sort(key=lambda each: (not names.says_occurred(each.label), each.values < look.rows))
    return found


def clock_of(look: FileProfile, day: ColumnProfile) -> ColumnProfile | None:
    """The column with the clocks of days: the only one that holds clocks, else the next one."""
    columns = list(look.columns.values())
    clocks = [each for each in columns if each.clock]
    # Two clocks in a row may be begin and end: then only the one beside the day counts.
    if len(clocks) == 1:
        return clocks[0]
    behind = columns[columns.index(day) + 1 :] if day in columns else []
    return behind[0] if behind and behind[0].clock else None


def zones_beside(
    look: FileProfile, day: ColumnProfile, clock: ColumnProfile
) -> ColumnProfile | None:
    """The column with the zones of days and clocks: only one beside them speaks of them."""
    columns = list(look.columns.values())
    beside = {columns.index(each) + step for each in (day, clock) for step in (-1, 1)}
    found = [each for place, each in enumerate(columns) if place in beside and each.holds_zones]
    return found[0] if len(found) == 1 else None


def keys_of(look: FileProfile) -> list[ColumnProfile]:
    """The columns that may be what makes an event itself, the best first.

    They hold something else in every row.
    """
    found = [
        each
        for each in look.every.values()
        if each.is_unique
        and 10 * each.values >= 9 * look.rows
        and (names.says_event_key(each.label) or names.says_key(each.label))
        and each.timestamps() is None
        and not each.is_nested
    ]
    return sorted(found, key=lambda each: not names.says_event_key(each.label))
