"""`import backfill`: the public names, and nothing heavy behind them until they are used."""

import pkgutil
import subprocess
import sys

import pytest

import backfill

ENDING = """
import atexit, threading
import backfill.cli.app

def command(arguments):
    atexit.register(print, "handlers")
    print("x" * 100_000)
    # Not before: of what two threads print at the same time Python may lose some.
    threading.Timer(0.05, print, ["threads"]).start()
    return 3

backfill.cli.app.main = command
from backfill.__main__ import main
main()
"""
HEAVY = ("pyarrow", "pandas", "numpy", "httpx", "aiohttp", "pydantic", "typer", "tqdm", "duckdb")


@pytest.mark.parametrize("name", backfill.__all__)
def test_every_public_name_is_there(name):
    """What the front door promises can be had."""
    assert getattr(backfill, name) is not None


def test_no_public_name_is_also_a_modules():
    """Whoever imports the module first would get it instead of the function."""
    modules = {each.name for each in pkgutil.iter_modules(backfill.__path__)}

    assert modules.isdisjoint(backfill.__all__)


def test_the_names_are_sorted_and_shown():
    """`dir` and `*` give the same list."""
    assert backfill.__all__ == sorted(backfill.__all__) == dir(backfill)


def test_an_unknown_name_is_an_attribute_error():
    """As in any other module, so that `hasattr` works."""
    assert not hasattr(backfill, "no_such_name")


def test_importing_it_loads_nothing_heavy():
    """Whoever catches `backfill.BackfillError` does not wait for Arrow."""
    code = f"import backfill, sys; print([n for n in {HEAVY} if n in sys.modules])"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"


def test_the_command_line_loads_nothing_heavy():
    """`backfill --help` must answer before one has looked away; Typer is all that it needs."""
    heavy = [*(name for name in HEAVY if name != "typer"), "rich"]
    code = f"import backfill.cli.app, sys; print([n for n in {heavy} if n in sys.modules])"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"


def test_the_process_ends_at_once_but_not_before_all_is_said_and_done():
    """Threads end first, then what was registered for the end; the exit code is the command's."""
    call = [sys.executable, "-c", ENDING]
    ended = subprocess.run(call, capture_output=True, text=True, check=False)

    assert ended.stdout == "x" * 100_000 + "\nthreads\nhandlers\n"
    assert (ended.returncode, ended.stderr) == (3, "")
