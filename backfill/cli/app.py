"""The commands, and the one way in."""

import re
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from backfill.cli.exits import Asked, Ending, leave, of_error, say
from backfill.errors import ExitCode, UsageError

_HOMES = {
    "demo": "demo",
    "init": "init",
    "check": "job_commands",
    "plan": "job_commands",
    "run": "job_commands",
    "retry": "job_commands",
    "sync": "job_commands",
    "verify": "job_commands",
    "schedule": "schedule",
    "status": "status",
    "report": "job_commands",
    "sandbox": "sandbox",
}
"""The commands in the order of `--help`, each with the module of this package that it is in."""


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # slow: it looks up what is installed

        typer.echo(f"backfill {version('backfill')}")
        raise typer.Exit


def _backfill(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Move a company's history into Customer.io: once, complete, with the right dates.

    See it at work with `backfill demo`. Then, with files of your own: init, check, plan, run.
    """


def parser_of(arguments: Sequence[str]) -> typer.Typer:
    """What reads the arguments: of the command alone that they name, of all where they name none.

    Each command costs 2 ms, with what Typer makes of its options.
    """
    parser = typer.Typer(
        name="backfill",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    parser.callback()(_backfill)
    for name in arguments[:1] if arguments[0] in _HOMES else _HOMES:
        parser.command()(getattr(import_module(f"backfill.cli.{_HOMES[name]}"), name))
    return parser


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments ask; give the exit code. Nothing is ever raised."""
    if not arguments:
        main(["--help"])
        say("next: see it at work with: backfill demo")
        return ExitCode.USAGE
    asked = Asked(arguments)
    try:
        found = typer.main.get_command(parser_of(arguments)).main(
            list(arguments), prog_name="backfill", standalone_mode=False
        )
    except typer.TyperException as error:
        return leave(of_error(_misuse(error, arguments), asked), asked)
    except typer.Abort:
        return leave(of_error(KeyboardInterrupt(), asked), asked)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the way out for all of them
        return leave(of_error(error, asked), asked)
    if isinstance(found, Ending):
        return leave(found, asked)
    if found == ExitCode.INTERRUPTED:  # Typer has caught Ctrl-C
        return leave(of_error(KeyboardInterrupt(), asked), asked)
    return int(found or 0)


_PLAINER = (
    (r"Invalid value for '([^']+)': ", r"\1: "),
    (r"Input should be a valid integer,.*", "must be a whole number"),
    (r"Input should be a valid number,.*", "must be a number"),
    (r"Input should be greater than or equal to (\S+)", r"must be at least \1"),
    (r"Input should be less than or equal to (\S+)", r"must be at most \1"),
    (r"Value error, '([^']*)' is not one of (.*?)\.?$", r"must be one of \2, not '\1'"),
    (r"Got unexpected extra arguments? \((.*)\)", r"too many arguments: \1"),
    (r"Got unexpected extra argument\(s\) \((.*)\)", r"too many arguments: \1"),
    (r" \(Possible options: (.*)\)", r"; there is \1"),
)
"""What the parser says in words of Python, and what people are told instead."""


def _misuse(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """A mistake on the command line, as one sentence."""
    sentence = " ".join(error.format_message().split())
    for said, better in _PLAINER:
        sentence = re.sub(said, better, sentence)
    meant = next((each for each in arguments if each in _HOMES), None)
    shown = f"backfill {meant} --help" if meant else "backfill --help"
    return UsageError(sentence[:1].lower() + sentence[1:].rstrip("."), next_step=f"see: {shown}")
