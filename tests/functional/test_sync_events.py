"""Events from night to night: by what was delivered, or by their files."""

import pytest

from tests.support.jobs import job

EVENTS = """
[[source]]
kind = "events"
files = ["events*.csv"]
identifier = {{ id = "user" }}
name = {{ from = "event" }}
timestamp = {{ from = "at", timezone = "UTC", format = "iso8601" }}
key = ["key"]
unknown_people = "send"
[source.columns]
amount = "integer"
[source.sync]
{settings}
"""
HEADER = "key,user,event,at,amount"


@pytest.fixture
def night(tmp_path, send):
    """Syncs tonight's rows: keys, or whole lines."""

    def synced(rows, settings='mode = "diff"', name="events.csv"):
        lines = [
            each if isinstance(each, str) else f"{each},u{each % 4},bought,2024-01-02T10:00:00,1"
            for each in rows
        ]
        text = "\n".join([HEADER, *lines]) + "\n"
        pipeline = job(tmp_path, {name: text}, EVENTS.format(settings=settings))
        return send(pipeline, command="sync")

    return synced


def outcome(done):
    """What became of tonight's rows."""
    (source,) = done.summary["sources"]
    return done.code, source["delivered"], source["skipped_by_reason"]


def test_what_was_delivered_is_not_sent_again_whatever_file_it_comes_from(night, sandbox, tmp_path):
    """A sorted export, another name, a row more: only the new row is sent."""
    assert outcome(night(range(24))) == (0, 24, {})
    assert outcome(night(reversed(range(24)))) == (0, 0, {"unchanged": 24})
    (tmp_path / "events.csv").unlink()
    again = night([*range(18), 99], name="events-2.csv")
    assert outcome(again) == (0, 1, {"unchanged": 18})
    assert again.summary["this_run"]["requests"] == 1
    assert len(sandbox.events()) == 25


def test_an_id_that_was_delivered_is_not_sent_again_whatever_it_says(night, sandbox):
    """The service would ignore it; another timestamp makes another id."""
    line = "1,u1,bought,2024-01-{:02}T10:00:00,{}"
    assert outcome(night([line.format(2, 5)])) == (0, 1, {})
    assert outcome(night([line.format(2, 6)])) == (0, 0, {"unchanged": 1})
    assert outcome(night([line.format(3, 6)])) == (0, 1, {})
    assert len(sandbox.events()) == 2


def test_an_event_that_was_rejected_is_sent_once_it_is_good(night):
    """Only what was delivered is known."""
    line = "1,u1,bought,2024-01-02T10:00:00,{}"
    assert night([line.format("much")]).code == 3
    assert outcome(night([line.format(5)])) == (0, 1, {})
    assert outcome(night([line.format(5)])) == (0, 0, {"unchanged": 1})


def test_a_sync_by_ids_knows_what_a_run_delivered(night, send, tmp_path):
    """They share one memory."""
    text = HEADER + "\n1,u1,bought,2024-01-02T10:00:00,5\n"
    pipeline = job(tmp_path, {"events.csv": text}, EVENTS.format(settings='mode = "diff"'))
    assert send(pipeline).summary["delivered"] == 1
    assert outcome(night([1, 2])) == (0, 1, {"unchanged": 1})


def test_an_export_of_events_that_shrank_is_refused(night):
    """As one of people is."""
    night(range(24))
    refused = night(range(2))
    assert (refused.code, refused.summary["this_run"]["requests"]) == (7, 0)
    assert "rows_change_max" in refused.next_step
    assert outcome(night(range(2), 'mode = "diff"\nrows_change_max = "100%"'))[0] == 0


@pytest.mark.parametrize(
    "tonight", [[3, 2, 1], [1, 2], [1, 2, "3,u9,bought,2024-01-02T10:00:00,7"]]
)
def test_a_file_that_was_rewritten_is_refused(night, sandbox, tonight):
    """Sorted, shortened, corrected: it would all be sent again; what does not is named."""
    files = 'mode = "files"'
    night([1, 2, 3], files)
    refused = night(tonight, files)
    assert (refused.code, refused.summary["this_run"]["requests"]) == (7, 0)
    assert "events.csv" in refused.stderr
    assert 'mode = "diff"' in refused.next_step
    assert 'files_change = "send"' in refused.next_step
    sent = night(tonight, f'{files}\nfiles_change = "send"')
    assert (sent.code, sent.summary["delivered"]) == (0, len(tonight))
    assert sent.summary["sources"][0]["files"] == ["events.csv"]
    assert sent.summary["rows_read"] == len(tonight)
    assert outcome(night([*tonight, 8], files)) == (0, len(tonight) + 1, {})
    assert 3 <= len(sandbox.events()) <= 5


@pytest.mark.parametrize("retried", [False, True])
def test_a_last_line_that_is_still_being_written_waits(tmp_path, send, sandbox, retried):
    """Half a value would be sent, and the whole one taken for a repeat of it."""
    line = "{},u1,bought,2024-01-02T10:00:00,{}"
    begun = f"{HEADER}\n{line.format('a', 'x')}\n{line.format('b', '12')}"
    pipeline = job(tmp_path, {"events.csv": begun}, EVENTS.format(settings='mode = "files"'))

    first = send(pipeline, command="sync")

    assert (first.code, first.summary["rows_read"]) == (3, 1)
    assert 'events.csv: its last line has no line end yet and waits; last_line = "send"' in (
        first.stderr
    )
    if retried:
        assert send(pipeline, command="retry").code == 3
    (tmp_path / "events.csv").write_text(f"{begun}0\n")
    done = send(pipeline, command="sync")
    assert (done.code, done.summary["delivered"]) == (3, 1)
    assert [each["attributes"] for each in sandbox.events()] == [{"amount": 120, "key": "b"}]


def test_a_quoted_cell_that_is_still_being_written_waits(tmp_path, send, sandbox):
    """Cut between two of its lines: rows keep their numbers, so that none is taken for sent."""
    line = '{},u1,bought,2024-01-02T10:00:00,"{}'
    begun = f'{HEADER}\n{line.format("a", "1")}"\n{line.format("b", "")}\n \n'
    pipeline = job(tmp_path, {"events.csv": begun}, EVENTS.format(settings='mode = "files"'))

    first = send(pipeline, command="sync")

    assert (first.code, first.summary["rows_read"]) == (0, 1)
    assert "events.csv: a quoted cell at its end is not closed yet" in first.stderr
    (tmp_path / "events.csv").write_text(f'{begun}2"\n{line.format("c", "3")}"\n')
    done = send(pipeline, command="sync")
    assert (done.code, done.summary["delivered"]) == (0, 3)
    assert [each["attributes"]["key"] for each in sandbox.events()] == ["a", "b", "c"]


def test_a_last_line_does_not_wait_where_it_is_said_so(tmp_path, send):
    """An export that never ends its last line is whole."""
    text = f"{HEADER}\n1,u1,bought,2024-01-02T10:00:00,5"
    settings = 'mode = "files"'
    said = EVENTS.replace("[source.columns]", 'last_line = "send"\n[source.columns]')
    pipeline = job(tmp_path, {"events.csv": text}, said.format(settings=settings))
    assert send(pipeline, command="sync").summary["delivered"] == 1


def test_a_file_that_makes_room_for_another_has_not_changed(night, tmp_path):
    """A log that was moved aside is known by its content; what has its name now is new."""
    files = 'mode = "files"'
    night([1, 2], files)
    (tmp_path / "events.csv").rename(tmp_path / "events-1.csv")
    done = night([3], files)
    assert (done.code, done.summary["delivered"], done.summary["this_run"]["delivered"]) == (
        0,
        3,
        1,
    )
