"""Encodings: a file is read in the one that is declared, or refused, never misread."""

import gzip

import pytest

from backfill.errors import UsageError
from backfill.sources import open_source

TEXT = "id,note\n" + "".join(f"{row},Käse für {row} €\n" for row in range(40))


def write(tmp_path, content: bytes, name: str = "in.csv"):
    """A file of that content."""
    path = tmp_path / name
    path.write_bytes(content)
    return path


def rows(path, **options) -> list:
    """The cells of all rows."""
    return [
        cells
        for chunk in open_source(path, **options).chunks()
        for cells in chunk.batch.to_pylist()
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
        (TEXT.encode("utf-16-le"), "utf-8", "not utf-8 at byte 1; it looks like utf-16 without"),
        (TEXT.encode("utf-16-be"), "latin-1", "at byte 0; it looks like utf-16 without"),
        (TEXT.encode("utf-16-le"), "utf-16", "at byte 0; it looks like utf-16 without"),
        (TEXT.encode("utf-32"), "utf-8", "at byte 0; it looks like utf-32"),
        (TEXT.encode(), "utf-16", "at byte 0; it looks like utf-8"),
        (TEXT.encode("cp1252"), "utf-8", "not utf-8 at byte 11; it looks like cp1252"),
        (TEXT.encode(), "cp1252", "not cp1252 at byte 11; it looks like utf-8"),
        (TEXT.encode("utf-8-sig"), "latin-1", "not latin-1 at byte 0; it looks like utf-8"),
        (b"a\n" + b"\x81\x8d\n" * 9, "cp1252", "not cp1252 at byte 2; it looks like another"),
        ("größe,b\n1,2\n".encode("cp1252"), "utf-8", "at byte 2; it looks like cp1252"),
        (b"PK\x03\x04rest", "utf-8", "is a zip archive .* see byte 0"),
        (b"PAR1rest", "utf-8", "is a Parquet file"),
        (gzip.compress(b"a\n1\n", mtime=0), "utf-8", "is a gzip archive"),
        (b"\x28\xb5\x2f\xfdrest", "utf-8", "is a zstd archive"),
        (b"a\n1\n", "klingon", "'klingon': not supported"),
        (b"a\n1\n", "shift-jis", "'shift-jis': not supported"),
    ],
)
def test_a_file_in_another_encoding_is_refused_by_name_and_offset(
    tmp_path, content, declared, message
):
    """The message names the file, the byte and what the file looks like."""
    with pytest.raises(UsageError, match=message):
        open_source(write(tmp_path, content), encoding=declared)


def test_the_content_of_an_archive_is_looked_at_too(tmp_path):
    """A spreadsheet in a gzip archive is no text either, and a name is no archive."""
    with pytest.raises(UsageError, match="is a zip archive"):
        open_source(write(tmp_path, gzip.compress(b"PK\x03\x04rest"), "in.csv.gz"))
    for name in ("in.csv.gz", "in.csv.zst"):
        with pytest.raises(UsageError, match=r"is not a \w+ archive: see byte 0"):
            open_source(write(tmp_path, b"a\n1\n", name))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_an_accent_at_the_very_end_is_no_evidence_of_utf_8(tmp_path, encoding):
    """The byte could begin a character of UTF-8, and nothing follows."""
    assert rows(write(tmp_path, b"a\nn\xc3"), encoding=encoding) == [{"a": "nÃ"}]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_few_bad_bytes_are_the_affair_of_their_rows(tmp_path, encoding):
    """A row that cannot be decoded is rejected with the place of the byte in it."""
    path = write(tmp_path, b"a,b\n1,x\n2,no\x81\n3,y\n")

    (chunk,) = open_source(path, encoding=encoding).chunks()

    assert chunk.batch.to_pylist() == [{"a": "1", "b": "x"}, {"a": "3", "b": "y"}]
    (rejection,) = chunk.rejections
    assert (rejection.row, rejection.line) == (2, 3)
    assert rejection.reasons[0].message == f"byte 4 of the row is not valid {encoding}"
    assert rejection.raw.encode("latin-1") == b"2,no\x81"


def test_half_a_pair_in_utf_16_rejects_its_row(tmp_path):
    """The rows around it arrive."""
    text = "a\nok\n\ud83d\nok \U0001f600\n"
    content = b"\xff\xfe" + text.encode("utf-16-le", "surrogatepass")

    (chunk,) = open_source(write(tmp_path, content), encoding="utf-16").chunks()

    assert chunk.batch.to_pylist() == [{"a": "ok"}, {"a": "ok \U0001f600"}]
    assert [reason.code for reason in chunk.rejections[0].reasons] == ["invalid_utf8"]


def test_half_a_character_at_the_end_stops_the_run(tmp_path):
    """UTF-16 of an odd length was cut off; the rows before are given."""
    path = write(tmp_path, "a\nx\n".encode("utf-16") + b"y")

    read = []
    with pytest.raises(UsageError, match="ends in the middle of a character"):
        read.extend(open_source(path, encoding="utf-16").chunks())

    assert [chunk.batch.to_pylist() for chunk in read] == [[{"a": "x"}]]
