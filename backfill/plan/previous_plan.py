"""The plan before this one, in short: so that a plan can say what differs."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from backfill.files import write_atomically
from backfill.plan.plan import Plan

FORMER_FILE = "last_plan.json"


@dataclass(frozen=True, slots=True)
class PreviousPlan:
    """The figures of a plan.

    Args:
        counts: Rows read, rejected, …, requests and bytes.
        names: Events by name.
        reasons: Rejected rows by reason.
        last_s: The last event.
    """

    counts: dict[str, int]
    names: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    last_s: int | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    key: str
    short: PreviousPlan
    before: PreviousPlan | None = None


_KEPT = TypeAdapter(_Kept)


def short_of(plan: Plan) -> PreviousPlan:
    """The figures of a plan."""
    names: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for each in plan.sources:
        names.update(each.names)
        reasons.update(each.reasons)
    counts = {
        "rows read": plan.rows_read,
        "to send": sum(each.to_send for each in plan.sources),
        "merged": sum(each.merged for each in plan.sources),
        "skipped": sum(each.skipped.total() for each in plan.sources),
        "rejected": sum(each.rejected for each in plan.sources),
        "requests": plan.requests,
        "bytes": sum(each.bytes for each in plan.sources),
    }
    lasts = [each.last_s for each in plan.sources if each.last_s is not None]
    return PreviousPlan(counts, dict(names), dict(reasons), max(lasts, default=None))


def remember(folder: Path, plan: Plan) -> PreviousPlan | None:
    """Keep the figures of a plan in the job's directory; give those of the one before.

    A plan that is looked at twice has the same one before it.
    """
    kept = _load(folder / FORMER_FILE)
    if kept is not None and kept.key == plan.key:
        return kept.before
    before = kept.short if kept else None
    new = _Kept(plan.key, short_of(plan), before)
    write_atomically(folder / FORMER_FILE, _KEPT.dump_json(new))
    return before


def _load(path: Path) -> _Kept | None:
    """What was kept; None where there is nothing, or nothing that this version reads."""
    try:
        return _KEPT.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
