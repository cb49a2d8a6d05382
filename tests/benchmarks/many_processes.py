"""What workers cost and where they stop helping: the figures of the README's cost model.

    python tests/benchmarks/many_processes.py [--rows 500000] [--workers 2]

Each run is a process of its own, toward a server that only answers. Told are what a worker adds
(seconds until it is there, CPU seconds of its start, memory), the CPU seconds a million rows that
the driver and the workers spend on sending, how many answers a second the driver can settle, and
what follows: how many rows a second the driver's core allows, and how many workers reach that, and
the API's own limit.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import data
from measuring import answering, machine

from backfill.cluster.starting import local_workers
from backfill.commands.run import RUN
from backfill.engine.options import Options, Silent
from backfill.engine.run import execute
from backfill.pipeline.file import Pipeline

API_REQUESTS_S, API_BYTES = 1_000, 500_000
V1_ROWS = 10_000
MILLION = 1_000_000


@dataclass
class Spent:
    """What a process and its workers have spent: seconds, CPU seconds of both."""

    seconds: float
    driver_cpu_s: float
    workers_cpu_s: float

    @classmethod
    def now(cls) -> "Spent":
        """All that was spent so far."""
        return cls(time.monotonic(), time.process_time(), sum(map(_cpu_s, _children())))

    def since(self, before: "Spent") -> "Spent":
        """What was spent since."""
        pairs = zip(asdict(self).values(), asdict(before).values(), strict=True)
        return Spent(*(now - then for now, then in pairs))


class Measuring(Silent):
    """Notes what was spent when sending began, and when all was over."""

    def sending(self, run):
        """Note it."""
        del run
        self.began, self.memory_mb = Spent.now(), list(map(_memory_mb, _children()))

    def ended(self, rejected_file):
        """Note it."""
        del rejected_file
        self.memory_mb = list(map(_memory_mb, _children())) or self.memory_mb
        self.spent = Spent.now().since(self.began)


def _children() -> list[int]:
    return [
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
        if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    """What a process has of its own, and its share of what others have too (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(each.split()[1]) for each in lines if each.startswith("Pss:")) / 1000


def one_run(pipeline: Path, url: str, workers: int) -> None:
    """Send a job, and print what it took as JSON."""
    measuring = Measuring()
    with tempfile.TemporaryDirectory() as state:
        options = Options(url=url, rate=0, workers=workers, state_dir=state)
        summary = execute(RUN, Pipeline.load(pipeline), options, measuring)
    told = {"requests": summary.requests, "bytes": summary.bytes_sent, "rows": summary.delivered}
    print(json.dumps(told | asdict(measuring.spent) | {"memory_mb": measuring.memory_mb}))


def one_start(workers: int) -> None:
    """Start workers, and print what that took."""
    before, began_s = time.process_time(), time.monotonic()
    with local_workers(workers, lambda: None, few=0) as made:
        list(made.map(len, [(None, None)] * 0))
        crew = made.crew
        seconds, driver_s = time.monotonic() - began_s, time.process_time() - before
        assert crew is not None
        memory_mb = list(map(_memory_mb, _children()))
    workers_s = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = {"seconds": seconds, "driver_cpu_s": driver_s, "memory_mb": memory_mb}
    print(json.dumps(told | {"workers_cpu_s": workers_s.ru_utime + workers_s.ru_stime}))


def _asked(*arguments: object) -> dict:
    said = subprocess.check_output([sys.executable, __file__, *map(str, arguments)], text=True)
    return json.loads(said.splitlines()[-1])


def main() -> None:
    """Measure, and say what follows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one-run", nargs=3)
    parser.add_argument("--one-start", type=int)
    asked = parser.parse_args()
    if asked.one_run:
        return one_run(Path(asked.one_run[0]), asked.one_run[1], int(asked.one_run[2]))
    if asked.one_start:
        return one_start(asked.one_start)
    print(machine())
    few, many = (_asked("--one-start", count) for count in (1, 1 + asked.workers))
    for what, name in (("s until all are there", "seconds"), ("CPU s", "workers_cpu_s")):
        each = (many[name] - few[name]) / asked.workers
        print(f"start: {few[name]:.1f} {what} for one worker, {each:.1f} for each more")
    with tempfile.TemporaryDirectory() as folder:
        data.make(Path(folder), {"csv"}, asked.rows)
        with answering(Path(folder)) as url:
            one = _asked("--one-run", Path(folder) / "csv.toml", url, 1)
            more = _asked("--one-run", Path(folder) / "csv.toml", url, asked.workers)
            data.make(Path(folder), {"v1"}, V1_ROWS)
            v1 = _asked("--one-run", Path(folder) / "v1.toml", url, asked.workers)
    say(one, more, v1, asked.workers)
    return None


def say(one: dict, more: dict, v1: dict, workers: int) -> None:
    """Print the figures, and what is computed from them."""
    millions = more["rows"] / MILLION
    print(f"memory of a worker: {max(more['memory_mb']):.0f} MB (PSS, at the end of sending)")
    print(
        f"sending {more['rows']:,} rows: {one['seconds']:.2f} s in one process,"
        f" {more['seconds']:.2f} s with {workers} workers"
    )
    driver, worker = more["driver_cpu_s"] / millions, more["workers_cpu_s"] / millions
    alone = one["driver_cpu_s"] / millions
    print(
        f"CPU s a million rows: {alone:.2f} in one process; with workers the driver {driver:.2f},"
        f" the workers {worker:.2f}"
    )
    settled = v1["requests"] / v1["driver_cpu_s"]
    print(f"answers that the driver can settle: {settled:,.0f} a second (v1, one row each)")
    row_bytes = more["bytes"] / more["rows"]
    api = API_REQUESTS_S * API_BYTES / row_bytes
    at_most = MILLION / driver
    print(
        f"the API takes {api:,.0f} such rows/s ({row_bytes:.0f} bytes each), the driver's core"
        f" allows {at_most:,.0f}"
    )
    print(
        f"computed, a core each: {min(at_most, api) * worker / MILLION:.1f} workers reach the lower"
        " of these; more help no more"
    )


if __name__ == "__main__":
    main()
