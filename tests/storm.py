"""The long versions of what the suite does briefly, and a table of what came of them: `make storm`.

    KILLS=100 POWER_CUTS=2000 make storm    less of it
    SEED=8 make storm                       other moments

A line is told for each piece; a piece that fails is told with the seed that repeats it. Exits
with 1 if any did.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parent.parent
KILLS = int(os.environ.get("KILLS", "1000"))
ROWS_A_KILL = int(os.environ.get("ROWS_A_KILL", "5200"))
POWER_CUTS = int(os.environ.get("POWER_CUTS", "20000"))
PAIRS = int(os.environ.get("PAIRS", "100"))
SEED = int(os.environ.get("SEED", "1000"))
PIECE_KILLS = 25
HARM = "lost, phantom, duplicated, misreported, out of order, with differing bytes"


def main() -> int:
    """Run every piece; print the table."""
    figures: Counter[str] = Counter()
    failed: list[str] = []
    began_s = time.monotonic()
    for test, env in pieces():
        found, harm = run(test, env)
        told = " ".join(f"{key}={value}" for key, value in env.items())
        print(f"{told}: {harm or 'all zero'} {dict(found)}", flush=True)
        figures += found
        if harm:
            failed.append(told)
    print(f"\n{time.monotonic() - began_s:,.0f} s")
    for name, figure in figures.items():
        print(f"{figure:>12,}  {name}")
    print(f"{len(failed) or 0:>12}  pieces with rows {HARM}, or commits lost in a power cut")
    return 1 if failed else 0


def pieces() -> Iterator[tuple[str, dict[str, str]]]:
    """Each piece: the test, and its settings."""
    if POWER_CUTS:
        yield "test_power_cuts.py", {"POWER_CUTS": str(POWER_CUTS)}
    if PAIRS:
        yield "test_fault_pairs.py", {"PAIRS": str(PAIRS)}
    for seed in range(SEED, SEED + -(-KILLS // PIECE_KILLS)):
        left = KILLS - (seed - SEED) * PIECE_KILLS
        yield (
            "test_kill_storm.py",
            {
                "SEED": str(seed),
                "KILLS": str(min(left, PIECE_KILLS)),
                "ROWS_A_KILL": str(ROWS_A_KILL),
            },
        )


def run(test: str, env: dict[str, str]) -> tuple[Counter[str], str]:
    """Run a test with these settings; gives its figures, and what was wrong ("": nothing)."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-o", "junit_family=xunit1", f"--junit-xml={told}", f"--basetemp={folder}/jobs"]
        ended = subprocess.run(
            [*command, f"tests/functional/{test}"],
            cwd=ROOT,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        properties = ET.parse(told).getroot().iter("property") if told.exists() else ()
        figures: Counter[str] = Counter()
        for each in properties:
            figures[each.get("name", "")] += int(each.get("value", "0"))
        return (
            figures,
            ""
            if ended.returncode == 0
            else f"FAILED\n{ended.stdout[-4000:]}{ended.stderr[-1000:]}",
        )


if __name__ == "__main__":
    sys.exit(main())
