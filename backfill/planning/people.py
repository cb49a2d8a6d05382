"""Who stands in the rows of a plan and what they say: the side of the plan that a sync compares.

Written in columns while the plan pass reads; a person's content is a hash of the attributes that
would be sent. What stands in several rows counts once, with what its rows say together.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import identity
from backfill.encoding.json_text import Mask
from backfill.judge.chunk_judge import JudgedChunk
from backfill.operations.subjects import kind_of_type, subjects
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import Source
from backfill.planning.cursors import timestamps
from backfill.planning.hash_groups import Hashes
from backfill.planning.merged_people import MergedPeople
from backfill.planning.proof import Readings
from backfill.planning.row_decisions import SKIPPED, RowDecision, RowDecisions
from backfill.sources.inputs import Input

if TYPE_CHECKING:  # see `_writers`
    from pyarrow.parquet import ParquetWriter

EVENT = "event"
"""The type of what is no person."""

PEOPLE_FILE = "people.parquet"
NAMED_FILE = "named.parquet"
DELETED_FILE = "deleted.parquet"
MERGED_FILE = "merged.parquet"
LEFT_OUT_FILE = "left_out.parquet"

_NAME = [("type", pa.string()), ("identifier", pa.string())]
_CONTENT = [("high", pa.uint64()), ("low", pa.uint64())]
_PLACE = [("part", pa.int32()), ("row", pa.int64())]

SCHEMAS = {
    PEOPLE_FILE: pa.schema(
        [*_NAME, *_CONTENT, *_PLACE, ("settled", pa.bool_()), ("moved", pa.int64())]
    ),
    NAMED_FILE: pa.schema(_NAME),
    DELETED_FILE: pa.schema([*_NAME, *_PLACE]),
    MERGED_FILE: pa.schema([*_PLACE, *_CONTENT]),
    LEFT_OUT_FILE: pa.schema(_PLACE),
}
"""people: the accepted rows of profiles, and events where they are compared. named: what rejected
rows of profiles are about. deleted: the rows that take something away. merged: the rows that carry
a profile, with what all of its rows say. left_out: rows that are not sent by themselves."""


def files(folder: Path) -> dict[str, Path]:
    """The files of a plan, by what queries call them."""
    return {name.removesuffix(".parquet"): folder / name for name in SCHEMAS}


def named(folder: Path) -> Iterator[tuple[str, pa.StringArray]]:
    """Everybody whom the customers rows of a plan name, with the type of their identifiers.

    Args:
        folder: The plan's directory.

    Yields:
        A type, and identifiers of it (string, n); those of rejected rows are among them.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  # see `_writers`

    # A plan of events that nobody remembers has no such files.
    for name in (each for each in (PEOPLE_FILE, NAMED_FILE) if (folder / each).exists()):
        with pq.ParquetFile(folder / name) as file:
            for batch in file.iter_batches(columns=["type", "identifier"]):
                # Two customers sources may identify people in two ways.
                for type_ in pc.unique(batch.column(0)).to_pylist():
                    here = pc.equal(batch.column(0), type_)
                    if type_ != EVENT and kind_of_type(type_) == "customers":
                        yield type_, batch.column(1).filter(here)


GROUP_ROWS = 16_384
"""So many rows of a file are written together."""

HEAVY_CHARS = 7_000
"""Fewer characters of attributes never make an operation of 32,000 bytes."""


def is_remembered(source: Source) -> bool:
    """Whether what became of a source's rows goes into the snapshot.

    Who was merged away is not forgotten: the row of an export that still names them would bring
    them back.
    """
    if source.kind == "merges":
        return False
    return source.kind != "events" or source.sync_mode != "files"


class PeopleFiles:
    """The files of one plan, being written; none where no source is remembered.

    Args:
        folder: The plan's directory.
        pipeline: The settings.
    """

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        self._writers = _writers(folder) if any(map(is_remembered, pipeline.sources)) else {}
        self._waiting: dict[str, list[pa.RecordBatch]] = {name: [] for name in SCHEMAS}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name, writer in self._writers.items():
            self._write(name, at_least=1)
            writer.close()

    def add(self, batches: Mapping[str, pa.RecordBatch]) -> None:
        """Take what one chunk shows, by the file that it belongs to."""
        for name, batch in batches.items():
            # Most chunks have nothing for most of these files.
            if batch.num_rows:
                self._waiting[name].append(batch)
            if sum(map(len, self._waiting[name])) >= GROUP_ROWS:
                self._write(name, at_least=GROUP_ROWS)

    def _write(self, name: str, at_least: int) -> None:
        """Write down what waits, in groups of just so many rows, as long as there are `at_least`.

        Thousands of small files would make as many row groups, and each is described in memory.
        """
        if not self._waiting[name]:
            return
        left = pa.Table.from_batches(self._waiting[name])
        while left.num_rows >= at_least:
            # In one piece: the file must not tell how the source was cut into chunks.
            self._writers[name].write_table(left.slice(0, GROUP_ROWS).combine_chunks())
            left = left.slice(GROUP_ROWS)
        self._waiting[name] = left.to_batches()

    def resolve(
        self, marks: RowDecisions, merged: MergedPeople, parts: frozenset[int]
    ) -> set[tuple[int, int]]:
        """Take what the marks say about who stands in several rows.

        Args:
            marks: The marks of all rows.
            merged: What the rows of each merged person say together.
            parts: The parts whose rows a sync compares.

        Returns:
            The rows, with their parts, whose person may be too much for the API.
        """
        heavy: set[tuple[int, int]] = set()
        for part, marked in (each for each in marks.every() if each[0] in parts):
            gone = marked["row"][np.isin(marked["kind"], (RowDecision.MERGED, *SKIPPED))]
            self.add({LEFT_OUT_FILE: _batch(LEFT_OUT_FILE, *_places(part, gone))})
            carriers = marked["row"][marked["kind"] == RowDecision.CARRIER]
            # What is too much for the API is refused: any content does.
            texts = merged.rows(part, carriers)
            said = [(each or "").encode() for each in texts]
            # A bound on characters first: only few have to be encoded and measured.
            heavy.update(
                (part, row)
                for row, each in zip(carriers.tolist(), texts, strict=True)
                if each is None or len(each) > HEAVY_CHARS
            )
            places = _places(part, carriers)
            self.add({MERGED_FILE: _batch(MERGED_FILE, *places, *_halves(identity.hashes(said)))})
        return heavy


def _writers(folder: Path) -> dict[str, "ParquetWriter"]:
    import pyarrow.parquet as pq  # noqa: PLC0415  # 15 ms, and events alone need none of it

    return {
        name: pq.ParquetWriter(folder / name, schema, compression="lz4", use_dictionary=["type"])
        for name, schema in SCHEMAS.items()
    }


def compared(pipeline: Pipeline, inputs: Sequence[Input]) -> frozenset[int]:
    """The parts whose rows a sync may compare with what was delivered."""
    sources = pipeline.sources
    return frozenset(
        each.part
        for each in inputs
        if sources[each.source].is_profile or sources[each.source].sync_mode != "files"
    )


def profiles(
    source: Source, judged: JudgedChunk, settled: Mask, readings: Readings
) -> dict[str, pa.RecordBatch]:
    """What the rows of a chunk of customers, objects or relationships show.

    Args:
        source: Their settings.
        judged: The chunk.
        settled: Which of the accepted rows were settled before.
        readings: How their timestamps are written.
    """
    type_, people = subjects(source, judged.accepted)
    rejected = identity.person_key(type_, judged.named)
    # The same length means that nobody was rejected: both come from one column.
    if len(rejected) != len(people):
        rejected = pc.unique(rejected.filter(pc.invert(pc.is_in(rejected, value_set=people))))
    else:
        rejected = rejected.slice(0, 0)
    content = identity.hashes(judged.accepted.attributes.cast(pa.binary()).to_pylist())
    moved = timestamps(source, judged, readings)
    return {
        PEOPLE_FILE: _said(_names(type_, people), content, judged, settled, moved),
        NAMED_FILE: _batch(NAMED_FILE, *_names(type_, rejected)),
    }


def events(
    source: Source,
    judged: JudgedChunk,
    settled: Mask,
    readings: Readings,
    hashes: tuple[Hashes, Hashes],
) -> dict[str, pa.RecordBatch]:
    """What the accepted events of a chunk show, each under what makes it itself.

    Args:
        source: Their settings.
        judged: The chunk.
        settled: Which of the accepted rows were settled before.
        readings: How their timestamps are written.
        hashes: What makes each event itself, and all that it says.
    """
    keys, content = hashes
    high, low = (pc.cast(half, pa.string()) for half in _halves(keys))
    names = _names(EVENT, pc.binary_join_element_wise(high, low, "-"))
    moved = timestamps(source, judged, readings)
    return {PEOPLE_FILE: _said(names, content, judged, settled, moved)}


def removals(source: Source, judged: JudgedChunk) -> dict[str, pa.RecordBatch]:
    """What the accepted rows of a chunk take away."""
    accepted = judged.accepted
    names = _names(*subjects(source, accepted))
    return {DELETED_FILE: _batch(DELETED_FILE, *names, *_places(judged.place.part, accepted.rows))}


def nameless(source: Source, judged: JudgedChunk) -> int:
    """How many rows do not say, or not clearly, who they are about."""
    if not judged.rejections:  # those of most small files, each a chunk by itself
        return 0
    columns = {each.column for each in (source.identifier, source.target) if each}
    rejected = judged.rejections
    unclear = [
        any(why.code.startswith("identifier_") or why.field in columns for why in reasons)
        for reasons in rejected.ways
    ]
    is_nameless = np.array(unclear, np.bool_)[rejected.way_of]
    is_nameless |= np.isin(rejected.rows, [each.row for each in judged.chunk.rejections])
    return int(is_nameless.sum())


def _said(
    names: tuple[pa.Array, pa.Array],
    content: Hashes,
    judged: JudgedChunk,
    settled: Mask,
    moved: pa.Int64Array,
) -> pa.RecordBatch:
    places = _places(judged.place.part, judged.accepted.rows)
    return _batch(PEOPLE_FILE, *names, *_halves(content), *places, pa.array(settled), moved)


def _names(type_: str, people: pa.StringArray) -> tuple[pa.Array, pa.Array]:
    return pa.repeat(type_, len(people)), people


def _places(part: int, rows: npt.NDArray[np.int64]) -> tuple[pa.Array, pa.Array]:
    return pa.array(np.full(len(rows), part, np.int32)), pa.array(rows)


def _halves(hashes: Hashes) -> tuple[pa.Array, pa.Array]:
    return pa.array(hashes[:, 0]), pa.array(hashes[:, 1])


def _batch(name: str, *columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns), schema=SCHEMAS[name])
