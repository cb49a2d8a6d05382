"""One night of a sync without a workspace: what is taken up, compared, settled and remembered."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backfill.job import Job, adopt_plan, commit_plan, folder_of
from backfill.journal import Journal, Settlement
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import Plan
from backfill.rows import Rejection
from backfill.sources.inputs import open_inputs
from backfill.sync import catch_up, nights
from backfill.sync.file_versions import take_up


@dataclass(frozen=True)
class Night:
    """A night whose files are taken up and planned.

    Args:
        job: The job.
        plan: Tonight's plan.
    """

    job: Job
    plan: Plan

    @property
    def files(self) -> list[str]:
        """What is taken up tonight."""
        return [each.name for each in self.job.inputs]

    def deliver(self) -> None:
        """Everything that is planned arrives."""
        catch_up.begin(self.job, self.plan, diff=False)
        for part, rows in self.plan.found.rows.items():
            for start, stop in list(self.job.journal.settled(part).gaps(rows + 1)):
                self.settle(part, start, stop)
        catch_up.catch_up(self.job.journal, self.job.pipeline, self.job.folder, done=True)
        nights.note(self.job, self.plan)

    def settle(self, part: int, start: int, stop: int) -> None:
        """Some rows arrive."""
        self.job.journal.settle(Settlement(part, [(start, stop)], delivered=stop - start))
        self.job.journal.commit()

    def refuse(self, part: int, refused: Rejection) -> None:
        """The API refuses a row."""
        rows = [(refused.row, refused.row + 1)]
        self.job.journal.settle(Settlement(part, rows, rejections=[refused]))
        self.job.journal.commit()


@contextmanager
def night(path: Path, now_s: float = 2e9) -> Iterator[Night]:
    """Begin a night, as a process does that starts."""
    pipeline = Pipeline.load(path)
    folder = folder_of(pipeline, None)
    with Journal.open(folder) as journal:
        job = take_up(Job(pipeline, open_inputs(pipeline), journal, folder))
        plan = adopt_plan(job, now_s=now_s, progress=lambda _: None)
        commit_plan(job, plan)
        yield Night(job, plan)
