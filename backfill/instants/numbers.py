"""Numbers that are timestamps: unix epochs in four units, and the serial days of spreadsheets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backfill.instants.formats import number
from backfill.instants.zones import DAY_US, Bools, Cells, Failure, Ints, LocalTimes

_NUMBER = r"(?P<minus>-?)(?P<whole>0+)(?:[.,](?P<fraction>0+))?(?:e\+?(?P<exponent>00?))?"
_PLAIN = re.compile(_NUMBER)
_JSON_DATE = re.compile(rf"\\?/date\({_NUMBER}(?:[+-]0000)?\)\\?/")
"""/Date(1706713445678+0100)/, as .NET writes JSON: milliseconds in UTC; the offset is for display
(Microsoft, "Stand-alone JSON serialization")."""

_POINT = {"epoch_s": 6, "epoch_ms": 3, "epoch_us": 0, "epoch_ns": -3}
"""How far right the decimal point of each unit stands from that of microseconds."""
_DIGITS_MAX = 18
"""Microseconds of the years 0001 to 9999 have no more digits; 18 of them fit 64 bits."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Time since 1970-01-01T00:00Z in the unit that the name ends with; floored, never rounded."""

    name: str

    def read(self, cells: Cells, shape: str) -> LocalTimes | None:
        """The instants in n values of one shape; None if the shape is no number."""
        match = _PLAIN.fullmatch(shape)
        # .NET writes milliseconds only, so the other units do not take its text.
        if match is None and self.name == "epoch_ms":
            match = _JSON_DATE.fullmatch(shape)
        if match is None:
            return None
        micros = np.zeros(len(cells), dtype=np.int64)
        too_long = np.zeros(len(cells), dtype=np.bool_)
        for rows, digits, whole in _split(cells, match):
            point = whole + _POINT[self.name]
            found, too_long[rows] = _whole_micros(digits, point)
            if match["minus"]:
                dropped = digits[:, max(0, point) :]
                # Floored, not cut off: -0.5 µs lies in microsecond -1.
                found = -found - (dropped != ord("0")).any(axis=1)
            micros[rows] = found
        failures = np.where(too_long, Failure.OUT_OF_RANGE, Failure.NONE).astype(np.uint8)
        return LocalTimes(micros, np.zeros_like(micros), failures)


def _split(cells: Cells, match: re.Match[str]) -> Iterator[tuple[Bools | slice, Cells, int]]:
    """The digits of n numbers, and how many of them stand before the point.

    Numbers with an exponent come in as many parts as there are exponents, each with its rows.
    """
    digits = cells[:, slice(*match.span("whole"))]
    if match["fraction"]:
        digits = np.hstack([digits, cells[:, slice(*match.span("fraction"))]])
    whole = len(match["whole"])
    if not match["exponent"]:
        yield slice(None), digits, whole
        return
    exponents = number(cells, match.span("exponent"))
    for exponent in np.unique(exponents).tolist():
        rows = exponents == exponent
        yield rows, digits[rows], whole + exponent


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
_EXCEL_DIGITS_MAX = 7
_DAY_MS = DAY_US // 1000


@dataclass(frozen=True, slots=True)
class Excel:
    """Days since 1899-12-30 (the 1900 date system), the fraction being the clock; no zone.

    The clock is rounded to the millisecond, the resolution of a spreadsheet: 45293.1250001 stands
    for 03:00:00.009, and 03:04:05 is stored as a fraction a little off.
    """

    name: str = "excel"

    def read(self, cells: Cells, shape: str) -> LocalTimes | None:
        """The local clocks in n values of one shape; None if it is no number."""
        match = _PLAIN.fullmatch(shape)
        if match is None:
            return None
        days = np.zeros(len(cells), dtype=np.int64)
        clock_ms = np.zeros(len(cells), dtype=np.int64)
        too_long = np.zeros(len(cells), dtype=np.bool_)
        for rows, digits, whole in _split(cells, match):
            zeros = np.full((len(digits), max(0, whole - digits.shape[1])), ord("0"), np.uint8)
            padded = np.hstack([digits, zeros])
            first = max(0, whole - _EXCEL_DIGITS_MAX)
            days[rows] = number(padded, (first, whole))
            too_long[rows] = (padded[:, :first] != ord("0")).any(axis=1)
            end = min(padded.shape[1], whole + 15)  # a double has no more digits
            fraction = number(padded, (whole, end)) / 10.0 ** (end - whole)
            clock_ms[rows] = np.rint(fraction * _DAY_MS).astype(np.int64)
        failures = np.zeros(len(cells), dtype=np.uint8)
        failures[too_long | (days >= _EXCEL_AFTER)] = Failure.OUT_OF_RANGE
        failures[((days < _EXCEL_FIRST) & ~too_long) | bool(match["minus"])] = Failure.UNREADABLE
        return LocalTimes((days - _EXCEL_1970) * DAY_US + clock_ms * 1000, None, failures)
