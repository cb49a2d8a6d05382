"""The one way out: the result goes to stdout, what to do next is the last line of stderr."""

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backfill.cli.terminal import width
from backfill.errors import (
    RESUMABLE,
    BackfillError,
    ExitCode,
    InterruptedRunError,
    as_ours,
)
from backfill.report.wording import printable


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ends.

    Args:
        code: The exit code.
        next_step: What to do next, as one line.
        text: The result as people read it.
        json: The result as one line of JSON.
        error: What went wrong and where; empty: nothing did.
    """

    code: ExitCode
    next_step: str
    text: str = ""
    json: bytes = b""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the arguments ask of every command's ending, also where they are not understood."""

    arguments: Sequence[str]

    @property
    def json(self) -> bool:
        """Whether the last line of stdout is to be JSON."""
        return "--json" in self.arguments

    @property
    def quiet(self) -> bool:
        """Whether people want to see nothing but errors and advice."""
        return "--quiet" in self.arguments

    @property
    def debug(self) -> bool:
        """Whether tracebacks are wanted."""
        return "--debug" in self.arguments

    @property
    def job(self) -> str:
        """The name of the job that was meant, as well as can be told."""
        files = [each for each in self.arguments if each.endswith(".toml")]
        return _name_in(Path(files[0])) if files else ""


_PLACES: dict[str, str] = {}
"""Folders that are here for as long as a command needs them, and the URLs that they stand for."""


def stands_for(folder: Path, url: str) -> None:
    """From now on, show a URL wherever a path in this folder would be shown."""
    _PLACES[str(folder)] = url


def where_it_stands(place: str) -> Path:
    """The path of something that people may name by the URL that they were shown."""
    for folder, url in _PLACES.items():
        if place.startswith(f"{url}/"):
            return Path(folder + place.removeprefix(url))
    return Path(place)


def _by_url(text: str) -> str:
    for folder, url in _PLACES.items():
        text = text.replace(folder, url)
    return text


def leave(ending: Ending, asked: Asked) -> int:
    """Show how a command ended; give the exit code."""
    try:
        if asked.json:
            sys.stdout.write(_by_url(ending.json.decode()) + "\n")
        elif ending.text and not asked.quiet:
            sys.stdout.write(printable(_by_url(ending.text), lines=True))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read it has seen enough; the interpreter would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if ending.error:
        word = "stopped" if ending.code in RESUMABLE else "error"
        # Further lines are indented: what a file says can never look like a line of ours.
        say(f"{word}: {ending.error}".replace("\n", "\n  "))
    say(f"next: {printable(ending.next_step)}")
    return ending.code


def say(text: str) -> None:
    """Show lines on stderr: advice, progress and errors; stdout carries the result."""
    print(printable(_by_url(text), lines=True), file=sys.stderr, flush=True)


def note(sentence: str) -> None:
    """Show a sentence that changes nothing of how the command ends."""
    say(f"note: {sentence}")


def of_error(error: BaseException, asked: Asked) -> Ending:
    """How a command ends that something stopped."""
    if asked.debug:
        say("".join(traceback.format_exception(error)))
    ours = known(error)
    summary = ours.summary
    return Ending(
        ours.exit_code,
        ours.next_step or "fix that, then run the same command again",
        summary.text(width()) if summary and summary.this_run.attempts else "",
        (summary.to_json() if summary else nothing_done(asked.job, ours.exit_code))
        if asked.json
        else b"",
        ours.what,
    )


def nothing_done(job: str, code: ExitCode) -> bytes:
    """The summary of a job that never began."""
    from backfill.clock import Clock  # slow, and seldom needed
    from backfill.report.summary import Summary
    from backfill.report.wording import utc_text

    return Summary.empty(job, code, utc_text(Clock().unix_s())).to_json()


def shown(path: Path) -> str:
    """A path as people in this directory would write it."""
    if any(path.is_relative_to(folder) for folder in _PLACES):
        return str(path)
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def known(error: BaseException) -> BackfillError:
    """The error as one of ours."""
    if isinstance(error, KeyboardInterrupt):
        return InterruptedRunError("interrupted", next_step="run the same command again")
    return as_ours(error)


def _name_in(path: Path) -> str:
    """The name that a pipeline file gives; the file's own where it cannot be read."""
    from backfill.files import parse_toml  # seldom needed

    try:
        name = parse_toml(path.read_bytes()).get("name")
    except (OSError, ValueError):
        name = None
    return name if isinstance(name, str) else path.stem
