"""What looking at the source shows, in a terminal and as JSON."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from backfill.cli.exits import shown
from backfill.cli.terminal import joined, width, wrapped
from backfill.commands.check import Planned
from backfill.engine.options import Options
from backfill.pipeline.file import Pipeline
from backfill.pipeline.rate_windows import RateSchedule
from backfill.planning.plan import Plan
from backfill.planning.source_stats import SourcePlan
from backfill.planning.warnings import warnings_of
from backfill.report.wording import counted, duration, size, table, titled
from backfill.rows import SENTENCES

if TYPE_CHECKING:  # what sends loads slowly, and a look at the files needs none of it
    from backfill.sync.differences import Differences

_ALIKE_SHOWN = 3
API_RATE_MAX = 1000
"""Requests per second that the Track API takes (Track OpenAPI)."""


def check_text(pipeline: Pipeline, planned: Planned) -> str:
    """What `check` found."""
    sections = [
        headline(pipeline, planned),
        sources_table(planned.plan.sources),
        rejected(planned),
        guards(planned),
        warnings(pipeline, planned.plan),
    ]
    return joined(sections)


def short_plan(pipeline: Pipeline, plan: Plan, options: Options, *, warn: bool) -> Iterator[str]:
    """A plan in a few lines, as a run shows it before it sends."""
    refused = sum(each.rejected for each in plan.sources)
    yield f"plan: {counted(plan.rows_read, 'row')} checked, {refused:,} rejected"
    yield f"plan: {cost(plan)}, {at_rate(rate_of(pipeline, options), plan)}"
    for text in warned(pipeline, plan) if warn else ():
        yield f"warning: {text}"


def short_sync(pipeline: Pipeline, plan: Plan, tonight: "Differences") -> Iterator[str]:
    """The same of a sync: what differs, not what the whole export would cost."""
    refused = sum(each.rejected for each in plan.sources)
    yield f"plan: {counted(plan.rows_read, 'row')} checked, {refused:,} rejected"
    # Files that only grow are not compared: what is new in them is told by itself.
    by_file = [each for each in pipeline.sources if each.sync_mode == "files"]
    compared = [each.kind for each in pipeline.sources if each not in by_file]
    for kind, each in tonight.kinds.items():
        if kind in compared:
            yield f"sync: {each.text(kind)}"
    rows: Counter[bool] = Counter()
    for source, seen in zip(pipeline.sources, plan.sources, strict=True):
        if source in by_file or source.kind == "events":
            rows[source in by_file] += seen.to_send
    if "events" in compared:
        yield f"sync: {counted(tonight.events, 'new event')} of {rows[False]:,}"
    if rows[True]:
        yield f"sync: {counted(rows[True], 'row')} of new or longer files"
    for warning in warnings_of(pipeline, plan):
        if _concerns(warning.code, tonight):
            yield f"warning: {warning.what}"


def _concerns(code: str, tonight: "Differences") -> bool:
    """Whether a warning about the whole export is one about what is sent of it tonight."""
    if code == "no_created_at":
        return tonight.of("customers").new > 0
    if code == "objects_trigger":
        return any(tonight.of(kind).sent for kind in ("objects", "relationships"))
    return True


def plan_json(pipeline: Pipeline, planned: Planned, options: Options) -> bytes:
    """All of a plan, as one line of JSON."""
    plan = planned.plan
    rate = rate_of(pipeline, options)
    ends_s = schedule_of(pipeline, options).ends_s(plan.requests, planned.now_s)
    return orjson.dumps(
        {
            "job": pipeline.name,
            "exit": planned.exit,
            "limit": planned.limit,
            "rows_read": plan.rows_read,
            "rejected": sum(each.rejected for each in plan.sources),
            "merged": sum(each.merged for each in plan.sources),
            "skipped": sum(each.skipped.total() for each in plan.sources),
            "rejections_by_reason": dict(reasons_of(plan.sources)),
            "rejected_file": str(planned.rejected_file) if planned.rejected_file else None,
            "requests": plan.requests,
            "bytes": sum(each.bytes for each in plan.sources),
            "rate": rate,
            "seconds_at_rate": plan.requests / rate if rate else None,
            "ends_at": iso(round(ends_s)) if ends_s is not None else None,
            "seconds_at_api_limit": plan.requests / API_RATE_MAX,
            "guards": [asdict(each) for each in planned.guards],
            "warnings": [asdict(each) for each in warnings_of(pipeline, plan)],
            "rejection_examples": planned.examples,
            "former": asdict(planned.former) if planned.former else None,
            "decisions": [asdict(each) for each in plan.found.decisions],
            "sources": [_source_json(each) for each in plan.sources],
            "samples": [orjson.Fragment(each) for each in plan.found.samples],
        }
    )


def rate_of(pipeline: Pipeline, options: Options) -> float:
    """Requests per second at most; 0: no limit."""
    return pipeline.destination.rate if options.rate is None else options.rate


def schedule_of(pipeline: Pipeline, options: Options) -> RateSchedule:
    """The rate by the clock; one of the command line holds all day."""
    if options.rate is not None:
        return RateSchedule(options.rate)
    return pipeline.destination.schedule


def _source_json(source: SourcePlan) -> dict[str, Any]:
    days = source.days
    return {
        "kind": source.kind,
        "files": source.files,
        "rows_read": source.rows_read,
        "rejected": source.rejected,
        "merged": source.merged,
        "skipped": source.skipped.total(),
        "skipped_by_reason": dict(source.skipped),
        "to_send": source.to_send,
        "rejections_by_reason": dict(source.reasons),
        "requests": source.requests,
        "bytes": source.bytes,
        "names": dict(source.names),
        "first": iso(source.first_s),
        "last": iso(source.last_s),
        "days": {_day(day): days[day] for day in sorted(days)},
        "identical_rows": source.identical,
        "repeated_keys": source.repeated_keys,
        "shared_emails": source.shared_emails,
        "unknown_people": source.unknown_people,
        "unknown_objects": source.unknown_objects,
        "attributes": source.attributes,
        "consent": {name: dict(said) for name, said in source.consent.items()},
    }


def headline(pipeline: Pipeline, planned: Planned) -> list[str]:
    """What was looked at."""
    plan = planned.plan
    files = sum(len(each.files) for each in plan.sources)
    sent = f" (of each source the first {planned.limit:,} are sent)" if planned.limit else ""
    read = f"{counted(plan.rows_read, 'row')} in {counted(files, 'file')}{sent}"
    return wrapped("", f"{pipeline.name}: {read}, nothing was sent")


def sources_table(sources: Sequence[SourcePlan]) -> list[str]:
    """What becomes of the rows of each source; sentences where a table has no room."""
    head = ("rows read", "to send", "merged", "skipped", "rejected", "requests", "size")
    lines = [(title, *_figures([each])) for title, each in titled_sources(sources)]
    if len(sources) > 1:
        lines.append(("all rows", *_figures(sources)))
    return table([("", *head), *lines], ruled=int(len(sources) > 1), width=width())


def _figures(sources: Sequence[SourcePlan]) -> tuple[str, ...]:
    counts = (
        sum(each.rows_read for each in sources),
        sum(each.to_send for each in sources),
        sum(each.merged for each in sources),
        sum(each.skipped.total() for each in sources),
        sum(each.rejected for each in sources),
        sum(each.requests for each in sources),
    )
    return (*(f"{each:,}" for each in counts), size(sum(each.bytes for each in sources)))


def rejected(planned: Planned, *, places: bool = False) -> list[str]:
    """The rejected rows by reason; and, if wanted, where some of them are."""
    reasons = reasons_of(planned.plan.sources).most_common()
    if not reasons or planned.rejected_file is None:
        return []
    digits = len(f"{reasons[0][1]:,}")
    codes = max(len(code) for code, _ in reasons)
    lines = wrapped("", f"Rejected rows (all in {shown(planned.rejected_file)})")
    for code, count in reasons:
        first = f"  {count:>{digits},}  {code:<{codes}}  "
        lines += wrapped(first, SENTENCES.get(code, ""))
        examples = planned.examples.get(code, ()) if places else ()
        if examples:
            lines += wrapped(
                " " * (digits + 4), f"{', '.join(examples)}{' …' if count > len(examples) else ''}"
            )
    return lines


def guards(planned: Planned) -> list[str]:
    """Why a run would not send, and what answers it."""
    if not planned.guards:
        return []
    lines = ["A run would be refused"]
    for each in planned.guards:
        lines += [*wrapped("  ! ", each.what), *wrapped("    ", each.answer)]
    return lines


def warnings(pipeline: Pipeline, plan: Plan) -> list[str]:
    """What to know before sending."""
    lines = [line for text in warned(pipeline, plan) for line in wrapped("  - ", text)]
    return ["Warnings", *lines] if lines else []


def warned(pipeline: Pipeline, plan: Plan) -> Iterator[str]:
    """The warnings as sentences; of many alike the first ones, and how many more there are."""
    by_code: dict[str, list[str]] = {}
    for each in warnings_of(pipeline, plan):
        by_code.setdefault(each.code, []).append(each.what)
    for texts in by_code.values():
        yield from texts[:_ALIKE_SHOWN]
        if rest := texts[_ALIKE_SHOWN:]:
            yield f"and {counted(len(rest), 'warning')} like the last; backfill plan --json has all"


def cost(plan: Plan) -> str:
    """What a run would send in all."""
    total = size(sum(each.bytes for each in plan.sources))
    return f"{counted(plan.requests, 'request')}, {total}"


def at_rate(rate: float, plan: Plan) -> str:
    """How long that takes at so many requests per second."""
    if not rate:
        return "without a rate limit"
    seconds = plan.requests / rate
    time = f"at least {duration(seconds)}" if seconds >= 1 else "under a second"
    return f"{time} at {rate:,g} {'request' if rate == 1 else 'requests'}/s"


def reasons_of(sources: Iterable[SourcePlan]) -> Counter[str]:
    """Rejected rows by reason."""
    found: Counter[str] = Counter()
    for each in sources:
        found.update({code: count for code, count in each.reasons.items() if count})
    return found


def titled_sources(sources: Sequence[SourcePlan]) -> list[tuple[str, SourcePlan]]:
    """The sources, each with what it is called."""
    return list(zip(titled([each.kind for each in sources]), sources, strict=True))


def iso(unix_s: int | None) -> str:
    """Unix seconds as ISO 8601 in UTC; empty: none."""
    return "" if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat()


def _day(days: int) -> str:
    return iso(days * 86_400)[:10]
