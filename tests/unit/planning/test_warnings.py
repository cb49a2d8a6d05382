"""What people should know before they send."""

from collections import Counter
from pathlib import Path

import pytest

from backfill.pipeline.file import Pipeline
from backfill.planning.first_pass import PlanResult
from backfill.planning.plan import Plan
from backfill.planning.source_stats import SourcePlan
from backfill.planning.warnings import warnings_of

NOW_S = 1_700_000_000.0
CUSTOMERS = {"kind": "customers", "files": ["c.csv"], "identifier": {"id": "id"}}
EVENTS = {
    "kind": "events",
    "files": ["e.csv"],
    "identifier": {"id": "id"},
    "name": {"from": "event"},
    "timestamp": {"from": "at", "timezone": "UTC"},
}
DELETIONS = {"kind": "deletions", "files": ["d.csv"], "identifier": {"id": "id"}}
WHOLE = ("created_at", "email")


def _warned(*sources):
    """The codes of the warnings; each source is its settings and what was seen in it."""
    pipeline = Pipeline.model_validate(
        {"name": "job", "path": Path("job.toml"), "source": [settings for settings, _ in sources]}
    )
    seen = [
        SourcePlan(settings["kind"], settings["files"], **{"rows_read": 9, **found})
        for settings, found in sources
    ]
    plan = Plan("key", NOW_S, PlanResult({}, seen, [], {}, {}, []))
    return [each.code for each in warnings_of(pipeline, plan)]


@pytest.mark.parametrize(
    ("settings", "attributes", "codes"),
    [
        ({}, ("email",), ["no_created_at"]),
        ({"create": False}, ("email",), []),
        ({}, WHOLE, []),
        ({}, (*WHOLE, "Email", "UNSUBSCRIBED"), ["nearly_named"] * 2),
    ],
)
def test_attributes_that_the_service_acts_on(settings, attributes, codes):
    """Who has no created_at, or a name that is nearly one of the three."""
    assert _warned(({**CUSTOMERS, **settings}, {"attributes": list(attributes)})) == codes


@pytest.mark.parametrize(
    ("names", "codes"),
    [
        (("bought", "sold"), []),
        (("Bought", "bought"), ["names_by_case"]),
        (("page seen",), ["names_with_spaces"]),
        (("x" * 90,), ["near_limit"]),
    ],
)
def test_event_names_that_campaigns_must_repeat(names, codes):
    """Case and spaces are easily got wrong later."""
    assert _warned((EVENTS, {"names": Counter(dict.fromkeys(names, 1))})) == codes


def recent_events(count):
    """What a source shows that has so many events of this minute."""
    minutes = Counter({int(NOW_S // 60): count})
    return {"recent": minutes, "last_us": int(NOW_S * 10**6)}


def test_recent_events_are_a_warning_once_they_are_wanted():
    """The setting answers the guard; what it means is said all the same."""
    recent = {**recent_events(3), "recent_names": Counter({"bought": 3})}

    assert _warned((EVENTS, recent)) == []
    assert _warned(({**EVENTS, "recent_events": "send"}, recent)) == ["recent_events"]


def test_unknown_people_are_a_warning_once_they_are_wanted():
    """They become profiles, which cost money."""
    settings = {**EVENTS, "unknown_people": "send"}

    assert _warned((settings, {"unknown_people": 2})) == ["unknown_people"]


def test_suppression_is_for_ever():
    """Deleting is what the word says; suppressing is more."""
    assert _warned((DELETIONS, {"operations": 2})) == []
    assert _warned(({**DELETIONS, "action": "suppress"}, {"operations": 2})) == ["suppressed"]


def test_the_greatest_harm_comes_first():
    """Whatever the order of the sources."""
    events = {**EVENTS, "recent_events": "send"}
    recent = {**recent_events(1), "names": Counter({"a b": 1})}

    assert _warned((CUSTOMERS, {}), (events, recent)) == [
        "recent_events",
        "no_created_at",
        "names_with_spaces",
    ]


def test_what_comes_near_a_limit_is_told():
    """The next export may be beyond it: long values, and many attributes."""
    many = {"attributes": ["created_at", *(f"a{n}" for n in range(270))], "long": ["notes"]}
    columns = {"created_at": {"type": "timestamp", "timezone": "UTC"}}
    assert _warned(({**CUSTOMERS, "columns": columns}, many)) == ["near_limit"] * 2


@pytest.mark.parametrize("settings", [{**CUSTOMERS, "create": False}, EVENTS])
def test_timestamps_of_attributes_that_may_be_slips_are_told(settings):
    """No gate stands before attributes: one before 1970 or in the future is sent, and said."""
    assert _warned((settings, {"odd_timestamps": ["born_on"]})) == ["odd_timestamps"]


def test_a_created_at_that_the_service_takes_for_no_timestamp_is_told():
    """As text, or as a number of another unit."""
    found = {"attributes": WHOLE, "created_at_text": True, "implausible": ["created_at"]}
    assert _warned((CUSTOMERS, found)) == ["created_at_text", "implausible_timestamps"]


def test_people_who_are_called_nothing_are_told():
    """A program wrote a word where nobody was known; the setting that answers is named."""
    found = {"attributes": WHOLE, "null_words": ["null"]}
    assert _warned((CUSTOMERS, found)) == ["people_called_nothing"]


def test_identifiers_that_are_marked_as_text_are_told():
    """The mark would be sent with them."""
    found = {"attributes": WHOLE, "text_marks": ["'"]}
    assert _warned((CUSTOMERS, found)) == ["text_marks"]


def test_addresses_that_are_none_are_told():
    """They are sent as they are."""
    assert _warned((CUSTOMERS, {"attributes": WHOLE, "odd_emails": ["email"]})) == ["odd_emails"]


def test_the_file_that_wins_is_told():
    """Where several name the same people."""
    found = {"attributes": WHOLE, "overlapping": ["a.csv", "b.csv"]}
    assert _warned((CUSTOMERS, found)) == ["overlapping"]


def test_how_files_are_read_is_said():
    """A column without a name, a line that waits, a part without rows: left out, and said so."""
    seen = {"attributes": list(WHOLE), "notes": ["c.csv: column 1 has no name and is left out"]}
    assert _warned((CUSTOMERS, seen)) == ["files"]
