"""Random conditions over a random history, each held to another way to count.

The oracle knows nothing of the sandbox: it takes the raw arrivals, works out whose each of them is
by a plain walk, and asks DuckDB in SQL of its own over typed columns. The sandbox takes the same
arrivals over HTTP and is asked for the same conditions.
"""

import json
import re
from collections import defaultdict
from random import Random

import duckdb
import httpx
import pytest

from backfill.sandbox import running
from tests.support.examples import examples

NOW_S = 1_790_000_000
DAY_S = 86_400
STARTED_S = NOW_S - 100 * DAY_S
CONDITIONS = examples(400)
NAMES = ("bought", "seen", " bought", "Bought")
TYPES = ("event", "page")
ODD = ("", "Nan", "Infinity", "1_000", " 1", "01", "1e2", "-0", "None", "null", "true", "42", "ü")
KEYS = ("size", "a.b", "nested", "plan", 'q"u')
VALUES = (None, True, False, 0, 1, -1, 42, 1.5, 100.0, *ODD, [1, "x"], {"b": 5, "c": {"d": "x"}})
EDGES_S = (0, 1, -1, 7 * DAY_S, 7 * DAY_S + 1, 7 * DAY_S - 1, 30 * DAY_S, 30 * DAY_S + 1)
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def history(die):
    """What arrives: (received, operation), in order; manual segments as (segment, ids)."""
    people = [f"p{number}" for number in range(60)]
    for step in range(900):
        received_s = STARTED_S + step * (NOW_S - STARTED_S) // 900
        who = {"type": "person", "identifiers": {"id": die.choice(people)}}
        kind = die.choices(
            ["event", "identify", "delete", "suppress", "unsuppress", "merge", "segment"],
            [50, 30, 4, 2, 3, 4, 3],
        )[0]
        data = {key: die.choice(VALUES) for key in die.sample(KEYS, die.randrange(4))}
        if kind == "event":
            at_s = NOW_S - die.choice([*EDGES_S, die.randrange(-DAY_S, 90 * DAY_S)])
            more = {"name": die.choice(NAMES), "timestamp": at_s, "attributes": data}
            yield received_s, {**who, "action": die.choice(TYPES), **more}
        elif kind == "identify":
            stamp = {"timestamp": received_s - die.choice([0, 5 * DAY_S])}
            yield received_s, {**who, "action": "identify", "attributes": data, **stamp}
        elif kind == "merge":
            one, other = die.sample(people, 2)
            both = {"primary": {"id": one}, "secondary": {"id": other}}
            yield received_s, {"type": "person", "action": "merge", **both}
        elif kind == "segment":
            yield received_s, (die.randrange(1, 4), die.sample(people, 5))
        else:
            yield received_s, {**who, "action": kind}


class Life:
    """A person from the first sign to the end; one who comes back is another."""

    def __init__(self, name, since_s):
        self.name, self.since_s = name, since_s
        self.changes = [(-1, 0, {"created_at": int(since_s)})]
        self.events, self.segments = [], set()

    def attributes(self):
        """As they are now: the latest stamp wins, nothing and the empty text remove."""
        found = {}
        for _, _, change in sorted(self.changes, key=lambda each: each[:2]):
            found.update(change)
            found = {key: value for key, value in found.items() if value not in (None, "")}
        return found


def lives(arrivals):  # noqa: C901  # each kind of operation, in order
    """Everyone who is there at the end."""
    alive, suppressed = {}, set()

    def of(name, received_s):
        return alive.setdefault(name, Life(name, received_s))

    for number, (received_s, operation) in enumerate(arrivals, 1):
        if isinstance(operation, tuple):
            segment, names = operation
            for name in names:
                if name in alive:
                    alive[name].segments.add(segment)
            continue
        action = operation["action"]
        if action == "merge":
            one, other = operation["primary"]["id"], operation["secondary"]["id"]
            if one in alive and other in alive:
                primary, secondary = alive[one], alive.pop(other)
                own, theirs = primary.attributes(), secondary.attributes()
                gained = {key: theirs[key] for key in theirs.keys() - own.keys()}
                primary.changes.append((received_s, number, gained))
                primary.events += secondary.events
                primary.segments |= secondary.segments
            continue
        name = operation["identifiers"]["id"]
        if action == "unsuppress":
            suppressed.discard(name)
        elif name in suppressed:
            continue
        elif action == "delete":
            alive.pop(name, None)
        elif action == "suppress":
            alive.pop(name, None)
            suppressed.add(name)
        elif action == "identify":
            change = (operation["timestamp"], number, operation["attributes"])
            of(name, received_s).changes.append(change)
        else:
            event = (operation["name"].strip(), action, operation["timestamp"])
            of(name, received_s).events.append((*event, operation["attributes"]))
    return list(alive.values())


def typed(value):
    """A value as text and as number, either of which may be missing."""
    if value is None:
        return None, None
    if isinstance(value, str):
        return value, float(value) if NUMBER.fullmatch(value) else None
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return text, float(value) if is_number else None


def paths(data):
    """Every value in the data of an event, by the tuple of names that leads there."""
    for key, value in data.items():
        yield (key,), value
        if isinstance(value, dict):
            yield from (((key, *rest), inner) for rest, inner in paths(value))


class Oracle:
    """The same question, asked of typed columns."""

    def __init__(self, people):
        self.db = duckdb.connect(":memory:")
        self.db.execute("CREATE TABLE who (n INT, name TEXT, since_s DOUBLE)")
        self.db.execute("CREATE TABLE attrs (n INT, key TEXT, text TEXT, number DOUBLE)")
        self.db.execute("CREATE TABLE evts (n INT, e INT, name TEXT, kind TEXT, at_s DOUBLE)")
        self.db.execute("CREATE TABLE data (e INT, path TEXT, text TEXT, number DOUBLE)")
        self.db.execute("CREATE TABLE held (n INT, segment INT)")
        rows = defaultdict(list)
        for n, life in enumerate(people):
            rows["who"].append((n, life.name, life.since_s))
            rows["held"] += [(n, segment) for segment in life.segments]
            rows["attrs"].append((n, "id", *typed(life.name)))
            rows["attrs"] += [(n, key, *typed(v)) for key, v in life.attributes().items()]
            for name, kind, at_s, data in life.events:
                e = len(rows["evts"])
                rows["evts"].append((n, e, name, kind, at_s))
                rows["data"] += [(e, json.dumps(path), *typed(v)) for path, v in paths(data)]
        for table, found in rows.items():
            marks = ", ".join("?" * len(found[0]))
            self.db.executemany(f"INSERT INTO {table} VALUES ({marks})", found)

    def members(self, condition):
        """The names of those for whom the condition holds."""
        sql = f"SELECT name FROM who WHERE {self.sql(condition)}"
        return {name for (name,) in self.db.execute(sql).fetchall()}

    def sql(self, condition):
        """A predicate over `who`."""
        ((kind, value),) = condition.items()
        if kind in ("and", "or"):
            parts = [f"({self.sql(each)})" for each in value]
            return f" {kind} ".join(parts) or ("TRUE" if kind == "and" else "FALSE")
        if kind == "not":
            return f"NOT ({self.sql(value)})"
        if kind == "segment":
            return f"EXISTS (FROM held WHERE held.n = who.n AND segment = {value})"
        return self.event(value) if kind == "event" else self.attribute(value)

    def event(self, event):
        """Counts in a correlated subquery, compared with the bounds."""
        tests = [f"name = {quoted(event['name'].strip())}"]
        since_s = NOW_S - event.get("within_days", 0) * DAY_S
        if "type" in event:
            tests.append(f"kind = {quoted(event['type'])}")
        if "within_days" in event:
            tests.append(f"at_s >= {since_s} AND at_s <= {NOW_S}")
        if "since" in event:
            tests.append(f"at_s >= {event['since']}")
        if "until" in event:
            tests.append(f"at_s <= {event['until']}")
        for key, comparison in event.get("where", {}).items():
            names = [key[1:]] if key.startswith("/") else key.split(".")
            given = f"FROM data WHERE data.e = evts.e AND path = {quoted(json.dumps(names))}"
            tests += compared(given, comparison)
        count = f"(SELECT count(*) FROM evts WHERE evts.n = who.n AND {' AND '.join(tests)})"
        least = event.get("exactly", event.get("at_least", 0 if "at_most" in event else 1))
        most = event.get("exactly", event.get("at_most", 10**9))
        did = f"{count} >= {least} AND {count} <= {most}"
        if event.get("performed", True):
            return did
        if "within_days" not in event:
            return f"NOT ({did})"
        first = "(SELECT min(at_s) FROM evts WHERE evts.n = who.n)"
        return f"NOT ({did}) AND least(since_s, coalesce({first}, since_s)) <= {since_s}"

    def attribute(self, attribute):
        """One row of `attrs` or none."""
        given = f"FROM attrs WHERE attrs.n = who.n AND key = {quoted(attribute['name'])}"
        if "within_days" in attribute:
            since_s = NOW_S - attribute["within_days"] * DAY_S
            return f"EXISTS ({given} AND number >= {since_s} AND number <= {NOW_S})"
        comparison = {key: value for key, value in attribute.items() if key != "name"}
        return " AND ".join(compared(given, comparison))


def quoted(text):
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def compared(given, comparison):
    """Tests of the row that `given` finds, which may not be there or hold nothing."""
    there = f"EXISTS ({given} AND text IS NOT NULL"
    whole = f"number = trunc(number) AND number >= 0 AND number <= {10**11}"
    signs = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
    for key, value in comparison.items():
        if key == "exists":
            yield f"{there})" if value else f"NOT {there})"
        elif key == "is_timestamp":
            yield f"{there} AND {whole})" if value else f"NOT {there} AND {whole})"
        elif key == "contains":
            yield f"{there} AND instr(text, {quoted(value)}) > 0)"
        else:
            sign = signs["eq" if key == "ne" else key]
            if isinstance(value, bool):
                test = f"text {sign} {quoted(str(value).lower())}"
            elif isinstance(value, str):
                test = f"text {sign} {quoted(value)}"
            else:
                test = f"number {sign} {value!r}"
            yield f"{'NOT ' * (key == 'ne')}{there} AND {test})"


def comparison(die):
    """One or two comparisons."""

    def one():
        key = die.choice(["eq", "ne", "gt", "gte", "lt", "lte", "contains", "exists"])
        if key == "exists":
            return {die.choice(["exists", "is_timestamp"]): die.random() < 0.5}
        if key == "contains":
            return {key: die.choice(["", "1", "n", "ü", '"'])}
        simple = [*ODD, 0, 1, 42, 1.5, 100, -1]
        return {key: die.choice([*simple, True, False] if key in ("eq", "ne") else simple)}

    return one() | (one() if die.random() < 0.2 else {})


def condition(die, depth=0):
    """A condition, nested up to three deep."""
    kind = die.choices(
        ["event", "attribute", "segment", "and", "or", "not"],
        [5, 4, 1, 2, 2, 2] if depth < 3 else [5, 4, 1, 0, 0, 0],
    )[0]
    if kind in ("and", "or"):
        return {kind: [condition(die, depth + 1) for _ in range(die.randrange(4))]}
    if kind == "not":
        return {kind: condition(die, depth + 1)}
    if kind == "segment":
        return {kind: die.randrange(1, 5)}
    if kind == "attribute":
        if die.random() < 0.15:
            return {kind: {"name": "created_at", "within_days": die.choice([7, 30, 99])}}
        name = die.choice([*KEYS, "id", "created_at"])
        return {kind: {"name": name, **comparison(die)}}
    return {kind: event_condition(die)}


def event_condition(die):
    """What an event condition takes, each part now and then."""
    event = {"name": die.choice(NAMES)}
    if die.random() < 0.2:
        event["type"] = die.choice(TYPES)
    if die.random() < 0.5:
        event["within_days"] = die.choice([7, 30, 0.5, 90])
        event["performed"] = die.random() < 0.6
    else:
        for key in die.sample(["since", "until"], die.randrange(3)):
            event[key] = NOW_S - die.choice([*EDGES_S, die.randrange(90 * DAY_S)])
    bounds = die.choice([{}, {"at_least": 2}, {"at_most": 1}, {"exactly": 0}, {"exactly": 2}])
    event |= bounds
    if die.random() < 0.4:
        keys = ["size", "/a.b", "nested.b", "nested.c.d", "plan", 'q"u', "nested"]
        event["where"] = {die.choice(keys): comparison(die) for _ in range(die.randrange(1, 3))}
    return event


@pytest.mark.parametrize("seed", [1, 2])
def test_conditions_find_whom_the_oracle_finds(monkeypatch, seed):
    """Nested ones, window edges to the second, people who were merged, suppressed or came back."""
    die = Random(seed)
    clock = [float(STARTED_S)]
    monkeypatch.setattr("backfill.sandbox.server._clock", lambda _: lambda: clock[0])
    arrivals = list(history(die))
    oracle = Oracle(lives(arrivals))
    mismatches, sizes = [], set()
    with running() as sandbox, httpx.Client(base_url=sandbox.url, timeout=60) as client:
        client.auth = ("sandbox", "sandbox")
        for clock[0], operation in arrivals:
            if isinstance(operation, tuple):
                path, body = f"/api/v1/segments/{operation[0]}/add_customers", {"ids": operation[1]}
            else:
                path, body = "/api/v2/entity", operation
            client.post(path, json=body).raise_for_status()
        for _ in range(CONDITIONS // 2):
            asked = condition(die)
            answer = client.post("/sandbox/segments", json={**asked, "now": NOW_S})
            expected = oracle.members(asked)
            sizes.add(len(expected))
            if set(answer.json().get("people", [answer.text])) != expected:
                mismatches.append((asked, answer.json(), sorted(expected)))

    assert mismatches == []
    assert len(sizes) > 20, "the conditions tell nobody apart"
