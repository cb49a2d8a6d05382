"""People whose rows together are more than the API takes: all of their rows are rejected."""

from collections.abc import Iterable, Iterator

import numpy as np

from backfill.judge.chunk_judge import ChunkJudge, JudgedChunk
from backfill.judge.judge import rejections
from backfill.pipeline.file import Pipeline
from backfill.planning.merged_people import MergedPeople, put_together
from backfill.planning.row_decisions import RowDecision, RowDecisions
from backfill.rows import Chunk, Rejection, reason
from backfill.sources.inputs import Input


def overfull(
    pipeline: Pipeline,
    judge: ChunkJudge,
    marks: RowDecisions,
    merged: MergedPeople,
    heavy: set[tuple[int, int]],
    chunks: Iterable[tuple[Input, Chunk]],
) -> Iterator[tuple[JudgedChunk, RowDecision, Rejection]]:
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
        for row, mark in zip(accepted.rows.tolist(), marked, strict=True):
            is_member = mark["kind"] == RowDecision.MERGED
            carrier = (int(mark["other"]), int(mark["value"])) if is_member else (part, row)
            if carrier in refused:
                kind = RowDecision.MERGED if is_member else RowDecision.CARRIER
                why = (reason("too_large_merged"),)
                (rejected,) = rejections(judged.chunk, np.array([row], np.int64), [why])
                yield judged, kind, rejected
