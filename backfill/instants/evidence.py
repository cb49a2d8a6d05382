"""Proof, over a whole column, of how its timestamps are written."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations
from typing import Literal

import numpy as np
import pyarrow as pa

from backfill.instants import reading
from backfill.instants.candidates import CANDIDATES, NEEDS_PIVOT, format_of
from backfill.instants.formats import skeleton, skeleton_of
from backfill.instants.reading import NATIVE, Reading, WrittenValues, fitted, is_native, zone_of
from backfill.instants.zones import SECOND_US, Bools, Column, Failure, Ints, outside

PERCENT_MIN = 90
"""A proved format fits at least so many of a hundred values that are not null."""
EXAMPLES_MAX = 3


@dataclass(frozen=True, slots=True)
class FormatExample:
    """A value of the column and its row. For the plan's screen; never for a log or an error."""

    row: int
    value: str


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """Two formats fit the same values and read at least one of them differently.

    Args:
        example: A value that the two read differently.
        first, second: The two readings.
        first_instant, second_instant: What each makes of the example, as ISO 8601.
    """

    example: FormatExample
    first: Reading
    second: Reading
    first_instant: str
    second_instant: str


@dataclass(frozen=True, slots=True)
class NoFormat:
    """No format fits enough values.

    Args:
        values: How many values are not null.
        nearest: The reading that fits the most; None if none fits any.
        fits: How many that is.
        examples: Values that no candidate fits.
        misfit: The first value that the nearest reading does not fit; None without a nearest.
        unknown_zones: Abbreviations of zones that stand in the text and mean nothing yet.
        short_year: The format that would fit if a pivot were declared; empty: none would.
    """

    values: int
    nearest: Reading | None
    fits: int
    examples: tuple[FormatExample, ...]
    misfit: FormatExample | None = None
    unknown_zones: tuple[str, ...] = ()
    short_year: str = ""


@dataclass(frozen=True, slots=True)
class FormatCounts:
    """How one candidate fared.

    Args:
        format: The candidate.
        fits: How many values it fits.
        zoneless: How many of these carry no zone.
        refuted_by: A value in the candidate's layout that it cannot read, such as 31/01/2024 for
            month-first; None if there is none.
    """

    format: str
    fits: int
    zoneless: int
    refuted_by: FormatExample | None


def _none_yet() -> Ints:
    return np.zeros(len(CANDIDATES), dtype=np.int64)


_NO_ROW = np.iinfo(np.int64).max


def _no_row_yet() -> Ints:
    return np.full(len(CANDIDATES), _NO_ROW, dtype=np.int64)


@dataclass(slots=True)
class _Seen:
    """What was seen of a column so far; arrays are int64, a figure for each candidate.

    Args:
        typed: Values that are timestamps by their type.
        typed_zoneless: Those of them without a zone.
        text: Values that are text, or numbers.
        fits: How many of these each candidate fits.
        zoneless: How many of those that it fits carry no zone.
        refuted_by: The first value of its layout that a candidate cannot read.
        disputes: The first value that two candidates read differently, and what each makes of it.
        strange: The first values that no candidate fits.
        misfit_row: The first row that each candidate does not fit.
        misfits: The values in those rows.
        unknown_zones: Names of zones that mean nothing.
    """

    typed: int = 0
    typed_zoneless: int = 0
    text: int = 0
    fits: Ints = field(default_factory=_none_yet)
    zoneless: Ints = field(default_factory=_none_yet)
    refuted_by: dict[int, FormatExample] = field(default_factory=dict)
    disputes: dict[tuple[int, int], tuple[FormatExample, str, str]] = field(default_factory=dict)
    strange: list[FormatExample] = field(default_factory=list)
    misfit_row: Ints = field(default_factory=_no_row_yet)
    misfits: dict[int, FormatExample] = field(default_factory=dict)
    unknown_zones: dict[str, None] = field(default_factory=dict)

    def merge(self, later: "_Seen") -> None:
        """Add what was seen behind."""
        self.typed += later.typed
        self.typed_zoneless += later.typed_zoneless
        self.text += later.text
        self.fits += later.fits
        self.zoneless += later.zoneless
        # What was seen first stays, in whatever order chunks were looked at.
        self.refuted_by = later.refuted_by | self.refuted_by
        self.disputes = later.disputes | self.disputes
        self.strange = (self.strange + later.strange)[:EXAMPLES_MAX]
        self.misfit_row = np.minimum(self.misfit_row, later.misfit_row)
        self.misfits = later.misfits | self.misfits
        self.unknown_zones |= later.unknown_zones

    def misfit(self, unfit: Bools, example: FormatExample) -> None:
        """Remember the first row of a group for all candidates that do not fit it (a mask)."""
        earlier = unfit & (example.row < self.misfit_row)
        if earlier.any():
            self.misfit_row[earlier] = example.row
            self.misfits[example.row] = example
            kept = set(self.misfit_row.tolist())
            # Examples that no candidate names any more go: one for each candidate is all that is
            # kept.
            self.misfits = {row: each for row, each in self.misfits.items() if row in kept}


_NOTHING_DECLARED = Reading(NATIVE)


class Evidence:
    """Gathers, chunk by chunk, what a column's values prove about the way they are written.

    Memory does not grow with the column: what is kept is a few numbers for each candidate and one
    example for each pair of candidates that disagree.

    Args:
        template: What is declared besides the format; handed on to the reading that is decided.
    """

    def __init__(self, template: Reading = _NOTHING_DECLARED) -> None:
        self._template = template
        self._rows_seen = 0
        self._seen = _Seen()

    @property
    def values(self) -> int:
        """How many values were not null."""
        return self._seen.typed + self._seen.text

    def add(self, column: "Column | WrittenValues", rows: Ints | None = None) -> None:
        """Take n values of the column into account; empty text is no value.

        Args:
            column: What `read` takes, of length n.
            rows: int64 of length n: the row numbers of its values; by default counted on from 1.
        """
        written = column if isinstance(column, WrittenValues) else WrittenValues(column)
        column = written.column
        if rows is None:
            rows = np.arange(1, len(column) + 1, dtype=np.int64) + self._rows_seen
        self._rows_seen += len(column)
        if is_native(column.type):
            self._seen.typed += len(column) - column.null_count
            if zone_of(column.type) is None:
                self._seen.typed_zoneless += len(column) - column.null_count
            return
        for group in written.groups:
            if group.shape:
                self._seen.text += len(group.rows)
                self._add(group, written.text, rows)

    def merge(self, later: "Evidence") -> None:
        """Take into account what was gathered from rows behind these."""
        self._rows_seen += later._rows_seen  # noqa: SLF001 - one of the same kind
        self._seen.merge(later._seen)  # noqa: SLF001

    def decide(self) -> Reading | Ambiguity | NoFormat:
        """The one reading that is proved; else the two that stand, or that there is none.

        The best candidate fits the most values and at least 90 % of them; a rival that fits as
        many must agree with it on every value that both fit. A column without values is read as
        ISO 8601: there is nothing to misread.
        """
        # A typed column says by itself how it is meant; an empty one leaves nothing to misread.
        if not self._seen.text:
            return self._reading(None) if self._seen.typed else self._reading(0)
        best = self._best()
        fits = int(self._seen.fits[best])
        if not self._is_enough(best):
            return self._no_format(best)
        # Only rivals that fit as many: one that fits fewer is refuted by what it does not fit.
        for rival in np.flatnonzero(self._fits() == fits).tolist():
            if (best, rival) in self._seen.disputes:
                example, first, second = self._seen.disputes[best, rival]
                return Ambiguity(example, self._reading(best), self._reading(rival), first, second)
        return self._reading(best)

    def _fits(self) -> Ints:
        """How many values each candidate fits; none where it needs a pivot that nobody declared."""
        if self._template.pivot is not None:
            return self._seen.fits
        return np.where(_NEEDS_PIVOT, 0, self._seen.fits)

    def _best(self) -> int:
        return int(np.argmax(self._fits()))

    def _is_enough(self, candidate: int) -> bool:
        return bool(self._seen.fits[candidate] * 100 >= PERCENT_MIN * self._seen.text)

    def _no_format(self, best: int) -> NoFormat:
        seen = self._seen
        fits = int(self._fits()[best])
        anyway = int(np.argmax(seen.fits))  # of all candidates, those that need a pivot too
        return NoFormat(
            seen.text,
            self._reading(best) if fits else None,
            fits,
            tuple(seen.strange),
            seen.misfits.get(int(seen.misfit_row[best])) if fits else None,
            tuple(seen.unknown_zones),
            CANDIDATES[anyway].format if self._is_enough(anyway) else "",
        )

    @property
    def zoneless(self) -> int:
        """How many values that the best candidate fits carry no zone."""
        return self._seen.typed_zoneless + int(self._seen.zoneless[self._best()])

    @property
    def needs_timezone(self) -> bool:
        """Whether values would fail for want of a zone: `timezone` must be declared."""
        given = self._template.timezone or self._template.timezone_from or self._template.date_only
        return not given and self.zoneless > 0

    @property
    def figures(self) -> tuple[FormatCounts, ...]:
        """How the candidates fared that came into question, the best first."""
        fits = self._fits()
        # Those without a pivot that they need were never in question.
        refuted = {each for each in self._seen.refuted_by if fits[each] == self._seen.fits[each]}
        indices = set(np.flatnonzero(fits).tolist()) | refuted
        return tuple(
            FormatCounts(
                CANDIDATES[index].format,
                int(fits[index]),
                int(self._seen.zoneless[index]),
                self._seen.refuted_by.get(index),
            )
            for index in sorted(indices, key=lambda index: (-fits[index], index))
        )

    def _reading(self, index: int | None) -> Reading:
        if index is None:
            return self._template
        return replace(self._template, format=CANDIDATES[index].format, proved=True)

    def _add(self, group: reading.Group, text: pa.StringArray, rows: Ints) -> None:
        """Read the values of one shape with every candidate that can mean it."""

        def example(position: int) -> FormatExample:
            at = int(group.rows[position])
            return FormatExample(int(rows[at]), text[at].as_py())

        # A regular expression over a text of any length could take for ever; no timestamp is so
        # long.
        known = _can_mean(group.shape) if len(group.shape) <= _SHAPE_LENGTH_MAX else ()
        trials = [trial for index in known if (trial := self._try(index, group)) is not None]
        fitted_by_any = np.zeros(len(group.rows), dtype=np.bool_)
        unfit = np.ones(len(CANDIDATES), dtype=np.bool_)
        for trial in trials:
            # What it does not fit is told below, by the first value that is wrong; the others do
            # not take the shape at all, so that any of its values is one that they do not fit.
            unfit[trial.index] = False
            count = int(np.count_nonzero(trial.fits))
            self._seen.fits[trial.index] += count
            self._seen.zoneless[trial.index] += 0 if trial.zoned else count
            fitted_by_any |= trial.fits
            if count < len(trial.fits):
                misfit = example(int(np.argmin(trial.fits)))
                self._seen.refuted_by.setdefault(trial.index, misfit)
                self._seen.misfit(np.arange(len(CANDIDATES)) == trial.index, misfit)
        self._seen.misfit(unfit, example(0))
        # Candidates that take one shape are few, so pairs are cheap; 01/02/2024 has two.
        for first, second in combinations(trials, 2):
            pair = first.index, second.index
            if pair not in self._seen.disputes and (at := first.dispute(second)) is not None:
                self._seen.disputes[pair] = example(at), first.timestamp(at), second.timestamp(at)
        wanted = EXAMPLES_MAX - len(self._seen.strange)
        if wanted and not fitted_by_any.all():
            strangers = np.flatnonzero(~fitted_by_any)[:wanted].tolist()
            self._seen.strange.extend(example(position) for position in strangers)

    def _try(self, index: int, group: reading.Group) -> "_Trial | None":
        form = format_of(CANDIDATES[index].format, self._template.pivot)
        local = group.read(form)
        if local is None:
            return None
        failures = fitted(local, form, dict(self._template.zones))
        if local.zone and (failures == Failure.ZONE_UNKNOWN).any():
            self._seen.unknown_zones.setdefault(local.zone.upper())
        fits = (failures == Failure.NONE) & ~outside(local.utc_us)
        return _Trial(index, local.utc_us, local.has_zone, local.offset_us is not None, fits)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What one candidate makes of n values of one shape.

    Args:
        index: The candidate.
        utc_us: int64 of length n: microseconds since 1970, clocks without offset taken as UTC.
        zoned: Whether the text carries a zone.
        is_utc: Whether `utc_us` are instants.
        fits: bool of length n.
    """

    index: int
    utc_us: Ints
    zoned: bool
    is_utc: bool
    fits: Bools

    def dispute(self, other: "_Trial") -> int | None:
        """Where the first value stands that both fit and read differently."""
        differ = self.fits & other.fits & (self.utc_us != other.utc_us)
        return int(np.argmax(differ)) if differ.any() else None

    def timestamp(self, at: int) -> str:
        """What it makes of one value, as ISO 8601."""
        micros = int(self.utc_us[at])
        unit: Literal["us", "s"] = "us" if micros % SECOND_US else "s"
        text = np.datetime_as_string(np.datetime64(micros, "us"), unit=unit)
        return f"{text}Z" if self.is_utc else str(text)


_SHAPE_LENGTH_MAX = 100
_NEEDS_PIVOT = np.array([each.format in NEEDS_PIVOT for each in CANDIDATES])


@lru_cache(maxsize=10_000)
def _can_mean(shape: str) -> tuple[int, ...]:
    """The candidates that can mean values of a shape."""
    nothing = np.zeros((0, len(shape)), dtype=np.uint8)
    known = _by_skeleton()
    return tuple(
        index
        # In the order of the list: where several agree on every value, the first is taken.
        for index in sorted(known[None] + known.get(skeleton(shape), []))
        if format_of(CANDIDATES[index].format).read(nothing, shape) is not None
    )


@lru_cache(maxsize=1)
def _by_skeleton() -> dict[str | None, list[int]]:
    """Which candidates may mean shapes with this skeleton; under None those that may mean any.

    To compile all of their regular expressions would take longer than to read a small file.
    """
    found: dict[str | None, list[int]] = {}
    for index, candidate in enumerate(CANDIDATES):
        found.setdefault(skeleton_of(candidate.format), []).append(index)
    return found
