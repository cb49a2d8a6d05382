"""How the source was on the nights before: rows, columns, and how far a cursor has come."""

from dataclasses import replace

import pytest

from backfill.sync import nights
from tests.support.jobs import job, people
from tests.support.syncs import night

CUSTOMERS = """
[[source]]
kind = "customers"
files = ["customers.csv"]
identifier = {{ id = "id" }}
[source.sync]
{settings}
"""
MOVED = """
[[source]]
kind = "customers"
files = ["customers.csv"]
identifier = { id = "id" }
[source.columns]
at = { type = "timestamp", timezone = "UTC", format = "iso8601" }
[source.sync]
mode = "cursor"
column = "at"
lookback = "1d"
"""
DAY_US = 86_400_000_000


@pytest.fixture
def export(tmp_path):
    """Puts an export in place; gives the pipeline file."""
    return lambda text, settings="": job(
        tmp_path, {"customers.csv": text}, CUSTOMERS.format(settings=settings)
    )


def codes(tonight):
    """What a night is refused for."""
    return [each.code for each in nights.refusals(tonight.job, tonight.plan)]


def many(count):
    """An export of so many people."""
    return people(*(f"p{n}" for n in range(count)))


def test_rows_are_held_against_the_median_of_the_last_nights(export):
    """One odd night that somebody has allowed does not become the rule."""
    for count in (100, 100, 10):
        with night(export(many(count))) as tonight:
            tonight.deliver()
    for count, refused in ((40, ["rows_change"]), (60, []), (140, []), (160, ["rows_change"])):
        with night(export(many(count))) as tonight:
            assert codes(tonight) == refused
            for guard in nights.refusals(tonight.job, tonight.plan):
                assert "rows_change_max = 60 " in guard.answer
    with night(export(many(40), 'rows_change_max = "60%"')) as tonight:
        assert codes(tonight) == []


def test_only_the_last_nights_count(export):
    """A shop that grows is compared with what it was lately."""
    assert nights.NIGHTS_MAX == 7
    for count in (10, 10, 10, 10, 20, 20, 20, 20):
        with night(export(many(count))) as tonight:
            tonight.deliver()
    with night(export(many(9))) as tonight:
        assert codes(tonight) == ["rows_change"]


def test_columns_may_come_but_not_go(export):
    """A new one is news; one that is gone would leave its attribute as it is for ever."""
    for text, refused in (
        ("id,a\np1,1\n", []),
        ("id,a,b\np1,1,2\n", []),
        ("id,b\np1,2\n", ["schema_change"]),
    ):
        with night(export(text)) as tonight:
            assert codes(tonight) == refused
            if not refused:
                tonight.deliver()


def test_a_window_begins_where_the_last_one_ended_less_what_it_looks_back(tmp_path):
    """All counts on the first night; a night without anything newer does not turn it back."""
    windows = []
    for day in (10, 20, 12, 30):
        text = f"id,at\np1,1970-01-{day:02}T00:00:00\n"
        with night(job(tmp_path, {"customers.csv": text}, MOVED)) as tonight:
            windows += nights.windows(tonight.job, tonight.plan).values()
            tonight.deliver()
    assert windows == [None, 8 * DAY_US, 18 * DAY_US, 18 * DAY_US]


def test_a_cursor_never_moves_past_now(tmp_path):
    """One slip of the pen in 2099 would close the window for ever."""
    windows = []
    for night_of, day in ((10, 99), (20, 15), (30, 25)):
        text = f"id,at\np1,1970-{1 + day // 30:02}-{1 + day % 30:02}T00:00:00\n"
        with night(job(tmp_path, {"customers.csv": text}, MOVED), night_of * 86_400.0) as tonight:
            windows += nights.windows(tonight.job, tonight.plan).values()
            tonight.deliver()
    assert windows == [None, None, 14 * DAY_US]


def test_a_cursor_that_stands_in_the_future_is_forgotten(tmp_path):
    """An earlier version let it go there: what differs is found by comparing everybody."""
    text = "id,at\np1,1970-01-10T00:00:00\n"
    with night(job(tmp_path, {"customers.csv": text}, MOVED)) as tonight:
        tonight.deliver()
        assert nights.windows(tonight.job, tonight.plan) == {1: 8 * DAY_US}
        earlier = replace(tonight.plan, now_s=5 * 86_400.0)
        assert nights.windows(tonight.job, earlier) == {1: None}
