"""Written timestamps become instants, or are refused with the right reason."""

import datetime as dt
import decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whenever import Instant, PlainDateTime

from backfill.instants import NAMES, Reading, read, seconds, validate_reading


def micros_of(text, form, **policies):
    """One value read: its microseconds, or the reason why not."""
    instants = read(pa.array([text]), Reading(form, **policies))
    (micros,), (failure,) = instants.micros.to_pylist(), instants.failures.to_pylist()
    return failure if micros is None else micros


def utc(*parts):
    """Unix microseconds of a timestamp in UTC, by another library."""
    return PlainDateTime(*parts).assume_utc().timestamp() * 10**6


MOMENT = utc(2024, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02T03:04:05Z",
        "2024-01-02t03:04:05z",
        "2024-01-02 03:04:05+00",
        "2024-01-02 03:04:05 UTC",
        "2024-01-02 03:04:05 +0000",
        "2024-01-02T03:04:05-00:00",
        "20240102T030405Z",
        "20240102 03:04:05Z",
        "2024-01-02T04:04:05+01:00",
        "2024-01-01T23:34:05.000-03:30",
        "2024-01-02T08:57:33+05:53:28",
        "  2024-01-02T03:04:05Z\t",
    ],
)
def test_iso8601_is_read_in_all_its_forms(text):
    """ISO 8601 has T or a space, separators or none, and an offset, Z, UTC or GMT."""
    assert micros_of(text, "iso8601") == MOMENT


@pytest.mark.parametrize(
    ("fraction", "micros"),
    [(".1", 100_000), (",25", 250_000), (".123456", 123_456), (".1234569999999", 123_456)],
)
def test_a_fraction_of_any_length_is_floored_to_microseconds(fraction, micros):
    """Digits beyond the microsecond are dropped, never rounded."""
    assert micros_of(f"2024-01-02T03:04:05{fraction}Z", "iso8601") == MOMENT + micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2024",
        "2024-01",
        "2024-1-2",
        "2024-02-30",
        "2023-02-29",
        "2024-13-01",
        "2024-00-10",
        "2024-01-00",
        "2024-01-02T24:01Z",
        "2024-01-02T24:00:00.001Z",
        "2024-01-02T23:59:60Z",
        "2024-01-02T23:60Z",
        "2024-01-02T03Z",
        "2024-01-02T03:04:05.Z",
        "2024-01-02T03:04:05+25:00",
        "2024-01-02T03:04:05+01:60",
        "2024-01-02Z",
        "2024-0102",
        "2024-01-02T03:04:05Z 2024-01-02T03:04:05Z",
        "+2024-01-02",
        "12024-01-02",
        "\uff12\uff10\uff12\uff14-01-02",  # full-width digits
        "2024\u201301\u201302",  # en dashes
        "\u0662\u0660\u0662\u0664-\u0660\u0661-\u0660\u0662",  # Arabic-Indic digits
    ],
)
def test_text_that_is_not_quite_iso8601_is_unreadable(text):
    """Parts of dates, impossible dates, leap seconds and other digits are refused."""
    assert micros_of(text, "iso8601", timezone="UTC") == "timestamp_unreadable"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2024-01-02T24:00:00Z", "iso8601"),
        ("20240102T2400Z", "iso8601"),
        ("02.01.2024 24:00", "%d.%m.%Y %H:%M"),
    ],
)
def test_the_end_of_a_day_is_the_next_ones_midnight(text, form):
    """24:00 is ISO 8601's name for it, and in no clock that shows AM and PM."""
    assert micros_of(text, form, timezone="UTC") == utc(2024, 1, 3)


@pytest.mark.parametrize(
    ("pivot", "year"), [(None, 2024), (69, 2024), (25, 2024), (24, 1924), (0, 1924), (100, 2024)]
)
def test_two_digit_years_turn_where_the_pivot_says(pivot, year):
    """From the pivot on they are 19xx; POSIX has 69."""
    assert micros_of("2/1/24", "%d/%m/%y", timezone="UTC", pivot=pivot) == utc(year, 1, 2)


def test_text_without_zone_needs_a_declared_one():
    """A local clock is no instant until somebody names its zone."""
    column = pa.array(["2024-07-01T12:00", "2024-07-01T12:00Z", None])

    undeclared = read(column, Reading("iso8601"))
    declared = read(column, Reading("iso8601", timezone="America/New_York"))

    assert undeclared.failures.to_pylist() == ["timestamp_no_zone", None, None]
    assert undeclared.micros.to_pylist() == [None, utc(2024, 7, 1, 12), None]
    assert declared.micros.to_pylist() == [utc(2024, 7, 1, 16), utc(2024, 7, 1, 12), None]


def test_every_row_keeps_its_place_among_rows_of_other_shapes():
    """Values are read shape by shape; the results stand where the values stood."""
    texts = ["2024-01-02", "x", None, "20240102", "2024-01-02T00:00:01Z", "y", "2024-01-02"]

    instants = read(pa.array(["cut off", *texts])[1:], Reading("iso8601", timezone="UTC"))

    day = utc(2024, 1, 2)
    bad = "timestamp_unreadable"
    assert instants.micros.to_pylist() == [day, None, None, day, day + 10**6, None, day]
    assert instants.failures.to_pylist() == [None, bad, None, None, None, bad, None]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%m/%d/%Y %I:%M:%S %p", "1/2/2024 3:04:05 AM"),
        ("%m/%d/%Y %I:%M:%S %p", "01/02/2024  03:04:05a.m."),
        ("%d.%m.%y %H.%M.%S", "02.01.24 03.04.05"),
        ("%-d/%-m/%Y %T", "2/1/2024 3:4:5"),
        ("%d%m%Y%H%M%S", "02012024030405"),
        ("%Y-%jT%H:%M:%S", "2024-002T03:04:05"),
        ("%A, %d. %B %Y, %H:%M:%S", "TUESDAY, 2. January 2024, 03:04:05"),
        ("%a %b %d %H:%M:%S %Z %Y", "Tue Jan  2 03:04:05 GMT 2024"),
        ("%d/%b/%Y:%H:%M:%S %z", "02/Jan/2024:04:04:05 +0100"),
        ("%d/%m/20%y %H:%M:%S", "02/01/2024 03:04:05"),
        ("%m/%d/%Y %H:%M:%S", "01/02/2024 03:04:05.000"),
        ("%Y年%m月%d日 %H:%M:%S", "2024年1月2日 03:04:05"),
        ("100%% %Y-%m-%d %H:%M:%S.%f", "100% 2024-01-02 03:04:05.000000000"),
        ("rfc2822", "Tue, 02 Jan 2024 03:04:05 GMT"),
        ("rfc2822", "2 Jan 2024 04:04:05 +0100 (CET)"),
    ],
)
def test_declared_formats_are_read(form, text):
    """A strptime pattern takes English names, one digit or two, and offsets."""
    assert micros_of(text, form, timezone="UTC") == MOMENT


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%d%m%Y", "1012024"),
        ("%d/%m/%Y", "02/01/20245"),
        ("%d/%m/20%y", "02/01/1924"),
        ("%m/%d/%Y %I:%M %p", "1/2/2024 13:04 PM"),
        ("%m/%d/%Y %I:%M %p", "1/2/2024 0:04 AM"),
        ("%a %d %b %Y", "Mon 2 Jan 2024"),
        ("%d %b %Y", "2 Janver 2024"),
        ("%d/%m/%Y", "2nd/1/2024"),
        ("%I:%M %p %d/%m/%Y", "24:00 PM 2/1/2024"),
        ("%Y-%j", "2023-366"),
        ("%H:%M %z%d%m%Y", "03:04 +010002012024"),
        ("%Y-%m-%d", "2024-01-02 03:04"),
        ("rfc2822", "Mon, 02 Jan 2024 03:04:05 GMT"),
    ],
)
def test_a_declared_format_takes_a_value_whole_or_not_at_all(form, text):
    """No digit is left over or shared out by guess; a wrong weekday is a wrong date."""
    assert micros_of(text, form, timezone="UTC") == "timestamp_unreadable"


@pytest.mark.parametrize("month", range(1, 13))
def test_months_have_short_and_full_names(month):
    """%b and %B take either, in any case; September is also Sept."""
    day = dt.date(2024, month, 2)
    names = [day.strftime("%b"), day.strftime("%B").upper(), *(["Sept"] if month == 9 else [])]

    for name in names:
        for form in ("%d %b %Y", "%d %B %Y"):
            assert micros_of(f"02 {name} 2024", form, timezone="UTC") == utc(2024, month, 2)


@pytest.mark.parametrize(
    ("text", "year"), [("00-01-01", 2000), ("68-01-01", 2068), ("69-01-01", 1969)]
)
def test_two_digit_years_turn_at_69(text, year):
    """Declared two-digit years follow POSIX."""
    assert micros_of(text, "%y-%m-%d", timezone="UTC") == utc(year, 1, 1)


def test_noon_and_midnight_on_a_twelve_hour_clock():
    """12 AM is midnight and 12 PM is noon."""
    form = "%Y-%m-%d %I:%M %p"

    assert micros_of("2024-01-02 12:00 AM", form, timezone="UTC") == utc(2024, 1, 2)
    assert micros_of("2024-01-02 12:00 PM", form, timezone="UTC") == utc(2024, 1, 2, 12)


@pytest.mark.parametrize(
    ("form", "text", "micros"),
    [
        ("epoch_s", "1700000000", 1_700_000_000_000_000),
        ("epoch_s", "1700000000.5", 1_700_000_000_500_000),
        ("epoch_s", "1700000000.1234569", 1_700_000_000_123_456),
        ("epoch_s", "-1", -1_000_000),
        ("epoch_s", "-0.5", -500_000),
        ("epoch_s", "-0.0000001", -1),
        ("epoch_s", "0000000000000000000000001", 1_000_000),
        ("epoch_ms", "1700000000123", 1_700_000_000_123_000),
        ("epoch_ms", "1700000000123.4567", 1_700_000_000_123_456),
        ("epoch_ms", "-1.0001", -1_001),
        ("epoch_us", "1700000000123456", 1_700_000_000_123_456),
        ("epoch_us", "-1.5", -2),
        ("epoch_ns", "1700000000123456789", 1_700_000_000_123_456),
        ("epoch_ns", "-1", -1),
        ("epoch_ns", "-1000", -1),
        ("epoch_ns", "7", 0),
        ("epoch_s", "1.7e9", 1_700_000_000_000_000),
        ("epoch_s", "1.706713445E9", 1_706_713_445_000_000),
        ("epoch_s", "1.7067134451234567e+9", 1_706_713_445_123_456),
        ("epoch_s", "-1.5E0", -1_500_000),
        ("epoch_s", "-1.5000009E0", -1_500_001),
        ("epoch_ms", "1.706713445678E12", 1_706_713_445_678_000),
        ("epoch_s", "1706713445,5", 1_706_713_445_500_000),
        ("epoch_ms", "/Date(1706713445678)/", 1_706_713_445_678_000),
        ("epoch_ms", r"\/Date(1706713445678+0100)\/", 1_706_713_445_678_000),
        ("epoch_s", "/Date(1706713445)/", "timestamp_unreadable"),
        ("epoch_s", "1.7e-9", "timestamp_unreadable"),
        ("epoch_s", "1e99", "timestamp_out_of_range"),
        ("epoch_s", "1700000000.", "timestamp_unreadable"),
        ("epoch_s", "+1700000000", "timestamp_unreadable"),
        ("epoch_s", "1,700,000,000", "timestamp_unreadable"),
        ("epoch_s", "0x10", "timestamp_unreadable"),
        ("epoch_s", "nan", "timestamp_unreadable"),
        ("epoch_s", "1700000000000", "timestamp_out_of_range"),
        ("epoch_s", "99999999999999999999999", "timestamp_out_of_range"),
        ("epoch_ns", "99999999999999999999999", "timestamp_out_of_range"),
        ("epoch_s", "1000000000000000000001700000000", "timestamp_out_of_range"),
    ],
)
def test_epochs_are_read_in_their_declared_unit(form, text, micros):
    """Epochs are floored, also below zero; exponents and signs of plenty are refused."""
    assert micros_of(text, form) == micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("45293", utc(2024, 1, 2)),
        ("45293.5", utc(2024, 1, 2, 12)),
        ("45293.12783564815", utc(2024, 1, 2, 3, 4, 5)),
        ("61", utc(1900, 3, 1)),
        ("60", "timestamp_unreadable"),
        ("-1", "timestamp_unreadable"),
        ("2958465", utc(9999, 12, 31)),
        ("2958466", "timestamp_out_of_range"),
        ("99999999999", "timestamp_out_of_range"),
    ],
)
def test_excel_serials_are_days_of_the_1900_system(text, micros):
    """The clock is rounded to the millisecond; days that spreadsheets disagree on are refused."""
    assert micros_of(text, "excel", timezone="UTC") == micros


@given(st.datetimes(dt.datetime(1900, 3, 1), dt.datetime(2100, 1, 1)))  # noqa: DTZ001
def test_the_second_that_a_spreadsheet_shows_is_the_second_that_is_read(timestamp):
    """A serial is a float a little off; flooring it would often be a second early."""
    since = timestamp.replace(microsecond=0) - dt.datetime(1899, 12, 30)  # noqa: DTZ001
    serial = since / dt.timedelta(days=1)

    expected = PlainDateTime(timestamp).assume_utc().timestamp() * 10**6
    for written in (serial, f"{serial:.10f}"):
        assert micros_of(written, "excel", timezone="UTC") == expected


def test_excel_serials_are_local_clocks():
    """A spreadsheet knows no zone."""
    assert micros_of("45293", "excel") == "timestamp_no_zone"
    assert micros_of("45293", "excel", timezone="Asia/Tokyo") == utc(2024, 1, 1, 15)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0001-01-01T00:00:00Z", utc(1, 1, 1)),
        ("9999-12-31T23:59:59.999999Z", utc(9999, 12, 31, 23, 59, 59) + 999_999),
        ("0001-01-01T00:00:00+00:01", "timestamp_out_of_range"),
        ("9999-12-31T23:59:59-00:01", "timestamp_out_of_range"),
        ("0000-12-31T00:00:00Z", "timestamp_out_of_range"),
    ],
)
def test_instants_lie_in_the_years_1_to_9999(text, micros):
    """An offset may not push an instant out of the calendar, and there is no year 0."""
    assert micros_of(text, "iso8601") == micros


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Kiritimati", "Asia/Kolkata"])
def test_the_ends_of_the_calendar_have_a_zone_too(zone):
    """9999-12-31 stands for "for ever" in many tables; it must not stop the others."""
    column = pa.array(["9999-12-31", "0001-01-02", "2024-01-02"])

    instants = read(column, Reading("iso8601", timezone=zone))

    days = [PlainDateTime(*parts) for parts in ((9999, 12, 31), (1, 1, 2), (2024, 1, 2))]
    expected = [day.assume_tz(zone).timestamp() * 10**6 for day in days]
    assert instants.micros.to_pylist() == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_typed_timestamps_are_instants_where_their_type_has_a_zone(unit):
    """A zone in the type means that the values are UTC, whatever the zone and `timezone`."""
    timestamp = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    zoned = pa.array([timestamp, None], pa.timestamp(unit, tz="Asia/Tokyo"))
    naive = zoned.cast(pa.timestamp(unit, tz="UTC")).cast(pa.timestamp(unit))

    for reading in (Reading("native"), Reading("native", timezone="America/New_York")):
        assert read(zoned, reading).micros.to_pylist() == [MOMENT, None]
    assert read(naive, Reading("native")).failures.to_pylist() == ["timestamp_no_zone", None]
    local = read(naive, Reading("native", timezone="Asia/Tokyo"))
    assert local.micros.to_pylist() == [MOMENT - 9 * 3600 * 10**6, None]


def test_typed_timestamps_beyond_the_calendar_are_out_of_range():
    """Nanoseconds are floored; 64 bits of seconds reach beyond the calendar."""
    far = pa.array([2**62, -(2**62)], pa.timestamp("s", tz="UTC"))
    fine = pa.array([-1, 1999], pa.timestamp("ns", tz="UTC"))

    assert read(far, Reading("native")).failures.to_pylist() == ["timestamp_out_of_range"] * 2
    assert read(fine, Reading("native")).micros.to_pylist() == [-1, 1]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_typed_dates_are_midnight_in_their_zone(kind):
    """A date has no zone of its own."""
    days = pa.array([dt.date(2024, 1, 2), None], kind)

    assert read(days, Reading("native")).failures.to_pylist() == ["timestamp_no_zone", None]
    utc_days = read(days, Reading("native", date_only=True))
    assert utc_days.micros.to_pylist() == [utc(2024, 1, 2), None]
    tokyo = read(days, Reading("native", timezone="Asia/Tokyo"))
    assert tokyo.micros.to_pylist() == [utc(2024, 1, 1, 15), None]


@pytest.mark.parametrize(
    ("column", "form"),
    [
        (pa.array([1704164645]), "epoch_s"),
        (pa.array([1704164645], pa.uint64()), "epoch_s"),
        (pa.array([1704164645.0]), "epoch_s"),
        (pa.array([1704164645000.0]), "epoch_ms"),
        (pa.array([decimal.Decimal("1704164645.000")]), "epoch_s"),
        (pa.array([20240102030405]), "%Y%m%d%H%M%S"),
        (pa.array(["2024-01-02T03:04:05Z"], pa.large_string()), "iso8601"),
        (pa.array(["2024-01-02T03:04:05Z"], pa.string_view()), "iso8601"),
        (pa.array(["2024-01-02T03:04:05Z"]).dictionary_encode(), "iso8601"),
    ],
)
def test_numbers_and_all_kinds_of_text_are_read(column, form):
    """What matters is what a value says, not the type that a file keeps it in."""
    assert read(column, Reading(form, timezone="UTC")).micros.to_pylist() == [MOMENT]


def test_dictionaries_keep_nulls_and_failures():
    """Distinct values are read once and each row gets its own result."""
    column = pa.array(["2024-01-02", None, "x", "x", "2024-01-02"]).dictionary_encode()

    instants = read(column, Reading("iso8601", timezone="UTC"))

    day, bad = utc(2024, 1, 2), "timestamp_unreadable"
    assert instants.micros.to_pylist() == [day, None, None, None, day]
    assert instants.failures.to_pylist() == [None, None, bad, bad, None]


@pytest.mark.parametrize(
    "column",
    [pa.array([True]), pa.array([b"2024-01-02"]), pa.array([float("nan")]), pa.array([[1]])],
)
def test_other_types_are_unreadable(column):
    """Truth values, bytes, lists and NaN are no timestamps."""
    assert read(column, Reading("epoch_s")).failures.to_pylist() == ["timestamp_unreadable"]


def test_text_is_never_native():
    """A format for typed columns does not guess at text."""
    assert micros_of("2024-01-02", "native", timezone="UTC") == "timestamp_unreadable"


@pytest.mark.parametrize("column", [pa.array([], pa.string()), pa.nulls(3, pa.string())])
def test_nothing_is_read_as_nothing(column):
    """Empty and all-null columns are no failure."""
    instants = read(column, Reading("iso8601"))

    assert instants.micros.null_count == instants.failures.null_count == len(column)


@given(st.floats(min_value=0, max_value=4e9), st.sampled_from(["epoch_s", "epoch_ms"]))
def test_a_float_reads_as_the_text_of_the_same_number(number, form):
    """The same rows from CSV and from Parquet give the same instants."""
    text = format(decimal.Decimal(repr(number)), "f")

    assert micros_of(number, form) == micros_of(text, form)


@given(st.lists(st.integers(min_value=-(10**17), max_value=10**17) | st.none()))
def test_seconds_are_floored(micros):
    """A microsecond before 1970 is in second -1."""
    floored = seconds(pa.array(micros, pa.int64())).to_pylist()

    assert floored == [None if each is None else each // 10**6 for each in micros]


@given(
    st.datetimes(timezones=st.just(dt.UTC)),
    st.integers(min_value=-(23 * 60 + 59), max_value=23 * 60 + 59),
)
def test_iso_text_with_any_offset_is_the_instant_it_says(timestamp, offset_min):
    """Text in ISO 8601 round-trips through any offset, to the microsecond."""
    zone = dt.timezone(dt.timedelta(minutes=offset_min))
    try:
        text = timestamp.astimezone(zone).isoformat()
    except OverflowError:
        return

    instant = Instant(timestamp)
    expected = instant.timestamp() * 10**6 + timestamp.microsecond
    assert micros_of(text, "iso8601") == expected


@given(st.text(max_size=40), st.sampled_from(NAMES))
def test_no_text_breaks_the_reader(text, form):
    """Whatever the text, the answer is an instant or a reason, and never both."""
    found = read(pa.array([text], pa.string()), Reading(form, timezone="UTC"))
    assert found.micros[0].is_valid != found.failures[0].is_valid


@pytest.mark.parametrize(
    ("text", "zone", "micros"),
    [
        ("2024-01-02T15:00", None, utc(2024, 1, 2)),
        ("2024-01-02T15:00", "America/New_York", utc(2024, 1, 2, 5)),
        ("2024-01-02T20:00-05:00", "UTC", utc(2024, 1, 2, 5)),
        ("2024-01-02T00:00+02:00", None, utc(2024, 1, 1, 22)),
    ],
)
def test_a_date_is_midnight_of_the_written_day(text, zone, micros):
    """The clock is dropped; the zone is the text's, else the declared one, else UTC."""
    assert micros_of(text, "iso8601", timezone=zone, date_only=True) == micros


def test_the_date_of_an_instant_is_midnight_in_its_zone():
    """An epoch has its day in the declared zone, a typed timestamp in the zone of its type."""
    day = {"timezone": "America/New_York", "date_only": True}
    summer = utc(2024, 3, 10, 12)  # after the change of that day; midnight was before it
    typed = pa.array([summer], pa.timestamp("us", tz="America/New_York"))
    fixed = pa.array([summer], pa.timestamp("us", tz="-05:00"))

    assert micros_of(summer // 10**6, "epoch_s", **day) == utc(2024, 3, 10, 5)
    assert micros_of(summer // 10**6, "epoch_s", date_only=True) == utc(2024, 3, 10)
    evening = utc(2024, 3, 10, 3) // 10**6  # the ninth, in New York
    assert micros_of(evening, "epoch_s", **day) == utc(2024, 3, 9, 5)
    assert micros_of(10**12 - 1, "epoch_s", **day) == "timestamp_out_of_range"
    for column in (typed, fixed):
        instants = read(column, Reading("native", date_only=True))
        assert instants.micros.to_pylist() == [utc(2024, 3, 10, 5)]


def test_a_proved_unit_refuses_numbers_that_did_not_prove_it():
    """Seconds in a column of milliseconds would be read as 1970: they are refused."""
    column = pa.array([1_700_000_000_000, 1_700_000_000])

    declared = read(column, Reading("epoch_ms"))
    proved = read(column, Reading("epoch_ms", proved=True))

    assert declared.micros.to_pylist() == [1_700_000_000_000_000, 1_700_000_000_000]
    assert proved.micros.to_pylist() == [1_700_000_000_000_000, None]
    assert proved.failures.to_pylist() == [None, "timestamp_unreadable"]


@pytest.mark.parametrize(
    "form", [*NAMES, "native", "%Y-%m-%d", "%d/%m/%y %I:%M%p", "%Y%j", "%F %T", "%e %h %Y"]
)
def test_formats_that_give_a_date_are_valid(form):
    """Every named format, and patterns with a whole date: columns can be read by them."""
    reading = Reading(form, timezone="Europe/Berlin")
    validate_reading(reading)
    nothing = read(pa.nulls(2, pa.string()), reading)
    assert nothing.micros.to_pylist() == nothing.failures.to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ("iso", "did you mean iso8601"),
        ("epoch", "did you mean epoch_"),
        ("YYYY-MM-DD", "a pattern such as %Y-%m-%d"),
        ("%m-%d", "needs a year"),
        ("%H:%M", "needs a year"),
        ("%Y", "needs a month"),
        ("%Y-%m", "needs a month"),
        ("%Y-%m-%j", "needs a month"),
        ("%Y-%m-%d %m", "%m (or a twin) more than once"),
        ("%Y-%m-%d %I:%M", "%I and %p together"),
        ("%Y-%m-%d %H %p", "%I and %p together"),
        ("%Y-%m-%d %H %I %p", "both %H and %I"),
        ("%Y-%m-%d %M", "minutes but no hour"),
        ("%Y-%m-%d %H:%S", "seconds but no minutes"),
        ("%Y-%m-%d %H:%M.%f", "fraction (%f) but no seconds"),
        ("%Y-%m-%d %z", "a zone but no hour"),
        ("%Y-%m-%d %q", "%q, which is not one of"),
        ("%c", "%c, which is not one of"),
        ("%Y-%m-%d %", "which is not one of"),
    ],
)
def test_a_format_that_gives_no_date_is_refused_with_a_sentence(form, complaint):
    """The person who writes the pipeline file learns what is wrong with the pattern."""
    with pytest.raises(ValueError, match=r"format|%") as raised:
        validate_reading(Reading(form))

    assert complaint in str(raised.value)


@pytest.mark.parametrize(
    ("zone", "close"),
    [
        ("america/new_york", "America/New_York"),
        ("New York", "America/New_York"),
        ("Europe/Berlim", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("TODO", "IANA"),
        ("localtime", "IANA"),
        ("", "IANA"),
        ("../../etc/passwd", "IANA"),
    ],
)
def test_an_unknown_zone_is_refused_with_close_names(zone, close):
    """Only names of the IANA list count, in their own spelling."""
    with pytest.raises(ValueError, match="IANA") as raised:
        validate_reading(Reading("iso8601", timezone=zone))

    assert close in str(raised.value)
