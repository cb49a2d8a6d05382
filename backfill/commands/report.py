"""The report of a job, made again at any time: also after a crash, and for other eyes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backfill.clock import Clock
from backfill.commands.state_home import at_hand
from backfill.engine.options import Options, Stop
from backfill.engine.results import report_of
from backfill.errors import UsageError, unwritten
from backfill.job import Job, folder_of, stored_plan
from backfill.journal import Journal
from backfill.pipeline.file import Pipeline
from backfill.report.bundle import JobEvidence, write_bundle
from backfill.report.redaction import Redact, Redaction
from backfill.report.summary import Summary


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
            raise UsageError(
                "nothing was sent yet: there is nothing to prove",
                next_step=f"start with: backfill run {pipeline.path}",
            )
        summary, report_file = report_of(job, redact, now_s=Clock().unix_s())
        known = JobEvidence(
            pipeline, job.journal, stored_plan(job), summary, report_file, Redaction(redact)
        )
        try:
            return summary, write_bundle(job.folder, known)
        except OSError as failure:
            raise unwritten(job.folder, failure) from failure


@contextmanager
def _job(pipeline: Pipeline, state_dir: str | Path | None) -> Iterator[Job]:
    """A job that does not run, without its files: its journal says all that is asked."""
    with at_hand(pipeline, Options(state_dir=state_dir), Stop()) as here:
        folder = folder_of(pipeline, here.state_dir)
        with Journal.open(folder, create=False) as journal:
            yield Job(pipeline, (), journal, folder, limit=journal.meta.get("limit"))
