"""What real exports look like: each is read right, or refused with what answers it."""

import datetime as dt
import gzip
import io
import json
import uuid
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.jobs import CUSTOMERS, job

OPTIONS = 'identical_rows = "keep"\nunknown_people = "send"\n'
EVENTS = """
[[source]]
kind = "events"
files = ["events*.*"]
identifier = { id = "id" }
name = "bought"
timestamp = { from = "at", timezone = "UTC" }
"""
AT = "2024-01-31T10:00:00Z"


def columns(**types: str) -> str:
    """Declared columns."""
    return "[source.columns]\n" + "".join(f"{name} = {each}\n" for name, each in types.items())


def parquet(**arrays) -> bytes:
    """A Parquet file of these columns."""
    file = io.BytesIO()
    pq.write_table(pa.table(arrays), file)
    return file.getvalue()


LONG = "".join(f"Line {n} of the ticket, ok\n" for n in range(4000))
ZSTD = b"\x50\x2a\x4d\x18\x04\0\0\0size" + pa.compress(b"id\n1\n", "zstd", asbytes=True)
SPENT = '[source.columns]\nspent = "number"\n'

PEOPLE = {
    "a quoted cell of 100 kB": (
        {"customers.csv": f'id,note\n1,a\n2,"{LONG}"\n3,c\n'},
        CUSTOMERS + 'other_columns = "drop"\n',
        {"1": {}, "2": {}, "3": {}},
    ),
    "quoted empty cells": (
        {"customers.csv": '"id","age","vip","score","at"\n"1","",""," ",""\n"2","33","true","1.5",'
         f'"{AT}"\n'},
        CUSTOMERS + columns(
            age='"integer"', vip='"boolean"', score='"number"',
            at='{ type = "timestamp", timezone = "UTC" }',
        ),
        {"1": {}, "2": {"age": 33, "vip": True, "score": 1.5, "at": 1706695200}},
    ),
    "digits in groups": (
        {"customers.csv": "id;spent\n1;2.980,00\n2;-1.750,50\n"},
        CUSTOMERS + 'delimiter = ";"\ndecimal = ","\nthousands = "."\n' + SPENT,
        {"1": {"spent": 2980}, "2": {"spent": -1750.5}},
    ),
    "backslashes before quotes": (
        {"customers.csv": 'id,bio\n1,"he said \\"hi\\""\n2,"plain"\n'},
        CUSTOMERS + 'escape = "\\\\"\n',
        {"1": {"bio": 'he said "hi"'}, "2": {"bio": "plain"}},
    ),
    "a dump with tabs": (
        {"customers.tsv": 'id\tnote\n1\t5" nail\n2\t"Best" hammer\n3\ta\\tb\n4\t\\N\n'},
        CUSTOMERS + 'quote = ""\nescape = "\\\\"\nnull_values = ["\\\\N"]\n',
        {"1": {"note": '5" nail'}, "2": {"note": '"Best" hammer'}, "3": {"note": "a\tb"}, "4": {}},
    ),
    "a column that came later": (
        {"customers1.csv": "id\n1\n", "customers2.csv": "id,plan\n2,pro\n"},
        CUSTOMERS + 'missing_columns = "null"\n' + columns(plan='"string"'),
        {"1": {}, "2": {"plan": "pro"}},
    ),
    "numbered files": (
        {f"customers_{n}.csv": f"id,plan\n1,plan_{n}\n" for n in (1, 10, 2)},
        CUSTOMERS,
        {"1": {"plan": "plan_10"}},
    ),
    "lines before the header": (
        {"customers.csv": "Report: Customers\nGenerated: 2024\n\nid,plan\n1,pro\n"},
        CUSTOMERS + "skip_lines = 2\n",
        {"1": {"plan": "pro"}},
    ),
    "no header": (
        {"customers.csv": "1,pro\n2,free\n"},
        CUSTOMERS + 'header = ["id", "plan"]\n',
        {"1": {"plan": "pro"}, "2": {"plan": "free"}},
    ),
    "a delimiter at the end": (
        {"customers.csv": "id,plan,\n1,pro,\n2,free,\n"},
        CUSTOMERS,
        {"1": {"plan": "pro"}, "2": {"plan": "free"}},
    ),
    "pandas' index": (
        {"customers.csv": ",id,plan\n0,1,pro\n1,2,free\n"},
        CUSTOMERS,
        {"1": {"plan": "pro"}, "2": {"plan": "free"}},
    ),
    "Shift JIS": (
        {"customers.csv": "id,名前\n1,太郎\n2,花子\n".encode("cp932")},
        CUSTOMERS + 'encoding = "cp932"\n',
        {"1": {"名前": "太郎"}, "2": {"名前": "花子"}},
    ),
    "Cyrillic": (
        {"customers.csv": "id,city\n1,Москва\n".encode("cp1251")},
        CUSTOMERS + 'encoding = "cp1251"\n',
        {"1": {"city": "Москва"}},
    ),
    "objects of MongoDB": (
        {"customers.json": '{"_id":{"$oid":"60f6"},"plan":"pro"}\n{"_id":{"$oid":"60f7"}}\n'},
        CUSTOMERS.replace('"id"', '"_id.$oid"'),
        {"60f6": {"plan": "pro"}, "60f7": {}},
    ),
    "a JSON array": (
        {"customers.json": '[\n  {"id": "1", "plan": "pro"},\n  {"id": "2"}\n]\n'},
        CUSTOMERS,
        {"1": {"plan": "pro"}, "2": {}},
    ),
    "JSON Lines under another name": (
        {"customers.part-0": gzip.compress(b'{"id":"1"}\n{"id":"2"}\n')},
        CUSTOMERS + 'format = "jsonl"\n',
        {"1": {}, "2": {}},
    ),
    "a zstd archive with a skippable frame": ({"customers.csv.zst": ZSTD}, CUSTOMERS, {"1": {}}),
    "float32": (
        {"customers.parquet": parquet(id=["1"], price=pa.array([19.99], pa.float32()))},
        CUSTOMERS,
        {"1": {"price": 19.99}},
    ),
    "long values, cut": (
        {"customers.csv": f"id,bio\n1,{'é' * 600}\n2,ok\n"},
        CUSTOMERS + 'too_long = "truncate"\n',
        {"1": {"bio": "é" * 500}, "2": {"bio": "ok"}},
    ),
    "long values, dropped": (
        {"customers.csv": f"id,bio\n1,{'x' * 1001}\n2,ok\n"},
        CUSTOMERS + 'too_long = "drop"\n',
        {"1": {}, "2": {"bio": "ok"}},
    ),
    "parts without rows": (
        {"customers-0.csv": "id\n1\n", "customers-1.csv": "", "customers-2.csv": "id\n"},
        CUSTOMERS,
        {"1": {}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PEOPLE)
def test_people_arrive_as_they_were_meant(tmp_path, send, sandbox, case):
    """With the setting that the export needs, or by itself."""
    files, table, expected = PEOPLE[case]

    done = send(job(tmp_path, files, table))

    assert done.code == 0, done.stderr
    found = {key: each["attributes"] for key, each in sandbox.people().items()}
    assert found == expected


def test_plan_says_which_file_wins_where_people_repeat(tmp_path, look):
    """In natural order, field by field; a file that shares nobody is not named."""
    files = {f"customers_{n}.csv": f"id,plan\n1,{n}\n" for n in (1, 10, 2)}
    files["customers_3.csv"] = "id,plan\n3,x\n3,y\n"

    said = " ".join(look(job(tmp_path, files, CUSTOMERS), command="plan").stdout.split())

    assert "the last one is customers_10.csv" in said
    assert "(in order: customers_1.csv, customers_2.csv, customers_10.csv)" in said


def test_headers_and_footers_leave_nothing_to_fix(tmp_path, send, sandbox):
    """They are rejected, and the advice is not to fix them; nobody is called by them."""
    text = "id,plan\n1,pro\nid,plan\n2,free\nTotal rows: 2,\n(2 rows)\n"

    done = send(job(tmp_path, {"customers.csv": text}, CUSTOMERS))

    assert done.summary["rejections_by_reason"] == {"header_again": 1, "footer": 2}
    assert "lists headers and footers, no rows" in done.next_step
    assert set(sandbox.people()) == {"1", "2"}


@pytest.mark.parametrize("name", ["customers.jsonl", "customers.csv"])
def test_an_empty_text_is_nothing_in_a_column_of_any_other_type(tmp_path, send, sandbox, name):
    """JSON Lines as CSV: no timestamp is made of it, and no row is lost."""
    types = {"a": "integer", "b": "number", "c": "boolean", "e": "date"}
    declared = {key: f'"{each}"' for key, each in types.items()}
    declared["created_at"] = '{ type = "timestamp", timezone = "UTC" }'
    values = dict.fromkeys(declared, "")
    text = "id," + ",".join(values) + '\n1,"","","","",""\n2, ,\t, , , \n'
    if name.endswith("jsonl"):
        text = "".join(json.dumps({"id": n, **dict.fromkeys(values, each)}) + "\n"
                       for n, each in (("1", ""), ("2", " ")))  # fmt: skip

    done = send(job(tmp_path, {name: text}, CUSTOMERS + columns(**declared)))

    assert done.code == 0, done.stderr
    assert [each["attributes"] for each in sandbox.people().values()] == [{}, {}]


def test_rows_that_are_not_wanted_are_skipped(tmp_path, send, sandbox):
    """By name, in the law, and no other row."""
    text = f"id,type,at\n1,track,{AT}\n2,screen,{AT}\n3,page,{AT}\n4,,{AT}\n"
    table = EVENTS + OPTIONS + 'where = { type = ["track", "page"] }\n'

    done = send(job(tmp_path, {"events.csv": text}, table))

    assert done.code == 0
    assert (done.summary["delivered"], done.summary["skipped"]) == (2, 2)
    assert [each["attributes"]["type"] for each in sandbox.events()] == ["track", "page"]


def test_a_day_and_its_clock_may_stand_apart(tmp_path, send, sandbox):
    """Joined by a space, in the zone that each row names."""
    text = "id,day,clock,zone\n1,2026-09-07,10:12:00,Europe/Berlin\n"
    stamp = '{ from = ["day", "clock"], timezone = { from = "zone" } }'
    table = EVENTS.replace('{ from = "at", timezone = "UTC" }', stamp) + OPTIONS

    done = send(job(tmp_path, {"events.csv": text}, table + 'latest = "2030-01-01"\n'
                    'recent_events = "send"\n'))  # fmt: skip

    assert done.code == 0, done.stderr
    (event,) = sandbox.events()
    assert (event["timestamp"], event["attributes"]) == (1788768720, {})


def test_parquet_says_what_its_types_mean(tmp_path, send, sandbox):
    """UUIDs are their text, decimals keep every digit."""
    person = uuid.UUID("3f2b8c1e-9d4a-4f6b-8a7c-1e2d3c4b5a69")
    data = parquet(
        id=pa.array([person.bytes], pa.uuid()),
        at=pa.array([1706695200], pa.timestamp("s", "UTC")),
        amount=pa.array(
            [Decimal("12345678901234567890.123456789012345678")], pa.decimal128(38, 18)
        ),
        order=pa.array([{"id": person.bytes}], pa.struct({"id": pa.binary(16)})),
    )
    table = EVENTS.replace(', timezone = "UTC"', "") + OPTIONS + columns(order='"json"')

    done = send(job(tmp_path, {"events.parquet": data}, table))

    assert done.code == 3  # those bytes are no text
    assert done.summary["rejections_by_reason"] == {"invalid_utf8": 1}
    (tmp_path / "events.parquet").write_bytes(
        parquet(
            id=pa.array([person.bytes], pa.uuid()),
            at=pa.array([1706695200], pa.timestamp("s", "UTC")),
            amount=pa.array([Decimal("0.123456789012345678")], pa.decimal128(38, 18)),
        )
    )
    table = EVENTS.replace(', timezone = "UTC"', "") + OPTIONS
    assert send(job(tmp_path, {}, table, name="again")).code == 0
    (event,) = sandbox.events()
    assert event["attributes"] == {"amount": "0.123456789012345678"}
    assert event["person"] == {"id": str(person)} or str(person) in str(event)


ZONELESS = dt.datetime(2024, 1, 31, 10)  # noqa: DTZ001  # as files hold it
NAMED_ZONES = """id,at
1,2024-01-31 10:00:00.000 America/New_York
2,2024-07-31T10:00:00+02:00[Europe/Paris]
3,2024-01-31 10:00:00 +0000 UTC
4,01/31/2024 10:00:00 PST
5,2024-01-31 10:00:00 GMT-03:00
"""
TIMED = EVENTS.replace(', timezone = "UTC"', "")
WRITTEN = {
    "digits beyond a double": (
        {"events.parquet": parquet(
            id=["1"], at=pa.array([1706695200], pa.timestamp("s", "UTC")),
            wei=pa.array([Decimal("12345678901234567890.123456789012345678")],
                         pa.decimal128(38, 18)),
            big=pa.array([Decimal("123456789012345678901234567890.12")], pa.decimal256(40, 2)),
        )},
        TIMED,
        [(1706695200, {"wei": "12345678901234567890.123456789012345678",
                       "big": "123456789012345678901234567890.12"})],
    ),
    "a timestamp without a zone inside an object": (
        {"events.parquet": parquet(
            id=["1"], at=pa.array([1706695200], pa.timestamp("s", "UTC")),
            order=pa.array([{"n": 1, "placed": ZONELESS}]),
        )},
        TIMED,
        [(1706695200, {"order": {"n": 1, "placed": "2024-01-31T10:00:00"}})],
    ),
    "seconds with an exponent": (
        {"events.csv": "id,at\n1,1.706713445E9\n2,1.7067134E9\n"},
        TIMED.replace('"at"', '"at", format = "epoch_s"'),
        [(1706713445, {}), (1706713400, {})],
    ),
    "seconds with an exponent in JSON": (
        {"events.jsonl": '{"id":"1","at":1.706713445e9}\n{"id":"2","at":1706713400.5}\n'},
        TIMED,
        [(1706713445, {}), (1706713400, {})],
    ),
    "zones by name": (
        {"events.csv": NAMED_ZONES.replace("4,01/31/2024", "4,2024-01-31")},
        TIMED.replace('"at"', '"at", zones = { PST = "-08:00" }'),
        [(1706713200, {}), (1722412800, {}), (1706695200, {}), (1706724000, {}),
         (1706706000, {})],
    ),
    "a zone in another form": (
        {"events.csv": "id,at\n4,01/31/2024 10:00:00 PST\n"},
        TIMED.replace('"at"', '"at", zones = { PST = "-08:00" }'),
        [(1706724000, {})],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRITTEN)
def test_events_happen_when_they_were_meant(tmp_path, send, sandbox, case):
    """With all of their digits."""
    files, table, expected = WRITTEN[case]
    declared = columns(order='"json"') if "order" in str(expected) else ""

    done = send(job(tmp_path, files, table + OPTIONS + declared))

    assert done.code == 0, done.stderr
    assert [(each["timestamp"], each["attributes"]) for each in sandbox.events()] == expected


def test_formats_that_differ_in_one_column_are_refused_with_the_first_misfit(tmp_path, look):
    """Four of five in ISO 8601 prove nothing; the fifth and what its zone lacks are named."""
    checked = look(job(tmp_path, {"events.csv": NAMED_ZONES}, TIMED + OPTIONS))

    assert checked.code == 7
    assert "'01/31/2024 10:00:00 PST' in row 4" in " ".join(checked.stdout.split())
    assert "set zones" in checked.next_step
    table = TIMED.replace('"at"', '"at", zones = { PST = "-08:00" }') + OPTIONS
    still = look(job(tmp_path, {}, table, name="zones"))
    assert (still.code, "set format" in still.next_step) == (7, True)
    table = TIMED.replace('"at"', '"at", format = "iso8601"') + OPTIONS
    assert look(job(tmp_path, {}, table, name="format")).summary["rejected"] == 1


@pytest.mark.parametrize("name", ["customers.parquet", "customers.csv"])
def test_a_created_at_in_milliseconds_is_warned_of(tmp_path, look, name):
    """As seconds it lies in the year 56054; the check is one for every format."""
    rows = {"id": ["1"], "created_at": pa.array([1706713445678])}
    csv = "id,created_at\n1,1706713445678\n"
    content = parquet(**rows) if name.endswith("parquet") else csv
    declared = "" if name.endswith("parquet") else columns(created_at='"integer"')

    checked = look(job(tmp_path, {name: content}, CUSTOMERS + declared))

    assert checked.code == 0
    said = " ".join(checked.stdout.split())
    assert "numbers that can hardly be timestamps" in said
    assert "created_at; milliseconds, perhaps" in said


REJECTED = {
    "a header in the middle": (
        {"customers.csv": "id,plan\n1,pro\nid,plan\n\N{ZERO WIDTH NO-BREAK SPACE}id,plan\n2,x\n"},
        CUSTOMERS,
        {"header_again": 2},
    ),
    "identifiers that are no text": (
        {"customers.jsonl": '{"id":{"$oid":"a"}}\n{"id":[1]}\n{"id":true}\n{"id":7}\n'},
        CUSTOMERS,
        {"identifier_not_text": 3},
    ),
}


@pytest.mark.parametrize("case", REJECTED)
def test_what_is_no_person_is_rejected_alone(tmp_path, send, sandbox, case):
    """The rows around it arrive."""
    files, table, reasons = REJECTED[case]

    done = send(job(tmp_path, files, table))

    assert (done.code, done.summary["rejections_by_reason"]) == (3, reasons)
    assert done.summary["delivered"] == len(sandbox.people())


REFUSED = {
    "floats of Excel": (
        {"customers.csv": "id,plan\n1.23457E+15,a\n42,b\n"},
        CUSTOMERS,
        "holds floating-point numbers",
        'id = "integer"',
    ),
    "floats in JSON": (
        {"customers.jsonl": '{"id":42.0}\n'},
        CUSTOMERS,
        "floating-point",
        "integer",
    ),
    "booleans as ids": (
        {"customers.parquet": parquet(id=[True])},
        CUSTOMERS,
        "holds true and false",
        "name the column",
    ),
    "a field that no object has": (
        {"customers.jsonl": '{"id":"1","signed_up":"x"}\n'},
        CUSTOMERS + columns(created_at='{ from = "singed_up" }'),
        "did you mean signed_up?",
        "columns.created_at",
    ),
    "a mistyped identifier in JSON": (
        {"customers.jsonl": '{"id":"1"}\n'},
        CUSTOMERS.replace('"id"', '"idd"'),
        "column 'idd' is missing",
        "identifier",
    ),
    "a title above the header": (
        {"customers.csv": "Report: id\n\nid,plan\n1,pro\n"},
        CUSTOMERS,
        "it is in line 3",
        "`skip_lines` to 2",
    ),
    "a JSON array as lines": (
        {"customers.jsonl": '[\n{"id":"1"}\n]\n'},
        CUSTOMERS,
        "is a JSON array",
        'format = "json"',
    ),
    "a workbook": ({"customers.xlsx": b"PK\3\4"}, CUSTOMERS, "is an Excel workbook", "as CSV"),
    "a cut archive": (
        {"customers.csv.gz": gzip.compress(b"id\n" + bytes(range(48, 58)) * 9_000)[:-9]},
        CUSTOMERS,
        "archive is broken",
        "a whole one",
    ),
    "an encoding that nothing proves": (
        {"customers.csv": "id,город\n1,Москва\n".encode("cp1251")},
        CUSTOMERS,
        "cp1251",
        "`encoding`",
    ),
    "a column in no file": (
        {"customers.csv": "id\n1\n"},
        CUSTOMERS + columns(plan='"string"'),
        "column 'plan' is missing",
        'missing_columns = "null"',
    ),
    "a nameless column with values": (
        {"customers.csv": "id,,plan\n1,7,x\n"},
        CUSTOMERS,
        "column 2 has no name",
        "header = [",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_with_what_answers_it(tmp_path, look, case):
    """Exit 2: before anything is sent, and without a row that is blamed for it."""
    files, table, says, step = REFUSED[case]

    checked = look(job(tmp_path, files, table))

    assert checked.code == 2
    assert says in checked.stderr
    assert step in checked.next_step


def test_the_rows_of_a_table_are_not_its_files(tmp_path, look):
    """A Delta table's deleted rows are still in its Parquet files."""
    (tmp_path / "tbl/_delta_log").mkdir(parents=True)
    (tmp_path / "tbl/part.parquet").write_bytes(parquet(id=["1"]))
    table = CUSTOMERS.replace("customers*.*", "tbl/*.parquet")

    checked = look(job(tmp_path, {}, table))

    assert checked.code == 2
    assert "is a Delta table" in checked.stderr


USELESS = {
    "objects as ids": (
        {"customers.jsonl": '{"id":{"$oid":"a"}}\n' * 1_000},
        CUSTOMERS,
        "identifier_not_text",
        "identifier",
    ),
    "an empty column": ({"customers.csv": "id,plan\n" + ",pro\n" * 1_000}, CUSTOMERS,
                        "identifier_missing", "identifier"),
    "names for addresses": (
        {"customers.csv": "id\n" + "Ann\n" * 1_000},
        CUSTOMERS.replace("{ id", "{ email"),
        "identifier_not_an_email",
        "identifier",
    ),
    "another format": (
        {"events.csv": "id,at\n" + f"1,{AT}\n" * 1_000},
        EVENTS.replace('timezone = "UTC"', 'format = "%d.%m.%Y"') + OPTIONS,
        "timestamp_unreadable",
        "timestamp",
    ),
    "seconds as milliseconds": (
        {"events.csv": "id,at\n" + "1,1706713445\n" * 1_000},
        EVENTS.replace('timezone = "UTC"', 'format = "epoch_ms"') + OPTIONS,
        "timestamp_too_early",
        "timestamp or earliest",
    ),
    "milliseconds as seconds": (
        {"events.csv": "id,at\n" + "1,1706713445678\n" * 1_000},
        EVENTS.replace('timezone = "UTC"', 'format = "epoch_s"') + OPTIONS,
        "timestamp_out_of_range",
        "timestamp",
    ),
    "an empty key": (
        {"events.csv": "id,at,key\n" + f"1,{AT},\n" * 1_000},
        EVENTS + OPTIONS + 'key = ["key"]\n',
        "key_missing",
        "key",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", USELESS)
def test_settings_by_which_no_row_can_be_used_are_refused(tmp_path, look, case):
    """A million rejected rows would say the same."""
    files, table, code, key = USELESS[case]

    checked = look(job(tmp_path, files, table))

    assert checked.code == 2
    assert f"none of 1,000 rows can be used ({code}" in checked.stderr
    assert f"correct {key} of the" in checked.next_step
