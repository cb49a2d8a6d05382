"""Every reason for which a row is not sent, provoked through `check` and `run`."""

import asyncio
import csv
import io
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from math import nan

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.delivery.verdicts import Answer
from backfill.errors import ExitCode
from backfill.rows import SENTENCES
from tests.support.deliveries import delivery_to
from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job, numbered, people, rejected
from tests.support.runs import run_in_no_time

GOOD = "p1,seen,2024-01-01T00:00:00Z,1\n"
AT = "2024-01-01T00:00:00Z"
SOON = (datetime.now(UTC) + timedelta(days=3)).isoformat()
LONG = "x" * 1001
WIDE = ",".join(f"a{n}" for n in range(301))
HEAVY = ",".join(["y" * 990] * 20)
V1 = '[destination]\napi = "v1"'


def _columns(**types: str) -> str:
    return "[source.columns]\n" + "".join(f'{name} = "{each}"\n' for name, each in types.items())


def _events(*lines: str | bytes, header: str = HEADER, good: str = GOOD) -> dict[str, bytes]:
    data = [each if isinstance(each, bytes) else each.encode() for each in lines]
    return {"events.csv": (header + good).encode() + b"\n".join(data) + b"\n"}


def _json_lines(line: str) -> dict[str, str]:
    good = f'{{"id": "p1", "event": "seen", "at": "{AT}", "n": 1}}'
    return {"events.jsonl": f"{good}\n{line}\n"}


def _customers(header: str, *lines: str) -> dict[str, str]:
    return {"customers.csv": "\n".join([header, *lines]) + "\n"}


def _parquet(**columns: list) -> dict[str, bytes]:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return {"customers.parquet": file.getvalue()}


def _dated(zone: str, form: str = "iso8601") -> str:
    zoned = f', timezone = "{zone}"' if zone else ""
    return EVENTS.replace(', timezone = "UTC", format = "iso8601"', f'{zoned}, format = "{form}"')


EMAILS = CUSTOMERS.replace('{ id = "id" }', '{ email = "email" }')
NAMED = CUSTOMERS.replace('{ id = "id" }', '{ id = "customer" }')
KNOWN = EVENTS + 'unknown_people = "reject"\n'
MERGES = """
[[source]]
kind = "merges"
files = ["merges.csv"]
primary = { id = "keep" }
secondary = { id = "drop" }
"""
NEW_YORK = _dated("America/New_York")
LOCAL = "p1,seen,2024-01-01T00:00:00,1\n"

CASES = {
    "too_few_fields": (_events("p1,seen"), [EVENTS]),
    "too_many_fields": (_events(f"p1,seen,{AT},1,2"), [EVENTS]),
    "quote_out_of_place": (_events(f'p1,seen,{AT},a"b'), [EVENTS]),
    "unclosed_quote": (_events(f'p1,seen,{AT},"a', f"p1,left,{AT},2"), [EVENTS]),
    "invalid_utf8": (_events(f"p1,seen,{AT},".encode() + b"\xff"), [EVENTS]),
    "nul_byte": (_events(f"p1,seen,{AT},a\0b"), [EVENTS]),
    "row_too_long": (_events(f"p1,seen,{AT}," + "z" * 1_100_000), [EVENTS]),
    "header_again": (_events(HEADER.strip()), [EVENTS]),
    "footer": (_events("(12 rows),,,"), [EVENTS]),
    "invalid_json": (_json_lines('{"id": '), [EVENTS]),
    "not_an_object": (_json_lines("[1]"), [EVENTS]),
    "duplicate_key": (_json_lines('{"id": "p1", "id": "p2"}'), [EVENTS]),
    "identifier_missing": (_events(f" ,seen,{AT},1"), [EVENTS]),
    "identifier_not_text": (
        _json_lines(f'{{"id": {{"$oid": "p1"}}, "event": "seen", "at": "{AT}"}}'),
        [EVENTS],
    ),
    "identifier_too_long": (_events(f"{'p' * 151},seen,{AT},1"), [EVENTS]),
    "identifier_not_an_email": (_customers("email", "a@example.com", "nobody"), [EMAILS]),
    "identifier_conflict": (_customers("customer,id", "1,1", "2,3"), [NAMED]),
    "identifier_shape_v1": (_events(f"a@example.com,seen,{AT},1"), [V1, EVENTS]),
    "unknown_person": (
        {**_events(f"p2,seen,{AT},1"), "customers.csv": people("p1")},
        [CUSTOMERS, KNOWN],
    ),
    "merged_into_itself": (
        {"merges.csv": "keep,drop\n1,2\n3,3\n"},
        [MERGES],
    ),
    "name_missing": (_events(f"p1, ,{AT},1"), [EVENTS]),
    "name_too_long": (_events(f"p1,{'é' * 51},{AT},1"), [EVENTS]),
    "key_missing": (_events(f"p1,seen,{AT},"), [EVENTS + 'key = ["n"]\n']),
    "member_missing": (
        {"customers.jsonl": '{"id": "1", "of": {"$oid": "a"}}\n{"id": "2", "of": "b"}\n'},
        [CUSTOMERS, '[source.columns]\nof = { from = "of.$oid", type = "string" }\n'],
    ),
    "required_missing": (
        _customers("id,email", "1,a@example.com", "2,"),
        [CUSTOMERS + 'required = ["email"]\n'],
    ),
    "not_an_integer": (_customers("id,a", "1,7", "2,7.5"), [CUSTOMERS, _columns(a="integer")]),
    "not_a_number": (_customers("id,a", "1,7.5", "2,7;5"), [CUSTOMERS, _columns(a="number")]),
    "not_finite": (_parquet(id=["1", "2"], a=[7.5, nan]), [CUSTOMERS]),
    "not_a_boolean": (_customers("id,a", "1,yes", "2,so-so"), [CUSTOMERS, _columns(a="boolean")]),
    "not_json": (_customers("id,a", "1,[]", "2,["), [CUSTOMERS, _columns(a="json")]),
    "value_too_long": (_customers("id,a", "1,x", f"2,{LONG}"), [CUSTOMERS]),
    "attribute_name_too_long": (_customers(f"id,{'n' * 151}", "1,", "2,x"), [CUSTOMERS]),
    "too_many_attributes": (_customers(f"id,{WIDE}", "2," + ",".join("1" * 301)), [CUSTOMERS]),
    "too_large": (_customers(f"id,{WIDE}", "2," + ",".join([HEAVY] * 2 + [""] * 261)), [CUSTOMERS]),
    "too_large_merged": (
        _customers(f"id,{WIDE}", f"2,{HEAVY}{',' * 281}", f"2,{',' * 20}{HEAVY}{',' * 261}"),
        [CUSTOMERS],
    ),
    "timestamp_missing": (_events("p1,seen,,1"), [EVENTS]),
    "timestamp_unreadable": (_events("p1,seen,yesterday,1"), [EVENTS]),
    "timestamp_no_zone": (_events("p1,seen,2024-01-01T00:00:00,1"), [_dated("")]),
    "timestamp_zone_unknown": (_events("p1,seen,2024-01-01T00:00:00 CST,1"), [EVENTS]),
    "timestamp_ambiguous": (_events("p1,seen,2023-11-05T01:30:00,1", good=LOCAL), [NEW_YORK]),
    "timestamp_nonexistent": (_events("p1,seen,2023-03-12T02:30:00,1", good=LOCAL), [NEW_YORK]),
    "timestamp_out_of_range": (
        _events("p1,seen,999999999999,1", good="p1,seen,1700000000,1\n"),
        [_dated("", "epoch_s")],
    ),
    "timestamp_too_early": (_events("p1,seen,1980-01-01T00:00:00Z,1"), [EVENTS]),
    "timestamp_too_late": (_events(f"p1,seen,{SOON},1"), [EVENTS]),
}
FROM_THE_API = {"refused", "unknown_outcome"}


def test_every_reason_has_a_case():
    """A reason that is added to the list needs a row here."""
    assert CASES.keys() | FROM_THE_API == SENTENCES.keys()


@pytest.mark.parametrize("code", CASES)
def test_a_row_is_rejected_for_it(tmp_path, look, send, sandbox, code):
    """`check` finds it, `run` rejects the same rows and sends the others; each row is reported."""
    files, tables = CASES[code]
    pipeline = job(tmp_path, files, *tables)

    checked = look(pipeline)
    done = send(pipeline)

    assert done.code == 3
    count = done.summary["rejections_by_reason"][code]
    assert done.summary["rejections_by_reason"] == {code: count}
    assert checked.code == 3
    assert checked.summary["rejections_by_reason"] == {code: count}
    assert done.summary["rejected"] == count
    assert done.summary["delivered"] == sandbox.stats()["operations"]
    with rejected(pipeline).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    # A merge of a person into itself may be corrected in either of its columns.
    assert [{*each["_reason"].split(";")} for each in rows] == [{code}] * count
    assert all(each["_message"] for each in rows)
    nothing_to_fix = code in ("header_again", "footer")
    assert ("backfill retry" in done.next_step) != nothing_to_fix


def test_all_reasons_of_a_row_are_told_at_once(tmp_path, send):
    """Nobody has to fix a row three times."""
    pipeline = job(tmp_path, _events(f",,yesterday,{'x' * 20}"), EVENTS)

    send(pipeline)

    with rejected(pipeline).open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["_reason"] == "identifier_missing;name_missing;timestamp_unreadable"
    assert row["_field"] == "id;event;at"
    assert (row["_source"], row["_row"], row["_line"]) == ("events.csv", "2", "3")


def test_the_table_has_the_columns_of_every_source(tmp_path, look, send):
    """Whichever rows are rejected, its head is the same: from `check`, and after the run."""
    files = {"customers.csv": "id,email\np1,a@example.com\n"}
    files["events.csv"] = f"{HEADER}p1,,{AT},1\n{GOOD}"
    pipeline = job(tmp_path, files, CUSTOMERS, EVENTS)
    head = ["id", "email", "event", "at", "n", "_source", "_row", "_line", "_field"]

    for take in (look, send):
        assert take(pipeline).code == 3
        with rejected(pipeline).open(encoding="utf-8-sig", newline="") as file:
            assert next(csv.reader(file))[: len(head)] == head


def test_what_the_api_refuses_is_rejected_with_its_words(tmp_path, send, sandbox):
    """207: exactly the named items are rejected, the others are delivered."""
    pipeline = job(tmp_path, {"events.csv": numbered(10)}, EVENTS)
    sandbox.misbehave({"kind": "refuse_items", "items": [2, 7]})

    done = send(pipeline)

    assert done.code == 3
    assert done.summary["rejections_by_reason"] == {"refused": 2}
    with rejected(pipeline).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [each["n"] for each in rows] == ["2", "7"]
    assert "refused by a fault of the sandbox" in rows[0]["_message"]
    kept = {each["attributes"]["n"] for each in sandbox.events()}
    assert kept == set("01345689")


class Unclear:
    """A service that accepts every row but one, to which it answers with a page of HTML."""

    concurrency = 4

    def __init__(self) -> None:
        self.accepted = 0

    async def attempt(self, batch, *, fresh=False):
        """Answer, a tenth of a second later."""
        del fresh
        await asyncio.sleep(0.1)
        if "/poison/" in batch.path:
            return Answer(200, b"<html>")
        self.accepted += 1
        return Answer(200, b"{}")

    async def look_up(self):
        """Whose key it is."""
        return Answer(200, b'{"url":"https://a.example","region":"us","environment_id":7}')

    @asynccontextmanager
    async def connect(self, *_, **__):
        """The real delivery to it."""
        yield delivery_to(self, concurrency=self.concurrency)


def test_a_row_whose_answers_are_never_clear_is_rejected(tmp_path):
    """While others are accepted, one row's answers are pages of HTML: it is not tried for ever."""
    rows = f"poison,seen,{AT},1\n" + numbered(2_000).removeprefix(HEADER)
    pipeline = job(tmp_path, {"events.csv": HEADER + rows}, V1, EVENTS)

    ran = run_in_no_time(pipeline, service := Unclear())

    assert ran.exit == ExitCode.REJECTIONS
    assert ran.summary.as_dict()["rejections_by_reason"] == {"unknown_outcome": 1}
    assert ran.summary.delivered == service.accepted == 2_000
