"""Moments that a typed file already holds as timestamps or dates."""

import numpy as np
import pyarrow as pa

from backfill.instants.local_times import (
    DAY_US,
    EARLIEST_US,
    LATEST_US,
    SECOND_US,
    Column,
    Failure,
    LocalTimes,
)

_UNIT_US = {"s": SECOND_US, "ms": 1000, "us": 1}


def is_native(kind: pa.DataType) -> bool:
    """Whether values of this type are timestamps or dates."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def zone_of(kind: pa.DataType) -> str | None:
    """The zone that a timestamp type carries; its values are UTC whatever the zone."""
    return kind.tz if pa.types.is_timestamp(kind) else None


def moments(column: Column) -> LocalTimes:
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
