"""What was read is bound to its bytes: another source stops a job with 5 and with choices."""

import gzip

import pytest

from backfill import CredentialsError, Options, Pipeline
from backfill.commands.run import RUN
from backfill.engine.run import execute
from tests.support.jobs import EVENTS, HEADER, job, numbered

PARTS = {"events-1.csv": numbered(20), "events-2.csv": numbered(20, first=20)}


@pytest.fixture
def begun(tmp_path, send):
    """A job that has sent all of its forty events."""
    pipeline = job(tmp_path, PARTS, EVENTS)
    assert send(pipeline).code == 0
    return pipeline


def _edited(folder):
    path = folder / "events-1.csv"
    path.write_text(path.read_text("utf-8").replace(",seen,", ",left,", 1), "utf-8")


def _truncated(folder):
    path = folder / "events-1.csv"
    path.write_bytes(path.read_bytes()[:-20])


def _grown(folder):
    with (folder / "events-1.csv").open("a") as file:
        file.write("p1,seen,2024-06-01T00:00:00Z,999\n")


def _joined(folder):
    (folder / "events-3.csv").write_text(f"{HEADER}p1,seen,2024-06-01T00:00:00Z,999\n")


def _gone(folder):
    (folder / "events-1.csv").unlink()


def _swapped(folder):
    """Each file has the other's name: nothing changes but the names."""
    one, other = folder / "events-1.csv", folder / "events-2.csv"
    texts = one.read_bytes(), other.read_bytes()
    one.write_bytes(texts[1])
    other.write_bytes(texts[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_edited, "events-1.csv has other bytes"),
        (_truncated, "events-1.csv has other bytes"),
        (_grown, "events-1.csv has grown"),
        (_joined, "events-3.csv is new"),
        (_gone, "events-1.csv is gone"),
    ],
)
def test_a_changed_source_stops_the_job(tmp_path, begun, send, sandbox, change, said):
    """Nothing is sent, the file is named, and so are the ways on."""
    before = sandbox.stats()
    change(tmp_path)

    refused = send(begun)

    assert refused.code == 5
    assert said in refused.stderr
    assert "--append" in refused.next_step
    assert "--restart" in refused.next_step
    assert sandbox.stats() == before
    assert refused.summary["rows_read"] == refused.summary["delivered"] == 40
    assert not refused.summary["complete"]
    assert refused.summary["this_run"]["delivered"] == 0


@pytest.mark.parametrize("change", [_edited, _truncated, _gone])
def test_append_does_not_cover_up_a_change(tmp_path, begun, send, change):
    """Rows that were read must be as they were; --append answers for new ones only."""
    change(tmp_path)

    assert send(begun, "--append").code == 5


@pytest.mark.parametrize("change", [_grown, _joined])
def test_append_sends_what_is_new(tmp_path, begun, send, sandbox, change):
    """The new row is sent, the others are not sent again."""
    change(tmp_path)

    done = send(begun, "--append")

    assert done.code == 0
    assert done.summary["rows_read"] == done.summary["delivered"] == 41
    assert done.summary["this_run"]["delivered"] == 1
    assert sandbox.stats()["event_arrivals"] == 41


def test_a_last_line_without_its_end_is_not_taken_for_a_whole_one(tmp_path, send):
    """Half a line that was sent as a row is not the row that it becomes."""
    pipeline = job(tmp_path, {"events.csv": numbered(3).rstrip("\n")}, EVENTS)
    send(pipeline)
    with (tmp_path / "events.csv").open("a") as file:
        file.write("7\n")

    assert send(pipeline, "--append").code == 5


def test_restart_forgets_what_was_sent(tmp_path, begun, send, sandbox):
    """Everything is sent again with the same ids, so that the edited row alone is new."""
    _edited(tmp_path)

    done = send(begun, "--restart")

    assert done.code == 0
    assert done.summary["this_run"]["delivered"] == done.summary["delivered"] == 40
    assert sandbox.stats()["events"] == 41
    assert sandbox.stats()["duplicate_events"] == 39


def test_a_restart_without_credentials_forgets_nothing(begun, send):
    """It ends before anything is forgotten: the job is still done."""
    options = Options(env={}, restart=True)
    with pytest.raises(CredentialsError):
        execute(RUN, Pipeline.load(begun), options)

    done = send(begun)

    assert done.code == 0
    assert (done.summary["delivered"], done.summary["this_run"]["requests"]) == (40, 0)


def test_renamed_files_are_known_by_their_content(tmp_path, begun, send, sandbox):
    """Names may change: nothing is sent again."""
    (tmp_path / "events-1.csv").rename(tmp_path / "events-9.csv")

    done = send(begun)

    assert done.code == 0
    assert done.summary["this_run"]["requests"] == 0
    assert done.summary["sources"][0]["files"] == ["events-9.csv", "events-2.csv"]
    assert sandbox.stats()["event_arrivals"] == 40


def test_files_that_swap_their_names_are_still_known(tmp_path, begun, send):
    """Content decides, not the name."""
    _swapped(tmp_path)

    done = send(begun)

    assert done.code == 0
    assert done.summary["this_run"]["requests"] == 0


def test_a_compressed_file_is_another_file(tmp_path, begun, send, sandbox):
    """Its bytes differ; --restart sends the same events under the same ids."""
    path = tmp_path / "events-1.csv"
    (tmp_path / "events-1.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()

    assert send(begun).code == 5
    assert send(begun, "--restart").code == 0
    assert sandbox.stats()["events"] == 40
