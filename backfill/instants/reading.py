"""A column of written moments -> instants."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from backfill.instants import native, shapes, zones
from backfill.instants.formats import format_of
from backfill.instants.local_times import (
    DAY_US,
    SECOND_US,
    Bools,
    Column,
    Failure,
    Failures,
    Format,
    Ints,
    LocalTimes,
    outside,
)
from backfill.instants.numbers import Epoch, Excel
from backfill.instants.shapes import WrittenValues
from backfill.instants.zones import Ambiguous, Nonexistent

NATIVE = "native"
PLAUSIBLE_US = (
    np.datetime64("1990-01-01", "us").astype(np.int64),
    np.datetime64("2100-01-01", "us").astype(np.int64),
)
"""Numbers prove a unit only by instants from 1990 up to, not including, 2100."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the moments of a column are written.

    Args:
        format: `iso8601`, `rfc2822`, `epoch_s|ms|us|ns`, `excel`, a strptime pattern, or `native`
            for columns that a typed file already holds as timestamps or dates. Those are read as
            what they are whatever the format says.
        timezone: The IANA zone of clocks that carry none. Never overrides one in the text.
        ambiguous: What to make of local times that the clock showed twice.
        nonexistent: What to make of local times that the clock skipped.
        date_only: Midnight of the written day, in the zone of the text, else `timezone`, else UTC.
        proved: The format was proved, not declared: a number whose instant lies outside 1990 to
            2100 did not fit, and is unreadable.
    """

    format: str
    timezone: str | None = None
    ambiguous: Ambiguous = "reject"
    nonexistent: Nonexistent = "reject"
    date_only: bool = False
    proved: bool = False


@dataclass(frozen=True, slots=True)
class Instants:
    """The instants of a column, a value a row.

    Args:
        micros: Unix microseconds, floored; null where the input is null or failed.
        failures: A `timestamp_…` code of the closed list; null where the input is null or was read.
    """

    micros: pa.Int64Array
    failures: pa.StringArray


def read(column: "Column | WrittenValues", reading: Reading) -> Instants:
    """Read every value of a column as an instant.

    Args:
        column: Text, numbers, timestamps or dates, dictionary-encoded or not; a column that
            others read too is taken apart once if it is `WrittenValues`.
        reading: How they are written.

    Raises:
        ValueError: The format or the zone of `reading` is not valid.
    """
    written = column if isinstance(column, WrittenValues) else WrittenValues(column)
    column = written.column
    if isinstance(column, pa.DictionaryArray) and len(column.dictionary) <= len(column):
        distinct = read(column.dictionary, reading)
        return Instants(
            distinct.micros.take(column.indices), distinct.failures.take(column.indices)
        )
    day_zone = _day_zone(column, reading)
    micros = np.zeros(len(column), dtype=np.int64)
    failures = np.full(len(column), Failure.UNREADABLE, dtype=np.uint8)
    for rows, moments in _moments(written, reading):
        found = _instants(moments, reading, day_zone)
        if len(rows) == len(column):  # all are written alike: nothing has to be put in its place
            micros, failures = found
        else:
            micros[rows], failures[rows] = found
    return _pack(micros, failures, shapes.is_null(column))


def seconds(micros: pa.Int64Array) -> pa.Int64Array:
    """Unix microseconds -> unix seconds, floored: -1 µs is in second -1."""
    values = micros.fill_null(0).to_numpy() // SECOND_US
    return pa.array(values, pa.int64(), mask=shapes.is_null(micros))


def validate_reading(reading: Reading) -> None:
    """Raise ValueError, with a sentence that names what is wrong, unless a reading makes sense."""
    if reading.format != NATIVE:
        format_of(reading.format)
    if reading.timezone is not None:
        zones.check_zone(reading.timezone)


def fitted(moments: LocalTimes, form: Format) -> Failures:
    """The failures of values that must prove a format; numbers must be plausible besides."""
    if not isinstance(form, Epoch | Excel):
        return moments.failures
    first_us, after_us = PLAUSIBLE_US
    implausible = (moments.utc_us < first_us) | (moments.utc_us >= after_us)
    return np.where(implausible, Failure.UNREADABLE, moments.failures).astype(np.uint8)


def _moments(written: WrittenValues, reading: Reading) -> Iterator[tuple[Ints, LocalTimes]]:
    """What the values say, with their rows; unreadable ones are left out."""
    column = written.column
    if native.is_native(column.type):
        rows = np.flatnonzero(~shapes.is_null(column))
        yield rows, native.moments(column.drop_null())
    elif reading.format != NATIVE:
        form = format_of(reading.format)
        for group in written.groups:
            moments = group.read(form)
            if moments is not None:
                failures = fitted(moments, form) if reading.proved else moments.failures
                yield group.rows, replace(moments, failures=failures)


def _instants(moments: LocalTimes, reading: Reading, day_zone: str | None) -> tuple[Ints, Failures]:
    """Apply the offset that the text carries, else the zone that is declared.

    `day_zone` is the zone in which instants that carry no clock of their own have a day.
    """
    failures = np.where(
        (moments.failures == Failure.NONE) & outside(moments.local_us),
        Failure.OUT_OF_RANGE,
        moments.failures,
    ).astype(np.uint8)
    local_us = np.where(failures == Failure.NONE, moments.local_us, 0)
    offset_us, zone = moments.offset_us, reading.timezone
    if reading.date_only:
        zone = zone or "UTC"
        if day_zone is not None:
            local_us, offset_us, zone = zones.to_local(local_us, day_zone), None, day_zone
        local_us = local_us - local_us % DAY_US
    if offset_us is not None:
        micros = local_us - offset_us
    elif zone is not None:
        micros, unresolved = zones.localise(local_us, zone, reading.ambiguous, reading.nonexistent)
        failures = np.where(failures == Failure.NONE, unresolved, failures)
    else:
        micros = local_us
        failures[failures == Failure.NONE] = Failure.NO_ZONE
    failures[(failures == Failure.NONE) & outside(micros)] = Failure.OUT_OF_RANGE
    return micros, failures


def _day_zone(column: Column, reading: Reading) -> str | None:
    """Where instants without a clock (epochs, aware timestamps) have their day."""
    if native.is_native(column.type):
        return native.zone_of(column.type)
    is_epoch = reading.format != NATIVE and isinstance(format_of(reading.format), Epoch)
    return (reading.timezone or "UTC") if is_epoch else None


def _pack(micros: Ints, failures: Failures, is_null: Bools) -> Instants:
    failed = failures != Failure.NONE
    if not failed.any():
        return Instants(pa.array(micros, pa.int64()), pa.nulls(len(micros), pa.string()))
    codes = pa.array(failures, pa.int8(), mask=is_null | ~failed)
    reasons = pa.DictionaryArray.from_arrays(codes, pa.array([f.code for f in Failure]))
    return Instants(pa.array(micros, pa.int64(), mask=is_null | failed), shapes.strings(reasons))
