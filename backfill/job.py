"""A job: a pipeline, its files and its journal, bound to one another and to one workspace.

Files are known by their content: a file that was renamed or moved keeps the part under which the
journal has settled its rows.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from backfill.errors import GuardError, SourceChangedError, StateError, UsageError
from backfill.files import sync_directory
from backfill.journal import Counts, Journal, Part, Ranges
from backfill.journal.directory import own_folder
from backfill.judge.chunk_judge import IN_THREADS, ChunkWorkers
from backfill.operations.subjects import vanishing
from backfill.pipeline.destination_settings import bucket_objection
from backfill.pipeline.file import Pipeline
from backfill.planning.chunk_stats import KnownPeople
from backfill.planning.folder import PlanFolder
from backfill.planning.plan import Plan, inputs_key, keep_only, load_plan, make_plan, plan_key
from backfill.planning.progress import OnProgress
from backfill.sources.inputs import Input

STATE_FOLDER = ".backfill"
PLANS_FOLDER = "plan"
STANDS_FOR = ".stands_for"
"""Beside the folder of a job whose state is elsewhere: what `--state-dir` has to say for it."""
_SEAL = "plan_seal"
"""In the journal's meta: the plan that rows go by, and the digest of its files."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one run works on.

    Args:
        pipeline: The settings.
        inputs: The files, numbered as the journal knows them.
        journal: What is settled.
        folder: Where the job's state is kept.
        limit: Only the first so many rows of each source are sent.
        known_people: In a sync: gives the people who were sent before.
        workers: Who works on the chunks of its files.
    """

    pipeline: Pipeline
    inputs: Sequence[Input]
    journal: Journal
    folder: Path
    limit: int | None = None
    known_people: KnownPeople = tuple
    workers: ChunkWorkers = IN_THREADS

    def settled(self) -> dict[int, Ranges]:
        """The rows that are settled now, by part, as a copy."""
        ranges = {each.part: self.journal.settled(each.part) for each in self.inputs}
        return {
            part: Ranges(each.low_watermark, list(each.above())) for part, each in ranges.items()
        }

    def rows_to_send(self, plan: Plan) -> dict[int, int]:
        """How many rows of each part are sent: all that the plan has, or the first ones."""
        if self.limit is None:
            return dict(plan.found.rows)
        # The plan names them in the order of reading. A sync that is refused takes its parts back.
        source_of = {part.id: part.source for part in self.journal.parts()}
        left = dict.fromkeys(source_of.values(), self.limit)
        found: dict[int, int] = {}
        for part in (part for part in plan.found.rows if part in source_of):
            source = source_of[part]
            found[part] = min(plan.found.rows[part], left[source])
            left[source] -= found[part]
        return found

    def closed(self, plan: Plan) -> dict[int, Ranges]:
        """The rows that are not sent by now, by part: settled ones, and those beyond the limit."""
        closed = self.settled()
        for part, rows in (self.rows_to_send(plan) if self.limit is not None else {}).items():
            closed[part].settle(rows + 1, plan.found.rows.get(part, 0) + 1)
        return closed

    def plan_folder(self, key: str) -> PlanFolder:
        """Where the plan of a key is kept."""
        return PlanFolder(self.folder / PLANS_FOLDER / key)


def state_url(pipeline: Pipeline, state_dir: str | Path | None) -> str | None:
    """Where a job's state is if that is a bucket; None: it is on a disk of this machine.

    Raises:
        UsageError: Nothing can be kept there.
    """
    return pipeline.state if state_dir is None else bucket_of(state_dir)


def bucket_of(state_dir: str | Path) -> str | None:
    """The URL that `--state-dir` says; None: it says a folder.

    Raises:
        UsageError: Nothing can be kept there.
    """
    # A `Path` has made one slash of two.
    written, is_there = re.subn(r"^([A-Za-z][A-Za-z0-9+.-]*):/+", r"\1://", str(state_dir))
    if not is_there:
        return None
    if why := bucket_objection(written):
        raise UsageError(
            f"--state-dir: {why}", next_step='give a folder, or a bucket: "s3://BUCKET/FOLDER"'
        )
    return written.rstrip("/")


def folder_of(pipeline: Pipeline, state_dir: str | Path | None) -> Path:
    """Where a job's state is kept: below `state_dir`, by default beside the pipeline file."""
    folder = Path(state_dir or pipeline.folder / STATE_FOLDER)
    # Arrow takes the relative path "a:b" for a URL.
    return (folder.absolute() if ":" in str(folder) else folder) / pipeline.name


def bind_files(inputs: Sequence[Input], journal: Journal, *, append: bool) -> list[Input]:
    """Give each file the part that the journal knows it by; add parts for new files.

    Args:
        inputs: The files as they are now, with parts of their own numbering.
        journal: What is settled, by part.
        append: Whether files may have grown, and new ones may join a job that has begun.

    Returns:
        The same files in the same order, each with the journal's number for it.

    Raises:
        SourceChangedError: A file that rows were read from is gone or has other bytes; or, unless
            `append` allows it, has grown, or is new to a job that has begun.
    """
    known = KnownParts(journal.parts())
    begun = bool(known.by_id)
    # Files of unchanged content first: else a renamed file could lose its part to a new file
    # that took its old name.
    parts = {id(each): known.claim(known.same(each)) for each in inputs}
    changes: list[str] = []
    for each in inputs:
        if parts[id(each)] is not None:
            continue
        grown = known.claim(next(known.named(each), None))
        if grown is not None:
            longer = has_grown(each, grown)
            if not (append and longer):
                changes.append(f"{each.name} has {'grown' if longer else 'other bytes'}")
            parts[id(each)] = replace(grown, rows=None)
        elif begun and not append:
            changes.append(f"{each.name} is new")
    # A sync counts the rows of the files that it has finished with; such a file may go.
    changes += [f"{part.path} is gone" for part in known.by_id.values() if part.rows is None]
    if changes:
        step = (
            "use --append if rows or files were only added, --restart to forget what was sent and"
            " start over, or put the files back"
        )
        if any(each.is_extract for each in inputs):
            step = (
                "use `backfill sync` to send only what is new or different, or --restart to forget"
                " what was sent and start over"
            )
        raise SourceChangedError(
            f"the source has changed since this job read it: {'; '.join(changes)}", next_step=step
        )
    return [_add_or_update(each, parts[id(each)], journal) for each in inputs]


class KnownParts:
    """The parts of a journal, found by content and by name whatever their number.

    Args:
        parts: All of them.

    `by_id` holds those that were not claimed.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        self.by_id = {part.id: part for part in parts}
        self._by_content: dict[tuple[int, str], dict[int, Part]] = {}
        self._by_name: dict[tuple[int, str], dict[int, Part]] = {}
        self._exact: dict[tuple[int, str, str], Part] = {}
        for part in self.by_id.values():
            self._by_content.setdefault((part.source, part.digest), {})[part.id] = part
            self._by_name.setdefault((part.source, part.path), {})[part.id] = part
            self._exact.setdefault((part.source, part.digest, part.path), part)

    def same(self, each: Input) -> Part | None:
        """The part of a file's content; of several the one of its name, or the first."""
        digest = each.fingerprint.digest
        exact = self._exact.get((each.source, digest, each.name))
        if exact is not None and exact.id in self.by_id:
            return exact
        return next(iter(self._by_content.get((each.source, digest), {}).values()), None)

    def named(self, each: Input) -> Iterator[Part]:
        """The parts of a file's name."""
        return iter(self._by_name.get((each.source, each.name), {}).values())

    def claim(self, part: Part | None) -> Part | None:
        """The same part, which is not found again."""
        if part is not None:
            del self.by_id[part.id]
            del self._by_content[part.source, part.digest][part.id]
            del self._by_name[part.source, part.path][part.id]
        return part


def has_grown(each: Input, part: Part) -> bool:
    """Whether the file begins with the very bytes that were read before, and these were whole rows.

    Args:
        each: The file as it is now.
        part: What the journal knows of it, its size in bytes and its digest among it.
    """
    size = each.fingerprint.size
    if not each.file.appendable or size < part.size:
        return False
    if each.file.stored.fingerprint(part.size).digest != part.digest:
        return False
    with each.file.stored.open() as file:
        file.seek(max(part.size - 1, 0))
        around = file.read(2)
    # A last line without its line end may have been read by halves: what follows it now could
    # be the rest of that row.
    return any(byte in b"\r\n" for byte in around)


def _add_or_update(each: Input, part: Part | None, journal: Journal) -> Input:
    size, digest = each.fingerprint.size, each.fingerprint.digest
    if part is None:
        part = journal.add_part(each.name, source=each.source, size=size, digest=digest)
    elif (part.path, part.size, part.digest) != (each.name, size, digest):
        journal.update_part(replace(part, path=each.name, size=size, digest=digest))
    return replace(each, part=part.id)


def bind_workspace(journal: Journal, workspace: str) -> None:
    """One journal belongs to one workspace.

    Raises:
        GuardError: It belongs to another one.
    """
    known = journal.meta.setdefault("workspace", workspace)
    if known != workspace:
        raise GuardError(
            f"this job's journal belongs to another workspace ({known}); these credentials open"
            f" {workspace}: what was delivered there is not here",
            next_step="use --state-dir DIR for this workspace, or --restart to forget the other",
        )


def bind_settings(job: Job, *, accept_changes: bool) -> None:
    """Once something was sent, what makes operations and ids stays as it is.

    Raises:
        GuardError: It has changed, and `accept_changes` is not set.
    """
    digest = job.pipeline.digest()
    known = job.journal.meta.get("settings", digest)
    if known != digest and job.journal.totals().attempts and not accept_changes:
        raise GuardError(
            "the pipeline file has changed what operations or event ids are made of, and rows were"
            " sent with the previous settings",
            next_step="use --accept-changes to send the rest with the new settings (with `backfill"
            " retry`: the rejected rows), --restart to send everything again, or put the settings"
            " back",
        )
    job.journal.meta["settings"] = digest


def find_plan(job: Job, *, now_s: float, progress: OnProgress) -> Plan:
    """The plan that this job was begun with, or a new one; the journal stays as it is.

    A new one is made when the files or the settings have changed since; rows that were
    settled before keep what became of them.

    Raises:
        StateError: The plan that rows went by is damaged.
    """
    folder, meta = job.folder / PLANS_FOLDER, job.journal.meta
    former = str(meta.get("plan", ""))
    if meta.get("plan_for") == inputs_key(job.pipeline, job.inputs):
        plan = load_plan(folder, former)
        if plan is not None:
            return plan
    settled = job.settled()
    key = plan_key(job.pipeline, job.inputs, settled, former)
    with suppress(StateError):  # no row went by it: a damaged one is made again
        plan = load_plan(folder, key)
        if plan is not None and not PlanFolder(folder / key).damage():
            return plan
    return make_plan(
        job.pipeline,
        job.inputs,
        folder,
        now_s=now_s,
        settled=settled,
        former=former,
        known_people=job.known_people,
        workers=job.workers,
        progress=progress,
    )


def check_plan(job: Job) -> None:
    """Hold the files of the plan that the job goes by against what the journal knows of them.

    One by which nothing was sent is forgotten where it is damaged, and then made again.

    Raises:
        StateError: It is damaged, and rows went by it: nobody can tell any more which rows are
            repeats, or belong to one person.
    """
    meta = job.journal.meta
    folder, sealed = own_folder(job.folder / PLANS_FOLDER), meta.get(_SEAL)
    if not sealed or sealed["plan"] != meta.get("plan"):
        return
    plan = PlanFolder(folder / sealed["plan"])
    name = plan.damage(sealed["seal"])
    if not name:
        return
    if _settled_count(job.journal) != sealed["settled"] or job.journal.in_doubt():
        raise StateError(
            f"{plan.path / name}: the plan is damaged, and rows were sent by it",
            next_step="restore the state directory from a backup, or start over with --restart:"
            " events keep their ids, so what was sent before counts once",
        )
    keep_only(folder)
    del meta["plan"], meta[_SEAL]
    meta.pop("plan_for", None)


def _settled_count(journal: Journal) -> int:
    return sum(journal.settled(part.id).settled_count() for part in journal.parts())


def adopt_plan(job: Job, *, now_s: float, progress: OnProgress) -> Plan:
    """The plan that this job is to go by, as `find_plan` finds it, for `commit_plan` to keep."""
    plan = find_plan(job, now_s=now_s, progress=progress)
    meta = job.journal.meta
    keep_only(job.folder / PLANS_FOLDER, str(meta.get("plan", "")), plan.key)
    meta["plan_for"] = inputs_key(job.pipeline, job.inputs)
    meta["plan"], meta["limit"] = plan.key, job.limit
    return plan


def commit_plan(job: Job, plan: Plan) -> None:
    """Make durable what the journal knows of these files and this plan; remove other plans.

    The plan's files come first: rows that are sent rely on them from the journal's commit on.
    """
    meta = job.journal.meta
    known = meta.get(_SEAL, {})
    # How much was settled when the first row went by this plan, also after a resume.
    settled = known["settled"] if known.get("plan") == plan.key else _settled_count(job.journal)
    seal = job.plan_folder(plan.key).seal()
    sync_directory(job.folder)
    meta[_SEAL] = {"plan": plan.key, "settled": settled, "seal": seal}
    job.journal.commit()
    keep_only(job.folder / PLANS_FOLDER, plan.key)


def stored_plan(job: Job) -> Plan | None:
    """The plan that the job went by last, if it is there and can still be read."""
    try:
        return load_plan(job.folder / PLANS_FOLDER, str(job.journal.meta.get("plan", "")))
    except (OSError, StateError):
        return None


def named_state_dir(job: Job) -> str:
    """What `--state-dir` must say for a command to find the job; empty: nothing."""
    with suppress(FileNotFoundError):
        return (job.folder.parent / STANDS_FOR).read_text()
    usual = folder_of(job.pipeline, None)
    return "" if job.folder.resolve() == usual.resolve() else str(job.folder.parent.resolve())


def rows_read(job: Job, plan: Plan | None) -> Mapping[int, int]:
    """How many rows of each part belong to the accounts: those to be sent, or settled before."""
    planned = job.rows_to_send(plan) if plan else {}
    return {
        part.id: max(planned.get(part.id, 0), _last(job.journal.settled(part.id)))
        for part in source_parts(job)
    }


@dataclass(frozen=True, slots=True)
class Doubt:
    """What may have been sent without the journal knowing.

    Args:
        rows: How many rows, at most.
        lost_commits: How many of the journal's last commits are missing.
    """

    rows: int
    lost_commits: int


def doubt_of(job: Job, plan: Plan) -> Doubt:
    """What a start is not sure of: rows that were under way, and all where the journal is old."""
    lost = job.journal.lost_commits
    if not lost:
        return Doubt(job.journal.in_doubt(), 0)
    return Doubt(sum(pending_of(job.journal, rows_read(job, plan)).values()), lost)


def pending_of(journal: Journal, rows: Mapping[int, int]) -> dict[int, int]:
    """How many rows of each part are not settled."""
    return {
        part: count - journal.settled(part).settled_below(count + 1) for part, count in rows.items()
    }


def source_parts(job: Job) -> list[Part]:
    """The files of the sources; a sync makes others, whose rows are people to be deleted."""
    return [part for part in job.journal.parts() if part.source < len(job.pipeline.sources)]


def counts_of(job: Job) -> dict[int, Counts]:
    """What became of the settled rows of a job, by source."""
    return of_own_sources(job.pipeline, job.journal.counts())


def of_own_sources(pipeline: Pipeline, counts: Mapping[int, Counts]) -> dict[int, Counts]:
    """What became of rows, by the sources of the pipeline file.

    What was deleted because it vanished counts as deleted by the source that misses it.

    Args:
        pipeline: The settings.
        counts: The same with the sources that a sync made, behind all others.
    """
    count = len(pipeline.sources)
    own = {index: each for index, each in counts.items() if index < count}
    missing = [*vanishing(pipeline.sources).values()]
    for index, each in counts.items():
        if index >= count and each.delivered and missing:
            owner = missing[min(index - count, len(missing) - 1)]
            known = own.get(owner, Counts())
            own[owner] = replace(known, deletes=known.deletes + each.delivered)
    return own


def deletes_refused(job: Job) -> int:
    """How many people who vanished the API did not delete; no row of tonight's stands for them."""
    own = len(job.pipeline.sources)
    return sum(each.rejected for source, each in job.journal.counts().items() if source >= own)


def held_at_last(journal: Journal) -> dict[int, int]:
    """How many rows of each source the last call that ended has held back."""
    ended = (run.summary for run in reversed(journal.runs.all()) if run.finished_at)
    told = next((each for each in ended if each), {})
    return {index: each.get("held", 0) for index, each in enumerate(told.get("sources", ()))}


def _last(ranges: Ranges) -> int:
    """The last settled row."""
    return max((stop for _, stop in ranges.above()), default=ranges.low_watermark) - 1
