"""How the timestamps of each column are written: declared, or proved over the whole column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from backfill.encoding.cell_json import Cells, column_of
from backfill.encoding.json_text import without_blanks
from backfill.errors import UsageError
from backfill.instants import NATIVE, Ambiguity, Evidence, NoFormat, Reading
from backfill.judge.chunk_judge import JudgedChunk, read_ahead
from backfill.judge.judge import EVENT_TIMESTAMP
from backfill.judge.shape import Shape
from backfill.pipeline.column_settings import Dated
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import EventsSource, Source
from backfill.planning.progress import OnProgress, Progress, nobody
from backfill.rows import Chunk
from backfill.sources.inputs import Input

Readings = dict[str, Reading]
"""The readings of one source, by attribute name; an event's own under EVENT_TIMESTAMP."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How one column of timestamps is read, and why.

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
        answer: Which setting answers the doubt.
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
    answer: str = ""


@dataclass(slots=True)
class _Question:
    """A column whose format is left out, and what its values prove so far."""

    key: str
    name: str
    column: str
    dated: Dated
    evidence: Evidence = field(init=False)

    def __post_init__(self) -> None:
        self.evidence = Evidence(self.dated.reading(NATIVE))

    def add(self, source: Source, chunk: Chunk) -> None:
        """Take a chunk of the source into account."""
        if column_of(chunk, self.column) is None:
            return
        cells = Cells.of(chunk, self.column, source.null_values)
        column = cells.column
        # A cell of blanks is null in a column of timestamps, so it must not count against a format.
        if cells.kind != "typed":
            column = without_blanks(cells.text().text)
        self.evidence.add(column, chunk.rows)

    @property
    def in_doubt(self) -> bool:
        """Whether so few values prove nothing: more of them have to be looked at."""
        decided = isinstance(self.evidence.decide(), Reading)
        return not decided or not self.evidence.values or self.evidence.needs_timezone


class Proof:
    """How every column of timestamps is written: declared, or proved by all of its values.

    The first rows of a source are proof enough to begin with. While they are read, all others
    are gathered too, and have the last word.

    Args:
        pipeline: The settings.
        inputs: The opened files.
        shapes: What is done with chunks before they are judged, by source.
        progress: Told of a look that goes beyond the first rows.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inputs: Sequence[Input],
        shapes: Mapping[int, Shape],
        progress: OnProgress = nobody,
    ) -> None:
        self._sources = pipeline.sources
        self._inputs = inputs
        self._shapes = shapes
        self._progress = progress
        self._open: set[int] = set()
        self._questions = {
            index: [_Question(*each) for each in _dated(source) if each[3].format is None]
            for index, source in enumerate(pipeline.sources)
        }

    def begin(self) -> dict[int, Readings]:
        """The readings that the first rows of each source prove; where they leave a doubt, all.

        Raises:
            UsageError: A column's timestamps have no zone, and none is declared.
        """
        for index, questions in self._questions.items():
            if not questions:
                continue
            # The first chunk proves most formats; the pass itself gathers the rest.
            self._look(index, first_only=True)
            if any(each.in_doubt for each in questions):
                self._questions[index] = _anew(questions)
                self._look(index)
            else:
                self._open.add(index)
        readings = self.readings()
        for index in self._open:
            self._questions[index] = _anew(self._questions[index])
        return readings

    def collector(self) -> "EvidenceCollector":
        """What gathers, chunk by chunk, what `add` takes."""
        asked = {index: _anew(self._questions[index]) for index in self._open}
        return EvidenceCollector(self._sources, asked)

    def add(self, source: int, gathered: list[Evidence]) -> None:
        """Take into account what a chunk proves, chunk after chunk."""
        for question, evidence in zip(self._questions[source], gathered, strict=bool(gathered)):
            question.evidence.merge(evidence)

    def close(self) -> None:
        """All rows were gathered: nothing is asked any more."""
        self._open.clear()

    def readings(self) -> dict[int, Readings]:
        """How the timestamps of each source are read, by what is known so far.

        Where nothing is proved the nearest reading stands in, so that rows can be judged; its
        decision has a doubt.
        """
        return {index: dict(self._decided(index)[0]) for index in self._questions}

    def decisions(self) -> list[Decision]:
        """What was decided about each column, and why."""
        return [each for index in self._questions for each in self._decided(index)[1]]

    def _decided(self, index: int) -> tuple[Readings, list[Decision]]:
        readings: Readings = {}
        decisions = []
        asked = {each.key: each for each in self._questions[index]}
        for key, name, column, dated in _dated(self._sources[index]):
            if key in asked:
                readings[name], decision = _decide(index, asked[key])
            else:
                readings[name], decision = _declared(index, key, column, dated)
            decisions.append(decision)
        return readings, decisions

    def _look(self, index: int, *, first_only: bool = False) -> None:
        """Look at the columns in question, and at nothing else of the source."""
        questions, shape = self._questions[index], self._shapes.get(index)
        # A transform may need every column; without one the others are not even read.
        wanted = None if shape else {each.column for each in questions}
        for each in (each for each in self._inputs if each.source == index):
            for chunk in read_ahead(each.file.chunks(columns=wanted)):
                self._progress(Progress(rows=0))
                seen = shape.apply(chunk, each.name).chunk if shape else chunk
                for question in questions:
                    question.add(self._sources[index], seen)
                if first_only:
                    return


@dataclass(frozen=True, slots=True)
class EvidenceCollector:
    """Gathers what a chunk proves; safe to call from several threads.

    Args:
        sources: The settings.
        questions: What is asked, by source.
    """

    sources: Sequence[Source]
    questions: Mapping[int, Sequence[_Question]]

    def __call__(self, judged: JudgedChunk) -> list[Evidence]:
        """What a chunk proves, for `Proof.add`."""
        source, written = judged.place.source, judged.written
        asked = _anew(self.questions.get(source, ()))
        for question in asked:
            if question.name == EVENT_TIMESTAMP and written is not None:
                question.evidence.add(written, judged.seen.rows)
            else:
                question.add(self.sources[source], judged.seen)
        return [each.evidence for each in asked]


def _dated(source: Source) -> list[tuple[str, str, str, Dated]]:
    """The columns of timestamps: key of the setting, name of the attribute, column, setting."""
    found: list[tuple[str, str, str, Dated]] = []
    if isinstance(source, EventsSource):
        found.append(("timestamp", EVENT_TIMESTAMP, source.timestamp.from_, source.timestamp))
    for name, column in source.declared().items():
        if column.type in ("timestamp", "date"):
            found.append((f"columns.{name}", name, column.from_ or name, column))
    return found


def _declared(index: int, key: str, column: str, dated: Dated) -> tuple[Reading, Decision]:
    reading = dated.reading(dated.format or NATIVE)
    zone = reading.timezone or reading.timezone_from
    return reading, Decision(index, key, column, reading.format, zone, declared=True)


def _anew(questions: Sequence[_Question]) -> list[_Question]:
    """The same questions, without evidence."""
    return [replace(each) for each in questions]


def _decide(index: int, question: _Question) -> tuple[Reading, Decision]:
    evidence, key = question.evidence, question.key
    # Where only some have none, those are rejected rows; where all have none, it is a setting.
    if evidence.needs_timezone and evidence.zoneless == evidence.values:
        raise UsageError(
            f"{key}: the timestamps in column {question.column!r} have no zone",
            next_step=f'set timezone = "…" beside {key} of source {index + 1} in the pipeline file'
            ' (an IANA name such as "Europe/Berlin", or "UTC")',
        )
    found = evidence.decide()
    fits = evidence.figures[0].fits if evidence.figures else evidence.values
    doubt = answer = ""
    readings: tuple[str, ...] = ()
    if isinstance(found, Ambiguity):
        doubt, readings, reading = (*_two_formats(found), found.first)
        answer = f'set format = "…" beside {key}'
    elif isinstance(found, NoFormat):
        # Something has to stand here so that rows can be judged; the guard refuses to send by it.
        reading = found.nearest or question.dated.reading("iso8601")
        doubt, readings, answer = no_format(found), _misfits(found), _answer(found, key)
    else:
        reading = found
    decision = Decision(
        index,
        key,
        question.column,
        reading.format,
        reading.timezone or reading.timezone_from,
        declared=False,
        values=evidence.values,
        fits=fits,
        doubt=doubt,
        readings=readings,
        answer=answer,
    )
    return reading, decision


def _two_formats(found: Ambiguity) -> tuple[str, tuple[str, ...]]:
    shown = f"{found.example.value!r} in row {found.example.row}"
    return f"two formats fit: {found.first.format} and {found.second.format}", (
        f"{shown}: {found.first_instant} as {found.first.format}",
        f"{shown}: {found.second_instant} as {found.second.format}",
    )


def _misfits(found: NoFormat) -> tuple[str, ...]:
    shown = (found.misfit,) if found.misfit else found.examples
    return tuple(f"{each.value!r} in row {each.row}" for each in shown)


def _answer(found: NoFormat, key: str) -> str:
    """What helps where no format fits; where nothing is like a timestamp, no format can."""
    if found.unknown_zones:
        return f"set zones = {{ … }} beside {key}"
    if found.short_year:
        return f"set pivot beside {key}, such as pivot = 69"
    if found.nearest is not None:
        return f'set format = "…" beside {key}'
    other = "name another column" if key == "timestamp" else 'declare it as "string"'
    return f'{other} if these are no timestamps, or set format = "…" beside {key}'


def no_format(found: NoFormat) -> str:
    """What stands against a format, and which setting would help; names no value."""
    said = f"no format fits 90 % of the values ({found.values:,})"
    if found.nearest is not None:
        said += f"; {found.nearest.format} fits {found.fits:,}"
    if found.unknown_zones:
        names = ", ".join(f'{name} = "…"' for name in found.unknown_zones)
        said += f"; zones = {{ {names} }} would say what these abbreviations mean"
    if found.short_year:
        said += f"; with two-digit years {found.short_year} fits: set pivot, such as 69 for 1969"
    return said
