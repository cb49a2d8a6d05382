"""The examples for orchestrators agree with the program about what each exit code means.

`make orchestrators` runs each in its orchestrator, and meets each exit code (tests/orchestrators).
"""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from backfill import Pipeline
from backfill.errors import RESUMABLE, ExitCode

EXAMPLES = Path(__file__).parents[2] / "pipelines" / "orchestrators"


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
    assert done | resumable | for_a_person == {*ExitCode}
    assert len(done) + len(resumable) + len(for_a_person) == len({*ExitCode})


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_compiles(path):
    """Its orchestrator is not needed for that."""
    assert compile(path.read_text("utf-8"), path.name, "exec").co_names


@pytest.fixture
def manifests():
    """The documents of the example for Kubernetes, by kind."""
    text = (EXAMPLES / "kubernetes_cronjob.yaml").read_text("utf-8")
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def test_the_manifests_fit_the_published_schema(manifests):
    """None has a field that Kubernetes does not know."""
    assert set(manifests) == {"ConfigMap", "Secret", "CronJob"}
    for each in manifests.values():
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_the_job_in_kubernetes_fails_at_once_where_a_person_is_needed(manifests):
    """A container that starts anew in its pod would never be asked about its exit code."""
    job = manifests["CronJob"]["spec"]["jobTemplate"]["spec"]
    *_, rule = job["podFailurePolicy"]["rules"]
    done = {ExitCode.DELIVERED, ExitCode.REJECTIONS}
    assert rule["action"] == "FailJob"
    assert set(rule["onExitCodes"]["values"]) == {*ExitCode} - done - {*RESUMABLE}
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_the_pipeline_in_kubernetes_can_be_used(manifests, tmp_path):
    """Its state is in the bucket, as its files are."""
    path = tmp_path / "pipeline.toml"
    path.write_text(manifests["ConfigMap"]["data"]["pipeline.toml"], "utf-8")
    pipeline = Pipeline.load(path)
    assert pipeline.state == "s3://acme-exports/jobs"
    assert all(file.startswith("s3://") for each in pipeline.sources for file in each.files)
