"""Files by content."""

import os

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import SourceChangedError, UsageError
from backfill.sources import Fingerprint, LocalFile
from tests.support.reading import open_file


@given(content=st.binary(max_size=300), size_limit=st.none() | st.integers(0, 400))
def test_a_fingerprint_is_of_the_bytes_read(tmp_path_factory, content, size_limit):
    """Of all, or of the first so many: a file that grew keeps the one of its beginning."""
    path = tmp_path_factory.mktemp("files") / "in.csv"
    path.write_bytes(content + b"more" * (size_limit is not None and size_limit <= len(content)))
    counted = content if size_limit is None else content[:size_limit]

    found = LocalFile.of(path).fingerprint(size_limit)

    assert found == Fingerprint(len(counted), xxhash.xxh3_128_hexdigest(counted))


@pytest.mark.parametrize("use", [LocalFile.of, open_file])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, use):
    """What can be read only once cannot be resumed."""
    os.mkfifo(tmp_path / "in.csv")

    with pytest.raises(UsageError, match="is a pipe, not a file"):
        use(tmp_path / "in.csv")


@pytest.mark.parametrize("use", [LocalFile.of, open_file])
def test_a_device_is_refused(tmp_path, use):
    """A device is no file, even under the name of one."""
    (tmp_path / "in.csv").symlink_to("/dev/null")

    with pytest.raises(UsageError, match="is a device or socket"):
        use(tmp_path / "in.csv")


def test_a_file_that_was_replaced_has_changed_though_it_looks_the_same(tmp_path):
    """Another file of the same size and time in its place is found out."""
    path, other = tmp_path / "a.csv", tmp_path / "other"
    path.write_text("a.csv")
    version = LocalFile.of(path)
    other.write_text("A.csv")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    version.check()
    other.replace(path)
    with pytest.raises(SourceChangedError, match="changed while it was read"):
        version.check()
