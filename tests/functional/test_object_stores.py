"""Sources in a bucket: the same as from a folder, bound to what the plan saw, patient, discreet."""

import io
import json
import shutil
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.cli.samples import sample_pipeline
from backfill.pipeline.file_settings import StorageSettings
from backfill.sources import open_source
from backfill.sources.objects import Objects
from backfill.sources.urls import ObjectUrl
from tests.support import stores
from tests.support.jobs import AGES, CUSTOMERS, EVENTS, commits, job, numbered, people
from tests.support.programs import until
from tests.support.workspaces import as_sent

ENV = stores.ENVIRONMENT
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def s3():
    """A store for all tests of this file."""
    with stores.s3() as place:
        yield place


@pytest.fixture
def bucket(s3, request):
    """A folder of it where nothing is yet."""
    return s3.below(f"{request.node.name}/".replace("[", "-").replace("]", ""))


def in_bucket(place, table: str) -> str:
    """A table of the pipeline file whose files lie in the bucket."""
    return table.replace('files = ["', f'files = ["{place.base}')


def storage(place) -> str:
    """The pipeline file's `[storage]`."""
    return f"[storage]\n{place.settings}\n"


@pytest.fixture
def history(tmp_path, bucket):
    """A job of twenty events in two objects; gives the pipeline file."""
    bucket.put("events-1.csv", numbered(10).encode())
    bucket.put("events-2.csv", numbered(10, first=10).encode())
    return job(tmp_path, {}, storage(bucket), in_bucket(bucket, EVENTS))


def arrived(sandbox) -> dict[str, object]:
    """All that a workspace has, in no order."""
    return {
        "events": sorted(json.dumps(_lasting(each), sort_keys=True) for each in sandbox.events()),
        "people": {key: as_sent(each)["attributes"] for key, each in sandbox.people().items()},
    }


def _lasting(event):
    return {key: event[key] for key in ("id", "name", "timestamp", "attributes") if key in event}


def test_the_demo_in_a_bucket_gives_what_the_folder_gives(tmp_path, bucket, send, sandbox):
    """Events, ids, people, rejected rows and counts; only where the rows come from differs."""
    folder = sample_pipeline().parents[1]
    for name in ("pipelines", "sample_data"):
        shutil.copytree(folder / name, tmp_path / name)
    pipeline = tmp_path / "pipelines" / "acme.toml"
    local = send(pipeline, "--state-dir", tmp_path / "local").summary
    expected, reasons = arrived(sandbox), rejected_rows(tmp_path / "local", local)
    sandbox.reset()

    for path in (tmp_path / "sample_data").rglob("*"):
        if path.is_file():
            bucket.put(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    shutil.rmtree(tmp_path / "sample_data")
    text = pipeline.read_text("utf-8").replace("../sample_data/", f"{bucket.base}sample_data/")
    pipeline.write_text(text.replace("[destination]", f"{storage(bucket)}\n[destination]"), "utf-8")
    remote = send(pipeline, "--state-dir", tmp_path / "remote", env=ENV).summary

    assert arrived(sandbox) == expected
    assert rejected_rows(tmp_path / "remote", remote) == reasons
    same = ("exit", "rows_read", "delivered", "rejected", "merged", "skipped", "requests")
    assert {key: remote[key] for key in same} == {key: local[key] for key in same}


def rejected_rows(state: Path, summary) -> list[tuple]:
    """What was rejected, by the name of the file alone."""
    lines = (state / summary["job"] / "rejected.jsonl").read_bytes().splitlines()
    return [
        (Path(each["_source"]).name, each["_row"], each["_reason"])
        for each in map(json.loads, lines)
        if "_row" in each
    ]


@pytest.mark.parametrize("read", [1, 2, 3])
def test_an_object_replaced_before_it_is_planned_stops_the_run(
    tmp_path, bucket, send, sandbox, read
):
    """At its header, at its rows, or behind them: 5, and nothing is sent."""
    bucket.put("events-1.csv", numbered(10).encode())
    with stores.between(bucket) as (proxy, seen):
        pipeline = job(tmp_path, {}, storage(seen), in_bucket(seen, EVENTS))
        proxy.fault = replacing(bucket, lambda: len(proxy.reads("events-1")) >= read)
        ended = send(pipeline, env=ENV)

    assert ended.code == 5, ended.stderr
    assert "events-1.csv: was replaced while it was read" in ended.stderr
    assert sandbox.events() == []


def test_an_object_replaced_between_plan_and_send_stops_the_run(tmp_path, bucket, send, sandbox):
    """The plan is there, and not a row of the new version is sent."""
    bucket.put("events-1.csv", numbered(10).encode())
    with stores.between(bucket) as (proxy, seen):
        pipeline = job(tmp_path, {}, storage(seen), in_bucket(seen, EVENTS))
        plans = tmp_path / ".backfill" / "job" / "plan"
        proxy.fault = replacing(bucket, lambda: any(plans.glob("*/plan.json")))
        ended = send(pipeline, env=ENV)

    assert ended.code == 5, ended.stderr
    assert sandbox.events() == []


def replacing(bucket, is_time) -> stores.Fault:
    """Writes a new version of the object as soon as it is time, once."""
    done = []

    def fault(_: stores.Asked) -> None:
        if not done and is_time():
            done.append(True)
            bucket.put("events-1.csv", numbered(10).replace(",seen,", ",new,").encode())

    return fault


def test_an_object_replaced_while_it_is_sent_stops_the_run(tmp_path, bucket, start, sandbox):
    """What was sent is of the version of the plan, and the rest waits."""
    bucket.put("events-1.csv", numbered(120_000).encode())
    pipeline = job(tmp_path, {}, storage(bucket), in_bucket(bucket, EVENTS))
    running = start(
        *("run", pipeline, "--url", sandbox.url, "--rate", "4", "--concurrency", "1", "--json"),
        cwd=tmp_path,
        env=ENV,
    )
    until(lambda: commits(pipeline) > 2)
    bucket.put("events-1.csv", numbered(120_000).replace(",seen,", ",new,").encode())
    ended = running.ended()

    assert ended.code == 5, ended.stderr
    assert 0 < ended.summary["delivered"] < 120_000
    assert {each["name"] for each in sandbox.events()} == {"seen"}


def test_an_object_replaced_between_two_runs_stops_the_second(history, bucket, send, sandbox):
    """As a file that was edited."""
    assert send(history, env=ENV).code == 0
    bucket.put("events-1.csv", numbered(10).replace(",seen,", ",new,").encode())

    ended = send(history, env=ENV)

    assert ended.code == 5
    assert "events-1.csv has other bytes" in ended.stderr
    assert {each["name"] for each in sandbox.events()} == {"seen"}


def test_new_objects_join_with_append(history, bucket, send, sandbox):
    """And stop a run without it."""
    assert send(history, env=ENV).code == 0
    bucket.put("events-3.csv", numbered(5, first=20).encode())

    assert "events-3.csv is new" in send(history, env=ENV).stderr
    assert send(history, "--append", env=ENV).summary["delivered"] == 25
    assert len(sandbox.events()) == 25


def test_a_sync_of_files_takes_up_new_objects(tmp_path, bucket, history, send, sandbox):
    """What lay there last night is not read again."""
    table = in_bucket(bucket, EVENTS) + 'identical_rows = "collapse"\n'
    history = job(tmp_path, {}, storage(bucket), table)
    assert send(history, command="sync", env=ENV).code == 0
    bucket.put("events-3.csv", numbered(5, first=20).encode())

    summary = send(history, command="sync", env=ENV).summary

    assert summary["this_run"]["delivered"] == 5
    assert len(sandbox.events()) == 25


def test_two_objects_of_one_content_are_two_files(history, bucket, send, sandbox):
    """An ETag says what an object holds, not which it is: one that was moved is another file."""
    assert send(history, env=ENV).code == 0
    bucket.put("events-9.csv", numbered(10).encode())
    bucket.remove("events-1.csv")

    ended = send(history, env=ENV)

    assert ended.code == 5
    assert "events-9.csv is new" in ended.stderr
    assert len(sandbox.events()) == 20


def test_rejected_rows_of_an_object_are_corrected_and_retried(tmp_path, bucket, send, sandbox):
    """Found again by the object's URL."""
    bucket.put("customers.csv", b"id,age\na,1\nb,x\n")
    pipeline = job(tmp_path, {}, storage(bucket), in_bucket(bucket, AGES))
    assert send(pipeline, env=ENV).code == 3
    rejected = tmp_path / ".backfill" / "job" / "rejected.csv"
    text = rejected.read_text("utf-8-sig")
    assert bucket.url("customers.csv") in text
    rejected.write_text(text.replace("b,x", "b,7"), "utf-8")

    assert send(pipeline, command="retry", env=ENV).code == 0
    assert sandbox.people()["b"]["attributes"]["age"] == 7


def test_folders_of_a_bucket_name_columns(tmp_path, bucket, send, sandbox):
    """As Hive writes them: `day=2024-01-31/part.csv`."""
    bucket.put("shop=Z%C3%BCrich/customers.csv", people("a").encode())
    table = in_bucket(bucket, CUSTOMERS).replace("customers*.*", "**/customers*.csv")

    assert send(job(tmp_path, {}, storage(bucket), table), env=ENV).code == 0
    assert sandbox.people()["a"]["attributes"]["shop"] == "Zürich"


def test_folders_that_a_console_made_are_no_files(tmp_path, bucket, send, sandbox):
    """An object without bytes whose name ends with a slash, whether or not something is below."""
    bucket.put("in/events-1.csv", numbered(10).encode())
    bucket.put("in/more/events-2.csv", numbered(10, first=10).encode())
    for folder in ("in/", "in/more/", "in/done/"):
        bucket.put(folder, b"")
    table = EVENTS.replace('files = ["', f'files = ["{bucket.base}in/**/').replace("events*.*", "*")
    assert "in/**/*" in table

    ended = send(job(tmp_path, {}, storage(bucket), table), env=ENV)

    assert ended.code == 0, ended.stderr
    assert len(sandbox.events()) == 20


def test_a_store_that_throttles_and_cuts_is_waited_for(tmp_path, bucket, send, sandbox):
    """Every row arrives once, whatever became of the first requests."""
    bucket.put("events-1.csv", numbered(10).encode())
    misfortunes = iter([stores.SLOW_DOWN, "reset", "cut", None, "reset", "cut"])
    with stores.between(bucket) as (proxy, seen):
        pipeline = job(tmp_path, {}, storage(seen), in_bucket(seen, EVENTS))
        proxy.fault = lambda _: next(misfortunes, None)
        ended = send(pipeline, env=ENV)

    assert ended.code == 0, ended.stderr
    assert len(sandbox.events()) == 10
    assert next(misfortunes, "all of them happened") == "all of them happened"


def test_a_store_that_is_gone_is_given_up_in_the_end(tmp_path, bucket, send):
    """75: the same command goes on once it is back."""
    here = stores.free_port()
    gone = f'[storage]\nendpoint = "http://127.0.0.1:{here}"\nregion = "us-east-1"\n'
    table = in_bucket(bucket, EVENTS)
    pipeline = job(tmp_path, {}, gone, '[destination]\noutage_max = "2s"', table)

    ended = send(pipeline, env=ENV)

    assert ended.code == 75
    assert "s3://acme: could not be reached for" in ended.stderr


def test_a_store_that_refuses_is_told_without_what_it_said(tmp_path, bucket, send):
    """4: neither address nor answer, which may hold what signs a request."""
    bucket.put("events-1.csv", numbered(10).encode())
    private = storage(bucket) + "anonymous = true\n"

    ended = send(job(tmp_path, {}, private, in_bucket(bucket, EVENTS)), "--debug", env=ENV)

    assert ended.code == 4
    assert "s3://acme: access was refused: HTTP status 403" in ended.stderr
    assert "anonymous" in ended.next_step
    assert "127.0.0.1" not in ended.stderr.replace("--url", "")


def test_secrets_are_nowhere(tmp_path, history, send, backfill):
    """Not in the state, the log, the report, the summary, nor what was said."""
    ended = send(history, "--debug", env=ENV)
    report = backfill("report", history, cwd=tmp_path, env=ENV)

    written = [each.read_bytes() for each in (tmp_path / ".backfill").rglob("*") if each.is_file()]
    said = [x.encode() for each in (ended, report) for x in (each.stdout, each.stderr)]
    assert written
    for secret in (ENV["AWS_SECRET_ACCESS_KEY"], ENV["AWS_ACCESS_KEY_ID"]):
        assert not any(secret.encode() in each for each in (*written, *said))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://user:hunter2@example.com/a.csv", "carries a user name or password"),
        ("https://example.com/a.csv?X-Amz-Signature=hunter2", "has a query"),
        ("http://example.com/a.csv", "is not https"),
        ("s3:///a.csv", "names no bucket"),
        ("https://example.com/*.csv", "no list of its files"),
        ("s3://acme/no/such.csv", "no such object"),
        ("s3://acme/no/*.csv", "no object has such a name"),
        ("s3://acme/no/", "is a folder"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_secrets(
    tmp_path, s3, backfill, url, said
):
    """2, with what to do instead."""
    table = EVENTS.replace("events*.*", url)
    pipeline = job(tmp_path, {}, storage(s3), table)
    ended = backfill("check", pipeline, "--debug", cwd=tmp_path, env=ENV)

    assert ended.code == 2, ended.stderr
    assert said in ended.stderr
    assert "hunter2" not in ended.stderr + ended.stdout


def test_init_takes_urls(tmp_path, bucket, backfill, send, sandbox):
    """A folder of a bucket: what it proposes is checked and sent, once the store is named."""
    bucket.put("day=1/visits_1.csv", numbered(10).encode())
    bucket.put("day=2/visits_2.csv", numbered(10, first=10).encode())
    bucket.put("day=2/notes.bin", b"x")
    endpoint = tomllib.loads(bucket.settings)["endpoint"]
    env = {**ENV, "AWS_ENDPOINT_URL": endpoint}
    ended = backfill("init", bucket.base, "--json", cwd=tmp_path, env=env)
    assert ended.code == 0, ended.stderr
    assert ended.summary["passed_over"] == [bucket.url("day=2/notes.bin")]

    pipeline = tmp_path / "pipeline.toml"
    text = pipeline.read_text("utf-8")
    assert f'files = ["{bucket.base}**/*.csv"]' in text
    pipeline.write_text(text.replace('"TODO"', '"id"'), "utf-8")
    assert send(pipeline, env=env).code == 0
    assert len(sandbox.events()) == 20


def opened(place, name: str):
    """An object as a source."""
    objects = Objects(StorageSettings(**tomllib.loads(place.settings)))
    return open_source(objects.stored(ObjectUrl.parse(place.url(name))))


@pytest.fixture
def as_user(monkeypatch):
    """The credentials are those of this process."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("as_user")
def test_reading_on_fetches_the_rest_only(bucket):
    """At nine tenths of a Parquet file or of a text, a tenth is fetched, and a header or footer."""
    rows = 400_000
    sink = io.BytesIO()
    table = pa.table({"id": pa.array(range(rows)), "n": pa.array(range(rows, 0, -1))})
    pq.write_table(table, sink, row_group_size=rows // 20, use_dictionary=False, compression="none")
    text = b"id,event,at,n\n" + b"p1,seen,2024-01-01T00:00:00Z,1\n" * rows
    bucket.put("rows.parquet", sink.getvalue())
    bucket.put("rows.csv", text)
    with stores.between(bucket) as (proxy, seen):
        for name, size in (("rows.parquet", sink.tell()), ("rows.csv", len(text))):
            source = opened(seen, name)
            ends = [each.end for each in source.chunks() if each.end.row > 0.9 * rows]
            proxy.asked.clear()
            assert sum(len(each.rows) for each in source.chunks(ends[0])) < rows / 10
            fetched = sum(each.range_bytes for each in proxy.reads(name))
            assert fetched < size / 10 + (1 << 19), name


@pytest.mark.usefixtures("as_user")
def test_ranges_are_large_and_read_ahead(bucket):
    """A file of 40 MB costs a handful of requests, none for more than 16 MB."""
    text = b"id,event,at,n\n" + b"p1,seen,2024-01-01T00:00:00Z,1\n" * 1_300_000
    bucket.put("rows.csv", text)
    with stores.between(bucket) as (proxy, seen):
        source = opened(seen, "rows.csv")
        assert sum(len(each.rows) for each in source.chunks()) == 1_300_000
        sizes = [each.range_bytes for each in proxy.reads("rows.csv")]

    assert len(sizes) < 12
    assert max(sizes) <= 16 << 20
    assert sum(sizes) < len(text) + (1 << 20)


def test_a_pipeline_without_the_extra_says_how_to_install_it(monkeypatch):
    """Objects need a package that most installations have no use for."""
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)

    with pytest.raises(Exception, match="not installed") as caught:
        Objects().open(ObjectUrl.parse("s3://acme/a.csv"))

    assert caught.value.exit_code == 2
    assert "pip install 'backfill[cloud]'" in caught.value.next_step
