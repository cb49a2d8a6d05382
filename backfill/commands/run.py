"""Send what a pipeline's files hold.

summary = run(Pipeline.load("acme.toml"))
"""

from dataclasses import replace

from backfill.commands.state_home import at_hand
from backfill.commands.watch import Say, watch_saying
from backfill.engine.options import Observer, Options, Silent, Stop
from backfill.engine.prepare import SourceRows
from backfill.engine.run import PreparedRun, RunMode, execute
from backfill.engine.send import Work
from backfill.errors import UsageError
from backfill.job import Job, bind_files
from backfill.pipeline.file import Pipeline
from backfill.planning import guards
from backfill.planning.plan import Plan
from backfill.report.summary import Summary
from backfill.sync import catch_up


def run(
    pipeline: Pipeline,
    options: Options | None = None,
    observer: Observer | None = None,
    stop: Stop | None = None,
    *,
    progress: Say | None = None,
) -> Summary:
    """Send what a pipeline's files hold. It may be called where an event loop is running.

    Args:
        pipeline: The settings.
        options: How it is done.
        observer: Is told how it goes on.
        stop: Asks it to stop.
        progress: Shows a line now and then, such as `print`, where no observer does.

    Returns:
        What became of every row: all delivered, or some rejected.

    Raises:
        BackfillError: What stopped it, with its exit code; its `summary` says how far it came.
    """
    observer = observer or (watch_saying(progress) if progress else None)
    stop = stop or Stop()
    with at_hand(pipeline, options, stop) as here:
        mode = canary_first(RUN, pipeline, here, observer, stop)
        return execute(mode, pipeline, here, observer, stop)


def canary_first(
    mode: RunMode, pipeline: Pipeline, options: Options, observer: Observer | None, stop: Stop
) -> RunMode:
    """The same run; where a canary is asked for, one that sends it first.

    Args:
        mode: A run or a sync.
        pipeline: The settings.
        options: How it is done.
        observer: Is told how it goes on.
        stop: Asks it to stop.

    Raises:
        CredentialsError: There is no key of the App API, and it would be asked.
        UsageError: The pipeline has nobody who could go first.
    """
    if options.canary is not None and not (pipeline.has_customers or pipeline.has("events")):
        raise UsageError(
            "--canary sends people and their events first, and this pipeline has neither",
            next_step="drop --canary; `backfill plan` shows samples of what would be sent",
        )
    # Whoever has no key keeps the record of what was sent, as with any other credentials.
    if options.canary is not None or (pipeline.import_.undo and options.restart):
        from backfill.verification.proving import app_of  # noqa: PLC0415 - seldom needed

        app_of(pipeline, options, "")
    if options.canary is None:
        return mode
    from backfill.verification.canary import with_canary  # noqa: PLC0415 - seldom needed

    return with_canary(mode, options, stop, (observer or Silent()).verifying)


def _bind(job: Job, append: bool) -> Job:
    """Every file as it was; where rows may have been added, with them."""
    return replace(job, inputs=bind_files(job.inputs, job.journal, append=append))


def _prepare(job: Job, plan: Plan, now_s: float) -> PreparedRun:
    """Send every row that is not settled, unless a guard refuses."""

    def start() -> Work:
        catch_up.begin(job, plan, diff=False)
        return SourceRows(job, plan, now_s)

    def complete() -> None:
        catch_up.catch_up(job.journal, job.pipeline, job.folder, done=job.limit is None)

    return PreparedRun(guards.refusals(job.pipeline, plan, now_s), start, complete)


RUN = RunMode("run", _bind, _prepare)
