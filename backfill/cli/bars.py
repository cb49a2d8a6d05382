"""Bars on a terminal: tqdm's, between our own words."""

import shutil
import textwrap
from typing import Any, TextIO

from tqdm import tqdm

from backfill.report import progress_figures
from backfill.report.progress_figures import ProgressFigures
from backfill.report.wording import printable


class Bars:
    """A bar that stays in its line, as wide as the terminal is just now."""

    every_s = 0.1

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._bar: _Bar | None = None

    def show(self, shown: ProgressFigures, now_s: float) -> None:
        """Draw the bar anew."""
        if self._bar is None:
            self._bar = _Bar(shown, self._file)
        self._bar.draw(now_s)

    def end(self, shown: ProgressFigures, now_s: float) -> None:
        """Leave the last state of sending; a plan's is said with the plan."""
        self.show(shown, now_s)
        if self._bar is not None:
            self._bar.leave = shown.phase != "plan"
            self._bar.close()
            self._bar = None

    def say(self, text: str) -> None:
        """Lines above the bar, no wider than the terminal."""
        width = shutil.get_terminal_size().columns
        tqdm.write(
            textwrap.fill(printable(text), max(width, 20), subsequent_indent="  "), file=self._file
        )


class _Bar(tqdm):  # type: ignore[type-arg]
    """tqdm's bar between our own words."""

    monitor_interval = 0  # it is drawn now and then as it is

    def __init__(self, shown: ProgressFigures, file: TextIO) -> None:
        self._shown = shown
        self._now_s = 0.0
        super().__init__(total=shown.total, file=file, dynamic_ncols=True, mininterval=0)

    def draw(self, now_s: float) -> None:
        """Draw what the figures say now."""
        self.n, self.total, self._now_s = self._shown.rows, self._shown.total, now_s
        self.refresh()

    @property
    def format_dict(self) -> Any:
        """What tqdm fills its line with: our words, as far as they fit."""
        known = super().format_dict
        width = known["ncols"] or 80
        before, behind = progress_figures.line(self._shown, self._now_s, width)
        has_bar = self._shown.total and progress_figures.has_room(before, behind, width)
        known["bar_format"] = f"{before} |{{bar}}| {behind}" if has_bar else f"{before}  {behind}"
        return known
