"""The closed list of formats that a column can prove by itself.

Two-digit years are not in it (01/02/03 has six readings), nor epochs before 1990 or the 1904 date
system of old spreadsheets: those must be declared.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A format that can be proved, and a value written that way."""

    format: str
    example: str


DATES = (
    Candidate("%Y-%m-%d", "2024-1-31"),
    Candidate("%Y/%m/%d", "2024/01/31"),
    Candidate("%Y.%m.%d", "2024.01.31"),
    Candidate("%d/%m/%Y", "31/01/2024"),
    Candidate("%m/%d/%Y", "01/31/2024"),
    Candidate("%d.%m.%Y", "31.01.2024"),
    Candidate("%m.%d.%Y", "01.31.2024"),
    Candidate("%d-%m-%Y", "31-01-2024"),
    Candidate("%m-%d-%Y", "01-31-2024"),
    Candidate("%d %b %Y", "31 Jan 2024"),
    Candidate("%d-%b-%Y", "31-Jan-2024"),
    Candidate("%d/%b/%Y", "31/Jan/2024"),
    Candidate("%b %d, %Y", "Jan 31, 2024"),
    Candidate("%b %d %Y", "January 31 2024"),
    Candidate("%a, %b %d, %Y", "Wednesday, January 31, 2024"),
)
"""Days; each is a candidate alone and with every one of `CLOCKS`, after a space or a comma."""

CLOCKS = (
    Candidate("%H:%M", "15:04"),
    Candidate("%H:%M:%S", "15:04:05.678"),
    Candidate("%I:%M %p", "3:04 PM"),
    Candidate("%I:%M:%S %p", "3:04:05 PM"),
)
"""Clocks; each is a candidate alone and with an offset, Z, UTC or GMT behind it (%z)."""

OTHERS = (
    Candidate("iso8601", "2024-01-31T15:04:05.678+01:00"),
    Candidate("rfc2822", "Wed, 31 Jan 2024 15:04:05 +0100"),
    Candidate("epoch_s", "1706713445"),
    Candidate("epoch_ms", "1706713445678"),
    Candidate("epoch_us", "1706713445678901"),
    Candidate("epoch_ns", "1706713445678901234"),
    Candidate("excel", "45322.628"),
    Candidate("%Y%m%d%H%M", "202401311504"),
    Candidate("%Y%m%d%H%M%S", "20240131150405"),
    Candidate("%d/%b/%Y:%H:%M:%S %z", "31/Jan/2024:15:04:05 +0100"),
    Candidate("%a %b %d %H:%M:%S %Y", "Wed Jan 31 15:04:05 2024"),
    Candidate("%a %b %d %H:%M:%S %z %Y", "Wed Jan 31 15:04:05 UTC 2024"),
)


def _candidates() -> tuple[Candidate, ...]:
    clocks = [("", "")] + [
        (f"{comma} {clock.format}{zone}", f"{comma} {clock.example}{offset}")
        for comma in ("", ",")
        for clock in CLOCKS
        for zone, offset in (("", ""), (" %z", " +0100"))
    ]
    return OTHERS + tuple(
        Candidate(day.format + clock, day.example + example)
        for day in DATES
        for clock, example in clocks
    )


CANDIDATES = _candidates()
"""All of them. Where several agree on every value, the first is taken."""
