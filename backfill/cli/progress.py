"""What happens while a command works: bars on a terminal, elsewhere a line now and then."""

import sys
from functools import partial

from backfill.commands.progress_lines import Lines
from backfill.commands.watch import View
from backfill.report.progress_figures import ProgressFigures


class Nothing:
    """Shows nothing."""

    every_s = 3600.0

    def show(self, shown: ProgressFigures, now_s: float) -> None:
        """Nothing."""

    def end(self, shown: ProgressFigures, now_s: float) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


def view_for(*, quiet: bool) -> View:
    """The way of showing that suits stderr."""
    if quiet:
        return Nothing()
    if not sys.stderr.isatty():
        return Lines(partial(print, file=sys.stderr, flush=True))
    from backfill.cli.bars import Bars  # tqdm is for terminals

    return Bars(sys.stderr)
