"""A row travels as the README says, and through few modules."""

import re
from itertools import pairwise

import pytest

from tests.tools.row_path import AIM, PACKAGE, ROOT, ROWS, modules, path_of, running

RUNNING_MAX = 45
"""With those that run without the row: 40, and on a slow machine, where a run takes longer than the
half second after which its course is noted, those that note and show it."""

README = (ROOT / "README.md").read_text("utf-8")
SECTION = README.partition("## How a row travels\n")[2].partition("\n## ")[0]
ROOMS = re.findall(r"^\d\. `(\w+)/` (.*?)(?=^\d\. |^$)", SECTION, re.MULTILINE | re.DOTALL)
"""Each numbered room, with what is said of it."""


@pytest.fixture(scope="module", params=ROWS)
def path(request):
    """The calls that a row makes."""
    return path_of(request.param)


def steps(room, said):
    """Where the steps of a room stand, as the README says: the module and the function."""
    for function, files in re.findall(r"`(\w+)`\s+in\s+((?:`\w+\.py`(?:,\s+|\s+or\s+)?)+)", said):
        yield from ((f"{room}/{file}", function) for file in re.findall(r"\w+\.py", files))


def test_a_row_enters_the_rooms_in_the_order_of_the_readme(path):
    """At the steps that are named there; each room has one."""
    entered = []
    for room, said in ROOMS:
        named = set(steps(room, said))
        found = (at for at, each in enumerate(path) if (each.module, each.name) in named)
        entered.append(next(found, None))

    assert len(entered) == 5
    assert None not in entered
    assert all(before < after for before, after in pairwise(entered))


def test_every_file_that_the_readme_names_is_there():
    """So that whoever follows a row finds its steps."""
    for room, said in ROOMS:
        for module, function in steps(room, said):
            assert re.search(rf"\bdef {function}\(", (PACKAGE / module).read_text("utf-8"))
    for module in re.findall(r"`(\w+/\w+\.py)`", SECTION):
        assert (PACKAGE / module).exists()


def test_a_row_passes_few_modules(path):
    """What a reader has to know who follows it; `make check` tells the figures."""
    passed, meanwhile = modules(path), running(path)

    assert len(passed) <= AIM, "\n".join(passed)
    assert len(meanwhile) <= RUNNING_MAX, "\n".join(sorted(meanwhile))
