"""The report as a file: whole, harmless, readable by everyone."""

import re
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.report.charts import COLOURS, Days
from backfill.report.content import (
    Content,
    History,
    RejectedFor,
    ShownCall,
    ShownExample,
    ShownSettings,
    ShownTimestamps,
)
from backfill.report.course import PAUSES_MAX, STEPS_MAX, Course, Recorder
from backfill.report.html import outcome_of, render
from backfill.report.summary import RunSummary, SourceSummary, Summary

FIRST_DAY = 18_628
EVIL = """<script>alert(1)</script><img src="https://x.example/" onerror='alert(2)'>{{ 7 * 7 }}"""
VOID = {"meta", "link", "img", "br"}
SCHEMES = ("light", "dark")


class Read(HTMLParser):
    """What a browser would make of a page: elements with the names of their attributes, text."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.open = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Every element is closed where it was opened."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Note a text."""
        self.text += data

    def structure(self):
        """The elements, without what the attributes say."""
        return [(tag, *attributes) for tag, attributes in self.elements]


def summary(**known):
    """A finished job."""
    counts = {
        "rows_read": 1000,
        "delivered": 970,
        "merged": 10,
        "skipped": 5,
        "rejected": 15,
        "pending": 0,
        "held": 0,
    } | {name: known.pop(name) for name in tuple(known) if name in Summary.__slots__}
    rest = {
        "job": "acme",
        "exit": 3,
        "complete": True,
        "deletes": 0,
        "requests": 90,
        "attempts": 95,
        "bytes_sent": 1_200_000,
        "seconds": 62.5,
        "rows_per_second": 16.0,
        "started_at": "2026-01-01T10:00:00Z",
        "finished_at": "2026-01-01T10:01:02Z",
        "rejections_by_reason": {"not_an_integer": 15},
        "this_run": RunSummary(),
    }
    of_source = {name: count for name, count in counts.items() if name in SourceSummary.__slots__}
    source = SourceSummary(kind="events", files=["events.csv"], **of_source)
    return Summary(**{"sources": [source], **rest, **counts, **known})


def course(steps=40, pauses=2):
    """Runs of a quarter of a second a step."""
    made = Course()
    recorder = Recorder(made, 1, 0.5, 0, 0)
    for step in range(1, steps + 1):
        recorder.note(0.5 + step / 4, 25 * step, 3 * step, 0.02)
    for pause in range(pauses):
        recorder.paused("throttled", 1.0 + 2 * pause, 1.0)
    return made


def content(name="seen", cell="a cell", **changed):
    """All of a report; `name` stands wherever a name from a file or a setting does."""
    days = Days({name: Counter({FIRST_DAY + day: day + 1 for day in range(60)})})
    example = ShownExample(name, 7, 9, name, name, {name: cell})
    known = {
        "summary": summary(),
        "is_night": False,
        "ended": True,
        "stopped": name,
        "destination": name,
        "next_step": name,
        "next_command": f"backfill retry {name}",
        "rejected_file": "rejected.csv",
        "calls": [ShownCall(number=1, started_at="2026-01-01T10:00:00Z")],
        "course": course(),
        "history": History(days, 1000, 970),
        "rejected": [RejectedFor("not_an_integer", "is no whole number", 15, [example])],
        "timestamps": [ShownTimestamps("events", name, name, name)],
        "settings": [ShownSettings("events", {name: name})],
        "versions": {"backfill": "1.0"},
        "made_at": "2026-01-01T10:01:03Z",
        "redact": "none",
    }
    return Content(**known | changed)


def test_a_report_needs_nothing_from_elsewhere():
    """No address is in it, and its own policy forbids to load or to send anything."""
    read = Read(render(content()))
    policy = next(each["content"] for _, each in read.elements if "http-equiv" in each)

    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert "form-action 'none'" in policy
    addressing = {"src", "href", "action", "srcset", "poster", "xlink:href"}
    assert not [each for each in read.elements if addressing & each[1].keys()]
    assert not re.search(r"https?://|url\(|@import|fetch|XMLHttp", render(content()).decode())


def test_names_from_files_are_never_markup():
    """Whatever stands in an event's name, a column or a cell is shown as it is written."""
    read = Read(render(content(EVIL, EVIL)))

    assert read.structure() == Read(render(content())).structure()
    assert [tag for tag, _ in read.elements].count("script") == 1
    assert read.text.count(EVIL) > 10


@settings(max_examples=20, deadline=None)
@given(
    st.text(st.characters(exclude_characters="\0\r\x0c")).map(lambda text: f"n{text}"), st.text()
)
def test_no_text_changes_the_structure_of_a_report(name, cell):
    """Controls, surrogates, quotes and brackets: the same elements with the same attributes."""
    assert Read(render(content(name, cell))).structure() == Read(render(content())).structure()


def test_the_largest_report_is_below_a_megabyte():
    """All names, twenty years of days, every reason with examples, all steps, pauses and runs."""
    long = "n" * 100
    days = {f"{long}{n}": Counter(dict.fromkeys(range(7000), 123_456)) for n in range(COLOURS)}
    example = ShownExample(f"folder/{long}.csv", 10**9, 10**9, long)
    large = content(
        history=History(Days(days), 10**9, 10**9),
        rejected=[RejectedFor(long, long, 10**6, [example] * 3)] * 45,
        timestamps=[ShownTimestamps(long, long, long, long)] * 100,
        settings=[ShownSettings(long, dict.fromkeys(map(str, range(30)), long))] * 20,
        course=course(STEPS_MAX, PAUSES_MAX),
        calls=[ShownCall(number=n, started_at="2026-01-01T10:00:00Z") for n in range(1000)],
    )

    assert len(render(large)) < 1_000_000


def test_a_job_that_never_began_has_a_report():
    """Without a plan, a course or a reason there are no charts but the law's."""
    nothing = summary(rows_read=0, delivered=0, merged=0, skipped=0, rejected=0, complete=False)
    page = render(
        content(
            summary=nothing,
            history=History(None, 0, 0),
            course=Course(),
            rejected=[],
            timestamps=[],
        )
    )

    assert Read(page).open == []
    assert b"0 rows read = 0 delivered" in page


def test_every_chart_can_be_read_aloud():
    """Each has a role and a label; what it shows stands in a table beside it, too."""
    read = Read(render(content()))
    drawings = [attributes for tag, attributes in read.elements if tag == "svg"]

    assert len(drawings) == 8  # four charts, wide and narrow
    assert all(each["role"] == "img" and each["aria-label"] for each in drawings)
    assert [tag for tag, _ in read.elements].count("details") == 3
    labels = [attributes.get("aria-label") for _, attributes in read.elements]
    for table in ("Rows by source", "Events by time and name", "Speed over time", "Pauses"):
        assert table in labels


@given(st.lists(st.integers(0, 10**12), min_size=5, max_size=5))
@settings(max_examples=30, deadline=None)
def test_the_two_bars_of_the_law_have_the_same_length(rows):
    """However small an account is, it is seen, and the accounts together end where all rows do."""
    names = ("delivered", "merged", "skipped", "rejected", "pending")
    counts = dict(zip(names, rows, strict=True))
    page = render(content(summary=summary(rows_read=sum(rows), **counts))).decode()
    drawing = re.search(r'<svg viewBox="0 0 1000 .*?</svg>', page, re.DOTALL)[0]
    found = re.findall(r'<rect x="([\d.]+)" y="76" width="([\d.]+)"', drawing)

    assert len(found) == sum(count > 0 for count in rows)
    assert all(float(width) >= 1 for _, width in found)
    if found:
        assert sum(map(float, found[-1])) == pytest.approx(1000, abs=2)


@pytest.mark.parametrize(
    ("known", "changed", "word", "sentence"),
    [
        (
            {"delivered": 1000, "merged": 0, "skipped": 0, "rejected": 0, "exit": 0},
            {},
            "Complete",
            "All 1,000 rows were delivered to Customer.io in 1:02 min.",
        ),
        (
            {},
            {},
            "Done, with rejections",
            (
                "970 of 1,000 rows were delivered to Customer.io in 1:02 min; 10 went out merged"
                " into another row, 5 were skipped on purpose and 15 were rejected."
            ),
        ),
        (
            {"pending": 10, "held": 10, "merged": 0, "rejected": 14, "skipped": 6},
            {},
            "Done so far",
            (
                "970 of 1,000 rows were delivered to Customer.io in 1:02 min; 6 were skipped on"
                " purpose, 14 were rejected and 10 are held until they are 72 hours old."
            ),
        ),
        (
            {"delivered": 1, "merged": 0, "skipped": 0, "rejected": 1, "pending": 998, "exit": 75},
            {},
            "Stopped early",
            (
                "1 of 1,000 rows were delivered to Customer.io in 1:02 min; 1 was rejected and 998"
                " are still to be sent."
            ),
        ),
        (
            {"delivered": 970, "merged": 30, "skipped": 0, "rejected": 0},
            {"ended": False},
            "Killed",
            (
                "970 of 1,000 rows were delivered to Customer.io in 1:02 min; 30 went out merged"
                " into another row."
            ),
        ),
        (
            {"delivered": 0, "merged": 0, "skipped": 0, "rejected": 0, "pending": 1000, "exit": 7},
            {},
            "Not started",
            "Nothing has been delivered to Customer.io yet.",
        ),
    ],
)
def test_what_happened_is_one_sentence(known, changed, word, sentence):
    """It says how it ended, how many rows arrived, and what became of the others."""
    outcome = outcome_of(content(summary=summary(**known), destination="Customer.io", **changed))

    assert outcome.word == word
    assert outcome.sentence + outcome.others == sentence


@pytest.mark.parametrize(
    ("run", "exit_code", "word", "sentence"),
    [
        (
            RunSummary(
                rows_read=100,
                delivered=30,
                skipped=70,
                seconds=2.0,
                attempts=1,
                sources=[
                    SourceSummary(kind="events", files=[], skipped_by_reason={"unchanged": 60})
                ],
            ),
            0,
            "Complete",
            (
                "The last sync: 30 of 100 rows were delivered to Customer.io in 2.0 s; 60 were"
                " delivered before and have not changed and 10 were skipped on purpose."
            ),
        ),
        (RunSummary(), 7, "Refused", "The last sync sent nothing."),
    ],
)
def test_a_night_is_told_before_its_job(run, exit_code, word, sentence):
    """The job has a sentence of its own."""
    known = {"rejected": 0, "delivered": 985, "exit": exit_code, "this_run": run}
    told = content(
        summary=summary(**known),
        destination="Customer.io",
        is_night=True,
        calls=[ShownCall(number=7, started_at="2026-01-01T10:00:00Z")],
    )

    outcome = outcome_of(told)

    assert outcome.word == word
    assert outcome.sentence + outcome.others == sentence
    assert outcome.job == (
        "The job so far: 985 of 1,000 rows were delivered to Customer.io in 1:02 min, over 7 runs."
    )
    assert b"The job so far" in render(told)


def _colours(scheme):
    """The colours of the style sheet, by name, as they are in one scheme."""
    style = (files("backfill.report") / "templates/report.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    found = dict(re.findall(r"--([\w-]+): (#\w{6});", light))
    return found if scheme == "light" else found | dict(re.findall(r"--([\w-]+): (#\w{6});", dark))


def _contrast(one, other):
    """How far two colours are apart (WCAG 2.2, contrast ratio)."""

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_words_stand_out_from_what_is_behind_them(scheme):
    """At least 4.5 to 1, as WCAG AA asks of text."""
    colours = _colours(scheme)
    pairs = [(ink, paper) for ink in ("ink", "soft", "accent", "bad") for paper in ("page", "card")]
    pairs += [(tone, f"{tone}-card") for tone in ("good", "some", "bad")]
    pairs += [("ink", "code"), ("soft", "code"), ("tip-ink", "tip")]

    for ink, paper in pairs:
        assert _contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_colours_of_charts_stand_out_from_the_card(scheme):
    """At least 3 to 1, as WCAG AA asks of graphics."""
    colours = _colours(scheme)
    accounts = ["delivered", "merged", "skipped", "rejected", "pending", "read"]

    for name in [*accounts, *(f"c{number}" for number in range(COLOURS))]:
        assert _contrast(colours[name], colours["card"]) >= 3, name
