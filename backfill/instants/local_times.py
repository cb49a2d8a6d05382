"""What written timestamps say before a zone is applied, and why one cannot be an instant."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Column: TypeAlias = "pa.Array[Any]"
Cells = npt.NDArray[np.uint8]
"""The bytes of values of one length: a row a value, a column a character."""

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

EARLIEST_US = -62_135_596_800 * SECOND_US
"""0001-01-01T00:00:00Z."""
LATEST_US = 253_402_300_800 * SECOND_US - 1
"""9999-12-31T23:59:59.999999Z."""


class Failure(IntEnum):
    """Why a value is no instant; `code` is the reason that a rejected row carries."""

    NONE = 0
    UNREADABLE = 1
    NO_ZONE = 2
    AMBIGUOUS = 3
    NONEXISTENT = 4
    OUT_OF_RANGE = 5

    @property
    def code(self) -> str:
        """The code of the closed list, for instance `timestamp_no_zone`."""
        return f"timestamp_{self.name.lower()}"


Failures = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """What values of one shape say.

    Args:
        local_us: Calendar and clock as written, in microseconds since 1970-01-01T00:00, floored.
        offset_us: How far that clock is ahead of UTC; None where the text carries no zone.
        failures: A `Failure` per value; the figures of a failed one mean nothing.
    """

    local_us: Ints
    offset_us: Ints | None
    failures: Failures

    @property
    def utc_us(self) -> Ints:
        """The instants, zoneless clocks taken as UTC."""
        return self.local_us if self.offset_us is None else self.local_us - self.offset_us


def outside(micros: Ints) -> Bools:
    """Which instants lie outside the years 0001 to 9999."""
    return (micros < EARLIEST_US) | (micros > LATEST_US)


class Format(Protocol):
    """A way to write timestamps."""

    @property
    def name(self) -> str:
        """What a pipeline file calls it."""

    def read(self, cells: Cells, shape: str) -> LocalTimes | None:
        """What the values of one shape say; None if no value of that shape can be meant."""
