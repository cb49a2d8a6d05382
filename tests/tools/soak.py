"""Runs in one process, again and again, and whether anything grows: `make soak MINUTES=30`.

Prints a line every few runs: the memory that is resident, open files, threads and objects. Exits
with 1 if the second half of the time needed more of any than the first half, a tenth and a little
aside.
"""

import gc
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from backfill import (  # noqa: E402
    Options,
    Pipeline,
    run,
)
from tests.support.workspaces import Workspace, workspace  # noqa: E402
from tests.support.worlds import invent  # noqa: E402

MINUTES = float(os.environ.get("MINUTES", "30"))
LINES = 30
FAULTS = (
    {"kind": "lost_answer", "rate": 0.05, "method": "POST"},
    {"kind": "reset_before", "rate": 0.05, "method": "POST"},
    {"kind": "status", "status": 500, "rate": 0.05, "method": "POST"},
)
MARGIN = {"MB": 8, "files": 2, "threads": 2, "objects": 2_000}


def main() -> int:
    """Run until the time is up; compare the halves."""
    series: list[dict[str, int]] = []
    with workspace() as sandbox, tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline.load(invent(Path(folder), 1).pipeline)
        _one_run(pipeline, sandbox)  # what is loaded on first use is no leak
        began_s = time.monotonic()
        for number in range(1, LINES + 1):
            runs = 0
            while time.monotonic() - began_s < MINUTES * 60 * number / LINES:
                _one_run(pipeline, sandbox)
                runs += 1
            series.append(measured())
            print(f"{time.monotonic() - began_s:7.0f} s  {runs:4} runs  {series[-1]}", flush=True)
    grown = [name for name in MARGIN if grows([each[name] for each in series], MARGIN[name])]
    print(f"grows: {', '.join(grown)}" if grown else "nothing grows")
    return 1 if grown else 0


def _one_run(pipeline: Pipeline, sandbox: Workspace) -> None:
    """Send everything anew to a workspace that forgets it."""
    sandbox.reset()
    sandbox.misbehave(*FAULTS)
    run(pipeline, Options(url=sandbox.url, rate=0, restart=True, env={}))


def measured() -> dict[str, int]:
    """What this process has of everything."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "MB": pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000,
        "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - names only
        "threads": threading.active_count(),
        "objects": len(gc.get_objects()),
    }


def grows(figures: list[int], margin: int) -> bool:
    """Whether the second half is above the first by more than a tenth and the margin."""
    half = len(figures) // 2
    return max(figures[half:]) > max(figures[:half]) * 1.1 + margin


if __name__ == "__main__":
    sys.exit(main())
