"""Rows that belong together are found among any number of rows, as a dict would find them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backfill.planning.hash_groups import (
    PARTITIONS,
    RECORD,
    HashPartitions,
    carried_on,
    contained,
    first_in_group,
    group_by_hash,
    make_records,
    running_counts,
)

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.integers(0, 2)), max_size=40)
"""Hash, content and rank of each row."""


def hashes(numbers):
    """128 bits for small numbers: alike in one half, different in the other."""
    return np.array([[each % 3, each] for each in numbers], np.uint64).reshape(-1, 2)


def recorded(rows):
    """The records of rows numbered from 1."""
    return make_records(
        hashes([each for each, _, _ in rows]),
        np.arange(1, len(rows) + 1),
        content=hashes([each for _, each, _ in rows]),
        part=1,
        source=0,
        settled=np.zeros(len(rows), np.bool_),
        rank=np.array([each for _, _, each in rows], np.int32),
    )


def groups_of(rows):
    """Row numbers by hash, in the order of rank, then of reading."""
    groups = {}
    for number, (hash_, content, rank) in enumerate(rows, 1):
        groups.setdefault(hash_, []).append((rank, number, content))
    return {hash_: sorted(some, key=lambda each: each[:2]) for hash_, some in groups.items()}


@given(ROWS, st.integers(1, 12), st.integers(1, 50), st.integers(1, 50))
def test_partitions_hold_every_record_in_order(
    tmp_path_factory, rows, chunk_rows, buffered_max, piece_max
):
    """In memory or on disk: rows of one hash are in one partition, as they were added."""
    folder = tmp_path_factory.mktemp("spill")
    spill = HashPartitions(folder, "some", buffered_max, piece_max=piece_max)
    for start in range(0, len(rows), chunk_rows):
        spill.add(recorded(rows)[start : start + chunk_rows])
    found = {}
    for number in range(PARTITIONS):
        partition = spill.partition(number)
        assert len(partition) == spill.count(range(number, number + 1))
        for by_rank in (True, False):
            pieces = list(spill.pieces(number, by_rank=by_rank))
            assert b"".join(map(bytes, pieces)) == partition.tobytes()
            ranks = [each["rank"].tolist() for each in pieces]
            assert not by_rank or ranks == [sorted(each) for each in ranks] or len(pieces) == 1
            assert by_rank or max(map(len, pieces), default=0) < 2 * piece_max
        for each in partition:
            found.setdefault(int(each["hash"][1]), []).append(int(each["row"]))
    truth = {}
    for number, (hash_, _, _) in enumerate(rows, 1):
        truth.setdefault(hash_, []).append(number)
    assert found == truth
    assert len(spill.partition(PARTITIONS - 1)) == 0
    for records_max in (1, 7, 10**6):
        neighbours = list(spill.neighbours(records_max))
        assert [number for each in neighbours for number in each] == list(range(PARTITIONS))
        held = np.concatenate([spill.read(each) for each in neighbours])
        assert sorted(held["row"].tolist()) == list(range(1, len(rows) + 1))


@given(ROWS)
def test_groups_firsts_and_occurrences_are_those_of_a_dict(rows):
    """Only rows that are not alone, the lower rank first, then the order of reading."""
    ordered, group = group_by_hash(recorded(rows))
    first = first_in_group(group)
    alike = (ordered["content"] == ordered["content"][first]).all(axis=1)
    numbers = running_counts(alike.astype(np.int64), first)
    found = {}
    for place, each in enumerate(ordered):
        found.setdefault(int(group[place]), []).append(int(each["row"]))
    shared = {hash_: some for hash_, some in groups_of(rows).items() if len(some) > 1}
    truth = [[number for _, number, _ in some] for some in shared.values()]
    assert sorted(found.values()) == sorted(truth)
    assert sorted(found) == list(range(len(found)))
    for place, each in enumerate(ordered):
        members = shared[int(each["hash"][1])]
        assert int(ordered["row"][first[place]]) == members[0][1]
        before = [content for _, number, content in members if number != each["row"]]
        before = before[: [number for _, number, _ in members].index(int(each["row"]))]
        assert numbers[place] == before.count(members[0][2])


@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 9), max_size=12))
def test_membership_is_that_of_a_set(some, others):
    """Both halves of a hash count."""
    found = contained(hashes(some), hashes(others)).tolist()
    assert found == [each in set(others) for each in some]


def test_nothing_has_no_groups():
    """An empty partition is no special case for its readers."""
    ordered, group = group_by_hash(np.empty(0, RECORD))
    first = first_in_group(group)
    assert len(ordered) == len(group) == len(first) == len(running_counts(group, first)) == 0


@given(ROWS, st.integers(1, 5))
def test_what_is_carried_on_stands_for_all_before_it(rows, piece):
    """The first row of each hash with how many are like it, and the first that is not."""
    carried = np.empty(0, RECORD)
    ordered = sorted(rows, key=lambda each: each[2])
    for start in range(0, len(rows), piece):
        some = recorded(ordered)[start : start + piece]
        carried = carried_on(np.concatenate([carried, some]))
    truth = set()
    for hash_, members in groups_of(ordered).items():
        contents = [content for _, _, content in members]
        truth.add((hash_, contents[0], -1 - contents.count(contents[0])))
        others = [content for content in contents if content != contents[0]]
        truth |= {(hash_, content, -1) for content in others[:1]}
    found = {(int(each["hash"][1]), int(each["content"][1]), int(each["rank"])) for each in carried}
    assert found == truth
