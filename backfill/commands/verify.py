"""Read back from the workspace what a job delivered, and compare it field by field.

summary = verify(Pipeline.load("acme.toml"))
print(summary.verified)
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from backfill.clock import Clock
from backfill.commands.state_home import at_hand
from backfill.engine.accounting import note_killed
from backfill.engine.extracts import Extracts
from backfill.engine.options import Options, Stop
from backfill.engine.results import record_verification
from backfill.engine.run import GROWING
from backfill.errors import GuardError, SourceChangedError, UsageError
from backfill.job import Job, bind_files, check_plan, find_plan, folder_of, named_state_dir
from backfill.journal import Journal
from backfill.pipeline.file import Pipeline
from backfill.report.collect import options_of
from backfill.report.summary import Summary
from backfill.sources.inputs import Input, open_inputs
from backfill.verification.proving import LAG_S, Told, Verifier
from backfill.verification.read_back import ended_s

SAMPLE = 1_000
"""So many people are compared where nobody says how many."""


def verify(
    pipeline: Pipeline,
    options: Options | None = None,
    *,
    sample: int | None = SAMPLE,
    lag_s: float = LAG_S,
    stop: Stop | None = None,
    progress: Told = lambda _: None,
) -> Summary:
    """Read back what a job delivered, and compare it with what was sent.

    Args:
        pipeline: The settings.
        options: `state_dir`, `url` and `env` count.
        sample: How many people are compared, with their events; None: all.
        lag_s: How long after the last request answers may be behind.
        stop: Asks it to stop.
        progress: Shows a line now and then, such as `print`.

    Returns:
        What became of every row, and in `verified` what was found; its `exit` is 8 where something
        is missing or differs.

    Raises:
        CredentialsError: There is no key of the App API, or it is not accepted.
        GuardError: The pipeline file makes other operations than those that were sent.
        SourceChangedError: The files are not those that were sent.
        StateError: There is no such job, it is running, or a result cannot be written.
        UnavailableError: The App API does not answer.
        UsageError: Nothing was delivered yet.
    """
    stop = stop or Stop()
    with at_hand(pipeline, options, stop) as here:
        return _verify(pipeline, here, sample, lag_s, stop, progress)


def _verify(
    pipeline: Pipeline, asked: Options, sample: int | None, lag_s: float, stop: Stop, progress: Told
) -> Summary:
    clock = Clock().interrupted_by(stop.check)
    folder = folder_of(pipeline, asked.state_dir)
    with (
        Journal.open(folder, create=False) as journal,
        Extracts(pipeline, journal, folder) as extracts,
    ):
        files = extracts.files(asked.env, lambda _: None, only_known=True)
        growing = bool(journal.meta.get(GROWING))
        inputs = open_inputs(pipeline, files, growing=growing, clock=clock)
        job = Job(pipeline, inputs, journal, folder, journal.meta.get("limit"))
        job = replace(job, inputs=_as_sent(job))
        _check_delivered(job, asked.url)
        _check_settings(job)
        note_killed(job)
        check_plan(job)
        plan = find_plan(job, now_s=clock.unix_s(), progress=lambda _: stop.check())
        verifier = Verifier(job, plan, asked, clock, stop, progress, lag_s)
        found = verifier.of(sample, sent_until_s=_sent_until_s(journal))
        return record_verification(job, found, now_s=clock.unix_s())


def _as_sent(job: Job) -> Sequence[Input]:
    try:
        return bind_files(job.inputs, job.journal, append=False)
    except SourceChangedError as error:
        raise SourceChangedError(
            error.what,
            next_step="put the files back as they were sent: what arrived is compared with them",
        ) from error


def _check_delivered(job: Job, url: str | None) -> None:
    # Of a night that has sent nothing, too: what the nights before have sent is there.
    if not job.journal.totals().requests:
        options = options_of(job.pipeline, named_state_dir(job), url or "")
        start = [str(job.pipeline.path), *options]
        raise UsageError(
            "nothing was delivered yet: there is nothing to read back",
            next_step=f"start with: {shlex.join(['backfill', 'run', *start])}",
        )


def _check_settings(job: Job) -> None:
    digest = job.pipeline.digest()
    if job.journal.meta.get("settings", digest) != digest:
        raise GuardError(
            "the pipeline file has changed what operations or event ids are made of since rows were"
            " sent: what arrived would be compared with what was never sent",
            next_step="put the settings back as they were, or send with the new ones first:"
            " --accept-changes for the rest, --restart for everything",
        )


def _sent_until_s(journal: Journal) -> float:
    """When the last call ended, as unix seconds."""
    return ended_s(journal.runs.all()[-1])
