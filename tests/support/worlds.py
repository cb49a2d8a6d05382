"""A small invented history, ugly rows included, and the truth about every row of it."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FIRST_S = 1_600_000_000
STEP_S = 61
"""From event to event: no two share a moment, except copies of one row."""

NAMES = ("bought", "seen", "asked", "left")
NOTES = (
    "",
    "plain",
    'a "quoted" word',
    "comma, here",
    "two\nlines",
    "Zoë ☕",
    "=1+1",
    "back\\slash",
)

PIPELINE = """
name = "{name}"
[[source]]
kind = "customers"
files = ["customers-*.csv"]
identifier = {{ id = "customer_id" }}
required = ["email"]
[source.columns]
age = "integer"
created_at = {{ from = "signed_up", type = "timestamp", timezone = "UTC", format = "%Y-%m-%d %T" }}
"""
EVENTS = """
[[source]]
kind = "events"
files = ["{file}"]
identifier = {{ id = "customer_id" }}
name = {{ from = "event" }}
timestamp = {{ from = "at", timezone = "UTC"{format} }}
identical_rows = "keep"
[source.columns]
n = "integer"
amount = "number"
"""

Place = tuple[str, int]
"""A file and a row of it, from 1."""


@dataclass(slots=True)
class World:
    """What was invented.

    Args:
        pipeline: The pipeline file.
        people: What each person's attributes must be.
        carriers: Which rows make each person: the first carries the others.
        events: Every good event by its number: who, name, moment, attributes.
        copies: The rows of each event; several where a row stands more than once.
        rejected: The codes of every bad row.
        rows: How many rows there are.
    """

    pipeline: Path
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    carriers: dict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    events: dict[int, tuple[str, str, int, dict[str, Any]]] = field(default_factory=dict)
    copies: dict[int, list[Place]] = field(default_factory=lambda: defaultdict(list))
    rejected: dict[Place, set[str]] = field(default_factory=dict)
    rows: int = 0

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self.pipeline.parent


def invent(
    folder: Path, seed: int, *, people: int = 60, events: int = 600, filling_bytes: int = 0
) -> World:
    """Write a world's files.

    Args:
        folder: Where; it must exist.
        seed: The same seed gives the same world.
        people: How many people there are.
        events: How many rows of events, roughly.
        filling_bytes: How much each event carries besides.
    """
    random = Random(seed)
    world = World(folder / "pipeline.toml")
    _people(world, random, people)
    ids = list(world.people)
    third = events // 3
    text = PIPELINE.format(name=f"world-{seed}")
    for place, (name, write) in enumerate(_WAYS.items()):
        numbers = range(place * third, (place + 1) * third)
        write(world, name, _events(world, name, random, ids, numbers, "x" * filling_bytes))
        written = "" if name.endswith("parquet") else ', format = "iso8601"'
        text += EVENTS.format(file=name, format=written)
    world.pipeline.write_text(text, "utf-8")
    return world


def _people(world: World, random: Random, count: int) -> None:
    """Two files of customers; some people in several rows, some rows no good."""
    order = [f"p{index:05}" for index in range(count)]
    order += random.sample(order, count // 5) + random.sample(order, count // 10)
    header = ["customer_id", "email", "plan", "age", "signed_up"]
    half = len(order) // 2
    for name, some in (("customers-1.csv", order[:half]), ("customers-2.csv", order[half:])):
        rows: list[list[str]] = []
        for person in some:
            if random.random() < 0.05:
                rows.append(_bad_person(world, random, person, (name, len(rows) + 1)))
                world.rows += 1
            rows.append(_good_person(world, random, person, (name, len(rows) + 1)))
            world.rows += 1
        with (world.folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])


def _good_person(world: World, random: Random, person: str, place: Place) -> list[str]:
    signed_s = FIRST_S - random.randrange(1_000_000)
    plan = random.choice(("gold", "silver", ""))
    age = random.choice(("", str(random.randrange(18, 90))))
    said = {"email": f"{person}@example.com", "created_at": signed_s}
    said |= {"plan": plan} if plan else {}
    said |= {"age": int(age)} if age else {}
    world.people.setdefault(person, {}).update(said)
    world.carriers[person].append(place)
    return [
        person,
        said["email"],
        plan,
        age,
        datetime.fromtimestamp(signed_s, UTC).strftime("%F %T"),
    ]


def _bad_person(world: World, random: Random, person: str, place: Place) -> list[str]:
    good = [person, "x@example.com", "never", "1", "2020-01-01 00:00:00"]
    code, change = random.choice(
        [
            ("required_missing", {1: ""}),
            ("not_an_integer", {3: "young"}),
            ("identifier_missing", {0: ""}),
            ("timestamp_unreadable", {4: "last year"}),
            ("too_many_fields", {4: "2020-01-01 00:00:00,more"}),
        ]
    )
    world.rejected[place] = {code}
    row = [change.get(at, cell) for at, cell in enumerate(good)]
    return row[:4] + row[4].split(",")


def _events(
    world: World, file: str, random: Random, people: list[str], numbers: range, filling: str
) -> list[dict[str, Any]]:
    """Rows of events, some of them twice, some no good."""
    rows: list[dict[str, Any]] = []
    for n in numbers:
        row = {
            "customer_id": random.choice(people),
            "event": random.choice(NAMES),
            "at": FIRST_S + n * STEP_S,
            "n": n,
            "amount": random.randrange(1, 100_000) / 100,
            "note": random.choice(NOTES),
            "filling": filling,
        }
        if random.random() < 0.04:
            rows.append(_bad_event(world, random, row, (file, len(rows) + 1)))
            continue
        said = {"n": n, "amount": row["amount"]}
        said |= {name: row[name] for name in ("note", "filling") if row[name]}
        world.events[n] = (row["customer_id"], row["event"], row["at"], said)
        for _ in range(2 if random.random() < 0.02 else 1):
            rows.append(row)
            world.copies[n].append((file, len(rows)))
    world.rows += len(rows)
    return rows


def _bad_event(world: World, random: Random, row: dict[str, Any], place: Place) -> dict[str, Any]:
    code, change = random.choice(
        [
            ("identifier_missing", {"customer_id": " "}),
            ("name_missing", {"event": ""}),
            ("name_too_long", {"event": "é" * 51}),
            ("timestamp_too_early", {"at": 1}),
            ("timestamp_missing", {"at": None}),
        ]
    )
    world.rejected[place] = {code}
    return row | change


def _iso(row: dict[str, Any]) -> dict[str, Any]:
    at = row["at"]
    return row | {"at": "" if at is None else datetime.fromtimestamp(at, UTC).isoformat()}


def _write_csv(world: World, name: str, rows: list[dict[str, Any]]) -> None:
    """CSV, with some lines between that are no rows at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["customer_id", "event", "at", "n", "amount", "note", "filling"])
    writer.writerows(_iso(row).values() for row in rows)
    body = text.getvalue().encode()
    for code, line in (
        ("too_few_fields", b"p00000,seen\r\n"),
        ("invalid_utf8", b"p00000,seen,2020-09-13T12:26:40+00:00,1,1,\xff,\r\n"),
        ("quote_out_of_place", b'p00000,seen,2020-09-13T12:26:40+00:00,1,1,a"b,\r\n'),
    ):
        body += line
        rows.append({})
        world.rows += 1
        world.rejected[name, len(rows)] = {code}
    (world.folder / name).write_bytes(body)


def _write_parquet(world: World, name: str, rows: list[dict[str, Any]]) -> None:
    columns: dict[str, tuple[pa.DataType, Callable[[Any], Any]]] = {
        "customer_id": (pa.string(), str),
        "event": (pa.dictionary(pa.int32(), pa.string()), str),
        "at": (pa.timestamp("us", "UTC"), lambda s: None if s is None else s * 1_000_000),
        "n": (pa.int64(), int),
        "amount": (pa.float64(), float),
        "note": (pa.string(), lambda note: note or None),
        "filling": (pa.string(), lambda filling: filling or None),
    }
    table = pa.table(
        {
            column: pa.array([made(row[column]) for row in rows], type_)
            for column, (type_, made) in columns.items()
        }
    )
    pq.write_table(table, world.folder / name, row_group_size=max(len(rows) // 4, 100))


def _write_lines(world: World, name: str, rows: list[dict[str, Any]]) -> None:
    lines = [
        json.dumps({key: value for key, value in _iso(row).items() if value != ""}) for row in rows
    ]
    for code, line in (
        ("invalid_json", '{"customer_id": "p00000", '),
        ("not_an_object", '["p00000"]'),
        ("duplicate_key", '{"customer_id": "p00000", "n": 1, "n": 2}'),
    ):
        lines.append(line)
        world.rows += 1
        world.rejected[name, len(lines)] = {code}
    (world.folder / name).write_text("\n".join(lines), "utf-8")


_WAYS = {
    "events-1.csv": _write_csv,
    "events-2.parquet": _write_parquet,
    "events-3.jsonl": _write_lines,
}
