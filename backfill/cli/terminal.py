"""What a terminal shows: text no wider than is easily read, and how far a command has come."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from backfill.report import wording

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.commands.watch import View
    from backfill.report.progress_figures import ProgressFigures

WIDTH_MAX = wording.WIDTH
_BLOCKS = "▁▂▃▄▅▆▇█"
_LETTERS = "_.,-=+*#"
"""The same for terminals that know ASCII only."""


def width() -> int:
    """How wide a text may be."""
    return min(shutil.get_terminal_size().columns or WIDTH_MAX, WIDTH_MAX)


def lines_width() -> int:
    """How wide a line of a long table may be: as the terminal is; a file takes any."""
    return shutil.get_terminal_size().columns or WIDTH_MAX if sys.stdout.isatty() else sys.maxsize


def wrapped(first: str, text: str) -> list[str]:
    """A text behind its title; further lines begin where it does, if that leaves room for them."""
    return wording.wrapped(first, text, width())


def joined(sections: Iterable[Sequence[str]]) -> str:
    """Sections, parted by empty lines; those without lines are left out."""
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def histogram(counts: Sequence[int]) -> str:
    """A character for each count, as high as it is; a blank where there is nothing.

    `[0, 1, 4, 8]` is " ▁▄█", or " _-#" where stdout cannot show blocks.
    """
    marks = _marks()
    most = max(counts, default=0)
    return "".join(
        marks[max(count * len(marks) // most - 1, 0)] if count else " " for count in counts
    )


def bar(count: int, most: int, room: int) -> str:
    """A bar whose length is the count's share of the most; anything at all shows."""
    return _marks()[-1] * (max(round(count * room / most), 1) if count and room > 0 else 0)


def _marks() -> str:
    try:
        _BLOCKS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return _LETTERS
    return _BLOCKS


class Nothing:
    """Shows nothing."""

    every_s = 3600.0

    def show(self, shown: "ProgressFigures", now_s: float) -> None:
        """Nothing."""

    def end(self, shown: "ProgressFigures", now_s: float) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


def view_for(*, quiet: bool) -> "View":
    """The way of showing that suits stderr."""
    if quiet:
        return Nothing()
    from backfill.commands.watch import Lines

    if not sys.stderr.isatty():
        return Lines(partial(print, file=sys.stderr, flush=True))
    from backfill.cli.bars import Bars  # tqdm is for terminals

    return Bars(sys.stderr)
