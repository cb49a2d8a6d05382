"""Memory that nobody uses any more is given back."""

import sys

import numpy as np
import pytest

from backfill.sources.inputs import UnusedMemory, resident_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="only there it is known and given back")
def test_holes_between_what_is_in_use_are_given_back():
    """The last piece of a heap may be in use for long: all before it would stay with us."""
    memory = UnusedMemory(from_bytes=0)
    memory.give_back()
    # Each smaller than what the C library asks the system for by itself.
    pieces = [np.ones(100_000, np.uint8) for _ in range(1_000)]
    last, taken = pieces[-1], resident_bytes()
    pieces.clear()

    memory.give_back()

    assert last.all()
    assert taken - resident_bytes() > 50_000_000
