"""The summary: what it shows, and the law that it holds itself to."""

import dataclasses
import json

import pytest

from backfill.errors import BackfillError
from backfill.report.summary import RunSummary, SourceSummary, Summary
from backfill.report.wording import duration, size, utc_text

CUSTOMERS = SourceSummary(
    kind="customers", files=["people.csv"], rows_read=612, delivered=590, merged=16, rejected=6
)
EVENTS = SourceSummary(
    kind="events",
    files=["a.parquet", "b.parquet"],
    rows_read=14_012,
    delivered=14_000,
    skipped=5,
    rejected=4,
    pending=3,
    held=3,
    skipped_by_reason={"identical_row": 5},
)
SUMMARY = Summary(
    job="acme",
    exit=3,
    complete=False,
    rows_read=14_624,
    delivered=14_590,
    rejected=10,
    merged=16,
    skipped=5,
    pending=3,
    held=3,
    deletes=0,
    requests=46,
    attempts=48,
    bytes_sent=1_234_567,
    seconds=8.2,
    rows_per_second=1783.4,
    started_at=utc_text(1_700_000_000),
    finished_at=utc_text(1_700_000_008.2),
    sources=[CUSTOMERS, EVENTS],
    rejections_by_reason={"name_missing": 3, "timestamp_unreadable": 8},
    this_run=RunSummary(requests=46, attempts=48, bytes_sent=1_234_567, seconds=8.2),
)


def test_the_json_has_the_fields_of_the_contract():
    """Programs find the job's figures under the promised names, and times in ISO 8601."""
    said = json.loads(SUMMARY.to_json())
    assert list(said) == [
        *("job", "exit", "complete", "rows_read", "delivered", "rejected", "merged", "skipped"),
        *("pending", "held", "deletes", "deletes_refused", "requests", "attempts", "bytes_sent"),
        *(
            "seconds",
            "rows_per_second",
            "started_at",
            "finished_at",
            "sources",
            "rejections_by_reason",
        ),
        "this_run",
    ]
    assert said["started_at"] == "2023-11-14T22:13:20Z"
    assert said["sources"][1]["files"] == ["a.parquet", "b.parquet"]
    assert b"\n" not in SUMMARY.to_json()


def test_it_is_written_for_its_owner_only(tmp_path):
    """The file holds the same, readable by nobody else."""
    SUMMARY.write(tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_bytes()) == json.loads(SUMMARY.to_json())
    assert (tmp_path / "summary.json").stat().st_mode & 0o777 == 0o600


def test_the_law_holds():
    """Figures that balance are accepted."""
    SUMMARY.check_law()


@pytest.mark.parametrize(
    "change",
    [
        {"delivered": 14_589},
        {"held": 4},
        {"rows_read": 14_625, "pending": 4},
        {"sources": [CUSTOMERS, dataclasses.replace(EVENTS, skipped=4)]},
        {"sources": [CUSTOMERS]},
    ],
)
def test_a_broken_law_is_a_bug_that_names_its_numbers(change):
    """Rows that are lost or counted twice, in the job or in a source, are never passed over."""
    with pytest.raises(BackfillError, match=r"\d+"):
        dataclasses.replace(SUMMARY, **change).check_law()


def test_people_see_the_balance_and_the_reasons():
    """The text fits a narrow terminal, in ASCII, the most frequent reason first."""
    text = SUMMARY.text()
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("acme: done so far, 10 rows rejected\n")
    assert text.index("timestamp_unreadable") < text.index("name_missing")
    assert "14,590" in text
    assert "46 requests, 1.2 MB, 8.2 s" in text
    assert "3 rows held until they are 72 hours old" in text


@pytest.mark.parametrize("width", [40, 60, 79])
def test_nothing_runs_off_a_narrow_terminal(width):
    """Where the table has no room, its lines are sentences; nothing is cut off."""
    lines = SUMMARY.text(width).splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "events rows read 14,012, delivered 14,000" in text or "events 14,012 14,000" in text
    assert "the timestamp does not match the column's format" in text


def test_sources_of_one_kind_are_told_apart():
    """Two sources of events are numbered in the table."""
    text = dataclasses.replace(SUMMARY, sources=[EVENTS, EVENTS]).text()
    assert "events 1" in text
    assert "events 2" in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pending": 5}, "not finished, 2 rows still to do"),
        ({"rejected": 0}, "done so far, every row accounted for"),
        ({"complete": True, "rejected": 1}, "done, 1 row rejected"),
    ],
)
def test_the_first_line_says_how_it_ended(change, says):
    """A reader who stops after one line knows what became of the job."""
    assert dataclasses.replace(SUMMARY, **change).text().startswith(f"acme: {says}\n")


def test_figures_are_written_for_people():
    """Bytes and seconds get the unit that suits their size."""
    assert [size(each) for each in (0, 999, 5_000, 2_500_000_000)] == [
        *("0 bytes", "999 bytes", "5.0 kB", "2.5 GB")
    ]
    assert [duration(each) for each in (0.04, 59.9, 61, 7325)] == [
        *("0.0 s", "59.9 s", "1:01 min", "2:02:05 h")
    ]
