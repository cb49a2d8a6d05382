"""Proof, over a whole column, of how its timestamps are written."""

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations
from typing import Literal

import numpy as np
import pyarrow as pa

from backfill.instants import civil, shapes
from backfill.instants.candidates import CANDIDATES
from backfill.instants.formats import format_of, marks, marks_of
from backfill.instants.local_times import SECOND_US, Bools, Column, Failure, Ints, outside
from backfill.instants.reading import NATIVE, Reading, fitted, is_native, zone_of
from backfill.instants.shapes import WrittenValues
from backfill.instants.zones import Ambiguous, Nonexistent

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
    """

    values: int
    nearest: Reading | None
    fits: int
    examples: tuple[FormatExample, ...]


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


@dataclass(slots=True)
class _Seen:
    """What was seen of a column so far.

    Args:
        typed: Values that are timestamps by their type.
        typed_zoneless: Those of them without a zone.
        text: Values that are text, or numbers.
        fits: How many of these each candidate fits.
        zoneless: How many of those that it fits carry no zone.
        refuted_by: The first value of its layout that a candidate cannot read.
        disputes: The first value that two candidates read differently, and what each makes of it.
        strange: The first values that no candidate fits.
    """

    typed: int = 0
    typed_zoneless: int = 0
    text: int = 0
    fits: Ints = field(default_factory=_none_yet)
    zoneless: Ints = field(default_factory=_none_yet)
    refuted_by: dict[int, FormatExample] = field(default_factory=dict)
    disputes: dict[tuple[int, int], tuple[FormatExample, str, str]] = field(default_factory=dict)
    strange: list[FormatExample] = field(default_factory=list)

    def merge(self, later: "_Seen") -> None:
        """Add what was seen behind."""
        self.typed += later.typed
        self.typed_zoneless += later.typed_zoneless
        self.text += later.text
        self.fits += later.fits
        self.zoneless += later.zoneless
        self.refuted_by = later.refuted_by | self.refuted_by
        self.disputes = later.disputes | self.disputes
        self.strange = (self.strange + later.strange)[:EXAMPLES_MAX]


class Evidence:
    """Gathers, chunk by chunk, what a column's values prove about the way they are written.

    Memory does not grow with the column: what is kept is a few numbers for each candidate and one
    example for each pair of candidates that disagree.

    Args:
        timezone: As in `Reading`; handed on to the reading that is decided.
        date_only: As in `Reading`.
        ambiguous: As in `Reading`.
        nonexistent: As in `Reading`.
    """

    def __init__(
        self,
        *,
        timezone: str | None = None,
        date_only: bool = False,
        ambiguous: Ambiguous = "reject",
        nonexistent: Nonexistent = "reject",
    ) -> None:
        self._template = Reading(NATIVE, timezone, ambiguous, nonexistent, date_only)
        self._rows_seen = 0
        self._seen = _Seen()

    @property
    def values(self) -> int:
        """How many values were not null."""
        return self._seen.typed + self._seen.text

    def add(self, column: "Column | WrittenValues", rows: Ints | None = None) -> None:
        """Take a chunk of the column into account; empty text is no value.

        Args:
            column: What `read` takes.
            rows: The row numbers of its values; by default counted on from 1.
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
        if not self._seen.text:
            return self._reading(None) if self._seen.typed else self._reading(0)
        best = int(np.argmax(self._seen.fits))
        fits = int(self._seen.fits[best])
        if fits * 100 < PERCENT_MIN * self._seen.text:
            nearest = self._reading(best) if fits else None
            return NoFormat(self._seen.text, nearest, fits, tuple(self._seen.strange))
        for rival in np.flatnonzero(self._seen.fits == fits).tolist():
            if (best, rival) in self._seen.disputes:
                example, first, second = self._seen.disputes[best, rival]
                return Ambiguity(example, self._reading(best), self._reading(rival), first, second)
        return self._reading(best)

    @property
    def zoneless(self) -> int:
        """How many values that the best candidate fits carry no zone."""
        best = int(np.argmax(self._seen.fits))
        return self._seen.typed_zoneless + int(self._seen.zoneless[best])

    @property
    def needs_timezone(self) -> bool:
        """Whether values would fail for want of a zone: `timezone` must be declared."""
        declared = self._template.timezone is not None or self._template.date_only
        return not declared and self.zoneless > 0

    @property
    def figures(self) -> tuple[FormatCounts, ...]:
        """How the candidates fared that came into question, the best first."""
        indices = set(np.flatnonzero(self._seen.fits).tolist()) | set(self._seen.refuted_by)
        return tuple(
            FormatCounts(
                CANDIDATES[index].format,
                int(self._seen.fits[index]),
                int(self._seen.zoneless[index]),
                self._seen.refuted_by.get(index),
            )
            for index in sorted(indices, key=lambda index: (-self._seen.fits[index], index))
        )

    def _reading(self, index: int | None) -> Reading:
        if index is None:
            return self._template
        return replace(self._template, format=CANDIDATES[index].format, proved=True)

    def _add(self, group: shapes.Group, text: pa.StringArray, rows: Ints) -> None:
        """Read the values of one shape with every candidate that can mean it."""

        def example(position: int) -> FormatExample:
            at = int(group.rows[position])
            return FormatExample(int(rows[at]), text[at].as_py())

        known = _can_mean(group.shape) if len(group.shape) <= _SHAPE_LENGTH_MAX else ()
        trials = [trial for index in known if (trial := _try(index, group)) is not None]
        fitted_by_any = np.zeros(len(group.rows), dtype=np.bool_)
        for trial in trials:
            count = int(np.count_nonzero(trial.fits))
            self._seen.fits[trial.index] += count
            self._seen.zoneless[trial.index] += 0 if trial.zoned else count
            fitted_by_any |= trial.fits
            if count < len(trial.fits) and trial.index not in self._seen.refuted_by:
                self._seen.refuted_by[trial.index] = example(int(np.argmin(trial.fits)))
        for first, second in combinations(trials, 2):
            pair = first.index, second.index
            if pair not in self._seen.disputes and (at := first.dispute(second)) is not None:
                self._seen.disputes[pair] = example(at), first.timestamp(at), second.timestamp(at)
        wanted = EXAMPLES_MAX - len(self._seen.strange)
        if wanted and not fitted_by_any.all():
            strangers = np.flatnonzero(~fitted_by_any)[:wanted].tolist()
            self._seen.strange.extend(example(position) for position in strangers)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What one candidate makes of the values of one shape."""

    index: int
    utc_us: Ints
    zoned: bool
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
        return f"{text}Z" if self.zoned else str(text)


def _try(index: int, group: shapes.Group) -> _Trial | None:
    form = format_of(CANDIDATES[index].format)
    local = group.read(form)
    if local is None:
        return None
    fits = (fitted(local, form) == Failure.NONE) & ~outside(local.utc_us)
    return _Trial(index, local.utc_us, local.offset_us is not None, fits)


_WORDS = [word for name in (*civil.MONTHS, *civil.WEEKDAYS) for word in (name, name[:3])]
_MAYBE_TIMESTAMP = re.compile(
    rf"(?=.*0000)(?:[0+:/., ()-]|{'|'.join(_WORDS)}|[ap]\.?m|utc?|gmt|z|t)*"
)
"""What every shape looks like that a candidate can mean; other text is sorted out by it at once."""
_SHAPE_LENGTH_MAX = 64


@lru_cache(maxsize=10_000)
def _can_mean(shape: str) -> tuple[int, ...]:
    """The candidates that can mean values of a shape."""
    if not _MAYBE_TIMESTAMP.fullmatch(shape):
        return ()
    nothing = np.zeros((0, len(shape)), dtype=np.uint8)
    known = _by_marks()
    return tuple(
        index
        for index in sorted(known[None] + known.get(marks(shape), []))
        if format_of(CANDIDATES[index].format).read(nothing, shape) is not None
    )


@lru_cache(maxsize=1)
def _by_marks() -> dict[str | None, list[int]]:
    """Which candidates may mean shapes with these marks; under None those that may mean any.

    To compile all of their regular expressions would take longer than to read a small file.
    """
    found: dict[str | None, list[int]] = {}
    for index, candidate in enumerate(CANDIDATES):
        for each in marks_of(candidate.format) or (None,):
            found.setdefault(each, []).append(index)
    return found
