"""Send what a pipeline's files hold.

summary = run(Pipeline.load("acme.toml"))
"""

from backfill.commands.progress_lines import Say, watch_saying
from backfill.engine.options import Observer, Options, Stop
from backfill.engine.run import FullRun, execute
from backfill.pipeline.file import Pipeline
from backfill.report.summary import Summary


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
    return execute(FullRun(), pipeline, options, observer, stop)
