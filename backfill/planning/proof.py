"""How the moments of each column are written: declared, or proved over the whole column."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from backfill.encoding import cells
from backfill.encoding.values import null_where
from backfill.errors import UsageError
from backfill.inputs import Input
from backfill.instants import NATIVE, Ambiguity, Evidence, NoFormat, Reading
from backfill.judging.schema import EVENT_TIMESTAMP
from backfill.judging.transform import Transform
from backfill.pipeline import Dated, EventsSource, Pipeline, Source
from backfill.planning.progress import Looked, Progress, nobody
from backfill.rows import Chunk

Readings = dict[str, Reading]
"""The readings of one source, by attribute name; an event's own under EVENT_TIMESTAMP."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How one column of moments is read, and why.

    Args:
        source: The index of its `[[source]]`.
        key: The setting of the pipeline file that it belongs to.
        column: The column.
        format: The format that is used.
        timezone: The declared zone.
        declared: The format was declared, not proved.
        values: How many values were looked at; 0 where it was declared.
        fits: How many of them the format fits.
        doubt: Why nothing is proved; empty where something is.
        readings: What the rival formats make of one example, where two stand.
    """

    source: int
    key: str
    column: str
    format: str
    timezone: str | None
    declared: bool
    values: int = 0
    fits: int = 0
    doubt: str = ""
    readings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Question:
    key: str
    name: str
    column: str
    dated: Dated
    evidence: Evidence


def prove(
    pipeline: Pipeline,
    inputs: Sequence[Input],
    transforms: Mapping[int, Transform],
    limit: int | None,
    progress: Progress = nobody,
) -> tuple[dict[int, Readings], list[Decision]]:
    """Find out how every column of moments is written.

    Only where a format is left out is the source read, and only the columns in question.

    Returns:
        The readings by source, and what was decided. Where nothing was proved the nearest
        reading stands in, so that rows can be judged; its decision has a doubt.

    Raises:
        UsageError: A column's moments have no zone, and none is declared.
    """
    readings: dict[int, Readings] = {}
    decisions: list[Decision] = []
    for index, source in enumerate(pipeline.sources):
        readings[index] = {}
        questions = []
        for key, name, column, dated in _dated(source):
            date_only = getattr(dated, "type", "timestamp") == "date"
            if dated.format is not None:
                readings[index][name] = _declared(dated, date_only)
                decisions.append(
                    Decision(index, key, column, dated.format, dated.timezone, declared=True)
                )
                continue
            evidence = Evidence(
                timezone=dated.timezone,
                date_only=date_only,
                ambiguous=dated.ambiguous,
                nonexistent=dated.nonexistent,
            )
            questions.append(_Question(key, name, column, dated, evidence))
        if questions:
            _look(
                source,
                [each for each in inputs if each.source == index],
                questions,
                transforms.get(index),
                limit,
                progress,
            )
        for each in questions:
            reading, decision = _decide(index, each)
            readings[index][each.name] = reading
            decisions.append(decision)
    return readings, decisions


def _dated(source: Source) -> list[tuple[str, str, str, Dated]]:
    """The columns of moments: the setting's key, the attribute's name, the column, the setting."""
    found: list[tuple[str, str, str, Dated]] = []
    if isinstance(source, EventsSource):
        found.append(("timestamp", EVENT_TIMESTAMP, source.timestamp.from_, source.timestamp))
    for name, column in source.declared().items():
        if column.type in ("timestamp", "date"):
            found.append((f"columns.{name}", name, column.from_ or name, column))
    return found


def _declared(dated: Dated, date_only: bool) -> Reading:
    return Reading(
        dated.format or NATIVE, dated.timezone, dated.ambiguous, dated.nonexistent, date_only
    )


def _look(
    source: Source,
    inputs: Sequence[Input],
    questions: Sequence[_Question],
    transform: Transform | None,
    limit: int | None,
    progress: Progress,
) -> None:
    wanted = None if transform else {each.column for each in questions}
    left = limit
    for each in inputs:
        for chunk in _read_ahead(each.file.chunks(columns=wanted)):
            progress(Looked(rows=0))
            taken = first_rows(chunk, left)
            if transform:
                taken = transform.apply(taken, each.name).chunk
            _add(source, taken, questions)
            if left is not None:
                left -= chunk.end.row - chunk.first_row
                if left <= 0:
                    return


def _read_ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The chunks; the next one is read in another thread while one is looked at."""
    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(next, chunks, None)
        while (chunk := pending.result()) is not None:
            pending = reader.submit(next, chunks, None)
            yield chunk


def _add(source: Source, chunk: Chunk, questions: Sequence[_Question]) -> None:
    for question in questions:
        if question.column not in chunk.batch.schema.names:
            continue
        column = cells.plain(chunk.batch.column(question.column))
        kind = chunk.values if pa.types.is_string(column.type) else "typed"
        if kind != "typed":
            column = null_where(cells.text_of(column, kind).text, ("", *source.null_values))
        question.evidence.add(column, chunk.rows)


def _decide(index: int, question: _Question) -> tuple[Reading, Decision]:
    evidence, key = question.evidence, question.key
    if evidence.needs_timezone and evidence.zoneless == evidence.values:
        raise UsageError(
            f"{key}: the moments in column {question.column!r} have no zone",
            next_step=f'set timezone = "…" beside {key} of source {index + 1} in the pipeline file'
            ' (an IANA name such as "Europe/Berlin", or "UTC")',
        )
    found = evidence.decide()
    doubt = ""
    rivals: tuple[str, ...] = ()
    fits = evidence.figures[0].fits if evidence.figures else evidence.values
    if isinstance(found, Ambiguity):
        doubt = f"two formats fit: {found.first.format} and {found.second.format}"
        rivals = tuple(
            f"{found.example.value!r} in row {found.example.row}: {moment} as {reading.format}"
            for moment, reading in (
                (found.first_moment, found.first),
                (found.second_moment, found.second),
            )
        )
        found = found.first
    elif isinstance(found, NoFormat):
        doubt = f"no format fits 90 % of the {found.values} values"
        rivals = tuple(f"{each.value!r} in row {each.row}" for each in found.examples)
        found = found.nearest or Reading("iso8601", question.dated.timezone)
    decision = Decision(
        index,
        key,
        question.column,
        found.format,
        found.timezone,
        declared=False,
        values=evidence.values,
        fits=fits,
        doubt=doubt,
        readings=rivals,
    )
    return found, decision


def first_rows(chunk: Chunk, count: int | None) -> Chunk:
    """The chunk's first `count` rows; all of them where there is no limit."""
    if count is None or chunk.end.row - chunk.first_row <= count:
        return chunk
    return chunk.until(chunk.first_row + count)
