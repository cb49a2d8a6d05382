"""Looking without sending: `check` judges every row, `plan` says what a run would do."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from itertools import chain
from operator import itemgetter
from pathlib import Path

import numpy as np

from backfill.clock import Clock
from backfill.commands.state_home import at_hand
from backfill.commands.watch import Say, watch_saying
from backfill.engine.extracts import Extracts
from backfill.engine.options import Observer, Options, Silent, Stop, with_workers
from backfill.errors import ExitCode, SourceChangedError, unwritten
from backfill.job import PLANS_FOLDER, Job, bind_files, check_plan, find_plan, folder_of
from backfill.journal import Journal
from backfill.journal.rejection_pages import in_row_order
from backfill.pipeline.file import Pipeline
from backfill.planning.folder import PlanFolder
from backfill.planning.guards import Guard, refusals
from backfill.planning.plan import Plan, PlanFigures, compare_with_last
from backfill.planning.progress import OnProgress, Progress
from backfill.planning.rejection_log import read_rejections
from backfill.rejected.writer import RejectedRows, write_rejected
from backfill.rows import Rejections
from backfill.sources.extraction import Extracted, OnExtracted
from backfill.sources.inputs import Input, columns_of, open_inputs

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
        limit: Of each source only the first so many rows would be sent.
        now_s: The time now, as unix seconds: from when a run would last.
    """

    plan: Plan
    guards: list[Guard]
    rejected_file: Path | None
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    former: PlanFigures | None = None
    limit: int | None = None
    now_s: float = 0.0

    @property
    def exit(self) -> ExitCode:
        """How `check` and `plan` end: 7 where a run would be refused, 3 where rows are rejected."""
        if self.guards:
            return ExitCode.GUARD
        return ExitCode.REJECTIONS if self.rejected_file else ExitCode.DELIVERED


def plan(
    pipeline: Pipeline,
    options: Options | None = None,
    observer: Observer | None = None,
    stop: Stop | None = None,
    *,
    progress: Say | None = None,
) -> Planned:
    """Look at every row, send nothing, and write the rejected rows.

    Args:
        pipeline: The settings.
        options: `state_dir` and `limit` count.
        observer: Is told how it goes on, and when it has ended.
        stop: Asks it to stop.
        progress: Shows a line now and then, such as `print`, where no observer does.

    Raises:
        UsageError: A file, a column or a transform cannot be used.
        SourceChangedError: A file changed while it was read.
        StateError: Another process works on the job, or its state cannot be used.
        BackfillError: What `stop` was asked with.
    """
    watching = observer or (watch_saying(progress) if progress else Silent())
    stop = stop or Stop()

    def checked(more: Progress) -> None:
        stop.check()
        watching.checked(more)

    def extracted(more: Extracted) -> None:
        stop.check()
        watching.extracted(more)

    rejected_file = None
    try:
        clock = Clock().interrupted_by(stop.check)
        with (
            at_hand(pipeline, options, stop) as here,
            with_workers(pipeline, here, stop) as asked,
        ):
            made = _planned(pipeline, asked, clock, checked, extracted)
        rejected_file = made.rejected_file
    finally:
        watching.ended(rejected_file)
    return made


def _planned(
    pipeline: Pipeline,
    options: Options,
    clock: Clock,
    progress: OnProgress,
    extracted: OnExtracted,
) -> Planned:
    now_s = clock.unix_s()
    folder = folder_of(pipeline, options.state_dir)
    with Journal.open(folder) as journal, Extracts(pipeline, journal, folder) as extracts:
        files = extracts.files(options.env, extracted)
        inputs = _numbered(open_inputs(pipeline, files, clock=clock), journal)
        here = folder, options.limit
        job = Job(pipeline, inputs, journal, *here, workers=options.chunk_workers)
        # Before a plan is looked for: a damaged one must not be found, but made anew.
        check_plan(job)
        made = find_plan(job, now_s=now_s, progress=progress)
        made_in = PlanFolder(folder / PLANS_FOLDER / made.key)
        columns = columns_of(inputs)
        examples: dict[str, list[str]] = {}
        try:
            rejected = write_rejected(
                folder,
                lambda: _noted(_rejected(inputs, journal, made_in), examples),
                columns,
                chain(*columns.values()),
            )
            # Behind the rejected rows: the next plan is compared with one that was told in full.
            former = compare_with_last(folder, made)
        except OSError as failure:
            raise unwritten(folder, failure) from failure
        extracts.ended(None)
    guards = refusals(pipeline, made, now_s)
    return Planned(made, guards, rejected, examples, former, options.limit, clock.unix_s())


def _numbered(inputs: list[Input], journal: Journal) -> list[Input]:
    """The files as the job's journal would number them; nothing of it is kept.

    Where they are not those that the job has read from they get new numbers: all of their rows
    are looked at as if they were new, and a run will refuse them.
    """
    try:
        return bind_files(inputs, journal, append=True)
    except SourceChangedError:
        return [replace(each, part=_taken_up(each, journal)) for each in inputs]


def _taken_up(each: Input, journal: Journal) -> int:
    size, digest = each.fingerprint.size, each.fingerprint.digest
    return journal.add_part(each.name, source=each.source, size=size, digest=digest).id


def _rejected(inputs: list[Input], journal: Journal, made_in: PlanFolder) -> Iterator[RejectedRows]:
    """The rows that the plan rejects, and those that the API refused before, file by file.

    All of them wait on disk in the order of the files and their rows: none has to be held.
    """
    spools = [_by_part(read_rejections(path)) for path in made_in.rejections]
    for each in inputs:
        before = _by_part(journal.rejected(after=(each.part, 0)))
        some = merge(*(of(each.part) for of in (*spools, before)), key=itemgetter(0))
        # Rejected by the plan, and by the API before: one row, with what the plan says.
        for found in in_row_order(some):
            yield RejectedRows(each.part, each.name, found)


def _by_part(
    rejections: Iterator[tuple[int, Rejections]],
) -> Callable[[int], Iterator[tuple[int, Rejections]]]:
    """Gives the rejections of one part after the other, each with its first row, as they come."""
    waiting = next(rejections, None)

    def of(part: int) -> Iterator[tuple[int, Rejections]]:
        nonlocal waiting
        while waiting is not None and waiting[0] == part:
            yield int(waiting[1].rows[0]), waiting[1]
            waiting = next(rejections, None)

    return of


def _noted(rows: Iterable[RejectedRows], examples: dict[str, list[str]]) -> Iterator[RejectedRows]:
    """The same rows; the first ones of each reason are noted, once however often this is done."""
    for each in rows:
        some = each.rejections
        # Of rows that are rejected for the same, the first ones will do.
        first = (np.flatnonzero(some.way_of == way)[:EXAMPLES_MAX] for way in range(len(some.ways)))
        for at in sorted(chain.from_iterable(places.tolist() for places in first)):
            # In the order of the reasons: that of a set is another one in each process.
            for code in dict.fromkeys(reason.code for reason in some.ways[some.way_of[at]]):
                places = examples.setdefault(code, [])
                place = f"{each.source} row {some.rows[at]}"
                if len(places) < EXAMPLES_MAX and place not in places:
                    places.append(place)
        yield each
