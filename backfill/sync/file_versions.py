"""Which files a sync takes up: tonight's version of an export, and files not seen before."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from backfill.errors import SourceChangedError
from backfill.job import Job, KnownParts, has_grown
from backfill.journal import Journal, Part
from backfill.planning.guards import Guard, refuse
from backfill.planning.plan import inputs_key
from backfill.sources.inputs import Input
from backfill.sync.catch_up import catch_up, is_unfinished


def take_up(job: Job) -> Job:
    """The same job, with the files in which a sync finds something to do.

    A sync that was cut short goes on where its files are as they were. Else tonight's version of
    an export takes the place of the last one, and what is known of that is forgotten. Other files
    are known for ever, by their content: those that are done are left out.

    Raises:
        SourceChangedError: A file that was not done has changed or is gone.
        GuardError: A file that was done has changed otherwise than by growing.
    """
    journal = job.journal
    before = _as_before(job)
    if before is not None:
        return replace(job, inputs=before)
    catch_up(journal, job.pipeline, job.folder)
    kept = set(_unfinished_cursors(job))
    for part in journal.parts():
        if not _is_lasting(job, part.source) and part.source not in kept:
            journal.drop_part(part.id)
    return replace(job, inputs=list(_taken_up(job)))


def is_done(journal: Journal, part: Part) -> bool:
    """Whether every row of a part was read and is settled."""
    rows = part.rows
    return rows is not None and journal.settled(part.id).settled_below(rows + 1) == rows


def _is_lasting(job: Job, source: int) -> bool:
    """Whether a source's files are known for ever, not only until their next version."""
    sources = job.pipeline.sources
    return source < len(sources) and sources[source].sync_mode == "files"


def _unfinished_cursors(job: Job) -> Iterator[int]:
    """The sources that a cursor reads, and of which not every row was seen to."""
    for part in job.journal.parts():
        if part.source < len(job.pipeline.sources):
            by_cursor = job.pipeline.sources[part.source].sync_mode == "cursor"
            if by_cursor and not is_done(job.journal, part):
                yield part.source


def _as_before(job: Job) -> list[Input] | None:
    """The files as an unfinished sync knows them; None if there is none, or they differ."""
    if not is_unfinished(job.journal, diff=True):
        return None
    parts = {(part.source, part.path, part.digest): part for part in job.journal.parts()}
    found = []
    for each in job.inputs:
        part = parts.get((each.source, each.name, each.fingerprint.digest))
        if part is None:
            return None
        if not (_is_lasting(job, each.source) and is_done(job.journal, part)):
            found.append(replace(each, part=part.id))
    same = job.journal.meta.get("plan_for") == inputs_key(job.pipeline, found)
    return found if same else None


def _taken_up(job: Job) -> Iterator[Input]:
    journal = job.journal
    parts = journal.parts()
    known = KnownParts(parts)
    open_ = {part.id: part for part in parts if not is_done(journal, part)}
    matches = [(each, _known(each, known)) for each in job.inputs]
    rewritten = _rewritten(job, matches, parts)
    refuse(list(_files_changed(job, rewritten)))
    for replaced in rewritten:  # its rows count once: as those of tonight's version
        journal.drop_part(replaced.id)
    added: dict[tuple[int, str], Part] = {}
    seen: set[int] = set()
    for each, match in matches:
        size, digest = each.fingerprint.size, each.fingerprint.digest
        part = match or added.get((each.source, digest))
        if part is None:
            part = journal.add_part(each.name, source=each.source, size=size, digest=digest)
            if _is_lasting(job, each.source):
                added[each.source, digest] = part
        elif part.id in seen:
            continue  # a copy of another file
        elif _differs(each, part):
            part = _updated(each, part)
            journal.update_part(part)
        seen.add(part.id)
        open_.pop(part.id, None)
        if not is_done(journal, part):
            yield replace(each, part=part.id)
    if open_:
        raise _changed([part.path for part in open_.values()])


def _known(each: Input, known: KnownParts) -> Part | None:
    """The part with a file's content, or with its beginning where the file has grown."""
    same = known.same(each)
    return same or next((part for part in known.named(each) if has_grown(each, part)), None)


def _rewritten(
    job: Job, matches: Sequence[tuple[Input, Part | None]], parts: Sequence[Part]
) -> list[Part]:
    """The parts that were done, and whose files have changed otherwise than by growing.

    Args:
        job: The job.
        matches: Tonight's files, each with the part that it is.
        parts: All parts.
    """
    # A file that was moved away takes its part with it: what has its old name is another file.
    kept = {part.id for _, part in matches if part}
    names = {
        (each.source, each.name)
        for each, part in matches
        if part is None and _is_lasting(job, each.source)
    }
    return [
        part
        for part in parts
        if (part.source, part.path) in names and part.id not in kept and is_done(job.journal, part)
    ]


def _files_changed(job: Job, rewritten: Sequence[Part]) -> Iterator[Guard]:
    for part in rewritten:
        source = job.pipeline.sources[part.source]
        if source.sync.files_change == "refuse":
            diff = 'mode = "diff" to send only what was not delivered, or '
            yield Guard(
                "files_change",
                f"{part.path} of source {part.source + 1} ({source.kind}) was sent, and has changed"
                " otherwise than by growing",
                f"set {'' if source.kind == 'deletions' else diff}files_change ="
                ' "send" to send all of it again, under [source.sync]; or put the file back',
            )


def _differs(each: Input, part: Part) -> bool:
    return (part.path, part.digest) != (each.name, each.fingerprint.digest)


def _updated(each: Input, part: Part) -> Part:
    size, digest = each.fingerprint.size, each.fingerprint.digest
    rows = part.rows if digest == part.digest else None
    return replace(part, path=each.name, size=size, digest=digest, rows=rows)


def _changed(names: Sequence[str]) -> SourceChangedError:
    return SourceChangedError(
        "these files changed or disappeared before all of their rows were sent:"
        f" {', '.join(names)}",
        next_step="put them back as they were and run the sync again; or use --restart to forget"
        " what was"
        " sent (events keep their ids, so what was sent counts once)",
    )
