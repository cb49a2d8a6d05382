"""Observes a run, and shows now and then how far it has come."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from backfill.clock import Clock
from backfill.engine.options import PlannedRun, StartedRun
from backfill.errors import BackfillError, InterruptedRunError
from backfill.planning.progress import Progress
from backfill.report import progress_figures
from backfill.report.progress_figures import ProgressFigures
from backfill.report.wording import counted, printable
from backfill.sources.extraction import Extracted

Say = Callable[[str], None]
"""Shows a line: `print`, or a logger's `info`."""

Ask = Callable[[PlannedRun], bool]
"""Shows what a run would do, and says whether to start."""


class View(Protocol):
    """Shows figures, in one way or the other."""

    every_s: float

    def show(self, shown: ProgressFigures, now_s: float) -> None:
        """Show figures in place of those before."""

    def end(self, shown: ProgressFigures, now_s: float) -> None:
        """Show figures for the last time."""

    def say(self, text: str) -> None:
        """Say something once."""


class Watch:
    """Observes a run and shows how it goes on.

    Args:
        view: Where it is shown.
        now_s: The clock that delivery goes by.
        ask: Is asked before anything is sent.

    `rejected_file` is where the rejected rows are, once the run has ended.
    """

    def __init__(self, view: View, now_s: Callable[[], float], ask: Ask) -> None:
        self.rejected_file: Path | None = None
        self._view = view
        self._now_s = now_s
        self._ask = ask
        self._started: StartedRun | None = None
        self._figures: ProgressFigures | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def unanswered(self, url: str) -> None:
        """Nothing can be sent there yet."""
        self._view.say(f"waiting for {url}: no answer yet")

    def extracted(self, more: Extracted) -> None:
        """More was extracted."""
        if self._figures is None:
            self._begin(ProgressFigures("extract"))
        if self._figures is not None:
            self._figures.extracted(more)
        if more.is_whole:
            self._end()

    def checked(self, more: Progress) -> None:
        """The plan pass has checked more rows."""
        if self._figures is None:
            self._begin(ProgressFigures("plan"))
        if self._figures is not None:
            self._figures.looked(more)

    def planned(self, run: PlannedRun) -> bool:
        """The plan pass has ended; ask whether to start."""
        self._end()
        return self._ask(run)

    def sending(self, run: StartedRun) -> None:
        """Sending has begun."""
        if run.doubt.lost_commits:
            self._view.say(
                "the journal is older than the last run: it lacks at least"
                f" {counted(run.doubt.lost_commits, 'commit')} (a run elsewhere was killed, the"
                " state was restored from a backup, or state.db or state.db-wal was removed)"
            )
        if run.doubt.rows:
            self._view.say(
                f"resuming: up to {counted(run.doubt.rows, 'row')} may be sent twice (events keep"
                " their ids,"
                " and the service ignores a repeated id)"
            )
        self._started = run
        self._begin(
            ProgressFigures(
                "send", run.meter, run.rows, run.requests, rows=run.settled, rejected=run.rejected
            )
        )

    def verifying(self, text: str) -> None:
        """Those who were sent first are read back."""
        self._view.say(text)

    def stopping(self, why: BackfillError) -> None:
        """No more rows are taken."""
        if self._figures is not None:
            self._figures.stopping = True
        if not isinstance(why, InterruptedRunError):  # a signal has said so itself
            self._view.say(f"stopping: {why.what}; waiting for requests in flight")

    def ended(self, rejected_file: Path | None) -> None:
        """The run has ended."""
        self.rejected_file = rejected_file
        self._end()

    def _begin(self, begun: ProgressFigures) -> None:
        self._figures = begun
        self._figures.seen(self._now_s())
        self._over.clear()
        self._thread = threading.Thread(target=self._show_now_and_then, daemon=True)
        self._thread.start()

    def _end(self) -> None:
        if self._figures is None or self._thread is None:
            return
        self._over.set()
        self._thread.join()
        self._view.end(self._current(self._figures), self._now_s())
        self._figures = self._started = None

    def _show_now_and_then(self) -> None:
        while not self._over.wait(self._view.every_s):
            if self._figures is not None:
                self._view.show(self._current(self._figures), self._now_s())

    def _current(self, figures: ProgressFigures) -> ProgressFigures:
        """The figures as they are now; those of a run that sends are in its tally."""
        if (run := self._started) is not None:
            figures.rows = run.settled + run.tally.rows
            figures.rejected = run.rejected + run.tally.rejected
        figures.seen(self._now_s())
        return figures


def watch_saying(say: Say) -> Watch:
    """Observes a run, and says in a line now and then how far it has come."""
    lines = Lines(say)

    def planned(run: PlannedRun) -> bool:
        rejected = sum(each.rejected for each in run.plan.sources)
        lines.say(f"plan: {counted(run.plan.rows_read, 'row')} checked, {rejected:,} rejected")
        if run.differences is not None:
            for kind, each in run.differences.kinds.items():
                lines.say(f"sync: {each.text(kind)}")
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
        if shown.phase != "plan":
            self.say(progress_figures.sentence(shown, now_s))
