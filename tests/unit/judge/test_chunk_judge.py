"""What both passes do with a chunk."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from backfill.encoding.members import Members
from backfill.judge.chunk_judge import digest_of
from backfill.operations.encode import Subjects


def subjects(validity=b"\x03"):
    """Two rows; the bits of `validity` behind them are nobody's."""
    moments = np.array([1, 2], np.int64).tobytes()
    buffers = [pa.py_buffer(validity), pa.py_buffer(moments)]
    return Subjects(
        np.array([1, 2], np.int64),
        pa.array(["a", "bc"]),
        Members.of_text(pa.array(['"x":1', ""])),
        pa.array(["seen", "seen"]),
        pa.Array.from_buffers(pa.int64(), 2, buffers),
    )


def test_a_digest_is_of_rows_and_not_of_what_memory_holds_behind_them():
    """Arrow leaves the last bits of a buffer as they are: two passes may find others there."""
    assert digest_of(subjects()) == digest_of(subjects(b"\xff"))
    several = subjects().take(np.array([1]))
    assert digest_of(several) == digest_of(replace(several, person=pa.array(["bc"])))


@pytest.mark.parametrize(
    "change",
    [
        {"rows": np.array([1, 3], np.int64)},
        {"person": pa.array(["ab", "c"])},
        {"members": Members.of_text(pa.array(["", '"x":1']))},
        {"name": pa.array(["seen", "heard"])},
        {"micros": pa.array([1, 3], pa.int64())},
    ],
)
def test_a_digest_tells_whatever_a_transform_changes(change):
    """Else rows could be sent that nobody planned."""
    assert digest_of(replace(subjects(), **change)) != digest_of(subjects())
