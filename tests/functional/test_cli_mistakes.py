"""The mistakes that people make, and what they are told: what, where, and what to do next."""

import pytest

from tests.support.jobs import job
from tests.support.workspaces import free_port

CUSTOMERS = "id,signed_up,email\n" + "".join(
    f"{n:03},{1 + n % 12:02}/{1 + n % 28:02}/2021,p{n}@example.com\n" for n in range(30)
)
PIPELINE = """
[destination]
region = "us"

[[source]]
kind = "customers"
files = ["customers.csv"]
delimiter = ","
encoding = "utf-8"
identifier = { id = "id" }

[source.columns]
created_at = { from = "signed_up", type = "timestamp", format = "%m/%d/%Y", timezone = "UTC" }
"""
READ_ONE_WAY = 'format = "%m/%d/%Y", '
BOTH_WAYS = "id,signed_up,email\n" + "".join(f"{n},0{n}/0{n}/2021,\n" for n in range(1, 9))

COMMANDS = {
    "a command": ("chek job.toml", "did you mean 'check'?", "backfill --help"),
    "an option": ("run pipeline.toml --lmit 3", "--limit", "backfill run --help"),
    "no pipeline file": ("plan", "missing argument 'PIPELINE'", "backfill plan --help"),
    "another name": ("check pipline.toml", "no such pipeline file", "did you mean pipeline.toml?"),
    "a folder": ("check .", "is a directory", "name the pipeline file"),
    "files of rows": ("check customers.csv", "is not TOML", "backfill init customers.csv"),
    "no such file": (
        "init custmers.csv -o x.toml",
        "custmers.csv: no such file",
        "name existing files",
    ),
    "an output that is there": ("init customers.csv", "is not overwritten", "-o FILE"),
    "a zone": ("init customers.csv -o x.toml --timezone Europe/Berln", "Europe/Berlin", "names"),
    "a rate": ("run pipeline.toml --rate fast", "--rate", "backfill run --help"),
    "a duration": ("run pipeline.toml --for long", "90s, 15m, 2h", "backfill run --help"),
    "an hour": ("run pipeline.toml --until 25:00", "HH:MM", "backfill run --help"),
    "a scheme": ("run pipeline.toml --url ftp://x", "https://host", "region"),
    "a world without https": ("run pipeline.toml --url http://example.com", "not https", "region"),
    "no credentials": ("run pipeline.toml", "no credentials", "CUSTOMERIO_SITE_ID"),
    "nothing to report": ("report pipeline.toml", "no job has state here", "--state-dir"),
    "a state that is a file": (
        "check pipeline.toml --state-dir customers.csv",
        "state",
        "director",
    ),
}
SETTINGS = {
    "a key": ("region =", "regoin =", "did you mean region?", "fix these keys"),
    "a value": ('"us"', '"de"', "'us' or 'eu'", "fix these keys"),
    "a kind": ('"customers"', '"customer"', '"customers", "objects"', "fix these keys"),
    "no number": ('region = "us"', 'rate = "fast"', "rate: must be a number", "fix these keys"),
    "too small": ('region = "us"', "concurrency = 0", "must be at least 1", "fix these keys"),
    "no list": ('["customers.csv"]', '"customers.csv"', 'a list, such as ["…"]', "fix these keys"),
    "no text": ('"utf-8"', "8", "encoding: must be text in quotes", "fix these keys"),
    "TOML": ('"us"', '"us', "is not TOML", "fix that line"),
    "a column": ('"signed_up"', '"signd_up"', "did you mean signed_up?", "columns.created_at"),
    "an identifier": ('id = "id"', 'id = "ident"', "column 'ident' is missing", "identifier"),
    "a delimiter": ('","', '";"', "column 'id' is missing", "delimiter"),
    "an encoding": ('"utf-8"', '"utf-16"', "it looks like utf-8", "encoding"),
    "an unknown encoding": ('"utf-8"', '"utf8x"', '"cp1252"', "fix these keys"),
    "a glob": ('"customers.csv"', '"custs*.csv"', "no such file", "customers.csv"),
    "a format": ('"%m/%d/%Y"', '"isoo8601"', "did you mean iso8601?", "fix these keys"),
    "a time zone": ('"UTC"', '"Utc+1"', "close: ", "fix these keys"),
}


@pytest.fixture
def pipeline(tmp_path):
    """A job in which all is well."""
    return job(tmp_path, {"customers.csv": CUSTOMERS}, PIPELINE)


@pytest.mark.usefixtures("pipeline")
@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_typed_wrongly_is_told(backfill, name):
    """In a line what is wrong, in another what to do; no traceback."""
    line, what, step = COMMANDS[name]
    assert_it_teaches(backfill(*line.split()), what, step)


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_written_wrongly_is_told(pipeline, backfill, name):
    """With the key, the column or the file that it is about, and the nearest that there is."""
    right, wrong, what, step = SETTINGS[name]
    text = pipeline.read_text("utf-8")
    assert right in text
    pipeline.write_text(text.replace(right, wrong, 1), "utf-8")
    assert_it_teaches(backfill("check", "pipeline.toml"), what, step)


def test_two_readings_of_a_date_are_both_shown(pipeline, backfill, sandbox):
    """The third of April, or the fourth of March: nothing is sent until somebody says which."""
    pipeline.write_text(pipeline.read_text("utf-8").replace(READ_ONE_WAY, ""), "utf-8")
    rows = BOTH_WAYS + "9,03/04/2021,\n"
    (pipeline.parent / "customers.csv").write_text(rows, "utf-8")
    ended = backfill("run", "pipeline.toml", "--url", sandbox.url)

    assert ended.code == 7
    assert "2021-04-03" in ended.stderr
    assert "2021-03-04" in ended.stderr
    assert ended.next_step.startswith('set format = "…" beside columns.created_at')


def test_a_sandbox_that_does_not_run_is_waited_for_aloud(pipeline, backfill):
    """It may be about to start; nobody looks at a screen on which nothing happens."""
    url = f"http://127.0.0.1:{free_port()}"
    ended = backfill("run", pipeline, "--url", url, "--for", "3s")

    assert ended.code == 75
    assert ended.stderr.splitlines()[0] == f"waiting for {url}: no answer yet"


def test_a_rejected_file_that_is_none_is_named(pipeline, backfill, sandbox):
    """It was written over; the rows are still there, in a new file that the advice names."""
    rows = CUSTOMERS + "900,never,x@example.com\n"
    (pipeline.parent / "customers.csv").write_text(rows, "utf-8")
    run = ("run", "pipeline.toml", "--url", sandbox.url)
    assert_it_teaches(
        backfill("retry", *run[1:]), "no rejected rows to retry", "run the pipeline first"
    )
    assert backfill(*run).code == 3
    (pipeline.parent / ".backfill/job/rejected.csv").write_text("hello\n", "utf-8")

    assert_it_teaches(backfill("retry", *run[1:]), "has no column _source", "keep its header")
    new = ".backfill/job/rejected.new.csv"
    retry = f"backfill retry pipeline.toml {new} --url {sandbox.url}"
    assert backfill(*run).next_step == f"fix the rows in {new}, then: {retry}"


def assert_it_teaches(ended, what, step):
    """What went wrong is said in a few words, and what to do in the last line."""
    assert ended.code in (2, 4, 6)
    *lines, last = ended.stderr.splitlines()
    assert len(lines) <= 3, ended.stderr
    assert lines[0].startswith("error: ")
    assert what.casefold() in " ".join(lines).casefold(), ended.stderr
    assert last.startswith("next: ")
    assert step.casefold() in last.casefold(), last


def test_a_title_above_the_header_is_thought_of(tmp_path, backfill):
    """Where not one column is there, the header may stand further down."""
    pipeline = job(tmp_path, {"customers.csv": f"All customers\n{CUSTOMERS}"}, PIPELINE)
    ended = backfill("check", pipeline)

    assert_it_teaches(ended, "column 'id' is missing, which identifier names", "`skip_lines` to 1")


def test_a_wide_header_is_cut_with_a_word(tmp_path, backfill):
    """Of 500 columns 20 are shown."""
    wide = ",".join(f"c{n}" for n in range(500)) + "\n"
    ended = backfill("check", job(tmp_path, {"customers.csv": wide}, PIPELINE))

    assert ", c18, c19 and 480 more" in ended.stderr
