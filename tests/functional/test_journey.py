"""A person who has only the README: from two unknown files to every row delivered.

Each screen is looked at as it is: terminals through a pty, pages through Chromium.
"""

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.accounts import accounted
from tests.support.browsers import CHROMIUM, Browser
from tests.support.programs import until
from tests.support.terminals import Shown, Then
from tests.support.workspaces import Workspace, free_port

COLUMNS = 80
PEOPLE = 40
EVENTS = 90
IN_NEW_YORK = 1_614_961_800
"""5 March 2021, 11:30 by the clocks of New York, in unix seconds."""


@dataclass
class Person:
    """Somebody at a terminal, in a folder, with the sandbox at a port.

    Args:
        folder: Where they are.
        in_terminal: Runs a command at their terminal.
        url: Where the sandbox listens.
        screens: What they saw, in order.
    """

    folder: Path
    in_terminal: Callable[..., Shown]
    url: str
    screens: list[Shown] = field(default_factory=list)

    def types(self, line: str, *script: Then) -> str:
        """Type a command; gives what the screen showed, its spaces and line ends as one space."""
        words = line.replace("http://127.0.0.1:8025", self.url).split()
        sends = words[1] in ("run", "retry")
        with accounted(Workspace(self.url, 0), self.folder) if sends else nullcontext():
            shown = self.in_terminal(*words[1:], columns=COLUMNS, cwd=self.folder, script=script)
        self.screens.append(shown)
        return " ".join(shown.text.split())

    def decides(self, setting: str, value: str) -> None:
        """Write another value into the pipeline file that `init` wrote."""
        path = self.folder / "pipeline.toml"
        text = path.read_text("utf-8")
        changed = re.sub(rf'^{setting} = "\w+"', f'{setting} = "{value}"', text, flags=re.MULTILINE)
        assert changed != text
        path.write_text(changed, "utf-8")

    @property
    def code(self) -> int:
        """How the last command ended."""
        return self.screens[-1].code


@pytest.fixture
def person(tmp_path, in_terminal):
    """Somebody with two files that nobody has described; one date and one person are wrong."""
    signed_up = [f"{1 + n % 12:02}/{1 + n % 28:02}/2021 11:30" for n in range(PEOPLE)]
    signed_up[7] = "last week"
    rows = (f"{n:04},p{n}@example.com,{at},{n}" for n, at in enumerate(signed_up))
    text = "customer_id,email,signed_up,visits\n" + "\n".join(rows) + "\n"
    folder = tmp_path / "acme"
    folder.mkdir()
    (folder / "customers.csv").write_text(text, "utf-8")
    table = {
        "customer_id": [*(f"{n % PEOPLE:04}" for n in range(EVENTS - 1)), "9999"],
        "event": ["purchased", "viewed"] * (EVENTS // 2),
        "occurred_at": pa.array(
            range(1_650_000_000, 1_650_000_000 + 86_400 * EVENTS, 86_400), pa.timestamp("s")
        ),
        "price": [n / 4 for n in range(EVENTS)],
        "order_id": list(range(EVENTS)),
    }
    pq.write_table(pa.table(table), folder / "events.parquet")
    return Person(folder, in_terminal, f"http://127.0.0.1:{free_port()}")


@pytest.fixture
def sandbox_command(start, person):
    """Starts the sandbox as the README says, in the background."""

    def started():
        command = start("sandbox", "--port", person.url.rpartition(":")[2])
        until(lambda: "Ctrl-C" in command.stderr())
        return command

    return started


def test_from_two_unknown_files_to_every_row_delivered(person, sandbox_command, tmp_path_factory):
    """init, check, plan, a rehearsal in the sandbox, its report, and the fixed row."""
    _describes_the_files(person)
    _looks_at_every_row(person)
    sandbox_command()
    _rehearses(person)
    _mends_the_row(person)

    for shown in person.screens:
        lines = [each for each in shown.frames if not each.startswith("next: ")]  # to be pasted
        assert max(map(len, lines)) <= COLUMNS, lines
        assert "Traceback" not in shown.text
        assert shown.frames[-1].startswith("next: ")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: the report and the sandbox's page were not seen")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    try:
        for width in (1280, 390):
            browser.resize(width)
            _reads_the_report(person, browser, width)
            _looks_into_the_sandbox(person, browser, width)
        assert browser.failures == []
    finally:
        browser.close()


def _describes_the_files(person):
    """Two clocks without a zone are asked for, each with a default; the rest is proved."""
    screen = person.types(
        "backfill init customers.csv events.parquet",
        Then("signed_up has no time zone", ""),
        Then("[UTC] ", "Atlantis\n"),
        Then("[UTC] ", "America/New_York\n"),
        Then("occurred_at has no time zone", ""),
        Then("[UTC] ", "\n"),
    )
    assert person.code == 0
    assert "Atlantis" in screen
    assert "pipeline.toml: made from 130 rows, each line with its evidence" in screen
    assert f"customers: the name says so: {PEOPLE} people in {PEOPLE} rows" in screen
    assert f"events: column 'event' names what happened: 41 people in {EVENTS} rows" in screen
    assert screen.endswith("next: backfill check pipeline.toml")
    written = (person.folder / "pipeline.toml").read_text("utf-8")
    assert 'format = "%m/%d/%Y %H:%M", timezone = "America/New_York"' in written
    assert "# proved: it fits 39 of 40 values" in written


def _looks_at_every_row(person):
    """The date that is none and the stranger are told, and what to decide; then the whole plan."""
    screen = person.types("backfill check pipeline.toml")
    assert person.code == 7
    assert "130 rows in 2 files, nothing was sent" in screen
    assert "all rows 130 129 0 0 1 " in screen
    assert "1 timestamp_unreadable the timestamp does not match the column's format" in screen
    assert "! source 2 (events) names people whom no customers source names" in screen
    assert 'next: set unknown_people = "reject" or "send"; then: backfill plan' in screen

    person.decides("unknown_people", "send")
    screen = person.types("backfill plan pipeline.toml")
    assert person.code == 3
    assert "A run would be refused" not in screen
    assert "under a second at 100 requests/s" in screen
    assert "Events by day (UTC) events 2022-04-15 to 2022-07-13" in screen
    assert "purchased 45 ███" in screen
    assert "%m/%d/%Y %H:%M in America/New_York: declared" in screen
    assert '"action": "identify"' in screen
    assert "customers.csv row 8" in screen
    assert screen.endswith("backfill run pipeline.toml")


def _rehearses(person):
    """A bar that reaches its end, a table that balances, and what to do with the row that is left.

    Nobody is asked whether to start: it goes to this machine.
    """
    run = "backfill run pipeline.toml --url http://127.0.0.1:8025 --state-dir rehearsal"
    screen = person.types(run)
    assert person.code == 3
    assert "start now?" not in screen
    assert "plan: 130 rows checked, 1 rejected" in screen
    last = person.screens[-1].drawn("send")[-1]
    assert re.match(r"send 100% \|█+\| 130/130 rows .*1 rejected$", last), last
    assert "all rows 130 129 0 0 1 0" in screen
    assert "Report: rehearsal/" in screen
    assert "next: fix the rows in rehearsal/" in screen
    retry = f"backfill retry pipeline.toml --state-dir rehearsal --url {person.url}"
    assert screen.endswith(f"then: {retry}")

    screen = person.types("backfill status pipeline.toml --state-dir rehearsal")
    assert "finished 130 129 1 0" in screen
    screen = person.types("backfill report pipeline.toml --state-dir rehearsal")
    assert re.search(r"rehearsal/\S+/report.html next: open rehearsal/\S+ in a browser$", screen)


def _mends_the_row(person):
    """The row is fixed where the screen said, and sent with the command that it gave."""
    (fixed,) = person.folder.glob("rehearsal/*/rejected.csv")
    rows = fixed.read_text("utf-8-sig").replace("last week", "03/05/2021 11:30")
    fixed.write_text(rows, "utf-8-sig")
    screen = person.types(f"backfill retry pipeline.toml --state-dir rehearsal --url {person.url}")
    assert person.code == 0
    assert "the job 130 130 0 0 0 0" in screen
    assert screen.endswith("next: nothing to do; every row is accounted for")


def _reads_the_report(person, browser, width):
    """One sentence, the balance, both runs, the dates' evidence; nothing runs off the page."""
    (report,) = person.folder.glob("rehearsal/*/report.html")
    assert report.stat().st_size < 1_000_000
    browser.open(report.as_uri())
    browser.wait_for("document.readyState", "complete")
    words = " ".join(browser.value("document.body.innerText").split())
    assert "Complete" in words
    assert "All 130 rows were delivered to the sandbox at 127.0.0.1" in words
    assert "130 read = 130 delivered + 0 merged + 0 skipped + 0 rejected + 0 pending" in words
    assert "15 April 2022 to 13 July 2022 (UTC)" in words
    assert "done, some rows rejected" in words
    assert "%m/%d/%Y %H:%M in America/New_York" in words
    assert browser.value("document.documentElement.scrollWidth") <= width


def _looks_into_the_sandbox(person, browser, width):
    """The page shows what arrived, the fixed moment as the clocks of New York mean it."""
    browser.open(f"{person.url}/")
    browser.wait_for(browser.text("#total-people"), str(PEOPLE + 1))
    assert browser.value(browser.text("#total-events")) == str(EVENTS)
    assert browser.value("document.documentElement.scrollWidth") <= width
    found = browser.value(f"fetch('{person.url}/sandbox/people/0007').then(r => r.text())")
    assert str(IN_NEW_YORK) in found
