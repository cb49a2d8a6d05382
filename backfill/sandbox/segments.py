"""Who is in a segment: a condition in JSON becomes one question to the store.

    {"and": [{"event": {"name": "purchased", "performed": true, "at_least": 1, "within_days": 30,
                        "where": {"price": {"gt": 10}}}},
             {"not": {"attribute": {"name": "plan", "eq": "premium"}}}]}

A condition is one of

    and, or     a list of conditions
    not         a condition
    segment     the number of a manual segment
    event       `name`; `type` (event, page or screen); how often: `at_least` (1 unless given),
                `at_most`, `exactly`; when: `within_days`, or `since` and `until` in unix seconds,
                both ends included; `where`: comparisons of its data by name, or by path: `a.b`
                is b in a, and a JSON pointer takes names with dots (`/a.b`);
                `performed`: false turns it round
    attribute   `name`, and comparisons, or `within_days` of a time in the past

and a comparison is one of

    eq, ne              a text, a number, true or false
    gt, gte, lt, lte    a number, or a text
    contains            a text
    exists, is_timestamp    true or false

A number compares with numbers, and with texts that write one as JSON does; a text compares with
texts, and with the JSON of what is none. What is null, missing or an empty attribute compares with
nothing: only `ne` and `exists: false` hold for it. Several comparisons must all hold.

An event counts by its own timestamp, not by its arrival. "Not performed within N days" holds only
for people who have been known for so long: since they were added or since their earliest event,
whichever is earlier (docs, past-x-days-help). `at_most` and `exactly: 0` hold for people without
any such event, too. A condition that is none is refused with the key that is wrong.
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
NUMBER_MAX = 10**15
TIMESTAMP_LIMIT_S = 100_000_000_000
OPERATORS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
TRUTHS = ("exists", "is_timestamp")
COMPARISONS = (*OPERATORS, "ne", "contains", *TRUTHS)
EVENT_TYPES = ("event", "page", "screen")
OWN_COLUMNS = frozenset({"id", "email", "phone"})
# what JSON writes for a number, and nothing else that a cast would take ("Nan", "1_000", " 1")
WRITTEN_NUMBER = "-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?"

Json = Mapping[str, Any]


def preview(store: Store, condition: Any, now_s: float) -> dict[str, Any]:
    """`{"count": n, "people": [names of the first 100]}` of those for whom the condition holds.

    A name is the id, else the e-mail, else the `cio_…` of the person.

    Args:
        store: What is asked.
        condition: The condition, as JSON gave it.
        now_s: From when windows are counted back, in unix seconds.

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


def number_in(value: Any, key: str) -> float:
    """A number that every calculation here can bear.

    Raises:
        UsageError: It is none.
    """
    if not _is_number(value):
        raise _mistake(f"{key} must be a number of at most 15 digits")
    number: float = value
    return number


class SegmentQuery:
    """A condition on its way to SQL; every value goes into `parameters`, none into the text.

    Args:
        now_s: From when windows are counted back, in unix seconds.
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
            raise _mistake(f"there is no condition {kind}, but {', '.join(kinds)}")
        # a hundred levels would be a hundred subqueries, each over everything
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
        if type(number) is not int or not 0 <= number < NUMBER_MAX:
            raise _mistake("segment takes the number of a manual segment")
        return f"number IN (SELECT person FROM memberships WHERE segment = {self._bind(number)})"

    def _event(self, event: Any) -> str:
        _check_event(event)
        at_least, at_most = _counts(event)
        performed = self._performed(event, at_least)
        if at_most is not None:
            performed = f"({performed} AND NOT {self._performed(event, at_most + 1)})"
        if event.get("performed", True):
            return performed
        return f"NOT {performed}{self._known_for(event)}"

    def _performed(self, event: Json, at_least: int) -> str:
        """People with so many such events, or more."""
        # "at most" alone holds for people without any such event
        if at_least <= 0:
            return "TRUE"
        such = self._such(event)
        # grouping ten million rows costs more than a plain IN, and 1 is nearly every question
        having = "" if at_least == 1 else f" GROUP BY person HAVING count(*) >= {at_least:d}"
        # visitors' events have no person, and NULL in a list makes NOT IN hold for nobody
        return f"number IN (SELECT person FROM events WHERE person IS NOT NULL AND {such}{having})"

    def _such(self, event: Json) -> str:
        tests = [f"name = {self._bind(event['name'].strip())}"]
        if "type" in event:
            tests.append(f"kind = {self._bind(event['type'])}")
        if "within_days" in event:
            since_s = self._now_s - event["within_days"] * DAY_S
            tests.append(f"occurred_s BETWEEN {self._bind(since_s)} AND {self._bind(self._now_s)}")
        for key, operator in (("since", ">="), ("until", "<=")):
            if key in event:
                tests.append(f"occurred_s {operator} {self._bind(event[key])}")
        for name, comparison in event.get("where", {}).items():
            pointer = name if name.startswith("/") else _pointer(name.split("."))
            value = f"json_extract(payload, {self._bind(pointer)})"
            tests.append(self._compare(value, comparison, f"where.{name}"))
        return " AND ".join(tests)

    def _known_for(self, event: Json) -> str:
        """The age rule of negative windows."""
        if "within_days" not in event:
            return ""
        then_s = self._now_s - event["within_days"] * DAY_S
        return (
            f" AND (since_s <= {self._bind(then_s)} OR number IN (SELECT person FROM events"
            f" WHERE person IS NOT NULL AND occurred_s <= {self._bind(then_s)}))"
        )

    def _attribute(self, attribute: Any) -> str:
        if not isinstance(attribute, dict):
            raise _mistake("attribute takes an object")
        name = _text(attribute.get("name"), "attribute.name")
        comparison = {key: value for key, value in attribute.items() if key != "name"}
        if "within_days" in comparison:
            days = comparison.pop("within_days")
            if not _is_duration(days):
                raise _mistake(f"attribute.within_days must be {_DURATION[1]}")
            since_s = self._now_s - days * DAY_S
            if comparison:
                raise _mistake("attribute.within_days takes no other comparison beside it")
            comparison = {"gte": since_s, "lte": self._now_s}
        if not comparison:
            raise _mistake("attribute: a comparison is missing")
        # what also holds for people without the attribute is the opposite of what holds with it
        absent = {
            key: value
            for key, value in comparison.items()
            if key == "ne" or (key in TRUTHS and value is False)
        }
        present = {key: value for key, value in comparison.items() if key not in absent}
        tests = [self._has(name, present, "attribute")] if present else []
        for key, value in absent.items():
            opposite = {"eq": value} if key == "ne" else {key: True}
            tests.append(f"NOT {self._has(name, opposite, 'attribute')}")
        return " AND ".join(tests)

    def _has(self, name: str, comparison: Json, at: str) -> str:
        """People whose attribute, as it is now, compares so."""
        if name in OWN_COLUMNS:
            return f"({self._compare(f'to_json({name})', comparison, at)})"
        # one name, never a path: attributes may have dots in their names
        pointer = self._bind(_pointer([name]))
        given = f"json_extract(payload, {pointer})"
        current = (
            f"SELECT person, arg_max({given}, (occurred_s, arrival)) AS value"
            f" FROM changes WHERE {given} IS NOT NULL GROUP BY person"
        )
        return (
            f"number IN (SELECT person FROM ({current}) WHERE person IS NOT NULL"
            f" AND value::VARCHAR <> '\"\"' AND {self._compare('value', comparison, at)})"
        )

    def _compare(self, value: str, comparison: Any, at: str) -> str:
        """A test of the JSON that an expression gives; never NULL."""
        if not isinstance(comparison, dict):
            comparison = {"eq": comparison}
        if not comparison:
            raise _mistake(f"{at}: a comparison is missing")
        tests = [self._test(value, key, other, at) for key, other in comparison.items()]
        return " AND ".join(tests)

    def _test(self, value: str, key: str, other: Any, at: str) -> str:
        """One comparison of a JSON value, in which null is as good as nothing."""
        # json_type of a missing value is NULL, of null the text: both are nothing
        there = f"coalesce(json_type({value}) <> 'NULL', FALSE)"
        text = f"({value} ->> '$')"
        number = (
            f"CASE WHEN json_type({value}) <> 'BOOLEAN' AND"
            f" regexp_full_match({text}, '{WRITTEN_NUMBER}') THEN TRY_CAST({text} AS DOUBLE) END"
        )
        if key not in COMPARISONS:
            raise _mistake(f"{at}: there is no comparison {key}")
        if key == "ne":
            return f"NOT {self._test(value, 'eq', other, at)}"
        if key in TRUTHS:
            if type(other) is not bool:
                raise _mistake(f"{at}.{key} must be true or false")
            limits = f"{number} = floor({number}) AND {number} BETWEEN 0 AND {TIMESTAMP_LIMIT_S}"
            holds = there if key == "exists" else f"{there} AND coalesce({limits}, FALSE)"
            return f"({holds})" if other else f"NOT ({holds})"
        if key == "contains":
            found = f"contains({text}, {self._bind(_text(other, f'{at}.contains'))})"
            return f"({there} AND coalesce({found}, FALSE))"
        test = f"{OPERATORS[key]} {self._bind(_comparable(other, key, at))}"
        left = number if type(other) in (int, float) else text
        return f"({there} AND coalesce({left} {test}, FALSE))"

    def _bind(self, value: Any) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}"


def _comparable(value: Any, key: str, at: str) -> Any:
    """The value of a comparison, as it is bound: a double, or a text."""
    if type(value) is bool and key == "eq":
        return str(value).lower()
    if type(value) in (int, float):
        return float(value)
    if type(value) is str:
        return value
    others = ", true or false" if key == "eq" else ""
    raise _mistake(f"{at}.{key} must be a number, a text{others}")


def _check_event(event: Any) -> None:
    """Hold an event condition to its types.

    Raises:
        UsageError: One is wrong; the text names the key.
    """
    if not isinstance(event, dict):
        raise _mistake("event takes an object")
    if not _text(event.get("name"), "event.name").strip():
        raise _mistake("event.name cannot be blank")
    for key, value in event.items():
        if key not in _EVENT_KEYS:
            raise _mistake(f"event.{key} is not known, but {', '.join(_EVENT_KEYS)}")
        is_right, what = _EVENT_KEYS[key]
        if not is_right(value):
            raise _mistake(f"event.{key} must be {what}")
    for key, others in (("exactly", ("at_least", "at_most")), ("within_days", ("since", "until"))):
        if key in event and not event.keys().isdisjoint(others):
            raise _mistake(f"event.{key} stands without {' and '.join(others)}")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < NUMBER_MAX


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -NUMBER_MAX < value < NUMBER_MAX


def _is_duration(value: Any) -> bool:
    return _is_number(value) and value > 0


_COUNT = (_is_count, "a whole number, 0 or more")
_DURATION = (_is_duration, "a number above 0")
_SECONDS = (_is_number, "a number of unix seconds")
_EVENT_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda value: type(value) is str, "a text"),
    "type": (lambda value: value in EVENT_TYPES, f"one of {', '.join(EVENT_TYPES)}"),
    "performed": (lambda value: type(value) is bool, "true or false"),
    "at_least": _COUNT,
    "at_most": _COUNT,
    "exactly": _COUNT,
    "within_days": _DURATION,
    "since": _SECONDS,
    "until": _SECONDS,
    "where": (lambda value: isinstance(value, dict), "comparisons by the name of the data"),
}
"""What an event condition takes, and how to say what is wrong with it."""


def _counts(event: Json) -> tuple[int, int | None]:
    """At least and at most how often."""
    if "exactly" in event:
        return event["exactly"], event["exactly"]
    at_most = event.get("at_most")
    return event.get("at_least", 1 if at_most is None else 0), at_most


def _text(value: Any, at: str) -> str:
    if type(value) is not str:
        raise _mistake(f"{at} must be a text")
    return value


def _pointer(keys: list[str]) -> str:
    """A JSON pointer (RFC 6901).

    >>> _pointer(["a/b", "c"])
    '/a~1b/c'
    """
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def _mistake(what: str) -> UsageError:
    return UsageError(f"segment: {what}", next_step="GET /sandbox/help says what a condition is")
