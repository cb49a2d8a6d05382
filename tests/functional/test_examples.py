"""The example pipelines, each sent into the sandbox: what arrived is what their files say."""

import importlib.util
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from backfill.scaffold.setting_docs import SCHEMA_FILE
from tests.support import stores

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted(each.stem for each in (ROOT / "pipelines").glob("*.toml"))


@pytest.fixture
def example(tmp_path, send):
    """Send an example from a copy of the folders; takes its name, gives the summary."""
    for name in ("pipelines", "sample_data"):
        shutil.copytree(ROOT / name, tmp_path / name)

    def sent(name, *, code=0, command="run", **more):
        ended = send(tmp_path / "pipelines" / f"{name}.toml", command=command, **more)
        assert ended.code == code, ended.stderr
        return ended.summary

    return sent


def seconds(*moment):
    """Unix seconds of a moment in UTC."""
    return datetime(*moment, tzinfo=UTC).timestamp()


def attributes(event):
    """What an event says."""
    return event["attributes"]


def test_a_spreadsheet_arrives_with_its_umlauts_dates_and_zeros(example, sandbox):
    """Days first in Berlin's clocks, decimal commas, a dash for nothing, zip codes as text."""
    summary = example("spreadsheet", code=3)
    assert summary["rejections_by_reason"] == {"identifier_missing": 1}
    assert summary["delivered"] == 40
    assert sandbox.people()["K00004"]["attributes"] == {
        "created_at": seconds(2019, 5, 29, 8, 15),  # 10:15 in summer
        "email": "kunde4@example.com",
        "name": "Emre Müller",
        "revenue": 292.4,
        "town": "Dresden",
        "unsubscribed": False,
        "zip": "01067",
    }
    assert "revenue" not in sandbox.people()["K00010"]["attributes"]


def test_a_database_dump_arrives_with_its_nulls_and_documents(example, sandbox):
    r"""\N is nothing, jsonb an object, 0001 no number; the primary key makes the event."""
    assert example("postgres")["delivered"] == 60
    first, *_ = (each for each in sandbox.events() if attributes(each)["id"] == "9012")
    assert (first["person"], first["name"]) == ("0012", "paid")
    assert first["timestamp"] == seconds(2024, 2, 2, 20)
    assert attributes(first) == {
        "amount": 36.12,
        "details": {"attempts": 1, "method": "card"},
        "id": "9012",
        "refunded_at": seconds(2024, 2, 4, 20),
    }
    others = [each for each in sandbox.events() if attributes(each)["id"] != "9012"]
    assert sum("refunded_at" in attributes(each) for each in others) == 4


def test_companies_arrive_with_their_people_and_one_account_each(example, sandbox):
    """An object's rows and a relationship's are one each; the duplicate's company goes over."""
    summary = example("companies", code=3)
    assert summary["rejections_by_reason"] == {"unknown_person": 1}
    assert summary["merged"] == 1
    acme = sandbox.objects()["1:acme"]
    assert acme["attributes"]["created_at"] == seconds(1998, 3, 1)
    assert acme["attributes"]["employees"] == 120
    assert acme["relationships"]["108"] == {"role": "buyer", "since": seconds(2023, 9, 1)}
    assert "106" not in sandbox.people()
    assert acme["relationships"].keys() == {"100", "102", "103", "105", "108"}


def test_a_database_is_read_without_an_export(example, sandbox, tmp_path):
    """Tables of people and of events; numbers stay numbers, and a null is nothing."""
    with closing(sqlite3.connect(tmp_path / "crm.db")) as crm:
        crm.executescript((ROOT / "sample_data/crm.sql").read_text("utf-8"))
    summary = example("database", env={"CRM_DSN": f"sqlite:///{tmp_path}/crm.db"})
    assert summary["delivered"] == 8
    assert sandbox.people()["1"]["attributes"] == {
        "created_at": seconds(2023, 3, 1, 9),
        "email": "anais@example.com",
        "plan": "team",
        "seats": 5,
    }
    deals = {attributes(each)["id"]: each for each in sandbox.events()}
    assert (deals[102]["person"], deals[102]["name"]) == ("1", "deal_won")
    assert attributes(deals[103]) == {"amount": 99.5, "id": 103}
    assert attributes(deals[105]) == {"id": 105}


def test_a_shops_rows_become_an_event_an_item(example, sandbox):
    """People are told by e-mail in any case; the order's cells go with its first item."""
    assert example("shopify")["delivered"] == 48
    assert len(sandbox.people()) == 12
    order = [each for each in sandbox.events() if attributes(each)["order"] == "#1003"]
    assert [attributes(each).get("total") for each in order] == [8.9]
    assert attributes(order[0])["zip"] == "50667"
    assert order[0]["timestamp"] == seconds(2024, 1, 31, 17)
    assert order[0]["name"] == "item_ordered"


def test_nested_activity_is_taken_apart(example, sandbox):
    """Names lose their spaces; what a browser sent twice is one event."""
    summary = example("mixpanel")
    assert (summary["delivered"], summary["skipped"]) == (80, 1)
    names = {each["name"] for each in sandbox.events()}
    assert names == {"signed_in", "report_opened", "report_exported", "seat_added"}
    signed_in = [each for each in sandbox.events() if each["name"] == "signed_in"]
    assert attributes(signed_in[0]) == {
        "city": "Brussels",
        "insert_id": "78dde6c4",
        "mp_lib": "web",
        "os": "Windows",
        "seats": 1,
    }


def test_folders_of_a_lake_are_a_column(example, sandbox):
    """The day stands in the folder's name only, and arrives as midnight in UTC."""
    assert example("lake")["delivered"] == 90
    days = {attributes(each)["event_date"] for each in sandbox.events()}
    assert days == {seconds(2024, 1, day) for day in (30, 31)} | {seconds(2024, 2, 1)}
    assert {each["person"] for each in sandbox.events()} == {str(100 + each) for each in range(9)}


def test_a_nightly_sync_sends_what_is_new(example, sandbox, tmp_path):
    """All of it in the first night; then who has changed, and the new day."""
    exports = tmp_path / "sample_data" / "exports"
    assert example("lake_nightly", command="sync")["this_run"]["delivered"] == 9 + 90
    users = exports / "users.csv"
    users.write_text(
        users.read_text().replace("101,user1@example.com,team,2", "101,u1@example.org,team,3")
    )
    shutil.copytree(exports / "activity" / "event_date=2024-02-01", tmp_path / "new")
    table = pq.read_table(tmp_path / "new" / "part-00000.parquet")
    day = exports / "activity" / "event_date=2024-02-02"
    day.mkdir()
    pq.write_table(table.slice(0, 7), day / "part-00000.parquet")
    assert example("lake_nightly", command="sync")["this_run"]["delivered"] == 1 + 7
    assert sandbox.people()["101"]["attributes"]["seats"] == 3
    assert example("lake_nightly", command="sync")["this_run"]["requests"] == 0


def test_a_newsletter_list_is_people_by_their_address(example, sandbox):
    """Who stands there twice is one person; the later row counts; who left has left."""
    summary = example("newsletter", code=3)
    assert summary["rejections_by_reason"] == {"identifier_not_an_email": 1}
    assert (summary["delivered"], summary["merged"]) == (50, 1)
    people = {address.lower(): each["attributes"] for address, each in sandbox.people().items()}
    assert people["leser3@example.com"]["language"] == "en"
    assert people["leser3@example.com"]["first_name"] == "Dörte"
    assert people["leser8@example.com"]["unsubscribed"] is True
    assert people["leser1@example.com"]["created_at"] == seconds(2024, 1, 18, 23)


def test_who_asked_to_be_forgotten_is(example, sandbox):
    """They are gone, and nothing more is taken about them."""
    example("newsletter", code=3)
    summary = example("erasure")
    assert summary["deletes"] == 5
    addresses = {each.lower() for each in sandbox.people()}
    assert not addresses & {f"leser{9 * number}@example.com" for number in range(1, 6)}
    assert len(addresses) == 45


def test_a_bucket_arrives_as_the_lake_does(tmp_path, example, send, sandbox):
    """From a store on this machine: the same events, with the same ids."""
    example("lake")
    expected = sorted(each["id"] for each in sandbox.events())
    sandbox.reset()
    with stores.s3() as bucket:
        for path in (tmp_path / "sample_data/exports/activity").rglob("*.parquet"):
            below = path.relative_to(tmp_path / "sample_data/exports").as_posix()
            bucket.put(below, path.read_bytes())
        pipeline = tmp_path / "pipelines" / "bucket.toml"
        text = pipeline.read_text("utf-8").replace("s3://acme-exports/", bucket.base)
        text = text.replace('region = "eu-central-1"', bucket.settings, 1)
        pipeline.write_text(text, "utf-8")
        ended = send(pipeline, env=stores.ENVIRONMENT)

    assert ended.code == 0, ended.stderr
    assert sorted(each["id"] for each in sandbox.events()) == expected


def test_a_pod_goes_on_from_the_night_before(tmp_path, example, send, backfill, sandbox):
    """Two nights in two pods, nothing on their disks: the second one has nothing to send."""
    example("lake_nightly", command="sync")
    expected = sorted(each["id"] for each in sandbox.events())
    sandbox.reset()
    pipeline = tmp_path / "pipelines" / "pod.toml"
    with stores.s3() as bucket:
        for path in (tmp_path / "sample_data/exports").rglob("*.*"):
            if path.name == "users.csv" or path.suffix == ".parquet":
                name = path.relative_to(tmp_path / "sample_data/exports").as_posix()
                bucket.put(name, path.read_bytes())
        text = pipeline.read_text("utf-8").replace('region = "eu-central-1"', bucket.settings, 1)
        text = text.replace("s3://acme-exports/", bucket.base)
        pipeline.write_text(text.replace("s3://acme-jobs/", bucket.base), "utf-8")
        nights = [send(pipeline, command="sync", env=stores.ENVIRONMENT) for _ in range(2)]
        shown = backfill("status", pipeline, env=stores.ENVIRONMENT)

    assert [each.code for each in nights] == [0, 0], nights[0].stderr
    assert nights[1].summary["this_run"]["attempts"] == 0
    assert sorted(each["id"] for each in sandbox.events()) == expected
    assert "finished" in shown.stdout
    assert not list(tmp_path.rglob(".backfill/pod"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_explained(name):
    """`pipelines/README.md` has a line for each, and each tells editors where its schema is."""
    path = ROOT / "pipelines" / f"{name}.toml"
    assert f"`{path.name}`" in (ROOT / "pipelines" / "README.md").read_text("utf-8")
    directive, schema = path.read_text("utf-8").splitlines()[0].split()
    assert directive == "#:schema"
    assert (path.parent / schema).samefile(SCHEMA_FILE)


def test_the_script_makes_the_very_files_of_the_examples(tmp_path):
    """Who changes the script has to run it, and nobody edits its files by hand."""
    script = ROOT / "sample_data" / "make_exports.py"
    spec = importlib.util.spec_from_file_location("make_exports", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make(tmp_path)
    kept = ROOT / "sample_data" / "exports"
    made = _files(tmp_path)
    assert made == _files(kept)
    for name in made:
        assert _content(tmp_path / name) == _content(kept / name), name


def _files(folder):
    return {each.relative_to(folder) for each in folder.rglob("*") if each.is_file()}


def _content(path):
    """What is in a file; how Parquet is packed may differ between versions of the packer."""
    return pq.read_table(path).to_pylist() if path.suffix == ".parquet" else path.read_bytes()
