"""What is started every night, when, and as whom."""

import re
import shlex
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from backfill.errors import UsageError
from backfill.job import folder_of, state_url
from backfill.pipeline.file import Pipeline
from backfill.pipeline.file_settings import STDIN
from backfill.sources.urls import is_url

Form = Literal["cron", "systemd", "kubernetes"]
FORMS: tuple[Form, ...] = get_args(Form)

_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_YEAR_DAYS = 366


@dataclass(frozen=True, slots=True, kw_only=True)
class Nightly:
    """A sync that starts at the same time every day.

    Args:
        name: The job's name: letters, digits, '.', '_' and '-'.
        pipeline_file: The pipeline file, absolute.
        state_dir: What `--state-dir` says: an absolute path or a URL; empty: the pipeline file
            says where the state is.
        hour: The hour, 0 to 23.
        minute: The minute.
        timezone: The IANA zone of the time; None: the machine's own.
        program: The program to start, as words; the first is an absolute path.
        user: Who runs it on this machine.
        image: The container image that has it.
        secrets: The variables that hold the webhook, and the addresses of databases.
        odd_night: The next date on which clocks show the time twice or not at all.
        is_here: Whether the state is on a disk of the machine.
        needs_disk: Whether the state, or anything that the pipeline file names, is.
    """

    name: str
    pipeline_file: Path
    state_dir: Path | str
    hour: int
    minute: int
    timezone: str | None
    program: tuple[str, ...]
    user: str
    image: str
    secrets: tuple[str, ...] = ()
    odd_night: date | None = None
    is_here: bool = True
    needs_disk: bool = True

    def command(self) -> list[str]:
        """The command as words."""
        return [*self.program, "sync", str(self.pipeline_file), *self._place(), "--json"]

    def pod_command(self) -> list[str]:
        """The command in a pod, whose files are in /data."""
        file = self.pipeline_file.name if self.needs_disk else "pipeline.toml"
        place = ["--state-dir", "/data/.backfill"] if self.is_here else self._place()
        # The pod of last night may still be running.
        wait = [] if self.is_here else ["--wait", "15m"]
        return ["backfill", "sync", f"/data/{file}", *place, "--json", *wait]

    def history(self) -> str:
        """The command that shows how the nights went, for a shell."""
        which = self._place() if self.is_here else [str(self.pipeline_file), *self._place()]
        return shlex.join(["backfill", "status", "--history", *which])

    def _place(self) -> list[str]:
        return ["--state-dir", str(self.state_dir)] if self.state_dir else []


def nightly_of(  # noqa: PLR0913 - all but two are keywords
    pipeline: Pipeline,
    at: str,
    *,
    timezone: str | None,
    state_dir: str | Path | None,
    program: tuple[str, ...],
    user: str,
    image: str,
    today: date,
) -> Nightly:
    """The nightly sync of a pipeline.

    Args:
        pipeline: The settings.
        at: When, as HH:MM.
        timezone: As for `Nightly`, like all that follow.
        state_dir: None: beside the pipeline file.
        program: What to start.
        user: Who runs it.
        image: The container image.
        today: The day from which odd nights are looked for.

    Raises:
        UsageError: There is no such zone, a path has a control character, or a source is stdin.
    """
    if any(STDIN in each.files for each in pipeline.sources):
        raise UsageError(
            'files = ["-"]: nothing is piped into a job that starts by itself',
            next_step="schedule a script of your own that pipes the rows into `backfill sync`",
        )
    hour, minute = map(int, at.split(":"))
    url = state_url(pipeline, state_dir)
    home: Path | str = folder_of(pipeline, state_dir).parent.resolve()
    if url is not None:
        home = url if state_dir else ""
    for path in (str(pipeline.path), str(home), *program):
        if not path.isprintable():
            raise UsageError(
                f"{path!r}: a path with control characters cannot be scheduled",
                next_step="rename it, or use another folder",
            )
    return Nightly(
        name=pipeline.name,
        pipeline_file=pipeline.path,
        state_dir=home,
        is_here=url is None,
        needs_disk=url is None or _names_files(pipeline),
        hour=hour,
        minute=minute,
        timezone=timezone,
        program=program,
        user=user,
        image=image,
        secrets=_secrets(pipeline),
        odd_night=odd_night(hour, minute, _zone(timezone), today) if timezone is not None else None,
    )


def _names_files(pipeline: Pipeline) -> bool:
    """Whether a pipeline file is of no use without other files beside it."""
    names = [file for each in pipeline.sources for file in each.files]
    return (
        pipeline.destination.credentials is not None
        or any(each.transform for each in pipeline.sources)
        or not all(map(is_url, names))
    )


def _secrets(pipeline: Pipeline) -> tuple[str, ...]:
    """The variables that the job needs besides its credentials, each once."""
    found = [pipeline.notify.webhook_env] if pipeline.notify else []
    found += [each.query.dsn_env for each in pipeline.sources if each.query]
    return tuple(dict.fromkeys(each for each in found if each))


def odd_night(hour: int, minute: int, zone: ZoneInfo, today: date) -> date | None:
    """The next date, within a year, on which a zone's clocks show a time twice or not at all."""
    for day in (today + timedelta(days=each) for each in range(_YEAR_DAYS)):
        first = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
        # The offsets before and after a change differ for what it repeats, and what it skips.
        if first.utcoffset() != first.replace(fold=1).utcoffset():
            return day
    return None


def _zone(name: str) -> ZoneInfo:
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        pass
    raise UsageError(
        f"--timezone {name!r}: no such time zone",
        next_step="name one such as Europe/Berlin, America/New_York or UTC",
    )
