"""Tables for terminals: plain text, names to the left, figures to the right."""

import textwrap
from collections.abc import Sequence

WIDTH = 80
"""A terminal's columns, where nothing says how many it has."""

_TEXT_WIDTH_MIN = 20


def table(lines: Sequence[Sequence[str]], *, ruled: bool = False, width: int = WIDTH) -> list[str]:
    r"""Lines of cells as lines of text; each line as a sentence where a table has no room.

    Args:
        lines: The first one is the head; all have the same number of cells.
        ruled: Draw a rule above the last line, which adds the others up.
        width: How wide a line may be.

    >>> print(*table([["", "rows"], ["events", "12"]]), sep="\n")
              rows
      events    12
    >>> print(*table([["", "rows", "rejected"], ["events", "12", "3"]], width=20), sep="\n")
      events  rows 12,
        rejected 3
    """
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    shown = [
        f"  {line[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    ]
    if ruled:
        shown.insert(-1, "  " + "-" * (len(shown[0]) - 2))
    if max(map(len, shown)) <= width:
        return shown
    head, *others = lines
    return [sentence for line in others for sentence in _as_sentence(head, line, width)]


def _as_sentence(head: Sequence[str], line: Sequence[str], width: int) -> list[str]:
    cells = (f"{name} {cell}" for name, cell in zip(head[1:], line[1:], strict=True) if cell)
    return wrapped(f"  {line[0]}  ", ", ".join(cells), width)


def wrapped(first: str, text: str, width: int = WIDTH) -> list[str]:
    """A text behind its title; further lines begin where it does, if that leaves room for them."""
    indent = len(first) if len(first) + _TEXT_WIDTH_MIN <= width else 4
    lines = textwrap.wrap(
        text,
        max(width, indent + _TEXT_WIDTH_MIN),
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )
    return lines or [first.rstrip()]


def titled(kinds: Sequence[str]) -> list[str]:
    """What each source is called; several of a kind are told apart by number.

    >>> titled(["customers", "events", "events"])
    ['customers', 'events 1', 'events 2']
    """
    return [
        kind if kinds.count(kind) == 1 else f"{kind} {kinds[: place + 1].count(kind)}"
        for place, kind in enumerate(kinds)
    ]


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its word.

    >>> counted(1, "row"), counted(1200, "person", "people")
    ('1 row', '1,200 people')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
