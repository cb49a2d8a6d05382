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
"""The bytes of n values of one length m, as an (n, m) array."""

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

EARLIEST_US = -62_135_596_800 * SECOND_US
"""0001-01-01T00:00:00Z."""
LATEST_US = 253_402_300_800 * SECOND_US - 1
"""9999-12-31T23:59:59.999999Z."""
SERVICE_SECONDS_MAX = 100_000_000_000
"""The service takes unix seconds from 0 to below this; for others it takes now, without a word
(Track docs; the official Ruby client)."""
PLAUSIBLE_US = (
    int(np.datetime64("1990-01-01", "us").astype(np.int64)),
    int(np.datetime64("2100-01-01", "us").astype(np.int64)),
)
"""A number is taken for an instant only from 1990 up to, not including, 2100."""


class Failure(IntEnum):
    """Why a value is no instant; `code` is the reason that a rejected row carries."""

    NONE = 0
    UNREADABLE = 1
    NO_ZONE = 2
    AMBIGUOUS = 3
    NONEXISTENT = 4
    OUT_OF_RANGE = 5
    ZONE_UNKNOWN = 6

    @property
    def code(self) -> str:
        """The code of the closed list, for instance `timestamp_no_zone`."""
        return f"timestamp_{self.name.lower()}"


Failures = npt.NDArray[np.uint8]
"""A `Failure` for each value."""


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """What n values of one shape say.

    Args:
        local_us: int64 of length n: calendar and clock as written, in microseconds since
            1970-01-01T00:00, floored.
        offset_us: int64 of length n: how far that clock is ahead of UTC; None where the text
            carries no offset.
        failures: uint8 of length n: a `Failure` each; the times of a failed value mean nothing.
        zone: The name of a zone in the text, the same in every value, in lower case: an IANA name
            or an abbreviation; empty where there is none, or an offset beside it.
    """

    local_us: Ints
    offset_us: Ints | None
    failures: Failures
    zone: str = ""

    @property
    def utc_us(self) -> Ints:
        """int64 of length n: the instants, where clocks without an offset are taken as UTC."""
        return self.local_us if self.offset_us is None else self.local_us - self.offset_us

    @property
    def has_zone(self) -> bool:
        """Whether the text says where its clock stands."""
        return self.offset_us is not None or bool(self.zone)


def outside(micros: Ints) -> Bools:
    """Which of n instants, in microseconds since 1970, lie outside the years 0001 to 9999."""
    return (micros < EARLIEST_US) | (micros > LATEST_US)


def implausible(micros: "Ints | npt.NDArray[np.float64]") -> Bools:
    """Which of n instants, in microseconds since 1970, no number is taken for.

    Milliseconds read as seconds lie beyond the year 20,000, seconds read as milliseconds in 1970.
    """
    first_us, after_us = PLAUSIBLE_US
    return (micros < first_us) | (micros >= after_us)


class Format(Protocol):
    """A way to write timestamps; hashable, so that what was read once is found again."""

    @property
    def name(self) -> str:
        """What a pipeline file calls it."""

    def read(self, cells: Cells, shape: str) -> LocalTimes | None:
        """What n values of one shape say; None if no value of that shape can be meant.

        Args:
            cells: The bytes of the values, as an (n, m) array.
            shape: The m characters that they have in common (see `shapes`).
        """
