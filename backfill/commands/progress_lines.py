"""A run as plain lines, without any control character: for logs, pipes and notebooks."""

from collections.abc import Callable

from backfill.commands.watch import Watch
from backfill.engine.clock import Clock
from backfill.engine.options import PlannedRun
from backfill.report import progress_figures
from backfill.report.progress_figures import ProgressFigures
from backfill.report.wording import counted, printable

Say = Callable[[str], None]
"""Shows a line: `print`, or a logger's `info`."""


def watch_saying(say: Say) -> Watch:
    """Observes a run, and says in a line now and then how far it has come."""
    lines = Lines(say)

    def planned(run: PlannedRun) -> bool:
        rejected = sum(each.rejected for each in run.plan.sources)
        lines.say(f"plan: {counted(run.plan.rows_read, 'row')} checked, {rejected:,} rejected")
        if run.differences is not None:
            lines.say(f"sync: {run.differences.text()}")
        for note in run.notes:
            lines.say(note)
        return True

    return Watch(lines, Clock().now_s, planned)


class Lines:
    """A plain line now and then, for logs and pipes."""

    every_s = 10.0

    def __init__(self, say: Say) -> None:
        self._say = say

    def say(self, text: str) -> None:
        """Say something once."""
        self._say(printable(text))

    def show(self, shown: ProgressFigures, now_s: float) -> None:
        """Say how far it has come."""
        self.say(progress_figures.sentence(shown, now_s))

    def end(self, shown: ProgressFigures, now_s: float) -> None:
        """Say how far it came; how many rows a plan rejects is said with the plan."""
        if shown.phase == "send":
            self.say(progress_figures.sentence(shown, now_s))
