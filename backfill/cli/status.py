"""`backfill status`: where jobs stand, also while one runs. No journal is opened."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.cli.exits import Ending
from backfill.cli.flags import OutputOptions, StateDir, flat
from backfill.errors import ExitCode

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.report.status_file import Status

_SETTLED = (ExitCode.DELIVERED, ExitCode.REJECTIONS)


@flat
def status(
    showing: OutputOptions,
    pipeline: Annotated[
        Path | None, typer.Argument(metavar="[PIPELINE]", help="Only this pipeline's job.")
    ] = None,
    state_dir: StateDir = None,
    history: Annotated[
        bool, typer.Option("--history", help="Every run, retry and sync that is remembered.")
    ] = False,
) -> Ending:
    """Show where jobs stand, also while one runs."""
    import orjson

    from backfill.engine.clock import Clock

    del showing  # how it is shown is asked of every ending
    if history:
        from backfill.cli import history as calls

        return calls.history(_folders(pipeline, state_dir))
    jobs = [each for folder in _folders(pipeline, state_dir) if (each := _read(folder))]
    now = Clock().unix_s()
    return Ending(
        ExitCode.DELIVERED,
        _next_step(jobs),
        _text(jobs, now) if jobs else "no job has begun here\n",
        orjson.dumps({"jobs": [_as_json(*each) for each in jobs]}),
    )


Job = tuple["Status", dict[str, Any]]
"""What a job said last, and its summary (empty before its first run ends)."""


def _folders(pipeline: Path | None, state_dir: Path | None) -> list[Path]:
    if pipeline is None:
        home = state_dir or Path(".backfill")
        return sorted(each for each in home.glob("*") if each.is_dir())
    from backfill.job import folder_of
    from backfill.pipeline.file import Pipeline

    return [folder_of(Pipeline.load(pipeline), state_dir)]


def _read(folder: Path) -> Job | None:
    import orjson

    from backfill.report.status_file import STATUS_FILE, read_status
    from backfill.report.summary import SUMMARY_FILE

    found = read_status(folder / STATUS_FILE)
    if found is None:
        return None
    try:
        summary = orjson.loads((folder / SUMMARY_FILE).read_bytes())
    except (OSError, ValueError):
        summary = {}
    return found, summary


def _state(found: "Status") -> str:
    """In one word, for people: a killed process cannot say that it ended."""
    if found.is_alive():
        return found.state
    return "finished" if found.exit in _SETTLED else "interrupted"


def _pending(found: "Status") -> int | None:
    return None if found.rows_total is None else found.rows_total - found.rows_read


def _as_json(found: "Status", summary: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **asdict(found),
        "state": _state(found),
        "pending": _pending(found),
        "summary": summary or None,
    }


def _text(jobs: list[Job], now_s: float) -> str:
    from backfill.cli.terminal import width
    from backfill.report.wording import ago, table, unix_of

    lines = [["", "state", "rows", "delivered", "rejected", "pending", "rows/s", "updated"]]
    for found, _ in jobs:
        pending = _pending(found)
        counts = (found.rows_total, found.delivered, found.rejected, pending)
        shown = ["?" if each is None else f"{each:,}" for each in counts]
        speed = f"{found.rows_per_second:,.0f}"
        lines.append(
            [found.job, _state(found), *shown, speed, ago(now_s - unix_of(found.updated_at))]
        )
    waits = [f"  {found.job}: {found.pause}" for found, _ in jobs if _state(found) == "paused"]
    return "\n".join([*table(lines, width=width()), *waits]) + "\n"


def _next_step(jobs: list[Job]) -> str:
    states = {_state(found) for found, _ in jobs}
    if not jobs:
        return "backfill run PIPELINE begins a job; --state-dir DIR looks elsewhere"
    if "interrupted" in states:
        return "start an interrupted job's command again: it goes on where it stopped"
    if any(found.rejected for found, _ in jobs):
        return "mend a job's rejected.csv, then: backfill retry PIPELINE"
    return "nothing to do"
