"""The report of a job, made again at any time: also after a crash, and for other eyes."""

import csv
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from backfill.clock import Clock
from backfill.commands.state_home import at_hand
from backfill.delivery.destination import elsewhere
from backfill.engine.options import Options, Stop
from backfill.engine.results import report_of
from backfill.errors import UsageError, unwritten
from backfill.files import PRIVATE_DIRECTORY
from backfill.job import Job, folder_of, named_state_dir, stored_plan
from backfill.journal import Journal
from backfill.pipeline.file import Pipeline
from backfill.report.bundle import JobEvidence, write_bundle
from backfill.report.collect import options_of
from backfill.report.redaction import Redact, Redaction
from backfill.report.summary import Summary
from backfill.report.wording import counted
from backfill.sync import catch_up

UNDO_FOLDER = "undo"


def report(
    pipeline: Pipeline, state_dir: str | Path | None = None, redact: Redact = "values"
) -> tuple[Summary, Path]:
    """Write a job's report from its journal and its plan; no source is read.

    Args:
        pipeline: The settings.
        state_dir: Where jobs keep their state, a folder or a URL; None: as for a run.
        redact: What the report leaves out.

    Returns:
        What became of every row, and where the report is.

    Raises:
        StateError: There is no such job, it is running, or the report cannot be written.
    """
    with _job(pipeline, state_dir) as job:
        return report_of(job, redact, now_s=Clock().unix_s())


def bundle(
    pipeline: Pipeline, state_dir: str | Path | None = None, redact: Redact = "values"
) -> tuple[Summary, Path]:
    """Write the report, and all evidence of a job with it as one archive; no source is read.

    Args:
        pipeline: The settings.
        state_dir: Where jobs keep their state, a folder or a URL; None: as for a run.
        redact: What both leave out.

    Returns:
        What became of every row, and where the archive is.

    Raises:
        StateError: There is no such job, it is running, or a file cannot be written.
        UsageError: Nothing was sent yet.
    """
    with _job(pipeline, state_dir) as job:
        if not job.journal.runs.all():
            options = options_of(pipeline, named_state_dir(job), "")
            raise UsageError(
                "nothing was sent yet: there is nothing to prove",
                next_step="start with: "
                + shlex.join(["backfill", "run", str(pipeline.path), *options]),
            )
        summary, report_file = report_of(job, redact, now_s=Clock().unix_s())
        known = JobEvidence(
            pipeline, job.journal, stored_plan(job), summary, report_file, Redaction(redact)
        )
        try:
            return summary, write_bundle(job.folder, known)
        except OSError as failure:
            raise unwritten(job.folder, failure) from failure


@dataclass(frozen=True, slots=True)
class UndoList:
    """A pipeline that deletes whom a job created.

    Args:
        pipeline_file: It.
        people: How many people it names.
        unknown: Whom it leaves out, since nobody can know, as sentences.
    """

    pipeline_file: Path
    people: int
    unknown: Sequence[str]


def undo(pipeline: Pipeline, state_dir: str | Path | None = None) -> UndoList:
    """Write the pipeline that deletes the people whom a job created, and its files; send nothing.

    Args:
        pipeline: The settings.
        state_dir: Where jobs keep their state, a folder or a URL; None: as for a run.

    Raises:
        StateError: There is no such job, it is running, or a file cannot be written.
        UsageError: Nobody looked before the first request who was there already.
    """
    from backfill.engine import new_people  # noqa: PLC0415  # few ask for it

    with _job(pipeline, state_dir) as job:
        if not (job.folder / new_people.FOLDER).exists():
            raise UsageError(
                "nobody knows whom this job created: the Track API does not say, and nobody looked"
                " before the first request",
                next_step="before an import, set undo = true under [import], and a key of the App"
                " API",
            )
        folder = job.folder / UNDO_FOLDER
        try:
            folder.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            counts: dict[str, int] = {}
            for batch in new_people.created(job):
                for type_ in pc.unique(batch.column("type")).to_pylist():
                    names = batch.column("identifier").filter(pc.equal(batch.column("type"), type_))
                    is_first = type_ not in counts
                    counts[type_] = counts.get(type_, 0) + len(names)
                    _append(folder / f"{type_}.csv", type_, names.to_pylist(), is_first=is_first)
            path = folder / "undo.toml"
            sent_to = str(job.journal.meta.get("url", ""))
            path.write_text(_undo_text(pipeline, sent_to, counts), "utf-8")
        except OSError as failure:
            raise unwritten(folder, failure) from failure
        return UndoList(path, sum(counts.values()), list(_unknown(job)))


def _unknown(job: Job) -> Iterator[str]:
    """Whom an undo list leaves out, since nobody can know of them."""
    from backfill.engine import new_people  # noqa: PLC0415  # see above

    if doubtful := job.journal.in_doubt():
        yield (
            f"people of up to {counted(doubtful, 'row')} that were under way when the run was cut"
            " short: let it go on first"
        )
    yield "people whom events or relationships created, whom no customers source names"
    yield "people whose row was rejected at first and corrected for a retry: nobody looked"
    if job.journal.meta.get(new_people.INCOMPLETE):
        yield "people who were sent before undo was set, or before a --restart"
    if job.journal.lost_commits or catch_up.notes(job.journal):
        yield "people of whom the state does not know any more that they were sent"


def _append(path: Path, column: str, names: Sequence[str], *, is_first: bool) -> None:
    with path.open("w" if is_first else "a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(([column],) if is_first else ())
        writer.writerows([name] for name in names)


def _undo_text(pipeline: Pipeline, sent_to: str, counts: Mapping[str, int]) -> str:
    """A pipeline of deletions, with its guard as ever: more than 100 people need an answer.

    It leads to where the job was sent: whom a rehearsal created the real workspace may have had.
    """
    settings = pipeline.destination
    lines = [f'name = "{pipeline.name[:90]}-undo"', "", "[destination]"]
    lines += [f'region = "{settings.region}"'] if settings.region else []
    url = elsewhere(sent_to, settings) or settings.url
    lines += [f"url = {json.dumps(url)}"] if url else []
    if settings.credentials:
        file = (pipeline.folder / settings.credentials).resolve()
        lines += [f"credentials = {json.dumps(str(file), ensure_ascii=False)}"]
    for type_, count in counts.items():
        lines += ["", f"# {count:,} people who were not there before", "[[source]]"]
        lines += ['kind = "deletions"', f'files = ["{type_}.csv"]']
        lines += [
            f'identifier = {{ {type_} = "{type_}" }}',
            'action = "delete"',
            "deletes_max = 100",
        ]
    return "\n".join(lines) + "\n"


@contextmanager
def _job(pipeline: Pipeline, state_dir: str | Path | None) -> Iterator[Job]:
    """A job that does not run, without its files: its journal says all that is asked."""
    with at_hand(pipeline, Options(state_dir=state_dir), Stop()) as here:
        folder = folder_of(pipeline, here.state_dir)
        with Journal.open(folder, create=False) as journal:
            yield Job(pipeline, (), journal, folder, limit=journal.meta.get("limit"))
