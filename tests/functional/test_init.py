"""Unknown files -> `init` -> `check` -> `run` into the sandbox."""

import gzip
import re
import tomllib
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

CUSTOMERS = "customer_id,email,plan,age,joined\n" + "".join(
    f"{number:04},p{number}@example.com,{'free' if number % 3 else 'paid'},{20 + number},"
    f"2023-01-{number:02}T10:00:00Z\n"
    for number in range(1, 21)
)
EVENTS = "user_id,event,occurred_at,amount\n" + "".join(
    f"{1 + number % 20:04},{'seen' if number % 2 else 'bought'},2023-02-{1 + number % 28:02}"
    f" 12:{number:02}:00+00,{number}.50\n"
    for number in range(60)
)


@pytest.fixture
def files(tmp_path):
    """Write files; takes their names and contents."""

    def written(**contents):
        for name, content in contents.items():
            path = tmp_path / name.replace("__", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return written


@pytest.fixture
def init(backfill, tmp_path):
    """Run `init` without a terminal; gives what was written, parsed."""

    def inited(*arguments, code=0):
        ended = backfill("init", *arguments, cwd=tmp_path)
        assert ended.code == code, ended.stderr
        return tomllib.loads((tmp_path / "pipeline.toml").read_text("utf-8"))

    return inited


def test_two_unknown_files_reach_the_workspace(files, init, backfill, send, sandbox):
    """What is written passes check as it is, and a run delivers every row."""
    folder = files(customers__csv=CUSTOMERS, events__csv=EVENTS)
    written = init("events.csv", "customers.csv")
    assert [each["kind"] for each in written["source"]] == ["customers", "events"]
    assert backfill("check", "pipeline.toml", cwd=folder).code == 0
    ended = send(folder / "pipeline.toml")
    assert ended.code == 0
    assert ended.summary["delivered"] == 80
    person = sandbox.people()["0007"]["attributes"]
    assert person["age"] == 27
    assert person["created_at"] == datetime(2023, 1, 7, 10, tzinfo=UTC).timestamp()
    bought = [each for each in sandbox.events() if each["name"] == "bought"]
    assert len(bought) == 30
    assert bought[0]["attributes"] == {"amount": 0.5}


def test_each_line_says_what_proves_it(files, init):
    """Formats are explicit, and the comment counts the values that prove them."""
    folder = files(customers__csv=CUSTOMERS)
    source = init("customers.csv")["source"][0]
    assert source["columns"] == {
        "created_at": {"from": "joined", "type": "timestamp", "format": "iso8601"},
        "age": "integer",
    }
    text = (folder / "pipeline.toml").read_text("utf-8")
    assert "it fits all 20 values" in text
    assert "20 people" in text


def test_a_zone_that_nothing_proves_is_the_one_key_to_decide(files, init, backfill):
    """It stands as TODO, and check refuses it by its name."""
    folder = files(customers__csv=CUSTOMERS.replace("Z\n", "\n"))
    assert init("customers.csv")["source"][0]["columns"]["created_at"]["timezone"] == "TODO"
    checked = backfill("check", "pipeline.toml", cwd=folder)
    assert checked.code == 2
    assert "source[1].columns.created_at" in checked.stderr
    assert "TODO" in checked.stderr


def test_a_zone_that_is_given_stands_wherever_it_is_needed(files, init, backfill):
    """`--timezone` is the zone of every clock that carries none."""
    folder = files(customers__csv=CUSTOMERS.replace("Z\n", "\n"))
    columns = init("customers.csv", "--timezone", "Europe/Berlin")["source"][0]["columns"]
    assert columns["created_at"]["timezone"] == "Europe/Berlin"
    assert backfill("check", "pipeline.toml", cwd=folder).code == 0


def test_an_unknown_zone_is_refused_with_near_ones(files, backfill):
    """Nothing is written."""
    folder = files(customers__csv=CUSTOMERS)
    ended = backfill("init", "customers.csv", "--timezone", "Berlin", cwd=folder)
    assert ended.code == 2
    assert "Europe/Berlin" in ended.stderr
    assert not (folder / "pipeline.toml").exists()


def test_a_file_that_is_there_is_never_overwritten(files, backfill):
    """Somebody may have worked on it."""
    folder = files(customers__csv=CUSTOMERS, mine__toml="name = 'mine'")
    ended = backfill("init", "customers.csv", "-o", "mine.toml", cwd=folder)
    assert ended.code == 2
    assert (folder / "mine.toml").read_text() == "name = 'mine'"


def test_the_file_may_be_written_elsewhere(files, backfill):
    """Names of files are relative to it."""
    folder = files(customers__csv=CUSTOMERS)
    (folder / "pipelines").mkdir()
    assert backfill("init", "customers.csv", "-o", "pipelines/a.toml", cwd=folder).code == 0
    assert backfill("check", "pipelines/a.toml", cwd=folder).code == 0


def test_a_spreadsheet_export_is_read_as_what_it_is(files, init, backfill):
    """Semicolons, decimal commas, cp1252 and day-first dates are found out."""
    rows = [f"K{n:03};Größe {n};{n},50;{1 + n % 28:02}.03.2024" for n in range(1, 41)]
    text = "\r\n".join(["Kundennummer;Notiz;Umsatz;Angemeldet", *rows])
    folder = files(kunden__csv=text.encode("cp1252"))
    assert init("kunden.csv")["source"][0]["encoding"] == "TODO"
    assert "cp1252: Größe" in (text_ := (folder / "pipeline.toml").read_text("utf-8"))
    assert "source[1].encoding" in text_
    (folder / "pipeline.toml").unlink()
    source = init("kunden.csv", "--encoding", "cp1252")["source"][0]
    assert (source["delimiter"], source["encoding"], source["decimal"]) == (";", "cp1252", ",")
    assert source["identifier"] == {"id": "Kundennummer"}
    assert source["columns"]["Umsatz"] == "number"
    assert source["columns"]["created_at"]["format"] == "%d.%m.%Y"
    assert backfill("check", "pipeline.toml", cwd=folder).code == 0


@pytest.mark.parametrize(("delimiter", "encoding"), [("\t", "utf-16"), ("|", "utf-8")])
def test_other_delimiters_and_encodings_are_found(files, init, backfill, delimiter, encoding):
    """Excel writes tabs as UTF-16; old systems write bars."""
    folder = files(customers__csv=CUSTOMERS.replace(",", delimiter).encode(encoding))
    source = init("customers.csv")["source"][0]
    assert (source["delimiter"], source["encoding"]) == (delimiter, encoding)
    assert backfill("check", "pipeline.toml", cwd=folder).code == 0


def test_ids_and_codes_keep_their_zeros(files, init):
    """Digits that are no quantity are no numbers."""
    rows = [f"{n:05},{n:05},4915{n:09},{n}" for n in range(1, 30)]
    files(customers__csv="\n".join(["customer_id,zip,phone,orders", *rows]))
    assert init("customers.csv")["source"][0].get("columns") == {"orders": "integer"}


def test_a_type_that_one_value_breaks_is_only_suggested(files, init, tmp_path):
    """Nothing is declared that would reject a row."""
    files(customers__csv=CUSTOMERS.replace(",27,", ",old,"))
    assert "age" not in init("customers.csv")["source"][0]["columns"]
    suggested = '# age = "integer"'
    assert suggested in (tmp_path / "pipeline.toml").read_text("utf-8")


def test_texts_like_null_are_suggested(files, init, tmp_path):
    r"""Whether N/A means nothing is for people to say; \N of a dump means nothing else."""
    files(customers__csv=CUSTOMERS.replace(",27,", ",N/A,").replace(",paid,", ",\\N,"))
    assert init("customers.csv")["source"][0]["null_values"] == ["\\N"]
    assert '# null_values = ["\\\\N", "N/A"]' in (tmp_path / "pipeline.toml").read_text("utf-8")


def test_formats_that_cannot_be_told_apart_are_shown(files, init, tmp_path, backfill):
    """Both readings stand in a comment, and check names the format that is to be decided."""
    events = "user_id,event,time\n" + "".join(
        f"u{n % 3},seen,0{n}/0{n + 1}/2023\n" for n in range(1, 8)
    )
    files(events__csv=events)
    init("events.csv", "--timezone", "UTC")
    assert "2023-02-01" in (text := (tmp_path / "pipeline.toml").read_text("utf-8"))
    assert "2023-01-02" in text
    checked = backfill("check", "pipeline.toml")
    assert checked.code == 2
    assert "source[1].timestamp.format" in checked.stderr


def test_a_list_for_deletion_is_told_by_its_name(files, init):
    """It needs nothing but who."""
    files(gdpr_deletion_requests__csv="email,requested\na@example.com,x\nb@example.com,y\n")
    source = init("gdpr_deletion_requests.csv")["source"][0]
    assert (source["kind"], source["action"]) == ("deletions", "delete")
    assert source["identifier"] == {"email": "email"}
    assert source["deletes_max"] == 100


def test_few_events_of_different_names_are_events(files, init):
    """In a handful of rows, names that all differ are names all the same."""
    files(few__csv="customer_id,event,at\n1,bought,2020-01-02\n2,signed_up,2020-01-03\n")
    (source,) = init("few.csv")["source"]
    assert (source["kind"], source["name"]) == ("events", {"from": "event"})


def test_people_are_told_by_the_same_identifier_everywhere(files, init):
    """Customers have an id and an e-mail, events only the e-mail."""
    events = EVENTS.replace("user_id", "email").replace(",", "@example.com,", 0)
    events = re.sub(r"(?m)^(\d{4}),", r"p\1@example.com,", events)
    files(customers__csv=CUSTOMERS, events__csv=events)
    identifiers = [each["identifier"] for each in init("customers.csv", "events.csv")["source"]]
    assert identifiers == [{"email": "email"}, {"email": "email"}]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_nobody_in_the_rows_is_a_key_to_decide(tmp_path, init, backfill, name):
    """Check refuses it by name, whatever the format."""
    if name == "log.csv":
        text = "what,at\nseen,2023-01-01T00:00:00Z\nseen,2023-01-02T00:00:00Z\n"
    else:
        text = '{"what": "seen", "at": "2023-01-01T00:00:00Z"}\n' * 2
    (tmp_path / name).write_text(text)
    init(name)
    checked = backfill("check", "pipeline.toml")
    assert checked.code == 2
    assert "source[1].identifier" in checked.stderr


def test_what_is_nested_is_named(tmp_path, init):
    """A transform has to take it apart; what is in it is said."""
    line = '{"event": "seen", "properties": {"distinct_id": "u1", "time": 1706713445}}\n'
    (tmp_path / "export.jsonl").write_text(line * 3)
    assert init("export.jsonl")["source"][0]["kind"] == "events"
    said = (tmp_path / "pipeline.toml").read_text("utf-8")
    assert "properties is nested (distinct_id, time)" in said


def test_folders_and_parts_of_a_table_are_one_source(files, init, backfill, tmp_path):
    """Partition columns can be used; compressed parts belong to the others."""
    for day in ("2024-01-31", "2024-02-01"):
        part = tmp_path / "events" / f"event_date={day}"
        part.mkdir(parents=True)
        at = datetime.fromisoformat(f"{day}T10:00:00+00:00")
        people = [f"u{number % 4}" for number in range(10)]
        table = pa.table({"user_id": people, "event": ["seen"] * 10, "ts": [at] * 10})
        pq.write_table(table, part / "part-0.parquet")
    files(customers_1__csv=CUSTOMERS, customers_2__csv__gz=gzip.compress(CUSTOMERS.encode()))
    written = init("customers_1.csv", "customers_2.csv.gz", "events")
    assert [each["files"] for each in written["source"]] == [
        ["customers_1.csv", "customers_2.csv.gz"],
        ["events/**/*.parquet"],
    ]
    assert written["source"][1]["columns"]["event_date"]["type"] == "date"
    assert backfill("check", "pipeline.toml").code == 7  # strangers and copies: nothing of init's


def test_missing_and_unknown_files_are_refused(files, backfill):
    """With what can be done about it."""
    folder = files(notes__txt="hello")
    for name, said in (("nothing.csv", "no such file"), ("notes.txt", "format")):
        ended = backfill("init", name, cwd=folder)
        assert ended.code == 2
        assert said in ended.stderr
        assert not (folder / "pipeline.toml").exists()


def test_json_says_what_is_still_open(files, backfill):
    """For programs that call it."""
    folder = files(customers__csv=CUSTOMERS.replace("Z\n", "\n"))
    said = backfill("init", "customers.csv", "--json", cwd=folder).summary
    assert said["open"] == ["source[1].columns.created_at.timezone"]
    assert said["rows_read"] == 20


def test_on_a_terminal_it_asks_what_nothing_proves(files, backfill, in_terminal):
    """A wrong answer is asked again; the default is taken with Enter."""
    folder = files(customers__csv=CUSTOMERS.replace("Z\n", "\n").replace(",27,", ",N/A,"))
    typed = "maybe\n\nBerlin\nEurope/Berlin\n"
    shown = in_terminal("init", "customers.csv", columns=80, cwd=folder, typed=typed)
    assert shown.code == 0, shown.text
    assert "close: Europe/Berlin" in shown.text
    source = tomllib.loads((folder / "pipeline.toml").read_text("utf-8"))["source"][0]
    assert source["null_values"] == ["N/A"]
    assert source["columns"]["age"] == "integer"
    assert source["columns"]["created_at"]["timezone"] == "Europe/Berlin"
    assert backfill("check", "pipeline.toml", cwd=folder).code == 0


def test_yes_asks_nothing_on_a_terminal(files, in_terminal):
    """Scripts may run in one."""
    folder = files(customers__csv=CUSTOMERS.replace("Z\n", "\n"))
    shown = in_terminal("init", "customers.csv", "--yes", columns=40, cwd=folder)
    assert shown.code == 0, shown.text
    assert '"TODO"' in (folder / "pipeline.toml").read_text("utf-8")


def test_names_of_columns_may_hold_anything(tmp_path, init, backfill):
    """Line ends, quotes and control characters stay where they belong."""
    names = ["customer_id", 'say "so"', "two\nlines", "bell\x07", "a = b # c", "ünï"]
    head = ",".join('"' + each.replace('"', '""') + '"' for each in names)
    (tmp_path / "people.csv").write_text(f"{head}\n" + "1,2,3,4,5,6\n2,3,4,5,6,x\n" * 3)
    assert {*init("people.csv")["source"][0]["columns"]} == {*names[1:5]}
    assert backfill("check", "pipeline.toml").code == 0


def test_a_header_without_rows_is_told_by_its_names(files, init):
    """An export may be empty today."""
    files(customers__csv="customer_id,email\n")
    assert init("customers.csv")["source"][0]["identifier"] == {"id": "customer_id"}


def test_an_empty_file_is_refused(files, backfill):
    """It has not even a header."""
    folder = files(customers__csv="")
    ended = backfill("init", "customers.csv", cwd=folder)
    assert ended.code == 2
    assert "empty" in ended.stderr


def test_an_address_is_told_by_what_it_holds(files, init):
    """Do Not Email is a question, and E-Mail Adresse the address."""
    rows = "".join(f"{n},yes,x{n}@example.com\n" for n in range(1, 9))
    files(customers__csv=f"customer_id,Do Not Email,E-Mail Adresse\n{rows}")
    assert init("customers.csv")["source"][0]["columns"] == {
        "unsubscribed": {"from": "Do Not Email", "type": "boolean"},
        "email": {"from": "E-Mail Adresse"},
    }


def test_what_is_another_one_in_every_row_may_be_a_key(files, init, tmp_path):
    """By its name it is one; else it is suggested."""
    rows = "".join(f"{n},{n % 3:03},2023-01-{n:02}T00:00:00Z\n" for n in range(1, 10))
    files(orders__csv=f"order_id,customer_id,at\n{rows}", walks__csv=f"walk,customer_id,at\n{rows}")
    assert [each["key"] for each in init("orders.csv", "walks.csv")["source"]] == [["order_id"], []]
    assert '# key = ["walk"]' in (tmp_path / "pipeline.toml").read_text("utf-8")


def test_typed_columns_are_taken_as_what_they_are(tmp_path, init, backfill):
    """Ids that became floating-point numbers, timestamps with and without a zone, bytes."""
    at = datetime(2023, 1, 1, 10)  # noqa: DTZ001  # as the file holds it
    columns = {
        "user_id": pa.array([float(n % 7) for n in range(30)]),
        "event": pa.array(["seen", "left"] * 15).dictionary_encode(),
        "happened_at": pa.array([at] * 30, pa.timestamp("us")),
        "seen_at": pa.array([at] * 30, pa.timestamp("ns", "Europe/Rome")),
        "day": pa.array([at.date()] * 30),
        "code": pa.array([b"x"] * 30),
        "clock": pa.array([at.time()] * 30),
        "place": pa.array([{"town": "Rome", "tags": ["a"]}] * 30),
    }
    pq.write_table(pa.table(columns), tmp_path / "visits.parquet")
    source = init("visits.parquet", "--timezone", "Europe/Rome")["source"][0]
    assert source["timestamp"] == {"from": "happened_at", "timezone": "Europe/Rome"}
    assert source["columns"]["user_id"] == "integer"
    assert source["columns"]["code"] == "string"
    checked = backfill("check", "pipeline.toml")
    assert checked.code == 7, checked.stderr
    assert "identical_rows" in checked.next_step


def test_a_type_that_cannot_be_sent_is_a_key_to_decide(tmp_path, init, backfill):
    """Durations have no JSON: check names the column, and what to do."""
    table = {"customer_id": ["1", "2"], "took": pa.array([timedelta(1)] * 2)}
    pq.write_table(pa.table(table), tmp_path / "customers.parquet")
    init("customers.parquet")
    assert "source[1].columns.took" in (tmp_path / "pipeline.toml").read_text("utf-8")
    checked = backfill("check", "pipeline.toml")
    assert checked.code == 2
    assert "'took'" in checked.stderr
