"""Batches hold every operation once, in order, and as many as fit."""

import json

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.operations.batches import BODY_BYTES_MAX, Packer
from backfill.operations.encode import Operations


def operations(texts, paths=None):
    """Operations with these JSON texts; they begin in the middle of a column."""
    column = pa.array(["x,", *(f"{each}," for each in texts)], pa.string()).slice(1)
    return Operations(np.arange(len(texts)), column, paths)


def packed(packer, *chunks):
    """All batches of some chunks."""
    batches = [batch for each in chunks for batch in packer.add(each)]
    return [*batches, *packer.flush()]


def told(batches):
    """What the bodies say, one list a batch."""
    return [json.loads(each.body())["batch"] for each in batches]


SIZES = st.lists(st.lists(st.integers(1, 40), max_size=12), max_size=6)


@given(SIZES, st.integers(60, 200))
def test_batches_are_tight_and_lose_nothing(chunks, body_bytes_max):
    """Each stays below the limit, and the next operation would not have fitted in."""
    numbers = iter(range(10**6))
    texts = [
        [f'"{next(numbers)}{"x" * size}"' for size in sizes if size + 10 < body_bytes_max - 13]
        for sizes in chunks
    ]
    batches = packed(Packer(body_bytes_max), *map(operations, texts))
    flat = [json.loads(each) for some in texts for each in some]
    assert [each for said in told(batches) for each in said] == flat
    bodies = [each.body() for each in batches]
    assert all(len(each) < body_bytes_max for each in bodies)
    for body, after in zip(bodies, told(batches)[1:], strict=False):
        assert len(body) + 1 + len(json.dumps(after[0])) >= body_bytes_max
    assert [each.count for each in batches] == [len(each) for each in told(batches)]


@settings(max_examples=10)
@given(st.integers(31_000, 32_000), st.integers(1, 40))
def test_operations_at_the_limit_are_packed_below_500_kb(size, count):
    """As large as v2 takes them."""
    batches = packed(Packer(), operations([f'"{"x" * (size - 2)}"' for _ in range(count)]))
    assert sum(each.count for each in batches) == count
    assert all(len(each.body()) < BODY_BYTES_MAX for each in batches)
    assert len(batches) == -(-count // ((BODY_BYTES_MAX - 13) // (size + 1)))


def test_the_last_byte_counts():
    """A body of 499,999 bytes goes out whole; one byte more makes two."""
    texts = ["1" * 49_000] * 9
    rest = BODY_BYTES_MAX - 1 - len('{"batch":[]}') - sum(len(each) + 1 for each in texts)
    (batch,) = packed(Packer(), operations([*texts, "1" * rest]))
    assert len(batch.body()) == BODY_BYTES_MAX - 1
    assert len(packed(Packer(), operations([*texts, "1" * (rest + 1)]))) == 2


def test_an_operation_larger_than_a_batch_goes_by_itself():
    """Nothing waits for ever."""
    batches = packed(Packer(50), operations(['"a"', f'"{"x" * 90}"', '"b"']))
    assert [each.count for each in batches] == [1, 1, 1]


@given(SIZES.filter(lambda chunks: sum(map(len, chunks)) > 1))
def test_halves_hold_the_same_operations_in_order(chunks):
    """A refused batch is cut in the middle until one operation stands alone."""
    texts = [[f'"{"x" * size}"' for size in sizes] for sizes in chunks]
    (batch,) = packed(Packer(), *map(operations, texts))
    left, right = batch.halves()
    assert [*told([left])[0], *told([right])[0]] == told([batch])[0]
    assert left.count == batch.count // 2
    assert all(len(each) for half in (left, right) for each in half.segments)


def test_what_travels_by_itself_leaves_at_once():
    """v1: one request for each operation, the operation its body."""
    paths = pa.array(["/a", "/b"])
    packer = Packer()
    assert list(packer.add(operations(['"waits"']))) == []
    singles = list(packer.add(operations(["{}", ""], paths)))
    assert [(each.path, each.body(), each.count) for each in singles] == [
        ("/a", b"{}", 1),
        ("/b", b"", 1),
    ]
    assert all(each.single for each in singles)
    (waiting,) = packer.flush()
    assert told([waiting]) == [["waits"]]
    assert list(packer.flush()) == []
