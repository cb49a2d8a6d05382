"""Names of months and weekdays in the languages that exports use."""

import datetime as dt

import pyarrow as pa
import pytest
from babel.dates import format_date
from hypothesis import given
from hypothesis import strategies as st

from backfill.instants import Evidence, Reading, read
from backfill.instants.calendar_words import LANGUAGES, _by_word, month_of, weekdays_of


def day_of(text, form):
    """The day that a text says; else why it says none."""
    found = read(pa.array([text]), Reading(form, timezone="UTC"))
    (micros,), (failure,) = found.micros.to_pylist(), found.failures.to_pylist()
    return failure or dt.datetime.fromtimestamp(micros / 10**6, dt.UTC).date()


def test_no_name_of_a_month_means_two_months():
    """A word that is October here and November next door would be a guess."""
    assert {word: months for word, months in _by_word("months").items() if len(months) > 1} == {}


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("31. Januar 2024", "%d. %B %Y"),
        ("31. JANUAR 2024", "%d. %b %Y"),
        ("1er février 2024", "%d %b %Y"),
        ("31 janv. 2024", "%d %b %Y"),
        ("31 de enero de 2024", "%d de %B de %Y"),
        ("31 ene 2024", "%d %b %Y"),
        ("31 января 2024", "%d %b %Y"),
        ("mercredi 31 janvier 2024", "%A %d %B %Y"),
        ("Mittwoch, 31. Januar 2024", "%A, %d. %B %Y"),
        ("Mi., 31. Jan. 2024", "%a, %d. %b %Y"),
        ("January 31st, 2024", "%b %d, %Y"),
        ("31st January 2024", "%d %B %Y"),
        ("2024年1月31日", "%Y年%m月%d日"),
    ],
)
def test_dates_with_words_are_read_and_proved(text, form):
    """Short and full names, with a dot or an ordinal, in any case."""
    expected = dt.date(2024, 2, 1) if text.startswith("1er") else dt.date(2024, 1, 31)
    assert day_of(text, form) == expected
    evidence = Evidence()
    evidence.add(pa.array([text]))
    assert day_of(text, evidence.decide().format) == expected


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("31 Janver 2024", "%d %b %Y"),
        ("jeudi 31 janvier 2024", "%A %d %B %Y"),
        ("31 lipanj 2024", "%d %b %Y"),
        ("2nd/1/2024", "%d/%m/%Y"),
    ],
)
def test_other_words_are_not(text, form):
    """Wrong weekdays, misspelt months, a language that is not on the list."""
    assert day_of(text, form) == "timestamp_unreadable"


def test_a_weekday_that_can_be_two_decides_nothing():
    """So is Sunday in German and Saturday in Czech; the date itself must be one of them."""
    assert weekdays_of("so") == {5, 6}
    assert day_of("So, 4. Februar 2024", "%a, %d. %b %Y") == dt.date(2024, 2, 4)
    assert day_of("So, 5. Februar 2024", "%a, %d. %b %Y") == "timestamp_unreadable"


@given(st.dates(dt.date(1990, 1, 1), dt.date(2099, 12, 31)), st.sampled_from(LANGUAGES))
def test_what_another_writer_wrote_is_read_back(day, language):
    """Full and short names of every language, as the library writes dates by itself."""
    for width in ("LLLL", "LLL", "MMMM", "MMM"):
        word = format_date(day, width, locale=language).lower().rstrip(".").rpartition(" ")[2]
        assert month_of(word) == day.month
    word = format_date(day, "EEEE", locale=language).lower()
    assert day.weekday() in weekdays_of(word)


def test_english_needs_no_other_language():
    """Nothing is loaded for files in English."""
    _by_word.cache_clear()
    assert day_of("Wednesday, 31 Jan 2024", "%A, %d %b %Y") == dt.date(2024, 1, 31)
    assert _by_word.cache_info().currsize == 0
