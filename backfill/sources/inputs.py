"""The files of a job: found, opened, fingerprinted, and matched with those of an earlier run."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os.path import relpath

from backfill.errors import SourceChangedError
from backfill.journal import Journal, Part
from backfill.pipeline.file import Pipeline
from backfill.sources import Fingerprint, Source, expand, fingerprint, open_source, partitions_of
from backfill.sources.layout import require_columns

KINDS = ("customers", "events", "deletions")
"""The order in which kinds are sent, with a barrier between them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file's place in a job.

    Args:
        part: What the journal knows it as.
        source: The index of its `[[source]]`, from 0.
        name: The file relative to the pipeline file.
    """

    part: int
    source: int
    name: str


@dataclass(frozen=True, slots=True)
class Input(Place):
    """One file of a job, opened.

    Args:
        file: The opened file.
        fingerprint: What its content is.
    """

    file: Source
    fingerprint: Fingerprint


def open_inputs(pipeline: Pipeline) -> list[Input]:
    """Open every file of a pipeline, in the order of sending: kinds, sources, files.

    Parts are numbered from 1 in this order; a journal may know them by other numbers.

    Raises:
        UsageError: A pattern names no file, or a file cannot be used: not what it claims to be,
            empty, a column missing.
    """
    inputs: list[Input] = []
    for kind in KINDS:
        for index, settings in enumerate(pipeline.sources):
            if settings.kind != kind:
                continue
            for path in expand(settings.files, pipeline.folder):
                name = relpath(path, pipeline.folder)
                file = open_source(
                    path,
                    delimiter=settings.delimiter,
                    encoding=settings.encoding,
                    partitions=partitions_of(path, pipeline.folder),
                )
                columns = file.columns()
                if columns is not None and settings.transform is None:
                    require_columns(settings, columns, name)
                inputs.append(Input(len(inputs) + 1, index, name, file, fingerprint(path)))
    return inputs


def columns_of(inputs: Iterable[Input]) -> dict[str, tuple[str, ...]]:
    """The columns of each file by its name; none where each row has its own."""
    return {each.name: each.file.columns() or () for each in inputs}


def of_kind(inputs: Sequence[Input], pipeline: Pipeline, kind: str) -> Iterator[Input]:
    """The files of one kind of source."""
    return (each for each in inputs if pipeline.sources[each.source].kind == kind)


def bind(inputs: Sequence[Input], journal: Journal, *, append: bool) -> list[Input]:
    """Give each file the number that the journal knows it by; take up those that are new.

    A file is known by its content, wherever it lies now.

    Raises:
        SourceChangedError: A file that rows were read from is gone or has other bytes; or, unless
            `append` allows it, has grown, or is new to a job that has begun.
    """
    unclaimed = {part.id: part for part in journal.parts()}
    begun = bool(unclaimed)
    parts = {id(each): _claim_same(each, unclaimed) for each in inputs}
    changes: list[str] = []
    for each in inputs:
        if parts[id(each)] is not None:
            continue
        at = (each.source, each.name)
        grown = next((one for one in unclaimed.values() if (one.source, one.path) == at), None)
        if grown is not None:
            del unclaimed[grown.id]
            longer = has_grown(each, grown)
            if not (append and longer):
                changes.append(f"{each.name} has {'grown' if longer else 'other bytes'}")
            parts[id(each)] = replace(grown, rows=None)
        elif begun and not append:
            changes.append(f"{each.name} is new")
    # A sync counts the rows of what it has done; such a file may go.
    changes += [f"{part.path} is gone" for part in unclaimed.values() if part.rows is None]
    if changes:
        raise _changed(changes)
    return [_take_up(each, parts[id(each)], journal) for each in inputs]


def _claim_same(each: Input, unclaimed: dict[int, Part]) -> Part | None:
    """The part with the same content, the one of the same name first."""
    same = [
        part
        for part in unclaimed.values()
        if part.source == each.source and part.digest == each.fingerprint.digest
    ]
    same.sort(key=lambda part: part.path != each.name)
    return unclaimed.pop(same[0].id) if same else None


def has_grown(each: Input, part: Part) -> bool:
    """Whether the file begins with the very rows that were read before, whole ones."""
    size = each.fingerprint.size
    if not each.file.appendable or size < part.size:
        return False
    if fingerprint(each.file.path, part.size).digest != part.digest:
        return False
    with each.file.path.open("rb") as file:
        file.seek(max(part.size - 1, 0))
        around = file.read(2)
    # A last line without its end may have been read by halves.
    return any(byte in b"\r\n" for byte in around)


def _take_up(each: Input, part: Part | None, journal: Journal) -> Input:
    size, digest = each.fingerprint.size, each.fingerprint.digest
    if part is None:
        part = journal.add_part(each.name, source=each.source, size=size, digest=digest)
    elif (part.path, part.size, part.digest) != (each.name, size, digest):
        journal.update_part(replace(part, path=each.name, size=size, digest=digest))
    return replace(each, part=part.id)


def _changed(changes: Sequence[str]) -> SourceChangedError:
    return SourceChangedError(
        f"the source is not the one that this job has read from: {'; '.join(changes)}",
        next_step="use --append if rows or files were only added, --restart to forget what was"
        " sent and begin again, or put the files back",
    )
