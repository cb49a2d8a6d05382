"""Who stands in the rows of a plan and what they say: the side of the plan that a sync compares.

Written in columns while the plan pass reads; a person's content is a hash of the attributes that
would be sent. What stands in several rows counts once, with what its rows say together.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backfill import identity
from backfill.marks import Mark, Marked
from backfill.merged import MergedPeople
from backfill.operations import Subjects
from backfill.repeats import Hashes

PEOPLE_FILE = "people.parquet"
NAMED_FILE = "named.parquet"
DELETED_FILE = "deleted.parquet"
MERGED_FILE = "merged.parquet"
LEFT_OUT_FILE = "left_out.parquet"

_NAME = [("type", pa.string()), ("identifier", pa.string())]
_CONTENT = [("high", pa.uint64()), ("low", pa.uint64())]
_PLACE = [("part", pa.int32()), ("row", pa.int64())]

SCHEMAS = {
    PEOPLE_FILE: pa.schema([*_NAME, *_CONTENT, *_PLACE, ("settled", pa.bool_())]),
    NAMED_FILE: pa.schema(_NAME),
    DELETED_FILE: pa.schema([*_NAME, *_PLACE]),
    MERGED_FILE: pa.schema([*_PLACE, *_CONTENT]),
    LEFT_OUT_FILE: pa.schema(_PLACE),
}
"""people: the accepted customers rows. named: whom rejected ones are about. deleted: the rows of
deletions. merged: the rows that carry a person, with what all of that person's rows say. left_out:
customers rows that are not sent by themselves."""


def files(folder: Path) -> dict[str, Path]:
    """The files of a plan, by what queries call them."""
    return {name.removesuffix(".parquet"): folder / name for name in SCHEMAS}


class PeopleFiles:
    """The files of one plan, being written.

    Args:
        folder: The plan's directory.
    """

    def __init__(self, folder: Path) -> None:
        self._writers = {
            name: pq.ParquetWriter(
                folder / name, schema, compression="lz4", use_dictionary=["type"]
            )
            for name, schema in SCHEMAS.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()

    def add(self, batches: Mapping[str, pa.RecordBatch]) -> None:
        """Take what one chunk shows, by the file that it belongs to."""
        for name, batch in batches.items():
            if batch.num_rows:
                self._writers[name].write_batch(batch)

    def resolve(self, marks: Iterable[tuple[int, Marked]], merged: MergedPeople) -> None:
        """Take what the marks of customers rows say about who stands in several rows.

        Args:
            marks: The marks of customers rows, with their parts.
            merged: What the rows of each merged person say together.
        """
        for part, marked in marks:
            gone = marked["row"][np.isin(marked["kind"], (Mark.MERGED, Mark.SHARED_EMAIL))]
            self.add({LEFT_OUT_FILE: _batch(LEFT_OUT_FILE, *_places(part, gone))})
            carriers = marked["row"][marked["kind"] == Mark.CARRIER]
            # What is too much for the API is refused: any content does.
            said = [(each or "").encode() for each in merged.rows(part, carriers)]
            places = _places(part, carriers)
            self.add({MERGED_FILE: _batch(MERGED_FILE, *places, *_halves(identity.hashes(said)))})


def customers(
    type_: str, subjects: Subjects, named: pa.StringArray, part: int, settled: npt.NDArray[np.bool_]
) -> dict[str, pa.RecordBatch]:
    """What the rows of a chunk of customers show.

    Args:
        type_: The type of their identifiers.
        subjects: The accepted rows.
        named: Everybody whom a row is about, rejected ones included.
        part: The part of the rows.
        settled: Which of the accepted rows were settled before.
    """
    people = identity.person_key(type_, subjects.person)
    rejected = identity.person_key(type_, named)
    if len(named) != len(people):
        rejected = pc.unique(rejected.filter(pc.invert(pc.is_in(rejected, value_set=people))))
    else:
        rejected = rejected.slice(0, 0)
    content = identity.hashes(subjects.attributes.cast(pa.binary()).to_pylist())
    places = _places(part, subjects.rows)
    return {
        PEOPLE_FILE: _batch(
            PEOPLE_FILE, *_names(type_, people), *_halves(content), *places, pa.array(settled)
        ),
        NAMED_FILE: _batch(NAMED_FILE, *_names(type_, rejected)),
    }


def deletions(type_: str, subjects: Subjects, part: int) -> dict[str, pa.RecordBatch]:
    """What the accepted rows of a chunk of deletions show."""
    names = _names(type_, identity.person_key(type_, subjects.person))
    return {DELETED_FILE: _batch(DELETED_FILE, *names, *_places(part, subjects.rows))}


def _names(type_: str, people: pa.StringArray) -> tuple[pa.Array, pa.Array]:
    return pa.repeat(type_, len(people)), people


def _places(part: int, rows: npt.NDArray[np.int64]) -> tuple[pa.Array, pa.Array]:
    return pa.array(np.full(len(rows), part, np.int32)), pa.array(rows)


def _halves(hashes: Hashes) -> tuple[pa.Array, pa.Array]:
    return pa.array(hashes[:, 0]), pa.array(hashes[:, 1])


def _batch(name: str, *columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns), schema=SCHEMAS[name])
