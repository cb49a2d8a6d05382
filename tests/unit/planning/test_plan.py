"""A plan counts what is there, the same every time, and holds for what it was made for."""

import json
import os
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import UsageError
from backfill.journal import Ranges
from backfill.pipeline.file import Pipeline
from backfill.planning import people as people_of_plan
from backfill.planning.first_pass import PlanResult
from backfill.planning.folder import PlanFolder
from backfill.planning.merged_people import MergedPeople
from backfill.planning.plan import (
    LAST_FIGURES_FILE,
    Plan,
    compare_with_last,
    figures_of,
    keep_only,
    load_plan,
    make_plan,
    plan_key,
)
from backfill.planning.rejection_log import read_rejections
from backfill.planning.row_decisions import RowDecision, RowDecisions
from backfill.planning.source_stats import SourcePlan
from backfill.sources.inputs import open_inputs
from tests.support.jobs import CUSTOMERS, DELETIONS, EVENTS, HEADER, job, numbered, people

NOW_S = datetime(2025, 6, 1, tzinfo=UTC).timestamp()
FILES = {
    "customers.csv": "id,email,n\na,a@x.y,1\nb,b@x.y,2\na,,3\n,c@x.y,4\n",
    "events-1.csv": HEADER + "a,seen,2025-01-01,1\na,seen,2025-01-01,1\nz,left,2025-05-31,2\n",
    "events-2.csv": HEADER + "b,seen,never,1\nb,,2025-01-02,1\na,seen,2025-01-01,1\n",
    "gone.csv": "id\nc\nd\nc\n",
}
TABLES = (CUSTOMERS, EVENTS + 'identical_rows = "keep"\n', DELETIONS)


def planned(path, folder, **more):
    """The plan of a pipeline file, kept in a folder."""
    pipeline = Pipeline.load(path)
    return make_plan(pipeline, open_inputs(pipeline), folder, now_s=NOW_S, **more)


def key(path, settled=None, former=""):
    """What a plan of the pipeline file, as it is now, would be for."""
    pipeline = Pipeline.load(path)
    return plan_key(pipeline, open_inputs(pipeline), settled or {}, former)


def open_rows(count):
    """The first rows of a file."""
    return np.arange(1, count + 1)


def test_everything_is_counted_by_source(tmp_path):
    """Rows, operations, rejections by reason, people merged and unknown, days and names."""
    plan = planned(job(tmp_path, FILES, *TABLES), tmp_path / "plan")
    customers, events, gone = plan.sources
    assert (plan.rows_read, plan.found.rows) == (13, {1: 4, 2: 3, 3: 3, 4: 3})
    assert (customers.rows_read, customers.operations, customers.merged) == (4, 3, 1)
    assert customers.reasons == {"identifier_missing": 1}
    assert (events.rows_read, events.rejected, events.operations) == (6, 2, 4)
    assert events.reasons == {"timestamp_unreadable": 1, "name_missing": 1}
    assert events.names == {"seen": 3, "left": 1}
    assert (events.identical, events.unknown_people) == (2, 1)
    assert events.recent_at(NOW_S) == 1
    assert events.recent_at(NOW_S + 3 * 86_400) == 0
    assert (gone.operations, gone.skipped) == (3, {"repeated_person": 1})
    assert events.files == ["events-1.csv", "events-2.csv"]
    assert [json.loads(each)["action"] for each in plan.found.samples] == [
        "identify",
        "event",
        "delete",
    ]


def test_what_the_send_pass_needs_is_kept_beside_it(tmp_path):
    """Marks, merged people, and the rejected rows in the order of the files."""
    plan = planned(job(tmp_path, FILES, *TABLES), tmp_path / "plan")
    folder = tmp_path / "plan" / plan.key
    marks, rows = RowDecisions(PlanFolder(folder).decisions), open_rows(4)
    assert marks.of(1, rows)["kind"].tolist() == [RowDecision.CARRIER, 0, RowDecision.MERGED, 0]
    assert marks.of(2, rows)["kind"].tolist() == [0, RowDecision.OCCURRENCE, 0, 0]
    assert marks.of(3, rows)["value"].tolist() == [0, 0, 2, 0]
    merged = json.loads("{" + MergedPeople(PlanFolder(folder).merged).of(1, 1) + "}")
    assert merged == {"email": "a@x.y", "n": "3"}
    rejected = [
        (part, row)
        for part, some in read_rejections(PlanFolder(folder).rejections[0])
        for row in some.rows.tolist()
    ]
    assert rejected == [(1, 4), (3, 1), (3, 2)]


def test_who_stands_in_the_rows_is_written_only_where_a_sync_may_ask(tmp_path):
    """Five files that nobody would read; without them nobody is named."""
    events = {name: text for name, text in FILES.items() if name.startswith("events")}
    plan = planned(job(tmp_path, events, EVENTS + 'identical_rows = "keep"\n'), tmp_path / "plan")
    folder = tmp_path / "plan" / plan.key
    assert not list(folder.glob("*.parquet"))
    assert not list(people_of_plan.named(folder))

    plan = planned(job(tmp_path, FILES, *TABLES), tmp_path / "plan")
    folder = tmp_path / "plan" / plan.key
    assert all(path.exists() for path in people_of_plan.files(folder).values())
    assert [(each, some.to_pylist()) for each, some in people_of_plan.named(folder)] == [
        ("id", ["a", "b", "a"])
    ]


def test_a_plan_is_the_same_every_time_and_found_again(tmp_path):
    """It is not made twice."""
    path = job(tmp_path, FILES, *TABLES)
    one, two = planned(path, tmp_path / "one"), planned(path, tmp_path / "two")
    assert one.to_json() == two.to_json()
    assert load_plan(tmp_path / "one", key(path)).to_json() == one.to_json()
    assert load_plan(tmp_path / "one", "another") is None
    again = planned(path, tmp_path / "one")
    assert [each.name for each in (tmp_path / "one").iterdir()] == [again.key]
    (tmp_path / "one" / ("0" * 24)).mkdir()
    keep_only(tmp_path / "one", again.key)
    assert [each.name for each in (tmp_path / "one").iterdir()] == [again.key]


def test_what_a_killed_process_of_our_number_left_is_in_nobodys_way(tmp_path):
    """In a container every call may be process 1."""
    path = job(tmp_path, FILES, *TABLES)
    (tmp_path / "plans" / f"{key(path)}.{os.getpid()}").mkdir(parents=True)
    assert planned(path, tmp_path / "plans").key == key(path)


def test_the_key_changes_with_what_a_plan_depends_on(tmp_path):
    """And with nothing else."""
    path = job(tmp_path, FILES, *TABLES)
    first = key(path)
    settled = {2: Ranges(2, [])}
    keys = {first, key(path, settled), key(path, settled, former="x")}
    assert key(path, {2: Ranges(1, [])}, former="x") == first
    job(tmp_path, FILES, *TABLES[:1], TABLES[1] + 'unknown_people = "reject"\n', DELETIONS)
    keys.add(key(path))
    job(tmp_path, FILES, *TABLES, top='namespace = "n"')
    keys.add(key(path))
    job(tmp_path, {"gone.csv": "id\nc\nd\ne\n"}, *TABLES)
    keys.add(key(path))
    assert len(keys) == 6
    job(tmp_path, FILES, *TABLES, name="renamed", top="rejected_max = 7\n[destination]\nrate = 1")
    assert key(path) == first


ROWS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from(["x", "y", ""]), st.sampled_from(["1", "2", "?"])
    ),
    max_size=25,
)


@settings(max_examples=15)
@given(ROWS, st.sampled_from(["keep", "collapse"]), st.integers(1, 3))
def test_counts_are_those_of_a_naive_count(tmp_path_factory, rows, policy, files):
    """Over files."""
    folder = tmp_path_factory.mktemp("job")
    contents = {
        f"events-{place}.csv": HEADER
        + "".join(f"{who},{what},2025-01-0{day},{day}\n" for who, what, day in rows[place::files])
        for place in range(files)
    }
    pipeline = job(folder, contents, EVENTS + f'identical_rows = "{policy}"\n')
    (seen,) = planned(pipeline, folder / "plan").sources
    read = [each for place in range(files) for each in rows[place::files]]
    good = [each for each in read if each[1] and each[2] != "?"]
    copies = sum(count - 1 for count in Counter(good).values())
    assert (seen.rows_read, seen.rejected) == (len(read), len(read) - len(good))
    assert seen.names == Counter(what for _, what, _ in good)
    assert sum(seen.days.values()) == seen.operations == len(good)
    assert seen.identical == copies
    assert sum(seen.skipped.values()) == (copies if policy == "collapse" else 0)


def test_requests_and_bytes_are_those_of_packed_batches(tmp_path):
    """What is told before is what is sent after."""
    path = job(tmp_path, {"events.csv": numbered(6000)}, EVENTS)
    (seen,) = planned(path, tmp_path / "plan").sources
    assert seen.operations == 6000
    most = 500_000 - 1 - len('{"batch":[]}')
    assert seen.requests == -(-(seen.bytes + 6000) // most)


def test_rows_that_a_transform_makes_alike_are_identical(tmp_path):
    """They are compared as they would be sent, in whatever files they stand."""
    (tmp_path / "t.py").write_text("def clean(frame):\n    return frame.assign(n='same')\n")
    files = {f"events-{n}.csv": f"{HEADER}a,seen,2025-01-0{n % 2 + 1},{n}\n" for n in range(4)}
    table = EVENTS + 'transform = "t.py:clean"\nidentical_rows = "collapse"\n'
    (seen,) = planned(job(tmp_path, files, table), tmp_path / "plan").sources
    assert (seen.identical, seen.to_send) == (2, 2)
    table = EVENTS + 'identical_rows = "collapse"\n'
    (seen,) = planned(job(tmp_path, files, table), tmp_path / "plan").sources
    assert (seen.identical, seen.to_send) == (0, 4)


def test_rows_that_a_transform_drops_are_skipped(tmp_path):
    """They are counted, and the chunks' digests are kept for the send pass."""
    (tmp_path / "t.py").write_text("def clean(frame):\n    return frame[frame['n'] != '1']\n")
    table = EVENTS + 'transform = "t.py:clean"\n'
    plan = planned(job(tmp_path, {"events.csv": numbered(5)}, table), tmp_path / "plan")
    (seen,) = plan.sources
    assert (seen.rows_read, seen.operations, seen.skipped) == (5, 4, {"transform": 1})
    assert list(plan.found.chunks) == ["1:1:6"]


def test_a_pass_that_fails_leaves_nothing_behind(tmp_path):
    """The next one begins from nothing."""
    path = job(tmp_path, {"events.csv": numbered(5)}, EVENTS + 'transform = "t.py:clean"\n')
    (tmp_path / "t.py").write_text("def clean(frame):\n    return frame['absent']\n")
    with pytest.raises(UsageError, match="KeyError"):
        planned(path, tmp_path / "plan")
    assert list((tmp_path / "plan").iterdir()) == []


def test_settled_rows_count_as_repeats_and_belong_to_no_person_any_more(tmp_path):
    """A plan that is made in the middle of a job."""
    path = job(tmp_path, FILES, *TABLES)
    first = planned(path, tmp_path / "plan")
    settled = {1: Ranges(2, []), 2: Ranges(2, [])}
    plan = planned(path, tmp_path / "plan", settled=settled, former=first.key)
    customers, events, _ = plan.sources
    assert customers.merged == 0
    assert events.identical == 2
    marks = RowDecisions(PlanFolder(tmp_path / "plan" / plan.key).decisions)
    assert marks.of(1, open_rows(4)) is None
    assert marks.of(2, open_rows(3))["value"].tolist() == [0, 1, 0]


def test_a_recently_added_person_is_known_however_the_files_are_ordered(tmp_path):
    """Customers are read first, wherever they stand in the pipeline file."""
    files = {"customers.csv": people("p0"), "events.csv": numbered(1)}
    (seen, _) = planned(job(tmp_path, files, EVENTS, CUSTOMERS), tmp_path / "plan").sources
    assert (seen.kind, seen.unknown_people) == ("events", 0)


def plan_of_rows(key, rows):
    """A plan with so many rows."""
    source = SourcePlan("customers", ["a.csv"], rows_read=rows)
    return Plan(key, 0.0, PlanResult({1: rows}, [source], [], {}, {}, []))


def test_the_one_before_is_the_last_other_one(tmp_path):
    """Looking at a plan again does not make it its own former one."""
    one, two = plan_of_rows("1", 10), plan_of_rows("2", 20)
    assert compare_with_last(tmp_path, one) is None
    assert compare_with_last(tmp_path, two) == figures_of(one)
    assert compare_with_last(tmp_path, two) == figures_of(one)
    assert compare_with_last(tmp_path, one) == figures_of(two)


def test_what_cannot_be_read_is_forgotten(tmp_path):
    """It is no part of the job's state."""
    (tmp_path / LAST_FIGURES_FILE).write_text("{")
    assert compare_with_last(tmp_path, plan_of_rows("1", 10)) is None
    assert compare_with_last(tmp_path, plan_of_rows("2", 10)) is not None
