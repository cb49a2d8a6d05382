"""What a sending command leaves to those who did not watch: history, notification, figures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from backfill.cli.exits import known, note
from backfill.clock import Clock
from backfill.engine.options import Options
from backfill.errors import StateError
from backfill.job import folder_of
from backfill.journal.directory import own_folder, prepared
from backfill.notify.call_history import (
    HISTORY_FOLDER,
    Call,
    as_far_as_known,
    before,
    read_history,
    write_call,
)
from backfill.notify.metrics import write_metrics
from backfill.notify.notifying import SENT, notify
from backfill.pipeline.file import Pipeline
from backfill.report.status_file import STATUS_FILE, read_status, this_process
from backfill.report.summary import Summary
from backfill.report.wording import utc_text

Done = Callable[[Summary], None]


@contextmanager
def remembered(
    pipeline: Pipeline, options: Options, command: str, metrics_file: Path | None
) -> Iterator[Done]:
    """Tell of a call however it ends; nothing that fails here changes how it ends.

    Args:
        pipeline: The settings.
        options: How the call is done.
        command: What it does: run, retry or sync.
        metrics_file: Where figures for Prometheus are written.

    Yields:
        A function to be told the summary of a call that ran to its end.
    """
    aftermath = _Aftermath(pipeline, options, command, metrics_file)
    summaries: list[Summary] = []
    try:
        yield summaries.append
    except BaseException as error:
        why = known(error)
        aftermath.end(why.exit_code, why.summary, (why.what, why.next_step))
        raise
    for summary in summaries:
        aftermath.end(summary.exit, summary)


class _Aftermath:
    def __init__(
        self, pipeline: Pipeline, options: Options, command: str, metrics_file: Path | None
    ) -> None:
        self._pipeline = pipeline
        self._env = options.env
        self._folder = folder_of(pipeline, options.state_dir) / HISTORY_FOLDER
        self._metrics_file = metrics_file
        self._clock = Clock()
        started_at = utc_text(self._clock.unix_s(), "milliseconds")
        self._call = Call(command=command, started_at=started_at, **this_process())
        self._before = self._last()
        self._note_killed()
        self._write()

    def end(self, code: int, summary: Summary | None, stopped: tuple[str, ...] = ()) -> None:
        """Write down how it ended, and tell."""
        self._before = self._last()
        self._call = replace(
            self._call,
            finished_at=utc_text(self._clock.unix_s(), "milliseconds"),
            exit=int(code),
            stopped=stopped,
            summary=summary.as_dict() if summary else None,
        )
        self._write()
        self._notify()
        self._write_metrics()

    def _notify(self) -> None:
        notified = notify(self._pipeline, self._call, self._before, self._env)
        if notified:
            self._call = replace(self._call, notified=notified)
            self._write()
        if notified not in ("", SENT):
            note(f"the notification was not sent: {notified}")

    def _write_metrics(self) -> None:
        if self._metrics_file is None:
            return
        try:
            write_metrics(self._metrics_file, self._pipeline.name, self._call)
        except OSError as failure:
            note(f"{self._metrics_file}: the metrics were not written: {failure.strerror}")

    def _last(self) -> Call | None:
        try:
            return before(read_history(self._folder), self._call)
        except StateError as failure:
            note(f"{failure.what}; {failure.next_step}")
            return None

    def _note_killed(self) -> None:
        """Keep what is known of a call that was killed: its status is about to be replaced."""
        killed = self._before
        if killed is None or killed.finished_at:
            return
        with suppress(StateError, OSError):
            status = read_status(self._folder.parent / STATUS_FILE)
            known = as_far_as_known(killed, status)
            if known != killed:
                write_call(self._folder, known, keep=self._pipeline.keep_runs)

    def _write(self) -> None:
        succeeded_at = self._before.succeeded_at if self._before else ""
        if self._call.succeeded:
            succeeded_at = self._call.finished_at
        self._call = replace(self._call, succeeded_at=succeeded_at)
        try:
            prepared(self._folder.parent, create=True)
            own_folder(self._folder)
            write_call(self._folder, self._call, keep=self._pipeline.keep_runs)
        except StateError:
            return  # the call itself says so
        except OSError as failure:
            note(f"{self._folder}: the history was not written: {failure.strerror}")
