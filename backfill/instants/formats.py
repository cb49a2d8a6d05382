"""How text is written: `iso8601`, `rfc2822` and strptime patterns, strictly.

A format is a regular expression over shapes (see `shapes`). It takes the whole value or nothing,
so no digit is ever left over or shared out by guess.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from backfill.instants import civil
from backfill.instants.local_times import Cells, Failure, Format, LocalTimes
from backfill.instants.numbers import Epoch, Excel


@dataclass(frozen=True, slots=True)
class TimestampFormat:
    """Calendar and clock in digits, and the names of months and weekdays.

    Args:
        name: The strptime pattern, or the name of the standard.
        regex: Matches a whole shape; its groups are the fields that `civil.local_times` knows.
        literals: Groups that are digits of the format itself, such as the 20 in `%d/%m/20%y`.
        pivot: Two-digit years from here on are 19xx.
    """

    name: str
    regex: re.Pattern[str]
    literals: tuple[tuple[str, str], ...] = ()
    pivot: int = civil.PIVOT

    def read(self, cells: Cells, shape: str) -> LocalTimes | None:
        """What n values of one shape say; None if the shape is not this format's."""
        match = self.regex.fullmatch(shape)
        if match is None:
            return None
        fields = civil.Fields(cells, match)
        local = civil.local_times(fields, self.pivot)
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
        rf"(?:\x20*{civil.ZONE})?)?"
    ),
)
"""ISO 8601 and what databases make of it: a date, or date and time with T or a space, with or
without separators, seconds, a fraction of any length, and a zone in any form (`civil.ZONE`)."""

_ISOLATED = r"(?<!0)0(?!0)"
_TWO = rf"(?:00|{_ISOLATED})"
_WORD = r"[a-z\x80-\xff]+(?:-[a-z\x80-\xff]+)*"
"""Letters of any language as bytes of UTF-8; whether they are a month is asked of the calendar."""
_ORDINAL = r"(?:st|nd|rd|th|er|\xc2\xba)"

RFC2822 = TimestampFormat(
    "rfc2822",
    re.compile(
        r"(?:(?P<weekday>[a-z]+),\x20*)?"
        rf"(?P<day>{_TWO})\x20+(?P<month_name>[a-z]+)\x20+(?P<year>0000)\x20+"
        rf"(?P<hour>00):(?P<minute>00)(?::(?P<second>00))?\x20+{civil.ZONE}"
    ),
)
"""Dates of e-mail and HTTP headers: Tue, 02 Jan 2024 03:04:05 +0000."""

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
    "%z": civil.ZONE,
    "%%": "%",
}
_SAME = {"%B": "%b", "%h": "%b", "%A": "%a", "%e": "%d", "%Z": "%z"}
_LONG = {"%T": "%H:%M:%S", "%R": "%H:%M", "%F": "%Y-%m-%d", "%D": "%m/%d/%y"}
_DIGITS = frozenset("0123456789")

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
    return _compile(text, civil.PIVOT if pivot is None else pivot)


def skeleton(shape: str) -> str:
    """A shape with digits as 0, words as a, its clock as T, an AM or PM as P, its zone as Z.

    >>> skeleton("wed, jan 00 0000 00:00:00.000 gmt+0000 (utc)"), skeleton("00/00/0000, 0:00 pm")
    ('a, a 0 0 TZ', '0/0/0, TP')
    """
    text = _CLOCK.sub(lambda found: f"T{'P' * bool(found[1])}{'Z' * bool(found[2])}", shape)
    for pattern, token in _TOKENS:
        text = pattern.sub(token, text)
    return text


_CLOCK = re.compile(
    r"(?<!0)00?:00?(?::00?(?:[.,]0+)?)?"
    rf"(\x20*[ap](?:m|\.\x20?m\.)(?![a-z]{{2}}))?(\x20*{civil.ZONE}(?![a-z0]))?"
)
_TOKENS = (
    (re.compile(rf"(?<=0){_ORDINAL}(?![a-z])"), ""),
    (re.compile(rf"{_WORD}\.?"), "a"),
    (re.compile(r"0+"), "0"),
    (re.compile(r"\x20+"), " "),
)


def skeleton_of(text: str) -> str | None:
    """The skeleton of all shapes that a pattern takes; None: it takes shapes of many kinds.

    It tells most patterns from each other, and is made in a fraction of the time that a regular
    expression takes to compile.

    Args:
        text: A candidate's name or pattern.
    """
    if text in _NAMED:
        return None
    if re.search("(?<!:)%S|(?<!%H:)(?<!%I:)%M", text):  # a fraction may follow, and be a token
        return None
    sample = re.sub("%.", lambda found: _SAMPLES.get(found[0], "00"), text)
    return skeleton(_as_in_shapes(sample))


_SAMPLES = {"%Y": "0000", "%a": "mon", "%b": "jan", "%p": "pm", "%z": "z"}


def _compile(pattern: str, pivot: int) -> TimestampFormat:
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
