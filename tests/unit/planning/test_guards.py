"""Nothing is sent where that could do harm, until a setting of that name says so."""

from dataclasses import replace

import pytest

from backfill.errors import GuardError
from backfill.pipeline.file import Pipeline
from backfill.planning.first_pass import PlanResult
from backfill.planning.guards import refusals, refuse
from backfill.planning.plan import Plan
from backfill.planning.proof import Decision
from backfill.planning.source_stats import SourcePlan

NOW_S = 1_750_000_000
MINUTE = NOW_S // 60


def pipeline(**answers):
    """Customers, events and deletions, with these answers."""
    tables = {
        "customers": {},
        "events": {"name": "n", "timestamp": {"from": "t"}},
        "deletions": {},
    }
    sources = [
        {"kind": kind, "files": ["f"], "identifier": {"id": "p"}, **more, **answers.get(kind, {})}
        for kind, more in tables.items()
    ]
    return Pipeline.model_validate({"name": "n", "source": sources, "path": "/x/p.toml"})


def plan(customers=None, events=None, deletions=None, decisions=()):
    """A plan that found this."""
    sources = [
        SourcePlan("customers", **{"rows_read": 9, **(customers or {})}),
        SourcePlan("events", **{"rows_read": 9, **(events or {})}),
        SourcePlan("deletions", **{"rows_read": 9, **(deletions or {})}),
    ]
    return Plan("key", NOW_S, PlanResult({}, sources, list(decisions), {}, {}, []))


DOUBT = Decision(1, "timestamp", "at", "%d/%m/%Y", None, declared=False, doubt="two formats fit",
                 readings=("'1/2/2024' in row 3: 2024-02-01", "…: 2024-01-02"))  # fmt: skip
RECENT = {"recent": {MINUTE: 3}, "last_us": NOW_S * 10**6}
CASES = {
    "recent_events": ({"events": {**RECENT, "recent_names": {"bought": 3}}},
                      ("events", "recent_events", ["send", "skip", "hold"])),
    "unknown_people": ({"events": {"unknown_people": 2}},
                       ("events", "unknown_people", ["reject", "send"])),
    "identical_rows": ({"events": {"identical": 2}},
                       ("events", "identical_rows", ["keep", "collapse"])),
    "repeated_keys": ({"events": {"repeated_keys": 2}}, ("events", "repeated_keys", ["first"])),
    "shared_emails": ({"customers": {"shared_emails": 2}},
                      ("customers", "shared_emails", ["first", "send"])),
    "reserved": ({"events": {"reserved": ["recipient"]}}, ("events", "reserved", ["drop", "send"])),
    "deletes_max": ({"deletions": {"operations": 101}}, ("deletions", "deletes_max", [101])),
    "deletes_customers": ({"deletions": {"both": 1}}, None),
    "consent": ({"customers": {"consent_columns": ["opt_out"]}},
                ("customers", "consent", ["ignore"])),
    "format": ({"decisions": [DOUBT]}, None),
    "source_empty": ({"customers": {"rows_read": 0}}, None),
}  # fmt: skip


@pytest.mark.parametrize("code", CASES)
def test_each_guard_refuses_until_its_setting_answers(code):
    """The refusal names the setting and each of its choices."""
    found, setting = CASES[code]
    (guard,) = refusals(pipeline(), plan(**found), NOW_S)
    assert guard.code == code
    if setting is None:
        return
    kind, name, answers = setting
    assert name in guard.answer
    for answer in answers:
        assert str(answer) in guard.answer
        assert refusals(pipeline(**{kind: {name: answer}}), plan(**found), NOW_S) == []


def test_a_column_about_texts_is_never_advised_for_all_mail():
    """Whoever wants none may want mail; a column about all mail is advised before it."""
    said = []
    for columns in (["SMS Consent", "opt_out"], ["SMS Consent"]):
        (guard,) = refusals(pipeline(), plan(customers={"consent_columns": columns}), NOW_S)
        said.append(guard.answer)

    assert 'declare unsubscribed = { from = "opt_out", type = "boolean" }' in said[0]
    channel = '"cio_subscription_preferences.channels.sms"'
    assert f'declare {channel} = {{ from = "SMS Consent", type = "boolean" }}' in said[1]


def test_nothing_found_refuses_nothing():
    """And nothing is raised."""
    assert refusals(pipeline(), plan(), NOW_S) == []
    refuse([])


def test_refusals_are_told_together_in_order_of_harm():
    """What could mail people stands first."""
    everything = {}
    for found, _ in CASES.values():
        for name, said in found.items():
            merged = {**everything.get(name, {}), **said} if isinstance(said, dict) else said
            everything[name] = merged
    guards = refusals(pipeline(), plan(**everything), NOW_S)
    assert sorted(each.code for each in guards) == sorted(CASES)
    assert [each.code for each in guards][:3] == [
        "recent_events",
        "deletes_max",
        "deletes_customers",
    ]
    with pytest.raises(GuardError, match="nothing was sent") as caught:
        refuse(guards)
    for each in guards:
        assert each.what in caught.value.what
        assert each.answer in caught.value.next_step


def test_an_event_is_not_recent_for_ever():
    """The same plan is asked again later."""
    found = plan(events=RECENT)
    assert refusals(pipeline(), found, NOW_S + 72 * 3600)
    assert refusals(pipeline(), found, NOW_S + 72 * 3600 + 1e-6) == []


def test_people_who_stand_twice_in_deletions_are_deleted_once():
    """The limit counts people."""
    found = {"operations": 150, "skipped": {"repeated_person": 50}}
    source = SourcePlan("deletions", operations=150)
    source.skipped.update(found["skipped"])
    made = plan()
    made.found.sources[2] = source
    assert refusals(pipeline(), made, NOW_S) == []
    share = pipeline(deletions={"deletes_max": "1%"})
    made.found.sources[0] = replace(made.found.sources[0], operations=9_999)
    (guard,) = refusals(share, made, NOW_S)
    assert guard.what.endswith("more people than deletes_max: 100")
    made.found.sources[0].operations = 10_000
    assert refusals(share, made, NOW_S) == []


def test_two_readings_are_both_shown():
    """So that the user can tell which one is right."""
    (guard,) = refusals(pipeline(), plan(decisions=[DOUBT]), NOW_S)
    for reading in DOUBT.readings:
        assert reading in guard.what
    assert "'at'" in guard.what
    assert guard.answer == 'set format = "…" beside timestamp'
