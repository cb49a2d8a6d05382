"""Looking without sending: `check` judges every row, `plan` says what a run would do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path

from backfill.clock import Clock
from backfill.errors import ExitCode, SourceChangedError
from backfill.former import Short, remember
from backfill.guards import Guard, refusals
from backfill.inputs import Input, bind, open_inputs
from backfill.job import PLAN_FOLDER, Job, folder_of
from backfill.journal import Journal
from backfill.pipeline import Pipeline
from backfill.planning import REJECTIONS_FILE, Progress, nobody
from backfill.plans import Plan, key_of, make_plan, stored
from backfill.report.rejected import RejectedRow, write_rejected
from backfill.rows import Rejection
from backfill.runs import Options
from backfill.spool import read_rejections

EXAMPLES_MAX = 3


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run would do.

    Args:
        plan: What was found.
        guards: Why it would not send, in order of harm; empty: it would.
        rejected_file: Where the rejected rows are; None if there are none.
        examples: Some rejected rows for each reason, as file and row.
        former: The figures of the plan before this one.
    """

    plan: Plan
    guards: list[Guard]
    rejected_file: Path | None
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    former: Short | None = None

    @property
    def exit(self) -> ExitCode:
        """Whether any row is rejected. Guards refuse sending only."""
        return ExitCode.REJECTIONS if self.rejected_file else ExitCode.DELIVERED


def plan(
    pipeline: Pipeline, options: Options | None = None, progress: Progress = nobody
) -> Planned:
    """Look at every row, send nothing, and write the rejected rows.

    Args:
        pipeline: The settings.
        options: `state_dir` and `limit` count.
        progress: Told, now and then, how many more rows were looked at.

    Raises:
        UsageError: A file, a column or a transform cannot be used.
        SourceChangedError: A file changed while it was read.
        StateError: Another process works on the job, or its state cannot be used.
    """
    options = options or Options()
    now_s = Clock().unix_s()
    folder = folder_of(pipeline, options.state_dir)
    inputs = open_inputs(pipeline)
    with Journal.open(folder) as journal:
        inputs = _numbered(inputs, journal)
        job = Job(pipeline, inputs, journal, folder, options.limit)
        settled = {} if options.restart else job.settled()
        key = key_of(pipeline, inputs, settled, options.limit)
        made = stored(folder / PLAN_FOLDER, key) or make_plan(
            pipeline,
            inputs,
            folder / PLAN_FOLDER,
            now_s=now_s,
            settled=settled,
            limit=options.limit,
            progress=progress,
        )
        spool = folder / PLAN_FOLDER / key / REJECTIONS_FILE
        columns = {each.name: each.file.columns() or () for each in inputs}
        examples: dict[str, list[str]] = {}
        rejected = write_rejected(
            folder, lambda: _noted(_rejected(inputs, journal, spool), examples), columns
        )
        former = remember(folder, made)
    return Planned(made, refusals(pipeline, made, now_s), rejected, examples, former)


def _numbered(inputs: list[Input], journal: Journal) -> list[Input]:
    """The files as the job's journal would number them; nothing of it is kept."""
    try:
        return bind(inputs, journal, append=True)
    except SourceChangedError:
        return inputs


def _rejected(inputs: list[Input], journal: Journal, spool: Path) -> Iterator[RejectedRow]:
    """The rows that the plan rejects, and those that the API refused before."""
    names = {each.part: each.name for each in inputs}
    last = None
    for part, each in merge(_spooled(spool), journal.rejections(), key=_place):
        if (part, each.row) != last and part in names:
            yield RejectedRow(part, names[part], each)
        last = part, each.row


def _noted(rows: Iterable[RejectedRow], examples: dict[str, list[str]]) -> Iterator[RejectedRow]:
    """The same rows; the first ones of each reason are noted, once however often this is done."""
    for row in rows:
        for code in {reason.code for reason in row.rejection.reasons}:
            places = examples.setdefault(code, [])
            place = f"{row.source} row {row.rejection.row}"
            if len(places) < EXAMPLES_MAX and place not in places:
                places.append(place)
        yield row


def _spooled(spool: Path) -> Iterator[tuple[int, Rejection]]:
    return iter(sorted(read_rejections(spool), key=_place))


def _place(each: tuple[int, Rejection]) -> tuple[int, int]:
    return each[0], each[1].row
