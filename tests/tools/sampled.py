"""Mutants: mistakes that a program makes, and whether the tests find a sample of them.

    make mutants ARGS=--sampled                       500 of all rooms
    SAMPLE=50 SEED=3 make mutants ARGS="--sampled engine sync"

mutmut makes them: it writes every mutant of a function beside it, so that trying one needs a fork
and no new start, and it knows which tests call the function. What the fastest of them do not find
is tried by all unit tests of the room and by whole runs of the program. Texts are left alone: what
a message says is not judged here.

Who survives is shown, for somebody to judge: many a mutant changes nothing that can be seen. So is
who is found by nothing but tests that never ended, twice: on a machine with much else to do a test
takes too long all the same. Exits with 1 if fewer were found than ever before.
"""

import ast
import difflib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random

import pytest

SAMPLE = int(os.environ.get("SAMPLE", "500"))
SEED = int(os.environ.get("SEED", "15"))
AT_ONCE = os.cpu_count() or 1
FOUND_MIN = 0.85
"""With those that change nothing among them, which are one in ten."""

ROOMS = ("engine", "journal", "judge", "sync", "delivery")
WHOLE_RUNS = {
    "engine": ("exit_codes", "stopping", "retry", "report", "library", "changed_sources"),
    "journal": ("exit_codes", "faults_of_the_machine", "damaged_plans"),
    "judge": ("rejections", "odd_exports", "more_kinds", "whole_history", "library"),
    "sync": ("sync_cursor", "sync_nights", "sync_guards", "sync_events", "sync_refused",
             "sync_doubt", "sync_after_run"),
    "delivery": ("service_answers", "exit_codes", "stopping", "bounds"),
    # Of single modules that no run enters unless it is asked to.
    "delivery.app_api_reader": ("verify",),
    "engine.extracts": ("queries",),
    "engine.import_segment": ("import_mark",),
    "engine.new_people": ("undo",),
    "engine.results": ("verify",),
}  # fmt: skip
TESTS_S = 20.0
"""Of the tests that call a function, so many seconds; a room's most ordinary ones have 35."""

TIMEOUT_S = 600.0
_ANY = "backfill.engine.send.x_ranges_of__mutmut_1"  # mutmut makes all, whichever it is to try
_SURVIVED, _NO_TESTS = 0, 33  # of mutmut's codes; all others are kinds of being found
_ENDLESS = (-24, 24, 36, 152, 255)


def main(tree: Path, rooms: Sequence[str]) -> int:
    """Try a sample; print who survives.

    Args:
        tree: A copy of the project, which is used up.
        rooms: The packages whose functions are changed; none: all of `ROOMS`.
    """
    mutants = tree / "mutants"
    _mutmut(tree, _ANY)
    every = [name for room in rooms or ROOMS for name in _names(mutants, room)]
    chosen = Random(SEED).sample(every, min(SAMPLE, len(every)))
    _keep_fastest(mutants)
    _mutmut(tree, *chosen)
    codes = _codes(mutants)
    left = [name for name in chosen if codes[name] in (_SURVIVED, _NO_TESTS, *_ENDLESS)]
    endless: list[str] = []
    survivors = [name for name in left if not _found_by_runs(mutants, name, endless)]
    for name in survivors:
        print(f"\n{name}\n{_change(mutants, name)}")
    for name in endless:
        print(f"\n{name}, by tests that did not end\n{_change(mutants, name)}")
    found = len(chosen) - len(survivors)
    print(f"\n{'room':10}  tried  survived")
    tried, lived = (Counter(name.split(".")[1] for name in some) for some in (chosen, survivors))
    for room, count in tried.items():
        print(f"{room:10}  {count:5}  {lived[room]:8}")
    print(f"{found} of {len(chosen)} found, of {len(every)} mutants; seed {SEED}")
    return 0 if found >= FOUND_MIN * len(chosen) else 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the fastest tests first, as a plugin of pytest: most mutants are found by any."""
    stats = Path("mutmut-stats.json")
    took = json.loads(stats.read_text("utf-8"))["duration_by_test"] if stats.exists() else {}
    items.sort(key=lambda each: took.get(each.nodeid, 0.0))


def _mutmut(tree: Path, *names: str) -> None:
    """Let mutmut try mutants of a tree; its own lines are for those who look on."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(AT_ONCE), *names]
    subprocess.run(command, cwd=tree, env=_env(tree), stdout=sys.stderr, check=True)


def _keep_fastest(mutants: Path) -> None:
    """Of the tests that call a function, which may be hundreds, leave mutmut the fastest.

    Not a few of them: the fastest are cases of one test, which looks at one thing.
    """
    path = mutants / "mutmut-stats.json"
    stats = json.loads(path.read_bytes())
    took, callers = stats["duration_by_test"], stats["tests_by_mangled_function_name"]
    for name, tests in callers.items():
        fastest = sorted(tests, key=took.__getitem__)
        ends_s = accumulate(took[test] for test in fastest)
        callers[name] = [
            test for test, end_s in zip(fastest, ends_s, strict=True) if end_s <= TESTS_S
        ]
    path.write_text(json.dumps(stats))


def _found_by_runs(mutants: Path, name: str, endless: list[str]) -> bool:
    """Whether tests of the room or of the whole program fail over a mutant, or never end.

    Args:
        mutants: The folder of the mutants.
        name: The mutant.
        endless: Takes its name, if they never end.
    """
    _, room, module, *_ = name.split(".")
    runs = *WHOLE_RUNS.get(f"{room}.{module}", ()), *WHOLE_RUNS[room]
    tests = [f"tests/unit/{room}", *(f"tests/functional/test_{each}.py" for each in runs)]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-n", str(AT_ONCE), "--dist", "loadfile", f"--basetemp={mutants}.jobs"]
    env = {**_env(mutants), "MUTANT_UNDER_TEST": name}
    try:
        ended = subprocess.run(
            [*command, *tests], cwd=mutants, env=env, timeout=TIMEOUT_S, capture_output=True,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        endless.append(name)
        return True
    return ended.returncode != 0


def _env(folder: Path) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def _codes(mutants: Path) -> dict[str, int]:
    """What became of each mutant that was tried."""
    found: dict[str, int] = {}
    for path in mutants.rglob("*.meta"):
        found |= json.loads(path.read_bytes())["exit_code_by_key"]
    return found


def _names(mutants: Path, room: str) -> Iterator[str]:
    """The mutants of a room that change more than a text."""
    for path in sorted((mutants / "backfill" / room).glob("*.py.meta")):
        functions = _functions(path.with_suffix(""))
        told = {name: _told(function) for name, function in functions.items()}
        for name in json.loads(path.read_bytes())["exit_code_by_key"]:
            own = name.rpartition(".")[2]
            if told[own] != told[_original(own)]:
                yield name


def _change(mutants: Path, name: str) -> str:
    """The lines in which a mutant differs."""
    module, _, own = name.rpartition(".")
    path = mutants.joinpath(*module.split(".")).with_suffix(".py")
    functions = _functions(path)
    sound, mutant = (
        ast.unparse(functions[each]).splitlines()[1:] for each in (_original(own), own)
    )
    lines = difflib.unified_diff(sound, mutant, lineterm="", n=0)
    return "\n".join(each for each in lines if each[:3] not in ("---", "+++") and each[0] != "@")


def _functions(path: Path) -> dict[str, ast.AST]:
    tree = ast.parse(path.read_text("utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {each.name: each for each in ast.walk(tree) if isinstance(each, kinds)}


def _original(name: str) -> str:
    return f"{name.rpartition('__mutmut_')[0]}__mutmut_orig"


def _told(function: ast.AST) -> str:
    """What a function does, whatever its name is and its texts say."""
    for each in ast.walk(function):
        match each:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                each.name = ""
            case ast.Constant(value=str()):
                each.value = ""
    return ast.dump(function)
