"""Numbers that are timestamps: unix epochs in four units, and the serial days of spreadsheets."""

import re
from dataclasses import dataclass

import numpy as np

from backfill.instants.civil import number
from backfill.instants.local_times import DAY_US, Bools, Cells, Failure, Ints, LocalTimes

_NUMBER = re.compile(r"(?P<minus>-?)(?P<whole>0+)(?:\.(?P<fraction>0+))?")

_POINT = {"epoch_s": 6, "epoch_ms": 3, "epoch_us": 0, "epoch_ns": -3}
"""How far right the decimal point of each unit stands from that of microseconds."""
_DIGITS_MAX = 18
"""Microseconds of the years 0001 to 9999 have no more digits; 18 of them fit 64 bits."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Time since 1970-01-01T00:00Z in the unit that the name ends with; floored, never rounded."""

    name: str

    def read(self, cells: Cells, shape: str) -> LocalTimes | None:
        """The instants in values of one shape; None if the shape is no plain number."""
        match = _NUMBER.fullmatch(shape)
        if match is None:
            return None
        point = match.end("whole") + _POINT[self.name]
        digits = _without_point(cells, match)
        micros, too_long = _whole_micros(digits, point - match.start("whole"))
        if match["minus"]:
            dropped = digits[:, max(0, point - match.start("whole")) :]
            micros = -micros - (dropped != ord("0")).any(axis=1)
        failures = np.where(too_long, Failure.OUT_OF_RANGE, Failure.NONE).astype(np.uint8)
        return LocalTimes(micros, np.zeros_like(micros), failures)


def _without_point(cells: Cells, match: re.Match[str]) -> Cells:
    whole = cells[:, match.start("whole") : match.end("whole")]
    if not match["fraction"]:
        return whole
    return np.hstack([whole, cells[:, match.start("fraction") : match.end("fraction")]])


def _whole_micros(digits: Cells, count: int) -> tuple[Ints, Bools]:
    """The number in the first `count` digits (zeros are added), and which have too many."""
    count = max(0, count)
    given = min(count, digits.shape[1])
    excess = max(0, count - _DIGITS_MAX)
    too_long = (digits[:, :excess] != ord("0")).any(axis=1)
    micros = number(digits, (min(excess, given), given)) * 10 ** min(count - given, _DIGITS_MAX)
    return micros, too_long


_EXCEL_FIRST, _EXCEL_AFTER = 61, 2_958_466
"""1900-03-01, the first day that all spreadsheets give the same number, and 10000-01-01."""
_EXCEL_1970 = 25_569
_DAY_MS = DAY_US // 1000


@dataclass(frozen=True, slots=True)
class Excel:
    """Days since 1899-12-30 (the 1900 date system), the fraction being the clock; no zone.

    The clock is rounded to the millisecond, the resolution of a spreadsheet: 45293.1250001 stands
    for 03:00:00.009, and 03:04:05 is stored as a fraction a little off.
    """

    name: str = "excel"

    def read(self, cells: Cells, shape: str) -> LocalTimes | None:
        """The local clocks in values of one shape; None if the shape is no plain number."""
        match = _NUMBER.fullmatch(shape)
        if match is None:
            return None
        start, end = match.span("whole")
        whole = number(cells, (max(start, end - 7), end))
        too_long = (cells[:, start : max(start, end - 7)] != ord("0")).any(axis=1)
        clock_ms = np.rint(_fraction(cells, match) * _DAY_MS).astype(np.int64)
        failures = np.zeros(len(cells), dtype=np.uint8)
        failures[too_long | (whole >= _EXCEL_AFTER)] = Failure.OUT_OF_RANGE
        failures[(whole < _EXCEL_FIRST) | bool(match["minus"])] = Failure.UNREADABLE
        return LocalTimes((whole - _EXCEL_1970) * DAY_US + clock_ms * 1000, None, failures)


def _fraction(cells: Cells, match: re.Match[str]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    if not match["fraction"]:
        return np.zeros(len(cells))
    start, end = match.span("fraction")
    end = min(end, start + 15)
    return number(cells, (start, end)) / 10.0 ** (end - start)
