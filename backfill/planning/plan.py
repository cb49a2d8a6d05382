"""The first pass: looks at every row, sends nothing, and says what a run would do.

It also finds what only the whole source shows: how timestamps are written, which rows repeat, which
belong to one person. What it decided about single rows is kept for the send pass (`marks`), what
people must know stands in the `Plan`.
"""

import errno
import hashlib
import json
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from backfill.errors import StateError
from backfill.files import sync_directory, write_atomically
from backfill.journal import Ranges
from backfill.journal.directory import own_folder
from backfill.judge.chunk_judge import IN_THREADS, ChunkWorkers
from backfill.pipeline.file import Pipeline
from backfill.planning.chunk_stats import Before, KnownPeople
from backfill.planning.first_pass import PlanResult, Task, find
from backfill.planning.folder import PlanFolder
from backfill.planning.progress import OnProgress, nobody
from backfill.planning.row_decisions import EarlierDecisions, RowDecisions
from backfill.planning.source_stats import SourcePlan
from backfill.sources.inputs import Input

FORM = 9
"""The form of what is stored; another one is planned anew."""

LAST_FIGURES_FILE = "last_plan.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PLAN_NAME = re.compile(r"[0-9a-f]{24}(\.[0-9a-f]+)?")
"""A plan's key, or the name under which it was being made."""


@dataclass(slots=True)
class Plan:
    """What a run would do.

    Args:
        key: What it holds for: these files, settings, and rows settled before.
        now_s: When it was made; `latest = "now+1d"` counts from here.
        found: What the pass found.
    """

    key: str
    now_s: float
    found: PlanResult

    @property
    def sources(self) -> list[SourcePlan]:
        """What was found, by source."""
        return self.found.sources

    @property
    def rows_read(self) -> int:
        """How many rows there are."""
        return sum(self.found.rows.values())

    @property
    def requests(self) -> int:
        """How many requests a run would make, roughly: merged and skipped rows still count."""
        return sum(source.requests for source in self.sources)

    def to_json(self) -> bytes:
        """As JSON."""
        return orjson.dumps(self, option=orjson.OPT_NON_STR_KEYS)


def inputs_key(pipeline: Pipeline, inputs: Sequence[Input]) -> str:
    """What a plan is for, as a short text: these files and settings."""
    said: list[Any] = [FORM, pipeline.digest(), pipeline.policies()]
    said += [[each.part, each.source, each.fingerprint.digest] for each in inputs]
    return _short(said)


def plan_key(
    pipeline: Pipeline,
    inputs: Sequence[Input],
    settled: Mapping[int, Ranges],
    former: str = "",
) -> str:
    """What a plan holds for: what it is for, the rows settled before, and the plan they went by."""
    before = [
        [part, ranges.low_watermark, list(ranges.above())]
        for part, ranges in sorted(settled.items())
        # A part that is known but has nothing settled is the same as one that is new.
        if ranges.settled_count()
    ]
    return _short([inputs_key(pipeline, inputs), before, former if before else ""])


def _short(said: list[Any]) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:24]


def load_plan(folder: Path, key: str) -> Plan | None:
    """The plan that was made for this key, if it is still there.

    Raises:
        StateError: It is damaged.
    """
    path = PlanFolder(folder / key).plan
    if path.parent.is_symlink():  # what it leads to was not planned by us
        raise _damaged(path)
    try:
        # Built here: it takes 5 ms, and most runs make their plan and read none.
        return TypeAdapter(Plan).validate_json(path.read_bytes()) if path.exists() else None
    except ValueError as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> StateError:
    return StateError(
        f"{path}: the plan is damaged",
        next_step="restore the state directory from a backup, or start over with --restart",
    )


def make_plan(  # noqa: PLR0913 - all but three are keywords
    pipeline: Pipeline,
    inputs: Sequence[Input],
    folder: Path,
    *,
    now_s: float,
    settled: Mapping[int, Ranges] | None = None,
    former: str = "",
    known_people: KnownPeople = tuple,
    progress: OnProgress = nobody,
    workers: ChunkWorkers = IN_THREADS,
) -> Plan:
    """Look at every row.

    Args:
        pipeline: The settings.
        inputs: The opened files.
        folder: The job's `plan` directory; this plan gets a directory of its own in it.
        now_s: The time now, as unix seconds.
        settled: The rows that were settled before, by part: repeats of them count as repeats,
            and people are merged without them.
        former: The key of the plan that they were settled by, while it is still there: events
            keep their occurrence numbers, and what was left out takes nothing's place.
        known_people: Gives the people who were sent before: events about them are about nobody
            unknown.
        progress: Is told of rows checked.
        workers: Who looks at the chunks.

    Raises:
        UsageError: A file, a column or a transform cannot be used.
        SourceChangedError: A file changed meanwhile.
    """
    settled = settled or {}
    key = plan_key(pipeline, inputs, settled, former)
    before = Before(settled, _former(folder, former), known_people)
    # A name of its own: what a killed process left behind is in nobody's way.
    made_in = own_folder(folder) / f"{key}.{secrets.token_hex(4)}"
    made_in.mkdir(mode=0o700)
    try:
        found = find(Task(pipeline, inputs, made_in, before, now_s, progress, workers))
        plan = Plan(key, now_s, found)
        PlanFolder(made_in).plan.write_bytes(plan.to_json())
        # Sums of all files, so that damage between now and the send pass is noticed.
        PlanFolder(made_in).seal()
        # Renamed into place as a whole: a crash leaves no half of a plan under its key.
        shutil.rmtree(folder / key, ignore_errors=True)
        made_in.rename(folder / key)
        sync_directory(folder)
    except OSError as error:
        if error.errno in _FULL:  # what a write to an open file raises does not name the file
            error.filename = str(folder)
        raise
    finally:
        shutil.rmtree(made_in, ignore_errors=True)
    return plan


def _former(folder: Path, key: str) -> EarlierDecisions | None:
    plan = load_plan(folder, key) if key else None
    return (
        EarlierDecisions(RowDecisions(PlanFolder(folder / key).decisions), plan.found.rows)
        if plan
        else None
    )


def keep_only(folder: Path, *keys: str) -> None:
    """Remove every other plan; what has not the name of one is left alone.

    Raises:
        StateError: The folder is a link: what it leads to is not ours.
    """
    for path in own_folder(folder).iterdir():
        if path.name not in keys and _PLAN_NAME.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)  # which never follows a link


@dataclass(frozen=True, slots=True)
class PlanFigures:
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
    short: PlanFigures
    before: PlanFigures | None = None


def figures_of(plan: Plan) -> PlanFigures:
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
    return PlanFigures(counts, dict(names), dict(reasons), max(lasts, default=None))


def compare_with_last(folder: Path, plan: Plan) -> PlanFigures | None:
    """Keep the figures of a plan in the job's directory; give those of the one before.

    A plan that is looked at twice has the same one before it.
    """
    kept = _load(folder / LAST_FIGURES_FILE)
    if kept is not None and kept.key == plan.key:
        return kept.before
    before = kept.short if kept else None
    new = _Kept(plan.key, figures_of(plan), before)
    write_atomically(folder / LAST_FIGURES_FILE, orjson.dumps(new))
    return before


def _load(path: Path) -> _Kept | None:
    """What was kept; None where there is nothing, or nothing that this version reads."""
    try:
        return TypeAdapter(_Kept).validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
