"""What the docstrings show is what comes out."""

import doctest
import importlib
from pathlib import Path

import pytest

import backfill

PACKAGE = Path(backfill.__path__[0])
SHOWING = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text("utf-8")]


@pytest.mark.parametrize("path", SHOWING, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_example_gives_what_it_shows(path):
    """As if it was typed into Python."""
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)

    result = doctest.testmod(importlib.import_module(name))

    assert result.failed == 0
