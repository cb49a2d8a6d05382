"""`backfill status`: where jobs stand, also while one runs, and how calls ended.

No journal is opened: it belongs to the process that runs the job.
"""

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.cli.exits import Ending, shown, stands_for
from backfill.cli.flags import JobOptions, command, flat
from backfill.cli.terminal import lines_width, width, wrapped
from backfill.errors import RESUMABLE, ExitCode, not_ours
from backfill.report.wording import (
    ago,
    can_be_fixed,
    counted,
    duration,
    table,
    timestamp,
    unix_of,
)

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.notify.call_history import Call
    from backfill.report.status_file import Status

_SETTLED = (ExitCode.DELIVERED, ExitCode.REJECTIONS)
_COUNTS = ("rows_read", "delivered", "rejected", "skipped")
_HEAD = ("started (UTC)", "command", "exit", "rows", *_COUNTS[1:], "took")
_UNKNOWN = "?"


@flat
def status(
    asked: JobOptions,
    pipeline: Annotated[
        Path | None, typer.Argument(metavar="[PIPELINE]", help="Only this pipeline's job.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Show every run, retry and sync on record.")
    ] = False,
) -> Ending:
    """Show where jobs stand, also while one runs."""
    import orjson

    from backfill.clock import Clock

    path = pipeline or Path("PIPELINE")

    def advised(name: str, *files: Path, url: str = "") -> str:
        made = command(name, path, *files, given=asked)
        return shlex.join([*shlex.split(made), "--url", url]) if url else made

    with _folders(pipeline, asked.state_dir) as folders:
        if history:
            return _history(folders, advised)
        jobs = [each for folder in folders if (each := _read(folder))]
        now = Clock().unix_s()
        return Ending(
            ExitCode.DELIVERED,
            _next_step(jobs, advised),
            _text(jobs, now) if jobs else "no jobs here yet\n",
            orjson.dumps({"jobs": list(map(_as_json, jobs))}),
        )


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as its files tell it.

    Args:
        folder: Its state directory.
        said: What it said last.
        summary: Its summary; empty before its first run has ended.
        call: Its last call; None where the history does not know it.
    """

    folder: Path
    said: "Status"
    summary: dict[str, Any]
    call: "Call | None"

    @property
    def state(self) -> str:
        """In one word, for people: a killed process cannot say that it ended."""
        found = self.said
        if found.is_alive():
            return found.state
        if found.exit in _SETTLED:
            return "finished"
        if found.exit == ExitCode.GUARD:
            return "refused"
        return "interrupted" if found.exit in (None, *RESUMABLE) else "stopped"

    @property
    def pending(self) -> int | None:
        """How many rows are not settled; None: nobody knows yet."""
        total = self.said.rows_total
        return None if total is None else total - self.said.rows_read


@contextmanager
def _folders(file: Path | None, state_dir: str | None) -> Iterator[list[Path]]:
    """The folders of the jobs that are asked for; of those in a bucket, what they say there."""
    if file is None and "://" not in (state_dir or ""):
        yield _checked(sorted(Path(state_dir or ".backfill").glob("*")))
        return
    from backfill.job import bucket_of, folder_of, state_url

    name = storage = None
    if file is None:
        url = bucket_of(state_dir or "")
    else:
        from backfill.pipeline.file import Pipeline

        pipeline = Pipeline.load(file)
        name, storage = pipeline.name, pipeline.storage
        url = state_url(pipeline, state_dir)
        if url is None:
            yield _checked([folder_of(pipeline, state_dir)])
            return
    from backfill.notify.call_history import HISTORY_FOLDER
    from backfill.remote_state.visit import jobs_there

    with jobs_there(url or "", storage, name, HISTORY_FOLDER) as folders:
        for folder in folders:
            stands_for(folder.parent, url or "")
        yield folders


def _checked(folders: list[Path]) -> list[Path]:
    from backfill.files import strange_entry

    folders = [each for each in folders if each.is_dir()]  # a job that never began has none
    for strange in filter(None, map(strange_entry, folders)):
        raise not_ours(*strange)
    return folders


def _read(folder: Path) -> JobStatus | None:
    import orjson

    from backfill.notify.call_history import HISTORY_FOLDER, last_call
    from backfill.report.status_file import STATUS_FILE, read_status
    from backfill.report.summary import SUMMARY_FILE

    found = read_status(folder / STATUS_FILE)
    if found is None:
        return None
    try:
        summary = orjson.loads((folder / SUMMARY_FILE).read_bytes())
    except (OSError, ValueError):
        summary = {}
    return JobStatus(folder, found, summary, last_call(folder / HISTORY_FOLDER))


def _as_json(job: JobStatus) -> dict[str, Any]:
    return {
        **asdict(job.said),
        "state": job.state,
        "pending": job.pending,
        "summary": job.summary or None,
    }


def _text(jobs: Sequence[JobStatus], now_s: float) -> str:
    lines = [["", "state", "rows", "delivered", "rejected", "pending", "rows/s", "updated"]]
    for job in jobs:
        said, run = job.said, job.said.this_run
        counts = (said.rows_total, said.delivered, said.rejected, job.pending)
        shown = ["?" if each is None else f"{each:,}" for each in counts]
        speed, updated = f"{said.rows_per_second:,.0f}", ago(now_s - unix_of(said.updated_at))
        if not run or run["rows_read"] == said.rows_read:
            lines.append([said.job, job.state, *shown, speed, updated])
            continue
        own = [f"{run[name]:,}" for name in ("rows_read", "delivered", "rejected")]
        lines.append([said.job, job.state, *shown, "", updated])
        lines.append(["  this run", "", *own, "", speed, ""])
    waits = [
        line
        for job in jobs
        if job.state == "paused"
        for line in wrapped(f"  {job.said.job}: ", job.said.pause)
    ]
    workers = [
        f"  {job.said.job}: {_worker(each)}"
        for job in jobs
        if job.state in ("running", "paused")
        for each in job.said.workers
    ]
    proofs = [
        line
        for job in jobs
        if job.said.verified
        for line in wrapped(f"  {job.said.job}: ", _verified(job.said.verified))
    ]
    return "\n".join([*table(lines, width=width()), *waits, *workers, *proofs]) + "\n"


def _worker(each: Mapping[str, Any]) -> str:
    """What a process that sends has done."""
    hand = f", {each['in_flight']:,} in flight" if each["is_there"] else ", gone"
    return f"worker {each['address']}: {counted(each['requests'], 'request')}{hand}"


def _verified(found: Mapping[str, Any]) -> str:
    """What the last verification found."""
    counts = ", ".join(
        f"{found[name]:,} {word}"
        for name, word in (
            ("equal", "equal"),
            ("missing", "missing"),
            ("differs", "different"),
            ("unprovable", "not provable"),
        )
        if found[name] or name == "equal"
    )
    return f"verified {timestamp(found['at'])}: {counts}"


def _next_step(jobs: Sequence[JobStatus], advised: Callable[..., str]) -> str:
    """What the first job asks for that asks for something."""
    if not jobs:
        return "backfill run PIPELINE starts a job; --state-dir DIR looks elsewhere"
    for job in jobs:
        was = _goes_on(job)
        if job.state == "interrupted":
            return f"resume{_which(job.said.job, jobs)}: {advised(was, url=job.said.url)}"
        if job.state in ("refused", "stopped") and job.call and job.call.stopped:
            return f"{_which(job.said.job, jobs, ': ')}{job.call.stopped[-1]}".lstrip()
    if running := [job.said.job for job in jobs if job.said.is_alive()]:
        return f"wait{_which(running[0], jobs, ':')} until it has ended, or look again"
    for job in jobs:
        if job.said.rejected and can_be_fixed(job.summary.get("rejections_by_reason", ("",))):
            from backfill.rejected.writer import REJECTED_FILE  # and Arrow with it

            file = job.folder / (job.said.rejected_file or REJECTED_FILE)
            files = [] if file.name == REJECTED_FILE else [Path(shown(file))]
            again = advised("retry", *files, url=job.said.url)
            return f"fix the rows in {shown(file)}, then: {again}"
    return "nothing to do"


def _goes_on(job: JobStatus) -> str:
    """The command that sends what is left: the last one, but for a retry that ran to its end."""
    from backfill.notify.call_history import HISTORY_FOLDER, sends_by

    if job.call is None or (job.call.command == "retry" and job.call.exit and not job.call.stopped):
        return sends_by(job.folder / HISTORY_FOLDER)
    return job.call.command


def _which(name: str, jobs: Collection[Any], end: str = "") -> str:
    """Which of several jobs is meant; empty: there is only this one."""
    return f" {name}{end}" if len(jobs) > 1 else ""


# The history


def _history(folders: Sequence[Path], advised: Callable[..., str]) -> Ending:
    """How the calls on some jobs ended, a line each, the last one last.

    Args:
        folders: The jobs' state directories.
        advised: Makes a command of a job from its name.

    Raises:
        StateError: A file of the history is not one of ours.
    """
    import orjson

    from backfill.report.status_file import STATUS_FILE, read_status

    said = {each.name: read_status(each / STATUS_FILE) for each in folders}
    every = {each.name: _calls(each) for each in folders}
    jobs = {name: calls for name, calls in every.items() if calls}
    told = [{"job": name, "history": list(map(_call_json, calls))} for name, calls in jobs.items()]
    return Ending(
        ExitCode.DELIVERED,
        _next_after(jobs, advised, {name: each.url for name, each in said.items() if each}),
        "\n".join(_calls_text(*each) for each in jobs.items()) or "no jobs here yet\n",
        orjson.dumps({"jobs": told}),
    )


def _calls(folder: Path) -> list["Call"]:
    """The calls of a job; one that has not ended, with what its status says."""
    from backfill.notify.call_history import HISTORY_FOLDER, as_far_as_known, read_history
    from backfill.report.status_file import STATUS_FILE, read_status

    status = read_status(folder / STATUS_FILE)
    return [as_far_as_known(each, status) for each in read_history(folder / HISTORY_FOLDER)]


def _call_json(call: "Call") -> dict[str, object]:
    return {**asdict(call), "state": _call_state(call)}


def _calls_text(name: str, calls: Sequence["Call"]) -> str:
    from backfill.notify.notifying import SENT

    # Most jobs tell nobody, and a line has little room.
    notified = [{SENT: "yes", "": ""}.get(call.notified, "failed") for call in calls]
    head = [*_HEAD, *(["notified"] if any(notified) else [])]
    lines = [
        [*_cells(call), *told][: len(head)] for call, *told in zip(calls, notified, strict=True)
    ]
    return "\n".join([name, *table([head, *lines], width=lines_width()), *_reasons(calls)]) + "\n"


def _cells(call: "Call") -> list[str]:
    """A call in a line; all figures are its own, not the job's."""
    ended = _call_state(call) if call.exit is None else str(call.exit)
    this = (call.summary or {}).get("this_run", {})
    counts = (f"{this[each]:,}" if each in this else _UNKNOWN for each in _COUNTS)
    return [_when(call), call.command, ended, *counts, _took(call, this)]


def _reasons(calls: Sequence["Call"]) -> Iterator[str]:
    """What stopped those that were stopped."""
    for call in calls:
        if call.stopped:
            yield from wrapped(f"  {_when(call)}  ", call.stopped[0].splitlines()[0])


def _call_state(call: "Call") -> str:
    if call.finished_at:
        return "ended"
    return "running" if call.is_alive() else "killed"


def _when(call: "Call") -> str:
    """To the minute: no two calls of a job are closer than they take."""
    return timestamp(call.started_at)[: len("2026-11-27 13:17")]


def _took(call: "Call", this: Mapping[str, Any]) -> str:
    if call.finished_at:
        return duration(unix_of(call.finished_at) - unix_of(call.started_at))
    return duration(this["seconds"]) if "seconds" in this else _UNKNOWN


def _next_after(
    jobs: Mapping[str, Sequence["Call"]], advised: Callable[..., str], urls: Mapping[str, str]
) -> str:
    """What the last call of a job asks for; the first job that asks for something wins.

    Args:
        jobs: The calls of each.
        advised: Makes a command from its name.
        urls: Where each sends, if not where its pipeline file says.
    """
    for name, last in ((name, calls[-1]) for name, calls in jobs.items()):
        if _call_state(last) == "killed":
            again = advised(last.command, url=urls.get(name, ""))
            return f"resume{_which(name, jobs)}: {again}"
        if last.stopped:
            return f"{_which(name, jobs, ': ')}{last.stopped[-1]}".lstrip()
        if last.exit == ExitCode.REJECTIONS:
            return f"where the rejected rows are: {advised('status')}"
    return "nothing to do" if jobs else "backfill run PIPELINE starts a job"
