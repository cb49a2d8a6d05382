"""The fixed rejected.csv, as spreadsheets and people leave it."""

import csv
import hashlib
import io
import json
from itertools import chain

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backfill.errors import GuardError, UsageError
from backfill.rejected.reader import read_fixed
from backfill.rejected.writer import RejectedRow, RejectedRows, write_rejected
from backfill.rows import Reason, Rejection, Rejections

COLUMNS = {"people.csv": ("id", "age", "note"), "orders.csv": ("id", "sum"), "log.jsonl": ()}
IDENTIFIERS = dict.fromkeys(COLUMNS, ("id",))
REASON = Reason("not_an_integer", "age", "age: the value is not a whole number")


def _rejected(row, cells=None, raw=None, source="people.csv", reason=REASON):
    part = list(COLUMNS).index(source) + 1
    return RejectedRow(part, source, Rejection(row, row + 1, (reason,), cells or {}, raw))


class Job:
    """A job's rejected rows, their CSV, and what comes of it when it was fixed."""

    def __init__(self, folder, *rows):
        self.rows = {(each.source, each.rejection.row): each for each in rows}
        some = [RejectedRows(*each[:2], Rejections.of([each.rejection])) for each in rows]
        self.path = write_rejected(folder, lambda: some, COLUMNS, chain(*COLUMNS.values()))

    def table(self):
        """The file as rows of cells."""
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file))

    def save(self, table, *, delimiter=",", encoding="utf-8-sig", quoting=csv.QUOTE_MINIMAL):
        """Save the file as a spreadsheet does."""
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, quoting=quoting).writerows(table)
        self.path.write_bytes(text.getvalue().encode(encoding, "replace"))

    def edit(self, line, column, text):
        """Change one cell."""
        table = self.table()
        table[line][table[0].index(column)] = text
        self.save(table)

    def read(self):
        """Read the fixed file."""
        return read_fixed(
            self.path, lambda source, row: self.rows.get((source, row)), COLUMNS, IDENTIFIERS
        )

    def cells(self):
        """The cells of the rows that can be tried again."""
        return [dict(each.cells) for each in self.read().rows()]


@pytest.fixture
def job(tmp_path):
    """Two rejected customers."""
    return Job(
        tmp_path,
        _rejected(3, {"id": "007", "age": "abc", "note": "=1+1"}),
        _rejected(9, {"id": "008", "age": "12 years", "note": None}),
    )


def test_an_edited_cell_is_taken_and_all_others_are_as_they_were_read(job):
    """The row keeps its place, and its id its zeros."""
    job.edit(1, "age", "41")
    fixed = job.read()
    first, second = fixed.rows()
    assert (first.part, first.source, first.row, first.line) == (1, "people.csv", 3, 4)
    assert first.cells == {"id": "007", "age": "41", "note": "=1+1"}
    assert second.cells == {"id": "008", "age": "12 years", "note": None}
    assert (fixed.ready, fixed.settled, fixed.unfixed) == (2, 0, 0)


def test_a_spreadsheets_own_changes_are_no_edits(job):
    """`7` for `007` does not move the row to another person."""
    job.edit(1, "id", "7")
    assert job.cells()[0]["id"] == "007"


def test_an_emptied_cell_is_null(job):
    """As an unquoted empty cell is in any CSV."""
    job.edit(1, "note", "")
    assert job.cells()[0]["note"] is None


@pytest.mark.parametrize("text", ["=2+2", "'=2+2"])
def test_a_guarded_cell_can_be_edited_with_or_without_its_guard(job, text):
    """The apostrophe is ours and never sent."""
    job.edit(1, "note", text)
    assert job.cells()[0]["note"] == "=2+2"


def test_rows_may_be_left_out_and_stand_in_any_order(job):
    """What is not in the file stays rejected."""
    header, first, second = job.table()
    job.save([header, second, [""] * len(header), first])
    assert [each.row for each in job.read().rows()] == [9, 3]
    job.save([header, second])
    assert [each.row for each in job.read().rows()] == [9]


def test_columns_may_be_left_out_and_moved(job):
    """A cell that is not in the file is as it was read."""
    table = job.table()
    places = [table[0].index(name) for name in ("_row", "_source", "age")]
    job.save([[row[place] for place in places] for row in table])
    assert job.cells()[0] == {"id": "007", "age": "abc", "note": "=1+1"}


def test_a_row_that_is_not_rejected_any_more_is_passed_over(job):
    """After a retry, the same file has nothing left to send."""
    job.rows.clear()
    fixed = job.read()
    assert (fixed.ready, fixed.settled, list(fixed.rows())) == (0, 2, [])


def test_a_changed_identifier_is_refused_by_row(job):
    """A row must not move to another person; no value is named."""
    job.edit(2, "id", "8008")
    with pytest.raises(GuardError, match=r"people\.csv row 9") as refused:
        job.read()
    assert "8008" not in str(refused.value)


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (None, REASON),
        (
            "x" * 200,
            Reason(
                "identifier_too_long", "id", "id: an id may have 150 bytes, an e-mail address 254"
            ),
        ),
    ],
)
def test_an_identifier_that_is_missing_or_wrong_may_be_fixed(tmp_path, before, reason):
    """It is what the row was rejected for, or there was none."""
    job = Job(tmp_path, _rejected(3, {"id": before, "age": "4"}, reason=reason))
    job.edit(1, "id", "007")
    assert job.cells()[0]["id"] == "007"


@pytest.mark.parametrize(
    ("column", "text"),
    [("_row", ""), ("_row", "x"), ("_source", ""), ("_source", "other.csv")],
)
def test_a_line_that_is_no_row_of_the_job_is_refused_by_number(job, column, text):
    """A row that somebody added belongs into a source file."""
    job.edit(2, column, text)
    with pytest.raises(UsageError, match=r"line 3: _source and _row"):
        job.read()


def test_a_row_that_stands_twice_is_refused(job):
    """Which of the two was meant?"""
    header, first, _ = job.table()
    job.save([header, first, first])
    with pytest.raises(UsageError, match=r"line 3: row 3 of people\.csv appears twice here"):
        job.read()


def test_a_cell_in_another_files_column_is_refused(tmp_path):
    """An order has no age; the value would be sent as one."""
    job = Job(tmp_path, _rejected(1, {"id": "1"}), _rejected(2, {"id": "1"}, source="orders.csv"))
    job.edit(2, "age", "7")
    with pytest.raises(UsageError, match=r"line 3: orders.csv has no column age"):
        job.read()


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"", b'_source,_row\n"x', b"_source,_row,_row\n", b"\x81\x8d,_row"]
)
def test_a_file_of_another_kind_is_refused(job, content):
    """It says what is wrong with it, and nothing is sent."""
    job.path.write_bytes(content)
    with pytest.raises(UsageError):
        job.read()


def test_a_missing_file_is_refused_by_name(job):
    """There may be nothing to fix, or it lies elsewhere."""
    job.path.unlink()
    with pytest.raises(UsageError, match=r"rejected\.csv: cannot be read"):
        job.read()


def test_a_row_of_a_bad_shape_is_fixed_by_filling_in_its_cells(tmp_path):
    """What was not filled in is null."""
    job = Job(tmp_path, _rejected(5, raw="009,no age"))
    job.edit(1, "id", "009")
    job.edit(1, "note", "no age")
    assert job.cells() == [{"id": "009", "age": None, "note": "no age"}]


def test_a_row_of_a_bad_shape_that_nobody_filled_in_stays_rejected(tmp_path):
    """Its text in the first column is never taken for a value."""
    fixed = Job(tmp_path, _rejected(5, raw="009,no age")).read()
    assert (fixed.ready, fixed.unfixed, list(fixed.rows())) == (0, 1, [])


def test_text_that_was_not_spread_over_the_columns_is_refused(tmp_path):
    """A whole line in the first column would make a person with a strange id."""
    job = Job(tmp_path, _rejected(5, raw="009,no age"))
    job.edit(1, "id", "009,12,no age")
    with pytest.raises(UsageError, match="line 2: the row could not be split into cells"):
        job.read()


def test_a_line_of_json_can_be_fixed_in_place(tmp_path):
    """Or by filling in its cells, where others show which there are."""
    job = Job(
        tmp_path,
        _rejected(5, {"id": "1", "n": 1}, source="log.jsonl"),
        _rejected(6, raw='{"id": "1"', source="log.jsonl"),
    )
    job.edit(2, "id", '{"id": "1", "n": [2]}')
    assert job.cells()[1] == {"id": "1", "n": [2]}
    job.edit(2, "n", "3")
    job.edit(2, "id", "2")
    assert job.cells()[1] == {"id": "2", "n": "3"}
    job.edit(2, "n", "")
    with pytest.raises(UsageError, match="line 3: the row's text is still not a JSON object"):
        job.read()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.none() | texts | st.integers(-(2**53), 2**53) | st.booleans() | st.lists(texts)
tables = st.lists(st.fixed_dictionaries({"id": texts, "age": values, "note": values}), min_size=1)


def _is_utf8_as_well(saved):
    """Nobody can tell that these bytes are Windows-1252."""
    try:
        return not saved.isascii() and bool(saved.decode("utf-8"))
    except UnicodeDecodeError:
        return False


@settings(deadline=None)
@given(
    rows=tables,
    delimiter=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_opening_and_saving_changes_nothing(tmp_path_factory, rows, delimiter, encoding, quoting):
    """Whatever a spreadsheet saves the file as, rows that nobody edited are as they were read."""
    folder = tmp_path_factory.mktemp("fixed")
    job = Job(folder, *(_rejected(number, cells) for number, cells in enumerate(rows, start=1)))
    job.save(job.table(), delimiter=delimiter, encoding=encoding, quoting=quoting)
    assume(encoding != "cp1252" or not _is_utf8_as_well(job.path.read_bytes()))
    assert job.cells() == rows


def test_a_row_is_bound_to_what_its_line_was_made_of(tmp_path):
    """Also where an earlier version, whose digests were of other bytes, wrote the file."""
    job = Job(tmp_path, _rejected(7, {"id": "1", "age": "old"}))
    bindings = tmp_path / ".rejected.csv.rows"
    assert job.read().ready == 1
    content = json.dumps([{"id": "1", "age": "old"}, None]).encode()
    before = hashlib.blake2b(content, digest_size=8).hexdigest()
    bindings.write_text(json.dumps(["people.csv", 7, before]))
    assert job.read().ready == 1
    bindings.write_text(json.dumps(["people.csv", 7, "0" * 16]))
    assert job.read().stale == ["people.csv row 7"]
