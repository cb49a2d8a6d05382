"""The report of a job: what it says, whom it spares, and how it looks in a browser."""

import itertools
import re
from pathlib import Path

import pytest

from tests.support.browsers import CHROMIUM, Browser
from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, ago, job, numbered, people
from tests.support.programs import until

PERSONAL = "not-a-moment-but-personal"
SLOW = {"kind": "latency", "seconds": 0.1, "method": "POST"}
ONE_EACH = '[destination]\napi = "v1"'
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture
def pipeline(tmp_path):
    """A job of three people and 301 events, one of them ugly."""
    events = numbered(300) + f"p1,seen,{PERSONAL},300\n"
    files = {"customers.csv": people("p0", "p1", "p2"), "events-secret.csv": events}
    return job(tmp_path, files, CUSTOMERS, EVENTS + 'unknown_people = "send"\n')


def _delivered_by(run, page):
    """How many rows a run has delivered, as the table of the runs says."""
    row = rf"<tr><td>{run}</td>(?:<td[^>]*>[^<]*</td>){{3}}<td class=\"r\">([\d,]+)</td>"
    (found,) = re.findall(row, page)
    return int(found.replace(",", ""))


@pytest.fixture
def report(backfill):
    """Make the report of a job again; gives its text."""

    def made(pipeline, *more):
        ended = backfill("report", pipeline, *more, cwd=pipeline.parent)
        assert ended.code == 0, ended.stderr
        return Path(ended.stdout.strip()).read_text("utf-8")

    return made


def _written(pipeline):
    return (pipeline.parent / ".backfill/job/report.html").read_text("utf-8")


def test_every_run_leaves_a_report(pipeline, send, sandbox):
    """The sentence, the law, the reasons with a row each, and what to do about them."""
    assert send(pipeline).code == 3
    page = _written(pipeline)

    assert "303 of 304 rows were delivered to the sandbox at 127.0.0.1" in page
    assert "1 was rejected." in page
    assert "304 read = 303 delivered + 0 merged + 0 skipped + 1 rejected + 0 pending" in page
    assert "events-secret.csv, row 301 (line 302): <code>at</code>" in page
    assert f"<pre>backfill retry {pipeline} --url {sandbox.url}</pre>" in page
    assert "seen <span" in page


def test_the_report_can_be_made_again(pipeline, send, report):
    """It says the same, but for when it was made; no source is needed."""
    send(pipeline)
    before = _written(pipeline)
    for file in pipeline.parent.glob("*.csv"):
        file.unlink()

    def without_its_date(page):
        return re.sub(r"Made by backfill [^.]*\.", "", page)

    assert without_its_date(report(pipeline)) == without_its_date(before)


def test_a_report_names_where_it_is(pipeline, send, backfill):
    """On stdout the path, on stderr what to do with it; as JSON with the summary."""
    send(pipeline)
    path = pipeline.parent / ".backfill/job/report.html"
    ended = backfill("report", pipeline, cwd=pipeline.parent)
    as_json = backfill("report", pipeline, "--json", cwd=pipeline.parent)

    assert ended.stdout == f"{path}\n"
    assert ended.next_step == "open .backfill/job/report.html in a browser"
    assert as_json.summary["report"] == str(path)
    assert as_json.summary["rows_read"] == 304


def test_no_cell_is_shown_unless_it_is_asked_for(pipeline, send, report):
    """`--redact none` shows the cell that was rejected, and warns of it."""
    send(pipeline)

    assert PERSONAL not in _written(pipeline)
    assert PERSONAL not in report(pipeline, "--redact", "values")
    shown = report(pipeline, "--redact", "none")
    assert f"at = “{PERSONAL}”" in shown
    assert "may hold personal data" in shown


def test_all_names_can_be_left_out(pipeline, send, report):
    """Files, columns and events get numbers; nothing else of them remains."""
    send(pipeline)
    page = report(pipeline, "--redact", "all")

    assert "events-secret" not in page
    assert "seen" not in page
    assert str(pipeline.parent) not in page
    assert "file 1, row 301 (line 302): <code>column 1</code>" in page


def test_a_killed_run_is_reported_as_such(tmp_path, send, start_sending, sandbox, report):
    """What was settled counts, the curves are there, and the next start joins them."""
    pipeline = job(tmp_path, {"events.csv": numbered(400)}, ONE_EACH, EVENTS)
    sandbox.misbehave(SLOW)
    command = start_sending(pipeline, "--concurrency", "4")
    until((tmp_path / ".backfill/job/course.json").exists)
    command.kill()
    page = report(pipeline)

    assert ">Killed</span>" in page
    delivered = _delivered_by(1, page)
    assert delivered > 0
    assert "are still to be sent." in page
    assert f"<pre>backfill run {pipeline} --url {sandbox.url}</pre>" in page
    assert 'aria-label="Rows settled per second' in page
    sandbox.misbehave()
    assert send(pipeline).code == 0
    page = _written(pipeline)
    assert "All 400 rows were delivered" in page
    assert "cut off: killed, or the power failed" in page
    assert _delivered_by(1, page) == delivered
    assert _delivered_by(2, page) == 400 - delivered


def test_pauses_are_told(tmp_path, send, sandbox):
    """How often, for how long and why; and how many attempts were made again."""
    sandbox.misbehave(
        {"kind": "status", "status": 429, "retry_after": "1", "times": 1, "method": "POST"}
    )
    pipeline = job(tmp_path, {"events.csv": numbered(20)}, ONE_EACH, EVENTS)
    send(pipeline)
    page = _written(pipeline)

    assert "<td>too many requests (429)</td>" in page
    assert "attempts repeated a request" in page
    assert re.search(r"Half of the answers came within \d+ ms \(p50\)", page)


def test_what_stopped_a_run_is_told_without_values(tmp_path, send):
    """A guard's words may quote a cell; the setting that answers it does not."""
    rows = "".join(f"p,seen,0{day}/09/2023,{day}\n" for day in range(1, 8))
    events = EVENTS.replace(', format = "iso8601"', "")
    pipeline = job(tmp_path, {"events.csv": HEADER + rows}, events)
    assert send(pipeline).code == 7
    page = _written(pipeline)

    assert "a guard refused to send" in page
    assert "Set format = " in page
    assert "/09/2023" not in page


def test_the_next_command_is_the_one_that_goes_on(pipeline, send, sandbox, backfill, report):
    """A retry that a guard refused is a retry again; a job that only has a plan begins."""
    backfill("plan", pipeline, cwd=pipeline.parent)
    assert f"To start:</p>\n    <pre>backfill run {pipeline}</pre>" in report(pipeline)
    send(pipeline)
    fixed = pipeline.parent / ".backfill/job/rejected.csv"
    fixed.write_text(fixed.read_text("utf-8-sig").replace(PERSONAL, ago(hours=1)), "utf-8-sig")
    assert send(pipeline, command="retry").code == 7

    page = _written(pipeline)
    assert ">Refused</span>" in page
    assert f"<pre>backfill retry {pipeline} --url {sandbox.url}</pre>" in page


def test_a_job_without_a_journal_has_no_report(pipeline, backfill):
    """Nothing is made up, and nothing is made."""
    ended = backfill("report", pipeline, cwd=pipeline.parent)

    assert ended.code == 6
    assert not (pipeline.parent / ".backfill/job/report.html").exists()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser for this file."""
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@in_a_browser
def test_the_report_fits_every_screen_and_paper(tmp_path, browser, send, sandbox, tmp_path_factory):
    """Wide and narrow, light and dark: no error, no request, nothing runs off the screen."""
    sandbox.misbehave(SLOW)
    files = {"customers.csv": people("p0", "p1"), "events.csv": numbered(200)}
    send(job(tmp_path, files, ONE_EACH, CUSTOMERS, EVENTS + 'unknown_people = "send"\n'))
    pictures = tmp_path_factory.mktemp("pictures")
    browser.failures.clear()
    browser.open((tmp_path / ".backfill/job/report.html").as_uri())
    browser.wait_for("document.readyState", "complete")

    for width, scheme in itertools.product((1280, 390), ("light", "dark")):
        browser.resize(width)
        browser.prefer(scheme)
        assert browser.value("document.documentElement.scrollWidth") <= width
        shown = "[...document.querySelectorAll('svg')].filter(each => each.getClientRects().length)"
        assert browser.value(f"{shown}.every(each => each.classList.contains('narrow'))") == (
            width == 390
        )
        # No column is out of sight but in long tables that are opened; those say that they scroll.
        cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
        assert browser.value(f"{cut}.filter(e => !e.closest('details')).length") == 0
        named = "getComputedStyle(e, '::before').content === JSON.stringify(e.dataset.is)"
        is_stacked = f"[...document.querySelectorAll('.stack td')].every(e => {named})"
        assert browser.value(is_stacked) == (width == 390)
        shades = f"{cut}.map(e => getComputedStyle(e).backgroundImage.split('linear-').length)"
        assert browser.value(shades) == ([5] * browser.value(f"{cut}.length"))
        browser.screenshot(pictures / f"{width}-{scheme}.png")
    browser.prefer("dark", media="print")
    assert browser.value("getComputedStyle(document.body).color") == "rgb(19, 26, 36)"
    assert browser.value("performance.getEntriesByType('resource').length") == 0
    assert browser.failures == []
    assert {each.name for each in pictures.iterdir()} == {
        "1280-light.png",
        "1280-dark.png",
        "390-light.png",
        "390-dark.png",
    }


@in_a_browser
def test_a_chart_tells_its_figures_under_the_pointer(tmp_path, browser, send):
    """What stands in the title of a bar is shown at once beside it."""
    send(job(tmp_path, {"events.csv": numbered(200)}, EVENTS))
    browser.prefer("light")
    browser.resize(1280)
    browser.open((tmp_path / ".backfill/job/report.html").as_uri())
    browser.wait_for("document.querySelectorAll('svg [data-tip]').length > 0", True)
    browser.value("document.querySelector('svg.wide .tip').scrollIntoView({block: 'center'})")
    x, y = browser.value(
        "(box => [box.x + box.width / 2, box.y + box.height / 2])"
        "(document.querySelector('svg.wide .tip').getBoundingClientRect())"
    )
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    browser.wait_for("document.getElementById('tip').hidden", False)
    assert browser.value(browser.text("#tip")) == "1 January 2024: 200 events\nseen: 200"
