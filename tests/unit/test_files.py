"""A file is as it was or as it should be, never in between."""

import os
import resource
import stat
from pathlib import Path

import pytest

from backfill.files import make_lasting, write_atomically


def test_a_file_gets_its_content_and_is_private(tmp_path):
    """Bytes are written as they are, for the owner's eyes only."""
    write_atomically(tmp_path / "a", b"one")
    write_atomically(tmp_path / "a", b"two\n")
    assert (tmp_path / "a").read_bytes() == b"two\n"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_file_is_on_the_disk_before_its_name_and_then_the_name_is(tmp_path, monkeypatch):
    """In any other order a power cut could leave an empty file under the name."""
    done = []
    sync, move = os.fsync, os.replace

    def fsync(descriptor):
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("sync the directory" if is_directory else "sync the file")
        sync(descriptor)

    def replace(source, target):
        done.append("move")
        move(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "a", b"content")
    assert done == ["sync the file", "move", "sync the directory"]


def test_a_function_can_write_the_content(tmp_path):
    """A long report need not be in memory."""
    write_atomically(tmp_path / "a", lambda file: file.writelines([b"one\n", b"two\n"]))
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\n"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    """Whatever stops the writing, the reader does not see it."""
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """What does not fit is not there at all."""
    path = tmp_path / "a"
    write_atomically(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomically(path, b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    """Nobody can make us write elsewhere by a link in the file's place."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    Path(tmp_path / "a").symlink_to(elsewhere)
    write_atomically(tmp_path / "a", b"new")
    assert elsewhere.read_bytes() == b"precious"
    assert not (tmp_path / "a").is_symlink()


def test_a_missing_directory_is_the_callers_error(tmp_path):
    """It is not made in passing."""
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "a", b"")


def test_what_a_link_leads_to_is_not_made_lasting(tmp_path):
    """It keeps its rights: it is somebody else's."""
    (tmp_path / "a").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    elsewhere.chmod(0o644)
    (tmp_path / "a" / "link").symlink_to(elsewhere)
    make_lasting(tmp_path / "a")
    assert elsewhere.stat().st_mode & 0o777 == 0o644


def test_a_folder_can_be_made_lasting_as_a_whole(tmp_path, monkeypatch):
    """Every file and folder in it is forced to the disk; files are their owner's only."""
    (tmp_path / "a/b").mkdir(parents=True)
    files = [tmp_path / "a/one", tmp_path / "a/b/two"]
    for file in files:
        file.write_bytes(b"x")
        file.chmod(0o644)
    synced = set()
    sync = os.fsync

    def fsync(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    make_lasting(tmp_path / "a")

    every = [tmp_path / "a", tmp_path / "a/b", *files]
    assert synced == {path.stat().st_ino for path in every}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
