"""Written timestamps -> unix seconds, for a whole column.

    reading = Reading("%m/%d/%Y %H:%M", timezone="America/New_York")
    instants = read(column, reading)          # microseconds, and a reason for each failure
    seconds(instants.micros)                  # what the API takes

Where no format is declared, `Evidence` proves one over the whole column, or says why not. A wrong
instant is worse than a rejected row, so nothing here guesses: a format takes a value whole or not
at all, and a local time is only read in a zone that somebody named.
"""

from backfill.instants.candidates import (
    CANDIDATES,
    CLOCKS,
    DATES,
    NAMES,
    OTHERS,
    SHORT_DATES,
    ZONES,
    Candidate,
)
from backfill.instants.evidence import Ambiguity, Evidence, FormatCounts, FormatExample, NoFormat
from backfill.instants.reading import (
    NATIVE,
    Instants,
    Reading,
    WrittenValues,
    characters,
    read,
    seconds,
    validate_reading,
)
from backfill.instants.zones import SERVICE_SECONDS_MAX, Ambiguous, Nonexistent, implausible

__all__ = [
    "CANDIDATES",
    "CLOCKS",
    "DATES",
    "NAMES",
    "NATIVE",
    "OTHERS",
    "SERVICE_SECONDS_MAX",
    "SHORT_DATES",
    "ZONES",
    "Ambiguity",
    "Ambiguous",
    "Candidate",
    "Evidence",
    "FormatCounts",
    "FormatExample",
    "Instants",
    "NoFormat",
    "Nonexistent",
    "Reading",
    "WrittenValues",
    "characters",
    "implausible",
    "read",
    "seconds",
    "validate_reading",
]
