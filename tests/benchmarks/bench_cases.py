"""Every case of moving events and customers, each a whole process, beside what others do.

    make bench                                     100,000 rows: some minutes
    make bench ARGS="--rows 1000000 --tenfold"     the figures of the README, and ten times as many
    make bench ARGS=--shapes                       data of every shape instead: see `shapes.py`
    make bench ARGS="--shapes rejected,207 --sizes 10000,100000"

Data, server and results are made anew. The server only answers; it shares the machine with what
is measured. The table goes to build/benchmarks.md, all figures to build/benchmarks.json.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median

from measuring import BACKFILL, HERE, STATE, Measured, answering, machine, measure
from shapes import LIMIT_S, measure_shapes

ROWS_PER_REQUEST = 2_000
STOPPING_S = 10
"""A run that is to be stopped takes so long: its status is written twice a second."""


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        name: What it is.
        pipeline: Which files it takes.
        command: `run` or `check`, the name of a baseline, or arguments of the program.
        share: So much of `--rows`.
        after: What is done before, unmeasured: "check" leaves a plan, so that only sending is
            left; "stop" stops a run at nine tenths; "run" sends everything.
        options: Of the command.
        delay_s: How long the server takes to answer.
        rows: So many rows, whatever `--rows` says.
    """

    name: str
    pipeline: str
    command: str = "run"
    share: float = 1.0
    after: str = ""
    options: tuple[str, ...] = ("--rate", "0")
    delay_s: float = 0.0
    rows: int | None = None

    def rows_of(self, rows: int) -> int:
        """How many rows it takes."""
        return self.rows or max(int(rows * self.share), 1)


CASES = (
    Case("official client, 20 threads", "parquet", "client", 0.01),
    Case("official client, batches of 100", "parquet", "batch", 0.1),
    Case("pandas, httpx, gather", "parquet", "script", 0.1),
    Case("events, Parquet: plan and send", "parquet"),
    Case("events, Parquet: send", "parquet", after="check"),
    Case("events, Parquet: check", "parquet", "check", options=()),
    Case("events, CSV: plan and send", "csv"),
    Case("events, CSV: send", "csv", after="check"),
    Case("events, CSV: check", "csv", "check", options=()),
    Case("customers of 20 attributes: send", "customers", after="check"),
    Case("customers and events: plan and send", "history"),
    Case("the same again: nothing to do", "history", after="run"),
    Case("v1, a request a row", "v1", share=0.02),
    Case("v1 at 1000 requests/s", "v1", share=0.02, options=("--rate", "1000")),
    Case(
        "v1 at 100/s, answers after 100 ms", "v1", rows=1500, options=("--rate", "100"), delay_s=0.1
    ),
    Case("resume at nine tenths, Parquet", "parquet", after="stop"),
    Case("resume at nine tenths, CSV", "csv", after="stop"),
    Case("run of ten rows", "parquet", rows=10),
    Case("--help", "parquet", "--help", rows=1, options=()),
)
TENFOLD = tuple(
    Case(f"events, Parquet, {share:g} times the rows", "parquet", share=share)
    for share in (0.01, 0.1, 1, 10)
)


@dataclass
class Result:
    """A case with the medians of its repeats."""

    case: Case
    rows: int
    repeats: int
    median: Measured
    every: list[Measured] = field(default_factory=list)

    @property
    def rows_per_second(self) -> float:
        """Of the whole process, its start included."""
        return self.rows / self.median.seconds


def command_of(case: Case, url: str, rows: int) -> list[str]:
    """What is measured."""
    if case.command in ("client", "batch", "script"):
        script = [sys.executable, str(HERE / "baselines.py"), case.command]
        return [*script, "events.parquet", url, str(rows)]
    if case.command.startswith("--"):
        return [*BACKFILL, case.command]
    command = [*BACKFILL, case.command, f"{case.pipeline}.toml", "--quiet", *case.options]
    return command if case.command == "check" else [*command, "--yes", "--url", url]


def prepare(case: Case, folder: Path, url: str, rows: int) -> None:
    """Bring a job to where the case begins."""
    shutil.rmtree(folder / STATE, ignore_errors=True)
    if case.after == "stop":
        slowly = replace(case, options=("--rate", str(rows / ROWS_PER_REQUEST / STOPPING_S)))
        _stop_at_nine_tenths(command_of(slowly, url, rows), case.pipeline, folder, rows)
    elif case.after:
        before = Case(
            "", case.pipeline, case.after, options=() if case.after == "check" else case.options
        )
        subprocess.run(command_of(before, url, rows), cwd=folder, check=True, capture_output=True)


def _stop_at_nine_tenths(command: list[str], name: str, folder: Path, rows: int) -> None:
    status = folder / STATE / name / "status.json"
    with subprocess.Popen(command, cwd=folder, stdout=-3, stderr=-3) as process:
        while process.poll() is None:
            if status.exists() and json.loads(status.read_text())["delivered"] >= rows * 0.9:
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.01)


def result_of(case: Case, folder: Path, rows: int, repeats: int) -> Result:
    """Measure a case: once to warm up, then `repeats` times."""
    rows = case.rows_of(rows)
    # In a process of its own: a new process counts the peak of the one that starts it as its own.
    subprocess.run([sys.executable, HERE / "data.py", folder, case.pipeline, str(rows)], check=True)
    every = []
    with answering(folder, case.delay_s) as url:
        for _ in range(repeats + 1):
            prepare(case, folder, url, rows)
            every.append(measure(command_of(case, url, rows), folder, url))
    figures = [asdict(each) for each in every[1:] or every]
    middle = {name: median(each[name] for each in figures) for name in figures[0]}
    return Result(case, rows, repeats, Measured(**middle), every)


HEAD = (
    "case", "rows", "seconds", "rows/s", "sending rows/s", "MB/s", "requests/s",
    "CPU s per million", "peak MB", "first request after s", "times the client", "times the script",
)  # fmt: skip


def line_of(result: Result, baselines: dict[str, Result]) -> tuple[str, ...]:
    """A result as a row of the table."""
    it, speed = result.median, result.rows_per_second
    sending_s = it.sending_s or float("inf")
    sends = it.requests > 1
    ratios = [
        f"{speed / baselines[name].rows_per_second:,.1f}" if sends and name in baselines else ""
        for name in ("client", "script")
    ]
    return (
        result.case.name,
        f"{result.rows:,}",
        f"{it.seconds:.2f}",
        f"{speed:,.0f}",
        f"{result.rows / sending_s:,.0f}" if sends else "",
        f"{it.bytes / it.seconds / 1e6:,.1f}",
        f"{it.requests / sending_s:,.0f}" if sends else "",
        f"{it.cpu_s / result.rows * 1e6:,.2f}" if result.rows >= 1000 else f"({it.cpu_s:.2f} s)",
        f"{it.peak_mb:,.0f}",
        f"{it.first_request_s:.2f}" if it.requests else "",
        *ratios,
    )


def table(results: list[Result]) -> str:
    """All results as Markdown."""
    baselines = {each.case.command: each for each in results}
    rows = [HEAD, *(line_of(each, baselines) for each in results)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" + "|---:" * (len(HEAD) - 1) + "|", *lines[1:]])


def main() -> None:
    """Measure, and write the table after every case."""
    parser = argparse.ArgumentParser(description="measure speed and memory")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="cases with this text in their name")
    parser.add_argument("--tenfold", action="store_true", help="also 0.01 to 10 times the rows")
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--shapes", nargs="?", const="", help="these shapes, or all; not the cases")
    parser.add_argument("--sizes", default="", help="of the shapes, instead of their own")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="for one run of a shape")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.shapes is not None:
        names, sizes = (
            asked.shapes.split(","),
            [int(each) for each in asked.sizes.split(",") if each],
        )
        measure_shapes(names, sizes, asked.repeats, asked.limit_s, asked.out)
        return
    cases = [each for each in (*CASES, *(TENFOLD * asked.tenfold)) if asked.only in each.name]
    results: list[Result] = []
    where = f"{machine()}; {asked.rows:,} rows, median of {asked.repeats}"
    print(where, flush=True)
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            results.append(result_of(case, Path(folder), asked.rows, asked.repeats))
        print(" | ".join(line_of(results[-1], {})), flush=True)
        (asked.out / "benchmarks.md").write_text(f"{where}\n\n{table(results)}\n")
        told = {"machine": where, "results": [asdict(each) for each in results]}
        (asked.out / "benchmarks.json").write_text(json.dumps(told, indent=1))
    print(f"\n{table(results)}")


if __name__ == "__main__":
    main()
