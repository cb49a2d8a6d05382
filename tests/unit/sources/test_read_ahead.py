"""Ranges read ahead: always the bytes that were asked for, and never many at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.sources.read_ahead import (
    FIRST_BYTES,
    HELD_BYTES_MAX,
    RANGE_BYTES,
    ReadAhead,
    ReadingPlan,
)


class Remote:
    """A file far away that counts what is fetched and what is held of it."""

    def __init__(self, size: int) -> None:
        self.content = bytes(range(256)) * (size // 256 + 1)
        self.size = size
        self.fetched: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def fetch(self, start: int, stop: int) -> memoryview:
        """The bytes of a range."""
        assert 0 <= start < stop <= self.size
        with self._lock:
            self.fetched.append((start, stop))
        return memoryview(self.content)[start:stop]


@pytest.fixture(scope="module")
def threads():
    """Where ranges are fetched."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


PLANS = st.builds(
    ReadingPlan, st.integers(1, 3_000), st.integers(3_000, 9_000), ahead=st.integers(0, 3)
)


@given(
    size=st.integers(0, 50_000),
    plan=PLANS,
    reads=st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 20_000)), max_size=20),
)
def test_whatever_is_read_is_what_is_there(threads, size, plan, reads):
    """In any order, across ranges and beyond the end."""
    remote = Remote(size)
    with ReadAhead(remote.fetch, size, threads, plan) as file:
        for at, count in reads:
            file.seek(at)
            assert file.read(count) == remote.content[min(at, size) : min(at + count, size)]
            assert file.tell() >= min(at, size)


def test_a_header_costs_little(threads):
    """Reading goes no further than it must before it goes on."""
    remote = Remote(100 << 20)
    with ReadAhead(remote.fetch, remote.size, threads, ReadingPlan()) as file:
        file.read(65_536)
    assert remote.fetched == [(0, FIRST_BYTES)]


def test_reading_on_fetches_each_byte_once(threads):
    """And nothing beyond the end."""
    remote = Remote(50 << 20)
    with ReadAhead(remote.fetch, remote.size, threads, ReadingPlan()) as file:
        while file.read(1 << 20):
            assert file.held_bytes <= HELD_BYTES_MAX + 2 * RANGE_BYTES
    assert sum(stop - start for start, stop in remote.fetched) == remote.size


def test_columns_are_read_side_by_side(threads):
    """A row group of forty columns and 400 MB: every column in its turn, each byte about once."""
    columns, width = 40, 10 << 20
    remote = Remote(64)
    remote.size = columns * width
    fetched = []

    def fetch(start: int, stop: int) -> memoryview:
        fetched.append(stop - start)
        return memoryview(bytes(stop - start))

    plan = ReadingPlan.for_columns(columns, columns * width)
    with ReadAhead(fetch, remote.size, threads, plan) as file:
        for step in range(16):
            for column in range(columns):
                file.seek(column * width + step * (1 << 18))
                file.read(1 << 18)
                assert file.held_bytes <= HELD_BYTES_MAX + 2 * plan.range_bytes
    assert sum(fetched) <= columns * (16 * (1 << 18) + 2 * plan.range_bytes)


def test_what_fails_to_be_fetched_fails_to_be_read(threads):
    """And the error is the one of the fetch, also for what was fetched ahead."""

    def fetch(start: int, _: int) -> memoryview:
        if start:
            raise PermissionError("not for you")
        return memoryview(bytes(FIRST_BYTES))

    with ReadAhead(fetch, 3 * FIRST_BYTES, threads, ReadingPlan()) as file:
        assert file.read(FIRST_BYTES) == bytes(FIRST_BYTES)
        with pytest.raises(PermissionError, match="not for you"):
            file.read(1)
