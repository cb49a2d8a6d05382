"""Files by name: what the patterns of a pipeline file stand for."""

import difflib
import glob
from collections.abc import Sequence
from pathlib import Path

from backfill.errors import UsageError


def expand(patterns: Sequence[str], base: Path) -> list[Path]:
    """The files that the patterns name: pattern by pattern, each sorted, each file once.

    Args:
        patterns: Names or globs, relative to `base` or absolute; `**` stands for any folders.
        base: The folder of the pipeline file.

    Raises:
        UsageError: A pattern names no file.
    """
    files: dict[Path, Path] = {}
    for pattern in patterns:
        found = _matches(pattern, base)
        if not found:
            raise UsageError(f"{pattern}: no such file in {base}", next_step=_near(pattern, base))
        for path in found:
            files.setdefault(path.resolve(), path)
    return list(files.values())


def _matches(pattern: str, base: Path) -> list[Path]:
    literal = base / pattern
    if literal.exists():  # a name may hold the characters of a glob
        return [literal]
    # Path.glob takes no absolute pattern.
    found = glob.glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207
    return sorted(path for name in found if not (path := base / name).is_dir())


def _near(pattern: str, base: Path) -> str:
    folder = (base / pattern).parent
    if glob.has_magic(str(folder)) or not folder.is_dir():
        return f"Check the folder: {folder}."
    names = sorted(path.name for path in folder.iterdir())
    near = difflib.get_close_matches(Path(pattern).name, names, n=3, cutoff=0.5)
    if not near:
        return f"Check the name; the folder has {len(names)} others."
    return f"Did you mean {' or '.join(near)}?"
