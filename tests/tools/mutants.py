"""Plants known mistakes one by one and looks whether the tests find them: `make mutants`.

    python tests/tools/mutants.py            all of `tests/tools/planted.py`
    python tests/tools/mutants.py redirect   those whose name holds a word
    python tests/tools/mutants.py --sampled  mutants that a program makes instead (`sampled.py`)

Works on copies, one for each processor; the tree stays as it is. Exits with 1 if a mistake is not
found, or cannot be planted since the code has changed: then the list has to follow.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.tools import sampled  # noqa: E402 - the tests are not installed
from tests.tools.planted import BUGS, Bug  # noqa: E402

AT_ONCE = os.cpu_count() or 1
TIMEOUT_S = 180.0
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".backfill", "*.egg-info")
_SLOW_TESTS = {"POWER_CUTS": "300"}


def main(words: Sequence[str]) -> int:
    """Try every mistake; print a table."""
    if "--sampled" in words:
        with _trees() as trees:
            return sampled.main(trees.get(), [word for word in words if word != "--sampled"])
    chosen = [bug for bug in BUGS if all(word in bug.name for word in words)]
    tests = sorted({test for bug in chosen for test in bug.tests})
    width = max(len(bug.name) for bug in chosen)
    with _trees() as trees, ThreadPoolExecutor(AT_ONCE) as pool:
        tree = trees.get()
        failed = _run(tree, tests, 3 * TIMEOUT_S, AT_ONCE)
        trees.put(tree)
        if failed:
            print(f"without any mistake: {failed}", file=sys.stderr)
            return 1
        found = list(pool.map(lambda bug: _is_found(trees, bug, width), chosen))
    print(f"\n{sum(found)} of {len(found)} found")
    return 0 if all(found) else 1


@contextmanager
def _trees() -> Iterator["SimpleQueue[Path]"]:
    """Copies of the tree: each is taken out by who works on it, and put back as it was."""
    with tempfile.TemporaryDirectory() as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_ONCE):
            tree = Path(folder) / str(number)
            shutil.copytree(ROOT, tree, symlinks=True, ignore=_LEFT_OUT)
            trees.put(tree)
        yield trees


def _is_found(trees: "SimpleQueue[Path]", bug: Bug, width: int) -> bool:
    """Plant a mistake, run its tests, take it away again; print a line."""
    tree = trees.get()
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
        trees.put(tree)
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


def _run(tree: Path, tests: Iterable[str], timeout_s: float, at_once: int = 0) -> str:
    """Run tests on a tree, some at once; gives the first that failed, "" if none did."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-n", str(at_once), "--dist", "loadfile", f"--basetemp={tree}.jobs"]
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
