"""What is refused before anything is sent, and the setting that answers it.

Guards refuse sending only: `check` and `plan` report them and go on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backfill.errors import GuardError
from backfill.pipeline.column_settings import PREFERENCES
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import (
    CustomersSource,
    DeletionsSource,
    EventsSource,
    MergesSource,
    RelationshipsSource,
    Source,
)
from backfill.planning.consent import ConsentColumn, consent_in
from backfill.planning.plan import Plan
from backfill.planning.source_stats import SourcePlan


@dataclass(frozen=True, slots=True)
class Guard:
    """One refusal.

    Args:
        code: Which guard it is.
        what: What was found.
        answer: The setting that answers it, and its choices.
    """

    code: str
    what: str
    answer: str


def refusals(pipeline: Pipeline, plan: Plan, now_s: float) -> list[Guard]:
    """Every reason not to send, in order of harm.

    Args:
        pipeline: The settings that answer guards.
        plan: What was found.
        now_s: The time now: how old an event is depends on it.
    """
    found = list(_doubts(pipeline, plan))
    for index, (source, seen) in enumerate(zip(pipeline.sources, plan.sources, strict=True)):
        of_source = f"source {index + 1} ({source.kind})"
        if isinstance(source, EventsSource):
            found += _events(source, seen, now_s, of_source)
        if isinstance(source, EventsSource | RelationshipsSource):
            found += _unknown_people(pipeline, source, seen, of_source)
        if isinstance(source, CustomersSource):
            found += _customers(source, seen, of_source)
            found += _undo(pipeline, source, seen, of_source)
        if isinstance(source, DeletionsSource):
            found += _deletions(source, seen, plan, of_source)
        if isinstance(source, MergesSource):
            found += _merges(source, seen, plan, of_source)
        found += _empty(source, seen, of_source)
        found += _both(source, seen, of_source)
        found += _reserved(source, seen, of_source)
    return sorted(found, key=lambda guard: _HARM.index(guard.code))


# First what reaches people or deletes them: whoever reads one line only should read that one.
_HARM = (
    "recent_events",
    "deletes_max",
    "merges_max",
    "merges_chained",
    "undo",
    "deletes_customers",
    "removes_added",
    "consent",
    "reserved",
    "format",
    "shared_emails",
    "unknown_people",
    "identical_rows",
    "repeated_keys",
    "source_empty",
)


def refuse(guards: Sequence[Guard]) -> None:
    """Stop, if there is any reason to.

    Raises:
        GuardError: It names every guard, and the settings that answer them.
    """
    if guards:
        raise GuardError(
            "nothing was sent: " + "; ".join(guard.what for guard in guards),
            next_step="; ".join(dict.fromkeys(guard.answer for guard in guards)),
        )


def _doubts(pipeline: Pipeline, plan: Plan) -> Iterator[Guard]:
    for decision in plan.found.decisions:
        if decision.doubt:
            shown = f" ({'; '.join(decision.readings)})" if decision.readings else ""
            kind = pipeline.sources[decision.source].kind
            yield Guard(
                "format",
                f"column {decision.column!r} of source {decision.source + 1} ({kind}):"
                f" {decision.doubt}{shown}",
                decision.answer or f'set format = "…" beside {decision.key}',
            )


def _events(
    source: EventsSource, seen: SourcePlan, now_s: float, of_source: str
) -> Iterator[Guard]:
    recent = seen.recent_at(now_s)
    if recent and source.recent_events == "refuse":
        yield Guard(
            "recent_events",
            f"{of_source} has events younger than 72 h, which can trigger campaigns: {recent:,}"
            f" ({seen.recent_shown()})",
            'set recent_events = "send", "skip" or "hold"',
        )
    if seen.identical and source.identical_rows == "refuse":
        yield Guard(
            "identical_rows",
            f"{of_source} has rows identical to an earlier one: {seen.identical:,}",
            'set identical_rows = "keep" if each is an event, "collapse" if they are copies',
        )
    if seen.repeated_keys and source.repeated_keys == "refuse":
        yield Guard(
            "repeated_keys",
            f"{of_source} has rows with an earlier row's key but different content:"
            f" {seen.repeated_keys:,}",
            'set repeated_keys = "first", or name more columns in key',
        )


def _unknown_people(
    pipeline: Pipeline,
    source: EventsSource | RelationshipsSource,
    seen: SourcePlan,
    of_source: str,
) -> Iterator[Guard]:
    if seen.unknown_people and pipeline.unknown_people(source) == "refuse":
        yield Guard(
            "unknown_people",
            f"{of_source} names people whom no customers source names, and who would become"
            f" empty profiles: {seen.unknown_people:,}",
            'set unknown_people = "reject" or "send"',
        )


def rows_change_answer(allowed: str) -> str:
    """What answers an export that is too small or too large to be believed."""
    return (
        f"if the export is complete, set rows_change_max = {allowed} under [source.sync]; else put"
        " the complete export in its place"
    )


def _empty(source: Source, seen: SourcePlan, of_source: str) -> Iterator[Guard]:
    expected = source.sync.rows_change_max
    if not source.is_profile or seen.rows_read:
        return
    # Who allows all rows to change has said that an empty export may be true.
    if not (expected.count is not None or (expected.share or 0) >= 1):
        yield Guard(
            "source_empty",
            f"{of_source} has no rows: {', '.join(seen.files)}",
            rows_change_answer('"100%"'),
        )


def _customers(source: CustomersSource, seen: SourcePlan, of_source: str) -> Iterator[Guard]:
    if seen.consent_columns and source.consent == "refuse":
        yield Guard(
            "consent",
            f"{of_source} has columns that look like consent, and are sent as attributes that stop"
            f" no mail: {', '.join(seen.consent_columns)}",
            _consent_answer(source, seen.consent_columns),
        )
    if seen.shared_emails and source.shared_emails == "refuse":
        yield Guard(
            "shared_emails",
            f"{of_source} has e-mail addresses under several ids, of which the last one would take"
            f" the person over: {seen.shared_emails:,}",
            'set shared_emails = "first" or "send"',
        )


def _undo(
    pipeline: Pipeline, source: CustomersSource, seen: SourcePlan, of_source: str
) -> Iterator[Guard]:
    if pipeline.import_.undo and source.identifier.type == "id" and "email" in seen.attributes:
        yield Guard(
            "undo",
            f"{of_source} is identified by id and sends email, and [import] undo is set: who has"
            " that address under another id is taken over, not created, and an undo would delete"
            " that person",
            "identify people by email, or remove undo",
        )


def _consent_answer(source: CustomersSource, columns: Sequence[str]) -> str:
    """How one of the columns becomes what the service acts on: one about all mail before others."""
    if PREFERENCES in columns:
        return (
            f'declare {PREFERENCES} = "json" in [source.columns], which replaces all topics and'
            f' channels of a person, or set drop = ["{PREFERENCES}"] or consent = "ignore"'
        )
    found = [(each, consent_in(each) or ConsentColumn("out")) for each in columns]
    column, means = min(found, key=lambda each: bool(each[1].channel))
    is_in = means.yes == "in"
    name, inverts = "unsubscribed", is_in
    if means.channel:  # whoever wants no texts may want mail
        name, inverts = f'"{PREFERENCES}.channels.{means.channel}"', not is_in
    elif name in source.columns:  # one column says it already: others are about a part of the mail
        name, inverts = f'"{PREFERENCES}.topics.topic_1" (its number)', not is_in
    declared = f'{{ from = "{column}", type = "boolean"{", invert = true" if inverts else ""} }}'
    return (
        f"declare {name} = {declared} in [source.columns] (with true_values for other words than"
        f' yes), or set drop = ["{column}"] or consent = "ignore"'
    )


def _deletions(
    source: DeletionsSource, seen: SourcePlan, plan: Plan, of_source: str
) -> Iterator[Guard]:
    if source.deletes_max.reached_by(gone := _gone(seen), _people(plan)):
        yield Guard(
            "deletes_max",
            f"{of_source} would {source.action} more people than deletes_max: {gone:,}",
            f"set deletes_max = {gone} in this source if that is intended",
        )


def _merges(source: MergesSource, seen: SourcePlan, plan: Plan, of_source: str) -> Iterator[Guard]:
    if source.merges_max.reached_by(gone := _gone(seen), _people(plan)):
        yield Guard(
            "merges_max",
            f"{of_source} would merge more people than merges_max, which nothing undoes: {gone:,}",
            f"set merges_max = {gone} in this source if that is intended",
        )
    if seen.chained:
        where = "".join(f", {each}" for each in seen.chained_at)
        yield Guard(
            "merges_chained",
            f"{of_source} merges people into others who are merged away themselves, or the same"
            f" person twice: {seen.chained:,}{where}; which merge comes first is not certain",
            "name in each row the person who stays in the end (no setting answers this guard)",
        )


def _gone(seen: SourcePlan) -> int:
    return seen.operations - seen.skipped["repeated_person"]


def _people(plan: Plan) -> int:
    return sum(each.operations for each in plan.sources if each.kind == "customers")


def _both(source: Source, seen: SourcePlan, of_source: str) -> Iterator[Guard]:
    if not seen.both:
        return
    code, what = "deletes_customers", "people who are in customers, too"
    if isinstance(source, RelationshipsSource):
        code, what = "removes_added", "relationships that another source adds"
    where = "".join(f", {each}" for each in seen.both_at)
    yield Guard(
        code,
        f"{of_source} names {what}: {seen.both:,}{where}",
        "take them out of the files of one of the two sources (no setting answers this guard)",
    )


def _reserved(source: Source, seen: SourcePlan, of_source: str) -> Iterator[Guard]:
    if seen.reserved and source.reserved == "refuse":
        yield Guard(
            "reserved",
            f"{of_source} has columns with names reserved by the service:"
            f" {', '.join(seen.reserved)}",
            'set reserved = "drop" or "send", or rename them with from',
        )
