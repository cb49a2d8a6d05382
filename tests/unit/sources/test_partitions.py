"""Columns that folders name."""

from pathlib import Path

from backfill.sources import partitions_of
from tests.support.reading import open_file


def test_folders_declare_columns(tmp_path):
    """Below the base only, decoded, always text."""
    path = tmp_path / "year=1999" / "day=2024-01-31" / "shop=A%2FB%20C" / "x=y.parquet"

    found = partitions_of(path, tmp_path / "year=1999")

    assert found == {"day": "2024-01-31", "shop": "A/B C"}
    assert partitions_of(tmp_path / "a.csv", tmp_path / "pipelines") == {}
    assert partitions_of(Path("=x/y=/a.csv"), Path()) == {"y": ""}


def test_hives_word_for_nothing_is_null(tmp_path):
    """A folder without a value gives nulls, and the file's own column is not replaced."""
    (tmp_path / "in.csv").write_text("a\n1\n")
    partitions = {"a": "7", "day": "__HIVE_DEFAULT_PARTITION__"}

    source = open_file(tmp_path / "in.csv", partitions=partitions)

    (chunk,) = source.chunks()
    assert chunk.batch.to_pylist() == [{"a": "1", "day": None}]
