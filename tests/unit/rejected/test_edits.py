"""What a spreadsheet does to a cell by itself is no edit; what a person does is one."""

import pytest

from backfill.rejected.edits import CELL_CHARS_MAX, is_edited, typed


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("007", "7"),
        ("000000", "0"),
        ("100000", "1E+05"),
        ("1234567890123456789", "1.23457E+18"),
        ("1234567890123456789", "1234567890123450000"),
        ("1234567890123456789", "1234567890123460000"),
        ("12.50", "12.5"),
        ("-0.10", "-0.1"),
        ("true", "TRUE"),
        ("False", "FALSE"),
        ("03/04/2024 09:05", "3/4/2024 9:05"),
        ("2024-01-02", "2024-1-2"),
        ("09:05:00", "9:05:00"),
        ("x" * 40_000, "x" * CELL_CHARS_MAX),
    ],
)
def test_what_a_spreadsheet_does_is_no_edit(before, now):
    """Zeros, digits and capitals that are lost by opening and saving a file say nothing."""
    assert not is_edited(before, now)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("7", "007"),
        ("7", "8"),
        ("007", "07"),
        ("1234567890123456789", "1.23458E+18"),
        ("123456", "123457"),
        ("A007", "A7"),
        ("31/01/2024", "01/31/2024"),
        ("2024-01-02_10:00", "2024-01-02 10:00"),
        ("2024-01-02", "2024/01/02"),
        ("true", "false"),
        ("abc", ""),
        ("", "0"),
        ("Ann", "ann"),
        ("Łukasz", "?ukasz"),
        ("12.5", "12,5"),
        ("x" * 40_000, "x" * 100),
    ],
)
def test_what_may_be_a_persons_work_is_an_edit(before, now):
    """In doubt, the person meant it: another date, added zeros, other separators."""
    assert is_edited(before, now)


@pytest.mark.parametrize("now", ["?ukasz 🧶", "Lukasz ??", "Łukasz 🧶", "Lukasz "])
def test_letters_that_a_code_page_does_not_have_are_no_edit(now):
    """Excel writes a question mark, or the nearest letter that it has."""
    assert not is_edited("Łukasz 🧶", now, code_page="cp1252")
    assert is_edited("Łukasz 🧶", "Markus 🧶", code_page="cp1252")


def test_a_decimal_comma_is_no_edit_where_semicolons_part_the_cells():
    """A spreadsheet that saves with semicolons writes numbers with a comma."""
    assert not is_edited("12.50", "12,5", comma=True)
    assert is_edited("12.50", "12,6", comma=True)


@pytest.mark.parametrize(
    ("text", "before", "value"),
    [
        ("7", 12, 7),
        ("7.5", 12, 7.5),
        ("1e3", 1.5, 1000.0),
        ("n/a", 12, "n/a"),
        ("99999999999999999999", 12, 1e20),
        ("TRUE", False, True),
        ("maybe", True, "maybe"),
        ("8", "12", "8"),
        ("7", None, "7"),
        ('{"a": 1}', {}, {"a": 1}),
        ("[1", [1], "[1"),
        ("", 12, None),
        ("", "x", None),
    ],
)
def test_an_edited_cell_keeps_its_type_where_it_can(text, before, value):
    """A number stays a number and JSON stays JSON; text that is neither is left to the judge."""
    made = typed(text, before)
    assert made == value
    assert type(made) is type(value)
