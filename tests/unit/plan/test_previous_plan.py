"""The plan before this one."""

from backfill.plan.first_pass import PlanResult
from backfill.plan.plan import Plan
from backfill.plan.previous_plan import FORMER_FILE, remember, short_of
from backfill.plan.source_stats import SourcePlan


def plan(key, rows):
    """A plan with so many rows."""
    source = SourcePlan("customers", ["a.csv"], rows_read=rows)
    return Plan(key, 0.0, None, PlanResult({1: rows}, [source], [], {}, 0, {}, []))


def test_the_one_before_is_the_last_other_one(tmp_path):
    """Looking at a plan again does not make it its own former one."""
    one, two = plan("1", 10), plan("2", 20)
    assert remember(tmp_path, one) is None
    assert remember(tmp_path, two) == short_of(one)
    assert remember(tmp_path, two) == short_of(one)
    assert remember(tmp_path, one) == short_of(two)


def test_what_cannot_be_read_is_forgotten(tmp_path):
    """It is no part of the job's state."""
    (tmp_path / FORMER_FILE).write_text("{")
    assert remember(tmp_path, plan("1", 10)) is None
    assert remember(tmp_path, plan("2", 10)) is not None
