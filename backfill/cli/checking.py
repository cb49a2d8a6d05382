"""`backfill check` and `backfill plan`: look at every row, send nothing."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.cli.exits import Ending, command, shown
from backfill.cli.flags import CheckOptions, PipelineFile, Rate, Url, flat

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.commands.check import Planned


@flat
def check(pipeline: PipelineFile, asked: CheckOptions) -> Ending:
    """Judge every row, send nothing, write the rejected rows."""
    from backfill.cli import screens, session
    from backfill.pipeline.file import Pipeline

    given = Pipeline.load(pipeline)
    planned = session.look(given, asked)
    return Ending(
        planned.exit,
        _next_step(pipeline, asked, planned, "plan"),
        screens.check_text(given, planned),
        screens.plan_json(given, planned, asked.options()),
    )


@flat
def plan(pipeline: PipelineFile, asked: CheckOptions, url: Url = None, rate: Rate = None) -> Ending:
    """Say what a run would send, and what stands against it."""
    from backfill.cli import plan_screen, screens, session
    from backfill.pipeline.file import Pipeline

    given = Pipeline.load(pipeline)
    planned = session.look(given, asked)
    options = replace(asked.options(), url=url, rate=rate)
    return Ending(
        planned.exit,
        _next_step(pipeline, asked, planned, "run"),
        plan_screen.plan_text(given, planned, options),
        screens.plan_json(given, planned, options),
    )


def _next_step(path: Path, asked: CheckOptions, planned: "Planned", then: str) -> str:
    go_on = command(then, path, state_dir=asked.state_dir)
    if planned.guards:
        return f"{planned.guards[0].answer}; then: {go_on}"
    if planned.rejected_file:
        return f"look at {shown(planned.rejected_file)}; to send the others: {go_on}"
    return go_on
