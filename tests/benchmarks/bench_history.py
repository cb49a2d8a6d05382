"""A whole history: 100,000 customers in CSV and 1,000,000 events in Parquet, sent twice.

    python tests/benchmarks/bench_history.py [EVENTS]

The server answers `{}` to everything, so that what is measured is this program. Memory is the peak
of the process; the second start has nothing to do.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

EVENTS = 1_000_000
FIRST_US = 1_600_000_000_000_000
NAMES = ("signed_in", "product_viewed", "cart_updated", "order_completed", "newsletter_opened")
PIPELINE = """
name = "history"
[[source]]
kind = "customers"
files = ["customers.csv"]
identifier = { id = "id" }
[source.columns]
created_at = { type = "timestamp", format = "epoch_s" }
[[source]]
kind = "events"
files = ["events.parquet"]
identifier = { id = "id" }
name = { from = "event" }
timestamp = { from = "occurred_at" }
"""


def make_history(folder: Path, event_count: int) -> None:
    """Write the files: a customer for every ten events, each event a microsecond of its own."""
    chance = np.random.default_rng(1)
    people = np.arange(max(event_count // 10, 1))
    ids = pa.array([f"{number:08}" for number in people])
    customers = pa.table(
        {
            "id": ids,
            "email": pa.array([f"person{number}@example.com" for number in people]),
            "created_at": pa.array(1_500_000_000 + people * 60),
            "plan": pa.array(np.array(["free", "basic", "premium"])[people % 3]),
        }
    )
    pa.csv.write_csv(customers, folder / "customers.csv")
    numbers = np.arange(event_count)
    events = pa.table(
        {
            "id": ids.take(pa.array(chance.integers(len(people), size=event_count))),
            "event": pa.array(np.array(NAMES)[numbers % len(NAMES)]).dictionary_encode(),
            "occurred_at": pa.array(FIRST_US + numbers * 100_001, pa.timestamp("us", tz="UTC")),
            "page": pa.array([f"/products/{number % 5000}" for number in numbers]),
            "amount": pa.array(np.round(chance.random(event_count) * 200, 2)),
            "quantity": pa.array(chance.integers(1, 9, event_count)),
        }
    )
    pa.parquet.write_table(events, folder / "events.parquet", row_group_size=100_000)
    (folder / "pipeline.toml").write_text(PIPELINE)


def measure(folder: Path, port: str) -> tuple[float, int, dict[str, object]]:
    """Run the pipeline: seconds, peak memory in MB, and the summary."""
    command = [sys.executable, "-m", "backfill", "run", "pipeline.toml", "--yes", "--quiet"]
    command += ["--json", "--rate", "0", "--url", f"http://127.0.0.1:{port}"]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as process:
        lines = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"backfill run ended with {process.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss // 1000, json.loads(lines[-1])


def main(event_count: int) -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_history(folder, event_count)
        port_file = folder / "port"
        server = Path(__file__).with_name("answering.py")
        with subprocess.Popen([sys.executable, server, port_file]) as answering:
            try:
                while not (port_file.exists() and port_file.read_text()):
                    time.sleep(0.05)
                print("start   rows       requests  seconds   rows/s  peak MB")
                for start in (1, 2):
                    seconds, peak, summary = measure(folder, port_file.read_text())
                    run = summary["this_run"]
                    rows = run["delivered"] + run["merged"]
                    print(
                        f"{start:<6}  {rows:<9,}  {run['requests']:<8,}  {seconds:>7.1f}"
                        f"  {rows / seconds:>7,.0f}  {peak:>7,}",
                        flush=True,
                    )
            finally:
                answering.terminate()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS)
