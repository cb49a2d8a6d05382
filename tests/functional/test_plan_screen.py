"""What `backfill plan` shows: history, repeats, places of rejected rows, what has changed."""

import json

import pytest

from tests.support.jobs import CUSTOMERS, DELETIONS, EVENTS, HEADER, ago, job, people, rejected

HISTORY = "".join(
    f"a,{'seen' if n % 3 else 'bought'},2024-{1 + n // 28:02}-{1 + n % 28:02}T10:00:00Z,{n}\n"
    for n in range(200)
)


@pytest.fixture
def show(tmp_path, backfill):
    """Write a job and plan it; gives the screen, its lines as they are."""

    def shown(events, *tables, customers=None, command="plan"):
        files = {"events.csv": HEADER + events, "customers.csv": customers or people("a", "b")}
        path = job(tmp_path, files, *(tables or (CUSTOMERS, EVENTS)))
        return backfill(command, path).stdout

    return shown


def test_the_history_is_drawn(show):
    """Marks as high as the days, from the first to the last; a bar for each name."""
    screen = show(HISTORY)
    assert "events  2024-01-01 to 2024-08-04, a mark for 3 days" in screen
    lines = screen.splitlines()
    marks = next(line for line in lines if "█" in line)
    assert set(marks.strip()) <= set("▁▂▃▄▅▆▇█ ")
    assert len(marks) <= 80
    seen, bought = (
        next(each for each in lines if f"  {name} " in each) for name in ("seen", "bought")
    )
    assert "133" in seen
    assert "67" in bought
    assert 0.4 < bought.count("█") / seen.count("█") < 0.6


def test_one_day_needs_no_drawing(show):
    """Nor does one event."""
    screen = show("a,seen,2024-01-01T10:00:00Z,1\n")
    assert "2024-01-01 to 2024-01-01\n" in screen
    assert "a mark for" not in screen


def test_rejected_rows_are_placed_and_not_quoted(show):
    """The first three of each reason; what is in them stays in the file."""
    screen = show("".join(f"a,seen,never-{n},1\n" for n in range(5)))
    assert "events.csv row 1, events.csv row 2, events.csv row 3 …" in screen
    assert "never-" not in screen


def test_examples_are_in_the_order_of_the_reasons(tmp_path, backfill):
    """The same in every process: the file names them in the same order."""
    typed = '[source.columns]\nn = "integer"\nsize = "number"\nsold = "boolean"\n'
    rows = "id,event,at,n,size,sold\n,,never,some,large,perhaps\n"
    path = job(tmp_path, {"events.csv": rows}, EVENTS, typed)

    said = json.loads(backfill("check", path, "--json").stdout.splitlines()[-1])

    (row,) = map(json.loads, rejected(path).with_suffix(".jsonl").read_text().splitlines())
    codes = [each["code"] for each in row["reasons"]]
    assert len(codes) == 6
    assert [*said["rejection_examples"]] == codes


def test_people_and_repeats_are_told_apart(show):
    """What is merged, repeated or unknown, and what the settings make of it."""
    events = "a,seen,2024-01-01,1\na,seen,2024-01-01,1\nz,seen,2024-01-02,1\n"
    screen = show(events, customers="id,email\na,a@x.y\na,\nb,B@x.y\nc,b@x.y\n")
    text = " ".join(screen.split())
    assert "customers 3 people; 1 more row of the same, merged" in text
    assert "Sample requests, from one row each: the person's others are merged in" in text
    assert "shared e-mails: 1 (refuse)" in text
    assert "events unknown people: 1 (refuse); identical rows: 1 (refuse)" in text


def test_long_values_are_warned_of_before_they_are_too_long(show):
    """An attribute may have 1000 bytes."""
    near = f"id,email,note,short\na,a@x.y,{'x' * 950},{'x' * 800}\n"
    text = " ".join(show(HISTORY, customers=near).split())
    assert "near or beyond the 1000 bytes which an attribute may have: note " in text


def test_recent_events_are_named_and_dated(show):
    """Who decides about campaigns has to know which events, and how recent they are."""
    last = ago(hours=3)
    recent = f"a,seen,{ago(hours=5)},1\na,seen,{last},1\na,left,{ago(hours=4)},1\n"
    text = " ".join(show(HISTORY + recent).split())
    newest = last[:16].replace("T", " ")
    assert "source 2 (events) has events younger than 72 h, which can trigger campaigns: 3" in text
    assert f"(seen 2, left 1; the newest: {newest} UTC)" in text


def test_deletions_are_people_too(tmp_path, backfill):
    """How many would go stands beside how many come."""
    path = job(tmp_path, {"gone.csv": "id\na\nb\n"}, DELETIONS)
    assert "deletions  2 people" in backfill("plan", path).stdout


def test_a_changed_source_shows_what_differs(show):
    """Rows, names and reasons, against the last plan that was another one."""
    assert "Since the last plan" not in show(HISTORY)
    for _ in range(2):  # the same plan again has the same one before it
        screen = show(HISTORY + "b,left,2024-09-01,1\nb,left,never,1\n")
        text = " ".join(screen.split())
        assert "rows read 204 (+2)" in text
        assert "to send 203 (+1)" in text
        assert "new event names: left" in text
        assert "new reasons to reject: timestamp_unreadable" in text
        assert "last event 2024-09-01T00:00:00+00:00" in text
    assert "event names gone: left" in " ".join(show(HISTORY).split())


def test_three_operations_are_shown_as_they_would_be_sent(tmp_path, backfill):
    """One of each source first, then more of the first."""
    path = job(
        tmp_path,
        {"customers.csv": people("a", "b"), "events.csv": HEADER + HISTORY},
        CUSTOMERS,
        EVENTS,
    )
    samples = backfill("plan", path, "--json").summary["samples"]
    assert [each["action"] for each in samples] == ["identify", "event", "identify"]
    assert [each["identifiers"]["id"] for each in samples] == ["a", "a", "b"]
    screen = " ".join(backfill("plan", path).stdout.split())
    for each in samples:
        assert json.dumps(each) in screen


@pytest.mark.parametrize("columns", [40, 80])
def test_it_fits_terminals(tmp_path, in_terminal, columns):
    """Tables become sentences where they have no room."""
    (tmp_path / "n").mkdir()
    events = "".join(f"a,event {n},2024-01-{1 + n % 28:02}T10:00:00Z,1\n" for n in range(40))
    path = job(
        tmp_path / "n",
        {"customers.csv": people("a", "b"), "events.csv": HEADER + events + "a,b,never,1\n"},
        CUSTOMERS,
        EVENTS,
    )
    shown = in_terminal("plan", path.name, columns=columns, cwd=path.parent)
    frames = [each for each in shown.frames if not each.startswith(("plan ", "next: "))]
    assert max(map(len, frames)) <= columns
    assert "and 34 more names" in " ".join(shown.text.split())


def test_a_terminal_without_blocks_gets_letters(tmp_path, in_terminal):
    """The marks of an old terminal are those of ASCII."""
    path = job(
        tmp_path,
        {"customers.csv": people("a"), "events.csv": HEADER + HISTORY},
        CUSTOMERS,
        EVENTS,
    )
    shown = in_terminal("plan", path, columns=80, env={"PYTHONIOENCODING": "ascii"})
    assert "####" in shown.text


def test_what_is_too_long_is_cut_with_a_word_about_it(tmp_path, in_terminal):
    """Many sources alike: the first ones, how many more there are, and where all of it is."""
    name = "a name with spaces"
    files = {
        f"events-{n}.csv": f"{HEADER}p,{name},2024-01-0{n}T00:00:00Z,{n}\n" for n in range(1, 9)
    }
    tables = [
        EVENTS.replace("events*.*", file).replace(', format = "iso8601"', "") for file in files
    ]
    pipeline = job(tmp_path, files, *(f'{each}unknown_people = "send"\n' for each in tables))

    for columns in (80, 40):
        shown = in_terminal("plan", pipeline, columns=columns)
        assert max(len(each) for each in shown.frames if not each.startswith("next: ")) <= columns
        said = " ".join(shown.text.split())
        assert said.count("has event names with spaces") == 3
        assert "and 5 warnings like the last; backfill plan --json has all" in said
        assert "and 3 more sources of events; backfill plan --json has all" in said
        assert all(f"events {n}: at" in said for n in range(1, 9))


@pytest.mark.parametrize("command", ["check", "plan"])
def test_long_words_for_kinds_leave_the_table_a_table(tmp_path, backfill, command):
    """Within 80 columns, whatever the sources are called."""
    table = """
    [[source]]
    kind = "relationships"
    files = ["of.csv"]
    identifier = { id = "id" }
    object = { type = "1", id = "oid" }
    """
    files = {"of.csv": "id,oid\n" + "".join(f"{n},x\n" for n in range(30))}
    files["customers.csv"] = people("a", "b")
    shown = backfill(command, job(tmp_path, files, CUSTOMERS, table)).stdout.splitlines()

    assert max(map(len, shown)) <= 80
    line = next(each for each in shown if each.startswith("  relationships  "))
    assert line.split()[:3] == ["relationships", "30", "30"]
