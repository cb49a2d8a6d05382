"""`backfill run` and `backfill retry`: send, and account for every row."""

from pathlib import Path
from typing import Annotated

import typer

from backfill.cli.exits import Ending
from backfill.cli.options import PipelineFile, Sending, flat


@flat
def run(pipeline: PipelineFile, asked: Sending) -> Ending:
    """Plan, then send; started again, go on where it stopped."""
    from backfill import runs
    from backfill.cli import session
    from backfill.pipeline import Pipeline

    given = Pipeline.load(pipeline)
    return session.sent(
        pipeline, asked, session.send(given, asked, asked.options(), runs.run, name="run")
    )


@flat
def retry(
    pipeline: PipelineFile,
    asked: Sending,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The mended rows; else the job's rejected.csv."),
    ] = None,
) -> Ending:
    """Send the rejected rows again, as mended in rejected.csv."""
    from backfill import retry as library
    from backfill.cli import session
    from backfill.pipeline import Pipeline

    given = Pipeline.load(pipeline)
    done = session.send(
        given,
        asked,
        asked.options(),
        lambda first, *rest: library.retry(first, file, *rest),
        name="retry",
    )
    return session.sent(pipeline, asked, done)
