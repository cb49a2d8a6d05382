"""`backfill run` and `backfill retry`: send, and account for every row."""

from pathlib import Path
from typing import Annotated

import typer

from backfill.cli.exits import Ending
from backfill.cli.flags import PipelineFile, SendOptions, flat


@flat
def run(pipeline: PipelineFile, asked: SendOptions) -> Ending:
    """Plan, then send; started again, go on where it stopped."""
    from backfill.cli import session
    from backfill.commands import run
    from backfill.pipeline.file import Pipeline

    given = Pipeline.load(pipeline)
    return session.sent(
        pipeline, asked, session.send(given, asked, asked.options(), run.run, name="run")
    )


@flat
def retry(
    pipeline: PipelineFile,
    asked: SendOptions,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The mended rows; else the job's rejected.csv."),
    ] = None,
) -> Ending:
    """Send the rejected rows again, as mended in rejected.csv."""
    from backfill.cli import session
    from backfill.commands import retry as library
    from backfill.pipeline.file import Pipeline

    given = Pipeline.load(pipeline)
    done = session.send(
        given,
        asked,
        asked.options(),
        lambda first, *rest: library.retry(first, file, *rest),
        name="retry",
    )
    return session.sent(pipeline, asked, done)
