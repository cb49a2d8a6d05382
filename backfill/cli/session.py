"""One call of the library from the command line: watched, and stopped by signals."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from backfill.cli import screens
from backfill.cli.exits import Ending, note, nothing_done, shown, stands_for
from backfill.cli.flags import CheckOptions, SendOptions, VerifyOptions, command
from backfill.cli.terminal import view_for, width
from backfill.clock import Clock
from backfill.commands import check
from backfill.commands.check import Planned
from backfill.commands.state_home import at_hand
from backfill.commands.watch import View, Watch
from backfill.delivery.destination import destination, is_loopback
from backfill.engine.options import Observer, Options, PlannedRun, Stop
from backfill.errors import RESUMABLE, BackfillError, ExitCode, InterruptedRunError, StateError
from backfill.files import write_atomically
from backfill.job import folder_of, state_url
from backfill.journal.directory import prepared
from backfill.pipeline.file import Pipeline
from backfill.rejected.writer import REJECTED_FILE
from backfill.report.wording import can_be_fixed, counted, printable

if TYPE_CHECKING:  # of what sends, not of a look at the files
    from backfill.report.summary import Summary

NEXT_STEP = "run the same command again to resume"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Send = Callable[[Pipeline, Options, Observer, Stop], "Summary"]


@contextlib.contextmanager
def obeyed(
    stop: Callable[[BackfillError], None], last_words: Callable[[ExitCode], bytes]
) -> Iterator[None]:
    """Turn signals into a stop.

    Args:
        stop: Asks for an orderly end.
        last_words: What stdout still gets at a sudden end.
    """
    asked = False

    def obey(number: int, _: FrameType | None) -> None:
        nonlocal asked
        code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
        if asked:
            _say(f"\nstopped at once\nnext: {NEXT_STEP}\n")
            os.write(1, last_words(code))
            os._exit(code)
        asked = True
        _say("\nstopping: waiting for requests in flight; press again to stop at once\n")
        why = InterruptedRunError(
            "interrupted" if number == signal.SIGINT else "terminated",
            next_step=NEXT_STEP,
            terminated=number == signal.SIGTERM,
        )
        with contextlib.suppress(RuntimeError):  # the event loop may just have ended by itself
            stop(why)

    before = {each: signal.signal(each, obey) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let Ctrl-C end what waits for a person's answer."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _say(text: str) -> None:
    # A signal may come in the middle of a write to sys.stderr, which must not be entered twice.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


@dataclass(frozen=True, slots=True)
class Sent:
    """What a sending command did.

    Args:
        summary: What became of every row.
        rejected_file: Where the rejected rows are; None: there are none.
        report_file: Where the report is.
        goes_on: The command that sends the rows that are left.
    """

    summary: "Summary"
    rejected_file: Path | None
    report_file: Path
    goes_on: str

    def text(self) -> str:
        """As people read it."""
        return f"{self.summary.text(width())}\nReport: {shown(self.report_file)}\n"


@contextmanager
def state_here(pipeline: Pipeline, options: Options, stop: Stop) -> Iterator[Options]:
    """Have a job's state on this machine, whose paths are shown as what they stand for.

    Args:
        pipeline: The settings.
        options: How the command was asked for.
        stop: Asks it to stop.
    """
    with at_hand(pipeline, options, stop, note) as here:
        if (url := state_url(pipeline, options.state_dir)) is not None:
            stands_for(Path(here.state_dir or ""), url)
        yield here


def opened_here(path: Path, pipeline: Pipeline, state_dir: str | None, folder: str = "") -> Path:
    """A result that people will open: of a state elsewhere, a copy beside the pipeline file.

    Args:
        path: The result.
        pipeline: The settings.
        state_dir: What `--state-dir` says.
        folder: The folder of the job's in which it lies.
    """
    if state_url(pipeline, state_dir) is None:
        return path
    copy = folder_of(pipeline, None) / folder / path.name
    try:
        prepared(copy.parent, create=True)
        write_atomically(copy, path.read_bytes())
    except (OSError, StateError):  # a pod's folder of settings: it is in the bucket all the same
        return path
    return copy


def look(pipeline: Pipeline, asked: CheckOptions) -> Planned:
    """Look at every row."""
    watch = Watch(view_for(quiet=asked.quiet), Clock().now_s, lambda *_: True)
    with (
        _stoppable(pipeline, as_json=asked.json) as stop,
        state_here(pipeline, asked.options(), stop) as here,
    ):
        return check.plan(pipeline, here, watch, stop)


def send(
    pipeline: Pipeline, asked: SendOptions, options: Options, call: Send, *, name: str
) -> Sent:
    """Send, after asking where a person is there to be asked.

    Args:
        pipeline: The settings.
        asked: What the command was asked.
        options: The same for the library.
        call: What to call of it.
        name: The command: run, retry or sync.
    """
    from backfill.cli.after_run import remembered  # see above
    from backfill.notify.call_history import HISTORY_FOLDER, sends_by
    from backfill.report.html import REPORT_FILE

    again = name == "retry"
    with (
        _stoppable(pipeline, as_json=asked.json) as stop,
        state_here(pipeline, options, stop) as here,
        remembered(pipeline, here, name, asked.metrics_file) as done,
    ):
        view = view_for(quiet=asked.quiet)
        question = Prompt(pipeline, here, view, is_asked=not asked.yes, again=again)
        watch = Watch(view, Clock().now_s, question)
        summary = call(pipeline, here, watch, stop)
        done(summary)
    folder = folder_of(pipeline, here.state_dir)
    goes_on = sends_by(folder / HISTORY_FOLDER) if again else name
    return Sent(summary, watch.rejected_file, folder / REPORT_FILE, goes_on)


def sent(path: Path, asked: SendOptions, given: Sent, *, name: str) -> Ending:
    """How a sending command ends whose rows were all seen to.

    Args:
        path: The pipeline file.
        asked: What the command was asked.
        given: What it did.
        name: The command: run, retry or sync.
    """
    summary = given.summary
    return Ending(
        ExitCode(summary.exit),
        _next_step(path, asked, given, name),
        given.text(),
        summary.to_json(),
    )


def verified(
    path: Path,
    pipeline: Pipeline,
    asked: VerifyOptions,
    *,
    sample: int | None,
    everyone: bool,
    lag_s: float | None,
) -> Ending:
    """Read back what was delivered; how that ends.

    Args:
        path: The pipeline file.
        pipeline: The settings.
        asked: What the command was asked.
        sample: How many people are compared; None: as many as usual.
        everyone: All of them are.
        lag_s: How long answers may be behind; None: as long as usual.
    """
    from backfill.commands import verify as library  # seldom needed
    from backfill.notify.call_history import HISTORY_FOLDER, sends_by
    from backfill.report.status_file import STATUS_FILE, read_status
    from backfill.report.verified import VERIFIED_FILE
    from backfill.verification.proving import LAG_S

    view = view_for(quiet=asked.quiet)
    with (
        _stoppable(pipeline, as_json=asked.json) as stop,
        state_here(pipeline, asked.options(), stop) as here,
    ):
        summary = library.verify(
            pipeline,
            here,
            sample=None if everyone else sample or library.SAMPLE,
            lag_s=LAG_S if lag_s is None else lag_s,
            stop=stop,
            progress=view.say,
        )
        folder = folder_of(pipeline, here.state_dir)
        status = read_status(folder / STATUS_FILE)
    listed = shown(folder / VERIFIED_FILE)
    found = summary.verification
    text = found.text(pipeline.name, width()) if found else ""
    step = "nothing to do; all that can be proved is as it was sent"
    if summary.exit == ExitCode.DIFFERS:
        # A rehearsal must not lead to the real workspace.
        url = asked.url or (status and status.url) or None
        again = command(sends_by(folder / HISTORY_FOLDER), path, given=replace(asked, url=url))
        step = f"look at {listed}; to send everything once more: {again} --restart"
    return Ending(ExitCode(summary.exit), step, text, summary.to_json())


def _next_step(path: Path, asked: SendOptions, given: Sent, name: str) -> str:
    go_on = command(given.goes_on, path, given=asked, without=("limit",))
    if ExitCode(given.summary.exit) in RESUMABLE:  # nothing stopped it: a retry, and rows are left
        left = given.summary.pending - given.summary.held
        return f"{counted(left, 'row')} of the job still to be sent: {go_on}"
    if given.rejected_file and not given.summary.rejected:
        refused = f"{shown(given.rejected_file)} lists who was not deleted, and why"
        return f"nothing; {refused}: the next sync tries again"
    if given.rejected_file and not can_be_fixed(given.summary.rejections_by_reason):
        return f"nothing to do: {shown(given.rejected_file)} lists headers and footers, no rows"
    if given.rejected_file:
        fixed = Path(shown(given.rejected_file))
        files = [path] if fixed.name == REJECTED_FILE else [path, fixed]
        retry = command("retry", *files, given=asked)
        if asked.accept_changes and name != "retry":
            return f"try the rejected rows with the new settings, or fix them in {fixed}: {retry}"
        return f"fix the rows in {fixed}, then: {retry}"
    if given.summary.held:
        return f"nothing now; when the held rows are old enough: {go_on}"
    if not given.summary.complete:
        return f"the rest is sent by: {go_on}"
    return "nothing to do; every row is accounted for"


@contextmanager
def _stoppable(pipeline: Pipeline, *, as_json: bool) -> Iterator[Stop]:
    def last_words(code: ExitCode) -> bytes:
        return nothing_done(pipeline.name, code) + b"\n" if as_json else b""

    stop = Stop()
    with obeyed(stop, last_words):
        yield stop


class Prompt:
    """Shows a plan in short, and asks whether to start.

    Args:
        pipeline: The settings.
        options: How it would be sent.
        view: Where it is shown.
        is_asked: Whether anybody is asked at all.
        again: Only rejected rows would be sent.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        options: Options,
        view: View,
        *,
        is_asked: bool,
        again: bool = False,
    ) -> None:
        settings = pipeline.destination
        self._pipeline = pipeline
        self._options = options
        self._view = view
        self._again = again
        self._url = destination(region=settings.region or "us", url=options.url or settings.url)
        here = sys.stdin.isatty() and sys.stderr.isatty()
        self._is_asked = is_asked and here and not is_loopback(self._url)

    def __call__(self, run: PlannedRun) -> bool:
        """Whether to start; without anybody to ask, or anything to do: yes."""
        for line in self._what(run):
            self._view.say(line)
        if run.guards or not run.rows_left or not self._is_asked:
            return True
        try:
            with raised():
                some = "what differs" if run.differences else counted(run.rows_left, "row")
                answer = input_from_person(f"send {some} to {self._url}; start now? [y/N] ")
        except (KeyboardInterrupt, EOFError):
            return False
        return answer.strip().lower() in ("y", "yes")

    def _what(self, run: PlannedRun) -> Iterable[str]:
        """What is about to be sent."""
        if self._again:
            rows = counted(run.rows_left, "rejected row")
            ready = f"retry: {rows}; those that are good now are sent"
            lines: Iterable[str] = [ready]
        elif run.differences is not None:
            lines = screens.short_sync(self._pipeline, run.plan, run.differences)
        else:
            warn = run.rows_left == run.plan.rows_read
            lines = screens.short_plan(self._pipeline, run.plan, self._options, warn=warn)
        return [*lines, *run.notes]


def input_from_person(question: str) -> str:
    """Ask on stderr: stdout carries the result."""
    print(printable(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()
