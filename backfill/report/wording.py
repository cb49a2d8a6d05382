"""Text for people: numbers with their words, sizes, times, pauses, and tables for terminals."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import ceil

WIDTH = 80
"""A terminal's columns, where nothing says how many it has."""

PAUSES = {
    "throttled": "too many requests (429)",
    "hint": "the service asked to wait",
    "outage": "no answer from the service",
    "budget": "many errors in a row",
    "window": "a window in which nothing is sent",
    "credentials": "key refused (401), checking it again",
}
"""Why sending pauses, by the reason that the delivery gives."""

_TEXT_WIDTH_MIN = 20
UNPRINTABLE = re.compile(
    # Control characters, those that turn the direction of text, line ends of Unicode, and lone
    # surrogates, which stand for bytes that are not UTF-8 and cannot be written.
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_EXACT_MAX = 10_000
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_UNITS_BYTES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "bytes"))
_UNITS_AGO = ((_DAY_S, "days"), (_HOUR_S, "h"), (_MINUTE_S, "min"), (1, "s"))


def printable(text: str, *, lines: bool = False) -> str:
    r"""A text that no terminal, log or page takes for anything but text.

    Names and values come from files: they may hold escape sequences, or characters that turn the
    direction of what follows (CVE-2021-42574).

    Args:
        text: The text.
        lines: Whether it may have several lines; else a line end is shown as `\n`.

    >>> printable("red \x1b[31m\n"), printable("a\nb", lines=True)
    ('red \\x1b[31m\\n', 'a\nb')
    """
    return UNPRINTABLE.sub(
        lambda found: found[0] if lines and found[0] == "\n" else ascii(found[0])[1:-1], text
    )


# Numbers


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its word.

    >>> counted(1, "row"), counted(1200, "person", "people")
    ('1 row', '1,200 people')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def short(value: float) -> str:
    """A number in five characters at most, exact below 10,000, else to three digits.

    >>> short(9_876), short(123_456), short(9_995_000_001), short(0.25)
    ('9,876', '123k', '10G', '0.25')
    """
    if abs(value) < _EXACT_MAX:
        return f"{value:,.10g}"
    value = float(f"{value:.3g}")  # rounded before the unit is chosen: 999,950 is 1M, not 1000k
    unit, letter = next(each for each in _UNITS if abs(value) >= each[0])
    return f"{value / unit:.10g}{letter}"


def size(count_bytes: int) -> str:
    """A number of bytes.

    >>> size(1_234_567)
    '1.2 MB'
    """
    unit, name = next((each for each in _UNITS_BYTES if count_bytes >= each[0]), _UNITS_BYTES[-1])
    return f"{count_bytes / unit:.1f} {name}" if unit > 1 else f"{count_bytes} {name}"


# Times


def utc_text(unix_s: float, timespec: str = "seconds") -> str:
    """A timestamp as our files have it: ISO 8601 in UTC.

    >>> utc_text(0), utc_text(0.25, "milliseconds")
    ('1970-01-01T00:00:00Z', '1970-01-01T00:00:00.250Z')
    """
    moment = datetime.fromtimestamp(unix_s, UTC)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def unix_of(text: str) -> float:
    """The unix seconds of what `utc_text` wrote."""
    return datetime.fromisoformat(text).timestamp()


def timestamp(text: str | None) -> str:
    """What `utc_text` wrote, for people, to the second; empty for None.

    >>> timestamp("2026-11-21T23:59:01.250Z")
    '2026-11-21 23:59:01 UTC'
    """
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC" if text else ""


def clock(seconds: float) -> str:
    """A length of time as clocks show it.

    >>> clock(75), clock(3725)
    ('1:15', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """A length of time, with its unit.

    >>> duration(2.5), duration(75), duration(3725)
    ('2.5 s', '1:15 min', '1:02:05 h')
    """
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    return f"{clock(seconds)} {'min' if round(seconds) < _HOUR_S else 'h'}"


def elapsed(seconds: float) -> str:
    """A length of time on an axis.

    >>> elapsed(0), elapsed(2.5), elapsed(90), elapsed(7200)
    ('0 s', '2.5 s', '1:30', '2:00:00')
    """
    if seconds >= _MINUTE_S:
        return clock(seconds)
    return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.3g} s"


def latency(seconds: float) -> str:
    """How long an answer took, rounded up.

    >>> latency(0.0123), latency(2.5)
    ('13 ms', '2.5 s')
    """
    return f"{seconds:.1f} s" if seconds >= 1 else f"{ceil(1000 * seconds)} ms"


def ago(seconds: float) -> str:
    """How long ago something was.

    >>> ago(90), ago(200_000)
    ('1 min ago', '2 days ago')
    """
    whole = max(int(seconds), 0)
    unit_s, word = next((each for each in _UNITS_AGO if whole >= each[0]), _UNITS_AGO[-1])
    return f"{whole // unit_s} {word} ago"


# Tables and paragraphs


def titled(kinds: Sequence[str]) -> list[str]:
    """What each source is called; several of a kind are told apart by number.

    >>> titled(["customers", "events", "events"])
    ['customers', 'events 1', 'events 2']
    """
    return [
        kind if kinds.count(kind) == 1 else f"{kind} {kinds[: place + 1].count(kind)}"
        for place, kind in enumerate(kinds)
    ]


_NOUNS = {
    "objects": ("object", "objects"),
    "relationships": ("relationship", "relationships"),
    "merges": ("merge", "merges"),
    "events": ("event", "events"),
}


def counted_of(kind: str, count: int) -> str:
    """So many of what a kind of source brings.

    >>> counted_of("customers", 2), counted_of("objects", 1)
    ('2 people', '1 object')
    """
    return counted(count, *_NOUNS.get(kind, ("person", "people")))


def table(lines: Sequence[Sequence[str]], *, ruled: int = 0, width: int = WIDTH) -> list[str]:
    r"""Cells as lines of text; each line as a sentence where the table is too wide.

    Args:
        lines: The first one is the head; all have the same number of cells.
        ruled: Draw a rule above so many last lines, which add the others up.
        width: How many characters a line may have.

    >>> print(*table([["", "rows"], ["events", "12"]]), sep="\n")
              rows
      events    12
    >>> print(*table([["", "rows read"], ["events", "12"]], width=16), sep="\n")
              rows
              read
      events    12
    >>> print(*table([["", "rows", "rejected"], ["events", "12", "3"]], width=20), sep="\n")
      events  rows 12,
        rejected 3
    """
    head, *others = lines
    # Names of two words stand above one another before a table is given up.
    above = [" ".join(each.split(" ")[:-1]) for each in head]
    below = [each.split(" ")[-1] for each in head]
    for heads in ([head], [above, below]):
        shown = _grid([*heads, *others])
        if ruled:
            shown.insert(-ruled, "  " + "-" * (max(map(len, shown)) - 2))
        if max(map(len, shown)) <= width:
            return shown
    sentences = (
        (
            line[0],
            ", ".join(
                f"{name} {cell}" for name, cell in zip(head[1:], line[1:], strict=True) if cell
            ),
        )
        for line in others
    )
    return [part for title, text in sentences for part in wrapped(f"  {title}  ", text, width)]


def _grid(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells below one another: the first of each line to the left, all others to the right."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    shown = (
        f"  {line[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )
    return [line.rstrip() for line in shown]


def wrapped(first: str, text: str, width: int = WIDTH) -> list[str]:
    """A text behind its title, as lines that are indented to where it begins.

    Args:
        first: What the first line begins with.
        text: The text.
        width: How many characters a line may have; a title that leaves no room is not aligned to.
    """
    indent = len(first) if len(first) + _TEXT_WIDTH_MIN <= width else 4
    lines = textwrap.wrap(
        text,
        max(width, indent + _TEXT_WIDTH_MIN),
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )
    return lines or [first.rstrip()]


_NO_ROWS = {"header_again", "footer"}


def can_be_fixed(codes: Iterable[str]) -> bool:
    """Whether any row that was rejected so can be corrected: a header or a footer is no row."""
    return not _NO_ROWS.issuperset(codes)
