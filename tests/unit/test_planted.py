"""The list of mistakes follows the code: `make mutants` takes long, and is not always run."""

from pathlib import Path

import pytest

import backfill
from tests.tools.mutants import planted
from tests.tools.planted import BUGS

TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_mistake_can_be_planted(bug):
    """What is to be replaced stands in its module once, and the tests that find it are there."""
    path = Path(backfill.__path__[0]) / bug.file

    compile(planted(path.read_text("utf-8"), bug), str(path), "exec")
    for test in bug.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (TESTS / file).read_text("utf-8") or not name
