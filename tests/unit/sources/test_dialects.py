"""The settings for delimited text: characters, headers, lines before and after."""

import gzip

import pytest

from backfill.errors import UsageError
from backfill.sources import text_file
from tests.support.reading import open_file
from tests.support.strict import Read, gather


def read(folder, content: bytes, name: str = "in.csv", **how) -> Read:
    """A file of that content, read whole."""
    (folder / name).write_bytes(content)
    return gather(open_file(folder / name, **how).chunks())


BARE = b'id\tnote\n1\t5" nail\n2\t"x" y\n3\ta\\tb\\\nc\n4\t\\N\n'


def test_nothing_is_quoted_where_the_quote_is_empty(tmp_path):
    """Database dumps write quotes as any other character."""
    found = read(tmp_path, BARE.replace(b"\\\n", b"/"), "in.tsv", quote="")

    assert list(found.cells.values()) == [
        ["1", '5" nail'],
        ["2", '"x" y'],
        ["3", "a\\tb/c"],
        ["4", "\\N"],
    ]


def test_an_escape_makes_the_next_character_an_ordinary_one(tmp_path):
    r"""A tab, a line end, the escape; `\N` stays for null_values."""
    found = read(tmp_path, BARE + b"5\tx\\\ty\\\\\n", "in.tsv", quote="", escape="\\")

    assert list(found.cells.values()) == [
        ["1", '5" nail'],
        ["2", '"x" y'],
        ["3", "a\tb\nc"],
        ["4", "\\N"],
        ["5", "x\ty\\"],
    ]


@pytest.mark.parametrize("block_bytes", [1, 5, 1 << 20])
def test_escaped_quotes_are_text_of_their_cell(tmp_path, block_bytes):
    """As Spark and MySQL write them; a doubled escape ends none."""
    content = b'a,b\n1,"say \\"hi\\", he"\n2,"ends in \\\\"\n"3\\n",x\\,y\n4,"o\\\nk"\n5,"bad" x\n'

    found = read(tmp_path, content, escape="\\", block_bytes=block_bytes)

    assert found.cells == {
        1: ["1", 'say "hi", he'],
        2: ["2", "ends in \\"],
        3: ["3\n", "x,y"],
        4: ["4", "o\nk"],
    }
    assert found.reasons == {5: ["quote_out_of_place"]}


def test_another_quote(tmp_path):
    """Then the usual one means nothing."""
    found = read(tmp_path, b"a,b\n'x, y',\"z\n'it''s',2\n", quote="'")

    assert found.cells == {1: ["x, y", '"z'], 2: ["it's", "2"]}


@pytest.mark.parametrize(
    "how", [{"quote": ","}, {"escape": '"'}, {"quote": "ab"}, {"escape": "\n"}, {"quote": "é"}]
)
def test_each_character_has_one_meaning(tmp_path, how):
    """Anything else is refused before a row is read as garbage."""
    with pytest.raises(UsageError, match=next(iter(how))):
        read(tmp_path, b"a,b\n", **how)


def test_spaces_around_cells_and_names_are_dropped_where_asked(tmp_path):
    """A cell of nothing else is null; inside of cells they stay."""
    content = b' a , b\n 1 ,x  y \n2,  \n" 3 ",""\n'

    assert read(tmp_path, content).cells[1] == [" 1 ", "x  y "]
    found = read(tmp_path, content, trim=True)

    assert open_file(tmp_path / "in.csv", trim=True).columns() == ("a", "b")
    assert found.cells == {1: ["1", "x  y"], 2: ["2", None], 3: ["3", ""]}


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_lines_before_the_header_are_skipped(tmp_path, line_end, encoding):
    """Physical lines, whatever is in them; rows and lines are counted as ever."""
    text = line_end.join([b'Report: "Customers', b"", b"a,b", b"1,x", b""]).decode()

    found = read(
        tmp_path, text.encode(encoding), skip_lines=2, encoding=encoding.removesuffix("-sig")
    )

    assert (found.cells, found.lines) == ({1: ["1", "x"]}, {1: 4})


def test_the_hint_of_a_spreadsheet_is_such_a_line(tmp_path):
    """The error names both settings that answer it."""
    content = b"sep=;\na;b\n1;2\n"
    with pytest.raises(UsageError, match="hint") as caught:
        read(tmp_path, content)
    assert 'skip_lines = 1 and delimiter = ";"' in caught.value.next_step

    assert read(tmp_path, content, skip_lines=1, delimiter=";").cells == {1: ["1", "2"]}


def test_more_lines_to_skip_than_there_are(tmp_path):
    """Refused with the setting's name."""
    with pytest.raises(UsageError, match="no more than 5 lines"):
        read(tmp_path, b"a\n1\n", skip_lines=5)


def test_names_are_given_to_a_file_without_a_header(tmp_path):
    """Its first line is the first row; and beside skip_lines they replace one."""
    found = read(tmp_path, b"1,x\n2,y\n", header=("a", "b"))
    assert (found.cells, found.lines) == ({1: ["1", "x"], 2: ["2", "y"]}, {1: 1, 2: 2})

    replaced = read(tmp_path, b"id,id\n1,x\n", header=("a", "b"), skip_lines=1)
    assert (replaced.cells, replaced.lines) == ({1: ["1", "x"]}, {1: 2})


@pytest.mark.parametrize("block_bytes", [1, 9, 1 << 20])
def test_a_row_that_repeats_the_header_is_rejected(tmp_path, block_bytes):
    """As in files that were put together, behind a mark or not, quoted or not."""
    head = b'customer_id,"email"\n'
    content = head + b"1,a\n" + head + b"\xef\xbb\xbf" + head + b"2,b\ncustomer_id,email\n"
    content += b"x,customer_id\n\xef\xbb\xbf3,c\n\xef\xbb\xbf\n"

    found = read(tmp_path, content, block_bytes=block_bytes)

    assert found.cells == {
        1: ["1", "a"],
        4: ["2", "b"],
        6: ["x", "customer_id"],
        7: ["3", "c"],
    }
    assert found.reasons == {row: ["header_again"] for row in (2, 3, 5)}
    assert found.raws[3] == 'customer_id,"email"'


FOOTERS = [
    *("(12 rows)", "(1 row)", "12 rows selected.", "12 Row(s) produced. Time Elapsed: 0.1s"),
    *("12 rows in set (0.00 sec)", "Total rows: 12", "Grand total: 1,200", "Rows: 12"),
    *("Time: 1.234 ms", "--- End of report ---", "(12 rows affected)", "Number of records: 12"),
]


@pytest.mark.parametrize("row", ["{}", '"{}"', "{},,", '"{}",,', "  {} ,,"])
@pytest.mark.parametrize("footer", FOOTERS)
def test_a_footer_is_no_row(tmp_path, footer, row):
    """Filled up with empty cells or not; what only looks like one is a row."""
    head = b"id\n1\n(a row)\n12\n" if "," not in row else b"id,a,b\n1,,\n(a row),,\n12,,\n"
    found = read(tmp_path, head + row.format(footer.replace(",", "")).encode() + b"\n2" + b"\n")

    assert found.reasons.pop(4) == ["footer"]
    assert [cells[0] for cells in found.cells.values()][:3] == ["1", "(a row)", "12"]


def test_a_row_of_values_is_no_footer(tmp_path):
    """An event named total, of the person 12."""
    found = read(tmp_path, b'name,id\ntotal,12\n12 rows,1\n"total rows: 2",x\n')

    assert (list(found.cells), found.reasons) == ([1, 2, 3], {})


@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_a_mark_before_a_quoted_cell_is_no_data(tmp_path, block_bytes):
    """The quote is the first character of its row."""
    content = b'a,b\n1,x\n\xef\xbb\xbf"2\n","\xef\xbb\xbfy"\n\xef\xbb\xbf"open"z,\n3,z\n'

    found = read(tmp_path, content, block_bytes=block_bytes)

    assert found.cells == {
        1: ["1", "x"],
        2: ["2\n", "\N{ZERO WIDTH NO-BREAK SPACE}y"],
        4: ["3", "z"],
    }
    assert found.reasons == {3: ["quote_out_of_place"]}


NAMELESS = {
    "header and rows end with a delimiter": (b"id,plan,\n1,free,\n2,,\n", {1: "1", 2: "2"}),
    "rows end with a delimiter": (b"id,plan\n1,free,\n2,,\n", {1: "1", 2: "2"}),
    "the header ends with a delimiter": (b"id,plan,\n1,free\n2,\n", {1: "1", 2: "2"}),
    "one between, of blanks": (b"id, ,plan\n1,,free\n2, ,\n", {1: "1", 2: "2"}),
    "pandas' index": (b",id,plan\n0,1,free\n1,2,\n", {1: "1", 2: "2"}),
}


SPACED = {
    "before the quote": (b'1, "x, y" ,z\n', ["1", "x, y", "z"]),
    "a tab": (b'1,\t"x"\t,z\n', ["1", "x", "z"]),
    "two lines": (b'1,  "x\ny"  , "z"\n', ["1", "x\ny", "z"]),
    "at the ends of a row": (b' "1","x", "z" \n', ["1", "x", "z"]),
    "at the end of the file": (b'1,"x", "z"', ["1", "x", "z"]),
    "nothing in it": (b'1, "" ,""\n', ["1", None, ""]),
    "doubled quotes": (b'1, "a ""b"", c" ,z\n', ["1", 'a "b", c', "z"]),
    "text that looks like cells": (b'1,"a, ""b"", c","d, """\n', ["1", 'a, "b", c', 'd, "']),
    "a cell of quotes": (b'1, """" ,", "",x"\n', ["1", '"', ', ",x']),
}


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("case", SPACED)
def test_spaces_around_a_quoted_cell_can_be_trimmed(tmp_path, case, block_bytes):
    """What is in it stays one cell, whatever it looks like."""
    row, cells = SPACED[case]

    found = read(tmp_path, b'id, "a", b\n' + row, trim=True, block_bytes=block_bytes)

    assert (found.cells, found.reasons) == ({1: cells}, {})


def test_a_quote_behind_text_is_out_of_place_also_where_spaces_are_trimmed(tmp_path):
    """One row is lost, and no other."""
    content = b'a,b\n1,x "y"\n2, "z" w\n3, "v" "w"\n4, "ok"\n'

    for block_bytes in range(1, len(content)):
        found = read(tmp_path, content, trim=True, block_bytes=block_bytes)

        assert found.cells == {4: ["4", "ok"]}
        assert found.reasons == {row: ["quote_out_of_place"] for row in (1, 2, 3)}


@pytest.mark.parametrize("case", NAMELESS)
def test_a_column_without_a_name_and_values_is_left_out(tmp_path, case):
    """And said; the rows are those of the other columns."""
    content, ids = NAMELESS[case]
    (tmp_path / "in.csv").write_bytes(content)
    source = open_file(tmp_path / "in.csv")

    found = gather(source.chunks())

    assert source.columns() == ("id", "plan")
    assert {row: cells[0] for row, cells in found.cells.items()} == ids
    assert not found.reasons
    if case != "the header ends with a delimiter":
        assert "has no name and is left out" in source.notes[0]
    assert [chunk.batch.to_pylist() for chunk in source.chunks(columns=[])] == [[{}, {}]]


@pytest.mark.parametrize("content", [b"id,,plan\n1,,x\n2,7,y\n", b",id\n0,1\n5,2\n"])
def test_a_column_without_a_name_must_not_hold_values(tmp_path, content):
    """The file is refused, with the row, before anything is made of it."""
    (tmp_path / "in.csv").write_bytes(content)

    with pytest.raises(UsageError, match="has no name, and row 2 has a value") as caught:
        list(open_file(tmp_path / "in.csv").chunks())
    assert "header = [" in caught.value.next_step


def test_a_value_far_behind_rows_that_end_with_a_delimiter_stops_the_run(tmp_path):
    """The first rows promised that there is none."""
    content = b"id,plan\n" + b"1,a,\n" * 20_000 + b"2,b,x\n"

    with pytest.raises(UsageError, match="column 3 has no name, and row 20001 has a value"):
        read(tmp_path, content)


def test_one_row_with_a_cell_more_has_lost_its_shape(tmp_path):
    """Only where all rows end with a delimiter is it no cell."""
    found = read(tmp_path, b"id,name,note\n1,Smith, John,\n2,a,b\n")

    assert found.reasons == {1: ["too_many_fields"]}


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_line_that_is_still_written_can_wait(tmp_path, name, encoding):
    """It is no row before it has its end, and reading goes on there later."""
    lines = ["a,b\n", "1,x\n", "2,y\n", '3,"un\nfinished"\n']
    if name == "in.jsonl":
        lines = ["", '{"a":1}\n', '{"a":2}\n', '{"a":3}\n']
    whole = "".join(lines)
    cut = whole[:-6]
    path = tmp_path / name
    path.write_bytes(cut.encode(encoding))
    how = {"encoding": encoding, "last_line": "wait"}

    source = open_file(path, **how)
    (first,) = source.chunks()
    path.write_bytes(whole.encode(encoding))
    (rest,) = open_file(path, **how).chunks(first.end)

    assert first.rows.tolist() == [1, 2]
    assert not first.rejections
    assert source.size_limit < len(cut.encode(encoding))
    assert "waits" in source.notes[0]
    assert rest.rows.tolist() == [3]
    assert not open_file(path, **how).notes


@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n", "\r"])
@pytest.mark.parametrize("last", ['2,"b', '"', '2,"b, ""c""'])
def test_a_file_that_ends_in_an_open_quote_loses_one_row(tmp_path, last, end, block_bytes):
    """The line in which it was opened, and no other; it is told once."""
    content = f"id,note\n1,a\n{last}{end}".encode()

    found = read(tmp_path, content, block_bytes=block_bytes)

    assert found.cells == {1: ["1", "a"]}
    assert found.reasons == {2: ["unclosed_quote"]}


def test_a_quoted_cell_that_is_still_written_waits_with_its_row(tmp_path):
    """Its lines are no rows, though each of them has its end."""
    path = tmp_path / "in.csv"
    path.write_text('a,b\n1,x\n2,"un\nfin\n')

    (first,) = open_file(path, last_line="wait").chunks()
    path.write_text('a,b\n1,x\n2,"un\nfin\nished"\n3,z\n')
    (rest,) = open_file(path, last_line="wait").chunks(first.end)

    assert (first.rows.tolist(), first.rejections) == ([1], ())
    assert rest.batch.column("b").to_pylist() == ["un\nfin\nished", "z"]


def test_a_giant_archive_says_that_one_process_reads_it(tmp_path, monkeypatch):
    """However many workers there are: it is not cut, and the plan says so."""
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"id\n1\n"))
    assert not open_file(path).notes
    monkeypatch.setattr(text_file, "GIANT_BYTES", 1)
    assert "compressed in one piece: one process reads it" in open_file(path).notes[0]
