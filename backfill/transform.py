"""The user's own code on a chunk: a DataFrame in, a DataFrame out."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa

from backfill import values
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

    It gets one chunk of rows, text columns as strings, and gives the rows to be judged. A row
    whose index it drops is skipped; it must keep no state between chunks.
    """

    def __init__(self, spec: str, folder: Path) -> None:
        """Load the function.

        Raises:
            UsageError: There is no such file or function, or the file raises.
        """
        self._spec = spec
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
                f" {chunk.end.row - 1}: {type(error).__name__} at line {_line(error)} of it",
                next_step="mend the function; run it with --debug to see its traceback",
            ) from error
        places = self._places(made, chunk, where)
        lines = None if chunk.lines is None else chunk.lines[places]
        kept = replace(chunk, batch=_batch(made, chunk), rows=chunk.rows[places], lines=lines)
        return Transformed(kept, np.delete(chunk.rows, places))

    def _places(self, made: object, chunk: Chunk, where: str) -> Rows:
        if not isinstance(made, pd.DataFrame):
            raise self._odd(where, chunk, f"gave {type(made).__name__}, not a DataFrame")
        try:
            places = made.index.to_numpy(dtype=np.int64)
        except (TypeError, ValueError):
            raise self._odd(where, chunk, "changed the index") from None
        if len(np.unique(places)) != len(places):
            raise self._odd(where, chunk, "gave a row twice")
        if len(places) and not (places.min() >= 0 and places.max() < len(chunk.rows)):
            raise self._odd(where, chunk, "made new rows")
        if (np.diff(places) < 0).any():
            raise self._odd(where, chunk, "changed the order of rows")
        return places

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
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"transform = {spec!r}: the file cannot be imported: {type(error).__name__}: {error}",
            next_step="mend the file and start again",
        ) from error
    return module


def _line(error: BaseException) -> int:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_lineno if trace else 0


def _frame(chunk: Chunk) -> pd.DataFrame:
    if chunk.values != "json":
        frame: pd.DataFrame = pa.Table.from_batches([chunk.batch]).to_pandas()
        return frame
    columns = {
        name: [None if each is None else orjson.loads(each) for each in column.to_pylist()]
        for name, column in zip(chunk.batch.schema.names, chunk.batch.columns, strict=True)
    }
    return pd.DataFrame(columns, index=range(len(chunk.rows)), dtype=object)


def _batch(made: pd.DataFrame, chunk: Chunk) -> pa.RecordBatch:
    made.columns = made.columns.astype(str)
    if chunk.values == "json":
        columns = [[_fragment(each) for each in made[name]] for name in made.columns]
        arrays = [pa.array(column, pa.string()) for column in columns]
        return pa.RecordBatch.from_arrays(arrays, list(made.columns))
    return pa.RecordBatch.from_pandas(made, preserve_index=False)


def _fragment(value: object) -> str | None:
    if value is None or value is pd.NA or value is pd.NaT or value != value:  # noqa: PLR0124 - NaN
        return None
    if isinstance(value, np.generic):
        value = value.item()
    return values.canonical_json(value)
