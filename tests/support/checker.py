"""The judge of a finished job: truth from the generator, arrivals from the sandbox, our report.

The idea is that of Jepsen's `total-queue`: everything that was acknowledged must be there, and
nothing else.
"""

import json
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.programs import Ended
from tests.support.workspaces import Workspace
from tests.support.worlds import Place, World

SENT_KEY = b64encode(b"sandbox:sandbox").decode()
FROM_THE_API = {"refused", "unknown_outcome"}


class BrokenPromiseError(AssertionError):
    """Rows or commits were harmed; any other failure is one of a test, or of its machine."""


@dataclass(slots=True)
class Findings:
    """What is wrong; all of it empty means that the promise was kept.

    Args:
        lost: Events that were delivered or never heard of again, and are not there.
        phantom: Events that are there, and nobody brought.
        duplicated: Events that are there more often than they should be.
        misreported: Rows whose report does not say what became of them.
        people: People who are not as their rows say.
        disordered: People with an event before they were identified.
        differing: Event ids that were sent with different bodies.
    """

    lost: list[Any] = field(default_factory=list)
    phantom: list[Any] = field(default_factory=list)
    duplicated: list[Any] = field(default_factory=list)
    misreported: list[Any] = field(default_factory=list)
    people: list[Any] = field(default_factory=list)
    disordered: list[Any] = field(default_factory=list)
    differing: list[Any] = field(default_factory=list)


def must(condition: bool, told: object) -> None:
    """Refuse to go on where the promise is broken."""
    if not condition:
        raise BrokenPromiseError(told)


def check(
    world: World,
    workspace: Workspace,
    summary: Mapping[str, Any],
    folder: Path,
    *,
    forgetful: bool = False,
) -> Counter[str]:
    """Hold a finished job against the truth.

    Args:
        world: What was invented.
        workspace: Where it was sent.
        summary: What the last run printed.
        folder: The job's state directory.
        forgetful: Whether a kill may lose seconds of the journal, as with a state elsewhere:
            people may then be identified again after their events, never first.

    Returns:
        How the arrivals ended, by kind and outcome.
    """
    check_law(summary)
    must(summary["complete"] and summary["rows_read"] == world.rows, summary)
    reported = reported_in(folder)
    arrivals = workspace.arrivals()
    events = workspace.events()
    findings = Findings()
    refused = _misreported(world, reported, arrivals, findings)
    _events(world, events, refused, findings)
    _people(world, workspace.people(), refused, findings)
    _arrivals(arrivals, findings, forgetful=forgetful)
    must(findings == Findings(), findings)
    _figures(world, summary, workspace.stats(), refused)
    return Counter(f"{each['kind']} {each['outcome']}" for each in arrivals)


def check_law(summary: Mapping[str, Any]) -> None:
    """Every row is in exactly one place, in all and in each source."""
    for each in (summary, *summary["sources"]):
        ends = ("delivered", "rejected", "merged", "skipped", "pending")
        must(each["rows_read"] == sum(each[end] for end in ends), each)
    for figure in ("rows_read", "delivered", "rejected", "merged", "skipped", "pending", "deletes"):
        must(summary[figure] == sum(each[figure] for each in summary["sources"]), figure)
    must(not summary["complete"] or not summary["pending"], summary)
    # All zeros add up, too: what was sent came from rows, in the job and in the call.
    must(summary["rows_read"] or not summary["attempts"], summary)
    for figure in ("delivered", "attempts", "requests"):
        must(summary["this_run"][figure] <= summary[figure], summary)


def check_secrecy(folder: Path, told: Iterable[Ended]) -> None:
    """Nothing that was left or said holds the key as every request carries it."""
    for ended in told:
        must(SENT_KEY not in ended.stdout + ended.stderr, "the key was shown")
    for path in folder.rglob("*"):
        must(not path.is_file() or SENT_KEY.encode() not in path.read_bytes(), path)


def reported_in(folder: Path) -> dict[Place, set[str]]:
    """The reasons of every rejected row, from the lossless twin."""
    path = folder / "rejected.jsonl"
    found: dict[Place, set[str]] = {}
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        row = json.loads(line)
        place = row["source"], row["row"]
        must(place not in found, f"{place} is reported twice")
        found[place] = {each["code"] for each in row["reasons"]}
    return found


def _misreported(
    world: World,
    reported: Mapping[Place, set[str]],
    arrivals: Iterable[Mapping[str, Any]],
    findings: Findings,
) -> set[Place]:
    """Compare the rejected rows with those that had to be; give those that the API refused."""
    refused = {place for place, codes in reported.items() if codes & FROM_THE_API}
    ours = {place: codes for place, codes in reported.items() if place not in refused}
    for place in ours.keys() | world.rejected.keys():
        if ours.get(place) != world.rejected.get(place):
            findings.misreported.append((place, ours.get(place), world.rejected.get(place)))
    was_refused = {_moment(each) for each in arrivals if each["outcome"] == "rejected"}
    for n, (person, name, at_s, _) in world.events.items():
        rows = refused.intersection(world.copies[n])
        if rows and (person, name, at_s) not in was_refused:
            findings.misreported.append((sorted(rows), "refused", "never refused"))
    return refused


def _events(
    world: World, events: Iterable[Mapping[str, Any]], refused: set[Place], findings: Findings
) -> None:
    """What is there must be what was brought, each as often as it was brought.

    A refused event may be there all the same, if an answer before the refusal was lost.
    """
    there: Counter[tuple] = Counter()
    for each in events:
        there[*_moment(each, "timestamp"), _canonical(each["attributes"])] += 1
    for n, (person, name, at_s, attributes) in world.events.items():
        key = (person, name, at_s, _canonical(attributes))
        most = len(world.copies[n])
        least = most - len(refused.intersection(world.copies[n]))
        count = there.pop(key, 0)
        if count < least:
            findings.lost.append((key, count, least))
        elif count > most:
            findings.duplicated.append((key, count, most))
    findings.phantom += there


def _people(
    world: World, people: Mapping[str, Mapping[str, Any]], refused: set[Place], findings: Findings
) -> None:
    for person, attributes in world.people.items():
        rows = set(world.carriers[person])
        if rows & refused:
            if not rows <= refused:
                findings.misreported.append((person, "only some rows refused"))
        elif people.get(person, {}).get("attributes") != attributes:
            findings.people.append((person, people.get(person), attributes))
    findings.phantom += people.keys() - world.people.keys()


def _arrivals(
    arrivals: Iterable[Mapping[str, Any]], findings: Findings, *, forgetful: bool
) -> None:
    """Customers come first, and an id has one body for ever."""
    bodies: dict[str, set[str]] = defaultdict(set)
    with_events: set[str] = set()
    identified: set[str] = set()
    for each in arrivals:
        if each["kind"] == "identify":
            again = forgetful and each["person"] in identified
            identified.add(each["person"])
            if each["person"] in with_events and not again:
                findings.disordered.append(each["person"])
        elif each["event_id"] is not None:
            with_events.add(each["person"])
            bodies[each["event_id"]].add(each["body_hash"])
    findings.differing += [event_id for event_id, hashes in bodies.items() if len(hashes) > 1]


def _figures(
    world: World, summary: Mapping[str, Any], stats: Mapping[str, int], refused: set[Place]
) -> None:
    """The summary counts what the generator and the sandbox count.

    A person is refused with all their rows. Who or what was refused may be there all the same, if
    an answer before the refusal was lost.
    """
    events = [place for places in world.copies.values() for place in places]
    there = sum(place not in refused for place in events)
    accepted = [rows for rows in world.carriers.values() if not refused.intersection(rows)]
    told = f"{dict(summary)} against {dict(stats)} and {len(refused)} refused rows"
    must(summary["rejected"] == len(world.rejected) + len(refused), told)
    must(summary["rejections_by_reason"].get("refused", 0) == len(refused), told)
    must(summary["skipped"] == 0, told)
    must(summary["delivered"] == len(accepted) + there, told)
    must(summary["merged"] == sum(len(rows) - 1 for rows in accepted), told)
    must(there <= stats["events"] <= len(events), told)
    must(len(accepted) <= stats["people"] <= len(world.people), told)


def _moment(event: Mapping[str, Any], stamp: str = "occurred_s") -> tuple[str, str, float]:
    return event["person"], event["name"], event[stamp]


def _canonical(attributes: Mapping[str, Any]) -> str:
    """Attributes as one text; JSON has one kind of numbers, where 1.0 is 1."""
    alike = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in attributes.items()
    }
    return json.dumps(alike, sort_keys=True)
