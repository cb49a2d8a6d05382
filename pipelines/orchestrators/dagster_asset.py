"""A Dagster asset that sends every night what is new, and does what each exit code asks for.

    dagster dev -f dagster_asset.py

Copy `dagster_step.py` with it. `backfill` may be installed anywhere on the PATH: it shares no
package with Dagster.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

# What an exit code means. All others (1, 2, 4, 5, 6, 7, 8) need a person: a retry would end the
# same way. A negative one is a signal that killed it, which loses nothing.
DELIVERED, REJECTIONS = 0, 3  # 3: done, but some rows were rejected; they are in rejected.csv
RESUMABLE = {75, 130, 143}  # the service was unavailable, the time was up, or it was stopped

# Six hours in all: a start that finds the service still unavailable costs nothing.
RETRIES, RETRY_DELAY_S = 24, 15 * 60

STEP = Path(__file__).with_name("dagster_step.py")


class Command(dg.Config):
    """The words after `backfill`."""

    # --wait: last night's sync may still be running.
    arguments: list[str] = ["sync", "/srv/shop/nightly.toml", "--wait", "15m"]


@dg.asset(check_specs=[dg.AssetCheckSpec("every_row_is_delivered", asset="customer_io")])
def customer_io(
    context: dg.AssetExecutionContext, config: Command, pipes: dg.PipesSubprocessClient
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """People and events in Customer.io; its counts are the metadata."""
    step = pipes.run(context=context, command=[sys.executable, str(STEP), *config.arguments])
    (ended,) = step.get_custom_messages()
    code = ended["code"]
    if code in (DELIVERED, REJECTIONS):
        yield from step.get_results()
        return
    failure = dg.Failure(f"exit {code}; {ended['advice']}", allow_retries=False)
    if code in RESUMABLE or code < 0:
        raise dg.RetryRequested(RETRIES, RETRY_DELAY_S) from failure
    raise failure


nightly = dg.define_asset_job("nightly", [customer_io])
definitions = dg.Definitions(
    assets=[customer_io],
    jobs=[nightly],
    schedules=[dg.ScheduleDefinition(job=nightly, cron_schedule="30 2 * * *")],
    # Whoever terminates the run waits until what is in flight is finished and saved.
    resources={"pipes": dg.PipesSubprocessClient(termination_timeout_seconds=120)},
)
