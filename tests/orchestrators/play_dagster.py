"""Materializes the example for Dagster in a process, once for each line of stdin."""

import dagster as dg
import dagster_asset
from playing import RETRIES, RETRY_DELAY_S, play

dagster_asset.RETRIES, dagster_asset.RETRY_DELAY_S = RETRIES, RETRY_DELAY_S


def run(arguments):
    """How a run ends, and how often its step was started."""
    with dg.DagsterInstance.ephemeral() as instance:
        config = {"ops": {"customer_io": {"config": {"arguments": arguments}}}}
        result = dg.materialize(
            [dagster_asset.customer_io],
            instance=instance,
            resources=dagster_asset.definitions.resources,
            run_config=config,
            raise_on_error=False,
        )
    events = result.all_events
    failures = [each.step_failure_data for each in events if each.is_step_failure]
    said = [each.user_failure_data or each.error for each in failures]
    checks = result.get_asset_check_evaluations()
    kept = [each.metadata for each in result.asset_materializations_for_node("customer_io")]
    return {
        "succeeded": result.success,
        "starts": 1 + sum(each.is_step_restarted for each in events),
        "was_warned": any(not each.passed for each in checks),
        "message": "".join(map(str, said)),
        "delivered": kept[0]["delivered"].value if kept else None,
    }


play(run)
