"""check, plan, run, retry, sync, report: what is done with the job of a pipeline file."""

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from backfill.cli.exits import Ending, shown, where_it_stands
from backfill.cli.flags import (
    CheckOptions,
    JobOptions,
    PipelineFile,
    PlanOptions,
    SendOptions,
    VerifyOptions,
    command,
    duration_s,
    flat,
)
from backfill.errors import ExitCode, UsageError

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.commands.check import Planned
    from backfill.pipeline.file import Pipeline


@flat
def check(pipeline: PipelineFile, asked: CheckOptions) -> Ending:
    """Check every row, send nothing, write the rejected rows."""
    from backfill.cli import screens, session
    from backfill.pipeline.file import Pipeline

    given = Pipeline.load(pipeline)
    planned = session.look(given, asked)
    return Ending(
        planned.exit,
        _next_step(command("plan", pipeline, given=asked), planned),
        screens.check_text(given, planned),
        screens.plan_json(given, planned, asked.options()),
    )


@flat
def plan(pipeline: PipelineFile, asked: PlanOptions) -> Ending:
    """Show what a run would send, and what would stop it."""
    from backfill.cli import plan_screen, screens, session
    from backfill.pipeline.file import Pipeline

    given = Pipeline.load(pipeline)
    planned = session.look(given, asked)
    options = asked.options()
    return Ending(
        planned.exit,
        _next_step(command("run", pipeline, given=asked), planned),
        plan_screen.plan_text(given, planned, options),
        screens.plan_json(given, planned, options),
    )


def _next_step(go_on: str, planned: "Planned") -> str:
    if planned.guards:
        return f"{planned.guards[0].answer}; then: {go_on}"
    if planned.rejected_file:
        return f"look at {shown(planned.rejected_file)}; to send the others: {go_on}"
    return go_on


@flat
def run(pipeline: PipelineFile, asked: SendOptions) -> Ending:
    """Plan, then send; run it again to resume."""
    from backfill.cli import session
    from backfill.commands import run
    from backfill.pipeline.file import Pipeline

    given = Pipeline.load(pipeline)
    done = session.send(given, asked, asked.options(), run.run, name="run")
    return session.sent(pipeline, asked, done, name="run")


@flat
def retry(
    pipeline: PipelineFile,
    asked: SendOptions,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]", help="The corrected rows; default: the job's rejected.csv."
        ),
    ] = None,
) -> Ending:
    """Send the rejected rows again, as corrected in rejected.csv."""
    from backfill.cli import session
    from backfill.commands import retry as library
    from backfill.pipeline.file import Pipeline

    given = Pipeline.load(pipeline)
    done = session.send(
        given,
        asked,
        asked.options(),
        lambda first, *rest: library.retry(first, where_it_stands(file) if file else None, *rest),
        name="retry",
    )
    return session.sent(pipeline, asked, done, name="retry")


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
    done = session.send(given, asked, options, library.sync, name="sync")
    return session.sent(pipeline, asked, done, name="sync")


@flat
def verify(
    pipeline: PipelineFile,
    asked: VerifyOptions,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Compare so many people and their events; default: 1000."
        ),
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Compare all of them.")] = False,
    lag: Annotated[
        float | None,
        typer.Option(
            metavar="DURATION",
            parser=duration_s,
            help="How long after the last request answers may be behind; default: 10s.",
        ),
    ] = None,
) -> Ending:
    """Read back what was delivered, and compare it field by field."""
    from backfill.cli import session
    from backfill.pipeline.file import Pipeline

    if sample is not None and everyone:
        raise typer.BadParameter("--sample and --all exclude each other")
    return session.verified(
        pipeline, Pipeline.load(pipeline), asked, sample=sample, everyone=everyone, lag_s=lag
    )


class Redact(StrEnum):
    """What the report leaves out, as the library takes it."""

    ALL = "all"
    VALUES = "values"
    NONE = "none"


@flat
def report(
    pipeline: PipelineFile,
    asked: JobOptions,
    redact: Annotated[
        Redact,
        typer.Option(help="Leave out cell values; all: names of files, columns and events too."),
    ] = Redact.VALUES,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="Write one .zip with all evidence of the job.")
    ] = False,
    undo: Annotated[
        bool,
        typer.Option("--undo", help="Write a pipeline that deletes whom the job created."),
    ] = False,
) -> Ending:
    """Write the HTML report of a job."""
    import orjson

    from backfill.cli import session
    from backfill.commands import report as library
    from backfill.engine.options import Options, Stop
    from backfill.pipeline.file import Pipeline

    if undo and bundle:
        raise UsageError("--undo and --bundle are two things", next_step="give one at a time")
    write = library.bundle if bundle else library.report
    given = Pipeline.load(pipeline)
    if undo:
        return _undo(given, asked)
    with session.state_here(given, Options(state_dir=asked.state_dir), Stop()) as here:
        summary, path = write(given, here.state_dir, redact.value)
        path = session.opened_here(path, given, asked.state_dir)
    made = {"bundle": str(path)} if bundle else {"report": str(path)}
    return Ending(
        ExitCode.DELIVERED,
        f"keep {shown(path)}" if bundle else f"open {shown(path)} in a browser",
        f"{path}\n",
        orjson.dumps(summary.as_dict() | {"exit": ExitCode.DELIVERED} | made),
    )


def _undo(given: "Pipeline", asked: JobOptions) -> Ending:
    """The pipeline that deletes whom a job created, and what nobody can know of it."""
    import orjson

    from backfill.cli import session
    from backfill.commands import report as library
    from backfill.engine.options import Options, Stop
    from backfill.report.wording import counted

    with session.state_here(given, Options(state_dir=asked.state_dir), Stop()) as here:
        made = library.undo(given, here.state_dir)
        # Its files first: a pipeline whose file is missing here is worth nothing.
        for each in sorted(made.pipeline_file.parent.glob("*.csv")):
            session.opened_here(each, given, asked.state_dir, library.UNDO_FOLDER)
        path = session.opened_here(made.pipeline_file, given, asked.state_dir, library.UNDO_FOLDER)
    lines = [f"{shown(path)}: {counted(made.people, 'person', 'people')} to delete"]
    lines += [f"  not in it, since nobody can know: {each}" for each in made.unknown]
    result = {
        "exit": ExitCode.DELIVERED,
        "undo": str(path),
        "people": made.people,
        "unknown": list(made.unknown),
    }
    return Ending(
        ExitCode.DELIVERED,
        f"look through its files, then: {command('plan', path)}"
        if made.people
        else "nothing is to be undone, as far as is known",
        "\n".join(lines) + "\n",
        orjson.dumps(result),
    )
