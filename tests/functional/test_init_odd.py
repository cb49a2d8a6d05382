"""`init` on files as people really have them: `check` takes what it writes, or names the key."""

import gzip
import json
import tomllib

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
    "export.jsonl": "timestamp",
    "subscribers.csv": ZONE,
    "orders.csv": ZONE,
    "wide.csv": "kind",
}


def written(folder, name="pipeline.toml"):
    """The sources of the pipeline file that was written."""
    return tomllib.loads((folder / name).read_text("utf-8"))["source"]


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
    """Else the first person would be the names of the columns: these are open, no row is lost."""
    rows = "".join(f"{n},p{n}@example.com,2021-01-02\n" for n in range(20))
    (tmp_path / "data.csv").write_text(f"{first}\n{rows}", "utf-8")

    ended = backfill("init", "data.csv")
    assert "the first line looks like data" in " ".join(ended.stdout.split())
    assert "source[1].header" in ended.next_step
    path = tmp_path / "pipeline.toml"
    text = path.read_text("utf-8").replace('kind = "TODO"', 'kind = "customers"')
    names = '["column_1", "column_2", "column_3"]'
    assert names in text
    path.write_text(text.replace('header = "TODO"', f"header = {names}"), "utf-8")
    checked = backfill("check", path, "--json")
    assert checked.summary["rows_read"] == 21


def test_a_hint_for_spreadsheets_is_no_header(tmp_path, backfill):
    """Excel writes `sep=;` above the header; the settings that answer it are written."""
    rows = "".join(f"{n};p{n}@example.com\n" for n in range(20))
    (tmp_path / "excel.csv").write_text(f"sep=;\nid;email\n{rows}", "utf-8")
    assert backfill("init", "excel.csv").code == 0
    (source,) = written(tmp_path)

    assert (source["skip_lines"], source["delimiter"]) == (1, ";")
    assert backfill("check", "pipeline.toml").code == 0


def test_lines_above_the_header_are_left_out(tmp_path, backfill):
    """Their number is written down; a table of one column has none."""
    (tmp_path / "customers.csv").write_text(
        "Report: Customers\nGenerated: 2024-01-31\n\ncustomer_id,email\n1,a@x.com\n2,b@x.com\n"
    )
    (tmp_path / "list.csv").write_text("email\na@x.com,\nb@x.com,\n")
    assert backfill("init", "customers.csv", "list.csv").code == 0
    people, list_ = written(tmp_path)

    assert (people["skip_lines"], people["identifier"]) == (2, {"email": "email"})
    assert "skip_lines" not in list_


@pytest.mark.parametrize(
    ("name", "text", "format_"),
    [
        ("people.jsonl", '[\n{"id": "1"},\n{"id": "2"}\n]\n', "json"),
        ("0000_part_00", '{"id": "1", "email": "a@x.com"}\n{"id": "2"}\n', "jsonl"),
        ("people.txt", "id|email\n1|a@x.com\n2|b@x.com\n", "csv"),
    ],
)
def test_what_the_name_does_not_tell_the_content_does(tmp_path, backfill, name, text, format_):
    """The format is written down, and the file can be read."""
    (tmp_path / name).write_text(text)
    assert backfill("init", name).code == 0
    (source,) = written(tmp_path)

    assert (source["format"], source["identifier"]) == (format_, {"id": "id"})
    assert backfill("check", "pipeline.toml").code == 0


def test_an_archive_that_was_cut_off_is_refused_as_check_refuses_it(tmp_path, backfill):
    """It is nothing of ours: exit 2, and what to do."""
    whole = gzip.compress(b"id,email\n" + bytes(range(48, 58)) * 9_000)
    (tmp_path / "customers.csv.gz").write_bytes(whole[:-9])
    ended = backfill("init", "customers.csv.gz")

    assert ended.code == 2
    assert "archive is broken" in ended.stderr


def test_prose_is_no_table(tmp_path, backfill):
    """A comma makes no column; what helps `init` is said, not a setting of no file."""
    (tmp_path / "notes.txt").write_text("Dear all, hello\nnothing, here, yet\n")
    ended = backfill("init", "notes.txt")

    assert ended.code == 2
    assert "name" in ended.next_step
    assert "set format" not in ended.next_step


def test_files_come_in_the_order_in_which_people_count(tmp_path, backfill):
    """The later file wins: shells put _10 before _2; an order that somebody chose stays."""
    names = [f"users_{number}.csv" for number in (1, 2, 10)]
    for name in names:
        (tmp_path / name).write_text("id,plan\n1,a\n")
    backfill("init", *sorted(names), "-o", "sorted.toml")
    backfill("init", *reversed(names), "-o", "chosen.toml")

    assert written(tmp_path, "sorted.toml")[0]["files"] == names
    assert written(tmp_path, "chosen.toml")[0]["files"] == names[::-1]


def lines(*objects):
    """Objects, one a line."""
    return "".join(f"{json.dumps(each)}\n" for each in objects)


ROWS = range(10, 19)
MIXPANEL = lines(
    *(
        {
            "event": "seen",
            "properties": {
                "time": 1_706_713_400 + n,
                "distinct_id": f"u{n % 3}",
                "$insert_id": f"i{n}",
            },
        }
        for n in ROWS
    )
)
MONGO = lines(
    *(
        {
            "_id": {"$oid": f"60f6d845caa1861dcf1631{n}"},
            "createdAt": {"$date": f"2024-01-{n}T10:00:00Z"},
            "email": f"p{n}@x.com",
        }
        for n in ROWS
    )
)


def test_what_is_inside_objects_says_who_and_when(tmp_path, backfill):
    """As analytics tools export events."""
    (tmp_path / "export.jsonl").write_text(MIXPANEL)
    backfill("init", "export.jsonl")
    (source,) = written(tmp_path)

    assert source["identifier"] == {"id": "properties.distinct_id"}
    assert source["timestamp"] == {"from": "properties.time", "format": "epoch_s"}
    assert source["key"] == ["properties.$insert_id"]
    assert backfill("check", "pipeline.toml").code == 0


def test_a_wrapper_around_a_value_is_looked_into(tmp_path, backfill):
    """As MongoDB writes ids and dates; the id of another object names nobody."""
    (tmp_path / "users.json").write_text(MONGO.replace('"email"', '"team": {"id": 7}, "email"'))
    backfill("init", "users.json")
    (source,) = written(tmp_path)

    assert source["identifier"] == {"id": "_id.$oid"}
    assert source["columns"] == {
        "created_at": {"from": "createdAt.$date", "type": "timestamp", "format": "iso8601"}
    }
    assert backfill("check", "pipeline.toml").code == 0


def test_the_key_of_an_event_is_what_tells_events_apart(tmp_path, backfill):
    """Not who was seen, though everybody was seen once."""
    rows = ({"anonymousId": f"a{n}", "messageId": f"m{n}", "userId": f"u{n % 3}", "event": "seen",
             "timestamp": f"2024-01-31T10:00:{n}Z"} for n in ROWS)  # fmt: skip
    (tmp_path / "track.jsonl").write_text(lines(*rows))
    backfill("init", "track.jsonl")

    assert written(tmp_path)[0]["key"] == ["messageId"]
