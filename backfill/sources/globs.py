"""Files by name: what the patterns of a pipeline file stand for."""

import difflib
import glob
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

from backfill.errors import UsageError
from backfill.sources.interface import Location
from backfill.sources.objects import Objects
from backfill.sources.urls import TABLES, ObjectUrl, is_url, table_refused

_NO_DATA = re.compile(r"_SUCCESS|_(committed|started)_.*|_(common_)?metadata|.*\.crc")
"""Files that Spark, Hadoop and Databricks leave beside the data."""

_NAMES_SHOWN = 5


def expand(patterns: Sequence[str], base: Path, objects: Objects | None = None) -> list[Location]:
    """The files that the patterns name: pattern by pattern, each in natural order, each once.

    Args:
        patterns: Names or globs, relative to `base` or absolute, or URLs; `**` stands for any
            folders.
        base: The folder of the pipeline file.
        objects: The stores that URLs lead to; None: those that the environment names.

    Raises:
        UsageError: A pattern names no file, or the files of a table with a log of its own.
    """
    files: dict[Location, Location] = {}
    for pattern in patterns:
        if is_url(pattern):
            found = sorted((objects or Objects()).find(ObjectUrl.parse(pattern)), key=natural_key)
            files.update({each: each for each in found if each not in files})
        else:
            for path in _local(_without_scheme(pattern), base):
                files.setdefault(path.resolve(), path)
    return list(files.values())


def _local(pattern: str, base: Path) -> list[Path]:
    found = _matches(pattern, base)
    if not found:
        raise UsageError(f"{pattern}: no such file in {base}", next_step=_near(pattern, base))
    _refuse_tables(pattern, base, found)
    return found


def _without_scheme(pattern: str) -> str:
    """A path of this machine, which may be written as `file:///…`."""
    path = pattern.removeprefix("file://")
    return unquote(path) if path != pattern else pattern


def location(name: str) -> Location:
    """Where a file or a folder is that somebody names.

    Raises:
        UsageError: It is a URL that cannot be used.
    """
    return ObjectUrl.parse(name) if is_url(name) else Path(_without_scheme(name))


def is_pattern(name: str, base: Path) -> bool:
    """Whether a name of the pipeline file stands for files that nobody named one by one."""
    if is_url(name):
        return glob.has_magic(name)
    path = _without_scheme(name)
    return glob.has_magic(path) and not (base / path).exists()


def holds_no_data(path: Location) -> bool:
    """Whether the name says that a program left this file beside its data."""
    return bool(_NO_DATA.fullmatch(path.name))


def natural_key(path: Location) -> list[tuple[int, str]]:
    """What files are sorted by: numbers in their names count as numbers, `_2` before `_10`.

    Where people repeat, the later file wins: so the order must be the one that people expect.
    """
    pieces = re.split(r"([0-9]+)", str(path))
    return [(int(piece), piece) if place % 2 else (0, piece) for place, piece in enumerate(pieces)]


def _matches(pattern: str, base: Path) -> list[Path]:
    literal = base / pattern
    if literal.exists():  # a name may hold the characters of a glob
        return [literal]
    # Path.glob takes no absolute pattern.
    found = glob.glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207
    return sorted((path for name in found if not (path := base / name).is_dir()), key=natural_key)


def _refuse_tables(pattern: str, base: Path, found: Iterable[Path]) -> None:
    """Refuse files below a folder that is a table: deleted rows are in them, too.

    Raises:
        UsageError: With the folder, and what it is.
    """
    # The table's own folder may be the one above: Iceberg keeps its rows in data/.
    highest = (base / pattern.partition("*")[0]).parent.parent
    nearest = {path.parent for path in found}  # of thousands of files, few
    folders = {
        folder
        for below in nearest
        for folder in (below, *below.parents)
        if folder == highest or highest in folder.parents
    }
    for folder in sorted(folders):
        for mark, what in TABLES.items():
            if next(folder.glob(mark), None):
                raise table_refused(folder, what)


def _near(pattern: str, base: Path) -> str:
    folder = (base / pattern).parent
    if glob.has_magic(str(folder)) or not folder.is_dir():
        return f"check the folder: {folder}"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    # Without the ending, which most names share: z.csv is no mistyped a.csv.
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(_stem(name), []).append(name)
    near = difflib.get_close_matches(_stem(Path(pattern).name), stems, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(chain.from_iterable(stems[each] for each in near))}?"
    if not names:
        return f"check the folder: {folder} is empty"
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return f"check the name; the folder has {', '.join(names[:_NAMES_SHOWN])}{more}"


def _stem(name: str) -> str:
    return re.sub(r"[*?\[\]]", "", name.partition(".")[0])
