"""Kill a process at each thing that it does to the disk, one after the other.

    python -m tests.support.kills DIRECTORY SEED

A child works on a journal and is killed with SIGKILL at its n-th write, truncation, sync or
deletion, for n = 1, 2, … until it comes to its end; after each kill the journal is opened and
compared with what the child had been promised. The idea is that of SQLite's own crash tests.
"""

import os
import pickle
import signal
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import apsw

from backfill.journal import LOCAL, Journal, Storage
from tests.support.journals import snapshot, work

COMMITS = 4


class Killing(apsw.VFS):
    """The operating system's files, until the n-th change of any of them."""

    def __init__(self, name: str, kill_at: int) -> None:
        self.left = kill_at
        self._name = name
        super().__init__(name, "")

    def step(self) -> None:
        """Count one change, and die if it is the one."""
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def xOpen(self, name, flags):  # noqa: N802
        """Open a file of the operating system."""
        return KillingFile(self, name, flags)

    def xDelete(self, filename, syncdir):  # noqa: N802
        """Delete a file, or die."""
        self.step()
        super().xDelete(filename, syncdir)


class KillingFile(apsw.VFSFile):
    """An open file of `Killing`."""

    def __init__(self, vfs: Killing, name, flags) -> None:
        self._vfs = vfs
        super().__init__("", name, flags)

    def xWrite(self, data, offset):  # noqa: N802
        """Write, or die."""
        self._vfs.step()
        super().xWrite(data, offset)

    def xTruncate(self, size):  # noqa: N802
        """Truncate, or die."""
        self._vfs.step()
        super().xTruncate(size)

    def xSync(self, flags):  # noqa: N802
        """Sync, or die."""
        self._vfs.step()
        super().xSync(flags)


def main(directory: Path, seed: int) -> None:
    """Kill and compare until the child survives; print how often it was killed."""
    storage = replace(LOCAL, checkpoint_pages=4)
    Journal.open(directory / "job").close()
    kill_at = 0
    survived = False
    while not survived:
        kill_at += 1
        promised = directory / "promised"
        child = os.fork()
        if child == 0:
            live(directory / "job", replace(storage, vfs="killing"), kill_at, promised, seed)
        survived = os.waitpid(child, 0)[1] == 0
        compare(directory / "job", promised)
    print(kill_at - 1)


def live(directory: Path, storage: Storage, kill_at: int, promised: Path, seed: int) -> None:
    """Work, and before each commit write down what it will be, after it that it was promised."""
    vfs = Killing("killing", kill_at)
    random = Random(f"{seed} {kill_at}")
    with promised.open("wb", buffering=0) as book, Journal.open(directory, storage=storage) as job:
        book.write(pickle.dumps((job.totals().commits, snapshot(job), "promised")))
        for _ in range(COMMITS):
            work(job, random)
            state = snapshot(job)
            book.write(pickle.dumps((job.totals().commits + 1, state, "begun")))
            book.write(pickle.dumps((job.commit(), state, "promised")))
    del vfs
    os._exit(0)


def compare(directory: Path, promised: Path) -> None:
    """Open what the child left, and compare it with the last commit that it holds."""
    begun: dict[int, Any] = {}
    last = 0
    with promised.open("rb") as book:
        while book.peek(1):
            number, state, stage = pickle.load(book)
            begun[number] = state
            last = number if stage == "promised" else last
    with Journal.open(directory, create=False) as job:
        job.check_law({})
        number = job.totals().commits
        assert number >= last, f"commit {last} was promised, {number} is the last"
        assert job.lost_commits == 0
        if begun:
            assert snapshot(job) == begun[number], "the journal holds something else"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
