"""A Prefect flow that sends every night what is new, and does what each exit code asks for.

    python prefect_flow.py      beside a Prefect server: serves it, every night at half past two

`backfill` may be installed anywhere on the PATH: it shares no package with Prefect.
"""

import json
import subprocess
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.states import Completed, State

# What an exit code means. All others (1, 2, 4, 5, 6, 7, 8) need a person: a retry would end the
# same way. A negative one is a signal that killed it, which loses nothing.
DELIVERED, REJECTIONS = 0, 3  # 3: done, but some rows were rejected; they are in rejected.csv
RESUMABLE = {75, 130, 143}  # the service was unavailable, the time was up, or it was stopped

# Six hours in all: a start that finds the service still unavailable costs nothing.
RETRIES, RETRY_DELAY_S = 24, 15 * 60


class BackfillError(Exception):
    """How it ended, and what to do next."""

    def __init__(self, code: int, advice: str) -> None:
        super().__init__(f"exit {code}; {advice}")
        self.is_resumable = code in RESUMABLE or code < 0


def is_resumable(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether the same command, later, continues where it stopped."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, BackfillError) and error.is_resumable


@task(retries=RETRIES, retry_delay_seconds=RETRY_DELAY_S, retry_condition_fn=is_resumable)
def backfill(arguments: list[str]) -> dict[str, Any]:
    """Run it to its end and give its summary; what it says goes to the log."""
    logger = get_run_logger()
    summary, advice = {}, ""
    with subprocess.Popen(
        ["backfill", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        try:
            for line in child.stdout:
                if line.startswith("{"):
                    summary = json.loads(line)
                else:
                    advice = line.strip()  # the last line says what to do next
                    logger.info(advice)
        except BaseException:  # cancelled: let it finish what is in flight and save its progress
            child.terminate()
            child.communicate()
            raise
    if child.returncode not in (DELIVERED, REJECTIONS):
        raise BackfillError(child.returncode, advice)
    return {**summary, "advice": advice}


@flow
def nightly(
    # --wait: last night's sync may still be running.
    arguments: list[str] = ["sync", "/srv/shop/nightly.toml", "--wait", "15m"],  # noqa: B006
) -> State[Any]:
    """Send, and show in the name of the final state whether rows were rejected."""
    summary = backfill(arguments)
    counts = f"{summary['delivered']} delivered, {summary['rejected']} rejected"
    name = "Rejections" if summary["exit"] == REJECTIONS else "Completed"
    return Completed(name=name, message=f"{counts}; {summary['advice']}")


if __name__ == "__main__":
    nightly.serve(cron="30 2 * * *")
