"""How a run is asked for, watched and stopped."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backfill.delivery.outcome import Meter
from backfill.errors import BackfillError
from backfill.job import Doubt
from backfill.planning.guards import Guard
from backfill.planning.plan import Plan
from backfill.planning.progress import Progress

if TYPE_CHECKING:  # what sends loads slowly, and a look at the files needs none of it
    from backfill.engine.accounting import Account
    from backfill.sync.differences import Differences


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is done; nothing here changes what is sent.

    Args:
        state_dir: Where jobs keep their state; None: `.backfill` beside the pipeline file.
        url: Where requests go instead of the pipeline's destination.
        rate: Requests per second at most, instead of the pipeline's; 0: no limit, loopback only.
        concurrency: Requests at the same time; None: the pipeline's, or by rate and latency.
        limit: Of each source only the first so many rows are sent; guards see all.
        stop_after_s: Drain and stop after so many seconds; None: never.
        restart: Forget what was sent.
        append: Rows and files may have been added.
        wait_s: How long to wait for another process that runs the job.
        accept_changes: The settings may have changed since rows were sent.
        env: Where credentials are looked for.
    """

    state_dir: str | Path | None = None
    url: str | None = None
    rate: float | None = None
    concurrency: int | None = None
    limit: int | None = None
    stop_after_s: float | None = None
    restart: bool = False
    append: bool = False
    accept_changes: bool = False
    wait_s: float = 0.0
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


class Observer(Protocol):
    """Is told how a run goes on. Every method may be called from another thread than `run`."""

    def opened(self, account: "Account") -> None:
        """The job is open: `account` knows what earlier runs did."""

    def unanswered(self, url: str) -> None:
        """The destination was asked which workspace it is, and has not answered yet."""

    def planning(self, looked: Progress) -> None:
        """So much more was looked at."""

    def planned(self, plan: Plan, guards: list[Guard], tonight: "Differences | None") -> bool:
        """The plan pass has ended, in a sync with a comparison; False: do not send."""

    def sending(self, account: "Account", meter: Meter, doubt: Doubt) -> None:
        """Sending begins; rows in doubt may have been sent before, and are sent again."""

    def settled(self, rows: int, rejected: int) -> None:
        """So many more rows need nothing more; so many of them were rejected."""

    def stopping(self, why: BackfillError) -> None:
        """No more rows are taken; waiting for requests in flight."""

    def ended(self) -> None:
        """Nothing more is told."""


class Silent:
    """Listens to nothing, and agrees to start."""

    def opened(self, account: "Account") -> None:
        """Nothing."""

    def unanswered(self, url: str) -> None:
        """Nothing."""

    def planning(self, looked: Progress) -> None:
        """Nothing."""

    def planned(self, plan: Plan, guards: list[Guard], tonight: "Differences | None") -> bool:
        """Go on."""
        del plan, guards, tonight
        return True

    def sending(self, account: "Account", meter: Meter, doubt: Doubt) -> None:
        """Nothing."""

    def settled(self, rows: int, rejected: int) -> None:
        """Nothing."""

    def stopping(self, why: BackfillError) -> None:
        """Nothing."""

    def ended(self) -> None:
        """Nothing."""


class Stop:
    """Asks a run to stop, from any thread: what is under way is waited for."""

    def __init__(self) -> None:
        self._why: BackfillError | None = None
        self._listeners: list[Callable[[BackfillError], None]] = []

    def __call__(self, why: BackfillError) -> None:
        """Stop for this reason; the first one counts."""
        if self._why is None:
            self._why = why
            for listener in self._listeners:
                listener(why)

    def listen(self, listener: Callable[[BackfillError], None]) -> None:
        """Call `listener` when asked, at once if that was before."""
        self._listeners.append(listener)
        if self._why is not None:
            listener(self._why)

    def check(self) -> None:
        """Raise the reason, if there is one."""
        if self._why is not None:
            raise self._why
