"""The page at `/`, in a real browser: what it shows, by mouse and by keyboard, wide and narrow."""

import json
import re

import httpx
import pytest

from backfill.sandbox import SandboxSettings, running
from tests.support.browsers import CHROMIUM, Browser

NOW_S = 1_790_000_000

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser for this file."""
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def workspace():
    """A sandbox that stands still at NOW_S."""
    settings = SandboxSettings(now_s=NOW_S)
    with running(settings) as sandbox, httpx.Client(base_url=sandbox.url, timeout=60) as client:
        client.auth = (settings.site_id, settings.api_key)
        yield client


@pytest.fixture
def page(browser, workspace):
    """The page over a small history: five people, of whom two bought lately."""
    # The page of the test before asks on, and a reset cuts its connections: failures of that one.
    browser.open("about:blank")
    workspace.post("/sandbox/reset")
    operations = [
        {
            "type": "person",
            "action": "identify",
            "identifiers": {"id": f"person-{index}"},
            "attributes": {
                "email": f"p{index}@example.com",
                "plan": "<b>bold</b>",
                "a_rather_long_name_that_an_export_made_out_of_three_tables": 1,
            },
        }
        for index in range(4)
    ]
    operations += [
        {
            "type": "person",
            "action": "event",
            "identifiers": {"id": f"person-{index}"},
            "name": "bought",
            "timestamp": NOW_S - days * 86_400,
            "attributes": {"price": index},
        }
        for index, days in [(0, 3), (1, 20), (2, 400), (9, 800)]
    ]
    workspace.post("/api/v2/batch", json={"batch": operations}).raise_for_status()
    workspace.put("/api/v1/customers/person-0", json={"a": "x" * 1001})
    browser.resize(1280)
    browser.failures.clear()
    browser.open(f"{workspace.base_url}/")
    browser.wait_for(browser.text("#total-people"), "5")
    browser.wait_for("document.querySelectorAll('#people-list button').length", 5)
    return browser


def test_the_totals_are_those_of_the_account(page):
    """Figures, and what to look at."""
    assert page.value(page.text("#total-events")) == "4"
    assert page.value(page.text("#total-rejected_operations")) == "1"
    assert "only because an event named them" in page.value(page.text("#notes"))
    assert page.failures == []


def test_new_arrivals_show_by_themselves(page, workspace):
    """Nobody has to reload."""
    assert page.value(page.text("#total-people")) == "5"
    workspace.put("/api/v1/customers/new", json={}).raise_for_status()

    page.wait_for(page.text("#total-people"), "6")
    assert page.failures == []


def test_the_chart_covers_the_whole_history(page):
    """Bars for each month with events, and a label that says so."""
    page.wait_for("document.querySelectorAll('#chart rect').length", 3)

    label = page.value("document.querySelector('#chart svg').getAttribute('aria-label')")
    assert label == "4 events by month, Jul 2024 to Sep 2026"
    months = page.value("[...document.querySelectorAll('#chart svg text')].map(t => t.textContent)")
    assert months[3:4] == ["Jul 2024"]
    assert all(re.fullmatch(r"[A-Z][a-z]{2} \d{4}", month) for month in months[3:])
    assert page.value(page.text("#legend button")) == "bought 4"


def test_a_segment_is_counted_while_it_is_written(page):
    """With the keyboard alone: an event, then a window."""
    page.value("document.querySelector('[aria-label=\"Name of the event\"]').focus()")
    page.write("bought")
    page.wait_for(page.text("#segment-count"), "4 people")
    for _ in range(3):
        page.press("Tab", 9)
    page.write("30")
    page.wait_for(page.text("#segment-count"), "2 people")

    assert page.value("document.querySelectorAll('#segment-people button').length") == 2
    assert json.loads(page.value(page.text("#segment-json")))["event"]["within_days"] == 30


def person_found(page, part: str, name: str) -> str:
    """Find the only person with this part, by keyboard alone; gives what is shown of them."""
    page.value("document.getElementById('search').focus()")
    page.write(part)
    page.wait_for("document.querySelectorAll('#people-list button').length", 1)
    page.press("Tab", 9)
    page.press("Enter", 13, "\r")
    page.wait_for(page.text("#person h3"), name)
    return page.value(page.text("#person"))


def test_a_person_is_found_and_shown(page):
    """By a part of the e-mail; attributes are text, never markup."""
    shown = person_found(page, "P2@EXAMPLE", "person-2")

    assert "<b>bold</b>" in shown
    assert "2025-08" in shown
    assert page.value("document.querySelector('#person b')") is None


def test_text_that_turns_its_direction_is_shown_as_it_is(page, workspace):
    """A list in which `gpj.exe` reads as `exe.jpg` is a trap."""
    workspace.put("/api/v1/customers/turned", json={"file": "a\u202egpj.exe", "bell": "x\u0007"})

    shown = person_found(page, "turned", "turned")

    assert "a\\u202egpj.exe" in shown
    assert "x\\u0007" in shown
    assert "\u202e" not in shown


def test_requests_with_errors_can_be_singled_out(page):
    """The refused one remains, with what was answered."""
    page.wait_for("document.querySelectorAll('#requests-body tr').length", 2)
    page.value("document.getElementById('only-errors').click()")

    page.wait_for("document.querySelectorAll('#requests-body tr').length", 1)
    assert "cannot be longer than 1000 bytes" in page.value(page.text("#requests-body"))


def test_faults_can_be_put_in_force_and_taken_back(page, workspace):
    """A script is typed in, strikes, and shows how often."""
    script = json.dumps({"faults": [{"kind": "status", "status": 503, "path": "/api/v2/"}]})
    page.value(f"document.getElementById('faults-script').value = {json.dumps(script)}")
    page.value("document.querySelector('#faults-form button').click()")
    page.wait_for(page.text("#faults-said"), "In force.")
    assert workspace.post("/api/v2/batch", json={"batch": []}).status_code == 503
    page.wait_for("document.querySelector('#faults-list').textContent.includes('fired 1')", True)

    page.value("document.getElementById('faults-none').click()")
    page.wait_for(page.text("#faults-list"), "None: everything works.")
    page.value("document.getElementById('faults-script').value = '{\"faults\": 1}'")
    page.value("document.querySelector('#faults-form button').click()")
    page.wait_for("document.querySelector('#faults-said').textContent.slice(0, 12)", "no script of")


def test_a_reset_asks_first(page):
    """Escape keeps everything; the button in the dialog does not."""
    page.value("document.getElementById('reset').focus()")
    page.press("Enter", 13, "\r")
    page.wait_for("document.getElementById('reset-dialog').open", True)
    page.press("Escape", 27)
    page.wait_for("document.getElementById('reset-dialog').open", False)
    assert page.value(page.text("#total-people")) == "5"

    page.value("document.getElementById('reset').click()")
    page.value("document.querySelector('#reset-dialog .danger').click()")
    page.wait_for(page.text("#total-people"), "0")
    page.wait_for(page.text("#chart"), "No events.")


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_runs_off_the_screen(page, width):
    """The page is as wide as the screen, also with a person open."""
    page.resize(width)
    page.value("document.querySelector('#people-list button').click()")
    page.wait_for(page.text("#person h3"), "person-0")

    assert page.value("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name(page):
    """What a screen reader would say is never nothing."""
    nameless = page.value(
        "[...document.querySelectorAll('button, input, select')].filter(control =>"
        " !control.textContent.trim() && !control.getAttribute('aria-label')"
        " && !control.labels?.length).length"
    )

    assert nameless == 0


def test_nothing_comes_from_elsewhere(page, workspace):
    """Every resource is the sandbox's own, and the page says that no other may be loaded."""
    sources = page.value("performance.getEntriesByType('resource').map(entry => entry.name)")

    assert sources
    assert all(source.startswith(str(workspace.base_url)) for source in sources)
    policy = workspace.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")


def test_the_panel_beside_the_list_is_never_empty(page):
    """The first person is shown until another one is chosen."""
    page.wait_for(page.text("#person h3"), "person-0")
    page.value("document.querySelectorAll('#people-list button')[1].click()")
    page.wait_for(page.text("#person h3"), "person-1")

    assert page.value(page.text("#person h3")) == "person-1"


def test_an_event_of_many_fields_is_folded(page, workspace):
    """Few are a table; many are one line until somebody asks."""
    event = {"name": "wide", "data": {f"field_{number}": number for number in range(79)}}
    workspace.post("/api/v1/customers/person-0/events", json=event).raise_for_status()

    page.wait_for(page.text("#person .timeline details summary"), "79 fields")
    folded = "document.querySelector('#person .timeline details').open"
    assert page.value(folded) is False
    page.value("document.querySelector('#person .timeline summary').click()")
    rows = "document.querySelectorAll('#person .timeline details tr').length"
    page.wait_for(rows, 79)
    page.wait_for(folded, True)


def test_objects_forms_and_messages_are_shown(page, workspace):
    """Each as a table, once there is one."""
    assert page.value("document.getElementById('objects-table').hidden") is True
    thing = {"object_type_id": "1", "object_id": "acme"}
    item = {"type": "object", "action": "identify", "identifiers": thing, "attributes": {"n": 5}}
    workspace.post("/api/v2/entity", json=item).raise_for_status()
    form = {"data": {"email": "x@y.z", "food": "pizza"}}
    workspace.post("/api/v1/forms/1/submit", json=form).raise_for_status()
    for item in (
        {"action": "identify", "identifiers": {"id": "7"}},
        {"action": "identify", "identifiers": {"id": "8"}},
        {
            "action": "add_relationships",
            "identifiers": {"id": "7"},
            "cio_relationships": [
                {"identifiers": thing, "relationship_attributes": {"role": "owner"}}
            ],
        },
        {"action": "merge", "primary": {"id": "7"}, "secondary": {"id": "8"}},
    ):
        workspace.post("/api/v2/entity", json={"type": "person", **item}).raise_for_status()
    metric = {"delivery_id": "d1", "metric": "opened"}
    workspace.post("/api/v1/metrics", json=metric).raise_for_status()

    page.wait_for("document.getElementById('messages-table').hidden", False)
    shown = page.value(page.text("#others"))
    for text in ("1:acme", "n: 5", "7 (role: owner)", "applied", "food: pizza", "metric: opened"):
        assert text in shown
    assert page.value("document.getElementById('others-none').hidden") is True


@pytest.mark.parametrize(("width", "lines"), [(1280, 2), (390, 5)])
def test_a_condition_keeps_together_what_belongs_together(page, width, lines):
    """No label stands in another line than its field."""
    page.resize(width)
    tops = page.value(
        "[...document.querySelectorAll('#conditions li .group')].map(g =>"
        " Math.round(g.getBoundingClientRect().top))"
    )

    assert len(set(tops)) <= lines
    assert page.value("document.documentElement.scrollWidth") <= width
