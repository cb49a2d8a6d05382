"""Observes a run, and shows now and then how far it has come."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Optional, Protocol

from backfill.delivery.outcome import Meter
from backfill.errors import BackfillError, InterruptedRunError
from backfill.job import Doubt
from backfill.journal import Counts
from backfill.planning.guards import Guard
from backfill.planning.plan import Plan
from backfill.planning.progress import Progress
from backfill.report.progress_figures import ProgressFigures

if TYPE_CHECKING:  # what sends loads slowly, and a look at the files needs none of it
    from backfill.engine.accounting import Account
    from backfill.sync.differences import Differences

Ask = Callable[[Plan, list[Guard], int, Optional["Differences"]], bool]
"""Shows a plan, of which so many rows are left to do, in a sync with what differs tonight, and says
whether to start."""


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
        again: Only rejected rows are sent, and only they count.
    """

    def __init__(
        self, view: View, now_s: Callable[[], float], ask: Ask, *, again: bool = False
    ) -> None:
        self.account: Account | None = None
        self._view = view
        self._now_s = now_s
        self._ask = ask
        self._again = again
        self._plan: Plan | None = None
        self._deletes = 0
        self._figures: ProgressFigures | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def opened(self, account: "Account") -> None:
        """The job is open."""
        self.account = account

    def unanswered(self, url: str) -> None:
        """Nothing can be sent there yet."""
        self._view.say(f"waiting for {url}: no answer yet")

    def planning(self, looked: Progress) -> None:
        """So much more was looked at."""
        if self._figures is None:
            self._begin(ProgressFigures("plan"))
        if self._figures is not None:
            self._figures.looked(looked)

    def planned(self, plan: Plan, guards: list[Guard], tonight: "Differences | None") -> bool:
        """The plan pass has ended; ask whether to start."""
        self._end()
        self._plan = plan
        done = self.account.counts() if self.account else Counts()
        rows = self.account.rows() if self.account else None
        self._deletes = tonight.deletes if tonight else 0
        left = done.rejected if self._again else (rows or plan.rows_read) - done.rows()
        return self._ask(plan, guards, left, tonight)

    def sending(self, account: "Account", meter: Meter, doubt: Doubt) -> None:
        """Sending begins."""
        if doubt.lost_commits:
            self._view.say(
                f"the journal is older than the last run: its last {doubt.lost_commits:,} commits"
                " are missing (restored from a backup, or state.db or state.db-wal was removed)"
            )
        if doubt.rows:
            self._view.say(
                f"resuming: up to {doubt.rows:,} rows may be sent twice (events keep their ids,"
                " and the service ignores a repeated id)"
            )
        plan = self._plan
        total = (account.rows() or 0) + self._deletes
        requests = plan.requests if plan else 0
        done = account.counts()
        begun = ProgressFigures(
            "send", meter, total, requests, rows=done.rows(), rejected=done.rejected
        )
        self._begin(ProgressFigures("send", meter, done.rejected) if self._again else begun)

    def settled(self, rows: int, rejected: int) -> None:
        """So many more rows need nothing more."""
        if self._figures is not None:
            self._figures.rows += rows
            self._figures.rejected += rejected

    def stopping(self, why: BackfillError) -> None:
        """No more rows are taken."""
        if self._figures is not None:
            self._figures.stopping = True
        if not isinstance(why, InterruptedRunError):  # a signal has said so itself
            self._view.say(f"stopping: {why.what}; waiting for requests in flight")

    def ended(self) -> None:
        """Nothing more is told."""
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
        self._figures.seen(self._now_s())
        self._view.end(self._figures, self._now_s())
        self._figures = None

    def _show_now_and_then(self) -> None:
        while not self._over.wait(self._view.every_s):
            if self._figures is not None:
                self._figures.seen(self._now_s())
                self._view.show(self._figures, self._now_s())
