"""A source that changes from night to night, and what the workspace must hold after each."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.support.workspaces import Workspace

PIPELINE = """
name = "nightly"
[[source]]
kind = "customers"
files = ["customers.csv"]
identifier = { id = "id" }
nulls = "clear"
[source.columns]
age = "integer"
[source.sync]
vanished = "delete"
deletes_max = "20%"

[[source]]
kind = "events"
files = ["events-*.csv"]
identifier = { id = "person" }
name = { from = "event" }
timestamp = { from = "at", timezone = "UTC", format = "iso8601" }
key = ["key"]
unknown_people = "send"
"""
PEOPLE = 200
EVENTS = 300


@dataclass
class Nights:
    """A source and its truth.

    Args:
        folder: Where the pipeline file and the exports are.
        seed: The same seed gives the same nights.
    """

    folder: Path
    seed: int = 1
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, str] = field(default_factory=dict)
    made: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.pipeline.write_text(PIPELINE)

    @property
    def pipeline(self) -> Path:
        """The pipeline file."""
        return self.folder / "pipeline.toml"

    def first(self) -> None:
        """Everybody is new."""
        for _ in range(PEOPLE):
            self._join()
        self.export()
        self.add_events("events-1.csv")

    def pass_by(self) -> None:
        """People join, change and leave; what they did stands in a new file."""
        for person in self.random.sample(sorted(self.people), 12):
            self.people[person] = self._says()
        for person in self.random.sample(sorted(self.people), 5):
            del self.people[person]
        for _ in range(7):
            self._join()
        self.export()
        self.made += 1
        self.add_events(f"events-{self.made + 1}.csv")

    def export(self) -> None:
        """Write everybody down, in any order."""
        rows = [
            [person, *("" if each is None else each for each in said.values())]
            for person, said in self.people.items()
        ]
        self.random.shuffle(rows)
        (self.folder / "customers.csv").write_text(_csv(["id", "plan", "age"], rows))

    def add_events(self, name: str) -> None:
        """Write down what people did."""
        rows = []
        for _ in range(EVENTS):
            key = f"k{len(self.events)}"
            person = self.random.choice(sorted(self.people))
            minute = len(self.events)
            at = f"2024-01-{1 + minute // 1440:02}T{minute // 60 % 24:02}:{minute % 60:02}:00Z"
            self.events[key] = person
            rows.append([person, "seen", at, key])
        (self.folder / name).write_text(_csv(["person", "event", "at", "key"], rows))

    def check(self, sandbox: Workspace) -> None:
        """Compare the workspace with the source, person by person and event by event."""
        # An event makes a bare profile of somebody who left before they were ever told of.
        there = {
            name: each["attributes"] for name, each in sandbox.people().items() if not each["bare"]
        }
        assert there == {
            person: {key: value for key, value in said.items() if value is not None}
            for person, said in self.people.items()
        }
        happened = [each["attributes"]["key"] for each in sandbox.events()]
        assert len(set(happened)) == len(happened), "an event is there twice"
        kept = {key for key, person in self.events.items() if person in self.people}
        assert kept <= set(happened) <= self.events.keys()

    def _join(self) -> None:
        joined = max((int(each[1:]) for each in self.people), default=0) + 1
        self.people[f"p{joined}"] = self._says()

    def _says(self) -> dict[str, Any]:
        return {
            "plan": self.random.choice(("gold", "silver", None)),
            "age": self.random.choice((None, self.random.randrange(18, 90))),
        }


def _csv(header: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()
