"""A canary: the first people of a run are sent and read back before anybody else is sent.

The journal keeps who they are until all is sent: a run that goes on reads them back first, also
a sync, to which their rows are not new any more.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from backfill.clock import Clock
from backfill.encoding import identity
from backfill.engine.options import Options, Stop
from backfill.engine.prepare import PreparedChunk, ReadPreparer, SourceRows
from backfill.engine.run import CANARY, PreparedRun, RunMode, Trial
from backfill.engine.send import Work
from backfill.errors import BackfillError, DiffersError
from backfill.job import Job
from backfill.judge.chunk_judge import JudgedChunk
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import Plan
from backfill.report.verified import VERIFIED_FILE, WHY_UNPROVABLE, Verification
from backfill.report.wording import counted
from backfill.rows import NO_REJECTIONS, Chunk
from backfill.sources.inputs import Input
from backfill.verification.proving import LAG_S, Told, Verifier, app_of, kind_of_people, probe
from backfill.verification.sent import Delivered, Draws, first_people

_KINDS = ("customers", "events")


class CanaryRows(SourceRows):
    """The rows of the first people among the work of a run; all other rows stay pending.

    Args:
        work: The work of the run.
        count: So many people.
        now_s: The run's start, as unix seconds.

    `people` are who they are, as they are drawn (uint64).
    """

    def __init__(self, work: SourceRows, count: int, now_s: float) -> None:
        vars(self).update(vars(work))  # the same work, of which less is done
        # Settled ones too: a run that goes on begins with the same people.
        delivered = Delivered(self._job, self._plan, now_s, self._changes)
        first = first_people(delivered, kind_of_people(self._job.pipeline), count)
        meta = self._job.journal.meta
        self.people: Draws = np.union1d(first, np.array(meta.get(CANARY, []), np.uint64))
        meta[CANARY] = self.people.tolist()
        run = self._prepare
        self._prepare = _CanaryPreparer(
            run.judge, run.prepare, run.marks, run.planned, self._job.pipeline, self.people
        )

    def taken(self, prepared: PreparedChunk) -> None:
        """There is nothing to remember: most rows of the chunk are still to be sent."""


@dataclass(frozen=True)
class _CanaryPreparer(ReadPreparer):
    """Prepares the rows of these people alone.

    Args:
        pipeline: The settings.
        people: Who they are.
    """

    pipeline: Pipeline
    people: Draws

    def each(self, given: Sequence[tuple[Input, Chunk]]) -> list[PreparedChunk]:
        """See `ReadPreparer`; nothing is held back for later."""
        return [
            replace(prepared, left_out=replace(prepared.left_out, held=0))
            for prepared in super().each(given)
        ]

    def checked(self, judged: JudgedChunk) -> JudgedChunk:
        """A chunk that is judged as the plan pass has judged it, as far as it is about them."""
        judged = super().checked(judged)
        source = self.pipeline.sources[judged.place.source]
        draws = identity.people(source.identifier.type, judged.accepted.person)[:, 0]
        mine = np.isin(draws, self.people)
        if source.kind not in _KINDS:
            mine[:] = False
        # What is rejected or dropped has nobody to be told by: the run itself settles it.
        return replace(
            judged, accepted=judged.accepted.take(mine), rejections=NO_REJECTIONS, dropped={}
        )


def with_canary(
    mode: RunMode, options: Options, stop: Stop, told: Told, lag_s: float = LAG_S
) -> RunMode:
    """The same run, which sends a canary first.

    Args:
        mode: A run or a sync.
        options: How it is done; `canary` is how many people.
        stop: Asks it to stop.
        told: Shows a line.
        lag_s: How long answers may be behind.
    """

    def prepare(job: Job, plan: Plan, now_s: float) -> PreparedRun:
        # Before anything is sent: without a key nothing could be read back.
        asyncio.run(probe(*app_of(job.pipeline, options, ""), stop))
        prepared = mode.prepare(job, plan, now_s)
        people: Draws = np.empty(0, np.uint64)

        def start() -> Work:
            nonlocal people
            work = prepared.start()
            if not isinstance(work, SourceRows):
                raise TypeError("a canary is taken from the rows of sources")
            canary = CanaryRows(work, options.canary or 1, now_s)
            people = canary.people
            return canary

        def check() -> tuple[Verification, BackfillError | None]:
            clock = Clock().interrupted_by(stop.check)
            verifier = Verifier(job, plan, options, clock, stop, told, lag_s)
            found = verifier.of(people, sent_until_s=clock.unix_s())
            wrong = _wrong(found, len(people))
            if wrong is None:
                told(f"canary: {found.outcome()}; now the others")
            return found, wrong

        return replace(prepared, trial=Trial(start, check))

    return replace(mode, prepare=prepare)


def _wrong(found: Verification, people: int) -> BackfillError | None:
    """Why nobody else is sent; None: all is well."""
    wrong = found.total("missing") + found.total("differs")
    if not wrong and (found.total("equal") or not people):  # a sync may have nobody to send
        return None
    first = f"the first {counted(people, 'person', 'people')}"
    if not wrong:
        why = "; ".join(WHY_UNPROVABLE.get(each, each) for each in found.unprovable_by_reason)
        return DiffersError(
            f"nothing of {first} can be read back, and nothing more was sent"
            + (f": {why}" if why else ""),
            next_step="to go on without such a proof, run the same command without --canary",
        )
    return DiffersError(
        f"of {first} and their events {wrong:,} are missing or differ, and nothing more was sent;"
        f" {VERIFIED_FILE} lists them",
        next_step=f"look at {VERIFIED_FILE} in the job's folder; the same command reads these"
        " people back again before it goes on, --restart sends them again",
    )
