"""Makes the files in `nights/`: `python make_nights.py [FOLDER]`.

What a shop exports on three nights: everybody, each night anew, and what they did since the last
one. People join, change and leave, and a file comes two nights late. All is invented, and the same
on every machine.
"""

import csv
import random
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

NIGHTS = 3
PEOPLE = 60
JOIN, CHANGE, LEAVE = 3, 4, 2
EVENTS = 40
FIRST_DAY = datetime(2025, 3, 1, tzinfo=UTC)

PLANS = ("free", "basic", "premium")
CITIES = ("Köln", "Lyon", "Porto", "Łódź", "")
ACTIVITIES = ("signed_in", "product_viewed", "cart_updated")

Person = tuple[str, str, str, str, str]


def make(folder: Path) -> None:
    """Write every file."""
    rng = random.Random(20250301)
    people = {person[0]: person for person in (_person(rng, n) for n in range(1, PEOPLE + 1))}
    late: list[Sequence[str]] = []
    for night in range(1, NIGHTS + 1):
        home = folder / str(night)
        home.mkdir(parents=True, exist_ok=True)
        if night > 1:
            _pass_by(rng, people, night)
        _write(
            home / "customers.csv", ("id", "email", "signed_up", "plan", "city"), people.values()
        )
        # Who is there on the last night was there on every one before: no event lacks its person.
        lasting = sorted(people)[: PEOPLE // 2]
        done = [_event(rng, lasting, night, number) for number in range(EVENTS)]
        if night == 1:
            done, late = done[:-5], done[-5:]
        _write_events(home, night, "", done)
    _write_events(folder / str(NIGHTS), 1, "-late", late)


def _pass_by(rng: random.Random, people: dict[str, Person], night: int) -> None:
    """A day on which people join, change their plan, and leave."""
    for key in rng.sample(sorted(people), CHANGE):
        number, email, signed_up, plan, city = people[key]
        other = PLANS[(PLANS.index(plan) + 1) % len(PLANS)]
        people[key] = (number, email, signed_up, other, city)
    for key in rng.sample(sorted(people)[PEOPLE // 2 :], LEAVE):
        del people[key]
    first = PEOPLE + (night - 2) * JOIN + 1
    people.update({each[0]: each for each in (_person(rng, first + n) for n in range(JOIN))})


def _person(rng: random.Random, number: int) -> Person:
    joined = FIRST_DAY - timedelta(minutes=rng.randrange(60 * 24 * 900))
    return (
        f"C{number:04}",
        f"customer{number}@example.com",
        joined.strftime("%Y-%m-%d %H:%M"),
        rng.choice(PLANS),
        rng.choice(CITIES),
    )


def _event(rng: random.Random, people: Sequence[str], night: int, number: int) -> Sequence[str]:
    at = FIRST_DAY + timedelta(days=night - 1, minutes=30 * number + rng.randrange(30))
    activity = rng.choice(ACTIVITIES)
    return f"E{night}{number:03}", rng.choice(people), activity, at.isoformat(timespec="seconds")


def _write_events(home: Path, night: int, ending: str, rows: Iterable[Sequence[str]]) -> None:
    day = (FIRST_DAY + timedelta(days=night - 1)).date()
    _write(home / f"events-{day}{ending}.csv", ("event_id", "customer", "event", "at"), rows)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("nights"))
