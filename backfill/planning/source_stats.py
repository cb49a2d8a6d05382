"""What a source's rows show, added up chunk by chunk."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backfill.operations.encode import Accepted, recent_since_us
from backfill.rows import Rejections

DAY_US = 86_400_000_000
MINUTE_US = 60_000_000

NAMES_MAX = 1000
"""So many event names are told apart; what comes later counts as OTHER."""

OTHER = "(other names)"

_NAMES_SHOWN = 3

NAME_DAYS_MAX = 30_000
"""So many pairs of a name and a day are counted; beyond, days are put together."""


@dataclass(slots=True)
class SourcePlan:
    """What was found in one source.

    Args:
        kind: Its kind.
        files: Its files.
        notes: What there is to know about how they are read.
        rows_read: Its rows.
        rejected: Those that would not be sent, before anything is sent.
        nameless: Those of them that do not say who they are about.
        cursor_max: The latest timestamp of the cursor's column up to now, in unix microseconds.
        cursor_in_future: Rows whose cursor is later than now.
        reasons: Rejected rows by reason code.
        skipped: Rows left out, by reason.
        merged: Rows that go out with another row of their person.
        operations: What is sent.
        bytes: Their bytes.
        requests: The requests that they fill.
        names: Events by name.
        days: Events by UTC day, as days since 1970.
        name_days: The same by name; of days that were put together, the first one stands for all.
        days_together: How many days are put together in `name_days`.
        first_s: The first event.
        last_us: The last event, in unix microseconds.
        recent: Events that were younger than 72 hours when the plan was made, by minute.
        recent_names: The same by name.
        identical: Events that are like an earlier one in every field.
        repeated_keys: Events with the key of an earlier one and other content.
        shared_emails: E-mail addresses that several people have.
        unknown_people: People whom no customers row names.
        unknown_objects: Objects of relationships that no objects row names.
        both: What it takes away and another source brings.
        both_at: Where some of that stands, as file and row.
        chained: People whom several merges are about.
        chained_at: Where some of them stand.
        lost_primaries: People who are to take others in, and whom no customers row names.
        gone_known: People who are merged away, and are in customers too.
        gone_named: Those whom events name.
        reserved: Reserved names among the attributes.
        attributes: The attributes.
        long: Those of them whose values come near their limit, or beyond it.
        odd_timestamps: Those of them that hold timestamps before 1970 or in the future.
        null_words: Words for nothing that stand where people are named.
        text_marks: What marks identifiers as text, for spreadsheets.
        odd_emails: Those that should hold e-mail addresses, and hold others too.
        overlapping: The files that name people whom another of them names too, in order.
        implausible: Those that hold numbers which can hardly be unix seconds.
        created_at_text: Whether a created_at is sent as text.
        consent: By attribute that is consent to the service, how many people it is sent as `true`
            for, and as `false`.
        consent_columns: The columns that look like consent, and are sent as attributes that stop no
            mail.
    """

    kind: str
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows_read: int = 0
    rejected: int = 0
    nameless: int = 0
    cursor_max: int | None = None
    cursor_in_future: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    merged: int = 0
    operations: int = 0
    bytes: int = 0
    requests: int = 0
    names: Counter[str] = field(default_factory=Counter)
    days: Counter[int] = field(default_factory=Counter)
    name_days: dict[str, Counter[int]] = field(default_factory=dict)
    days_together: int = 1
    first_s: int | None = None
    last_us: int | None = None
    recent: Counter[int] = field(default_factory=Counter)
    recent_names: Counter[str] = field(default_factory=Counter)
    identical: int = 0
    repeated_keys: int = 0
    shared_emails: int = 0
    unknown_people: int = 0
    unknown_objects: int = 0
    both: int = 0
    both_at: list[str] = field(default_factory=list)
    chained: int = 0
    chained_at: list[str] = field(default_factory=list)
    lost_primaries: int = 0
    gone_known: int = 0
    gone_named: int = 0
    reserved: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    long: list[str] = field(default_factory=list)
    odd_timestamps: list[str] = field(default_factory=list)
    null_words: list[str] = field(default_factory=list)
    text_marks: list[str] = field(default_factory=list)
    odd_emails: list[str] = field(default_factory=list)
    overlapping: list[str] = field(default_factory=list)
    implausible: list[str] = field(default_factory=list)
    created_at_text: bool = False
    consent: dict[str, Counter[str]] = field(default_factory=dict)
    consent_columns: list[str] = field(default_factory=list)

    @property
    def last_s(self) -> int | None:
        """The last event, in unix seconds."""
        return None if self.last_us is None else self.last_us // 1_000_000

    @property
    def to_send(self) -> int:
        """How many rows make an operation."""
        return self.rows_read - self.rejected - self.merged - self.skipped.total()

    def reject(self, rejections: Rejections) -> None:
        """Count rejected rows, each once by each of its codes."""
        self.rejected += len(rejections)
        self.reasons.update(rejections.by_code())

    def move_cursor(self, cursor: pa.Int64Array, now_s: float) -> None:
        """Note how far a chunk's cursor goes.

        Args:
            cursor: Of its n rows, in unix microseconds, int64 (n,); null where it cannot be read.
            now_s: The time now, as unix seconds. A cursor that moved past it would leave out
                whatever changes until then.
        """
        future = pc.greater(cursor, int(now_s * 1_000_000))
        self.cursor_in_future += pc.sum(future).as_py() or 0
        latest = pc.max(pc.if_else(future, None, cursor)).as_py()
        if latest is not None:
            self.cursor_max = max(latest, self.cursor_max or latest)

    def send(self, lengths: npt.NDArray[np.int64]) -> None:
        """Count operations, of which each has so many bytes."""
        self.operations += len(lengths)
        self.bytes += int(lengths.sum())

    def see(self, seen: "EventStats") -> None:
        """Add what one chunk shows."""
        room = NAMES_MAX - len(self.names)
        for name, days in seen.name_days.items():
            # An export with a name for each event would fill memory with names.
            known = name in self.names or room > 0
            room -= name not in self.names
            self.names[name if known else OTHER] += sum(days.values())
            self.days.update(days)
            self._see_days(name if known else OTHER, days)
        # Twice as many days a bar, until the report's chart fits: memory must not grow with the
        # years.
        while sum(map(len, self.name_days.values())) > NAME_DAYS_MAX:
            self._put_days_together()
        self.recent.update(seen.recent)
        self.recent_names.update(seen.recent_names)
        if seen.first_s is not None:
            self.first_s = min(seen.first_s, seen.first_s if self.first_s is None else self.first_s)
        if seen.last_us is not None:
            self.last_us = max(seen.last_us, seen.last_us if self.last_us is None else self.last_us)

    def _see_days(self, name: str, days: Mapping[int, int]) -> None:
        counted = self.name_days.setdefault(name, Counter())
        for day, count in days.items():
            counted[day // self.days_together * self.days_together] += count

    def _put_days_together(self) -> None:
        self.days_together *= 2
        before, self.name_days = self.name_days, {}
        for name, days in before.items():
            self._see_days(name, days)

    def recent_at(self, now_s: float) -> int:
        """How many events are younger than 72 hours at some later time; future ones are.

        Whether any is, is told to the microsecond; how many, to the minute.
        """
        since_us = recent_since_us(now_s)
        if self.last_us is None or self.last_us < since_us:
            return 0
        # Minutes, since a number for each microsecond would be one for each event.
        since = since_us // MINUTE_US
        return sum(count for minute, count in self.recent.items() if minute >= since)

    def recent_shown(self) -> str:
        """Which events are recent, the most frequent first, and when the newest happened."""
        most = Counter(self.recent_names).most_common(_NAMES_SHOWN)
        names = ", ".join(f"{name} {count:,}" for name, count in most)
        left = len(self.recent_names) - len(most)
        newest = datetime.fromtimestamp(self.last_s or 0, UTC).strftime("%Y-%m-%d %H:%M")
        return f"{names}{f' and {left:,} more' if left else ''}; the newest: {newest} UTC"


@dataclass(slots=True)
class EventStats:
    """What the events of one chunk show."""

    name_days: dict[str, dict[int, int]] = field(default_factory=dict)
    recent: dict[int, int] = field(default_factory=dict)
    recent_names: dict[str, int] = field(default_factory=dict)
    first_s: int | None = None
    last_us: int | None = None


def sight_of(accepted: Accepted, names: pa.DictionaryArray, now_s: float) -> EventStats:
    """What the accepted events of a chunk show; `names` are theirs, each once."""
    if accepted.name is None or accepted.micros is None or not len(accepted):
        return EventStats()
    micros = accepted.micros.to_numpy()
    recent = accepted.recent(now_s)
    minutes, minute_counts = np.unique(micros[recent] // MINUTE_US, return_counts=True)
    return EventStats(
        name_days=_name_days(names, micros // DAY_US),
        recent=dict(zip(minutes.tolist(), minute_counts.tolist(), strict=True)),
        recent_names=_counts(accepted.name.filter(pa.array(recent))) if recent.any() else {},
        first_s=int(micros.min() // 1_000_000),
        last_us=int(micros.max()),
    )


def _name_days(names: pa.DictionaryArray, days: npt.NDArray[np.int64]) -> dict[str, dict[int, int]]:
    """How many events each name has on each day."""
    first = int(days.min())
    span = int(days.max()) - first + 1
    # Name and day in one number, so that one `unique` counts both.
    places = names.indices.to_numpy().astype(np.int64) * span + (days - first)
    found: dict[str, dict[int, int]] = {name: {} for name in names.dictionary.to_pylist()}
    of_name = list(found.values())
    places, counts = np.unique(places, return_counts=True)
    for place, count in zip(places.tolist(), counts.tolist(), strict=True):
        of_name[place // span][first + place % span] = count
    return found


def _counts(names: pa.StringArray) -> dict[str, int]:
    return {each["values"]: each["counts"] for each in pc.value_counts(names).to_pylist()}
