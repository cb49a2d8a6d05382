"""A disk that is full, or cannot be written to, for real: a small file system of its own.

Whoever may not mount one (a container without the right to) is told so, and skips these.
"""

import shutil
import subprocess
import sys

import pytest

from tests.support.checker import check_law
from tests.support.jobs import EVENTS, HEADER, job
from tests.support.programs import Ended

TWICE = """
mount -t tmpfs -o "$1" none "$0" || exit 9
shift
"$@" > first.out 2> first.err
echo $? > first.code
mount -o remount,rw,size=64m "$0" || exit 9
"$@" > second.out 2> second.err
echo $? > second.code
"""
"""In one breath, since the file system goes with the process that mounted it."""

GOOD, BAD = 2_000, 2_000
ROWS = HEADER + "".join(
    f"p{n % 10},seen,2024-01-01T00:00:{n % 60:02}Z,{n}\n,seen,2024-01-01T00:00:00Z,{'x' * 100}{n}\n"
    for n in range(GOOD)
)
"""Every second row is no good: they are what takes room in the state."""

JOURNAL = "state/job/state.db: the journal cannot be written"
REPORT = "state/job: the report cannot be written"


@pytest.fixture
def twice(tmp_path, sandbox, clean_env):
    """Run a job on a small disk, then with room; takes the options of the mount."""
    state = tmp_path / "state"
    state.mkdir()
    if shutil.which("unshare") is None or not _in_own_mounts("mount", "-t", "tmpfs", "none", state):
        pytest.skip("needs a system that lets its users mount: unshare --map-root-user --mount")
    pipeline = job(tmp_path, {"events.csv": ROWS}, EVENTS)
    command = [sys.executable, "-m", "backfill", "run", pipeline, "--state-dir", state]
    command += ["--url", sandbox.url, "--rate", "0", "--json"]

    def run(options: str) -> tuple[Ended, Ended]:
        assert _in_own_mounts(
            "sh", "-c", TWICE, state, options, *command, cwd=tmp_path, env=clean_env
        )
        return _ended(tmp_path / "first"), _ended(tmp_path / "second")

    return run


def _in_own_mounts(*command, **more):
    unshare = ["unshare", "--map-root-user", "--mount", *map(str, command)]
    return subprocess.run(unshare, check=False, capture_output=True, **more).returncode == 0


def _ended(path):
    code, out, said = (path.with_suffix(each).read_text() for each in (".code", ".out", ".err"))
    return Ended(int(code), out, said)


@pytest.mark.parametrize(
    ("options", "named", "read", "delivered"),
    [
        ("size=200k", "state/job/plan: No space left", 0, 0),
        ("size=700k", JOURNAL, GOOD + BAD, 0),
        ("size=1500k", REPORT, GOOD + BAD, GOOD),
        ("ro", "state", 0, 0),
    ],
    ids=["no room for the plan", "no room for the answers", "no room for the report", "read-only"],
)
def test_a_disk_without_room_stops_the_run(twice, sandbox, options, named, read, delivered):
    """6, with the place, what to do, and what arrived; with room, all rows end where they belong.

    An account of zeros would add up as well, so it is held against what the service has.
    """
    stopped, done = twice(options)

    assert stopped.code == 6
    assert named in stopped.stderr
    assert stopped.next_step
    assert "Traceback" not in stopped.stderr
    check_law(stopped.summary)
    assert (stopped.summary["rows_read"], stopped.summary["delivered"]) == (read, delivered)
    assert done.code == 3
    check_law(done.summary)
    assert (done.summary["delivered"], done.summary["rejected"]) == (GOOD, BAD)
    assert done.summary["this_run"]["delivered"] == GOOD - delivered
    assert sandbox.stats()["event_arrivals"] == sandbox.stats()["events"] == GOOD
