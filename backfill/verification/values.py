"""When a value that was read back is the one that was sent: one rule for each kind of value.

The service writes attributes back as text (App API, "List customers and attributes"), and says of
few kinds of value how they are written. `RULES` says for each what counts as the same, and where
that is known from. The data of activities are compared by the same rules: they may come typed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

PREFERENCES = "cio_subscription_preferences"
"""A dotted key sets one topic or channel of it and leaves the others (Track OpenAPI, identify)."""

CONTROL = frozenset({"_update", "_timestamp", "anonymous_id", "cio_relationships"})
"""They say how to take an identify, and are no attributes (Track OpenAPI, identify)."""

Found = Mapping[str, Any]
"""What was read back, by name."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that was not read back as it was sent; the texts are those that people see."""

    field: str
    sent: str
    found: str


@dataclass(frozen=True, slots=True)
class ValueRule:
    """What counts as the same for one kind of value.

    Args:
        name: What it is called.
        says: What counts as the same, as a sentence.
        source: Where that is known from; "assumed": nowhere.
        concerns: Whether the rule is about a value, given the name and the value.
        same: Whether what was found is what was sent, in this order; None: nothing was found.
    """

    name: str
    says: str
    source: str
    concerns: Callable[[str, Any], bool]
    same: Callable[[Any, Any], bool]


def differences(sent: Mapping[str, Any], found: Found) -> Iterator[Difference]:
    """The fields that are not there as they were sent; what else is there does not matter.

    >>> list(differences({"age": 7, "vip": True}, {"age": "7.0", "vip": "false"}))
    [Difference(field='vip', sent='true', found='false')]
    """
    for name, value in sent.items():
        if name in CONTROL:
            continue
        there = _lookup(name, found)
        rule = next(each for each in RULES if each.concerns(name, value))
        if not rule.same(value, there):
            yield Difference(name, as_text(value), as_text(there))


def as_text(value: Any) -> str:
    """A value as people see it; nothing is empty."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _lookup(name: str, found: Found) -> Any:
    there = found.get(name)
    if there is None and name.startswith(f"{PREFERENCES}."):
        there = found.get(PREFERENCES)
        for member in name.split(".")[1:]:
            inside = _parsed(there)
            there = inside.get(member) if isinstance(inside, dict) else None
    return there


def _parsed(value: Any) -> Any:
    """JSON out of a text; another value, and a text that is none, is itself."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _number(value: Any) -> Decimal | None:
    text = str(value).strip()
    if isinstance(value, bool) or "_" in text or not text.isascii():  # Python reads more than JSON
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _same_number(sent: Any, found: Any) -> bool:
    number = _number(found)
    return number is not None and number == _number(sent)


def _same_boolean(sent: Any, found: Any) -> bool:
    return str(found).lower() == str(sent).lower()


def _same_json(sent: Any, found: Any) -> bool:
    return _is_alike(sent, _parsed(found))


def _is_alike(sent: Any, found: Any) -> bool:
    if isinstance(sent, dict) and isinstance(found, dict):
        return sent.keys() == found.keys() and all(_is_alike(sent[at], found[at]) for at in sent)
    if isinstance(sent, list) and isinstance(found, list):
        return len(sent) == len(found) and all(map(_is_alike, sent, found))
    # Python takes true for 1.
    return isinstance(sent, bool) == isinstance(found, bool) and bool(sent == found)


def _is_nothing(_: Any, found: Any) -> bool:
    return found is None or found == ""


def _same_email(sent: Any, found: Any) -> bool:
    return found is not None and str(found).strip().lower() == str(sent).strip().lower()


def _same_text(sent: Any, found: Any) -> bool:
    return found is not None and as_text(found) == sent


RULES: tuple[ValueRule, ...] = (
    ValueRule(
        "nothing",
        "null and the empty text remove an attribute: it is not there",
        "Track OpenAPI says so of objects; seen for people (printu/customerio#64)",
        lambda _, value: value is None or value == "",
        _is_nothing,
    ),
    ValueRule(
        "boolean",
        "true and false, as words; `unsubscribed` and topics among them",
        "values come back as text (App API); that it is JSON's is assumed",
        lambda _, value: isinstance(value, bool),
        _same_boolean,
    ),
    ValueRule(
        "number",
        "the same number, however it is written: 7, 7.0, 7e0; timestamps are numbers",
        "values come back as text (App API); that it is a number's is assumed",
        lambda _, value: isinstance(value, int | float),
        _same_number,
    ),
    ValueRule(
        "nested",
        "the same JSON, in any order of its keys",
        "App API: cio_subscription_preferences is JSON text; the same of others is assumed",
        lambda _, value: isinstance(value, dict | list),
        _same_json,
    ),
    ValueRule(
        "email",
        "the same address in any case, without blanks around it",
        "Track documentation: addresses are the same in any case; of blanks assumed",
        lambda name, _: name == "email",
        _same_email,
    ),
    ValueRule(
        "text",
        "the same characters",
        "values come back as text (App API)",
        lambda *_: True,
        _same_text,
    ),
)
"""In this order: the first rule that is about a value decides."""
