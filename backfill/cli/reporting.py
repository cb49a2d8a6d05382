"""`backfill report`: what became of a job, as a page to show around."""

from enum import StrEnum
from typing import Annotated

import typer

from backfill.cli.exits import Ending, shown
from backfill.cli.flags import OutputOptions, PipelineFile, StateDir, flat
from backfill.errors import ExitCode


class Redact(StrEnum):
    """What the report leaves out, as the library takes it."""

    ALL = "all"
    VALUES = "values"
    NONE = "none"


@flat
def report(
    pipeline: PipelineFile,
    showing: OutputOptions,
    state_dir: StateDir = None,
    redact: Annotated[
        Redact,
        typer.Option(
            help="Leave out the values of cells; all: names of files, columns and events, too."
        ),
    ] = Redact.VALUES,
) -> Ending:
    """Write the HTML report of a job, and name it."""
    import orjson

    from backfill.commands import report as library
    from backfill.pipeline.file import Pipeline

    del showing  # how it is shown is asked of every ending
    summary, path = library.report(Pipeline.load(pipeline), state_dir, redact.value)
    return Ending(
        ExitCode.DELIVERED,
        f"open {shown(path)} in a browser",
        f"{path}\n",
        orjson.dumps(summary.as_dict() | {"exit": ExitCode.DELIVERED, "report": str(path)}),
    )
