"""What a file is, by its name, its settings and its first bytes."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import UsageError
from tests.support.reading import open_file


@pytest.mark.parametrize("name", ["in", "0000_part_00", "123.gz", "in.txt", "in.csv.part", "in.gz"])
def test_a_name_that_tells_no_format_asks_for_one(tmp_path, name):
    """No format is guessed from the content; the setting is named, and answers."""
    (tmp_path / name).write_bytes(gzip.compress(b"a\n1\n") if "gz" in name else b"a\n1\n")

    with pytest.raises(UsageError, match=f"{name}: the name does not tell the format") as caught:
        open_file(tmp_path / name)
    assert "format = " in caught.value.next_step

    (chunk,) = open_file(tmp_path / name, name="csv").chunks()
    assert chunk.batch.to_pylist() == [{"a": "1"}]


@pytest.mark.parametrize(
    ("name", "what", "step"),
    [
        ("in.xlsx", "is an Excel workbook", "CSV"),
        ("in.zip", "is a zip archive", "unpack"),
        ("in.csv.bz2", "is a bzip2 archive", "unpack"),
        ("in.csv.zip", "is a zip archive", "unpack"),
        ("in.avro", "is an Avro file", "Parquet"),
        ("in.pdf", "is a PDF document", "CSV"),
        ("in.db", "is a database", "Parquet"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, name, what, step):
    """With what to do about it."""
    (tmp_path / name).write_bytes(b"PK")

    with pytest.raises(UsageError, match=f"{name}: {what}") as caught:
        open_file(tmp_path / name)
    assert step in caught.value.next_step
    assert "format" not in caught.value.next_step


def test_a_folder_asks_for_its_files(tmp_path):
    """A folder in `files` is named with a pattern that would do."""
    (tmp_path / "in").mkdir()

    with pytest.raises(UsageError, match="in: is a directory") as caught:
        open_file(tmp_path / "in")
    assert '"in/*.csv"' in caught.value.next_step


def test_parquet_under_another_name(tmp_path):
    """The setting answers; without it the error names it."""
    pq.write_table(pa.table({"a": [1]}), tmp_path / "in.csv")
    with pytest.raises(UsageError, match="is a Parquet file") as caught:
        open_file(tmp_path / "in.csv")
    assert 'format = "parquet"' in caught.value.next_step

    (chunk,) = open_file(tmp_path / "in.csv", name="parquet").chunks()
    assert chunk.batch.to_pylist() == [{"a": 1}]


def test_parquet_that_was_compressed_as_a_whole_is_named(tmp_path):
    """It cannot be read from the end, as Parquet has to be."""
    (tmp_path / "in.parquet.gz").write_bytes(gzip.compress(b"PAR1 and so on PAR1"))

    with pytest.raises(UsageError, match="is compressed as a whole"):
        open_file(tmp_path / "in.parquet.gz")


@pytest.mark.parametrize("name", ["IN.CSV", "in.Csv.GZ", "a.B.csv"])
def test_the_case_of_letters_does_not_count(tmp_path, name):
    """Spreadsheets like to shout."""
    (tmp_path / name).write_text("a\n1\n")

    assert open_file(tmp_path / name).kind == "csv"
