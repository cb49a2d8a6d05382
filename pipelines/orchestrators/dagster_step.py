"""Runs backfill for `dagster_asset.py`, and reports to Dagster through its pipes how that went.

    python dagster_step.py sync /srv/shop/nightly.toml      works by hand too, without Dagster

Of Dagster it needs `dagster-pipes` alone, a single module.
"""

import json
import signal
import subprocess
import sys

from dagster_pipes import open_dagster_pipes

DELIVERED, REJECTIONS = 0, 3

with open_dagster_pipes() as pipes:
    # A process group of its own: Ctrl-C in a terminal would reach it twice, which means "at once".
    child = subprocess.Popen(
        ["backfill", *sys.argv[1:], "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: child.send_signal(number))
    summary, advice = {}, ""
    for line in child.stdout:
        if line.startswith("{"):
            summary = json.loads(line)
        else:
            advice = line.strip()  # the last line says what to do next
            pipes.log.info(advice)
    code = child.wait()
    if code in (DELIVERED, REJECTIONS):
        counts = ("rows_read", "delivered", "rejected", "merged", "skipped", "seconds")
        pipes.report_asset_materialization({each: summary[each] for each in counts})
        pipes.report_asset_check(
            "every_row_is_delivered",
            passed=code == DELIVERED,
            severity="WARN",
            metadata={**summary["rejections_by_reason"], "advice": advice},
        )
    pipes.report_custom_message({"code": code, "advice": advice})
