"""A chunk as a DataFrame, and back: all that pandas is needed for."""

from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa

from backfill.encoding import json_text
from backfill.rows import Chunk, Rows


class OddFrameError(ValueError):
    """A frame that cannot be read back; its message says what was done to it."""


def frame_of(chunk: Chunk) -> pd.DataFrame:
    """The rows as a frame: their numbers are its index, text is strings, no integer a float."""
    if chunk.values != "json":
        table = pa.Table.from_batches([chunk.batch])
        # No index from the file's own pandas metadata, and no integer made a float by a null.
        frame = table.to_pandas(ignore_metadata=True, types_mapper=_NULLABLE.get)
        return cast("pd.DataFrame", frame.set_axis(chunk.rows, axis="index"))
    columns = {
        name: [None if each is None else json_text.load_json(each) for each in column.to_pylist()]
        for name, column in zip(chunk.batch.schema.names, chunk.batch.columns, strict=True)
    }
    return pd.DataFrame(columns, index=chunk.rows, dtype=object)


def read_back(made: object, chunk: Chunk) -> tuple[Rows, pa.RecordBatch]:
    """What a function made of a chunk's frame: which of the rows it holds, and their columns.

    Raises:
        OddFrameError: It is no frame over these rows, or a column holds what cannot be read.
    """
    if not isinstance(made, pd.DataFrame):
        raise OddFrameError(f"gave {type(made).__name__}, not a DataFrame")
    return _places(made, chunk), _batch(made, chunk)


def _places(made: pd.DataFrame, chunk: Chunk) -> Rows:
    """Where the frame's rows stand in the chunk."""
    rows = made.index
    if not pd.api.types.is_integer_dtype(rows.dtype) and len(rows):
        raise OddFrameError("changed the index")
    if not rows.is_unique:
        raise OddFrameError("gave a row twice")
    if not rows.isin(chunk.rows).all():
        raise OddFrameError("made new rows, or numbered them anew")
    if not rows.is_monotonic_increasing:
        raise OddFrameError("changed the order of rows")
    if not made.columns.is_unique:
        raise OddFrameError("gave two columns of one name")
    return np.searchsorted(chunk.rows, rows.to_numpy(dtype=np.int64))


def _batch(made: pd.DataFrame, chunk: Chunk) -> pa.RecordBatch:
    """The frame as columns; in a JSON Lines source as columns of JSON."""
    try:
        if chunk.values == "json":
            columns = [[_fragment(each) for each in made[name]] for name in made.columns]
            arrays = [pa.array(column, pa.string()) for column in columns]
            return pa.RecordBatch.from_arrays(arrays, [str(each) for each in made.columns])
        made = made.set_axis([str(each) for each in made.columns], axis="columns")
        return pa.RecordBatch.from_pandas(made, preserve_index=False)
    except (ValueError, TypeError) as error:  # Arrow's own errors are among them
        what = f"gave a column that cannot be read ({type(error).__name__})"
        raise OddFrameError(what) from error


_NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def _fragment(value: object) -> str | None:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or value is pd.NA or value is pd.NaT or value != value:  # noqa: PLR0124 - NaN
        return None
    return json_text.canonical_json(value)
