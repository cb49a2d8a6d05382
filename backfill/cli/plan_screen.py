"""What a plan looks like: what somebody shows around before the button is pressed."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from backfill.cli.screens import (
    API_RATE_MAX,
    at_rate,
    cost,
    guards,
    headline,
    iso,
    rate_of,
    rejected,
    schedule_of,
    sources_table,
    titled_sources,
    warnings,
)
from backfill.cli.terminal import bar, histogram, joined, width, wrapped
from backfill.commands.check import Planned
from backfill.engine.options import Options
from backfill.instants import NATIVE
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import EventsSource, RelationshipsSource
from backfill.planning.plan import Plan, PlanFigures, figures_of
from backfill.planning.proof import Decision
from backfill.planning.source_stats import SourcePlan
from backfill.report.wording import counted, counted_of, printable, size

_NAMES_SHOWN = 6
_SOURCES_SHOWN = 5
_NAME_WIDTH_MAX = 32
_BAR_WIDTH_MIN = 5
_SAMPLE_LINES_MAX = 4
_INDENT = "    "


def plan_text(pipeline: Pipeline, planned: Planned, options: Options) -> str:
    """What `plan` found: what is sent, what stands against it, what to know, why it is read so."""
    plan = planned.plan
    sections = [
        headline(pipeline, planned),
        sources_table(plan.sources),
        _time(pipeline, planned, options),
        _since(plan, planned.former),
        guards(planned),
        warnings(pipeline, plan),
        list(_history(plan.sources)),
        _together(pipeline, plan),
        rejected(planned, places=True),
        _timestamps(plan.sources, plan.found.decisions),
        _samples(plan),
    ]
    return joined(sections)


def _time(pipeline: Pipeline, planned: Planned, options: Options) -> list[str]:
    plan, rate = planned.plan, rate_of(pipeline, options)
    limit = "" if rate == API_RATE_MAX else f", {at_rate(API_RATE_MAX, plan)} (the API's limit)"
    lines = wrapped("", f"{cost(plan)}: {at_rate(rate, plan)}{limit}")
    schedule = schedule_of(pipeline, options)
    if schedule.windows:
        ends_s = schedule.ends_s(plan.requests, planned.now_s)
        zone = schedule.windows[0].timezone
        when = "not within a year"
        if ends_s is not None:
            shown = datetime.fromtimestamp(ends_s, ZoneInfo(zone))
            when = f"done {shown:%Y-%m-%d %H:%M} ({zone}) at the earliest"
        lines += wrapped("", f"With the windows of the rate, begun now: {when}")
        for each in schedule.windows:
            rate_within = f"{each.rate:,g} requests/s" if each.rate else "nothing is sent"
            lines += wrapped("  ", f"{each.from_} to {each.to} ({each.timezone}): {rate_within}")
    return lines


def _since(plan: Plan, former: PlanFigures | None) -> list[str]:
    """What differs from the plan before."""
    if former is None:
        return []
    now = figures_of(plan)
    differences = [
        f"{name} {_figure(name, count)} ({_signed(name, count - former.counts.get(name, 0))})"
        for name, count in now.counts.items()
        if count != former.counts.get(name, 0)
    ]
    for what, here, there in (
        ("new event names", now.names, former.names),
        ("event names gone", former.names, now.names),
        ("new reasons to reject", now.reasons, former.reasons),
        ("reasons gone", former.reasons, now.reasons),
    ):
        names = sorted(name for name in here if here[name] and not there.get(name))
        if names:
            more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
            differences.append(f"{what}: {', '.join(names[:_NAMES_SHOWN])}{more}")
    # An export that was cut off at the end has the names and nearly the figures of a whole one.
    if now.last_s != former.last_s:
        differences.append(f"last event {iso(now.last_s) or 'none'}")
    if not differences:
        return ["The last plan had the same figures"]
    return [
        "Since the last plan",
        *(line for each in differences for line in wrapped("  ", each)),
    ]


def _figure(name: str, count: int) -> str:
    return size(count) if name == "bytes" else f"{count:,}"


def _signed(name: str, difference: int) -> str:
    return f"{'+' if difference > 0 else '-'}{_figure(name, abs(difference))}"


def _together(pipeline: Pipeline, plan: Plan) -> list[str]:
    """People, and which rows belong together."""
    lines: list[str] = []
    for (title, seen), source in zip(titled_sources(plan.sources), pipeline.sources, strict=True):
        sent = seen.to_send if source.kind != "events" else 0
        policy = {name: getattr(source, name, "") for name in ("identical_rows", "repeated_keys")}
        unknown = ""
        if isinstance(source, EventsSource | RelationshipsSource):
            unknown = pipeline.unknown_people(source)
        shared = getattr(source, "shared_emails", "")
        says = (
            (sent, counted_of(source.kind, sent)),
            (seen.merged, f"{counted(seen.merged, 'more row')} of the same, merged"),
            (seen.shared_emails, f"shared e-mails: {seen.shared_emails:,} ({shared})"),
            (seen.unknown_people, f"unknown people: {seen.unknown_people:,} ({unknown})"),
            (seen.identical, f"identical rows: {seen.identical:,} ({policy['identical_rows']})"),
            (
                seen.repeated_keys,
                f"repeated keys: {seen.repeated_keys:,} ({policy['repeated_keys']})",
            ),
            *((n, f"skipped as {why}: {n:,}") for why, n in seen.skipped.items()),
        )
        found = "; ".join(text for count, text in says if count)
        lines += wrapped(f"  {title}  ", found) if found else []
    return ["People and repeats", *lines] if lines else []


def _history(sources: Sequence[SourcePlan]) -> Iterator[str]:
    """Which events there are, and from when."""
    dated = [(title, each) for title, each in titled_sources(sources) if each.days]
    if dated:
        yield "Events by day (UTC)"
    for title, each in dated[:_SOURCES_SHOWN]:
        first, last = min(each.days), max(each.days)
        columns = min(width() - len(_INDENT), last - first + 1)
        days = (last - first) // columns + 1
        dates = f"{iso(each.first_s)[:10]} to {iso(each.last_s)[:10]}"
        scale = f", a mark for {counted(days, 'day')}" if columns > 1 else ""
        yield from wrapped(f"  {title}  ", f"{dates}{scale}")
        if columns > 1:
            binned: Counter[int] = Counter()
            for day, count in each.days.items():
                binned[(day - first) // days] += count
            marks = histogram([binned[at] for at in range((last - first) // days + 1)])
            yield f"{_INDENT}{marks}".rstrip()
        yield from _names(each.names)
    if rest := dated[_SOURCES_SHOWN:]:
        more = counted(len(rest), "more source")
        yield from wrapped("  ", f"and {more} of events; backfill plan --json has all")


def _names(names: Counter[str]) -> Iterator[str]:
    """The most frequent events, each with a bar."""
    most = names.most_common(_NAMES_SHOWN)
    room_of_names = min(
        max(len(printable(name)) for name, _ in most), _NAME_WIDTH_MAX, width() // 2
    )
    digits = len(f"{most[0][1]:,}")
    room = width() - len(_INDENT) - room_of_names - digits - 4
    for name, count in most:
        # Cut, never wrapped: bars are compared only where they begin below one another.
        short = name if len(name) <= room_of_names else f"{name[: room_of_names - 1]}…"
        line = f"{_INDENT}{short:<{room_of_names}}  {count:>{digits},}"
        yield f"{line}  {bar(count, most[0][1], room)}" if room >= _BAR_WIDTH_MIN else line
    if len(names) > len(most):
        rest = names.total() - sum(count for _, count in most)
        more = counted(len(names) - len(most), "more name")
        yield from wrapped(_INDENT, f"and {more}, {counted(rest, 'event')}")


def _timestamps(sources: Sequence[SourcePlan], decisions: Sequence[Decision]) -> list[str]:
    """How each column of timestamps is read, and what proves it."""
    lines = ["How timestamps are read"] if decisions else []
    titles = [f"{title}: " if len(sources) > 1 else "" for title, _ in titled_sources(sources)]
    columns = max((len(titles[each.source] + each.column) for each in decisions), default=0)
    for each in decisions:
        zone = f" in {each.timezone}" if each.timezone else ""
        how = "declared" if each.declared else f"fits {each.fits:,} of {each.values:,} values"
        name = "the file's own type" if each.format == NATIVE else each.format
        column = f"{titles[each.source]}{each.column}"
        lines += wrapped(f"  {column:<{columns}}  ", f"{name}{zone}: {each.doubt or how}")
        for reading in each.readings:
            lines += wrapped(_INDENT, reading)
    return lines


def _samples(plan: Plan) -> list[str]:
    """The first operations, as JSON."""
    lines = ["Sample requests"] if plan.found.samples else []
    if lines and any(each.merged for each in plan.sources):
        lines = wrapped("", "Sample requests, from one row each: the person's others are merged in")
    for each in plan.found.samples:
        whole = wrapped("  ", json.dumps(json.loads(each), ensure_ascii=False))
        lines += whole[:_SAMPLE_LINES_MAX]
        if len(whole) > _SAMPLE_LINES_MAX:
            lines[-1] = f"{lines[-1][: width() - 2]} …"
    return lines
