"""Exports as known tools write them go from `init` to `run`; only what `init` names is decided."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

DAYS = range(10, 29)


@dataclass(frozen=True)
class Export:
    """A file as a tool exports it.

    Args:
        file: Its name.
        text: What is in it.
        answers: What a person decides, by the key that `init` names.
        identifiers: Whom its first rows are about.
        first: What arrives of the first row.
        said: What `init` says of it.
    """

    file: str
    text: str
    first: dict[str, Any]
    answers: dict[str, str] = field(default_factory=dict)
    said: str = ""


def table(header: str, row: str) -> str:
    """A CSV file: a row for each day, `{n}` in its place."""
    return header + "\n" + "".join(row.replace("{n}", str(n)) + "\n" for n in DAYS)


def objects(document: str) -> str:
    """JSON Lines: an object for each day, `9999` in the place of its number."""
    return "".join(document.replace("9999", str(n)) + "\n" for n in DAYS)


MIXPANEL = {
    "event": "Signed up",
    "properties": {
        "time": 170_679_999_000,
        "distinct_id": "u9999",
        "$insert_id": "i9999",
        "plan": "pro",
    },
}
BRAZE = {
    "external_id": "u9999",
    "braze_id": "5f9999",
    "email": "u9999@example.com",
    "created_at": "2020-07-9999 15:00:00.000 UTC",
    "email_subscribe": "unsubscribed",
    "dob": "1980-12-21",
    "custom_attributes": {"loyalty": 7},
}
EXPORTS = {
    "HubSpot, contacts": Export(
        "hubspot-crm-exports-all-contacts.csv",
        table(
            '"Record ID","First Name","Email","Phone Number","Create Date",'
            '"Unsubscribed from all email","Associated Company"',
            '"10{n}","Ann","ann{n}@example.com","+49 151 {n}","2024-01-{n} 10:20","","Acme, Inc."',
        ),
        {"id": "1010", "created_at": 1704882000, "Phone Number": "+49 151 10"},
        {"columns.created_at.timezone": "UTC"},
        "Unsubscribed from all email looks like consent: unsubscribed is declared from it",
    ),
    "Mixpanel, events": Export(
        "export.jsonl",
        objects(json.dumps(MIXPANEL)),
        {"person": "u10", "name": "Signed up", "timestamp": 1706710000},
    ),
    "WooCommerce, orders": Export(
        "orders-export-2024.csv",
        table(
            "Order ID,Order Date,Customer Email,Order Total,Item Name",
            '5{n},2024-01-{n} 09:05:00,ann@example.com,"1,2{n}.50",Tea',
        ),
        {"person": "ann@example.com", "timestamp": 1704873900, "Order Total": 1210.5},
        {"name": "order placed", "timestamp.timezone": "Europe/Paris"},
    ),
    "Braze, users": Export(
        "braze_users.json",
        objects(json.dumps(BRAZE)),
        {"id": "u10", "created_at": 1594393200, "dob": 346204800, "unsubscribed": True},
        said="email_subscribe looks like consent: unsubscribed is declared from it",
    ),
    "Mailchimp, audience": Export(
        "subscribed_audience_export.csv",
        table(
            '"Email Address","First Name",MEMBER_RATING,OPTIN_TIME,LAST_CHANGED,TAGS',
            'mo{n}@example.com,Mo,2,,"2020-01-{n} 00:00:01","""vip"",""b2b"""',
        ),
        {"email": "mo10@example.com", "MEMBER_RATING": 2, "TAGS": '"vip","b2b"'},
        {"columns.LAST_CHANGED.timezone": "UTC"},
    ),
}


@pytest.mark.parametrize("tool", EXPORTS)
def test_it_goes_from_init_to_run(tmp_path, backfill, send, sandbox, tool):
    """Every key that is decided was named, nothing else is touched, and all of it arrives."""
    export = EXPORTS[tool]
    (tmp_path / export.file).write_text(export.text, "utf-8")
    path = tmp_path / "pipeline.toml"

    said = backfill("init", export.file, "--json")
    assert said.summary["open"] == [f"source[1].{key}" for key in export.answers]
    assert export.said in " ".join(said.summary["sources"][0]["remarks"])
    text = path.read_text("utf-8")
    for answer in export.answers.values():
        text = text.replace('"TODO"', f'"{answer}"', 1)
    path.write_text(text, "utf-8")

    assert backfill("check", path).code == 0
    assert backfill("plan", path).code == 0
    done = send(path)

    assert (done.code, done.summary["delivered"]) == (0, len(DAYS))
    arrived = sandbox.events() or [
        {"id": key, **each} for key, each in sorted(sandbox.people().items())
    ]
    assert len(arrived) == len(DAYS)
    first = {**arrived[0]["attributes"], **arrived[0]}
    assert {key: first.get(key) for key in export.first} == export.first
