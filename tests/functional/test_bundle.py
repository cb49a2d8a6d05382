"""`report --bundle`: all evidence of a job in one archive that proves itself."""

import csv
import hashlib
import io
import zipfile
from pathlib import Path

import httpx
import orjson
import pytest

from tests.support.jobs import CUSTOMERS, EVENTS, job, numbered, people

PERSONAL = "not-a-timestamp-but-personal"


@pytest.fixture
def pipeline(tmp_path, send):
    """A job that was sent: three people and 31 events, one of them rejected."""
    events = numbered(30) + f"p1,seen,{PERSONAL},300\n"
    files = {"customers.csv": people("p0", "p1", "p2"), "events-secret.csv": events}
    made = job(tmp_path, files, CUSTOMERS, EVENTS + 'unknown_people = "send"\n')
    assert send(made).code == 3
    return made


@pytest.fixture
def bundle(backfill):
    """Write the archive; gives its files."""

    def made(pipeline, *more):
        ended = backfill("report", pipeline, "--bundle", *more, cwd=pipeline.parent)
        assert ended.code == 0, ended.stderr
        with zipfile.ZipFile(Path(ended.stdout.strip())) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    return made


def test_the_manifest_has_the_sum_of_every_file(pipeline, bundle):
    """As `sha256sum -c` reads it; the same job makes the same evidence."""
    files = bundle(pipeline)

    lines = files["MANIFEST.sha256"].decode().splitlines()
    said = {line.partition("  ")[2]: line.partition("  ")[0] for line in lines}
    assert said == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files.items()
        if name != "MANIFEST.sha256"
    }
    again = bundle(pipeline)
    assert {name for name in files if files[name] != again[name]} <= {
        "report.html",  # says when it was made
        "MANIFEST.sha256",
    }


def test_it_tells_what_was_read_and_what_became_of_it(pipeline, bundle):
    """Files with their digests, the dates, the figures, the runs, every rejected row."""
    files = bundle(pipeline)

    sources = {each["file"]: each for each in orjson.loads(files["sources.json"])}
    assert {name: each["rows"] for name, each in sources.items()} == {
        "customers.csv": 3,
        "events-secret.csv": 31,
    }
    size = (pipeline.parent / "customers.csv").stat().st_size
    assert sources["customers.csv"]["bytes"] == size
    (dates,) = orjson.loads(files["dates.json"])
    assert (dates["column"], dates["format"], dates["declared"]) == ("at", "iso8601", True)
    assert orjson.loads(files["summary.json"])["delivered"] == 33
    (run,) = orjson.loads(files["runs.json"])
    assert (run["exit"], run["did"]["delivered"]) == (3, 33)
    assert files["pipeline.toml"] == pipeline.read_bytes()
    (rejected,) = csv.DictReader(io.StringIO(files["rejected.csv"].decode()))
    assert (rejected["source"], rejected["row"], rejected["reason"]) == (
        "events-secret.csv",
        "31",
        "timestamp_unreadable",
    )


def test_no_cell_is_in_it_unless_it_is_asked_for(pipeline, bundle):
    """Nor are names, where all of them are left out."""
    without = b"".join(bundle(pipeline).values())
    nameless = b"".join(bundle(pipeline, "--redact", "all").values())
    whole = bundle(pipeline, "--redact", "none")

    assert PERSONAL.encode() not in without
    assert b"secret" in without
    assert b"secret" not in nameless
    assert PERSONAL.encode() in whole["rejected.csv"]


@pytest.mark.parametrize("written", ["/T0/B0/{}", "\\u002fT0\\u002f{}"])
def test_a_webhook_is_not_in_it(tmp_path, send, bundle, written):
    """Its URL is as good as a password, however the pipeline file writes it."""
    token = "nobody-must-read-this"
    url = f"https://hooks.example.com{written.format(token)}"
    notify = f'[notify]\nwebhook = "{url}"\non = ["failure"]\n'
    made = job(tmp_path, {"customers.csv": people("a")}, CUSTOMERS, notify)
    assert send(made).code == 0

    for redact in ("values", "none"):
        files = bundle(made, "--redact", redact)
        assert token.encode() not in b"".join(files.values())
        assert b"customers" in files["pipeline.toml"]


def test_a_job_that_sent_nothing_has_no_evidence(tmp_path, backfill):
    """A check alone proves nothing about a workspace."""
    made = job(tmp_path, {"customers.csv": people("a")}, CUSTOMERS)
    assert backfill("check", made).code == 0

    ended = backfill("report", made, "--bundle")

    assert ended.code == 2
    assert "nothing was sent yet" in ended.stderr


def test_it_tells_what_was_read_back_without_whose_it_is(pipeline, bundle, backfill, sandbox):
    """How often a field differs, in which file; the values only where somebody asks for them."""
    url = f"{sandbox.url}/api/v1/customers/p1"
    httpx.delete(url, auth=("sandbox", "sandbox")).raise_for_status()
    assert "verified.json" not in bundle(pipeline)
    assert backfill("verify", pipeline, "--all", "--lag", "1s", cwd=pipeline.parent).code == 8

    files = bundle(pipeline)

    found = orjson.loads(files["verified.json"])
    assert found["kinds"]["people"]["missing"] == 1
    line = {
        "found": "missing",
        "kind": "people",
        "source": "customers.csv",
        "field": "",
        "lines": 1,
    }
    assert line in found["listed"]
    assert b"p1" not in files["verified.json"]
    assert "verified.csv" not in files
    assert b"p1" in bundle(pipeline, "--redact", "none")["verified.csv"]
    all_left_out = bundle(pipeline, "--redact", "all")["verified.json"]
    assert b"customers.csv" not in all_left_out
