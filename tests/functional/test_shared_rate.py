"""Several jobs toward one workspace keep to one rate together."""

import pytest

from tests.support.jobs import EVENTS, job, numbered

RATE, JOBS, ROWS = 20, 4, 15
V1 = '[destination]\napi = "v1"'


@pytest.mark.sends_together("four programs send at the same time")
def test_programs_that_send_to_one_workspace_share_its_rate(tmp_path, start, sandbox):
    """Four at once take as long as one that sends it all: no rate is multiplied."""
    pipelines = []
    for number in range(JOBS):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = {"events.csv": numbered(ROWS, first=number * ROWS)}
        pipelines.append(job(folder, files, V1, EVENTS, name=f"job-{number}"))

    commands = [
        start("run", each, "--url", sandbox.url, "--rate", str(RATE), "--json")
        for each in pipelines
    ]
    assert [command.ended().code for command in commands] == [0] * JOBS
    assert sandbox.stats()["events"] == JOBS * ROWS
    # By the sandbox's clock: how long the programs take to start and to end is of no account.
    came_s = [each["received_s"] for each in sandbox.arrivals()]
    assert max(came_s) - min(came_s) >= JOBS * ROWS / (RATE * 1.1) - 1
