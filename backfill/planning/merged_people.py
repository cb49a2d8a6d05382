"""People who stand in several rows: their attributes, field by field, later values winning."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding.json_text import Mask, canonical_json
from backfill.encoding.rejected_cells import rejections
from backfill.judge.chunk_judge import ChunkJudge, JudgedChunk
from backfill.operations.encode import Accepted, Api, Members, too_large
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import Source
from backfill.planning.row_decisions import RowDecision, RowDecisions
from backfill.rows import Chunk, Rejections, Rows, reason
from backfill.sources.inputs import Input
from backfill.sources.layout import ATTRIBUTES_MAX

BUCKET_ROWS = 4096
"""Carrying rows of one file: all their people are in memory together."""

BUCKETS_AT_HAND = 4


class MergedPeople:
    """The attributes of merged people, on disk beside the rows that carry them.

    Args:
        folder: Where they are kept; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bucket = lru_cache(maxsize=BUCKETS_AT_HAND)(self._load)

    def __reduce__(self) -> tuple[type["MergedPeople"], tuple[Path]]:
        """Another process reads the same files."""
        return MergedPeople, (self._folder,)

    def add(self, part: int, rows: Iterable[int], attributes: Iterable[str]) -> None:
        """Take one more row of some people, to be called in the order of the rows.

        Args:
            part: The part of the rows that carry the people.
            rows: The rows that carry them.
            attributes: What the rows at hand say, as JSON members without braces.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lines: dict[int, list[bytes]] = {}
        for row, members in zip(rows, attributes, strict=True):
            # Appended, never changed: merging happens when a bucket is read, once for all of its
            # people.
            lines.setdefault(row // BUCKET_ROWS, []).append(f"{row} {{{members}}}\n".encode())
        for bucket, some in lines.items():
            with self._path(part, bucket).open("ab") as file:
                file.writelines(some)

    def of(self, part: int, row: int) -> str | None:
        """All that a carrying row's person has, as members; None: more than the API takes."""
        return members_of(self._bucket(part, row // BUCKET_ROWS)[row])

    def rows(self, part: int, rows: Rows) -> list[str | None]:
        """The same for several rows."""
        return [self.of(part, row) for row in rows.tolist()]

    def _path(self, part: int, bucket: int) -> Path:
        return self._folder / f"{part}-{bucket}"

    def _load(self, part: int, bucket: int) -> dict[int, dict[str, Any]]:
        people: dict[int, dict[str, Any]] = {}
        for line in self._path(part, bucket).read_bytes().splitlines():
            row, _, document = line.partition(b" ")
            merge(people.setdefault(int(row), {}), orjson.loads(document))
        return people


def put_together(
    source: Source, api: Api, accepted: Accepted, carriers: Mask, said: Sequence[str | None]
) -> tuple[Accepted, Mask]:
    """Give carrying rows all that their person has.

    Args:
        source: What the rows are.
        api: Which API they are for.
        accepted: The rows, n.
        carriers: bool, length n: which of them carry a person.
        said: What each of those persons has, as members; None: more than the API takes.

    Returns:
        The rows, and which of them the API takes (bool, length n): those that carry no person all
        count.
    """
    whole = pc.replace_with_mask(
        accepted.attributes, pa.array(carriers), pa.array(said, pa.string())
    )
    accepted = replace(accepted, members=Members.of_text(pc.fill_null(whole, "")))
    fits = np.ones(len(accepted), np.bool_)
    fits[carriers] = np.array([each is not None for each in said], np.bool_)
    # Only now: each row by itself was small enough for the judge.
    fits[carriers] &= ~too_large(source, api, accepted.take(carriers))
    return accepted, fits


def members_of(person: dict[str, Any]) -> str | None:
    """All that a person has, as JSON members without braces; None: more than the API takes."""
    attributes = len(person) - ("_update" in person)
    return canonical_json(person)[1:-1] if attributes <= ATTRIBUTES_MAX else None


def merge(person: dict[str, Any], later: dict[str, Any]) -> None:
    """Add what a later row says of a person; null never replaces a value."""
    for name, value in later.items():
        # A later row without a value says nothing; a null is kept only where nobody says more.
        if value is not None or name not in person:
            person[name] = value


def overfull(
    pipeline: Pipeline,
    judge: ChunkJudge,
    marks: RowDecisions,
    merged: MergedPeople,
    heavy: set[tuple[int, int]],
    chunks: Iterable[tuple[Input, Chunk]],
) -> Iterator[tuple[JudgedChunk, RowDecision, Rejections]]:
    """Reject the rows of people who are too much, in the order of the rows.

    Args:
        pipeline: The settings.
        judge: Judges chunks.
        marks: Which rows carry a person, and which are carried.
        merged: What the rows of each person say together.
        heavy: The carrying rows, with their parts, that come into question.
        chunks: The rows of the customers.

    Yields:
        The chunk, what the row is to its person, and its rejection.
    """
    refused: set[tuple[int, int]] = set()
    for judged in map(judge, chunks):
        accepted, part = judged.accepted, judged.place.part
        marked = marks.of(part, accepted.rows)
        if marked is None:
            continue
        carriers = marked["kind"] == RowDecision.CARRIER
        carriers &= np.array([(part, row) in heavy for row in accepted.rows.tolist()], np.bool_)
        source = pipeline.sources[judged.place.source]
        said = merged.rows(part, accepted.rows[carriers])
        _, fits = put_together(source, pipeline.destination.api, accepted, carriers, said)
        refused.update((part, row) for row in accepted.rows[~fits].tolist())
        # Row by row: people who are too much are rare, and `heavy` has already left out all others.
        for row, mark in zip(accepted.rows.tolist(), marked, strict=True):
            is_member = mark["kind"] == RowDecision.MERGED
            carrier = (int(mark["other"]), int(mark["value"])) if is_member else (part, row)
            if carrier in refused:
                kind = RowDecision.MERGED if is_member else RowDecision.CARRIER
                why = (reason("too_large_merged"),)
                yield judged, kind, rejections(judged.chunk, np.array([row], np.int64), [why])
