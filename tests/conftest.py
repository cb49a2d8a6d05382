"""What every test starts from."""

import gc
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.examples import examples

# A shared machine may pause any test. CI tries new examples too, which Hypothesis would not do by
# itself: a test that fails now and then is to be seen, with the way to repeat it.
ANYWHERE = settings.get_profile("default")
settings.register_profile(
    "suite", ANYWHERE, deadline=None, print_blob=True, max_examples=examples(100)
)
settings.load_profile("suite")

# A run asks some thirty times that what it wrote be safe on the disk, and waits for it: in memory
# that takes no time. What a real disk does is `TMPDIR=/tmp make test`, and `make flakes`.
MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 << 30
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Refuse two tests of one name: with `--dist loadfile` only one of them would run."""
    found = Counter(each.nodeid for each in items)
    if twice := [name for name, count in found.items() if count > 1]:
        raise pytest.UsageError(f"several tests are named {', '.join(twice)}")


def pytest_collection_finish() -> None:
    """Look for garbage among what tests make, not among thousands of tests and all modules."""
    gc.collect()
    gc.freeze()
