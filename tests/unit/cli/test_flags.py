"""What commands can be asked, read from text."""

import time
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import typer

from backfill.cli.flags import SendOptions, duration_s, flat, seconds_until, time_of_day


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("1h2m3s", 3723), (" 5m ", 300)],
)
def test_durations_are_read(text, seconds):
    """Hours, minutes and seconds, in this order, any of them left out."""
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "90", "1.5h", "30m1h", "-5m", "soon", "1d"])
def test_other_durations_are_refused(text):
    """Nothing is guessed: a bare number could be anything."""
    with pytest.raises(typer.BadParameter):
        duration_s(text)


@pytest.mark.parametrize("text", ["24:00", "7", "07:60", "7pm", ""])
def test_other_times_of_day_are_refused(text):
    """Only what a clock shows."""
    with pytest.raises(typer.BadParameter):
        time_of_day(text)


@pytest.mark.parametrize(
    ("now", "until", "seconds"),
    [
        ("2024-05-01T10:00:00", "10:30", 1800),
        ("2024-05-01T10:00:00", "10:00", 86_400),
        ("2024-05-01T23:59:59", "00:00", 1),
        ("2024-03-30T12:00:00", "12:00", 23 * 3600),
        ("2024-10-26T12:00:00", "12:00", 25 * 3600),
    ],
)
def test_until_is_the_next_time_that_the_clock_shows_it(monkeypatch, now, until, seconds):
    """Today or tomorrow; a night when clocks are changed is shorter or longer."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    moment = datetime.fromisoformat(now).replace(tzinfo=ZoneInfo("Europe/Berlin"))

    found = seconds_until(until, moment)

    monkeypatch.undo()
    time.tzset()
    assert found == seconds


def test_the_earlier_of_two_limits_counts():
    """--for and --until together: whichever comes first."""
    found = SendOptions(for_=1.0, until="00:00").options().stop_after_s

    assert found == 1.0


def test_a_group_of_options_becomes_one_argument():
    """A command sees its dataclass; Typer sees the fields."""

    @dataclass
    class Group:
        loud: bool = False

    def command(name: str, group: Group) -> str:
        return name.upper() if group.loud else name

    # Annotations of local classes are not found by name.
    command.__annotations__ = {"name": str, "group": Group, "return": str}

    assert flat(command)(name="a", loud=True) == "A"
