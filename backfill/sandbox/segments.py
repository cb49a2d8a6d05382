"""Who is in a segment: a condition in JSON becomes one question to the store.

    {"and": [{"event": {"name": "purchased", "performed": true, "at_least": 1, "within_days": 30,
                        "where": {"price": {"gt": 10}}}},
             {"not": {"attribute": {"name": "plan", "eq": "premium"}}}]}

A condition is one of

    and, or     a list of conditions
    not         a condition
    segment     the number of a manual segment
    event       `name`; `type` (event, page or screen); how often: `at_least` (1 unless given),
                `at_most`, `exactly`; when: `within_days`, or `since` and `until` in unix seconds;
                `where`: comparisons of its data by name, with dots for what is nested;
                `performed`: false turns it round
    attribute   `name`, and one comparison, or `within_days` of a moment in the past

and a comparison one of `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `contains`, `exists` (true or
false), `is_timestamp` (true or false). Numbers compare as numbers, everything else as text.

An event counts by its own moment, not by its arrival. "Not performed within N days" holds only for
people who have been known for so long: since they were added or since their earliest event,
whichever is earlier. `at_most` and `exactly: 0` hold for people without any such event, too.
"""

# ruff: noqa: S608  # every value is bound; only words of this module go into the text

from collections.abc import Callable, Mapping
from typing import Any

from backfill.errors import UsageError
from backfill.sandbox.behaviour import DAY_S
from backfill.sandbox.identities import cio_id
from backfill.sandbox.store import Store

DEPTH_MAX = 20
SHOWN_MAX = 100
TIMESTAMP_LIMIT_S = 100_000_000_000
OPERATORS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
OWN_COLUMNS = frozenset({"id", "email", "phone"})

Json = Mapping[str, Any]


def preview(store: Store, condition: Any, now_s: float) -> dict[str, Any]:
    """`{"count": n, "people": [names of the first 100]}` of those for whom the condition holds.

    A name is the id, else the e-mail, else the `cio_…` of the person.

    Raises:
        UsageError: The condition is none; the text says where.
    """
    question = SegmentQuery(now_s)
    where = question.holds(condition)
    rows = store.read(
        f"WITH chosen AS MATERIALIZED (SELECT number, id, email FROM active WHERE {where})"
        " SELECT (SELECT count(*) FROM chosen) AS people, number, coalesce(id, email) AS name"
        f" FROM chosen ORDER BY number LIMIT {SHOWN_MAX}",
        question.parameters,
    )
    names = [row["name"] or f"cio_{cio_id(row['number'])}" for row in rows]
    return {"count": rows[0]["people"] if rows else 0, "people": names}


class SegmentQuery:
    """A condition on its way to SQL; every value goes into `parameters`, none into the text.

    Args:
        now_s: The moment from which windows are counted, in unix seconds.
    """

    def __init__(self, now_s: float) -> None:
        self._now_s = now_s
        self._depth = 0
        self.parameters: list[Any] = []

    def holds(self, condition: Any) -> str:
        """SQL that is true of a row of `active` for whom the condition holds."""
        kinds: dict[str, Callable[[Any], str]] = {
            "and": lambda value: self._all(value, " AND ", "TRUE"),
            "or": lambda value: self._all(value, " OR ", "FALSE"),
            "not": lambda value: f"NOT {self.holds(value)}",
            "event": self._event,
            "attribute": self._attribute,
            "segment": self._segment,
        }
        if not isinstance(condition, dict) or len(condition) != 1:
            raise _mistake(f"a condition has exactly one of {', '.join(kinds)}")
        ((kind, value),) = condition.items()
        if kind not in kinds:
            raise _mistake(f"a condition has exactly one of {', '.join(kinds)}")
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise _mistake(f"conditions are nested more than {DEPTH_MAX} deep")
        sql = kinds[kind](value)
        self._depth -= 1
        return f"({sql})"

    def _all(self, conditions: Any, joint: str, empty: str) -> str:
        if not isinstance(conditions, list):
            raise _mistake("and, or take a list of conditions")
        return joint.join(self.holds(condition) for condition in conditions) or empty

    def _segment(self, number: Any) -> str:
        if type(number) is not int:
            raise _mistake("segment takes the number of a manual segment")
        return f"number IN (SELECT person FROM memberships WHERE segment = {self._bind(number)})"

    def _event(self, event: Any) -> str:
        known = "name type performed at_least at_most exactly within_days since until where"
        _check(event, "event", known.split())
        at_least, at_most = _counts(event)
        performed = self._performed(event, at_least)
        if at_most is not None:
            performed = f"({performed} AND NOT {self._performed(event, at_most + 1)})"
        if event.get("performed", True):
            return performed
        return f"NOT {performed}{self._known_for(event)}"

    def _performed(self, event: Json, at_least: int) -> str:
        """People with so many such events, or more."""
        if at_least <= 0:
            return "TRUE"
        having = "" if at_least == 1 else f" GROUP BY person HAVING count(*) >= {at_least:d}"
        return f"number IN (SELECT person FROM events WHERE {self._such(event)}{having})"

    def _such(self, event: Json) -> str:
        tests = [f"name = {self._bind(str(event['name']).strip())}"]
        if "type" in event:
            tests.append(f"kind = {self._bind(str(event['type']))}")
        if "within_days" in event:
            since_s = self._now_s - _number(event, "within_days") * DAY_S
            tests.append(f"occurred_s BETWEEN {self._bind(since_s)} AND {self._bind(self._now_s)}")
        for key, operator in (("since", ">="), ("until", "<=")):
            if key in event:
                tests.append(f"occurred_s {operator} {self._bind(_number(event, key))}")
        where = event.get("where", {})
        if not isinstance(where, dict):
            raise _mistake("where takes comparisons by the name of the data")
        for name, comparison in where.items():
            tests.append(self._compares(_pointer(name.split(".")), comparison))
        return " AND ".join(tests)

    def _known_for(self, event: Json) -> str:
        """The age rule of negative windows."""
        if "within_days" not in event:
            return ""
        then_s = self._now_s - _number(event, "within_days") * DAY_S
        return (
            f" AND (since_s <= {self._bind(then_s)} OR number IN"
            f" (SELECT person FROM events WHERE occurred_s <= {self._bind(then_s)}))"
        )

    def _attribute(self, attribute: Any) -> str:
        if not isinstance(attribute, dict) or not isinstance(attribute.get("name"), str):
            raise _mistake("attribute needs a name")
        name = attribute["name"]
        comparison = {key: value for key, value in attribute.items() if key != "name"}
        if "within_days" in comparison:
            since_s = self._now_s - _number(comparison, "within_days") * DAY_S
            comparison = {"gte": since_s, "lte": self._now_s}
        negated = comparison.pop("ne", None)
        if negated is not None:
            return f"NOT {self._has(name, {'eq': negated, **comparison})}"
        if comparison.get("exists") is False:
            return f"NOT {self._has(name, {'exists': True})}"
        return self._has(name, comparison)

    def _has(self, name: str, comparison: Json) -> str:
        """People whose attribute, as it is now, compares so."""
        if name in OWN_COLUMNS:
            return f"({name} IS NOT NULL AND {self._compare(name, comparison)})"
        pointer = self._bind(_pointer([name]))
        given = f"json_extract(payload, {pointer})"
        current = (
            f"SELECT person, arg_max({given}, (occurred_s, arrival)) AS value"
            f" FROM changes WHERE {given} IS NOT NULL GROUP BY person"
        )
        return (
            f"number IN (SELECT person FROM (SELECT person, value ->> '$' AS value FROM ({current})"
            f" WHERE value::VARCHAR NOT IN ('null', '\"\"'))"
            f" WHERE {self._compare('value', comparison)})"
        )

    def _compares(self, pointer: str, comparison: Any) -> str:
        """Whether the event's data at `pointer` compares so."""
        if not isinstance(comparison, dict) or not comparison:
            comparison = {"eq": comparison}
        at = self._bind(pointer)
        if "exists" in comparison:
            return f"json_exists(payload, {at}) = {self._bind(bool(comparison['exists']))}"
        return self._compare(f"json_extract_string(payload, {at})", comparison)

    def _compare(self, text: str, comparison: Json) -> str:
        """A test of the text that an expression gives."""
        tests = [self._test(text, key, value) for key, value in comparison.items()]
        if not tests:
            raise _mistake("a comparison is missing")
        return f"coalesce({' AND '.join(tests)}, FALSE)"

    def _test(self, text: str, key: str, value: Any) -> str:
        number = f"TRY_CAST({text} AS DOUBLE)"
        if key == "exists":
            return f"({text} IS NOT NULL) = {self._bind(bool(value))}"
        if key == "is_timestamp":
            whole = f"{number} = floor({number}) AND {number} BETWEEN 0 AND {TIMESTAMP_LIMIT_S}"
            return f"coalesce({whole}, FALSE) = {self._bind(bool(value))}"
        if key == "contains":
            return f"contains({text}, {self._bind(str(value))})"
        if key == "ne":
            return f"NOT coalesce({self._test(text, 'eq', value)}, FALSE)"
        if key not in OPERATORS:
            raise _mistake(f"there is no comparison {key}")
        if isinstance(value, bool):
            return f"{text} {OPERATORS[key]} {self._bind(str(value).lower())}"
        if isinstance(value, int | float):
            return f"{number} {OPERATORS[key]} {self._bind(float(value))}"
        return f"{text} {OPERATORS[key]} {self._bind(str(value))}"

    def _bind(self, value: Any) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}"


def _counts(event: Json) -> tuple[int, int | None]:
    """At least and at most how often."""
    if "exactly" in event:
        return int(_number(event, "exactly")), int(_number(event, "exactly"))
    at_most = int(_number(event, "at_most")) if "at_most" in event else None
    return int(_number(event, "at_least", 1 if at_most is None else 0)), at_most


def _number(value: Json, key: str, default: float = 0) -> float:
    number = value.get(key, default)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _mistake(f"{key} must be a number")
    return number


def _check(value: Any, kind: str, known: list[str]) -> None:
    if not isinstance(value, dict) or not value.get("name"):
        raise _mistake(f"{kind} needs a name")
    if unknown := sorted(set(value) - set(known)):
        raise _mistake(f"{kind} knows no {', '.join(unknown)}")


def _pointer(keys: list[str]) -> str:
    """A JSON pointer (RFC 6901).

    >>> _pointer(["a/b", "c"])
    '/a~1b/c'
    """
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def _mistake(what: str) -> UsageError:
    return UsageError(f"segment: {what}", next_step="see backfill.sandbox.segments")
