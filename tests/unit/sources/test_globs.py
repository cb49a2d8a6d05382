"""Files by name and by content."""

import os
import re
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import SourceChangedError, UsageError
from backfill.sources import Fingerprint, expand, fingerprint, open_source, partitions_of
from backfill.sources.source_files import Version


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


def test_a_file_that_was_replaced_has_changed_though_it_looks_the_same(folder):
    """Another file of the same size and time in its place is found out."""
    path, other = folder / "a.csv", folder / "other"
    version = Version.of(path)
    other.write_text("A.csv")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    version.check()
    other.replace(path)
    with pytest.raises(SourceChangedError, match="changed while it was read"):
        version.check()


def test_a_name_that_looks_like_a_glob_is_a_name(folder):
    """Brackets in the name of a file that exists stand for themselves."""
    assert names(expand(["x[1].csv"], folder), folder) == ["x[1].csv"]


def test_a_pattern_without_a_match_names_its_neighbours(folder):
    """A misspelt name is refused with what may have been meant."""
    with pytest.raises(UsageError, match=r"d\.parquet: no such file") as caught:
        expand(["a.csv", "d.parquet"], folder)
    assert caught.value.next_step == "Did you mean c.parquet?"

    with pytest.raises(UsageError) as caught:
        expand(["nothing-like-it*.xyz"], folder)
    assert "5 others" in caught.value.next_step

    with pytest.raises(UsageError) as caught:
        expand(["no-such-folder/*.csv"], folder)
    assert "no-such-folder" in caught.value.next_step


def test_folders_declare_columns(folder):
    """Below the base only, decoded, always text."""
    path = folder / "year=1999" / "day=2024-01-31" / "shop=A%2FB%20C" / "x=y.parquet"

    found = partitions_of(path, folder / "year=1999")

    assert found == {"day": "2024-01-31", "shop": "A/B C"}
    assert partitions_of(folder / "a.csv", folder / "pipelines") == {}
    assert partitions_of(Path("=x/y=/a.csv"), Path()) == {"y": ""}


def test_hives_word_for_nothing_is_null(tmp_path):
    """A folder without a value gives nulls, and the file's own column is not replaced."""
    (tmp_path / "in.csv").write_text("a\n1\n")
    partitions = {"a": "7", "day": "__HIVE_DEFAULT_PARTITION__"}

    source = open_source(tmp_path / "in.csv", partitions=partitions)

    (chunk,) = source.chunks()
    assert chunk.batch.to_pylist() == [{"a": "1", "day": None}]


@given(content=st.binary(max_size=300), size_limit=st.none() | st.integers(0, 400))
def test_a_fingerprint_is_of_the_bytes_read(tmp_path_factory, content, size_limit):
    """Of all, or of the first so many: a file that grew keeps the one of its beginning."""
    path = tmp_path_factory.mktemp("files") / "in.csv"
    path.write_bytes(content + b"more" * (size_limit is not None and size_limit <= len(content)))
    counted = content if size_limit is None else content[:size_limit]

    found = fingerprint(path, size_limit)

    assert found == Fingerprint(len(counted), xxhash.xxh3_128_hexdigest(counted))


@pytest.mark.parametrize("use", [fingerprint, open_source])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, use):
    """What can be read only once cannot be resumed."""
    os.mkfifo(tmp_path / "in.csv")

    with pytest.raises(UsageError, match="is a pipe, not a file"):
        use(tmp_path / "in.csv")


@pytest.mark.parametrize("use", [fingerprint, open_source])
def test_a_device_is_refused(tmp_path, use):
    """A device is no file, even under the name of one."""
    (tmp_path / "in.csv").symlink_to("/dev/null")

    with pytest.raises(UsageError, match="is a device or socket"):
        use(tmp_path / "in.csv")


@pytest.mark.parametrize("name", ["in", "in.xlsx", "in.csv.bz2", "in.parquet.gz", "in.gz"])
def test_a_name_must_tell_the_format(tmp_path, name):
    """No format is guessed from the content."""
    (tmp_path / name).write_text("a\n1\n")

    with pytest.raises(UsageError, match=re.escape(name) + ": the name does not tell the format"):
        open_source(tmp_path / name)


def test_upper_case_extensions_are_the_same(tmp_path):
    """Spreadsheets like to shout."""
    (tmp_path / "IN.CSV").write_text("a\n1\n")

    assert open_source(tmp_path / "IN.CSV").kind == "csv"
