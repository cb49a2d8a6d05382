"""The long versions of what the suite does briefly, and a table of what came of them: `make storm`.

    KILLS=100 WORKER_KILLS=25 PODS=5 POWER_CUTS=2000 DAMAGES=200 make storm    less of it
    SEED=8 make storm                       other times
    TIMES=50 make storm                     more examples of each property
    AT_ONCE=1 make storm                    one piece after the other

Each piece has a sandbox and a folder of its own. A line is told for each; a piece that fails is
told with the seed that repeats it, and whether rows were harmed or a test failed for less: a storm
that is too small proves nothing. Exits with 1 if any did, or if most kills hit nothing in flight.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.checker import BrokenPromiseError  # noqa: E402 - the tests are not installed

KILLS = int(os.environ.get("KILLS", "1000"))
ROWS_A_KILL = int(os.environ.get("ROWS_A_KILL", "5200"))
WORKER_KILLS = int(os.environ.get("WORKER_KILLS", "300"))
"""Of workers, schedulers and drivers, over two million rows."""

PODS = int(os.environ.get("PODS", "30"))
POWER_CUTS = int(os.environ.get("POWER_CUTS", "20000"))
PAIRS = int(os.environ.get("PAIRS", "100"))
DAMAGES = int(os.environ.get("DAMAGES", "2000"))
TIMES = int(os.environ.get("TIMES", "10"))
SEED = int(os.environ.get("SEED", "1000"))
AT_ONCE = int(os.environ.get("AT_ONCE", "2"))
PIECE_KILLS = 25
ROWS_A_WORKER_KILL = 2_000_000 // 300
PIECE_DAMAGES = 250
PROPERTIES = (
    "functional/test_sandbox_histories.py",
    "functional/test_segment_oracle.py",
    "functional/test_sync_property.py",
    "unit/instants/test_formats.py",
    "unit/instants/test_zones.py",
    "unit/scaffold/test_what_init_writes.py",
    "unit/sources/test_delimited.py",
    "unit/sources/test_json_file.py",
    "unit/sources/test_json_framing.py",
    "unit/sources/test_json_scan.py",
)
"""What the suite tries with few examples."""

HARM = "lost, phantom, duplicated, misreported, out of order, with differing bytes"
BROKEN = BrokenPromiseError.__name__


Piece = tuple[str, dict[str, str]]
"""A test, and its settings."""


def main() -> int:
    """Run every piece; print the table."""
    figures: Counter[str] = Counter()
    harmed = failed = done = 0
    began_s = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(run, piece): piece for piece in pieces()}
        for each in as_completed(running):
            found, failure = each.result()
            done += 1
            test, settings = running[each]
            told = " ".join([test, *(f"{key}={value}" for key, value in settings.items())])
            after = f"{done}/{len(running)} {time.monotonic() - began_s:,.0f} s"
            print(f"{after}  {told}: {failure or 'all zero'} {dict(found)}", flush=True)
            figures += found
            harmed += BROKEN in failure
            failed += bool(failure) and BROKEN not in failure
    print()
    for name, figure in figures.items():
        print(f"{figure:>12,}  {name}")
    print(f"{harmed:>12,}  pieces with rows {HARM}, or commits lost in a power cut")
    print(f"{failed:>12,}  pieces that failed for another reason: too small, or a fault of a test")
    missed = figures["kills with rows in flight"] < figures["kills"] / 2
    if missed:
        print("too few kills hit rows in flight: this proves nothing")
    return 1 if harmed or failed or missed else 0


def pieces() -> Iterator[Piece]:
    """Each piece of the storm."""
    if POWER_CUTS:
        yield "functional/test_power_cuts.py", {"POWER_CUTS": str(POWER_CUTS)}
    if PODS:
        pods = "functional/test_state_elsewhere.py::test_pods_that_are_killed_again_and_again"
        yield pods, {"SEED": str(SEED), "KILLS": str(PODS)}
    if PAIRS:
        yield "functional/test_fault_pairs.py", {"PAIRS": str(PAIRS)}
    for test in PROPERTIES if TIMES else ():
        yield test, {"TIMES": str(TIMES)}
    for seed in range(SEED, SEED + -(-DAMAGES // PIECE_DAMAGES)):
        left = DAMAGES - (seed - SEED) * PIECE_DAMAGES
        settings = {"SEED": str(seed), "DAMAGES": str(min(left, PIECE_DAMAGES))}
        yield "functional/test_damaged_state.py", settings
    yield from _killed("functional/test_worker_storm.py", WORKER_KILLS, ROWS_A_WORKER_KILL)
    yield from _killed("functional/test_kill_storm.py", KILLS, ROWS_A_KILL)


def _killed(test: str, kills: int, rows_a_kill: int) -> Iterator[Piece]:
    """A test with so many kills, in pieces with seeds of their own."""
    for piece, done in enumerate(range(0, kills, PIECE_KILLS)):
        count = str(min(kills - done, PIECE_KILLS))
        yield (
            test,
            {"SEED": str(SEED + piece), "KILLS": count, "ROWS_A_KILL": str(rows_a_kill)},
        )


def run(piece: Piece) -> tuple[Counter[str], str]:
    """Run a piece; gives its figures, and what was wrong ("": nothing)."""
    test, env = piece
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        told = Path(folder) / "told.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-o", "junit_family=xunit1", f"--junit-xml={told}", f"--basetemp={folder}/jobs"]
        ended = subprocess.run(
            [*command, f"tests/{test}"],
            cwd=ROOT,
            env={**os.environ, "TIMES": "1", **env, "TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
        )
        properties = ET.parse(told).getroot().iter("property") if told.exists() else ()
        figures: Counter[str] = Counter()
        for each in properties:
            if each.get("value", "").isdigit():  # Hypothesis tells statistics, as text
                figures[each.get("name", "")] += int(each.get("value", ""))
    if ended.returncode == 0:
        return figures, ""
    return figures, f"FAILED\n{ended.stdout[-4000:]}{ended.stderr[-1000:]}"


if __name__ == "__main__":
    sys.exit(main())
