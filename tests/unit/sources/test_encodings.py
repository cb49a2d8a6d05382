"""Encodings: a file is read in the one that is declared, or refused, never misread."""

import gzip

import pyarrow as pa
import pytest

from backfill.errors import UsageError
from tests.support.reading import open_file

TEXT = "id,note\n" + "".join(f"{row},Käse für {row} €\n" for row in range(40))


def write(tmp_path, content: bytes, name: str = "in.csv"):
    """A file of that content."""
    path = tmp_path / name
    path.write_bytes(content)
    return path


def rows(path, **options) -> list:
    """The cells of all rows."""
    return [
        cells for chunk in open_file(path, **options).chunks() for cells in chunk.batch.to_pylist()
    ]


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8-sig"),
        ("cp1252", "cp1252"),
        ("windows-1252", "cp1252"),
        ("utf-16", "utf-16"),
        ("utf-16", "utf-16-le with mark"),
        ("utf-16", "utf-16-be with mark"),
        ("utf-16", "utf-16-le"),
        ("utf-16", "utf-16-be"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-le", "utf-16"),
        ("utf-32", "utf-32"),
        ("utf-32", "utf-32-be"),
        ("utf-32-le", "utf-32-le"),
        ("gb18030", "gb18030"),
        ("cp1250", "cp1250"),
        ("mac-roman", "mac-roman"),
        ("cp1140", "cp1140"),
    ],
)
def test_declared_encodings_give_the_same_rows(tmp_path, declared, codec):
    """Byte-order marks are dropped, and names of encodings may be written in several ways."""
    codec, _, mark = codec.partition(" with ")
    content = (("\N{ZERO WIDTH NO-BREAK SPACE}" if mark else "") + TEXT).encode(codec)

    found = rows(write(tmp_path, content), encoding=declared)

    assert found == [{"id": str(row), "note": f"Käse für {row} €"} for row in range(40)]


def test_latin_1_is_taken_at_its_word(tmp_path):
    """Every byte is a character of the same number."""
    found = rows(write(tmp_path, b"a\n\xe4\xa4\n"), encoding="latin-1")

    assert found == [{"a": "ä¤"}]


@pytest.mark.parametrize(
    ("content", "declared", "message"),
    [
        (TEXT.encode("utf-16"), "utf-8", "is not utf-8 at byte 0; it looks like utf-16"),
        (TEXT.encode("utf-16"), "cp1252", "is not cp1252 at byte 0; it looks like utf-16"),
        (TEXT.encode("utf-16-le"), "utf-8", "not utf-8 at byte 1; it looks like utf-16, or no"),
        (TEXT.encode("utf-16-be"), "latin-1", "at byte 0; it looks like utf-16, or no text"),
        (TEXT.encode("utf-32-le"), "utf-8", "at byte 1; it looks like utf-32, or no text"),
        (TEXT.encode("utf-16"), "utf-32", "at byte 0; it looks like utf-16"),
        (TEXT.encode("utf-16-be"), "utf-16-le", "at byte 0; it looks like utf-16-be"),
        (TEXT.encode("utf-32"), "utf-8", "at byte 0; it looks like utf-32"),
        (TEXT.encode(), "utf-16", "at byte 0; it looks like utf-8"),
        (
            TEXT.encode("cp1252"),
            "utf-8",
            "at byte 11; nothing in it proves which .* cp1252, cp1250",
        ),
        ("id,city\n1,Москва\n2,Киев\n".encode("cp1251"), "utf-8", "nothing in it proves .*cp1251"),
        ("id,name\n1,太郎\n2,花子\n".encode("cp932"), "utf-8", "nothing in it proves .*cp932"),
        ("id,name\n1,太郎\n".encode(), "cp932", "at byte 10; it looks like utf-8"),
        (TEXT.encode(), "cp1252", "not cp1252 at byte 11; it looks like utf-8"),
        (TEXT.encode("utf-8-sig"), "latin-1", "not latin-1 at byte 0; it looks like utf-8"),
        (b"a\n" + b"\x81\x8d\n" * 9, "cp1252", "not cp1252 at byte 2; it looks like another"),
        ("größe,b\n1,2\n".encode("cp1252"), "utf-8", "at byte 2; nothing in it proves"),
        (b"PK\x03\x04rest", "utf-8", "is a zip archive .* see byte 0"),
        (b"PAR1rest", "utf-8", "is a Parquet file"),
        (b"BZh91AY", "utf-8", "is a bzip2 archive"),
        ("id,name\n1,太郎\n".encode("iso2022_jp"), "utf-8", "at byte 10; it looks like iso-2022"),
        ("id,name\n1,한국\n".encode("iso2022_kr"), "cp1252", "it looks like iso-2022"),
        (b"a\n1\n", "klingon", "'klingon': not supported"),
        (b"a\n1\n", "base64", "'base64': not supported"),
        (b"a\n1\n", "iso-2022-jp", "'iso-2022-jp': not supported"),
    ],
)
def test_a_file_in_another_encoding_is_refused_by_name_and_offset(
    tmp_path, content, declared, message
):
    """The message names the file, the byte and what the file looks like."""
    with pytest.raises(UsageError, match=message):
        open_file(write(tmp_path, content), encoding=declared)


def test_the_content_of_an_archive_is_looked_at_too(tmp_path):
    """A spreadsheet in a gzip archive is no text either."""
    with pytest.raises(UsageError, match="is a zip archive"):
        open_file(write(tmp_path, gzip.compress(b"PK\x03\x04rest"), "in.csv.gz"))


SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.csv.gz", b"a\n1\n"),
        ("in.csv", gzip.compress(b"a\n1\n", mtime=0)),
        ("in.csv.gz", gzip.compress(b"a\n", mtime=0) + gzip.compress(b"1\n", mtime=0)),
        ("in.csv", pa.compress(b"a\n1\n", "zstd", asbytes=True)),
        ("in.csv.zst", SKIPPABLE + pa.compress(b"a\n1\n", "zstd", asbytes=True)),
        (
            "in.csv.zst",
            SKIPPABLE
            + pa.compress(b"a\n", "zstd", asbytes=True)
            + SKIPPABLE
            + pa.compress(b"1\n", "zstd", asbytes=True)
            + SKIPPABLE,
        ),
    ],
)
def test_the_first_bytes_tell_the_compression(tmp_path, name, content):
    """Whatever the name says, of one part or of several, with frames to be skipped between."""
    assert rows(write(tmp_path, content, name)) == [{"a": "1"}]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_an_accent_at_the_very_end_is_no_evidence_of_utf_8(tmp_path, encoding):
    """The byte could begin a character of UTF-8, and nothing follows."""
    assert rows(write(tmp_path, b"a\nn\xc3"), encoding=encoding) == [{"a": "nÃ"}]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_few_bad_bytes_are_the_affair_of_their_rows(tmp_path, encoding):
    """A row that cannot be decoded is rejected with the place of the byte in it."""
    path = write(tmp_path, b"a,b\n1,x\n2,no\x81\n3,y\n")

    (chunk,) = open_file(path, encoding=encoding).chunks()

    assert chunk.batch.to_pylist() == [{"a": "1", "b": "x"}, {"a": "3", "b": "y"}]
    (rejection,) = chunk.rejections
    assert (rejection.row, rejection.line) == (2, 3)
    assert rejection.reasons[0].message == f"byte 4 of the row is not valid {encoding}"
    assert rejection.raw.encode("latin-1") == b"2,no\x81"


def test_half_a_pair_in_utf_16_rejects_its_row(tmp_path):
    """The rows around it arrive."""
    text = "a\nok\n\ud83d\nok \U0001f600\n"
    content = b"\xff\xfe" + text.encode("utf-16-le", "surrogatepass")

    (chunk,) = open_file(write(tmp_path, content), encoding="utf-16").chunks()

    assert chunk.batch.to_pylist() == [{"a": "ok"}, {"a": "ok \U0001f600"}]
    assert [reason.code for reason in chunk.rejections[0].reasons] == ["invalid_utf8"]


def test_half_a_character_at_the_end_stops_the_run(tmp_path):
    """UTF-16 of an odd length was cut off; the rows before are given."""
    path = write(tmp_path, "a\nx\n".encode("utf-16") + b"y")

    read = []
    with pytest.raises(UsageError, match="ends in the middle of a character"):
        read.extend(open_file(path, encoding="utf-16").chunks())

    assert [chunk.batch.to_pylist() for chunk in read] == [[{"a": "x"}]]


MANY = [
    ("cp1250", "Příliš žluťoučký kůň"),
    ("cp1251", "Москва, Київ"),
    ("koi8-r", "Москва"),
    ("cp932", "表計算ソフト ｱｲｳ 太郎"),  # the second byte of 表 is a backslash
    ("shift_jis", "表計算"),
    ("euc-jp", "日本語"),
    ("gbk", "联通, 重庆"),
    ("big5", "許功蓋"),  # again
    ("euc-kr", "한국어"),
    ("utf-16", "日本語 \U0001f600"),
    ("utf-32-be", "日本語 \U0001f600"),
]


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize(("encoding", "text"), MANY)
def test_any_encoding_that_round_trips_is_read(tmp_path, encoding, text, block_bytes):
    """Whole and from the end of every chunk, whatever bytes its characters share with ASCII."""
    content = "id,text\n" + "".join(f'{row},"{text}\n""{text}"""\n' for row in range(9))
    path = write(tmp_path, content.encode(encoding))

    chunks = list(open_file(path, encoding=encoding, block_bytes=block_bytes).chunks())

    found = [cells for chunk in chunks for cells in chunk.batch.to_pylist()]
    assert found == [{"id": str(row), "text": f'{text}\n"{text}"'} for row in range(9)]
    for chunk in chunks:
        rest = open_file(path, encoding=encoding).chunks(chunk.end)
        assert [row for each in rest for row in each.rows.tolist()] == list(
            range(chunk.end.row, 10)
        )
    assert chunks[-1].end.offset == path.stat().st_size


def test_bytes_that_are_no_text_in_a_long_encoding_reject_their_row(tmp_path):
    """As in UTF-8, and the rows around it arrive."""
    content = "a,b\n1,太郎\n2,".encode("cp932") + b"\x81\xff\xfe" + "\n3,花子\n".encode("cp932")

    (chunk,) = open_file(write(tmp_path, content), encoding="cp932").chunks()

    assert chunk.batch.to_pylist() == [{"a": "1", "b": "太郎"}, {"a": "3", "b": "花子"}]
    assert [reason.code for reason in chunk.rejections[0].reasons] == ["invalid_utf8"]
