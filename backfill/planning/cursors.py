"""Which rows are new by a moment that they carry: the cursor of a source."""

import numpy as np
import pyarrow as pa

from backfill.encoding.cell_json import Cells, column_of
from backfill.encoding.json_text import instants
from backfill.errors import UsageError
from backfill.judge.chunk_judge import JudgedChunk
from backfill.judge.judge import EVENT_TIMESTAMP
from backfill.pipeline.source_settings import EventsSource, Source
from backfill.planning.proof import Readings
from backfill.rows import Rows


def attribute_of(source: Source) -> str:
    """Which of a source's timestamps its cursor is, as its readings name it.

    Raises:
        UsageError: No moment is declared for the cursor's column.
    """
    column = source.sync.column
    if isinstance(source, EventsSource) and source.timestamp.from_ == column:
        return EVENT_TIMESTAMP
    for name, declared in source.declared().items():
        if column in (name, declared.from_) and declared.type in ("timestamp", "date"):
            return name
    raise UsageError(
        f"{source.kind}: column = {column!r} under [source.sync] is not a declared timestamp",
        next_step=f'declare it under [source.columns], such as: {column} = {{ type = "timestamp",'
        ' timezone = "UTC" }',
    )


def timestamps(source: Source, judged: JudgedChunk, readings: Readings) -> pa.Int64Array:
    """The cursor of a chunk's accepted rows in unix microseconds; null where it cannot be read."""
    rows, chunk = judged.accepted.rows, judged.seen
    if source.sync_mode != "cursor":
        return pa.nulls(len(rows), pa.int64())
    name = attribute_of(source)
    declared = source.declared().get(name)
    column = (source.sync.column if declared is None else declared.from_) or name
    if column_of(chunk, column) is None:
        return pa.nulls(len(rows), pa.int64())
    cells = Cells.of(chunk, column, source.null_values)
    micros, _ = instants(*cells.timestamps(readings[name]))
    places: Rows = np.searchsorted(chunk.rows, rows)
    return micros.take(pa.array(places))
