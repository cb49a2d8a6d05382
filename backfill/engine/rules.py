"""Why an accepted row is not sent by itself: one rule for each reason, in one list.

`run`, `sync` and `retry` go by the same list. A rule looks at the accepted rows of a chunk and
gives those that stay, and what becomes of the others; it changes nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from backfill.journal import Ranges
from backfill.judge.chunk_judge import JudgedChunk
from backfill.judge.row_faults import rejection, unknown_people
from backfill.operations.encode import Accepted, Api
from backfill.pipeline.source_settings import EventsSource, Source
from backfill.planning.merged_people import put_together
from backfill.planning.row_decisions import SKIPPED, Decided, RowDecision
from backfill.rows import Chunk, Rejection, Rows, reason
from backfill.sources.inputs import Input
from backfill.sync.differences import Changes, RowChange

RowPlace = tuple[int, int]
"""A row of a job: its part and its number."""


@dataclass(frozen=True, slots=True)
class MergedRow:
    """A row whose person another row carries.

    Args:
        place: Its part and number.
        carrier: The part and row that carry the person.
        origin: The chunk it was read in.
    """

    place: RowPlace
    carrier: RowPlace
    origin: Chunk


@dataclass(slots=True)
class LeftOut:
    """The rows of a chunk that make no operation of their own, with what becomes of each.

    Args:
        skipped: int64, the rows that are skipped, ascending, by reason.
        rejections: The rows that are rejected.
        merged: The rows that go out with another one.
        held: How many rows wait until they are old enough.
    """

    skipped: dict[str, Rows] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    merged: list[MergedRow] = field(default_factory=list)
    held: int = 0

    def add(self, more: "LeftOut") -> None:
        """Take what another rule leaves out."""
        for why, rows in more.skipped.items():
            before = self.skipped.get(why)
            self.skipped[why] = rows if before is None else np.union1d(before, rows)
        self.rejections += more.rejections
        self.merged += more.merged
        self.held += more.held


@dataclass(frozen=True, slots=True)
class Case:
    """What the rules know of a chunk besides its accepted rows.

    Args:
        judged: The chunk.
        source: Its settings.
        api: The pipeline's API.
        settled: The rows of its part that need nothing more.
        now_s: The run's start, as unix seconds: how old an event is.
        said_of: Gives all that the rows of merged people say together, for the rows of a part that
            carry them (int64); None: more than the API takes.
        changes: In a sync: which rows differ from what was delivered; None: all are sent.
    """

    judged: JudgedChunk
    source: Source
    api: Api
    settled: Ranges
    now_s: float
    said_of: Callable[[int, Rows], Sequence[str | None]]
    changes: Changes | None = None

    @property
    def part(self) -> int:
        """The chunk's part."""
        return self.judged.place.part


Rule: TypeAlias = Callable[[Accepted, Case], tuple[Accepted, LeftOut]]
"""Gives the rows that stay, and what becomes of the others."""


def settled(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Rows that need nothing more."""
    return accepted.take(~case.settled.contains(accepted.rows)), LeftOut()


def rejected(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Rows that the judge did not accept."""
    found = case.judged.rejections
    if not found:
        return accepted, LeftOut()
    done = case.settled.contains(np.array([each.row for each in found], np.int64))
    new = [each for each, is_done in zip(found, done.tolist(), strict=True) if not is_done]
    return accepted, LeftOut(rejections=new)


def dropped(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Rows that the transform left out."""
    rows = case.judged.dropped[~case.settled.contains(case.judged.dropped)]
    return accepted, LeftOut(skipped={"transform": rows} if len(rows) else {})


def unchanged(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """In a sync: people and events that are as they were delivered, or refused, before.

    The rows of a person share one fate: that of the row that carries them.
    """
    changes = case.changes
    if changes is None or not changes.concern(case.part):
        return accepted, LeftOut()
    rows, parts = accepted.rows, np.full(len(accepted), case.part, np.int32)
    compared = np.ones(len(accepted), np.bool_)
    carried = ~compared
    if (decided := accepted.decided) is not None:
        carried = decided["kind"] == RowDecision.MERGED
        compared = carried | np.isin(decided["kind"], (0, RowDecision.CARRIER))
        rows = np.where(carried, decided["value"], rows)
        parts = np.where(carried, decided["other"], parts)
    kinds = changes.of(parts, rows)
    left_out = LeftOut()
    for kind, why in ((0, changes.why_skipped(case.part)), (RowChange.UNCHANGED, "unchanged")):
        if (skipped := compared & (kinds == kind)).any():
            left_out.add(LeftOut(skipped={why: accepted.rows[skipped]}))
    refused = compared & ~carried & (kinds == RowChange.REFUSED_BEFORE)
    left_out.rejections = [
        rejection(case.judged.chunk, row, changes.why_refused(case.part, row))
        for row in accepted.rows[refused].tolist()
    ]
    gone = (compared & np.isin(kinds, (0, RowChange.UNCHANGED))) | refused
    return accepted.take(~gone), left_out


def repeated(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Rows that repeat another one; people who have somebody else's e-mail address."""
    del case
    if accepted.decided is None:
        return accepted, LeftOut()
    kinds = accepted.decided["kind"]
    skipped = {
        why: accepted.rows[kinds == mark] for mark, why in SKIPPED.items() if (kinds == mark).any()
    }
    return accepted.take(~np.isin(kinds, tuple(SKIPPED))), LeftOut(skipped=skipped)


def unknown(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Events about people whom no customers source names."""
    if accepted.decided is None:
        return accepted, LeftOut()
    gone = accepted.decided["kind"] == RowDecision.UNKNOWN_PERSON
    rejections = unknown_people(case.source, case.judged.chunk, accepted.rows[gone])
    return accepted.take(~gone), LeftOut(rejections=rejections)


def merged(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Rows whose person another row carries."""
    if accepted.decided is None:
        return accepted, LeftOut()
    gone = accepted.decided["kind"] == RowDecision.MERGED
    rows = zip(accepted.rows[gone].tolist(), accepted.decided[gone], strict=True)
    carried = [
        MergedRow(
            (case.part, row), (int(decided["other"]), int(decided["value"])), case.judged.chunk
        )
        for row, decided in rows
    ]
    return accepted.take(~gone), LeftOut(merged=carried)


def too_large(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """People who are too much for the API once carrying rows say all that their person's rows say.

    The rows that stay say it.
    """
    if accepted.decided is None:
        return accepted, LeftOut()
    carriers = accepted.decided["kind"] == RowDecision.CARRIER
    if not carriers.any():
        return accepted, LeftOut()
    said = case.said_of(case.part, accepted.rows[carriers])
    accepted, fits = put_together(case.source, case.api, accepted, carriers, said)
    rejections = [
        rejection(case.judged.chunk, row, (reason("too_large_merged"),))
        for row in accepted.rows[~fits].tolist()
    ]
    return accepted.take(fits), LeftOut(rejections=rejections)


def recent(accepted: Accepted, case: Case) -> tuple[Accepted, LeftOut]:
    """Events that can trigger campaigns, where they are skipped or held."""
    source = case.source
    if not isinstance(source, EventsSource) or source.recent_events not in ("skip", "hold"):
        return accepted, LeftOut()
    young = accepted.recent(case.now_s)
    left_out = LeftOut()
    if source.recent_events == "hold":
        left_out.held = int(young.sum())
    elif young.any():
        left_out.skipped = {"recent_event": accepted.rows[young]}
    return accepted.take(~young), left_out


RULES: tuple[Rule, ...] = (
    settled,
    rejected,
    dropped,
    unchanged,
    repeated,
    unknown,
    merged,
    too_large,
    recent,
)
"""In this order: whoever is left out by one is asked by none of those behind it."""


def leave_out(
    accepted: Accepted, case: Case, rules: Iterable[Rule] = RULES
) -> tuple[Accepted, LeftOut]:
    """The rows that are sent, and what becomes of the others."""
    left_out = LeftOut()
    for rule in rules:
        accepted, more = rule(accepted, case)
        left_out.add(more)
    return accepted, left_out


def not_noted(
    chunk: Chunk, place: Input, changes: Changes, settled: Ranges, decided: Decided | None
) -> tuple[Chunk, LeftOut]:
    """What `unchanged` would leave out, told from the row numbers alone: nobody need judge it.

    Args:
        chunk: The rows as they were read.
        place: Their file.
        changes: What differs from what was delivered.
        settled: The rows that need nothing more.
        decided: What the plan pass decided about each row of the chunk.

    Returns:
        The rows that have to be judged, and those that are skipped.
    """
    noted = changes.noted(place.part, chunk.rows)
    if decided is not None:
        noted |= decided["kind"] > 0
    new = ~settled.contains(chunk.rows)
    rows = chunk.rows[new & ~noted]
    why = changes.why_skipped(place.part)
    return chunk.only(noted & new), LeftOut(skipped={why: rows} if len(rows) else {})
