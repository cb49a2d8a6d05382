"""How a command ends that something stopped."""

import errno
import json
import os

import pytest

from backfill.cli.exits import Asked, of_error
from backfill.cli.flags import JobOptions, command
from backfill.errors import GuardError, InterruptedRunError, first_of, unwritten

SECRET = "ada@example.com"


def test_an_unforeseen_error_is_a_bug_of_ours_and_says_nothing_of_the_data(tmp_path):
    """The kind and the place; the message may hold a cell, and stays out."""
    ending = of_error(KeyError(SECRET), Asked(["run", str(tmp_path / "x.toml"), "--json"]))

    assert ending.code == 1
    assert ending.error.startswith("a bug in backfill: KeyError")
    assert "--debug" in ending.next_step
    assert json.loads(ending.json)["exit"] == 1
    assert SECRET not in ending.error + ending.next_step + ending.json.decode()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/state/plan"), 6),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/state/plan"), 6),
        (OSError(errno.EROFS, "Read-only file system", "/state/plan"), 6),
        (OSError(errno.EIO, "Input/output error", "/state/plan"), 6),
        (OSError(errno.EACCES, "Permission denied", "/data/x.csv"), 2),
        (OSError("without a name"), 1),
        (GuardError("no", next_step="yes"), 7),
        (KeyboardInterrupt(), 130),
        (InterruptedRunError("no", terminated=True), 143),
    ],
)
def test_every_error_has_its_code(error, code):
    """A full disk is no bug, and neither is a file that must not be read."""
    ending = of_error(error, Asked(["run"]))

    assert ending.code == code
    assert ending.error
    assert ending.next_step


def test_of_several_reasons_the_gravest_gives_the_code():
    """What makes the account unreliable, then what the user can change, then what time will."""
    gravest_first = [1, 6, 4, 5, 2, 7, 130, 143, 75, 3, 0]
    for place, code in enumerate(gravest_first):
        assert first_of(reversed(gravest_first[place:])) == code


@pytest.mark.parametrize(
    ("content", "name"), [('name = "acme"', "acme"), ("not toml", "x"), ("name = 3", "x")]
)
def test_a_job_that_never_began_has_a_name(tmp_path, content, name):
    """That of the pipeline file, or the file's own."""
    path = tmp_path / "x.toml"
    path.write_text(content)

    assert Asked(["run", "--json", str(path)]).job == name


def test_advice_can_be_pasted(tmp_path):
    """Spaces are quoted, and where the state is kept is not forgotten."""
    pipeline = tmp_path / "my files" / "x.toml"

    assert (
        command("run", pipeline, given=JobOptions(state_dir=tmp_path))
        == f"backfill run '{pipeline}' --state-dir {tmp_path}"
    )


@pytest.mark.parametrize(
    ("code", "step"),
    [
        (errno.ENOSPC, "free disk space"),
        (errno.EDQUOT, "free disk space"),
        (errno.EROFS, "make the folder writable"),
        (errno.EACCES, "make the folder writable"),
        (errno.ENOENT, "leave the state folder in place"),
        (errno.EIO, "check the disk"),
    ],
)
def test_what_cannot_be_written_is_answered_by_what_helps(tmp_path, code, step):
    """A read-only folder needs no room, and a folder that was removed no other disk."""
    said = unwritten(tmp_path, OSError(code, os.strerror(code)))

    assert said.exit_code == 6
    assert said.next_step.startswith(step)
