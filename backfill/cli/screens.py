"""What a plan looks like, in a terminal and as JSON."""

import json
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import orjson

from backfill.advice import warnings_of
from backfill.check import Planned
from backfill.cli.exits import shown
from backfill.instants import NATIVE
from backfill.pipeline import Pipeline
from backfill.plans import Plan
from backfill.proof import Decision
from backfill.reasons import SENTENCES
from backfill.report.summary import duration, size
from backfill.report.tables import counted, table, titled
from backfill.runs import Options
from backfill.tally import SourcePlan

API_RATE_MAX = 1000
"""Requests per second that the Track API takes (Track OpenAPI)."""

_NAMES_SHOWN = 6
_SAMPLE_LINES_MAX = 4


def check_text(pipeline: Pipeline, planned: Planned) -> str:
    """What `check` found."""
    sections = [
        [_headline(pipeline, planned)],
        _table(planned.plan.sources),
        _rejected(planned),
        _guards(planned),
    ]
    return _joined(sections)


def plan_text(pipeline: Pipeline, planned: Planned, options: Options) -> str:
    """What `plan` found."""
    plan = planned.plan
    sections = [
        [_headline(pipeline, planned)],
        _table(plan.sources),
        list(_events(plan.sources)),
        _time(pipeline, plan, options),
        _guards(planned),
        _warnings(pipeline, plan),
        _rejected(planned),
        _moments(plan.found.decisions),
        _samples(plan.found.samples),
    ]
    return _joined(sections)


def short_plan(pipeline: Pipeline, plan: Plan, options: Options, *, warn: bool) -> Iterator[str]:
    """A plan in a few lines, as a run shows it before it sends."""
    rejected = sum(each.rejected for each in plan.sources)
    yield f"plan: {plan.rows_read:,} rows looked at, {rejected:,} rejected"
    yield f"plan: {_cost(plan)}, {_at(rate_of(pipeline, options), plan)}"
    for each in warnings_of(pipeline, plan) if warn else ():
        yield f"warning: {each.what}"


def plan_json(pipeline: Pipeline, planned: Planned, options: Options) -> bytes:
    """All of a plan, as one line of JSON."""
    plan = planned.plan
    rate = rate_of(pipeline, options)
    return orjson.dumps(
        {
            "job": pipeline.name,
            "exit": planned.exit,
            "limit": plan.limit,
            "rows_read": plan.rows_read,
            "rejected": sum(each.rejected for each in plan.sources),
            "merged": sum(each.merged for each in plan.sources),
            "skipped": sum(each.skipped.total() for each in plan.sources),
            "rejections_by_reason": dict(_reasons(plan.sources)),
            "rejected_file": str(planned.rejected_file) if planned.rejected_file else None,
            "requests": plan.requests,
            "bytes": sum(each.bytes for each in plan.sources),
            "rate": rate,
            "seconds_at_rate": plan.requests / rate if rate else None,
            "seconds_at_api_limit": plan.requests / API_RATE_MAX,
            "guards": [asdict(each) for each in planned.guards],
            "warnings": [asdict(each) for each in warnings_of(pipeline, plan)],
            "decisions": [asdict(each) for each in plan.found.decisions],
            "sources": [_source_json(each) for each in plan.sources],
            "samples": [orjson.Fragment(each) for each in plan.found.samples],
        }
    )


def rate_of(pipeline: Pipeline, options: Options) -> float:
    """Requests per second at most; 0: no limit."""
    return pipeline.destination.rate if options.rate is None else options.rate


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
        "to_send": to_send(source),
        "rejections_by_reason": dict(source.reasons),
        "requests": source.requests,
        "bytes": source.bytes,
        "names": dict(source.names),
        "first": _iso(source.first_s),
        "last": _iso(source.last_s),
        "days": {_day(day): days[day] for day in sorted(days)},
        "identical_rows": source.identical,
        "repeated_keys": source.repeated_keys,
        "shared_emails": source.shared_emails,
        "unknown_people": source.unknown_people,
        "attributes": source.attributes,
    }


def to_send(source: SourcePlan) -> int:
    """How many rows of a source make an operation."""
    return source.rows_read - source.rejected - source.merged - source.skipped.total()


def _headline(pipeline: Pipeline, planned: Planned) -> str:
    plan = planned.plan
    files = sum(len(each.files) for each in plan.sources)
    limit = f" (the first {plan.limit:,} of each source)" if plan.limit else ""
    read = f"{counted(plan.rows_read, 'row')} in {counted(files, 'file')}{limit}"
    return f"{pipeline.name}: {read}, nothing was sent"


def _table(sources: Sequence[SourcePlan]) -> list[str]:
    """What becomes of the rows of each source."""
    lines: list[tuple[str, ...]] = [
        ("", "rows read", "to send", "merged", "skipped", "rejected", "requests", "size")
    ]
    for title, each in _titled(sources):
        lines.append((title, *_figures([each])))
    if len(sources) > 1:
        lines.append(("all rows", *_figures(sources)))
    return table(lines, ruled=len(sources) > 1)


def _figures(sources: Sequence[SourcePlan]) -> tuple[str, ...]:
    counts = [
        sum(counted(each) for each in sources)
        for counted in (
            lambda each: each.rows_read,
            to_send,
            lambda each: each.merged,
            lambda each: each.skipped.total(),
            lambda each: each.rejected,
            lambda each: each.requests,
        )
    ]
    return (*(f"{each:,}" for each in counts), size(sum(each.bytes for each in sources)))


def _events(sources: Sequence[SourcePlan]) -> Iterator[str]:
    """Which events there are, and from when."""
    for title, each in _titled(sources):
        if each.first_s is None or each.last_s is None:
            continue
        most = each.names.most_common(_NAMES_SHOWN)
        rest = len(each.names) - len(most)
        names = ", ".join(f"{name} {count:,}" for name, count in most)
        more = f" and {rest:,} more names" if rest else ""
        dates = f"{_iso(each.first_s)[:10]} to {_iso(each.last_s)[:10]}"
        yield from _wrapped(f"  {title}  ", f"{dates}: {names}{more}")


def _rejected(planned: Planned) -> list[str]:
    reasons = _reasons(planned.plan.sources).most_common()
    if not reasons or planned.rejected_file is None:
        return []
    width = len(f"{reasons[0][1]:,}")
    codes = max(len(code) for code, _ in reasons)
    lines = [f"Rejected rows, all in {shown(planned.rejected_file)}"]
    for code, count in reasons:
        lines += _wrapped(f"  {count:>{width},}  {code:<{codes}}  ", SENTENCES.get(code, ""))
    return lines


def _guards(planned: Planned) -> list[str]:
    if not planned.guards:
        return []
    lines = ["A run would refuse to send"]
    for each in planned.guards:
        lines += [*_wrapped("  ! ", each.what), *_wrapped("    ", each.answer)]
    return lines


def _warnings(pipeline: Pipeline, plan: Plan) -> list[str]:
    found = warnings_of(pipeline, plan)
    lines = ["Know before you send"] if found else []
    for each in found:
        lines += _wrapped("  - ", each.what)
    return lines


def _moments(decisions: Sequence[Decision]) -> list[str]:
    lines = ["How moments are read"] if decisions else []
    width = max((len(each.column) for each in decisions), default=0)
    for each in decisions:
        zone = f" in {each.timezone}" if each.timezone else ""
        how = "declared" if each.declared else f"fits {each.fits:,} of {each.values:,} values"
        name = "moments by the file's own type" if each.format == NATIVE else each.format
        text = f"{name}{zone}: {each.doubt or how}"
        lines += _wrapped(f"  {each.column:<{width}}  ", text)
    return lines


def _time(pipeline: Pipeline, plan: Plan, options: Options) -> list[str]:
    rate = rate_of(pipeline, options)
    limit = "" if rate == API_RATE_MAX else f", {_at(API_RATE_MAX, plan)} (the API's limit)"
    return _wrapped("", f"{_cost(plan)}: {_at(rate, plan)}{limit}")


def _samples(samples: Sequence[str]) -> list[str]:
    lines = ["As it would be sent"] if samples else []
    for each in samples:
        whole = _wrapped("  ", json.dumps(json.loads(each), ensure_ascii=False))
        lines += whole[:_SAMPLE_LINES_MAX]
        if len(whole) > _SAMPLE_LINES_MAX:
            lines[-1] = lines[-1][:-3] + "..."
    return lines


def _cost(plan: Plan) -> str:
    total = size(sum(each.bytes for each in plan.sources))
    return f"{counted(plan.requests, 'request')}, {total}"


def _at(rate: float, plan: Plan) -> str:
    if not rate:
        return "without a limit of requests/s"
    seconds = plan.requests / rate
    time = f"at least {duration(seconds)}" if seconds >= 1 else "under a second"
    return f"{time} at {rate:,g} requests/s"


def _reasons(sources: Iterable[SourcePlan]) -> Counter[str]:
    found: Counter[str] = Counter()
    for each in sources:
        found.update({code: count for code, count in each.reasons.items() if count})
    return found


def _titled(sources: Sequence[SourcePlan]) -> list[tuple[str, SourcePlan]]:
    return list(zip(titled([each.kind for each in sources]), sources, strict=True))


def _wrapped(first: str, text: str) -> list[str]:
    width = min(shutil.get_terminal_size().columns or 80, 80)
    return textwrap.wrap(
        text,
        max(width, len(first) + 20),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
    )


def _joined(sections: Iterable[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _iso(unix_s: int | None) -> str:
    return "" if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat()


def _day(days: int) -> str:
    return _iso(days * 86_400)[:10]
