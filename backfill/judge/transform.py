"""The user's own code on a chunk: a DataFrame in, a DataFrame out."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any

import numpy as np

from backfill.errors import UsageError
from backfill.judge.optional_imports import with_pandas
from backfill.rows import Chunk, Rows

Function = Callable[[Any], object]
"""DataFrame in, DataFrame out: pandas is loaded when the first function is."""


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
        self._folder = folder
        self._file = folder / spec.partition(":")[0]
        file, _, name = spec.partition(":")
        with_pandas()
        module = _load(folder / file, spec)
        function = getattr(module, name, None)
        if not callable(function):
            raise UsageError(
                f"transform = {spec!r}: {file} has no function {name or '(none named)'!r}",
                next_step='write transform = "FILE.py:FUNCTION"',
            )
        self._function: Function = function

    def __reduce__(self) -> tuple[type["Transform"], tuple[str, Path]]:
        """Another process loads the same file: a module of its own cannot be sent."""
        return Transform, (self._spec, self._folder)

    def apply(self, chunk: Chunk, where: str) -> Transformed:
        """Run the function on a chunk; `where` names its file in errors.

        Raises:
            UsageError: It raises, or gives anything but a frame over the rows it was given.
        """
        from backfill.judge import frames  # noqa: PLC0415  # it imports pandas

        chunk = chunk.spread()
        frame = frames.frame_of(chunk)
        try:
            made = self._function(frame)
        except Exception as error:
            raise UsageError(
                f"{where}: transform {self._spec!r} failed on rows {chunk.first_row} to"
                f" {chunk.end.row - 1}: {type(error).__name__} in line {self._line(error)} of"
                f" {self._file.name}",
                next_step="fix the function; --debug shows its traceback",
            ) from error
        try:
            # Held against the chunk: a row that has come from nowhere could be accounted for by
            # nothing.
            places, batch = frames.read_back(made, chunk)
        except frames.OddFrameError as odd:
            raise self._odd(where, chunk, odd) from odd
        lines = None if chunk.lines is None else chunk.lines[places]
        kept = replace(chunk, batch=batch, rows=chunk.rows[places], lines=lines)
        return Transformed(kept, np.delete(chunk.rows, places))

    def _line(self, error: BaseException) -> int:
        """The line of the user's file that was at work."""
        frames = walk_tb(error.__traceback__)
        lines = [line for frame, line in frames if frame.f_code.co_filename == str(self._file)]
        return lines[-1] if lines else 0

    def _odd(self, where: str, chunk: Chunk, odd: Exception) -> UsageError:
        return UsageError(
            f"{where}: transform {self._spec!r} {odd} (rows {chunk.first_row} to"
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
            next_step="fix the file, then run the command again",
        ) from error
    return module
