"""Whatever the files hold, what `init` writes passes `check`, or `check` names what is open."""

import csv
import datetime as dt
import io
import json
import sys
import tempfile
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.errors import UsageError
from backfill.pipeline.file import Pipeline
from backfill.planning.plan import make_plan
from backfill.scaffold import look_at, nobody, open_keys, pipeline_text, propose, text_formats
from backfill.sources.inputs import open_inputs
from tests.support.examples import examples

NAMES = [
    *("id", "customer_id", "userId", "Record ID", "email", "E-Mail", "name", "event", "action"),
    *("created_at", "timestamp", "Datum", "last_login", "order_id", "amount", "is_vip", "zip"),
    *("Uhrzeit", "Zeitzone", "_id", "properties", "anonymousId", "a.b", "Opted out of email: x"),
    *("unsubscribed", "_update", "recipient", 'say "so"', "a = b # c", "ünï", "TODO", "note"),
]
DAY = dt.datetime(2024, 1, 31, 10, 20, 30)  # noqa: DTZ001  # as files hold it


HOW = ["csv", "semicolons", "titled", "cp1252", "jsonl", "array", "parquet"]


def times(form):
    """Days and clocks, written in a format."""
    return st.integers(0, 500).map(lambda day: (DAY + dt.timedelta(day)).strftime(form))


COLUMNS = st.sampled_from(
    [
        st.integers(1, 40).map(str),
        st.integers(1, 40).map(lambda number: f"{number}.0"),
        st.integers(1, 40).map(lambda number: f"{number},5"),
        st.integers(1, 9).map(lambda number: f"{number}.2E+15"),
        st.integers(1, 40).map(lambda number: f"p{number}@example.com"),
        st.sampled_from(["bought", "seen", "left"]),
        st.sampled_from(["yes", "no", "N/A", ""]),
        st.sampled_from(["", "NULL", "TODO", "\\N", "null", "-"]),
        st.sampled_from(['{"a": 1}', "[1]", "{", "x\ny", 'a"b', "a;b", "é", "\x07"]),
        st.integers(1, 40).map(lambda number: f"{number},{number:03}.50"),
        st.integers(1, 40).map(lambda number: f"{number}.{number:03},5"),
        st.integers(1, 40).map(lambda number: f"{number},{100 + number}"),
        st.integers(1, 40).map(lambda number: json.dumps({"$oid": f"5{number}"})),
        st.integers(1, 40).map(lambda number: json.dumps({"$date": f"2024-01-01T00:00:{number}Z"})),
        st.integers(1, 40).map(lambda number: json.dumps({"user_id": number, "time": "10:20"})),
        st.sampled_from(["Europe/Berlin", "UTC", "+02:00"]),
        times("%H:%M:%S"),
        times("%Y-%m-%dT%H:%M:%SZ"),
        times("%Y-%m-%d %H:%M"),
        times("%d/%m/%Y"),
        times("%m/%d/%y"),
        times("%d.%m.%Y %H:%M PST"),
        st.sampled_from(["2024-01-31", "soon", "31/01/2024"]),
        st.integers(1_700_000_000, 1_700_900_000).map(str),
        st.integers(1_700_000_000_000, 1_700_900_000_000).map(str),
        st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=6),
    ]
)


@st.composite
def tables(draw):
    """The columns of a table, each with as many values."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    rows = draw(st.integers(1, 12))
    return {name: draw(st.lists(draw(COLUMNS), min_size=rows, max_size=rows)) for name in names}


def as_json(cell):
    """A cell as JSON has it: an object where its text is one."""
    return json.loads(cell) if cell.startswith('{"') else cell


def written_as(table, how):
    """The bytes of a table in a format."""
    if how in ("jsonl", "array"):
        rows = zip(*table.values(), strict=True)
        objects = [dict(zip(table, map(as_json, row), strict=True)) for row in rows]
        if how == "array":
            return json.dumps(objects).encode()
        return "".join(f"{json.dumps(each)}\n" for each in objects).encode()
    if how == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table(table), sink)
        return sink.getvalue()
    text = io.StringIO(newline="")
    text.write("A report\n" if how == "titled" else "")
    writer = csv.writer(text, delimiter={"csv": ",", "semicolons": ";"}.get(how, ","))
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return text.getvalue().encode("cp1252" if how == "cp1252" else "utf-8", "replace")


def proposed(folder, contents, timezone="UTC"):
    """What `init` writes of files, without a terminal; and what it leaves open."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = [folder / name for name in contents]
    looks = look_at(text_formats(files), files, folder, lambda _: None)
    found = propose(looks, timezone, nobody)
    path = folder / "pipeline.toml"
    path.write_text(pipeline_text(found, 1, path), "utf-8")
    return path, open_keys(found)


@settings(max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.sampled_from(HOW))
def test_check_takes_what_init_writes_or_names_what_is_open(table, how):
    """For tables of all kinds of columns: no other key is ever wrong."""
    suffix = {"jsonl": "jsonl", "array": "jsonl", "parquet": "parquet"}.get(how, "csv")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, still_open = proposed(folder, {f"export.{suffix}": written_as(table, how)})
        tomllib.loads(path.read_text("utf-8"))
        if still_open:
            with pytest.raises(UsageError, match="TODO") as refused:
                Pipeline.load(path)
            assert all(f"\n  {key}" in refused.value.what for key in still_open)
            return
        pipeline = Pipeline.load(path)
        make_plan(pipeline, open_inputs(pipeline), folder / "plan", now_s=1.8e9)


def test_the_work_grows_with_the_columns_and_not_with_their_square(tmp_path):
    """An export of two thousand columns takes twice as long as one of a thousand."""

    def calls(columns):
        names = [f"column_{number}" for number in range(columns)]
        text = "\n".join(["id," + ",".join(names), "1" + ",2" * columns, "2" + ",x" * columns])
        folder = tmp_path / str(columns)
        folder.mkdir()
        count = 0

        def counted(*_):
            nonlocal count
            count += 1

        sys.setprofile(counted)
        try:
            proposed(folder, {"people.csv": text.encode()})
        finally:
            sys.setprofile(None)
        return count

    calls(10)  # what is loaded and compiled once
    few, many = calls(150), calls(300)
    assert many < 2.2 * few
