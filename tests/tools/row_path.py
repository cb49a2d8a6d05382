"""Which of our modules a row passes on its way to the journal.

    python tests/tools/row_path.py      how many
    python tests/tools/row_path.py -v   each with the first function that was called

A file of one row is run for real, and every call of every thread is watched between the moment
when the source begins to read the chunk on the send pass and the moment when the commit returns
that makes the row's outcome durable. The row passes a module if one of its functions is given the
row's own data, or gives it back: as text, as a column, as JSON. Whoever runs meanwhile without it
(the pace, the clock, the journal's tables) is counted beside that. What is imported on first use
is imported by a run before; the sandbox is another process, and no module of the row's.
"""

import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from backfill import Options, Pipeline, run  # noqa: E402
from backfill.engine.options import Silent  # noqa: E402
from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job  # noqa: E402
from tests.support.workspaces import workspace  # noqa: E402

PACKAGE = ROOT / "backfill"
AIM = 20
"""A reader can keep so many modules in mind."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function that was called, or has returned.

    Args:
        module: Its file, below the package.
        function: Its name there, with its class.
        returned: Whether it has returned.
        has_row: Whether the row is in what it was given, or in what it gives back.
    """

    module: str
    function: str
    returned: bool
    has_row: bool

    @property
    def name(self) -> str:
        """The function's name alone."""
        return self.function.rpartition(".")[2]


class _Watch(Silent):
    """Takes down the calls in our modules from the beginning of the send pass."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._is_sending = False

    def sending(self, *_: object) -> None:
        """The plan pass is over."""
        self._is_sending = True

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        """Take down one event; the interpreter's profiler calls this, on every thread."""
        code = frame.f_code
        if self._is_sending and event in ("call", "return") and code.co_filename.startswith(_OURS):
            module = code.co_filename.removeprefix(_OURS)
            given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            data = [result] if event == "return" else [frame.f_locals.get(name) for name in given]
            self.calls.append(Call(module, code.co_qualname, event == "return", _has_row(data)))

    @contextmanager
    def on_every_thread(self) -> Iterator[None]:
        """Watch this thread, and those that start meanwhile."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


_OURS = f"{PACKAGE}/"
_PERSON = "zebra-7419"
_TIME = "2024-01-01T07:41:09Z"
_CELLS = (_PERSON, _TIME)
"""What the row says, and nothing else does: by this it is known wherever it goes."""
_DEPTH_MAX = 4


def _has_row(data: Any, depth: int = 0) -> bool:
    if isinstance(data, str):
        return any(cell in data for cell in _CELLS)
    if isinstance(data, bytes | bytearray | memoryview | pa.Buffer):
        return any(cell.encode() in bytes(data) for cell in _CELLS)
    if isinstance(data, pa.Array | pa.ChunkedArray | pa.RecordBatch | pa.Table):
        return _has_row(str(data.to_pylist()))
    if isinstance(data, np.ndarray):
        return data.dtype == np.uint8 and _has_row(data.tobytes())
    if depth == _DEPTH_MAX:
        return False
    if is_dataclass(data) and not isinstance(data, type):
        inside: Iterable[Any] = [getattr(data, each.name, None) for each in fields(data)]
    elif isinstance(data, dict):
        inside = data.values()
    else:
        inside = data if isinstance(data, list | tuple | set) else ()
    return any(_has_row(each, depth + 1) for each in list(inside))


def csv_event(folder: Path) -> Path:
    """A job of one event in a CSV file."""
    rows = f"{HEADER}{_PERSON},seen,{_TIME},1\n"
    return job(folder, {"events.csv": rows}, f'{EVENTS}unknown_people = "send"\n')


def parquet_customer(folder: Path) -> Path:
    """A job of one customer in a Parquet file."""
    pq.write_table(pa.table({"id": [_PERSON], "plan": ["gold"]}), folder / "customers.parquet")
    return job(folder, {}, CUSTOMERS)


ROWS = {"a CSV event": csv_event, "a Parquet customer": parquet_customer}


def path_of(row: str) -> list[Call]:
    """The calls that one of `ROWS` makes, in order, from the read of its chunk to its commit."""
    watch = _Watch()
    with workspace() as sandbox, tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline.load(ROWS[row](Path(folder)))
        options = Options(url=sandbox.url, rate=0, restart=True, env={})
        run(pipeline, options)
        with watch.on_every_thread():
            assert run(pipeline, options, watch).delivered == 1
    return _cut(watch.calls)


def _cut(calls: list[Call]) -> list[Call]:
    places = range(len(calls))
    read = next(
        at
        for at in places
        if calls[at].module.startswith("sources/") and calls[at].name == "chunks"
    )
    settled = max(at for at in places if calls[at].function == "Journal.settle")
    committed = next(
        at
        for at in places[settled:]
        if calls[at].function == "Journal.commit" and calls[at].returned
    )
    return calls[read : committed + 1]


def modules(path: Iterable[Call]) -> dict[str, str]:
    """The modules that the row passes, in order, each with the function that had it first."""
    found: dict[str, str] = {}
    for each in path:
        if each.has_row:
            found.setdefault(each.module, each.function)
    return found


def running(path: Iterable[Call]) -> set[str]:
    """All modules of which a function runs meanwhile, with the row or without."""
    return {each.module for each in path}


def main(arguments: list[str]) -> None:
    """Print the figures."""
    for row in ROWS:
        path = path_of(row)
        passed, meanwhile = modules(path), running(path)
        print(
            f"{row} passes {len(passed)} of our modules on the send pass (aim: {AIM}); "
            f"{len(meanwhile)} run meanwhile"
        )
        if arguments:
            print(*(f"    {module:32} {function}" for module, function in passed.items()), sep="\n")
            print(*(f"    {module}" for module in sorted(meanwhile - passed.keys())), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
