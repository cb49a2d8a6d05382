"""A column proves how its timestamps are written, or a person must say it."""

import datetime as dt
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backfill.instants import CANDIDATES, Ambiguity, Evidence, NoFormat, Reading, read
from backfill.instants.candidates import NEEDS_PIVOT


def gather(*chunks, **settings):
    """The evidence of a column that comes in chunks."""
    evidence = Evidence(Reading("native", **settings))
    for chunk in chunks:
        evidence.add(pa.array(chunk) if isinstance(chunk, list) else chunk)
    return evidence


def proved(*chunks, **settings):
    """The format that is proved; None where none is."""
    found = gather(*chunks, **settings).decide()
    return found.format if isinstance(found, Reading) else None


LONG = [each for each in CANDIDATES if each.format not in NEEDS_PIVOT]
SHORT = [each for each in CANDIDATES if each.format in NEEDS_PIVOT]


@pytest.mark.parametrize("candidate", LONG, ids=lambda candidate: candidate.format)
def test_every_candidate_is_proved_by_its_own_example(candidate):
    """The documented example leads to its format, or to an earlier one that agrees."""
    column = pa.array([candidate.example])
    own = read(column, Reading(candidate.format, timezone="UTC")).micros.to_pylist()

    found = gather(column, timezone="UTC").decide()

    assert isinstance(found, Reading)
    assert found.format in (candidate.format, "rfc2822")
    assert read(column, found).micros.to_pylist() == own
    assert dt.datetime.fromtimestamp(own[0] // 10**6, dt.UTC).date() == dt.date(2024, 1, 31)


@pytest.mark.parametrize("candidate", SHORT, ids=lambda candidate: candidate.format)
def test_a_two_digit_year_is_proved_only_where_a_pivot_is_declared(candidate):
    """31/01/24 may be a day in 2024 or in 2031: days above 31 in other rows rule one out."""
    column = [candidate.example]
    without, declared = gather(column), gather(column, pivot=69, timezone="UTC")

    assert isinstance(without.decide(), NoFormat)
    found = declared.decide()
    left = [found.first, found.second] if isinstance(found, Ambiguity) else [found]
    assert candidate.format in [each.format for each in left]
    assert all(each.pivot == 69 for each in left)


def test_a_column_of_low_days_has_two_readings():
    """01/02/2024 is a day in January or in February, and nobody but the owner knows."""
    found = gather(["03/03/2024", "01/02/2024"], ["05/06/2024", None]).decide()

    assert isinstance(found, Ambiguity)
    assert {found.first.format, found.second.format} == {"%d/%m/%Y", "%m/%d/%Y"}
    assert (found.example.row, found.example.value) == (2, "01/02/2024")
    assert {found.first_instant, found.second_instant} == {
        "2024-02-01T00:00:00",
        "2024-01-02T00:00:00",
    }


@pytest.mark.parametrize(
    ("value", "form"), [("13/02/2024", "%d/%m/%Y"), ("02/13/2024", "%m/%d/%Y")]
)
def test_one_day_above_twelve_proves_the_order(value, form):
    """A rival must fail a value; one is enough, in whatever chunk it comes."""
    evidence = gather(["01/02/2024"] * 50, [value], ["03/04/2024"] * 50)

    assert evidence.decide() == Reading(form, proved=True)
    rival = next(each for each in evidence.figures if each.format != form)
    assert (rival.fits, rival.refuted_by.row, rival.refuted_by.value) == (100, 51, value)


def test_rivals_that_agree_on_every_value_are_harmless():
    """03/03/2024 is the same day in both orders."""
    assert proved(["03/03/2024", "11/11/2023"]) == "%d/%m/%Y"


def test_a_tie_between_rivals_that_differ_is_no_proof():
    """As many values for one order as for the other: neither is proved."""
    column = ["01/02/2024"] * 98 + ["13/02/2024", "02/13/2024"]

    assert isinstance(gather(column).decide(), Ambiguity)


def test_nine_tenths_must_fit():
    """At 90 % the rest are rejected rows; below, there is no format."""
    good, bad = ["2024-01-02T03:04:05Z"], ["soon"]

    assert proved(good * 90 + bad * 10 + [None] * 50) == "iso8601"
    found = gather(good * 89 + bad * 11).decide()
    assert isinstance(found, NoFormat)
    assert (found.values, found.fits, found.nearest.format) == (100, 89, "iso8601")
    assert [(each.row, each.value) for each in found.examples] == [
        (90, "soon"),
        (91, "soon"),
        (92, "soon"),
    ]


def test_year_first_is_always_year_month_day():
    """No rival puts the day second, whatever the separator."""
    assert proved(["2024-01-02"]) == "iso8601"
    assert proved(["2024/01/02"]) == "%Y/%m/%d"
    assert proved(["2024.01.02", "2024.1.2"]) == "%Y.%m.%d"
    assert proved(["20240102"]) == "iso8601"


@pytest.mark.parametrize("text", ["01/02/03", "24-01-02", "2024", "2024-01", "12:30", "0", "hello"])
def test_what_needs_a_guess_is_no_candidate(text):
    """Two-digit years, parts of dates and small numbers must be declared."""
    found = gather([text]).decide()

    assert isinstance(found, NoFormat)
    assert found.nearest is None


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("as_text", [True, False])
def test_units_are_told_apart_by_what_is_plausible(unit, as_text):
    """A column of instants from 1990 to 2100 has one unit, as text and as numbers."""
    timestamps = np.array(["1990-01-01", "2001-09-09", "2024-02-29", "2099-12-31"], "datetime64[s]")
    numbers = timestamps.astype(f"datetime64[{unit}]").astype(np.int64).tolist()

    assert proved([str(each) for each in numbers] if as_text else numbers) == f"epoch_{unit}"


def test_floats_prove_a_unit_too():
    """A column of integers with gaps often comes as floats."""
    assert proved([1700000000.0, None, 1700000000.25]) == "epoch_s"
    assert proved([1700000000000.0, 1700000000000.5]) == "epoch_ms"


@pytest.mark.parametrize(
    "numbers", [[1, 2, 3], [-1700000000], [1700000000, 1700000000000], [2**62]]
)
def test_implausible_or_mixed_numbers_prove_nothing(numbers):
    """Units are proved over the column; they are never chosen value by value."""
    assert isinstance(gather(numbers).decide(), NoFormat)


def test_numbers_that_do_not_fit_a_proved_unit_are_refused():
    """One value in seconds among milliseconds is a rejected row, not a day in 1970."""
    column = pa.array([1_700_000_000_000] * 99 + [1_700_000_000])

    instants = read(column, gather(column).decide())

    assert instants.failures.to_pylist() == [None] * 99 + ["timestamp_unreadable"]


def test_spreadsheet_serials_are_not_epochs():
    """Five digits with a fraction are days; ten digits are seconds."""
    assert proved(["45293.5", "45294"]) == "excel"
    assert proved(["1700000000"]) == "epoch_s"


def test_mixed_iso_forms_and_offsets_are_one_format():
    """Offsets, fractions and separators may differ from row to row."""
    column = ["2024-01-02T03:04:05Z", "2024-01-02 03:04:05.123+02:00", "20240102T030405-0500"]

    evidence = gather(column)

    assert evidence.decide() == Reading("iso8601", proved=True)
    assert evidence.zoneless == 0


def test_text_without_zone_is_known_before_a_row_is_refused():
    """The planner can ask for `timezone` up front."""
    column = ["2024-01-02 03:04:05", "2024-01-02 03:04:05Z"]

    undeclared, declared = gather(column), gather(column, timezone="Europe/Berlin")

    assert (undeclared.needs_timezone, undeclared.zoneless, undeclared.values) == (True, 1, 2)
    assert not declared.needs_timezone
    assert declared.decide() == Reading("iso8601", "Europe/Berlin", proved=True)


def test_dates_need_no_zone():
    """A date is midnight in UTC unless a zone is declared."""
    evidence = gather(["2024-01-02"], date_only=True)

    assert not evidence.needs_timezone
    assert evidence.decide() == Reading("iso8601", date_only=True, proved=True)


def test_policies_are_handed_on():
    """What was declared besides the format is part of the reading that is decided."""
    policies = {"timezone": "Europe/Berlin", "ambiguous": "earlier", "nonexistent": "forward"}

    assert gather(["2024-01-02"], **policies).decide() == Reading(
        "iso8601", "Europe/Berlin", "earlier", "forward", proved=True
    )


def test_typed_columns_are_native():
    """A timestamp type is its own proof; without a zone it needs one."""
    day = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    zoned = pa.array([day, None], pa.timestamp("us", tz="UTC"))
    naive = pa.array([dt.date(2024, 1, 2)], pa.date32())

    assert gather(zoned).decide() == Reading("native")
    assert not gather(zoned).needs_timezone
    assert gather(naive).needs_timezone
    assert (gather(naive).values, gather(naive).zoneless) == (1, 1)


@pytest.mark.parametrize(
    "column", [pa.nulls(3, pa.string()), pa.array([], pa.int64()), pa.nulls(2)]
)
def test_a_column_without_values_is_read_as_iso8601(column):
    """There is nothing to misread, so nobody needs to be asked."""
    evidence = gather(column)

    assert evidence.decide() == Reading("iso8601", proved=True)
    assert (evidence.values, evidence.figures, evidence.needs_timezone) == (0, (), False)


def test_examples_carry_the_rows_of_the_caller():
    """Row numbers are those of the file, rejected rows of a bad shape included."""
    evidence = Evidence()
    evidence.add(pa.array(["2024-01-02", "x"]), np.array([5, 9]))

    assert [each.row for each in evidence.decide().examples] == [9]


@given(
    st.lists(
        st.sampled_from(["01/02/2024", "13/02/2024", "02/13/2024", "2024-01-02T03:04Z", "x", None]),
        max_size=12,
    ),
    st.lists(st.integers(0, 12), max_size=3),
)
def test_evidence_of_pieces_is_the_evidence_of_the_whole(values, cuts):
    """Whichever pieces are looked at apart, in whatever thread: the first examples stay first."""
    column = pa.array(values, pa.string())
    ends = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    whole, merged = gather(column), Evidence()
    for start, end in itertools.pairwise(ends):
        piece = Evidence()
        piece.add(column[start:end], np.arange(start, end) + 1)
        merged.merge(piece)
    assert merged.decide() == whole.decide()
    assert merged.figures == whole.figures
    assert (merged.values, merged.zoneless) == (whole.values, whole.zoneless)


def test_a_timestamp_beyond_the_calendar_fits_no_format():
    """What could not be read is no proof either."""
    assert isinstance(gather(["9999-12-31T23:59:59-01:00"]).decide(), NoFormat)


def test_long_text_is_no_timestamp():
    """A column of prose is turned down without being kept."""
    assert isinstance(gather(["2024-01-02 " * 1000, "0000" * 100, "a" * 10**6]).decide(), NoFormat)


@given(
    st.lists(st.dates(dt.date(1990, 1, 1), dt.date(2099, 12, 31)), min_size=1, max_size=30),
    st.sampled_from([candidate.format for candidate in CANDIDATES if "%Y" in candidate.format]),
)
def test_a_decided_format_reads_back_what_was_written(days, form):
    """Whatever candidate a column was written with: proved right, or not proved."""
    assume("%z" not in form)
    written = [dt.datetime(day.year, day.month, day.day, 9, 8) for day in days]  # noqa: DTZ001
    column = pa.array([each.strftime(form) for each in written])

    found = gather(column, timezone="UTC").decide()

    if isinstance(found, Reading):
        expected = [each.date() for each in written]
        micros = read(column, found).micros.to_pylist()
        dates = [dt.datetime.fromtimestamp(each / 10**6, dt.UTC).date() for each in micros]
        assert dates == expected
    else:
        assert isinstance(found, Ambiguity)
        assert all(day.day <= 12 for day in days)


@given(st.lists(st.text(max_size=30) | st.none(), max_size=20))
def test_no_column_breaks_the_evidence(texts):
    """Whatever the text, there is a decision."""
    decision = gather(pa.array(texts, pa.string())).decide()
    assert isinstance(decision, Reading | Ambiguity | NoFormat)
