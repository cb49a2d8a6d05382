"""Zones that are written out in the text, or beside it, or declared to mean something."""

import pyarrow as pa
import pytest

from backfill.instants import Evidence, NoFormat, Reading, WrittenValues, read, validate_reading
from backfill.instants.zones import meaning_of

NOON = 1_706_698_800 * 10**6
"""2024-01-31 11:00 in UTC."""


def micros(texts, reading, zones=None):
    """The instants of texts, or why there is none."""
    column = WrittenValues(pa.array(texts), None if zones is None else pa.array(zones))
    found = read(column, reading)
    pairs = zip(found.micros.to_pylist(), found.failures.to_pylist(), strict=True)
    return [failure if instant is None else instant for instant, failure in pairs]


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-31 06:00:00.000 America/New_York",
        "2024-01-31 08:00:00 America/Argentina/Buenos_Aires",
        "2024-01-31T12:00:00+01:00[Europe/Paris]",
        "2024-01-31T12:00:00[Europe/Paris]",
        "2024-01-31T11:00:00Z[UTC]",
        "2024-01-31 11:00:00 +0000 UTC",
        "2024-01-31 12:00:00 +0100 CET",
        "2024-01-31 08:00:00 GMT-03:00",
        "2024-01-31 08:00:00 GMT-3",
        "2024-01-31 13:00:00 UTC+2",
        "2024-01-31 13:00:00UTC+02:00",
        "2024-01-31 11:00:00 utc",
    ],
)
def test_a_zone_that_is_written_out_is_the_zone(text):
    """Presto, Java and Go write zones like this; the declared zone never overrides them."""
    assert micros([text], Reading("iso8601", timezone="Asia/Tokyo")) == [NOON]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Wed Jan 31 2024 12:00:00 GMT+0100 (Central European Standard Time)", None),
        ("Wed Jan 31 2024 12:00:00 GMT+0100 (Mitteleuropäische Normalzeit)", None),
        ("01/31/2024, 11:00:00\u202fAM UTC", "%m/%d/%Y, %I:%M:%S %p %z"),
        ("\u200e1\u200e/\u200e31\u200e/\u200e2024\u00a011:00 AM GMT", "%m/%d/%Y %I:%M %p %z"),
        ("Wed, 31 Jan 2024 12:00:00 +0100 (CET)", "rfc2822"),
    ],
)
def test_dates_as_browsers_write_them_are_read(text, form):
    """Names in brackets say nothing that the offset does not; every space is a space."""
    assert micros([text], Reading(form or "%a %b %d %Y %H:%M:%S %z")) == [NOON]
    evidence = Evidence()
    evidence.add(pa.array([text]))
    assert read(pa.array([text]), evidence.decide()).micros.to_pylist() == [NOON]


def test_an_abbreviation_means_something_only_where_it_is_declared():
    """CST is a zone of America, of China and of Cuba."""
    texts = ["2024-01-31 03:00:00 PST", "2024-01-31 03:00:00 pst", "2024-01-31 19:00 CST"]
    zones = (("PST", "-08:00"), ("CST", "Asia/Shanghai"))

    assert micros(texts, Reading("iso8601", timezone="UTC")) == ["timestamp_zone_unknown"] * 3
    assert micros(texts, Reading("iso8601", zones=zones)) == [NOON] * 3


def test_the_proof_names_the_abbreviations_that_mean_nothing():
    """Who declares them can go on."""
    column = pa.array(["01/31/2024 10:00:00 PST", "01/31/2024 10:00:00 PDT"])
    evidence, declared = Evidence(), Evidence(Reading("native", zones=(("PST", "-08:00"),)))
    evidence.add(column)
    declared.add(column.slice(0, 1))

    found = evidence.decide()
    assert isinstance(found, NoFormat)
    assert found.unknown_zones == ("PST", "PDT")
    assert declared.decide().format == "%m/%d/%Y %H:%M:%S %z"


def test_each_row_may_name_its_zone_in_another_column():
    """PayPal writes the date, the clock and the zone into columns of their own."""
    texts = ["31.01.2024 12:00:00", "31.01.2024 06:00:00", "31.01.2024 13:00:00"]
    reading = Reading("%d.%m.%Y %H:%M:%S", timezone_from="zone", zones=(("CET", "+01:00"),))

    assert micros(texts, reading, ["Europe/Paris", "America/New_York", "GMT+2"]) == [NOON] * 3
    assert micros(texts, reading, ["CET", "MEZ", None]) == [
        NOON,
        "timestamp_zone_unknown",
        "timestamp_no_zone",
    ]
    assert micros(["2024-01-31T11:00Z"], Reading("iso8601"), ["Europe/Paris"]) == [NOON]


def test_a_clock_shown_twice_is_ambiguous_in_the_zone_of_its_row():
    """The policies hold for whatever zone the text or the row names."""
    texts = ["2023-11-05 01:30:00 America/New_York"] * 2
    assert micros(texts, Reading("iso8601")) == ["timestamp_ambiguous"] * 2
    earlier = Reading("iso8601", ambiguous="earlier")
    assert micros(["2023-11-05 01:30"], earlier, ["America/New_York"]) == [1_699_162_200 * 10**6]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("America/New York", "America/New_York"),
        ("UTC", "UTC"),
        ("z", "UTC"),
        ("+0530", "+05:30"),
        ("GMT-3", "-03:00"),
        ("EST", None),
        ("Japan", None),
        ("Nowhere/City", None),
        ("", None),
    ],
)
def test_what_a_zone_in_a_cell_means(text, meant):
    """A name of the IANA list with a slash, UTC, or an offset; nothing else is sure."""
    assert meaning_of(text, {}) == meant


@pytest.mark.parametrize(
    ("zones", "said"),
    [
        ((("PST", "Pacific"),), "'Pacific' is not a time zone"),
        ((("UTC", "+01:00"),), "needs no meaning"),
        ((("PST", "-25:00"),), "is not a time zone"),
    ],
)
def test_meanings_that_cannot_be_are_refused(zones, said):
    """By the sentence that says which."""
    with pytest.raises(ValueError, match=said):
        validate_reading(Reading("iso8601", zones=zones))
