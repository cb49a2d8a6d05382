"""CSV and TSV: what is read, held against a strict reader that looks at one byte at a time."""

import csv
import gzip
import io
import resource
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backfill.cluster.worker import chunks_in
from backfill.errors import UsageError
from tests.support.examples import examples
from tests.support.reading import open_file
from tests.support.strict import Read, gather, strict

ROW_MAX = 1_048_576

BLOCKS = st.sampled_from([1, 2, 3, 7, 64, 1 << 20])


def read_csv(folder: Path, content: bytes, **options) -> Read:
    """Write a file and read it whole."""
    path = folder / "in.csv"
    path.write_bytes(content)
    return gather(open_file(path, **options).chunks())


ALPHABET = [b"a", b"b", b'"', b'"', b",", b",", b"\n", b"\n", b"\r", b"\r\n", b"\xc3\xa9", b" "]
HARSH = [*ALPHABET, b"\xff", b"\0", b"\xef\xbb\xbf", b"\xc3", b'""', b',"', b'",', b'"\n"']


@settings(max_examples=examples(120), deadline=None)
@given(
    body=st.lists(st.sampled_from(HARSH), max_size=60).map(b"".join),
    block_bytes=BLOCKS,
    fields=st.integers(1, 3),
)
def test_any_bytes_read_as_by_the_strict_reader(tmp_path_factory, body, block_bytes, fields):
    """Whatever follows the header, rows, reasons, raw texts and lines are those of the machine.

    Also where the file is read in pieces, and in those that an earlier pass has found.
    """
    header = b",".join(b"c%d" % number for number in range(fields))
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    path.write_bytes(header + b"\n" + b"ok,ok,ok,ok\n" * 4 + body)
    file = open_file(path, block_bytes=block_bytes)

    read = gather(file.chunks())

    for small in (True, False):
        pieces = [chunk for rows in file.pieces(small=small) for chunk in chunks_in(rows)]
        assert gather(pieces) == read
    expected = strict(b"ok,ok,ok,ok\n" * 4 + body, fields)
    assert read.cells == expected.cells
    assert read.reasons == expected.reasons
    assert read.raws == expected.raws
    assert {row: line - 1 for row, line in read.lines.items()} == expected.lines


@settings(max_examples=examples(60), deadline=None)
@given(
    content=st.lists(st.sampled_from(ALPHABET), max_size=30).map(b"".join),
    block_bytes=BLOCKS,
)
def test_rows_that_both_accept_are_those_of_pythons_reader(tmp_path_factory, content, block_bytes):
    """Where nothing is rejected and the strict `csv` module agrees to read, cells are the same."""
    read = read_csv(tmp_path_factory.mktemp("csv"), b"a,b\n" + content, block_bytes=block_bytes)
    try:
        text = io.StringIO(content.decode(), newline="")
        expected = [row for row in csv.reader(text, strict=True) if row]
    except csv.Error:
        return
    if expected and all(len(row) == 3 and not row[-1] for row in expected):
        expected = [row[:-1] for row in expected]  # all end with a delimiter: no cell follows
    if not read.reasons:
        found = [["" if cell is None else cell for cell in cells] for cells in read.cells.values()]
        assert found == expected


def test_where_rows_begin_is_found_once(tmp_path):
    """What another pass over a file needs of it is read by those who work on its pieces."""
    path = tmp_path / "in.csv"
    path.write_bytes(b"a,b\n" + b"1,\n" * 1_000_000)
    file = open_file(path)
    first = list(file.pieces())
    before = _bytes_read()
    second = list(file.pieces(small=True))
    assert _bytes_read() - before < 100_000
    assert sum(each.end.row - each.start.row for each in second) == 1_000_000
    assert (first[0].start, first[-1].end) == (second[0].start, second[-1].end)


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


CELL = st.none() | st.text(
    st.sampled_from("aé€\N{ZERO WIDTH NO-BREAK SPACE}😀 ,;|\t\"'\n\r=\\")
    | st.characters(codec="utf-8"),
    max_size=6,
).filter(lambda text: "\0" not in text)


@st.composite
def tables(draw) -> list[list]:
    """Rows of one width; a lone null would be a blank line, which is no row."""
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=8))
    return [row for row in rows if row != [None]]


def written(rows: list[list], delimiter: str, line_end: str, style: str) -> str:
    """A table as text, by a strict writer: null is nothing, the empty string is two quotes."""
    return line_end.join(
        delimiter.join(_written(cell, delimiter, style) for cell in row) for row in rows
    )


def _written(cell: str | None, delimiter: str, style: str) -> str:
    if cell is None:
        return ""
    needed = not cell or any(character in cell for character in delimiter + '"\r\n')
    return '"' + cell.replace('"', '""') + '"' if needed or style == "all" else cell


STYLES = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from([",", ";", "\t", "|", ":"]),
        "line_end": st.sampled_from(["\n", "\r\n", "\r"]),
        "style": st.sampled_from(["needed", "all"]),
    }
)


@settings(max_examples=examples(100), deadline=None)
@given(
    rows=tables(),
    style=STYLES,
    ended=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"]),
    block_bytes=BLOCKS,
)
def test_any_table_comes_back(tmp_path_factory, rows, style, ended, encoding, block_bytes):
    """Any cells, quoting, line ends and encoding: what a strict writer wrote is what is read."""
    rows = [
        [cell and cell.encode(encoding, "replace").decode(encoding) for cell in row] for row in rows
    ]
    header = [f"c{number}" for number in range(len(rows[0]) if rows else 2)]
    text = written([header, *rows], **style) + style["line_end"] * ended
    content = text.encode(encoding)
    assume(encoding not in {"latin-1", "cp1252"} or content.isascii() or not _is_utf8(content))

    read = read_csv(
        tmp_path_factory.mktemp("csv"),
        content,
        delimiter=style["delimiter"],
        encoding=encoding.removesuffix("-sig"),
        block_bytes=block_bytes,
    )

    assert not read.reasons
    assert list(read.cells.values()) == rows


def _is_utf8(content: bytes) -> bool:
    """Whether the content would be refused as being in another encoding than declared."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@settings(max_examples=examples(50), deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=1)), max_size=6),
    block_bytes=BLOCKS,
)
def test_damage_never_loses_a_row_in_silence(tmp_path_factory, flips, block_bytes):
    """After any bytes were changed, what is read is what the strict machine reads."""
    body = bytearray(b'id-1,"two\nlines",x\n2,"q""q",\n\n3,plain,"z"\r\n' * 8)
    for place, byte in flips:
        body[place % len(body)] = byte[0]

    read = read_csv(tmp_path_factory.mktemp("csv"), b"a,b,c\n" + body, block_bytes=block_bytes)

    expected = strict(bytes(body), 3)
    assert (read.cells, read.reasons, read.raws) == (
        expected.cells,
        expected.reasons,
        expected.raws,
    )


def codes(body: bytes, tmp_path: Path, **options) -> dict[int, list[str]]:
    """The reasons by row number under a header of two columns."""
    return read_csv(tmp_path, b"a,b\n" + body, **options).reasons


def test_each_bad_shape_has_its_reason(tmp_path):
    """Every code for the shape of a delimited row, and the rows between arrive."""
    body = (
        b'1\n2,x\n3,x,y\n4,"l"z\n5,a"b\n6,\0\n7,\xff\n8,"open\n9,x\n10,"fine"\n'
        b"11," + b"x" * ROW_MAX + b"\n12,x\n13,\0\xff,\n"
    )

    read = read_csv(tmp_path, b"a,b\n" + body)

    assert read.reasons == {
        1: ["too_few_fields"],
        3: ["too_many_fields"],
        4: ["quote_out_of_place"],
        5: ["quote_out_of_place"],
        6: ["nul_byte"],
        7: ["invalid_utf8"],
        8: ["unclosed_quote"],
        11: ["row_too_long"],
        13: ["too_many_fields", "nul_byte", "invalid_utf8"],
    }
    assert read.cells == {2: ["2", "x"], 9: ["9", "x"], 10: ["10", "fine"], 12: ["12", "x"]}
    assert read.raws[8] == '8,"open'
    assert len(read.raws[11]) == 65_536
    assert read.lines[13] == 14


def test_text_is_never_taken_for_a_number(tmp_path):
    """Zeros, digits, blanks and words for nothing stay as written."""
    cells = ["007", "9223372036854775808", "1e5", "N/A", "NULL", "nan", " x ", "true", "-0"]

    read = read_csv(tmp_path, b"a\n" + "\n".join(cells).encode())

    assert [cell for (cell,) in read.cells.values()] == cells


def test_an_empty_cell_is_null_and_two_quotes_are_empty_text(tmp_path):
    """Also at the very end of a file that has no last line end."""
    assert read_csv(tmp_path, b'a,b\n"",').cells == {1: ["", None]}
    assert read_csv(tmp_path, b'a,b\n,""').cells == {1: [None, ""]}


def test_blank_lines_are_no_rows_but_count_as_lines(tmp_path):
    """Before the header, between rows, and in a file of one column."""
    read = read_csv(tmp_path, b'\n\r\na\n\n1\n\r\n""\n\n')

    assert read.cells == {1: ["1"], 2: [""]}
    assert read.lines == {1: 5, 2: 7}


def test_a_header_alone_has_no_rows(tmp_path):
    """With a line end or without."""
    assert read_csv(tmp_path, b"a,b").cells == {}
    assert read_csv(tmp_path, b"a,b\r").cells == {}


@pytest.mark.parametrize("block_bytes", [10_000, 1 << 20, 1 << 23])
def test_text_inside_a_quoted_cell_is_never_rows(tmp_path, block_bytes):
    """Up to a mebibyte it is the cell; beyond, its row is one rejection, up to its own end."""
    lines = b"x,y\n" * 200_000
    cell = b'1,"' + lines + b'"\n'
    long = b'2,"' + lines + lines + b'a ""quote""\n","z",w\n'

    read = read_csv(tmp_path, b"a,b\n" + cell + long + b"3,y\n", block_bytes=block_bytes)

    assert read.cells == {1: ["1", lines.decode()], 3: ["3", "y"]}
    assert read.reasons == {2: ["row_too_long"]}
    assert read.raws[2] == long.decode()[:65_536]
    assert read.lines == {1: 2, 2: 200_003, 3: 600_005}


@pytest.mark.parametrize(
    ("after", "block_bytes"),
    [(b"", 10_000), (b"", 1 << 20), (b'"y\n', 1 << 20), (b"\n" * 17_000_000, 1 << 20)],
)
def test_a_quote_that_never_closes_costs_its_own_line(tmp_path, after, block_bytes):
    """Looked for through 16 MiB, or to the end; then the next lines are rows."""
    rows = b"%d,abcdefghijklmnopqrstuvwxyz\n" * 40_000 % tuple(range(2, 40_002))

    read = read_csv(tmp_path, b'a,b\n1,"open\n' + rows + after, block_bytes=block_bytes)

    spoiled = {40_002: ["unclosed_quote"]} if after.startswith(b'"') else {}
    assert read.reasons == {1: ["unclosed_quote"], **spoiled}
    assert read.raws[1] == '1,"open'
    assert len(read.cells) == 40_000


def test_reasons_say_what_was_found_and_where(tmp_path):
    """The sentence has figures and places, never a value of the row."""
    (tmp_path / "in.csv").write_bytes(b'a,b\nsecret\nsecret,"\nsecret,\xff\n')

    chunks = open_file(tmp_path / "in.csv").chunks()

    assert [each.reasons[0].message for chunk in chunks for each in chunk.rejections] == [
        "the row has 1 cells, the header 2",
        "a quote is opened and not closed; the next line was read as a new row",
        "byte 7 of the row is not valid utf-8",
    ]


@pytest.mark.parametrize("block_bytes", [50_000, 1 << 20])
def test_a_row_may_have_a_mebibyte(tmp_path, block_bytes):
    """One byte more is too long, in one block or in many, quoted or not."""
    fits = b"1," + b"x" * (ROW_MAX - 2) + b"\n"
    quoted = b'1,"' + b'x","' * ((ROW_MAX - 4) // 4) + b'"\n'

    assert not codes(fits, tmp_path, block_bytes=block_bytes)
    assert codes(fits.replace(b"1", b"11") + b"2,y\n", tmp_path, block_bytes=block_bytes) == {
        1: ["row_too_long"]
    }
    assert codes(quoted, tmp_path, block_bytes=block_bytes) == {1: ["too_many_fields"]}
    assert codes(quoted.replace(b"1", b"12345"), tmp_path, block_bytes=block_bytes) == {
        1: ["row_too_long"]
    }


def test_a_file_that_is_one_line_is_read_in_little_memory(tmp_path):
    """A line of any length is one rejected row, also from an archive a thousand times smaller."""
    path = tmp_path / "in.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" + b"x" * 100_000_000 + b"\n3,4\n", 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    read = gather(open_file(path).chunks())

    assert read.cells == {1: ["1", "2"], 3: ["3", "4"]}
    assert read.reasons == {2: ["row_too_long"]}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


@pytest.mark.parametrize(
    "line",
    [
        b'"x"y,"z\n',
        b'"\n',
        b'"""a\n',
        b'a"\n',
        b'"a\n',
        b',"\n',
        b'"",""\n',
        b'"a""\n',
        b"\n",
        b"x\n",
    ],
)
def test_no_pattern_makes_reading_slow(tmp_path, line):
    """Lines that all break the rules in one way take no longer than the test run allows."""
    read = read_csv(tmp_path, b"a,b\n" + (line + b"\n") * 20_000)

    assert set(read.cells) | set(read.reasons) == set(range(1, 1 + len(read.lines)))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"\n\n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b",,\n", "header in line 1 cannot be used: no column has a name"),
        (b"sep=;\na;b\n", "line 1 is a spreadsheet hint"),
        (b"\na,b,a\n", "header in line 2 cannot be used: two columns are named a"),
        (b'a,"b\n1,2\n', "a quote is opened and not closed"),
        (b'a,b"c\n1,2\n', "a quote stands inside a cell"),
        (b"a,\0b\n", "it holds a NUL character"),
        (b"x" * (ROW_MAX + 1), "longer than"),
    ],
)
def test_a_header_that_names_no_columns_is_refused(tmp_path, header, message):
    """Nothing is sent under a name that is missing, doubled or cut."""
    with pytest.raises(UsageError, match=message):
        read_csv(tmp_path, header)


def test_a_header_is_read_as_any_row(tmp_path):
    """Quotes, delimiters, line ends and blanks in names are theirs."""
    (tmp_path / "in.csv").write_bytes(b'" a","b,c","d\ne"\n1,2,3\n')

    source = open_file(tmp_path / "in.csv")

    assert source.columns() == (" a", "b,c", "d\ne")
    (chunk,) = source.chunks()
    assert chunk.lines.tolist() == [3]


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "\0", "§"])
def test_a_delimiter_is_one_ascii_character(tmp_path, delimiter):
    """Anything else is refused before the file is read as garbage."""
    with pytest.raises(UsageError, match="delimiter"):
        read_csv(tmp_path, b"a\n1\n", delimiter=delimiter)


def test_a_tsv_has_tabs_unless_another_delimiter_is_given(tmp_path):
    """The name says what the delimiter is."""
    (tmp_path / "in.tsv").write_bytes(b"a\tb;c\n")

    assert open_file(tmp_path / "in.tsv").columns() == ("a", "b;c")
    assert open_file(tmp_path / "in.tsv", delimiter=";").columns() == ("a\tb", "c")
    assert open_file(tmp_path / "in.tsv", delimiter=",").columns() == ("a\tb;c",)


def test_only_plain_text_can_be_appended_to(tmp_path):
    """An archive that grows changes the bytes before."""
    (tmp_path / "in.csv").write_bytes(b"a\n1")
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(b"a\n1"))

    assert open_file(tmp_path / "in.csv").appendable
    assert not open_file(tmp_path / "in.csv.gz").appendable


def test_reading_goes_on_with_what_was_appended(tmp_path):
    """The end of a file without a last line end is where an appended line end stands."""
    path = tmp_path / "in.csv"
    path.write_bytes(b"a\n1\n2")
    *_, last = open_file(path).chunks()
    with path.open("ab") as file:
        file.write(b"\n3\n")

    (chunk,) = open_file(path).chunks(last.end)

    assert chunk.batch.to_pylist() == [{"a": "3"}]
    assert (chunk.rows.tolist(), chunk.lines.tolist()) == ([3], [4])
