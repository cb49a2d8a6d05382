"""`backfill schedule`: the files that start a sync every night."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backfill.cli.exits import Ending, shown
from backfill.cli.flags import OutputOptions, PipelineFile, StateDir, flat, time_of_day
from backfill.errors import ExitCode, UsageError

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.schedule import Nightly

PROGRAM = "backfill"


@flat
def schedule(  # noqa: PLR0913 - the options of the command
    pipeline: PipelineFile,
    showing: OutputOptions,
    *,
    at: Annotated[
        str, typer.Option(metavar="HH:MM", parser=time_of_day, help="When to start every night.")
    ] = "02:30",
    timezone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="The time zone of --at, such as Europe/Berlin."),
    ] = None,
    form: Annotated[
        Literal["cron", "systemd", "kubernetes"],
        typer.Option("--format", help="The scheduler."),
    ] = "cron",
    state_dir: StateDir = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="The container image, for kubernetes.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write the files to this folder."),
    ] = None,
) -> Ending:
    """Print the nightly job for cron, systemd or Kubernetes."""
    import orjson

    from backfill.schedule import files

    del showing  # how it is shown is asked of every ending
    made = files(_nightly(pipeline, at, timezone, state_dir, image), form)
    if output is None:
        text, step = "\n".join(made.values()), "install it as its first lines say"
    else:
        text, step = _written(output, made), "install them as their first lines say"
    return Ending(ExitCode.DELIVERED, step, text, orjson.dumps({"files": made}))


def _nightly(
    file: Path, at: str, timezone: str | None, state_dir: str | None, image: str | None
) -> "Nightly":
    from datetime import UTC, datetime
    from importlib.metadata import version

    from backfill.clock import Clock
    from backfill.pipeline.file import Pipeline
    from backfill.schedule import nightly_of

    return nightly_of(
        Pipeline.load(file),
        at,
        timezone=timezone,
        state_dir=state_dir,
        program=_program(),
        user=_user(),
        image=image or f"{PROGRAM}:{version(PROGRAM)}",
        today=datetime.fromtimestamp(Clock().unix_s(), UTC).date(),
    )


def _program() -> tuple[str, ...]:
    """How this very program is started, from any folder and with any PATH."""
    import sys

    beside = Path(sys.executable).with_name(PROGRAM)
    return (str(beside),) if beside.exists() else (sys.executable, "-m", PROGRAM)


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())


def _written(folder: Path, made: dict[str, str]) -> str:
    """Write new files; give their names, a line each."""
    for name, text in made.items():
        try:
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise UsageError(
                f"{shown(folder / name)}: already exists, and is never overwritten",
                next_step="move it away, or choose another folder with --output",
            ) from None
    return "".join(f"{shown(folder / name)}\n" for name in made)
