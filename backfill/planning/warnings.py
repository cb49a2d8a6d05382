"""What people should know before they send: nothing here refuses, as guards do."""

from collections.abc import Iterator
from dataclasses import dataclass

from backfill.pipeline.column_settings import PREFERENCES, is_consent
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import (
    EVENT_NAME_BYTES_MAX,
    CustomersSource,
    DeletionsSource,
    EventsSource,
    ObjectsSource,
    RelationshipsSource,
    Source,
)
from backfill.planning.plan import Plan
from backfill.planning.source_stats import SourcePlan
from backfill.sources.layout import (
    ATTRIBUTES_MAX,
    NEAR_LIMIT,
    VALUE_BYTES_MAX,
)

_MEANINGFUL = ("email", "created_at", "unsubscribed")
"""Attributes that the service acts on, in this spelling only (Track docs)."""

_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class PlanWarning:
    """Something that is as the settings want it, and may still surprise.

    Args:
        code: Which warning it is.
        what: What was found.
    """

    code: str
    what: str


def warnings_of(pipeline: Pipeline, plan: Plan) -> list[PlanWarning]:
    """All there is to warn of, in order of harm."""
    found: list[PlanWarning] = []
    for index, (source, seen) in enumerate(zip(pipeline.sources, plan.sources, strict=True)):
        of_source = f"source {index + 1} ({source.kind})"
        if isinstance(source, CustomersSource):
            found += _customers(source, seen, of_source)
        elif isinstance(source, EventsSource):
            found += _events(source, seen, plan, of_source)
        elif isinstance(source, DeletionsSource):
            found += _deletions(source, seen, of_source)
        if isinstance(source, EventsSource | RelationshipsSource):
            found += _unknown_people(pipeline, source, seen, of_source)
        if source.is_profile:
            found += _near_limits(seen, of_source)
        found += _objects(source, seen, of_source)
        found += _merges(seen, of_source)
        # For profiles it is a guard; a night without new files has none that could have rows.
        if not seen.rows_read and seen.files and not source.is_profile:
            found.append(PlanWarning("no_rows", f"{of_source} has no rows"))
        found += _identifiers(seen, of_source)
        found += _timestamps(seen, of_source)
        found += _cursor_in_future(source, seen, of_source)
        found += _overlapping(seen, of_source)
        found += _files(seen, of_source)
    return sorted(found, key=lambda each: _HARM.index(each.code))


# First what reaches people or cannot be taken back, then what costs money, then what is odd.
_HARM = (
    "no_rows",
    "recent_events",
    "objects_trigger",
    "suppressed",
    "events_of_merged",
    "lost_primaries",
    "customers_merged",
    "unsubscribes",
    "subscribes",
    "people_called_nothing",
    "text_marks",
    "odd_emails",
    "no_created_at",
    "created_at_text",
    "implausible_timestamps",
    "nearly_named",
    "unknown_people",
    "not_in_segment",
    "unknown_objects",
    "odd_timestamps",
    "cursor_in_future",
    "names_by_case",
    "names_with_spaces",
    "near_limit",
    "overlapping",
    "files",
)


def _customers(source: CustomersSource, seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    if source.create and seen.rows_read and "created_at" not in seen.attributes:
        yield PlanWarning(
            "no_created_at",
            f"{of_source} has no created_at: the service uses the current time, and campaigns"
            " that welcome new people may start",
        )
    yield from _consent(source, seen, of_source)
    for name in seen.attributes:
        if name.startswith(f"{PREFERENCES}.") and not is_consent(name):
            yield PlanWarning(
                "nearly_named",
                f"{of_source}: {name!r} is no topic and no channel of the service: write"
                f" {PREFERENCES}.topics.topic_3, or {PREFERENCES}.channels.sms (columns)",
            )
        # Only names that differ by case and blanks: any other may be an attribute of its own.
        meant = name.strip().lower()
        if meant in _MEANINGFUL and name != meant:
            yield PlanWarning(
                "nearly_named",
                f"{of_source}: {name!r} is not {meant!r}: the service treats it like any other"
                f" attribute (columns: {meant} = {{ from = {name!r} }})",
            )


def _identifiers(seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    if seen.null_words:
        yield PlanWarning(
            "people_called_nothing",
            f"{of_source} has rows about people called {_some(seen.null_words)}; if that"
            " means nobody, list it in null_values",
        )
    if seen.text_marks:
        yield PlanWarning(
            "text_marks",
            f"{of_source} has identifiers that begin with {' or '.join(seen.text_marks)}, a"
            " spreadsheet's mark for text, which is sent with them: the same people have"
            " other ids elsewhere; export them anew, or take it off in a transform",
        )
    if seen.odd_emails:
        yield PlanWarning(
            "odd_emails",
            f"{of_source} has values of {_some(seen.odd_emails)} that are no e-mail"
            " addresses: they are sent as they are, and reach nobody",
        )


def _consent(source: CustomersSource, seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    """How many people an import unsubscribes, and how many it subscribes again."""
    columns = source.declared()
    for name, said in sorted(seen.consent.items()):
        column = columns[name].from_ if name in columns else name
        by = "for every row" if name in source.constants() else f"by column {column!r}"
        # `unsubscribed` is true of who left, a topic or channel of who did not.
        out = said["true" if name == "unsubscribed" else "false"]
        back = said["false" if name == "unsubscribed" else "true"]
        what = "" if name == "unsubscribed" else f" ({name.partition('.')[2]})"
        if out:
            yield PlanWarning(
                "unsubscribes",
                f"{of_source} unsubscribes people{what}, {by}: {out:,} of {seen.to_send:,}",
            )
        if back:
            yield PlanWarning(
                "subscribes",
                f"{of_source} tells people{what} as subscribed, {by}: {back:,}; whoever of them has"
                " unsubscribed in the workspace since is subscribed again",
            )


def _timestamps(seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    if seen.created_at_text:
        yield PlanWarning(
            "created_at_text",
            f"{of_source}: created_at is not declared as a timestamp: it is sent as the text that"
            " the file holds, which the service does not read as a timestamp",
        )
    if seen.implausible:
        yield PlanWarning(
            "implausible_timestamps",
            f"{of_source} has numbers that can hardly be timestamps, since as unix seconds they lie"
            f" outside 1990 to 2100: {_some(seen.implausible)}; milliseconds, perhaps, or another"
            ' unit: declare the type "timestamp" and the format that fits (columns)',
        )
    if seen.odd_timestamps:
        yield PlanWarning(
            "odd_timestamps",
            f"{of_source} has attributes with timestamps before 1970 or in the future:"
            f" {_some(seen.odd_timestamps)}",
        )


def _cursor_in_future(source: Source, seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    if seen.cursor_in_future:
        yield PlanWarning(
            "cursor_in_future",
            f"{of_source} has rows whose {source.sync.column} is in the future:"
            f" {seen.cursor_in_future:,}; a sync sends them each night until then",
        )


def _overlapping(seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    if seen.overlapping:
        yield PlanWarning(
            "overlapping",
            f"{of_source} names the same people in several files; where they differ the later file"
            f" wins, the last one is {seen.overlapping[-1]} (in order: {_some(seen.overlapping)})",
        )


def _files(seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    if seen.notes:
        yield PlanWarning("files", f"{of_source}: {_some(seen.notes, '; ')}")


def _near_limits(seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    if seen.long:
        yield PlanWarning(
            "near_limit",
            f"{of_source} has values near or beyond the {VALUE_BYTES_MAX} bytes which an attribute"
            f" may have: {_some(seen.long)}",
        )
    if len(seen.attributes) >= NEAR_LIMIT * ATTRIBUTES_MAX:
        yield PlanWarning(
            "near_limit",
            f"{of_source} has {len(seen.attributes):,} attributes: a person, an object or a"
            f" relationship may have {ATTRIBUTES_MAX}, including those of earlier imports",
        )


def _events(
    source: EventsSource, seen: SourcePlan, plan: Plan, of_source: str
) -> Iterator[PlanWarning]:
    recent = seen.recent_at(plan.now_s)
    if recent and source.recent_events == "send":
        yield PlanWarning(
            "recent_events",
            f"{of_source} has events younger than 72 h, which can trigger campaigns: {recent:,}"
            f" ({seen.recent_shown()})",
        )
    yield from _names(seen, of_source)


def _unknown_people(
    pipeline: Pipeline,
    source: EventsSource | RelationshipsSource,
    seen: SourcePlan,
    of_source: str,
) -> Iterator[PlanWarning]:
    # Where they are refused a guard says so, and where they are rejected nobody becomes a profile.
    if not seen.unknown_people or pipeline.unknown_people(source) != "send":
        return
    if pipeline.import_.segment is not None:
        yield PlanWarning(
            "not_in_segment",
            f"{of_source} names people whom no customers source names: {seen.unknown_people:,};"
            f" segment {pipeline.import_.segment} is filled without them",
        )
    yield PlanWarning(
        "unknown_people",
        f"{of_source} names people whom no customers source names, and who become profiles,"
        f" which are billed: {seen.unknown_people:,}",
    )


def _objects(source: Source, seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    if isinstance(source, ObjectsSource | RelationshipsSource) and seen.operations:
        yield PlanWarning(
            "objects_trigger",
            f"{of_source} can start campaigns that objects or relationships trigger, however old"
            " they are: pause those first",
        )
    if seen.unknown_objects:
        yield PlanWarning(
            "unknown_objects",
            f"{of_source} names objects that no objects source names, and of which nothing but"
            f" their id would be known: {seen.unknown_objects:,}",
        )


def _merges(seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    if seen.gone_named:
        yield PlanWarning(
            "events_of_merged",
            f"{of_source} merges people away whom events name: {seen.gone_named:,}; events come"
            " after merges, and make a new profile of each: name the person who stays in them",
        )
    if seen.lost_primaries:
        yield PlanWarning(
            "lost_primaries",
            f"{of_source} merges people into others whom no customers source names:"
            f" {seen.lost_primaries:,}; where the workspace does not know them the service does"
            " nothing, and does not say so",
        )
    if seen.gone_known:
        yield PlanWarning(
            "customers_merged",
            f"{of_source} merges people away who are in customers, too: {seen.gone_known:,}; they"
            " are sent, then merged and deleted, and a later row that says something else of them"
            " makes them anew",
        )


def _names(seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    # Campaigns compare the names of events letter by letter.
    by_folded: dict[str, list[str]] = {}
    for name in sorted(seen.names):
        by_folded.setdefault(name.strip().casefold(), []).append(name)
    alike = [" / ".join(names) for names in by_folded.values() if len(names) > 1]
    if alike:
        yield PlanWarning(
            "names_by_case",
            f"{of_source} has event names that differ only by case: {_some(alike)}",
        )
    long = [name for name in sorted(seen.names) if _is_long(name)]
    if long:
        yield PlanWarning(
            "near_limit",
            f"{of_source} has event names that come near the {EVENT_NAME_BYTES_MAX} bytes which"
            f" one may have: {_some(long)}",
        )
    spaced = [name for name in sorted(seen.names) if " " in name]
    if spaced:
        yield PlanWarning(
            "names_with_spaces",
            f"{of_source} has event names with spaces, which campaigns must match exactly:"
            f" {_some(spaced)}",
        )


def _is_long(name: str) -> bool:
    return len(name.encode()) >= NEAR_LIMIT * EVENT_NAME_BYTES_MAX


def _deletions(source: DeletionsSource, seen: SourcePlan, of_source: str) -> Iterator[PlanWarning]:
    if source.action == "suppress" and seen.operations:
        yield PlanWarning(
            "suppressed",
            f"{of_source} suppresses people, of whom the service takes nothing any more:"
            f" {seen.operations:,}",
        )


def _some(names: list[str], between: str = ", ") -> str:
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return between.join(names[:_NAMES_SHOWN]) + more
