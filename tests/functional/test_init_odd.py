"""`init` on files as people really have them: `check` takes what it writes, or names the key."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ZONE = "timezone"
DAYS = [f"0{1 + n % 9}" for n in range(40)]
ODD = {
    "spreadsheet.csv": (
        "Kundennr;E-Mail;Straße;Angelegt am;Newsletter\n"
        + "".join(
            f"{n:05};k{n}@example.com;Köln;{d}.12.2023 14:00;ja\n" for n, d in enumerate(DAYS)
        )
    ).encode("cp1252"),
    "export.jsonl": "".join(
        json.dumps({"event": "seen", "properties": {"distinct_id": f"u{n % 9}"}}) + "\n"
        for n in range(40)
    ),
    "list.csv": "email\n" + "".join(f"p{n}@example.com\n" for n in range(40)),
    "subscribers.csv": "Email Address,OPTIN_TIME\n"
    + "".join(f"p{n}@example.com,2021-01-{d} 10:11:12\n" for n, d in enumerate(DAYS)),
    "log.csv": "user,action,ts\n"
    + "".join(f"u{n % 7},seen,{1_700_000_000_000 + 1000 * n}\n" for n in range(40)),
    "orders.csv": "order_id,customer_id,ordered_at\n"
    + "".join(f"{n},c{n % 9},{d}/0{1 + n * 7 % 9}/2021 10:00\n" for n, d in enumerate(DAYS)),
    "wide.csv": f"id,{','.join(f'column{n}' for n in range(400))}\n"
    + "".join(f"u{n}{',v' * 400}\n" for n in range(9)),
}
OPEN = {
    "spreadsheet.csv": ZONE,
    "export.jsonl": "identifier",
    "subscribers.csv": ZONE,
    "orders.csv": ZONE,
    "wide.csv": "kind",
}


@pytest.mark.parametrize("name", ODD)
def test_check_takes_it_or_names_the_key_to_decide(tmp_path, backfill, name):
    """What nothing proves is named by `init` when it writes, and by `check` until it is set."""
    content = ODD[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    written = backfill("init", name)
    checked = backfill("check", "pipeline.toml")

    assert written.code == 0, written.stderr
    if name in OPEN:
        assert OPEN[name] in written.next_step
        assert checked.code == 2
        assert OPEN[name] in checked.stderr
    else:
        assert written.next_step == "backfill check pipeline.toml"
        assert checked.code in (0, 3)


def test_folders_named_after_days_are_a_column(tmp_path, backfill):
    """The date of the folder is the event's, in a zone that only its owner knows."""
    for day in ("2024-01-30", "2024-01-31"):
        folder = tmp_path / "events" / f"event_date={day}"
        folder.mkdir(parents=True)
        table = pa.table({"user_id": [1, 2, 3], "event_name": ["seen", "left", "seen"]})
        pq.write_table(table, folder / "part-0.parquet")

    assert ZONE in backfill("init", "events").next_step
    path = tmp_path / "pipeline.toml"
    path.write_text(path.read_text("utf-8").replace('"TODO"', '"UTC"'), "utf-8")
    assert backfill("check", "pipeline.toml").code == 0


@pytest.mark.parametrize(
    "first", ["7,p7@example.com,2021-01-01", "7,12.50,2021-01-01", "+1 5,3,Bob"]
)
def test_a_first_line_that_is_no_header_is_noticed(tmp_path, backfill, first):
    """Else the first person would be the names of the columns; the line itself is not shown."""
    rows = "".join(f"{n},p{n}@example.com,2021-01-02\n" for n in range(20))
    (tmp_path / "data.csv").write_text(f"{first}\n{rows}", "utf-8")

    assert "the first line looks like data" in " ".join(backfill("init", "data.csv").stdout.split())


def test_a_hint_for_spreadsheets_is_no_header(tmp_path, backfill):
    """Excel writes `sep=;` above the header; the settings that answer it are named."""
    rows = "".join(f"{n};p{n}@example.com\n" for n in range(20))
    (tmp_path / "excel.csv").write_text(f"sep=;\nid;email\n{rows}", "utf-8")
    ended = backfill("init", "excel.csv")

    assert ended.code == 2
    assert "line 1 is a spreadsheet hint (sep=;), not a header" in ended.stderr
    assert ended.next_step == 'set skip_lines = 1 and delimiter = ";" for the source'
