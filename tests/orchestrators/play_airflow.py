"""Runs the example for Airflow as `airflow dags test` does, once for each line of stdin."""

from datetime import timedelta

import airflow_dag
from playing import RETRIES, RETRY_DELAY_S, play

task = airflow_dag.dag.get_task("sync")
task.retries, task.retry_delay = RETRIES, timedelta(seconds=RETRY_DELAY_S)
messages = []
task.on_failure_callback = [lambda context: messages.append(str(context["exception"]))]


def run(arguments):
    """How a DAG run ends, and how often its task was started."""
    messages.clear()
    ended = airflow_dag.dag.test(run_conf={"arguments": arguments})
    (instance,) = ended.get_task_instances()
    return {
        "succeeded": ended.state == "success",
        "starts": instance.try_number,
        "message": "".join(messages),
        "delivered": (instance.xcom_pull("sync") or {}).get("delivered"),
    }


play(run)
