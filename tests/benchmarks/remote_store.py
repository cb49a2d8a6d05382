"""What a bucket costs: the same events from a folder and from a store that is 40 ms away.

    python tests/benchmarks/remote_store.py [--rows N] [--times N] [--latency-ms N]

Wanted for 1,000,000 events of Parquet, plan and send: at least 70 % of the local speed, and at
most 60 MB more. The store is moto behind a proxy that keeps each answer for the latency; it, the
server that answers and what is measured share the machine. Local and remote take turns.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from data import PIPELINES, make  # noqa: E402
from measuring import BACKFILL, STATE, Measured, answering, machine, measure  # noqa: E402

from tests.support import stores  # noqa: E402


def main() -> None:
    """Measure, and print a line for each place."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=40)
    asked = parser.parse_args()
    os.environ.update(stores.ENVIRONMENT)
    folder = Path(tempfile.mkdtemp(prefix="remote-store-"))
    try:
        make(folder, {"parquet"}, asked.rows)
        with stores.s3() as store, stores.between(store) as (proxy, bucket):
            store.put("events.parquet", (folder / "events.parquet").read_bytes())
            proxy.latency_s = asked.latency_ms / 1000
            table = PIPELINES["parquet"].replace("events.parquet", bucket.url("events.parquet"))
            remote = f'name = "remote"\n[storage]\n{bucket.settings}\n{table}'
            (folder / "remote.toml").write_text(remote)
            found = took(folder, asked.times)
            requests = len(proxy.asked) / asked.times
    finally:
        shutil.rmtree(folder)
    print(f"{machine()}; {asked.rows:,} events, medians of {asked.times}")
    seconds = {name: median(each.seconds for each in some) for name, some in found.items()}
    for name, some in found.items():
        peak_mb = median(each.peak_mb for each in some)
        cpu_s = median(each.cpu_s for each in some)
        print(f"{name}: {seconds[name]:.2f} s, {cpu_s:.1f} s of CPU, {peak_mb:.0f} MB at most")
    print(
        f"{seconds['parquet'] / seconds['remote']:.0%} of the local speed; {requests:.0f} requests"
    )


def took(folder: Path, times: int) -> dict[str, list[Measured]]:
    """Plan and send each as often as asked, in turn."""
    found: dict[str, list[Measured]] = {"parquet": [], "remote": []}
    with answering(folder) as url:
        for _ in range(times):
            for name, some in found.items():
                shutil.rmtree(folder / STATE, ignore_errors=True)
                command = [*BACKFILL, "run", f"{name}.toml", "--url", url, "--rate", "0", "--yes"]
                measured = measure(command, folder, url)
                assert measured is not None
                some.append(measured)
    return found


if __name__ == "__main__":
    main()
