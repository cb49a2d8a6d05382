"""A source that grows between runs that are stopped or killed: nothing is lost, nothing doubled.

`JOBS=100 make test ARGS="-k growing"` tries more of them.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from backfill.commands.retry import retry_mode
from backfill.engine.options import Stop
from backfill.errors import ExitCode
from tests.support.checker import check_law, reported_in
from tests.support.fake_delivery import FakeDelivery, Operation
from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job
from tests.support.runs import ctrl_c, run_in_no_time

JOBS = int(os.environ.get("JOBS", "5"))
PEOPLE = 8
KINDS = ("customers", "events")
ENDS = ("whole", "stop", "kill")
CHOICES = 'identical_rows = "keep"\nunknown_people = "reject"\n'

Event = tuple[str, str]
"""Whose it is, and its number: some are alike in every field."""


@dataclass
class Growing:
    """Exports that grow at their ends, and files that join; and what their rows say.

    Args:
        folder: Where they are.
        dice: Draws what is added.
    """

    folder: Path
    dice: Random
    files: int = 0
    people: dict[str, dict[str, str]] = field(default_factory=dict)
    events: dict[tuple[str, int], Event] = field(default_factory=dict)

    def grow(self, kind: str) -> None:
        """Add rows to the last file, or another file."""
        names = sorted(each.name for each in self.folder.glob(f"{kind}-*.csv"))
        if not names or self.dice.random() < 0.4:
            self.files += 1
            names = [f"{kind}-{self.files:03}.csv"]
            head = "id,a,b\n" if kind == "customers" else HEADER
            (self.folder / names[-1]).write_text(head)
        path = self.folder / names[-1]
        lines = path.read_text().splitlines()
        for row in range(len(lines), len(lines) + self.dice.randrange(1, 8)):
            lines.append(self._row(kind, path.name, row))
        path.write_text("\n".join(lines) + "\n")

    def _row(self, kind: str, file: str, row: int) -> str:
        person, number = f"p{self.dice.randrange(PEOPLE)}", self.dice.randrange(10)
        if kind == "customers":
            said = {name: f"{row}{number}" for name in "ab" if self.dice.random() < 0.6}
            self.people.setdefault(person, {}).update(said)
            return f"{person},{said.get('a', '')},{said.get('b', '')}"
        self.events[file, row] = person, str(number)
        return f"{person},seen,2024-01-01T00:00:0{number}Z,{number}"


def _events(operations: Iterable[Operation]) -> Counter[Event]:
    """The events that arrived, each id once."""
    ids = {
        each["id"]: (each["identifiers"]["id"], each["attributes"]["n"])
        for each in operations
        if each["action"] == "event"
    }
    return Counter(ids.values())


def _people(operations: Iterable[Operation]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for each in operations:
        if each["action"] == "identify":
            person = found.setdefault(each["identifiers"]["id"], {})
            person.update(each.get("attributes", {}))
    return found


@pytest.mark.parametrize("seed", range(JOBS))
def test_a_growing_source_arrives_whole(tmp_path, seed):
    """Events are delivered or reported; a retry brings those whose people were named later.

    What was added says the newest of a person, and so it does where rows are added at the end.
    """
    dice = Random(seed)
    source = Growing(tmp_path, dice)
    pipeline = job(tmp_path, {}, CUSTOMERS, EVENTS + CHOICES)
    operations: list[Operation] = []
    for kind in KINDS:
        source.grow(kind)
    for end in [*dice.choices(ENDS, k=dice.randrange(2, 5)), "whole"]:
        for kind in dice.sample(KINDS, dice.randrange(3)):
            source.grow(kind)
        operations += _run(pipeline, end, dice)
    reported = reported_in(tmp_path / ".backfill/job")
    arrived, brought = _events(operations), Counter(source.events.values())
    assert arrived + Counter(source.events[place] for place in reported) == brought
    assert all(codes == {"unknown_person"} for codes in reported.values())
    assert _people(operations) == source.people

    if reported:
        operations += _run(pipeline, "whole", dice, mode=retry_mode(None))

    known = Counter(each for each in source.events.values() if each[0] in source.people)
    assert _events(operations) == known


def _run(pipeline: Path, end: str, dice: Random, **more) -> list[Operation]:
    """Run it, so that it is stopped or killed if it comes so far; give what arrived."""
    state, copy, stop = pipeline.parent / ".backfill", pipeline.parent / "copy", Stop()
    delivery = FakeDelivery(concurrency=dice.randrange(1, 4), latency_s=1.0)
    last = dice.randrange(1, 3)
    if end == "stop":
        delivery.on_answer = lambda number: ctrl_c(stop)() if number == last else None
    elif end == "kill":  # what stands on the disk just then is what a killed process leaves
        delivery.on_dispatch = lambda number, _: number == last and shutil.copytree(state, copy)
    ran = run_in_no_time(pipeline, delivery, stop=stop, append=True, **more)
    assert ran.exit in (ExitCode.DELIVERED, ExitCode.REJECTIONS, ExitCode.INTERRUPTED), ran.error
    check_law(ran.summary.as_dict())
    if copy.exists():
        shutil.rmtree(state)
        copy.rename(state)
    return delivery.operations
