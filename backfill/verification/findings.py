"""What a verification found: counts by kind, `verified.csv`, and what a sample says of all."""

import csv
import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import exp, lgamma
from pathlib import Path
from typing import Literal, NamedTuple, Self, get_args

from backfill.files import write_atomically
from backfill.rejected.safe_cells import shown
from backfill.report.verified import (
    VERIFIED_FILE,
    WHY_UNPROVABLE,
    KindVerified,
    Verification,
)
from backfill.verification.values import Difference

COLUMNS = ("_found", "_kind", "_identifier", "_source", "_row", "_field", "_sent", "_there", "_why")

KindChecked = Literal["people", "objects", "relationships", "merges", "events", "deletions"]
Result = Literal["missing", "differs", "extra", "unprovable"]

CONFIDENCE = 0.95


class Subject(NamedTuple):
    """What is compared: its kind, who it is about, and the row that brought it."""

    kind: KindChecked
    identifier: str
    part: int
    row: int


@dataclass(frozen=True, slots=True)
class Scope:
    """What was looked at.

    Args:
        sampled: Whether only some people were drawn.
        people: How many people were drawn.
        of_people: How many people there are; 0: all were looked at, or nobody counts them.
    """

    sampled: bool
    people: int
    of_people: int


class Findings:
    """Counts what was compared, and writes down what is not as it was sent.

    Args:
        folder: The job's state directory.
        names: The files by their part.
    """

    def __init__(self, folder: Path, names: dict[int, str]) -> None:
        self._folder = folder
        self._names = names
        self._counts: Counter[tuple[str, str]] = Counter()
        self._fields: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text)
        self._spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._lines = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    @property
    def checked(self) -> int:
        """How much was compared."""
        return self._counts.total()

    @property
    def differing(self) -> int:
        """How much of it is missing or differs."""
        return sum(n for (_, what), n in self._counts.items() if what in ("missing", "differs"))

    def equal(self, kind: KindChecked) -> None:
        """One more is as it was sent."""
        self._counts[kind, "equal"] += 1

    def missing(self, subject: Subject, why: str = "", count: int = 1) -> None:
        """It is not there; so many of the kind are not, of which this is the first."""
        self._counts[subject.kind, "missing"] += count
        self._write("missing", subject, why=why)

    def still_there(self, subject: Subject) -> None:
        """Somebody was deleted, and is there."""
        self._counts[subject.kind, "differs"] += 1
        self._write("differs", subject, why=_STILL_THERE[subject.kind])

    def differs(self, subject: Subject, fields: Iterable[Difference]) -> None:
        """It is there, and not as it was sent."""
        self._counts[subject.kind, "differs"] += 1
        for each in fields:
            self._fields[each.field] += 1
            self._write("differs", subject, each)

    def unprovable(self, subject: Subject, reason: str, fields: Iterable[Difference] = ()) -> None:
        """What it says cannot be held against what was sent."""
        self._counts[subject.kind, "unprovable"] += 1
        self._reasons[reason] += 1
        for each in fields:
            self._write("extra", subject, each, WHY_UNPROVABLE[reason])
        if not fields:
            self._write("unprovable", subject, why=WHY_UNPROVABLE[reason])

    def cannot_be_proved(self, kind: KindChecked, reason: str, count: int) -> None:
        """So many more cannot be read back at all; they are counted, and not listed."""
        if count > 0:
            self._counts[kind, "unprovable"] += count
            self._reasons[reason] += count

    def result(self, scope: Scope, at: str) -> Verification:
        """All of it in figures.

        Args:
            scope: What was looked at.
            at: When, ISO 8601 in UTC.
        """
        kinds = {
            kind: KindVerified(**{what: self._counts[kind, what] for what in _RESULTS})
            for kind in get_args(KindChecked)
            if any(self._counts[kind, what] for what in _RESULTS)
        }
        people = kinds.get("people", KindVerified())
        differing = people.missing + people.differs
        compared = people.equal + differing
        at_most = None
        if scope.sampled and 0 < compared <= scope.of_people and differing <= _EXACT_MAX:
            at_most = differing_at_most(scope.of_people, compared, differing)
        return Verification(
            at=at,
            sampled=scope.sampled,
            of_people=scope.of_people,
            at_most=at_most,
            kinds=kinds,
            by_field=dict(self._fields.most_common()),
            unprovable_by_reason=dict(self._reasons.most_common()),
        )

    def save(self) -> Path | None:
        """Put `verified.csv` in place; None: there is nothing to list, and none is left.

        Raises:
            OSError: The disk is full, or the directory cannot be written to.
        """
        path = self._folder / VERIFIED_FILE
        if not self._lines:
            with suppress(FileNotFoundError):
                path.unlink()
            return None
        self._spool.write(self._text.getvalue().encode())
        self._spool.seek(0)
        write_atomically(path, lambda file: shutil.copyfileobj(self._spool, file))
        return path

    def _write(
        self,
        found: Result,
        subject: Subject,
        each: Difference | None = None,
        why: str = "",
    ) -> None:
        if not self._lines:
            self._spool.write(b"\xef\xbb\xbf")  # or spreadsheets take it for another encoding
            self._writer.writerow(COLUMNS)
        self._lines += 1
        field, sent, there = (each.field, each.sent, each.found) if each else ("", "", "")
        source = self._names.get(subject.part, "")
        cells = (subject.identifier, source, subject.row, field, sent, there, why)
        self._writer.writerow([found, subject.kind, *map(shown, cells)])
        if self._text.tell() > _SPOOLED_CHARS:
            self._spool.write(self._text.getvalue().encode())
            self._text.seek(0)
            self._text.truncate()


_STILL_THERE: Mapping[str, str] = {
    "merges": "merged into another person, and still there",
    "deletions": "deleted or suppressed, and still there",
}
_RESULTS: Sequence[str] = ("equal", "missing", "differs", "unprovable")
_SPOOLED_CHARS = 1 << 16
_EXACT_MAX = 1_000
"""With more findings in a sample nobody asks how many there are at most."""


def differing_at_most(population: int, sample: int, found: int) -> int:
    """How many of all differ at most, with 95 % confidence, when so many of a sample do.

    The greatest number with which a sample as good as this one has a chance of 5 % or more
    (hypergeometric; without a finding about 3/n of all, the rule of three).

    Args:
        population: How many there are.
        sample: How many of them were compared.
        found: How many of those differ.

    >>> differing_at_most(1_000_000, 1_000, 0)
    2989
    >>> differing_at_most(50, 50, 0)
    0
    """
    low, high = found, population - (sample - found)
    while low < high:
        middle = (low + high + 1) // 2
        if _chance_up_to(found, population, middle, sample) >= 1 - CONFIDENCE:
            low = middle
        else:
            high = middle - 1
    return low


def _chance_up_to(found: int, population: int, differing: int, sample: int) -> float:
    """The chance that a sample shows no more than `found` of the differing ones."""
    all_samples = _log_choices(population, sample)
    return sum(
        exp(
            _log_choices(differing, each)
            + _log_choices(population - differing, sample - each)
            - all_samples
        )
        for each in range(found + 1)
    )


def _log_choices(of: int, some: int) -> float:
    if not 0 <= some <= of:
        return float("-inf")
    return lgamma(of + 1) - lgamma(some + 1) - lgamma(of - some + 1)
