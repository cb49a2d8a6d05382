"""A column of written timestamps -> instants."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from backfill.instants import shapes, zones
from backfill.instants.formats import format_of
from backfill.instants.local_times import (
    DAY_US,
    EARLIEST_US,
    LATEST_US,
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
    """How the timestamps of a column are written.

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
    for rows, local in _local_times(written, reading):
        found = _instants(local, reading, day_zone)
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


def fitted(local: LocalTimes, form: Format) -> Failures:
    """The failures of values that must prove a format; numbers must be plausible besides."""
    if not isinstance(form, Epoch | Excel):
        return local.failures
    first_us, after_us = PLAUSIBLE_US
    implausible = (local.utc_us < first_us) | (local.utc_us >= after_us)
    return np.where(implausible, Failure.UNREADABLE, local.failures).astype(np.uint8)


def _local_times(written: WrittenValues, reading: Reading) -> Iterator[tuple[Ints, LocalTimes]]:
    """What the values say, with their rows; unreadable ones are left out."""
    column = written.column
    if is_native(column.type):
        rows = np.flatnonzero(~shapes.is_null(column))
        yield rows, _typed_times(column.drop_null())
    elif reading.format != NATIVE:
        form = format_of(reading.format)
        for group in written.groups:
            local = group.read(form)
            if local is not None:
                failures = fitted(local, form) if reading.proved else local.failures
                yield group.rows, replace(local, failures=failures)


def _instants(local: LocalTimes, reading: Reading, day_zone: str | None) -> tuple[Ints, Failures]:
    """Apply the offset that the text carries, else the zone that is declared.

    `day_zone` is the zone in which instants that carry no clock of their own have a day.
    """
    failures = np.where(
        (local.failures == Failure.NONE) & outside(local.local_us),
        Failure.OUT_OF_RANGE,
        local.failures,
    ).astype(np.uint8)
    local_us = np.where(failures == Failure.NONE, local.local_us, 0)
    offset_us, zone = local.offset_us, reading.timezone
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
    if is_native(column.type):
        return zone_of(column.type)
    is_epoch = reading.format != NATIVE and isinstance(format_of(reading.format), Epoch)
    return (reading.timezone or "UTC") if is_epoch else None


def _pack(micros: Ints, failures: Failures, is_null: Bools) -> Instants:
    failed = failures != Failure.NONE
    if not failed.any():
        return Instants(pa.array(micros, pa.int64()), pa.nulls(len(micros), pa.string()))
    codes = pa.array(failures, pa.int8(), mask=is_null | ~failed)
    reasons = pa.DictionaryArray.from_arrays(codes, pa.array([f.code for f in Failure]))
    return Instants(pa.array(micros, pa.int64(), mask=is_null | failed), shapes.strings(reasons))


_UNIT_US = {"s": SECOND_US, "ms": 1000, "us": 1}


def is_native(kind: pa.DataType) -> bool:
    """Whether values of this type are timestamps or dates."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def zone_of(kind: pa.DataType) -> str | None:
    """The zone that a timestamp type carries; its values are UTC whatever the zone."""
    return kind.tz if pa.types.is_timestamp(kind) else None


def _typed_times(column: Column) -> LocalTimes:
    """What a column of timestamps or dates says; it must have no nulls. Nanoseconds are floored.

    Fields as in pyarrow: timestamps count their unit since 1970 (UTC if the type has a zone, else
    on a local clock), date32 counts days, date64 milliseconds.
    """
    kind = column.type
    ticks = column.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    values = ticks.to_numpy(zero_copy_only=False).astype(np.int64)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        values, tick_us = values // 1000, 1
    elif pa.types.is_date32(kind):
        tick_us = DAY_US
    else:
        tick_us = _UNIT_US[kind.unit] if pa.types.is_timestamp(kind) else 1000
    outside = (values < EARLIEST_US // tick_us) | (values > LATEST_US // tick_us)
    failures = np.where(outside, Failure.OUT_OF_RANGE, Failure.NONE).astype(np.uint8)
    local_us = np.where(outside, 0, values) * tick_us
    return LocalTimes(local_us, np.zeros_like(local_us) if zone_of(kind) else None, failures)
