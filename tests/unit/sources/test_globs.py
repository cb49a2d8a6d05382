"""Files by name: what patterns stand for, and in which order."""

from pathlib import Path

import pytest

from backfill.errors import UsageError
from backfill.sources import expand
from backfill.sources.globs import holds_no_data


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with files at two levels."""
    for name in ["b.csv", "a.csv", "c.parquet", "deep/day=1/d.csv", "deep/day=2/e.csv", "x[1].csv"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(files: list[Path], folder: Path) -> list[str]:
    """The paths below the folder."""
    return [path.relative_to(folder).as_posix() for path in files]


def test_a_pattern_gives_its_files_sorted(folder):
    """The order does not depend on the file system."""
    assert names(expand(["[ab].csv"], folder), folder) == ["a.csv", "b.csv"]


def test_two_stars_stand_for_any_folders(folder):
    """Also for none, and folders themselves are no files."""
    files = names(expand(["**/*.csv"], folder), folder)

    assert files == ["a.csv", "b.csv", "deep/day=1/d.csv", "deep/day=2/e.csv", "x[1].csv"]


def test_patterns_keep_their_order_and_each_file_comes_once(folder):
    """Later rows of a person win, so the order that was declared counts."""
    absolute = str(folder / "a.csv")

    files = names(expand(["b.csv", "*.csv", absolute], folder), folder)

    assert files == ["b.csv", "a.csv", "x[1].csv"]


def test_a_link_to_a_file_is_that_file(folder):
    """Reading it under both names would send each row twice."""
    (folder / "latest.csv").symlink_to("b.csv")

    assert names(expand(["b.csv", "latest.csv"], folder), folder) == ["b.csv"]


def test_a_name_that_looks_like_a_glob_is_a_name(folder):
    """Brackets in the name of a file that exists stand for themselves."""
    assert names(expand(["x[1].csv"], folder), folder) == ["x[1].csv"]


def test_a_pattern_without_a_match_names_its_neighbours(folder):
    """A misspelt name is refused with what may have been meant, by more than its ending."""
    (folder / "customers.csv").touch()
    with pytest.raises(UsageError, match=r"custmers\.csv: no such file") as caught:
        expand(["a.csv", "custmers.csv"], folder)
    assert caught.value.next_step == "did you mean customers.csv?"
    with pytest.raises(UsageError) as caught:
        expand(["customers.parquet"], folder)
    assert caught.value.next_step == "did you mean customers.csv?"

    with pytest.raises(UsageError) as caught:
        expand(["nothing-like-it*.csv"], folder)
    assert caught.value.next_step == (
        "check the name; the folder has a.csv, b.csv, c.parquet, customers.csv, deep and 1 more"
    )

    with pytest.raises(UsageError) as caught:
        expand(["no-such-folder/*.csv"], folder)
    assert "no-such-folder" in caught.value.next_step


def test_numbers_in_names_count_as_numbers(tmp_path):
    """Where people repeat, the later file wins: the tenth comes after the second."""
    for name in ["users_10.csv", "users_2.csv", "users_1.csv", "day 9/x.csv", "day 10/x.csv"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a")

    assert names(expand(["*.csv", "*/*.csv"], tmp_path), tmp_path) == [
        "users_1.csv",
        "users_2.csv",
        "users_10.csv",
        "day 9/x.csv",
        "day 10/x.csv",
    ]


TABLES = {
    "Delta": ("tbl/part-0.parquet", "tbl/_delta_log/00000.json", "tbl/*.parquet"),
    "Delta, with folders": ("tbl/d=1/p.parquet", "tbl/_delta_log/0.json", "tbl/**/*.parquet"),
    "Iceberg": ("tbl/data/p.parquet", "tbl/metadata/v1.metadata.json", "tbl/data/*.parquet"),
    "Hudi": ("tbl/d=1/p.parquet", "tbl/.hoodie/hoodie.properties", "tbl/d=1/p.parquet"),
}


@pytest.mark.parametrize("case", TABLES)
def test_the_files_of_a_table_are_not_its_rows(tmp_path, case):
    """Deleted rows are still in them; the folder is named, and what it is."""
    data, log, pattern = TABLES[case]
    for name in (data, log):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    with pytest.raises(UsageError, match=rf"tbl: is an? {case.split(',')[0]} table"):
        expand([pattern], tmp_path)


def test_a_log_in_another_folder_does_no_harm(tmp_path):
    """Only the folders of the files themselves, and the one above, are looked at."""
    for name in ["in/a.csv", "tbl/_delta_log/0.json", "tbl/p.parquet"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    assert names(expand(["in/*.csv"], tmp_path), tmp_path) == ["in/a.csv"]


@pytest.mark.parametrize(
    ("name", "is_mark"),
    [
        ("_SUCCESS", True),
        ("_committed_123", True),
        ("_metadata", True),
        (".part-0.parquet.crc", True),
        ("_old.csv", False),
        ("SUCCESS.csv", False),
    ],
)
def test_marks_of_other_programs_are_no_data(name, is_mark):
    """Only the names that these programs give."""
    assert holds_no_data(Path(name)) == is_mark
