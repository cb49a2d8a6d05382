"""Tables for terminals: plain text, names to the left, figures to the right."""

from collections.abc import Sequence


def table(lines: Sequence[Sequence[str]], *, ruled: bool = False) -> list[str]:
    r"""Lines of cells as lines of text.

    Args:
        lines: The first one is the head; all have the same number of cells.
        ruled: Draw a rule above the last line, which adds the others up.

    >>> print(*table([["", "rows"], ["events", "12"]]), sep="\n")
              rows
      events    12
    """
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    shown = [
        f"  {line[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    ]
    if ruled:
        shown.insert(-1, "  " + "-" * (len(shown[0]) - 2))
    return shown


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
