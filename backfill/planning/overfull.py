"""People whose rows together are more than the API takes: all of their rows are rejected."""

from collections.abc import Iterable, Iterator

import numpy as np

from backfill.inputs import Input
from backfill.judging.findings import rejection
from backfill.judging.stage import Stage, Staged
from backfill.pipeline import Pipeline
from backfill.planning.marks import Mark, Marks
from backfill.planning.merged import MergedPeople
from backfill.reasons import reason
from backfill.rows import Chunk, Rejection


def overfull(
    pipeline: Pipeline,
    stage: Stage,
    marks: Marks,
    merged: MergedPeople,
    heavy: set[tuple[int, int]],
    chunks: Iterable[tuple[Input, Chunk]],
) -> Iterator[tuple[Staged, Mark, Rejection]]:
    """Reject the rows of people who are too much, in the order of the rows.

    Args:
        pipeline: The settings.
        stage: The judges.
        marks: Which rows carry a person, and which are carried.
        merged: What the rows of each person say together.
        heavy: The carrying rows, with their parts, that come into question.
        chunks: The rows of the customers.

    Yields:
        The chunk, what the row is to its person, and its rejection.
    """
    refused: set[tuple[int, int]] = set()
    for staged in map(stage, chunks):
        subjects, part = staged.judged.subjects, staged.place.part
        marked = marks.of(part, subjects.rows)
        if marked is None:
            continue
        carriers = marked["kind"] == Mark.CARRIER
        carriers &= np.array([(part, row) in heavy for row in subjects.rows.tolist()], np.bool_)
        source = pipeline.sources[staged.place.source]
        _, fits = merged.put_together(source, pipeline.destination.api, part, subjects, carriers)
        refused.update((part, row) for row in subjects.rows[~fits].tolist())
        for row, mark in zip(subjects.rows.tolist(), marked, strict=True):
            is_member = mark["kind"] == Mark.MERGED
            carrier = (int(mark["other"]), int(mark["value"])) if is_member else (part, row)
            if carrier in refused:
                kind = Mark.MERGED if is_member else Mark.CARRIER
                yield staged, kind, rejection(staged.chunk, row, (reason("too_large_merged"),))
