"""A cursor: rows whose moment lies in tonight's window, and a ledger against sending it twice."""

import pytest

PIPELINE = """
name = "cursor"
[[source]]
kind = "customers"
files = ["customers.csv"]
identifier = { id = "id" }
[source.columns]
updated_at = { type = "timestamp", timezone = "UTC", format = "iso8601" }
[source.sync]
mode = "cursor"
column = "updated_at"
lookback = "2d"

[[source]]
kind = "events"
files = ["events.csv"]
identifier = { id = "id" }
name = "seen"
timestamp = { from = "at", timezone = "UTC", format = "iso8601" }
key = ["key"]
unknown_people = "send"
[source.sync]
mode = "cursor"
column = "at"
lookback = "1d"
"""

HELD = 'key = ["key"]\nrecent_events = "hold"\nlatest = "2999-01-01"'


@pytest.fixture
def source(tmp_path):
    """Writes tonight's exports: (id, plan, day) for people, (id, day, key) for events."""
    (tmp_path / "pipeline.toml").write_text(PIPELINE)

    def write(people, events):
        lines = [f"{who},{plan},2024-01-{day:02}T00:00:00" for who, plan, day in people]
        (tmp_path / "customers.csv").write_text("\n".join(["id,plan,updated_at", *lines]) + "\n")
        lines = [f"{who},2024-01-{day:02}T00:00:00,{key}" for who, day, key in events]
        (tmp_path / "events.csv").write_text("\n".join(["id,at,key", *lines]) + "\n")
        return tmp_path / "pipeline.toml"

    return write


@pytest.fixture
def sync(send):
    """Sync as a scheduler does."""
    return lambda pipeline, *more: send(pipeline, *more, command="sync")


def test_only_the_window_is_sent(source, sync, sandbox):
    """Rows before the window are left out unread for, those in its overlap are not sent twice."""
    people = [("a", "gold", 1), ("b", "gold", 10)]
    events = [("a", 1, "k1"), ("a", 10, "k2")]
    assert sync(source(people, events)).summary["delivered"] == 4
    people = [("a", "lost", 1), ("b", "gold", 10), ("c", "gold", 9), ("b2", "gold", 11)]
    events = [("a", 1, "k0"), ("a", 10, "k2"), ("a", 9, "k3"), ("a", 12, "k4")]
    done = sync(source(people, events))
    assert done.code == 0, done.stderr
    first, second = done.summary["sources"]
    skipped = {"before_window": 1, "unchanged": 1}
    assert (first["delivered"], first["skipped_by_reason"]) == (2, skipped)
    assert (second["delivered"], second["skipped_by_reason"]) == (2, skipped)
    assert {name: each["attributes"]["plan"] for name, each in sandbox.people().items()} == {
        "a": "gold",
        "b": "gold",
        "c": "gold",
        "b2": "gold",
    }
    assert {each["attributes"]["key"] for each in sandbox.events()} == {"k1", "k2", "k3", "k4"}


def test_the_window_moves_with_what_was_seen(source, sync):
    """It begins where the last one ended, less what it looks back, by the source's own clock."""
    sync(source([("a", "gold", 1)], [("a", 1, "k1")]))
    sync(source([("a", "gold", 20)], [("a", 20, "k2")]))
    done = sync(source([("late", "gold", 17), ("b", "gold", 18)], [("a", 18, "k3")]))
    first, second = done.summary["sources"]
    assert (first["delivered"], first["skipped_by_reason"]) == (1, {"before_window": 1})
    assert (second["delivered"], second["skipped_by_reason"]) == (0, {"before_window": 1})


def test_a_sync_after_a_run_knows_what_it_sent(source, sync, send):
    """What a run has delivered stands in the ledger."""
    pipeline = source([("a", "gold", 1)], [("a", 1, "k1")])
    send(pipeline)
    assert sync(pipeline).summary["this_run"]["requests"] == 0


def test_a_column_that_is_no_moment_is_refused(source, sync):
    """The cursor reads with the column's declared reading."""
    pipeline = source([("a", "gold", 1)], [("a", 1, "k1")])
    pipeline.write_text(pipeline.read_text().replace('column = "updated_at"', 'column = "plan"'))
    done = sync(pipeline)
    assert done.code == 2
    assert "[source.columns]" in done.next_step


def test_a_cursor_is_read_as_the_transform_gives_it(source, sync, tmp_path):
    """The column's declared reading is that of what is judged, not of what the file says."""
    pipeline = source([("a", "gold", 1)], [("a", 1, "k1")])
    settings = 'transform = "dates.py:whole"\n[source.columns]\nupdated_at'
    pipeline.write_text(pipeline.read_text().replace("[source.columns]\nupdated_at", settings))
    (tmp_path / "dates.py").write_text(
        "def whole(frame):\n"
        "    return frame.assign(updated_at='2024-01-' + frame['updated_at'] + 'T00:00:00')\n"
    )
    text = "id,plan,updated_at\na,lost,01\nb,gold,09\n"
    (tmp_path / "customers.csv").write_text(text)
    assert sync(pipeline).code == 0
    (tmp_path / "customers.csv").write_text(text.replace("lost", "late"))
    done = sync(pipeline)
    assert done.code == 0, done.stderr
    assert done.summary["sources"][0]["skipped_by_reason"] == {"before_window": 1, "unchanged": 1}


@pytest.mark.parametrize("mode", ['mode = "files"', 'mode = "cursor"\ncolumn = "updated_at"'])
def test_events_of_people_who_were_told_of_before(source, sync, sandbox, tmp_path, mode):
    """Tonight's files name only who is new: those of earlier nights are known all the same."""
    pipeline = source([("a", "gold", 1)], [("a", 1, "k1")])
    text = pipeline.read_text().replace("customers.csv", "customers-*.csv")
    text = text.replace('unknown_people = "send"\n', "")
    old = 'mode = "cursor"\ncolumn = "updated_at"\nlookback = "2d"'
    pipeline.write_text(text.replace(old, mode))
    day = "id,plan,updated_at\n{},gold,2024-01-{:02}T00:00:00\n"
    (tmp_path / "customers-1.csv").write_text(day.format("a", 1))
    assert sync(pipeline).code == 0
    (tmp_path / "customers-2.csv").write_text(day.format("b", 9))
    if "cursor" in mode:
        (tmp_path / "customers-1.csv").unlink()
    (tmp_path / "events.csv").write_text("id,at,key\na,2024-01-09T00:00:00,k2\n")
    done = sync(pipeline)
    assert done.code == 0, done.stderr
    assert set(sandbox.people()) == {"a", "b"}
    (tmp_path / "events.csv").write_text("id,at,key\nc,2024-01-10T00:00:00,k3\n")
    refused = sync(pipeline)
    assert refused.code == 7
    assert "unknown_people" in refused.next_step


def test_deletions_have_no_cursor(source, sync):
    """They are told apart by their files; the setting is refused by its key."""
    pipeline = source([("a", "gold", 1)], [("a", 1, "k1")])
    table = '[[source]]\nkind = "deletions"\nfiles = ["gone.csv"]\nidentifier = { id = "id" }\n'
    table += '[source.sync]\nmode = "cursor"\ncolumn = "at"\n'
    pipeline.write_text(f"{pipeline.read_text()}\n{table}")
    done = sync(pipeline)
    assert done.code == 2
    assert 'mode = "files"' in done.stderr


def test_held_rows_keep_their_file(source, sync, tmp_path):
    """What was not sent yet cannot be taken over by the next extract: that is exit 5."""
    pipeline = source([("a", "gold", 1)], [("a", 1, "k1")])
    text = pipeline.read_text().replace('key = ["key"]', HELD)
    pipeline.write_text(text)
    (tmp_path / "events.csv").write_text("id,at,key\na,2998-01-01T00:00:00,k1\n")
    assert sync(pipeline).summary["held"] == 1
    assert sync(pipeline).summary["held"] == 1
    (tmp_path / "events.csv").write_text("id,at,key\na,2024-01-10T00:00:00,k2\n")
    refused = sync(pipeline)
    assert refused.code == 5
    assert "put them back" in refused.next_step


def test_a_value_in_the_future_moves_no_cursor(source, sync, sandbox, tmp_path):
    """It is sent each night and warned of; all others are sent when they change."""
    pipeline = source([("a", "free", 1)], [("a", 1, "k1")])
    head = "id,plan,updated_at\n"
    odd = "odd,free,2099-01-01T00:00:00\n"
    (tmp_path / "customers.csv").write_text(f"{head}a,free,2024-01-31T10:00:00\n{odd}")
    first = sync(pipeline)
    assert first.code == 0, first.stderr
    warning = "source 1 (customers) has rows whose updated_at is in the future: 1"
    assert warning in " ".join(first.stderr.split())
    tonight = f"{head}a,pro,2024-02-05T10:00:00\n{odd}new,new,2024-02-05T11:00:00\n"
    (tmp_path / "customers.csv").write_text(tonight)
    for delivered in (3, 1):
        done = sync(pipeline)
        assert done.code == 0, done.stderr
        assert done.summary["sources"][0]["delivered"] == delivered
        assert warning in " ".join(done.stderr.split())
    plans = {name: each["attributes"]["plan"] for name, each in sandbox.people().items()}
    assert plans == {"a": "pro", "odd": "free", "new": "new"}


def test_a_limited_sync_moves_no_cursor(source, sync, sandbox):
    """Rows that it did not send are no older than the next night's window."""
    pipeline = source([("a", "gold", 20), ("b", "gold", 1)], [("a", 20, "k1"), ("b", 1, "k2")])
    assert sync(pipeline, "--limit", "1").summary["delivered"] == 2
    assert sync(pipeline).summary["this_run"]["delivered"] == 2
    assert set(sandbox.people()) == {"a", "b"}
    assert len(sandbox.events()) == 2
