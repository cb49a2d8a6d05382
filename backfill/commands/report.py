"""The report of a job, made again at any time: also after a crash, and for other eyes."""

from pathlib import Path

from backfill.clock import Clock
from backfill.engine.results import report_of
from backfill.errors import UsageError, unwritten
from backfill.job import Job, folder_of, stored_plan
from backfill.journal import Journal
from backfill.pipeline.file import Pipeline
from backfill.report.bundle import JobEvidence, write_bundle
from backfill.report.redaction import Redact, Redaction
from backfill.report.summary import Summary


def report(
    pipeline: Pipeline, state_dir: Path | None = None, redact: Redact = "values"
) -> tuple[Summary, Path]:
    """Write a job's report from its journal and its plan; no source is read.

    Args:
        pipeline: The settings.
        state_dir: Where jobs keep their state; None: `.backfill` beside the pipeline file.
        redact: What the report leaves out.

    Returns:
        What became of every row, and where the report is.

    Raises:
        StateError: There is no such job, it is running, or the report cannot be written.
    """
    folder = folder_of(pipeline, state_dir)
    with Journal.open(folder, create=False) as journal:
        job = Job(pipeline, (), journal, folder, limit=journal.meta.get("limit"))
        return report_of(job, redact, now_s=Clock().unix_s())


def bundle(
    pipeline: Pipeline, state_dir: Path | None = None, redact: Redact = "values"
) -> tuple[Summary, Path]:
    """Write the report, and all evidence of a job with it as one archive; no source is read.

    Args:
        pipeline: The settings.
        state_dir: Where jobs keep their state; None: `.backfill` beside the pipeline file.
        redact: What both leave out.

    Returns:
        What became of every row, and where the archive is.

    Raises:
        StateError: There is no such job, it is running, or a file cannot be written.
        UsageError: Nothing was sent yet.
    """
    folder = folder_of(pipeline, state_dir)
    with Journal.open(folder, create=False) as journal:
        if not journal.runs.all():
            raise UsageError(
                "nothing was sent yet: there is nothing to prove",
                next_step=f"start with: backfill run {pipeline.path}",
            )
        job = Job(pipeline, (), journal, folder, limit=journal.meta.get("limit"))
        summary, report_file = report_of(job, redact, now_s=Clock().unix_s())
        try:
            known = JobEvidence(
                pipeline, journal, stored_plan(job), summary, report_file, Redaction(redact)
            )
            return summary, write_bundle(folder, known)
        except OSError as failure:
            raise unwritten(folder, failure) from failure
