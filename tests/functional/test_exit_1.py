"""A bug of ours ends with 1: no traceback, no guess, and what to do."""

import subprocess
import sys

from tests.support.jobs import job

BROKEN = """
import sys
import backfill.commands.check

def broken(pipeline):
    raise RuntimeError("somebody@example.com")

backfill.commands.check.open_inputs = broken
sys.argv = ["backfill", *sys.argv[1:]]
from backfill.__main__ import main
sys.exit(main())
"""
EVENTS = """
[[source]]
kind = "events"
files = ["events.csv"]
identifier = { id = "id" }
name = "seen"
timestamp = { from = "at" }
"""


def told(*arguments, cwd):
    """Run the program with a bug planted in it."""
    command = [sys.executable, "-c", BROKEN, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_1_for_a_bug_of_ours(tmp_path):
    """It says that it is one, and how to report it; what the error holds may be personal."""
    pipeline = job(tmp_path, {"events.csv": "id,at\na,2024-01-01T00:00:00Z\n"}, EVENTS)

    ended = told("check", pipeline, cwd=tmp_path)

    assert ended.returncode == 1
    assert "a bug in backfill" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("next: ")
    assert "Traceback" not in ended.stderr
    assert "somebody@example.com" not in ended.stderr
    assert "Traceback" in told("check", pipeline, "--debug", cwd=tmp_path).stderr
