"""Plants known mistakes one by one and looks whether the tests find them: `make mutants`.

    python tests/tools/mutants.py            all of `tests/tools/planted.py`
    python tests/tools/mutants.py redirect   those whose name holds a word

Works on a copy; the tree stays as it is. Exits with 1 if a mistake is not found, or cannot be
planted since the code has changed: then the list has to follow.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.tools.planted import BUGS, Bug  # noqa: E402 - the tests are not installed

TIMEOUT_S = 180.0
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".backfill", "*.egg-info")
_SLOW_TESTS = {"POWER_CUTS": "300"}


def main(words: Sequence[str]) -> int:
    """Try every mistake; print a table."""
    chosen = [bug for bug in BUGS if all(word in bug.name for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, symlinks=True, ignore=_LEFT_OUT)
        found = _run(tree, sorted({test for bug in chosen for test in bug.tests}), 3 * TIMEOUT_S)
        if found:
            print(f"without any mistake: {found}", file=sys.stderr)
            return 1
        width = max(len(bug.name) for bug in chosen)
        missed = [bug.name for bug in chosen if not _is_found(tree, bug, width)]
    print(f"\n{len(chosen) - len(missed)} of {len(chosen)} found")
    return 1 if missed else 0


def _is_found(tree: Path, bug: Bug, width: int) -> bool:
    """Plant a mistake, run its tests, take it away again; print a line."""
    path = tree / "backfill" / bug.file
    sound = path.read_text("utf-8")
    began_s = time.monotonic()
    try:
        path.write_text(planted(sound, bug), "utf-8")
        found = _run(tree, bug.tests, TIMEOUT_S)
        said = found or "NOT FOUND"
    except ValueError as error:
        found, said = "", f"NOT PLANTED: {error}"
    finally:
        path.write_text(sound, "utf-8")
    print(f"{bug.name:{width}}  {time.monotonic() - began_s:5.1f} s  {said}", flush=True)
    return bool(found)


def planted(text: str, bug: Bug) -> str:
    """The text of a module with a mistake in it.

    Raises:
        ValueError: What is to be replaced does not stand there once.
    """
    for old, new in bug.changes:
        if text.count(old) != 1:
            raise ValueError(f"{bug.file} has {text.count(old)} times: {old.strip()}")
        text = text.replace(old, new)
    return text


def _run(tree: Path, tests: Iterable[str], timeout_s: float) -> str:
    """Run tests on a tree; gives the first that failed, "" if none did."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    # Bytecode is known by the second and the size of its source: too coarse for this.
    env = {**os.environ, **_SLOW_TESTS, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ended = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=tree,
            env=env,
            timeout=timeout_s,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"nothing within {timeout_s:.0f} s"
    if ended.returncode == 0:
        return ""
    failed = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    first = failed[0].split(" - ")[0] if failed else ended.stdout[-500:] + ended.stderr[-500:]
    return first.removeprefix("FAILED ").removeprefix("tests/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
