"""The journal's real code over a disk that loses power: nothing acknowledged is ever lost.

The number of cuts can be raised with the environment variable POWER_CUTS.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from backfill.errors import BackfillError
from backfill.journal import LOCAL, NETWORK, Journal, Storage
from tests.support.checker import must
from tests.support.journals import committed, work
from tests.support.power import Disk, Images, Platter

CUTS = int(os.environ.get("POWER_CUTS", "1000"))
CUTS_PER_RUN = 50
COMMITS_PER_RUN = 12
RUNS_PER_JOB = 6

WAL = replace(LOCAL, checkpoint_pages=20)


@dataclass
class Tally:
    """How often the power was cut, and what was wrong afterwards.

    Args:
        cuts: How often.
        checkpoints: How many runs moved their log into the database.
        lost: Acknowledged commits were missing.
        corrupt: The journal could not be opened, or its figures did not add up.
        different: It holds something else than was committed.
    """

    cuts: int = 0
    checkpoints: int = 0
    lost: int = 0
    corrupt: int = 0
    different: int = 0


def test_a_power_cut_loses_no_commit(tmp_path, record_property):
    """Whatever the disk drops, tears or reorders, each commit that returned is still there."""
    tally = cut_the_power(tmp_path / "job", WAL, CUTS, seed=1)
    record_property("power cuts", tally.cuts)
    assert tally.checkpoints > 0
    check_nothing_is_lost(tally)


def test_a_power_cut_loses_no_commit_on_a_network_disk(tmp_path, record_property):
    """The same holds for the settings that are used on file systems of the network."""
    tally = cut_the_power(tmp_path / "job", NETWORK, CUTS // 5, seed=2)
    record_property("power cuts", tally.cuts)
    check_nothing_is_lost(tally)


@pytest.mark.parametrize("seed", [3, 4])
def test_the_simulated_disk_is_cruel_enough(tmp_path, seed):
    """With `synchronous=NORMAL` commits are lost, so the tests above mean something."""
    weak = replace(WAL, synchronous="NORMAL")
    tally = cut_the_power(tmp_path / "job", weak, 100, seed=seed)
    assert tally.lost > 10
    assert (tally.corrupt, tally.different) == (0, 0)


def check_nothing_is_lost(tally: Tally) -> None:
    """Each commit is there, whole and as it was."""
    must(tally.lost == tally.corrupt == tally.different == 0, tally)


def cut_the_power(directory: Path, storage: Storage, cuts: int, seed: int) -> Tally:
    """Run a job again and again, cut its power at random times, and look at what is left.

    A run starts from what a cut before has left, so that power fails during recovery too.
    """
    random, tally = Random(seed), Tally()
    Journal.open(directory, storage=LOCAL).close()
    path = directory.resolve() / "state.db"
    fresh = {str(path): path.read_bytes()}, 0, None
    start, runs = fresh, 0
    while tally.cuts < cuts:
        survivors = one_run(directory, storage, start, random, tally)
        runs += 1
        start = random.choice(survivors) if survivors and runs % RUNS_PER_JOB else fresh
    return tally


def one_run(directory: Path, storage: Storage, start, random: Random, tally: Tally) -> list[Any]:
    """Record one run, cut it in many places, and give what could be recovered from each."""
    images, number, state = start
    disk = Disk(images)
    promises, states = [(0, number)], {number: state}
    with Journal.open(directory, storage=replace(storage, vfs=disk.name)) as journal:
        for _ in range(COMMITS_PER_RUN):
            work(journal, random)
            number = journal.commit(requests=1, attempts=2, bytes_sent=random.randint(1, 9))
            promises.append((len(disk.events), number))
            states[number] = committed(journal)
    tally.checkpoints += any(event.file.endswith("state.db") for event in disk.events)
    survivors = []
    for left, promised in cuts_of(disk, images, promises, random):
        tally.cuts += 1
        found, content = recovered(directory, storage, left)
        tally.corrupt += found < 0
        tally.lost += 0 <= found < promised
        tally.different += found >= promised and states[found] != content
        if found >= promised:
            survivors.append((left, found, content))
    return survivors


def cuts_of(disk: Disk, images: Images, promises, random: Random) -> Iterator[tuple[Images, int]]:
    """What is on the disk after each of some cuts, with the last commit that was acknowledged."""
    platter = Platter({path: bytearray(data) for path, data in images.items()})
    passed = 0
    for moment in sorted(random.choices(range(len(disk.events) + 1), k=CUTS_PER_RUN)):
        for event in disk.events[passed:moment]:
            platter.pass_by(event)
        passed = moment
        yield platter.after_cut(random), max(number for at, number in promises if at <= moment)


def recovered(directory: Path, storage: Storage, left: Images) -> tuple[int, Any]:
    """The last commit that the journal knows and all it holds; -1 if it cannot be opened."""
    disk = Disk(left)
    try:
        with Journal.open(directory, storage=replace(storage, vfs=disk.name)) as journal:
            journal.check_law({})
            number = journal.totals().commits
            return number, committed(journal) if number else None
    except BackfillError:
        return -1, None
