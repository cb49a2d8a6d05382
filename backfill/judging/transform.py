"""The user's own code on a chunk: a DataFrame in, a DataFrame out."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa

from backfill.encoding import values
from backfill.errors import UsageError
from backfill.rows import Chunk, Rows

Function = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True, slots=True)
class Transformed:
    """A chunk after the user's code.

    Args:
        chunk: The rows that it kept, in the columns that it gave.
        dropped: The rows that it left out.
    """

    chunk: Chunk
    dropped: Rows


class Transform:
    """A function of the user's, as `transform = "transforms.py:clean"` names it.

    It gets one chunk of rows, text columns as strings, and gives the rows to be judged. The index
    is the row's number in its file: a row whose index is dropped is skipped. The function must
    keep no state between chunks. An absent key of a JSON line comes as None, and None goes as an
    absent key.
    """

    def __init__(self, spec: str, folder: Path) -> None:
        """Load the function.

        Raises:
            UsageError: There is no such file or function, or the file raises.
        """
        self._spec = spec
        self._file = folder / spec.partition(":")[0]
        file, _, name = spec.partition(":")
        module = _load(folder / file, spec)
        function = getattr(module, name, None)
        if not callable(function):
            raise UsageError(
                f"transform = {spec!r}: {file} has no function {name or '(none named)'!r}",
                next_step='write transform = "FILE.py:FUNCTION"',
            )
        self._function: Function = function

    def apply(self, chunk: Chunk, where: str) -> Transformed:
        """Run the function on a chunk; `where` names its file in errors.

        Raises:
            UsageError: It raises, or gives anything but a frame over the rows it was given.
        """
        frame = _frame(chunk)
        try:
            made = self._function(frame)
        except Exception as error:
            raise UsageError(
                f"{where}: transform {self._spec!r} failed on rows {chunk.first_row} to"
                f" {chunk.end.row - 1}: {type(error).__name__} in line {self._line(error)} of"
                f" {self._file.name}",
                next_step="mend the function; run it with --debug to see its traceback",
            ) from error
        places = self._places(made, chunk, where)
        lines = None if chunk.lines is None else chunk.lines[places]
        batch = self._batch(made, chunk, where)
        kept = replace(chunk, batch=batch, rows=chunk.rows[places], lines=lines)
        return Transformed(kept, np.delete(chunk.rows, places))

    def _places(self, made: object, chunk: Chunk, where: str) -> Rows:
        """Which of the chunk's rows the frame holds."""
        if not isinstance(made, pd.DataFrame):
            raise self._odd(where, chunk, f"gave {type(made).__name__}, not a DataFrame")
        rows = made.index
        if not pd.api.types.is_integer_dtype(rows.dtype) and len(rows):
            raise self._odd(where, chunk, "changed the index")
        if not rows.is_unique:
            raise self._odd(where, chunk, "gave a row twice")
        if not rows.isin(chunk.rows).all():
            raise self._odd(where, chunk, "made new rows, or numbered them anew")
        if not rows.is_monotonic_increasing:
            raise self._odd(where, chunk, "changed the order of rows")
        if not made.columns.is_unique:
            raise self._odd(where, chunk, "gave two columns of one name")
        return np.searchsorted(chunk.rows, rows.to_numpy(dtype=np.int64))

    def _batch(self, made: pd.DataFrame, chunk: Chunk, where: str) -> pa.RecordBatch:
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
            raise self._odd(where, chunk, what) from error

    def _line(self, error: BaseException) -> int:
        """The line of the user's file that was at work."""
        frames = walk_tb(error.__traceback__)
        lines = [line for frame, line in frames if frame.f_code.co_filename == str(self._file)]
        return lines[-1] if lines else 0

    def _odd(self, where: str, chunk: Chunk, what: str) -> UsageError:
        return UsageError(
            f"{where}: transform {self._spec!r} {what} (rows {chunk.first_row} to"
            f" {chunk.end.row - 1})",
            next_step="keep the index of the frame; drop rows, or change their columns",
        )


def _load(path: Path, spec: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"backfill_transform_{path.stem}", path)
    if found is None or found.loader is None or not path.is_file():
        raise UsageError(
            f"transform = {spec!r}: there is no file {path}",
            next_step="name a .py file beside the pipeline file",
        )
    module = importlib.util.module_from_spec(found)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"transform = {spec!r}: the file cannot be imported: {type(error).__name__}: {error}",
            next_step="mend the file and start again",
        ) from error
    return module


def _frame(chunk: Chunk) -> pd.DataFrame:
    if chunk.values != "json":
        table = pa.Table.from_batches([chunk.batch])
        # No index from the file's own pandas metadata, and no integer made a float by a null.
        frame = table.to_pandas(ignore_metadata=True, types_mapper=_NULLABLE.get)
        return cast("pd.DataFrame", frame.set_axis(chunk.rows, axis="index"))
    columns = {
        name: [None if each is None else values.load_json(each) for each in column.to_pylist()]
        for name, column in zip(chunk.batch.schema.names, chunk.batch.columns, strict=True)
    }
    return pd.DataFrame(columns, index=chunk.rows, dtype=object)


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
    return values.canonical_json(value)
