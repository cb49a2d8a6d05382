"""The invented files: the same everywhere, and rejected for what they say."""

import gzip
import importlib.util
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from backfill.cli.samples import expected_rejections, sample_pipeline
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import make_plan
from backfill.sources.inputs import open_inputs

FOLDER = sample_pipeline().parent.parent / "sample_data"
LONG_AFTER_S = 1_790_000_000
SUFFIXES = (".csv", ".gz", ".json", ".parquet")


def _content(path):
    """What is in a file; how it is packed may differ between versions of the packers."""
    if path.suffix == ".parquet":
        return repr(pq.read_table(path).to_pylist())  # in which NaN is like NaN
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _files(folder):
    found = {each.relative_to(folder) for each in folder.rglob("*") if each.suffix in SUFFIXES}
    others = ("exports", "nights", "inbox")  # other scripts make them, or a reader of the README
    return {each for each in found if each.parts[0] not in others}


def _made(folder):
    script = FOLDER / "make_samples.py"
    spec = importlib.util.spec_from_file_location("make_samples", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.Samples(folder).make()
    return folder


def test_the_script_makes_the_very_files_that_lie_beside_it(tmp_path):
    """Who changes the script has to run it, and nobody edits its files by hand."""
    made = _made(tmp_path)
    assert _files(made) == _files(FOLDER)
    for name in _files(made):
        assert _content(made / name) == _content(FOLDER / name), name


def test_they_stay_small():
    """They are part of every download."""
    assert sum((FOLDER / name).stat().st_size for name in _files(FOLDER)) < 1_000_000


def test_they_show_what_a_history_has(tmp_path):
    """Each ugly row is rejected for its reasons and no other; people merge, repeats are skipped."""
    pipeline = Pipeline.load(sample_pipeline())
    plan = make_plan(pipeline, open_inputs(pipeline), tmp_path, now_s=LONG_AFTER_S)

    reasons = sum((source.reasons for source in plan.sources), Counter())
    assert dict(reasons) == dict(expected_rejections())
    assert sum(source.merged for source in plan.sources) > 10
    skipped = {reason for source in plan.sources for reason in source.skipped}
    assert skipped == {"identical_row", "repeated_key", "transform"}
    assert plan.rows_read > 4_000


def test_no_sample_event_can_trigger_a_campaign(tmp_path):
    """All of them are older than 72 hours, so that the demo needs no guard to be answered."""
    pipeline = Pipeline.load(sample_pipeline())
    plan = make_plan(pipeline, open_inputs(pipeline), tmp_path, now_s=LONG_AFTER_S)
    assert not any(source.recent_at(LONG_AFTER_S) for source in plan.sources)


def test_the_samples_come_from_the_repository_itself():
    """What a wheel holds is what lies in the folders that readers see."""
    root = Path(__file__).parents[3]
    assert sample_pipeline() == root / "pipelines" / "acme.toml"
