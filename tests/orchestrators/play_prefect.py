"""Runs the example for Prefect on its own temporary server, once for each line of stdin."""

import prefect_flow
from playing import RETRIES, RETRY_DELAY_S, play
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter

prefect_flow.backfill = prefect_flow.backfill.with_options(
    retries=RETRIES, retry_delay_seconds=RETRY_DELAY_S
)


def run(arguments):
    """How a flow run ends, and how often its task was started."""
    final = prefect_flow.nightly(arguments, return_state=True)
    with get_client(sync_client=True) as client:
        chosen = TaskRunFilter(flow_run_id={"any_": [final.state_details.flow_run_id]})
        (task,) = client.read_task_runs(task_run_filter=chosen)
    return {
        "succeeded": final.is_completed(),
        "starts": task.run_count,
        "was_warned": final.name == "Rejections",
        "message": final.message,
        "delivered": int(final.message.split()[0]) if final.is_completed() else None,
    }


play(run)
