"""The nightly sync: the same pipeline again, and only what is new or different is sent.

    summary = sync(Pipeline.load("acme.toml"))

What was delivered is remembered person by person (`backfill.sync.catch_up`): whoever differs
tonight is sent, whoever is as before is skipped, whoever is named no more is kept or deleted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from os.path import relpath
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from backfill.commands.run import canary_first
from backfill.commands.state_home import at_hand
from backfill.engine.options import Observer, Options, Stop
from backfill.engine.prepare import SourceRows
from backfill.engine.run import PreparedRun, RunMode, execute
from backfill.engine.send import Work
from backfill.errors import GuardError, UsageError
from backfill.job import Job
from backfill.journal import Journal, Part
from backfill.operations.subjects import kind_of_type, removal_settings, vanishing
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import KINDS, EventsSource, Source
from backfill.planning import guards
from backfill.planning.cursors import attribute_of
from backfill.planning.guards import Guard
from backfill.planning.plan import Plan
from backfill.report.summary import Summary
from backfill.report.wording import counted, counted_of
from backfill.sources import LocalFile, open_source
from backfill.sources.inputs import Input
from backfill.sync import catch_up, nights
from backfill.sync.differences import Differences, changes_of, compare, load_differences
from backfill.sync.file_versions import take_up


def sync(
    pipeline: Pipeline,
    options: Options | None = None,
    observer: Observer | None = None,
    stop: Stop | None = None,
) -> Summary:
    """Send what is new or different since the last sync, or since the run before the first.

    Args:
        pipeline: The settings.
        options: How it is done; `append` has no meaning here.
        observer: Is told how it goes on.
        stop: Asks it to stop.

    Returns:
        What became of every row of tonight's exports, and of every other file there ever was.

    Raises:
        BackfillError: What stopped it; as for `backfill.engine.run.run`.
    """
    _check_settings(pipeline, options or Options())
    stop = stop or Stop()
    with at_hand(pipeline, options, stop) as here:
        mode = canary_first(SYNC, pipeline, here, observer, stop)
        return execute(mode, pipeline, here, observer, stop)


def _bind(job: Job, append: bool) -> Job:
    """The files of tonight; they may have changed since the last sync, whatever `append` says."""
    del append
    taken_up = take_up(job)
    return replace(taken_up, known_people=lambda: _known_people(taken_up))


def _prepare(job: Job, plan: Plan, now_s: float) -> PreparedRun:
    """Compare the exports with what was delivered; send what differs, unless a guard refuses."""
    goes_on = catch_up.is_unfinished(job.journal, diff=True)
    compared = _compared(job)
    found = _differences(job, plan, goes_on=goes_on) if compared else None
    against = guards.refusals(job.pipeline, plan, now_s)
    if not goes_on:  # what has begun was let through
        vanished = _too_many_vanished(job.pipeline, plan, found)
        against = [*vanished, *nights.refusals(job, plan), *against]

    def start() -> Work:
        catch_up.begin(job, plan, diff=found is not None)
        if found is None:
            return SourceRows(job, plan, now_s)
        changes = changes_of(job, plan, compared)
        if not found.deletes:
            return SourceRows(job, plan, now_s, changes)
        return SourceRows(*_with_deletions(job, plan, found), now_s, changes)

    def complete() -> None:
        catch_up.catch_up(job.journal, job.pipeline, job.folder, done=job.limit is None)
        nights.note(job, plan)
        if found is not None:
            _refuse_unclear(job.pipeline, plan, found)

    notes = catch_up.notes(job.journal) if compared else []
    return PreparedRun(against, start, complete, found, notes)


SYNC = RunMode("sync", _bind, _prepare, replaces_rows=True, growing=True)


def _differences(job: Job, plan: Plan, *, goes_on: bool) -> Differences:
    """How the exports differ from what was delivered; where a sync goes on, as when it began."""
    if goes_on:
        found = load_differences(job, plan)
    else:
        found = compare(job, plan, nights.windows(job, plan))
    kinds = {}
    for kind, each in found.kinds.items():
        deletes = _deletes(job.pipeline, kind) and not _nameless(job.pipeline, plan, kind)
        kinds[kind] = replace(each, deletes=each.vanished if deletes else 0)
    return replace(found, kinds=kinds)


def _refuse_unclear(pipeline: Pipeline, plan: Plan, found: Differences) -> None:
    """Tell, after all else was sent, what was not deleted.

    Raises:
        GuardError: People or relationships vanished and were not deleted, since a row may be about
            any of them.
    """
    for kind, each in found.kinds.items():
        nameless = _nameless(pipeline, plan, kind)
        if each.vanished and nameless and _deletes(pipeline, kind):
            raise GuardError(
                f"no longer in the export: {counted_of(kind, each.vanished)};"
                f" {'nobody' if kind == 'customers' else 'none of them'} was deleted: in"
                f" {counted(nameless, 'row')} the identifier is missing; everything else was sent",
                next_step="fix these rows in the source and sync again, or set vanished = "
                '"keep" under [source.sync]',
            )


_SKIPPED = {"diff": "unchanged", "cursor": "before_window"}


def _check_settings(pipeline: Pipeline, options: Options) -> None:
    """Refuse what cannot be synced.

    Raises:
        UsageError: The settings or the options do not allow a sync.
    """
    for kind, setting in product(KINDS, ("mode", "vanished")):
        profiles = _profiles(pipeline, kind)
        said = {each.sync_mode if setting == "mode" else each.sync.vanished for each in profiles}
        if len(said) > 1:
            raise UsageError(
                f"the {kind} sources differ in {setting}: {', '.join(sorted(said))}; they are"
                " compared across all of them",
                next_step=f"give them the same {setting} under [source.sync]",
            )
    if options.limit is not None and any(_deletes(pipeline, kind) for kind in KINDS):
        raise UsageError(
            'vanished = "delete" cannot be used with --limit: people are deleted only once all'
            " others were sent",
            next_step="drop --limit",
        )
    for index, source in enumerate(pipeline.sources):
        if source.sync_mode == "cursor":
            attribute_of(source)
        if isinstance(source, EventsSource) and not (
            source.key or source.identical_rows == "collapse"
        ):
            raise UsageError(
                f"source {index + 1} (events): a sync may read the same row on another night",
                next_step='say what identifies an event, key = ["…"], or set identical_rows ='
                ' "collapse"',
            )


def _profiles(pipeline: Pipeline, kind: str) -> list[Source]:
    """The sources of one kind whose rows are compared with what was delivered."""
    return [each for each in pipeline.sources if each.is_profile and each.kind == kind]


def _deletes(pipeline: Pipeline, kind: str) -> bool:
    """Whether people, or relationships, that vanish are deleted."""
    return any(each.sync.vanished == "delete" for each in _profiles(pipeline, kind))


def _compared(job: Job) -> dict[int, str]:
    """The parts that are compared with what was delivered, and why most rows are skipped."""
    modes = {each.part: job.pipeline.sources[each.source].sync_mode for each in job.inputs}
    return {part: _SKIPPED[mode] for part, mode in modes.items() if mode in _SKIPPED}


def _nameless(pipeline: Pipeline, plan: Plan, kind: str) -> int:
    """How many rows of profiles of one kind do not say what they are about."""
    sources = zip(pipeline.sources, plan.sources, strict=True)
    return sum(
        seen.nameless for source, seen in sources if source.is_profile and source.kind == kind
    )


def _known_people(job: Job) -> Iterable[tuple[str, pa.StringArray]]:
    """The people and objects that were sent before, where it matters who is known."""
    kinds = {job.pipeline.sources[each.source].kind for each in job.inputs}
    names_known = job.pipeline.has_customers or job.pipeline.has("objects")
    if not (names_known and kinds & {"events", "relationships", "merges"}):
        return ()
    return catch_up.known_people(job.journal, job.folder)


def _too_many_vanished(
    pipeline: Pipeline, plan: Plan, found: Differences | None
) -> Iterator[Guard]:
    if found is None:
        return
    firsts = {pipeline.sources[index].kind: index for index in vanishing(pipeline.sources).values()}
    for kind, index in firsts.items():
        each, allowed = found.of(kind), pipeline.sources[index].sync.deletes_max
        if not _nameless(pipeline, plan, kind) and allowed.reached_by(each.vanished, each.known):
            yield Guard(
                "deletes_max",
                f"{each.vanished:,} of {counted_of(kind, each.known)} are no longer in source"
                f" {index + 1} ({kind}), and would be deleted: more than deletes_max",
                f"set deletes_max = {each.vanished} under [source.sync] if that is intended, or"
                ' vanished = "keep"',
            )


# Deletions


def _with_deletions(job: Job, plan: Plan, found: Differences) -> tuple[Job, Plan]:
    """The job and its plan, with sources behind all others that delete what vanished.

    There is one for each type, whether or not any of it vanished tonight: what became of their rows
    is counted by their places, see `job.of_own_sources`.
    """
    made = job.plan_folder(plan.key).diff
    sources, inputs = list(job.pipeline.sources), list(job.inputs)
    files = found.vanished_files
    for type_ in dict.fromkeys([*vanishing(sources), *sorted(files)]):
        if type_ in files and found.of(kind_of_type(type_)).deletes:
            inputs.append(_made(job, len(sources), made / files[type_]))
        settings = removal_settings(type_)
        settings["files"] = [str(made / files.get(type_, "none.parquet"))]
        sources.append(cast("Source", KINDS[settings["kind"]].model_validate(settings)))
    pipeline = job.pipeline.model_copy(update={"sources": tuple(sources)})
    known = plan.found.readings
    readings = {index: known.get(index, {}) for index in range(len(sources))}
    plan = replace(plan, found=replace(plan.found, readings=readings))
    return replace(job, pipeline=pipeline, inputs=inputs), plan


def _made(job: Job, source: int, path: Path) -> Input:
    """A file of our own as a part of the job: the one it was, where a sync goes on."""
    name, stored = relpath(path, job.folder), LocalFile.of(path)
    mark = stored.fingerprint()
    part = _part_of(job.journal, source, mark.digest) or job.journal.add_part(
        name,
        source=source,
        size=mark.size,
        digest=mark.digest,
        rows=pq.read_metadata(path).num_rows,
    )
    return Input(part.id, source, name, open_source(stored), mark)


def _part_of(journal: Journal, source: int, digest: str) -> Part | None:
    parts = (part for part in journal.parts() if part.source == source)
    return next((part for part in parts if part.digest == digest), None)
