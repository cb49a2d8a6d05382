"""How long it takes to find out who has changed: tonight's customers against the snapshot.

    python tests/benchmarks/sync_diff.py [--people N]

One in a thousand has changed. Both nights are real plan passes over Parquet; measured is the
comparison, and, beside it, the pass that must come before it. Wanted for 10,000,000 people on two
cores: the comparison under 40 s, the process under 1 GB, the snapshot under 400 MB.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backfill.job import Job, adopt_plan, bind_files, folder_of
from backfill.journal import Journal, Settlement
from backfill.pipeline.file import Pipeline
from backfill.sources.inputs import open_inputs
from backfill.sync import catch_up
from backfill.sync.differences import compare
from backfill.sync.file_versions import take_up
from backfill.sync.snapshot import SNAPSHOT_FILE

PIPELINE = """
name = "diff"
[[source]]
kind = "customers"
files = ["customers.parquet"]
identifier = { id = "id" }
"""
PLANS = ("free", "basic", "gold", "silver", "platinum")
BLOCK_ROWS = 500_000


def main() -> None:
    """Measure, each night in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=10_000_000)
    parser.add_argument("--night", type=int)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.night is not None:
        one_night(asked.folder, asked.night)
        return
    folder = Path(tempfile.mkdtemp(prefix="sync-diff-"))
    try:
        (folder / "pipeline.toml").write_text(PIPELINE)
        for night in (1, 2):
            write(folder / "customers.parquet", asked.people, changed=night == 2)
            more = ["--night", str(night), "--folder", str(folder)]
            subprocess.run([sys.executable, __file__, *more], check=True)
    finally:
        shutil.rmtree(folder)


def write(path: Path, people: int, *, changed: bool) -> None:
    """An export; in the second one every thousandth person has another plan."""
    schema = pa.schema([("id", pa.string()), ("plan", pa.string()), ("visits", pa.int64())])
    with pq.ParquetWriter(path, schema) as file:
        for first in range(0, people, BLOCK_ROWS):
            numbers = np.arange(first, min(first + BLOCK_ROWS, people))
            plans = numbers % len(PLANS) + (changed & (numbers % 1000 == 0))
            columns = [
                pa.array(np.char.add("user-", numbers.astype("U12"))),
                pa.array(PLANS).take(pa.array(plans % len(PLANS))),
                pa.array(numbers * 7 % 1000),
            ]
            file.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def one_night(folder: Path, night: int) -> None:
    """The first night everybody is delivered; the second is measured."""
    pipeline = Pipeline.load(folder / "pipeline.toml")
    state = folder_of(pipeline, None)
    with Journal.open(state) as journal:
        job = Job(pipeline, open_inputs(pipeline), journal, state)
        job = (
            take_up(job)
            if night > 1
            else Job(pipeline, bind_files(job.inputs, journal, append=False), journal, state)
        )
        began_s = time.monotonic()
        plan = adopt_plan(job, now_s=0, progress=lambda _: None)
        planned_s = time.monotonic()
        if night == 1:
            catch_up.begin(job, plan, diff=False)
            ((part, rows),) = plan.found.rows.items()
            journal.settle(Settlement(part, [(1, rows + 1)], delivered=rows))
            catch_up.catch_up(journal, pipeline, state)
        else:
            print(dict(compare(job, plan, {}).statuses))
        ended_s = time.monotonic()
    used_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    what = "remember" if night == 1 else "compare"
    size_mb = (state / SNAPSHOT_FILE).stat().st_size / 1e6
    print(
        f"night {night}: plan {planned_s - began_s:.1f} s, {what} {ended_s - planned_s:.1f} s,"
        f" {used_mb:,.0f} MB of memory, snapshot {size_mb:,.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
