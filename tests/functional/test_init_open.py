"""What a terminal would ask stays open elsewhere: TODO with its choices, which check refuses."""

import tomllib

import pytest

ROWS = range(1, 11)


@pytest.fixture
def init(backfill, tmp_path):
    """Write files and run `init`, without a terminal; gives how it ended, and what it wrote."""

    def inited(contents, *arguments):
        for name, content in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        ended = backfill("init", *(arguments or contents), cwd=tmp_path)
        assert ended.code == 0, ended.stderr
        return ended, (tmp_path / "pipeline.toml").read_text("utf-8")

    return inited


def sources(written):
    """The sources of a pipeline file."""
    return tomllib.loads(written[1])["source"]


@pytest.fixture
def checked(backfill, tmp_path):
    """Decide what is open, each with one answer, and check the file."""

    def check(*answers):
        path = tmp_path / "pipeline.toml"
        for answer in answers:
            path.write_text(path.read_text("utf-8").replace('"TODO"', f'"{answer}"', 1), "utf-8")
        return backfill("check", "pipeline.toml", cwd=tmp_path)

    return check


@pytest.mark.parametrize("column", ["last_login", "birthday", "signed_up", "created_at"])
def test_a_row_per_person_with_an_id_and_an_address_is_a_person(init, checked, column):
    """What the column says is something about the person, not something that happened."""
    rows = "".join(f"{n},p{n}@example.com,Ada,2024-01-{n:02}T10:00:00Z\n" for n in ROWS)
    (source,) = sources(init({"export1.csv": f"id,email,name,{column}\n{rows}"}))
    assert (source["kind"], source["identifier"]) == ("customers", {"id": "id"})
    assert checked().code == 0


def test_a_row_that_may_be_a_person_or_what_one_did_is_a_question(init, checked):
    """The likelier kind's settings stand there, those of the other as comments."""
    rows = "".join(f"{n},p{n}@example.com,2024-01-{n:02}T10:00:00Z\n" for n in ROWS)
    ended, text = init({"export1.csv": f"id,email,at\n{rows}"})
    assert 'kind = "TODO"' in text
    assert "source[1].kind" in ended.next_step
    assert '# timestamp = { from = "at", format = "iso8601" }' in text
    refused = checked()
    assert refused.code == 2
    assert "source[1].kind: customers: " in refused.stderr
    assert "events: if they happened at at" in refused.stderr
    assert checked("customers").code == 0


def test_rows_without_an_address_do_not_make_the_others_repeat(init):
    """Two people in two rows of three that have an address; the record's id is in each."""
    text = (
        "Record ID,First Name,Email,Create Date\n1,Ann,ann@example.com,2024-01-15T10:00:00Z\n"
        "2,Ben,,2024-01-16T11:30:00Z\n3,Cat,cat@example.com,2024-01-17T09:15:00Z\n"
    )
    (source,) = sources(init({"contacts.csv": text}))
    assert (source["kind"], source["identifier"]) == ("customers", {"id": "Record ID"})
    assert source["columns"]["created_at"]["from"] == "Create Date"


FOREIGN = {
    "customers.csv": "id,first_name,last_name\n1,Mia,P.\n2,Sam,M.\n",
    "orders.csv": "id,user_id,order_date,status\n1,1,2018-01-01,back\n2,2,2018-01-02,done\n",
    "payments.csv": "id,order_id,method,amount\n1,1,card,1000\n2,2,coupon,2000\n",
    "read.me": "hello",
}


@pytest.mark.parametrize("arguments", [(), (".",)])
def test_a_table_in_which_no_column_names_a_person_is_a_question(init, checked, arguments):
    """A payment's id is no person's; each source has its own files."""
    given = arguments or ("customers.csv", "orders.csv", "payments.csv")
    ended, text = init(FOREIGN, *given)
    people, payments, orders = sources((ended, text))
    assert [people["files"], payments["files"], orders["files"]] == [
        ["customers.csv"],
        ["payments.csv"],
        ["orders.csv"],
    ]
    assert (payments["kind"], payments["identifier"]) == ("TODO", {"id": "TODO"})
    assert "remove this table to leave the file out" in text.replace("\n# ", " ")
    assert orders["identifier"] == {"id": "user_id"}
    assert orders["name"] == "TODO"
    assert ("read.me" in text) == ("read.me" in ended.stdout) == bool(arguments)
    refused = checked()
    assert refused.code == 2
    for key in ("source[2].kind", "source[2].identifier", "source[3].name"):
        assert key in refused.stderr
    assert '"orders"' in refused.stderr


def test_each_source_of_a_folder_names_its_own_files(init, checked):
    """By a pattern where one names these files and no others."""
    days = {f"in/log_{day}.csv": f"user,event,at\n1,a,2024-01-{day}T00:00Z\n" for day in (11, 12)}
    people = {"in/customers.csv": "customer_id,email\n1,a@example.com\n2,b@example.com\n"}
    found = {each["kind"]: each["files"] for each in sources(init(days | people, "in"))}
    assert found == {"customers": ["in/customers.csv"], "events": ["in/**/log*.csv"]}
    assert checked().code == 0


def test_text_of_eight_bits_is_shown_in_each_encoding(init, checked):
    """Nothing in the bytes proves one of them."""
    content = "id,email,city\n1,a@example.com,Москва\n2,b@example.com,Казань\n".encode("cp1251")
    written = init({"customers.csv": content})
    assert sources(written)[0]["encoding"] == "TODO"
    assert "cp1251: Москва" in written[1]
    refused = checked()
    assert refused.code == 2
    assert "source[1].encoding" in refused.stderr
    assert "cp1251: Москва" in refused.stderr


def test_names_of_columns_in_an_unknown_encoding_are_not_written_down(init):
    """They would be names of no column once the encoding is set."""
    content = "customer_id,名前\n1,太郎\n2,花子\n".encode("cp932")
    written = init({"customers.csv": content})
    assert "columns" not in sources(written)[0]
    assert "run init again with --encoding" in written[1].replace("\n# ", " ")


def test_whole_numbers_with_a_point_are_declared_as_whole(init, checked):
    """People are not called 17850.0."""
    rows = "".join(f"{n},2010-12-01T08:{n}:00Z,{17850 + n % 3}.0\n" for n in range(10, 40))
    (source,) = sources(init({"e.csv": f"invoice,at,customer\n{rows}"}))
    assert source["identifier"] == {"id": "customer"}
    assert source["columns"]["customer"] == "integer"
    assert checked("bought").code == 0


@pytest.mark.parametrize("cell", ["1.23457E+15", '"{""$oid"": 7}"', "[1]"])
def test_what_cannot_identify_is_not_proposed(init, cell):
    """A spreadsheet's exponent has lost digits; an object is no text."""
    rows = f"{cell},a@x.com\n{cell},b@x.com\n42,c@x.com\n"
    written = init({"customers.csv": f"customer_id,email\n{rows}"})
    assert sources(written)[0]["identifier"] == {"email": "email"}
    assert ("exponent" in written[1]) == ("E+15" in cell)


def test_a_column_that_is_nearly_of_timestamps_is_told_with_its_share(init, checked):
    """And the first value that does not fit."""
    at = ["2024-03-31 01:59:59", "2024-10-27T03:00:00", "29/02/2024 10:00", "2024-02-29"]
    rows = "".join(f"1,a,{each}\n" for each in at)
    ended, text = init({"e.csv": f"uid,event,at\n{rows}"})
    said = "at: 3 of 4 values fit iso8601, the first that does not is '29/02/2024 10:00' in row 3"
    assert said in text.replace("\n# ", " ")
    assert "source[1].timestamp" in ended.next_step
    assert said in checked().stderr


def test_a_person_can_leave_a_file_out(tmp_path, in_terminal):
    """Asked on a terminal, `none` is an answer."""
    (tmp_path / "payments.csv").write_text(FOREIGN["payments.csv"])
    (tmp_path / "customers.csv").write_text(FOREIGN["customers.csv"])
    shown = in_terminal("init", "customers.csv", "payments.csv", columns=80, typed="none\n")
    assert shown.code == 0, shown.text
    written = tomllib.loads((tmp_path / "pipeline.toml").read_text("utf-8"))
    assert [each["files"] for each in written["source"]] == [["customers.csv"]]


CONSENT = {
    "Do Not Email": ("yes", "no", {}),
    "accepts_marketing": ("no", "yes", {"invert": True}),
    "newsletter": (
        "nein",
        "ja",
        {"true_values": ["ja"], "false_values": ["nein"], "invert": True},
    ),
    "abonn\u00e9 newsletter": (
        "non",
        "oui",
        {"true_values": ["oui"], "false_values": ["non"], "invert": True},
    ),
    "Status": (
        "Unsubscribed",
        "Subscribed",
        {"true_values": ["Unsubscribed"], "false_values": ["Subscribed"]},
    ),
    "UNSUB_TIME": ("2024-01-31T10:00Z", "", {"true_values": ["*"]}),
}


@pytest.mark.parametrize("column", CONSENT)
def test_who_wants_no_mail_is_declared_and_arrives_so(
    init, tmp_path, checked, send, sandbox, column
):
    """As attributes they would stop no mail: the service acts on `unsubscribed` alone."""
    out, in_, declared = CONSENT[column]
    rows = "".join(f"{n},{out if n % 2 else in_}\n" for n in ROWS)
    written = init({"customers.csv": f"customer_id,{column}\n{rows}"})
    unsubscribed = sources(written)[0]["columns"]["unsubscribed"]
    assert unsubscribed == {"from": column, "type": "boolean", **declared}
    assert "looks like consent" in " ".join(written[0].stdout.split())
    assert 'consent = "refuse"' in written[1]
    assert checked().code == 0
    assert send(tmp_path / "pipeline.toml").code == 0
    people = {key: each["attributes"] for key, each in sandbox.people().items()}
    assert people["1"]["unsubscribed"] is True
    assert people["2"].get("unsubscribed", False) is False


def test_consent_that_is_a_doubt_is_a_question_with_its_choices(init, tmp_path, checked):
    """Who has never agreed may be written to, or not: no file says so."""
    words = ("SUBSCRIBED", "UNSUBSCRIBED", "NEVER_SUBSCRIBED")
    rows = "".join(f"{n},{words[n % 3]}\n" for n in ROWS)
    ended, text = init({"customers.csv": f"customer_id,Email Marketing Consent\n{rows}"})
    assert "source[1].columns.unsubscribed" in ended.next_step
    refused = checked()
    assert refused.code == 2
    choice = (
        '{ from="Email Marketing Consent", type="boolean", true_values=["UNSUBSCRIBED", "*"],'
        ' false_values=["SUBSCRIBED"] }'
    )
    assert choice in refused.stderr
    path = tmp_path / "pipeline.toml"
    path.write_text(text.replace('unsubscribed = "TODO"', f"unsubscribed = {choice}"), "utf-8")
    assert checked().code == 0


@pytest.mark.parametrize(
    ("out", "in_", "declared"),
    [
        ("opt_out", "mail_ok", {"from": "opt_out", "type": "boolean"}),
        ("unsubscribed", "Email Opt In", None),
        ("HasOptedOutOfEmail", "gdpr_consent", {"from": "HasOptedOutOfEmail", "type": "boolean"}),
    ],
)
def test_of_an_opt_out_and_an_opt_in_one_wins(init, checked, out, in_, declared):
    """The other is not sent, both with a comment: nothing is left to be asked."""
    rows = "".join(f"{n},{'yes' if n == 1 else 'no'},{'no' if n == 1 else 'yes'}\n" for n in ROWS)
    written = init({"customers.csv": f"customer_id,{out},{in_}\n{rows}"})
    (source,) = sources(written)
    assert source.get("columns", {}).get("unsubscribed") == declared
    assert source["drop"] == [in_]
    comments = " ".join(written[1].replace("\n#", "").split())
    assert f"{out} decides who wants no mail, and {in_} is not sent" in comments
    assert checked().code == 0


def test_a_topic_beside_an_opt_out_is_left_to_the_guard(init, checked):
    """It is about a part of the mail, and nobody knows its number."""
    rows = "".join(f"{n},no,yes\n" for n in ROWS)
    written = init({"customers.csv": f"customer_id,opt_out,newsletter\n{rows}"})
    assert "drop" not in sources(written)[0]
    refused = checked()
    assert (refused.code, "topics.topic_1" in refused.stderr) == (7, True)


def test_columns_of_one_channel_are_declared_as_that_channel(init):
    """And a second column of the same kind is left to the guard."""
    header = "customer_id,Accepts Email Marketing,Accepts SMS Marketing,Newsletter"
    rows = "".join(f"{n},yes,no,yes\n" for n in ROWS)
    written = init({"customers.csv": f"{header}\n{rows}"})
    assert "columns.unsubscribed" in written[0].next_step  # which of the two is about all mail?
    columns = sources(written)[0]["columns"]
    assert columns["cio_subscription_preferences.channels.sms"] == {
        "from": "Accepts SMS Marketing",
        "type": "boolean",
    }


def test_a_list_of_those_who_want_no_mail_is_told_by_its_name(init, tmp_path, send, sandbox):
    """Of the same shape as the list of all others, and yet no part of it."""
    files = {
        "subscribed_export.csv": "email\na@x.com\n",
        "unsubscribed_export.csv": "email\nb@x.com\n",
    }
    written = init(files)
    by_file = {each["files"][0]: each.get("columns") for each in sources(written)}
    assert by_file == {
        "subscribed_export.csv": None,
        "unsubscribed_export.csv": {"unsubscribed": {"value": True}},
    }
    assert send(tmp_path / "pipeline.toml").code == 0
    people = sandbox.people()
    assert people["b@x.com"]["attributes"]["unsubscribed"] is True
    assert "unsubscribed" not in people["a@x.com"]["attributes"]


def test_a_column_that_looks_like_consent_stops_a_run_until_it_is_answered(tmp_path, look, send):
    """`check` and `plan` tell it, too, and how it is declared."""
    table = '[[source]]\nkind = "customers"\nfiles = ["c.csv"]\nidentifier = { id = "id" }\n'
    path = tmp_path / "p.toml"
    (tmp_path / "c.csv").write_text("id,opt_in\n1,ja\n")
    path.write_text(f'name = "p"\n{table}')
    for command in ("check", "plan"):
        refused = look(path, command=command)
        assert refused.code == 7
        assert (
            'unsubscribed = { from = "opt_in", type = "boolean", invert = true }' in refused.stderr
        )
        assert "true_values" in refused.stderr
    assert send(path).code == 7
    path.write_text(f'name = "p"\n{table}consent = "ignore"\n')
    assert send(path).code == 0


def test_the_names_of_files_count_also_where_a_pattern_names_them(init):
    """Customers of two nights, in folders of their own."""
    rows = "id,email,updated_at\n1,a@example.com,2024-01-31T10:00Z\n"
    written = init({f"{night}/customers.csv": rows for night in ("1", "2")}, ".")
    assert [(each["kind"], each["files"]) for each in sources(written)] == [
        ("customers", ["**/*.csv"])
    ]


def test_a_file_whose_only_timestamps_nearly_fit_is_no_list_of_people(init):
    """Half of them cannot be read yet: what the rows are is a question."""
    at = ["2024-01-31T10:00Z", "2024-01-31T11:00Z", "01/31/2024 10:00 PST", "soon"]
    rows = "".join(f"{n},{each}\n" for n, each in enumerate(at))
    written = init({"export.csv": f"customer_id,at\n{rows}"})
    assert sources(written)[0]["kind"] == "TODO"
    assert "events: if at says when" in written[1].replace("\n# ", " ")


PAYMENTS = """"Datum","Uhrzeit","Zeitzone","Brutto","E-Mail"
"07.09.2026","10:12:00","Europe/Berlin","-24,90","a@example.com"
"08.09.2026","23:05:10","Europe/Berlin","3,00","b@example.com"
"""


def test_a_day_its_clock_and_its_zone_are_proposed_together(init, tmp_path, send, sandbox):
    """The clock would be dropped; which number is the month only a person can say."""
    (source,) = sources(init({"payments.csv": PAYMENTS}))
    assert source["timestamp"] == {
        "from": ["Datum", "Uhrzeit"],
        "format": "TODO",
        "timezone": {"from": "Zeitzone"},
    }
    path = tmp_path / "pipeline.toml"
    text = path.read_text("utf-8")
    assert "%d.%m.%Y %H:%M:%S and %m.%d.%Y %H:%M:%S both fit" in text
    assert "one is 2026-09-07 or 2026-07-09" in " ".join(text.replace("\n#", "").split())
    text = text.replace('name = "TODO"', 'name = "paid"')
    text = text.replace('"TODO"', '"%d.%m.%Y %H:%M:%S"')
    path.write_text(text.replace('recent_events = "refuse"', 'recent_events = "send"'), "utf-8")

    assert send(path).code == 0
    assert [each["timestamp"] for each in sandbox.events()] == [1788768720, 1788901510]
    assert all(set(each["attributes"]) == {"Brutto"} for each in sandbox.events())


def test_the_clock_behind_an_attributes_day_belongs_to_it(init, checked):
    """Since when there is a person is no midnight either."""
    rows = "".join(f"u{n},p{n}@example.com,2024-01-{n:02},10:{n:02},x\n" for n in ROWS)
    (source,) = sources(init({"users.csv": f"user_id,email,signup_date,signup_time,a\n{rows}"}))
    assert source["columns"] == {
        "created_at": {
            "from": ["signup_date", "signup_time"],
            "type": "timestamp",
            "format": "%Y-%m-%d %H:%M",
            "timezone": "TODO",
        }
    }
    assert checked("Europe/Berlin").code == 0


def test_what_groups_the_digits_of_numbers_is_found(init, tmp_path, send, sandbox):
    """And what may group them or not is left as text, with a word about it."""
    text = "id;email;spent;weight\n1;a@example.com;2.980,00;1.234\n2;b@example.com;-1.750,50;2\n"
    (source,) = sources(init({"c.csv": text}))
    assert (source["decimal"], source["thousands"]) == (",", ".")
    assert source["columns"] == {"spent": "number", "weight": "number"}
    assert send(tmp_path / "pipeline.toml").code == 0
    found = [each["attributes"] for each in sandbox.people().values()]
    assert [each["spent"] for each in found] == [2980, -1750.5]
    assert found[0]["weight"] == 1234
    (tmp_path / "pipeline.toml").unlink()
    ended, text = init({"c.csv": "id,email,weight\n1,a@example.com,1.234\n2,b@example.com,2\n"})
    assert "weight: numbers such as 1.234 are whole with thousands" in " ".join(
        ended.stdout.split()
    )
    assert "columns" not in sources((ended, text))[0]


def test_quotes_out_of_place_are_answered_by_settings(init):
    """Which of them is right only a person can say."""
    _, text = init({"customers.csv": 'customer_id,bio\n1,"said \\"hi\\""\n2,plain\n'})
    assert r'# escape = "\\"' in text
    assert '# quote = ""' in text


def test_what_stands_for_nothing_is_told_where_people_are_named(init):
    """Nothing proves that NULL is nobody; a zero date of MySQL is no misfit of the others."""
    rows = "".join(f"{n},p{n}@example.com,2024-01-{n:02}T10:00:00Z\n" for n in ROWS)
    rows += "NULL,x@example.com,0000-00-00 00:00:00\n"
    ended, text = init({"customers.csv": f"customer_id,email,created_at\n{rows}"})
    assert "called NULL, unless null_values lists it: 1 row" in text
    assert '# null_values = ["NULL", "0000-00-00 00:00:00"]' in text
    assert sources((ended, text))[0]["columns"]["created_at"]["format"] == "iso8601"


def test_rows_inside_one_object_are_told(init):
    """As APIs answer; what takes them out is named."""
    ended, text = init({"users.json": '{"data": [{"id": "1"}, {"id": "2"}]}'})
    assert "jq -c '.data[]'" in " ".join(ended.stdout.split())
    assert "none of them holds identifiers" in text
