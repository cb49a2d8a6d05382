"""What commands can be asked: each option is said once, for all commands that take it."""

import functools
import inspect
import re
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.engine.options import Options

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
WORKERS_MAX = 256
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def duration_s(text: str) -> float:
    """A length of time in seconds, as `--for` takes it.

    Raises:
        typer.BadParameter: It is none, or nothing.

    >>> duration_s("1h30m")
    5400.0
    """
    match = _DURATION.fullmatch(text.strip())
    hours, minutes, seconds = (int(each or 0) for each in match.groups()) if match else (0, 0, 0)
    if not (hours or minutes or seconds):
        raise typer.BadParameter("write it as 90s, 15m, 2h or 1h30m")
    return float(hours * 3600 + minutes * 60 + seconds)


def time_of_day(text: str) -> str:
    """A time of day as `HH:MM`.

    Raises:
        typer.BadParameter: It is none.
    """
    if not _TIME_OF_DAY.fullmatch(text.strip()):
        raise typer.BadParameter("write it as HH:MM, from 00:00 to 23:59")
    return text.strip()


def seconds_until(time: str, now: datetime) -> float:
    """How long it is until this machine's clocks show `HH:MM` again.

    Args:
        time: The time of day.
        now: An aware moment, as this machine's clocks show it.
    """
    hour, minute = map(int, time.split(":"))
    shown = now.replace(tzinfo=None)
    then = shown.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if then <= shown:
        then += timedelta(days=1)
    # A naive moment is this machine's own: clocks may be changed until then.
    return then.astimezone().timestamp() - now.timestamp()


def worker_count(text: str) -> str:
    """How many workers `--workers` asks for.

    Raises:
        typer.BadParameter: It says none.
    """
    if text != "auto" and not (text.isdecimal() and 1 <= int(text) <= WORKERS_MAX):
        raise typer.BadParameter(f"write a number from 1 to {WORKERS_MAX}, or auto")
    return text


PipelineFile = Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline file (TOML).")]
StateDir = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Where jobs keep their state, a folder or s3://…; default: .backfill beside the"
        " pipeline file.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Send only the first N rows of each source.")
]
Url = Annotated[
    str | None, typer.Option(metavar="URL", help="Send to this address: https, or this machine.")
]
Rate = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="N", help="Requests per second at most; 0: no limit, loopback only."
    ),
]
Workers = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        parser=worker_count,
        help="So many processes check, encode and send rows.",
        show_default=False,
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="The workers of this Dask scheduler check, encode and send rows."
    ),
]
Scratch = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|URL",
        help="Where workers find their rows: a folder, or one in a bucket, that all of them see.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, the last line of stdout.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors and the next step only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Print a traceback with every error.")]


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How a command shows what it found."""

    json: Json = False
    quiet: Quiet = False
    debug: Debug = False


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """Which rows of a database are meant."""

    table: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A table of the database; repeat.")
    ] = None
    query: Annotated[
        list[str] | None, typer.Option(metavar="SQL", help="A query to the database; repeat.")
    ] = None


@dataclass(frozen=True, slots=True)
class JobOptions(OutputOptions):
    """Where the job is that a command shows."""

    state_dir: StateDir = None


@dataclass(frozen=True, slots=True)
class VerifyOptions(JobOptions):
    """Where the job is that is verified, and its workspace."""

    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Read there; default: where the job was sent last."),
    ] = None

    def options(self) -> "Options":
        """As the library takes them."""
        from backfill.engine.options import Options  # see above

        return Options(state_dir=self.state_dir, url=self.url)


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What the commands that send nothing can be asked."""

    state_dir: StateDir = None
    limit: Limit = None
    workers: Workers = "1"
    cluster: Cluster = None
    scratch: Scratch = None
    json: Json = False
    quiet: Quiet = False
    debug: Debug = False

    def options(self) -> "Options":
        """As the library takes them."""
        from backfill.engine.options import Options  # see above

        return Options(
            state_dir=self.state_dir,
            limit=self.limit,
            workers="auto" if self.workers == "auto" else int(self.workers),
            cluster=self.cluster,
            scratch=self.scratch,
        )


@dataclass(frozen=True, slots=True)
class PlanOptions(CheckOptions):
    """What `plan` can be asked: the figures are those of a run with the same options."""

    url: Url = None
    rate: Rate = None

    def options(self) -> "Options":
        """As the library takes them."""
        return replace(CheckOptions.options(self), url=self.url, rate=self.rate)


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What the commands that send can be asked."""

    state_dir: StateDir = None
    url: Url = None
    rate: Rate = None
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=1024, metavar="N", help="Concurrent requests at most."),
    ] = None
    limit: Limit = None
    for_: Annotated[
        float | None,
        typer.Option(
            "--for", metavar="DURATION", parser=duration_s, help="Stop after 90s, 15m, 2h, 1h30m."
        ),
    ] = None
    until: Annotated[
        str | None,
        typer.Option(metavar="HH:MM", parser=time_of_day, help="Stop at this local time."),
    ] = None
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what was sent and start over.")
    ] = False
    canary: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="First send N people, read them back, go on if all are equal."
        ),
    ] = None
    append: Annotated[
        bool,
        typer.Option("--append", help="Accept added rows or files; the others must be unchanged."),
    ] = False
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Send the rest with the changed settings.")
    ] = False
    yes: Annotated[
        bool, typer.Option("--yes", help='Answer "start now?" with yes; guards still refuse.')
    ] = False
    workers: Workers = "1"
    cluster: Cluster = None
    scratch: Scratch = None
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write metrics for Prometheus: a *.prom for node_exporter."
        ),
    ] = None
    json: Json = False
    quiet: Quiet = False
    debug: Debug = False

    def options(self) -> "Options":
        """As the library takes them."""
        from backfill.engine.options import Options  # see above

        return Options(
            state_dir=self.state_dir,
            url=self.url,
            rate=self.rate,
            concurrency=self.concurrency,
            limit=self.limit,
            stop_after_s=self._stop_after_s(),
            restart=self.restart,
            append=self.append,
            canary=self.canary,
            accept_changes=self.accept_changes,
            workers="auto" if self.workers == "auto" else int(self.workers),
            cluster=self.cluster,
            scratch=self.scratch,
        )

    def _stop_after_s(self) -> float | None:
        from backfill.clock import Clock  # see above

        given = [] if self.for_ is None else [self.for_]
        if self.until is not None:
            now = datetime.fromtimestamp(Clock().unix_s()).astimezone()
            given.append(seconds_until(self.until, now))
        return min(given, default=None)


_ONCE = frozenset(
    (
        *("restart", "append", "canary", "accept_changes", "yes", "for_", "until"),
        *("json", "quiet", "debug"),
    )
)
"""Options that are asked for one call; all others hold for what is done next with the job."""


def command(name: str, *files: Path, given: Any = None, without: Collection[str] = ()) -> str:
    """A command as it can be pasted into a shell, with the options that were given before.

    Args:
        name: The command.
        files: Its arguments.
        given: The options of the command before, a dataclass of this module.
        without: Names of options that it does not take, or must not repeat.
    """
    words = ["backfill", name, *map(str, files)]
    for each in fields(given) if given is not None else ():
        value = getattr(given, each.name)
        if each.name in _ONCE or each.name in without or value == each.default:
            continue
        words.append(f"--{each.name.replace('_', '-')}")
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return shlex.join(words)


def flat(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command take a dataclass of options: to Typer, each field is an option of its own."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if not is_dataclass(hints[name]):
            parameters.append(
                parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
            )
            continue
        groups[name] = hints[name]
        types = get_type_hints(hints[name], include_extras=True)
        parameters += [
            inspect.Parameter(
                each.name, parameter.KEYWORD_ONLY, default=each.default, annotation=types[each.name]
            )
            for each in fields(hints[name])
        ]

    @functools.wraps(command)
    def flattened(**given: Any) -> Any:
        made = {
            name: group(**{each.name: given.pop(each.name) for each in fields(group)})
            for name, group in groups.items()
        }
        return command(**given, **made)

    flattened.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flattened.__annotations__ = {each.name: each.annotation for each in parameters}
    return flattened
