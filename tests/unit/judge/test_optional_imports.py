"""Commands leave out what they do not need; who needs it all the same finds it as ever."""

import subprocess
import sys

import pytest

from tests.support.jobs import EVENTS, job, numbered

COMMAND = """
import sys
from backfill.__main__ import main
sys.argv = ["backfill", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print(end.code, *(name for name in NAMES if name in sys.modules))
"""
HEAVY = ("pyarrow", "pandas", "duckdb", "asyncio", "jinja2", "tqdm")
NOT_OF_A_RUN = {
    *("duckdb", "httpx", "obstore", "pandas", "pyarrow.fs", "pyarrow.parquet", "sqlite3", "tqdm"),
    *(f"backfill.cli.{each}" for each in ("bars", "plan_screen", "samples")),
    *(f"backfill.sources.{each}" for each in ("database_files", "database_servers", "databases")),
    *(f"backfill.sources.{each}" for each in ("json_file", "json_scan", "parquet", "stores")),
    *(f"backfill.sync.{each}" for each in ("differences", "file_versions", "nights")),
    *(f"backfill.{each}" for each in ("client", "remote_state", "sandbox", "scaffold", "schedule")),
    "backfill.report.bundle",
}
"""What a run of events from a CSV file of this machine has no use for: each costs every start."""
NOT_OF_A_CHECK = NOT_OF_A_RUN | {
    *("aiohttp", "asyncio", "jinja2", "ssl"),
    *(f"backfill.delivery.{each}" for each in ("region", "track_api", "track_delivery")),
    *(f"backfill.engine.{each}" for each in ("accounting", "prepare", "results", "run", "send")),
    *(f"backfill.report.{each}" for each in ("charts", "collect", "content", "html", "summary")),
    *("backfill.cli.after_run", "backfill.notify", "backfill.sync"),
}
TRANSFORM = """
import pandas as pd
import pyarrow as pa

def nulls():
    return pa.array(pd.Series([1.5, float("nan")])).null_count

at_first = nulls()

def clean(frame):
    assert at_first == nulls() == 1, "NaN is null where it comes from pandas"
    assert pa.scalar(1, pa.timestamp("ns")).as_py() == pd.Timestamp(1)
    return frame.assign(n=[float("nan"), 7.5])
"""
NANOSECONDS = """
from backfill.judge.optional_imports import leave_out
leave_out()
import pyarrow as pa
from backfill.encoding import cell_json
column = pa.array([[1_700_000_000_999_999_999, -1]], pa.list_(pa.timestamp("ns", "UTC")))
print(cell_json.encode(column, "typed", None, None, ".").fragments().to_pylist())
"""
SENDING = """
from backfill.judge.optional_imports import leave_out
leave_out()
import backfill.engine.run, httpx, sys
print([name for name in ("pandas", "duckdb", "rich", "pygments") if name in sys.modules])
"""
RUN = """
from backfill.judge.optional_imports import leave_out
leave_out()
import backfill.cli.session, backfill.commands.run, backfill.sources.delimited, sys
print([name for name in NAMES if name in sys.modules])
"""
LIBRARY = """
import backfill, sys
assert backfill.plan
import pyarrow as pa
pa.array([1])
print("pandas" in sys.modules, pa.table({"a": [1]}).to_pandas()["a"].tolist())
"""


def python(code, *arguments, names=HEAVY):
    """What a new process prints last."""
    call = [sys.executable, "-c", f"NAMES = {names!r}\n{code}", *map(str, arguments)]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_look_at_the_files_loads_what_it_needs(command, tmp_path):
    """No pandas without a transform, no DuckDB without people, no HTTP without sending."""
    pipeline = job(tmp_path, {"events.csv": numbered(2)}, EVENTS)
    assert python(COMMAND, command, pipeline) == "0 pyarrow"


def test_a_look_at_a_csv_file_loads_no_room_that_it_does_not_enter(tmp_path):
    """A start is most of a short call: what is new must be loaded by those who use it."""
    pipeline = job(tmp_path, {"events.csv": numbered(2)}, EVENTS)
    assert python(COMMAND, "check", pipeline, names=sorted(NOT_OF_A_CHECK)) == "0"
    assert python(RUN, names=sorted(NOT_OF_A_RUN)) == "[]"


def test_where_jobs_stand_is_shown_without_arrow(tmp_path):
    """People look again and again while a job runs."""
    assert python(COMMAND, "status", "--state-dir", tmp_path) == "0"


def test_sending_loads_no_other_command_line():
    """Httpx has one of its own, which it loads where it can."""
    assert python(SENDING) == "[]"


def test_a_transform_finds_pandas_and_arrow_as_ever(tmp_path):
    """Arrow asks for pandas once, and in vain: before the user's code is loaded it asks again."""
    (tmp_path / "t.py").write_text(TRANSFORM)
    events = EVENTS + 'transform = "t.py:clean"\n'
    pipeline = job(tmp_path, {"events.csv": numbered(2)}, events)
    assert python(COMMAND, "check", pipeline) == "0 pyarrow pandas"


def test_nested_nanoseconds_are_read_where_pandas_was_left_out():
    """Arrow hands them over as timestamps of pandas; seconds are floored."""
    assert python(NANOSECONDS) == "['[1700000000,-1]']"


def test_whoever_imports_the_library_has_arrow_as_it_is():
    """Only a process of our own leaves anything out."""
    assert python(LIBRARY) == "True [1]"
