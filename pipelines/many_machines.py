"""The shop's history, sent by the workers of a Dask cluster that this file starts by itself.

    backfill sandbox                                                 # in one terminal
    python pipelines/many_machines.py http://127.0.0.1:8025          # in another

Where you have a cluster, leave LocalCluster out and give its address; `scratch` must then be a
folder that this machine and all of its workers see. For processes of one machine alone
`backfill run --workers 2` needs no file of its own.
"""

import sys
import tempfile
from pathlib import Path

from distributed import LocalCluster

from backfill import Options, Pipeline, run


def main(url: str) -> None:
    """Send it to a workspace at this address."""
    pipeline = Pipeline.load(Path(__file__).parent / "acme.toml")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        tempfile.TemporaryDirectory() as scratch,
    ):
        options = Options(url=url, cluster=cluster.scheduler_address, scratch=scratch)
        summary = run(pipeline, options, progress=print)
    print(f"{summary.delivered:,} delivered, {summary.rejected:,} rejected")  # noqa: T201


if __name__ == "__main__":  # its workers import this file, and must not start another cluster
    main(sys.argv[1])
