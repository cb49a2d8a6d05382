"""The question that a backfill exists for: which segments will people fall into?

A history goes from files through the program into the sandbox; the segments are then held
against a count over the very files, which knows neither the program nor the sandbox.
"""

import csv
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill import Options, Pipeline, run
from backfill.sandbox import running
from tests.support.accounts import Account, check_account
from tests.support.workspaces import Workspace

NOW = datetime(2025, 1, 31, 12, tzinfo=UTC)
WINDOW = timedelta(days=30)
NAMES = ("purchased", "created_project", "signed_in")
PIPELINE = """
name = "truth"
[destination]
rate = 0
[[source]]
kind = "customers"
files = ["customers.csv"]
identifier = { id = "id" }
[source.columns]
created_at = { from = "signed_up", type = "timestamp", timezone = "UTC" }
[[source]]
kind = "events"
files = ["events.parquet"]
identifier = { id = "person" }
name = { from = "what" }
timestamp = { from = "at" }
identical_rows = "keep"
"""


def history(folder: Path, seed: int) -> tuple[list[str], list[tuple[str, str, datetime]]]:
    """People, some without events; events around the window's edges, before and after now."""
    die = Random(seed)
    people = [f"p{number:03}" for number in range(150)]
    edges = [NOW, NOW - WINDOW, NOW - WINDOW - timedelta(seconds=1), NOW + timedelta(seconds=1)]
    events = [
        (
            die.choice(people[:-20]),
            die.choice(NAMES),
            die.choice(edges)
            if die.random() < 0.1
            else NOW - timedelta(seconds=die.randrange(-(10**6), 10**7)),
        )
        for _ in range(600)
    ]
    with (folder / "customers.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("id", "email", "signed_up")]
            + [(each, f"{each}@example.com", "2020-05-01 10:00:00") for each in people]
        )
    columns = list(zip(*events, strict=True))
    types = (pa.string(), pa.string(), pa.timestamp("us", tz="UTC"))
    arrays = [pa.array(column, type_) for column, type_ in zip(columns, types, strict=True)]
    pq.write_table(pa.table(arrays, ["person", "what", "at"]), folder / "events.parquet")
    (folder / "truth.toml").write_text(PIPELINE)
    return people, events


def segment(url: str, condition: dict) -> tuple[int, list[str]]:
    """How many people fall into a segment as of NOW, and the first hundred of them."""
    body = json.dumps({**condition, "now": int(NOW.timestamp())}).encode()
    with urlopen(Request(f"{url}/sandbox/segments", body, method="POST"), timeout=30) as answer:
        found = json.load(answer)
    return found["count"], sorted(found["people"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_segments_of_the_backfilled_history_are_those_of_the_files(tmp_path, seed):
    """Who purchased in the last 30 days, and who has not created a project in 30 days."""
    people, events = history(tmp_path, seed)
    with running() as sandbox:
        workspace = Workspace(sandbox.url, os.getpid())
        before = Account.of(workspace)
        options = Options(url=sandbox.url, env={})
        summary = run(Pipeline.load(tmp_path / "truth.toml"), options)
        check_account(summary.as_dict(), before, Account.of(workspace), is_alone=True)
        assert summary.delivered == len(people) + len(events)

        within = {"performed": True, "at_least": 1, "within_days": 30}
        purchased = segment(sandbox.url, {"event": {"name": "purchased", **within}})
        lapsed = segment(
            sandbox.url,
            {"event": {"name": "created_project", "performed": False, "within_days": 30}},
        )

    def did(name: str) -> set[str]:
        return {who for who, what, at in events if what == name and NOW - WINDOW <= at <= NOW}

    known_for_30_days = {who for who, _, at in events if at <= NOW - WINDOW}
    buyers = sorted(did("purchased"))
    assert purchased == (len(buyers), buyers[:100])
    absent = sorted(known_for_30_days - did("created_project"))
    assert lapsed == (len(absent), absent[:100])
