"""The examples for orchestrators agree with the program about what each exit code means.

`make orchestrators` runs each in its orchestrator, and meets each exit code (tests/orchestrators).
"""

import re
from pathlib import Path

import pytest

from backfill.errors import RESUMABLE, ExitCode

EXAMPLES = Path(__file__).parents[2] / "pipelines" / "orchestrators"
DIFFERENCES = 8
"""`verify` found some."""


def codes(pattern: str, text: str) -> set[int]:
    """The numbers in the one place that a pattern finds."""
    (found,) = re.findall(pattern, text)
    return {int(each) for each in re.findall(r"\d+", found)}


@pytest.mark.parametrize("name", ["airflow_dag.py", "dagster_asset.py", "prefect_flow.py"])
def test_an_example_knows_every_exit_code(name):
    """Done, to be resumed, or for a person: each code is in one of the three."""
    text = (EXAMPLES / name).read_text("utf-8")
    done = codes(r"\nDELIVERED, REJECTIONS = (.*?)  #", text)
    resumable = codes(r"\nRESUMABLE = {(.*?)}", text)
    for_a_person = codes(r"\n# What an exit code means\. All others \((.*?)\)", text)
    assert done == {ExitCode.DELIVERED, ExitCode.REJECTIONS}
    assert resumable == {*RESUMABLE}
    assert done | resumable | for_a_person == {*ExitCode, DIFFERENCES}
    assert len(done) + len(resumable) + len(for_a_person) == len({*ExitCode, DIFFERENCES})


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_compiles(path):
    """Its orchestrator is not needed for that."""
    compile(path.read_text("utf-8"), path.name, "exec")
