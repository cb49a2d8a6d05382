"""What a shape of data or of answers costs, beside events in Parquet: the paved road.

    make bench ARGS=--shapes                                       every shape: hours
    make bench ARGS="--shapes rejected,207 --sizes 10000,100000"   only some of them

Each figure is a median of whole processes; before every one of them ten rows and the paved road are
measured, so that all three share the same minute. What ten rows take is taken off the others: it
is the price of a start, and hides how costs grow. `exponent` is that of cost over size, from the
last size but one to the last: 1 is linear. The table goes to build/shapes.md.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import log
from pathlib import Path
from shutil import rmtree
from statistics import median

from measuring import BACKFILL, HERE, STATE, Measured, answering, machine, measure

LIMIT_S = 300.0
ROAD_ROWS = 500_000
START_ROWS = 10

_SEND = ("run", "pipeline.toml", "--quiet", "--yes", "--rate", "0")
_CHECK = ("check", "pipeline.toml", "--quiet")
_INIT = ("init", "--output", "new.toml")


@dataclass(frozen=True)
class Shape:
    """One line of the table.

    Args:
        name: What it is asked for by.
        make: Which function of `shape_data.py` writes it, with `options` and a size.
        options: What else the function takes.
        sizes: How many `unit` there are.
        unit: What a size counts.
        rows: How many rows that makes; for what has columns or keys, always as many.
        command: What is done with it; or a script of this folder that does less.
        exits: The exit codes that it may have.
        refused_every: The server refuses every so manieth operation; 0: none.
    """

    name: str
    make: str
    options: Mapping[str, object] = field(default_factory=dict)
    sizes: Sequence[int] = (10_000, 100_000, 1_000_000)
    unit: str = "rows"
    rows: Callable[[int], int] = int
    command: Sequence[str] = _SEND
    exits: Sequence[int] = (0,)
    refused_every: int = 0

    @property
    def is_floor(self) -> bool:
        """Whether a script does it, not the program; it starts faster."""
        return self.command[0].endswith(".py")


def _always(rows: int) -> Callable[[int], int]:
    return lambda _: rows


_FEWER = (1_000, 10_000, 100_000)
_WIDE = (300, 3_000, 30_000)
_FILES = {"sizes": (50, 500, 5_000), "unit": "files", "rows": lambda size: 10 * size}
_COLUMNS = {"sizes": (200, 1_000, 2_000), "unit": "columns", "rows": _always(1_000)}
_KEYS = {"sizes": (20, 200, 2_000), "unit": "keys", "rows": _always(50_000)}

SHAPES = (
    Shape(
        "floor-imports",
        "events",
        sizes=(10,),
        rows=_always(1_000_000),
        command=("floors.py", "imports"),
    ),
    Shape("floor-read", "events", command=("floors.py", "read", "events.parquet")),
    Shape("floor-join", "events", command=("floors.py", "join", "events.parquet")),
    Shape("floor-ids", "events", command=("floors.py", "ids", "events.parquet")),
    Shape("road", "events"),
    Shape("road-csv", "events_csv"),
    Shape("customers", "customers", {"attributes": 20}),
    Shape("rejected-half", "rejected", {"every": 2}, exits=(3,)),
    Shape("rejected-all", "rejected", {"every": 1}, exits=(3,)),
    Shape("rejected-customers", "rejected_customers", {"every": 2}, exits=(3,)),
    Shape("bad-shape", "bad_lines", {"kind": "shape"}, exits=(3,)),
    Shape("bad-quotes", "bad_lines", {"kind": "quotes"}, exits=(3,)),
    Shape("207-all", "events", exits=(3,), refused_every=1),
    Shape("207-tenth", "events", exits=(3,), refused_every=10),
    Shape("merged", "merged", {"rows_each": 10}),
    Shape("shared-emails", "shared_emails", {"rows_each": 2}),
    Shape("unknown", "unknown", {"policy": "reject"}, exits=(3,)),
    Shape("unknown-send", "unknown", {"policy": "send"}),
    Shape("identical", "identical", {"every": 2}),
    Shape("years", "years"),
    Shape("years-csv", "years", {"csv": True}),
    Shape("long-names", "dates", {"form": "%A, %B %d, %Y"}),
    Shape("unreadable-dates", "dates", {"form": "%Y-%m-%d", "unreadable_every": 20}, exits=(3,)),
    Shape("jsonl-flat", "json_lines", {"kind": "flat"}),
    Shape("jsonl-nested", "json_lines", {"kind": "nested"}),
    Shape("jsonl-200-keys", "json_lines", {"kind": "wide"}, sizes=_WIDE),
    Shape("jsonl-sparse", "sparse_keys", **_KEYS),
    Shape("jsonl-new-keys", "new_keys", sizes=_FEWER),
    Shape("dictionary", "events", {"dictionary": True}),
    Shape("decimal", "typed", {"kind": "decimal"}),
    Shape("struct", "typed", {"kind": "struct"}),
    Shape("map", "typed", {"kind": "map"}),
    Shape("list", "typed", {"kind": "list"}),
    Shape("list-of-structs", "typed", {"kind": "structs"}),
    Shape("300-columns-csv", "wide", {"csv": True, "columns": 300}, sizes=_WIDE),
    Shape("300-columns", "wide", {"columns": 300}, sizes=_WIDE),
    Shape("300-columns-dropped", "wide", {"columns": 300, "keep": False}, sizes=_WIDE),
    Shape("columns", "columns", **_COLUMNS),
    Shape("columns-dropped", "columns", {"keep": False}, **_COLUMNS),
    Shape("columns-dropped-csv", "columns", {"csv": True, "keep": False}, **_COLUMNS),
    Shape("customers-300", "customers", {"attributes": 300}, sizes=_WIDE),
    Shape("texts-1kB", "texts", {"bytes_each": 900}, sizes=_FEWER),
    Shape("texts-20kB", "texts", {"bytes_each": 20_000}, sizes=_WIDE),
    Shape("files-parquet", "files", {"csv": False}, **_FILES),
    Shape("files-csv", "files", {"csv": True}, **_FILES),
    Shape("files-parquet-check", "files", {"csv": False}, command=_CHECK, **_FILES),
    Shape("files-csv-check", "files", {"csv": True}, command=_CHECK, **_FILES),
    Shape("partitions", "partitions", sizes=(100, 1_000), unit="files", rows=lambda n: 10 * n),
    Shape(
        "init-columns",
        "init_columns",
        sizes=(500, 1_000, 2_000),
        unit="columns",
        rows=_always(1_000),
        command=(*_INIT, "wide.csv"),
    ),
)
_START, _ROAD = Shape("start", "events"), Shape("road", "events")


@dataclass(frozen=True)
class Point:
    """What one size of a shape takes; medians, in CPU seconds without a start.

    Args:
        shape: Its name.
        size: How many of its unit.
        rows: How many rows those are.
        cpu_s: What it takes; None: it did not end in time.
        road_s: What the paved road takes.
        start_s: What a start takes.
        peak_mb: Its memory.
        bytes: What it sent.
        road_bytes: What the road sent.
    """

    shape: str
    size: int
    rows: int
    cpu_s: float | None
    road_s: float = 0.0
    start_s: float = 0.0
    peak_mb: float = 0.0
    bytes: int = 0
    road_bytes: int = 0

    @property
    def per_row(self) -> float:
        """CPU seconds per million rows."""
        return (self.cpu_s or 0) / self.rows * 1e6

    @property
    def roads(self) -> float:
        """The same over the paved road's."""
        return self.per_row / (self.road_s / ROAD_ROWS * 1e6)

    @property
    def per_bytes(self) -> float:
        """CPU seconds per 100 MB sent; 0: it sends nothing worth a name."""
        return (self.cpu_s or 0) / self.bytes * 1e8 if self.bytes > self.rows else 0.0

    @property
    def roads_per_byte(self) -> float:
        """The same over the paved road's."""
        return self.per_bytes / (self.road_s / self.road_bytes * 1e8)


HEAD = (
    "shape", "size", "CPU s per million rows", "times the road", "CPU s per 100 MB",
    "times the road per byte", "peak MB", "exponent",
)  # fmt: skip


def measure_shapes(
    names: Sequence[str], sizes: Sequence[int], repeats: int, limit_s: float, out: Path
) -> None:
    """Measure shapes, and write the table after every size.

    Args:
        names: Those with any of these in their names.
        sizes: Instead of their own.
        repeats: So many processes for each figure.
        limit_s: What takes longer is stopped, and so are its greater sizes.
        out: Where the table goes.
    """
    points: list[Point] = []
    where = f"{machine()}; median of {repeats}, road of {ROAD_ROWS:,} rows"
    print(f"{where}\n\n" + "\n".join(_lines([])), flush=True)
    chosen = [each for each in SHAPES if any(name in each.name for name in names)]
    with tempfile.TemporaryDirectory() as folder:
        road = _made(_ROAD, Path(folder) / "road", ROAD_ROWS)
        start = _made(_START, Path(folder) / "start", START_ROWS)
        for shape in chosen:
            for point in _points(shape, sizes or shape.sizes, (start, road), repeats, limit_s):
                points.append(point)
                print(_lines(points)[-1], flush=True)
                (out / "shapes.md").write_text(f"{where}\n\n" + "\n".join(_lines(points)) + "\n")
                told = {"machine": where, "points": [asdict(each) for each in points]}
                (out / "shapes.json").write_text(json.dumps(told, indent=1))


def _points(
    shape: Shape, sizes: Sequence[int], beside: tuple[Path, Path], repeats: int, limit_s: float
) -> Iterator[Point]:
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            made = _made(shape, Path(folder) / "made", size)
            point = _point(shape, size, made, beside, repeats, limit_s)
        yield point
        if point.cpu_s is None:
            return


def _point(
    shape: Shape,
    size: int,
    made: Path,
    beside: tuple[Path, Path],
    repeats: int,
    limit_s: float,
) -> Point:
    rounds: list[tuple[Measured, ...]] = []
    for _ in range(repeats):
        start, road = (
            _run(each, at, None) for each, at in zip((_START, _ROAD), beside, strict=True)
        )
        own = _run(shape, made, limit_s)
        if own is None:
            return Point(shape.name, size, shape.rows(size), None)
        rounds.append((start, road, own))
    start_s, road_s, own_s = (
        median(each.cpu_s for each in some) for some in zip(*rounds, strict=True)
    )
    _, road, own = rounds[-1]
    return Point(
        shape.name,
        size,
        shape.rows(size),
        max(own_s - start_s * (not shape.is_floor), 0.0),
        road_s - start_s,
        start_s,
        median(own.peak_mb for *_, own in rounds),
        own.bytes,
        road.bytes,
    )


def _made(shape: Shape, folder: Path, size: int) -> Path:
    """Write a shape, in a process of its own: a new process counts the peak of its parent."""
    folder.mkdir()
    options = json.dumps(dict(shape.options))
    script = [sys.executable, HERE / "shape_data.py", folder, shape.make, str(size), options]
    subprocess.run(script, check=True)
    return folder


def _run(shape: Shape, folder: Path, limit_s: float | None) -> Measured | None:
    rmtree(folder / STATE, ignore_errors=True)
    (folder / "new.toml").unlink(missing_ok=True)
    with answering(folder, refused_every=shape.refused_every) as url:
        sent = ("--url", url) if shape.command is _SEND else ()
        program = [*BACKFILL, *shape.command, *sent]
        if shape.is_floor:
            program = [sys.executable, str(HERE / shape.command[0]), *shape.command[1:]]
        return measure(program, folder, url, exits=shape.exits, limit_s=limit_s)


def _lines(points: Sequence[Point]) -> list[str]:
    rows = [_line(point, _before(points[:at], point)) for at, point in enumerate(points)]
    lines = ["| " + " | ".join(row) + " |" for row in (HEAD, *rows)]
    return [lines[0], "|---" + "|---:" * (len(HEAD) - 1) + "|", *lines[1:]]


def _before(points: Sequence[Point], point: Point) -> Point | None:
    return points[-1] if points and points[-1].shape == point.shape else None


def _line(point: Point, before: Point | None) -> tuple[str, ...]:
    unit = next(each.unit for each in SHAPES if each.name == point.shape)
    size = f"{point.size:,} {unit}"
    if point.cpu_s is None:
        return (point.shape, size, "did not end", *[""] * (len(HEAD) - 3))
    exponent = ""
    if before is not None and before.cpu_s and point.cpu_s:
        exponent = f"{log(point.cpu_s / before.cpu_s) / log(point.size / before.size):.2f}"
    return (
        point.shape,
        size,
        f"{point.per_row:,.2f}",
        f"{point.roads:,.1f}",
        f"{point.per_bytes:,.2f}" if point.per_bytes else "",
        f"{point.roads_per_byte:,.1f}" if point.per_bytes else "",
        f"{point.peak_mb:,.0f}",
        exponent,
    )
