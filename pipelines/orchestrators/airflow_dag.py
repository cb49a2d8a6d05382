"""An Airflow DAG that sends every night what is new, and does what each exit code asks for.

Put it into the folder of DAGs. `backfill` may be installed anywhere on the PATH: it shares no
package with Airflow.
"""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

# What an exit code means. All others (1, 2, 4, 5, 6, 7, 8) need a person: a retry would end the
# same way. A negative one is a signal that killed it, which loses nothing.
DELIVERED, REJECTIONS = 0, 3  # 3: done, but some rows were rejected; they are in rejected.csv
RESUMABLE = {75, 130, 143}  # the service was unavailable, the time was up, or it was stopped


class Backfill(BaseOperator):
    """Runs the command of the parameter `arguments`; its summary becomes the XCom."""

    def execute(self, context: Any) -> dict[str, Any]:
        """Run it to its end; what it says goes to the log."""
        self.child = subprocess.Popen(
            ["backfill", *context["params"]["arguments"], "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        summary, advice = {}, ""
        for line in self.child.stdout:
            if line.startswith("{"):
                summary = json.loads(line)
            else:
                advice = line.strip()  # the last line says what to do next
                self.log.info(advice)
        code = self.child.wait()
        if code == REJECTIONS:
            self.log.warning("rejected rows: %s; %s", summary["rejected"], advice)
        if code in (DELIVERED, REJECTIONS):
            return summary
        # BashOperator retries every code alike; that is why this operator exists.
        is_resumable = code in RESUMABLE or code < 0
        raise (AirflowException if is_resumable else AirflowFailException)(f"exit {code}; {advice}")

    def on_kill(self) -> None:
        """Let it finish what is in flight and save its progress; it ends with 143."""
        self.child.terminate()


with DAG(
    "backfill_nightly",
    schedule="30 2 * * *",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,  # one sync sends what all missed nights would have sent
    max_active_runs=1,
    # --wait: last night's sync may still be running.
    params={"arguments": ["sync", "/srv/shop/nightly.toml", "--wait", "15m"]},
) as dag:
    # Six hours in all: a start that finds the service still unavailable costs nothing.
    Backfill(task_id="sync", retries=24, retry_delay=timedelta(minutes=15))
