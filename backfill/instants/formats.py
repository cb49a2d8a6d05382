"""How text is written: `iso8601`, `rfc2822` and strptime patterns, strictly.

A format is a regular expression over shapes (see `reading`). It takes the whole value or nothing,
so no digit is ever left over or shared out by guess.
"""

import re
from dataclasses import dataclass

import numpy as np

from backfill.instants import calendar_words
from backfill.instants.zones import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    SECOND_US,
    Bools,
    Cells,
    Failure,
    Ints,
    LocalTimes,
)

_OFFSET = (
    # One digit alone is an hour only behind UTC or GMT: elsewhere +2 may be anything.
    r"(?P<sign>[+-])(?P<zone_hour>00|(?<=[ct][+-])0)"
    r"(?::?(?P<zone_minute>00)(?::?(?P<zone_second>00))?)?(?!0)"
)
_ABBREVIATION = r"(?!(?:[ap]m|utc?|gmt|z)(?![a-z]))[a-z]{2,5}(?![a-z/_])"
_IANA = r"[a-z]+(?:[/_-][a-z]+)*/[a-z]+(?:[_-][a-z]+)*"
_REMARK = rf"(?:\x20?\([^()]+\)|\x20?\[(?:{_IANA}|utc|gmt|z)\]|\x20(?:utc|gmt|{_ABBREVIATION}))?"
ZONE = (
    rf"(?P<zone>(?:(?:utc?|gmt)?{_OFFSET}|z|utc?|gmt){_REMARK}"
    rf"|(?P<bracket>\[)?(?P<zone_name>{_IANA}|{_ABBREVIATION})(?(bracket)\]))"
)
"""A zone in the text, as a regular expression over shapes: an offset (+01:00, GMT-3), Z, UTC or
GMT, and what may be said about it behind ([Europe/Paris], (CET)); or a name alone. What a name
means is asked later: EST is one thing in New York and another in Sydney."""

PIVOT = 69
"""POSIX: two-digit years from 69 are 19xx, those below are 20xx."""
_THURSDAY = 3
"""The weekday of 1970-01-01, Monday being 0."""

_ISOLATED = r"(?<!0)0(?!0)"

_TWO = rf"(?:00|{_ISOLATED})"

_WORD = r"[a-z\x80-\xff]+(?:-[a-z\x80-\xff]+)*"
"""Letters of any language as bytes of UTF-8; whether they are a month is asked of the calendar."""

_ORDINAL = r"(?:st|nd|rd|th|er|\xc2\xba)"

_DIRECTIVES = {
    "%Y": "(?P<year>0000)",
    "%y": "(?P<short_year>00)",
    "%m": f"(?P<month>{_TWO})",
    "%b": rf"(?P<month_name>{_WORD})\.?",
    "%d": f"(?P<day>{_TWO})",
    "%j": r"(?P<day_of_year>000|(?<!0)00?(?!0))",
    "%a": rf"(?P<weekday>{_WORD})\.?",
    "%H": f"(?P<hour>{_TWO})",
    "%I": f"(?P<hour12>{_TWO})",
    "%p": r"(?P<half>[ap]m|[ap]\.\x20?m\.)",
    "%M": f"(?P<minute>{_TWO})",
    "%S": f"(?P<second>{_TWO})",
    "%f": "(?P<fraction>0+)(?!0)",
    "%z": ZONE,
    "%%": "%",
}

_SAME = {"%B": "%b", "%h": "%b", "%A": "%a", "%e": "%d", "%Z": "%z"}

_LONG = {"%T": "%H:%M:%S", "%R": "%H:%M", "%F": "%Y-%m-%d", "%D": "%m/%d/%y"}

_DIGITS = frozenset("0123456789")

_CLOCK = re.compile(
    r"(?<!0)00?:00?(?::00?(?:[.,]0+)?)?"
    rf"(\x20*[ap](?:m|\.\x20?m\.)(?![a-z]{{2}}))?(\x20*{ZONE}(?![a-z0]))?"
)

_TOKENS = (
    (re.compile(rf"(?<=0){_ORDINAL}(?![a-z])"), ""),
    (re.compile(rf"{_WORD}\.?"), "a"),
    (re.compile(r"0+"), "0"),
    (re.compile(r"\x20+"), " "),
)

_SAMPLES = {"%Y": "0000", "%a": "mon", "%b": "jan", "%p": "pm", "%z": "z"}


def number(cells: Cells, span: tuple[int, int]) -> Ints:
    """The n numbers (int64) in columns `span`, at most 18, of an (n, m) array of digits."""
    start, end = span
    total = np.zeros(len(cells), dtype=np.int64)
    # Digit by digit for all values at once: there are few digits and many values.
    for column in range(start, end):
        total = total * 10 + (cells[:, column] - ord("0"))
    return total


class Fields:
    """The parts of n values that share one shape, by the names of the groups that matched it.

    Args:
        cells: The bytes of the values, as an (n, m) array.
        match: A match of the m characters that the shape has.
    """

    def __init__(self, cells: Cells, match: re.Match[str]) -> None:
        self._cells = cells
        self._match = match
        self._words = match.groupdict()

    def word(self, name: str) -> str:
        """The letters of a part, in lower case; the same in every value. Empty if absent."""
        return (self._words.get(name) or "").encode("latin-1").decode(errors="replace")

    def has(self, name: str) -> bool:
        """Whether the shape has that part."""
        return bool(self._words.get(name))

    def number(self, name: str, *, digits: int = 18) -> Ints:
        """The number (int64 of length n) in the first `digits` of a part; 0 if it is absent."""
        start, end = self._match.span(name) if self.has(name) else (0, 0)
        return number(self._cells, (start, min(end, start + digits)))

    def literal(self, name: str, digit: str) -> Bools:
        """Which of the n values have `digit` where the format itself has it."""
        return np.asarray(self._cells[:, self._match.start(name)] == ord(digit))


def local_times(fields: Fields, pivot: int = PIVOT) -> LocalTimes | None:
    """Read date, clock and zone; an impossible one (30 February, 25:00, :60) is unreadable.

    Args:
        fields: The parts of n values.
        pivot: Two-digit years from here on are 19xx.

    Returns:
        n local times; None where a word among the parts is no month or weekday.
    """
    if fields.has("month_name") and calendar_words.month_of(fields.word("month_name")) is None:
        return None
    if fields.has("weekday") and not calendar_words.weekdays_of(fields.word("weekday")):
        return None
    year = _year(fields, pivot)
    days, possible = _days(fields, year)
    clock_us, on_the_clock = _clock(fields)
    failures = np.where(possible & on_the_clock, Failure.NONE, Failure.UNREADABLE).astype(np.uint8)
    # 0000-01-01 can be written, but no calendar of the service or of Python has it.
    failures[(year == 0) & (failures == Failure.NONE)] = Failure.OUT_OF_RANGE
    local_us = days * DAY_US + clock_us
    # What a name means depends on settings and on the date: that is asked later.
    if not fields.has("zone") or fields.has("zone_name"):
        return LocalTimes(local_us, None, failures, fields.word("zone_name"))
    offset_us, known = _offset(fields)
    failures[~known] = Failure.UNREADABLE
    return LocalTimes(local_us, offset_us, failures)


def _year(fields: Fields, pivot: int) -> Ints:
    if not fields.has("short_year"):
        return fields.number("year")
    short = fields.number("short_year")
    return short + np.where(short < pivot, 2000, 1900)


def _days(fields: Fields, year: Ints) -> tuple[Ints, Bools]:
    """Days since 1970-01-01, and which of them are in the calendar."""
    if fields.has("day_of_year"):
        ordinal = fields.number("day_of_year")
        first, after = _first_days(year * 12, months=12)
        days = first + ordinal - 1
        possible = (ordinal >= 1) & (days < after)
    else:
        month, day = _month(fields), fields.number("day")
        # A month of 13 is told below; until then the arithmetic needs one that there is.
        first, after = _first_days(year * 12 + np.clip(month, 1, 12) - 1, months=1)
        days = first + day - 1
        possible = (month >= 1) & (month <= 12) & (day >= 1) & (days < after)  # noqa: PLR2004
    if fields.has("weekday"):
        # The date decides; a weekday can only contradict it ("so" is Sunday here, Saturday there).
        meant = calendar_words.weekdays_of(fields.word("weekday"))
        possible &= np.isin((days + _THURSDAY) % 7, [*meant])
    return days, possible


def _first_days(month: Ints, *, months: int) -> tuple[Ints, Ints]:
    """The first day of a month (counted from year 0), and the first day `months` later."""
    since_1970 = month - 1970 * 12
    return _day_of(since_1970), _day_of(since_1970 + months)


def _day_of(month: Ints) -> Ints:
    # numpy knows the leap years; views, since these are the same 64 bits.
    return np.asarray(month.view("datetime64[M]").astype("datetime64[D]").view(np.int64))


def _month(fields: Fields) -> Ints:
    if not fields.has("month_name"):
        return fields.number("month")
    month = calendar_words.month_of(fields.word("month_name"))
    return np.full_like(fields.number("day"), month)


def _clock(fields: Fields) -> tuple[Ints, Bools]:
    """Microseconds since midnight, and which of them a clock can show."""
    hour, minute, second = (fields.number(name) for name in ("hour", "minute", "second"))
    possible = (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004
    if fields.has("half"):
        hour12 = fields.number("hour12")
        possible &= (hour12 >= 1) & (hour12 <= 12)  # noqa: PLR2004
        hour = hour12 % 12 + (12 if fields.word("half").startswith("p") else 0)
    clock_us = hour * HOUR_US + minute * MINUTE_US + second * SECOND_US + _fraction_us(fields)
    # ISO 8601 (2004, and again 2019): 24:00 is the end of the day, the next one's midnight.
    return clock_us, possible | (clock_us == DAY_US) & (hour == 24)  # noqa: PLR2004


def _fraction_us(fields: Fields) -> Ints:
    missing_digits = max(0, 6 - len(fields.word("fraction")))
    return fields.number("fraction", digits=6) * int(10**missing_digits)


def _offset(fields: Fields) -> tuple[Ints, Bools]:
    """The offset from UTC in microseconds, and which offsets are possible."""
    hour, minute, second = (fields.number(f"zone_{name}") for name in ("hour", "minute", "second"))
    sign = -1 if fields.word("sign") == "-" else 1
    offset_us = sign * (hour * HOUR_US + minute * MINUTE_US + second * SECOND_US)
    return offset_us, (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class TimestampFormat:
    """Calendar and clock in digits, and the names of months and weekdays.

    Args:
        name: The strptime pattern, or the name of the standard.
        regex: Matches a whole shape; its groups are the fields that `local_times` knows.
        literals: Groups that are digits of the format itself, such as the 20 in `%d/%m/20%y`.
        pivot: Two-digit years from here on are 19xx.
    """

    name: str
    regex: re.Pattern[str]
    literals: tuple[tuple[str, str], ...] = ()
    pivot: int = PIVOT

    def read(self, cells: Cells, shape: str) -> LocalTimes | None:
        """What n values of one shape say; None if the shape is not this format's."""
        match = self.regex.fullmatch(shape)
        if match is None:
            return None
        fields = Fields(cells, match)
        local = local_times(fields, self.pivot)
        if local is not None:
            for group, digit in self.literals:
                local.failures[~fields.literal(group, digit)] = Failure.UNREADABLE
        return local


ISO8601 = TimestampFormat(
    "iso8601",
    re.compile(
        r"(?P<year>0000)(?P<dash>-?)(?P<month>00)(?P=dash)(?P<day>00)"
        r"(?:(?:t|\x20+)(?P<hour>00)(?P<colon>:?)(?P<minute>00)"
        r"(?:(?P=colon)(?P<second>00)(?:[.,](?P<fraction>0+))?)?"
        rf"(?:\x20*{ZONE})?)?"
    ),
)
"""ISO 8601 and what databases make of it: a date, or date and time with T or a space, with or
without separators, seconds, a fraction of any length, and a zone in any form (`ZONE`)."""

RFC2822 = TimestampFormat(
    "rfc2822",
    re.compile(
        r"(?:(?P<weekday>[a-z]+),\x20*)?"
        rf"(?P<day>{_TWO})\x20+(?P<month_name>[a-z]+)\x20+(?P<year>0000)\x20+"
        rf"(?P<hour>00):(?P<minute>00)(?::(?P<second>00))?\x20+{ZONE}"
    ),
)
"""Dates of e-mail and HTTP headers: Tue, 02 Jan 2024 03:04:05 +0000."""


def skeleton(shape: str) -> str:
    """A shape with digits as 0, words as a, its clock as T, an AM or PM as P, its zone as Z.

    >>> skeleton("wed, jan 00 0000 00:00:00.000 gmt+0000 (utc)"), skeleton("00/00/0000, 0:00 pm")
    ('a, a 0 0 TZ', '0/0/0, TP')
    """
    text = _CLOCK.sub(lambda found: f"T{'P' * bool(found[1])}{'Z' * bool(found[2])}", shape)
    for pattern, token in _TOKENS:
        text = pattern.sub(token, text)
    return text


def skeleton_of(text: str) -> str | None:
    """The skeleton of all shapes that a pattern takes; None: it takes shapes of many kinds.

    It tells most patterns from each other, and is made in a fraction of the time that a regular
    expression takes to compile.

    Args:
        text: A candidate's name or pattern.
    """
    if "%" not in text:
        return None
    if re.search("(?<!:)%S|(?<!%H:)(?<!%I:)%M", text):  # a fraction may follow, and be a token
        return None
    sample = re.sub("%.", lambda found: _SAMPLES.get(found[0], "00"), text)
    return skeleton(_as_in_shapes(sample))


def pattern(pattern: str, pivot: int) -> TimestampFormat:
    """A strptime pattern as a regular expression over shapes.

    %d, %m and the clock take one digit or two, but one only where no other digit touches it; %b
    and %B both take short and full names in any language of `calendar_words`, and beside them %d
    takes an ordinal; %z and %Z both take a zone in any form; seconds may carry a fraction. A space
    stands for one or more, and before %p, %z, %Z for none as well.
    """
    pieces = _pieces(pattern)
    _check_directives(pattern, pieces)
    digits = [piece for piece in pieces if piece in _DIGITS]
    literals = tuple((f"literal{i}", digit) for i, digit in enumerate(digits))
    groups = iter(literals)
    parts = []
    for piece, following in zip(pieces, [*pieces[1:], ""], strict=True):
        if piece in _DIRECTIVES:
            parts.append(_DIRECTIVES[piece])
            if piece == "%d" and "%b" in pieces:
                parts.append(f"{_ORDINAL}?")
        elif piece in _DIGITS:
            parts.append(f"(?P<{next(groups)[0]}>0)")
        elif piece.startswith(" "):
            parts.append(r"\x20*" if following in {"%p", "%z"} else r"\x20+")
        else:
            parts.append(re.escape(_as_in_shapes(piece)))
        if piece == "%S" and "%f" not in pieces:
            parts.append(r"(?:[.,](?P<fraction>0+))?")
    return TimestampFormat(pattern, re.compile("".join(parts)), literals, pivot)


def _pieces(pattern: str) -> list[str]:
    """Directives (twins under one name, such as %B under %b), runs of spaces, other characters.

    Raises:
        ValueError: A directive is unknown, or its meaning depends on a locale.
    """
    flat = re.sub("%[TRFD]", lambda match: _LONG[match[0]], pattern)
    pieces = []
    for piece in re.findall(r"%-?.|\x20+|.", flat, flags=re.DOTALL):
        plain = piece.replace("%-", "%") if len(piece) > 1 else piece
        plain = _SAME.get(plain, plain)
        if plain.startswith("%") and plain not in _DIRECTIVES:
            known = " ".join((*_DIRECTIVES, *_SAME, *_LONG))
            raise ValueError(f"{pattern!r} has {piece}, which is not one of {known}")
        pieces.append(plain)
    return pieces


def _as_in_shapes(piece: str) -> str:
    """Characters as shapes have them: in lower case, beyond ASCII as the bytes of UTF-8."""
    return piece.lower().encode().decode("latin-1")


def _check_directives(pattern: str, pieces: list[str]) -> None:
    """Raise ValueError unless the directives give one date, and a clock without holes."""
    directives = [piece[-1] for piece in pieces if piece in _DIRECTIVES and piece != "%%"]
    twice = sorted({each for each in directives if directives.count(each) > 1})
    have = set(directives)
    rules = (
        (not twice, f"has %{' and %'.join(twice)} (or a twin) more than once"),
        (len(have & set("Yy")) == 1, "needs a year, once: %Y (or %y)"),
        (
            have & set("mbdj") in (set("md"), set("bd"), set("j")),
            "needs a month (%m or %b) and a day (%d), once, or the day of the year (%j)",
        ),
        (("I" in have) == ("p" in have), "needs %I and %p together"),
        (not {"H", "I"} <= have, "has both %H and %I"),
        ("M" not in have or bool(have & {"H", "I"}), "has minutes but no hour"),
        ("S" not in have or "M" in have, "has seconds but no minutes"),
        ("f" not in have or "S" in have, "has a fraction (%f) but no seconds"),
        ("z" not in have or bool(have & {"H", "I"}), "has a zone but no hour"),
    )
    for fine, complaint in rules:
        if not fine:
            raise ValueError(f"the date format {pattern!r} {complaint}")
