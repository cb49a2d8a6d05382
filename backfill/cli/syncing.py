"""`backfill sync`: what is new or different since the last time."""

from dataclasses import replace
from typing import Annotated

import typer

from backfill.cli.exits import Ending
from backfill.cli.flags import PipelineFile, SendOptions, duration_s, flat


@flat
def sync(
    pipeline: PipelineFile,
    asked: SendOptions,
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="DURATION",
            parser=duration_s,
            help="Wait while another process runs the job: 15m, 1h.",
        ),
    ] = None,
) -> Ending:
    """Send only what is new or different since the last sync."""
    from backfill.cli import session
    from backfill.commands import sync as library
    from backfill.pipeline.file import Pipeline

    given = Pipeline.load(pipeline)
    options = replace(asked.options(), wait_s=wait or 0.0)
    return session.sent(
        pipeline, asked, session.send(given, asked, options, library.sync, name="sync")
    )
