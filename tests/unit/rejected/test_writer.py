"""The rejected rows as files: harmless, complete, and never over somebody's work."""

import csv
import json
import re
from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.rejected.safe_cells import read_back, shown, shown_fields
from backfill.rejected.writer import OWN_COLUMNS, RejectedRows, write_rejected
from backfill.rows import Reason, Rejection, Rejections

TRIGGER = re.compile(r"\s*[=+\-@|＝＋－＠｜\t\r\n]")  # noqa: RUF001 - full-width on purpose
COLUMNS = {"people.csv": ("id", "note"), "events.jsonl": ()}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)
dangerous = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", " ", "'", "\t", "\r", "\n", "''", "a;", "=;", "; '"]),
    st.sampled_from("=+-@|＝＋－＠"),  # noqa: RUF001
    st.text(max_size=5),
)


def _row(number=7, cells=None, raw=None, source="people.csv", reasons=None):
    reasons = reasons or (Reason("name_missing", "event", "event: the event name is missing"),)
    rejection = Rejection(number, number + 1, reasons, cells or {}, raw)
    return RejectedRows(1, source, Rejections.of([rejection]))


def _write(folder, *rows, columns=COLUMNS):
    return write_rejected(folder, lambda: rows, columns, chain(*columns.values()))


def _twin(folder):
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_bytes().splitlines()]


def _read(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_a_row_stands_with_its_place_and_all_its_reasons(tmp_path):
    """The source's columns come first, then ours; several reasons are joined in one order."""
    reasons = (Reason("not_an_integer", "age", "age: no; not one"), Reason("key_missing", "", "k"))
    path = _write(tmp_path, _row(cells={"id": "007", "note": "a, b"}, reasons=reasons))

    assert path == tmp_path / "rejected.csv"
    header, row = _read(path)
    assert header == ["id", "note", *OWN_COLUMNS]
    assert row == [
        *("007", "a, b", "people.csv", "7", "8"),
        *("age;", "not_an_integer;key_missing", "age: no, not one;k"),
    ]
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert path.stat().st_mode & 0o777 == 0o600


def test_columns_are_the_union_in_first_seen_order(tmp_path):
    """Files with other columns share one table; JSON Lines bring theirs with each row."""
    path = _write(
        tmp_path,
        _row(cells={"id": "1", "note": None}),
        _row(cells={"note": {"a": [1, None]}, "extra": True}, source="events.jsonl"),
    )
    header, first, second = _read(path)
    assert header[:3] == ["id", "note", "extra"]
    assert first[:3] == ["1", "", ""]
    assert second[:3] == ["", '{"a":[1,null]}', "true"]


def test_a_row_of_a_bad_shape_shows_its_text_in_its_first_column(tmp_path):
    """It can be spread over the columns by hand; the twin has all of it."""
    raw = "1,Ann\nLee," + "x" * 5000
    path = _write(tmp_path, _row(cells={"a": "1"}, source="events.jsonl"), _row(raw=raw))
    header, _, bad = _read(path)
    cell = bad[header.index("id")]
    assert cell.startswith("1,Ann␊Lee,xxx")
    assert len(cell) == 1000
    assert _twin(tmp_path)[1]["raw"] == raw


def test_text_without_any_columns_is_shown_all_the_same(tmp_path):
    """Where not one file has columns, a column is made for the text."""
    path = _write(tmp_path, _row(raw="{", source="events.jsonl"), columns={})
    header, bad = _read(path)
    assert dict(zip(header, bad, strict=True))["_raw"] == "{"


def test_a_column_named_like_ours_is_left_to_the_twin(tmp_path):
    """Two columns of one name would make the table ambiguous."""
    path = _write(tmp_path, _row(cells={"id": "1", "_row": "x"}))
    assert _read(path)[0] == ["id", "note", *OWN_COLUMNS]


@given(cells=st.lists(dangerous | values, min_size=1))
def test_a_column_is_shown_as_each_of_its_cells_by_itself(cells):
    """Most columns are told by one look, and are none the less safe."""
    texts = map(shown, cells)
    assert shown_fields(cells) == [
        '"{}"'.format(each.replace('"', '""')) if {*each} & {",", '"'} else each for each in texts
    ]


def test_rows_with_and_without_a_column_show_it_at_its_place(tmp_path):
    """Rows of one file mostly have one head; objects have keys of their own."""
    reasons = (Reason("name_missing", "", "why"),)

    def shown_rows(*some):
        every = [Rejection(row, None, reasons, cells) for row, cells in enumerate(some, 1)]
        rows = RejectedRows(1, "in.jsonl", Rejections.of(every))
        return [line[:3] for line in _read(_write(tmp_path, rows, columns={"": ("a", "b", "c")}))]

    assert shown_rows({"a": 1, "b": "x"}, {"a": 2, "b": "y"})[1:] == [
        ["1", "x", ""],
        ["2", "y", ""],
    ]
    assert shown_rows({"b": "x", "a": 1}, {"a": 2})[1:] == [["1", "x", ""], ["2", "", ""]]
    assert shown_rows({"c": 3})[1:] == [["", "", "3"]]


@settings(deadline=None)
@given(cells=st.dictionaries(dangerous | st.text(), dangerous | values, max_size=4))
def test_no_cell_can_be_taken_for_a_formula(tmp_path_factory, cells):
    """Whatever rows hold, no cell or heading begins like a formula, and a row is one line."""
    folder = tmp_path_factory.mktemp("rejected")
    path = _write(folder, _row(cells=cells, source="=evil.csv"), columns={})
    table = _read(path)
    cells = [cell for row in table for cell in row]
    parts = [part for cell in cells for part in cell.split(";")]  # as many spreadsheets part them
    assert not [part for part in (*cells, *parts) if TRIGGER.match(part)]
    assert path.read_bytes().count(b"\r\n") == len(table) == 2
    assert len(re.findall(rb"[\x00-\x1f]", path.read_bytes())) == 4


@settings(deadline=None)
@given(cells=st.dictionaries(st.text(), values, max_size=4), raw=st.none() | st.text())
def test_the_twin_loses_nothing(tmp_path_factory, cells, raw):
    """Every line of the twin gives back the row as it was read."""
    folder = tmp_path_factory.mktemp("rejected")
    _write(folder, _row(cells=cells, raw=raw))
    (said,) = _twin(folder)
    assert said == {
        "source": "people.csv",
        "part": 1,
        "row": 7,
        "line": 8,
        "reasons": [
            {
                "code": "name_missing",
                "field": "event",
                "message": "event: the event name is missing",
            }
        ],
        "cells": cells,
        "raw": raw,
    }


@given(text=dangerous | st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs", "So"])))
def test_what_is_shown_can_be_read_back(text):
    """A guard against formulas is taken off again, and only that."""
    assert read_back(shown(text)) == text


def test_a_file_that_was_edited_is_never_overwritten(tmp_path):
    """What a person did stays; our rows go to a file beside it, also when that one is edited."""
    path = _write(tmp_path, _row())
    path.write_text("fixed")
    new = _write(tmp_path, _row())
    assert new == tmp_path / "rejected.new.csv"
    assert _write(tmp_path, _row(8)) == new
    new.write_text("fixed too")
    assert _write(tmp_path, _row()) == tmp_path / "rejected.new2.csv"
    assert (path.read_text(), new.read_text()) == ("fixed", "fixed too")


def test_a_file_that_nobody_edited_is_written_anew(tmp_path):
    """The same name serves every run."""
    _write(tmp_path, _row(1))
    path = _write(tmp_path, _row(1), _row(2))
    assert len(_read(path)) == 3
    assert not list(tmp_path.glob("*.new*"))


def test_a_crash_before_the_rename_does_not_make_the_old_file_the_users(tmp_path):
    """The digest of the new content is noted first; the old one is still known as ours."""
    path = _write(tmp_path, _row(1))
    old = path.read_bytes()
    _write(tmp_path, _row(2))
    path.write_bytes(old)  # as if the second rename had never happened
    assert _write(tmp_path, _row(3)) == path


def test_files_go_when_no_row_is_rejected_any_more(tmp_path):
    """A missing file says it best; an edited one stays."""
    path = _write(tmp_path, _row())
    assert _write(tmp_path) is None
    assert list(tmp_path.iterdir()) == []

    path = _write(tmp_path, _row())
    path.write_text("fixed")
    assert _write(tmp_path) is None
    left = sorted(each.name for each in tmp_path.iterdir())
    assert left == [".rejected.csv.rows", "rejected.csv"]
