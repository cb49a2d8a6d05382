"""The formats that have a name, and the closed list of those that a column can prove by itself.

Epochs before 1990 and the 1904 date system of old spreadsheets are not in it: those must be
declared. Two-digit years are in it only where a `pivot` is declared: 01/02/03 has six readings.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from backfill.instants.formats import ISO8601, PIVOT, RFC2822, pattern
from backfill.instants.numbers import Epoch, Excel
from backfill.instants.zones import Format


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
    Candidate("%a %d %b %Y", "mercredi 31 janvier 2024"),
    Candidate("%a, %d %b %Y", "Wed, 31 Jan 2024"),
    Candidate("%d. %b %Y", "31. Januar 2024"),
    Candidate("%a, %d. %b %Y", "Mittwoch, 31. Januar 2024"),
    Candidate("%d de %b de %Y", "31 de enero de 2024"),
    Candidate("%Y-%b-%d", "2024-Jan-31"),
    Candidate("%Y年%m月%d日", "2024年1月31日"),
    Candidate("%Y년 %m월 %d일", "2024년 1월 31일"),
)
"""Days; each is a candidate alone and with every one of `CLOCKS`, after a space or a comma."""

SHORT_DATES = (
    Candidate("%d/%m/%y", "31/01/24"),
    Candidate("%m/%d/%y", "01/31/24"),
    Candidate("%y/%m/%d", "24/01/31"),
    Candidate("%d.%m.%y", "31.01.24"),
    Candidate("%m.%d.%y", "01.31.24"),
    Candidate("%d-%m-%y", "31-01-24"),
    Candidate("%m-%d-%y", "01-31-24"),
    Candidate("%y-%m-%d", "24-01-31"),
    Candidate("%d-%b-%y", "31-JAN-24"),
    Candidate("%d %b %y", "31 Jan 24"),
    Candidate("%b %d, %y", "Jan 31, 24"),
)
"""Days with a two-digit year: candidates, with clocks too, only where a `pivot` is declared."""

CLOCKS = (
    Candidate("%H:%M", "15:04"),
    Candidate("%H:%M:%S", "15:04:05.678"),
    Candidate("%I:%M %p", "3:04 PM"),
    Candidate("%I:%M:%S %p", "3:04:05 PM"),
)
"""Clocks; each is a candidate alone and with a zone behind it (%z)."""

ZONES = (
    *("Z", "UTC", "+01:00", "-0500", "GMT-3", "UTC+02:00", "America/New_York", "[Europe/Paris]"),
    *("+02:00[Europe/Paris]", "+0000 UTC", "GMT+0100 (Central European Standard Time)"),
)
"""Zones as %z and iso8601 take them; an abbreviation means what `zones` declares it to mean."""

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
    Candidate("%a %b %d %Y %H:%M:%S %z", "Wed Jan 31 2024 15:04:05 GMT+0100 (CET)"),
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
        for day in (*DATES, *SHORT_DATES)
        for clock, example in clocks
    )


CANDIDATES = _candidates()
"""All of them. Where several agree on every value, the first is taken."""

NEEDS_PIVOT = frozenset(each.format for each in CANDIDATES if "%y" in each.format)
"""The candidates that are none unless a pivot is declared."""

_STANDARD: tuple[Format, ...] = (
    ISO8601,
    RFC2822,
    *(Epoch(f"epoch_{unit}") for unit in ("s", "ms", "us", "ns")),
    Excel(),
)
_NAMED = {known.name: known for known in _STANDARD}
NAMES = tuple(_NAMED)
"""The formats that have a name; all others are strptime patterns."""


@lru_cache(maxsize=2048)
def format_of(text: str, pivot: int | None = None) -> Format:
    """The format that a pipeline file names.

    Args:
        text: A name, or a strptime pattern.
        pivot: Two-digit years from here on are 19xx; None: as POSIX has it.

    Raises:
        ValueError: It is no name and no pattern that gives a date; says what is wrong with it.
    """
    if text in _NAMED:
        return _NAMED[text]
    if "%" not in text:
        near = get_close_matches(text.lower().replace("-", "").replace(" ", "_"), NAMES, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"names are {', '.join(NAMES)}"
        raise ValueError(
            f"{text!r} is no date format; {hint} (or a pattern such as %Y-%m-%d %H:%M:%S)"
        )
    return pattern(text, PIVOT if pivot is None else pivot)
